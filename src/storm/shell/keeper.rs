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
use crate::sys::child::{self, Process};
use crate::sys::sync::{Arc, AtomicBool, AtomicU8, Mutex, MutexGuard, Ordering};
use crate::sys::thread;
use crate::task::reporter::Reporter;
use crate::task::waker::Waker;

/// How long a child may take to end after its input or output has been closed.
const GRACE: Duration = Duration::from_secs(1);

/// Looks at a child after which it gets input although it has not shown that it works: old clients answer no heartbeat.
const LOOKS_UNTIL_TRUSTED: u32 = 5;

/// So long the answer to the handshake may be missing before that is said, and half the child's time-out at most.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// What the keeper is told.
pub(super) enum Event {
    /// The conversation is over.
    Over(Ending),
    /// The process has ended.
    Exited,
    /// The component is not needed any more.
    Stop,
}

/// How far a child has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has not told its process id.
    New,
    /// It has, and prepares itself.
    Greeted,
    /// It gets input, although it may still prepare itself.
    Trusted,
    /// It has shown that it takes messages: prepared it is.
    Works,
}

/// Why a child is gone.
pub(super) struct End {
    pub message: String,
    /// Tuples that it had in hand may have to do with it.
    pub to_blame: bool,
}

/// What a component and the threads of its child share.
pub(super) struct Link {
    pub signs: Signs,
    /// What comes from the child now is nobody's concern.
    stopping: AtomicBool,
    stage: AtomicU8,
    has_ended: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// From when the child is told to end until it has.
    ending: Mutex<Option<child::Ending>>,
    /// The last error the child reported itself.
    last_error: Mutex<Option<String>>,
    events: Sender<Event>,
    pub waker: Waker,
    pub reporter: Reporter,
}

/// Nothing panics under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Link {
    /// With the receiver for the keeper.
    pub fn new(waker: Waker, reporter: Reporter) -> (Arc<Self>, Receiver<Event>) {
        let (events, receiver) = unbounded();
        let link = Link {
            signs: Signs::new(),
            stopping: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::New as u8),
            has_ended: AtomicBool::new(false),
            failure: Mutex::default(),
            ending: Mutex::default(),
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
        lock(&self.failure).clone()
    }

    /// Has the child end, soon.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        {
            let mut ending = lock(&self.ending);
            if !self.has_ended.load(Ordering::Acquire) {
                *ending = Some(child::Ending::begin());
            }
        }
        self.tell(Event::Stop);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The keeper may be gone already, with everything settled.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    #[inline]
    pub fn has_come_to(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// The child has come so far; the component may have waited for it.
    #[inline]
    pub fn comes_to(&self, stage: Stage) {
        if !self.has_come_to(stage) {
            if stage >= Stage::Trusted {
                self.reporter.waits_for(None);
            }
            self.stage.fetch_max(stage as u8, Ordering::AcqRel);
            self.waker.wake();
        }
    }

    /// The child reports an error.
    pub fn reported(&self, message: String) {
        if !self.is_stopping() {
            self.reporter.error(&*message);
            *lock(&self.last_error) = Some(message);
        }
    }

    /// The last error that it reported and that nothing has been said of.
    pub fn take_error(&self) -> Option<String> {
        lock(&self.last_error).take()
    }

    fn end(&self, failure: Failure) {
        *lock(&self.failure) = Some(failure);
        let mut ending = lock(&self.ending);
        self.has_ended.store(true, Ordering::Release);
        ending.take();
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
    /// Called once a period after the start.
    pub heartbeat: Heartbeat,
    /// Fails what the child has not settled, and tells how the component fails.
    pub settle: Settle,
}

impl<Talk, Heartbeat, Settle> Keeper<Talk, Heartbeat, Settle>
where
    Talk: FnOnce(Pipes) -> Result<(), Ending> + Send + 'static,
    Heartbeat: FnMut() + Send + 'static,
    Settle: FnOnce(End) -> Failure + Send + 'static,
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
        let end = match launch(&spec) {
            Err(failure) => End { message: failure.message().to_owned(), to_blame: false },
            Ok((spawned, place)) => {
                let (mut process, tail) = (spawned.process, Tail::default());
                let pid = process.id();
                let (shown, sent) = (spec.shown(), spec.serializer);
                let waits = format!("waits for process {pid} (`{shown}`) to answer the handshake (sent as {sent})");
                link.reporter.waits_for(Some(waits));
                let reporter = link.reporter.clone();
                let logged = tail.clone();
                let (is_drained, drained) = bounded::<()>(0);
                let log = thread::spawn_helper("squall-stderr", move || {
                    drain(spawned.stderr, pid, &logged, &reporter);
                    drop(is_drained);
                });
                let incoming = Incoming::new(spawned.stdout, spec.serializer).at_most(spec.message_max_bytes);
                let pipes = Pipes { stdin: spawned.stdin, incoming };
                let converses = converse(spec.clone(), context, link.clone(), &process, pipes, talk);
                let mut is_over = converses.is_err();
                let cause = match log.map(drop).and(converses) {
                    Err(error) => Cause::innocent(format!("cannot be served: {error}")),
                    Ok(()) => look_after(&mut process, &spec, &link, &events, heartbeat, &mut is_over),
                };
                let status = process.kill();
                // Others may hold its pipes open: what it has left in them is taken, and no more is waited for.
                process.hang_up();
                while !is_over && !matches!(events.recv_timeout(GRACE), Ok(Event::Over(_)) | Err(_)) {}
                // Its last words.
                let _ = drained.recv_timeout(GRACE);
                let end = farewell(pid, status, cause, &tail, &spec, &link);
                // An empty file that nobody looks for: it may be gone, or never have been there.
                let _ = std::fs::remove_file(spec.pid_dir.join(pid.to_string()));
                drop(place);
                end
            }
        };
        link.reporter.waits_for(None);
        let failure = settle(end);
        link.end(failure);
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
            link.comes_to(Stage::Greeted);
            link.reporter.waits_for(Some(format!("waits for process {pid} to prepare itself")));
            link.signs.owes(true);
            talk(pipes)
        });
        link.tell(Event::Over(over.err().unwrap_or(Ending::Closed)));
        end.wait();
        link.tell(Event::Exited);
    };
    thread::spawn_helper("squall-shell-io", body).map(drop)
}

