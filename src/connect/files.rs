//! Files that a topology writes: in transactions, or at once.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connect::transaction::TransactionalSink;
use crate::error::{Error, Failure};
use crate::state::store::CheckpointId;
use crate::task::component::Outcome;
use crate::task::context::TaskInfo;
use crate::task::payload::Payload;
use crate::task::snapshot::DurableJob;

mod append;
mod append_lines;
mod names;

pub use append::AppendFile;
pub use append_lines::AppendLines;
use names::{Names, Number};

/// Lines in files that become visible by a rename, for [`Transactional`](crate::connect::Transactional); every value is
/// one line, to which the `\n` is added.
///
/// Until its transaction is committed a file has a hidden name (`.NAME.open`) in the directory where it will be. It is
/// synced before the checkpoint becomes the truth, its directory too; a transaction without values makes no file.
///
/// **Parts.** [`parts`](Self::parts) writes into a directory of its own, one file per task and checkpoint with values:
/// `part-<number>-<task>`, where the number is that of the checkpoint at which it ends, or more if that one was given
/// up before it began. Sorted by name they are in the order of their commits: `cat DIR/part-*` is the output. Whoever
/// reads the directory may take visible parts away. Parts from a time that is undone, because the run starts over or
/// resumes from an older checkpoint, are set aside as `.undone-part-...`.
///
/// **Whole.** [`whole`](Self::whole) replaces one file with what each transaction holds, for results that are written
/// as a whole, such as those of `finish`. Takes one task.
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
    /// The file of the current transaction, once it has a value.
    file: Option<BufWriter<File>>,
    /// A transaction of this run, which may be an earlier process, has made a file.
    has_made: bool,
    /// A rename may not be durable yet.
    has_renamed: bool,
    values: PhantomData<fn(T)>,
}

/// One file of a [`FileSink`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileTransaction {
    number: Number,
    task: usize,
    bytes: u64,
    /// There is a file.
    made: bool,
    /// An earlier transaction of the run has made one.
    follows: bool,
}

impl<T> Clone for FileSink<T> {
    fn clone(&self) -> Self {
        Self::of(self.names.clone())
    }
}

impl<T> FileSink<T> {
    fn of(names: Arc<Names>) -> Self {
        FileSink { names, task: 0, tasks: 1, file: None, has_made: false, has_renamed: false, values: PhantomData }
    }

    /// A directory of parts, made if it is not there. It belongs to this sink alone.
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
        self.names.check()
    }

    fn remove(&self, hidden: &Path) -> Outcome {
        match fs::remove_file(hidden) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::fatal(format!("removing {}: {error}", hidden.display())))
            }
            _ => Ok(()),
        }
    }

    fn create(&mut self, transaction: &mut FileTransaction) -> Result<(), Failure> {
        let hidden = self.names.hidden(transaction.number, transaction.task);
        let file = File::create(&hidden).map_err(|error| failed("creating", &hidden, &error))?;
        (transaction.made, self.has_made) = (true, true);
        self.file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(())
    }

    /// The prepared file is not there: that is well if it was committed before.
    fn was_committed(&self, transaction: &FileTransaction) -> Outcome {
        let visible = self.names.visible(transaction.number, transaction.task);
        match fs::metadata(&visible) {
            Ok(found) if found.len() == transaction.bytes => {
                tracing::debug!(path = %visible.display(), "committed before");
                Ok(())
            }
            Ok(found) => Err(Failure::fatal(format!(
                "{} has {} bytes and was committed with {}: something else has written it; put it elsewhere and start \
                 over with --fresh",
                visible.display(),
                found.len(),
                transaction.bytes
            ))),
            Err(_) if !self.names.is_whole() => {
                tracing::warn!(path = %visible.display(), "committed before and taken away since");
                Ok(())
            }
            Err(_) => Err(gone(&visible)),
        }
    }
}

const BUFFER_BYTES: usize = 64 << 10;

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::retry(format!("{what} {}: {error}", path.display()))
}

