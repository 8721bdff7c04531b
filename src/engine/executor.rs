//! An executor: runs its tasks in turns, without ever blocking. Waiting is its driver's business.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::engine::control::{Command, Event, Latencies, Probe};
use crate::engine::placement::TaskRef;
use crate::engine::seat::Seat;
use crate::engine::wiring::{Ends, Package, Shared, build};
use crate::sys::bits::Bits;
use crate::sys::random::Random;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::task::acks::Acks;
use crate::task::lane::Peers;
use crate::task::measured::Measured;
use crate::task::metrics::Counts;
use crate::task::shell::{Order, TurnEnd, Wants};

/// What a pass found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Something was done; look again at once.
    Busy,
    /// Nothing to do before `due_ns`, before input arrives or, if `blocked`, before room is made.
    Idle { due_ns: Option<u64>, blocked: bool },
    /// Told to stop; all tasks are closed.
    Stopped,
}

/// A busy executor publishes the counters of its tasks this often.
const PUBLISH_EVERY_NS: u64 = 1_000_000;

/// How often one pass goes back to consumers that have got input in it, before it looks at the outside again.
const RETURNS_MAX: usize = 64;

/// What the watchdog reads: which task is in a turn, and since when.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Start of the turn that is running; 0 between turns.
    pub since_ns: AtomicU64,
    /// Position of its task in the executor's order.
    pub position: AtomicU64,
}

pub(crate) struct Executor {
    shared: Arc<Shared>,
    ends: Ends,
    seats: Vec<Seat>,
    /// Tasks that want a turn.
    ready: Rc<Bits>,
    /// Tasks that want a turn when there may be room.
    blocked: Bits,
    /// Tasks that wait for the whole topology to be quiet.
    quiet_wanted: Bits,
    /// Tasks that have had a turn since counters were last published, and when that was.
    unpublished: Bits,
    published_at_ns: u64,
    peers: Rc<Peers>,
    acks: Rc<Acks>,
    /// Tasks that look into their incoming lanes themselves, when those are few.
    polled: Vec<usize>,
    /// Task and lane of each incoming lane, for bells.
    incoming: Vec<(usize, usize)>,
    /// A lower bound of all seats' due times.
    due_ns: u64,
    /// Tasks that have not sent end of input.
    open_tasks: usize,
    /// Things that got done, and how many there were when control was last told of going idle.
    progress: u64,
    progress_told: u64,
    /// No ack waits for room in its lane.
    acks_flushed: bool,
    state: State,
    pub pulse: Arc<Pulse>,
    /// Under simulation: chooses the order of turns.
    shuffle: Option<Random>,
    order: Vec<usize>,
    /// Under simulation: told of every turn.
    log: Option<TurnLog>,
}

/// One turn as a trace keeps it: two runs of one seed must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnRecord {
    pub task: TaskRef,
    pub end: TurnEnd,
    pub at_ns: u64,
    pub counts: Counts,
}

pub(crate) type TurnLog = Rc<RefCell<Vec<TurnRecord>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Built, waits for the command to start; or after a fatal failure, waits for the one to stop.
    Waiting,
    Running,
    Stopped,
}

impl Executor {
    pub fn new(
        shared: Arc<Shared>,
        ends: Ends,
        seats: Vec<Seat>,
        ready: Rc<Bits>,
        peers: Rc<Peers>,
        acks: Rc<Acks>,
        incoming: Vec<(usize, usize)>,
    ) -> Self {
        let mut polled: Vec<usize> =
            if ends.bell.is_none() { incoming.iter().map(|lane| lane.0).collect() } else { Vec::new() };
        polled.sort_unstable();
        polled.dedup();
        Executor {
            blocked: Bits::new(seats.len()),
            quiet_wanted: Bits::new(seats.len()),
            unpublished: Bits::new(seats.len()),
            published_at_ns: 0,
            open_tasks: seats.len(),
            progress: 0,
            progress_told: 0,
            acks_flushed: true,
            shared,
            ends,
            seats,
            ready,
            peers,
            acks,
            polled,
            incoming,
            due_ns: u64::MAX,
            state: State::Waiting,
            pulse: Arc::default(),
            shuffle: None,
            order: Vec::new(),
            log: None,
        }
    }

