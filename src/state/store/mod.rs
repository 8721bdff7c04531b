//! Where checkpoints are kept: one trait, several stores.
//!
//! A store keeps what tasks changed from checkpoint to checkpoint. A checkpoint *contains* everything appended up to
//! and including it, so one that was appended and never became a generation is part of the next.

#[cfg(test)]
mod conformance;
#[cfg(feature = "fjall")]
pub mod fjall;
pub mod kind;
pub mod log;
pub mod memory;
#[cfg(feature = "sled")]
pub mod sled;
#[cfg(any(feature = "sled", feature = "fjall"))]
pub mod versioned;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::state::delta::{Change, Delta, Space};
use crate::sys::cpu::unpin_current_thread;
use crate::sys::thread;

/// The number of a checkpoint; the first is 0, a later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that stands for the content of a checkpoint and of all before it: whoever finds the checkpoint under the
/// same stamp has found the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// That of the checkpoint which adds these changes.
    fn then(self, checkpoint: CheckpointId, deltas: &[Delta]) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&self.0.to_le_bytes());
        hash.update(&checkpoint.0.to_le_bytes());
        for delta in deltas {
            hash.update(delta.bytes());
        }
        Stamp(hash.digest())
    }
}

/// The proof that a checkpoint's data is durable: only a store makes one, and a manifest entry cannot be written
/// without.
#[derive(Debug)]
#[must_use = "a checkpoint counts once its generation is committed with this"]
pub struct Written {
    checkpoint: CheckpointId,
    stamp: Stamp,
    /// How many bytes were written.
    pub bytes: u64,
    /// How long writing took.
    pub write_ns: u64,
    /// How long making it durable took.
    pub sync_ns: u64,
}

impl Written {
    /// Which checkpoint.
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// What stands for its content.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

/// One of several equal parts of a checkpoint's key groups.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Which one, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl Share {
    /// Everything.
    pub const ALL: Share = Share { index: 0, of: 1 };
}

/// What a store takes up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// On disk.
    pub disk_bytes: u64,
    /// In memory for good, caches included.
    pub memory_bytes: u64,
    /// How often old checkpoints were merged.
    pub merges: u64,
    /// The longest merge.
    pub merge_ns_max: u64,
    /// How often merging failed; it is tried again, and meanwhile the disk fills.
    pub merge_failures: u64,
    /// Why it failed the last time.
    pub merge_failure: Option<String>,
}

/// All entries of a checkpoint, by state and key group; each value a sequence of records without deletions, each key
/// once.
pub type Groups = BTreeMap<(Space, u16), Delta>;

/// Keeps checkpoints.
///
/// One thread appends; nothing here is called from an executor. After an error of `append` the store takes no more:
/// it is opened again from what is on the disk.
pub trait SnapshotStore: Send + Sync + fmt::Debug {
    /// Adds a checkpoint's changes; durable when it returns.
    ///
    /// # Errors
    /// Those of the disk; or the number is not greater than the last one.
    fn append(&mut self, checkpoint: CheckpointId, deltas: &[Delta]) -> Result<Written>;

    /// Reads every live entry of a checkpoint that lies in the given part exactly once, in any order.
    ///
    /// # Errors
    /// The checkpoint is not kept, or does not verify; those of the disk; those of `each`.
    fn read(
        &self,
        checkpoint: CheckpointId,
        share: Share,
        each: &mut dyn FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()>;

    /// The checkpoints that can be read, oldest first.
    fn checkpoints(&self) -> Vec<(CheckpointId, Stamp)>;

    /// Makes later checkpoints unreachable, so that their numbers can be used again.
    ///
    /// # Errors
    /// The checkpoint is not kept; those of the disk.
    fn discard_after(&mut self, checkpoint: CheckpointId) -> Result<()>;

    /// From now on only this checkpoint and later ones need be readable; older ones are merged, in the background.
    ///
    /// # Errors
    /// Those of the disk.
    fn keep_from(&mut self, oldest: CheckpointId) -> Result<()>;

    /// What the store takes up.
    fn footprint(&self) -> Footprint;

    /// Reads a checkpoint on as many threads as the machine has, four at most, and sorts it by state and key group.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_groups(&self, checkpoint: CheckpointId) -> Result<Groups> {
        let of = thread::available_count().clamp(1, 4) as u32;
        let read_share = |index: u32| {
            let mut groups = hashbrown::HashMap::<(Space, u16), Delta>::new();
            self.read(checkpoint, Share { index, of }, &mut |change| {
                let Some(value) = change.value else { return Ok(()) };
                groups.entry((change.space, change.group)).or_default().put(
                    change.space,
                    change.group,
                    |out| out.extend_from_slice(change.key),
                    |out| out.extend_from_slice(value),
                );
                Ok(())
            })?;
            Ok(groups)
        };
        let shares: Vec<Result<_>> = thread::scope(|scope| {
            let readers: Vec<_> = (1..of)
                .map(|index| {
                    scope.spawn(move || {
                        // Nobody executes while state is read.
                        unpin_current_thread();
                        read_share(index)
                    })
                })
                .collect();
            let mut shares = vec![read_share(0)];
            shares.extend(readers.into_iter().map(|reader| reader.join().expect("a reader does not panic")));
            shares
        });
        let mut all = Groups::new();
        for share in shares {
            all.extend(share?);
        }
        Ok(all)
    }
}

/// The error for a checkpoint that a store does not have.
fn not_kept(store: &str, checkpoint: CheckpointId, kept: &[(CheckpointId, Stamp)], why: &str) -> Error {
    let kept: Vec<String> = kept.iter().map(|(kept, _)| kept.to_string()).collect();
    let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
    Error::bad_state(format!("{store} has no checkpoint {checkpoint} (it has: {kept}){why}"))
}

/// The error for a number that does not follow.
fn not_after(store: &str, checkpoint: CheckpointId, last: CheckpointId) -> Error {
    Error::bad_state(format!("{store}: checkpoint {checkpoint} does not come after {last}; discard that one first"))
}
