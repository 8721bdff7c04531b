//! A process under test.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// After which a process that neither ends nor makes a checkpoint is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);
/// What is said of one that is given up.
pub const HANGS: &str = "made no progress in";

/// Killed when dropped, so that nothing outlives the campaign.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        match kill_process(Pid::from_child(&self.0), signal) {
            // It has ended by itself meanwhile.
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(format!("{signal:?}: {error}")),
        }
    }

    pub fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.0.try_wait().map_err(|error| error.to_string())
    }

    /// Waits for the end of the process or for `until`, at most `PATIENCE`.
    pub fn wait(&mut self, mut until: impl FnMut() -> bool) -> Result<Option<ExitStatus>, String> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if until() {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
        Err(format!("process {} {HANGS} {PATIENCE:?}", self.0.id()))
    }
}
