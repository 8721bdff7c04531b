//! Savepoints: one checkpoint in a folder of its own, to be kept, moved and started from.
//!
//! A savepoint has the form of a state directory with one checkpoint in the store `log`, and so its checksums, its
//! format versions and its schemas: whatever reads the one reads the other. It depends neither on the store that the
//! checkpoint came from nor on how many tasks wrote it.

use std::path::Path;

use crate::error::{Error, Result};
use crate::state::directory::{DirectoryOptions, StateDirectory};
use crate::state::inspect::Inspection;
use crate::state::manifest::Generation;
use crate::state::store::Footprint;
use crate::state::store::kind::StoreKind;
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;

/// Writes a checkpoint as a savepoint; durable when it returns. It gets its name when it is whole.
///
/// # Errors
/// There is something of that name; the checkpoint does not verify; those of the disk.
pub fn write(from: &Inspection, generation: &Generation, disk: &Disk, out: &Path, clock: &Clock) -> Result<Footprint> {
    let Some(name) = out.file_name() else {
        return Err(Error::usage(out.display().to_string(), "a savepoint needs the name of a folder"));
    };
    let above = match out.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => Path::new(".").to_owned(),
    };
    let partial_name = format!("{}.partial", name.to_string_lossy());
    let partial = above.join(&partial_name);
    disk.make_dir(&above)?;
    let names = disk.list(&above)?;
    if names.contains(&name.to_string_lossy().into_owned()) {
        return Err(Error::usage(out.display().to_string(), "it is there already: give the savepoint another name"));
    }
    if names.contains(&partial_name) {
        let what = "left by a savepoint that was broken off, or by one that is being written: remove it if it is not";
        return Err(Error::usage(partial.display().to_string(), what));
    }
    let restored = from.restored(generation)?;
    let options = DirectoryOptions { generations: 1, ..DirectoryOptions::default() };
    let mut directory = StateDirectory::open(disk.clone(), &partial, StoreKind::Log, options, clock.clone())?;
    directory.adopt(restored)?;
    let footprint = directory.footprint();
    drop(directory);
    disk.remove(&partial.join("lock"))?;
    disk.sync_dir(&partial)?;
    disk.rename(&partial, out)?;
    disk.sync_dir(&above)?;
    Ok(footprint)
}
