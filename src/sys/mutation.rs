//! Hidden switches that break one safety of the engine on purpose, so that a test can show that the simulation notices.
//!
//! Compiled to a constant `false` outside this crate's own tests.

/// A safety that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A sleeping executor is not woken, now and then.
    LoseWakeup,
    /// A coalesced ack is thrown away, now and then.
    DropAck,
    /// An edge id is handed out twice in a row, now and then.
    ReuseEdge,
    /// A checkpoint lacks the positions of a spout, now and then.
    PositionsNotSaved,
    /// A barrier does not block its lane, now and then.
    AlignmentOff,
    /// There is no checkpoint before the first tuple.
    FirstCheckpointOff,
    /// A sync of the simulated disk does nothing, now and then.
    FsyncSkipped,
    /// A checkpoint's manifest is written before its data, now and then.
    #[cfg(test)]
    ManifestBeforeData,
}

#[cfg(test)]
pub use switch::{is, is_always, with};

/// False: no safety is ever taken out of a build that users run.
#[cfg(not(test))]
#[inline(always)]
pub fn is(_mutation: Mutation) -> bool {
    false
}

/// False, as [`is`].
#[cfg(not(test))]
#[inline(always)]
pub fn is_always(_mutation: Mutation) -> bool {
    false
}

#[cfg(test)]
mod switch {
    use super::Mutation;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }

    /// Breaks the given safety on this thread while `run` runs.
    pub fn with<R>(mutation: Mutation, run: impl FnOnce() -> R) -> R {
        ACTIVE.set(Some(mutation));
        COUNT.set(0);
        let result = run();
        ACTIVE.set(None);
        result
    }

    /// For what happens only once in a run: broken each time.
    pub fn is_always(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation)
    }

    pub fn is(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation) && {
            COUNT.set(COUNT.get() + 1);
            COUNT.get().is_multiple_of(7)
        }
    }
}
