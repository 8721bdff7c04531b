//! A disk in memory that behaves as badly as a real one may: what was not synced is lost, torn or reordered at a crash.
//!
//! A crash keeps of each file what was synced and, of the writes since, any subset, each of them whole or up to some
//! sector; of the names in a folder what was synced and some first part of the changes since.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::mutation::{self, Mutation};
use crate::sys::random::Random;
use crate::sys::sync::{Arc, Mutex, MutexGuard};

/// What a write is torn by.
const SECTOR_BYTES: u64 = 512;

/// The number of a file, which it keeps under every name.
pub type InodeId = u64;

/// How a disk fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The probability that a write fails, having written some part.
    pub write: f64,
    /// The probability that a sync fails, having lost some of the writes.
    pub sync: f64,
    /// How much there is room for, if there is a limit.
    pub capacity_bytes: Option<u64>,
}

/// One change of a disk, as recorded.
#[derive(Clone, Debug)]
enum Op {
    Create(PathBuf, InodeId),
    MakeDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
    Write(InodeId, u64, Vec<u8>),
    Sync(InodeId),
}

/// A simulated disk. Clones share it.
#[derive(Clone, Debug)]
pub struct Simulated(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    contents: Contents,
    random: Random,
    faults: Faults,
    locks: BTreeSet<PathBuf>,
    next_inode: InodeId,
    recorded: Option<Vec<Op>>,
    /// What the disk held when the recording began.
    at_start: Contents,
}

/// What is seen, and what is durable of it.
#[derive(Clone, Debug, Default)]
struct Contents {
    names: BTreeMap<PathBuf, Option<InodeId>>,
    durable_names: BTreeMap<PathBuf, Option<InodeId>>,
    pending_names: Vec<Op>,
    files: BTreeMap<InodeId, Inode>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset as usize..end].copy_from_slice(bytes);
}

/// Carries a change of names out.
fn rename_in(names: &mut BTreeMap<PathBuf, Option<InodeId>>, op: &Op) {
    match op {
        Op::Create(path, inode) => {
            names.insert(path.clone(), Some(*inode));
        }
        Op::MakeDir(path) => {
            names.insert(path.clone(), None);
        }
        Op::Rename(from, to) => {
            let moved: Vec<PathBuf> = names.keys().filter(|name| name.starts_with(from)).cloned().collect();
            for name in moved {
                let node = names.remove(&name).expect("it was just listed");
                let rest = name.strip_prefix(from).expect("it starts with it");
                let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                names.insert(new, node);
            }
        }
        Op::Remove(path) => {
            names.remove(path);
        }
        Op::SyncDir(_) | Op::Write(..) | Op::Sync(_) => {}
    }
}

/// The folder whose names a change changes.
fn folder_of(op: &Op) -> &Path {
    match op {
        Op::Create(path, _) | Op::MakeDir(path) | Op::Rename(path, _) | Op::Remove(path) => {
            path.parent().unwrap_or(Path::new(""))
        }
        Op::SyncDir(_) | Op::Write(..) | Op::Sync(_) => Path::new(""),
    }
}

