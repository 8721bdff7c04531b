//! Another process of this machine, by its number.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A running process. The handle stays that of this one, even if the number is given to another after its end.
#[derive(Debug)]
pub struct OtherProcess(OwnedFd);

impl OtherProcess {
    /// The process with this number, if there is one.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn find(pid: i32) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => Ok(Some(OtherProcess(process))),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks it to end, as `kill` does. No error if it has just ended.
    ///
    /// # Errors
    /// The operating system refused: it belongs to another user.
    pub fn terminate(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end. False if it has not come within this time.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        loop {
            // A process that has ended is readable.
            let mut ends = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut ends, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_ended_and_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = OtherProcess::find(child.id() as i32).unwrap().expect("it runs");
        assert!(!process.wait(Duration::ZERO).unwrap());
        process.terminate().unwrap();
        assert!(process.wait(Duration::from_secs(300)).unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(OtherProcess::find(i32::MAX).unwrap().is_none());
    }
}
