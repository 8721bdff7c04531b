//! Files that a topology writes: in transactions, or at once.

use std::fs::{self, File, TryLockError};
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connect::place::place_of;
use crate::connect::transaction::TransactionalSink;
use crate::error::{Error, Failure};
use crate::state::store::CheckpointId;
use crate::task::component::Outcome;
use crate::task::context::TaskInfo;
use crate::task::payload::Payload;
use crate::task::snapshot::DurableJob;

mod append;
mod append_lines;
mod growing;
mod names;

pub use append::AppendFile;
pub use append_lines::AppendLines;
use growing::Growing;
use names::{Names, Number};

/// Lines in files that become visible by a rename, for [`Transactional`](crate::connect::Transactional); every value is
/// one line, to which the `\n` is added.
///
/// Until it becomes visible a file has a hidden name (`.NAME.open`) in the directory where it will be. What a
/// transaction has written is synced before the checkpoint becomes the truth, the directory too. Trouble with the disk
/// is nobody's input: it is tried again from the last checkpoint on, and nothing half written is left by that.
///
/// **Parts.** [`parts`](Self::parts) writes into a directory of its own, one file per task and checkpoint with values:
/// `part-<number>-<task>`, where the number is that of the checkpoint at which it ends, or more if that one was given
/// up before it began; a transaction without values makes no file. Sorted by name they are in the order of their
/// commits: `cat DIR/part-*` is the output. Whoever reads the directory may take visible parts away. Parts from a time
/// that is undone, because the run starts over or resumes from an older checkpoint, are set aside as
/// `.undone-<run>-part-...`, and never touched again.
///
/// **Whole.** [`whole`](Self::whole) makes one file of all that the run writes. It takes the place of what was there at
/// once, when all input has ended and the checkpoint of that is durable; until then, across suspensions and crashes,
/// what was there before stays. So it is for input that ends. Takes one task.
///
/// # Examples
///
/// ```
/// use squall::connect::{FileSink, Generator, Transactional};
/// use squall::TopologyBuilder;
///
/// # let place = tempfile::tempdir()?;
/// # let directory = place.path().join("squares");
/// let sink = FileSink::parts(directory.clone());
/// sink.check()?; // a clear message, before anything starts, if it cannot be written
///
/// let mut t = TopologyBuilder::new("squares");
/// let squares = t.source("squares", || Generator::new(3, |n| (n * n).to_string()));
/// t.bolt("file", move || Transactional::new(sink.clone())).shuffle(&squares);
/// t.build()?.run()?;
/// assert_eq!(std::fs::read_to_string(directory.join("part-0000000000-00000"))?, "0\n1\n4\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileSink<T> {
    names: Arc<Names>,
    task: usize,
    tasks: usize,
    /// Of parts the file of the current transaction, of a whole one that of the run; none before the first value.
    growing: Option<Growing>,
    /// All input has ended: what is written so far gets its name with its transaction.
    ended: bool,
    /// A rename may not be durable yet.
    has_renamed: bool,
    /// Keeps others out of the directory of parts.
    lock: Option<Arc<File>>,
    values: PhantomData<fn(T)>,
}

/// What a transaction adds to the files of a [`FileSink`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileTransaction {
    number: Number,
    task: usize,
    bytes: u64,
    /// There is a file.
    made: bool,
    /// Of a whole file: an earlier transaction of the run has made it.
    follows: bool,
    /// How long it was then.
    #[serde(default)]
    start: u64,
    /// With this transaction the whole file gets its name;
    #[serde(default)]
    last: bool,
    /// or it has got it with an earlier one.
    #[serde(default)]
    ended: bool,
}

impl FileTransaction {
    fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

impl<T> Clone for FileSink<T> {
    fn clone(&self) -> Self {
        Self::of(self.names.clone())
    }
}

impl<T> FileSink<T> {
    fn of(names: Arc<Names>) -> Self {
        let (growing, lock, values) = (None, None, PhantomData);
        FileSink { names, task: 0, tasks: 1, growing, ended: false, has_renamed: false, lock, values }
    }

    /// A directory of parts, made if it is not there. It belongs to this sink alone, and is locked while it is in use.
    pub fn parts(directory: impl Into<PathBuf>) -> Self {
        Self::of(Arc::new(Names::parts(directory.into())))
    }

    /// One file, replaced as a whole.
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Self::of(Arc::new(Names::whole(path.into())))
    }

