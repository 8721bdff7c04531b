//! A lane: the bounded queue from one producer task to one consumer task, tuples and control items in one order.
//!
//! There is one for every pair of tasks, however many edges lead from the one to the other: they share its producing
//! end, and a control item tells which input the tuples behind it belong to.
//!
//! Between tasks of one executor it is a plain queue without atomics; across executors an `rtrb` ring. The two ends are
//! owned values, `Send` or thread-bound as their kind demands, never shared: a second producer is not expressible.
#![allow(unsafe_code)]

mod shared;
mod signal;

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::rc::Rc;

use crate::state::store::CheckpointId;
use crate::sys::bits::SharedBits;
use crate::sys::mutation::{self, Forget};
use crate::sys::sync::Arc;

pub(crate) use shared::EdgeLane;
pub(crate) use signal::{Peers, Popped, Pushed, Signal};

/// What travels in order with the tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The producer's event time has reached this value (nanoseconds since the epoch).
    Watermark(i64),
    /// The producer has nothing to say about event time for now.
    Idle,
    /// The producer has again.
    Active,
    /// Checkpoint barrier.
    Barrier(CheckpointId),
    /// Nothing will follow.
    End,
    /// So many items have been sent before this one: the consumer must have as many. Before a barrier and the end.
    Sent(u64),
    /// The tuples that follow belong to the consumer's input of this number: only in a lane that several edges share.
    Input(usize),
}

/// What stands before the value in a slot.
#[derive(Debug)]
enum Entry<H> {
    /// A tuple: the slot's value is there.
    Tuple(H),
    /// No value.
    Control(Control),
}

/// One place of a lane.
///
/// The value is kept apart from the enum, so that it is moved as a whole: moved in pieces, as part of an enum, it costs
/// a stall at the next load, which the processor cannot serve from stores of another size.
pub(crate) struct Slot<H, T> {
    entry: Entry<H>,
    /// Initialised exactly if `entry` is a tuple.
    value: MaybeUninit<T>,
}

impl<H, T> Slot<H, T> {
    #[inline(always)]
    pub fn tuple(header: H, value: T) -> Self {
        Slot { entry: Entry::Tuple(header), value: MaybeUninit::new(value) }
    }

    pub fn control(control: Control) -> Self {
        Slot { entry: Entry::Control(control), value: MaybeUninit::uninit() }
    }

    /// The control item, if it is one.
    #[inline(always)]
    pub fn as_control(&self) -> Option<Control> {
        match self.entry {
            Entry::Control(control) => Some(control),
            Entry::Tuple(_) => None,
        }
    }

    /// The tuple.
    ///
    /// # Panics
    /// If it is a control item.
    #[inline(always)]
    pub fn into_tuple(self) -> (H, T) {
        assert!(matches!(self.entry, Entry::Tuple(_)), "a control item is no tuple");
        let slot = ManuallyDrop::new(self);
        // SAFETY: the slot is not dropped, so both parts are moved out once; the value is initialised, as the entry is
        // a tuple.
        unsafe {
            let Entry::Tuple(header) = std::ptr::read(&raw const slot.entry) else { unreachable!() };
            (header, std::ptr::read(&raw const slot.value).assume_init())
        }
    }
}

impl<H, T> Drop for Slot<H, T> {
    #[inline]
    fn drop(&mut self) {
        if let Entry::Tuple(_) = self.entry {
            // SAFETY: it is initialised, as the entry is a tuple, and a slot taken apart is not dropped.
            unsafe { self.value.assume_init_drop() };
        }
    }
}

/// A bounded queue of one thread. Its places are a power of two, so that a mask finds one; they grow as needed.
struct Fifo<T> {
    /// Those of `head..tail`, modulo their number, are initialised, and no others.
    places: Box<[MaybeUninit<T>]>,
    head: usize,
    tail: usize,
    /// Items that went through before `head` and `tail` last began again.
    through: u64,
    /// Up to this length there is a place for one more: the number of places or the capacity, whichever is less.
    limit: usize,
    capacity: usize,
}

/// Places of the smallest queue that has any.
const PLACES_MIN: usize = 16;

