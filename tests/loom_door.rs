//! Every interleaving of threads that emit through a task's door: each value is taken, none is slept through.
//!
//! The door's queue is a channel with a proof of its own; the model has one atomic slot per thread in its place and checks
//! what the engine adds: the shared bits that name the task, and the sleeper. Run time: some seconds.
#![cfg(squall_loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use squall::sys::bits::SharedBits;
use squall::sys::park::{Sleep, Sleeper};

struct Door {
    /// 0: empty. Relaxed on purpose: the bits alone must make the value visible.
    slots: [AtomicU32; 2],
    tasks: SharedBits,
    sleeper: Sleeper,
}

impl Door {
    fn emit(&self, value: u32) {
        self.slots[value as usize - 1].store(value, Ordering::Relaxed);
        self.tasks.set(0);
        self.sleeper.wake();
    }

    /// One pass of the executor: takes what the bits announce.
    fn pass(&self, taken: &mut Vec<u32>) {
        self.tasks.drain(|_| {
            taken.extend(self.slots.iter().map(|slot| slot.swap(0, Ordering::Relaxed)).filter(|&value| value != 0));
        });
    }
}

#[test]
fn every_value_through_the_door_is_taken() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let door = Arc::new(Door {
            slots: [AtomicU32::new(0), AtomicU32::new(0)],
            tasks: SharedBits::new(1),
            sleeper: Sleeper::default(),
        });
        let threads: Vec<_> = [1, 2]
            .map(|value| {
                let door = door.clone();
                thread::spawn(move || door.emit(value))
            })
            .into();
        door.sleeper.adopt_current_thread();
        let mut taken = Vec::new();
        while taken.len() < 2 {
            door.pass(&mut taken);
            if taken.len() == 2 {
                break;
            }
            door.sleeper.announce(Sleep::Idle);
            door.pass(&mut taken);
            if taken.len() == 2 || !door.tasks.is_empty() {
                door.sleeper.cancel();
            } else {
                door.sleeper.sleep();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}
