//! Checkpoints in memory: for tests, and for runs that need no more than to step back within the process.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::error::Result;
use crate::state::delta::{Change, Changes, Delta, Space};
use crate::sys::clock::Clock;

use super::{CheckpointId, Footprint, Share, SnapshotStore, Stamp, Written, not_after, not_kept};

type Key = (Space, u16, Box<[u8]>);

/// Keeps checkpoints as long as the process lives: the oldest one as a map, later ones as their changes.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    base: HashMap<Key, Box<[u8]>>,
    /// What the map holds; none before the first merge.
    base_is: Option<(CheckpointId, Stamp)>,
    later: VecDeque<(CheckpointId, Stamp, Vec<Delta>)>,
}

impl Memory {
    /// An empty one.
    pub fn new(clock: Clock) -> Self {
        Memory { clock, base: HashMap::new(), base_is: None, later: VecDeque::new() }
    }

    fn last(&self) -> Option<(CheckpointId, Stamp)> {
        self.later.back().map(|(checkpoint, stamp, _)| (*checkpoint, *stamp)).or(self.base_is)
    }

    fn require(&self, checkpoint: CheckpointId) -> Result<()> {
        let kept = self.checkpoints();
        if kept.iter().any(|(kept, _)| *kept == checkpoint) {
            return Ok(());
        }
        Err(not_kept("the store in memory", checkpoint, &kept, ""))
    }
}

impl SnapshotStore for Memory {
    fn append(&mut self, checkpoint: CheckpointId, deltas: &[Delta]) -> Result<Written> {
        let start_ns = self.clock.now_ns();
        let last = self.last();
        if let Some((last, _)) = last.filter(|(last, _)| *last >= checkpoint) {
            return Err(not_after("the store in memory", checkpoint, last));
        }
        let stamp = last.unwrap_or_default().1.then(checkpoint, deltas);
        for delta in deltas {
            Changes::of(delta.bytes()).try_for_each(|change| change.map(drop))?;
        }
        self.later.push_back((checkpoint, stamp, deltas.to_vec()));
        let bytes = deltas.iter().map(|delta| delta.bytes().len() as u64).sum();
        Ok(Written { checkpoint, stamp, bytes, write_ns: self.clock.now_ns() - start_ns, sync_ns: 0 })
    }

    fn read(
        &self,
        checkpoint: CheckpointId,
        share: Share,
        each: &mut dyn FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()> {
        self.require(checkpoint)?;
        let mine = |group: u16| u32::from(group) % share.of == share.index;
        let mut changed = HashMap::<(Space, u16, &[u8]), Option<&[u8]>>::new();
        for (_, _, deltas) in self.later.iter().take_while(|(later, ..)| *later <= checkpoint) {
            for change in deltas.iter().flat_map(|delta| Changes::of(delta.bytes())) {
                let change = change?;
                if mine(change.group) {
                    changed.insert((change.space, change.group, change.key), change.value);
                }
            }
        }
        for ((space, group, key), value) in self.base.iter().filter(|((_, group, _), _)| mine(*group)) {
            if !changed.contains_key(&(*space, *group, &**key)) {
                each(Change { space: *space, group: *group, key, value: Some(value) })?;
            }
        }
        for ((space, group, key), value) in changed {
            if value.is_some() {
                each(Change { space, group, key, value })?;
            }
        }
        Ok(())
    }

    fn checkpoints(&self) -> Vec<(CheckpointId, Stamp)> {
        let later = self.later.iter().map(|(checkpoint, stamp, _)| (*checkpoint, *stamp));
        self.base_is.into_iter().chain(later).collect()
    }

    fn discard_after(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.require(checkpoint)?;
        self.later.retain(|(later, ..)| *later <= checkpoint);
        Ok(())
    }

    fn keep_from(&mut self, oldest: CheckpointId) -> Result<()> {
        // The map becomes the oldest checkpoint that is still to be read.
        while self.later.len() > 1 && self.base_is.is_none_or(|(base, _)| base < oldest) {
            let (checkpoint, stamp, deltas) = self.later.pop_front().expect("more than one");
            for change in deltas.iter().flat_map(|delta| Changes::of(delta.bytes())) {
                let change = change?;
                let key = (change.space, change.group, change.key.into());
                match change.value {
                    Some(value) => drop(self.base.insert(key, value.into())),
                    None => drop(self.base.remove(&key)),
                }
            }
            self.base_is = Some((checkpoint, stamp));
        }
        Ok(())
    }

    fn footprint(&self) -> Footprint {
        let names = self.base.len() * size_of::<(Key, Box<[u8]>)>();
        let base: usize = self.base.iter().map(|((_, _, key), value)| key.len() + value.len()).sum();
        let later = self.later.iter().flat_map(|(_, _, deltas)| deltas).map(|delta| delta.bytes().len());
        Footprint { memory_bytes: (names + base + later.sum::<usize>()) as u64, ..Footprint::default() }
    }
}
