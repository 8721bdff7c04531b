//! The files that state lives in: the operating system's, or a simulated disk that loses what was not synced.
//!
//! Everything a store or the manifest does with files goes through a [`Disk`], so that a test can take the power away
//! between any two operations and open what is left.

mod real;
pub mod simulated;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::sync::{Arc, AtomicBool, Ordering};

use simulated::{InodeId, Simulated};

/// A cheap handle of a file system. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Kind, Access);

/// For what files are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Access {
    #[default]
    Write,
    Read,
}

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Real,
    Simulated(Simulated),
}

impl Disk {
    /// The operating system's.
    pub fn real() -> Self {
        Disk(Kind::Real, Access::Write)
    }

    /// An empty one in memory.
    pub fn simulated(disk: Simulated) -> Self {
        Disk(Kind::Simulated(disk), Access::Write)
    }

    /// True if it is in memory: then nothing may happen on threads of its own, or the seed would not decide.
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Kind::Simulated(_))
    }

    /// The same one, for somebody who changes nothing and perhaps may not: files are opened for reading only.
    pub fn for_reading(&self) -> Self {
        Disk(self.0.clone(), Access::Read)
    }

    /// Another disk with the same content, if this one is simulated.
    #[cfg(test)]
    pub fn copy_of_simulated(&self) -> Option<Disk> {
        match &self.0 {
            Kind::Real => None,
            Kind::Simulated(disk) => Some(Disk::simulated(disk.copy())),
        }
    }

    /// Makes a folder and those above it; durable when it returns.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn make_dir(&self, path: &Path) -> Result<()> {
        match &self.0 {
            Kind::Real => real::make_dir(path),
            Kind::Simulated(disk) => disk.make_dir(path),
        }
        .map_err(|error| Error::io(format!("cannot make the folder {}", path.display()), &error))
    }

    /// What is there in the place of a folder, in words; none if it is a folder, or nothing.
    pub fn is_in_the_way(&self, path: &Path) -> Option<&'static str> {
        match &self.0 {
            Kind::Real => real::is_in_the_way(path),
            // Names of its files and folders are apart.
            Kind::Simulated(_) => None,
        }
    }

    /// Opens a file for reading and writing, or [for reading](Self::for_reading) only; none if there is no such file.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(&self, path: &Path) -> Result<Option<DiskFile>> {
        let opened = match &self.0 {
            Kind::Real => real::open(path, self.1 == Access::Write).map(Handle::Real),
            Kind::Simulated(disk) => disk.open(path).map(|inode| Handle::Simulated(disk.clone(), inode)),
        };
        match opened {
            Ok(handle) => Ok(Some(DiskFile::new(path, handle))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("cannot open {}", path.display()), &error)),
        }
    }

    /// Makes an empty file, in place of one that is there. Its name is durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(&self, path: &Path) -> Result<DiskFile> {
        match &self.0 {
            Kind::Real => real::create(path).map(Handle::Real),
            Kind::Simulated(disk) => disk.create(path).map(|inode| Handle::Simulated(disk.clone(), inode)),
        }
        .map(|handle| DiskFile::new(path, handle))
        .map_err(|error| Error::io(format!("cannot create {}", path.display()), &error))
    }

    /// The names in a folder, in order; none if there is no such folder.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn list(&self, path: &Path) -> Result<Vec<String>> {
        match &self.0 {
            Kind::Real => real::list(path),
            Kind::Simulated(disk) => Ok(disk.list(path)),
        }
        .map_err(|error| Error::io(format!("cannot list the folder {}", path.display()), &error))
    }

    /// Gives a file or folder another name in the same folder. Durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// Those of the disk.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        match &self.0 {
            Kind::Real => std::fs::rename(from, to),
            Kind::Simulated(disk) => disk.rename(from, to),
        }
        .map_err(|error| Error::io(format!("cannot rename {} to {}", from.display(), to.display()), &error))
    }

    /// Removes a file. Those who have it open may go on reading it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove(&self, path: &Path) -> Result<()> {
        match &self.0 {
            Kind::Real => std::fs::remove_file(path),
            Kind::Simulated(disk) => disk.remove(path),
        }
        .map_err(|error| Error::io(format!("cannot remove {}", path.display()), &error))
    }

    /// Removes a folder with all it holds. Durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        match &self.0 {
            Kind::Real => std::fs::remove_dir_all(path),
            Kind::Simulated(disk) => disk.remove_tree(path),
        }
        .map_err(|error| Error::io(format!("cannot remove the folder {}", path.display()), &error))
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync_dir(&self, path: &Path) -> Result<()> {
        match &self.0 {
            Kind::Real => real::sync_dir(path),
            Kind::Simulated(disk) => disk.sync_dir(path),
        }
        .map_err(|error| Error::io(format!("cannot sync the folder {}", path.display()), &error))
    }

    /// Whoever has the lock of a file, as the file names it; none if nobody has it or there is no such file.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn lock_holder(&self, path: &Path) -> Result<Option<String>> {
        match &self.0 {
            Kind::Real => real::lock_holder(path)
                .map_err(|error| Error::io(format!("cannot look at the lock {}", path.display()), &error)),
            Kind::Simulated(_) => Ok(None),
        }
    }

    /// Takes the lock of a file for this process; the file then names the process. The error of whoever comes second
    /// names the first.
    ///
    /// # Errors
    /// Somebody has it, or those of the disk.
    pub fn lock(&self, path: &Path) -> Result<Lock> {
        let taken = match &self.0 {
            Kind::Real => real::lock(path).map(|taken| taken.map(|file| Lock { _held: Held::Real(file) })),
            Kind::Simulated(disk) => Ok(disk.lock(path).map(|held| Lock { _held: Held::Simulated(held) })),
        };
        match taken {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(holder)) => Err(Error::usage(
                path.display().to_string(),
                format!("another process (pid {holder}) has this locked: stop it first, or use another folder"),
            )),
            Err(error) => Err(Error::io(format!("cannot lock {}", path.display()), &error)),
        }
    }
}

