//! squall's own store: checkpoints appended to a log, old ones merged into a base by a thread of its own.
//!
//! A checkpoint costs one write and one sync; once per [`file_bytes`](LogOptions::file_bytes) a new file is begun,
//! which costs two more syncs.

#[cfg(test)]
mod damaged;
mod fold;
mod format;
mod merge;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::error::Result;
use crate::state::delta::{Change, Delta};
use crate::sys::clock::Clock;
use crate::sys::disk::{Disk, SharedFile};
use crate::sys::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering};
use crate::sys::thread;

use super::{CheckpointId, Footprint, Share, SnapshotStore, Stamp, Written, not_after, not_kept};
use fold::View;
use format::{FILE_HEADER_BYTES, Segment, file_header, first_of_file, write_segment};

/// How large things get.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// A new file is begun behind this length. Default 64 MiB.
    pub file_bytes: u64,
    /// At least so much must have become old before it is merged; and half of the base. Default 16 MiB.
    pub merge_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { file_bytes: 64 << 20, merge_bytes: 16 << 20 }
    }
}

/// The store; see the module.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    current: Option<Current>,
    /// Wakes the merging thread; it ends when this is dropped.
    nudge: Option<Sender<()>>,
    merger: Option<thread::JoinHandle<()>>,
}

/// The file that is being appended to.
#[derive(Debug)]
struct Current {
    file: SharedFile,
    end: u64,
}

/// What the store and its merging thread share.
#[derive(Debug)]
struct Shared {
    disk: Disk,
    folder: PathBuf,
    options: LogOptions,
    clock: Clock,
    chain: Mutex<Chain>,
    stopped: AtomicBool,
}

/// Everything that can be read.
#[derive(Debug, Default)]
struct Chain {
    base: Option<Arc<Segment>>,
    /// After the base, each continuing the one before.
    segments: VecDeque<(u64, Arc<Segment>)>,
    oldest: CheckpointId,
    /// The highest number of a file.
    last_file: u64,
    /// Why the chain ended where it did, when the store was opened.
    broken: Option<String>,
    footprint: Footprint,
}

impl Chain {
    fn last(&self) -> Option<&Arc<Segment>> {
        self.segments.back().map(|(_, segment)| segment).or(self.base.as_ref())
    }

    fn kept(&self) -> Vec<(CheckpointId, Stamp)> {
        let parts = self.base.iter().chain(self.segments.iter().map(|(_, segment)| segment));
        parts.filter(|part| part.checkpoint >= self.oldest).map(|part| (part.checkpoint, part.stamp)).collect()
    }

    fn view(&self, checkpoint: CheckpointId) -> View {
        let segments = self.segments.iter().map(|(_, segment)| segment);
        let segments = segments.take_while(|segment| segment.checkpoint <= checkpoint).cloned().collect();
        View { base: self.base.clone(), segments }
    }

    /// Takes in what a file holds: what continues the checkpoints so far. What does not verify is stepped over, so
    /// that damage to what nobody needs any more, or to the end, hurts nothing else.
    fn take_file(&mut self, number: u64, file: &SharedFile) -> Result<()> {
        self.last_file = number;
        let first = first_of_file(file)?;
        if let Some(first) = first {
            self.segments.retain(|(_, segment)| segment.checkpoint < first);
        }
        // A header that does not verify says nothing; then the first segment says what it continues.
        let mut is_known = first.is_some();
        let mut offset = FILE_HEADER_BYTES;
        while let Some(segment) = Segment::next(file, offset)? {
            offset = segment.end();
            if !is_known {
                is_known = self.void_after(segment.previous);
            }
            if self.base.as_ref().is_some_and(|base| segment.checkpoint <= base.checkpoint) {
                continue;
            }
            let last = self.last().map_or((None, Stamp::default()), |last| (Some(last.checkpoint), last.stamp));
            if segment.previous != last.1 || Some(segment.checkpoint) <= last.0 {
                let (path, checkpoint) = (file.path().display(), segment.checkpoint);
                let broken = format!("{path}: checkpoint {checkpoint} does not continue what is before it");
                self.broken.get_or_insert(broken);
                continue;
            }
            self.segments.push_back((number, Arc::new(segment)));
        }
        Ok(())
    }

    /// Drops what comes after the checkpoint of this stamp. False if there is no such checkpoint.
    fn void_after(&mut self, stamp: Stamp) -> bool {
        let at = self.segments.iter().position(|(_, segment)| segment.stamp == stamp);
        let is_base = self.base.as_ref().map_or(Stamp::default(), |base| base.stamp) == stamp;
        match at {
            Some(at) => self.segments.truncate(at + 1),
            None if is_base => self.segments.clear(),
            None => return false,
        }
        true
    }
}

fn log_name(number: u64) -> String {
    format!("log-{number:08}")
}

fn number_of(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.parse().ok()
}