impl<T> Fifo<T> {
    fn new(capacity: usize) -> Self {
        Fifo { places: Box::new([]), head: 0, tail: 0, through: 0, limit: 0, capacity }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Puts an item behind all others. Gives it back if the queue is full.
    #[inline(always)]
    fn push(&mut self, item: T) -> Result<(), T> {
        if self.len() >= self.limit && !self.grow() {
            return Err(item);
        }
        if self.head == self.tail {
            // Starts over at the first place, so that a queue which never gets long uses the same few cache lines.
            self.through += self.tail as u64;
            (self.head, self.tail) = (0, 0);
        }
        let place = self.tail & (self.places.len() - 1);
        self.places[place].write(item);
        self.tail += 1;
        Ok(())
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<T> {
        if self.head == self.tail {
            return None;
        }
        let place = self.head & (self.places.len() - 1);
        // SAFETY: the place is the first of those that are initialised, and no longer is one of them after this.
        let item = unsafe { self.places[place].assume_init_read() };
        self.head += 1;
        Some(item)
    }

    /// Doubles the places. False if there are as many as may be.
    #[cold]
    fn grow(&mut self) -> bool {
        if self.len() >= self.capacity {
            return false;
        }
        let count = (self.places.len() * 2).clamp(PLACES_MIN, self.capacity.next_power_of_two().max(PLACES_MIN));
        let mut places = Box::new_uninit_slice(count);
        let mut moved = 0;
        while let Some(item) = self.pop() {
            places[moved].write(item);
            moved += 1;
        }
        self.through += (self.tail - moved) as u64;
        (self.places, self.head, self.tail) = (places, 0, moved);
        self.limit = count.min(self.capacity);
        true
    }
}

impl<T> Drop for Fifo<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// The queue between two tasks of one executor.
struct LocalQueue<H, T> {
    /// Borrowed only within `push`, `pop`, `has_room`, `len` and `pushed` below.
    queue: UnsafeCell<Fifo<Slot<H, T>>>,
    /// At this length producers pause for their consumer to catch up.
    low_water: usize,
    signal: Rc<Signal>,
    lane: usize,
}

/// Where producers of the same executor pause: what waits between two tasks should stay in the first-level cache.
const LOW_WATER_MAX: usize = 128;

impl<H, T> LocalQueue<H, T> {
    /// True if the queue is at or above low water now.
    #[inline(always)]
    fn push(&self, item: Slot<H, T>) -> Result<bool, Slot<H, T>> {
        // SAFETY: the type is neither `Sync` nor handed out, so all access is from one thread; no reference into the
        // queue outlives a call, and a call runs no foreign code (a push moves values, it drops none), so calls never
        // nest.
        let queue = unsafe { &mut *self.queue.get() };
        let was_empty = queue.len() == 0;
        queue.push(item)?;
        if was_empty {
            self.signal.lane(self.lane);
        }
        Ok(queue.len() >= self.low_water)
    }

    #[inline(always)]
    fn pop(&self) -> Option<Slot<H, T>> {
        // SAFETY: as in `push`; the popped value is moved out, not dropped here.
        unsafe { &mut *self.queue.get() }.pop()
    }

    #[inline(always)]
    fn has_room(&self) -> bool {
        // SAFETY: as in `push`.
        let queue = unsafe { &*self.queue.get() };
        queue.len() < queue.limit
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: as in `push`.
        unsafe { &*self.queue.get() }.len()
    }

    /// Items ever pushed.
    fn pushed(&self) -> u64 {
        // SAFETY: as in `push`.
        let queue = unsafe { &*self.queue.get() };
        queue.through + queue.tail as u64
    }
}

/// A second way into the queue of a local lane, for when nothing waits in the lane's overflow: of the same task, so
/// there is still one producer.
pub struct LocalEnd<H, T>(Rc<LocalQueue<H, T>>);

impl<H, T> LocalEnd<H, T> {
    /// True if there is a place. If not, there may be one yet: a lane's own `send` has the queue grow.
    #[inline(always)]
    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }

    /// Sends a tuple. True if the queue is at or above low water now.
    ///
    /// # Panics
    /// If there is no room.
    #[inline(always)]
    pub fn push(&self, header: H, value: T) -> bool {
        match self.0.push(Slot::tuple(header, value)) {
            Ok(above_low_water) => above_low_water,
            Err(_) => panic!("the caller has asked for room"),
        }
    }
}

/// What became of an item that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    BelowLowWater,
    /// It is in the lane, and so much waits there that the producer should pause.
    AboveLowWater,
    /// The lane has just become blocked: the item is overflow.
    Blocked,
    /// The lane was blocked already: the item is overflow.
    Kept,
}

/// The producing end of a lane, with the overflow of the one call that found it full.
pub(crate) struct LaneTx<H, T> {
    end: TxEnd<H, T>,
    /// In order behind what is in the lane; empty unless the producer is blocked by this lane.
    overflow: VecDeque<Slot<H, T>>,
    /// Items that `send` was asked to send.
    sent: u64,
    /// Others push into the queue too: see `local_end`.
    has_short_way: Cell<bool>,
}

