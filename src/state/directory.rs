//! The state directory: one process at a time, a manifest, and the store that the manifest names.
//!
//! | name | what |
//! | --- | --- |
//! | `lock` | locked by the process that uses the directory, and names it |
//! | `manifest.0`, `manifest.1` | see [`manifest`](crate::state::manifest) |
//! | `store-N` | a store; the manifest says which one |
//! | `aside-N-…` | what was moved out of the way: never read, never removed |
//!
//! The order of writing is what makes a checkpoint safe: the store's data, then the manifest, then everything that
//! relies on it. An empty manifest is there before the first store, so a store without a manifest means damage, never
//! a beginning; and the first generation, like every change of the store, is written to both slots, so that no single
//! damaged slot can bring back the time before.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::state::delta::Delta;
use crate::state::manifest::{Found, Generation, Manifest};
use crate::state::store::kind::{StoreKind, StoreOptions};
use crate::state::store::{CheckpointId, Footprint, Groups, SnapshotStore, Written};
use crate::sys::clock::Clock;
use crate::sys::disk::{Disk, Lock};

/// How to open a state directory.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// How many generations are kept. Default 3; at least 1.
    pub generations: usize,
    /// Everything that is there is moved aside first.
    pub fresh: bool,
    /// Bounds of the store.
    pub store: StoreOptions,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        DirectoryOptions { generations: 3, fresh: false, store: StoreOptions::default() }
    }
}

/// What a user wants to know about an opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// The checkpoint that is gone on from; none at a beginning.
    pub restored: Option<CheckpointId>,
    /// Newer generations that could not be used, and why.
    pub unusable: Vec<String>,
    /// What was moved out of the way.
    pub moved_aside: Vec<PathBuf>,
    /// A manifest slot that does not verify: a crash tore it, or it decayed. The other one was used.
    pub torn_slot: Option<String>,
}

/// A generation with its entries.
#[derive(Debug)]
pub struct Restored {
    /// What the manifest says.
    pub generation: Generation,
    /// All entries of keyed state.
    pub groups: Groups,
}

/// A locked state directory with its store open.
#[derive(Debug)]
pub struct StateDirectory {
    disk: Disk,
    path: PathBuf,
    options: DirectoryOptions,
    kind: StoreKind,
    manifest: Manifest,
    /// The name of the store's folder.
    folder: String,
    store: Box<dyn SnapshotStore>,
    restored: Option<Restored>,
    opening: Opening,
    #[cfg(test)]
    held_back: Option<(CheckpointId, Vec<Delta>)>,
    clock: Clock,
    _lock: Lock,
}

const STORE: &str = "store-";
const ASIDE: &str = "aside-";

fn number_of(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.split('-').next()?.parse().ok()
}

/// A name that no other entry of the folder with this prefix is numbered like.
fn next_number(names: &[String], prefix: &str) -> u64 {
    names.iter().filter_map(|name| number_of(name, prefix)).max().unwrap_or(0) + 1
}

