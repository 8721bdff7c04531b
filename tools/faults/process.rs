//! A process under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

/// After which a process that neither ends nor writes anything is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same, whatever it writes: far more than any has to do.
const PATIENCE_MAX: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(1);
/// How often is looked at what it has written.
const LOOK: Duration = Duration::from_secs(1);
/// What is said of one that is given up.
pub const HANGS: &str = "made no progress in";

/// Killed when dropped, so that nothing outlives the campaign.
pub struct Process {
    pub child: Child,
    /// Where all it writes is.
    pub dir: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        match kill_process(Pid::from_child(&self.child), signal) {
            // It has ended by itself meanwhile.
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(format!("{signal:?}: {error}")),
        }
    }

    pub fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| error.to_string())
    }

    /// Waits for its end or for `until`, as long as it gets on.
    pub fn wait(&mut self, mut until: impl FnMut() -> bool) -> Result<Option<ExitStatus>, String> {
        let start = Instant::now();
        let (mut moved, mut looked, mut written) = (start, start, Written::of(&self.dir));
        while moved.elapsed() < PATIENCE && start.elapsed() < PATIENCE_MAX {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if until() {
                return Ok(None);
            }
            std::thread::sleep(POLL);
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let now = Written::of(&self.dir);
                moved = if now == written { moved } else { looked };
                written = now;
            }
        }
        Err(format!("process {} {HANGS} {:?}", self.child.id(), start.elapsed()))
    }
}

/// How much there is in a folder, and when it was written.
#[derive(Default, PartialEq)]
struct Written {
    bytes: u64,
    last: Option<SystemTime>,
}

impl Written {
    fn of(dir: &Path) -> Self {
        let mut written = Written::default();
        written.add(dir);
        written
    }

    /// What goes away meanwhile is a change too.
    fn add(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                self.add(&entry.path());
            } else {
                self.bytes += found.len();
                self.last = self.last.max(found.modified().ok());
            }
        }
    }
}
