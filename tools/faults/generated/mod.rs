//! Topologies drawn from a seed, as the simulation draws them, run by real processes.
//!
//! Draw, components, oracle and judgement are the simulation's; here are files for sinks, processes and faults.

#[path = "../../../src/testing/simulation/generated/bare.rs"]
mod bare;
#[path = "../../../src/testing/simulation/generated/build.rs"]
mod build;
mod children;
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../../../src/testing/simulation/generated/draw.rs"]
mod draw;
#[path = "../../../src/testing/simulation/generated/judge.rs"]
mod judge;
#[path = "../../../src/testing/simulation/generated/oracle.rs"]
mod oracle;
#[path = "../../../src/testing/simulation/generated/parts.rs"]
mod parts;
mod program;
#[path = "../../../src/testing/simulation/generated/records.rs"]
mod records;
pub mod runs;
mod sinks;
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../../../src/testing/simulation/generated/world.rs"]
mod world;

pub use program::run_if_asked;

use draw::Size;

/// In a second or so.
const REAL: Size = Size {
    inputs_max: 600,
    inputs_of_pending_max: [(1, 20), (2, 40), (5, 100), (1_000, 600)],
    deliveries_max: 4_000,
    rates: [500, 3_000, 1_000_000],
    outages_ms: [1, 5, 20, 100, 300],
};
