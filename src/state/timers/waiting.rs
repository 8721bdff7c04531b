//! What has failed and is to be tried again, each after a time of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::keyed::again_after_ns;

#[derive(Debug)]
pub(super) struct Waiting<T> {
    due: BTreeSet<(u64, T)>,
    /// When each is due, and how often it has failed.
    of: BTreeMap<T, (u64, u32)>,
}

impl<T: Ord> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { due: BTreeSet::new(), of: BTreeMap::new() }
    }
}

impl<T: Ord + Copy> Waiting<T> {
    /// It has failed so many times, the last time now.
    pub fn insert(&mut self, item: T, failures: u32, now_ns: u64) {
        let due_ns = now_ns.saturating_add(again_after_ns(failures));
        self.due.insert((due_ns, item));
        self.of.insert(item, (due_ns, failures));
    }

    pub fn remove(&mut self, item: &T) -> bool {
        let Some((due_ns, _)) = self.of.remove(item) else { return false };
        self.due.remove(&(due_ns, *item))
    }

    /// The first that is due, and how often it has failed.
    pub fn take(&mut self, now_ns: u64) -> Option<(T, u32)> {
        let (_, item) = *self.due.first().filter(|(due_ns, _)| *due_ns <= now_ns)?;
        self.due.pop_first();
        self.of.remove(&item).map(|(_, failures)| (item, failures))
    }

    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.first().map(|(due_ns, _)| *due_ns)
    }

    /// Any, whether it is due or not.
    pub fn pop(&mut self) -> Option<T> {
        let (_, item) = self.due.pop_first()?;
        self.of.remove(&item);
        Some(item)
    }
}
