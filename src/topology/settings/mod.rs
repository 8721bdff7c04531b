//! Settings: one typed struct, loaded in layers, every value with the place it came from.
//!
//! [`Settings`] is what the engine reads. [`Layers`] builds it: what the topology sets in code stands above the
//! built-in defaults, a TOML file above that, the command line on top. [`Layers::resolve`] reports everything that is
//! wrong at once; [`keys`] lists every key there is.
//!
//! ```toml
//! max_spout_pending = 4096
//! message_timeout = "10s"
//!
//! [components.count]
//! parallelism = 4
//! placement = "cpu:2"
//!
//! [user]
//! greeting = "hello"
//! ```

mod checks;
mod layers;
mod name;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

pub use crate::state::store::kind::StoreKind;
pub use crate::task::backoff::Backoff;
pub use crate::task::user_value::UserValue;
pub use layers::{Layers, Provenance, Resolved, Row};
use table::settings;
use types::Bytes;
pub(crate) use types::parse_duration;
pub use types::{Guarantee, Placement, WaitPolicy};

const US: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Of exactly-once, unless told otherwise.
const CHECKPOINT_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MS_10: Duration = Duration::from_millis(10);
const MS_50: Duration = Duration::from_millis(50);
const SECOND_10: Duration = Duration::from_secs(10);
const RETRY_FOR_DEFAULT: Duration = Duration::from_secs(600);

/// The largest capacity of a lane, in tuples.
const LANE_CAPACITY_MAX: usize = 1 << 20;
/// The largest number of open trees of one spout task; half of what root ids can name.
const PENDING_MAX: usize = 1 << 21;

