//! One file of lines that grows, exactly once.

use std::fs::{File, TryLockError};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Weak;

use serde::{Deserialize, Serialize};

use super::{BUFFER_BYTES, failed, sync_directory};
use crate::connect::place::{folder_of, place_of};
use crate::connect::transaction::Work;
use crate::error::{Error, Failure, Result};
use crate::state::codec;
use crate::state::store::CheckpointId;
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::{Bolt, Outcome};
use crate::task::context::{BoltContext, TaskInfo};
use crate::task::outlet::Outlet;
use crate::task::payload::{Nothing, Payload};
use crate::task::snapshot::{Checkpointed, DurableJob, OwnSnapshot, Visibility};

/// Lines added to one file, each exactly once where checkpoints are exactly once; every value is one line, to which the
/// `\n` is added.
///
/// **With checkpoints** a checkpoint holds how far the file went, and is the truth only after that much is synced. What
/// comes after it is in the file once the next one begins, or sooner if it is much, and is cut off again by whoever goes
/// back to the checkpoint: a reader of a running topology may see lines at the end that come again.
///
/// **Without checkpoints** every line is written as it comes, at the cost of a system call, and is in the file when
/// its value is acked. The file is synced at the end.
///
/// What the file holds when a run begins stays. It is locked while it is in use and takes one task. Between two
/// runs the whole file may be taken away: then the next one begins a new one.
///
/// # Examples
///
/// ```
/// use squall::connect::{AppendLines, Generator};
/// use squall::TopologyBuilder;
///
/// # let place = tempfile::tempdir()?;
/// # let path = place.path().join("numbers");
/// let sink = AppendLines::new(path.clone());
/// sink.check()?; // a clear message, before anything starts, if it cannot be written
///
/// let mut t = TopologyBuilder::new("numbers");
/// let numbers = t.source("numbers", || Generator::new(3, |n| n.to_string()));
/// t.bolt("file", move || sink.clone()).global(&numbers);
/// t.build()?.run()?;
/// assert_eq!(std::fs::read_to_string(path)?, "0\n1\n2\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AppendLines<T> {
    shared: Arc<Shared>,
    file: Option<Arc<File>>,
    has_checkpoints: bool,
    /// How far the file is written, what jobs will write included.
    end: u64,
    /// How far the last snapshot went.
    snapshot_end: u64,
    /// Comes after `end`.
    buffer: Vec<u8>,
    /// What has been handed out to be written and is in no durable checkpoint yet, oldest first.
    pending: Vec<(CheckpointId, Work)>,
    values: PhantomData<fn(T)>,
}

/// What all instances have in common, also those of before a step back.
struct Shared {
    path: PathBuf,
    /// Open, and locked, while an instance or a job has it.
    open: Mutex<Weak<File>>,
}

/// As it stands in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// The file is that long.
    end: u64,
}

impl<T> Clone for AppendLines<T> {
    fn clone(&self) -> Self {
        Self::of(self.shared.clone())
    }
}

impl<T> AppendLines<T> {
    /// The file at a path, made if it is not there. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(Arc::new(Shared { path: path.into(), open: Mutex::new(Weak::new()) }))
    }

    fn of(shared: Arc<Shared>) -> Self {
        AppendLines {
            shared,
            file: None,
            has_checkpoints: false,
            end: 0,
            snapshot_end: 0,
            buffer: Vec::new(),
            pending: Vec::new(),
            values: PhantomData,
        }
    }

    /// Finds out, before anything starts, whether the file can be written. Makes it.
    ///
    /// # Errors
    /// A usage error that names the path and what is wrong with it.
    pub fn check(&self) -> Result<()> {
        let problem = |what: String| Error::usage(self.shared.path.display().to_string(), what);
        self.shared.open().map(drop).map_err(|failure| problem(failure.message().to_owned()))
    }

    pub(super) fn open(&mut self, task: &TaskInfo) -> Outcome {
        if task.count > 1 {
            return Err(Failure::fatal(format!(
                "{} is written by one task: set its parallelism to 1",
                self.shared.path.display()
            )));
        }
        let file = self.shared.open()?;
        self.end = self.length(&file)?;
        self.begin_a_line(&file)?;
        self.snapshot_end = self.end;
        self.file = Some(file);
        Ok(())
    }

    fn length(&self, file: &File) -> Result<u64, Failure> {
        let metadata = file.metadata().map_err(|error| failed("reading", &self.shared.path, &error))?;
        Ok(metadata.len())
    }

    /// Half a line, of whoever wrote before, is ended first.
    fn begin_a_line(&mut self, file: &File) -> Outcome {
        let mut last = [b'\n'];
        if self.end > 0 {
            file.read_exact_at(&mut last, self.end - 1).map_err(|error| failed("reading", &self.shared.path, &error))?;
        }
        if last != [b'\n'] {
            self.buffer.push(b'\n');
        }
        Ok(())
    }

    /// What is buffered goes into the file, at its place: tried again, it overwrites what a failure has left of it.
    fn flush(&mut self) -> Outcome {
        let file = self.file.as_deref().expect("a bolt is prepared before anything else");
        if let Err(error) = file.write_all_at(&self.buffer, self.end) {
            // Half a line is of no use to anybody; what cannot be cut off is overwritten.
            let _ = file.set_len(self.end);
            return Err(failed("writing", &self.shared.path, &error));
        }
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn add(&mut self, value: impl AsRef<[u8]>) -> Outcome {
        if self.has_checkpoints && self.buffer.len() >= BUFFER_BYTES {
            // Before the value is taken: what has failed comes again.
            self.flush()?;
        }
        let length = self.buffer.len();
        self.buffer.extend_from_slice(value.as_ref());
        self.buffer.push(b'\n');
        if self.has_checkpoints {
            return Ok(());
        }
        self.flush().inspect_err(|_| self.buffer.truncate(length))
    }

    fn sync(&self) -> Outcome {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data().map_err(|error| Failure::fatal(format!("syncing {}: {error}", self.shared.path.display())))
    }

    /// Cuts off what comes after the checkpoint that is gone back to.
    fn go_back_to(&mut self, end: u64) -> Outcome {
        let path = self.shared.path.clone();
        let file = self.file.clone().expect("a bolt is prepared before anything else");
        let length = self.length(&file)?;
        self.buffer.clear();
        self.end = match length {
            0 if end > 0 => {
                tracing::warn!(path = %path.display(), "taken away since the last checkpoint: a new file is begun");
                0
            }
            _ if length < end => {
                return Err(Failure::fatal(format!(
                    "{} has {length} bytes and had {end} at the checkpoint that is resumed: put back what is missing, \
                     or take the whole file away",
                    path.display()
                )));
            }
            _ => end,
        };
        if length > self.end {
            file.set_len(self.end).map_err(|error| failed("cutting off the end of", &path, &error))?;
        }
        Ok(())
    }
}

