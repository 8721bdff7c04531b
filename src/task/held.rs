//! Held tuples: owned handles of manual style, which may be acked, failed, reset or dropped on any thread.
//!
//! Each handle owns a preallocated slot of its task. Whatever happens to the handle is noted in the slot, and the slot
//! is linked into an intrusive list that the task empties at its turns: nothing blocks, allocates or fails. A slot is
//! linked at most once, because only the change of its events from "none" links it. A loom model below explores this.

mod awaited;

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::error::{Failure, FailureKind, Origin};
use crate::sys::mutation::{self, Forget};
use crate::sys::random::mix;
use crate::sys::sync::{Arc, AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::task::header::Roots;
use crate::task::lineage::{Lineage, Place};
use crate::task::outlet::EmitCore;
use crate::task::waker::Waker;

const ACK: u8 = 1;
const FAIL: u8 = 2;
const DROP: u8 = 4;
const RESET: u8 = 8;
const NIL: u32 = u32::MAX;

/// Slots of one segment. Segments are added as more tuples are held at once.
#[cfg(not(squall_loom))]
pub(crate) const SEGMENT_SLOTS: usize = 256;
#[cfg(squall_loom)]
pub(crate) const SEGMENT_SLOTS: usize = 2;

/// A fixed number of slots with the list of those that have something to tell.
pub(crate) struct Segment {
    slots: Box<[Slot]>,
    /// First slot of the list; each links to the next.
    head: AtomicU32,
    /// Set when the task is gone or has stepped back: handles become no-ops.
    closed: AtomicBool,
    waker: Waker,
    /// Counts the edges drawn by other threads, which have no generator of their own.
    foreign_edges: AtomicU64,
    seed: u64,
}

struct Slot {
    /// XOR of the edges drawn for the held tuple, by any thread.
    drawn: AtomicU64,
    /// What happened to the handle since the task last looked.
    events: AtomicU8,
    next: AtomicU32,
    /// Written by the handle before it notes the failure, taken by the task after: the events order the two, so the
    /// lock is never contended and nobody waits for it.
    failure: Mutex<Option<Failure>>,
}

impl Slot {
    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().expect("nothing panics under it")
    }
}

impl Segment {
    pub fn new(waker: Waker, seed: u64) -> Self {
        let slot = |_| Slot {
            drawn: AtomicU64::new(0),
            events: AtomicU8::new(0),
            next: AtomicU32::new(NIL),
            failure: Mutex::new(None),
        };
        Segment {
            slots: (0..SEGMENT_SLOTS).map(slot).collect(),
            head: AtomicU32::new(NIL),
            closed: AtomicBool::new(false),
            waker,
            foreign_edges: AtomicU64::new(0),
            seed,
        }
    }

    /// Notes an event and makes the task look.
    fn note(&self, index: u32, event: u8) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let slot = &self.slots[index as usize];
        // Release: the draws and the failure written before are visible to the task that takes the event.
        if slot.events.fetch_or(event, Ordering::AcqRel) == 0 {
            let mut head = self.head.load(Ordering::Relaxed);
            loop {
                slot.next.store(head, Ordering::Relaxed);
                match self.head.compare_exchange_weak(head, index, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => head = now,
                }
            }
            self.waker.wake();
        }
    }

    /// Takes all noted events; for the owning task only.
    fn take_events(&self, mut each: impl FnMut(u32, u8, u64, Option<Failure>)) {
        let mut index = self.head.swap(NIL, Ordering::AcqRel);
        while index != NIL {
            let slot = &self.slots[index as usize];
            // Read before the events are taken: afterwards the slot may be linked again.
            let next = slot.next.load(Ordering::Relaxed);
            let events = slot.events.swap(0, Ordering::AcqRel);
            let failure = if events & FAIL != 0 { slot.failure().take() } else { None };
            each(index, events, slot.drawn.load(Ordering::Relaxed), failure);
            index = next;
        }
    }
}