fn gone(visible: &Path) -> Failure {
    Failure::fatal(format!(
        "{} was written before and is not there any more: put it back, or start over with --fresh",
        visible.display()
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
        self.check().map_err(|error| Failure::fatal(error.to_string()))?;
        (self.task, self.tasks) = (task.index, task.count);
        if self.names.is_whole() && task.count > 1 {
            return Err(Failure::fatal(
                "one whole file is written by one task: set its parallelism to 1, or write parts",
            ));
        }
        Ok(())
    }

    fn begin(&mut self, after: Option<CheckpointId>) -> Result<FileTransaction, Failure> {
        let number = Number::after(after);
        Ok(FileTransaction { number, task: self.task, bytes: 0, made: false, follows: self.has_made })
    }

    fn write(&mut self, transaction: &mut FileTransaction, value: T) -> Outcome {
        if self.file.is_none() {
            self.create(transaction)?;
        }
        let file = self.file.as_mut().expect("just created");
        let line = value.as_ref();
        let written = file.write_all(line).and_then(|()| file.write_all(b"\n"));
        transaction.bytes += line.len() as u64 + 1;
        // Half a line may be written: the transaction is of no use any more, and stepping back aborts it.
        written.map_err(|error| failed("writing", &self.names.hidden(transaction.number, transaction.task), &error))
    }

    fn finish(&mut self, transaction: &mut FileTransaction) -> Outcome {
        // No value at all is a result too; but what an earlier transaction has written is not replaced by nothing.
        if self.names.is_whole() && !self.has_made { self.create(transaction) } else { Ok(()) }
    }

    fn pre_commit(&mut self, transaction: &mut FileTransaction) -> Result<Option<DurableJob>, Failure> {
        let file = self.file.take();
        if file.is_none() && !std::mem::take(&mut self.has_renamed) {
            return Ok(None);
        }
        self.has_renamed = false;
        let hidden = self.names.hidden(transaction.number, transaction.task);
        let names = self.names.clone();
        Ok(Some(Box::new(move || {
            if let Some(file) = file {
                let synced = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
                synced.map_err(|error| Error::io(format!("writing {}", hidden.display()), &error))?;
            }
            // The new name, and those that the last commit made: the next checkpoint does not know how to make them.
            sync_directory(names.directory())
        })))
    }

    fn commit(&mut self, transaction: &FileTransaction) -> Outcome {
        if !transaction.made {
            return Ok(());
        }
        self.has_renamed = true;
        let hidden = self.names.hidden(transaction.number, transaction.task);
        let visible = self.names.visible(transaction.number, transaction.task);
        match fs::rename(&hidden, &visible) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.was_committed(transaction),
            Err(error) => {
                Err(Failure::fatal(format!("renaming {} to {}: {error}", hidden.display(), visible.display())))
            }
        }
    }

    fn recover_and_commit(&mut self, transaction: &FileTransaction) -> Outcome {
        self.has_made |= transaction.made || transaction.follows;
        self.commit(transaction)
    }

    fn recover_and_abort(&mut self, transaction: &FileTransaction) -> Outcome {
        // What it held itself is written again.
        self.has_made |= transaction.follows;
        let visible = self.names.visible(transaction.number, transaction.task);
        if self.names.is_whole() && transaction.follows && !visible.exists() {
            return Err(gone(&visible));
        }
        self.abort(transaction)
    }

    fn abort(&mut self, transaction: &FileTransaction) -> Outcome {
        self.file = None;
        self.remove(&self.names.hidden(transaction.number, transaction.task))
    }

    fn abort_unknown(&mut self, resumed: Option<CheckpointId>) -> Outcome {
        let first = Number::after(resumed);
        let listed = self.names.list().map_err(|error| {
            Failure::fatal(format!("reading the directory {}: {error}", self.names.directory().display()))
        })?;
        let of_this_task = |task: usize| task % self.tasks == self.task;
        let mut undone = 0;
        for found in listed.into_iter().filter(|found| found.number >= first && of_this_task(found.task)) {
            if found.is_hidden {
                self.remove(&found.path)?;
                continue;
            }
            let aside = self.names.undone(found.number, found.task);
            fs::rename(&found.path, &aside)
                .map_err(|error| Failure::fatal(format!("renaming {}: {error}", found.path.display())))?;
            undone += 1;
        }
        if undone > 0 {
            let directory = self.names.directory().display();
            tracing::warn!(%directory, parts = undone, "parts of a time that is undone are set aside as .undone-*");
        }
        Ok(())
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
