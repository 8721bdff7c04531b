//! What a task counts: plain numbers in the task, copied now and then into cells that anyone may read.

use hdrhistogram::Histogram;

use crate::sys::sync::{Arc, AtomicU8, AtomicU64, CachePadded, Ordering};
use crate::task::reporter::{Reasons, Reported};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The counters of one task, as plain numbers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64),+
        }

        #[derive(Debug, Default)]
        struct Cells {
            $($name: AtomicU64),+
        }

        impl Cells {
            fn store(&self, counts: &Counts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)+
            }

            fn load(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed)),+ }
            }
        }

        impl std::ops::AddAssign for Counts {
            fn add_assign(&mut self, other: Counts) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counts! {
    /// Values emitted, counted once however many tasks get them.
    emitted,
    /// Inputs handed to a bolt; calls of `next` of a spout.
    executed,
    /// Inputs acked; of a spout: trees completed.
    acked,
    /// Inputs failed; of a spout: trees failed.
    failed,
    /// Values a spout emitted again after their tree had failed.
    replayed,
    /// Values given up and sent to the dead-letter stream.
    dead_lettered,
    /// Of those, the ones that nobody takes: they are lost.
    untaken,
    /// Times the instance was built anew after a panic, or after an error of a spout.
    rebuilt,
    /// Held tuples dropped without ack or fail.
    dropped,
    /// Errors that no tuple could be failed for: of ticks, callbacks and manual bolts.
    errors,
    /// Ticks delivered.
    ticks,
    /// Tick periods that passed without a tick of their own because the task was busy.
    ticks_missed,
    /// Timers dropped at the end of input, because their time had not come, or because their callback kept failing; and
    /// evictions whose callback kept failing.
    timers_dropped,
    /// Tuples that were in open windows at the end, and the trees of a spout that they belong to: neither acked nor
    /// failed.
    left_open,
    /// Messages for trees that had already ended.
    stale,
    /// Times `next` was not called because `max_spout_pending` was reached.
    held_back,
    /// Turns that found a lane full.
    blocked,
    /// Time in turns.
    busy_ns,
    /// Time between finding a lane full and finding room.
    blocked_ns,
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TaskState {
    /// Built, not yet opened or prepared.
    New,
    /// Opened or prepared; has turns.
    Running,
    /// Waits before it is rebuilt after a failure.
    BackingOff,
    /// All inputs have ended and `finish` has been called, or the spout is finished; something is still under way.
    Finishing,
    /// Has sent end of input on every lane.
    Done,
}

impl TaskState {
    const ALL: [TaskState; 5] =
        [TaskState::New, TaskState::Running, TaskState::BackingOff, TaskState::Finishing, TaskState::Done];
}

/// What keeps a task from going on, as of its last turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// A lane to a consumer is full.
    pub blocked: bool,
    /// A spout has as many trees open as `max_spout_pending` allows.
    pub held_back: bool,
    /// A bolt does not take the input that is there.
    pub unready: bool,
}

/// The cells of one task: written by its executor only (relaxed; when it goes idle, and once a millisecond while it is
/// busy), read by anyone.
#[derive(Debug, Default)]
pub struct TaskMetrics {
    cells: CachePadded<Cells>,
    /// What the task had counted before it was last built anew from a checkpoint.
    before: Cells,
    state: AtomicU8,
    pending: AtomicU64,
    /// Of a spout: emits since the last durable checkpoint.
    since_checkpoint: AtomicU64,
    waits: AtomicU8,
    reported: Reported,
    /// Nobody reads histograms.
    is_bare: bool,
}

impl TaskMetrics {
    /// Those of a task of a component that shares these.
    pub(crate) fn of(reasons: Arc<Reasons>, is_bare: bool) -> Self {
        TaskMetrics { is_bare, reported: Reported::new(reasons), ..TaskMetrics::default() }
    }

    /// True if the task records no histograms.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        self.is_bare
    }

    pub(crate) fn publish(&self, counts: &Counts, state: TaskState, pending: usize) {
        self.cells.store(counts);
        self.pending.store(pending as u64, Ordering::Relaxed);
        self.tell(state);
    }

    /// Publishes a new state at once: others wait for it.
    pub(crate) fn tell(&self, state: TaskState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Publishes what the task waits for, with the counters.
    pub(crate) fn publish_waits(&self, waits: Waits) {
        let Waits { blocked, held_back, unready } = waits;
        self.waits.store(u8::from(blocked) | u8::from(held_back) << 1 | u8::from(unready) << 2, Ordering::Relaxed);
    }

    pub(crate) fn waits(&self) -> Waits {
        let bits = self.waits.load(Ordering::Relaxed);
        Waits { blocked: bits & 1 != 0, held_back: bits & 2 != 0, unready: bits & 4 != 0 }
    }

    /// The counters, at most a millisecond and a turn old; of an idle executor's task as they are.
    pub fn counts(&self) -> Counts {
        let mut counts = self.before.load();
        counts += self.cells.load();
        counts
    }

    /// The task is dropped, and another one begins to count at zero in its place.
    pub(crate) fn carry_over(&self) {
        self.before.store(&self.counts());
        self.cells.store(&Counts::default());
        self.state.store(TaskState::New as u8, Ordering::Relaxed);
    }

    /// The state as of the task's last turn.
    pub fn state(&self) -> TaskState {
        TaskState::ALL[self.state.load(Ordering::Relaxed) as usize]
    }

    /// What the component says about itself.
    pub(crate) fn reported(&self) -> &Reported {
        &self.reported
    }

    /// Errors the component reported that belong to no tuple.
    pub fn errors_reported(&self) -> u64 {
        self.reported.errors()
    }

    /// The last error it reported or broke down with.
    pub fn last_error(&self) -> Option<String> {
        self.reported.last()
    }

    pub(crate) fn publish_since_checkpoint(&self, emits: u64) {
        self.since_checkpoint.store(emits, Ordering::Relaxed);
    }

    /// Emits of a spout since the last durable checkpoint; as old as the counters.
    pub(crate) fn since_checkpoint(&self) -> u64 {
        self.since_checkpoint.load(Ordering::Relaxed)
    }

    /// Dead letters are counted once, however often a restart makes them again: those of the checkpoint that is gone
    /// back to, and those since.
    pub(crate) fn restore_dead_letters(&self, dead_lettered: u64) {
        self.before.dead_lettered.store(dead_lettered, Ordering::Relaxed);
    }

    /// Open trees of a spout, open handles of a manual bolt; as old as the counters.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }
}

/// A latency histogram in nanoseconds: two significant digits, 1 ns to one hour, about 30 KiB.
pub type Latency = Histogram<u64>;

pub(crate) fn latency() -> Latency {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 2).expect("constant bounds are valid")
}