    /// From here on the order of turns is drawn from a seed.
    pub fn shuffle_turns(&mut self, random: Random) {
        self.shuffle = Some(random);
    }

    /// From here on every turn is written down.
    pub fn log_turns(&mut self, log: TurnLog) {
        self.log = Some(log);
    }

    /// What its tasks have measured so far.
    pub fn latencies(&self) -> Latencies {
        self.seats.iter().map(|seat| (seat.reference, seat.task.latency())).collect()
    }

    /// Adds what its tasks have measured since the last call.
    pub fn take_measured(&mut self, into: &mut Measured) {
        let now_ns = self.shared.clock.now_ns();
        self.seats.iter_mut().for_each(|seat| seat.task.take_measured(now_ns, into));
    }

    /// Items waiting in the lanes into its tasks; feedback lanes, which nobody empties after the end, do not count.
    pub fn queued(&self) -> usize {
        self.seats.iter().map(|seat| seat.task.queued()).sum()
    }

    /// Opens or prepares every task, upstream last, and tells control how it went.
    pub fn start(&mut self) {
        let now_ns = self.shared.clock.now_ns();
        for seat in &mut self.seats {
            if let Err(failure) = seat.task.start(now_ns) {
                self.ends.report(Event::NotStarted { failure });
                return;
            }
        }
        self.ends.report(Event::Started { executor: self.ends.executor });
    }

    /// Restores every task; only when all tasks everywhere have started, so that nothing is touched by a start that
    /// one of them refuses.
    fn restore(&mut self) {
        let outcome = self.seats.iter_mut().try_for_each(|seat| seat.task.restore());
        self.ends.report(match outcome {
            Ok(()) => Event::Restored { executor: self.ends.executor },
            Err(failure) => Event::NotStarted { failure },
        });
    }

    /// Does everything there is to do: a turn for each ready task, more for those that get input meanwhile.
    pub fn pass(&mut self) -> Pass {
        self.take_commands();
        match self.state {
            State::Waiting => return Pass::Idle { due_ns: None, blocked: false },
            State::Stopped => return Pass::Stopped,
            State::Running => {}
        }
        let now_ns = self.shared.clock.now_ns();
        self.take_wakes();
        self.take_acks(now_ns);
        self.look_into_lanes();
        self.take_due(now_ns);
        self.take_turns(now_ns)
    }

    /// A pass for tuples and acks from other executors only: everything else that a pass looks at would stand between
    /// their arrival and their being taken. None if there are none.
    #[inline]
    pub fn glance(&mut self, now_ns: u64) -> Option<Pass> {
        if self.state != State::Running {
            return None;
        }
        self.look_into_lanes();
        self.take_acks(now_ns);
        if self.ready.is_empty() { None } else { Some(self.take_turns(now_ns)) }
    }

    /// True if something has come from outside that takes a whole pass.
    #[inline]
    pub fn is_called(&self) -> bool {
        !self.shared.mailboxes[self.ends.executor].tasks.is_empty() || !self.ends.commands.is_empty()
    }

