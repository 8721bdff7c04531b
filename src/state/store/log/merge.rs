//! Making a base out of the one before and the changes up to the oldest checkpoint that is kept.
//!
//! A base is made for some key groups after another, so many that each part fits the memory budget, and synced every
//! few MiB, so that a checkpoint's own sync never waits for much of it.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::state::delta::Delta;
use crate::state::store::{CheckpointId, Stamp};
use crate::sys::disk::{Disk, SharedFile};

use super::fold::View;
use super::format::{BLOCK_BYTES, Block, Segment, blocks_of, encode};

const SYNC_BYTES: u64 = 4 << 20;
const PARTS_MAX: u64 = 16;
const PART_BYTES: u64 = 32 << 20;

/// Writes the base of a checkpoint; durable under its name when it returns. `stopped` is asked now and then.
///
/// # Errors
/// Those of the disk; a block does not verify; stopped.
pub fn write_base(
    disk: &Disk,
    folder: &Path,
    view: &View,
    (checkpoint, stamp): (CheckpointId, Stamp),
    stopped: &dyn Fn() -> bool,
) -> Result<Segment> {
    let unnamed = folder.join("base.tmp");
    let file = SharedFile::new(disk.create(&unnamed)?);
    let mut writer = Writer { file: file.clone(), at: 0, synced: 0, blocks: Vec::new(), block: Delta::default() };
    let groups = u64::from(view.groups());
    let parts = view.bytes().div_ceil(PART_BYTES).clamp(1, PARTS_MAX.min(groups.max(1)));
    for part in 0..parts {
        let range = (groups * part / parts) as u32..(groups * (part + 1) / parts) as u32;
        view.fold(&range, &mut |change| {
            let value = change.value.expect("a live entry");
            let key = |out: &mut Vec<u8>| out.extend_from_slice(change.key);
            writer.block.put(change.space, change.group, key, |out| out.extend_from_slice(value));
            if writer.block.bytes().len() >= BLOCK_BYTES {
                writer.flush()?;
                if stopped() {
                    return Err(Error::failed("stopped", "the merge was stopped with its store"));
                }
            }
            Ok(())
        })?;
        writer.flush()?;
    }
    let (head, table) = encode(true, checkpoint, stamp, &writer.blocks);
    file.write_at(writer.at, &[table, head].concat())?;
    file.sync()?;
    disk.rename(&unnamed, &folder.join(format!("base-{checkpoint}")))?;
    disk.sync_dir(folder)?;
    let base = disk.open(&folder.join(format!("base-{checkpoint}")))?.map(SharedFile::new);
    let base = base.map(|file| Segment::base(&file)).transpose()?.flatten();
    base.ok_or_else(|| Error::bad_state(format!("{}: the base just written does not verify", folder.display())))
}

struct Writer {
    file: Arc<crate::sys::disk::DiskFile>,
    at: u64,
    synced: u64,
    blocks: Vec<Block>,
    block: Delta,
}

impl Writer {
    fn flush(&mut self) -> Result<()> {
        self.file.write_at(self.at, self.block.bytes())?;
        self.at += self.block.bytes().len() as u64;
        self.blocks.extend(blocks_of(self.block.bytes())?);
        self.block.clear();
        if self.at - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.at;
        }
        Ok(())
    }
}
