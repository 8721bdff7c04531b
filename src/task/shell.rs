//! What an executor sees of a task, and what a task shell is made of.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::error::{Failure, Origin};
use crate::state::Schema;
use crate::sys::clock::Clock;
use crate::sys::offload::Offload;
use crate::sys::random::Random;
use crate::sys::sync::Arc;
use crate::task::acks::Acks;
use crate::task::align::CheckpointId;
use crate::task::backoff::Backoff;
use crate::task::chaos::Chaos;
use crate::task::context::{SpoutContext, TaskInfo};
use crate::task::header::Layout;
use crate::task::lane::Signal;
use crate::task::ledger::Ledger;
use crate::task::lineage::{GivenUp, Place};
use crate::task::measured::Measured;
use crate::task::metrics::{Latency, TaskMetrics};
use crate::task::pace::{Pacer, Schedule};
use crate::task::replay::Patience;
use crate::task::reporter::Reporter;
use crate::task::snapshot::{SnapshotPort, Visibility};
use crate::task::waker::Waker;

/// What a task wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    /// Nothing, until it is signalled or its due time comes.
    Idle,
    /// Another turn: the budget ended it.
    More,
    /// Another turn when there may be room downstream.
    Blocked,
    /// The topology has to stop; see [`Task::take_fatal`].
    Fatal,
}

/// What a task waits for besides input, and what its turn was not for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    /// When it wants a turn without being signalled.
    pub due_ns: Option<u64>,
    /// It waits for the whole topology to be quiet: see `Order::EndInput`.
    pub quiet: bool,
    /// Nothing any more: end of input has been sent and accepted everywhere.
    pub done: bool,
    /// A checkpoint, soon: it does nothing before one is durable.
    pub checkpoint: bool,
    /// Time of the turn that went into a checkpoint: how many tuples the next turn may have does not answer for it.
    pub aside_ns: u64,
}

/// What the engine tells a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Activate,
    Deactivate,
    /// Spouts: no new input; finish what is under way.
    WindDown,
    /// Nothing is queued or running anywhere, at most tuples are held: finished spouts end their input although trees
    /// are open, and loops close.
    EndInput,
    /// Spouts: send the barrier of this checkpoint. Tasks without open input take their snapshot.
    Begin(CheckpointId),
    /// This checkpoint, and each before it that was not committed, is given up.
    Cancel(CheckpointId),
    /// This checkpoint is durable.
    Committed(CheckpointId),
    /// Spouts: emit nothing after the barrier of the checkpoint that is begun next.
    Suspend,
}

/// Why the topology has to stop.
#[derive(Clone, Debug)]
pub(crate) struct Fatal {
    pub state: &'static str,
    pub message: String,
    /// Going back to the last checkpoint may help.
    pub steps_back: bool,
    /// What failed, and the place in a source of the input that was being handled, if one was.
    pub failure: Failure,
    pub place: Place,
}

impl Fatal {
    /// A task cannot go on after a failure of its component. With checkpoints that means a restart from the last one,
    /// unless the component says that going on is pointless.
    pub fn of(failure: &Failure, has_checkpoints: bool, place: Place) -> Self {
        let steps_back = has_checkpoints && !failure.is_fatal();
        Fatal { state: failure.state(), message: failure.to_string(), steps_back, failure: failure.clone(), place }
    }
}

/// One task, its types erased. All calls come from its executor and none blocks.
pub(crate) trait Task {
    /// Opens or prepares the first instance, and finds out whether it can be restored.
    fn start(&mut self, now_ns: u64) -> Result<(), Failure>;
    /// Restores it, once all tasks have started.
    fn restore(&mut self) -> Result<(), Failure> {
        Ok(())
    }
    /// Does up to `budget` units of what there is to do.
    fn turn(&mut self, now_ns: u64, budget: usize) -> TurnEnd;
    /// Books the time of the last turn and tells of a new state; what it wants now.
    fn after_turn(&mut self, elapsed_ns: u64) -> Wants;
    /// Publishes the counters.
    fn publish(&mut self);
    /// Looks into lanes from other executors; true if one has something.
    fn poll_lanes(&mut self) -> bool;
    fn order(&mut self, order: Order);
    /// Inputs that bolts have given up: a spout task makes dead letters of its own.
    fn bury(&mut self, _given_up: &[GivenUp]) {}
    /// Closes or cleans up.
    fn stop(&mut self);
    /// True if nothing is queued or running in it: at most open trees or held tuples are left.
    fn is_quiet(&self) -> bool;
    /// True if it could do something with quiet now.
    fn can_use_quiet(&self) -> bool;
    fn take_fatal(&mut self) -> Option<Fatal>;
    /// Items waiting in its lanes, those that close a cycle aside.
    fn queued(&self) -> usize;
    /// Complete latency of a spout's trees, execute latency of a bolt.
    fn latency(&self) -> Latency;
    /// Adds what was measured since the last call, in a measured run.
    fn take_measured(&mut self, now_ns: u64, into: &mut Measured);
}

