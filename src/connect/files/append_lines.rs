//! One file of lines that grows, exactly once.

use std::fs::File;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Weak;

use serde::{Deserialize, Serialize};

use super::growing::Growing;
use super::{failed, lock_alone, sync_directory};
use crate::connect::place::{folder_of, place_of};
use crate::connect::transaction::Work;
use crate::error::{Error, Failure};
use crate::state::codec;
use crate::state::store::CheckpointId;
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::{Bolt, Outcome};
use crate::task::context::{BoltContext, TaskInfo};
use crate::task::outlet::Outlet;
use crate::task::payload::{Nothing, Payload};
use crate::task::snapshot::{Checkpointed, OwnSnapshot, Visibility};

/// Lines added to one file, each exactly once where checkpoints are exactly once; every value is one line, to which the
/// `\n` is added.
///
/// **With checkpoints** a checkpoint holds how far the file went, and is the truth only after that much is synced. What
/// comes after it is in the file once the next one begins, or sooner if it is much, and is cut off again by whoever
/// goes back to the checkpoint: a reader of a running topology may see lines at the end that come again.
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
    lines: Option<Growing>,
    has_checkpoints: bool,
    /// How far the last snapshot went.
    snapshot_end: u64,
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
        let (pending, values) = (Vec::new(), PhantomData);
        AppendLines { shared, lines: None, has_checkpoints: false, snapshot_end: 0, pending, values }
    }

    /// Finds out, before anything starts, whether the file can be written. Makes it.
    ///
    /// # Errors
    /// A usage error that names the path and what is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
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
        self.snapshot_end = self.length()?;
        let mut lines = Growing::new(file, &self.shared.path, self.snapshot_end);
        lines.end_half_a_line()?;
        self.lines = Some(lines);
        Ok(())
    }

    fn length(&self) -> Result<u64, Failure> {
        let metadata = self.shared.open()?.metadata();
        Ok(metadata.map_err(|error| failed("reading", &self.shared.path, &error))?.len())
    }

    pub(super) fn add(&mut self, value: impl AsRef<[u8]>) -> Outcome {
        let lines = self.lines.as_mut().expect("a bolt is prepared before anything else");
        if self.has_checkpoints { lines.add(value.as_ref()) } else { lines.add_at_once(value.as_ref()) }
    }

    fn sync(&self) -> Outcome {
        let Some(lines) = &self.lines else { return Ok(()) };
        lines.sync().map_err(|error| Failure::fatal(format!("syncing {}: {error}", self.shared.path.display())))
    }

    /// How long the file was at the checkpoint that is resumed; none at a beginning.
    fn stored_end(&self, parts: &[&[u8]]) -> Result<Option<u64>, Failure> {
        let mut end = None;
        // Empty: of a component that was something else then.
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let saved: Saved = codec::read(part).map_err(|error| {
                Failure::fatal(format!("the stored length of {} cannot be read: {error}", self.shared.path.display()))
            })?;
            end = end.max(Some(saved.end));
        }
        Ok(end)
    }

    /// The length of a file that has everything up to this end, or nothing.
    fn length_for(&self, end: u64) -> Result<u64, Failure> {
        let (length, path) = (self.length()?, self.shared.path.display());
        if length > 0 && length < end {
            return Err(Failure::fatal(format!(
                "{path} has {length} bytes and had {end} at the checkpoint that is resumed: put back what is missing, \
                 or take the whole file away"
            )));
        }
        Ok(length)
    }

    /// Cuts off what comes after the checkpoint that is gone back to.
    fn go_back_to(&mut self, end: u64) -> Outcome {
        let length = self.length_for(end)?;
        if length < end {
            let path = self.shared.path.display();
            tracing::warn!(%path, "taken away since the last checkpoint: a new file is begun");
        }
        self.snapshot_end = length.min(end);
        self.lines.as_mut().expect("a bolt is prepared before anything else").cut(self.snapshot_end)
    }
}

impl Shared {
    fn open(&self) -> Result<Arc<File>, Failure> {
        let mut open = self.open.lock().expect("nothing panics under it");
        if let Some(file) = open.upgrade() {
            return Ok(file);
        }
        if std::fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            let why = "lines that may be cut off again need a regular file; give one";
            return Err(Failure::fatal(format!("{}: {why}", self.path.display())));
        }
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&self.path);
        let file = opened.map_err(|error| failed("opening", &self.path, &error))?;
        lock_alone(&file, &self.path)?;
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
        let ended = match &mut self.lines {
            // Nobody's lines yet: whoever resumes writes them again.
            Some(lines) if self.has_checkpoints => lines.cut(self.snapshot_end),
            _ => self.sync(),
        };
        if let Err(failure) = ended {
            tracing::error!(%failure, "ending a file of lines");
        }
        self.lines = None;
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
        let lines = self.lines.as_mut().ok_or_else(|| Failure::fatal("a snapshot before the start"))?;
        if let Some(job) = lines.hand_out() {
            self.pending.push((checkpoint, Work::new(Some(job))));
        }
        self.snapshot_end = lines.end();
        let works: Vec<Work> = self.pending.iter().map(|(_, work)| work.clone()).collect();
        let mut bytes = Vec::new();
        codec::write(&Saved { end: self.snapshot_end }, &mut bytes).expect("a number can be encoded");
        Ok(OwnSnapshot { bytes, before: Some(Box::new(move || works.iter().try_for_each(Work::run))) })
    }

    fn check_restore(&mut self, _resumed: Option<CheckpointId>, parts: &[&[u8]]) -> Outcome {
        self.stored_end(parts)?.map_or(Ok(()), |end| self.length_for(end).map(drop))
    }

    fn restore(&mut self, _resumed: Option<CheckpointId>, parts: &[&[u8]]) -> Outcome {
        self.has_checkpoints = true;
        // Without a checkpoint nothing has been written that is not to stay.
        self.stored_end(parts)?.map_or(Ok(()), |end| self.go_back_to(end))
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
