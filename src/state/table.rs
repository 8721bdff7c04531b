//! The hash table of one key group: an index of slot numbers over a slab of entries.
//!
//! The index holds four bytes per entry, so it grows by moving little; the entries stay where they are, so lists of
//! changed ones are lists of slot numbers. The slab grows by a quarter: a larger factor would waste more memory than
//! the copies cost.

use hashbrown::HashTable;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Where an entry stands with the checkpoints: dirty if its mark is the current one, frozen if it is the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Clean,
    Odd,
    Even,
}

impl Mark {
    pub(super) fn other(self) -> Self {
        if self == Mark::Odd { Mark::Even } else { Mark::Odd }
    }
}

/// One entry; without a value it is a tombstone, kept until its deletion is in a complete checkpoint.
#[derive(Debug)]
pub(super) struct Entry<I, V> {
    /// The low half of the key's hash. The high half says little within a group.
    tag: u32,
    pub(super) mark: Mark,
    /// False if no checkpoint, complete or not, has ever had this entry.
    pub(super) is_stored: bool,
    pub(super) id: I,
    pub(super) value: Option<V>,
}

#[derive(Debug)]
enum Slot<I, V> {
    /// Free; the next free one.
    Free(u32),
    Used(Entry<I, V>),
}

/// The entries of one key group.
#[derive(Debug)]
pub(super) struct Table<I, V> {
    index: HashTable<u32>,
    slots: Vec<Slot<I, V>>,
    free: u32,
}

impl<I, V> Table<I, V> {
    pub(super) fn new() -> Self {
        Table { index: HashTable::new(), slots: Vec::new(), free: NONE }
    }

    /// The slot of the entry of this hash that is the one asked for.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(&I) -> bool) -> Option<u32> {
        let is_it = |&slot: &u32| matches!(&self.slots[slot as usize], Slot::Used(entry) if is_it(&entry.id));
        self.index.find(spread(hash as u32), is_it).copied()
    }

    /// How many slots there are, used or free.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The entry in a slot, if it is used.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Entry<I, V>> {
        match self.slots.get(slot as usize)? {
            Slot::Used(entry) => Some(entry),
            Slot::Free(_) => None,
        }
    }

    /// The entry in a used slot.
    #[inline]
    pub(super) fn entry(&self, slot: u32) -> &Entry<I, V> {
        self.get(slot).expect("the slot is used")
    }

    /// The entry in a used slot.
    #[inline]
    pub(super) fn entry_mut(&mut self, slot: u32) -> &mut Entry<I, V> {
        match &mut self.slots[slot as usize] {
            Slot::Used(entry) => entry,
            Slot::Free(_) => unreachable!("the slot is used"),
        }
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, id: I, value: V, mark: Mark, is_stored: bool) -> u32 {
        let tag = hash as u32;
        let used = Slot::Used(Entry { tag, mark, is_stored, id, value: Some(value) });
        let slot = match self.slots.get_mut(self.free as usize) {
            Some(free) => {
                let slot = self.free;
                let Slot::Free(next) = std::mem::replace(free, used) else { unreachable!("the slot is free") };
                self.free = next;
                slot
            }
            None => {
                let slot = u32::try_from(self.slots.len()).ok().filter(|&slot| slot != NONE);
                let slot = slot.expect("a key group has fewer than 2^32 - 1 entries");
                if self.slots.len() == self.slots.capacity() {
                    self.slots.reserve_exact((self.slots.len() / 4).max(4));
                }
                self.slots.push(used);
                slot
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(spread(tag), slot, |&slot| match &slots[slot as usize] {
            Slot::Used(entry) => spread(entry.tag),
            Slot::Free(_) => unreachable!("the index holds used slots"),
        });
        slot
    }

    /// Frees a used slot.
    pub(super) fn remove(&mut self, slot: u32) -> Entry<I, V> {
        let removed = std::mem::replace(&mut self.slots[slot as usize], Slot::Free(self.free));
        let Slot::Used(entry) = removed else { unreachable!("the slot is used") };
        self.free = slot;
        let indexed = self.index.find_entry(spread(entry.tag), |&indexed| indexed == slot);
        indexed.unwrap_or_else(|_| unreachable!("a used slot is in the index")).remove();
        entry
    }

    /// Bytes of the index and the slab, without what keys and values own elsewhere.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.index.allocation_size() + self.slots.capacity() * size_of::<Slot<I, V>>()
    }
}

/// Spreads 32 bits of hash over the 64 of which the index uses both ends.
#[inline]
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_counter_is_half_a_cache_line() {
        assert_eq!(size_of::<Slot<u64, u64>>(), 32);
    }

    #[test]
    fn slots_are_used_again() {
        let mut table = Table::new();
        for round in 0..3_u64 {
            let slots: Vec<u32> = (0..100).map(|n| table.insert(n << 40 | n, n, round, Mark::Clean, false)).collect();
            assert_eq!(table.slots(), 100);
            for (n, &slot) in slots.iter().enumerate() {
                assert_eq!(table.find(n as u64, |&id| id == n as u64), Some(slot));
                assert_eq!(table.remove(slot).value, Some(round));
                assert!(table.get(slot).is_none());
            }
        }
    }
}
