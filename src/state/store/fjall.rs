//! Checkpoints in the embedded database fjall.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ::fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::error::{Error, Result};

use super::versioned::{Database, Rows};

/// The least that fjall takes for its journals.
const JOURNAL_BYTES: u64 = 64 << 20;
const MEMTABLE_BYTES: u64 = 16 << 20;

/// An open fjall database.
pub struct Fjall {
    folder: PathBuf,
    database: ::fjall::Database,
    rows: Keyspace,
    cache_bytes: u64,
}

impl std::fmt::Debug for Fjall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fjall").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Fjall {
    /// Opens the database in this folder, or makes one.
    ///
    /// # Errors
    /// It will not open.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<Self> {
        remove_unfinished(folder)?;
        let will_not_open =
            |error| Error::bad_state(format!("{}: fjall will not open this: {error}", folder.display()));
        let database = ::fjall::Database::builder(folder).cache_size(cache_bytes).max_journaling_size(JOURNAL_BYTES);
        let database = database.manual_journal_persist(true).worker_threads(1).open().map_err(will_not_open)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let rows = database.keyspace("rows", options).map_err(will_not_open)?;
        Ok(Fjall { folder: folder.to_owned(), database, rows, cache_bytes })
    }

    fn failed(&self, error: &::fjall::Error) -> Error {
        Error::bad_state(format!("{}: {error}; start again from the disk", self.name()))
    }
}

/// A version marker: three letters and a number.
const MARKER_BYTES: u64 = 4;

/// Removes a database whose making was cut off by a kill or a full disk. fjall (3.1) writes a version marker before it
/// stores anything, and never opens a folder whose marker is incomplete. A folder with a keyspace in it is left as it
/// is, and so is one that somebody has open.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    let at = |name: &str| folder.join(name);
    let failed = |error: io::Error| Error::io(folder.display().to_string(), &error);
    let is_whole = fs::metadata(at("version")).is_ok_and(|marker| marker.len() >= MARKER_BYTES);
    let has_keyspaces = fs::read_dir(at("keyspaces")).is_ok_and(|mut keyspaces| keyspaces.next().is_some());
    let Ok(lock) = File::open(at("lock")) else { return Ok(()) };
    if is_whole || has_keyspaces || lock.try_lock().is_err() {
        return Ok(());
    }
    for name in ["version", "0.jnl", "lock"] {
        match fs::remove_file(at(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

impl Database for Fjall {
    fn name(&self) -> String {
        format!("fjall in {}", self.folder.display())
    }

    fn write(&self, rows: Rows) -> Result<()> {
        let mut batch = self.database.batch();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(&self.rows, key, value),
                None => batch.remove(&self.rows, key),
            }
        }
        batch.commit().map_err(|error| self.failed(&error))
    }

    fn sync(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncData).map_err(|error| self.failed(&error))
    }

    fn range(&self, from: &[u8], to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.rows.range(from..to).try_for_each(|row| {
            let (key, value) = row.into_inner().map_err(|error| self.failed(&error))?;
            each(&key, &value)
        })
    }

    fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    fn memory_bytes(&self) -> u64 {
        self.cache_bytes + self.database.write_buffer_size()
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;

    fn rows(fjall: &Fjall) -> usize {
        let mut rows = 0;
        let count = &mut |_: &[u8], _: &[u8]| {
            rows += 1;
            Ok(())
        };
        fjall.range(&[], &[255], count).expect("reads");
        rows
    }

    #[test]
    fn a_database_whose_making_was_cut_off_is_made_anew_and_one_with_rows_is_never_touched() {
        for marker in [&b""[..], b"F", b"FJL"] {
            let folder = tempfile::tempdir().expect("a folder");
            let open = || Fjall::open(folder.path(), 1 << 20);
            fs::create_dir(folder.path().join("keyspaces")).expect("makes it");
            for name in ["lock", "0.jnl"] {
                fs::write(folder.path().join(name), [0; 64]).expect("writes");
            }
            fs::write(folder.path().join("version"), marker).expect("writes");
            let fjall = open().expect("is made anew");
            fjall.write(vec![(b"key".to_vec(), Some(b"value".to_vec()))]).expect("writes");
            fjall.sync().expect("syncs");
            drop(fjall);
            assert_eq!(rows(&open().expect("opens")), 1);
            fs::write(folder.path().join("version"), marker).expect("writes");
            assert!(open().is_err(), "it is damaged");
            fs::write(folder.path().join("version"), b"FJL\x03").expect("writes");
            assert_eq!(rows(&open().expect("opens")), 1);
        }
    }
}
