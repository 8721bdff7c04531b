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
    /// This long after its emit or the last reset, and up to 1/255 of it later.
    Precise { after_ns: u64 },
    /// At the second rotation after its emit or the last reset, one rotation a period: between T and 2T.
    Rotating { period_ns: u64 },
}

impl Deadlines {
    /// How long a tree lives at most after its emit or its last reset.
    pub fn life_ns(self) -> Option<u64> {
        match self {
            Deadlines::Off => None,
            // The part of a tick that deadlines are rounded up by is less than this.
            Deadlines::Precise { after_ns } => Some(after_ns.saturating_add(after_ns / 64 + 1)),
            Deadlines::Rotating { period_ns } => Some(period_ns.saturating_mul(2)),
        }
    }
}

/// A tree that ended; its slot is free again.
#[derive(Debug)]
pub(crate) struct Ended {
    pub slot: u32,
    pub emitted_ns: u64,
    /// None: it is complete.
    pub failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Emitting: edges are still being announced, so a zero means nothing yet.
    Emitting,
    Open,
    /// Ended, waiting for the spout's callback.
    Acked,
    Failed,
}

impl State {
    fn is_live(self) -> bool {
        matches!(self, State::Emitting | State::Open)
    }
}

#[derive(Debug)]
struct Slot {
    xor: u64,
    emitted_ns: u64,
    /// The tick at which the tree fails.
    due: u64,
    generation: u32,
    state: State,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    spout: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots in the order in which their trees ended, and the failures of those that failed.
    ended: VecDeque<u32>,
    failures: VecDeque<Failure>,
    dues: Dues,
    /// Messages for trees that had already ended.
    stale: u64,
    /// Trees ever opened, and those of them that were forgotten without a callback.
    opened: u64,
    forgotten: u64,
}

impl Ledger {
    pub fn new(spout: usize, deadlines: Deadlines, now_ns: u64) -> Self {
        Ledger {
            spout,
            slots: Vec::new(),
            free: Vec::new(),
            ended: VecDeque::new(),
            failures: VecDeque::new(),
            dues: Dues::new(deadlines, now_ns),
            stale: 0,
            opened: 0,
            forgotten: 0,
        }
    }

