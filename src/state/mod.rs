//! State that survives: keyed state in memory, its changes, and the stores that keep them.

pub(crate) mod codec;
mod current;
pub mod delta;
pub mod directory;
mod entries;
pub mod inspect;
pub mod key;
mod keyed;
mod layered;
pub mod manifest;
mod map;
mod restoring;
pub mod savepoint;
mod schema;
mod shape;
pub mod store;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod ttl;
mod value;

pub use codec::{StateKey, StateValue};
pub use current::CurrentKey;
pub use keyed::{AnyState, Binding, Called, Counts, Due, KeyedState, StateVisitor};
pub use layered::{AggregatingState, ListState, ReducingState};
pub use map::MapState;
pub use schema::{Codec, Kind, Schema};
pub use timers::{AtEnd, Timers};
pub use ttl::{Refresh, Ttl};
pub use value::ValueState;
