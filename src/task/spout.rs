//! The shell of a spout task: calls of `next`, its ledger's callbacks, deadlines, wake-ups, rebuilding, the end.

pub(crate) mod checkpoint;
mod task;
mod wants;

use std::collections::VecDeque;

use crate::error::{Failure, FailureKind, Origin};
use crate::sys::mutation::{self, Forget};
use crate::sys::random::{Random, mix};
use crate::sys::sync::Arc;
use crate::task::bolt::account::missing;
use crate::task::component::{Next, Outcome, Position, SplitId, Spout};
use crate::task::header::Layout;
use crate::task::lane::Control;
use crate::task::lineage::Place;
use crate::task::metrics::{Recorder, TaskMetrics, TaskState};
use crate::task::outlet::{EmitCore, Epoch, Outlet, SelfAcked, SpoutOutlet};
use crate::task::pace::Pacer;
use crate::task::payload::{Outputs, PortSet};
use crate::task::shell::{Fatal, Rebuilds, Task, TaskKit, TaskParts, TurnEnd, guarded};
use crate::task::spout::checkpoint::{Checkpoints, cannot_replay, check_identities, first_splits};

/// The typed kit of a spout: its factory.
pub(crate) struct SpoutKit<S> {
    pub factory: Arc<dyn Fn() -> S + Send + Sync>,
}

impl<S: Spout> TaskKit for SpoutKit<S> {
    // The header layout matters to lanes and edges; a spout has no lanes of its own.
    fn build(&self, _layout: Layout, parts: TaskParts) -> Box<dyn Task> {
        Box::new(SpoutShell::new(self.factory.clone(), parts))
    }

    fn can_replay(&self) -> bool {
        (self.factory)().replayable().is_some()
    }

    fn loses_items(&self) -> bool {
        (self.factory)().loses_items()
    }

    fn reads(&self) -> Option<String> {
        (self.factory)().reads()
    }
}

/// When `next` may be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appetite {
    /// At once.
    Eager,
    /// When the waker is used or a tree has ended.
    Waiting,
    /// As `Waiting`, or at this time.
    Until(u64),
    /// Only after a tree has ended: the spout is finished unless a callback makes it emit again.
    Finished,
}

struct SpoutShell<S: Spout> {
    factory: Arc<dyn Fn() -> S + Send + Sync>,
    spout: Option<S>,
    out: SpoutOutlet<S::Out, S::Id>,
    appetite: Appetite,
    state: TaskState,
    /// As others know it.
    told: TaskState,
    /// What the topology wants, and what the instance has been told.
    active_wanted: bool,
    active: bool,
    winding_down: bool,
    /// Wound down: `next` is not called again, whatever the callbacks do.
    next_over: bool,
    end_sent: bool,
    /// Where to resume after a failure: the lowest unacked positions as of some recent turn.
    positions: Vec<(SplitId, Position)>,
    positions_at_ns: u64,
    /// It goes on from these positions, even if there are none: all it had was read to its end.
    resumes: bool,
    checkpoints: Checkpoints,
    rebuild_at_ns: u64,
    rebuilds: Rebuilds,
    fatal: Option<Fatal>,
    blocked_since_ns: Option<u64>,
    /// Inputs that are unaccounted for, as told so far.
    missing: u64,
    latency: Recorder,
    origin: Origin,
    parts: TaskParts,
}

impl<S: Spout> SpoutShell<S> {
    fn new(factory: Arc<dyn Fn() -> S + Send + Sync>, mut parts: TaskParts) -> Self {
        let seed = mix(parts.seed ^ u64::from(parts.info.task.0));
        let mut set = <S::Out as Outputs>::Set::default();
        for (port, edge) in parts.edges.drain(..) {
            set.attach(port, edge);
        }
        let core = EmitCore::new(parts.acks.clone(), Random::new(seed), &parts.info.component, parts.carries_places);
        SpoutShell {
            factory,
            spout: None,
            out: SpoutOutlet {
                out: Outlet::new(set, core),
                ledger: parts.ledger.clone(),
                ids: Vec::new(),
                self_acked: SelfAcked::default(),
                ended: false,
                late_port: parts.late_port,
                epoch: Epoch {
                    exactly_once: parts.snapshots.as_ref().is_some_and(|port| port.exactly_once),
                    allowance: parts.snapshots.as_ref().and_then(|port| port.caution.allowance),
                    ..Epoch::default()
                },
                given_up: VecDeque::new(),
                letters_taken: 0,
            },
            appetite: Appetite::Eager,
            state: TaskState::New,
            told: TaskState::New,
            active_wanted: true,
            active: false,
            winding_down: false,
            next_over: false,
            end_sent: false,
            positions: Vec::new(),
            positions_at_ns: 0,
            resumes: false,
            checkpoints: Checkpoints::new(parts.snapshots.as_ref()),
            rebuild_at_ns: 0,
            rebuilds: Rebuilds::new(parts.supervision),
            fatal: None,
            blocked_since_ns: None,
            missing: 0,
            latency: Recorder::new(),
            origin: parts.info.origin(),
            parts,
        }
    }

