//! One facade for concurrency primitives: the standard library's, or loom's under `--cfg squall_loom`.
//!
//! Nothing outside `sys/` names `std::sync::atomic` or `std::thread`; `tests/tidy.rs` checks it. `Arc` is always the
//! standard one: loom's cannot hold trait objects, and no protocol here depends on when a count reaches zero.

pub use std::sync::Arc;

#[cfg(not(squall_loom))]
pub use std::sync::{
    Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(squall_loom)]
pub use loom::sync::{
    Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

pub use crossbeam::utils::CachePadded;
