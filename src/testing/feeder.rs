//! The two ends of a topology under test: a spout that is fed by hand, and a sink that remembers.

use std::collections::VecDeque;

use crate::error::Failure;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::task::component::{Bolt, Next, Outcome, Spout};
use crate::task::context::SpoutContext;
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::payload::{Nothing, Payload};
use crate::task::waker::Waker;
use crate::topology::builder::TopologyBuilder;
use crate::topology::stream::Stream;

/// Feeds a topology under test by hand, and tells how the trees of what was fed ended. Clones share everything.
pub struct Feeder<T>(Arc<Mutex<Fed<T>>>);

struct Fed<T> {
    /// What has not been emitted yet: tracked under an id, or untracked.
    queue: VecDeque<(Option<u64>, T)>,
    finished: bool,
    /// Of every task that has been opened.
    wakers: Vec<Waker>,
    acked: Vec<u64>,
    failed: Vec<(u64, Failure)>,
}

impl<T> Clone for Feeder<T> {
    fn clone(&self) -> Self {
        Feeder(self.0.clone())
    }
}

/// A feeder and the factory of the spout that emits what it is fed.
///
/// # Examples
///
/// ```
/// use squall::testing::{TestDriver, capture, feeder};
/// use squall::{Outlet, TopologyBuilder};
///
/// # fn main() -> squall::Result<()> {
/// let (feeder, spout) = feeder();
/// let mut t = TopologyBuilder::new("doubling");
/// let numbers = t.spout("numbers", spout);
/// let doubled = t.bolt("double", |n: u32, out: &mut Outlet<u32>| out.emit(2 * n)).shuffle(&numbers);
/// let captured = capture(&mut t, &doubled);
/// let mut driver = TestDriver::start(t.build()?)?;
///
/// feeder.feed(7, 21);
/// driver.run_until_idle()?;
/// assert_eq!(captured.take(), [42]);
/// assert_eq!(feeder.acked(), [7]);
/// # Ok(())
/// # }
/// ```
pub fn feeder<T: Payload>() -> (Feeder<T>, impl Fn() -> FeederSpout<T> + Clone + Send + Sync + 'static) {
    let feeder = Feeder(Arc::new(Mutex::new(Fed {
        queue: VecDeque::new(),
        finished: false,
        wakers: Vec::new(),
        acked: Vec::new(),
        failed: Vec::new(),
    })));
    let shared = feeder.clone();
    (feeder, move || FeederSpout(shared.clone()))
}

impl<T> Feeder<T> {
    /// Has the value emitted as the root of a tree, under an id.
    pub fn feed(&self, id: u64, value: T) {
        self.put(Some(id), value);
    }

    /// Has the value emitted untracked.
    pub fn feed_untracked(&self, value: T) {
        self.put(None, value);
    }

    /// Nothing will be fed any more: the spout finishes when everything has been emitted.
    pub fn finish(&self) {
        self.change(|fed| fed.finished = true);
    }

    /// Ids of the trees that have completed, in that order.
    pub fn acked(&self) -> Vec<u64> {
        self.lock().acked.clone()
    }

    /// Ids of the trees that have failed, in that order.
    pub fn failed(&self) -> Vec<u64> {
        self.lock().failed.iter().map(|(id, _)| *id).collect()
    }

    /// As [`failed`](Self::failed), each with its reason.
    pub fn failures(&self) -> Vec<(u64, Failure)> {
        self.lock().failed.clone()
    }

    /// Values that have not been emitted yet.
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    fn put(&self, id: Option<u64>, value: T) {
        self.change(|fed| fed.queue.push_back((id, value)));
    }

    fn change(&self, change: impl FnOnce(&mut Fed<T>)) {
        let wakers = {
            let mut fed = self.lock();
            change(&mut fed);
            fed.wakers.clone()
        };
        wakers.iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Fed<T>> {
        self.0.lock().expect("nothing panics under it")
    }
}

/// The spout of a [`Feeder`]. Several tasks share what is fed: each value is emitted by one of them.
pub struct FeederSpout<T>(Feeder<T>);

impl<T: Payload> Spout for FeederSpout<T> {
    type Out = T;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.0.lock().wakers.push(ctx.waker());
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<T, u64>) -> Result<Next, Failure> {
        let (next, finished) = {
            let mut fed = self.0.lock();
            (fed.queue.pop_front(), fed.finished)
        };
        match next {
            Some((Some(id), value)) => out.emit_tracked(id, value),
            Some((None, value)) => out.emit(value),
            None => return Ok(if finished { Next::Finished } else { Next::Idle }),
        }
        Ok(Next::Emitted)
    }

    fn ack(&mut self, id: u64, _out: &mut SpoutOutlet<T, u64>) -> Outcome {
        self.0.lock().acked.push(id);
        Ok(())
    }

    fn fail(&mut self, id: u64, why: &Failure, _out: &mut SpoutOutlet<T, u64>) -> Outcome {
        self.0.lock().failed.push((id, why.clone()));
        Ok(())
    }

    /// A drain emits what has been fed before it ends.
    fn wind_down(&mut self) -> bool {
        self.0.lock().finished = true;
        true
    }
}

/// Everything that has come out of one stream so far, in order of arrival. Clones share it.
pub struct Captured<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Captured<T> {
    fn clone(&self) -> Self {
        Captured(self.0.clone())
    }
}

impl<T> Captured<T> {
    /// Takes what has arrived since the last call.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.lock())
    }

    /// Number of values that have arrived and not been taken.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True if nothing has arrived that has not been taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().expect("nothing panics under it")
    }
}

/// Adds a sink, named `capture-` and a number, that remembers everything the stream carries. Not for direct streams.
#[track_caller]
pub fn capture<T: Payload>(t: &mut TopologyBuilder, stream: &Stream<T>) -> Captured<T> {
    let captured = Captured(Arc::default());
    let into = captured.clone();
    let number = stream.draft.borrow().components.len();
    t.bolt(format!("capture-{number}"), move || CaptureSink(into.clone())).global(stream);
    captured
}

struct CaptureSink<T>(Captured<T>);

impl<T: Payload> Bolt for CaptureSink<T> {
    type In = T;
    type Out = Nothing;

    fn execute(&mut self, input: T, _out: &mut Outlet<Nothing>) -> Outcome {
        self.0.lock().push(input);
        Ok(())
    }
}
