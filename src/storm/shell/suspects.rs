//! Which of several tuples has killed a child, when it was not alone.
//!
//! A child that dies with one tuple in hand has died of it, as far as anyone can tell. With several in hand none is
//! blamed. If that happens again and again, the next children get one tuple at a time, so that whoever is to blame is
//! alone when it strikes; everybody else gets through. This is remembered beside the specification and not in the
//! instance: it outlives the child, the bolt, and a step back of the whole topology.

use hashbrown::HashMap;

use crate::error::Origin;
use crate::sys::sync::{Arc, AtomicU64, Mutex, Ordering};

/// Tuples that have to get through after a death before it is forgotten, or twice as many as were in hand if these are
/// more: then all of them have come again.
const WATCHED_MIN: u64 = 100;

/// What is known of the tasks of a component.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<TaskName, Arc<Suspects>>>);

/// Component and index of a task.
type TaskName = (Arc<str>, usize);

impl Memory {
    /// What is known of a task.
    pub fn of(&self, origin: &Origin) -> Arc<Suspects> {
        let mut tasks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tasks.entry((origin.component.clone(), origin.task_index)).or_default().clone()
    }
}

/// What is known of one task's children.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    /// Tuples to be settled before the last death is forgotten.
    watched: AtomicU64,
    /// Of these, those that are handed over one at a time.
    alone: AtomicU64,
}

impl Suspects {
    /// A child has died with so many tuples in hand.
    pub fn died_with(&self, tuples: usize) {
        let watched = WATCHED_MIN.max(2 * tuples as u64);
        let again = self.watched.swap(watched, Ordering::Relaxed) > 0;
        if (again && tuples > 1) || self.is_alone() {
            self.alone.store(watched, Ordering::Relaxed);
        }
    }

    /// A tuple has been acked or failed by a child that lives.
    #[inline]
    pub fn settled(&self) {
        if self.watched.load(Ordering::Relaxed) > 0 {
            for left in [&self.watched, &self.alone] {
                // Only one thread counts down; what a death puts in its place at this moment may lose one.
                left.store(left.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
            }
        }
    }

    /// Tuples are to be handed over one at a time.
    #[inline]
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_after_deaths_in_a_row_until_enough_have_got_through() {
        let suspects = Suspects::default();
        suspects.died_with(20);
        assert!(!suspects.is_alone(), "once is an accident");
        suspects.died_with(300);
        assert!(suspects.is_alone());
        (0..500).for_each(|_| suspects.settled());
        suspects.died_with(1);
        (0..99).for_each(|_| suspects.settled());
        assert!(suspects.is_alone(), "there may be another one");
        suspects.settled();
        assert!(!suspects.is_alone());
        suspects.died_with(20);
        (0..100).for_each(|_| suspects.settled());
        suspects.died_with(20);
        assert!(!suspects.is_alone(), "the death before is forgotten");
    }

    #[test]
    fn each_task_is_remembered_by_itself() {
        let memory = Memory::default();
        let task = |task_index| Origin { component: "child".into(), task_index };
        (0..2).for_each(|_| memory.of(&task(0)).died_with(5));
        assert_eq!([0, 1].map(|index| memory.of(&task(index)).is_alone()), [true, false]);
    }
}
