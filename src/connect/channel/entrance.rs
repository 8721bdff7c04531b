//! Into a topology: a sender for any thread, and the source it feeds.

use std::fmt;
use std::future::{Future, poll_fn};
use std::task::Waker;

use crossbeam::queue::ArrayQueue;

use crate::error::Failure;
use crate::sys::sync::{Arc, AtomicUsize, Ordering};
use crate::task::component::{Outcome, Polled, Position, Source};
use crate::task::context::SpoutContext;
use crate::task::payload::Payload;

use super::waiting::{Member, Presence, Waiters, block_on, poll_with, task_waker};

/// The value that a channel did not take, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The channel is full; try again.
    Full(T),
    /// Nobody will ever take it: the topology has stopped.
    Closed(T),
}

impl<T> SendError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Full(value) | SendError::Closed(value) => value,
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "the channel is full",
            SendError::Closed(_) => "the channel is closed",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}

struct Shared<T> {
    queue: ArrayQueue<T>,
    /// Senders wait for room, tasks for values.
    room: Waiters,
    values: Waiters,
    /// Handles of each kind that exist.
    senders: AtomicUsize,
    spouts: AtomicUsize,
    presence: Presence,
}

impl<T> Shared<T> {
    fn is_closed(&self) -> bool {
        self.spouts.load(Ordering::Acquire) == 0 || self.presence.is_over()
    }
}

/// A channel into a topology: values sent are emitted by the spout.
///
/// At most `capacity` values wait. When all senders are dropped and everything has been emitted, the spout is finished
/// and the topology drains.
///
/// # Panics
/// If the capacity is 0.
///
/// # Examples
///
/// ```
/// use squall::{Outlet, TopologyBuilder, connect::{channel, collector}};
///
/// let (sender, source) = channel::<u32>(2);
/// let (sink, receiver) = collector::<u32>(2);
/// let mut t = TopologyBuilder::new("squares");
/// let numbers = t.source("numbers", move || source.clone());
/// let squares = t.bolt("square", |n: u32, out: &mut Outlet<u32>| out.emit(n * n)).shuffle(&numbers);
/// t.bolt("out", move || sink.clone()).global(&squares);
/// let running = t.build()?.start()?;
///
/// sender.send(7).unwrap(); // waits for room; `send_async` does so without blocking
/// assert_eq!(receiver.recv(), Some(49));
/// drop(sender); // ends the topology
/// running.wait()?;
/// # Ok::<(), squall::Error>(())
/// ```
pub fn channel<T: Payload>(capacity: usize) -> (Sender<T>, ChannelSpout<T>) {
    assert!(capacity > 0, "a channel without room would never pass anything");
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        room: Waiters::default(),
        values: Waiters::default(),
        senders: AtomicUsize::new(1),
        spouts: AtomicUsize::new(1),
        presence: Presence::default(),
    });
    (Sender { shared: shared.clone() }, ChannelSpout { shared, opened: None, taken: 0 })
}

/// The sending end of [`channel`]: clone it for every thread that sends.
///
/// Lock-free while there is room and nobody waits. A value that was accepted is emitted unless the topology stops
/// first.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Release: whoever sees the last one go sees everything that was sent.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.values.notify();
        }
    }
}

impl<T: Payload> Sender<T> {
    /// Sends, or gives the value back at once.
    ///
    /// # Errors
    /// When the channel is full, or the topology has stopped.
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        if self.shared.is_closed() {
            return Err(SendError::Closed(value));
        }
        self.shared.queue.push(value).map_err(SendError::Full)?;
        self.shared.values.notify();
        Ok(())
    }

    /// Sends; the thread sleeps while the channel is full. Never call it from a spout or bolt method: it would hold up
    /// the executor that makes room.
    ///
    /// # Errors
    /// Gives the value back when the topology has stopped.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        block_on(self.send_async(value))
    }

    /// Sends; the future is ready when there was room. Dropped before, it has sent nothing. Needs no particular
    /// runtime.
    ///
    /// # Errors
    /// Gives the value back when the topology has stopped.
    pub fn send_async(&self, value: T) -> impl Future<Output = Result<(), SendError<T>>> + Send + use<'_, T> {
        let mut value = Some(value);
        poll_fn(move |ctx| {
            poll_with(&self.shared.room, ctx, || match self.try_send(value.take()?) {
                Err(SendError::Full(back)) => {
                    value = Some(back);
                    None
                }
                result => Some(result),
            })
        })
    }
}

/// The source at the topology's end of [`channel`]. Give it to `TopologyBuilder::source`.
///
/// It cannot be resumed: values live in this process only. Clones share the channel, so several tasks take turns at it,
/// each value going to one of them.
pub struct ChannelSpout<T> {
    shared: Arc<Shared<T>>,
    opened: Option<Opened>,
    taken: u64,
}

struct Opened {
    task: Member,
    waker: Waker,
}

impl<T> Clone for ChannelSpout<T> {
    fn clone(&self) -> Self {
        self.shared.spouts.fetch_add(1, Ordering::Relaxed);
        ChannelSpout { shared: self.shared.clone(), opened: None, taken: 0 }
    }
}

impl<T> Drop for ChannelSpout<T> {
    fn drop(&mut self) {
        if self.shared.spouts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.room.notify();
        }
    }
}

impl<T: Payload> ChannelSpout<T> {
    fn take(&mut self) -> Option<Polled<T>> {
        let value = self.shared.queue.pop()?;
        self.shared.room.notify();
        self.taken += 1;
        Some(Polled::Item { value, split: 0, position: Position(self.taken - 1) })
    }

    /// What there is to find: a value, or, once no sender is left, the end.
    fn find(&mut self) -> Option<Polled<T>> {
        self.take().or_else(|| {
            // Looked at before the queue is searched once more: what the last sender sent was sent before it went.
            let no_senders = self.shared.senders.load(Ordering::Acquire) == 0;
            if no_senders { Some(self.take().unwrap_or(Polled::Finished)) } else { None }
        })
    }
}

impl<T: Payload> Source for ChannelSpout<T> {
    type Item = T;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        let task = Member::from(ctx.info());
        self.shared.presence.enter(task.clone());
        self.opened = Some(Opened { task, waker: task_waker(ctx.waker()) });
        Ok(())
    }

    fn poll(&mut self) -> Result<Polled<T>, Failure> {
        if let Some(found) = self.find() {
            return Ok(found);
        }
        if let Some(opened) = &self.opened {
            self.shared.values.register(&opened.waker);
        }
        Ok(self.find().unwrap_or(Polled::Idle))
    }

    fn close(&mut self) {
        if let Some(opened) = self.opened.take() {
            self.shared.presence.leave(&opened.task);
            self.shared.room.notify();
        }
    }
}
