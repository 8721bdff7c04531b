//! `TestDriver`: a topology run by hand, in virtual time.

use std::time::Duration;

use super::stage::{Move, Stage};
use crate::engine::control::{Phase, Request};
use crate::engine::report::Report;
use crate::error::{Error, Result};
use crate::sys::disk::Disk;
use crate::sys::disk::simulated::Simulated;
use crate::task::measured::Measured;
use crate::task::metrics::Counts;
use crate::topology::Topology;
use crate::topology::settings::Settings;

/// Moves after which a topology that never comes to rest is given up.
const MOVES_MAX: u64 = 1_000_000;

/// Runs a topology without threads, in virtual time: nothing happens unless a method of the driver makes it happen, and
/// time stands still unless it is [advanced](Self::advance). The same calls give the same run, always.
///
/// The settings of the topology hold, except that the number of executors is 1 unless set, the seed is 0 unless set,
/// and nothing is pinned. Dropping the driver kills the topology, so that its components are closed and cleaned up.
///
/// See [`feeder`](super::feeder) for an example.
pub struct TestDriver {
    stage: Stage,
    moves: Vec<Move>,
    holds_jobs: bool,
}

impl TestDriver {
    /// Opens and prepares every task and runs until nothing moves.
    ///
    /// # Errors
    /// With what is wrong with the settings; with the component whose `open` or `prepare` failed; with whatever stopped
    /// the topology since.
    pub fn start(topology: Topology) -> Result<Self> {
        let settings = topology.resolve()?.settings;
        let seed = settings.seed.unwrap_or(0);
        Self::start_on(topology, settings, seed, Simulated::new(seed))
    }

    /// As [`start`](Self::start), with checkpoints on this disk: two topologies after one another may use it, as two
    /// runs of a program do.
    pub(super) fn start_on(topology: Topology, settings: Settings, seed: u64, disk: Simulated) -> Result<Self> {
        let mut stage = Stage::new(topology, settings, Disk::simulated(disk), seed, |_| {})?;
        stage.open();
        let mut driver = TestDriver { stage, moves: Vec::new(), holds_jobs: false };
        driver.run_until_idle()?;
        Ok(driver)
    }

    /// Runs until nothing moves at the present time. Offloaded jobs run too, in order, unless they are
    /// [held](Self::hold_jobs).
    ///
    /// # Errors
    /// When the topology has stopped in a failed state, or does not come to rest within 1,000,000 moves: a spout that
    /// always emits never lets it.
    pub fn run_until_idle(&mut self) -> Result<()> {
        let end = self.stage.moves + MOVES_MAX;
        loop {
            self.stage.possible(&mut self.moves);
            if self.holds_jobs {
                self.moves.retain(|chosen| !matches!(chosen, Move::Job(_)));
            }
            if self.moves.is_empty() {
                return if self.phase() == Phase::Stopped { self.ended() } else { Ok(()) };
            }
            let jobs = self.moves.iter().filter(|chosen| matches!(chosen, Move::Job(_))).count();
            self.moves.truncate(self.moves.len() - jobs.saturating_sub(1));
            for index in 0..self.moves.len() {
                self.stage.make(self.moves[index]);
            }
            if self.stage.moves > end {
                return Err(Error::failed("not_idle", "the topology did not come to rest within 1,000,000 moves"));
            }
        }
    }

    /// The outcome; that no input is unaccounted for belongs to it.
    fn ended(&self) -> Result<()> {
        let tasks = self.stage.shared.metrics.iter().flatten();
        match tasks.map(|task| task.unaccounted()).sum::<u64>() {
            0 => self.stage.outcome(),
            inputs => Err(Error::failed("unaccounted", format!("{inputs} inputs are unaccounted for"))),
        }
    }