settings! {
    /// The settings of one topology.
    ///
    /// A value built in code is checked where it is used in [`Layers`]; see there for the order of the layers. As TOML
    /// or JSON (it implements [`serde::Serialize`]) it has exactly the keys and forms that a settings file has.
    ///
    /// # Examples
    ///
    /// ```
    /// use squall::topology::settings::{Settings, WaitPolicy};
    ///
    /// let settings = Settings { wait: WaitPolicy::Park, ..Settings::default() };
    /// assert!(settings.to_toml().contains("wait = \"park\""));
    /// ```
    pub struct Settings {
        /// Number of executors, each a thread of its own. Not set: the usable CPUs minus one, at least one.
        executors: Option<usize> = None, 1..=1024;
        /// Give each task an executor of its own, as long as there are CPUs for it.
        one_thread_per_task: bool = false;
        /// Pin every executor to one CPU.
        pin: bool = true;
        /// Start even if more executors would spin than there are CPUs: they then have to take turns, and latencies
        /// become those of the operating system's scheduler.
        force_oversubscription: bool = false;
        /// What an executor does when it has nothing to do; the bounds are those of the spinning time.
        wait: WaitPolicy = WaitPolicy::default(), US..=10 * MS;
        /// What is promised about every value that a spout emits.
        guarantee: Guarantee = Guarantee::AtLeastOnce;
        /// How often a checkpoint is taken. Not set: every 100 ms under exactly-once, otherwise never.
        checkpoint_interval: Option<Duration> = None, 10 * MS..=HOUR;
        /// A checkpoint that takes longer than this is given up, and the next one waits longer.
        checkpoint_timeout: Duration = 10 * SECOND, 10 * MS..=HOUR;
        /// Checkpoints that are kept; with more, an older one can still be used when newer ones are damaged.
        checkpoints_kept: usize = 3, 1..=100;
        /// The folder in which checkpoints are kept. Not set: in memory, and nothing survives the process.
        state_dir: Option<String> = None;
        /// What keeps the checkpoints in that folder.
        store: StoreKind = StoreKind::Log;
        /// Start over: what is in `state_dir` is moved aside.
        fresh_state: bool = false;
        /// A savepoint to begin with; `state_dir` must hold nothing yet.
        restore_from: Option<String> = None;
        /// Resume although the checkpoint has state that no component owns; it is left where it is.
        allow_ownerless_state: bool = false;
        /// Storm's number of acker tasks: 0 turns tracking off. Any other number means that tracking is on, since trees
        /// are kept by the spout tasks themselves.
        ackers: Option<usize> = None, 0..=65_536;
        /// Open trees per spout task; at this number it is not asked for more.
        max_spout_pending: usize = 16_384, 1..=PENDING_MAX;
        /// The time in which a tree must be completed before it fails.
        message_timeout: Duration = 30 * SECOND, MS..=30 * DAY;
        /// Let trees fail by time at all.
        message_timeouts_enabled: bool = true;
        /// Fail trees as Storm does, somewhere between one and two timeouts, instead of precisely.
        storm_timeouts: bool = false;
        /// Tuples that one lane between two tasks holds.
        lane_capacity: usize = 1_024, 1..=LANE_CAPACITY_MAX;
        /// Memory for all lanes between executors together; lanes shrink to fit.
        lane_memory_bytes: u64 as Bytes = 256 << 20, Bytes(64 << 10)..=Bytes(1 << 40);
        /// How long a drain waits for open trees and queued tuples.
        drain_timeout: Duration = 20 * SECOND, MS..=DAY;
        /// How long a kill waits between switching the spouts off and stopping.
        kill_wait: Duration = Duration::ZERO, Duration::ZERO..=DAY;
        /// A task that has not returned for this long is reported as stalled.
        stall_limit: Duration = SECOND, MS..=HOUR;
        /// How long an input that asks to be tried again is emitted again, before it becomes a dead letter. With
        /// checkpoints also how long trouble that belongs to no input (a full disk, a last call that fails) is borne
        /// without a checkpoint, before the topology stops in the state `retry_limit`. Not set: 10 minutes at least
        /// once, without end exactly once.
        retry_for: Option<Duration> = None, MS..=YEAR;
        /// Failures that an input itself has caused, by a panic or the death of a process, before it becomes a dead
        /// letter.
        failures_max: u32 = 5, 1..=1_000_000;
        /// Pauses between the failure of an input and its replay, at least once.
        replay_backoff: Backoff = Backoff::new(MS_10, SECOND_10), Duration::ZERO..=HOUR;
        /// The file to which dead letters are added that no component of the topology takes, as lines of JSON; what it
        /// holds of earlier runs stays. Not set: exactly-once stops at the first of them, and otherwise they are
        /// counted and the run ends with exit code 3.
        dead_letters: Option<String> = None;
        /// Restarts from the last checkpoint within `restart_window`, without getting past the place of the failure,
        /// before the topology stops. Failures that ask to be tried again do not count.
        restarts_max: u32 = 10, 0..=1_000_000;
        /// The time in which `restarts_max` restarts are too many.
        restart_window: Duration = 10 * MINUTE, SECOND..=YEAR;
        /// Pauses before a restart from the last checkpoint.
        restart_backoff: Backoff = Backoff::new(MS_50, SECOND_10), Duration::ZERO..=HOUR;
        /// Rebuilds of one task in a row, without progress between them, before the topology stops. A task in which
        /// inputs have gone well is rebuilt without limit after one that breaks it: that input becomes a dead letter by
        /// itself.
        rebuilds_max: u32 = 10, 0..=1_000_000;
        /// Tuples that a rebuilt task must execute to count as making progress, so that `rebuilds_max` is counted anew.
        rebuild_progress_tuples: u64 = 1_000, 1..=1_000_000_000;
        /// Pauses before a task is rebuilt. After inputs that break it, where others have gone well, they grow over
        /// `failures_max` rebuilds and no longer: then the input is given up, and the next one waits.
        rebuild_backoff: Backoff = Backoff::new(MS, SECOND_10), Duration::ZERO..=HOUR;
        /// Tuples that a task handles in one turn, at most; with over four consumer tasks a quarter of it for each.
        turn_tuples_max: usize = 64, 1..=65_536;
        /// Time of a turn above which the next one gets fewer tuples; up to 8 times as long for one with many consumer
        /// tasks.
        turn_time_max: Duration = 20 * US, US..=SECOND;
        /// Seed of every random choice. Not set: a new one for each run.
        seed: Option<u64> = None, 0..=i64::MAX as u64;
        +
        /// What single components do differently, by component id.
        components: BTreeMap<String, ComponentSettings>;
        /// Keys of the user's own. Tables are flattened: `[user.db]` with `host = "a"` is the entry `db.host`.
        user: BTreeMap<String, UserValue>;
    }
}