/// A lock of [`Disk::lock`]; given back when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    Real(#[expect(dead_code, reason = "closing it gives the lock back")] std::fs::File),
    Simulated(#[expect(dead_code, reason = "dropping it gives the lock back")] simulated::HeldLock),
}

/// An open file.
///
/// After a failed write or sync nobody knows what is on the disk; the file is then *poisoned* and takes no more writes
/// and syncs, so that nothing is built on top of the unknown.
#[derive(Debug)]
pub struct DiskFile {
    path: PathBuf,
    handle: Handle,
    poisoned: AtomicBool,
}

#[derive(Debug)]
enum Handle {
    Real(std::fs::File),
    Simulated(Simulated, InodeId),
}

/// A file that a store's threads share.
pub type SharedFile = Arc<DiskFile>;

impl DiskFile {
    fn new(path: &Path, handle: Handle) -> Self {
        DiskFile { path: path.to_owned(), handle, poisoned: AtomicBool::new(false) }
    }

    /// Its path when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn len_bytes(&self) -> Result<u64> {
        match &self.handle {
            Handle::Real(file) => file.metadata().map(|metadata| metadata.len()),
            Handle::Simulated(disk, inode) => Ok(disk.len_bytes(*inode)),
        }
        .map_err(|error| Error::io(format!("cannot read the length of {}", self.path.display()), &error))
    }

    /// Reads as many bytes as asked for.
    ///
    /// # Errors
    /// The file ends before, or those of the disk.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        match &self.handle {
            Handle::Real(file) => std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset),
            Handle::Simulated(disk, inode) => disk.read_at(*inode, offset, bytes),
        }
        .map_err(|error| Error::io(format!("cannot read {} at byte {offset}", self.path.display()), &error))
    }

    /// Writes the bytes at this place; durable after [`sync`](Self::sync).
    ///
    /// # Errors
    /// Those of the disk; the file is then poisoned, and so it is if it was before.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.poisoning("write to", || match &self.handle {
            Handle::Real(file) => std::os::unix::fs::FileExt::write_all_at(file, bytes, offset),
            Handle::Simulated(disk, inode) => disk.write_at(*inode, offset, bytes),
        })
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn sync(&self) -> Result<()> {
        self.poisoning("sync", || match &self.handle {
            Handle::Real(file) => file.sync_data(),
            Handle::Simulated(disk, inode) => disk.sync(*inode),
        })
    }

    fn poisoning(&self, what: &str, run: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
        let attempt = format!("cannot {what} {}", self.path.display());
        if self.poisoned.load(Ordering::Relaxed) {
            let earlier = std::io::Error::other("an earlier write or sync of it failed; start again from the disk");
            return Err(Error::io(attempt, &earlier));
        }
        run().map_err(|error| {
            self.poisoned.store(true, Ordering::Relaxed);
            Error::io(attempt, &error)
        })
    }
}
