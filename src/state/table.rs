//! The hash table of one key group, with its entries in it.
//!
//! An access thus touches what a bare hash map touches: a byte of the index, and the entry. What it costs is that
//! growing moves entries, so whoever remembers one does so by what growing keeps: the tag of its hash, and a mark or a
//! number that tells it from others with the same tag. Growing moves one group, never the whole state.

use hashbrown::HashTable;
use hashbrown::hash_table::{AbsentEntry, OccupiedEntry};

/// Where an entry stands with the checkpoints.
///
/// *Dirty* is what has the current one of the two parities, *frozen* what has the other; likewise a *grave* is a
/// tombstone whose deletion is in the frozen checkpoint, or in a complete one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Clean,
    Odd,
    Even,
    GraveOdd,
    GraveEven,
}

impl Mark {
    /// The mark of the other parity.
    pub(super) fn other(self) -> Self {
        match self {
            Mark::Clean => Mark::Clean,
            Mark::Odd => Mark::Even,
            Mark::Even => Mark::Odd,
            Mark::GraveOdd => Mark::GraveEven,
            Mark::GraveEven => Mark::GraveOdd,
        }
    }

    /// The grave of this parity.
    pub(super) fn grave(self) -> Self {
        if matches!(self, Mark::Odd | Mark::GraveOdd) { Mark::GraveOdd } else { Mark::GraveEven }
    }
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry<I, V> {
    pub(super) id: I,
    body: Body<V>,
}

/// The small fields stand in each variant, so that they share the discriminant's eight bytes: this is what an entry
/// costs besides its key and value, with the stamp of a time to live.
#[derive(Debug)]
enum Body<V> {
    Live {
        mark: Mark,
        /// False if no checkpoint, complete or not, has ever had this entry.
        is_stored: bool,
        /// The low half of the key's hash. The high half says little within a group.
        tag: u32,
        stamp_ns: u64,
        value: V,
    },
    /// A tombstone, kept until its deletion is in a complete checkpoint.
    Dead { mark: Mark, is_stored: bool, tag: u32 },
}

impl<I, V> Entry<I, V> {
    pub(super) fn new(hash: u64, id: I, value: V, mark: Mark, is_stored: bool) -> Self {
        Entry { id, body: Body::Live { mark, is_stored, tag: hash as u32, stamp_ns: 0, value } }
    }

    #[inline]
    pub(super) fn mark(&self) -> Mark {
        let (Body::Live { mark, .. } | Body::Dead { mark, .. }) = &self.body;
        *mark
    }

    pub(super) fn set_mark(&mut self, new: Mark) {
        let (Body::Live { mark, .. } | Body::Dead { mark, .. }) = &mut self.body;
        *mark = new;
    }

    pub(super) fn is_stored(&self) -> bool {
        let (Body::Live { is_stored, .. } | Body::Dead { is_stored, .. }) = &self.body;
        *is_stored
    }

    /// A checkpoint has this entry if it has a value. True if one ever had.
    pub(super) fn note_stored(&mut self) -> bool {
        if let Body::Live { is_stored, .. } = &mut self.body {
            *is_stored = true;
        }
        self.is_stored()
    }

    #[inline]
    pub(super) fn tag(&self) -> u32 {
        let (Body::Live { tag, .. } | Body::Dead { tag, .. }) = &self.body;
        *tag
    }

    /// None if it is a tombstone.
    #[inline]
    pub(super) fn value(&self) -> Option<&V> {
        match &self.body {
            Body::Live { value, .. } => Some(value),
            Body::Dead { .. } => None,
        }
    }

    #[inline]
    pub(super) fn value_mut(&mut self) -> Option<&mut V> {
        match &mut self.body {
            Body::Live { value, .. } => Some(value),
            Body::Dead { .. } => None,
        }
    }

    /// Replaces the value, or the tombstone.
    pub(super) fn set(&mut self, new: V) -> Option<V> {
        match &mut self.body {
            Body::Live { value, .. } => Some(std::mem::replace(value, new)),
            &mut Body::Dead { mark, is_stored, tag } => {
                self.body = Body::Live { mark, is_stored, tag, stamp_ns: 0, value: new };
                None
            }
        }
    }

    /// Leaves a tombstone.
    pub(super) fn take(&mut self) -> Option<V> {
        let dead = Body::Dead { mark: self.mark(), is_stored: self.is_stored(), tag: self.tag() };
        match std::mem::replace(&mut self.body, dead) {
            Body::Live { value, .. } => Some(value),
            Body::Dead { .. } => None,
        }
    }

    pub(super) fn into_parts(self) -> (I, Option<V>) {
        match self.body {
            Body::Live { value, .. } => (self.id, Some(value)),
            Body::Dead { .. } => (self.id, None),
        }
    }

    /// When the value was last refreshed, if its state has a time to live.
    pub(super) fn stamp_ns(&self) -> u64 {
        match &self.body {
            Body::Live { stamp_ns, .. } => *stamp_ns,
            Body::Dead { .. } => 0,
        }
    }

    pub(super) fn set_stamp_ns(&mut self, new_ns: u64) {
        if let Body::Live { stamp_ns, .. } = &mut self.body {
            *stamp_ns = new_ns;
        }
    }
}

/// The name of an entry within its group, which growing does not change: its tag, and which one of those with the same
/// tag it is. Nearly always the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) tag: u32,
    pub(super) nth: u32,
}

impl Name {
    /// No entry's.
    pub(super) const NONE: Name = Name { tag: 0, nth: u32::MAX };
}

/// The entries of one key group.
#[derive(Debug)]
pub(super) struct Table<I, V> {
    entries: HashTable<Entry<I, V>>,
}

