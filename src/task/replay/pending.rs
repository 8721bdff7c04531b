//! The bookkeeping of spouts that replay: which items are pending, when each is due again, and how far
//! each split is done. Knows no outlet and no clock.
//!
//! Entries lie in a slab and are linked, per split, in the order in which they were read. Acking any of them unlinks
//! it, and the first of a list is the split's lowest unacked position: both O(1), whatever the order of acks and
//! however long one item stays open. Nothing allocates once the slab has reached its largest size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::error::{Failure, FailureKind};
use crate::sys::mutation::{self, Forget};
use crate::sys::random::Random;
use crate::task::backoff::Backoff;
use crate::task::component::{Next, Position};

const NIL: u32 = u32::MAX;

/// When an item that fails is given up, and how long its replays wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Replays after which it is given up, whatever it failed of; none: the two limits below hold.
    pub max_replays: Option<u32>,
    /// How long an item that asks to be tried again is replayed, from its first failure on; none: without end.
    pub retry_for_ns: Option<u64>,
    /// Failures that the item itself has caused.
    pub failures_max: u32,
    pub backoff: Backoff,
}

/// Items that were emitted and are neither acked nor dead-lettered.
pub(crate) struct Pending<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    /// By index of the split.
    splits: Vec<Ends>,
    /// Failed entries by due time, then by the order in which they failed. May name entries that are gone.
    due: BinaryHeap<Reverse<(u64, u64, u64)>>,
    failures: u64,
    /// Items ever added, and those that ended in a way that is known.
    added: u64,
    ended: u64,
    patience: Patience,
    jitter: Random,
    #[cfg(test)]
    pub without_jitter: bool,
    /// Generation of a slot that is used for the first time.
    first_generation: u32,
}

struct Entry<T> {
    /// None while the slot is free.
    value: Option<T>,
    /// Distinguishes the users of a slot, so that a callback for an earlier one is recognised.
    generation: u32,
    split: u32,
    position: Position,
    replays: u32,
    /// Failures that count, and those of them that the item has caused itself.
    counted: u32,
    caused: u32,
    first_failed_ns: u64,
    /// True between a failure and the replay.
    is_waiting: bool,
    /// Neighbours among the entries of the split, in reading order.
    previous: u32,
    next: u32,
}

impl Default for Patience {
    /// The defaults of the settings of the same names, at least once.
    fn default() -> Self {
        Patience {
            max_replays: None,
            retry_for_ns: Some(600_000_000_000),
            failures_max: 5,
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(10)),
        }
    }
}

impl<T> Entry<T> {
    /// Whether this failure, which has been counted, is the last that is borne.
    fn is_beyond(&self, patience: &Patience, failure: &Failure, now_ns: u64) -> bool {
        if failure.is_reject() || failure.is_collateral() {
            return failure.is_reject();
        }
        if let Some(max_replays) = patience.max_replays {
            return self.counted > max_replays;
        }
        let waited_ns = now_ns.saturating_sub(self.first_failed_ns);
        match failure.kind() {
            FailureKind::Panic | FailureKind::Dropped => self.caused >= patience.failures_max,
            _ => patience.retry_for_ns.is_some_and(|retry_for_ns| waited_ns >= retry_for_ns),
        }
    }
}

/// First and last entry of a split.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

const EMPTY: Ends = Ends { first: NIL, last: NIL };

/// What a failure leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// The item will be due again.
    Waits,
    /// The item is given up.
    Dead(Dead<T>),
    /// No such item: its split was given up, or an earlier instance of the spout emitted it.
    Unknown,
}

/// An item that is given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dead<T> {
    pub value: T,
    pub position: Position,
    /// How often it was emitted.
    pub attempts: u32,
    pub first_failed_ns: u64,
}

impl<T: Clone> Pending<T> {
    pub fn new(patience: Patience) -> Self {
        Pending {
            entries: Vec::new(),
            free: Vec::new(),
            splits: Vec::new(),
            due: BinaryHeap::new(),
            failures: 0,
            added: 0,
            ended: 0,
            patience,
            jitter: Random::new(0),
            #[cfg(test)]
            without_jitter: false,
            first_generation: 0,
        }
    }

    /// Makes ids differ from those of an earlier instance, whose callbacks may still arrive.
    pub fn start_ids_at(&mut self, generation: u32) {
        self.first_generation = generation;
    }

