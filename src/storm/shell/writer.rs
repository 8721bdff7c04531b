//! The thread that writes to a bolt's child.

use std::io::Write;
use std::process::ChildStdin;
use std::time::Duration;

use crossbeam::channel::{Receiver, select_biased};

use super::framing::{BadOutput, Serializer};
use super::keeper::{Event, Link};
use super::launch::Ending;
use super::open::{OPEN_MAX, OpenTuples};
use super::protocol::{Delivered, HEARTBEAT_STREAM, encode};
use super::value::WrittenAll;
use crate::storm::native::emits::rate_secs;
use crate::storm::tuple::{SYSTEM_COMPONENT, StormTuple, TICK_STREAM};
use crate::sys::sync::{Arc, AtomicBool, Ordering, fence};
use crate::task::held::Anchor;

/// Bytes gathered for one write.
const GATHER_BYTES: usize = 32 << 10;

/// What waits to be written to a bolt's child.
pub(super) enum Item {
    Tuple { id: u64, value: StormTuple, anchor: Anchor },
    Tick { number: u64, period: Duration },
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
    pub stdin: ChildStdin,
    pub serializer: Serializer,
    pub queue: Arc<Queue>,
    /// Task numbers of emits, in the order of the emits. They come before tuples.
    pub replies: Receiver<Vec<u32>>,
    /// One for each reply that is asked for; taken out when it is written.
    pub asked: Receiver<()>,
    pub heartbeats: Receiver<()>,
    pub open: Arc<OpenTuples>,
    pub link: Arc<Link>,
}

impl Writer {
    /// Writes until the child does not take it, or nobody can have anything to write any more. Dropping the pipe then
    /// tells the child.
    pub fn run(mut self) {
        let mut buffer = Vec::with_capacity(GATHER_BYTES);
        while self.wait(&mut buffer) {
            while buffer.len() < GATHER_BYTES && self.gather(&mut buffer) {}
            self.queue.taken(&self.link);
            if self.stdin.write_all(&buffer).is_err() {
                return;
            }
            self.link.signs.wrote(buffer.len());
            buffer.clear();
        }
    }

    /// Waits for something to write. False if nothing will come.
    fn wait(&mut self, buffer: &mut Vec<u8>) -> bool {
        select_biased! {
            recv(self.heartbeats) -> beat => beat.map(|()| self.heartbeat(buffer)).is_ok(),
            recv(self.replies) -> reply => reply.map(|tasks| self.reply(&tasks, buffer)).is_ok(),
            recv(self.queue.items) -> item => item.map(|item| self.item(item, buffer)).is_ok(),
        }
    }

    /// Something that need not be waited for. False if there is nothing.
    fn gather(&mut self, buffer: &mut Vec<u8>) -> bool {
        if let Ok(tasks) = self.replies.try_recv() {
            self.reply(&tasks, buffer);
            return true;
        }
        self.queue.items.try_recv().map(|item| self.item(item, buffer)).is_ok()
    }

    fn heartbeat(&self, buffer: &mut Vec<u8>) {
        let tuple = WrittenAll(&[]);
        let beat = Delivered { id: "0", comp: None, stream: HEARTBEAT_STREAM, task: -1, tuple };
        encode(&beat, self.serializer, buffer);
    }

    fn reply(&self, tasks: &[u32], buffer: &mut Vec<u8>) {
        encode(&tasks, self.serializer, buffer);
        let _ = self.asked.try_recv();
    }

    fn item(&self, item: Item, buffer: &mut Vec<u8>) {
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
