//! Checkpoints in the embedded database sled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;
use crate::sys::thread;

use super::versioned::{Database, Rows};

/// An open sled database.
#[derive(Debug)]
pub struct Sled {
    folder: PathBuf,
    tree: ::sled::Db,
    cache_bytes: u64,
}

impl Sled {
    /// Opens the database in this folder, or makes one.
    ///
    /// # Errors
    /// It will not open; sled panics over some damaged files, which is an error here.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<Self> {
        remove_unfinished(folder)?;
        // Written when asked to, and not by a timer besides.
        let config = ::sled::Config::new().path(folder).cache_capacity(cache_bytes).flush_every_ms(None);
        let will_not_open =
            |why: &str| Error::bad_state(format!("{}: sled will not open this: {why}", folder.display()));
        let since = Clock::real();
        let tree = loop {
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
            match opened.map_err(|_| will_not_open("it panicked, see above"))? {
                Ok(tree) => break tree,
                // A database that was dropped just now lets go of its lock on threads of its own.
                Err(error) if is_locked(&error) && since.now_ns() < LOCKED_NS_MAX => thread::yield_now(),
                Err(error) => return Err(will_not_open(&error.to_string())),
            }
        };
        Ok(Sled { folder: folder.to_owned(), tree, cache_bytes })
    }

    fn failed(&self, error: &::sled::Error) -> Error {
        Error::bad_state(format!("{}: {error}; start again from the disk", self.name()))
    }
}

/// How long a lock is waited for. Other processes are kept out by the lock of the state directory.
const LOCKED_NS_MAX: u64 = 5_000_000_000;

fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Removes what sled was writing when its process ended or the disk was full: a new snapshot of its pages, half done.
/// sled (0.34) takes it for the newest complete one and will not open then; the one before and its log hold everything.
fn remove_unfinished(folder: &Path) -> Result<()> {
    let disk = Disk::real();
    for name in disk.list(folder)? {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            disk.remove(&folder.join(name))?;
        }
    }
    Ok(())
}

impl Database for Sled {
    fn name(&self) -> String {
        format!("sled in {}", self.folder.display())
    }

    fn write(&self, rows: Rows) -> Result<()> {
        let mut batch = ::sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.tree.apply_batch(batch).map_err(|error| self.failed(&error))
    }

    fn sync(&self) -> Result<()> {
        self.tree.flush().map(drop).map_err(|error| self.failed(&error))
    }

    fn range(&self, from: &[u8], to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.tree.range(from..to).try_for_each(|row| {
            let (key, value) = row.map_err(|error| self.failed(&error))?;
            each(&key, &value)
        })
    }

    fn disk_bytes(&self) -> u64 {
        self.tree.size_on_disk().unwrap_or(0)
    }

    fn memory_bytes(&self) -> u64 {
        self.cache_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_was_being_written_does_not_keep_it_from_opening() {
        let folder = tempfile::tempdir().unwrap();
        let rows = |sled: &Sled| {
            let mut found = Vec::new();
            sled.range(b"", b"\xff", &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                Ok(())
            })
            .map(|()| found)
        };
        let sled = Sled::open(folder.path(), 1 << 20).unwrap();
        sled.write(vec![(b"key".to_vec(), Some(b"value".to_vec()))]).unwrap();
        sled.sync().unwrap();
        drop(sled);
        std::fs::write(folder.path().join("snap.FFFFFFFFFFFFFFFF.generating"), [7; 1_000]).unwrap();
        let sled = Sled::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(rows(&sled).unwrap(), [(b"key".to_vec(), b"value".to_vec())]);
    }
}
