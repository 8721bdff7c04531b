//! The control side of checkpoints: beginning and ending them, going back to the last one, stopping after a last one.

use crossbeam::channel::Sender;

use crate::engine::checkpoint::Checkpointing;
use crate::engine::checkpoint::blame::{Blame, Verdict};
use crate::engine::checkpoint::keeper::Durable;
use crate::engine::checkpoint::restarts::{Beyond, Limits, Passed, Restarts};
use crate::engine::checkpoint::schedule::{Purpose, Schedule};
use crate::engine::checkpoint::stats::CheckpointStats;
use crate::engine::control::{Command, Control, Phase, Request, Stage};
use crate::error::{Error, Failure};
use crate::state::store::CheckpointId;
use crate::sys::sync::Arc;
use crate::task::lineage::{Caution, Place};
use crate::task::metrics::TaskMetrics;
use crate::task::replay::Patience;
use crate::task::shell::{Fatal, Order};
use crate::task::snapshot::{Restored, ToKeeper};
use crate::words::times;

pub(crate) struct Checkpoints {
    schedule: Schedule,
    keeper: Sender<ToKeeper>,
    stats: Arc<CheckpointStats>,
    /// The run goes on from a checkpoint, which may be that of the end.
    resumes: bool,
    was_finished: bool,
    restarts: Restarts,
    blame: Blame,
    restart: Restart,
    /// What is gone back to, once read, for the driver to build from.
    rebuild: Option<Arc<Restored>>,
    fell_at_ns: u64,
    /// Where the topology was in its life when it fell, and what was asked for meanwhile.
    fell_from: Phase,
    asked: Vec<Request>,
    suspending: bool,
    /// Emits of each spout task since the last durable checkpoint.
    spouts: Vec<Arc<TaskMetrics>>,
    /// What to add to the engine's time for nanoseconds since the epoch.
    wall_offset_ns: u64,
}

/// How far a restart from the last checkpoint has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restart {
    /// None is under way.
    None,
    /// The executors drop their tasks; the checkpoint is read at this time at the earliest.
    Halting { read_at_ns: u64 },
    /// All have; the pause is not over.
    Pausing { read_at_ns: u64 },
    /// The keeper reads the checkpoint, or tasks are being built from it.
    Building,
}

/// What control needs to know of failures and restarts.
pub(crate) struct Policy {
    pub patience: Patience,
    pub restarts: Limits,
    pub seed: u64,
    pub spouts: Vec<Arc<TaskMetrics>>,
    pub wall_offset_ns: u64,
}

impl Checkpoints {
    pub fn new(of: &Checkpointing, policy: Policy) -> Self {
        Checkpoints {
            schedule: Schedule::new(of.pace, of.resumed.map(|(checkpoint, _)| checkpoint)),
            keeper: of.keeper.clone(),
            stats: of.stats.clone(),
            resumes: of.resumed.is_some(),
            was_finished: of.resumed.is_some_and(|(_, finished)| finished),
            restarts: Restarts::new(policy.restarts, policy.seed),
            blame: Blame::new(policy.patience),
            restart: Restart::None,
            rebuild: None,
            fell_at_ns: 0,
            fell_from: Phase::Active,
            asked: Vec::new(),
            suspending: false,
            spouts: policy.spouts,
            wall_offset_ns: policy.wall_offset_ns,
        }
    }

    /// Emits since the last durable checkpoint of the spout task that has made most.
    fn emitted_max(&self) -> u64 {
        self.spouts.iter().map(|spout| spout.since_checkpoint()).max().unwrap_or(0)
    }

    /// Inputs that a checkpoint may be behind, which would be good news.
    fn watched(&self) -> Arc<[Place]> {
        let last = Some(self.restarts.last_place()).filter(|place| !place.is_none());
        self.blame.apart().iter().copied().chain(last).collect()
    }

