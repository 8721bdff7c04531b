//! The test kit: the engine on one thread in virtual time.
//!
//! [`TestDriver`] runs a topology step by step: pipe values in through a [`feeder`], advance the clock, read every
//! stream through a [`capture`]. [`BoltHarness`] puts one bolt through everything that may happen to it. [`Simulation`]
//! runs a topology under a seed that chooses the order of turns, lane capacities, delays and faults.
//!
//! All three run what a real run does: the same executors, lanes, ledgers and wake-ups, stepped instead of threaded.

#[cfg(test)]
mod callbacks;
mod driver;
mod feeder;
mod harness;
mod simulation;
mod stage;

pub use driver::TestDriver;
pub use feeder::{Captured, Feeder, FeederSpout, capture, feeder};
pub use harness::BoltHarness;
pub use simulation::{SimReport, Simulation, seeds};