    /// Builds and opens an instance; a replayable one takes over the default splits, or resumes where the last one was.
    fn instantiate(&mut self) -> Outcome {
        let mut ctx = self.parts.context(self.out.out.core.counts.rebuilt);
        let (factory, resume, resumes) = (&self.factory, &self.positions, self.resumes);
        let resumed = std::mem::take(&mut self.checkpoints.resumed);
        let needs_replay = self.parts.snapshots.as_ref().is_some_and(|port| port.exactly_once);
        let mut replayable = false;
        let spout = guarded(&self.origin, || {
            let mut spout = factory();
            spout.open(&mut ctx)?;
            if let Some(source) = spout.replayable() {
                replayable = true;
                check_identities(source, &resumed)?;
                source.assign(&first_splits(source, (!resume.is_empty() || resumes).then_some(resume)))?;
            } else if needs_replay {
                return Err(cannot_replay());
            }
            Ok(spout)
        })?;
        if replayable && self.state == TaskState::BackingOff {
            self.forget_trees();
        }
        self.spout = Some(spout);
        self.active = false;
        self.state = if self.end_sent { TaskState::Done } else { TaskState::Running };
        if self.winding_down {
            self.tell_winding_down();
        }
        self.get_hungry();
        Ok(())
    }

    /// Has `next` called again, unless that is over for good.
    fn get_hungry(&mut self) {
        self.appetite = if self.next_over || self.is_over() { Appetite::Finished } else { Appetite::Eager };
    }

    /// Everything unacked will be emitted again by the instance that seeks; callbacks for it would be wrong.
    fn forget_trees(&mut self) {
        if let Some(ledger) = &self.out.ledger {
            for slot in ledger.borrow_mut().forget_all() {
                self.out.ids[slot as usize] = None;
            }
        }
    }

    fn run(&mut self, now_ns: u64, budget: usize) -> TurnEnd {
        if let Some(ledger) = &self.parts.ledger {
            ledger.borrow_mut().expire(now_ns);
        }
        if self.spout.is_none() {
            self.revive(now_ns);
        }
        self.unblock(now_ns);
        self.call_back(budget);
        self.send_barrier();
        self.switch_activity();
        let more = self.call_next(now_ns, budget);
        self.end_if_finished();
        self.remember_positions(now_ns);
        let core = &mut self.out.out.core;
        core.flush_acks();
        let has_ended = self.parts.ledger.as_ref().is_some_and(|ledger| ledger.borrow().has_ended());
        let calls_back = has_ended && self.spout.is_some();
        if self.fatal.is_some() {
            TurnEnd::Fatal
        } else if core.blocked_lanes > 0 {
            core.counts.blocked += 1;
            self.blocked_since_ns.get_or_insert(now_ns);
            // Callbacks need no room: those beyond the budget are due now.
            if calls_back { TurnEnd::More } else { TurnEnd::Blocked }
        } else if calls_back {
            TurnEnd::More
        } else if more && core.above_low_water {
            TurnEnd::Blocked
        } else if more {
            TurnEnd::More
        } else {
            TurnEnd::Idle
        }
    }

    fn unblock(&mut self, now_ns: u64) {
        let core = &mut self.out.out.core;
        if core.blocked_lanes > 0 || core.above_low_water {
            core.above_low_water = false;
            self.out.out.set.drain(core);
        }
        if core.blocked_lanes == 0
            && let Some(since_ns) = self.blocked_since_ns.take()
        {
            core.counts.blocked_ns += now_ns - since_ns;
        }
    }

    fn revive(&mut self, now_ns: u64) {
        if self.state == TaskState::BackingOff
            && now_ns >= self.rebuild_at_ns
            && let Err(failure) = self.instantiate()
        {
            self.break_down(&failure);
        }
    }

