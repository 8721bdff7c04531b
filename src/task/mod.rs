//! One task's machinery, knowing no thread: lanes, headers, outlets, the ledger, the task shells.

use std::fmt;

pub(crate) mod acks;
pub mod align;
pub mod backoff;
pub(crate) mod bolt;
pub(crate) mod chaos;
pub mod component;
pub mod context;
pub mod dead_letter;
pub mod door;
pub mod dynamic;
pub(crate) mod edge;
pub(crate) mod header;
pub mod held;
pub mod held_state;
pub use crate::state::key;
pub mod keyed;
pub(crate) mod lane;
pub(crate) mod ledger;
pub mod lineage;
pub mod many;
pub mod measured;
pub mod metrics;
pub mod outlet;
pub mod pace;
pub mod payload;
pub(crate) mod pieces;
pub mod replay;
pub mod reporter;
pub(crate) mod route;
pub(crate) mod shell;
pub mod snapshot;
pub(crate) mod spout;
pub(crate) mod style;
pub mod user_value;
pub mod waker;

pub use component::Custom;

/// A task's number within its topology, counted from 1 over all components in order of their ids, as Storm counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0)
    }
}
