//! What happens below a program: its files fail, it is killed in the midst of them, or its clock jumps. A library
//! of ours, loaded with `LD_PRELOAD`.

use std::path::{Path, PathBuf};
use std::process::Command;

use squall::sys::random::Random;

const SOURCE: &str = include_str!("preload.rs");

/// One fault in the files of a process or in its clock, or its end by `SIGKILL` at a place that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    WriteError,
    WriteShort,
    DiskFull,
    SyncError,
    RenameError,
    OpenError,
    ClockJump,
    KillInWrite,
    KillBeforeSync,
    KillBeforeManifest,
    KillAfterManifest,
    KillBeforeRename,
    KillAfterRename,
}

impl Below {
    pub const ALL: [Below; 13] = [
        Below::WriteError,
        Below::WriteShort,
        Below::DiskFull,
        Below::SyncError,
        Below::RenameError,
        Below::OpenError,
        Below::ClockJump,
        Below::KillInWrite,
        Below::KillBeforeSync,
        Below::KillBeforeManifest,
        Below::KillAfterManifest,
        Below::KillBeforeRename,
        Below::KillAfterRename,
    ];

    /// As the library calls it.
    pub fn kind(self) -> &'static str {
        match self {
            Below::WriteError => "write-error",
            Below::WriteShort => "write-short",
            Below::DiskFull => "disk-full",
            Below::SyncError => "sync-error",
            Below::RenameError => "rename-error",
            Below::OpenError => "open-error",
            Below::ClockJump => "clock-jump",
            Below::KillInWrite => "kill-write",
            Below::KillBeforeSync => "kill-sync",
            Below::KillBeforeManifest => "kill-manifest",
            Below::KillAfterManifest => "kill-after-manifest",
            Below::KillBeforeRename => "kill-rename",
            Below::KillAfterRename => "kill-after-rename",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Below::WriteError => "a write fails",
            Below::WriteShort => "a write is short",
            Below::DiskFull => "the disk is full",
            Below::SyncError => "a sync fails",
            Below::RenameError => "a rename fails",
            Below::OpenError => "a file cannot be opened",
            Below::ClockJump => "the clock jumps",
            Below::KillInWrite => "kill in a write, half done",
            Below::KillBeforeSync => "kill before a sync",
            Below::KillBeforeManifest => "kill between store and manifest",
            Below::KillAfterManifest => "kill between manifest and commit",
            Below::KillBeforeRename => "kill before a rename",
            Below::KillAfterRename => "kill after a rename",
        }
    }

    /// What the next start finds may be damaged. After a kill alone it never is.
    pub fn may_damage(self) -> bool {
        !self.kind().starts_with("kill")
    }

    /// Files are renamed when outputs become visible: at the end.
    pub fn comes_late(self) -> bool {
        matches!(self, Below::RenameError | Below::KillBeforeRename | Below::KillAfterRename)
    }

    /// What the library reads: the kind, and which operation it is.
    pub fn drawn(self, random: &mut Random) -> String {
        // About as many as a process has in its first second.
        let operations = match self {
            Below::WriteError | Below::WriteShort | Below::DiskFull | Below::SyncError => 100,
            Below::KillInWrite | Below::KillBeforeSync => 100,
            Below::KillBeforeManifest | Below::KillAfterManifest => 20,
            Below::RenameError | Below::KillBeforeRename | Below::KillAfterRename => 2,
            Below::OpenError => 8,
            Below::ClockJump => 20,
        };
        format!("{}:{}", self.kind(), 1 + random.below(operations))
    }
}

/// Builds the library into a folder, and says where it is.
///
/// # Errors
/// There is no `rustc`, or it does not build.
pub fn build(folder: &Path) -> Result<PathBuf, String> {
    let (source, library) = (folder.join("preload.rs"), folder.join("libpreload.so"));
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    std::fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(&rustc);
    command.args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-o"]).arg(&library).arg(&source);
    let output = command.output().map_err(|error| format!("{}: {error}", rustc.display()))?;
    if !output.status.success() {
        return Err(format!("{}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr)));
    }
    // Where a relative path leads is not the same for everyone.
    library.canonicalize().map_err(|error| format!("{}: {error}", library.display()))
}
