//! Reading a checkpoint: a base, and the changes since laid over it, for some of the key groups at a time.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::error::Result;
use crate::state::delta::{Change, Changes, Delta, Space};

use super::format::Segment;

/// What a checkpoint is made of.
#[derive(Clone, Debug)]
pub struct View {
    pub base: Option<Arc<Segment>>,
    /// After the base, in order.
    pub segments: Vec<Arc<Segment>>,
}

impl View {
    fn parts(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.base.iter().chain(&self.segments)
    }

    /// How many key groups there may be.
    pub fn groups(&self) -> u32 {
        self.parts().map(|part| u32::from(part.group_last) + 1).max().unwrap_or(0)
    }

    /// The length of everything in it.
    pub fn bytes(&self) -> u64 {
        self.parts().map(|part| part.payload_bytes).sum()
    }

    /// Every live entry of these groups, once.
    ///
    /// # Errors
    /// Those of the disk and of `each`; or a block does not verify.
    pub fn fold(&self, groups: &Range<u32>, each: &mut dyn FnMut(Change<'_>) -> Result<()>) -> Result<()> {
        let mut changed = Overlay::default();
        for segment in &self.segments {
            segment.read(groups, &mut |block| {
                for change in Changes::of(block) {
                    let change = change?;
                    if groups.contains(&u32::from(change.group)) {
                        changed.put(&change);
                    }
                }
                Ok(())
            })?;
        }
        if let Some(base) = &self.base {
            base.read(groups, &mut |block| {
                for change in Changes::of(block) {
                    let change = change?;
                    if groups.contains(&u32::from(change.group)) && !changed.has(&change) {
                        each(change)?;
                    }
                }
                Ok(())
            })?;
        }
        changed.live(each)
    }
}

/// The last of several changes for each key. Takes the memory of all their bytes, and 12 bytes a key.
#[derive(Debug, Default)]
struct Overlay {
    records: Delta,
    /// Where the last record of each key begins.
    last: HashTable<usize>,
    hasher: foldhash::fast::FixedState,
}

fn name<'a>(change: &Change<'a>) -> (Space, u16, &'a [u8]) {
    (change.space, change.group, change.key)
}

fn record(records: &Delta, at: usize) -> Change<'_> {
    Changes::of(&records.bytes()[at..]).next().and_then(Result::ok).expect("a record that was put here")
}

impl Overlay {
    fn put(&mut self, change: &Change<'_>) {
        let at = self.records.bytes().len();
        let key = |out: &mut Vec<u8>| out.extend_from_slice(change.key);
        match change.value {
            Some(value) => self.records.put(change.space, change.group, key, |out| out.extend_from_slice(value)),
            None => self.records.delete(change.space, change.group, key),
        }
        let records = &self.records;
        let hash = |at: &usize| self.hasher.hash_one(name(&record(records, *at)));
        let same = |other: &usize| name(&record(records, *other)) == name(change);
        match self.last.find_mut(self.hasher.hash_one(name(change)), same) {
            Some(last) => *last = at,
            None => drop(self.last.insert_unique(self.hasher.hash_one(name(change)), at, hash)),
        }
    }

    fn has(&self, change: &Change<'_>) -> bool {
        let same = |other: &usize| name(&record(&self.records, *other)) == name(change);
        !self.last.is_empty() && self.last.find(self.hasher.hash_one(name(change)), same).is_some()
    }

    /// The changes that are no deletions, in the order of their making.
    fn live(&self, each: &mut dyn FnMut(Change<'_>) -> Result<()>) -> Result<()> {
        let mut places: Vec<usize> = self.last.iter().copied().collect();
        places.sort_unstable();
        for change in places.into_iter().map(|at| record(&self.records, at)) {
            if change.value.is_some() {
                each(change)?;
            }
        }
        Ok(())
    }
}
