//! The seeded simulation: the same engine, one thread, virtual time, and a seed that chooses everything a machine would
//! leave to chance.

#[cfg(test)]
mod campaign;
mod run;

use std::time::Duration;

use crate::engine::placement::TaskRef;
use crate::engine::report::Report;
use crate::error::{Error, Result};
use crate::topology::Topology;
use run::Run;

/// Runs a topology under a seed: the seed chooses the number of executors, the capacity of lanes (down to 1), the
/// length and order of turns, which executor goes on next, how long others are held up, how time passes, and when
/// offloaded jobs run. The same seed gives the same run on every machine.
///
/// At the end of every run it is checked that everything has ended: no stuck task, no open tree, no held tuple, nothing
/// left in a lane. What a topology is meant to compute is for the caller to check, usually by values that its sinks
/// leave behind.
///
/// Components must take randomness, time and other threads from their context only, and must not depend on the order of
/// iteration of a `HashMap` with random state.
///
/// # Examples
///
/// ```
/// use squall::testing::{Simulation, capture, feeder, seeds};
/// use squall::{Outlet, TopologyBuilder};
///
/// # fn main() -> squall::Result<()> {
/// for seed in seeds(100) {
///     let (feeder, spout) = feeder();
///     (0..50).for_each(|n| feeder.feed(n, n));
///     feeder.finish();
///     Simulation::new(seed).run(|| {
///         let mut t = TopologyBuilder::new("doubling");
///         let numbers = t.spout("numbers", spout.clone());
///         let doubled = t.bolt("double", |n: u64, out: &mut Outlet<u64>| out.emit(2 *
///   n)).parallelism(3).shuffle(&numbers); capture(&mut t, &doubled);
///         t.build()
///     })?;
///     assert_eq!(feeder.acked().len(), 50);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    moves_max: u64,
    drain_after: Option<Duration>,
}

/// What a simulated run did.
#[derive(Clone, Debug)]
pub struct SimReport {
    /// The seed of the run.
    pub seed: u64,
    /// Passes of executors and other moves.
    pub moves: u64,
    /// A hash of every move and of the time at which it was made.
    pub trace: u64,
    /// Virtual time the run took.
    pub elapsed: Duration,
    /// The topology's own report.
    pub report: Report,
}

impl Simulation {
    /// A simulation under this seed.
    pub fn new(seed: u64) -> Self {
        Simulation { seed, moves_max: 5_000_000, drain_after: None }
    }

    /// Drains the topology after this much virtual time; needed if its spouts never finish.
    #[must_use]
    pub fn drain_after(mut self, elapsed: Duration) -> Self {
        self.drain_after = Some(elapsed);
        self
    }

    /// Gives a run up after this many moves; 5,000,000 unless told.
    #[must_use]
    pub fn moves_max(mut self, moves: u64) -> Self {
        self.moves_max = moves;
        self
    }

    /// Builds and runs the topology once.
    ///
    /// # Errors
    /// When the topology is invalid, stops in a failed state, gets stuck or leaves something behind. The message names
    /// the seed and how to run it again alone (for tests that take their seeds from [`seeds`]).
    pub fn run(&self, build: impl FnOnce() -> Result<Topology>) -> Result<SimReport> {
        Run::new(self, build()?, None)?.finish()
    }

    /// Builds and runs the topology twice and compares the traces, turn by turn.
    ///
    /// # Errors
    /// As [`run`](Self::run); and when the runs differ, with the component whose turn was the first to differ.
    pub fn run_twice(&self, build: impl Fn() -> Result<Topology>) -> Result<SimReport> {
        let once = || {
            let log = run::TurnLog::default();
            let report = Run::new(self, build()?, Some(&log))?.finish()?;
            Ok::<_, Error>((report, log.take()))
        };
        let (first, first_turns) = once()?;
        let (second, second_turns) = once()?;
        let differs = first_turns.iter().zip(&second_turns).position(|(one, other)| one != other);
        if differs.is_none() && first_turns.len() == second_turns.len() && first.trace == second.trace {
            return Ok(first);
        }
        let task = differs.map_or_else(|| first_turns.last(), |turn| first_turns.get(turn)).map(|turn| turn.task);
        let what = task.map_or_else(|| "no turn".to_owned(), |task| Self::name_of(task, &first.report));
        Err(self.failed("not_deterministic", format!("two runs differ, first in a turn of {what}")))
    }

    fn name_of(task: TaskRef, report: &Report) -> String {
        format!("{}[{}]", report.components[task.component].id, task.index)
    }

    pub(crate) fn failed(&self, state: &'static str, message: impl std::fmt::Display) -> Error {
        let seed = self.seed;
        Error::failed(state, format!("{message}\n(seed {seed}; run it alone with SQUALL_SEED={seed})"))
    }
}

/// The seeds that a test should run: the one of the environment variable `SQUALL_SEED`, or as many as `SQUALL_SEEDS`
/// says, or as many as given.
///
/// # Panics
/// If one of the variables is set and not a number.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.trim().parse::<u64>().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
    };
    match number("SQUALL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SQUALL_SEEDS").unwrap_or(count),
    }
}