enum TxEnd<H, T> {
    Local(Rc<LocalQueue<H, T>>),
    Remote { ring: rtrb::Producer<Slot<H, T>>, pushed: Pushed, bell: Option<Bell> },
}

/// Marks a lane as non-empty for a consumer that has too many to look at each.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    pub bits: Arc<SharedBits>,
    pub index: usize,
}

impl<H, T> LaneTx<H, T> {
    fn new(end: TxEnd<H, T>) -> Self {
        LaneTx { end, overflow: VecDeque::new(), sent: 0, has_short_way: Cell::new(false) }
    }

    /// Sends, or keeps the item as overflow.
    #[inline(always)]
    pub fn send(&mut self, item: Slot<H, T>) -> Sent {
        self.sent += 1;
        if mutation::forgets(Forget::Lane) {
            return Sent::BelowLowWater;
        }
        if !self.overflow.is_empty() {
            self.keep(item);
            return Sent::Kept;
        }
        match self.end.push(item) {
            Ok(false) => Sent::BelowLowWater,
            Ok(true) => Sent::AboveLowWater,
            Err(item) => {
                self.keep(item);
                Sent::Blocked
            }
        }
    }

    #[cold]
    fn keep(&mut self, item: Slot<H, T>) {
        self.overflow.push_back(item);
    }

    /// Sends a control item; before one by which everything sent so far is accounted for, how much that is.
    pub fn control(&mut self, control: Control) -> Sent {
        let counted = match control {
            Control::Barrier(_) | Control::End => self.send(Slot::control(Control::Sent(self.items()))),
            _ => Sent::BelowLowWater,
        };
        let sent = self.send(Slot::control(control));
        // Whoever has blocked the lane must know of it.
        if counted == Sent::Blocked { counted } else { sent }
    }

    /// Items sent so far. What has gone the short way is in the queue's own count.
    fn items(&self) -> u64 {
        match &self.end {
            TxEnd::Local(queue) if self.has_short_way.get() => queue.pushed() + self.overflow.len() as u64,
            _ => self.sent,
        }
    }

    /// Moves overflow into the lane while there is room. True if none is left.
    pub fn drain(&mut self) -> bool {
        while let Some(item) = self.overflow.pop_front() {
            if let Err(item) = self.end.push(item) {
                self.overflow.push_front(item);
                return false;
            }
        }
        true
    }

    /// The queue itself, if the consumer is a task of the same executor.
    pub fn local_end(&self) -> Option<LocalEnd<H, T>> {
        match &self.end {
            TxEnd::Local(queue) => {
                self.has_short_way.set(true);
                Some(LocalEnd(queue.clone()))
            }
            TxEnd::Remote { .. } => None,
        }
    }

    /// True for a lane to a task of the same executor in which so much waits that its producer should pause.
    #[inline]
    pub fn is_above_low_water(&self) -> bool {
        match &self.end {
            TxEnd::Local(queue) => queue.len() >= queue.low_water,
            TxEnd::Remote { .. } => false,
        }
    }
}

impl<H, T> TxEnd<H, T> {
    /// True if the lane is at or above low water now.
    #[inline(always)]
    fn push(&mut self, item: Slot<H, T>) -> Result<bool, Slot<H, T>> {
        match self {
            TxEnd::Local(queue) => queue.push(item),
            TxEnd::Remote { ring, pushed, bell } => {
                ring.push(item).map_err(|rtrb::PushError::Full(item)| item)?;
                pushed.note();
                if let Some(bell) = bell {
                    bell.bits.set(bell.index);
                }
                Ok(false)
            }
        }
    }
}

/// The consuming end of a ring.
///
/// The place that the next item will have lies on another cache line than the mark that tells of the item. Whoever
/// waits for both, one after the other, waits twice; so a look asks for the place along with the mark.
pub(crate) struct RingRx<T> {
    ring: rtrb::Consumer<T>,
    /// Address of the first place, and the number of the next one: only told to the processor's cache.
    first: usize,
    next: usize,
}

