//! The outlet of a spout: emits as the roots of trees, and acks at once where nothing is tracked.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::error::Failure;
use crate::task::TaskId;
use crate::task::component::Outcome;
use crate::task::header::{NO_EVENT, Root, Roots};
use crate::task::ledger::Ledger;
use crate::task::lineage::{GivenUp, Lineage, Place};
use crate::task::outlet::Outlet;
use crate::task::payload::{Outputs, Payload, PortAt};

/// Where a spout emits.
pub struct SpoutOutlet<O: Outputs, Id> {
    pub(crate) out: Outlet<O>,
    /// None when tracking is off.
    pub(crate) ledger: Option<Rc<RefCell<Ledger>>>,
    /// The user's id of each tree, by ledger slot.
    pub(crate) ids: Vec<Option<Id>>,
    /// Ids to ack right after the current call, with tracking off.
    pub(crate) self_acked: SelfAcked<Id>,
    /// End of input has been sent: what is emitted now goes nowhere, but for what goes out on the late port.
    pub(crate) ended: bool,
    /// The port that ends with the last open tree, if there is one.
    pub(crate) late_port: Option<usize>,
    /// Under exactly-once: what the spout's emits are to the checkpoints.
    pub(crate) epoch: Epoch,
    /// Items of this task that bolts have given up, and that are not dead letters yet.
    pub(crate) given_up: VecDeque<GivenUp>,
    /// Trees of dead letters that were acked, which count as neither acked nor failed.
    pub(crate) letters_taken: u64,
}

/// What a spout task has emitted since the last durable checkpoint, and how much it may.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    pub exactly_once: bool,
    /// Emits so far at the barrier of the last durable checkpoint.
    pub emitted_before: u64,
    /// Nothing is emitted before the next checkpoint is durable.
    pub waits: bool,
    /// Emits between two checkpoints, at most; grows with every one.
    pub allowance: Option<u64>,
}

impl Epoch {
    /// A checkpoint is durable at whose barrier so many emits had been made.
    pub fn committed(&mut self, emitted: u64) {
        self.emitted_before = emitted;
        self.waits = false;
        self.allowance = self.allowance.and_then(|allowance| allowance.checked_mul(2)).filter(|a| *a < ALLOWANCE_MAX);
    }

    /// Emits that may still be made, of so many so far.
    #[inline]
    pub fn left(&self, emitted: u64) -> u64 {
        match self.allowance {
            _ if self.waits => 0,
            None => u64::MAX,
            Some(allowance) => allowance.saturating_sub(emitted - self.emitted_before),
        }
    }
}

/// An allowance that has grown so large is none.
const ALLOWANCE_MAX: u64 = 1 << 24;
/// Dead letters of a task that are logged one by one; of the others every so-many-th.
const LOGGED_MAX: u64 = 5;
const LOGGED_EVERY: u64 = 1_000;

/// Who remembers that an input is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUpBy {
    ThisProcess,
    LastCheckpoint,
}

impl GivenUpBy {
    /// What the next start does after a stop for a dead letter that nobody takes.
    fn next_start(self) -> &'static str {
        match self {
            GivenUpBy::ThisProcess => {
                "the last checkpoint is kept, and the next start goes on from it and tries the input again"
            }
            GivenUpBy::LastCheckpoint => {
                "that it is given up is part of the last checkpoint, which is kept: whatever is mended, the next start \
                 stops here again until somebody takes it"
            }
        }
    }
}

fn origin_of(why: &GivenUp) -> String {
    why.origin.as_ref().map_or_else(|| "nobody in particular".to_owned(), ToString::to_string)
}

/// A queue of ids that mostly holds one at a time.
#[derive(Debug)]
pub(crate) struct SelfAcked<Id> {
    first: Option<Id>,
    others: VecDeque<Id>,
}

impl<Id> Default for SelfAcked<Id> {
    fn default() -> Self {
        SelfAcked { first: None, others: VecDeque::new() }
    }
}

impl<Id> SelfAcked<Id> {
    #[inline]
    fn push(&mut self, id: Id) {
        match self.first {
            None => self.first = Some(id),
            Some(_) => self.queue(id),
        }
    }

    #[cold]
    fn queue(&mut self, id: Id) {
        self.others.push_back(id);
    }

    /// The oldest; what is emitted while that is acked comes before others of the same call.
    #[inline]
    pub fn take(&mut self) -> Option<Id> {
        if let Some(id) = self.first.take() {
            return Some(id);
        }
        if self.others.is_empty() { None } else { self.take_other() }
    }