/// Why a child is ended, or has ended.
struct Cause {
    /// Empty if the process's own end tells it.
    message: String,
    /// What it has in hand has no part in it.
    is_innocent: bool,
}

impl Cause {
    fn new(message: impl Into<String>) -> Self {
        Cause { message: message.into(), is_innocent: false }
    }

    fn innocent(message: impl Into<String>) -> Self {
        Cause { message: message.into(), is_innocent: true }
    }
}

/// Waits until the child has ended or has to be, and notes that the conversation is over. Returns the cause, which
/// `farewell` completes.
fn look_after(
    process: &mut Process,
    spec: &ShellSpec,
    link: &Link,
    events: &Receiver<Event>,
    mut heartbeat: impl FnMut(),
    is_over: &mut bool,
) -> Cause {
    let mut watch = Watch::new(spec.timeout);
    let patience = HANDSHAKE_PATIENCE.min(spec.timeout / 2);
    let (mut looks, mut closed, mut is_said) = (0, None, false);
    loop {
        let period = if closed.is_some() { GRACE } else { watch.period() };
        match events.recv_timeout(period) {
            Ok(Event::Over(ending)) => {
                *is_over = true;
                match ending {
                    Ending::Bad(bad) => return Cause::new(format!("wrote what it must not: {bad}")),
                    Ending::Unknown(bad) => return Cause::innocent(format!("wrote what it must not: {bad}")),
                    Ending::NoAnswer(bad) => {
                        let sent = spec.serializer;
                        return Cause::innocent(format!("gave no answer to the handshake (sent as {sent}): {bad}"));
                    }
                    Ending::Closed => closed = closed.or(Some("has closed its output")),
                    Ending::InputClosed => closed = closed.or(Some("has closed its input")),
                }
            }
            Ok(Event::Exited) => return Cause::new(""),
            Ok(Event::Stop) => {
                process.let_input_close();
                closed = closed.or(Some("is not needed any more and did not end by itself"));
            }
            Err(RecvTimeoutError::Timeout) => {
                if process.has_ended() {
                    return Cause::new("");
                }
                if let Some(closed) = closed {
                    return Cause::new(closed);
                }
                if let Some(hangs) = watch.look(process, &link.signs) {
                    return match link.has_come_to(Stage::Greeted) {
                        true => Cause::new(hangs),
                        false => Cause::new(format!(
                            "gave no answer to the handshake (sent as {}), and wrote nothing that could be one: \
                             it {hangs}",
                            spec.serializer
                        )),
                    };
                }
                if !is_said && !link.has_come_to(Stage::Greeted) && link.signs.silent() >= patience {
                    is_said = true;
                    say_no_answer(process, spec, link);
                }
                looks += u32::from(link.has_come_to(Stage::Greeted));
                if looks == LOOKS_UNTIL_TRUSTED {
                    link.comes_to(Stage::Trusted);
                }
                heartbeat();
            }
            Err(RecvTimeoutError::Disconnected) => unreachable!("the link holds a sender"),
        }
    }
}

/// Long before the child is given up.
fn say_no_answer(process: &Process, spec: &ShellSpec, link: &Link) {
    let has_read = match process.unread_bytes() {
        Some(0) => "; it has read all of it and may wait for more: does it speak another serializer?",
        Some(_) => "; it has not read all of it",
        None => "",
    };
    tracing::warn!(
        task = %link.reporter.origin(),
        "process {} (`{}`) gives no answer to the handshake (sent as {}) and has written nothing{has_read}; after {:?} \
         without a sign of life it is given up",
        process.id(), spec.shown(), spec.serializer, spec.timeout
    );
}

/// Says how the child ended.
fn farewell(pid: u32, status: Option<ExitStatus>, cause: Cause, tail: &Tail, spec: &ShellSpec, link: &Link) -> End {
    if link.is_stopping() {
        return End { message: format!("process {pid} was stopped with its component"), to_blame: false };
    }
    let to_blame = link.has_come_to(Stage::Works) && !cause.is_innocent;
    let how = if cause.message.is_empty() { ended(status) } else { cause.message };
    let mut message = format!("process {pid} (`{}`) {how}", spec.shown());
    if link.has_come_to(Stage::Greeted) && !link.has_come_to(Stage::Works) {
        message.push_str(", before it took any input");
    } else if !link.has_come_to(Stage::Greeted) && !message.contains("handshake") {
        message.push_str(", before its handshake");
    }
    if let Some(error) = link.take_error().as_deref().and_then(last_line) {
        message.push_str(&format!("; its last error: {error}"));
    }
    if let Some(lines) = tail.text() {
        message.push_str(&format!("; its last words on standard error: {lines}"));
    }
    End { message, to_blame }
}

/// The line of a stack trace that says what is wrong is the last one.
pub(super) fn last_line(text: &str) -> Option<&str> {
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
