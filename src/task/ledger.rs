//! The ledger of one spout task: which of its trees are open, and when each is complete, failed or overdue.
//!
//! Storm's XOR ledger, kept where the spout is: a tree's slot and generation *are* its root id, so there is no hash
//! map, no init message and no completion message. XOR of all edge ids ever announced is zero exactly when every
//! delivered tuple has been acked (up to one false zero in 2⁶⁴).

use std::collections::VecDeque;

use crate::error::Failure;
use crate::task::header::{GENERATION_MASK, Root, SLOTS_MAX};

/// When a tree that does not complete is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadlines {
    /// Never.
    Off,
    /// This long after its emit or the last reset.
    Precise { after_ns: u64 },
    /// At the second rotation after its emit or the last reset, one rotation a period: between T and 2T.
    Rotating { period_ns: u64 },
}

/// How a tree ended.
#[derive(Debug)]
pub(crate) enum Verdict {
    Acked,
    Failed(Failure),
}

/// A tree that ended: its slot stays taken until [`Ledger::release`].
#[derive(Debug)]
pub(crate) struct Ended {
    pub slot: u32,
    pub verdict: Verdict,
    pub emitted_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Emitting: edges are still being announced, so a zero means nothing yet.
    Emitting,
    Open,
    /// Ended, waiting for the spout's callback.
    Ended,
}

#[derive(Debug)]
struct Slot {
    xor: u64,
    emitted_ns: u64,
    /// Precise: the time at which the tree fails. Rotating: the rotation at which it fails.
    due: u64,
    generation: u32,
    state: State,
    /// Neighbours in the list of open trees, which is in order of `due`.
    previous: u32,
    next: u32,
}

const NIL: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    spout: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    ended: VecDeque<Ended>,
    /// Slots not free.
    live: usize,
    deadlines: Deadlines,
    /// Rotations so far, and when the next one is.
    rotation: u64,
    rotates_at_ns: u64,
    /// Ends of the list of open trees by due time.
    first: u32,
    last: u32,
    /// Messages for trees that had already ended.
    stale: u64,
}

impl Ledger {
    pub fn new(spout: usize, deadlines: Deadlines, now_ns: u64) -> Self {
        let rotates_at_ns = match deadlines {
            Deadlines::Rotating { period_ns } => now_ns + period_ns,
            _ => u64::MAX,
        };
        Ledger {
            spout,
            slots: Vec::new(),
            free: Vec::new(),
            ended: VecDeque::new(),
            live: 0,
            deadlines,
            rotation: 0,
            rotates_at_ns,
            first: NIL,
            last: NIL,
            stale: 0,
        }
    }

    /// Trees whose callback has not been made.
    pub fn pending(&self) -> usize {
        self.live
    }

    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// A new tree. None if the ledger holds as many as a root id can name.
    pub fn open(&mut self, now_ns: u64) -> Option<(u32, Root)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < SLOTS_MAX => {
                self.slots.push(Slot {
                    xor: 0,
                    emitted_ns: 0,
                    due: 0,
                    generation: 1,
                    state: State::Free,
                    previous: NIL,
                    next: NIL,
                });
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let due = self.due_from(now_ns);
        let entry = &mut self.slots[slot as usize];
        debug_assert_eq!(entry.state, State::Free);
        entry.xor = 0;
        entry.emitted_ns = now_ns;
        entry.due = due;
        entry.state = State::Emitting;
        let generation = entry.generation;
        self.live += 1;
        self.link_last(slot);
        Some((slot, Root::new(self.spout, slot, generation)))
    }

    /// The tree counts as emitted at this time; its deadline stays.
    pub fn date(&mut self, slot: u32, emitted_ns: u64) {
        self.slots[slot as usize].emitted_ns = emitted_ns;
    }

    /// All edges of the emit are announced; their XOR is given. A tree without edges is complete at once.
    pub fn seal(&mut self, slot: u32, xor: u64) {
        let entry = &mut self.slots[slot as usize];
        if entry.state != State::Emitting {
            return; // failed while emitting
        }
        entry.state = State::Open;
        entry.xor ^= xor;
        if entry.xor == 0 {
            self.end(slot, Verdict::Acked);
        }
    }

