//! A file that is not there before it is complete, and takes no other file's place.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::observe::neighbour;

pub(super) struct NewFile {
    path: PathBuf,
    /// Under its hidden name; that goes with this value, shown or not.
    hidden: PathBuf,
    file: BufWriter<File>,
}

impl NewFile {
    /// # Errors
    /// There is something of that name, or nothing can be written there.
    pub fn create(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(there_already());
        }
        let hidden = neighbour(path)?;
        Ok(NewFile { path: path.to_owned(), file: BufWriter::new(File::create(&hidden)?), hidden })
    }

    /// Gives it its name.
    pub fn show(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        match fs::hard_link(&self.hidden, &self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(there_already()),
            // Not every file system has a second name for a file.
            Err(_) => fs::rename(&self.hidden, &self.path),
            Ok(()) => Ok(()),
        }
    }
}

fn there_already() -> io::Error {
    io::Error::new(ErrorKind::AlreadyExists, "is there already; give a file that is not, or remove it")
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After a rename it is not there any more; nothing that is shown depends on it.
        let _ = fs::remove_file(&self.hidden);
    }
}
