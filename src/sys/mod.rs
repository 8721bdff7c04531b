//! Atomics, threads, clock and CPUs: the only door to them for the rest of the crate.

pub mod sync;
