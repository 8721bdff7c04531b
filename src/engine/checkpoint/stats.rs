//! What is known about a run's checkpoints.

use crate::state::store::CheckpointId;
use crate::sys::sync::Mutex;
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
    /// How long the last step back took, until spouts could emit again.
    pub last_recovery_ns: u64,
    /// The newest.
    pub last: Option<Completed>,
    /// Duration of checkpoints in nanoseconds: p50, p99, max.
    pub took_ns: [u64; 3],
    /// The longest pause of any task in each checkpoint: p50, p99, max.
    pub pause_ns: [u64; 3],
    /// Bytes written by all.
    pub written_bytes: u64,
}

#[derive(Debug)]
struct Inner {
    report: CheckpointReport,
    took: Latency,
    pause: Latency,
}

/// Kept by the keeper and control, read by whoever reports.
#[derive(Debug)]
pub(crate) struct CheckpointStats(Mutex<Inner>);

impl CheckpointStats {
    /// Of a run that goes on from this checkpoint, which may be that of the end.
    pub fn new(resumed: Option<(CheckpointId, bool)>, notes: Vec<String>) -> Self {
        let was_finished = resumed.is_some_and(|(_, finished)| finished);
        let resumed = resumed.map(|(checkpoint, _)| checkpoint.0);
        let report = CheckpointReport { resumed, was_finished, notes, ..CheckpointReport::default() };
        CheckpointStats(Mutex::new(Inner { report, took: latency(), pause: latency() }))
    }

    fn with<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        change(&mut self.0.lock().expect("nothing panics under it"))
    }

    pub fn completed(&self, completed: Completed) {
        self.with(|inner| {
            inner.report.completed += 1;
            inner.report.written_bytes += completed.written_bytes;
            inner.took.saturating_record(completed.took_ns.max(1));
            inner.pause.saturating_record(completed.freeze_ns_max.max(completed.slice_ns_max).max(1));
            inner.report.last = Some(completed);
        });
    }

    pub fn failed(&self, why: String) {
        self.with(|inner| {
            inner.report.failed += 1;
            inner.report.last_failure = Some(why);
        });
    }

    pub fn stepped_back(&self, recovery_ns: u64) {
        self.with(|inner| {
            inner.report.step_backs += 1;
            inner.report.last_recovery_ns = recovery_ns;
        });
    }

    pub fn report(&self) -> CheckpointReport {
        self.with(|inner| {
            let of = |h: &Latency| [h.value_at_quantile(0.5), h.value_at_quantile(0.99), h.max()];
            CheckpointReport { took_ns: of(&inner.took), pause_ns: of(&inner.pause), ..inner.report.clone() }
        })
    }
}
