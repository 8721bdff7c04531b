//! [`ShellBolt`]: a bolt whose work is done by a child process.

use std::borrow::Cow;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use serde_json::Value as Json;

use super::context::context;
use super::framing::BadOutput;
use super::keeper::{End, Keeper, Link, Stage, last_line};
use super::launch::{Ending, Pipes};
use super::open::OpenTuples;
use super::owed::{Owed, owed};
use super::protocol::{Emit, FromChild, decode, tuple_id};
use super::spec::ShellSpec;
use super::writer::{Item, Pace, Queue, Writer};
use crate::error::Failure;
use crate::storm::emitter::Emitter;
use crate::storm::tuple::StormTuple;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::sys::thread;
use crate::task::TaskId;
use crate::task::component::{ManualBolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::door::{Door, DoorError};
use crate::task::dynamic::Value;
use crate::task::held::{Anchor, Tuple};
use crate::task::many::{Many, ManyEmission, Told};
use crate::task::outlet::Outlet;

/// Room for ticks behind a queue full of tuples.
const TICKS_WAITING_MAX: usize = 8;

/// A bolt whose work is done by a child process that speaks the multilang protocol.
///
/// `execute` puts the tuple into a queue, costing about as much as a hop between executors; it never waits. While as
/// many tuples wait as the specification allows, the bolt takes no input (counted as `blocked`). What the child acks,
/// fails and emits comes back on threads of its own. It takes no input before the child has answered the handshake and
/// prepared itself. When the child is gone, all it had fails at once and the engine builds the next instance. A tuple
/// that the child had in hand alone fails as a [panic](crate::error::FailureKind::Panic) does; of several none is
/// blamed, and children that go on dying get them one at a time.
pub struct ShellBolt {
    spec: Arc<ShellSpec>,
    running: Option<Running>,
}

/// What there is from `prepare` on.
struct Running {
    link: Arc<Link>,
    items: Sender<Item>,
    queue: Arc<Queue>,
    open: Arc<OpenTuples>,
    last_id: u64,
    ticks: Arc<AtomicU64>,
    tick_period: Option<Duration>,
    pace: Arc<Pace>,
}

impl ShellBolt {
    pub(super) fn new(spec: ShellSpec) -> Self {
        ShellBolt { spec: Arc::new(spec), running: None }
    }
}

impl ManualBolt for ShellBolt {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.spec.check()?;
        let spec = self.spec.clone();
        let (link, events) = Link::new(ctx.waker(), ctx.reporter());
        let (items, waiting) = bounded(spec.max_pending.max(1) + TICKS_WAITING_MAX);
        let queue = Arc::new(Queue { items: waiting, is_waited_for: AtomicBool::new(false) });
        let (open, ticks) = (Arc::new(OpenTuples::default()), Arc::new(AtomicU64::new(0)));
        let (beat, heartbeats) = bounded(1);
        let (pace, nudges) = Pace::new(spec.memory.of(link.reporter.origin()));
        let conversation = Conversation {
            emitter: Emitter::new(ctx.info(), &spec.declared_streams()?),
            door: ctx.door(),
            open: open.clone(),
            ticks: ticks.clone(),
            link: link.clone(),
            spec: spec.clone(),
            pace: pace.clone(),
        };
        let (link_of_end, suspects) = (link.clone(), pace.suspects.clone());
        let (queue_of_talk, queue_of_end, open_at_end) = (queue.clone(), queue.clone(), open.clone());
        Keeper {
            context: context(&spec, ctx.info()),
            spec: spec.clone(),
            link: link.clone(),
            events,
            talk: move |pipes| conversation.run(pipes, queue_of_talk, heartbeats, nudges),
            // One that still waits to be written is as good as another.
            heartbeat: move || {
                let _ = beat.try_send(());
            },
            settle: move |end: End| {
                let (count, failure) = open_at_end.close(&end.message, end.to_blame);
                fail_waiting(&queue_of_end, &end.message);
                if end.to_blame {
                    suspects.died_with(count);
                    if count == 1 {
                        // It is known what it died of: that counts for the tuple, not against the component.
                        link_of_end.reporter.progress();
                    }
                }
                failure
            },
        }
        .start()?;
        let number = |key: &str| spec.conf.get(key).and_then(Json::as_u64);
        let millis = number("topology.tick.tuple.freq.millis").map(Duration::from_millis);
        let period = millis.or_else(|| number("topology.tick.tuple.freq.secs").map(Duration::from_secs));
        let tick_period = period.filter(|period| !period.is_zero());
        self.running = Some(Running { link, items, queue, open, last_id: 0, ticks, tick_period, pace });
        Ok(())
    }

    fn works_elsewhere(&self) -> bool {
        true
    }

    fn ready(&mut self) -> Result<bool, Failure> {
        let Some(running) = &self.running else { return Ok(true) };
        match running.link.failure() {
            Some(failure) => Err(failure),
            None => {
                let takes_input = running.link.has_come_to(Stage::Trusted);
                Ok(takes_input && running.queue.has_room(self.spec.max_pending.max(1)))
            }
        }
    }

    fn execute(&mut self, tuple: Tuple<StormTuple>, _out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let Some(running) = &mut self.running else { return Err(Failure::fatal("execute before prepare")) };
        running.last_id += 1;
        let (value, anchor) = tuple.split();
        match running.items.try_send(Item::Tuple { id: running.last_id, value, anchor }) {
            Ok(()) => Ok(()),
            // The engine asks before each input whether there is room, and hears then of a child that is gone.
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => {
                item.fail("the child process took nothing more");
                Ok(())
            }
        }
    }

    fn tick(&mut self, _out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let Some(running) = &mut self.running else { return Ok(()) };
        let number = running.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        // A child that is so far behind has enough ticks before it.
        if running.items.try_send(Item::Tick { number, period: running.tick_period.unwrap_or_default() }).is_err() {
            tracing::debug!(task = %running.link.reporter.origin(), "a tick found no room");
        }
        Ok(())
    }

    /// A child that gathers tuples until a tick gets a last one, so that it need not hold them for ever.
    fn finish(&mut self, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let has_ticks = self.running.as_ref().is_some_and(|running| running.tick_period.is_some());
        if has_ticks { self.tick(out) } else { Ok(()) }
    }

    fn cleanup(&mut self) {
        self.running = None;
    }
}

