//! Child processes that end with this one: started by one thread that never ends, each in a process group of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use crossbeam::channel::{Sender, bounded, unbounded};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// A started process with its three pipes.
pub struct Spawned {
    /// The process itself.
    pub process: Process,
    /// What it reads.
    pub stdin: ChildStdin,
    /// What it writes.
    pub stdout: ChildStdout,
    /// Where it complains.
    pub stderr: ChildStderr,
}

/// A child process, and the group it leads. Dropped, it is killed and reaped.
pub struct Process {
    child: Child,
    pid: Pid,
    /// Looks at how much of its input it has not read; keeps the pipe open, so it is given up with the input.
    input: Option<OwnedFd>,
    reaped: Option<ExitStatus>,
}

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a process with pipes for its standard streams, in a process group of its own. On Linux it is killed when this
/// process dies, however that happens; everywhere its standard input is closed then.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn(mut command: Command) -> io::Result<Spawned> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepare(&mut command);
    let mut child = on_the_spawning_thread(command)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(io::Error::other("a pipe of the child is missing"));
    };
    let pid = Pid::from_child(&child);
    let input = stdin.as_fd().try_clone_to_owned().ok();
    Ok(Spawned { process: Process { child, pid, input, reaped: None }, stdin, stdout, stderr })
}

/// The kernel's signal at a parent's death is sent when the *thread* that forked ends, so that thread must not.
fn on_the_spawning_thread(command: Command) -> io::Result<Child> {
    static REQUESTS: OnceLock<Option<Sender<Request>>> = OnceLock::new();
    let requests = REQUESTS.get_or_init(|| {
        let (sender, receiver) = unbounded::<Request>();
        let serve = move || {
            for (mut command, reply) in receiver {
                // Nobody waits for the answer any more: the child is dropped, and its closed input ends it.
                let _ = reply.send(command.spawn());
            }
        };
        crate::sys::thread::spawn_helper("squall-children", serve).ok().map(|_| sender)
    });
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (reply, answer) = bounded(1);
    requests.as_ref().ok_or_else(gone)?.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(unix)]
fn prepare(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getpid();
        let end_with_parent = move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have died before that call.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::Error::other("the parent has died"));
            }
            Ok(())
        };
        // SAFETY: runs between fork and exec. It makes two system calls, and neither allocates nor takes a lock unless
        // the parent is dead, where only this process is left to suffer.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(end_with_parent);
        }
    }
}

impl Process {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// True once it has ended. It is not reaped by that, so its number and its group stay reserved.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        self.reaped.is_some() || !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Its end, to wait for.
    pub fn end(&self) -> End {
        End(self.pid)
    }

    /// Bytes it has been sent and has not read, where the system tells.
    pub fn unread_bytes(&self) -> Option<u64> {
        rustix::io::ioctl_fionread(self.input.as_ref()?).ok()
    }

    /// Lets its input be closed once whoever writes to it drops it.
    pub fn let_input_close(&mut self) {
        self.input = None;
    }

    /// CPU time it has used, in the kernel's ticks; `None` where the system does not tell.
    pub fn cpu_ticks(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        Some(ticks()? + ticks()?)
    }

    /// Kills it and whatever else is in its group, and reaps it.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        self.input = None;
        if self.reaped.is_none() {
            // Fails if all are gone already, which is as well. Its number is reserved until it is reaped.
            let _ = kill_process_group(self.pid, Signal::KILL);
            self.reaped = self.child.wait().ok();
        }
        self.reaped
    }
}

/// The end of a process, to wait for on any thread.
pub struct End(Pid);

impl End {
    /// Waits until the process has ended, without reaping it.
    pub fn wait(&self) {
        // An error means that it has been reaped.
        let _ = waitid(WaitId::Pid(self.0), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_child_leads_its_own_group_and_is_killed_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo ready; read line; wait"]);
        let mut spawned = spawn(command).unwrap();
        let mut ready = [0; 6];
        spawned.stdout.read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        assert!(!spawned.process.has_ended());
        spawned.stdin.write_all(b"go").unwrap();
        if let Some(bytes) = spawned.process.unread_bytes() {
            assert!(bytes <= 2);
        }
        spawned.process.kill();
        assert!(spawned.process.has_ended());
        // The grandchild held the pipe open: it is gone too.
        let mut rest = String::new();
        spawned.stdout.read_to_string(&mut rest).unwrap();
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        assert!(spawn(Command::new("./there-is-no-such-program")).is_err());
    }
}
