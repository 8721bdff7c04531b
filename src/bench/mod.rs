//! The latency lab: measures this machine's own limits and squall against them, in one run.
//!
//! A bench turns [`Options`] into [`Row`]s through a [`Session`], which shows progress, keeps every row and writes the
//! files of a report. Closed loop (throughput) and open loop (latency) never share a row or a table. Every ratio is
//! between rows of one run, whose measurements were taken in turns so that both meet the same noise.

pub(crate) mod floor;
pub(crate) mod hop;
mod null;
mod pingpong;
mod pinned;
mod row;
mod schedule;
mod session;
mod shapes;
mod text;
mod timing;
mod window;

pub(crate) use row::{Interval, Row};
pub(crate) use session::{Options, Session, Subject};