    fn take_turns(&mut self, mut now_ns: u64) -> Pass {
        let mut did_something = false;
        self.begin_order();
        let mut next = 0;
        let mut returns_left = RETURNS_MAX;
        while let Some(position) = self.next_turn(&mut next) {
            let got_on;
            (got_on, now_ns) = self.turn(position, now_ns);
            did_something |= got_on;
            if self.state == State::Waiting {
                return Pass::Idle { due_ns: None, blocked: false };
            }
            // What has just been emitted is still in the cache: its consumers come before the next producer.
            if self.shuffle.is_none()
                && returns_left > 0
                && self.ready.next_from(0).is_some_and(|ready| ready + 1 < next)
            {
                returns_left -= 1;
                next = 0;
            }
        }
        did_something |= self.retry_blocked(now_ns);
        self.progress += u64::from(did_something);
        let had_unsent_acks = !self.acks_flushed;
        self.acks_flushed = self.acks.flush();
        self.progress += u64::from(had_unsent_acks && self.acks_flushed);
        self.wake_peers();
        if did_something || !self.ready.is_empty() {
            if now_ns.saturating_sub(self.published_at_ns) >= PUBLISH_EVERY_NS {
                self.published_at_ns = now_ns;
                self.publish();
            }
            return Pass::Busy;
        }
        self.publish();
        self.note_idle();
        let blocked = !self.blocked.is_empty() || !self.acks_flushed;
        Pass::Idle { due_ns: (self.due_ns != u64::MAX).then_some(self.due_ns), blocked }
    }

    fn publish(&mut self) {
        self.unpublished.drain(|position| self.seats[position].task.publish());
    }

    fn begin_order(&mut self) {
        if let Some(random) = &mut self.shuffle {
            self.order.clear();
            let ready = &self.ready;
            self.order.extend((0..self.seats.len()).filter(|&position| ready.get(position)));
            for index in (1..self.order.len()).rev() {
                self.order.swap(index, random.below(index as u64 + 1) as usize);
            }
        }
    }

    /// The next task of this pass: sinks first, or in the drawn order.
    fn next_turn(&mut self, next: &mut usize) -> Option<usize> {
        let position = match self.shuffle {
            Some(_) => self.order.get(*next).copied()?,
            None => self.ready.next_from(*next)?,
        };
        *next = if self.shuffle.is_some() { *next + 1 } else { position + 1 };
        self.ready.clear(position);
        Some(position)
    }

    /// One turn of one task; returns whether it got on, and the time now.
    fn turn(&mut self, position: usize, now_ns: u64) -> (bool, u64) {
        self.pulse.position.store(position as u64, Ordering::Relaxed);
        self.pulse.since_ns.store(now_ns.max(1), Ordering::Relaxed);
        let seat = &mut self.seats[position];
        let end = seat.task.turn(now_ns, seat.budget);
        let after_ns = self.shared.clock.now_ns();
        self.pulse.since_ns.store(0, Ordering::Relaxed);
        let elapsed_ns = after_ns.saturating_sub(now_ns);
        let wants = seat.task.after_turn(elapsed_ns);
        seat.adapt_budget(elapsed_ns.saturating_sub(wants.aside_ns));
        seat.due_ns = wants.due_ns.unwrap_or(u64::MAX);
        self.unpublished.set(position);
        if end == TurnEnd::Blocked {
            // Whether it has got on is told by its counters.
            seat.task.publish();
        }
        if let Some(log) = &self.log {
            seat.task.publish();
            let counts = seat.metrics.counts();
            log.borrow_mut().push(TurnRecord { task: seat.reference, end, at_ns: now_ns, counts });
        }
        self.due_ns = self.due_ns.min(seat.due_ns);
        let got_on = end != TurnEnd::Blocked || seat.has_got_on();
        match end {
            TurnEnd::Idle => self.blocked.clear(position),
            TurnEnd::More => {
                self.blocked.clear(position);
                seat.signal.wake();
            }
            TurnEnd::Blocked => self.blocked.set(position),
            TurnEnd::Fatal => self.report_fatal(position),
        }
        self.note_wants(position, wants);
        self.wake_peers();
        (got_on, after_ns)
    }

    fn report_fatal(&mut self, position: usize) {
        self.publish();
        if let Some(fatal) = self.seats[position].task.take_fatal() {
            self.state = State::Waiting;
            self.ends.report(Event::Fatal(fatal));
        }
    }

