//! Conservation of inputs in a bolt task: what has come in is executed, and what is executed has an outcome. Sums that
//! are kept anyway are compared, per visit of a lane and at each checkpoint, so that nothing can disappear between two
//! counters; a difference is a bug of the engine, and ends the run with an exit code of its own.

use crate::error::{Failure, Origin};
use crate::task::bolt::BoltShell;
use crate::task::bolt::rare::Visit;
use crate::task::header::Header;
use crate::task::metrics::TaskMetrics;
use crate::task::style::Logic;

/// What the task itself counts for this.
#[derive(Debug)]
pub(super) struct Account {
    /// Items taken out of each lane.
    received: Vec<u64>,
    pub came_through_door: u64,
    pub routed_from_door: u64,
    /// What has been missing so far: told once.
    missing: u64,
}

impl Account {
    pub fn new(lanes: usize) -> Self {
        Account { received: vec![0; lanes], came_through_door: 0, routed_from_door: 0, missing: 0 }
    }

    /// After a visit of a lane, which tells how many items it has taken, unless it panicked: those that were executed,
    /// those that were set aside, and the control item that it ended at.
    #[inline]
    pub fn visited(
        &mut self,
        lane: usize,
        visit: Result<(Visit, u64), Failure>,
        executed: u64,
        aside: u64,
        metrics: &TaskMetrics,
        origin: &Origin,
    ) -> Result<Visit, Failure> {
        let (visit, popped) = match visit {
            Ok((visit, popped)) => (Ok(visit), Some(popped)),
            Err(failure) => (Err(failure), None),
        };
        let known = executed + aside + u64::from(matches!(visit, Ok(Visit::Control(_))));
        let popped = popped.unwrap_or(known);
        self.received[lane] += popped;
        if popped != known {
            missing(popped.abs_diff(known), "taken out of a lane and not executed", metrics, origin);
        }
        visit
    }

    /// Outside of a visit: an item was taken out of a lane.
    pub fn took(&mut self, lane: usize) {
        self.received[lane] += 1;
    }

    /// The lane's producer has sent so many items before this one, which has been taken out.
    pub fn compare(&mut self, lane: usize, sent: u64, metrics: &TaskMetrics, origin: &Origin) {
        let received = self.received[lane] - 1;
        if received != sent {
            missing(received.abs_diff(sent), "sent into a lane and not received", metrics, origin);
            self.received[lane] = sent + 1;
        }
    }
}

/// Counts inputs that are unaccounted for, and says so.
#[cold]
pub(crate) fn missing(inputs: u64, what: &str, metrics: &TaskMetrics, origin: &Origin) {
    tracing::error!(task = %origin, inputs, "unaccounted for: {what}; this is a bug of squall");
    metrics.note_unaccounted(inputs);
}

impl<H: Header, L: Logic> BoltShell<H, L> {
    /// Compares what has been executed with its outcomes; what is held is part of the sum. For when nothing is being
    /// executed.
    pub(super) fn balance(&mut self) {
        let counts = &self.out.core.counts;
        let held = if L::MANUAL { self.held.open() as u64 } else { 0 };
        let difference = counts.executed.abs_diff(counts.acked + counts.failed + counts.left_open + held);
        // What an iterator was handed over for is done when it ends; it may be an input, or none.
        let running = u64::from(!L::MANUAL && self.out.handover.is_some());
        let through_door = self.account.came_through_door - self.account.routed_from_door;
        let total = difference.saturating_sub(running) + through_door + self.rejected.missing();
        if total > self.account.missing {
            let more = total - self.account.missing;
            missing(more, "executed, and neither acked nor failed nor held", &self.parts.metrics, &self.origin);
            self.account.missing = total;
        }
    }
}