/// Also when the engine gives a broken instance up.
impl Drop for Running {
    fn drop(&mut self) {
        self.link.stop();
        self.pace.nudge();
        let failure = self.link.failure();
        let message = failure.as_ref().map_or("its child process was stopped", Failure::message);
        self.open.close(message, false);
        fail_waiting(&self.queue, message);
    }
}

/// Fails what has not been written. Both the keeper and the bolt do: either may be the last to look.
fn fail_waiting(queue: &Queue, message: &str) {
    queue.items.try_iter().for_each(|item| item.fail(message));
}

/// What the thread that reads from the child needs.
struct Conversation {
    emitter: Emitter,
    door: Door<Many<StormTuple>>,
    open: Arc<OpenTuples>,
    ticks: Arc<AtomicU64>,
    link: Arc<Link>,
    spec: Arc<ShellSpec>,
    pace: Arc<Pace>,
}

/// What is wrong with a message of a child.
struct Wrong {
    what: String,
    /// It names a tuple that the child has not got: what it has got has no part in it.
    is_unknown: bool,
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Wrong { what, is_unknown: false }
    }
}

/// An id of a tuple that the child has not got.
fn unknown(what: impl std::fmt::Display) -> Wrong {
    Wrong { what: format!("unknown {what}: never sent, or settled before"), is_unknown: true }
}

/// Where replies go, and the bound on them.
struct Replies {
    owed: Owed,
    replies: Sender<Vec<u32>>,
}

