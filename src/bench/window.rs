//! Closed loop: a topology without end runs, and a window of its time is cut out and counted.

use std::time::Duration;

use crate::engine::Running;
use crate::engine::report::ComponentCounts;
use crate::error::{Error, Result};
use crate::sys::clock::Clock;
use crate::sys::cpu::process_cpu_time;
use crate::task::metrics::Counts;
use crate::topology::Topology;

/// What was done within a window.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub elapsed: Duration,
    /// CPU time of the whole process.
    pub cpu: Duration,
    before: Vec<ComponentCounts>,
    after: Vec<ComponentCounts>,
}

impl Window {
    /// How much a counter of the components that `wanted` picks by id has grown.
    pub fn grown(&self, wanted: impl Fn(&str) -> bool, counter: impl Fn(&Counts) -> u64) -> u64 {
        let total = |counts: &[ComponentCounts]| -> u64 {
            counts.iter().filter(|component| wanted(&component.id)).map(|component| counter(&component.counts)).sum()
        };
        total(&self.after) - total(&self.before)
    }

    /// Inputs that the components of these ids executed.
    pub fn executed(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.grown(wanted, |counts| counts.executed)
    }
}

/// Runs the topology, lets `warmup` pass, counts for `length`, and kills it.
///
/// # Errors
/// When it does not start, or ends before the window does.
pub(crate) fn window(topology: Topology, warmup: Duration, length: Duration, clock: &Clock) -> Result<Window> {
    let running = topology.start()?;
    let window = of_running(&running, warmup, length, clock)?;
    running.kill(Some(Duration::ZERO));
    running.wait()?;
    Ok(window)
}

fn of_running(running: &Running, warmup: Duration, length: Duration, clock: &Clock) -> Result<Window> {
    pass(running, warmup)?;
    let (start_ns, cpu, before) = (clock.now_ns(), process_cpu_time(), running.counts());
    pass(running, length)?;
    let (after, cpu_after, end_ns) = (running.counts(), process_cpu_time(), clock.now_ns());
    let elapsed = Duration::from_nanos(end_ns - start_ns);
    Ok(Window { elapsed, cpu: cpu_after.saturating_sub(cpu), before, after })
}

fn pass(running: &Running, time: Duration) -> Result<()> {
    match running.wait_timeout(time) {
        None => Ok(()),
        Some(Ok(())) => Err(Error::failed("ended", "its input ended before it had been measured; give it more")),
        Some(Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shapes::{Numbered, Setup, chain, swallow, word_count};
    use crate::bench::text::Text;
    use crate::connect::Generator;
    use crate::task::outlet::Outlet;
    use crate::task::payload::Nothing;
    use crate::topology::builder::TopologyBuilder;
    use crate::topology::settings::{Guarantee, WaitPolicy};

    const TIME: Duration = Duration::from_millis(5);

    fn setup(guarantee: Guarantee) -> Setup {
        Setup { executors: 1, guarantee, wait: WaitPolicy::default() }
    }

    #[test]
    fn word_count_counts_every_word_that_was_split_off() {
        for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
            let topology = word_count(&Text::generated(), &setup(guarantee), 2).unwrap();
            let window = window(topology, TIME, 4 * TIME, &Clock::real()).unwrap();
            let (lines, words) = (window.executed(|id| id == "split"), window.executed(|id| id == "count"));
            assert!(words > lines && lines > 0, "{guarantee}: {lines} lines, {words} words");
            assert!(window.elapsed >= 4 * TIME && window.cpu > Duration::ZERO);
        }
    }

    #[test]
    fn a_chain_carries_what_it_is_given_through_every_hop() {
        let mut t = setup(Guarantee::AtMostOnce).builder("chain");
        let numbers = t.spout("numbers", || Numbered::new(|number| number));
        let last = chain(&mut t, &numbers, 3);
        t.bolt("sink", swallow::<u64>).shuffle(&last);
        let window = window(t.build().unwrap(), TIME, TIME, &Clock::real()).unwrap();
        assert!(["hop1", "hop2", "hop3", "sink"].iter().all(|&hop| window.executed(|id| id == hop) > 0));
    }

    #[test]
    fn a_topology_that_ends_by_itself_cannot_be_measured() {
        let mut t = TopologyBuilder::new("short");
        let numbers = t.source("numbers", || Generator::new(3, |number| number));
        t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
        let error = window(t.build().unwrap(), Duration::from_secs(60), TIME, &Clock::real()).unwrap_err();
        assert!(error.to_string().contains("ended before"), "{error}");
    }
}