impl Log {
    /// Opens the log in this folder, which is made if it is not there; changes nothing in it.
    ///
    /// # Errors
    /// Those of the disk. What does not verify is not an error here: it is not among the checkpoints.
    pub fn open(disk: Disk, folder: &Path, options: LogOptions, clock: Clock) -> Result<Self> {
        disk.make_dir(folder)?;
        let names = disk.list(folder)?;
        let mut chain = Chain::default();
        let mut bases: Vec<u64> = names.iter().filter_map(|name| number_of(name, "base-")).collect();
        bases.sort_unstable();
        while let (None, Some(number)) = (&chain.base, bases.pop()) {
            let file = disk.open(&folder.join(format!("base-{number}")))?.map(SharedFile::new);
            chain.base = file.map(|file| Segment::base(&file)).transpose()?.flatten().map(Arc::new);
        }
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name, "log-")).collect();
        numbers.sort_unstable();
        for number in numbers {
            if let Some(file) = disk.open(&folder.join(log_name(number)))? {
                chain.take_file(number, &SharedFile::new(file))?;
            }
        }
        let (folder, chain) = (folder.to_owned(), Mutex::new(chain));
        let shared = Shared { disk, folder, options, clock, chain, stopped: AtomicBool::new(false) };
        Ok(Log { shared: Arc::new(shared), current: None, nudge: None, merger: None })
    }

    /// What of the files each checkpoint has: its own part, which later ones need as well. The base comes first.
    #[cfg(test)]
    fn extents(&self) -> Vec<(PathBuf, std::ops::Range<u64>, CheckpointId)> {
        let chain = self.shared.chain();
        let base = chain.base.iter().map(|base| (base, 0..base.file.len_bytes().expect("it is there")));
        let segments = chain.segments.iter().map(|(_, segment)| (segment, segment.begin()..segment.end()));
        let of = |(part, range): (&Arc<Segment>, _)| (part.file.path().to_owned(), range, part.checkpoint);
        base.chain(segments).map(of).collect()
    }

    /// Begins a file whose first checkpoint is this one; its header and name are durable.
    fn begin_file(&mut self, first: CheckpointId) -> Result<()> {
        let shared = &self.shared;
        let number = {
            let mut chain = shared.chain();
            chain.last_file += 1;
            chain.last_file
        };
        let file = SharedFile::new(shared.disk.create(&shared.folder.join(log_name(number)))?);
        file.write_at(0, &file_header(first))?;
        file.sync()?;
        shared.disk.sync_dir(&shared.folder)?;
        self.current = Some(Current { file, end: FILE_HEADER_BYTES });
        Ok(())
    }

    fn wake_merger(&mut self) -> Result<()> {
        if self.shared.disk.is_simulated() {
            self.shared.merge_if_due();
            return Ok(());
        }
        if self.nudge.is_none() {
            let (nudge, nudged) = bounded(1);
            let shared = self.shared.clone();
            // Where the keeper may run, which wakes it.
            let merger = thread::spawn_named("squall-merge", move || shared.merge_when_nudged(&nudged));
            let failed = |error| crate::error::Error::io("cannot start the thread that merges checkpoints", &error);
            self.merger = Some(merger.map_err(failed)?);
            self.nudge = Some(nudge);
        }
        // A full channel has a nudge in it already.
        let _ = self.nudge.as_ref().map(|nudge| nudge.try_send(()));
        Ok(())
    }
}

impl Shared {
    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().expect("no one panics with the chain in hand")
    }

    fn merge_when_nudged(&self, nudged: &Receiver<()>) {
        while nudged.recv().is_ok() {
            self.merge_if_due();
        }
    }

    fn merge_if_due(&self) {
        let start_ns = self.clock.now_ns();
        let done = self.merge();
        let mut chain = self.chain();
        match done {
            Ok(false) => {}
            Ok(true) => {
                chain.footprint.merges += 1;
                chain.footprint.merge_ns_max = chain.footprint.merge_ns_max.max(self.clock.now_ns() - start_ns);
            }
            Err(_) if self.stopped.load(Ordering::Relaxed) => {}
            Err(error) => {
                tracing::warn!("merging old checkpoints failed and is tried again: {error}");
                chain.footprint.merge_failures += 1;
                chain.footprint.merge_failure = Some(error.to_string());
            }
        }
    }

    fn merge(&self) -> Result<bool> {
        let (view, target) = {
            let chain = self.chain();
            let Some((checkpoint, stamp)) = chain.kept().first().copied() else { return Ok(false) };
            let view = chain.view(checkpoint);
            let base_bytes = view.base.as_ref().map_or(0, |base| base.payload_bytes);
            let old_bytes: u64 = view.segments.iter().map(|segment| segment.payload_bytes).sum();
            if view.segments.is_empty() || old_bytes < self.options.merge_bytes.max(base_bytes / 2) {
                return Ok(false);
            }
            (view, (checkpoint, stamp))
        };
        let stopped = || self.stopped.load(Ordering::Relaxed);
        let base = merge::write_base(&self.disk, &self.folder, &view, target, &stopped)?;
        let first_needed = {
            let mut chain = self.chain();
            chain.segments.retain(|(_, segment)| segment.checkpoint > base.checkpoint);
            chain.base = Some(Arc::new(base));
            chain.segments.front().map_or(chain.last_file, |(number, _)| *number)
        };
        self.remove_old(target.0, first_needed)?;
        Ok(true)
    }

    fn remove_old(&self, base: CheckpointId, first_needed: u64) -> Result<()> {
        for name in self.disk.list(&self.folder)? {
            let old_base = number_of(&name, "base-").is_some_and(|number| number < base.0);
            let old_log = number_of(&name, "log-").is_some_and(|number| number < first_needed);
            if old_base || old_log {
                self.disk.remove(&self.folder.join(&name))?;
            }
        }
        self.disk.sync_dir(&self.folder)
    }

    fn not_kept(&self, chain: &Chain, checkpoint: CheckpointId) -> crate::error::Error {
        let why = chain.broken.as_ref().map(|broken| format!("; {broken}")).unwrap_or_default();
        not_kept(&format!("the log in {}", self.folder.display()), checkpoint, &chain.kept(), &why)
    }
}