impl<T> RingRx<T> {
    /// Both ends of a new ring.
    pub fn pair(capacity: usize) -> (rtrb::Producer<T>, RingRx<T>) {
        let (mut tx, ring) = rtrb::RingBuffer::new(capacity);
        let first = tx.write_chunk_uninit(1).map_or(0, |mut place| place.as_mut_slices().0.as_ptr().addr());
        (tx, RingRx { ring, first, next: 0 })
    }

    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        let item = self.ring.pop().ok()?;
        self.next = if self.next + 1 == self.ring.buffer().capacity() { 0 } else { self.next + 1 };
        Some(item)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// True if there is something; it will be there at once.
    #[inline]
    pub fn look(&self) -> bool {
        let place = self.first + self.next * size_of::<T>();
        prefetch(place);
        prefetch(place + size_of::<T>().saturating_sub(1));
        !self.ring.is_empty()
    }

    pub fn len(&self) -> usize {
        self.ring.slots()
    }
}

/// Asks the processor to bring a cache line near; where that cannot be said, nothing happens.
#[inline(always)]
fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which accesses nothing as far as the program is concerned and cannot fault.
        unsafe { _mm_prefetch(std::ptr::without_provenance(address), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The consuming end of a lane.
pub(crate) struct LaneRx<H, T> {
    end: RxEnd<H, T>,
}

enum RxEnd<H, T> {
    Local(Rc<LocalQueue<H, T>>),
    Remote { ring: RingRx<Slot<H, T>>, popped: Popped },
}

impl<H, T> LaneRx<H, T> {
    /// The next item, if any.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Slot<H, T>> {
        let item = self.take()?;
        // In this order: only tuples count.
        if item.as_control().is_none() && mutation::forgets(Forget::Queue) {
            return self.take();
        }
        Some(item)
    }

    #[inline(always)]
    fn take(&mut self) -> Option<Slot<H, T>> {
        match &mut self.end {
            RxEnd::Local(queue) => queue.pop(),
            RxEnd::Remote { ring, popped } => {
                let item = ring.pop()?;
                popped.note();
                Some(item)
            }
        }
    }

    /// True if nothing can be popped right now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.end {
            RxEnd::Local(queue) => queue.len() == 0,
            RxEnd::Remote { ring, .. } => ring.is_empty(),
        }
    }

    /// True if it comes from another executor and something can be popped right now.
    #[inline]
    pub fn look(&self) -> bool {
        match &self.end {
            RxEnd::Local(_) => false,
            RxEnd::Remote { ring, .. } => ring.look(),
        }
    }

    /// Items that can be popped right now.
    pub fn len(&self) -> usize {
        match &self.end {
            RxEnd::Local(queue) => queue.len(),
            RxEnd::Remote { ring, .. } => ring.len(),
        }
    }
}

/// A lane between two tasks of one executor. The queue grows to its capacity as needed.
pub(crate) fn local<H, T>(capacity: usize, signal: Rc<Signal>, lane: usize) -> (LaneTx<H, T>, LaneRx<H, T>) {
    let low_water = capacity.div_ceil(2).min(LOW_WATER_MAX);
    let queue = UnsafeCell::new(Fifo::new(capacity));
    let queue = Rc::new(LocalQueue { queue, low_water, signal, lane });
    let tx = LaneTx::new(TxEnd::Local(queue.clone()));
    (tx, LaneRx { end: RxEnd::Local(queue) })
}

/// The two ends of a ring before they are bound to their executors.
pub(crate) type Ring<H, T> = (rtrb::Producer<Slot<H, T>>, RingRx<Slot<H, T>>);

/// A ring for a lane across executors, every slot touched once so that the first lap takes no page fault.
pub(crate) fn ring<H, T>(capacity: usize) -> Ring<H, T> {
    let (mut tx, mut rx) = RingRx::pair(capacity);
    for _ in 0..capacity {
        if tx.push(Slot::control(Control::Idle)).is_err() {
            break;
        }
    }
    while rx.pop().is_some() {}
    (tx, rx)
}

/// The producing end of a ring, bound to the producer's executor.
pub(crate) fn remote_tx<H, T>(
    ring: rtrb::Producer<Slot<H, T>>,
    peer: usize,
    peers: Rc<Peers>,
    bell: Option<Bell>,
) -> LaneTx<H, T> {
    LaneTx::new(TxEnd::Remote { ring, pushed: Pushed::to(peer, peers), bell })
}

/// The consuming end of a ring, bound to the consumer's executor.
pub(crate) fn remote_rx<H, T>(ring: RingRx<Slot<H, T>>, peer: usize, peers: Rc<Peers>) -> LaneRx<H, T> {
    LaneRx { end: RxEnd::Remote { ring, popped: Popped::from(peer, peers) } }
}

#[cfg(test)]
mod tests;
