//! Task ids that a bolt's child has asked for and not read yet: how many there may be.
//!
//! A child may write thousands of emits before it reads the first task ids. Under Storm these wait in memory without
//! a bound; here there is one. At the bound the child's output is not read on: if the child never reads either, both
//! wait for each other, and whoever ends it says so.

use crossbeam::channel::{Receiver, Sender, bounded};

use super::liveness::Signs;
use crate::sys::sync::{Arc, AtomicUsize, Ordering};

/// Memory that one waiting reply takes.
const REPLY_BYTES: usize = 64;

/// The reader's side.
pub(super) struct Owed {
    count: Arc<AtomicUsize>,
    count_max: usize,
    paid: Receiver<()>,
}

/// The writer's side. Dropped, the reader waits no longer.
pub(super) struct Paying {
    count: Arc<AtomicUsize>,
    paid: Sender<()>,
}

/// Room for replies that take so much memory.
pub(super) fn owed(bytes_max: usize) -> (Owed, Paying) {
    let (count, (tell, paid)) = (Arc::new(AtomicUsize::new(0)), bounded(1));
    let count_max = (bytes_max / REPLY_BYTES).max(1);
    (Owed { count: count.clone(), count_max, paid }, Paying { count, paid: tell })
}

impl Owed {
    /// One more is owed: waits while they are too many. False if the writer is gone, and with it the child.
    pub fn add(&self, signs: &Signs) -> bool {
        while self.count.load(Ordering::Acquire) >= self.count_max {
            signs.waits_for_reading(self.count.load(Ordering::Relaxed));
            let is_over = self.paid.recv().is_err();
            signs.waits_for_reading(0);
            if is_over {
                return false;
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        true
    }
}

impl Paying {
    /// A reply has been written.
    pub fn pay(&self) {
        self.count.fetch_sub(1, Ordering::Release);
        // One that is not taken yet says the same.
        let _ = self.paid.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread;

    #[test]
    fn at_the_bound_the_reader_waits_for_the_writer() {
        let ((owed, paying), signs) = (owed(2 * REPLY_BYTES), Arc::new(Signs::new()));
        assert!(owed.add(&signs) && owed.add(&signs));
        let of_reader = signs.clone();
        let reader = thread::spawn_named("reader", move || (owed.add(&of_reader), owed.add(&of_reader))).unwrap();
        while signs.unread_replies() == 0 {
            thread::yield_now();
        }
        paying.pay();
        while paying.count.load(Ordering::Relaxed) != 2 || signs.unread_replies() == 0 {
            thread::yield_now();
        }
        drop(paying);
        assert_eq!(reader.join().unwrap(), (true, false));
    }
}
