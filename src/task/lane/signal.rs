//! Who is told of what is in a lane: a task of the same executor, or another executor.

use std::cell::Cell;
use std::rc::Rc;

use crate::sys::bits::Bits;

/// Tells a task of this executor that one of its lanes has something, or that it should have a turn for another reason.
#[derive(Debug)]
pub(crate) struct Signal {
    /// Tasks of the executor that want a turn, by position in its order.
    pub ready: Rc<Bits>,
    /// This task's position.
    pub position: usize,
    /// Lanes of this task that may have something.
    pub lanes: Bits,
}

impl Signal {
    #[inline]
    pub fn wake(&self) {
        self.ready.set(self.position);
    }

    /// Once for many tuples, so it stays out of the way of every one.
    #[inline(never)]
    pub fn lane(&self, lane: usize) {
        self.lanes.set(lane);
        self.wake();
    }
}

/// Remembers which other executors this one has given input or room to since it last looked for sleepers.
#[derive(Debug)]
pub(crate) struct Peers {
    pub pushed: Bits,
    pub popped: Bits,
    /// Items ever sent to and received from other executors, acks included: equal sums over all executors mean that
    /// nothing is under way between them.
    pub sent: Cell<u64>,
    pub received: Cell<u64>,
}

impl Peers {
    pub fn new(executors: usize) -> Self {
        Peers { pushed: Bits::new(executors), popped: Bits::new(executors), sent: Cell::new(0), received: Cell::new(0) }
    }

    #[inline]
    pub fn pushed_to(&self, peer: usize) {
        self.pushed.set(peer);
        self.sent.set(self.sent.get() + 1);
    }

    #[inline]
    pub fn popped_from(&self, peer: usize) {
        self.popped.set(peer);
        self.received.set(self.received.get() + 1);
    }
}
