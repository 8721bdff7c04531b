//! The seeded simulation: the same engine, one thread, virtual time, and a seed that chooses everything a machine would
//! leave to chance.

#[cfg(test)]
mod campaign;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod noticed;
#[cfg(test)]
mod recovery;
mod run;

use std::time::Duration;

use crate::engine::placement::TaskRef;
use crate::engine::report::Report;
use crate::error::{Error, Result};
use crate::task::chaos::Odds;
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
///         let double = |n: u64, out: &mut Outlet<u64>| out.emit(2 * n);
///         let doubled = t.bolt("double", double).parallelism(3).shuffle(&numbers);
///         capture(&mut t, &doubled);
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
    odds: Option<Odds>,
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
        Simulation { seed, moves_max: 5_000_000, drain_after: None, odds: None }
    }

    /// Drains the topology after this much virtual time; needed if its spouts never finish.
    #[must_use]
    pub fn drain_after(mut self, elapsed: Duration) -> Self {
        self.drain_after = Some(elapsed);
        self
    }

    /// Injects faults into the bolts, automatic, keyed and manual, without their doing: with these probabilities, drawn
    /// each time a task turns to one of its lanes, the next input fails, or the instance breaks down over it as by a
    /// panic and is rebuilt. The run's report counts them as `injected`. The limit of rebuilds is lifted.
    #[must_use]
    pub fn faults(mut self, fail: f64, panic: f64) -> Self {
        self.odds = Some(Odds { fail, panic });
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

/// The seeds that a test should run: the one of the environment variable `SQUALL_SEED`; or those of `SQUALL_SEEDS`,
/// which is a number of seeds or a range such as `100000..200000`; or as many as given.
///
/// # Panics
/// If one of the variables is set to anything else.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_else(|_| panic!("{text:?} is no seed"));
    if let Ok(seed) = std::env::var("SQUALL_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("SQUALL_SEEDS") {
        Ok(range) => range.split_once("..").map_or_else(|| 0..number(&range), |(from, to)| number(from)..number(to)),
        Err(_) => 0..count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::outlet::Outlet;
    use crate::testing::{capture, feeder};
    use crate::topology::builder::TopologyBuilder;

    /// Doubles some numbers; gives what came out, and how many trees were acked and failed.
    fn doubled(simulation: &Simulation) -> (Result<SimReport>, Vec<u64>, usize, usize) {
        let (feeder, spout) = feeder();
        (0..50).for_each(|n| feeder.feed(n, n));
        feeder.finish();
        let mut captured = None;
        let report = simulation.run(|| {
            let mut t = TopologyBuilder::new("doubling");
            let numbers = t.spout("numbers", spout);
            let double = |n: u64, out: &mut Outlet<u64>| out.emit(2 * n);
            let doubled = t.bolt("double", double).parallelism(3).shuffle(&numbers);
            captured = Some(capture(&mut t, &doubled));
            t.build()
        });
        let mut values = captured.expect("built").take();
        values.sort_unstable();
        (report, values, feeder.acked().len(), feeder.failed().len())
    }

    #[test]
    fn any_order_of_turns_gives_the_same_result() {
        let mut traces = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let (report, values, acked, _) = doubled(&Simulation::new(seed));
            traces.insert(report.unwrap().trace);
            assert_eq!(values, (0..50).map(|n| 2 * n).collect::<Vec<u64>>());
            assert_eq!(acked, 50);
        }
        assert_eq!(traces.len(), 50, "no two seeds take the same way");
    }

    #[test]
    fn injected_faults_fail_trees_and_are_counted() {
        let mut failed_in_all = 0;
        for seed in 0..50 {
            let (report, _, acked, failed) = doubled(&Simulation::new(seed).faults(0.05, 0.05));
            let report = report.unwrap().report;
            assert_eq!(acked + failed, 50);
            assert!(failed as u64 <= report.injected.fails + report.injected.panics);
            assert!(report.components.iter().map(|c| c.counts.rebuilt).sum::<u64>() <= report.injected.panics);
            failed_in_all += failed;
        }
        assert!(failed_in_all > 0);
    }

    #[test]
    fn a_run_that_waits_for_ever_is_stuck_and_names_its_seed() {
        let (_feeder, spout) = feeder::<u64>();
        let build = || {
            let mut t = TopologyBuilder::new("hungry");
            t.spout("numbers", spout.clone());
            t.build()
        };
        let error = Simulation::new(17).run(build).unwrap_err();
        assert!(error.state() == Some("stuck") && error.to_string().contains("SQUALL_SEED=17"), "{error}");
        Simulation::new(17).drain_after(Duration::from_secs(1)).run(build).unwrap();
    }

    #[test]
    fn two_runs_that_differ_name_the_component() {
        let counter = std::cell::Cell::new(0);
        let build = || {
            counter.set(counter.get() + 1);
            let (feeder, spout) = feeder::<u64>();
            (0..10).for_each(|n| feeder.feed(n, n));
            feeder.finish();
            let mut t = TopologyBuilder::new("fickle");
            let numbers = t.spout("numbers", spout);
            let run = counter.get();
            let fickle = move |n: u64, out: &mut Outlet<u64>| (0..n % run).for_each(|_| out.emit(n));
            let fickle = t.bolt("fickle", fickle).shuffle(&numbers);
            capture(&mut t, &fickle);
            t.build()
        };
        let error = Simulation::new(1).run_twice(build).unwrap_err();
        assert_eq!(error.state(), Some("not_deterministic"));
        assert!(error.to_string().contains("fickle[0]"), "{error}");
    }
}
