//! Every interleaving of an executor that goes to sleep and producers that give it work: no wake-up is lost.
//!
//! A lost wake-up leaves the sleeper looking for ever, which loom reports as too many branches. Run time: about a
//! second.
#![cfg(squall_loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use squall::sys::park::{Sleep, Sleeper};

/// A lane of counters: the producer publishes by a store, as a ring does by moving its tail.
struct Lane {
    sent: AtomicUsize,
    sleeper: Sleeper,
}

#[test]
fn a_sleeper_sees_everything_that_was_sent() {
    loom::model(|| {
        let lane = Arc::new(Lane { sent: AtomicUsize::new(0), sleeper: Sleeper::default() });
        let producer_lane = lane.clone();
        let consumer = thread::spawn(move || {
            lane.sleeper.adopt_current_thread();
            while lane.sent.load(Ordering::Acquire) < 2 {
                lane.sleeper.announce(Sleep::Idle);
                if lane.sent.load(Ordering::Acquire) < 2 {
                    lane.sleeper.sleep();
                } else {
                    lane.sleeper.cancel();
                }
            }
        });
        for n in 1..=2 {
            producer_lane.sent.store(n, Ordering::Release);
            producer_lane.sleeper.wake();
        }
        consumer.join().unwrap();
    });
}

#[test]
fn a_blocked_sleeper_is_woken_by_room() {
    loom::model(|| {
        let lane = Arc::new(Lane { sent: AtomicUsize::new(1), sleeper: Sleeper::default() });
        let consumer_lane = lane.clone();
        // The producer of a full lane sleeps until the consumer has made room.
        let producer = thread::spawn(move || {
            lane.sleeper.adopt_current_thread();
            while lane.sent.load(Ordering::Acquire) > 0 {
                lane.sleeper.announce(Sleep::Blocked);
                if lane.sent.load(Ordering::Acquire) > 0 {
                    lane.sleeper.sleep();
                } else {
                    lane.sleeper.cancel();
                }
            }
        });
        consumer_lane.sent.store(0, Ordering::Release);
        consumer_lane.sleeper.wake_blocked();
        producer.join().unwrap();
    });
}

#[test]
fn two_producers_wake_one_sleeper() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let lane = Arc::new(Lane { sent: AtomicUsize::new(0), sleeper: Sleeper::default() });
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let lane = lane.clone();
                thread::spawn(move || {
                    lane.sent.fetch_add(1, Ordering::AcqRel);
                    lane.sleeper.wake();
                })
            })
            .collect();
        lane.sleeper.adopt_current_thread();
        while lane.sent.load(Ordering::Acquire) < 2 {
            lane.sleeper.announce(Sleep::Idle);
            if lane.sent.load(Ordering::Acquire) < 2 {
                lane.sleeper.sleep();
            } else {
                lane.sleeper.cancel();
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}