impl Conversation {
    fn run(
        self,
        pipes: Pipes,
        queue: Arc<Queue>,
        heartbeats: Receiver<()>,
        nudges: Receiver<()>,
    ) -> Result<(), Ending> {
        let Pipes { stdin, mut incoming } = pipes;
        let (owed, paying) = owed(self.spec.unread_max_bytes);
        // Bounded by what may be owed.
        let (reply, replies) = unbounded();
        let (serializer, open, link) = (self.spec.serializer, self.open.clone(), self.link.clone());
        let (pace, beats, last) = (self.pace.clone(), 0, None);
        let writer =
            Writer { stdin, serializer, queue, replies, paying, heartbeats, open, link, pace, nudges, beats, last };
        thread::spawn_helper("squall-shell-in", move || writer.run())?;
        let owed = Replies { owed, replies: reply };
        loop {
            let message = incoming.next()?;
            self.link.signs.note();
            if self.link.is_stopping() {
                continue;
            }
            let decoded = decode(message, serializer)?;
            match self.take(decoded, &owed) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(wrong) => {
                    let bad = BadOutput::new(wrong.what, message);
                    return Err(if wrong.is_unknown { Ending::Unknown(bad) } else { Ending::Bad(bad) });
                }
            }
        }
    }

    /// False if nobody listens any more; an error tells what is wrong with the message.
    fn take(&self, message: FromChild, owed: &Replies) -> Result<bool, Wrong> {
        let origin = self.link.reporter.origin();
        if matches!(message, FromChild::Emit(_) | FromChild::Ack(_) | FromChild::Fail(_) | FromChild::Sync) {
            self.link.comes_to(Stage::Works);
        }
        match message {
            FromChild::Emit(emit) => return self.emit(emit, owed),
            FromChild::Ack(id) => {
                if let Some(anchor) = self.settle(&id)? {
                    anchor.ack();
                    self.link.reporter.progress();
                    self.pace.settled();
                }
            }
            FromChild::Fail(id) => {
                if let Some(anchor) = self.settle(&id)? {
                    let error = self.link.take_error();
                    anchor.fail(Failure::retry(match error.as_deref().and_then(last_line) {
                        Some(error) => format!("failed by its child process: {error}").into(),
                        None => Cow::from("failed by its child process"),
                    }));
                    self.link.reporter.progress();
                    self.pace.settled();
                }
            }
            FromChild::Error(message) => self.link.reported(message),
            FromChild::Log { message, level } => log(origin, &message, level),
            FromChild::Metrics { name, params } => tracing::info!(task = %origin, metric = name, params, "metrics"),
            FromChild::Sync => self.pace.synced(),
            FromChild::Pid(_) => return Err("a process id after the greeting".to_owned().into()),
        }
        Ok(true)
    }

    /// The tuple an id stands for; none for a tick.
    fn settle(&self, id: &Value) -> Result<Option<Anchor>, Wrong> {
        let unknown = || unknown(format_args!("tuple id {id}"));
        let id_of = |id: String| self.id_of(&id);
        match tuple_id(id).and_then(id_of).ok_or_else(unknown)? {
            None => Ok(None),
            Some(id) => self.open.settle(id).map(Some).ok_or_else(unknown),
        }
    }

    /// Number of a tuple; the inner none for ticks and heartbeats, which have nothing to settle.
    fn id_of(&self, id: &str) -> Option<Option<u64>> {
        match id.strip_prefix('-') {
            Some(tick) => (tick.parse::<u64>().ok()? <= self.ticks.load(Ordering::Relaxed)).then_some(None),
            None if id == "0" => Some(None),
            None => id.parse().ok().map(Some),
        }
    }

    fn emit(&self, emit: Emit, owed: &Replies) -> Result<bool, Wrong> {
        let Emit { stream, values, anchors, to, need_task_ids, .. } = emit;
        let (port, value) = tuple(&self.emitter, &self.spec, &stream, values)?;
        let mut ids = Vec::with_capacity(anchors.len());
        for anchor in &anchors {
            ids.extend(self.id_of(anchor).ok_or_else(|| unknown(format_args!("anchor `{anchor}`")))?);
        }
        let mut told: Option<Told> = None;
        if need_task_ids && to.is_none() {
            // Waits while too many are owed. Fails if the writer is gone, and with it the child.
            if !owed.owed.add(&self.link.signs) {
                return Ok(false);
            }
            let replies = owed.replies.clone();
            // It fails if the writer is gone.
            told = Some(Box::new(move |tasks: &[TaskId]| {
                let _ = replies.send(tasks.iter().map(|task| task.0).collect());
            }));
        }
        let emission = ManyEmission { port, value, to, told };
        let emitted = match ids.is_empty() {
            true => self.door.emit(emission),
            false => {
                // Delivered without the lock: whoever empties the door may be waiting for it. A closed door has no
                // open tuples behind it.
                let drawn = self.open.under(&ids, |under| Door::<Many<StormTuple>>::anchored(under, emission));
                let drawn = drawn.map_err(|id| unknown(format_args!("anchor {id}")))?;
                self.door.deliver(drawn)
            }
        };
        // After the end of the bolt's output an emit goes nowhere.
        if let Err(DoorError::Closed(ManyEmission { told: Some(told), .. })) = emitted {
            told(&[]);
        }
        Ok(true)
    }
}

/// The port of a stream and a tuple for it.
pub(super) fn tuple(
    emitter: &Emitter,
    spec: &ShellSpec,
    stream: &str,
    values: Vec<Value>,
) -> Result<(usize, StormTuple), String> {
    let port = emitter.port(stream).map_err(|failure| failure.message().to_owned())?;
    let (has, wants) = (values.len(), spec.streams[port].1.len());
    if has != wants {
        return Err(format!("{has} values for stream `{stream}`, which has {wants} fields"));
    }
    Ok((port, emitter.tuple(port, values)))
}

/// Puts a child's line into the log, at its level.
pub(super) fn log(origin: &crate::error::Origin, message: &str, level: i64) {
    match level {
        ..=0 => tracing::trace!(task = %origin, "{message}"),
        1 => tracing::debug!(task = %origin, "{message}"),
        2 => tracing::info!(task = %origin, "{message}"),
        3 => tracing::warn!(task = %origin, "{message}"),
        4.. => tracing::error!(task = %origin, "{message}"),
    }
}
