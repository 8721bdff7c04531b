//! What a user writes.

pub mod settings;
