//! Atomics, threads, clock, randomness and CPUs: the only door to them for the rest of the crate.

pub mod alloc;
pub mod bits;
pub mod child;
pub mod clock;
pub mod cpu;
pub mod disk;
pub(crate) mod mutation;
pub mod offload;
pub mod output;
pub mod park;
pub mod process;
pub mod random;
pub mod scratch;
pub mod signals;
pub(crate) mod stdin;
pub mod sync;
pub mod thread;