/// The typed kit of a component, with its types erased: builds its tasks, on the thread that will run them.
pub(crate) trait TaskKit: Send + Sync {
    fn build(&self, layout: Layout, parts: TaskParts) -> Box<dyn Task>;

    /// The keyed states of the component, told by an instance made for the purpose.
    fn states(&self) -> Vec<(String, Schema)> {
        Vec::new()
    }

    /// When its output is seen, told by an instance made for the purpose.
    fn visibility(&self) -> Visibility {
        Visibility::Immediate
    }

    /// Where it writes and nobody else may, told by an instance made for the purpose.
    fn place(&self) -> Option<String> {
        None
    }

    /// The file that a spout reads, told by an instance made for the purpose.
    fn reads(&self) -> Option<String> {
        None
    }

    /// True if it is known what becomes of the tuples it holds when a barrier comes; only manual bolts hold any.
    fn declares_held(&self) -> bool {
        true
    }

    /// For a spout: a restart loses what it has read, told by an instance made for the purpose.
    fn loses_items(&self) -> bool {
        false
    }

    /// For a spout: it can go back to a position, told by an instance made for the purpose.
    fn can_replay(&self) -> bool {
        true
    }
}

/// Limits of supervision; see the settings of the same names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supervision {
    pub rebuilds_max: u32,
    pub rebuild_progress_tuples: u64,
    pub rebuild_backoff: Backoff,
    pub failures_max: u32,
}

/// Everything a task is joined to.
pub(crate) struct TaskParts {
    pub info: TaskInfo,
    /// Boxed `LaneRx<H, In>`, in the order of the signal's lane bits.
    pub lanes: Vec<Box<dyn Any>>,
    /// For each lane the position, among the component's inputs, of the subscription that its next tuple belongs to.
    pub lane_inputs: Vec<usize>,
    /// For each lane whether all its edges close a declared cycle; such a lane's end is not waited for.
    pub lane_feedback: Vec<bool>,
    /// If it closes a cycle: all tasks outside that have edges into the cycle, here or further along it.
    pub loop_feeders: Vec<Arc<TaskMetrics>>,
    pub signal: Rc<Signal>,
    /// Port and boxed `Box<dyn EdgeOut<T>>` of every outgoing edge.
    pub edges: Vec<(usize, Box<dyn Any>)>,
    /// Of a spout: the port of its dead letters, if no subscriber of it subscribes to another port too.
    pub late_port: Option<usize>,
    /// Then: all spout tasks.
    pub spouts: Vec<Arc<TaskMetrics>>,
    pub acks: Rc<Acks>,
    /// The spout task's ledger; none for bolts and with tracking off.
    pub ledger: Option<Rc<RefCell<Ledger>>>,
    pub max_spout_pending: usize,
    /// Tuples that a bolt may hold at a time; without trees, which bound them.
    pub held_max: usize,
    pub tick_ns: Option<u64>,
    /// How long a bolt may go on holding tuples after its input has ended, without settling any.
    pub let_go_after_ns: u64,
    /// How long a tree can live at most, if there are deadlines; see `HeldTable::is_awaited`.
    pub tree_life_ns: Option<u64>,
    pub patience: Patience,
    pub supervision: Supervision,
    pub waker: Waker,
    pub woken: Rc<std::cell::Cell<bool>>,
    pub metrics: Arc<TaskMetrics>,
    pub clock: Clock,
    /// What to add to the engine's time for nanoseconds since the epoch.
    pub wall_offset_ns: u64,
    pub offload: Offload,
    pub seed: u64,
    /// Tuples carry the place in a source that they descend from.
    pub carries_places: bool,
    /// In a measured run: of a spout, and of a bolt that nobody subscribes to.
    pub pacer: Option<Pacer>,
    pub sink_of: Option<Arc<Schedule>>,
    /// With checkpoints.
    pub snapshots: Option<SnapshotPort>,
    /// Under simulation, of a bolt.
    pub chaos: Option<Chaos>,
}

