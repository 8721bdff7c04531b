//! Who is told of what is in a lane: a task of the same executor, or another executor.

use std::cell::Cell;
use std::rc::Rc;

use crate::sys::bits::{Bits, Mark, Marks};

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
    pub pushed: Marks,
    pub popped: Marks,
    /// Items ever sent to and received from other executors, acks included: equal sums over all executors mean that
    /// nothing is under way between them.
    pub sent: Cell<u64>,
    pub received: Cell<u64>,
}

impl Peers {
    pub fn new(executors: usize) -> Self {
        Peers {
            pushed: Marks::new(executors),
            popped: Marks::new(executors),
            sent: Cell::new(0),
            received: Cell::new(0),
        }
    }
}

/// What the producing end of a lane tells of each item: the executor that it goes to has input.
pub(crate) struct Pushed {
    mark: Mark,
    peers: Rc<Peers>,
}

/// What the consuming end of a lane tells of each item: the executor that it comes from has room.
pub(crate) struct Popped {
    mark: Mark,
    peers: Rc<Peers>,
}

impl Pushed {
    pub fn to(peer: usize, peers: Rc<Peers>) -> Self {
        Pushed { mark: peers.pushed.mark(peer), peers }
    }

    #[inline(always)]
    pub fn note(&self) {
        self.mark.set();
        self.peers.sent.set(self.peers.sent.get() + 1);
    }
}

impl Popped {
    pub fn from(peer: usize, peers: Rc<Peers>) -> Self {
        Popped { mark: peers.popped.mark(peer), peers }
    }

    #[inline(always)]
    pub fn note(&self) {
        self.mark.set();
        self.peers.received.set(self.peers.received.get() + 1);
    }
}