impl Contents {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(..) | Op::MakeDir(_) | Op::Rename(..) | Op::Remove(_) => {
                if let Op::Create(_, inode) = op {
                    self.files.entry(*inode).or_default();
                }
                rename_in(&mut self.names, op);
                self.pending_names.push(op.clone());
            }
            Op::SyncDir(folder) => {
                let pending = std::mem::take(&mut self.pending_names);
                for op in pending {
                    if folder_of(&op) == folder {
                        rename_in(&mut self.durable_names, &op);
                    } else {
                        self.pending_names.push(op);
                    }
                }
            }
            Op::Write(inode, offset, bytes) => {
                let file = self.files.get_mut(inode).expect("an open file");
                put(&mut file.seen, *offset, bytes);
                file.pending.push((*offset, bytes.clone()));
            }
            Op::Sync(inode) => {
                let file = self.files.get_mut(inode).expect("an open file");
                for (offset, bytes) in file.pending.drain(..) {
                    put(&mut file.durable, offset, &bytes);
                }
            }
        }
    }

    /// What a power cut leaves: nothing unsynced (`None`), or what chance keeps.
    fn crash(&self, mut random: Option<Random>) -> Contents {
        let mut left = Contents { names: self.durable_names.clone(), ..Contents::default() };
        let folders: BTreeSet<&Path> = self.pending_names.iter().map(folder_of).collect();
        for folder in folders {
            let ops: Vec<&Op> = self.pending_names.iter().filter(|op| folder_of(op) == folder).collect();
            let kept = random.as_mut().map_or(0, |random| random.below(ops.len() as u64 + 1));
            for op in ops.into_iter().take(kept as usize) {
                rename_in(&mut left.names, op);
            }
        }
        left.durable_names = left.names.clone();
        for (inode, file) in &self.files {
            let mut durable = file.durable.clone();
            if let Some(random) = &mut random {
                for (offset, bytes) in &file.pending {
                    let sectors = (bytes.len() as u64).div_ceil(SECTOR_BYTES);
                    let kept = match random.below(3) {
                        0 => 0,
                        1 => bytes.len(),
                        _ => (random.below(sectors + 1) * SECTOR_BYTES).min(bytes.len() as u64) as usize,
                    };
                    if kept > 0 {
                        put(&mut durable, *offset, &bytes[..kept]);
                    }
                }
            }
            left.files.insert(*inode, Inode { seen: durable.clone(), durable, pending: Vec::new() });
        }
        left
    }

    fn bytes(&self) -> u64 {
        let held = self.names.values().flatten().map(|inode| self.files[inode].seen.len() as u64);
        held.sum()
    }
}

impl Simulated {
    /// An empty disk; the seed decides what fails and what a crash keeps.
    pub fn new(seed: u64) -> Self {
        Simulated::with(Contents::default(), seed)
    }