impl StateDirectory {
    /// Opens the directory, or makes it, and reads the newest generation that verifies in manifest and store. Where
    /// that is not the newest there is, or another kind of store is asked for, its entries go into a new store and
    /// the old one is moved aside.
    ///
    /// # Errors
    /// Another process has it; there was something, and nothing of it can be used; those of the disk.
    pub fn open(disk: Disk, path: &Path, kind: StoreKind, options: DirectoryOptions, clock: Clock) -> Result<Self> {
        if kind == StoreKind::Memory && !disk.is_simulated() {
            let remedy = "the store `memory` keeps nothing on disk: choose another store, or no state directory";
            return Err(Error::usage(path.display().to_string(), remedy));
        }
        require_folder(&disk, path)?;
        disk.make_dir(path)?;
        let lock = disk.lock(&path.join("lock"))?;
        let mut opening = Opening::default();
        if options.fresh {
            let names = disk.list(path)?.into_iter();
            let ours = names.filter(|name| name.starts_with("manifest.") || name.starts_with(STORE));
            move_aside(&disk, path, ours.collect(), &mut opening)?;
        }
        let mut manifest = open_manifest(&disk, path, &mut opening)?;
        let usable = newest_usable(&disk, path, &manifest, &options, &clock, &mut opening)?;
        let (folder, store, restored) = match usable {
            Some((mut store, restored)) if opening.unusable.is_empty() && restored.generation.store == kind.name() => {
                store.discard_after(restored.generation.checkpoint)?;
                (restored.generation.folder.clone(), store, Some(restored))
            }
            other => {
                let folder = format!("{STORE}{}", next_number(&disk.list(path)?, STORE));
                let mut store = kind.open(&disk, &path.join(&folder), &options.store, &clock)?;
                let restored = other.map(|(_, restored)| restored);
                let restored = restored.map(|restored| rebuild(&mut *store, &mut manifest, &folder, kind, restored));
                (folder, store, restored.transpose()?)
            }
        };
        let mut directory = StateDirectory {
            disk,
            path: path.to_owned(),
            options,
            kind,
            manifest,
            folder,
            store,
            restored,
            opening,
            #[cfg(test)]
            held_back: None,
            clock,
            _lock: lock,
        };
        directory.clear_other_stores()?;
        directory.opening.restored = directory.restored.as_ref().map(|restored| restored.generation.checkpoint);
        Ok(directory)
    }

    /// The number of the process that has the directory now, if any.
    ///
    /// # Errors
    /// Those of the disk; it is held by a process that has not told its number yet.
    pub fn holder(disk: &Disk, path: &Path) -> Result<Option<i32>> {
        require_folder(disk, path)?;
        let Some(holder) = disk.lock_holder(&path.join("lock"))? else { return Ok(None) };
        let unknown = |_| Error::failed("unknown_holder", format!("{} is just being opened", path.display()));
        holder.parse().map(Some).map_err(unknown)
    }

    /// A directory in memory, for runs that only step back within the process.
    ///
    /// # Errors
    /// None that one would expect.
    pub fn in_memory(options: DirectoryOptions, clock: Clock) -> Result<Self> {
        let disk = Disk::simulated(crate::sys::disk::simulated::Simulated::new(0));
        StateDirectory::open(disk, Path::new("/memory"), StoreKind::Memory, options, clock)
    }

    /// Stores that are not in use: never committed to, left by a crash, and then removed; or given up just now, and
    /// then moved aside.
    fn clear_other_stores(&mut self) -> Result<()> {
        let names = self.disk.list(&self.path)?.into_iter();
        let others: Vec<String> = names.filter(|name| name.starts_with(STORE) && *name != self.folder).collect();
        if others.is_empty() {
            return Ok(());
        }
        if self.restored.is_none() {
            for name in others {
                self.disk.remove_tree(&self.path.join(name))?;
            }
            return self.disk.sync_dir(&self.path);
        }
        move_aside(&self.disk, &self.path, others, &mut self.opening)
    }

    /// What the opening found.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The generation to go on from, once: it is handed over with its entries. None at a beginning.
    pub fn take_restored(&mut self) -> Option<Restored> {
        self.restored.take()
    }

    /// Makes a checkpoint from elsewhere the first one here, durably: how a start from a savepoint begins.
    ///
    /// # Errors
    /// There is a checkpoint already; those of the disk.
    pub fn adopt(&mut self, mut restored: Restored) -> Result<Restored> {
        self.require_empty()?;
        restored.generation.began_with = Some(restored.generation.stamp);
        let Self { store, manifest, folder, kind, .. } = self;
        rebuild(&mut **store, manifest, folder, *kind, restored)
    }

    /// True if this directory began with that savepoint.
    pub fn began_with(&self, savepoint: &Generation) -> bool {
        let newest = self.manifest.generations().last();
        newest.is_some_and(|newest| newest.began_with == Some(savepoint.stamp))
    }