    /// XORs a coalesced ack into its tree.
    #[inline]
    pub fn apply(&mut self, root: Root, xor: u64) {
        if let Some(slot) = self.live_slot(root) {
            let entry = &mut self.slots[slot as usize];
            entry.xor ^= xor;
            if entry.xor == 0 && entry.state == State::Open {
                self.end(slot, Verdict::Acked);
            }
        }
    }

    /// Fails a tree, unless it has ended.
    pub fn fail(&mut self, root: Root, failure: Failure) {
        if let Some(slot) = self.live_slot(root) {
            self.end(slot, Verdict::Failed(failure));
        }
    }

    /// Gives a tree a fresh deadline, unless it has ended.
    pub fn reset(&mut self, root: Root, now_ns: u64) {
        if let Some(slot) = self.live_slot(root) {
            self.unlink(slot);
            self.slots[slot as usize].due = self.due_from(now_ns);
            self.link_last(slot);
        }
    }

    /// When [`expire`](Self::expire) has to be called next; never if nothing can expire.
    pub fn next_due_ns(&self) -> Option<u64> {
        if self.first == NIL {
            return None;
        }
        match self.deadlines {
            Deadlines::Off => None,
            Deadlines::Precise { .. } => Some(self.slots[self.first as usize].due),
            Deadlines::Rotating { .. } => Some(self.rotates_at_ns),
        }
    }

    /// Fails every tree whose deadline has passed.
    pub fn expire(&mut self, now_ns: u64) {
        let limit = match self.deadlines {
            Deadlines::Off => return,
            Deadlines::Precise { .. } => now_ns,
            Deadlines::Rotating { period_ns } => {
                while self.rotates_at_ns <= now_ns {
                    self.rotation += 1;
                    self.rotates_at_ns += period_ns;
                }
                self.rotation
            }
        };
        while self.first != NIL && self.slots[self.first as usize].due <= limit {
            self.end(self.first, Verdict::Failed(Failure::timeout()));
        }
    }

    /// The next ended tree, in the order in which they ended.
    pub fn take_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// Frees the slot of an ended tree; its root id is never given out again (for 2²⁸ reuses of the slot).
    pub fn release(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        debug_assert_eq!(entry.state, State::Ended);
        entry.state = State::Free;
        self.live -= 1;
        self.free.push(slot);
    }

    /// Forgets every open tree without a callback; messages for them will be stale. Returns their slots.
    pub fn forget_all(&mut self) -> Vec<u32> {
        self.ended.clear();
        let mut forgotten = Vec::new();
        for slot in 0..self.slots.len() as u32 {
            let state = self.slots[slot as usize].state;
            if state == State::Free {
                continue;
            }
            if state != State::Ended {
                self.unlink(slot);
                self.retire(slot);
            }
            self.release(slot);
            forgotten.push(slot);
        }
        forgotten
    }

    /// The slot of a root that has not ended.
    #[inline]
    fn live_slot(&mut self, root: Root) -> Option<u32> {
        let slot = root.slot();
        match self.slots.get(slot as usize) {
            Some(entry)
                if entry.generation == root.generation() && matches!(entry.state, State::Open | State::Emitting) =>
            {
                Some(slot)
            }
            _ => {
                self.stale += 1;
                None
            }
        }
    }

    fn end(&mut self, slot: u32, verdict: Verdict) {
        self.unlink(slot);
        self.retire(slot);
        let emitted_ns = self.slots[slot as usize].emitted_ns;
        self.ended.push_back(Ended { slot, verdict, emitted_ns });
    }

    /// Makes the root id stale.
    fn retire(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.state = State::Ended;
        entry.generation = if entry.generation == GENERATION_MASK { 1 } else { entry.generation + 1 };
    }

    fn due_from(&self, now_ns: u64) -> u64 {
        match self.deadlines {
            Deadlines::Off => u64::MAX,
            Deadlines::Precise { after_ns } => now_ns.saturating_add(after_ns),
            Deadlines::Rotating { .. } => self.rotation + 2,
        }
    }

