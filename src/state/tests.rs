//! Keyed state against a naive model: any order of operations, freezes, slices, aborts and crashes.

mod checkpoints;
mod map;
mod timers;
mod ttl;
mod value;