impl SnapshotStore for Log {
    fn append(&mut self, checkpoint: CheckpointId, deltas: &[Delta]) -> Result<Written> {
        let clock = self.shared.clock.clone();
        let start_ns = clock.now_ns();
        let last = self.shared.chain().last().map(|last| (last.checkpoint, last.stamp));
        if let Some((last, _)) = last.filter(|(last, _)| *last >= checkpoint) {
            return Err(not_after(&format!("the log in {}", self.shared.folder.display()), checkpoint, last));
        }
        if self.current.as_ref().is_none_or(|current| current.end >= self.shared.options.file_bytes) {
            let first = last.map_or(CheckpointId(0), |(last, _)| CheckpointId(last.0 + 1));
            self.begin_file(first)?;
        }
        let current = self.current.as_mut().expect("there is one now");
        let previous = last.unwrap_or_default().1;
        let segment = write_segment(&current.file, current.end, checkpoint, previous, deltas)?;
        let written_ns = clock.now_ns();
        current.file.sync()?;
        let bytes = segment.end() - current.end;
        current.end = segment.end();
        let stamp = segment.stamp;
        let mut chain = self.shared.chain();
        let number = chain.last_file;
        chain.segments.push_back((number, Arc::new(segment)));
        let (write_ns, sync_ns) = (written_ns - start_ns, clock.now_ns() - written_ns);
        Ok(Written { checkpoint, stamp, bytes, write_ns, sync_ns })
    }

    fn read(
        &self,
        checkpoint: CheckpointId,
        share: Share,
        each: &mut dyn FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()> {
        let view = {
            let chain = self.shared.chain();
            if !chain.kept().iter().any(|(kept, _)| *kept == checkpoint) {
                return Err(self.shared.not_kept(&chain, checkpoint));
            }
            chain.view(checkpoint)
        };
        let cut = |index: u32| (u64::from(view.groups()) * u64::from(index) / u64::from(share.of)) as u32;
        view.fold(&(cut(share.index)..cut(share.index + 1)), each)
    }

    fn checkpoints(&self) -> Vec<(CheckpointId, Stamp)> {
        self.shared.chain().kept()
    }

    fn discard_after(&mut self, checkpoint: CheckpointId) -> Result<()> {
        {
            let mut chain = self.shared.chain();
            if !chain.kept().iter().any(|(kept, _)| *kept == checkpoint) {
                return Err(self.shared.not_kept(&chain, checkpoint));
            }
            chain.segments.retain(|(_, segment)| segment.checkpoint <= checkpoint);
        }
        // Its header makes void what earlier files hold from there on, also what a crash left half written.
        self.begin_file(CheckpointId(checkpoint.0 + 1))
    }

    fn keep_from(&mut self, oldest: CheckpointId) -> Result<()> {
        {
            let mut chain = self.shared.chain();
            chain.oldest = chain.oldest.max(oldest);
        }
        self.wake_merger()
    }

    fn footprint(&self) -> Footprint {
        let chain = self.shared.chain();
        let mut files: Vec<&SharedFile> = chain.segments.iter().map(|(_, segment)| &segment.file).collect();
        files.extend(chain.base.iter().map(|base| &base.file));
        files.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let rows: usize = chain.segments.iter().map(|(_, segment)| segment.blocks.len()).sum();
        Footprint {
            disk_bytes: files.iter().map(|file| file.len_bytes().unwrap_or(0)).sum(),
            memory_bytes: (rows * size_of::<format::Block>()) as u64,
            ..chain.footprint.clone()
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.nudge = None;
        if let Some(merger) = self.merger.take() {
            // A panic of it has been printed by the thread itself.
            let _ = merger.join();
        }
    }
}
