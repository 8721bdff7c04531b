//! The thread that keeps one child: starts it, looks after it, and settles its end, whatever brings it.

use std::process::ExitStatus;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use serde_json::{Map, Value as Json};

use super::launch::{Ending, Pipes, greet, launch};
use super::liveness::{Signs, Watch};
use super::spec::ShellSpec;
use super::stderr::{Tail, drain};
use crate::error::Failure;
use crate::storm::shell::framing::Incoming;
use crate::sys::child::Process;
use crate::sys::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::sys::thread;
use crate::task::reporter::Reporter;
use crate::task::waker::Waker;

/// How long a child may take to end after its input or output has been closed.
const GRACE: Duration = Duration::from_secs(1);

/// What the keeper is told.
pub(super) enum Event {
    /// The conversation is over.
    Over(Ending),
    /// The process has ended.
    Exited,
    /// The component is not needed any more.
    Stop,
}

/// What a component and the threads of its child share.
pub(super) struct Link {
    pub signs: Signs,
    /// What comes from the child now is nobody's concern.
    stopping: AtomicBool,
    has_ended: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// The last error the child reported itself.
    last_error: Mutex<Option<String>>,
    events: Sender<Event>,
    pub waker: Waker,
    pub reporter: Reporter,
}

impl Link {
    /// With the receiver for the keeper.
    pub fn new(waker: Waker, reporter: Reporter) -> (Arc<Self>, Receiver<Event>) {
        let (events, receiver) = unbounded();
        let link = Link {
            signs: Signs::new(),
            stopping: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            failure: Mutex::default(),
            last_error: Mutex::default(),
            events,
            waker,
            reporter,
        };
        (Arc::new(link), receiver)
    }

    /// Why the child has ended, once it has.
    #[inline]
    pub fn failure(&self) -> Option<Failure> {
        if !self.has_ended.load(Ordering::Acquire) {
            return None;
        }
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Has the child end, soon.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tell(Event::Stop);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The keeper may be gone already, with everything settled.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// The child reports an error.
    pub fn reported(&self, message: String) {
        if !self.is_stopping() {
            self.reporter.error(&*message);
            *self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(message);
        }
    }

    fn end(&self, failure: Failure) {
        *self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(failure);
        self.has_ended.store(true, Ordering::Release);
    }
}

/// Everything a keeper needs.
pub(super) struct Keeper<Talk, Heartbeat, Settle> {
    pub spec: Arc<ShellSpec>,
    pub context: Map<String, Json>,
    pub link: Arc<Link>,
    pub events: Receiver<Event>,
    /// The conversation, on a thread of its own, from after the greeting until one side ends it.
    pub talk: Talk,
    /// Called once a period after the greeting.
    pub heartbeat: Heartbeat,
    /// Fails what the child has not settled.
    pub settle: Settle,
}

impl<Talk, Heartbeat, Settle> Keeper<Talk, Heartbeat, Settle>
where
    Talk: FnOnce(Pipes) -> Result<(), Ending> + Send + 'static,
    Heartbeat: FnMut() + Send + 'static,
    Settle: FnOnce(&Failure) + Send + 'static,
{
    /// Starts the keeper's thread, which starts the child.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(self) -> Result<(), Failure> {
        thread::spawn_helper("squall-shell", move || self.run())
            .map_err(|error| Failure::retry(format!("cannot start a thread for a child process: {error}")))?;
        Ok(())
    }

    fn run(self) {
        let Keeper { spec, context, link, events, talk, heartbeat, settle } = self;
        let failure = match launch(&spec) {
            Err(failure) => failure,
            Ok(spawned) => {
                let (mut process, tail) = (spawned.process, Tail::default());
                let pid = process.id();
                let reporter = link.reporter.clone();
                let logged = tail.clone();
                let (is_drained, drained) = bounded::<()>(0);
                let log = thread::spawn_helper("squall-stderr", move || {
                    drain(spawned.stderr, pid, &logged, &reporter);
                    drop(is_drained);
                });
                let pipes = Pipes { stdin: spawned.stdin, incoming: Incoming::new(spawned.stdout, spec.serializer) };
                let converses = converse(spec.clone(), context, link.clone(), &process, pipes, talk);
                let cause = match log.map(drop).and(converses) {
                    Err(error) => format!("cannot be served: {error}"),
                    Ok(()) => look_after(&mut process, &spec, &link, &events, heartbeat),
                };
                let status = process.kill();
                // Its last words; a process that left its group may hold the pipe open.
                let _ = drained.recv_timeout(GRACE);
                let failure = farewell(pid, status, &cause, &tail, &spec, &link);
                // An empty file that nobody looks for: it may be gone, or never have been there.
                let _ = std::fs::remove_file(spec.pid_dir.join(pid.to_string()));
                failure
            }
        };
        link.end(failure.clone());
        settle(&failure);
        link.waker.wake();
    }
}