    #[cold]
    fn take_other(&mut self) -> Option<Id> {
        self.others.pop_front()
    }
}

impl<T: Payload, Id> SpoutOutlet<T, Id> {
    /// Emits untracked: no callback ever.
    #[inline]
    pub fn emit(&mut self, value: T) {
        self.emit_on::<0>(value);
    }

    /// Emits as the root of a tree: exactly one `ack` or `fail` with this id follows. Ids need not be unique.
    ///
    /// With tracking off (`at_most_once`, or `ackers = 0`) the ack follows right after the current call returns.
    #[inline]
    pub fn emit_tracked(&mut self, id: Id, value: T) {
        self.emit_tracked_on::<0>(id, value);
    }
}

impl<O: Outputs, Id> SpoutOutlet<O, Id> {
    /// Emits untracked on port `N`.
    #[inline]
    pub fn emit_on<const N: usize>(&mut self, value: <O as PortAt<N>>::Item)
    where
        O: PortAt<N>,
    {
        if self.is_open(N) {
            self.out.emit_on::<N>(value);
        }
    }

    /// Emits as the root of a tree on port `N`.
    ///
    /// # Panics
    /// If this task has 4,194,304 open trees, the most a root id can name.
    #[inline]
    pub fn emit_tracked_on<const N: usize>(&mut self, id: Id, value: <O as PortAt<N>>::Item)
    where
        O: PortAt<N>,
    {
        if !self.is_open(N) {
            return;
        }
        if self.ledger.is_some() {
            return self.emit_in_tree::<N>(id, value);
        }
        O::port(&mut self.out.set).emit_bare(value, &mut self.out.core);
        self.self_acked.push(id);
    }

    /// Apart from the untracked case, which needs few registers and can be inlined.
    #[inline(never)]
    fn emit_in_tree<const N: usize>(&mut self, id: Id, value: <O as PortAt<N>>::Item)
    where
        O: PortAt<N>,
    {
        let slot = self.open(|_| id);
        O::port(&mut self.out.set).emit_tracked(value, &mut self.out.core);
        self.seal(slot);
    }

    /// Emits untracked to one task of the direct subscribers of port `N`; see [`Outlet::emit_direct`].
    pub fn emit_direct_on<const N: usize>(&mut self, task: TaskId, value: <O as PortAt<N>>::Item) -> bool
    where
        O: PortAt<N>,
    {
        self.is_open(N) && self.out.emit_direct_on::<N>(task, value)
    }

    /// Emits as the root of a tree to one task of the direct subscribers of port `N`. A task that does not subscribe
    /// gets nothing and the tree, having no tuples, is acked.
    pub fn emit_direct_tracked_on<const N: usize>(
        &mut self,
        task: TaskId,
        id: Id,
        value: <O as PortAt<N>>::Item,
    ) -> bool
    where
        O: PortAt<N>,
    {
        let mut sent = false;
        if self.is_open(N) {
            self.tracked(id, |out| sent = out.emit_direct_on::<N>(task, value));
        }
        sent
    }

    /// What is emitted in `emit` descends from this place of a source: for spouts that replay by themselves.
    #[inline]
    pub(crate) fn emitting_at(&mut self, place: Place, emit: impl FnOnce(&mut Self)) {
        if !self.out.core.carries_places || place.is_none() {
            return emit(self);
        }
        self.out.core.set_lineage(Lineage::from(place));
        emit(self);
        self.out.core.lineage = Lineage::NONE;
    }

    /// Counts a replay in the report; for spouts that replay by themselves.
    pub fn note_replay(&mut self) {
        self.out.core.counts.replayed += 1;
    }

    /// Counts a dead letter that nobody takes, in the report and for the exit code; for spouts that give values up by
    /// themselves and have no stream for them.
    pub fn note_dead_letter(&mut self) {
        self.out.core.counts.dead_lettered += 1;
        self.out.core.counts.untaken += 1;
    }

    /// True if what is emitted on port `N` gets to somebody.
    pub(crate) fn has_subscribers<const N: usize>(&mut self) -> bool
    where
        O: PortAt<N>,
    {
        self.is_open(N) && O::port(&mut self.out.set).has_subscribers()
    }

    /// Nobody takes the dead letter of this input.
    ///
    /// # Errors
    /// Under exactly-once: the topology stops rather than lose it.
    pub(crate) fn note_letter_untaken(&mut self, why: &GivenUp, by: GivenUpBy) -> Outcome {
        if !self.epoch.exactly_once {
            self.out.core.counts.untaken += 1;
            return Ok(());
        }
        let GivenUp { kind, place, error, .. } = why;
        let (position, origin, next_start) = (place.position, origin_of(why), by.next_start());
        Err(Failure::fatal_in(
            "dead_letter",
            format!(
                "the input at position {position} is given up ({kind} by {origin}: {error}) and nobody takes it: \
                 subscribe to the dead letters of its source, or give a file for them (--dead-letters FILE); \
                 {next_start}"
            ),
        ))
    }