    /// Lets time pass: everything due on the way happens at its time.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn advance(&mut self, by: Duration) -> Result<()> {
        let until_ns = self.stage.now_ns() + by.as_nanos() as u64;
        self.run_until_idle()?;
        while let Some(due_ns) = self.stage.next_due_ns().filter(|&due_ns| due_ns <= until_ns) {
            self.stage.advance_to(due_ns);
            self.run_until_idle()?;
        }
        self.stage.advance_to(until_ns);
        Ok(())
    }

    /// Runs to the end, letting time pass as needed.
    ///
    /// # Errors
    /// When the topology has stopped in a failed state, or waits for something that will never happen.
    pub fn run_to_end(&mut self) -> Result<()> {
        loop {
            self.run_until_idle()?;
            if self.phase() == Phase::Stopped {
                return Ok(());
            }
            let Some(due_ns) = self.stage.next_due_ns() else {
                let message = format!("everything sleeps and nothing is due: {}", self.stage.describe());
                return Err(Error::failed("stuck", message));
            };
            self.stage.advance_to(due_ns);
        }
    }

    /// Takes in nothing new, finishes what is under way, ends.
    ///
    /// # Errors
    /// As [`run_to_end`](Self::run_to_end).
    pub fn drain(&mut self) -> Result<()> {
        self.stage.request(Request::Drain);
        self.run_to_end()
    }

    /// With checkpoints: stops after a last one, without an end of input.
    #[cfg(test)]
    pub(super) fn suspend(&mut self) -> Result<()> {
        self.stage.request(Request::Suspend);
        self.run_to_end()
    }

    /// Deactivates the spouts.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn deactivate(&mut self) -> Result<()> {
        self.stage.request(Request::Deactivate);
        self.run_until_idle()
    }

    /// Activates the spouts again.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn activate(&mut self) -> Result<()> {
        self.stage.request(Request::Activate);
        self.run_until_idle()
    }

    /// Deactivates the spouts and, after the wait, stops whatever is under way.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn kill(&mut self, wait: Duration) -> Result<()> {
        self.stage.request(Request::Kill { wait_ns: Some(wait.as_nanos() as u64) });
        self.advance(wait)
    }

    /// From here on offloaded jobs wait until [`run_job`](Self::run_job), or no longer.
    pub fn hold_jobs(&mut self, hold: bool) {
        self.holds_jobs = hold;
    }

    /// Offloaded jobs that wait.
    pub fn waiting_jobs(&self) -> usize {
        self.stage.shared.offload.deferred_len()
    }

    /// Runs one waiting job, by its place in the queue, and then whatever follows from it.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn run_job(&mut self, index: usize) -> Result<()> {
        self.stage.make(Move::Job(index));
        self.run_until_idle()
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.stage.now_ns())
    }

    /// Where the topology is in its life.
    pub fn phase(&self) -> Phase {
        self.stage.phase()
    }

    /// The counters of one component, all its tasks together.
    ///
    /// # Panics
    /// If there is no component of this id.
    pub fn counts(&self, component: &str) -> Counts {
        let index = self.stage.shared.plan.components.iter().position(|plan| plan.id == component);
        let index = index.unwrap_or_else(|| panic!("there is no component {component:?}"));
        let mut counts = Counts::default();
        self.stage.shared.metrics[index].iter().for_each(|task| counts += task.counts());
        counts
    }

    /// What a [paced](Topology::paced) topology has measured since the last call, in virtual time.
    pub fn take_measured(&mut self) -> Measured {
        self.stage.take_measured()
    }

    /// What the run has done so far.
    pub fn report(&self) -> Report {
        self.stage.report()
    }
}

