//! What a measured run has measured, and how a sink measures.

use crate::sys::clock::Clock;
use crate::sys::sync::Arc;
use crate::task::metrics::{Latency, latency};
use crate::task::pace::Schedule;

/// What was measured since one was last taken, over all tasks. Counted are the events whose intended times (in closed
/// loop: whose emits) lie after the warm-up and within the duration.
///
/// Resolution of the histograms is 1 %, rounded up. Nothing is lost between two takings.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Open loop: from an event's intended time to the moment when a sink had executed a tuple that descends from it,
    /// one sample per such tuple. A sink is a component that nobody subscribes to. What a bolt emits has the intended
    /// time of the input it is executing; emits of ticks, of `finish` and of other threads have none and are not
    /// counted, nor is what fails.
    ///
    /// A sink reads the clock once per visit of a lane, after its last tuple: a sample is never too small, and too
    /// large by at most the time of the tuples that were executed after it in the same visit.
    pub sink: Latency,
    /// From an event's intended time (in closed loop: from its emit) to the completion of its tree. Empty with tracking
    /// off. Trees that fail are not counted: see `failed` of the spouts.
    pub tree: Latency,
    /// Events emitted; open loop only.
    pub events: u64,
    /// Times an event was due and its spout had nothing to emit.
    pub starved: u64,
    /// How late an event was emitted, at most.
    pub late_max_ns: u64,
    /// As of now: events that are due and have not been emitted.
    pub due: u64,
    /// As of now: trees that are not complete.
    pub pending: u64,
    /// As of now: tuples waiting in lanes.
    pub queued: u64,
}

impl Default for Measured {
    fn default() -> Self {
        Measured {
            sink: latency(),
            tree: latency(),
            events: 0,
            starved: 0,
            late_max_ns: 0,
            due: 0,
            pending: 0,
            queued: 0,
        }
    }
}

impl Measured {
    /// Adds what other tasks have measured in the same time.
    pub(crate) fn add(&mut self, other: &Measured) {
        add(&mut self.sink, &other.sink);
        add(&mut self.tree, &other.tree);
        self.events += other.events;
        self.starved += other.starved;
        self.late_max_ns = self.late_max_ns.max(other.late_max_ns);
        self.due += other.due;
        self.pending += other.pending;
        self.queued += other.queued;
    }

    /// Adds what the same tasks have measured later. Of what is as of now, the larger counts.
    pub(crate) fn add_later(&mut self, later: &Measured) {
        let (due, pending, queued) = (self.due, self.pending, self.queued);
        self.add(later);
        (self.due, self.pending, self.queued) =
            (due.max(later.due), pending.max(later.pending), queued.max(later.queued));
    }

    /// Events that have come and are not done: due, in open trees or, where trees are not tracked, in lanes.
    pub fn backlog(&self) -> u64 {
        self.due + if self.pending > 0 { self.pending } else { self.queued }
    }

    pub(crate) fn add_tree(&mut self, tree: &mut Latency) {
        add(&mut self.tree, tree);
        tree.reset();
    }
}

fn add(into: &mut Latency, from: &Latency) {
    into.add(from).expect("all latency histograms have the same bounds");
}

/// The end of the way in one sink task.
#[derive(Debug)]
pub(crate) struct SinkMeter {
    schedule: Arc<Schedule>,
    clock: Clock,
    latency: Latency,
    /// Intended times of what was executed in this visit of a lane; tuples of one event usually come together.
    executed: Vec<(u64, u64)>,
}

impl SinkMeter {
    pub fn new(schedule: Arc<Schedule>, clock: Clock) -> Self {
        SinkMeter { schedule, clock, latency: latency(), executed: Vec::with_capacity(64) }
    }

    /// A tuple has been executed.
    #[inline]
    pub fn executed(&mut self, birth_ns: u64) {
        match self.executed.last_mut() {
            Some((same, count)) if *same == birth_ns => *count += 1,
            _ => self.executed.push((birth_ns, 1)),
        }
    }

    /// The visit is over: what was executed is done now.
    #[inline]
    pub fn visited(&mut self) {
        if self.executed.is_empty() {
            return;
        }
        let (now_ns, window_ns) = (self.clock.now_ns(), self.schedule.window_ns());
        for (birth_ns, count) in self.executed.drain(..) {
            if window_ns.contains(&birth_ns) {
                self.latency.saturating_record_n(now_ns.saturating_sub(birth_ns).max(1), count);
            }
        }
    }

    /// Adds what was measured since the last call.
    pub fn take(&mut self, into: &mut Measured) {
        add(&mut into.sink, &self.latency);
        self.latency.reset();
    }
}
