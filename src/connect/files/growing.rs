//! A file that lines are added to at its end, each as a whole or not at all, and that can be cut back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::failed;
use crate::error::{Error, Failure};
use crate::sys::sync::Arc;
use crate::task::component::Outcome;
use crate::task::snapshot::DurableJob;

const BUFFER_BYTES: usize = 64 << 10;

/// Every write has its place, so that whoever tries again after a failure overwrites what that has left.
pub(super) struct Growing {
    file: Arc<File>,
    path: PathBuf,
    /// Where the buffer belongs; what is handed out to be written comes before.
    at: u64,
    buffer: Vec<u8>,
    /// As of the last job.
    handed_out: Option<u64>,
}

impl Growing {
    /// A file that has this length, or will have it once its jobs are done.
    pub fn new(file: Arc<File>, path: &Path, end: u64) -> Self {
        Growing { file, path: path.to_owned(), at: end, buffer: Vec::new(), handed_out: None }
    }

    /// An empty file in place of whatever was there.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let created = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = created.map_err(|error| failed("creating", path, &error))?;
        Ok(Growing::new(Arc::new(file), path, 0))
    }

    /// How long the file is once everything is written.
    pub fn end(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    /// Adds a line. In an error's case nothing of it is there.
    pub fn add(&mut self, line: &[u8]) -> Outcome {
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        Ok(())
    }

    /// Writes a line at once. In an error's case nothing of it is there.
    pub fn add_at_once(&mut self, line: &[u8]) -> Outcome {
        let length = self.buffer.len();
        self.add(line)?;
        self.flush().inspect_err(|_| self.buffer.truncate(length))
    }

    fn flush(&mut self) -> Outcome {
        if let Err(error) = self.file.write_all_at(&self.buffer, self.at) {
            // Half a line is of no use to anybody. What cannot be cut off now is overwritten later.
            let _ = self.shorten(self.at);
            return Err(failed("writing", &self.path, &error));
        }
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// If what was there does not end with a line, ends it with the next write.
    pub fn end_half_a_line(&mut self) -> Outcome {
        let mut last = [b'\n'];
        if self.at > 0 {
            let read = self.file.read_exact_at(&mut last, self.at - 1);
            read.map_err(|error| failed("reading", &self.path, &error))?;
        }
        if last != [b'\n'] {
            self.buffer.push(b'\n');
        }
        Ok(())
    }

    /// Goes back to this length.
    pub fn cut(&mut self, end: u64) -> Outcome {
        self.buffer.clear();
        (self.at, self.handed_out) = (end, None);
        self.shorten(end).map_err(|error| failed("cutting off the end of", &self.path, &error))
    }

    /// What is handed out and not written yet is not made up for by zeros.
    fn shorten(&self, end: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > end { self.file.set_len(end) } else { Ok(()) }
    }

    /// What makes everything so far durable; none if nothing has come since the last such job.
    pub fn hand_out(&mut self) -> Option<DurableJob> {
        let (file, path, at) = (self.file.clone(), self.path.clone(), self.at);
        let buffer = std::mem::take(&mut self.buffer);
        self.at += buffer.len() as u64;
        if self.handed_out.replace(self.at) == Some(self.at) {
            return None;
        }
        Some(Box::new(move || {
            let written = file.write_all_at(&buffer, at).and_then(|()| file.sync_all());
            written.map_err(|error| Error::io(format!("writing {}", path.display()), &error))
        }))
    }

    /// Makes durable what was written at once.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_written_at_their_place_and_cut_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut growing = Growing::create(&path).unwrap();
        growing.add(b"a").unwrap();
        assert_eq!((growing.end(), text(&path).as_str()), (2, ""));
        growing.hand_out().expect("a line")().unwrap();
        assert_eq!(text(&path), "a\n");
        assert!(growing.hand_out().is_none(), "nothing has come since");
        growing.add_at_once(b"b").unwrap();
        assert_eq!(text(&path), "a\nb\n");
        growing.cut(2).unwrap();
        growing.add_at_once(b"c").unwrap();
        assert_eq!(text(&path), "a\nc\n");
    }

    #[test]
    fn what_is_much_is_written_before_it_is_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut growing = Growing::create(&path).unwrap();
        let line = vec![b'x'; BUFFER_BYTES];
        (0..3).for_each(|_| growing.add(&line).unwrap());
        assert_eq!(text(&path).len(), 2 * (BUFFER_BYTES + 1));
        growing.hand_out().unwrap()().unwrap();
        assert_eq!(text(&path).len() as u64, growing.end());
    }

    /// `/dev/full` takes no byte.
    #[test]
    fn a_line_that_cannot_be_written_is_not_half_there_and_asks_to_be_tried_again() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut growing = Growing::new(Arc::new(full), Path::new("/dev/full"), 0);
        let failure = growing.add_at_once(b"a").unwrap_err();
        assert!(failure.is_retry() && failure.message().contains("/dev/full"), "{failure}");
        assert_eq!(growing.end(), 0);
        growing.add(b"b").unwrap();
        let error = growing.hand_out().unwrap()().unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
}
