//! What people see of a topology: the live line, the table at the end, the log.
//!
//! Nothing in this room runs unless it is called: the library draws nothing and installs no log subscriber by itself.
//! The [command](crate::cli) does both.

pub mod live;
pub mod logs;
pub mod report;
mod table;
mod units;

pub use crate::topology::Progress;
pub use live::{Live, Show, above};
pub use table::{Align, Table};