    /// Trees whose callback has not been made.
    #[inline]
    pub fn pending(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Trees whose callback should have been made.
    pub fn called_back(&self) -> u64 {
        self.opened - self.forgotten - self.pending() as u64
    }

    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// A new tree. None if the ledger holds as many as a root id can name.
    #[inline]
    pub fn open(&mut self, now_ns: u64) -> Option<(u32, Root)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.grow()?,
        };
        let due = self.dues.add(now_ns);
        self.opened += 1;
        let entry = &mut self.slots[slot as usize];
        debug_assert_eq!(entry.state, State::Free);
        entry.xor = 0;
        entry.emitted_ns = now_ns;
        entry.due = due;
        entry.state = State::Emitting;
        Some((slot, Root::new(self.spout, slot, entry.generation)))
    }

    #[cold]
    fn grow(&mut self) -> Option<u32> {
        if self.slots.len() == SLOTS_MAX {
            return None;
        }
        self.slots.push(Slot { xor: 0, emitted_ns: 0, due: 0, generation: 1, state: State::Free });
        Some((self.slots.len() - 1) as u32)
    }

    /// The tree counts as emitted at this time; its deadline stays.
    pub fn date(&mut self, slot: u32, emitted_ns: u64) {
        self.slots[slot as usize].emitted_ns = emitted_ns;
    }

    /// All edges of the emit are announced; their XOR is given. A tree without edges is complete at once.
    #[inline]
    pub fn seal(&mut self, slot: u32, xor: u64) {
        let entry = &mut self.slots[slot as usize];
        if entry.state != State::Emitting {
            return; // failed while emitting
        }
        entry.state = State::Open;
        entry.xor ^= xor;
        if entry.xor == 0 {
            self.end(slot, State::Acked);
        }
    }

    /// XORs a coalesced ack into its tree.
    #[inline]
    pub fn apply(&mut self, root: Root, xor: u64) {
        if let Some(slot) = self.live_slot(root) {
            let entry = &mut self.slots[slot as usize];
            entry.xor ^= xor;
            if entry.xor == 0 && entry.state == State::Open {
                self.end(slot, State::Acked);
            }
        }
    }

    /// Fails a tree, unless it has ended.
    pub fn fail(&mut self, root: Root, failure: Failure) {
        if let Some(slot) = self.live_slot(root) {
            self.failures.push_back(failure);
            self.end(slot, State::Failed);
        }
    }

    /// Gives a tree a fresh deadline, unless it has ended.
    pub fn reset(&mut self, root: Root, now_ns: u64) {
        if let Some(slot) = self.live_slot(root) {
            let entry = &mut self.slots[slot as usize];
            self.dues.remove(entry.due);
            entry.due = self.dues.add(now_ns);
        }
    }

    /// When [`expire`](Self::expire) has to be called next, or a little earlier; never if nothing can expire.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.dues.next_due_ns()
    }

    /// Fails every tree whose deadline has passed.
    #[inline]
    pub fn expire(&mut self, now_ns: u64) {
        let tick = self.dues.tick(now_ns);
        if tick >= self.dues.earliest && self.dues.has_overdue(tick) {
            self.expire_until(tick);
        }
    }

    #[cold]
    fn expire_until(&mut self, tick: u64) {
        let (mut overdue, mut earliest) = (Vec::new(), u64::MAX);
        for (slot, entry) in self.slots.iter().enumerate().filter(|(_, entry)| entry.state.is_live()) {
            if entry.due <= tick {
                overdue.push((entry.due, entry.emitted_ns, slot as u32));
            } else {
                earliest = earliest.min(entry.due);
            }
        }
        overdue.sort_unstable();
        for (_, _, slot) in overdue {
            self.failures.push_back(Failure::timeout());
            self.end(slot, State::Failed);
        }
        self.dues.earliest = earliest;
    }

    /// Frees the slot of the next ended tree, in the order in which they ended. Its root id is never given out again
    /// (for 2²⁸ reuses of the slot).
    #[inline]
    pub fn take_ended(&mut self) -> Option<Ended> {
        let slot = self.ended.pop_front()?;
        let entry = &mut self.slots[slot as usize];
        debug_assert!(matches!(entry.state, State::Acked | State::Failed));
        let failure = if entry.state == State::Failed { self.failures.pop_front() } else { None };
        entry.state = State::Free;
        self.free.push(slot);
        Some(Ended { slot, emitted_ns: entry.emitted_ns, failure })
    }

    /// Forgets every open tree without a callback; messages for them will be stale. Returns their slots.
    pub fn forget_all(&mut self) -> Vec<u32> {
        self.ended.clear();
        self.failures.clear();
        let mut forgotten = Vec::new();
        for slot in 0..self.slots.len() as u32 {
            let state = self.slots[slot as usize].state;
            if state == State::Free {
                continue;
            }
            if state.is_live() {
                self.retire(slot, State::Free);
            }
            self.slots[slot as usize].state = State::Free;
            self.free.push(slot);
            forgotten.push(slot);
        }
        self.forgotten += forgotten.len() as u64;
        forgotten
    }

    /// The slot of a root that has not ended.
    #[inline]
    fn live_slot(&mut self, root: Root) -> Option<u32> {
        let slot = root.slot();
        match self.slots.get(slot as usize) {
            Some(entry) if entry.generation == root.generation() && entry.state.is_live() => Some(slot),
            _ => {
                self.stale += 1;
                None
            }
        }
    }

    #[inline]
    fn end(&mut self, slot: u32, verdict: State) {
        self.retire(slot, verdict);
        self.ended.push_back(slot);
    }

    /// Makes the root id stale.
    #[inline]
    fn retire(&mut self, slot: u32, state: State) {
        let entry = &mut self.slots[slot as usize];
        entry.state = state;
        entry.generation = if entry.generation == GENERATION_MASK { 1 } else { entry.generation + 1 };
        self.dues.remove(entry.due);
    }
}

