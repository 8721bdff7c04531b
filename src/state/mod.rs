//! State that survives: keyed state in memory, its changes, and the stores that keep them.

pub mod delta;
pub mod directory;
pub mod manifest;
pub mod store;
