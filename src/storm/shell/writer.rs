//! The thread that writes to a bolt's child.

use std::io::Write;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, never, select_biased};

use super::framing::{BadOutput, Serializer};
use super::keeper::{Event, Link};
use super::launch::Ending;
use super::open::{OPEN_MAX, OpenTuples};
use super::owed::Paying;
use super::protocol::{Delivered, HEARTBEAT_STREAM, encode};
use super::suspects::Suspects;
use super::value::WrittenAll;
use crate::error::Failure;
use crate::storm::native::emits::rate_secs;
use crate::storm::tuple::{SYSTEM_COMPONENT, StormTuple, TICK_STREAM};
use crate::sys::child::Input;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Ordering, fence};
use crate::task::held::Anchor;

/// Bytes gathered for one write.
const GATHER_BYTES: usize = 32 << 10;

/// What waits to be written to a bolt's child.
pub(super) enum Item {
    Tuple { id: u64, value: StormTuple, anchor: Anchor },
    Tick { number: u64, period: Duration },
}

impl Item {
    /// Fails a tuple that the child never had.
    pub fn fail(self, message: &str) {
        if let Item::Tuple { anchor, .. } = self {
            anchor.fail(Failure::collateral(message.to_owned()));
        }
    }
}

/// What the executor puts in and the writer takes out.
pub(super) struct Queue {
    pub items: Receiver<Item>,
    /// The executor has found the queue full and wants to be woken.
    pub is_waited_for: AtomicBool,
}

impl Queue {
    /// For the executor: true if there is room for another tuple. If not, it is woken when there is.
    #[inline]
    pub fn has_room(&self, capacity: usize) -> bool {
        if self.items.len() < capacity {
            return true;
        }
        self.is_waited_for.store(true, Ordering::Relaxed);
        // Either this sees what the writer has taken, or the writer sees that it is waited for.
        fence(Ordering::SeqCst);
        self.items.len() < capacity
    }

    /// For the writer: it has taken something.
    fn taken(&self, link: &Link) {
        fence(Ordering::SeqCst);
        if self.is_waited_for.load(Ordering::Relaxed) && self.is_waited_for.swap(false, Ordering::Relaxed) {
            link.waker.wake();
        }
    }
}

pub(super) struct Writer {
    pub stdin: Input,
    pub serializer: Serializer,
    pub queue: Arc<Queue>,
    /// Task numbers of emits, in the order of the emits. They come before tuples.
    pub replies: Receiver<Vec<u32>>,
    pub paying: Paying,
    pub heartbeats: Receiver<()>,
    pub open: Arc<OpenTuples>,
    pub link: Arc<Link>,
    pub pace: Arc<Pace>,
    pub nudges: Receiver<()>,
    /// Heartbeats written so far.
    pub beats: u64,
    pub last: Option<Last>,
}

/// The last tuple that was handed over alone.
pub(super) struct Last {
    /// The heartbeat behind it.
    beat: u64,
    /// Times that a heartbeat was due since.
    periods: u32,
}

/// What the reader tells the writer of a child that gets one tuple at a time.
pub(super) struct Pace {
    pub suspects: Arc<Suspects>,
    /// Heartbeats that the child has answered.
    syncs: AtomicU64,
    nudge: Sender<()>,
}

impl Pace {
    /// With the receiver for the writer.
    pub fn new(suspects: Arc<Suspects>) -> (Arc<Self>, Receiver<()>) {
        let (nudge, nudges) = bounded(1);
        (Arc::new(Pace { suspects, syncs: AtomicU64::new(0), nudge }), nudges)
    }

    /// The child has acked or failed a tuple.
    #[inline]
    pub fn settled(&self) {
        let was_alone = self.suspects.is_alone();
        self.suspects.settled();
        if was_alone {
            self.nudge();
        }
    }

    /// The child has answered a heartbeat.
    pub fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Release);
        self.nudge();
    }

    /// Has the writer look again.
    pub fn nudge(&self) {
        // One that is not taken yet says the same.
        let _ = self.nudge.try_send(());
    }
}

/// Periods after which a child that gets one tuple at a time, lives and does not settle it gets another: it may gather.
const PATIENCE_PERIODS: u32 = 2;