/// What happened to one held tuple.
#[derive(Debug)]
pub(crate) enum HeldEvent {
    Acked { roots: Roots, drawn: u64 },
    Failed { roots: Roots, place: Place, failure: Failure, dropped: bool },
    Reset { roots: Roots },
}

impl HeldEvent {
    /// What happened while something else did: whoever let go of the tuple then did so for this reason.
    pub fn because_of(self, cause: &Failure) -> Self {
        match self {
            HeldEvent::Failed { roots, place, dropped: true, .. } => {
                HeldEvent::Failed { roots, place, failure: cause.clone(), dropped: false }
            }
            other => other,
        }
    }

    /// Counts it and tells the trees.
    pub fn apply(self, core: &mut EmitCore, origin: &Origin) {
        match self {
            HeldEvent::Acked { roots, drawn } => {
                core.counts.acked += 1;
                core.ack_roots(&roots, drawn);
            }
            HeldEvent::Failed { roots, failure, dropped, .. } => {
                let is_left_open = failure.kind() == FailureKind::LeftOpen;
                core.counts.failed += u64::from(!is_left_open);
                core.counts.left_open += u64::from(is_left_open);
                core.counts.dropped += u64::from(dropped);
                core.fail_roots(&roots, &failure.at(origin));
            }
            HeldEvent::Reset { roots } => core.reset_roots(&roots),
        }
    }
}

/// The task's side: which tuples are held.
pub(crate) struct HeldTable {
    segments: Vec<Arc<Segment>>,
    /// Trees of each held tuple, and the place that it descends from, by segment and slot.
    inputs: Vec<Vec<(Roots, Place)>>,
    free: Vec<(u32, u32)>,
    open: usize,
    waker: Waker,
    seed: u64,
    /// The time of the task's turn.
    pub now_ns: u64,
    /// When each held tuple was taken or last given a fresh deadline.
    since_ns: Vec<Vec<u64>>,
    /// After this time no tree lives any more, whatever happens; none if trees have no deadlines.
    pub tree_life_ns: Option<u64>,
    /// Tuples settled so far.
    settled: u64,
    /// The slot of the tuple that was taken last.
    last: Option<(u32, u32)>,
    /// The encoded value of each held tuple, with the number of the tuple; none if values are not kept.
    values: Option<Values>,
}

#[derive(Default)]
struct Values {
    by_slot: HashMap<(u32, u32), (u64, Bytes, Place)>,
    next: u64,
}

impl HeldTable {
    pub fn new(waker: Waker, seed: u64, keeps_values: bool) -> Self {
        let values = keeps_values.then(Values::default);
        HeldTable {
            segments: Vec::new(),
            inputs: Vec::new(),
            free: Vec::new(),
            open: 0,
            waker,
            seed,
            now_ns: 0,
            since_ns: Vec::new(),
            tree_life_ns: None,
            settled: 0,
            last: None,
            values,
        }
    }

    /// True if held tuples are to be given with their values.
    pub fn keeps_values(&self) -> bool {
        self.values.is_some()
    }

    /// The values of all held tuples, and the places that they descend from, in the order in which they came in.
    pub fn values(&self) -> (Vec<Bytes>, Vec<Place>) {
        let Some(values) = &self.values else { return (Vec::new(), Vec::new()) };
        let mut all: Vec<&(u64, Bytes, Place)> = values.by_slot.values().collect();
        all.sort_unstable_by_key(|(number, ..)| *number);
        all.into_iter().map(|(_, value, place)| (value.clone(), *place)).unzip()
    }

    /// Tuples that have been acked, failed, dropped or given up so far.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Handles that have not been acked, failed or dropped, as far as the task knows.
    pub fn open(&self) -> usize {
        self.open
    }

