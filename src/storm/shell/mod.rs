//! Multilang: bolts and spouts that run in a process of their own and speak Storm's protocol over its standard input
//! and output. Storm's own clients, pystorm and streamparse run unmodified.
//!
//! A [`ShellSpec`] says what to start; [`ShellSpec::bolt`] and [`ShellSpec::spout`] make the components. One task has
//! one child. A few threads of its own read and write the child's pipes; the task meets queues only, so no executor
//! ever waits for a child. A child that ends, hangs or writes what it must not is a broken instance: its tuples fail at
//! once and the engine builds the next one after a back-off, as after a panic.

mod bolt;
mod context;
mod exchange;
pub(crate) mod framing;
pub(crate) mod json;
mod keeper;
mod launch;
mod liveness;
mod open;
mod owed;
pub(crate) mod protocol;
mod spec;
mod spout;
mod stderr;
mod suspects;
#[cfg(test)]
mod tests;
pub(crate) mod value;
mod writer;

pub use bolt::ShellBolt;
pub use framing::{MESSAGE_MAX_BYTES, Serializer};
pub use spec::ShellSpec;
pub use spout::{ShellId, ShellSpout};

pub use crate::storm::child;