    fn break_down(&mut self, failure: &Failure) {
        self.parts.metrics.reported().failed(None, failure);
        let has_checkpoints = self.parts.snapshots.is_some();
        if failure.is_fatal() || has_checkpoints {
            self.fatal = Some(Fatal::of(failure, has_checkpoints, Place::NONE));
            return;
        }
        tracing::warn!(task = %self.origin, %failure, "rebuilding a spout");
        // What is remembered may be some milliseconds old, and without trees that would come twice.
        self.remember_positions_now();
        self.state = TaskState::BackingOff;
        if let Some(broken) = self.spout.take() {
            let _ = guarded(&self.origin, || {
                drop(broken);
                Ok(())
            });
        }
        let core = &mut self.out.out.core;
        // A panic in the middle of a tracked emit leaves its tree announced in part: it could never complete.
        core.fail_anchor(failure);
        core.forget_call();
        core.counts.rebuilt += 1;
        match self.rebuilds.next(core.now_ns, core.counts.emitted, &self.origin, failure, &self.parts.metrics) {
            Ok(at_ns) => self.rebuild_at_ns = at_ns,
            Err(fatal) => self.fatal = Some(fatal),
        }
    }

    /// Calls `ack` and `fail` for trees that have ended; also while held back, inactive or blocked.
    fn call_back(&mut self, budget: usize) {
        let mut left = budget;
        while left > 0 && self.spout.is_some() && self.out.ledger.as_ref().is_some_and(|l| l.borrow().has_ended()) {
            // A callback may change what `next` finds.
            self.get_hungry();
            let result = self.call_back_in_a_row(&mut left);
            self.note_callback(result);
        }
    }

    /// One guard for a row of callbacks, which ends with the first that fails.
    fn call_back_in_a_row(&mut self, left: &mut usize) -> Outcome {
        let Some(spout) = &mut self.spout else { return Ok(()) };
        let Some(ledger) = self.out.ledger.clone() else { return Ok(()) };
        let (out, latency, metrics, pacer) =
            (&mut self.out, &mut self.latency, &self.parts.metrics, &mut self.parts.pacer);
        let (now_ns, end_sent) = (out.out.core.now_ns, self.end_sent);
        guarded(&self.origin, || {
            while *left > 0 {
                // In a statement of its own: the callback may open trees.
                let ended = ledger.borrow_mut().take_ended();
                let Some(ended) = ended else { break };
                *left -= 1;
                if mutation::forgets(Forget::Tree) {
                    continue;
                }
                let Some(id) = out.ids[ended.slot as usize].take() else { continue };
                let Some(failure) = ended.failure else {
                    out.out.core.counts.acked += 1;
                    let elapsed_ns = now_ns.saturating_sub(ended.emitted_ns).max(1);
                    if !metrics.is_bare() {
                        latency.record(elapsed_ns);
                    }
                    if let Some(pacer) = pacer {
                        pacer.completed(ended.emitted_ns, elapsed_ns);
                    }
                    spout.ack(id, out)?;
                    continue;
                };
                if failure.kind() == FailureKind::LeftOpen {
                    out.out.core.counts.left_open += 1;
                    continue;
                }
                out.out.core.counts.failed += 1;
                if failure.origin().is_none() {
                    // Every other one has been noted where it arose.
                    metrics.reported().failed(None, &failure);
                }
                // After its end nothing can be emitted again: the spout may as well give the value up.
                let failure = if end_sent { failure.after_end() } else { failure };
                spout.fail(id, &failure, out)?;
            }
            Ok(())
        })
    }

    fn note_callback(&mut self, result: Outcome) {
        if let Err(failure) = result
            && let Err(failure) = note_callback_failure(failure, &self.parts.metrics, &mut self.out)
        {
            self.break_down(&failure);
        }
    }

    fn switch_activity(&mut self) {
        if self.active == self.active_wanted || self.end_sent {
            return;
        }
        let Some(spout) = &mut self.spout else { return };
        let activate = self.active_wanted;
        self.active = activate;
        let result = guarded(&self.origin, || if activate { spout.activate() } else { spout.deactivate() });
        if activate {
            self.get_hungry();
        }
        self.note_callback(result);
    }

