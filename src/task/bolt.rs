//! The shell of a bolt task: turns, input lanes, anchoring, ticks, end of input, rebuilding.

pub(crate) mod account;
mod checkpoint;
mod end;
mod instance;
mod rare;
mod redeliver;
mod reject;
mod state;
mod task;
mod wants;

use std::collections::VecDeque;
use std::marker::PhantomData;

use crate::error::{Failure, FailureKind, Origin};
use crate::state::Schema;
use crate::sys::mutation::{self, Forget, Mutation};
use crate::sys::random::{Random, mix};
use crate::sys::sync::Arc;
use crate::task::align::{Alignment, CheckpointId};
use crate::task::bolt::state::States;
use crate::task::component::Outcome;
use crate::task::door::{Door, DoorInside};
use crate::task::edge::{typed_lanes, with_layout};
use crate::task::header::{Bare, Full, Header, Layout, Placed, Tracked};
use crate::task::held::{HeldEvent, HeldTable};
use crate::task::lane::{Control, LaneRx};
use crate::task::lineage::{GivenUp, Place};
use crate::task::measured::SinkMeter;
use crate::task::metrics::{Latency, TaskState, latency};
use crate::task::outlet::{EmitCore, Outlet};
use crate::task::payload::{Outputs, PortSet};
use crate::task::shell::{Fatal, Rebuilds, Task, TaskKit, TaskParts, TurnEnd, guarded};
use crate::task::snapshot::Visibility;
use crate::task::style::{Input, Logic};
use account::Account;
use rare::{Call, Visit};
use redeliver::keeps_values;
use reject::Rejected;

/// The typed kit of a bolt: its factory.
pub(crate) struct BoltKit<L> {
    pub factory: Arc<dyn Fn() -> L + Send + Sync>,
}

impl<L: Logic> TaskKit for BoltKit<L> {
    fn build(&self, layout: Layout, parts: TaskParts) -> Box<dyn Task> {
        with_layout!(layout, H => Box::new(BoltShell::<H, L>::new(self.factory.clone(), parts)))
    }

    fn states(&self) -> Vec<(String, Schema)> {
        let mut states = Vec::new();
        (self.factory)().states(&mut |state| states.push((state.name().to_owned(), state.schema())));
        states
    }

    fn visibility(&self) -> Visibility {
        (self.factory)().checkpointed().map_or(Visibility::Immediate, |checkpointed| checkpointed.visibility())
    }

    fn place(&self) -> Option<String> {
        (self.factory)().checkpointed().and_then(|checkpointed| checkpointed.place())
    }

    fn declares_held(&self) -> bool {
        L::HELD.is_some()
    }
}

struct BoltShell<H, L: Logic> {
    factory: Arc<dyn Fn() -> L + Send + Sync>,
    /// None before the start and while backing off.
    bolt: Option<L>,
    out: Outlet<L::Out>,
    lanes: Vec<LaneRx<H, L::In>>,
    /// Lanes that have ended, and how many are still waited for before `finish`.
    ended: Vec<bool>,
    open_lanes: usize,
    /// It is part of a cycle, which closes when everything is quiet.
    loop_open: bool,
    /// Everything was quiet once and nothing can come into the cycle from outside any more. It closes when all is quiet
    /// again, since what came in last may have come in after the first time.
    loop_closing: bool,
    /// Where the last turn stopped, so that lanes take turns.
    next_lane: usize,
    /// The input that the last visited lane belongs to.
    input: usize,
    align: Alignment,
    /// All barriers of this checkpoint are there, but something is half done.
    snapshot_due: Option<CheckpointId>,
    states: States,
    held: HeldTable,
    /// The held tuple that last broke whoever worked on it.
    held_culprit: Place,
    /// Of the checkpoint that is resumed: what is restored, and what was held, which is delivered before any input.
    stored: Vec<bytes::Bytes>,
    redelivered: VecDeque<(L::In, Place)>,
    /// When tuples still held after the end of input are failed, unless one is settled before.
    let_go_at_ns: Option<u64>,
    /// Tuples that had been settled when that was last put off.
    settled_before: u64,
    /// Under exactly-once: inputs that were given up, for their sources to make dead letters of.
    rejected: Rejected,
    account: Account,
    door: Door<L::Out>,
    door_inside: DoorInside<L::Out>,
    state: TaskState,
    /// As others know it.
    told: TaskState,
    /// The bolt takes input; asked in every turn.
    is_ready: bool,
    finish_called: bool,
    /// The last call has failed, and is made again then.
    finish_at_ns: Option<u64>,
    end_sent: bool,
    /// When the next tick is due, and when a backing-off task is rebuilt.
    tick_due_ns: Option<u64>,
    rebuild_at_ns: u64,
    rebuilds: Rebuilds,
    fatal: Option<Fatal>,
    blocked_since_ns: Option<u64>,
    executed_before: u64,
    latency: Latency,
    /// In open-loop measurement, of a component that nobody subscribes to.
    meter: Option<SinkMeter>,
    origin: Origin,
    parts: TaskParts,
    headers: PhantomData<H>,
}