/// How many ticks of [`Dues`] are told apart.
const TICKS: usize = 512;

/// How many trees are due at which tick. Time is cut into so many ticks that a deadline is at least half of [`TICKS`]
/// away; a rotation is a tick. So opening and ending a tree is a count up and down, and who is overdue is looked for
/// only when a tick has come at which somebody is due.
#[derive(Debug)]
struct Dues {
    deadlines: Deadlines,
    /// Precise: a tick is 2 to the power of this in nanoseconds.
    tick_bits: u32,
    /// Rotations so far, and when the next one is.
    rotation: u64,
    rotates_at_ns: u64,
    /// By tick, modulo their number.
    counts: Box<[u32; TICKS]>,
    open: usize,
    /// No open tree is due before this tick.
    earliest: u64,
}

impl Dues {
    fn new(deadlines: Deadlines, now_ns: u64) -> Self {
        let (mut tick_bits, mut rotates_at_ns) = (0, u64::MAX);
        match deadlines {
            Deadlines::Off => {}
            Deadlines::Precise { after_ns } => {
                // Rounding up and the tick that is running take one each.
                while after_ns >> tick_bits >= TICKS as u64 - 2 {
                    tick_bits += 1;
                }
            }
            Deadlines::Rotating { period_ns } => rotates_at_ns = now_ns + period_ns,
        }
        let counts = Box::new([0; TICKS]);
        Dues { deadlines, tick_bits, rotation: 0, rotates_at_ns, counts, open: 0, earliest: u64::MAX }
    }

    /// One more tree that has its deadline from now. Returns the first tick that is not before it.
    #[inline]
    fn add(&mut self, now_ns: u64) -> u64 {
        let due = match self.deadlines {
            Deadlines::Off => u64::MAX,
            Deadlines::Precise { after_ns } => {
                now_ns.saturating_add(after_ns).saturating_add((1 << self.tick_bits) - 1) >> self.tick_bits
            }
            Deadlines::Rotating { .. } => self.rotation + 2,
        };
        self.earliest = if self.open == 0 { due } else { self.earliest.min(due) };
        self.open += 1;
        self.counts[due as usize % TICKS] += 1;
        due
    }

    #[inline]
    fn remove(&mut self, due: u64) {
        self.open -= 1;
        self.counts[due as usize % TICKS] -= 1;
    }

    /// The tick that is running.
    #[inline]
    fn tick(&mut self, now_ns: u64) -> u64 {
        match self.deadlines {
            Deadlines::Off => 0,
            Deadlines::Precise { .. } => now_ns >> self.tick_bits,
            Deadlines::Rotating { period_ns } => {
                while self.rotates_at_ns <= now_ns {
                    self.rotation += 1;
                    self.rotates_at_ns += period_ns;
                }
                self.rotation
            }
        }
    }

    fn next_due_ns(&self) -> Option<u64> {
        match self.deadlines {
            _ if self.open == 0 => None,
            Deadlines::Off => None,
            Deadlines::Precise { .. } => Some(self.earliest << self.tick_bits),
            Deadlines::Rotating { .. } => Some(self.rotates_at_ns),
        }
    }

    /// False if no tree is due by this tick; then it has found out at which the next one may be.
    #[cold]
    fn has_overdue(&mut self, tick: u64) -> bool {
        if self.open == 0 {
            self.earliest = u64::MAX;
            return false;
        }
        // A count may be of a tree that is due so many ticks later: then it is looked for in vain.
        let due = (self.earliest..).find(|due| self.counts[*due as usize % TICKS] > 0);
        self.earliest = due.expect("a count for every open tree");
        self.earliest <= tick
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
            taken.push((ended.slot, ended.failure.is_none()));
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
        assert_eq!(ledger.next_due_ns(), Some(100), "what a tree was due at that has ended or been reset is a bound");
        ledger.expire(100);
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