/// Starts the thread that talks to the child and then waits for its end.
fn converse(
    spec: Arc<ShellSpec>,
    context: Map<String, Json>,
    link: Arc<Link>,
    process: &Process,
    mut pipes: Pipes,
    talk: impl FnOnce(Pipes) -> Result<(), Ending> + Send + 'static,
) -> std::io::Result<()> {
    let end = process.end();
    let body = move || {
        let over = greet(&mut pipes, &spec, &context).and_then(|pid| {
            tracing::info!(task = %link.reporter.origin(), pid, command = %spec.shown(), "started");
            link.signs.owes(true);
            talk(pipes)
        });
        link.tell(Event::Over(over.err().unwrap_or(Ending::Closed)));
        end.wait();
        link.tell(Event::Exited);
    };
    thread::spawn_helper("squall-shell-io", body).map(drop)
}

/// Waits until the child has ended or has to be. Returns the cause, which `farewell` completes.
fn look_after(
    process: &mut Process,
    spec: &ShellSpec,
    link: &Link,
    events: &Receiver<Event>,
    mut heartbeat: impl FnMut(),
) -> String {
    let mut watch = Watch::new(spec.timeout);
    loop {
        match events.recv_timeout(watch.period()) {
            Ok(Event::Over(Ending::Bad(bad))) => return format!("wrote what it must not: {bad}"),
            Ok(Event::Over(Ending::Closed)) => return wait_for_exit(events, "has closed its pipes"),
            Ok(Event::Exited) => return String::new(),
            Ok(Event::Stop) => {
                process.let_input_close();
                return wait_for_exit(events, "is not needed any more and did not end by itself");
            }
            Err(RecvTimeoutError::Timeout) => {
                if process.has_ended() {
                    return String::new();
                }
                if let Some(hangs) = watch.look(process, &link.signs) {
                    return hangs;
                }
                heartbeat();
            }
            Err(RecvTimeoutError::Disconnected) => unreachable!("the link holds a sender"),
        }
    }
}

/// Empty if the child ends in time.
fn wait_for_exit(events: &Receiver<Event>, otherwise: &str) -> String {
    loop {
        match events.recv_timeout(GRACE) {
            Ok(Event::Exited) => return String::new(),
            Ok(Event::Over(_) | Event::Stop) => {}
            Err(_) => return otherwise.to_owned(),
        }
    }
}

/// Says how the child ended.
fn farewell(pid: u32, status: Option<ExitStatus>, cause: &str, tail: &Tail, spec: &ShellSpec, link: &Link) -> Failure {
    if link.is_stopping() {
        return Failure::retry(format!("process {pid} was stopped with its component"));
    }
    let cause = if cause.is_empty() { ended(status) } else { cause.to_owned() };
    let mut message = format!("process {pid} (`{}`) {cause}", spec.shown());
    let last_error = link.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(error) = last_error.as_deref().and_then(last_line) {
        message.push_str(&format!("; its last error: {error}"));
    }
    if let Some(lines) = tail.text() {
        message.push_str(&format!("; its last words on standard error: {lines}"));
    }
    Failure::retry(message)
}

/// The line of a stack trace that says what is wrong is the last one.
fn last_line(text: &str) -> Option<&str> {
    text.trim_end().lines().next_back()
}

fn ended(status: Option<ExitStatus>) -> String {
    #[cfg(unix)]
    use std::os::unix::process::ExitStatusExt;

    match status {
        None => "has ended".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "has ended".to_owned(),
        },
    }
}
