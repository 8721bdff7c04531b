//! A folder of this process on the machine's disk, for what a bench writes.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Made in the system's temporary folder, and removed in the end.
pub(crate) struct WorkingFolder(PathBuf);

impl WorkingFolder {
    /// # Errors
    /// It cannot be made.
    pub fn make() -> Result<Self> {
        for number in 0.. {
            let path = std::env::temp_dir().join(format!("squall-bench-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(WorkingFolder(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("making {}", path.display()), &error)),
            }
        }
        unreachable!("there is always a next number")
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes a folder in it, if it is there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("removing {}", path.display()), &error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for WorkingFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "{} stays behind", self.0.display());
        }
    }
}