    /// A handle for a tuple with these trees, of this lineage, and, where values are kept, with this one.
    pub fn hold(&mut self, roots: Roots, lineage: Lineage, value: Option<Bytes>) -> Anchor {
        let place = lineage.place;
        if self.free.is_empty() {
            let segment = self.segments.len() as u32;
            let seed = mix(self.seed ^ u64::from(segment));
            self.segments.push(Arc::new(Segment::new(self.waker.clone(), seed)));
            self.since_ns.push(vec![0; SEGMENT_SLOTS]);
            self.inputs.push(vec![(Roots::None, Place::NONE); SEGMENT_SLOTS]);
            self.free.extend((0..SEGMENT_SLOTS as u32).rev().map(|slot| (segment, slot)));
        }
        let (segment, index) = self.free.pop().expect("just filled");
        let shared = &self.segments[segment as usize];
        shared.slots[index as usize].drawn.store(0, Ordering::Relaxed);
        self.since_ns[segment as usize][index as usize] = self.now_ns;
        self.inputs[segment as usize][index as usize] = (roots.clone(), place);
        self.open += 1;
        self.last = Some((segment, index));
        if let (Some(values), Some(value)) = (&mut self.values, value) {
            values.by_slot.insert((segment, index), (values.next, value, place));
            values.next += 1;
        }
        let slot = SlotRef { segment: shared.clone(), index };
        Anchor { slot, roots, lineage, emits: AtomicU64::new(0), done: false }
    }

    /// The call that took the last tuple has failed. If it has let go of the tuple, the tuple has failed for that
    /// reason, and not for having been dropped. True if so.
    pub fn failed_with_call(&mut self, failure: &Failure) -> bool {
        let Some((segment, index)) = self.last.take() else { return false };
        let Some(segment) = self.segments.get(segment as usize) else { return false };
        let slot = &segment.slots[index as usize];
        // Acquire: a handle that is dropped is gone, so nobody else writes here any more.
        let events = slot.events.load(Ordering::Acquire);
        if events & DROP == 0 {
            return false;
        }
        *slot.failure() = Some(failure.clone());
        slot.events.fetch_or(FAIL, Ordering::AcqRel);
        slot.events.fetch_and(!DROP, Ordering::AcqRel);
        true
    }

    /// Gives up every open handle: what happens to them from now on is ignored.
    pub fn let_go(&mut self, mut each: impl FnMut(Roots, Place)) {
        let free: std::collections::HashSet<(u32, u32)> = self.free.iter().copied().collect();
        for (number, segment) in self.segments.iter().enumerate() {
            segment.closed.store(true, Ordering::Release);
            for (index, (roots, place)) in self.inputs[number].iter_mut().enumerate() {
                if !free.contains(&(number as u32, index as u32)) {
                    self.settled += 1;
                    each(std::mem::take(roots), *place);
                }
            }
        }
        self.last = None;
        self.segments.clear();
        self.since_ns.clear();
        self.inputs.clear();
        self.free.clear();
        self.open = 0;
        if let Some(values) = &mut self.values {
            values.by_slot.clear();
        }
    }

    /// Takes everything that happened to handles since the last call.
    pub fn take_events(&mut self, mut each: impl FnMut(HeldEvent)) {
        for (number, segment) in self.segments.iter().enumerate() {
            if segment.head.load(Ordering::Relaxed) == NIL {
                continue;
            }
            segment.take_events(|index, events, drawn, failure| {
                let (held, place) = &mut self.inputs[number][index as usize];
                if events & RESET != 0 {
                    self.since_ns[number][index as usize] = self.now_ns;
                    each(HeldEvent::Reset { roots: held.clone() });
                }
                if events & (ACK | FAIL | DROP) == 0 {
                    return;
                }
                let (roots, place) = (std::mem::take(held), *place);
                let slot = (number as u32, index);
                if let Some(values) = &mut self.values {
                    values.by_slot.remove(&slot);
                }
                self.free.push(slot);
                self.open -= 1;
                self.settled += 1;
                if mutation::forgets(Forget::Held) {
                    return;
                }
                each(if events & ACK != 0 {
                    HeldEvent::Acked { roots, drawn }
                } else {
                    let dropped = events & DROP != 0;
                    HeldEvent::Failed { roots, place, failure: failure.unwrap_or_else(Failure::dropped), dropped }
                });
            });
        }
    }
}

