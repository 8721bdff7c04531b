//! What runs a topology: placement, wiring, executors, waiting, supervision, life cycle.

pub mod checkpoint;
pub(crate) mod control;
pub(crate) mod executor;
pub(crate) mod ids;
pub mod placement;
pub(crate) mod places;
pub mod report;
mod running;
pub(crate) mod seat;
mod standstill;
mod threads;
pub(crate) mod watch;
pub(crate) mod wiring;

pub use running::Running;
