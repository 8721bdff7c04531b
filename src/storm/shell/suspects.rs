//! Which of several tuples has killed a child, when it was not alone.
//!
//! A child that dies with one tuple in hand has died of it, as far as anyone can tell. With several in hand none is
//! blamed. If that happens again and again, the next children get one tuple at a time, so that whoever is to blame is
//! alone when it strikes; everybody else gets through. This is remembered beside the specification and not in the
//! instance: it outlives the child, the bolt, and a step back of the whole topology.

use hashbrown::HashMap;

use crate::error::Origin;
use crate::sys::clock::Clock;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

/// Tuples that have to get through after a death before it is forgotten, or twice as many as were in hand if these are
/// more: then all of them have come again.
const WATCHED_MIN: u64 = 100;

/// How long a death is remembered at least: what has failed comes again after a back-off of up to ten seconds.
const REMEMBERED_NS: u64 = 30_000_000_000;

/// What is known of the tasks of a component.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<TaskName, Arc<Suspects>>>);

/// Component and index of a task.
type TaskName = (Arc<str>, usize);

impl Memory {
    /// What is known of a task.
    pub fn of(&self, origin: &Origin) -> Arc<Suspects> {
        let mut tasks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = (origin.component.clone(), origin.task_index);
        tasks.entry(name).or_insert_with(|| Arc::new(Suspects::new(Clock::real()))).clone()
    }
}

/// What is known of one task's children.
#[derive(Debug)]
pub(crate) struct Suspects {
    clock: Clock,
    /// When a child last died with tuples in hand.
    died_at_ns: AtomicU64,
    /// Tuples to be settled before that is forgotten; the last one counts only when it is long ago.
    watched: AtomicU64,
    /// Until then tuples are handed over one at a time.
    alone: AtomicBool,
}

impl Suspects {
    fn new(clock: Clock) -> Self {
        let (died_at_ns, watched, alone) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Suspects { clock, died_at_ns, watched, alone }
    }

    /// A child has died with so many tuples in hand.
    pub fn died_with(&self, tuples: usize) {
        self.died_at_ns.store(self.clock.now_ns(), Ordering::Relaxed);
        let again = self.watched.swap(WATCHED_MIN.max(2 * tuples as u64), Ordering::Relaxed) > 0;
        if again && tuples > 1 {
            self.alone.store(true, Ordering::Relaxed);
        }
    }

    /// A tuple has been acked or failed by a child that lives.
    #[inline]
    pub fn settled(&self) {
        if self.watched.load(Ordering::Relaxed) > 0 {
            self.settled_after_a_death();
        }
    }

    /// Only one thread counts down; what a death puts in its place at this moment may lose one.
    #[cold]
    fn settled_after_a_death(&self) {
        match self.watched.load(Ordering::Relaxed) {
            1 => {
                let ago_ns = self.clock.now_ns().saturating_sub(self.died_at_ns.load(Ordering::Relaxed));
                if ago_ns >= REMEMBERED_NS {
                    self.watched.store(0, Ordering::Relaxed);
                    self.alone.store(false, Ordering::Relaxed);
                }
            }
            left => self.watched.store(left.saturating_sub(1), Ordering::Relaxed),
        }
    }

    /// Tuples are to be handed over one at a time.
    #[inline]
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;

    fn settle(suspects: &Suspects, tuples: usize) {
        (0..tuples).for_each(|_| suspects.settled());
    }

    #[test]
    fn one_at_a_time_after_deaths_in_a_row_until_enough_have_got_through() {
        let suspects = Suspects::new(Clock::virtual_at_zero());
        suspects.died_with(20);
        assert!(!suspects.is_alone(), "once is an accident");
        suspects.died_with(300);
        assert!(suspects.is_alone());
        suspects.clock.advance_to(REMEMBERED_NS);
        settle(&suspects, 500);
        suspects.died_with(1);
        suspects.clock.advance_to(3 * REMEMBERED_NS);
        settle(&suspects, 99);
        assert!(suspects.is_alone(), "there may be another one");
        settle(&suspects, 1);
        assert!(!suspects.is_alone());
        suspects.died_with(20);
        assert!(!suspects.is_alone(), "the deaths before are forgotten");
    }

    #[test]
    fn a_suspect_that_comes_again_after_a_long_back_off_is_alone_however_many_came_before_it() {
        let suspects = Suspects::new(Clock::virtual_at_zero());
        suspects.died_with(20);
        suspects.clock.advance_to(REMEMBERED_NS / 3);
        settle(&suspects, 1_000_000);
        suspects.died_with(20);
        suspects.clock.advance_to(REMEMBERED_NS);
        settle(&suspects, 1_000_000);
        assert!(suspects.is_alone());
        suspects.clock.advance_to(2 * REMEMBERED_NS);
        settle(&suspects, 1);
        assert!(!suspects.is_alone());
    }

    #[test]
    fn each_task_is_remembered_by_itself() {
        let memory = Memory::default();
        let task = |task_index| Origin { component: "child".into(), task_index };
        (0..2).for_each(|_| memory.of(&task(0)).died_with(5));
        assert_eq!([0, 1].map(|index| memory.of(&task(index)).is_alone()), [true, false]);
    }
}
