//! Choosing a store by name.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;

use super::SnapshotStore;
use super::log::{Log, LogOptions};
use super::memory::Memory;

/// Which store keeps the checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory: nothing survives the process.
    Memory,
    /// squall's own log; see [`log`](super::log).
    #[default]
    Log,
    /// The embedded database sled.
    Sled,
    /// The embedded database fjall.
    Fjall,
}

/// Bounds of the stores.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Of the log.
    pub log: LogOptions,
    /// How much a database may cache. Default 64 MiB.
    pub cache_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { log: LogOptions::default(), cache_bytes: 64 << 20 }
    }
}

impl StoreKind {
    /// All of them.
    pub const ALL: [StoreKind; 4] = [StoreKind::Memory, StoreKind::Log, StoreKind::Sled, StoreKind::Fjall];

    /// Those that this build has.
    pub fn built() -> impl Iterator<Item = StoreKind> {
        StoreKind::ALL.into_iter().filter(|kind| match kind {
            StoreKind::Memory | StoreKind::Log => true,
            StoreKind::Sled => cfg!(feature = "sled"),
            StoreKind::Fjall => cfg!(feature = "fjall"),
        })
    }

    /// The name in settings and manifests.
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::Memory => "memory",
            StoreKind::Log => "log",
            StoreKind::Sled => "sled",
            StoreKind::Fjall => "fjall",
        }
    }

    /// Opens the store in this folder, or makes an empty one.
    ///
    /// # Errors
    /// It will not open; this build does not have it; a database on a simulated disk.
    pub fn open(
        self,
        disk: &Disk,
        folder: &Path,
        options: &StoreOptions,
        clock: &Clock,
    ) -> Result<Box<dyn SnapshotStore>> {
        match self {
            StoreKind::Memory => Ok(Box::new(Memory::new(clock.clone()))),
            StoreKind::Log => Ok(Box::new(Log::open(disk.clone(), folder, options.log, clock.clone())?)),
            StoreKind::Sled | StoreKind::Fjall if disk.is_simulated() => {
                Err(Error::usage("store", format!("{self} needs a real disk: use `log` or `memory` in simulations")))
            }
            #[cfg(feature = "sled")]
            StoreKind::Sled => {
                disk.make_dir(folder)?;
                let database = super::sled::Sled::open(folder, options.cache_bytes)?;
                Ok(Box::new(super::versioned::Versioned::open(database, clock.clone())?))
            }
            #[cfg(feature = "fjall")]
            StoreKind::Fjall => {
                disk.make_dir(folder)?;
                let database = super::fjall::Fjall::open(folder, options.cache_bytes)?;
                Ok(Box::new(super::versioned::Versioned::open(database, clock.clone())?))
            }
            #[cfg(not(all(feature = "sled", feature = "fjall")))]
            StoreKind::Sled | StoreKind::Fjall => Err(Error::usage(
                "store",
                format!("this build has no {self}: build it with the feature `{self}`, or use the store `log`"),
            )),
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for StoreKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = StoreKind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let names = StoreKind::ALL.map(StoreKind::name).join(", ");
            Error::usage("store", format!("there is no store {name:?}: use one of {names}"))
        })
    }
}