impl<H: Header, L: Logic> BoltShell<H, L> {
    fn new(factory: Arc<dyn Fn() -> L + Send + Sync>, mut parts: TaskParts) -> Self {
        let lanes = typed_lanes::<H, L::In>(std::mem::take(&mut parts.lanes));
        let seed = mix(parts.seed ^ u64::from(parts.info.task.0));
        let (door, door_inside) = Door::new(parts.waker.clone());
        let mut set = <L::Out as Outputs>::Set::default();
        for (port, edge) in parts.edges.drain(..) {
            set.attach(port, edge);
        }
        let core = EmitCore::new(parts.acks.clone(), Random::new(seed), &parts.info.component, parts.carries_places);
        let lane_count = lanes.len();
        let allowance = parts.snapshots.as_ref().and_then(|port| port.caution.allowance);
        let align = Alignment::new(lane_count);
        let mut held = HeldTable::new(parts.waker.clone(), mix(seed), keeps_values::<L>(&parts));
        held.tree_life_ns = parts.tree_life_ns;
        BoltShell {
            factory,
            bolt: None,
            out: Outlet::new(set, core),
            ended: vec![false; lanes.len()],
            open_lanes: parts.lane_feedback.iter().filter(|feedback| !**feedback).count(),
            lanes,
            loop_open: parts.lane_feedback.contains(&true),
            loop_closing: false,
            next_lane: 0,
            input: 0,
            align,
            snapshot_due: None,
            states: States::new(allowance),
            held,
            held_culprit: Place::NONE,
            stored: Vec::new(),
            redelivered: VecDeque::new(),
            let_go_at_ns: None,
            settled_before: 0,
            rejected: Rejected::default(),
            account: Account::new(lane_count),
            door,
            door_inside,
            state: TaskState::New,
            told: TaskState::New,
            is_ready: true,
            finish_called: false,
            finish_at_ns: None,
            end_sent: false,
            tick_due_ns: None,
            rebuild_at_ns: 0,
            rebuilds: Rebuilds::new(parts.supervision),
            fatal: None,
            blocked_since_ns: None,
            executed_before: 0,
            latency: latency(),
            meter: parts.sink_of.take().map(|schedule| SinkMeter::new(schedule, parts.clock.clone())),
            origin: parts.info.origin(),
            parts,
            headers: PhantomData,
        }
    }

    /// One turn; the parts are in the order in which they must happen.
    fn run(&mut self, now_ns: u64, budget: usize) -> TurnEnd {
        self.held.now_ns = now_ns;
        self.settle_held();
        self.let_go(now_ns);
        if self.fatal.is_some() {
            return TurnEnd::Fatal;
        }
        self.out.core.above_low_water = false;
        if !self.unblock(now_ns) {
            return TurnEnd::Blocked;
        }
        if self.bolt.is_none() && !self.revive(now_ns) {
            return if self.fatal.is_some() { TurnEnd::Fatal } else { TurnEnd::Idle };
        }
        let mut left = budget;
        self.ask_whether_ready();
        self.pull_handover(&mut left);
        self.take_snapshot();
        if self.may_go_on(left) && self.tick_due_ns.is_some_and(|due_ns| due_ns <= now_ns) {
            self.tick(now_ns);
        }
        self.take_deliveries(&mut left);
        self.call_back(&mut left);
        self.redeliver(&mut left);
        self.take_inputs(&mut left);
        // Not only at the end of the turn: a spout may be waiting for it.
        self.out.core.flush_acks();
        // Once more: what it waited for may have been done in this turn, which is the last if nothing comes in.
        if !mutation::is_off(Mutation::SnapshotNotAfterTurn) {
            self.take_snapshot();
        }
        self.come_to_the_end(&mut left);
        let encodes = self.encode_slice();
        self.tend_states();
        match self.turn_end(now_ns, left) {
            TurnEnd::Idle if encodes => TurnEnd::More,
            end => end,
        }
    }

