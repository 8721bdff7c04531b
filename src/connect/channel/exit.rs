//! Out of a topology: a sink, and the receiver it feeds.

use std::fmt;
use std::future::{Future, poll_fn};

use crossbeam::queue::SegQueue;

use crate::error::Failure;
use crate::sys::sync::{Arc, AtomicBool, AtomicUsize, Ordering};
use crate::task::component::{ManualBolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::held::{Anchor, Tuple};
use crate::task::held_state::Held;
use crate::task::outlet::Outlet;
use crate::task::payload::{Nothing, Payload};

use super::waiting::{Member, Presence, Waiters, block_on, poll_with};

/// Why [`Receiver::try_recv`] has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing now.
    Empty,
    /// Nothing ever again: the topology has ended.
    Ended,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "nothing has arrived yet",
            TryRecvError::Ended => "the topology has ended",
        })
    }
}

impl std::error::Error for TryRecvError {}

struct Shared<T> {
    /// Up to `capacity` values that are acked already; further ones with the anchor that the receiver acks.
    queue: SegQueue<(T, Option<Anchor>)>,
    capacity: usize,
    values: Waiters,
    sinks: AtomicUsize,
    presence: Presence,
    is_receiver_gone: AtomicBool,
}

/// A channel out of a topology: the sink's inputs arrive at the receiver.
///
/// An input is acked as soon as it is queued, for up to `capacity` values. While more than that wait, an input stays
/// open: it is acked when the receiver takes it, and so the spouts, by `max_spout_pending`, keep back what the receiver
/// is too slow for. Nothing ever blocks the executor. With tracking off there is no such hold on the spouts: a value
/// that finds the channel full is then lost, and counted as failed by the sink; give the channel room for everything,
/// or use `at_least_once`.
///
/// As with every at-least-once sink a value may arrive more than once.
///
/// # Panics
/// If the capacity is 0.
///
/// # Examples
///
/// ```
/// use squall::connect::{TryRecvError, collector};
///
/// let (sink, receiver) = collector::<String>(1_024);
/// let bolt = move || sink.clone();
/// # let _ = bolt();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty)); // the topology has not started
/// ```
pub fn collector<T: Payload>(capacity: usize) -> (ChannelSink<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel without room would never pass anything");
    let shared = Arc::new(Shared {
        queue: SegQueue::new(),
        capacity,
        values: Waiters::default(),
        sinks: AtomicUsize::new(1),
        presence: Presence::default(),
        is_receiver_gone: AtomicBool::new(false),
    });
    (ChannelSink { shared: shared.clone(), task: None }, Receiver { shared })
}

/// The sink at the topology's end of [`collector`]. Clones share the channel.
pub struct ChannelSink<T> {
    shared: Arc<Shared<T>>,
    task: Option<Member>,
}

impl<T> Clone for ChannelSink<T> {
    fn clone(&self) -> Self {
        self.shared.sinks.fetch_add(1, Ordering::Relaxed);
        ChannelSink { shared: self.shared.clone(), task: None }
    }
}

impl<T> Drop for ChannelSink<T> {
    fn drop(&mut self) {
        if self.shared.sinks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.values.notify();
        }
    }
}

impl<T: Payload> ChannelSink<T> {
    /// Queues a value and acks it, or leaves that to the receiver.
    fn deliver(&self, value: T, anchor: Anchor) {
        if self.shared.is_receiver_gone.load(Ordering::Acquire) {
            anchor.fail(Failure::reject("the receiver of the channel is gone"));
            return;
        }
        let anchor = if self.shared.queue.len() < self.shared.capacity {
            anchor.ack();
            None
        } else if anchor.as_held().is_some() {
            Some(anchor)
        } else {
            anchor.fail(Failure::retry("the channel is full, and with tracking off nothing holds the spouts back"));
            return;
        };
        self.shared.queue.push((value, anchor));
        self.shared.values.notify();
    }
}

impl<T: Payload> ManualBolt for ChannelSink<T> {
    type In = T;
    type Out = Nothing;
    /// The receiver settles them, whatever else comes.
    const HELD: Option<Held<T>> = Some(Held::Drain);

    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.enter(ctx.info().into());
        Ok(())
    }

    fn execute(&mut self, tuple: Tuple<T>, _out: &mut Outlet<Nothing>) -> Outcome {
        let (value, anchor) = tuple.split();
        self.deliver(value, anchor);
        Ok(())
    }

    fn cleanup(&mut self) {
        self.leave();
    }
}

impl<T> ChannelSink<T> {
    fn enter(&mut self, task: Member) {
        self.shared.presence.enter(task.clone());
        self.task = Some(task);
    }

    fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            self.shared.presence.leave(&task);
            self.shared.values.notify();
        }
    }
}

