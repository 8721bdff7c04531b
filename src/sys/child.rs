//! Child processes that end with this one: started by one thread that never ends, each in a process group of its own.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// What may still be read after [`Process::hang_up`]: a pipe's capacity and more. Whoever else holds a pipe may go on
/// writing to it for ever.
const LEFT_BYTES_MAX: usize = 1 << 20;

/// A started process with its three pipes.
pub struct Spawned {
    /// The process itself.
    pub process: Process,
    /// What it reads.
    pub stdin: Input,
    /// What it writes.
    pub stdout: Output,
    /// Where it complains.
    pub stderr: Output,
}

/// A child process, and the group it leads. Dropped, it is killed and reaped, and its pipes end.
pub struct Process {
    child: Child,
    pid: Pid,
    /// Looks at how much of its input it has not read; keeps the pipe open, so it is given up with the input.
    input: Option<OwnedFd>,
    hang_up: Arc<HangUp>,
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
    let hang_up = Arc::new(HangUp::new()?);
    let mut child = on_the_spawning_thread(command)?;
    let pid = Pid::from_child(&child);
    GROUPS.add(pid);
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // From here on it is killed if something goes wrong.
    let mut process = Process { child, pid, input: None, hang_up: hang_up.clone(), reaped: None };
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(io::Error::other("a pipe of the child is missing"));
    };
    process.input = stdin.as_fd().try_clone_to_owned().ok();
    Ok(Spawned {
        stdin: Input { pipe: end_of_pipe(stdin.into())?, hang_up: hang_up.clone() },
        stdout: Output::new(end_of_pipe(stdout.into())?, &hang_up),
        stderr: Output::new(end_of_pipe(stderr.into())?, &hang_up),
        process,
    })
}

/// Ours of the two ends, which alone does not block: the other one is not shared.
fn end_of_pipe(end: OwnedFd) -> io::Result<File> {
    rustix::io::ioctl_fionbio(&end, true)?;
    Ok(end.into())
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

    /// CPU time that its group has used, in the kernel's ticks; `None` where the system does not tell. Looks at every
    /// process of the machine. Less than before means that one of the group has ended.
    pub fn cpu_ticks(&self) -> Option<u64> {
        let of_group = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, in parentheses, may hold anything. Behind it the group is the third field; the 12th to 15th are
            // the times in user and system mode, of the process and of its children that are gone.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().take(15).collect();
            let group: i32 = fields.get(2)?.parse().ok()?;
            let times = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().unwrap_or(0));
            (group == self.pid.as_raw_nonzero().get()).then(|| times.sum::<u64>())
        };
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let ticks = processes.filter_map(|entry| of_group(entry.file_name().to_str()?));
        Some(ticks.sum())
    }

    /// Kills it and whatever else is in its group, and reaps it.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        self.input = None;
        if self.reaped.is_none() {
            // Fails if all are gone already, which is as well. Its number is reserved until it is reaped.
            let _ = kill_process_group(self.pid, Signal::KILL);
            GROUPS.remove(self.pid);
            self.reaped = self.child.wait().ok();
        }
        self.reaped
    }

    /// Its pipes come to an end for us, even if another process holds them open: what is in them can still be read.
    pub fn hang_up(&self) {
        self.hang_up.hang_up();
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
        self.hang_up();
    }
}

/// Ends reading and writing on other threads: a pipe whose one end is closed for that, so that the other is readable.
struct HangUp {
    reader: PipeReader,
    writer: Mutex<Option<PipeWriter>>,
}