    /// True while another piece of work may be begun: nothing is half done and the budget is not used up.
    fn may_go_on(&self, left: usize) -> bool {
        left > 0
            && !self.out.core.above_low_water
            && self.out.core.blocked_lanes == 0
            && self.out.handover.is_none()
            && self.bolt.is_some()
            && self.fatal.is_none()
            && !self.rejected.is_full()
    }

    fn turn_end(&mut self, now_ns: u64, left: usize) -> TurnEnd {
        if self.fatal.is_some() {
            TurnEnd::Fatal
        } else if self.out.core.blocked_lanes > 0 {
            self.out.core.counts.blocked += 1;
            self.blocked_since_ns.get_or_insert(now_ns);
            TurnEnd::Blocked
        } else if self.out.handover.is_none() && self.is_held_back() {
            self.out.core.counts.blocked += 1;
            self.blocked_since_ns.get_or_insert(now_ns);
            if self.has_more(left) { TurnEnd::More } else { TurnEnd::Idle }
        } else if self.out.handover.is_some() || (self.bolt.is_some() && self.has_more(left)) {
            TurnEnd::More
        } else {
            TurnEnd::Idle
        }
    }

    /// True if there is input, or the turn ended early: then it has not come to what stands last in it, the end.
    fn has_more(&self, left: usize) -> bool {
        let ended_early = left == 0 || self.out.core.above_low_water;
        let has_input = self.is_ready && (!self.parts.signal.lanes.is_empty() || !self.redelivered.is_empty());
        ended_early || has_input || !self.door_inside.is_empty()
    }

    /// True if no lane is blocked any more.
    fn unblock(&mut self, now_ns: u64) -> bool {
        if self.out.core.blocked_lanes > 0 {
            self.out.set.drain(&mut self.out.core);
        }
        if self.out.core.blocked_lanes > 0 {
            return false;
        }
        if let Some(since_ns) = self.blocked_since_ns.take() {
            self.out.core.counts.blocked_ns += now_ns - since_ns;
        }
        true
    }

    /// Runs a call of the bolt that handles no input. True if it succeeded.
    fn call(&mut self, call: Call, run: impl FnOnce(&mut L, &mut Outlet<L::Out>) -> Outcome) -> bool {
        let Some(bolt) = &mut self.bolt else { return false };
        let out = &mut self.out;
        out.core.no_event();
        match guarded(&self.origin, || run(bolt, out)) {
            Ok(()) => true,
            Err(failure) => {
                self.out.core.counts.errors += 1;
                self.parts.metrics.reported().failed(None, &failure);
                match failure.kind() {
                    FailureKind::Panic => self.break_down(failure),
                    FailureKind::Fatal => self.stop_for(&failure),
                    // What it would have done is missing: it is done again after a restart.
                    kind if self.is_exactly_once() && kind != FailureKind::Reject => self.stop_for(&failure),
                    FailureKind::Reject => {}
                    _ if self.parts.snapshots.is_some() && call == Call::Last => self.break_down(failure),
                    _ if call == Call::Last => self.finish_later(&failure),
                    _ => {}
                }
                false
            }
        }
    }

    /// Takes note of what has become of held tuples.
    fn settle_held(&mut self) {
        if self.held.open() == 0 {
            return;
        }
        let mut failed = Vec::new();
        let (core, origin, reported) = (&mut self.out.core, &self.origin, self.parts.metrics.reported());
        self.held.take_events(|event| {
            if let HeldEvent::Failed { place, failure, .. } = &event
                && failure.kind() != FailureKind::LeftOpen
            {
                let failure = failure.clone().at(origin);
                reported.failed(None, &failure);
                failed.push((*place, failure));
            }
            event.apply(core, origin);
        });
        failed.into_iter().for_each(|(place, failure)| self.held_failed(place, &failure));
    }

    /// The trees of a held tuple have failed. Without trees, the failure is as one of any other input.
    fn held_failed(&mut self, place: Place, failure: &Failure) {
        if self.fatal.is_some() || failure.kind() == FailureKind::LeftOpen {
            return;
        }
        if failure.kind() == FailureKind::Panic {
            self.held_culprit = place;
        }
        if failure.is_fatal() {
            self.stop_for_input(failure, place);
        } else if self.is_exactly_once() && failure.is_reject() {
            self.reject(place, failure);
        } else if self.is_exactly_once() {
            self.stop_for_input(failure, place);
        }
    }