/// The receiving end of [`collector`]; also an iterator that waits for each value and ends with the topology.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Payload> Receiver<T> {
    /// A value that has arrived.
    ///
    /// # Errors
    /// When there is none now, or never will be.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        if let Some(value) = self.take() {
            return Ok(value);
        }
        // Looked at before the queue is searched once more: the last sink queued everything before it went.
        let is_ended = self.shared.presence.is_over() || self.shared.sinks.load(Ordering::Acquire) == 0;
        if is_ended { self.take().ok_or(TryRecvError::Ended) } else { Err(TryRecvError::Empty) }
    }

    /// The next value; the thread sleeps until it arrives. `None`: the topology has ended and everything was taken.
    /// Never call it from a spout or bolt method.
    pub fn recv(&self) -> Option<T> {
        block_on(self.recv_async())
    }

    /// The next value, as [`recv`](Self::recv). Dropped before it is ready, it has taken nothing. Needs no particular
    /// runtime.
    pub fn recv_async(&self) -> impl Future<Output = Option<T>> + Send + use<'_, T> {
        poll_fn(|ctx| {
            poll_with(&self.shared.values, ctx, || match self.try_recv() {
                Ok(value) => Some(Some(value)),
                Err(TryRecvError::Ended) => Some(None),
                Err(TryRecvError::Empty) => None,
            })
        })
    }

    fn take(&self) -> Option<T> {
        let (value, anchor) = self.shared.queue.pop()?;
        if let Some(anchor) = anchor {
            anchor.ack();
        }
        Some(value)
    }
}

impl<T: Payload> Iterator for Receiver<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.recv()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.is_receiver_gone.store(true, Ordering::Release);
        // Handles of values nobody will take: dropping them fails their trees now instead of at their deadline.
        while self.shared.queue.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread;
    use crate::task::context::SpoutContext;
    use crate::task::header::{Root, Roots};
    use crate::task::held::{HeldEvent, HeldTable};
    use crate::task::waker::Waker;

    fn member(index: usize) -> Member {
        let mut info = SpoutContext::detached().info;
        info.index = index;
        (&info).into()
    }

    /// A sink with a table for its handles, as its task has one.
    struct Bench {
        sink: ChannelSink<u32>,
        table: HeldTable,
    }

    impl Bench {
        fn new(capacity: usize) -> (Bench, Receiver<u32>) {
            let (mut sink, receiver) = collector(capacity);
            sink.enter(member(0));
            (Bench { sink, table: HeldTable::new(Waker::disconnected(), 1, false) }, receiver)
        }

        fn deliver(&mut self, value: u32, roots: Roots) {
            let anchor = self.table.hold(roots, crate::task::lineage::Lineage::NONE, None);
            self.sink.deliver(value, anchor);
        }

        fn tracked(&mut self, value: u32) {
            self.deliver(value, Roots::One(Root::new(0, value, 1), 77));
        }

        /// How many handles were acked, failed with a reject, and failed otherwise.
        fn events(&mut self) -> (usize, usize, usize) {
            let mut counts = (0, 0, 0);
            self.table.take_events(|event| match event {
                HeldEvent::Acked { .. } => counts.0 += 1,
                HeldEvent::Failed { failure, .. } if failure.is_reject() => counts.1 += 1,
                HeldEvent::Failed { .. } => counts.2 += 1,
                HeldEvent::Reset { .. } => {}
            });
            counts
        }
    }

    #[test]
    fn beyond_the_capacity_inputs_are_acked_when_the_receiver_takes_them() {
        let (mut bench, receiver) = Bench::new(2);
        (0..5).for_each(|value| bench.tracked(value));
        assert_eq!(bench.events(), (2, 0, 0));
        assert_eq!([receiver.recv(), receiver.recv()], [Some(0), Some(1)]);
        assert_eq!(bench.events(), (0, 0, 0));
        assert_eq!(receiver.recv(), Some(2));
        assert_eq!(bench.events(), (1, 0, 0));
        assert_eq!([receiver.recv(), receiver.recv()], [Some(3), Some(4)]);
        assert_eq!(bench.events(), (2, 0, 0));
    }

    #[test]
    fn without_tracking_what_finds_the_channel_full_is_failed() {
        let (mut bench, receiver) = Bench::new(2);
        (0..3).for_each(|value| bench.deliver(value, Roots::None));
        assert_eq!(bench.events(), (2, 0, 1));
        assert_eq!([receiver.try_recv(), receiver.try_recv()], [Ok(0), Ok(1)]);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn without_a_receiver_inputs_are_rejected_and_held_ones_failed() {
        let (mut bench, receiver) = Bench::new(1);
        (0..2).for_each(|value| bench.tracked(value));
        drop(receiver);
        bench.tracked(2);
        assert_eq!(bench.events(), (1, 1, 1));
    }

    #[test]
    fn after_the_last_task_has_cleaned_up_the_receiver_takes_the_rest_and_ends() {
        let (mut bench, receiver) = Bench::new(8);
        let mut other = bench.sink.clone();
        other.enter(member(1));
        bench.tracked(1);
        bench.sink.leave();
        bench.tracked(2);
        other.leave();
        assert_eq!(receiver.collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_rebuilt_task_does_not_end_the_stream() {
        let (bench, receiver) = Bench::new(8);
        let factory = bench.sink.clone();
        drop(bench);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        drop(factory);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Ended));
    }

    #[test]
    fn a_waiting_receiver_is_woken_for_each_value_and_for_the_end() {
        let (mut bench, receiver) = Bench::new(4);
        let receiving = thread::spawn_named("recv-test", move || receiver.collect::<Vec<_>>()).unwrap();
        (0..10_000).for_each(|value| bench.tracked(value));
        bench.sink.leave();
        assert_eq!(receiving.join().unwrap(), (0..10_000).collect::<Vec<_>>());
    }
}