    /// Refuses to begin from elsewhere where there is something already.
    ///
    /// # Errors
    /// There is a checkpoint.
    pub fn require_empty(&self) -> Result<()> {
        let Some(newest) = self.manifest.generations().last() else { return Ok(()) };
        Err(Error::bad_state(format!(
            "{} already holds state (checkpoint {}): leave --from-savepoint out to go on from that, or give --fresh as \
             well, which moves it aside",
            self.path.display(),
            newest.checkpoint
        )))
    }

    /// Reads the newest committed generation again and makes later checkpoints unreachable: for a step back within the
    /// process. None if nothing has been committed yet: then that is the beginning.
    ///
    /// # Errors
    /// As the store's [`read`](SnapshotStore::read).
    pub fn step_back(&mut self) -> Result<Option<Restored>> {
        let Some(generation) = self.manifest.generations().last().cloned() else { return Ok(None) };
        let groups = self.store.read_groups(generation.checkpoint)?;
        self.store.discard_after(generation.checkpoint)?;
        Ok(Some(Restored { generation, groups }))
    }

    /// Writes a checkpoint's changes; durable when it returns, but no generation before [`commit`](Self::commit).
    ///
    /// # Errors
    /// As the store's [`append`](SnapshotStore::append).
    pub fn append(&mut self, checkpoint: CheckpointId, deltas: &[Delta]) -> Result<Written> {
        #[cfg(test)]
        if let Some(written) = self.append_too_late(checkpoint, deltas)? {
            return Ok(written);
        }
        self.store.append(checkpoint, deltas)
    }

    /// Makes the checkpoint the truth; durable when it returns. Which store it is in is filled in here.
    ///
    /// # Errors
    /// Those of the disk. Whether it is the truth then only a new opening can tell.
    ///
    /// # Panics
    /// If the generation is of another checkpoint than the data.
    pub fn commit(&mut self, mut generation: Generation, written: Written) -> Result<()> {
        assert_eq!(generation.checkpoint, written.checkpoint(), "a generation and its data are of one checkpoint");
        generation.stamp = written.stamp();
        generation.store = self.kind.name().to_owned();
        generation.folder = self.folder.clone();
        let mut generations = self.manifest.generations().to_vec();
        let is_first = generations.is_empty();
        generation.began_with = generations.last().and_then(|newest| newest.began_with);
        generations.push(generation);
        let superfluous = generations.len().saturating_sub(self.options.generations.max(1));
        generations.drain(..superfluous);
        let oldest = generations[0].checkpoint;
        if is_first {
            self.manifest.write(generations.clone())?;
        }
        self.manifest.write(generations)?;
        #[cfg(test)]
        self.append_held_back()?;
        // The checkpoint is safe; that old ones stay for longer must not make it fail.
        if let Err(error) = self.store.keep_from(oldest) {
            tracing::warn!("old checkpoints are not dropped: {error}");
        }
        Ok(())
    }

    /// The committed generations, oldest first.
    pub fn generations(&self) -> &[Generation] {
        self.manifest.generations()
    }

    /// The kind of store in use.
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the store takes up.
    pub fn footprint(&self) -> Footprint {
        self.store.footprint()
    }

