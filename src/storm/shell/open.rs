//! The tuples a child has and has not settled.

use std::collections::HashMap;

use crate::error::Failure;
use crate::sys::sync::{Mutex, MutexGuard};
use crate::task::held::{Anchor, Anchors};

/// Tuples a child may hold without settling them. More than that is a child that never does.
pub(super) const OPEN_MAX: usize = 1 << 20;

/// Open tuples by id; shared by whoever writes to the child and whoever reads from it.
#[derive(Default)]
pub(super) struct OpenTuples(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tuples: HashMap<u64, Anchor>,
    /// The child is gone: whatever comes now fails.
    closed: Option<Failure>,
}

impl OpenTuples {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under it leaves no half-done change.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The child is about to get this tuple. False if it has too many.
    pub fn open(&self, id: u64, anchor: Anchor) -> bool {
        let mut inner = self.lock();
        match &inner.closed {
            Some(failure) => anchor.fail(failure.clone()),
            None => {
                inner.tuples.insert(id, anchor);
            }
        }
        inner.tuples.len() <= OPEN_MAX
    }

    /// Takes out a tuple to settle it.
    pub fn settle(&self, id: u64) -> Option<Anchor> {
        self.lock().tuples.remove(&id)
    }

    /// Calls back with the anchors of these tuples.
    ///
    /// # Errors
    /// With the first id that is not open.
    pub fn under<R>(&self, ids: &[u64], call: impl FnOnce(Under<'_>) -> R) -> Result<R, u64> {
        let inner = self.lock();
        match ids.iter().find(|id| !inner.tuples.contains_key(id)) {
            Some(unknown) => Err(*unknown),
            None => Ok(call(Under { tuples: &inner.tuples, ids })),
        }
    }

    /// True if the child has nothing to settle.
    pub fn is_empty(&self) -> bool {
        self.lock().tuples.is_empty()
    }

    /// The child is gone: everything it had fails, now and from now on. If it is `to_blame`, a tuple that was alone is
    /// what the child has died of; several of them are not held against any. Returns how many there were, and the
    /// failure.
    pub fn close(&self, message: &str, to_blame: bool) -> (usize, Failure) {
        let mut inner = self.lock();
        let collateral = Failure::collateral(message.to_owned());
        let count = inner.tuples.len();
        let failure = if to_blame && count == 1 { Failure::panic(message.to_owned()) } else { collateral.clone() };
        inner.closed.get_or_insert(collateral);
        inner.tuples.drain().for_each(|(_, anchor)| anchor.fail(failure.clone()));
        (count, failure)
    }
}

/// Some of the open tuples, as what an emit is anchored to.
pub(super) struct Under<'a> {
    tuples: &'a HashMap<u64, Anchor>,
    ids: &'a [u64],
}

impl Anchors for Under<'_> {
    fn each(&self, visit: impl FnMut(&Anchor)) {
        self.ids.iter().map(|id| &self.tuples[id]).for_each(visit);
    }
}
