//! Open loop: one run of a topology under a schedule of events that waits for nobody.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::bench::null::slack;
use crate::engine::Running;
use crate::engine::checkpoint::CheckpointReport;
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::process_cpu_time;
use crate::task::measured::Measured;
use crate::task::metrics::Latency;
use crate::task::pace::Pace;
use crate::topology::Topology;

/// How long a run may go on after its last event was due. One that takes longer does not keep up.
const GRACE: Duration = Duration::from_millis(500);
/// Building, starting and stopping a topology.
pub(super) const START_STOP: Duration = Duration::from_millis(20);

/// What a run is put under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Events per second.
    pub rate: NonZeroU64,
    pub warmup: Duration,
    pub length: Duration,
}

/// What was measured in one run.
pub(super) struct Slice {
    /// Since the session began.
    pub start: Duration,
    pub length: Duration,
    /// Intended time to sink, and to the completion of the tree.
    pub sink: Latency,
    pub tree: Latency,
    pub events: u64,
    pub starved: u64,
    pub late_max_ns: u64,
    /// Events that had come and were not done when the run was given up. Those that had not even been emitted are in
    /// the histograms, with the time they had waited by the end of the schedule.
    pub unfinished: u64,
    /// It was done soon after its last event was due. At a rate that it does not keep up with, what it measures is for
    /// how long that went on.
    pub keeps_up: bool,
    /// The input ended before the schedule.
    pub ended_early: bool,
    /// CPU time of the process, as a share of one CPU.
    pub cpu_percent: f64,
    pub executor_cpus: Vec<Option<usize>>,
    /// Of a topology that takes some.
    pub checkpoints: Option<CheckpointReport>,
}

impl Load {
    fn pace(&self) -> Pace {
        Pace { events_per_s: Some(self.rate), warmup: self.warmup, duration: self.length }
    }

    /// Runs a topology under this load from its start to its end.
    ///
    /// # Errors
    /// When it does not start, or fails.
    pub fn run(&self, topology: Topology, clock: &Clock) -> Result<Slice> {
        let began_ns = clock.now_ns();
        let running = topology.paced(self.pace()).start()?;
        let mut has_ended = ends_within(&running, self.warmup)?;
        running.restart_checkpoint_times();
        let (start_ns, cpu) = (clock.now_ns(), process_cpu_time());
        has_ended = has_ended || ends_within(&running, self.length)?;
        let (end_ns, cpu) = (clock.now_ns(), process_cpu_time().saturating_sub(cpu));
        // From before the schedule began: this thread may have been woken late from the warm-up.
        let ended_early = has_ended && Duration::from_nanos(end_ns - began_ns) < self.warmup + self.length;
        has_ended = has_ended || ends_within(&running, GRACE)?;
        let keeps_up = has_ended && Duration::from_nanos(clock.now_ns() - end_ns) <= slack(self.length);
        let mut measured = running.take_measured();
        let executor_cpus = running.executor_cpus().to_vec();
        let checkpoints = running.checkpoints();
        if !has_ended {
            stop(&running)?;
            // What an executor that was just ending by itself did not tell.
            measured.add_later(&running.take_measured());
        }
        let unfinished = measured.backlog();
        let Measured { mut sink, mut tree, .. } = measured;
        self.charge_waiting(measured.due, &mut sink);
        if !tree.is_empty() {
            self.charge_waiting(measured.due, &mut tree);
        }
        let length = Duration::from_nanos((end_ns - start_ns).max(1));
        Ok(Slice {
            start: Duration::from_nanos(start_ns),
            length,
            sink,
            tree,
            events: measured.events,
            starved: measured.starved,
            late_max_ns: measured.late_max_ns,
            unfinished,
            keeps_up,
            ended_early,
            cpu_percent: 100.0 * cpu.as_secs_f64() / length.as_secs_f64(),
            executor_cpus,
            checkpoints,
        })
    }

    /// The last `due` events of the schedule were not emitted: what they had waited when it ended is the least that
    /// they take.
    fn charge_waiting(&self, due: u64, into: &mut Latency) {
        for number in 1..=due {
            let waited_ns = u128::from(number) * 1_000_000_000 / u128::from(self.rate.get());
            into.saturating_record(u64::try_from(waited_ns).unwrap_or(u64::MAX));
        }
    }

    /// Runs a topology and looks at its backlog again and again.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn backlog(&self, topology: Topology, clock: &Clock) -> Result<Backlog> {
        // Longer than it is looked at, also where the machine hesitates: while the spouts still have something to do.
        let load = Load { length: self.length + HESITATION_MAX, ..*self };
        let running = topology.paced(load.pace()).start()?;
        let mut backlog = Backlog { rate: self.rate.get(), seen: Vec::with_capacity(LOOKS), ended_early: false };
        backlog.ended_early = ends_within(&running, self.warmup)?;
        for _ in 0..LOOKS {
            if backlog.ended_early || ends_within(&running, self.length / LOOKS as u32)? {
                backlog.ended_early = true;
                return Ok(backlog);
            }
            let Measured { due, .. } = running.take_measured();
            backlog.seen.push((clock.now_ns(), due));
        }
        stop(&running)?;
        Ok(backlog)
    }
}

fn ends_within(running: &Running, time: Duration) -> Result<bool> {
    running.wait_timeout(time).map_or(Ok(false), |end| end.map(|()| true))
}

fn stop(running: &Running) -> Result<()> {
    running.kill(Some(Duration::ZERO));
    running.wait()
}