    /// Finds out, before anything starts, whether the output can be written. Makes the directory of parts.
    ///
    /// # Errors
    /// A usage error that names the path and what is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        self.names.check().map_err(|unusable| self.names.problem(&unusable))
    }

    fn remove(&self, hidden: &Path) -> Outcome {
        match fs::remove_file(hidden) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", hidden, &error)),
            _ => Ok(()),
        }
    }

    fn grow(&mut self, transaction: &mut FileTransaction) -> Result<&mut Growing, Failure> {
        if self.growing.is_none() {
            self.growing = Some(Growing::create(&self.names.hidden(transaction.number, transaction.task))?);
        }
        transaction.made = true;
        Ok(self.growing.as_mut().expect("just made"))
    }

    fn gets_its_name(&self, transaction: &FileTransaction) -> bool {
        if self.names.is_whole() { transaction.last } else { transaction.made }
    }

    /// The prepared file is not there: that is well if it was committed before. False: it has been taken away since.
    fn was_committed(&self, transaction: &FileTransaction) -> Result<bool, Failure> {
        let visible = self.names.visible(transaction.number, transaction.task);
        match fs::metadata(&visible) {
            Ok(found) => is_as_left(&visible, found.len(), transaction.end()).map(|()| true),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("reading", &visible, &error)),
            Err(_) if !self.names.is_whole() => Ok(false),
            Err(_) => Err(gone(&visible)),
        }
    }

    /// The whole file as an earlier instance or process left it.
    fn left_by(&self, transaction: &FileTransaction) -> Result<(File, PathBuf), Failure> {
        let mut path = self.names.hidden(transaction.number, transaction.task);
        // Until the last commit has been made, or made again, it has its hidden name.
        if transaction.ended && !path.exists() {
            path = self.names.visible(transaction.number, transaction.task);
        }
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone(&path)),
            Err(error) => return Err(failed("opening", &path, &error)),
        };
        let length = file.metadata().map_err(|error| failed("reading", &path, &error))?.len();
        if transaction.ended || length < transaction.start {
            is_as_left(&path, length, transaction.start)?;
        }
        Ok((file, path))
    }

    /// Goes on with the whole file where an earlier instance or process left it.
    fn go_on(&mut self, transaction: &FileTransaction) -> Outcome {
        let (file, path) = self.left_by(transaction)?;
        let mut growing = Growing::new(Arc::new(file), &path, transaction.start);
        growing.cut(transaction.start)?;
        (self.growing, self.ended) = (Some(growing), transaction.ended);
        Ok(())
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::retry(format!("{what} {}: {error}", path.display()))
}

/// Locks what one topology writes to at a time.
fn lock_alone(file: &File, path: &Path) -> Outcome {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Failure::fatal(format!(
            "{}: another process or topology writes to it; give this one a place of its own",
            path.display()
        ))),
        // Not every file system has locks.
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
            Err(failed("locking", path, &error))
        }
        _ => Ok(()),
    }
}

fn is_as_left(path: &Path, length: u64, left: u64) -> Outcome {
    if length == left {
        return Ok(());
    }
    Err(Failure::fatal(format!(
        "{} has {length} bytes and was left with {left}: something else has written it; put it elsewhere and start \
         over with --fresh",
        path.display(),
    )))
}

fn gone(path: &Path) -> Failure {
    Failure::fatal(format!(
        "{} was written before and is not there any more: put it back, or start over with --fresh",
        path.display()
    ))
}

fn sync_directory(directory: &Path) -> Result<(), Error> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::io(format!("syncing {}", directory.display()), &error))
}

impl<T: Payload + AsRef<[u8]>> TransactionalSink for FileSink<T> {
    type In = T;
    type Transaction = FileTransaction;

    fn open(&mut self, task: &TaskInfo) -> Outcome {
        (self.task, self.tasks) = (task.index, task.count);
        if self.names.is_whole() && task.count > 1 {
            return Err(Failure::fatal(
                "one whole file is written by one task: set its parallelism to 1, or write parts",
            ));
        }
        match self.names.check() {
            Err(unusable) if unusable.may_pass() => Err(Failure::retry(self.names.problem(&unusable).to_string())),
            // Whoever starts again may be waiting for just that.
            Err(unusable) if !unusable.is_full() => Err(Failure::fatal(self.names.problem(&unusable).to_string())),
            _ => {
                self.lock = self.names.lock()?;
                Ok(())
            }
        }
    }

    fn begin(&mut self, after: Option<CheckpointId>) -> Result<FileTransaction, Failure> {
        Ok(FileTransaction {
            number: Number::after(after),
            task: self.task,
            bytes: 0,
            made: false,
            follows: self.growing.is_some(),
            start: self.growing.as_ref().map_or(0, Growing::end),
            last: false,
            ended: self.ended,
        })
    }

