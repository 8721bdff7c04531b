//! What people see of a topology: the live line, the table at the end, the log.
//!
//! Nothing in this room runs unless it is called: the library draws nothing and installs no log subscriber by itself.
//! The [command](crate::cli) does both.

mod file;
pub mod live;
pub mod logs;
mod output;
pub mod report;
mod steps;
mod table;
pub(crate) mod units;

pub use crate::topology::Progress;
pub(crate) use file::WholeFile;
pub use live::{Live, Show, above};
pub(crate) use output::{note, print};
pub(crate) use steps::Steps;
pub use table::{Align, Table};
