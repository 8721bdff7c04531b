//! One facade for concurrency primitives: the standard library's, or loom's under `--cfg squall_loom`.
//!
//! Nothing outside `sys/` names `std::sync::atomic` or `std::thread`; `tests/tidy.rs` checks it.

#[cfg(not(squall_loom))]
pub use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(squall_loom)]
pub use loom::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

pub use crossbeam::utils::CachePadded;
