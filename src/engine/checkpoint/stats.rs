//! What is known about a run's checkpoints.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::checkpoint::catalogue::Roster;
use crate::state::store::CheckpointId;
use crate::sys::clock::Clock;
use crate::sys::sync::{Arc, Mutex};
use crate::task::metrics::{Latency, latency};
use crate::task::snapshot::SnapshotStats;

/// One checkpoint that became the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Completed {
    /// Its number.
    pub checkpoint: u64,
    /// From its beginning to its being durable.
    pub took_ns: u64,
    /// When it was durable, by the engine's clock.
    pub at_ns: u64,
    /// The longest alignment of any task, and whose it was.
    pub align_ns_max: u64,
    /// The task that aligned longest: the slow one is upstream of it.
    pub slowest: String,
    /// The longest pause of any task: freezing, its own snapshot, sending the barrier on.
    pub freeze_ns_max: u64,
    /// The longest slice of encoding of any task.
    pub slice_ns_max: u64,
    /// Entries of keyed state written, and their bytes.
    pub entries: u64,
    /// Bytes that went to the store, with its own overhead.
    pub written_bytes: u64,
    /// How long the store took to make them durable.
    pub sync_ns: u64,
}

impl Completed {
    pub(crate) fn add(&mut self, stats: &SnapshotStats, name: impl FnOnce() -> String) {
        if stats.align_ns >= self.align_ns_max {
            self.align_ns_max = stats.align_ns;
            self.slowest = name();
        }
        self.freeze_ns_max = self.freeze_ns_max.max(stats.freeze_ns);
        self.slice_ns_max = self.slice_ns_max.max(stats.longest_slice_ns);
        self.entries += stats.entries;
    }
}

/// What a report says about checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckpointReport {
    /// The checkpoint this run went on from.
    pub resumed: Option<u64>,
    /// The input had come to its end before this run: it only committed what was left to commit.
    pub was_finished: bool,
    /// What the opening of the state directory had to say.
    pub notes: Vec<String>,
    /// Checkpoints that became the truth.
    pub completed: u64,
    /// Checkpoints that were given up, and why the last one was.
    pub failed: u64,
    /// Why.
    pub last_failure: Option<String>,
    /// Times the topology went back to its last checkpoint.
    pub step_backs: u64,
    /// How long the last restart took, until spouts could emit again.
    pub last_recovery_ns: u64,
    /// The newest.
    pub last: Option<Completed>,
    /// Duration of checkpoints in nanoseconds: p50, p99, max.
    pub took_ns: [u64; 3],
    /// The longest pause of any task in each checkpoint: p50, p99, max.
    pub pause_ns: [u64; 3],
    /// Bytes written by all.
    pub written_bytes: u64,
    /// How old the last checkpoint that became the truth is, or how long ago the start was.
    pub age_ns: u64,
    /// Whether that is all right.
    pub health: Health,
    /// With red health: the tasks that the checkpoint under way waits for.
    pub waits_for: Vec<String>,
}

/// Whether checkpoints keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// They do.
    #[default]
    Green,
    /// The last good one is older than ten intervals.
    Red,
}

/// Intervals without a good checkpoint after which health is red.
const RED_INTERVALS: u64 = 10;
/// Tasks that are named.
const NAMED_MAX: usize = 5;

#[derive(Debug)]
struct Inner {
    report: CheckpointReport,
    took: Latency,
    pause: Latency,
    /// When the last good one was durable.
    good_at_ns: u64,
    /// Tasks whose part in the one under way has not come.
    waited_for: BTreeSet<(usize, usize)>,
    is_over: bool,
}

/// Kept by the keeper and control, read by whoever reports.
#[derive(Debug)]
pub(crate) struct CheckpointStats {
    inner: Mutex<Inner>,
    roster: Arc<Roster>,
    red_ns: u64,
    clock: Clock,
}

impl CheckpointStats {
    /// Of a run that goes on from this checkpoint, which may be that of the end.
    pub fn new(
        resumed: Option<(CheckpointId, bool)>,
        notes: Vec<String>,
        roster: Arc<Roster>,
        interval: Duration,
        clock: Clock,
    ) -> Self {
        let was_finished = resumed.is_some_and(|(_, finished)| finished);
        let resumed = resumed.map(|(checkpoint, _)| checkpoint.0);
        let inner = Inner {
            report: CheckpointReport { resumed, was_finished, notes, ..CheckpointReport::default() },
            took: latency(),
            pause: latency(),
            good_at_ns: clock.now_ns(),
            waited_for: BTreeSet::new(),
            is_over: was_finished,
        };
        let red_ns = (interval.as_nanos() as u64).saturating_mul(RED_INTERVALS);
        CheckpointStats { inner: Mutex::new(inner), roster, red_ns, clock }
    }

    fn with<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        change(&mut self.inner.lock().expect("nothing panics under it"))
    }

    pub fn begun(&self) {
        self.with(|inner| inner.waited_for = self.roster.all_tasks().collect());
    }

    pub fn part_came(&self, component: usize, index: usize) {
        self.with(|inner| inner.waited_for.remove(&(component, index)));
    }

    pub fn completed(&self, completed: Completed) {
        self.with(|inner| {
            inner.good_at_ns = completed.at_ns;
            inner.report.completed += 1;
            inner.report.written_bytes += completed.written_bytes;
            inner.took.saturating_record(completed.took_ns.max(1));
            inner.pause.saturating_record(completed.freeze_ns_max.max(completed.slice_ns_max).max(1));
            inner.report.last = Some(completed);
        });
    }

    /// Durations and pauses of checkpoints so far are forgotten.
    pub fn restart_times(&self) {
        self.with(|inner| (inner.took, inner.pause) = (latency(), latency()));
    }

    pub fn failed(&self, why: String) {
        self.with(|inner| {
            inner.report.failed += 1;
            inner.report.last_failure = Some(why);
        });
    }

    /// Tasks whose part in the checkpoint under way has not come, by name; the first few.
    pub fn waits_for(&self) -> Vec<String> {
        self.with(|inner| self.named(inner))
    }

    fn named(&self, inner: &Inner) -> Vec<String> {
        let waited_for = inner.waited_for.iter().take(NAMED_MAX);
        waited_for.map(|&(component, index)| self.roster.task_name(component, index)).collect()
    }

    pub fn stepped_back(&self, recovery_ns: u64) {
        self.with(|inner| {
            inner.report.step_backs += 1;
            inner.report.last_recovery_ns = recovery_ns;
        });
    }

    /// No further checkpoint is taken.
    pub fn over(&self) {
        self.with(|inner| inner.is_over = true);
    }

    pub fn report(&self) -> CheckpointReport {
        let now_ns = self.clock.now_ns();
        self.with(|inner| {
            let of = |h: &Latency| [h.value_at_quantile(0.5), h.value_at_quantile(0.99), h.max()];
            let age_ns = now_ns.saturating_sub(inner.good_at_ns);
            let is_red = !inner.is_over && age_ns > self.red_ns;
            CheckpointReport {
                took_ns: of(&inner.took),
                pause_ns: of(&inner.pause),
                age_ns,
                health: if is_red { Health::Red } else { Health::Green },
                waits_for: if is_red { self.named(inner) } else { Vec::new() },
                ..inner.report.clone()
            }
        })
    }
}
