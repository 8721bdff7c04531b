//! What people see of a topology: the live line, the table at the end, the log.
//!
//! Nothing in this room runs unless it is called: the library draws nothing and installs no log subscriber by itself.
//! The [command](crate::cli) does both. What it says on standard error goes through a bounded queue to a thread that
//! writes ([`sys::output`](crate::sys::output)): neither a task nor a signal nor the end ever waits for a reader.

mod file;
pub mod live;
pub mod logs;
mod output;
pub mod report;
mod steps;
mod table;
pub(crate) mod units;

pub use crate::topology::Progress;
pub(crate) use file::{WholeFile, neighbour};
pub use live::{Live, Show, above};
pub(crate) use output::{END_WAIT, note, print, print_at_end};
pub(crate) use steps::Steps;
pub use table::{Align, Table};