    /// Every limit but that on the number of replays, which belongs to the source.
    pub fn set_patience(&mut self, patience: Patience, jitter: Random) {
        self.patience = Patience { max_replays: self.patience.max_replays, ..patience };
        self.jitter = jitter;
    }

    /// True if an item that has failed so often is given up for the number of its replays.
    pub fn is_beyond_replays(&self, failures: u32) -> bool {
        self.patience.max_replays.is_some_and(|max_replays| failures > max_replays)
    }

    /// Adds an item that is being emitted; splits are numbered from 0 without gaps.
    pub fn insert(&mut self, value: T, split: usize, position: Position) -> u64 {
        if split >= self.splits.len() {
            self.splits.resize(split + 1, EMPTY);
        }
        self.added += 1;
        let slot = self.free.pop().unwrap_or_else(|| self.add_slot());
        let last = std::mem::replace(&mut self.splits[split].last, slot);
        match last {
            NIL => self.splits[split].first = slot,
            _ => self.entries[last as usize].next = slot,
        }
        let entry = &mut self.entries[slot as usize];
        *entry = Entry {
            value: Some(value),
            generation: entry.generation,
            split: split as u32,
            position,
            replays: 0,
            counted: 0,
            caused: 0,
            first_failed_ns: 0,
            is_waiting: false,
            previous: last,
            next: NIL,
        };
        u64::from(entry.generation) << 32 | u64::from(slot)
    }

    fn add_slot(&mut self) -> u32 {
        let slot = u32::try_from(self.entries.len()).expect("there are fewer open trees than slot numbers");
        self.entries.push(Entry {
            value: None,
            generation: self.first_generation,
            split: 0,
            position: Position(0),
            replays: 0,
            counted: 0,
            caused: 0,
            first_failed_ns: 0,
            is_waiting: false,
            previous: NIL,
            next: NIL,
        });
        slot
    }

    /// The item is done. False if it is unknown.
    pub fn ack(&mut self, id: u64) -> bool {
        self.find(id).is_some_and(|slot| {
            self.remove(slot);
            self.ended += u64::from(!mutation::forgets(Forget::Source));
            true
        })
    }

    /// The item failed. One that is given up is not pending any more.
    pub fn fail(&mut self, id: u64, failure: &Failure, now_ns: u64) -> Verdict<T> {
        self.fail_with(self.patience, id, failure, now_ns, Self::end)
    }

    /// As [`fail`](Self::fail), but one that is given up stays pending as if it had never failed: its dead letter is
    /// emitted under the same id.
    pub fn fail_to_letter(&mut self, id: u64, failure: &Failure, now_ns: u64) -> Verdict<T> {
        self.fail_with(self.patience, id, failure, now_ns, Self::begin_again)
    }

    /// The dead letter of an item failed. The number of replays is a limit for items only.
    pub fn fail_letter(&mut self, id: u64, failure: &Failure, now_ns: u64) -> Verdict<T> {
        self.fail_with(Patience { max_replays: None, ..self.patience }, id, failure, now_ns, Self::end)
    }

    fn fail_with(
        &mut self,
        patience: Patience,
        id: u64,
        failure: &Failure,
        now_ns: u64,
        give_up: fn(&mut Self, u32) -> T,
    ) -> Verdict<T> {
        let Some(slot) = self.find(id) else { return Verdict::Unknown };
        let entry = &mut self.entries[slot as usize];
        debug_assert!(!entry.is_waiting, "an item that waits has no open tree");
        if entry.first_failed_ns == 0 {
            entry.first_failed_ns = now_ns.max(1);
        }
        entry.counted += u32::from(!failure.is_collateral());
        entry.caused += u32::from(matches!(failure.kind(), FailureKind::Panic | FailureKind::Dropped));
        if entry.is_beyond(&patience, failure, now_ns) {
            let entry = &self.entries[slot as usize];
            let (position, attempts, first_failed_ns) = (entry.position, entry.replays + 1, entry.first_failed_ns);
            return Verdict::Dead(Dead { value: give_up(self, slot), position, attempts, first_failed_ns });
        }
        entry.replays += 1;
        entry.is_waiting = true;
        // What others have caused does not make it wait longer: it may be behind them next time.
        let failures = entry.counted.max(1);
        let pause_ns = patience.backoff.draw_ns(failures, &mut self.jitter);
        #[cfg(test)]
        let pause_ns = if self.without_jitter { patience.backoff.pause_ns(failures) } else { pause_ns };
        self.failures += 1;
        self.due.push(Reverse((now_ns.saturating_add(pause_ns), self.failures, id)));
        Verdict::Waits
    }

