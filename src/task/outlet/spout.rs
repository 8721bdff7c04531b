//! The outlet of a spout: emits as the roots of trees, and acks at once where nothing is tracked.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::task::TaskId;
use crate::task::header::{NO_EVENT, Root, Roots};
use crate::task::ledger::Ledger;
use crate::task::lineage::{Lineage, SplitName};
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
    /// End of input has been sent: what is emitted now goes nowhere.
    pub(crate) ended: bool,
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

    /// The oldest.
    #[inline]
    pub fn take(&mut self) -> Option<Id> {
        let id = self.first.take()?;
        if !self.others.is_empty() {
            self.move_up();
        }
        Some(id)
    }

    #[cold]
    fn move_up(&mut self) {
        self.first = self.others.pop_front();
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
        if !self.ended {
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
        if self.ended {
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
        !self.ended && self.out.emit_direct_on::<N>(task, value)
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
        self.tracked(id, |out| sent = out.emit_direct_on::<N>(task, value));
        sent
    }

    /// What is emitted in `emit` descends from this position of a split: for spouts that replay by themselves, so that
    /// ids are the same when they do.
    pub(crate) fn emitting_at(&mut self, split: Option<SplitName>, position: u64, emit: impl FnOnce(&mut Self)) {
        let Some(split) = split.filter(|_| self.out.core.traces) else { return emit(self) };
        self.out.core.set_lineage(Lineage::at(split, position));
        emit(self);
        self.out.core.lineage = Lineage::NONE;
    }

    /// Counts a replay in the report; for spouts that replay by themselves.
    pub fn note_replay(&mut self) {
        self.out.core.counts.replayed += 1;
    }

    /// Counts a dead letter in the report; for spouts that dead-letter by themselves.
    pub fn note_dead_letter(&mut self) {
        self.out.core.counts.dead_lettered += 1;
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
        if self.ended {
            return;
        }
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