impl Shared {
    fn open(&self) -> Result<Arc<File>, Failure> {
        let mut open = self.open.lock().expect("nothing panics under it");
        if let Some(file) = open.upgrade() {
            return Ok(file);
        }
        let fatal = |what: &str| Failure::fatal(format!("{}: {what}", self.path.display()));
        if std::fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return Err(fatal("lines that may be cut off again need a regular file; give one"));
        }
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&self.path);
        let file = opened.map_err(|error| failed("opening", &self.path, &error))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(fatal("another process or topology writes to it; give this one a file of its own"));
            }
            // Not every file system has locks.
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                return Err(failed("locking", &self.path, &error));
            }
            _ => {}
        }
        // Its name has to be there after a power cut too.
        sync_directory(folder_of(&self.path)).map_err(|error| Failure::retry(error.to_string()))?;
        let file = Arc::new(file);
        *open = Arc::downgrade(&file);
        Ok(file)
    }
}

impl<T: Payload + AsRef<[u8]>> Bolt for AppendLines<T> {
    type In = T;
    type Out = Nothing;

    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.open(ctx.info())
    }

    fn execute(&mut self, value: T, _out: &mut Outlet<Nothing>) -> Outcome {
        self.add(value)
    }

    fn finish(&mut self, _out: &mut Outlet<Nothing>) -> Outcome {
        // With checkpoints the last of them does it.
        if self.has_checkpoints { Ok(()) } else { self.sync() }
    }

    fn cleanup(&mut self) {
        let ended = match &self.file {
            // Nobody's lines yet: whoever resumes writes them again.
            Some(file) if self.has_checkpoints => match file.set_len(self.snapshot_end) {
                Err(error) => Err(failed("cutting off the end of", &self.shared.path, &error)),
                Ok(()) => Ok(()),
            },
            _ => self.sync(),
        };
        if let Err(failure) = ended {
            tracing::error!(%failure, "ending a file of lines");
        }
        self.file = None;
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        Some(self)
    }
}

impl<T> Checkpointed for AppendLines<T> {
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OwnSnapshot, Failure> {
        for (_, work) in &self.pending {
            work.check()?;
        }
        let (path, at) = (self.shared.path.clone(), self.end);
        let file = self.file.clone().ok_or_else(|| Failure::fatal("a snapshot before the start"))?;
        let buffer = std::mem::take(&mut self.buffer);
        self.end += buffer.len() as u64;
        // What was flushed early is synced too.
        if self.end > self.snapshot_end {
            self.snapshot_end = self.end;
            let job: DurableJob = Box::new(move || {
                let written = file.write_all_at(&buffer, at).and_then(|()| file.sync_data());
                written.map_err(|error| Error::io(format!("writing {}", path.display()), &error))
            });
            self.pending.push((checkpoint, Work::new(Some(job))));
        }
        let works: Vec<Work> = self.pending.iter().map(|(_, work)| work.clone()).collect();
        let mut bytes = Vec::new();
        codec::write(&Saved { end: self.end }, &mut bytes).expect("a number can be encoded");
        Ok(OwnSnapshot { bytes, before: Some(Box::new(move || works.iter().try_for_each(Work::run))) })
    }

    fn restore(&mut self, _resumed: Option<CheckpointId>, parts: &[&[u8]]) -> Outcome {
        self.has_checkpoints = true;
        let mut end = None;
        // Empty: of a component that was something else then.
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let saved: Saved = codec::read(part).map_err(|error| {
                Failure::fatal(format!("the stored length of {} cannot be read: {error}", self.shared.path.display()))
            })?;
            end = end.max(Some(saved.end));
        }
        // Without a checkpoint nothing has been written that is not to stay.
        if let Some(end) = end {
            self.go_back_to(end)?;
        }
        self.snapshot_end = self.end;
        Ok(())
    }

    fn committed(&mut self, checkpoint: CheckpointId) -> Outcome {
        self.pending.retain(|(of, _)| *of > checkpoint);
        Ok(())
    }

    fn visibility(&self) -> Visibility {
        Visibility::Transactional
    }

    fn place(&self) -> Option<String> {
        place_of(&self.shared.path)
    }
}