    /// Calls `next` as often as budget, pending trees, lanes and pace allow. True if it wants to go on.
    fn call_next(&mut self, now_ns: u64, budget: usize) -> bool {
        if self.parts.woken.take() && self.appetite != Appetite::Finished {
            self.appetite = Appetite::Eager;
        }
        if matches!(self.appetite, Appetite::Until(at_ns) if at_ns <= now_ns) {
            self.appetite = Appetite::Eager;
        }
        self.ack_untracked();
        match &self.parts.pacer {
            None if self.may_call_next() => self.call_next_in_a_row::<false>(now_ns, budget),
            None => {}
            Some(_) => self.call_next_at_pace(now_ns, budget),
        }
        self.wants_more() && self.parts.pacer.as_ref().is_none_or(|pacer| !pacer.is_gate() || pacer.due_ns() <= now_ns)
    }

    /// True if `next` would be called, room and pace permitting.
    fn wants_more(&self) -> bool {
        self.may_emit() && self.spout.is_some() && !self.is_held_back()
    }

    /// In a measured run: calls `next` for the events that are due, and ends the spout after its last.
    fn call_next_at_pace(&mut self, now_ns: u64, budget: usize) {
        let Some(pacer) = &mut self.parts.pacer else { return };
        pacer.begin(now_ns);
        self.out.out.core.birth_ns = pacer.no_event_ns();
        self.end_with_schedule(now_ns);
        if self.may_call_next() {
            match self.parts.pacer.as_ref().is_some_and(Pacer::is_gate) {
                true => self.call_next_in_a_row::<true>(now_ns, budget),
                false => self.call_next_in_a_row::<false>(now_ns, budget),
            }
            self.end_with_schedule(now_ns);
        }
    }

    fn end_with_schedule(&mut self, now_ns: u64) {
        let has_more = self.appetite == Appetite::Eager;
        if self.parts.pacer.as_ref().is_some_and(|pacer| pacer.has_ended(now_ns, has_more)) {
            self.wind_down();
        }
    }

    fn may_emit(&self) -> bool {
        self.appetite == Appetite::Eager && self.active && !self.checkpoints.holds && self.emits_left() > 0
    }

    /// Emits that may be made before the next checkpoint is durable.
    fn emits_left(&self) -> u64 {
        self.out.epoch.left(self.out.out.core.counts.emitted)
    }

    fn may_call_next(&self) -> bool {
        self.may_emit() && !self.is_over() && self.fatal.is_none()
    }

    /// The hot part: one guard for the whole row of calls, since a guard per call costs as much as an emit.
    fn call_next_in_a_row<const PACED: bool>(&mut self, now_ns: u64, budget: usize) {
        let Some(spout) = &mut self.spout else { return };
        let (out, origin, pending_max) = (&mut self.out, &self.origin, self.parts.max_spout_pending);
        let metrics = &self.parts.metrics;
        let mut pacer = self.parts.pacer.as_mut().filter(|_| PACED);
        let budget = budget.min(usize::try_from(out.epoch.left(out.out.core.counts.emitted)).unwrap_or(usize::MAX));
        let found = guarded(origin, || {
            for _ in 0..budget {
                let core = &mut out.out.core;
                if core.blocked_lanes > 0 || core.above_low_water {
                    break;
                }
                if pacer.as_ref().is_some_and(|pacer| pacer.due_ns() > now_ns) {
                    break;
                }
                if out.ledger.as_ref().is_some_and(|ledger| ledger.borrow().pending() >= pending_max) {
                    core.counts.held_back += 1;
                    break;
                }
                if let Some(pacer) = &pacer {
                    core.birth_ns = pacer.due_ns();
                }
                core.counts.executed += 1;
                let found = spout.next(out)?;
                if let Some(pacer) = &mut pacer {
                    out.out.core.birth_ns = pacer.no_event_ns();
                    match found {
                        Next::Emitted => pacer.emitted(now_ns),
                        Next::Idle | Next::WakeAfter(_) => pacer.starved(),
                        Next::Finished => {}
                    }
                }
                while let Some(id) = out.self_acked.take() {
                    out.out.core.counts.acked += 1;
                    if let Err(failure) = spout.ack(id, out) {
                        note_callback_failure(failure, metrics, out)?;
                    }
                }
                if found != Next::Emitted {
                    return Ok(found);
                }
            }
            Ok(Next::Emitted)
        });
        match found {
            Ok(Next::Emitted) => {}
            Ok(Next::Idle) => self.appetite = Appetite::Waiting,
            Ok(Next::WakeAfter(after)) => {
                self.appetite = Appetite::Until(now_ns.saturating_add(after.as_nanos() as u64));
            }
            Ok(Next::Finished) => self.appetite = Appetite::Finished,
            Err(failure) => self.break_down(&failure),
        }
    }

    fn is_held_back(&self) -> bool {
        self.out.pending() >= self.parts.max_spout_pending
    }