    fn write(&mut self, transaction: &mut FileTransaction, value: T) -> Outcome {
        let growing = self.grow(transaction)?;
        growing.add(value.as_ref())?;
        transaction.bytes = growing.end() - transaction.start;
        Ok(())
    }

    fn finish(&mut self, transaction: &mut FileTransaction) -> Outcome {
        if self.names.is_whole() && !self.ended {
            // No value at all is a result too.
            self.grow(transaction)?;
            (self.ended, transaction.last) = (true, true);
        }
        Ok(())
    }

    fn pre_commit(&mut self, _transaction: &mut FileTransaction) -> Result<Option<DurableJob>, Failure> {
        let lines = match self.names.is_whole() {
            true => self.growing.as_mut().and_then(Growing::hand_out),
            false => self.growing.take().and_then(|mut part| part.hand_out()),
        };
        if !std::mem::take(&mut self.has_renamed) && lines.is_none() {
            return Ok(None);
        }
        let names = self.names.clone();
        Ok(Some(Box::new(move || {
            lines.map_or(Ok(()), |lines| lines())?;
            // The new name, and those that the last commit made: the next checkpoint does not know how to make them.
            sync_directory(names.directory())
        })))
    }

    fn commit(&mut self, transaction: &FileTransaction) -> Outcome {
        if !self.gets_its_name(transaction) {
            return Ok(());
        }
        self.has_renamed = true;
        let hidden = self.names.hidden(transaction.number, transaction.task);
        let visible = self.names.visible(transaction.number, transaction.task);
        match fs::rename(&hidden, &visible) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.was_committed(transaction)? {
                    tracing::warn!(path = %visible.display(), "committed before and taken away since");
                }
                Ok(())
            }
            Err(error) => {
                Err(Failure::retry(format!("renaming {} to {}: {error}", hidden.display(), visible.display())))
            }
        }
    }

    fn check_recovery(&mut self, prepared: &[&FileTransaction], current: &FileTransaction) -> Outcome {
        for transaction in prepared.iter().filter(|transaction| self.gets_its_name(transaction)) {
            if !self.names.hidden(transaction.number, transaction.task).exists() {
                self.was_committed(transaction)?;
            }
        }
        if self.names.is_whole() && current.follows {
            self.left_by(current)?;
        }
        Ok(())
    }

    fn recover_and_abort(&mut self, transaction: &FileTransaction) -> Outcome {
        if self.names.is_whole() && transaction.follows {
            return self.go_on(transaction);
        }
        self.abort(transaction)
    }

    fn abort(&mut self, transaction: &FileTransaction) -> Outcome {
        match &mut self.growing {
            Some(whole) if self.names.is_whole() && transaction.follows => whole.cut(transaction.start),
            _ => {
                self.growing = None;
                self.remove(&self.names.hidden(transaction.number, transaction.task))
            }
        }
    }

    fn abort_unknown(&mut self, resumed: Option<CheckpointId>) -> Outcome {
        if self.names.is_whole() {
            let is_unknown = self.growing.is_none();
            return if is_unknown { self.remove(&self.names.hidden(Number::after(None), 0)) } else { Ok(()) };
        }
        let first = Number::after(resumed);
        let listed = self.names.list().map_err(|error| failed("reading", self.names.directory(), &error))?;
        let of_this_task = |task: usize| task % self.tasks == self.task;
        let mut undone = 0;
        for found in listed.into_iter().filter(|found| found.number >= first && of_this_task(found.task)) {
            if found.is_hidden {
                self.remove(&found.path)?;
                continue;
            }
            let aside = self.names.undone(found.number, found.task);
            let aside = aside.map_err(|error| failed("reading", self.names.directory(), &error))?;
            fs::rename(&found.path, &aside).map_err(|error| failed("setting aside", &found.path, &error))?;
            undone += 1;
        }
        if undone > 0 {
            let directory = self.names.directory().display();
            tracing::warn!(%directory, parts = undone, "parts of a time that is undone are set aside as .undone-*");
        }
        Ok(())
    }

    fn place(&self) -> Option<String> {
        place_of(self.names.given())
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.has_renamed)
            && let Err(error) = sync_directory(self.names.directory())
        {
            // The last checkpoint still knows how to make the name: a rerun does.
            tracing::warn!(%error, "the last output is visible, but may not survive a power cut before a rerun");
        }
    }
}

#[cfg(test)]
mod tests;