impl HangUp {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(HangUp { reader, writer: Mutex::new(Some(writer)) })
    }

    fn hang_up(&self) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until a pipe can be read or written. False if it has been hung up instead.
    fn wait(&self, pipe: &File, what: PollFlags) -> io::Result<bool> {
        loop {
            let mut ends = [PollFd::new(pipe, what), PollFd::new(&self.reader, PollFlags::IN)];
            match poll(&mut ends, None) {
                // An error or the other side's end is told by the next read or write.
                Ok(_) if !ends[0].revents().is_empty() => return Ok(true),
                Ok(_) if !ends[1].revents().is_empty() => return Ok(false),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What a child reads. Writing waits until the child takes it or the process is hung up.
pub struct Input {
    pipe: File,
    hang_up: Arc<HangUp>,
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
            if !self.hang_up.wait(&self.pipe, PollFlags::OUT)? {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a child writes. Reading waits until there is something, or the pipe has ended or the process is hung up.
pub struct Output {
    pipe: File,
    hang_up: Arc<HangUp>,
    /// The last read has emptied it: it would find nothing now.
    is_empty: bool,
    is_hung_up: bool,
    left_bytes: usize,
}

impl Output {
    fn new(pipe: File, hang_up: &Arc<HangUp>) -> Self {
        let hang_up = hang_up.clone();
        Output { pipe, hang_up, is_empty: true, is_hung_up: false, left_bytes: LEFT_BYTES_MAX }
    }
}

impl Read for Output {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_empty && !self.is_hung_up {
                self.is_hung_up = !self.hang_up.wait(&self.pipe, PollFlags::IN)?;
            }
            let at_most = if self.is_hung_up { into.len().min(self.left_bytes) } else { into.len() };
            match self.pipe.read(&mut into[..at_most]) {
                Ok(bytes) => {
                    self.is_empty = bytes < at_most;
                    self.left_bytes -= if self.is_hung_up { bytes } else { 0 };
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.is_hung_up => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_empty = true,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The groups of all children that live, for a signal handler: it may neither lock nor allocate. Those that find no
/// place end by the kernel's signal and their closed input only.
struct Groups([AtomicI32; 1_024]);

static GROUPS: Groups = Groups([const { AtomicI32::new(0) }; 1_024]);

impl Groups {
    fn add(&self, pid: Pid) {
        let pid = pid.as_raw_nonzero().get();
        let free = |place: &&AtomicI32| place.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let _ = self.0.iter().find(free);
    }

    fn remove(&self, pid: Pid) {
        let pid = pid.as_raw_nonzero().get();
        let own = |place: &&AtomicI32| place.compare_exchange(pid, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let _ = self.0.iter().find(own);
    }
}

/// Kills all children and their groups. For a signal handler, just before the process ends.
pub fn kill_all() {
    for pid in GROUPS.0.iter().filter_map(|place| Pid::from_raw(place.load(Ordering::Acquire))) {
        // One that is gone is as well.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Children that have been told to end and have not yet.
static ENDING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Stands for a child that has been told to end, until it has.
pub struct Ending(());

impl Ending {
    /// One more.
    pub fn begin() -> Self {
        *ENDING.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Ending(())
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        *ENDING.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDING.1.notify_all();
    }
}

/// How long children may take to end, after which they have long been killed.
const ENDS_MAX: Duration = Duration::from_secs(10);

/// Waits for every child of this process that has been told to end.
pub fn wait_for_ends() {
    if !wait_at_most(ENDS_MAX) {
        tracing::warn!("some child processes have not ended yet");
    }
}

/// False if some have not ended within this time.
fn wait_at_most(time: Duration) -> bool {
    let deadline = Instant::now() + time;
    let mut count = ENDING.0.lock().unwrap_or_else(PoisonError::into_inner);
    while *count > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        count = ENDING.1.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    true
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Spawned {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        spawn(command).unwrap()
    }

    fn line(from: &mut Output) -> String {
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::with_capacity(1, from), &mut line).unwrap();
        line
    }

    #[test]
    fn a_child_leads_its_own_group_and_is_killed_with_it() {
        let mut spawned = shell("sleep 1000 & echo ready; read line; wait");
        assert_eq!(line(&mut spawned.stdout), "ready\n");
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
    #[cfg(target_os = "linux")]
    fn pipes_that_another_process_holds_end_with_the_child_that_had_them() {
        let mut spawned = shell("setsid sleep 1000 & echo $!; echo last words >&2");
        let other = line(&mut spawned.stdout);
        let (mut stderr, stdout, mut stdin) = (spawned.stderr, spawned.stdout, spawned.stdin);
        let words = std::thread::spawn(move || line(&mut stderr) + &line(&mut stderr));
        let reads = std::thread::spawn(move || line(&mut { stdout }));
        let writes = std::thread::spawn(move || stdin.write_all(&[0; 1 << 20]).unwrap_err().kind());
        spawned.process.end().wait();
        spawned.process.kill();
        spawned.process.hang_up();
        assert_eq!(words.join().unwrap(), "last words\n");
        assert_eq!(reads.join().unwrap(), "");
        assert_eq!(writes.join().unwrap(), io::ErrorKind::BrokenPipe);
        let other = Pid::from_raw(other.trim().parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process(other, Signal::KILL);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_the_whole_group_counts() {
        let mut spawned = shell("sh -c 'while :; do :; done' & echo ready; wait");
        line(&mut spawned.stdout);
        let before = spawned.process.cpu_ticks().unwrap();
        while spawned.process.cpu_ticks().unwrap() <= before {
            std::thread::yield_now();
        }
        spawned.process.kill();
    }

    #[test]
    fn an_end_is_waited_for_and_not_for_ever() {
        let ending = Ending::begin();
        assert!(!wait_at_most(Duration::ZERO));
        let other = std::thread::spawn(move || drop(ending));
        // Children of other tests may be ending as well.
        assert!(wait_at_most(Duration::from_secs(300)));
        other.join().unwrap();
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        assert!(spawn(Command::new("./there-is-no-such-program")).is_err());
    }
}