    /// Nothing is tracked: what fails is gone back from.
    fn is_exactly_once(&self) -> bool {
        self.parts.snapshots.as_ref().is_some_and(|port| port.exactly_once)
    }

    /// Pulls from an iterator until it ends, a lane is full or the budget is used up; then its input is done.
    fn pull_handover(&mut self, left: &mut usize) {
        // Looked at first: to take what is not there would move its whole place.
        if self.out.handover.is_none() {
            return;
        }
        let Some(mut iterator) = self.out.handover.take() else { return };
        let out = &mut self.out;
        let pulled = guarded(&self.origin, || {
            while *left > 0 && out.core.is_free() {
                *left -= 1;
                match iterator.next() {
                    Some(emission) => out.set.send(emission, &mut out.core),
                    None => return Ok(true),
                }
            }
            Ok(false)
        });
        match pulled {
            Ok(true) => self.input_done(),
            Ok(false) => self.out.handover = Some(iterator),
            Err(failure) => {
                self.input_failed(&failure);
                self.break_down_over_input(failure);
            }
        }
    }

    /// In automatic style inputs are settled one by one, so one more executed than settled means that one is being
    /// handled.
    fn has_open_input(&self) -> bool {
        let counts = &self.out.core.counts;
        !L::MANUAL && counts.executed > counts.acked + counts.failed
    }

    /// The current input, if there is one, has been handled to the end.
    fn input_done(&mut self) {
        self.out.core.counts.acked += u64::from(self.has_open_input());
        self.out.core.ack_anchor();
    }

    fn input_failed(&mut self, failure: &Failure) {
        self.out.core.counts.failed += u64::from(self.has_open_input());
        self.parts.metrics.reported().failed(Some(self.input), failure);
        self.out.core.fail_anchor(failure);
    }

    /// Routes what other threads have emitted through the door.
    fn take_deliveries(&mut self, left: &mut usize) {
        // An empty door tells so without the fence that a receive costs.
        while !self.door_inside.is_empty() && self.may_go_on(*left) {
            let Ok(delivery) = self.door_inside.try_recv() else { return };
            *left -= 1;
            self.account.came_through_door += 1;
            if mutation::forgets(Forget::Door) {
                continue;
            }
            self.account.routed_from_door += 1;
            self.out.core.set_anchor(delivery.roots);
            self.out.core.no_event();
            self.out.core.set_lineage(delivery.lineage);
            // Conversions, keys and groupings are user code.
            let routed = guarded(&self.origin, || {
                self.out.set.send(delivery.emission, &mut self.out.core);
                Ok(())
            });
            match routed {
                Ok(()) => {
                    self.out.core.no_event();
                    self.out.core.ack_anchor();
                }
                Err(failure) => {
                    self.parts.metrics.reported().failed(None, &failure);
                    self.out.core.fail_anchor(&failure);
                    self.break_down(failure);
                }
            }
        }
    }

    /// Executes inputs, lane after lane, starting behind the lane where the last turn stopped.
    fn take_inputs(&mut self, left: &mut usize) {
        let lanes = self.lanes.len();
        while self.is_ready && self.may_go_on(*left) {
            let bits = &self.parts.signal.lanes;
            let Some(lane) = bits.next_from(self.next_lane).or_else(|| bits.next_from(0)) else { return };
            if self.align.is_blocked(lane) {
                // Set again when the lane is released.
                bits.clear(lane);
                continue;
            }
            if self.parts.chaos.is_some() && self.strike(lane, left) {
                continue;
            }
            if self.drain_lane(lane, left) {
                self.parts.signal.lanes.clear(lane);
            }
            self.next_lane = if lane + 1 == lanes { 0 } else { lane + 1 };
        }
    }

