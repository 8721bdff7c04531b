//! Keyed state against a naive model: any order of operations, freezes, slices, aborts and crashes.

mod checkpoints;
mod value;