    /// What the topology stops with, at a limit of restarts.
    fn gives_up(&self, beyond: Beyond, fatal: &Fatal) -> Error {
        let last = &fatal.message;
        match beyond {
            Beyond::Restarts => {
                let before = match self.restarts.counted() - 1 {
                    0 => "no restart is allowed (restarts_max)".to_owned(),
                    count => format!("restarted {} without getting past the failure", times(count as u64)),
                };
                let message = format!("{before}; the last checkpoint is kept; the last failure: {last}");
                Error::failed("restart_limit", message)
            }
            Beyond::Trouble => {
                let message = format!(
                    "tried again for as long as retry_for says, without a checkpoint between; the last one is kept, \
                     and the next start goes on from it; the last failure: {last}"
                );
                Error::failed("retry_limit", message)
            }
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

    /// The checkpoint that this start resumed is that of the end: all that is left to do is to commit.
    pub(super) fn was_finished(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.was_finished)
    }

    /// A component that cannot begin where the checkpoint says is not what the checkpoint was taken of. One that cannot
    /// be built again while everything restarts is tried again, as whatever fails then.
    pub(super) fn not_started(&mut self, failure: &Failure, now_ns: u64) {
        if self.phase == Phase::Recovering && !failure.is_fatal() {
            return self.step_back(&Fatal::of(&failure.as_panic(), true, Place::NONE), now_ns);
        }
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
        let checkpoints = self.checkpoints.as_ref()?;
        match checkpoints.restart {
            Restart::Pausing { read_at_ns } => Some(read_at_ns),
            _ if self.is_running() => checkpoints.schedule.next_due_ns(),
            _ => None,
        }
    }

    pub(super) fn run_checkpoints(&mut self, now_ns: u64) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.schedule.running(now_ns);
        }
    }

    pub(super) fn time_for_checkpoints(&mut self, now_ns: u64) {
        self.time_to_read(now_ns);
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
        let finished = matches!(purpose, Purpose::Last { finished: true });
        checkpoints.tell_keeper(ToKeeper::Begin { checkpoint, finished, watched: checkpoints.watched() });
        self.order(Order::Begin(checkpoint));
    }

    pub(super) fn checkpoint_wanted(&mut self, now_ns: u64) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.schedule.want_soon(now_ns);
        }
        self.time_for_checkpoints(now_ns);
    }

    pub(super) fn checkpointed(&mut self, checkpoint: CheckpointId, durable: &Durable, now_ns: u64) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let purpose = checkpoints.schedule.completed(checkpoint, now_ns);
        let last_place = checkpoints.restarts.last_place();
        let passed = match (durable.passed.contains(&last_place), checkpoints.blame.is_given_up(last_place)) {
            (false, _) => Passed::No,
            (true, false) => Passed::Handled,
            (true, true) => Passed::GivenUp { has_input: checkpoints.emitted_max() > 0 },
        };
        checkpoints.restarts.checkpointed(passed);
        checkpoints.blame.passed(&durable.passed);
        if !self.is_running() {
            return;
        }
        // Before the news of the checkpoint: a source must not take itself to be done.
        if !durable.given_up.is_empty() {
            self.send(|| Command::Bury(durable.given_up.clone()));
        }
        self.order(Order::Committed(checkpoint));
        if let Some(Purpose::Last { .. }) = purpose {
            self.send(|| Command::Confirm);
        }
    }

    /// Once the last checkpoint is committed everywhere, that is the end. A commit that has failed was told of before,
    /// and everything goes back to that checkpoint, to commit it again.
    pub(super) fn confirmed(&mut self, executor: usize) {
        self.executors[executor].has_confirmed = true;
        if self.is_running() && self.executors.iter().all(|seat| seat.has_confirmed) {
            self.stop_after_last();
        }
    }

    /// Everything is committed, now or by those who have just been built from the last checkpoint.
    pub(super) fn stop_after_last(&mut self) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.stats.over();
        }
        self.stop();
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

    /// A task cannot go on: everything goes back to the last checkpoint, after a pause.
    pub(super) fn step_back(&mut self, fatal: &Fatal, now_ns: u64) {
        let (is_running, phase) = (self.is_running(), self.phase);
        let Some(checkpoints) = &mut self.checkpoints else {
            return self.fail(Error::failed(fatal.state, fatal.message.clone()));
        };
        match (phase, checkpoints.restart) {
            (Phase::Recovering, Restart::Building) => {}
            // Another task of the same fall.
            (Phase::Recovering, _) => return,
            _ if is_running => (checkpoints.fell_at_ns, checkpoints.fell_from) = (now_ns, phase),
            _ => return self.fail(Error::failed(fatal.state, fatal.message.clone())),
        }
        let verdict = checkpoints.blame.on(fatal, now_ns.saturating_add(checkpoints.wall_offset_ns));
        let pause_ns = match checkpoints.restarts.next(fatal, now_ns) {
            Ok(pause_ns) => pause_ns,
            Err(beyond) => {
                let error = checkpoints.gives_up(beyond, fatal);
                return self.fail(error);
            }
        };
        let pause_ms = pause_ns / 1_000_000;
        let kind = fatal.failure.kind();
        match verdict {
            Verdict::GivenUp => {
                let failure = &fatal.message;
                tracing::warn!(%failure, %kind, "an input has failed too often and becomes a dead letter");
            }
            _ => tracing::warn!(failure = %fatal.message, %kind, pause_ms, "restarting from the last checkpoint"),
        }
        checkpoints.restart = Restart::Halting { read_at_ns: now_ns.saturating_add(pause_ns) };
        self.phase = Phase::Recovering;
        self.executors.iter_mut().for_each(|seat| (seat.stage, seat.has_confirmed) = (Stage::Starting, false));
        self.send(|| Command::Halt);
    }

    pub(super) fn halted(&mut self, executor: usize, now_ns: u64) {
        if self.all_have_come_to(Stage::Halted, executor)
            && self.phase == Phase::Recovering
            && let Some(checkpoints) = &mut self.checkpoints
            && let Restart::Halting { read_at_ns } = checkpoints.restart
        {
            checkpoints.restart = Restart::Pausing { read_at_ns };
            self.time_to_read(now_ns);
        }
    }

    /// The pause before a restart is over, if one is made: the keeper reads the checkpoint.
    fn time_to_read(&mut self, now_ns: u64) {
        if self.phase == Phase::Recovering
            && let Some(checkpoints) = &mut self.checkpoints
            && let Restart::Pausing { read_at_ns } = checkpoints.restart
            && read_at_ns <= now_ns
        {
            checkpoints.restart = Restart::Building;
            checkpoints.tell_keeper(ToKeeper::StepBack);
        }
    }

    pub(super) fn stepped_back(&mut self, mut restored: Box<Restored>) {
        if let Some(checkpoints) = self.checkpoints.as_mut().filter(|_| self.phase == Phase::Recovering) {
            checkpoints.schedule.stepped_back(restored.checkpoint);
            checkpoints.was_finished = restored.finished;
            let emitted = checkpoints.emitted_max();
            restored.caution = Caution {
                poison: checkpoints.blame.poison(),
                suspects: checkpoints.blame.set_apart(),
                allowance: checkpoints.restarts.allow(emitted),
            };
            checkpoints.rebuild = Some(Arc::from(restored));
        }
    }

    /// What the driver has to build all tasks from now, if it has to.
    pub fn take_rebuild(&mut self) -> Option<Arc<Restored>> {
        self.checkpoints.as_mut().and_then(|checkpoints| checkpoints.rebuild.take())
    }

    /// All tasks stand where the checkpoint was: on they go.
    pub(super) fn recovered(&mut self, now_ns: u64) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        checkpoints.restart = Restart::None;
        checkpoints.stats.stepped_back(now_ns - checkpoints.fell_at_ns);
        if checkpoints.was_finished {
            return self.stop_after_last();
        }
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

    /// A drain goes on once the topology runs again; its time passes meanwhile.
    pub(super) fn ask_again_after_recovery(&mut self, request: Request, now_ns: u64) {
        if request == Request::Drain {
            self.deadline_ns.get_or_insert(now_ns.saturating_add(self.drain_timeout_ns));
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.asked.push(request);
        }
    }
}