impl<I, V> Table<I, V> {
    pub(super) fn new() -> Self {
        Table { entries: HashTable::new() }
    }

    /// Where the entry of this hash is that is the one asked for. A place is good until the next insertion.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(&I) -> bool) -> Option<u32> {
        let at = self.entries.find_bucket_index(spread(hash as u32), |entry| is_it(&entry.id))?;
        Some(at as u32)
    }

    /// The entry of this hash that is the one asked for.
    #[inline]
    pub(super) fn look_up(&self, hash: u64, mut is_it: impl FnMut(&I) -> bool) -> Option<&Entry<I, V>> {
        self.entries.find(spread(hash as u32), |entry| is_it(&entry.id))
    }

    /// The same to write into, or the table without it.
    #[inline]
    pub(super) fn look_up_mut(
        &mut self,
        hash: u64,
        mut is_it: impl FnMut(&I) -> bool,
    ) -> Result<&mut Entry<I, V>, Absent<'_, I, V>> {
        let found = self.entries.find_entry(spread(hash as u32), |entry| is_it(&entry.id));
        found.map(OccupiedEntry::into_mut).map_err(Absent)
    }

    /// Where an entry of this tag is that fulfils a condition.
    pub(super) fn find_tagged(&self, tag: u32, mut is_it: impl FnMut(&Entry<I, V>) -> bool) -> Option<u32> {
        let is_it = |entry: &Entry<I, V>| entry.tag() == tag && is_it(entry);
        self.entries.find_bucket_index(spread(tag), is_it).map(|at| at as u32)
    }

    /// The first number that none of this tag has, when `nth_of` tells the numbers of those that are to be told apart.
    pub(super) fn name(&self, hash: u64, nth_of: impl Fn(&I) -> Option<u32>) -> Name {
        let tag = hash as u32;
        let is_free = |&nth: &u32| self.find_tagged(tag, |entry| nth_of(&entry.id) == Some(nth)).is_none();
        let nth = (0..u32::MAX).find(is_free).expect("a key group has fewer than 2^32 - 1 entries");
        Name { tag, nth }
    }

    /// How many places there are, used or free.
    pub(super) fn places(&self) -> u32 {
        self.entries.num_buckets() as u32
    }

    /// The entry in a place, if it is used.
    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&Entry<I, V>> {
        self.entries.get_bucket(at as usize)
    }

    /// The entry in a used place.
    #[inline]
    pub(super) fn entry(&self, at: u32) -> &Entry<I, V> {
        self.get(at).expect("the place is used")
    }

    /// The entry in a used place.
    #[inline]
    pub(super) fn entry_mut(&mut self, at: u32) -> &mut Entry<I, V> {
        self.entries.get_bucket_mut(at as usize).expect("the place is used")
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, entry: Entry<I, V>) -> u32 {
        assert!(self.entries.len() < NAMES_MAX, "a key group has fewer than 2^31 entries");
        self.entries.insert_unique(spread(entry.tag()), entry, |entry| spread(entry.tag())).bucket_index() as u32
    }

    /// Frees a used place; the others stay where they are.
    pub(super) fn remove(&mut self, at: u32) -> Entry<I, V> {
        self.entries.get_bucket_entry(at as usize).unwrap_or_else(|_| unreachable!("the place is used")).remove().0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<I, V>> {
        self.entries.iter()
    }

    /// Without what keys and values own elsewhere.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.entries.allocation_size()
    }
}

/// A table in which an entry was not found.
pub(super) struct Absent<'a, I, V>(AbsentEntry<'a, Entry<I, V>>);

impl<'a, I, V> Absent<'a, I, V> {
    /// Adds it.
    pub(super) fn insert(self, entry: Entry<I, V>) -> &'a mut Entry<I, V> {
        let table = self.0.into_table();
        assert!(table.len() < NAMES_MAX, "a key group has fewer than 2^31 entries");
        table.insert_unique(spread(entry.tag()), entry, |entry| spread(entry.tag())).into_mut()
    }
}

/// Places are numbered in 32 bits, and tables are at least half empty right after growing.
const NAMES_MAX: usize = 1 << 31;

/// Spreads 32 bits of hash over the 64 of which the table uses both ends.
#[inline]
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_half_a_cache_line() {
        assert_eq!(size_of::<Entry<u64, u64>>(), 32);
    }

    #[test]
    fn entries_of_one_tag_have_names_of_their_own() {
        let mut table = Table::new();
        for n in 0..50_u32 {
            let name = table.name(7, |&(nth, _)| Some(nth));
            assert_eq!(name, Name { tag: 7, nth: n });
            table.insert(Entry::new(7 | u64::from(n) << 40, (name.nth, n), n, Mark::Clean, false));
        }
        for n in 0..50_u32 {
            let at = table.find_tagged(7, |entry| entry.id.0 == n).unwrap();
            assert_eq!(table.entry(at).value(), Some(&n));
        }
        let at = table.find_tagged(7, |entry| entry.id.0 == 20).unwrap();
        assert_eq!(table.remove(at).into_parts(), ((20, 20), Some(20)));
        assert!(table.get(at).is_none());
        assert_eq!(table.name(7, |&(nth, _)| Some(nth)).nth, 20, "a name is used again");
    }

    #[test]
    fn a_tombstone_keeps_what_checkpoints_know() {
        let mut entry = Entry::new(9, "id", 1, Mark::Odd, true);
        assert_eq!(entry.take(), Some(1));
        assert_eq!((entry.value(), entry.mark(), entry.is_stored(), entry.tag()), (None, Mark::Odd, true, 9));
        assert_eq!((entry.set(2), entry.value()), (None, Some(&2)));
        assert_eq!((entry.mark(), entry.is_stored(), entry.tag()), (Mark::Odd, true, 9));
    }
}