impl TaskParts {
    /// What was resumed from has been taken over. With checkpoints no instance is built again on its own, and all state
    /// would otherwise be in memory twice.
    pub fn forget_restored(&mut self) {
        if let Some(port) = &mut self.snapshots {
            port.restored = None;
        }
    }

    /// The context of the instance built for the `rebuilds`-th time.
    pub fn context(&self, rebuilds: u64) -> SpoutContext {
        SpoutContext {
            info: self.info.clone(),
            waker: self.waker.clone(),
            clock: self.clock.clone(),
            random: Random::new(self.seed).fork(u64::from(self.info.task.0)).fork(rebuilds),
            offload: self.offload.clone(),
            caution: self.snapshots.as_ref().map(|port| port.caution.clone()).unwrap_or_default(),
            patience: self.patience,
            wall_offset_ns: self.wall_offset_ns,
            reporter: Reporter::new(self.metrics.clone(), self.info.origin()),
        }
    }
}

/// Runs user code; a panic becomes a failure with the panic's message.
#[inline]
pub(crate) fn guarded<R>(origin: &Origin, run: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|failure| failure.at(origin)),
        Err(payload) => Err(panic_failure(payload).at(origin)),
    }
}

pub(crate) fn panic_failure(payload: Box<dyn Any + Send>) -> Failure {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    Failure::panic(format!("panicked: {message}"))
}

/// Counts rebuilds in a row and says when the next one may be made.
#[derive(Debug)]
pub(crate) struct Rebuilds {
    limits: Supervision,
    streak: u32,
    executed_at_last: u64,
    /// Rebuilds for inputs since an input went well, and how many had by then.
    over_inputs: u32,
    acked_at_last: u64,
}

impl Rebuilds {
    pub fn new(limits: Supervision) -> Self {
        Rebuilds { limits, streak: 0, executed_at_last: 0, over_inputs: 0, acked_at_last: 0 }
    }

    /// An input has broken an instance of a task in which so many went well: when to rebuild. There is no limit here:
    /// each input that does so again and again becomes a dead letter. So the pause grows no further than one input can
    /// take it before it is given up: others are waiting.
    pub fn next_over_input(&mut self, now_ns: u64, acked: u64) -> u64 {
        if acked > self.acked_at_last {
            self.over_inputs = 0;
        }
        self.acked_at_last = acked;
        self.over_inputs = self.over_inputs.saturating_add(1);
        now_ns + self.limits.rebuild_backoff.pause_ns(self.over_inputs.min(self.limits.failures_max))
    }

    /// Another failure, after `executed` units of work in all: when to rebuild, or that the limit is reached.
    pub fn next(
        &mut self,
        now_ns: u64,
        executed: u64,
        origin: &Origin,
        failure: &Failure,
        metrics: &TaskMetrics,
    ) -> Result<u64, Fatal> {
        metrics.reported().note(failure.to_string());
        let got_on = metrics.reported().take_progress();
        if got_on || executed - self.executed_at_last >= self.limits.rebuild_progress_tuples {
            self.streak = 0;
        }
        self.executed_at_last = executed;
        self.streak += 1;
        if self.streak > self.limits.rebuilds_max {
            return Err(Fatal {
                steps_back: false,
                failure: failure.clone(),
                place: Place::NONE,
                state: "rebuild_limit",
                message: format!(
                    "{origin} failed {} times in a row with fewer than {} tuples executed between, last: {}",
                    self.streak,
                    self.limits.rebuild_progress_tuples,
                    failure.message()
                ),
            });
        }
        Ok(now_ns + self.limits.rebuild_backoff.pause_ns(self.streak))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_pause_over_inputs_grows_for_as_long_as_one_of_them_is_borne() {
        let rebuild_backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(10));
        let limits = Supervision { rebuilds_max: 10, rebuild_progress_tuples: 1_000, rebuild_backoff, failures_max: 5 };
        let mut rebuilds = Rebuilds::new(limits);
        let mut pauses_ms = |acked: u64, count: usize| -> Vec<u64> {
            (0..count).map(|_| rebuilds.next_over_input(0, acked) / 1_000_000).collect()
        };
        assert_eq!(pauses_ms(1, 8), [1, 2, 4, 8, 16, 16, 16, 16]);
        assert_eq!(pauses_ms(2, 3), [1, 2, 4], "one went well meanwhile");
    }
}
