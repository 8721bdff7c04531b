//! What flows through a topology that nothing holds back, and what that takes.

use std::time::Duration;

use crate::engine::Running;
use crate::engine::report::ComponentCounts;
use crate::error::Result;
use crate::sys::alloc::{self, Counted};
use crate::sys::clock::Clock;
use crate::sys::cpu::{peak_rss_bytes, process_cpu_time, reset_peak_rss};
use crate::task::metrics::Counts;
use crate::topology::Topology;

/// What passed in a window of a run.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Values that spouts emitted, and inputs of the bolts at the end of the way.
    pub emitted: u64,
    pub executed: u64,
    pub elapsed: Duration,
    /// CPU time of the process.
    pub cpu: Duration,
    /// Of the process, from before the start; `None` where the system does not say or cannot begin anew.
    pub peak_rss_bytes: Option<u64>,
    /// Of all threads of the process, if they were counted. Never of a run that is timed.
    pub allocated: Counted,
    /// The input ended before the window: it is the whole run.
    pub is_whole_run: bool,
}

/// When a window is opened, and for how long; whether allocations are counted in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub warmup: Duration,
    pub length: Duration,
    pub counts_allocations: bool,
}

/// What the counters said at one end of a window.
struct Mark {
    at_ns: u64,
    cpu: Duration,
    emitted: u64,
    executed: u64,
}

impl Window {
    /// Runs a topology until the window is over, or the input.
    ///
    /// # Errors
    /// When the topology does not start, or fails.
    pub fn flow(&self, topology: Topology, clock: &Clock) -> Result<Flow> {
        let sinks = sinks(&topology)?;
        let can_begin_anew = reset_peak_rss();
        let running = topology.start()?;
        let mut from = Mark { at_ns: clock.now_ns(), cpu: process_cpu_time(), emitted: 0, executed: 0 };
        if self.counts_allocations {
            alloc::start();
        }
        let is_whole_run = ends_within(&running, self.warmup)?;
        let mut has_ended = is_whole_run;
        if !is_whole_run {
            from = Mark::now(&running, &sinks, clock);
            if self.counts_allocations {
                alloc::start();
            }
            has_ended = ends_within(&running, self.length)?;
        }
        let to = Mark::now(&running, &sinks, clock);
        let allocated = if self.counts_allocations { alloc::stop() } else { Counted::default() };
        let peak_rss_bytes = peak_rss_bytes().filter(|_| can_begin_anew);
        if !has_ended {
            running.kill(Some(Duration::ZERO));
            running.wait()?;
        }
        Ok(Flow {
            emitted: to.emitted - from.emitted,
            executed: to.executed - from.executed,
            elapsed: Duration::from_nanos((to.at_ns - from.at_ns).max(1)),
            cpu: to.cpu.saturating_sub(from.cpu),
            peak_rss_bytes,
            allocated,
            is_whole_run,
        })
    }
}

impl Mark {
    fn now(running: &Running, sinks: &[bool], clock: &Clock) -> Self {
        let counts = running.counts();
        let total = |wanted: &dyn Fn(usize, &ComponentCounts) -> bool, counter: fn(&Counts) -> u64| {
            let wanted = counts.iter().enumerate().filter(|(index, component)| wanted(*index, component));
            wanted.map(|(_, component)| counter(&component.counts)).sum()
        };
        Mark {
            at_ns: clock.now_ns(),
            cpu: process_cpu_time(),
            emitted: total(&|_, component| component.kind == "spout", |counts| counts.emitted),
            executed: total(&|index, _| sinks[index], |counts| counts.executed),
        }
    }
}

fn sinks(topology: &Topology) -> Result<Vec<bool>> {
    let plan = topology.plan(&topology.resolve()?.settings);
    Ok((0..plan.components.len()).map(|component| plan.is_sink(component)).collect())
}

fn ends_within(running: &Running, time: Duration) -> Result<bool> {
    running.wait_timeout(time).map_or(Ok(false), |end| end.map(|()| true))
}
