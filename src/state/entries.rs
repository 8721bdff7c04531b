//! Entries and their marks: what changed since the last checkpoint, and what a checkpoint has frozen.
//!
//! An entry is *clean* (the stores have it), *dirty* (changed since the last freeze), *frozen* (a checkpoint is
//! to have it as it is) or both of the latter. Only one checkpoint is frozen at a time, so one mark says it all: it is
//! one of two that swap their meaning at every freeze. Freezing swaps two lists and touches no entry. A write to a
//! frozen entry first encodes the entry aside, as it was; so nothing is ever cloned, and what is not written costs
//! nothing.
//!
//! A removed entry stays as a tombstone until a complete checkpoint has its deletion. One that no checkpoint ever had
//! goes without a trace.
//!
//! Lists of entries hold the tags of their hashes, since growing moves entries. Several entries of one tag are no
//! trouble: for each frozen one there is an item in the list of frozen ones, so looking as often for *a* frozen entry
//! of the tag finds each; and the same for graves.

use crate::state::codec::EncodeError;
use crate::state::delta::{Delta, Space};
use crate::state::keyed::Counts;
use crate::state::table::{Entry, Mark, Name, Table};

/// Where an entry is, until the next insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// Counted from the first group of this task.
    pub(super) group: u32,
    place: u32,
}

impl At {
    /// Where a round over all places begins.
    pub(super) const START: At = At { group: 0, place: 0 };
}

/// What a list keeps of an entry.
#[derive(Clone, Copy, Debug)]
struct Listed {
    group: u32,
    tag: u32,
}