impl Drop for HeldTable {
    fn drop(&mut self) {
        for segment in &self.segments {
            segment.closed.store(true, Ordering::Release);
        }
    }
}

/// A slot, from anywhere.
#[derive(Clone)]
pub(crate) struct SlotRef {
    segment: Arc<Segment>,
    index: u32,
}

impl SlotRef {
    /// Adds an edge to the held tuple.
    #[inline]
    pub fn draw(&self, edge: u64) {
        self.segment.slots[self.index as usize].drawn.fetch_xor(edge, Ordering::Relaxed);
    }

    /// Draws an edge on a thread that has no generator; never zero.
    pub fn draw_foreign(&self) -> u64 {
        loop {
            let count = self.segment.foreign_edges.fetch_add(1, Ordering::Relaxed);
            let edge = mix(self.segment.seed.wrapping_add(mix(count)));
            if edge != 0 {
                self.draw(edge);
                return edge;
            }
        }
    }
}

/// The right and duty to settle a held tuple: ack it, or fail it. `Send`: may be settled on any thread.
///
/// Dropped without either, it fails its trees at once, which is counted. After the topology has stopped all of this
/// does nothing.
#[must_use = "a dropped anchor fails its trees"]
pub struct Anchor {
    slot: SlotRef,
    roots: Roots,
    lineage: Lineage,
    /// Rows of emits under it so far: each row has a lineage of its own.
    emits: AtomicU64,
    done: bool,
}

impl Anchor {
    /// What the next row of emits descends from.
    fn next_lineage(&self) -> Lineage {
        self.lineage.row(self.emits.load(Ordering::Relaxed))
    }

    /// The tuple is done; its trees are complete when all tuples emitted under it are acked too. Lock-free.
    pub fn ack(mut self) {
        self.done = true;
        self.slot.segment.note(self.slot.index, ACK);
    }

    /// Fails every tree of the tuple. Lock-free.
    pub fn fail(mut self, failure: Failure) {
        self.done = true;
        *self.slot.segment.slots[self.slot.index as usize].failure() = Some(failure);
        self.slot.segment.note(self.slot.index, FAIL);
    }

    /// Gives the tuple's trees a fresh deadline. Lock-free.
    pub fn reset_deadline(&self) {
        self.slot.segment.note(self.slot.index, RESET);
    }

    pub(crate) fn as_held(&self) -> Option<(Roots, SlotRef)> {
        (!self.roots.is_none()).then(|| (self.roots.clone(), self.slot.clone()))
    }

    /// An edge for a tuple emitted by another thread under this anchor: its membership, and the edge to give back.
    pub(crate) fn draw_foreign(&self) -> (Roots, u64) {
        if self.roots.is_none() {
            return (Roots::None, 0);
        }
        let edge = self.slot.draw_foreign();
        (Roots::None.join(&self.roots, edge), edge)
    }