    /// The time source of the directory.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Says what stands in the place of a folder for state, if it is none.
///
/// # Errors
/// Usage: it is a file, or something else.
pub(super) fn require_folder(disk: &Disk, path: &Path) -> Result<()> {
    let in_the_way = |path: &Path| disk.is_in_the_way(path).map(|what| format!("{} is {what}", path.display()));
    // One further up is as much in the way.
    let Some(what) = path.ancestors().find_map(in_the_way) else { return Ok(()) };
    let message = format!("{what}, and state is kept in a folder: name a folder, or one that is yet to be made");
    Err(Error::usage(path.display().to_string(), message))
}

fn move_aside(disk: &Disk, path: &Path, names: Vec<String>, opening: &mut Opening) -> Result<()> {
    let number = next_number(&disk.list(path)?, ASIDE);
    for name in names {
        let aside = path.join(format!("{ASIDE}{number}-{name}"));
        disk.rename(&path.join(name), &aside)?;
        opening.moved_aside.push(aside);
    }
    disk.sync_dir(path)
}

fn open_manifest(disk: &Disk, path: &Path, opening: &mut Opening) -> Result<Manifest> {
    let wrong = match Manifest::open(disk, path)? {
        Found::Manifest(manifest, torn) => {
            opening.torn_slot = torn;
            return Ok(manifest);
        }
        Found::Nothing(wrong) => wrong,
    };
    let names = disk.list(path)?;
    if names.iter().any(|name| name.starts_with(STORE) || name == "manifest.1") {
        let wrong = if wrong.is_empty() { "there is none".to_owned() } else { wrong.join("; ") };
        return Err(Error::bad_state(format!(
            "{} holds state, but no manifest that can be used ({wrong}): bring manifest.0 and manifest.1 back from a \
             copy, or start over with --fresh, which moves what is there aside",
            path.display()
        )));
    }
    // Nothing has ever been stored here.
    Manifest::begin(disk, path)
}

type Usable = Option<(Box<dyn SnapshotStore>, Restored)>;

/// The newest generation that can be read, with its store; none if there are no generations.
fn newest_usable(
    disk: &Disk,
    path: &Path,
    manifest: &Manifest,
    options: &DirectoryOptions,
    clock: &Clock,
    opening: &mut Opening,
) -> Result<Usable> {
    for generation in manifest.generations().iter().rev() {
        match read_generation(disk, path, generation, options, clock) {
            Ok((store, groups)) => return Ok(Some((store, Restored { generation: generation.clone(), groups }))),
            Err(error) => opening.unusable.push(format!("checkpoint {}: {error}", generation.checkpoint)),
        }
    }
    if manifest.generations().is_empty() {
        return Ok(None);
    }
    Err(Error::bad_state(format!(
        "no checkpoint in {} can be used; bring the directory back from a copy, or start over with --fresh, which \
         moves what is there aside:\n  {}",
        path.display(),
        opening.unusable.join("\n  ")
    )))
}

fn read_generation(
    disk: &Disk,
    path: &Path,
    generation: &Generation,
    options: &DirectoryOptions,
    clock: &Clock,
) -> Result<(Box<dyn SnapshotStore>, Groups)> {
    let store = open_generation(disk, path, generation, &options.store, clock)?;
    let groups = store.read_groups(generation.checkpoint)?;
    Ok((store, groups))
}

/// Opens the store that a generation is in, if what it holds is what the manifest says.
pub(super) fn open_generation(
    disk: &Disk,
    path: &Path,
    generation: &Generation,
    options: &StoreOptions,
    clock: &Clock,
) -> Result<Box<dyn SnapshotStore>> {
    let folder = path.join(&generation.folder);
    let kind: StoreKind = generation.store.parse()?;
    // Opening would make an empty store in place of a lost one.
    if !disk.list(path)?.contains(&generation.folder) {
        return Err(Error::bad_state(format!("its store {} is not there", folder.display())));
    }
    let store = kind.open(disk, &folder, options, clock)?;
    let found = store.checkpoints().into_iter().find(|(checkpoint, _)| *checkpoint == generation.checkpoint);
    if found.is_some_and(|(_, stamp)| stamp != generation.stamp) {
        let folder = folder.display();
        return Err(Error::bad_state(format!("{folder} holds another content than the manifest says")));
    }
    Ok(store)
}

/// Puts a generation into an empty store and makes it the only one.
fn rebuild(
    store: &mut dyn SnapshotStore,
    manifest: &mut Manifest,
    folder: &str,
    kind: StoreKind,
    restored: Restored,
) -> Result<Restored> {
    let Restored { mut generation, groups } = restored;
    let (names, deltas): (Vec<_>, Vec<Delta>) = groups.into_iter().unzip();
    let written = store.append(generation.checkpoint, &deltas)?;
    generation.stamp = written.stamp();
    generation.store = kind.name().to_owned();
    generation.folder = folder.to_owned();
    for _slot in 0..2 {
        manifest.write(vec![generation.clone()])?;
    }
    Ok(Restored { generation, groups: names.into_iter().zip(deltas).collect() })
}

#[cfg(test)]
mod mutated;
#[cfg(test)]
mod tests;