    /// Counts a dead letter.
    pub(crate) fn note_letter(&mut self, why: &GivenUp) {
        let counts = &mut self.out.core.counts;
        counts.dead_lettered += 1;
        if counts.dead_lettered <= LOGGED_MAX || counts.dead_lettered.is_multiple_of(LOGGED_EVERY) {
            let GivenUp { kind, place, error, attempts, .. } = why;
            let (position, by, number) = (place.position, origin_of(why), counts.dead_lettered);
            tracing::warn!(position, %kind, %by, attempts, number, "a dead letter: {error}");
        }
    }

    /// False after the end of the source, but for the port that ends later.
    #[inline]
    pub(crate) fn is_open(&self, port: usize) -> bool {
        !self.ended || self.late_port == Some(port)
    }

    /// True if what is emitted in a tree may come back as a failure.
    pub(crate) fn is_tracking(&self) -> bool {
        self.ledger.is_some()
    }

    /// In `ack` of a dead letter's tree: its item is not one that was acked.
    pub(crate) fn note_letter_taken(&mut self) {
        self.out.core.counts.acked -= 1;
        self.letters_taken += 1;
    }

    /// A dead letter is given up itself.
    pub(crate) fn note_letter_lost(&mut self) {
        self.out.core.counts.untaken += 1;
    }

    /// Emits since the last durable checkpoint; without checkpoints, all.
    pub(crate) fn since_checkpoint(&self) -> u64 {
        self.out.core.counts.emitted - self.epoch.emitted_before
    }

    /// Nothing more is emitted before the next checkpoint is durable, which is taken soon.
    pub(crate) fn wait_for_checkpoint(&mut self) {
        self.epoch.waits = true;
        // Ends the row of calls: what is tested there between two of them costs every tuple something.
        self.out.core.above_low_water = true;
    }

    /// Trees whose callback has not been made, this task's share of `max_spout_pending`.
    pub fn pending(&self) -> usize {
        self.ledger.as_ref().map_or(0, |ledger| ledger.borrow().pending())
    }

    /// Time of this turn in nanoseconds since the topology started; virtual under a driver.
    pub fn now_ns(&self) -> u64 {
        self.out.core.now_ns
    }

    /// The call of `emit` stands here once, so that it can be inlined.
    #[inline(always)]
    pub(crate) fn tracked(&mut self, id: Id, emit: impl FnOnce(&mut Outlet<O>)) {
        let (slot, id) = if self.ledger.is_some() { (Some(self.open(|_| id)), None) } else { (None, Some(id)) };
        emit(&mut self.out);
        if let Some(slot) = slot {
            self.seal(slot);
        } else if let Some(id) = id {
            self.self_acked.push(id);
        }
    }

    /// As `tracked`, with an id that is made from the tree's root. Nothing is emitted where nothing is tracked.
    pub(crate) fn tracked_as(&mut self, id: impl FnOnce(Root) -> Id, emit: impl FnOnce(&mut Outlet<O>)) {
        if self.ended || self.ledger.is_none() {
            return;
        }
        let slot = self.open(id);
        emit(&mut self.out);
        self.seal(slot);
    }

    /// Opens a tree: what is emitted now belongs to it.
    #[inline]
    fn open(&mut self, id: impl FnOnce(Root) -> Id) -> u32 {
        let Some(ledger) = &self.ledger else { unreachable!("it has been looked at") };
        let mut ledger = ledger.borrow_mut();
        let opened = ledger.open(self.out.core.now_ns);
        let (slot, root) = opened.expect("a spout task can have at most 4,194,304 open trees");
        if self.out.core.birth_ns != NO_EVENT {
            ledger.date(slot, self.out.core.birth_ns);
        }
        let (index, id) = (slot as usize, id(root));
        if index == self.ids.len() {
            self.ids.push(Some(id));
        } else {
            self.ids[index] = Some(id);
        }
        self.out.core.set_anchor(Roots::One(root, 0));
        slot
    }

    /// The tree has all its edges.
    #[inline]
    fn seal(&mut self, slot: u32) {
        let drawn = self.out.core.take_drawn();
        if let Some(ledger) = &self.ledger {
            ledger.borrow_mut().seal(slot, drawn);
        }
    }
}
