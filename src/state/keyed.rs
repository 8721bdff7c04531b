//! What the engine asks of keyed state: it walks over a bolt's states and starts, freezes, encodes and restores each.

use std::sync::Arc;

use crate::error::Result;
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta, Space};
use crate::state::schema::Schema;

/// Sees each state of a bolt.
///
/// A bolt shows its states in its `states` method, always all of them:
///
/// ```
/// use squall::state::{StateVisitor, ValueState};
///
/// struct Count {
///     seen: ValueState<String, u64>,
/// }
///
/// impl Count {
///     fn states(&mut self, visit: &mut dyn StateVisitor<String>) {
///         visit.state(&mut self.seen);
///     }
/// }
/// # let mut count = Count { seen: ValueState::new("seen") };
/// # struct Names(Vec<String>);
/// # impl StateVisitor<String> for Names {
/// #     fn state(&mut self, state: &mut dyn squall::state::KeyedState<String>) {
/// #         self.0.push(state.name().to_string());
/// #     }
/// # }
/// # let mut names = Names(Vec::new());
/// # count.states(&mut names);
/// # assert_eq!(names.0, ["seen"]);
/// ```
pub trait StateVisitor<K> {
    /// One of the bolt's states.
    fn state(&mut self, state: &mut dyn KeyedState<K>);
}

/// Where a state belongs: given to it before its first use.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The component, for messages.
    pub component: Arc<str>,
    /// The number under which its changes are recorded; none if nothing is ever checkpointed, and then changes are not
    /// tracked.
    pub space: Option<Space>,
    /// The first key group of this task.
    pub first_group: u32,
    /// How many key groups this task has.
    pub groups: u32,
    /// How many key groups there are: recorded, and the same for ever.
    pub groups_total: u32,
    /// The wall clock, in nanoseconds since the epoch: restored values that have no stamp live from here on.
    pub now_ns: u64,
}

/// How much there is in a state of one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries with a value: keys, or elements of lists and maps, or timers.
    pub entries: usize,
    /// Entries changed since the last freeze.
    pub dirty: usize,
    /// Entries of the frozen checkpoint still to be encoded.
    pub frozen: usize,
    /// Memory of tables and lists in bytes, without what keys and values own elsewhere.
    pub allocated_bytes: usize,
}

/// A timer that is due.
#[derive(Clone, Debug)]
pub struct Due<K> {
    /// Its key, current for the callback.
    pub key: CurrentKey<K>,
    /// Its namespace.
    pub namespace: u64,
    /// When it was due, in nanoseconds since the epoch.
    pub at_ns: u64,
}

/// How a callback went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// Well, or it is given up.
    Done,
    /// It failed at this time, and is to be called again.
    Failed {
        /// In nanoseconds since the epoch.
        now_ns: u64,
    },
}

/// How long a callback that has failed so many times in a row waits until it is called again: 10 ms at first, doubling
/// to 10 s.
pub(super) fn again_after_ns(failures: u32) -> u64 {
    (10_000_000 << failures.saturating_sub(1).min(10)).min(10_000_000_000)
}

/// A state as the engine handles it, whatever its key; the engine alone calls these.
///
/// The cycle of a checkpoint is [`freeze`](AnyState::freeze), then [`encode_slice`](AnyState::encode_slice) until
/// it says that it is done, and [`abort_frozen`](AnyState::abort_frozen) if the checkpoint fails after all, at any
/// time before the next freeze. The next freeze without an abort says that the one before is complete.
pub trait AnyState {
    /// The name, unique within the component and stable over restarts.
    fn name(&self) -> &str;

    /// What a checkpoint records about it.
    fn schema(&self) -> Schema;

    /// Makes it ready, empty. `recorded` is the schema in the checkpoint it is then restored from, if any.
    ///
    /// # Errors
    /// If what is recorded cannot be read by this program; the message says what to do.
    fn bind(&mut self, binding: &Binding, recorded: Option<&Schema>) -> Result<()>;

    /// Puts one change from the stores into effect. Changes of one key come in the order they were written; only those
    /// of this task's groups come.
    ///
    /// # Errors
    /// If the change cannot be read, or its key is not of the group it was recorded under.
    fn restore(&mut self, change: &Change) -> Result<()>;

    /// What it holds now is what the checkpoint has. Constant time.
    ///
    /// # Panics
    /// If the last one was neither encoded wholly nor aborted.
    fn freeze(&mut self);

    /// Appends frozen changes until `out` has about `until_bytes` in all; true if there are no more. The work is
    /// bounded by the bytes added, but for entries that were written since the freeze, which are copied in one piece.
    ///
    /// # Errors
    /// If an entry cannot be encoded: the checkpoint is then to be aborted, and `out` worthless.
    fn encode_slice(&mut self, until_bytes: usize, out: &mut Delta) -> Result<bool>;

    /// Gives the frozen checkpoint up: all that it had will be in the next one. Visits each of its entries once.
    fn abort_frozen(&mut self);

    /// How much there is. Visits each key group once.
    fn counts(&self) -> Counts;

    /// When the first callback is due, in nanoseconds since the epoch.
    fn next_due_ns(&self) -> Option<u64> {
        None
    }

    /// True if something has expired and is to be reported: that comes before a freeze.
    fn has_expired(&self) -> bool {
        false
    }

    /// How the callback went for what was taken last, if something was taken from this state. True if it will be given
    /// again, false also if it is given up.
    fn called(&mut self, went: Called) -> bool {
        let _ = went;
        false
    }

    /// All input has ended at this time. From now on the timers are given that are due, or fire at the end; everything
    /// that has expired is reported; and what fails is not given again.
    fn begin_end(&mut self, now_ns: u64) {
        let _ = now_ns;
    }

    /// After the end, when no more timers are given: drops up to `max` of those that are left, and of what has expired
    /// and is not reported. Returns how many.
    fn drop_timers(&mut self, max: usize) -> usize {
        let _ = max;
        0
    }

    /// Removes what has expired among the next `slots` places, going round and round. Returns how many it removed.
    fn sweep(&mut self, now_ns: u64, slots: usize) -> usize {
        let _ = (now_ns, slots);
        0
    }
}

/// A state of keys of this type; the engine alone calls these.
pub trait KeyedState<K>: AnyState {
    /// Takes the first timer due at `now_ns` or earlier: its callback is to be called, and then [`AnyState::called`].
    /// Taking another one says that it went well.
    fn take_due(&mut self, now_ns: u64) -> Option<Due<K>> {
        let _ = now_ns;
        None
    }

    /// The next key whose value expired, of a state that reports it; the value can then be read with the state's
    /// `evicted` until this or [`AnyState::called`] is called. None before it is time to try again what has failed. The
    /// engine calls this after each turn, and in any case before a freeze.
    fn next_expired(&mut self, now_ns: u64) -> Option<CurrentKey<K>> {
        let _ = now_ns;
        None
    }
}