    /// Takes from one lane; true if it was found empty.
    fn drain_lane(&mut self, lane: usize, left: &mut usize) -> bool {
        // One guard per visit, not per tuple: what was being executed is told by the anchor and the counters.
        let Some(bolt) = &mut self.bolt else { return false };
        let (out, held, rx, origin) = (&mut self.out, &mut self.held, &mut self.lanes[lane], &self.origin);
        let reported = self.parts.metrics.reported();
        let (finished, meter, is_ready) = (self.finish_called, &mut self.meter, &mut self.is_ready);
        let wall_ns = out.core.now_ns.saturating_add(self.parts.wall_offset_ns);
        let steps_back = self.parts.snapshots.as_ref().is_some_and(|port| port.exactly_once);
        let (held_max, rejected) = (self.parts.held_max, &mut self.rejected);
        let input = &mut self.parts.lane_inputs[lane];
        let executed_before = out.core.counts.executed;
        // Items besides tuples that are executed. Counted apart, so that a panic loses none.
        let mut aside = 0;
        let visit = guarded(origin, || {
            let mut budget = *left;
            let mut number = *input;
            let visit = loop {
                if budget == 0 || !out.core.is_free() {
                    break Visit::Stopped;
                }
                if L::MANUAL {
                    *is_ready = held.open() < held_max && bolt.ready()?;
                    if !*is_ready {
                        break Visit::Stopped;
                    }
                }
                let Some(slot) = rx.pop() else { break Visit::Empty };
                budget -= 1;
                if let Some(control) = slot.as_control() {
                    if let Control::Input(next) = control {
                        (number, *input) = (next, next);
                        aside += 1;
                        continue;
                    }
                    break Visit::Control(control);
                }
                let (header, value) = slot.into_tuple();
                if H::FULL {
                    out.core.birth_ns = header.birth_ns();
                }
                if H::PLACED {
                    out.core.set_lineage(header.lineage());
                }
                let roots = header.into_roots();
                if mutation::forgets(Forget::Execute) {
                    continue;
                }
                if finished {
                    aside += 1;
                    // From a loop that has closed: nothing is executed after the last call.
                    out.core.fail_roots(&roots, &Failure::reject("ended: the loop has closed").at(origin));
                    continue;
                }
                out.core.counts.executed += 1;
                let manual = if L::MANUAL {
                    Some((roots, &mut *held))
                } else {
                    if H::TRACKED {
                        out.core.set_anchor(roots);
                    }
                    None
                };
                let executed = bolt.execute(value, Input { number, wall_ns, manual, redelivered: false }, out);
                if H::FULL
                    && executed.is_ok()
                    && let Some(meter) = meter
                {
                    meter.executed(out.core.birth_ns);
                }
                if let Err(failure) = executed {
                    let (failure, place) = (failure.at(origin), out.core.lineage.place);
                    // What the call has let go of is settled with the other held tuples, for this reason.
                    if L::MANUAL
                        && (failure.is_reject() || !steps_back)
                        && !failure.is_fatal()
                        && held.failed_with_call(&failure)
                    {
                        out.handover = None;
                        continue;
                    }
                    if steps_back && !L::MANUAL && failure.is_reject() && rejected.has_room_for(place) {
                        out.handover = None;
                        out.core.counts.failed += 1;
                        reported.failed(Some(number), &failure);
                        rejected.add(GivenUp::at_once(place, &failure, wall_ns));
                        continue;
                    }
                    if failure.is_fatal() || steps_back {
                        break Visit::Fatal(failure);
                    }
                    out.handover = None;
                    reported.failed(Some(number), &failure);
                    if L::MANUAL {
                        out.core.counts.errors += 1;
                    } else {
                        out.core.counts.failed += 1;
                        out.core.fail_anchor(&failure);
                    }
                    continue;
                }
                if out.handover.is_some() {
                    break Visit::Stopped;
                }
                if !L::MANUAL && !mutation::forgets(Forget::Settle) {
                    out.core.counts.acked += 1;
                    if H::TRACKED {
                        out.core.ack_anchor();
                    }
                }
            };
            let popped = *left - budget;
            *left = budget;
            Ok((visit, popped as u64))
        });
        let executed = out.core.counts.executed - executed_before;
        let visit = self.account.visited(lane, visit, executed, aside, &self.parts.metrics, origin);
        self.input = *input;
        if H::FULL
            && let Some(meter) = &mut self.meter
        {
            meter.visited();
        }
        if H::PLACED
            && self.out.handover.is_none()
            && matches!(visit, Ok(Visit::Empty | Visit::Stopped | Visit::Control(_)))
        {
            self.out.core.no_event();
        }
        match visit {
            Ok(Visit::Empty) => return true,
            Ok(Visit::Stopped) => {}
            Ok(Visit::Control(control)) => self.take_control(lane, control),
            Ok(Visit::Fatal(failure)) => {
                self.input_failed(&failure);
                if self.is_exactly_once() && failure.is_reject() {
                    self.reject(self.out.core.lineage.place, &failure);
                } else {
                    self.stop_for(&failure);
                }
            }
            Err(failure) => {
                self.input_failed(&failure);
                self.break_down_over_input(failure);
            }
        }
        false
    }
}
