//! How other threads get a task a turn.

use crate::sys::bits::SharedBits;
use crate::sys::park::Sleeper;
use crate::sys::sync::Arc;

/// What other threads share with an executor.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Where the executor sleeps.
    pub sleeper: Sleeper,
    /// Tasks, by position, that another thread wants to have a turn.
    pub tasks: SharedBits,
}

impl Mailbox {
    pub fn new(tasks: usize) -> Self {
        Mailbox { sleeper: Sleeper::default(), tasks: SharedBits::new(tasks) }
    }
}

/// Gets a task a turn, from any thread: a source's reader thread uses it when there is something to read.
///
/// Wakes coalesce. Costs two atomic operations, and a system call if the executor sleeps. After the topology has
/// stopped it does nothing.
#[derive(Clone, Debug)]
pub struct Waker(Option<(Arc<Mailbox>, usize)>);

impl Waker {
    pub(crate) fn new(mailbox: Arc<Mailbox>, position: usize) -> Self {
        Waker(Some((mailbox, position)))
    }

    /// A waker of no task, for components under test on their own.
    pub fn disconnected() -> Self {
        Waker(None)
    }

    /// Gives the task a turn soon.
    pub fn wake(&self) {
        if let Some((mailbox, position)) = &self.0 {
            mailbox.tasks.set(*position);
            mailbox.sleeper.wake();
        }
    }
}
