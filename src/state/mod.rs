//! State that survives: keyed state in memory, its changes, and the stores that keep them.

pub(crate) mod codec;
mod current;
pub mod delta;
pub mod directory;
pub mod manifest;
pub mod store;
mod entries;
pub mod key;
mod keyed;
mod restoring;
mod schema;
mod shape;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use codec::{StateKey, StateValue};
pub use current::CurrentKey;
pub use keyed::{Binding, Counts, Due, KeyedState, StateVisitor};
pub use schema::{Codec, Kind, Schema};
pub use value::ValueState;
