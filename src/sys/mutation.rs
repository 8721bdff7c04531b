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
    /// A sync of the simulated disk does nothing, now and then.
    FsyncSkipped,
    /// A checkpoint's manifest is written before its data, now and then.
    #[cfg(test)]
    ManifestBeforeData,
    /// A failure that is nobody's fault counts against the tuple.
    CollateralCounted,
    /// A snapshot that has become possible in a turn waits for the next one.
    SnapshotNotAfterTurn,
    /// A checkpoint lacks the inputs that were given up.
    GivenUpNotSaved,
    /// After a restart dead letters are counted from zero.
    DeadLettersNotRestored,
    /// An input that failed is not set apart.
    NotSetApart,
    /// Each stream between two tasks has a lane of its own.
    LanesNotShared,
    /// The tuples of a window that failed are acked.
    WindowFailureAcked,
    /// The commit of a sink's transaction is left out.
    CommitSkipped,
}

/// A place at which one tuple can be forgotten, so that a test can show that the run notices; see [`forgets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// A producer sends it into a lane, and it is not there.
    Lane,
    /// It is taken out of a lane, and not handed on.
    Queue,
    /// A bolt task takes it in, and does not execute it.
    Execute,
    /// A bolt task executes it, and neither acks nor fails it.
    Settle,
    /// A held tuple's handle is used, and nothing comes of it.
    Held,
    /// It comes through a door, and is not routed.
    Door,
    /// A tree ends, and its spout is not called back.
    Tree,
    /// A source's item is acked, and neither kept nor counted.
    Source,
    /// An input is given up, and is no dead letter.
    GivenUp,
}

impl Forget {
    #[cfg(debug_assertions)]
    const ALL: [(&'static str, Forget); 9] = [
        ("lane", Forget::Lane),
        ("queue", Forget::Queue),
        ("execute", Forget::Execute),
        ("settle", Forget::Settle),
        ("held", Forget::Held),
        ("door", Forget::Door),
        ("tree", Forget::Tree),
        ("source", Forget::Source),
        ("given_up", Forget::GivenUp),
    ];
}

/// False: a release build forgets nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn forgets(_at: Forget) -> bool {
    false
}

/// True once, at the time that the hidden variable `SQUALL_FORGET=PLACE:NUMBER` names; debug builds only.
#[cfg(debug_assertions)]
pub fn forgets(at: Forget) -> bool {
    forgetting::is_now(at)
}

#[cfg(debug_assertions)]
mod forgetting {
    use std::sync::OnceLock;
    // Not loom's: this is no part of any protocol.
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Forget;

    struct Switch {
        at: Forget,
        left: AtomicU64,
    }

    static SWITCH: OnceLock<Option<Switch>> = OnceLock::new();

    fn switch() -> Option<Switch> {
        let text = std::env::var("SQUALL_FORGET").ok()?;
        let (place, number) = text.split_once(':')?;
        let (_, at) = Forget::ALL.into_iter().find(|(name, _)| *name == place)?;
        Some(Switch { at, left: AtomicU64::new(number.parse().ok()?) })
    }

    pub fn is_now(at: Forget) -> bool {
        let Some(switch) = SWITCH.get_or_init(switch) else { return false };
        switch.at == at && switch.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

#[cfg(test)]
pub use switch::{is, is_off, with};

/// False: no safety is ever taken out of a build that users run.
#[cfg(not(test))]
#[inline(always)]
pub fn is(_mutation: Mutation) -> bool {
    false
}

/// False, as [`is`].
#[cfg(not(test))]
#[inline(always)]
pub fn is_off(_mutation: Mutation) -> bool {
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

    /// Whether the safety is out, each time.
    pub fn is_off(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation)
    }

    /// Whether it is out now: every seventh time.
    pub fn is(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation) && {
            COUNT.set(COUNT.get() + 1);
            COUNT.get().is_multiple_of(7)
        }
    }
}
