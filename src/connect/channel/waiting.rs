//! Waiting at either end of a queue, for async code, plain threads and tasks alike: all of them are woken by a
//! [`std::task::Waker`].
//!
//! No wake-up is lost: who waits registers and *then* tries once more; who changes the queue does so and *then* looks
//! for who waits, with a full fence in between on both sides.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sys::sync::{AtomicBool, Mutex, Ordering, fence};
use crate::sys::thread::{self, Thread};
use crate::task::context::TaskInfo;

/// Everyone who waits for one event. Bounded by the number of distinct wakers.
#[derive(Default)]
pub(super) struct Waiters {
    /// True while the list may have entries.
    any: AtomicBool,
    list: Mutex<Vec<Waker>>,
}

impl Waiters {
    /// Will be woken once, by the next [`notify`](Self::notify). The caller must try again after this.
    pub fn register(&self, waker: &Waker) {
        let mut list = self.list.lock().expect("nothing panics under it");
        if !list.iter().any(|other| other.will_wake(waker)) {
            list.push(waker.clone());
        }
        self.any.store(true, Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Wakes all, who then compete. One fence and one load when nobody waits.
    #[inline]
    pub fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.any.load(Ordering::Relaxed) {
            self.notify_slow();
        }
    }

    #[cold]
    fn notify_slow(&self) {
        let mut list = self.list.lock().expect("nothing panics under it");
        self.any.store(false, Ordering::Relaxed);
        let woken = std::mem::take(&mut *list);
        drop(list);
        // Outside the lock: a waker may run code that registers again.
        woken.iter().for_each(Waker::wake_by_ref);
    }
}

/// Tries, and waits for the next event if that did not succeed.
pub(super) fn poll_with<R>(waiters: &Waiters, ctx: &Context<'_>, mut attempt: impl FnMut() -> Option<R>) -> Poll<R> {
    if let Some(result) = attempt() {
        return Poll::Ready(result);
    }
    waiters.register(ctx.waker());
    attempt().map_or(Poll::Pending, Poll::Ready)
}

/// Runs a future on this thread, which sleeps while it waits.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// A task's waker as any other.
pub(super) fn task_waker(waker: crate::task::waker::Waker) -> Waker {
    struct TaskWake(crate::task::waker::Waker);
    impl Wake for TaskWake {
        fn wake(self: Arc<Self>) {
            self.0.wake();
        }
    }
    Waker::from(Arc::new(TaskWake(waker)))
}

/// A task of any component of any topology: a channel may have several of them at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    topology: Arc<str>,
    component: Arc<str>,
    index: usize,
}

impl From<&TaskInfo> for Member {
    fn from(task: &TaskInfo) -> Self {
        Member { topology: task.topology.clone(), component: task.component.clone(), index: task.index }
    }
}

/// Which tasks have the topology's end of a channel open. A task that is rebuilt stays present: only the last call of
/// an instance takes it out.
#[derive(Default)]
pub(super) struct Presence {
    /// True when there were tasks and the last one has closed.
    is_over: AtomicBool,
    tasks: Mutex<BTreeSet<Member>>,
}

impl Presence {
    pub fn enter(&self, task: Member) {
        self.tasks.lock().expect("nothing panics under it").insert(task);
        self.is_over.store(false, Ordering::Release);
    }

    pub fn leave(&self, task: &Member) {
        let mut tasks = self.tasks.lock().expect("nothing panics under it");
        tasks.remove(task);
        self.is_over.store(tasks.is_empty(), Ordering::Release);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}
