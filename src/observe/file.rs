//! A file that is complete or not there, never half.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, bounded};

use crate::error::{Error, Result};
use crate::sys::thread::spawn_named;

/// How long an end waits for a disk that may be busy, and for whoever reads a pipe.
const DISK_WAIT: Duration = Duration::from_secs(60);
const PIPE_WAIT: Duration = Duration::from_secs(5);

/// Where something will be written when it is known; found to be writable.
pub(crate) struct WholeFile {
    /// As the user named it.
    name: String,
    way: Way,
}

#[derive(Clone)]
enum Way {
    /// Written beside this path, then renamed over it.
    Replace(PathBuf),
    /// A device or pipe, which must not be replaced.
    Into(PathBuf),
}

impl WholeFile {
    /// Finds out, before anything starts, whether the file named by this option can be written.
    ///
    /// # Errors
    /// A usage error that says why it cannot.
    pub fn check(option: &str, path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        match Self::way(path) {
            Ok(way) => Ok(WholeFile { name, way }),
            Err(error) => Err(Error::usage(format!("{option} {name}"), format!("cannot be written: {error}"))),
        }
    }

    /// The name that was given for it.
    pub fn path(&self) -> &Path {
        Path::new(&self.name)
    }

    fn way(path: &Path) -> io::Result<Way> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Ok(found) if !found.is_file() => Ok(Way::Into(path.to_owned())),
            Ok(_) => {
                File::options().append(true).open(path)?;
                // Behind a symbolic link it is the file that is replaced, not the link.
                let path = fs::canonicalize(path)?;
                probe(&path).map(|()| Way::Replace(path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                probe(path).map(|()| Way::Replace(path.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the file. Waits for the disk, or a reader at the other end, for so long only.
    ///
    /// # Errors
    /// It could not be written; then what was there before still is.
    pub fn write(&self, content: &[u8]) -> Result<()> {
        let (way, content) = (self.way.clone(), content.to_vec());
        let at_most = if matches!(way, Way::Into(_)) { PIPE_WAIT } else { DISK_WAIT };
        let (done_in, done) = bounded(1);
        // A thread of its own: a pipe that nobody opens, or a disk that is gone, must not keep the process from ending.
        let body = move || drop(done_in.send(way.write(&content)));
        let written = spawn_named("squall-file", body).and_then(|_| match done.recv_timeout(at_most) {
            Ok(written) => written,
            Err(RecvTimeoutError::Timeout) => Err(io::Error::other(format!("it takes nothing for {at_most:?}"))),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread that writes it panicked")),
        });
        written.map_err(|error| Error::io(format!("the report could not be written to {}", self.name), &error))
    }
}

impl Way {
    fn write(&self, content: &[u8]) -> io::Result<()> {
        match self {
            Way::Replace(path) => replace(path, content),
            Way::Into(path) => File::options().write(true).open(path).and_then(|mut file| file.write_all(content)),
        }
    }
}

/// Creates the neighbour that will be renamed, and takes it away again.
fn probe(path: &Path) -> io::Result<()> {
    let neighbour = neighbour(path)?;
    File::create(&neighbour)?;
    fs::remove_file(&neighbour)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let neighbour = neighbour(path)?;
    let written = File::create(&neighbour).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&neighbour, path));
    if replaced.is_err() {
        // It may never have come to be; the first error is the one that matters.
        let _ = fs::remove_file(&neighbour);
    }
    replaced
}

/// A file of this process in the same folder, so that renaming it is one step.
pub(crate) fn neighbour(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else { return Err(io::Error::from(io::ErrorKind::IsADirectory)) };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(hidden))
}
