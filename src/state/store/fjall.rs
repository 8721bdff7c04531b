//! Checkpoints in the embedded database fjall.

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
