//! The control side of checkpoints: beginning and ending them, going back to the last one, stopping after a last one.

use crossbeam::channel::Sender;

use crate::engine::checkpoint::Checkpointing;
use crate::engine::checkpoint::schedule::{Purpose, Schedule};
use crate::engine::checkpoint::stats::CheckpointStats;
use crate::engine::control::{Command, Control, Phase, Request};
use crate::error::{Error, Failure};
use crate::state::store::CheckpointId;
use crate::sys::mutation::{self, Mutation};
use crate::sys::sync::Arc;
use crate::task::shell::{Fatal, Order};
use crate::task::snapshot::{Restored, ToKeeper};

pub(crate) struct Checkpoints {
    schedule: Schedule,
    keeper: Sender<ToKeeper>,
    stats: Arc<CheckpointStats>,
    /// The run goes on from a checkpoint, which may be that of the end.
    resumes: bool,
    was_finished: bool,
    /// Step backs since the last checkpoint that became durable, and how many may be.
    in_row: u32,
    in_row_max: u32,
    /// What is gone back to, once read, for the driver to build from.
    rebuild: Option<Arc<Restored>>,
    fell_at_ns: u64,
    /// Where the topology was in its life when it fell, and what was asked for meanwhile.
    fell_from: Phase,
    asked: Vec<Request>,
    suspending: bool,
}

impl Checkpoints {
    pub fn new(of: &Checkpointing, step_backs_max: u32) -> Self {
        Checkpoints {
            schedule: Schedule::new(of.pace, of.resumed.map(|(checkpoint, _)| checkpoint)),
            keeper: of.keeper.clone(),
            stats: of.stats.clone(),
            resumes: of.resumed.is_some(),
            was_finished: of.resumed.is_some_and(|(_, finished)| finished),
            in_row: 0,
            in_row_max: step_backs_max,
            rebuild: None,
            fell_at_ns: 0,
            fell_from: Phase::Active,
            asked: Vec::new(),
            suspending: false,
        }
    }

    fn tell_keeper(&self, message: ToKeeper) {
        // The keeper outlives control, unless its thread has died; then nothing is completed and time-outs tell.
        let _ = self.keeper.send(message);
    }
}

