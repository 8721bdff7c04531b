//! Parking and waking an executor without a lost wake-up and without a timer.
//!
//! The protocol is Dekker's: the sleeper announces that it sleeps and *then* looks for work once more; a producer
//! publishes work and *then* looks for sleepers. With a full fence between the two steps on both sides at least one of
//! them sees the other. `tests/loom_park.rs` explores it exhaustively.

use std::time::Duration;

#[cfg(not(squall_loom))]
use crate::sys::sync::Mutex;
use crate::sys::sync::{AtomicBool, AtomicU32, CachePadded, Ordering, fence};
#[cfg(not(squall_loom))]
use crate::sys::thread::{Thread, current, park, park_timeout};

/// Why an executor sleeps; decides who wakes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// It has no work: new input wakes it.
    Idle,
    /// A task of it waits for room downstream: new input and freed room wake it.
    Blocked,
}

const AWAKE: u32 = 0;
const IDLE: u32 = 1;
const BLOCKED: u32 = 2;

/// The place where one executor sleeps. Shared with everyone who may have to wake it.
#[derive(Debug)]
pub struct Sleeper {
    /// Written by the sleeper (`IDLE`, `BLOCKED`, `AWAKE`) and by wakers (`AWAKE` only).
    state: CachePadded<AtomicU32>,
    /// It never sleeps, so that wakers need not look. Written once, before the sleeper's first work.
    sleepless: AtomicBool,
    gate: Gate,
}

impl Default for Sleeper {
    fn default() -> Self {
        Sleeper {
            state: CachePadded::new(AtomicU32::new(AWAKE)),
            sleepless: AtomicBool::new(false),
            gate: Gate::default(),
        }
    }
}

impl Sleeper {
    /// Makes the calling thread the one that sleeps here.
    pub fn adopt_current_thread(&self) {
        self.gate.adopt_current_thread();
    }

    /// Whether it spins for ever: then [`wake`](Self::wake) costs no fence. It must not sleep while this is set.
    pub fn set_sleepless(&self, sleepless: bool) {
        self.sleepless.store(sleepless, Ordering::Relaxed);
    }

    /// Announces sleep. The caller must look for work after this and call [`cancel`](Self::cancel) if it finds any.
    #[inline]
    pub fn announce(&self, why: Sleep) {
        let state = if why == Sleep::Idle { IDLE } else { BLOCKED };
        self.state.store(state, Ordering::Relaxed);
        // Orders the announcement before the search for work: pairs with the fence of a waker.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    #[inline]
    pub fn cancel(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// True until someone has woken the sleeper that announced itself.
    #[inline]
    pub fn is_asleep(&self) -> bool {
        self.state.load(Ordering::Acquire) != AWAKE
    }

    /// Blocks until woken.
    pub fn sleep(&self) {
        while self.is_asleep() {
            self.gate.wait();
        }
    }

    /// Blocks until woken or until the time-out, which is only for a due time that is known.
    pub fn sleep_at_most(&self, timeout: Duration) {
        if self.is_asleep() {
            self.gate.wait_at_most(timeout);
        }
        self.cancel();
    }

    /// Wakes the sleeper if it sleeps; call after publishing input. One fence and one load when it is awake.
    #[inline]
    pub fn wake(&self) {
        if self.sleepless.load(Ordering::Relaxed) {
            return;
        }
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) != AWAKE {
            self.wake_slow();
        }
    }

    /// Wakes the sleeper if it waits for room; call after freeing room.
    #[inline]
    pub fn wake_blocked(&self) {
        if self.sleepless.load(Ordering::Relaxed) {
            return;
        }
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == BLOCKED {
            self.wake_slow();
        }
    }

    #[cold]
    fn wake_slow(&self) {
        if crate::sys::mutation::is(crate::sys::mutation::Mutation::LoseWakeup) {
            return;
        }
        if self.state.swap(AWAKE, Ordering::AcqRel) != AWAKE {
            self.gate.open();
        }
    }
}

/// Where the thread itself waits. It remembers one opening, and it may open without cause.
#[cfg(not(squall_loom))]
#[derive(Debug, Default)]
struct Gate {
    /// The thread to unpark; none under a driver that steps executors itself.
    thread: Mutex<Option<Thread>>,
}

#[cfg(not(squall_loom))]
impl Gate {
    fn adopt_current_thread(&self) {
        *self.thread.lock().expect("never poisoned: nothing panics under it") = Some(current());
    }

    fn wait(&self) {
        park();
    }

    fn wait_at_most(&self, timeout: Duration) {
        park_timeout(timeout);
    }

    fn open(&self) {
        if let Some(thread) = &*self.thread.lock().expect("never poisoned: nothing panics under it") {
            thread.unpark();
        }
    }
}

/// The same for models: it opens without cause all the time, and the sleeper looks again. A wake-up that is lost leaves
/// the sleeper looking for ever, which loom reports as too many branches. (Loom's own parking is not used: it takes an
/// unpark for whatever a thread happens to be blocked on.)
#[cfg(squall_loom)]
#[derive(Debug, Default)]
struct Gate;

#[cfg(squall_loom)]
impl Gate {
    fn adopt_current_thread(&self) {}

    fn wait(&self) {
        loom::thread::yield_now();
    }

    fn wait_at_most(&self, _timeout: Duration) {
        loom::thread::yield_now();
    }

    fn open(&self) {}
}