impl Writer {
    /// Writes until the child does not take it, or nobody can have anything to write any more. Dropping the pipe then
    /// tells the child.
    pub fn run(mut self) {
        let mut buffer = Vec::with_capacity(GATHER_BYTES);
        // Its answer tells that the child is prepared.
        self.heartbeat(&mut buffer);
        loop {
            while buffer.len() < GATHER_BYTES && self.gather(&mut buffer) {}
            self.queue.taken(&self.link);
            self.link.signs.writes();
            if self.stdin.write_all(&buffer).is_err() {
                return self.link.tell(Event::Over(Ending::InputClosed));
            }
            self.link.signs.wrote(buffer.len());
            buffer.clear();
            if !self.wait(&mut buffer) {
                return;
            }
        }
    }

    /// Waits for something to write. False if nothing will come.
    fn wait(&mut self, buffer: &mut Vec<u8>) -> bool {
        while buffer.is_empty() {
            let items = if self.may_take() { &self.queue.items } else { &never() };
            let goes_on = select_biased! {
                recv(self.heartbeats) -> beat => beat.map(|()| self.beat(buffer)).is_ok(),
                recv(self.replies) -> reply => reply.map(|tasks| self.reply(&tasks, buffer)).is_ok(),
                recv(self.nudges) -> nudge => nudge.is_ok() && !self.link.is_stopping(),
                recv(items) -> item => item.map(|item| self.item(item, buffer)).is_ok(),
            };
            if !goes_on {
                return false;
            }
        }
        true
    }

    /// Something that need not be waited for. False if there is nothing.
    fn gather(&mut self, buffer: &mut Vec<u8>) -> bool {
        if let Ok(tasks) = self.replies.try_recv() {
            self.reply(&tasks, buffer);
            return true;
        }
        self.may_take() && self.queue.items.try_recv().map(|item| self.item(item, buffer)).is_ok()
    }

    /// True if the child may get another tuple. One that gets them one at a time has settled the last one and answered
    /// the heartbeat behind it, so that nothing of what it does can still be that tuple's.
    fn may_take(&self) -> bool {
        if !self.pace.suspects.is_alone() {
            return true;
        }
        let Some(last) = &self.last else { return self.open.is_empty() };
        let syncs = self.pace.syncs.load(Ordering::Acquire);
        let (is_settled, is_synced) = (self.open.is_empty(), syncs >= last.beat);
        let has_waited = last.periods >= PATIENCE_PERIODS;
        (is_settled && is_synced) || (has_waited && (is_settled || is_synced || syncs == 0))
    }

    /// A heartbeat is due.
    fn beat(&mut self, buffer: &mut Vec<u8>) {
        if let Some(last) = &mut self.last {
            last.periods = last.periods.saturating_add(1);
        }
        self.heartbeat(buffer);
    }

    fn heartbeat(&mut self, buffer: &mut Vec<u8>) {
        self.beats += 1;
        let tuple = WrittenAll(&[]);
        let beat = Delivered { id: "0", comp: None, stream: HEARTBEAT_STREAM, task: -1, tuple };
        encode(&beat, self.serializer, buffer);
    }

    fn reply(&self, tasks: &[u32], buffer: &mut Vec<u8>) {
        encode(&tasks, self.serializer, buffer);
        self.paying.pay();
    }

    fn item(&mut self, item: Item, buffer: &mut Vec<u8>) {
        match item {
            Item::Tuple { id, value, anchor } => {
                // Before it is written: the answer may be quick.
                if !self.open.open(id, anchor) {
                    let what = format!("it holds more than {OPEN_MAX} tuples that it neither acks nor fails");
                    self.link.tell(Event::Over(Ending::Bad(BadOutput::new(what, b"the bolt has to settle each"))));
                }
                let (source, id) = (value.source(), id.to_string());
                let (comp, stream) = (Some(&*source.component), &*source.stream);
                let tuple = WrittenAll(value.values());
                let delivered = Delivered { id: &id, comp, stream, task: value.task(), tuple };
                encode(&delivered, self.serializer, buffer);
                if self.pace.suspects.is_alone() {
                    self.heartbeat(buffer);
                    self.last = Some(Last { beat: self.beats, periods: 0 });
                }
            }
            Item::Tick { number, period } => {
                let (values, id) = ([rate_secs(period)], format!("-{number}"));
                let tuple = WrittenAll(&values);
                let comp = Some(SYSTEM_COMPONENT);
                let tick = Delivered { id: &id, comp, stream: TICK_STREAM, task: -1, tuple };
                encode(&tick, self.serializer, buffer);
            }
        }
    }
}