impl Control {
    pub fn with_checkpoints(mut self, checkpoints: Option<Checkpoints>) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// The run goes on from a checkpoint after whose end there was nothing left to do but to commit.
    pub(super) fn was_finished(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.was_finished)
    }

    /// A component that cannot begin where the checkpoint says is not what the checkpoint was taken of.
    pub(super) fn not_started(&mut self, failure: &Failure) {
        let resumes = self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.resumes);
        let error = if resumes && failure.is_fatal() {
            Error::bad_state(failure.to_string())
        } else {
            Error::failed("not_started", failure.to_string())
        };
        self.fail(error);
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Inactive | Phase::Draining)
    }

    pub(super) fn checkpoint_due_ns(&self) -> Option<u64> {
        self.checkpoints.as_ref().filter(|_| self.is_running()).and_then(|c| c.schedule.next_due_ns())
    }

    pub(super) fn run_checkpoints(&mut self, now_ns: u64) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.schedule.running(now_ns);
        }
    }

    pub(super) fn time_for_checkpoints(&mut self, now_ns: u64) {
        if !self.is_running() {
            return;
        }
        let Some(checkpoints) = &mut self.checkpoints else { return };
        if let Some(overdue) = checkpoints.schedule.overdue(now_ns) {
            let waits_for = checkpoints.stats.waits_for().join(", ");
            let why = match &waits_for[..] {
                "" => "it took longer than checkpoint_timeout to write it".to_owned(),
                tasks => format!("it took longer than checkpoint_timeout; missing are the parts of {tasks}"),
            };
            return self.checkpoint_failed(overdue, why, now_ns);
        }
        let Some((checkpoint, purpose)) = checkpoints.schedule.begin(now_ns) else { return };
        if checkpoint == CheckpointId(0) && mutation::is_always(Mutation::FirstCheckpointOff) {
            checkpoints.schedule.completed(checkpoint, now_ns);
            return;
        }
        let finished = matches!(purpose, Purpose::Last { finished: true });
        checkpoints.tell_keeper(ToKeeper::Begin { checkpoint, finished });
        self.order(Order::Begin(checkpoint));
    }

    pub(super) fn checkpointed(&mut self, checkpoint: CheckpointId, now_ns: u64) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let purpose = checkpoints.schedule.completed(checkpoint, now_ns);
        checkpoints.in_row = 0;
        if matches!(purpose, Some(Purpose::Last { .. })) {
            checkpoints.stats.over();
        }
        if !self.is_running() {
            return;
        }
        self.order(Order::Committed(checkpoint));
        if let Some(Purpose::Last { .. }) = purpose {
            self.stop();
        }
    }

    pub(super) fn checkpoint_failed(&mut self, checkpoint: CheckpointId, why: String, now_ns: u64) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        tracing::warn!(%checkpoint, %why, "a checkpoint is given up");
        checkpoints.stats.failed(why.clone());
        checkpoints.tell_keeper(ToKeeper::Cancel(checkpoint));
        let goes_on = checkpoints.schedule.failed(checkpoint, now_ns);
        self.order(Order::Cancel(checkpoint));
        if !goes_on {
            self.fail(Error::failed("checkpoints_fail", format!("too many checkpoints in a row failed, last: {why}")));
        }
    }

    /// Every task has ended: one more checkpoint, and that is the end.
    pub(super) fn all_done(&mut self) {
        let is_drained = self.phase == Phase::Draining;
        match &mut self.checkpoints {
            Some(checkpoints) if !checkpoints.suspending => checkpoints.schedule.want_last(!is_drained),
            Some(_) => {}
            None => self.stop(),
        }
    }

    pub(super) fn suspend(&mut self, now_ns: u64) {
        self.phase = Phase::Draining;
        self.deadline_ns = Some(now_ns.saturating_add(self.drain_timeout_ns));
        self.order(Order::Suspend);
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.suspending = true;
            checkpoints.schedule.want_last(false);
        }
        self.time_for_checkpoints(now_ns);
    }

    /// A task cannot go on: everything goes back to the last checkpoint.
    pub(super) fn step_back(&mut self, fatal: &Fatal, now_ns: u64) {
        let is_running = self.is_running();
        let phase = self.phase;
        let Some(checkpoints) = &mut self.checkpoints else {
            return self.fail(Error::failed(fatal.state, fatal.message.clone()));
        };
        if phase == Phase::Recovering && !self.executors.iter().all(|seat| seat.halted) {
            // Another task of the same fall.
            return;
        }
        if !is_running {
            return self.fail(Error::failed(fatal.state, fatal.message.clone()));
        }
        checkpoints.in_row += 1;
        if checkpoints.in_row > checkpoints.in_row_max {
            let message = format!(
                "stepped back {} times without a checkpoint in between, which is kept; last failure: {}",
                checkpoints.in_row_max, fatal.message
            );
            return self.fail(Error::failed("step_back_limit", message));
        }
        tracing::warn!(failure = %fatal.message, "stepping back to the last checkpoint");
        (checkpoints.fell_at_ns, checkpoints.fell_from) = (now_ns, phase);
        self.phase = Phase::Recovering;
        self.deadline_ns = None;
        for seat in &mut self.executors {
            (seat.halted, seat.started, seat.done) = (false, false, false);
        }
        self.send(|| Command::Halt);
    }

    pub(super) fn halted(&mut self, executor: usize) {
        self.executors[executor].halted = true;
        if self.phase == Phase::Recovering
            && self.executors.iter().all(|seat| seat.halted)
            && let Some(checkpoints) = &self.checkpoints
        {
            checkpoints.tell_keeper(ToKeeper::StepBack);
        }
    }

    pub(super) fn restored(&mut self, restored: Arc<Restored>) {
        if let Some(checkpoints) = self.checkpoints.as_mut().filter(|_| self.phase == Phase::Recovering) {
            checkpoints.schedule.stepped_back(restored.checkpoint);
            checkpoints.rebuild = Some(restored);
        }
    }

    /// What the driver has to build all tasks from now, if it has to.
    pub fn take_rebuild(&mut self) -> Option<Arc<Restored>> {
        self.checkpoints.as_mut().and_then(|checkpoints| checkpoints.rebuild.take())
    }

    /// All tasks stand where the checkpoint was: on they go.
    pub(super) fn recovered(&mut self, now_ns: u64) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        checkpoints.stats.stepped_back(now_ns - checkpoints.fell_at_ns);
        let (phase, suspending) = (checkpoints.fell_from, checkpoints.suspending);
        let asked = std::mem::take(&mut checkpoints.asked);
        self.phase = if phase == Phase::Draining { Phase::Active } else { phase };
        self.send(|| Command::Run);
        self.run_checkpoints(now_ns);
        match phase {
            Phase::Inactive => self.order(Order::Deactivate),
            Phase::Draining if suspending => self.request(Request::Suspend, now_ns),
            Phase::Draining => self.request(Request::Drain, now_ns),
            _ => {}
        }
        asked.into_iter().for_each(|request| self.request(request, now_ns));
    }

    pub(super) fn ask_again_after_recovery(&mut self, request: Request) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.asked.push(request);
        }
    }
}
