//! A file that values are added to as they come.

use std::fs::File;
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::failed;
use crate::connect::place::place_of;
use crate::connect::transaction::Work;
use crate::error::{Error, Failure};
use crate::state::store::CheckpointId;
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::{Bolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::outlet::Outlet;
use crate::task::payload::{Nothing, Payload};
use crate::task::snapshot::{Checkpointed, OwnSnapshot};

/// Lines added to a file at once, at least once: a value is in the file when it is acked, and after a failure it may be
/// there again, whatever the guarantee of the topology. See [`FileSink`](crate::connect::FileSink) for exactly once.
///
/// Costs a system call per value, so that nothing acked is lost with the process. With checkpoints the file is synced
/// before each becomes the truth; without, a power cut may cost what the system had not written yet. Any number of
/// tasks may add to one file, each line as a whole. Where the disk takes half of one only, because it is full, the
/// value fails, and the half is a line of its own; so is one that a killed process has left.
///
/// # Examples
///
/// ```
/// use squall::connect::{AppendFile, Generator};
/// use squall::TopologyBuilder;
///
/// # let place = tempfile::tempdir()?;
/// # let path = place.path().join("numbers");
/// let sink = AppendFile::new(path.clone());
/// let mut t = TopologyBuilder::new("numbers");
/// let numbers = t.source("numbers", || Generator::new(3, |n| n.to_string()));
/// t.bolt("file", move || sink.clone()).shuffle(&numbers);
/// t.build()?.run()?;
/// assert_eq!(std::fs::read_to_string(path)?, "0\n1\n2\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AppendFile<T> {
    path: PathBuf,
    file: Option<Arc<File>>,
    line: Vec<u8>,
    end: End,
    /// Held by the task that looks how the file ends.
    looking: Arc<Mutex<()>>,
    /// Makes the last snapshot durable.
    work: Option<Work>,
    /// The disk is full after so many bytes of the next line.
    #[cfg(test)]
    tears_at: Option<usize>,
    values: PhantomData<fn(T)>,
}

/// How the file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As whoever had it before has left it.
    Unknown,
    Whole,
    /// With half a line of ours.
    Half,
}

impl<T> Clone for AppendFile<T> {
    fn clone(&self) -> Self {
        AppendFile { looking: self.looking.clone(), ..Self::new(self.path.clone()) }
    }
}

impl<T> AppendFile<T> {
    /// The file at a path, made if it is not there. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (path, line, values) = (path.into(), Vec::new(), PhantomData);
        AppendFile {
            path,
            file: None,
            line,
            end: End::Unknown,
            looking: Arc::default(),
            work: None,
            #[cfg(test)]
            tears_at: None,
            values,
        }
    }

    #[cfg(test)]
    pub(super) fn tears_next(&mut self, at: usize) {
        self.tears_at = Some(at);
    }

    pub(super) fn add(&mut self, value: impl AsRef<[u8]>) -> Outcome {
        let file = self.file.as_deref().expect("a bolt is prepared before anything else");
        if self.end == End::Unknown {
            // One task of several ends the line; the others find it ended.
            let _looking = self.looking.lock().expect("nothing panics under it");
            end_line(file, &self.path).map_err(|error| failed("ending the last line of", &self.path, &error))?;
            self.end = End::Whole;
        }
        self.line.clear();
        if self.end == End::Half {
            self.line.push(b'\n');
        }
        self.line.extend_from_slice(value.as_ref());
        self.line.push(b'\n');
        // One call, so that lines of several tasks do not mix.
        let mut counted = Counted {
            file,
            written: 0,
            #[cfg(test)]
            tears_at: self.tears_at.take(),
        };
        let outcome = counted.write_all(&self.line);
        self.end = match outcome {
            Ok(()) => End::Whole,
            Err(_) if counted.written > 0 => End::Half,
            Err(_) => self.end,
        };
        outcome.map_err(|error| failed("writing", &self.path, &error))
    }
}

/// Ends the half line that a process which was killed may have left: it would swallow the next one.
fn end_line(file: &File, path: &Path) -> io::Result<()> {
    // Pipes have no end to look at, and what must not be read is taken as it is.
    let Ok(reader) = File::open(path) else { return Ok(()) };
    if !reader.metadata()?.is_file() {
        return Ok(());
    }
    let mut last = [b'\n'];
    if let Some(at) = reader.metadata()?.len().checked_sub(1) {
        reader.read_exact_at(&mut last, at)?;
    }
    let mut file = file;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// Tells how much came through before an error.
struct Counted<'f> {
    file: &'f File,
    written: usize,
    #[cfg(test)]
    tears_at: Option<usize>,
}

impl io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        let bytes = match self.tears_at.map(|at| at - self.written) {
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            left => &bytes[..left.unwrap_or(bytes.len())],
        };
        let mut file = self.file;
        let written = file.write(bytes)?;
        self.written += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut file = self.file;
        file.flush()
    }
}

impl<T: Payload + AsRef<[u8]>> Bolt for AppendFile<T> {
    type In = T;
    type Out = Nothing;

    fn prepare(&mut self, _ctx: &mut BoltContext<Nothing>) -> Outcome {
        let opened = File::options().append(true).create(true).open(&self.path);
        let file = opened.map_err(|error| failed("opening", &self.path, &error))?;
        self.file = Some(Arc::new(file));
        Ok(())
    }

    fn execute(&mut self, value: T, _out: &mut Outlet<Nothing>) -> Outcome {
        self.add(value)
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        Some(self)
    }
}

impl<T> Checkpointed for AppendFile<T> {
    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OwnSnapshot, Failure> {
        if let Some(work) = &self.work {
            work.check()?;
        }
        let (file, path) = (self.file.clone(), self.path.clone());
        let sync = move || match file {
            Some(file) => file.sync_data().map_err(|error| Error::io(format!("syncing {}", path.display()), &error)),
            None => Ok(()),
        };
        let work = Work::new(Some(Box::new(sync)));
        self.work = Some(work.clone());
        Ok(OwnSnapshot { bytes: Vec::new(), before: Some(Box::new(move || work.run())) })
    }

    fn place(&self) -> Option<String> {
        place_of(&self.path)
    }
}