/// What the machine may hesitate during a trial before its schedule ends.
const HESITATION_MAX: Duration = Duration::from_secs(60);
/// How often a backlog is looked at.
const LOOKS: usize = 20;
/// A backlog that grows by more than this share of the rate is not the machine's hesitation.
const GROWTH_MAX: f64 = 0.01;

/// The events that had come and were still waiting to be emitted, over time. What has been emitted is bounded by
/// `max_spout_pending` and the lanes: when those are full, it is here that the backlog grows.
#[derive(Debug)]
pub(super) struct Backlog {
    pub rate: u64,
    /// When, in nanoseconds, and how many.
    seen: Vec<(u64, u64)>,
    /// The input ended before the schedule: nothing is known about this rate.
    pub ended_early: bool,
}

impl Backlog {
    /// Events per second by which it grows: the median of the slopes between any two looks (Theil and Sen), so that a
    /// pause of the machine, which is made up for, does not count.
    pub fn growth_per_s(&self) -> f64 {
        let pairs = self.seen.iter().enumerate().flat_map(|(index, &one)| {
            self.seen[index + 1..].iter().map(move |&other| {
                let events = other.1 as f64 - one.1 as f64;
                events * 1e9 / (other.0 - one.0).max(1) as f64
            })
        });
        let mut slopes: Vec<f64> = pairs.collect();
        slopes.sort_unstable_by(f64::total_cmp);
        slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
    }

    /// Whether the rate is one that the topology keeps up with.
    pub fn is_sustained(&self) -> bool {
        self.growth_per_s() <= self.rate as f64 * GROWTH_MAX
    }

    /// As of the last look.
    pub fn last(&self) -> u64 {
        self.seen.last().map_or(0, |look| look.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::target::{Manner, Target};
    use crate::bench::text::Text;
    use crate::task::component::Outcome;
    use crate::task::outlet::Outlet;
    use crate::task::payload::Nothing;
    use crate::topology::builder::TopologyBuilder;
    use crate::topology::settings::{Guarantee, WaitPolicy};

    const MS: Duration = Duration::from_millis(1);

    fn load(rate: u64) -> Load {
        Load { rate: NonZeroU64::new(rate).unwrap(), warmup: 2 * MS, length: 10 * MS }
    }

    fn backlog(rate: u64, seen: impl IntoIterator<Item = u64>) -> Backlog {
        let seen = seen.into_iter().enumerate().map(|(index, due)| (index as u64 * 1_000_000, due)).collect();
        Backlog { rate, seen, ended_early: false }
    }

    #[test]
    fn a_pause_is_no_trend_and_a_slope_is() {
        let pause = (0..20).map(|look| if (10..14).contains(&look) { 5_000 } else { look % 3 });
        assert!(backlog(100_000, pause).is_sustained());
        assert!(backlog(100_000, (0..20).map(|_| 7_000)).is_sustained(), "it stays as it is");
        let grows = backlog(100_000, (0..20).map(|look| look * 2));
        assert_eq!((grows.growth_per_s(), grows.is_sustained(), grows.last()), (2_000.0, false, 38));
    }

    #[test]
    fn every_event_of_the_schedule_is_measured_under_both_guarantees() {
        let text = Text::generated().in_lines_of(10);
        let clock = Clock::real();
        for (target, tuples) in [(Target::word_count(&text), 10), (Target::Chain { text: text.clone() }, 1)] {
            for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
                let manner = Manner { executors: Some(1), guarantee: Some(guarantee), wait: Some(WaitPolicy::Park) };
                let slice = load(10_000).run(target.build(manner).unwrap(), &clock).unwrap();
                // On a very slow machine some may be left over.
                if slice.unfinished == 0 {
                    let trees = if guarantee == Guarantee::AtLeastOnce { 100 } else { 0 };
                    assert_eq!((slice.events, slice.sink.len(), slice.tree.len()), (100, 100 * tuples, trees));
                }
                assert!(!slice.ended_early && (slice.sink.is_empty() || slice.sink.min() > 0));
            }
        }
    }

    #[test]
    fn a_rate_that_nothing_keeps_up_with_is_told() {
        let text = Text::generated().in_lines_of(10);
        let manner = Manner { executors: Some(1), guarantee: None, wait: Some(WaitPolicy::Park) };
        let topology = Target::word_count(&text).build(manner).unwrap();
        let load = Load { rate: NonZeroU64::new(2_000_000_000).unwrap(), warmup: Duration::ZERO, length: 2 * MS };
        let slice = load.run(topology, &Clock::real()).unwrap();
        assert!(!slice.keeps_up && slice.unfinished > 0 && !slice.ended_early);
    }

    #[test]
    fn what_was_not_even_emitted_is_charged_with_the_time_it_had_waited() {
        let mut waited = crate::task::metrics::latency();
        load(1_000).charge_waiting(50, &mut waited);
        assert_eq!((waited.len(), waited.min()), (50, waited.lowest_equivalent(1_000_000)));
        assert!(waited.max() >= 50_000_000);
    }

    #[test]
    fn input_that_ends_before_the_schedule_is_told() {
        let mut t = TopologyBuilder::new("short");
        let numbers = t.source("numbers", || crate::connect::Generator::new(3, |number| number));
        t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| -> Outcome { Ok(()) }).shuffle(&numbers);
        let load = Load { rate: NonZeroU64::new(1_000).unwrap(), warmup: Duration::ZERO, length: 60_000 * MS };
        assert!(load.run(t.build().unwrap(), &Clock::real()).unwrap().ended_early);
    }
}
