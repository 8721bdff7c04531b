//! Standard input, of which a process has one.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_READ: AtomicBool = AtomicBool::new(false);

/// Whoever has it reads standard input: two that take a block each would tear lines apart.
pub(crate) struct Turn(());

impl Turn {
    /// None while another has it.
    pub fn take() -> Option<Self> {
        (!IS_READ.swap(true, Ordering::AcqRel)).then_some(Turn(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        IS_READ.store(false, Ordering::Release);
    }
}
