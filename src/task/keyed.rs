//! The keyed state of a bolt as the task shell goes through it, and what it calls back with.

use std::time::Duration;

use crate::error::Failure;
use crate::state::{AnyState, KeyedState, StateVisitor};

/// Gives each state of a bolt to a function, whatever its key.
pub(crate) struct Each<F>(pub F);

impl<K, F: FnMut(&mut dyn AnyState)> StateVisitor<K> for Each<F> {
    fn state(&mut self, state: &mut dyn KeyedState<K>) {
        (self.0)(state);
    }
}

/// A processing-time timer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What the bolt set it under, to tell its timers apart.
    pub namespace: u64,
    /// When it was due, since the epoch.
    pub at: Duration,
}

/// What keyed state says, where user code is called: it stops the start, or steps the topology back.
pub(crate) fn as_failure(error: crate::Error) -> Failure {
    Failure::fatal(error.to_string())
}
