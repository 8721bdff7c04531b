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
    window_until(topology, warmup, length, clock, |_| true)
}

/// Nanoseconds per input that the components which `counted` picks by id executed. The window lasts `length`, or until
/// there is at least one such input.
///
/// # Errors
/// As [`window`].
pub(crate) fn ns_per_input(
    topology: Topology,
    warmup: Duration,
    length: Duration,
    clock: &Clock,
    counted: impl Fn(&str) -> bool,
) -> Result<f64> {
    let window = window_until(topology, warmup, length, clock, |window| window.executed(&counted) > 0)?;
    Ok(window.elapsed.as_nanos() as f64 / window.executed(&counted) as f64)
}

fn window_until(
    topology: Topology,
    warmup: Duration,
    length: Duration,
    clock: &Clock,
    is_enough: impl Fn(&Window) -> bool,
) -> Result<Window> {
    let running = topology.start()?;
    pass(&running, warmup)?;
    let (start_ns, cpu, before) = (clock.now_ns(), process_cpu_time(), running.counts());
    let window = loop {
        pass(&running, length)?;
        let (after, cpu_after, end_ns) = (running.counts(), process_cpu_time(), clock.now_ns());
        let elapsed = Duration::from_nanos(end_ns - start_ns);
        let window = Window { elapsed, cpu: cpu_after.saturating_sub(cpu), before: before.clone(), after };
        if is_enough(&window) {
            break window;
        }
    };
    running.kill(Some(Duration::ZERO));
    running.wait()?;
    Ok(window)
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
    use crate::bench::shapes::{Numbered, Setup, chain, swallow};
    use crate::connect::Generator;
    use crate::task::outlet::Outlet;
    use crate::task::payload::Nothing;
    use crate::topology::builder::TopologyBuilder;
    use crate::topology::settings::{Guarantee, WaitPolicy};

    const TIME: Duration = Duration::from_millis(5);

    fn setup(guarantee: Guarantee) -> Setup {
        Setup { executors: 1, guarantee, wait: WaitPolicy::default() }
    }

    /// A window in which each of these components executed something: true for every topology that works, however long
    /// that takes.
    fn window_with(topology: Topology, ids: &[&str]) -> Window {
        let each = |window: &Window| ids.iter().all(|&id| window.executed(|other| other == id) > 0);
        window_until(topology, TIME, TIME, &Clock::real(), each).unwrap()
    }

    #[test]
    fn a_chain_carries_what_it_is_given_through_every_hop() {
        let numbers = |depth| {
            let mut t = setup(Guarantee::AtMostOnce).builder("chain");
            let numbers = t.spout("numbers", || Numbered::new(|number| number));
            let last = chain(&mut t, &numbers, depth);
            t.bolt("sink", swallow::<u64>).shuffle(&last);
            t.build().unwrap()
        };
        window_with(numbers(3), &["hop1", "hop2", "hop3", "sink"]);
        let per_input = |counted: fn(&str) -> bool| ns_per_input(numbers(1), TIME, TIME, &Clock::real(), counted);
        assert!(per_input(|id| id == "sink").unwrap() > 0.0);
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
