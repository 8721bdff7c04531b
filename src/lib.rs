//! squall: a low-latency, per-event topology engine.

pub mod error;
pub mod sys;
pub mod task;
pub mod topology;

pub use error::{Error, Failure, Result};