    fn with(contents: Contents, seed: u64) -> Self {
        let next_inode = contents.files.keys().last().map_or(0, |last| last + 1);
        Simulated(Arc::new(Mutex::new(State {
            contents,
            random: Random::new(seed),
            faults: Faults::default(),
            locks: BTreeSet::new(),
            next_inode,
            recorded: None,
            at_start: Contents::default(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no one panics with the disk in hand")
    }

    /// From now on the disk fails like this.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// From now on every change is remembered, for [`image`](Self::image).
    pub fn record(&self) {
        let mut state = self.state();
        state.recorded = Some(Vec::new());
        state.at_start = state.contents.clone();
    }

    /// How many changes were recorded.
    pub fn recorded(&self) -> usize {
        self.state().recorded.as_ref().map_or(0, Vec::len)
    }

    /// The disk that a power cut now leaves, as the seed decides. This one is as it was.
    pub fn crash(&self, seed: u64) -> Simulated {
        Simulated::with(self.state().contents.crash(Some(Random::new(seed))), seed)
    }

    /// The disk that a power cut after the first `changes` recorded ones leaves: only what was synced, or with some of
    /// the rest as the seed decides.
    pub fn image(&self, changes: usize, seed: Option<u64>) -> Simulated {
        let state = self.state();
        let mut contents = state.at_start.clone();
        for op in state.recorded.iter().flatten().take(changes) {
            contents.apply(op);
        }
        Simulated::with(contents.crash(seed.map(Random::new)), seed.unwrap_or(0))
    }

    #[cfg(test)]
    pub(super) fn copy(&self) -> Simulated {
        Simulated::with(self.state().contents.clone(), 0)
    }

    /// Flips one bit of a file, as decay would.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        let mut state = self.state();
        let inode = state.contents.names[path].expect("a file");
        let file = state.contents.files.get_mut(&inode).expect("a named file");
        file.seen[bit as usize / 8] ^= 1 << (bit % 8);
        file.durable = file.seen.clone();
        file.pending.clear();
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        let files = state.contents.names.iter().filter_map(|(path, inode)| Some((path, (*inode)?)));
        files.map(|(path, inode)| (path.clone(), state.contents.files[&inode].seen.len() as u64)).collect()
    }

    pub(super) fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let missing: Vec<&Path> = path
            .ancestors()
            .filter(|above| !above.as_os_str().is_empty() && !state.contents.names.contains_key(*above))
            .collect();
        for folder in missing.into_iter().rev() {
            state.apply(Op::MakeDir(folder.to_owned()));
            state.apply(Op::SyncDir(folder.parent().unwrap_or(Path::new("")).to_owned()));
        }
        Ok(())
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<InodeId> {
        self.state().contents.names.get(path).copied().flatten().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create(&self, path: &Path) -> io::Result<InodeId> {
        let mut state = self.state();
        if !matches!(path.parent().map(|parent| state.contents.names.get(parent)), Some(Some(None))) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.apply(Op::Create(path.to_owned(), inode));
        Ok(inode)
    }

    pub(super) fn list(&self, path: &Path) -> Vec<String> {
        let state = self.state();
        let inside = state.contents.names.keys().filter(|name| name.parent() == Some(path));
        inside.filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned())).collect()
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.contents.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.apply(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.open(path)?;
        self.state().apply(Op::Remove(path.to_owned()));
        Ok(())
    }

    pub(super) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inside: Vec<PathBuf> =
            state.contents.names.keys().rev().filter(|name| name.starts_with(path)).cloned().collect();
        for name in inside {
            state.apply(Op::Remove(name));
        }
        Ok(())
    }

    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.state().apply(Op::SyncDir(path.to_owned()));
        Ok(())
    }

    pub(super) fn len_bytes(&self, inode: InodeId) -> u64 {
        self.state().contents.files[&inode].seen.len() as u64
    }

    pub(super) fn read_at(&self, inode: InodeId, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let seen = &state.contents.files[&inode].seen;
        let part = seen.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write_at(&self, inode: InodeId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let probability = state.faults.write;
        let grown = (offset + bytes.len() as u64).saturating_sub(state.contents.files[&inode].seen.len() as u64);
        let full = state.faults.capacity_bytes.is_some_and(|limit| state.contents.bytes() + grown > limit);
        if full || state.random.chance(probability) {
            let part = state.random.below(bytes.len() as u64 + 1) as usize;
            state.apply(Op::Write(inode, offset, bytes[..part].to_vec()));
            let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            return Err(io::Error::new(kind, if full { "no space left on the disk" } else { "the write failed" }));
        }
        state.apply(Op::Write(inode, offset, bytes.to_vec()));
        Ok(())
    }

    pub(super) fn sync(&self, inode: InodeId) -> io::Result<()> {
        let mut state = self.state();
        if mutation::is(Mutation::FsyncSkipped) {
            return Ok(());
        }
        let probability = state.faults.sync;
        if state.random.chance(probability) {
            // As on Linux: the pages count as clean afterwards, so a later sync does not write them.
            let mut random = state.random.fork(inode);
            let file = state.contents.files.get_mut(&inode).expect("an open file");
            file.pending.retain(|_| random.chance(0.5));
            return Err(io::Error::other("the sync failed"));
        }
        state.apply(Op::Sync(inode));
        Ok(())
    }

    pub(super) fn lock(&self, path: &Path) -> Result<HeldLock, String> {
        if !self.state().locks.insert(path.to_owned()) {
            return Err(std::process::id().to_string());
        }
        Ok(HeldLock { disk: self.clone(), path: path.to_owned() })
    }
}

impl State {
    fn apply(&mut self, op: Op) {
        self.contents.apply(&op);
        if let Some(recorded) = &mut self.recorded {
            recorded.push(op);
        }
    }
}

/// A lock of a simulated disk.
#[derive(Debug)]
pub struct HeldLock {
    disk: Simulated,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}
