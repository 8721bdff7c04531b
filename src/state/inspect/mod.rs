//! Reading a state directory or a savepoint from outside: without its lock, without the program's types, and without
//! writing anything.

mod entry;
mod json;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::state::delta::Change;
use crate::state::directory::{self, Restored, StateDirectory};
use crate::state::manifest::{Found, Generation, Manifest, OperatorEntry, StateEntry};
use crate::state::store::kind::{StoreKind, StoreOptions};
use crate::state::store::{Share, SnapshotStore};
use crate::sys::clock::Clock;
use crate::sys::disk::{Disk, Lock};

pub use entry::{Entry, key_of_text};

/// A state directory or savepoint as it was when it was opened.
///
/// A running process may go on writing meanwhile: it is not disturbed, and a reading that it disturbed says so. Only
/// the databases sled and fjall cannot be read by two, so that their directory has to be idle, and write even when they
/// are read, so that whoever reads them has to be allowed to.
#[derive(Debug)]
pub struct Inspection {
    disk: Disk,
    path: PathBuf,
    clock: Clock,
    generations: Vec<Generation>,
    torn_slot: Option<String>,
    /// Taken only for databases.
    _lock: Option<Lock>,
}

impl StateDirectory {
    /// Opens a state directory or a savepoint to read it.
    ///
    /// # Errors
    /// There is none, or none of its manifests verifies; it keeps its checkpoints in a database that is in use; those
    /// of the disk.
    pub fn inspect(disk: Disk, path: &Path, clock: Clock) -> Result<Inspection> {
        let disk = disk.for_reading();
        directory::require_folder(&disk, path)?;
        let (generations, torn_slot) = read_manifest(&disk, path)?;
        let is_database = |generation: &Generation| generation.store != StoreKind::Log.name();
        let lock = match generations.iter().find(|generation| is_database(generation)) {
            Some(generation) => Some(disk.lock(&path.join("lock")).map_err(|error| in_use(path, generation, &error))?),
            None => None,
        };
        Ok(Inspection { disk, path: path.to_owned(), clock, generations, torn_slot, _lock: lock })
    }
}

fn in_use(path: &Path, generation: &Generation, error: &Error) -> Error {
    let (path, store) = (path.display().to_string(), &generation.store);
    let what = if error.is_usage() {
        "cannot be read while it is in use; stop the topology first, or read a savepoint"
    } else {
        "writes even when it is only read, and it may not: have whoever owns it make a savepoint (squall state \
         savepoint), which anybody may read who may read its files"
    };
    Error::usage(path, format!("its store {store} {what} ({error})"))
}

fn read_manifest(disk: &Disk, path: &Path) -> Result<(Vec<Generation>, Option<String>)> {
    match Manifest::open(disk, path)? {
        Found::Manifest(manifest, torn) => Ok((manifest.generations().to_vec(), torn)),
        Found::Nothing(wrong) if wrong.is_empty() => {
            let manifest = path.join("manifest.0").display().to_string();
            let what = format!("no state directory and no savepoint: there is no {manifest}");
            Err(Error::usage(path.display().to_string(), what))
        }
        Found::Nothing(wrong) => {
            Err(Error::bad_state(format!("{} has no manifest that can be used: {}", path.display(), wrong.join("; "))))
        }
    }
}

impl Inspection {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoints that are kept, oldest first.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// A manifest slot that does not verify, and why; the other one was used. A process that is just writing one
    /// leaves it so for a moment.
    pub fn torn_slot(&self) -> Option<&str> {
        self.torn_slot.as_deref()
    }

    /// A checkpoint by its number, or else the newest.
    ///
    /// # Errors
    /// It is not kept, or there is none.
    pub fn generation(&self, checkpoint: Option<u64>) -> Result<&Generation> {
        let path = self.path.display().to_string();
        let Some(newest) = self.generations.last() else {
            return Err(Error::usage(path, "it holds no checkpoint yet"));
        };
        let Some(wanted) = checkpoint else { return Ok(newest) };
        let found = self.generations.iter().find(|generation| generation.checkpoint.0 == wanted);
        found.ok_or_else(|| {
            let kept: Vec<String> = self.generations.iter().map(|kept| kept.checkpoint.to_string()).collect();
            Error::usage(path, format!("it has no checkpoint {wanted}, but: {}", kept.join(", ")))
        })
    }

    /// Reads every entry of a checkpoint, in any order, verifying all there is to verify.
    ///
    /// # Errors
    /// Something does not verify; a running process changed it meanwhile; those of the disk and of `each`.
    pub fn read(&self, generation: &Generation, each: &mut dyn FnMut(Change<'_>) -> Result<()>) -> Result<()> {
        self.undisturbed(generation, |store| store.read(generation.checkpoint, Share::ALL, each))
    }

    /// Reads a checkpoint into memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn restored(&self, generation: &Generation) -> Result<Restored> {
        let groups = self.undisturbed(generation, |store| store.read_groups(generation.checkpoint))?;
        Ok(Restored { generation: generation.clone(), groups })
    }

    fn undisturbed<R>(&self, generation: &Generation, read: impl FnOnce(&dyn SnapshotStore) -> Result<R>) -> Result<R> {
        let folder = self.path.join(&generation.folder);
        let names = self.disk.list(&folder)?;
        let options = StoreOptions::default();
        let store = directory::open_generation(&self.disk, &self.path, generation, &options, &self.clock);
        store.and_then(|store| read(&*store)).map_err(|error| {
            let is_same = self.disk.list(&folder).is_ok_and(|now| now == names)
                && read_manifest(&self.disk, &self.path).is_ok_and(|now| now.0 == self.generations);
            if is_same {
                return error;
            }
            let path = self.path.display();
            Error::bad_state(format!("{path}: a running process changed it while it was read: try again ({error})"))
        })
    }
}

impl Generation {
    /// The state of this name, `COMPONENT.STATE`.
    ///
    /// # Errors
    /// There is none; with the names there are.
    pub fn state_named(&self, name: &str) -> Result<&StateEntry> {
        let found = self.states.iter().find(|entry| entry.full_name() == name);
        found.ok_or_else(|| {
            let names: Vec<String> = self.states.iter().map(StateEntry::full_name).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::usage(name, format!("checkpoint {} has no such state; it has: {names}", self.checkpoint))
        })
    }
}

impl StateEntry {
    /// `COMPONENT.STATE`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.component, self.state)
    }
}

impl OperatorEntry {
    /// The positions of a source's splits, of all its tasks; none if this is something else.
    pub fn positions(&self) -> Option<Vec<(String, u64)>> {
        /// Of what is stored of a split; there may be more.
        #[derive(serde::Deserialize)]
        struct Split {
            split: String,
            position: u64,
        }
        let mut all = Vec::new();
        for task in self.tasks.iter().filter(|task| !task.0.is_empty()) {
            let splits = crate::state::codec::read::<Vec<Split>>(&task.0).ok()?;
            all.extend(splits.into_iter().map(|of| (of.split, of.position)));
        }
        all.sort();
        Some(all)
    }

    /// Bytes of all tasks.
    pub fn bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.0.len() as u64).sum()
    }
}
