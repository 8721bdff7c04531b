//! The way from bolts to ledgers: straight into the ledger of a spout task on the same executor, by a lane otherwise.
//!
//! Acks have lanes of their own and therefore never wait behind data. A full ack lane never blocks: further acks merge
//! by XOR into an overlay keyed by tree, which is bounded by the number of live trees.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::error::Failure;
use crate::sys::mutation::{self, Mutation};
use crate::task::header::Root;
use crate::task::lane::{Peers, Pushed, Signal};
use crate::task::ledger::Ledger;

/// A message to a ledger.
#[derive(Clone, Debug)]
pub(crate) enum AckMessage {
    Ack(u64),
    Fail(Failure),
    Reset,
}

/// Slots of an ack lane.
pub(crate) const ACK_LANE_CAPACITY: usize = 4_096;

/// A ledger of this executor, with the signal of its spout task.
#[derive(Clone)]
pub(crate) struct LocalLedger {
    pub ledger: Rc<RefCell<Ledger>>,
    pub signal: Rc<Signal>,
}

impl LocalLedger {
    /// As [`apply`](Self::apply), for the message that there is one of per tree.
    #[inline]
    fn ack(&self, root: Root, xor: u64) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.apply(root, xor);
        if ledger.has_ended() {
            self.signal.wake();
        }
    }

    #[inline]
    pub fn apply(&self, root: Root, message: AckMessage, now_ns: u64) {
        let mut ledger = self.ledger.borrow_mut();
        match message {
            AckMessage::Ack(xor) => ledger.apply(root, xor),
            AckMessage::Fail(failure) => ledger.fail(root, failure),
            AckMessage::Reset => ledger.reset(root, now_ns),
        }
        if ledger.has_ended() {
            self.signal.wake();
        }
    }
}

/// The producing end of the ack lane to another executor.
pub(crate) struct AckTx {
    ring: rtrb::Producer<(Root, AckMessage)>,
    overlay: HashMap<Root, Pending, FixedState>,
    pushed: Pushed,
}

#[derive(Default)]
struct Pending {
    xor: u64,
    reset: bool,
    failure: Option<Failure>,
}

/// Where the ledger of each spout task is, from this executor's point of view.
pub(crate) enum LedgerPlace {
    Here(LocalLedger),
    /// Index into the ack lanes of this executor.
    There(usize),
}

/// All ways from one executor to all ledgers.
pub(crate) struct Acks {
    /// By dense spout index.
    places: RefCell<Vec<LedgerPlace>>,
    lanes: RefCell<Vec<AckTx>>,
    peers: Rc<Peers>,
}

impl Acks {
    pub fn new(peers: Rc<Peers>) -> Self {
        Acks { places: RefCell::new(Vec::new()), lanes: RefCell::new(Vec::new()), peers }
    }

    /// Adds the lane to another executor and returns its index.
    pub fn add_lane(&self, ring: rtrb::Producer<(Root, AckMessage)>, peer: usize) -> usize {
        let mut lanes = self.lanes.borrow_mut();
        let (overlay, pushed) = (HashMap::with_hasher(FixedState::default()), Pushed::to(peer, self.peers.clone()));
        lanes.push(AckTx { ring, overlay, pushed });
        lanes.len() - 1
    }

    pub fn set_places(&self, places: Vec<LedgerPlace>) {
        *self.places.borrow_mut() = places;
    }

    /// Delivers or sends a coalesced ack.
    #[inline]
    pub fn ack(&self, root: Root, xor: u64) {
        if mutation::is(Mutation::DropAck) {
            return;
        }
        match &self.places.borrow()[root.spout()] {
            LedgerPlace::Here(ledger) => ledger.ack(root, xor),
            LedgerPlace::There(lane) => self.ack_there(*lane, root, xor),
        }
    }

    /// Apart from the local case, which needs few registers.
    #[inline(never)]
    fn ack_there(&self, lane: usize, root: Root, xor: u64) {
        self.lanes.borrow_mut()[lane].send(root, AckMessage::Ack(xor));
    }

    /// Delivers or sends a message about a tree, other than an ack.
    pub fn send(&self, root: Root, message: AckMessage, now_ns: u64) {
        match &self.places.borrow()[root.spout()] {
            LedgerPlace::Here(ledger) => ledger.apply(root, message, now_ns),
            LedgerPlace::There(lane) => self.lanes.borrow_mut()[*lane].send(root, message),
        }
    }

    /// Applies a message that arrived by a lane.
    #[inline]
    pub fn receive(&self, root: Root, message: AckMessage, now_ns: u64) {
        match &self.places.borrow()[root.spout()] {
            LedgerPlace::Here(ledger) => ledger.apply(root, message, now_ns),
            LedgerPlace::There(_) => unreachable!("an ack is sent to the executor that has the ledger"),
        }
    }

    /// Moves overlays into lanes that have room. True if nothing is left over.
    pub fn flush(&self) -> bool {
        let mut flushed = true;
        for lane in self.lanes.borrow_mut().iter_mut() {
            // Every lane gets its try: one that stays full must not hold up the others.
            flushed &= lane.overlay.is_empty() || lane.flush();
        }
        flushed
    }
}

impl AckTx {
    fn send(&mut self, root: Root, message: AckMessage) {
        if self.overlay.is_empty() {
            match self.ring.push((root, message)) {
                Ok(()) => self.pushed.note(),
                Err(rtrb::PushError::Full((root, message))) => self.merge(root, message),
            }
        } else {
            self.merge(root, message);
        }
    }

    fn merge(&mut self, root: Root, message: AckMessage) {
        let pending = self.overlay.entry(root).or_default();
        match message {
            AckMessage::Ack(xor) => pending.xor ^= xor,
            AckMessage::Reset => pending.reset = true,
            AckMessage::Fail(failure) => pending.failure = Some(failure),
        }
    }

    fn flush(&mut self) -> bool {
        let (ring, pushed) = (&mut self.ring, &self.pushed);
        self.overlay.retain(|root, pending| {
            // A failed tree needs neither its acks nor a fresh deadline.
            let failed = pending.failure.is_some();
            let mut left = [
                pending.failure.take().map(AckMessage::Fail),
                (pending.reset && !failed).then_some(AckMessage::Reset),
                (pending.xor != 0 && !failed).then_some(AckMessage::Ack(pending.xor)),
            ];
            for message in &mut left {
                if let Some(taken) = message.take() {
                    match ring.push((*root, taken)) {
                        Ok(()) => pushed.note(),
                        Err(rtrb::PushError::Full((_, back))) => {
                            *message = Some(back);
                            break;
                        }
                    }
                }
            }
            let [failure, reset, ack] = left;
            *pending = Pending {
                failure: failure.and_then(|message| if let AckMessage::Fail(f) = message { Some(f) } else { None }),
                reset: reset.is_some(),
                xor: if let Some(AckMessage::Ack(xor)) = ack { xor } else { 0 },
            };
            pending.failure.is_some() || pending.reset || pending.xor != 0
        });
        self.overlay.is_empty()
    }
}