impl Drop for TestDriver {
    fn drop(&mut self) {
        if self.phase() != Phase::Stopped && !crate::sys::thread::panicking() {
            // A failed end has nobody left to tell.
            let _ = self.kill(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::task::held::Tuple;
    use crate::task::outlet::Outlet;
    use crate::task::payload::Nothing;
    use crate::testing::{capture, feeder};
    use crate::topology::builder::TopologyBuilder;

    #[test]
    fn values_go_through_and_trees_end_only_when_driven() {
        let (feeder, spout) = feeder::<u32>();
        let mut t = TopologyBuilder::new("driven");
        t.settings(|settings| settings.executors = Some(3));
        let numbers = t.spout("numbers", spout);
        let odd = |n: u32, out: &mut Outlet<u32>| match n % 2 {
            1 => {
                out.emit(n);
                Ok(())
            }
            _ => Err(Failure::retry("even")),
        };
        let odd = t.bolt("odd", odd).parallelism(2).shuffle(&numbers);
        let captured = capture(&mut t, &odd);
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        (0..4).for_each(|n| feeder.feed(u64::from(n), n));
        feeder.feed_untracked(5);
        assert!(captured.is_empty() && feeder.waiting() == 5, "nothing moves by itself");
        driver.run_until_idle().unwrap();
        let mut values = captured.take();
        values.sort_unstable();
        assert_eq!(values, [1, 3, 5]);
        let (mut acked, mut failed) = (feeder.acked(), feeder.failed());
        acked.sort_unstable();
        failed.sort_unstable();
        assert_eq!((acked, failed), (vec![1, 3], vec![0, 2]));
        assert_eq!(feeder.failures()[0].1.origin().unwrap().component.as_ref(), "odd");
        driver.drain().unwrap();
        assert_eq!(driver.phase(), Phase::Stopped);
        assert_eq!(driver.report().components[0].counts.acked, 2);
        assert_eq!(driver.counts("odd").failed, 2);
        assert!(driver.elapsed() < Duration::from_millis(1), "no time has passed");
    }

    #[test]
    fn a_deactivated_spout_emits_nothing_until_it_is_activated_again() {
        let (feeder, spout) = feeder::<u32>();
        let mut t = TopologyBuilder::new("sleepy");
        let numbers = t.spout("numbers", spout);
        let captured = capture(&mut t, &numbers);
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.deactivate().unwrap();
        feeder.feed(1, 1);
        driver.advance(Duration::from_secs(1)).unwrap();
        assert!(captured.is_empty());
        driver.activate().unwrap();
        assert_eq!(captured.take(), [1]);
        driver.kill(Duration::from_secs(2)).unwrap();
        assert_eq!(driver.phase(), Phase::Stopped);
        assert_eq!(driver.elapsed(), Duration::from_secs(3));
    }

    #[test]
    fn a_failing_prepare_is_told_with_its_component() {
        struct Refuses;
        impl crate::task::component::Bolt for Refuses {
            type In = u32;
            type Out = Nothing;
            fn prepare(
                &mut self,
                _: &mut crate::task::context::BoltContext<Nothing>,
            ) -> crate::task::component::Outcome {
                Err(Failure::retry("no file"))
            }
            fn execute(&mut self, _: u32, _: &mut Outlet<Nothing>) -> crate::task::component::Outcome {
                Ok(())
            }
        }
        let (_feeder, spout) = feeder::<u32>();
        let mut t = TopologyBuilder::new("refused");
        let numbers = t.spout("numbers", spout);
        t.bolt("refuses", || Refuses).shuffle(&numbers);
        let error = TestDriver::start(t.build().unwrap()).err().unwrap();
        assert!(error.to_string().contains("refuses[0]: no file"), "{error}");
    }

    #[test]
    fn waiting_for_what_never_comes_is_an_error_and_not_a_hang() {
        struct Keeps(Vec<Tuple<u32>>);
        impl crate::task::component::ManualBolt for Keeps {
            type In = u32;
            type Out = Nothing;
            fn execute(&mut self, tuple: Tuple<u32>, _: &mut Outlet<Nothing>) -> crate::task::component::Outcome {
                self.0.push(tuple);
                Ok(())
            }
        }
        let (feeder, spout) = feeder::<u32>();
        let mut t = TopologyBuilder::new("kept");
        t.settings(|settings| settings.message_timeouts_enabled = false);
        let numbers = t.spout("numbers", spout);
        t.bolt("keeps", || Keeps(Vec::new())).shuffle(&numbers);
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        feeder.feed(1, 1);
        assert_eq!(driver.run_to_end().unwrap_err().state(), Some("stuck"));
        assert!(feeder.acked().is_empty() && feeder.failed().is_empty());
    }
}