    /// With tracking off, acks what the last call emitted, before anything else happens.
    fn ack_untracked(&mut self) {
        // One by one: an `ack` may emit, and what an instance that breaks down leaves is for the next one.
        while let Some(spout) = &mut self.spout
            && let Some(id) = self.out.self_acked.take()
        {
            let out = &mut self.out;
            out.out.core.counts.acked += 1;
            let result = guarded(&self.origin, || spout.ack(id, out));
            self.note_callback(result);
        }
    }

    /// Nothing more can be emitted, not even a dead letter.
    fn is_over(&self) -> bool {
        self.end_sent && self.out.late_port.is_none()
    }

    fn end_if_finished(&mut self) {
        if self.end_sent && self.out.pending() == 0 {
            self.end_late_port();
        }
        if self.appetite == Appetite::Finished && self.spout.is_some() && !self.end_sent && !self.checkpoints.holds {
            self.state = TaskState::Finishing;
            if self.out.pending() == 0 && !self.owes_checkpoint() {
                self.send_end();
            }
        }
    }

    /// Under exactly-once, until everything that it has emitted is behind a durable checkpoint: an input may still be
    /// given up somewhere, and it is this spout that makes a dead letter of it.
    fn owes_checkpoint(&self) -> bool {
        self.out.epoch.exactly_once && (self.out.since_checkpoint() > 0 || !self.out.given_up.is_empty())
    }

    /// A checkpoint, soon: nothing is done before one is durable.
    fn wants_checkpoint(&self) -> bool {
        let is_finished = self.appetite == Appetite::Finished && !self.end_sent && self.owes_checkpoint();
        self.out.epoch.exactly_once && (is_finished || (self.appetite == Appetite::Eager && self.emits_left() == 0))
    }

    /// Compares the trees that were opened with their ends, and asks the instance for its own sums.
    fn balance(&mut self) {
        let counts = &self.out.out.core.counts;
        let trees = self.out.ledger.as_ref().map_or(0, |ledger| {
            let called_back = counts.acked + self.out.letters_taken + counts.failed + counts.left_open;
            ledger.borrow().called_back().abs_diff(called_back)
        });
        let spout = &self.spout;
        let items = guarded(&self.origin, || Ok(spout.as_ref().map_or(0, |spout| spout.unaccounted())));
        let total = trees + items.unwrap_or(0);
        if total > self.missing {
            let more = total - self.missing;
            missing(more, "handed out, and neither acked nor given up nor open", &self.parts.metrics, &self.origin);
            self.missing = total;
        }
    }

    fn send_end(&mut self) {
        if !self.end_sent {
            self.balance();
            self.end_sent = true;
            self.out.ended = true;
            self.state = TaskState::Done;
            // Until the last tree is over, one that fails has its dead letter.
            self.out.late_port = self.out.late_port.filter(|_| self.out.pending() > 0);
            let late_port = self.out.late_port;
            self.out.out.set.control_on(&|port| Some(port) != late_port, Control::End, &mut self.out.out.core);
        }
    }

    fn end_late_port(&mut self) {
        if let Some(late_port) = self.out.late_port.take() {
            self.out.out.set.control_on(&|port| port == late_port, Control::End, &mut self.out.out.core);
        }
    }

    fn wind_down(&mut self) {
        if self.winding_down {
            return;
        }
        self.winding_down = true;
        if let Some(pacer) = &mut self.parts.pacer {
            pacer.end();
        }
        self.tell_winding_down();
        self.parts.signal.wake();
    }

    /// An instance that is being rebuilt is told later.
    fn tell_winding_down(&mut self) {
        if let Some(spout) = &mut self.spout {
            let goes_on = guarded(&self.origin, || Ok(spout.wind_down()));
            self.next_over = !matches!(goes_on, Ok(true));
            // A deactivated one must still come to its end: what it holds back are replays only.
            self.active_wanted |= !self.next_over;
            self.get_hungry();
        }
    }
}

/// A failed callback is counted and reported; an error means that the instance is broken.
#[cold]
fn note_callback_failure<O: Outputs, Id>(
    failure: Failure,
    metrics: &TaskMetrics,
    out: &mut SpoutOutlet<O, Id>,
) -> Result<(), Failure> {
    out.out.core.counts.errors += 1;
    if matches!(failure.kind(), FailureKind::Panic | FailureKind::Fatal) {
        return Err(failure);
    }
    metrics.reported().failed(None, &failure);
    Ok(())
}
