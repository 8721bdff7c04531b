//! What happens to a bolt task rarely: ticks, injected faults, and tuples that nobody settles.

use crate::error::Failure;
use crate::task::bolt::BoltShell;
use crate::task::chaos::{Chaos, Strike};
use crate::task::header::Header;
use crate::task::lane::Control;
use crate::task::shell::guarded;
use crate::task::style::Logic;

/// A call of a bolt that handles no input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Tick,
    /// `finish`.
    Last,
}

/// How the visit of a lane ended.
pub(super) enum Visit {
    /// Nothing is left in the lane.
    Empty,
    /// The task may take no more now.
    Stopped,
    /// At an item that concerns the whole task.
    Control(Control),
    Fatal(Failure),
}

impl<H: Header, L: Logic> BoltShell<H, L> {
    /// Under simulation: has a fault happen to the next input of a lane, now and then. True if it did.
    #[cold]
    pub(super) fn strike(&mut self, lane: usize, left: &mut usize) -> bool {
        let Some(strike) = self.parts.chaos.as_mut().and_then(Chaos::draw) else { return false };
        let Some(slot) = self.lanes[lane].pop() else { return false };
        self.account.took(lane);
        if let Some(control) = slot.as_control() {
            self.take_control(lane, control);
            return true;
        }
        let (header, _) = slot.into_tuple();
        *left -= 1;
        self.out.core.counts.executed += 1;
        self.out.core.set_anchor(header.into_roots());
        let (Strike::Fail(failure) | Strike::BreakDown(failure)) = &strike;
        let failure = failure.clone().at(&self.origin);
        // A bolt in manual style has no handle of it to fail.
        self.out.core.counts.failed += u64::from(L::MANUAL);
        self.input_failed(&failure);
        if matches!(strike, Strike::BreakDown(_)) {
            self.break_down(failure);
        }
        true
    }

    /// Asks a manual bolt whether it takes input; one that cannot go on is rebuilt.
    pub(super) fn ask_whether_ready(&mut self) {
        let Some(bolt) = self.bolt.as_mut().filter(|_| L::MANUAL && !self.end_sent) else { return };
        let has_room = self.held.open() < self.parts.held_max;
        match guarded(&self.origin, || bolt.ready()) {
            Ok(is_ready) => self.is_ready = is_ready && has_room,
            Err(failure) => self.break_down(failure),
        }
    }

    /// Somebody else works on what the bolt holds.
    pub(super) fn is_working_elsewhere(&self) -> bool {
        self.bolt.as_ref().is_some_and(L::works_elsewhere) && self.held.is_awaited()
    }

    /// There is input that the bolt does not take now.
    pub(super) fn is_held_back(&self) -> bool {
        !self.is_ready && self.bolt.is_some() && self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// Fails what is still held after the end of input, once none of it has been settled for long: the topology is to
    /// end.
    pub(super) fn let_go(&mut self, now_ns: u64) {
        let Some(at_ns) = self.let_go_at_ns.filter(|_| self.held.open() > 0) else { return };
        if self.held.settled() != self.settled_before {
            self.settled_before = self.held.settled();
            self.let_go_at_ns = Some(now_ns + self.parts.let_go_after_ns);
            return;
        }
        if now_ns < at_ns {
            return;
        }
        self.fail_held();
    }

    /// Fails everything that is held.
    pub(super) fn fail_held(&mut self) {
        tracing::warn!(task = %self.origin, held = self.held.open(), "failing tuples held after the end");
        let failure = Failure::still_held().at(&self.origin);
        let (core, reported) = (&mut self.out.core, self.parts.metrics.reported());
        let mut places = Vec::new();
        self.held.let_go(|roots, place| {
            core.counts.failed += 1;
            reported.failed(None, &failure);
            core.fail_roots(&roots, &failure);
            places.push(place);
        });
        places.into_iter().for_each(|place| self.held_failed(place, &failure));
    }

    /// Calls the bolt's `tick`; periods that have passed meanwhile are counted as missed.
    pub(super) fn tick(&mut self, now_ns: u64) {
        let (Some(period_ns), Some(due_ns)) = (self.parts.tick_ns, self.tick_due_ns) else { return };
        let missed = (now_ns - due_ns) / period_ns;
        self.tick_due_ns = Some(due_ns + (missed + 1) * period_ns);
        self.out.core.counts.ticks += 1;
        self.out.core.counts.ticks_missed += missed;
        self.call(Call::Tick, |bolt, out| bolt.tick(out));
    }
}