    fn end(&mut self, slot: u32) -> T {
        self.ended += 1;
        self.remove(slot)
    }

    fn begin_again(&mut self, slot: u32) -> T {
        let entry = &mut self.entries[slot as usize];
        (entry.replays, entry.counted, entry.caused, entry.first_failed_ns) = (0, 0, 0, 0);
        entry.value.clone().expect("a slot in use has a value")
    }

    /// The next item that is due, which is then pending under the same id again.
    pub fn take_due(&mut self, now_ns: u64) -> Option<(u64, T)> {
        while self.due.peek().is_some_and(|Reverse((due_ns, ..))| *due_ns <= now_ns) {
            let Reverse((.., id)) = self.due.pop()?;
            if let Some(slot) = self.find(id) {
                let entry = &mut self.entries[slot as usize];
                entry.is_waiting = false;
                return Some((id, entry.value.clone()?));
            }
        }
        None
    }

    /// The split and position of a pending item.
    pub fn place_of(&self, id: u64) -> Option<(usize, Position)> {
        let entry = &self.entries[self.find(id)? as usize];
        Some((entry.split as usize, entry.position))
    }

    /// A clone of a pending item.
    pub fn value_of(&self, id: u64) -> Option<T> {
        self.entries[self.find(id)? as usize].value.clone()
    }

    /// When the first waiting item is due.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due_ns, ..))| *due_ns)
    }

    /// What a spout without anything new does: it rests until the next replay is due, or as it would `otherwise`.
    pub fn rest(&self, now_ns: u64, otherwise: Next) -> Next {
        let Some(due_ns) = self.next_due_ns() else { return otherwise };
        let until_due = Duration::from_nanos(due_ns.saturating_sub(now_ns));
        Next::WakeAfter(if let Next::WakeAfter(after) = otherwise { after.min(until_due) } else { until_due })
    }

    /// Items that wait for their replay.
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    /// The lowest position of a split that is not acked.
    pub fn lowest(&self, split: usize) -> Option<Position> {
        let first = self.splits.get(split)?.first;
        (first != NIL).then(|| self.entries[first as usize].position)
    }

    /// The splits have changed: `moved_to` gives each old one's new number, or none if its items are to be forgotten.
    pub fn renumber(&mut self, moved_to: &[Option<usize>], splits: usize) {
        let old = std::mem::replace(&mut self.splits, vec![EMPTY; splits]);
        for (number, ends) in old.into_iter().enumerate() {
            let moved_to = moved_to.get(number).copied().flatten();
            let mut slot = ends.first;
            while slot != NIL {
                let entry = &mut self.entries[slot as usize];
                let next = entry.next;
                match moved_to {
                    Some(new) => entry.split = new as u32,
                    None => {
                        self.ended += 1;
                        drop(self.free_slot(slot));
                    }
                }
                slot = next;
            }
            if let Some(new) = moved_to {
                self.splits[new] = ends;
            }
        }
        let entries = &self.entries;
        self.due.retain(|Reverse((.., id))| find_in(entries, *id).is_some());
    }

    /// Items of which nothing is known any more.
    pub fn missing(&self) -> u64 {
        self.added - self.ended - (self.entries.len() - self.free.len()) as u64
    }

    fn find(&self, id: u64) -> Option<u32> {
        find_in(&self.entries, id)
    }

    fn remove(&mut self, slot: u32) -> T {
        let Entry { split, previous, next, .. } = self.entries[slot as usize];
        let ends = &mut self.splits[split as usize];
        match previous {
            NIL => ends.first = next,
            _ => self.entries[previous as usize].next = next,
        }
        match next {
            NIL => ends.last = previous,
            _ => self.entries[next as usize].previous = previous,
        }
        self.free_slot(slot)
    }

    fn free_slot(&mut self, slot: u32) -> T {
        let entry = &mut self.entries[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        entry.value.take().expect("a slot in use has a value")
    }

    /// Items that are neither acked nor dead.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

fn find_in<T>(entries: &[Entry<T>], id: u64) -> Option<u32> {
    let slot = id as u32;
    let entry = entries.get(slot as usize)?;
    (entry.generation == (id >> 32) as u32 && entry.value.is_some()).then_some(slot)
}

#[cfg(test)]
mod tests;
