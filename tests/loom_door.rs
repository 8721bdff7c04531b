//! Every interleaving of threads that emit through a task's door: each value is seen, none is slept through.
//!
//! The door's queue is a channel with a proof of its own; the model has a counter in its place and checks what the
//! engine adds: the shared bits that name the task, and the sleeper. Run time: less than a second.
#![cfg(squall_loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use squall::sys::bits::SharedBits;
use squall::sys::park::{Sleep, Sleeper};

struct Door {
    /// Relaxed on purpose: the bits alone must make the emits visible.
    emitted: AtomicU32,
    tasks: SharedBits,
    sleeper: Sleeper,
}

impl Door {
    fn emit(&self) {
        self.emitted.fetch_add(1, Ordering::Relaxed);
        self.tasks.set(0);
        self.sleeper.wake();
    }

    /// One pass of the executor: looks at the door only if the bits say so.
    fn pass(&self, taken: &mut u32) {
        self.tasks.drain(|_| *taken = self.emitted.load(Ordering::Relaxed));
    }
}

#[test]
fn every_emit_through_the_door_is_taken() {
    const THREADS: u32 = 2;
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let door =
            Arc::new(Door { emitted: AtomicU32::new(0), tasks: SharedBits::new(1), sleeper: Sleeper::default() });
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let door = door.clone();
                thread::spawn(move || door.emit())
            })
            .collect();
        door.sleeper.adopt_current_thread();
        let mut taken = 0;
        loop {
            door.pass(&mut taken);
            if taken == THREADS {
                break;
            }
            door.sleeper.announce(Sleep::Idle);
            let before = taken;
            door.pass(&mut taken);
            if taken == before { door.sleeper.sleep() } else { door.sleeper.cancel() }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