    pub(crate) fn give_back(&self, edge: u64) {
        self.slot.draw(edge);
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        if !self.done {
            self.slot.segment.note(self.slot.index, DROP);
        }
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchor").field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// An input of a [`ManualBolt`](crate::ManualBolt): the value, and the [`Anchor`] that has to be settled.
#[derive(Debug)]
#[must_use = "a dropped tuple fails its trees"]
pub struct Tuple<T> {
    value: T,
    anchor: Anchor,
    redelivered: bool,
}

impl<T> Tuple<T> {
    pub(crate) fn new(value: T, anchor: Anchor, redelivered: bool) -> Self {
        Tuple { value, anchor, redelivered }
    }

    /// True if it was held in the checkpoint that has been resumed, and came in before that; see
    /// [`Held::in_state`](crate::Held::in_state).
    pub fn is_redelivered(&self) -> bool {
        self.redelivered
    }

    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The anchor, for emitting under this tuple.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Value and anchor apart, for instance to send the value away and settle the anchor later.
    pub fn split(self) -> (T, Anchor) {
        (self.value, self.anchor)
    }

    /// See [`Anchor::ack`].
    pub fn ack(self) {
        self.anchor.ack();
    }

    /// See [`Anchor::fail`].
    pub fn fail(self, failure: Failure) {
        self.anchor.fail(failure);
    }

    /// See [`Anchor::reset_deadline`].
    pub fn reset_deadline(&self) {
        self.anchor.reset_deadline();
    }
}

impl<T> Deref for Tuple<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// What a row of emits under these anchors descends from; nothing if they come from several inputs, since that stands
/// for no single one. None without anchors. The next row is another one, once this one is [`counted`].
pub(crate) fn common_lineage(anchors: &impl Anchors) -> Option<Lineage> {
    let mut common: Option<Lineage> = None;
    anchors.each(|anchor| {
        let next = anchor.next_lineage();
        common = Some(common.map_or(next, |common| common.joined(next)));
    });
    common
}

/// A row of emits has been made under these anchors.
pub(crate) fn counted(anchors: &impl Anchors) {
    anchors.each(|anchor| {
        anchor.emits.fetch_add(1, Ordering::Relaxed);
    });
}

/// What an emit can be anchored to: a tuple, an anchor, or several of either. The same one twice counts twice, as in
/// Storm.
pub trait Anchors {
    #[doc(hidden)]
    fn each(&self, visit: impl FnMut(&Anchor));
}

impl Anchors for &Anchor {
    fn each(&self, mut visit: impl FnMut(&Anchor)) {
        visit(self);
    }
}

impl<T> Anchors for &Tuple<T> {
    fn each(&self, mut visit: impl FnMut(&Anchor)) {
        visit(&self.anchor);
    }
}

impl<A: Anchors, const N: usize> Anchors for [A; N] {
    fn each(&self, mut visit: impl FnMut(&Anchor)) {
        self.iter().for_each(|anchors| anchors.each(&mut visit));
    }
}

impl<A> Anchors for &[A]
where
    for<'a> &'a A: Anchors,
{
    fn each(&self, mut visit: impl FnMut(&Anchor)) {
        self.iter().for_each(|anchors| anchors.each(&mut visit));
    }
}

impl<A> Anchors for &Vec<A>
where
    for<'a> &'a A: Anchors,
{
    fn each(&self, mut visit: impl FnMut(&Anchor)) {
        self.iter().for_each(|anchors| anchors.each(&mut visit));
    }
}

#[cfg(test)]
mod tests;

/// Every interleaving of handles that are settled on other threads; `RUSTFLAGS="--cfg squall_loom" cargo test --release
/// --lib loom_`. Run time: some seconds.
#[cfg(all(test, squall_loom))]
mod loom_tests {
    use super::*;
    use crate::task::header::Root;

    #[test]
    fn loom_every_settled_handle_is_seen_once() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let mut table = HeldTable::new(Waker::disconnected(), 1, false);
            let held = |table: &mut HeldTable, n| table.hold(Roots::One(Root::new(0, n, 1), 7), Lineage::NONE, None);
            let (a, b) = (held(&mut table, 1), held(&mut table, 2));
            let first = loom::thread::spawn(move || {
                a.reset_deadline();
                a.as_held().expect("tracked").1.draw(5);
                a.ack();
            });
            let second = loom::thread::spawn(move || b.fail(Failure::retry("why")));
            let mut settled = Vec::new();
            let mut look = |table: &mut HeldTable| {
                table.take_events(|event| match event {
                    HeldEvent::Acked { drawn, .. } => settled.push(drawn),
                    HeldEvent::Failed { .. } => settled.push(u64::MAX),
                    HeldEvent::Reset { .. } => {}
                });
            };
            look(&mut table);
            first.join().unwrap();
            second.join().unwrap();
            look(&mut table);
            settled.sort_unstable();
            assert_eq!(settled, [5, u64::MAX]);
            assert_eq!(table.open(), 0);
        });
    }
}