    fn link_last(&mut self, slot: u32) {
        let last = self.last;
        let entry = &mut self.slots[slot as usize];
        entry.previous = last;
        entry.next = NIL;
        match last {
            NIL => self.first = slot,
            last => self.slots[last as usize].next = slot,
        }
        self.last = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let (previous, next) = (self.slots[slot as usize].previous, self.slots[slot as usize].next);
        match previous {
            NIL => self.first = next,
            previous => self.slots[previous as usize].next = next,
        }
        match next {
            NIL => self.last = previous,
            next => self.slots[next as usize].previous = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn precise() -> Ledger {
        Ledger::new(3, Deadlines::Precise { after_ns: 100 }, 0)
    }

    fn take(ledger: &mut Ledger) -> Vec<(u32, bool)> {
        let mut taken = Vec::new();
        while let Some(ended) = ledger.take_ended() {
            ledger.release(ended.slot);
            taken.push((ended.slot, matches!(ended.verdict, Verdict::Acked)));
        }
        taken
    }

    #[test]
    fn a_tree_without_edges_is_acked_at_once() {
        let mut ledger = precise();
        let (slot, _) = ledger.open(0).unwrap();
        ledger.seal(slot, 0);
        assert_eq!(take(&mut ledger), [(slot, true)]);
        assert_eq!(ledger.pending(), 0);
    }

    #[test]
    fn a_late_ack_of_an_older_generation_is_stale() {
        let mut ledger = precise();
        let (slot, old) = ledger.open(0).unwrap();
        ledger.seal(slot, 7);
        ledger.fail(old, Failure::retry("no"));
        assert_eq!(take(&mut ledger), [(slot, false)]);
        let (again, _) = ledger.open(0).unwrap();
        assert_eq!(again, slot, "the slot is used again");
        ledger.seal(again, 7);
        ledger.apply(old, 7);
        assert_eq!(take(&mut ledger), []);
        assert_eq!(ledger.stale(), 1);
    }

    #[test]
    fn deadlines_fire_in_order_and_a_reset_postpones() {
        let mut ledger = precise();
        let (a, root_a) = ledger.open(0).unwrap();
        let (b, _) = ledger.open(10).unwrap();
        ledger.seal(a, 1);
        ledger.seal(b, 1);
        ledger.reset(root_a, 50);
        assert_eq!(ledger.next_due_ns(), Some(110));
        ledger.expire(149);
        assert_eq!(take(&mut ledger), [(b, false)]);
        ledger.expire(150);
        assert_eq!(take(&mut ledger), [(a, false)]);
        assert_eq!(ledger.next_due_ns(), None);
    }

    #[test]
    fn rotating_deadlines_fire_between_one_and_two_periods() {
        let mut ledger = Ledger::new(0, Deadlines::Rotating { period_ns: 10 }, 0);
        let (early, _) = ledger.open(1).unwrap();
        ledger.seal(early, 1);
        ledger.expire(10);
        let (late, _) = ledger.open(19).unwrap();
        ledger.seal(late, 1);
        ledger.expire(19);
        assert_eq!(take(&mut ledger), []);
        ledger.expire(20);
        assert_eq!(take(&mut ledger), [(early, false)]);
        ledger.expire(29);
        assert_eq!(take(&mut ledger), []);
        ledger.expire(30);
        assert_eq!(take(&mut ledger), [(late, false)]);
    }

    proptest! {
        /// Whatever the order in which the acks of a tree arrive, it completes with the last one and not before.
        #[test]
        fn any_order_of_acks_completes_with_the_last(
            children in proptest::collection::vec(1usize..4, 1..20),
            order in any::<u64>(),
        ) {
            let mut ledger = precise();
            let mut random = crate::sys::random::Random::new(order);
            let (slot, root) = ledger.open(0).unwrap();
            // A chain of fan-outs: each delivered tuple is acked with its own edge XOR the edges it created.
            let mut acks = Vec::new();
            let first = random.next_u64();
            let mut frontier = vec![first];
            for fan in children {
                let edge = frontier.remove(0);
                let made: Vec<u64> = (0..fan).map(|_| random.next_u64()).collect();
                acks.push(made.iter().fold(edge, |xor, e| xor ^ e));
                frontier.extend(made);
            }
            acks.extend(frontier);
            ledger.seal(slot, first);
            while !acks.is_empty() {
                prop_assert!(!ledger.has_ended());
                let next = random.below(acks.len() as u64) as usize;
                ledger.apply(root, acks.swap_remove(next));
            }
            prop_assert_eq!(take(&mut ledger), vec![(slot, true)]);
        }
    }
}
