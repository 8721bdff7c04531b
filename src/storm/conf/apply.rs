//! From Storm's configuration to squall's settings.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Map as JsonMap, Value as Json};

use super::check::Checked;
use super::table::KEYS;
use crate::topology::settings::{Guarantee, Settings, WaitPolicy};

/// The largest number of open trees of a task, and the largest capacity of a lane.
const PENDING_MAX: u64 = 1 << 21;
const LANE_CAPACITY_MAX: u64 = 1 << 20;

/// Storm's configuration without any of the user's: the defaults of 2.8.3, what Storm adds when a topology is
/// submitted, and the defaults of newer keys.
pub(super) fn storm_defaults() -> &'static JsonMap<String, Json> {
    static DEFAULTS: OnceLock<JsonMap<String, Json>> = OnceLock::new();
    DEFAULTS.get_or_init(|| {
        let newer = KEYS
            .iter()
            .filter(|key| !key.default.is_empty())
            .filter_map(|key| Some((key.name.to_owned(), serde_json::from_str(key.default).ok()?)));
        let mut all: JsonMap<String, Json> = newer.collect();
        all.extend(ADDED.iter().map(|(key, value)| ((*key).to_owned(), value())));
        let shipped: JsonMap<String, Json> =
            serde_json::from_str(include_str!("defaults.json")).expect("a test reads it");
        all.extend(shipped);
        all
    })
}

/// A key with what makes its value.
type Added = (&'static str, fn() -> Json);

/// What Storm adds when a topology is submitted, besides its name and id.
const ADDED: [Added; 8] = [
    ("topology.kryo.register", || Json::Object(JsonMap::new())),
    ("topology.kryo.decorators", || Json::Array(Vec::new())),
    ("topology.submitter.principal", || "".into()),
    ("topology.submitter.user", || std::env::var("USER").unwrap_or_default().into()),
    ("storm.zookeeper.topology.auth.scheme", || Json::Null),
    ("storm.zookeeper.topology.auth.payload", || Json::Null),
    ("storm.zookeeper.superACL", || Json::Null),
    ("topology.users", || serde_json::json!([null])),
];

/// A configuration: that of a topology, or a component's laid over it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conf {
    values: JsonMap<String, Json>,
    /// Keys that are set to no value: components see that, and not the default.
    unset: BTreeSet<String>,
}

impl Conf {
    /// What these keys say. A key without a value is as if it were not there.
    pub fn new(checked: &[Checked]) -> Self {
        Conf::default().over(checked)
    }

    /// This, with what these keys say over it.
    pub fn over(&self, checked: &[Checked]) -> Self {
        let mut conf = self.clone();
        for entry in checked.iter().filter(|entry| !entry.is_dropped) {
            conf.set(&entry.key, entry.value.clone());
        }
        conf
    }

    /// Sets a key; without a value it is as if it were not there.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        match value.into() {
            Json::Null => {
                self.values.remove(key);
                self.unset.insert(key.to_owned());
            }
            value => {
                self.values.insert(key.to_owned(), value);
                self.unset.remove(key);
            }
        }
    }

    /// The value of a key that is set.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.values.get(key)
    }

    /// A whole number that is set; its type was checked.
    pub fn whole(&self, key: &str) -> Option<u64> {
        let value = self.get(key)?;
        value.as_u64().or_else(|| value.as_f64().filter(|value| *value >= 0.0).map(|value| value as u64))
    }

    /// A flag that is set.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// A text that is set.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The number of tasks of a component with this parallelism hint, as Storm works it out.
    pub fn tasks(&self, parallelism: u64) -> u64 {
        let tasks = self.whole("topology.tasks").unwrap_or(parallelism);
        tasks.min(self.whole("topology.max.task.parallelism").unwrap_or(u64::MAX))
    }

    /// The number of acker tasks that Storm would have.
    pub fn ackers(&self) -> u64 {
        let workers = || self.whole("topology.workers").unwrap_or(1);
        self.whole("topology.acker.executors").unwrap_or_else(workers)
    }

    /// The period of ticks.
    pub fn tick(&self) -> Option<Duration> {
        let millis = self.whole("topology.tick.tuple.freq.millis").map(Duration::from_millis);
        millis.or_else(|| self.whole("topology.tick.tuple.freq.secs").map(Duration::from_secs))
    }

    /// Open trees of a spout task, if Storm limits them.
    pub fn max_spout_pending(&self) -> Option<usize> {
        self.whole("topology.max.spout.pending").map(|trees| trees.clamp(1, PENDING_MAX) as usize)
    }

    /// What components get to see: this, over all that Storm has by default, keys without a value included.
    pub fn for_components(&self) -> JsonMap<String, Json> {
        let mut all = storm_defaults().clone();
        all.extend(self.values.clone());
        all.extend(self.unset.iter().map(|key| (key.clone(), Json::Null)));
        all
    }

    /// Lays what concerns the whole topology over settings.
    pub fn apply(&self, settings: &mut Settings) {
        if self.whole("topology.acker.executors") == Some(0) {
            settings.guarantee = Guarantee::AtMostOnce;
            settings.ackers = Some(0);
        }
        if let Some(seconds) = self.whole("topology.message.timeout.secs") {
            settings.message_timeout = Duration::from_secs(seconds);
        }
        settings.message_timeouts_enabled = self.flag("topology.enable.message.timeouts").unwrap_or(true);
        settings.storm_timeouts = settings.message_timeouts_enabled;
        if let Some(trees) = self.max_spout_pending() {
            settings.max_spout_pending = trees;
        }
        if let Some(tuples) = self.whole("topology.executor.receive.buffer.size") {
            settings.lane_capacity = tuples.clamp(1, LANE_CAPACITY_MAX).next_power_of_two() as usize;
        }
        if let Some(wait) = wait_policy(self) {
            settings.wait = wait;
        }
    }
}

/// What the wait strategies come to: there is one way of waiting here, and the most awake one that is asked for wins.
fn wait_policy(conf: &Conf) -> Option<WaitPolicy> {
    let of = |situation: &str| {
        let class = conf.text(&format!("topology.{situation}.wait.strategy"))?;
        let park_us = conf.get(&format!("topology.{situation}.wait.park.microsec")).and_then(Json::as_f64);
        match class.rsplit('.').next() {
            Some("WaitStrategyPark") if park_us == Some(0.0) => Some(WaitPolicy::BusySpin),
            Some("WaitStrategyPark") => Some(WaitPolicy::Park),
            Some("WaitStrategyProgressive") => Some(WaitPolicy::default()),
            _ => None,
        }
    };
    let asked = ["spout", "bolt", "backpressure"].map(of);
    let rank = |policy: &WaitPolicy| match policy {
        WaitPolicy::BusySpin => 2,
        WaitPolicy::Park => 0,
        _ => 1,
    };
    asked.into_iter().flatten().max_by_key(rank)
}