    /// Whether a task is done or waits for quiet changes in its turns only.
    fn note_wants(&mut self, position: usize, wants: Wants) {
        let seat = &mut self.seats[position];
        if wants.done && !seat.done {
            seat.done = true;
            self.open_tasks -= 1;
            if self.open_tasks == 0 {
                self.ends.report(Event::AllDone { executor: self.ends.executor });
            }
        }
        if wants.checkpoint && !seat.wants_checkpoint {
            self.ends.report(Event::CheckpointWanted);
        }
        seat.wants_checkpoint = wants.checkpoint;
        if wants.quiet && !seat.done {
            self.quiet_wanted.set(position);
        } else {
            self.quiet_wanted.clear(position);
        }
    }

    /// Gives blocked tasks another chance; true if one of them got on.
    fn retry_blocked(&mut self, mut now_ns: u64) -> bool {
        let mut progress = false;
        let mut next = 0;
        while let Some(position) = self.blocked.next_from(next) {
            next = position + 1;
            if !self.ready.get(position) {
                let got_on;
                (got_on, now_ns) = self.turn(position, now_ns);
                progress |= got_on;
            }
        }
        progress
    }

    fn take_wakes(&mut self) {
        let tasks = &self.shared.mailboxes[self.ends.executor].tasks;
        if !tasks.is_empty() {
            tasks.drain(|position| {
                self.seats[position].woken.set(true);
                self.ready.set(position);
            });
        }
    }

    /// Applies what has come in; progress even if no tree ends by it, since a probe may have counted it as under way.
    fn take_acks(&mut self, now_ns: u64) {
        for (lane, popped) in &mut self.ends.ack_in {
            if !lane.look() {
                continue;
            }
            while let Some((root, message)) = lane.pop() {
                popped.note();
                self.acks.receive(root, message, now_ns);
                self.progress += 1;
            }
        }
    }

    #[inline]
    fn look_into_lanes(&mut self) {
        for &position in &self.polled {
            if self.seats[position].task.poll_lanes() {
                self.ready.set(position);
            }
        }
        if let Some(bell) = &self.ends.bell
            && !bell.is_empty()
        {
            bell.drain(|index| {
                let (position, lane) = self.incoming[index];
                self.seats[position].signal.lane(lane);
            });
        }
    }

    fn take_due(&mut self, now_ns: u64) {
        if now_ns < self.due_ns {
            return;
        }
        let mut earliest_ns = u64::MAX;
        for (position, seat) in self.seats.iter().enumerate() {
            if seat.due_ns <= now_ns {
                self.ready.set(position);
            } else {
                earliest_ns = earliest_ns.min(seat.due_ns);
            }
        }
        self.due_ns = earliest_ns;
    }

    /// Looks for sleepers among the executors that got input or room; once per turn, not per tuple.
    fn wake_peers(&mut self) {
        let mailboxes = &self.shared.mailboxes;
        if !self.peers.pushed.is_empty() {
            self.peers.pushed.drain(|peer| mailboxes[peer].sleeper.wake());
        }
        if !self.peers.popped.is_empty() {
            self.peers.popped.drain(|peer| mailboxes[peer].sleeper.wake_blocked());
        }
    }

    /// Going idle is news for control while anyone waits for quiet, or something is blocked in a cycle.
    fn note_idle(&mut self) {
        if self.progress == self.progress_told {
            return;
        }
        let wanted = !self.quiet_wanted.is_empty();
        let stuck = self.shared.has_cycle && !self.blocked.is_empty();
        if wanted || stuck {
            self.shared.watches_quiet.store(true, Ordering::Release);
        }
        if self.shared.watches_quiet.load(Ordering::Acquire) {
            self.progress_told = self.progress;
            self.ends.report(Event::Idle);
        }
    }

