//! squall: a low-latency, per-event topology engine.

pub mod error;
pub mod sys;

pub use error::{Error, Failure, Result};
