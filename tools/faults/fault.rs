//! What happens to a process from above, and what of its state is copied or damaged.

use std::fs;
use std::path::{Path, PathBuf};

use squall::sys::random::Random;

use crate::below::Below;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillAtRandom,
    KillInRecovery,
    KillAfterCheckpoint,
    Stop,
    Suspend,
    DamageManifest,
    DamageStore,
    /// Stopped and continued, and left to its end.
    Pause,
    /// Told to end, without state to go on from.
    Drain,
    Below(Below),
}

impl Fault {
    const ABOVE: [Fault; 10] = [
        Fault::KillAtRandom,
        Fault::KillAtRandom,
        Fault::KillAtRandom,
        Fault::KillAfterCheckpoint,
        Fault::KillAfterCheckpoint,
        Fault::KillInRecovery,
        Fault::Stop,
        Fault::Suspend,
        Fault::DamageManifest,
        Fault::DamageStore,
    ];

    /// One in three happens below the program.
    pub fn drawn(store: &str, random: &mut Random) -> Self {
        if random.below(3) == 0 {
            return Fault::Below(Below::ALL[random.below(Below::ALL.len() as u64) as usize]);
        }
        match Fault::ABOVE[random.below(Fault::ABOVE.len() as u64) as usize] {
            // The others' files have inner formats of which this program knows nothing.
            Fault::DamageStore if store != "log" => Fault::KillAtRandom,
            fault => fault,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Fault::KillAtRandom => "kill at random",
            Fault::KillInRecovery => "kill soon after a start",
            Fault::KillAfterCheckpoint => "kill after a checkpoint",
            Fault::Stop => "stopped, then killed",
            Fault::Suspend => "suspended by SIGTERM",
            Fault::DamageManifest => "kill and damaged manifest slot",
            Fault::DamageStore => "kill and damaged store file",
            Fault::Pause => "stopped, then continued",
            Fault::Drain => "drained by SIGTERM",
            Fault::Below(below) => below.name(),
        }
    }
}

/// The number of the manifest's newest writing: one more at each checkpoint.
pub fn writing(state: &Path) -> u64 {
    let of = |slot: &str| {
        let bytes = fs::read(state.join(slot)).ok()?;
        Some(u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?))
    };
    ["manifest.0", "manifest.1"].into_iter().filter_map(of).max().unwrap_or(0)
}

/// Where the state is copied to, in place of the copy before.
pub fn copy_state(dir: &Path) -> Result<PathBuf, String> {
    let (state, copy) = (dir.join("state"), dir.join("copy"));
    let _ = fs::remove_dir_all(&copy);
    // There is none before the first start.
    fs::create_dir_all(&state).map_err(|error| format!("{}: {error}", state.display()))?;
    copy_tree(&state, &copy)?;
    Ok(copy)
}

pub fn copy_tree(from: &Path, to: &Path) -> Result<(), String> {
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy_tree(&entry.path(), &target).map_err(std::io::Error::other)?;
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    };
    copy().map_err(|error| format!("copying {}: {error}", from.display()))
}

/// The file of a store that was written to last.
pub fn newest_file(state: &Path) -> Result<Option<PathBuf>, String> {
    let find = || -> std::io::Result<Option<PathBuf>> {
        let mut newest = None;
        for entry in fs::read_dir(state)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("store-") {
                continue;
            }
            for file in fs::read_dir(entry.path())? {
                let file = file?;
                newest = newest.max(Some((file.metadata()?.modified()?, file.path())));
            }
        }
        Ok(newest.map(|(_, path)| path))
    };
    find().map_err(|error| format!("{}: {error}", state.display()))
}