    fn take_commands(&mut self) {
        // An empty channel tells so without the fence that a receive costs.
        if self.ends.commands.is_empty() {
            return;
        }
        while let Ok(command) = self.ends.commands.try_recv() {
            match command {
                Command::Restore => self.restore(),
                Command::Run => {
                    self.state = State::Running;
                    (0..self.seats.len()).for_each(|position| self.ready.set(position));
                }
                Command::Order(order) => self.order_all(order),
                Command::Bury(given_up) => {
                    for (position, seat) in self.seats.iter_mut().enumerate() {
                        seat.task.bury(&given_up);
                        self.ready.set(position);
                    }
                }
                Command::Probe(round) => self.answer_probe(round),
                Command::Confirm => {
                    (0..self.seats.len()).for_each(|position| self.report_fatal(position));
                    self.ends.report(Event::Confirmed { executor: self.ends.executor });
                }
                Command::Latencies(reply) => {
                    // The asker may have given up waiting; then nobody wants the answer.
                    let _ = reply.send(self.latencies());
                }
                Command::Measured(mut measured, reply) => {
                    self.take_measured(&mut measured);
                    // The asker waits for it, whatever happens here.
                    let _ = reply.send(measured);
                }
                Command::Halt => self.halt(),
                Command::Rebuild(package) => self.rebuild(*package),
                Command::Stop => self.stop(),
            }
        }
    }

    /// Drops all tasks as they are; their lanes and ledgers go with them.
    fn halt(&mut self) {
        self.state = State::Waiting;
        self.publish();
        for seat in &self.seats {
            seat.metrics.carry_over();
        }
        self.seats.clear();
        self.polled.clear();
        self.ready.drain(|_| {});
        self.blocked.drain(|_| {});
        self.due_ns = u64::MAX;
        self.ends.report(Event::Halted { executor: self.ends.executor });
    }

    /// Takes new tasks in place of the old ones and opens them.
    fn rebuild(&mut self, package: Package) {
        let fresh = build(self.shared.clone(), package);
        let (pulse, shuffle, log) = (self.pulse.clone(), self.shuffle.take(), self.log.take());
        *self = Executor { pulse, shuffle, log, ..fresh };
        self.start();
    }

    fn order_all(&mut self, order: Order) {
        for (position, seat) in self.seats.iter_mut().enumerate() {
            // What a task waited for is there; one that waits again after its next turn waits for another.
            seat.wants_checkpoint &= !matches!(order, Order::Committed(_));
            seat.task.order(order);
            self.ready.set(position);
        }
    }

    fn answer_probe(&mut self, round: u64) {
        let running = self.state == State::Running;
        let quiet = running
            && self.ready.is_empty()
            && self.acks_flushed
            && self.shared.offload.unfinished() == 0
            && self.seats.iter().all(|seat| seat.done || seat.task.is_quiet())
            && self.shared.mailboxes[self.ends.executor].tasks.is_empty();
        let stuck = running && self.ready.is_empty() && !self.blocked.is_empty();
        let wanted = self.seats.iter().any(|seat| !seat.done && seat.task.can_use_quiet());
        self.ends.report(Event::Probed(Probe {
            executor: self.ends.executor,
            round,
            quiet,
            stuck,
            wanted,
            sent: self.peers.sent.get(),
            received: self.peers.received.get(),
        }));
    }

    fn stop(&mut self) {
        if self.state != State::Stopped {
            self.state = State::Stopped;
            self.publish();
            self.seats.iter_mut().for_each(|seat| {
                // There is no turn any more to tell of it. What would only step back is in the last checkpoint.
                if let Some(fatal) = seat.task.take_fatal().filter(|fatal| !fatal.steps_back) {
                    self.ends.report(Event::Fatal(fatal));
                }
                seat.task.stop();
            });
            let measured = self.shared.schedule.is_some().then(|| {
                let mut measured = Box::<Measured>::default();
                self.take_measured(&mut measured);
                measured
            });
            let executor = self.ends.executor;
            self.ends.report(Event::Stopped { executor, latencies: self.latencies(), measured });
        }
    }
}