/// A latency histogram that takes equal values in a row as one entry: the trees that end in one turn mostly took the
/// same time, at the resolution of a turn. Recording a repeated value is a comparison and an addition.
#[derive(Debug)]
pub(crate) struct Recorder {
    histogram: Latency,
    /// Not yet in the histogram: this value, so many times.
    value_ns: u64,
    times: u64,
}

impl Recorder {
    pub fn new() -> Self {
        Recorder { histogram: latency(), value_ns: 1, times: 0 }
    }

    #[inline]
    pub fn record(&mut self, value_ns: u64) {
        if value_ns != self.value_ns {
            Self::put(&mut self.histogram, self.value_ns, self.times);
            (self.value_ns, self.times) = (value_ns, 0);
        }
        self.times += 1;
    }

    /// Everything recorded so far.
    pub fn to_histogram(&self) -> Latency {
        let mut histogram = self.histogram.clone();
        Self::put(&mut histogram, self.value_ns, self.times);
        histogram
    }

    fn put(histogram: &mut Latency, value_ns: u64, times: u64) {
        histogram.saturating_record_n(value_ns, times);
    }
}

/// Counts the faults that a topology injects into itself, for its report. Any thread may add.
#[derive(Debug, Default)]
pub struct FaultCounters {
    fails: AtomicU64,
    panics: AtomicU64,
}

impl FaultCounters {
    /// An input is about to be failed on purpose.
    pub fn count_fail(&self) {
        self.fails.fetch_add(1, Ordering::Relaxed);
    }

    /// A panic is about to be raised on purpose.
    pub fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn get(&self) -> Injected {
        Injected { fails: self.fails.load(Ordering::Relaxed), panics: self.panics.load(Ordering::Relaxed) }
    }
}

/// Faults that a topology injected into itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Injected {
    /// Failed executes.
    pub fails: u64,
    /// Panics.
    pub panics: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_loses_no_value_whatever_is_repeated() {
        let mut recorder = Recorder::new();
        assert_eq!(recorder.to_histogram().len(), 0);
        for value_ns in [1, 1, 5, 5, 5, 1, 90, 90] {
            recorder.record(value_ns);
        }
        let histogram = recorder.to_histogram();
        assert_eq!((histogram.count_at(1), histogram.count_at(5), histogram.count_at(90)), (3, 3, 2));
        recorder.record(90);
        assert_eq!(recorder.to_histogram().len(), 9);
    }
}