settings! {
    /// What one component does differently from its topology. Whatever is not set is as the topology has it.
    pub struct ComponentSettings {
        /// Number of tasks. Not set: one.
        parallelism: Option<usize> = None, 1..=65_536;
        /// Where the tasks run. Not set: the planner decides.
        placement: Option<Placement> = None, 0..=4_095;
        /// Tuples that each lane into this component holds.
        lane_capacity: Option<usize> = None, 1..=LANE_CAPACITY_MAX;
        /// The period of ticks. Not set: no ticks.
        tick: Option<Duration> = None, MS..=DAY;
        /// Open trees per task, for a spout.
        max_spout_pending: Option<usize> = None, 1..=PENDING_MAX;
        +
        /// Keys of the user's own for this component, flattened as in [`Settings::user`].
        user: BTreeMap<String, UserValue>;
    }
}

impl Settings {
    /// Whether tuple trees are tracked: the guarantee asks for it and `ackers` is not 0.
    pub fn tracking(&self) -> bool {
        self.guarantee == Guarantee::AtLeastOnce && self.ackers != Some(0)
    }

    /// How often a checkpoint is taken; none if never.
    pub fn checkpoint_interval(&self) -> Option<Duration> {
        let default = (self.guarantee == Guarantee::ExactlyOnce).then_some(CHECKPOINT_INTERVAL_DEFAULT);
        self.checkpoint_interval.or(default)
    }

    /// How long an input that asks to be tried again is emitted again; none: without end.
    pub fn retry_for(&self) -> Option<Duration> {
        let default = (self.guarantee != Guarantee::ExactlyOnce).then_some(RETRY_FOR_DEFAULT);
        self.retry_for.or(default)
    }

    /// The capacity of each lane into a component.
    pub fn lane_capacity_of(&self, component: &str) -> usize {
        self.components.get(component).and_then(|own| own.lane_capacity).unwrap_or(self.lane_capacity)
    }

    /// The number of open trees that each task of a spout may have.
    pub fn max_spout_pending_of(&self, spout: &str) -> usize {
        self.components.get(spout).and_then(|own| own.max_spout_pending).unwrap_or(self.max_spout_pending)
    }

    /// These settings as the text of a settings file, which loads back as the same settings.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings have text keys and plain values only")
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for key in Settings::KEYS {
            map.serialize_entry(key.name, &key.show(self))?;
        }
        map.serialize_entry("components", &self.components)?;
        map.serialize_entry("user", &self.user)?;
        map.end()
    }
}

impl Serialize for ComponentSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for key in ComponentSettings::KEYS {
            if let Some(value) = (key.get)(self) {
                map.serialize_entry(key.name, &value)?;
            }
        }
        map.serialize_entry("user", &self.user)?;
        map.end()
    }
}

/// The description of one key, for a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The key as it is written in a settings file or after `--set`; component keys stand under `components.ID`.
    pub key: String,
    /// What it takes, with the bounds.
    pub expected: String,
    /// The built-in default.
    pub default: String,
    /// What it does, in plain text.
    pub doc: String,
}

/// Describes every key that settings can have, apart from the user's own.
pub fn keys() -> Vec<KeyDoc> {
    fn describe<S: Default>(prefix: &str, keys: &[table::Key<S>]) -> Vec<KeyDoc> {
        let default = S::default();
        let describe = |key: &table::Key<S>| KeyDoc {
            key: format!("{prefix}{}", key.name),
            expected: (key.expected)(),
            default: key.show(&default).bare(),
            doc: key.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
        };
        keys.iter().map(describe).collect()
    }
    let mut all = describe("", Settings::KEYS);
    all.extend(describe("components.ID.", ComponentSettings::KEYS));
    all
}