/// How the entries of one kind of state become records.
pub(super) trait Coding<I, V> {
    /// `group` is counted from the first group of this task.
    fn write_key(&self, group: u32, id: &I, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    fn write_value(&self, stamp_ns: u64, value: &V, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    /// An entry is gone, its tombstone too.
    fn freed(&mut self, group: u32, id: I);
}

/// What looking for an entry costs of a slice's budget.
const STEP_BYTES: usize = 32;

/// The entries of one state in one task, by key group.
#[derive(Debug)]
pub(super) struct Entries<I, V> {
    tables: Vec<Table<I, V>>,
    changes: Changed,
    /// The checkpoint's list; kept after it is encoded, for the case that it is aborted.
    frozen: Vec<Listed>,
    /// How many of `frozen` are done.
    encoded: usize,
    /// Tombstones encoded into the frozen checkpoint.
    graves: Vec<Listed>,
    /// Tombstones of complete checkpoints.
    retired: Vec<Listed>,
    live: usize,
}

/// What is known of the entries that have changed: all that a write needs besides the entry.
#[derive(Debug)]
struct Changed {
    first_group: u32,
    /// None if no checkpoint will ever ask: nothing is marked then.
    space: Option<Space>,
    /// The mark of what is dirty; the other one is that of what is frozen. Without a space that of everything.
    current: Mark,
    dirty: Vec<Listed>,
    /// What was frozen and written since.
    aside: Delta,
    failed: Option<EncodeError>,
}

impl Changed {
    fn new(space: Option<Space>, first_group: u32) -> Self {
        let current = if space.is_some() { Mark::Odd } else { Mark::Clean };
        Changed { first_group, space, current, dirty: Vec::new(), aside: Delta::default(), failed: None }
    }

    /// Marks an entry that is about to be written as dirty; what is frozen is saved.
    #[inline(never)]
    fn mark<I, V>(&mut self, entry: &mut Entry<I, V>, group: u32, coding: &impl Coding<I, V>) {
        if entry.mark() == self.current.other() && entry.note_stored() {
            let result = encode(entry, group, self.space, self.first_group, coding, &mut self.aside);
            self.failed = self.failed.take().or(result.err());
        }
        entry.set_mark(self.current);
        self.dirty.push(Listed { group, tag: entry.tag() });
    }

    /// An entry was inserted as dirty.
    fn note_inserted(&mut self, group: u32, hash: u64) {
        if self.space.is_some() {
            self.dirty.push(Listed { group, tag: hash as u32 });
        }
    }
}

impl<I, V> Entries<I, V> {
    pub(super) fn new() -> Self {
        Entries {
            tables: Vec::new(),
            changes: Changed::new(None, 0),
            frozen: Vec::new(),
            encoded: 0,
            graves: Vec::new(),
            retired: Vec::new(),
            live: 0,
        }
    }

    /// Empties it and makes tables for these groups.
    pub(super) fn bind(&mut self, space: Option<Space>, first_group: u32, groups: u32) {
        let tables = (0..groups).map(|_| Table::new()).collect();
        *self = Entries { tables, changes: Changed::new(space, first_group), ..Entries::new() };
    }

    /// The place of a key group among this task's.
    ///
    /// # Panics
    /// If the state is not bound, or the group is another task's.
    #[inline]
    pub(super) fn place(&self, group: u32) -> u32 {
        let place = group.wrapping_sub(self.changes.first_group);
        if place as usize >= self.tables.len() {
            not_here(group, self.changes.first_group, self.tables.len());
        }
        place
    }

    #[inline]
    pub(super) fn find(&self, group: u32, hash: u64, is_it: impl FnMut(&I) -> bool) -> Option<At> {
        self.tables[group as usize].find(hash, is_it).map(|place| At { group, place })
    }

    /// The entry of a tag that is the one asked for.
    pub(super) fn find_tagged(&self, group: u32, tag: u32, mut is_it: impl FnMut(&I) -> bool) -> Option<At> {
        let place = self.tables[group as usize].find_tagged(tag, |entry| is_it(&entry.id))?;
        Some(At { group, place })
    }

    /// A name for an entry that is to be inserted; see [`Table::name`].
    pub(super) fn name(&self, group: u32, hash: u64, nth_of: impl Fn(&I) -> Option<u32>) -> Name {
        self.tables[group as usize].name(hash, nth_of)
    }

    #[inline]
    pub(super) fn entry(&self, at: At) -> &Entry<I, V> {
        self.tables[at.group as usize].entry(at.place)
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, at: At) -> &mut Entry<I, V> {
        self.tables[at.group as usize].entry_mut(at.place)
    }

    /// The value of an entry, if it is there and no tombstone.
    #[inline]
    pub(super) fn value(&self, group: u32, hash: u64, is_it: impl FnMut(&I) -> bool) -> Option<&V> {
        self.tables[group as usize].look_up(hash, is_it)?.value()
    }

    /// The value to write into, in one look-up; made if there is none.
    #[inline]
    pub(super) fn value_or_insert(
        &mut self,
        group: u32,
        hash: u64,
        is_it: impl FnMut(&I) -> bool,
        coding: &impl Coding<I, V>,
        id: impl FnOnce() -> I,
        make: impl FnOnce() -> V,
    ) -> &mut V {
        let Entries { tables, changes, live, .. } = self;
        let entry = match tables[group as usize].look_up_mut(hash, is_it) {
            Ok(entry) => {
                if entry.mark() != changes.current {
                    changes.mark(entry, group, coding);
                }
                if entry.value().is_none() {
                    *live += 1;
                    entry.set(make());
                }
                entry
            }
            Err(absent) => {
                *live += 1;
                changes.note_inserted(group, hash);
                absent.insert(Entry::new(hash, id(), make(), changes.current, false))
            }
        };
        entry.value_mut().expect("there is a value")
    }

    /// The entry to write into, marked as dirty, its frozen value saved.
    #[inline]
    pub(super) fn touch(&mut self, at: At, coding: &impl Coding<I, V>) -> &mut Entry<I, V> {
        let entry = self.tables[at.group as usize].entry_mut(at.place);
        if entry.mark() != self.changes.current {
            self.changes.mark(entry, at.group, coding);
        }
        entry
    }

    /// The value to write into; made if the entry is a tombstone.
    #[inline]
    pub(super) fn value_mut(&mut self, at: At, coding: &impl Coding<I, V>, make: impl FnOnce() -> V) -> &mut V {
        if self.touch(at, coding).value().is_none() {
            self.live += 1;
            self.entry_mut(at).set(make());
        }
        self.entry_mut(at).value_mut().expect("there is a value")
    }

    /// Replaces the value, or the tombstone.
    #[inline]
    pub(super) fn set(&mut self, at: At, coding: &impl Coding<I, V>, value: V) -> Option<V> {
        let old = self.touch(at, coding).set(value);
        self.live += usize::from(old.is_none());
        old
    }

    /// Adds an entry that is not there, not even as a tombstone.
    pub(super) fn insert(&mut self, group: u32, hash: u64, id: I, value: V) -> At {
        let place = self.tables[group as usize].insert(Entry::new(hash, id, value, self.changes.current, false));
        self.changes.note_inserted(group, hash);
        self.live += 1;
        At { group, place }
    }

    /// Removes an entry that has a value.
    pub(super) fn remove(&mut self, at: At, coding: &mut impl Coding<I, V>) -> V {
        self.live -= 1;
        if self.changes.space.is_some() {
            return self.touch(at, coding).take().expect("there is a value");
        }
        let (id, value) = self.tables[at.group as usize].remove(at.place).into_parts();
        coding.freed(at.group, id);
        value.expect("there is a value")
    }

    /// Adds an entry from a checkpoint, in place of the one that is there: it is clean, or dirty if what the stores
    /// have has an old form.
    pub(super) fn restore(&mut self, old: Option<At>, group: u32, hash: u64, id: I, value: V, is_dirty: bool) -> At {
        let at = match old {
            Some(at) => {
                self.entry_mut(at).set(value);
                at
            }
            None => {
                let place = self.tables[group as usize].insert(Entry::new(hash, id, value, Mark::Clean, true));
                self.live += 1;
                At { group, place }
            }
        };
        let current = self.changes.current;
        let entry = self.entry_mut(at);
        if is_dirty && entry.mark() != current {
            entry.set_mark(current);
            self.changes.dirty.push(Listed { group, tag: hash as u32 });
        }
        at
    }

    /// Takes away an entry of which a later change in the stores says that it is gone.
    pub(super) fn unrestore(&mut self, at: At, coding: &mut impl Coding<I, V>) {
        let (id, _) = self.tables[at.group as usize].remove(at.place).into_parts();
        self.live -= 1;
        coding.freed(at.group, id);
    }

    /// Everything as it is now belongs to a checkpoint. Two swaps, whatever the number of entries.
    ///
    /// # Panics
    /// If the checkpoint before is not encoded wholly. If it was not aborted, it counts as complete from now on.
    pub(super) fn freeze(&mut self) {
        let is_free = self.is_encoded() && self.retired.is_empty();
        assert!(is_free, "a checkpoint is encoded wholly, or aborted, before the next one freezes");
        self.retired.append(&mut self.graves);
        self.frozen.clear();
        std::mem::swap(&mut self.changes.dirty, &mut self.frozen);
        self.encoded = 0;
        self.changes.current = self.changes.current.other();
    }

    fn is_encoded(&self) -> bool {
        self.encoded == self.frozen.len() && self.changes.aside.is_empty() && self.changes.failed.is_none()
    }

    /// Appends frozen entries until `out` has this many bytes; true if none is left.
    pub(super) fn encode_slice(
        &mut self,
        until_bytes: usize,
        coding: &mut impl Coding<I, V>,
        out: &mut Delta,
    ) -> Result<bool, EncodeError> {
        if let Some(error) = self.changes.failed.take() {
            return Err(error);
        }
        out.append(&mut self.changes.aside);
        let mut steps_bytes = 0;
        while out.bytes().len() + steps_bytes < until_bytes {
            if let Some(listed) = self.retired.pop() {
                self.bury(listed, coding);
            } else if let Some(&listed) = self.frozen.get(self.encoded) {
                self.encoded += 1;
                self.encode_frozen(listed, coding, out)?;
            } else {
                break;
            }
            steps_bytes += STEP_BYTES;
        }
        Ok(self.retired.is_empty() && self.is_encoded())
    }

    /// Takes away a tombstone whose deletion is in a complete checkpoint, unless it came to life again.
    fn bury(&mut self, Listed { group, tag }: Listed, coding: &mut impl Coding<I, V>) {
        let retired = self.changes.current.grave();
        let table = &mut self.tables[group as usize];
        if let Some(place) = table.find_tagged(tag, |entry| entry.mark() == retired) {
            let (id, _) = table.remove(place).into_parts();
            coding.freed(group, id);
        }
    }

    fn encode_frozen(
        &mut self,
        listed: Listed,
        coding: &mut impl Coding<I, V>,
        out: &mut Delta,
    ) -> Result<(), EncodeError> {
        let (group, frozen) = (listed.group, self.changes.current.other());
        let table = &mut self.tables[group as usize];
        // None if it was written since, and encoded aside then.
        let Some(place) = table.find_tagged(listed.tag, |entry| entry.mark() == frozen) else { return Ok(()) };
        let entry = table.entry_mut(place);
        if !entry.note_stored() {
            let (id, _) = table.remove(place).into_parts();
            coding.freed(group, id);
            return Ok(());
        }
        if entry.value().is_some() {
            entry.set_mark(Mark::Clean);
        } else {
            entry.set_mark(frozen.grave());
            self.graves.push(listed);
        }
        encode(entry, group, self.changes.space, self.changes.first_group, coding, out)
    }

    /// The frozen checkpoint will not be: what it has is dirty again, encoded or not. Costs a visit to each of its
    /// entries.
    pub(super) fn abort_frozen(&mut self, coding: &mut impl Coding<I, V>) {
        while let Some(listed) = self.retired.pop() {
            self.bury(listed, coding);
        }
        let current = self.changes.current;
        for listed in self.frozen.drain(..) {
            let table = &mut self.tables[listed.group as usize];
            // All of this tag, for what is encoded is not marked; one too many is written once more, which is no harm.
            while let Some(place) = table.find_tagged(listed.tag, |entry| entry.mark() != current) {
                table.entry_mut(place).set_mark(current);
                self.changes.dirty.push(listed);
            }
        }
        self.encoded = 0;
        self.graves.clear();
        self.changes.aside.clear();
        self.changes.failed = None;
    }

    /// Entries that have a value.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Everything that has a value, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&I, &V)> {
        self.tables.iter().flat_map(Table::iter).filter_map(|entry| Some((&entry.id, entry.value()?)))
    }

    /// The next place of a round over all places, if it is used. An empty group counts as one place.
    pub(super) fn advance(&self, cursor: &mut At) -> Option<At> {
        let table = self.tables.get(cursor.group as usize)?;
        let at = *cursor;
        cursor.place += 1;
        if cursor.place >= table.places() {
            let next = (cursor.group as usize + 1) % self.tables.len();
            *cursor = At { group: next as u32, place: 0 };
        }
        table.get(at.place).map(|_| at)
    }

    /// How much there is. Costs a visit to each group.
    pub(super) fn counts(&self) -> Counts {
        let lists = [&self.changes.dirty, &self.frozen, &self.graves, &self.retired];
        let lists_bytes: usize = lists.iter().map(|list| list.capacity() * size_of::<Listed>()).sum();
        let tables_bytes: usize = self.tables.iter().map(Table::allocated_bytes).sum();
        let own_bytes = self.tables.capacity() * size_of::<Table<I, V>>() + self.changes.aside.bytes().len();
        Counts {
            entries: self.live,
            dirty: self.changes.dirty.len(),
            frozen: self.frozen.len() - self.encoded,
            allocated_bytes: lists_bytes + tables_bytes + own_bytes,
        }
    }
}

/// Writes one entry as a record.
fn encode<I, V>(
    entry: &Entry<I, V>,
    place: u32,
    space: Option<Space>,
    first_group: u32,
    coding: &impl Coding<I, V>,
    out: &mut Delta,
) -> Result<(), EncodeError> {
    let space = space.expect("only a state with a space is encoded");
    let group = u16::try_from(first_group + place).expect("there are at most 2^16 key groups");
    let (mut of_key, mut of_value) = (Ok(()), Ok(()));
    let key = |bytes: &mut Vec<u8>| of_key = coding.write_key(place, &entry.id, bytes);
    let stamp_ns = entry.stamp_ns();
    match entry.value() {
        Some(value) => {
            out.put(space, group, key, |bytes| of_value = coding.write_value(stamp_ns, value, bytes));
        }
        None => out.delete(space, group, key),
    }
    of_key.and(of_value)
}

#[cold]
#[inline(never)]
fn not_here(group: u32, first: u32, groups: usize) -> ! {
    if groups == 0 {
        panic!("a state was used that the engine does not know: visit each one in the bolt's `states`");
    }
    panic!("key group {group} is not one of this task's ({groups} from {first}): the engine routed a tuple wrongly");
}
