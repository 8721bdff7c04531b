//! The keyed state of a bolt, with the key's type erased: what the task shell does with it.

use std::time::Duration;

use crate::error::{Failure, Result};
use crate::state::delta::{Change, Delta};
use crate::state::{Binding, KeyedState, Schema, StateVisitor};

/// A state as the shell handles it, whatever its key; see [`KeyedState`] for each method.
pub(crate) trait AnyState {
    fn name(&self) -> &str;
    fn schema(&self) -> Schema;
    fn bind(&mut self, binding: &Binding, recorded: Option<&Schema>) -> Result<()>;
    fn restore(&mut self, change: &Change) -> Result<()>;
    fn freeze(&mut self);
    fn encode_slice(&mut self, until_bytes: usize, out: &mut Delta) -> Result<bool>;
    fn abort_frozen(&mut self);
    fn next_due_ns(&self) -> Option<u64>;
    fn sweep(&mut self, now_ns: u64, slots: usize) -> usize;
}

/// Gives each state of a bolt, erased, to a function.
pub(crate) struct Each<F>(pub F);

impl<K, F: FnMut(&mut dyn AnyState)> StateVisitor<K> for Each<F> {
    fn state(&mut self, state: &mut dyn KeyedState<K>) {
        (self.0)(&mut Erased(state));
    }
}

struct Erased<'a, K>(&'a mut dyn KeyedState<K>);

impl<K> AnyState for Erased<'_, K> {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn schema(&self) -> Schema {
        self.0.schema()
    }
    fn bind(&mut self, binding: &Binding, recorded: Option<&Schema>) -> Result<()> {
        self.0.bind(binding, recorded)
    }
    fn restore(&mut self, change: &Change) -> Result<()> {
        self.0.restore(change)
    }
    fn freeze(&mut self) {
        self.0.freeze();
    }
    fn encode_slice(&mut self, until_bytes: usize, out: &mut Delta) -> Result<bool> {
        self.0.encode_slice(until_bytes, out)
    }
    fn abort_frozen(&mut self) {
        self.0.abort_frozen();
    }
    fn next_due_ns(&self) -> Option<u64> {
        self.0.next_due_ns()
    }
    fn sweep(&mut self, now_ns: u64, slots: usize) -> usize {
        self.0.sweep(now_ns, slots)
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
