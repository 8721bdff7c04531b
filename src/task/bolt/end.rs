//! How a bolt task comes to its end: control items, the last call, the end of its own output.

use crate::error::Failure;
use crate::task::bolt::BoltShell;
use crate::task::bolt::rare::Call;
use crate::task::header::Header;
use crate::task::lane::Control;
use crate::task::metrics::TaskState;
use crate::task::payload::PortSet;
use crate::task::style::Logic;

impl<H: Header, L: Logic> BoltShell<H, L> {
    pub(super) fn take_control(&mut self, lane: usize, control: Control) {
        match control {
            Control::End => {
                assert!(!self.ended[lane], "a lane ends once");
                self.ended[lane] = true;
                if !self.parts.lane_feedback[lane] {
                    self.open_lanes -= 1;
                }
                self.lane_ended();
            }
            Control::Barrier(id) => self.take_barrier(lane, id),
            Control::Input(number) => self.parts.lane_inputs[lane] = number,
            Control::Sent(items) => self.account.compare(lane, items, &self.parts.metrics, &self.origin),
            // Nothing in this version sends the others; they have their place in the lane's order.
            Control::Watermark(_) | Control::Idle | Control::Active => {}
        }
    }

    /// After all input: the last timers, the last call, the end of its own output. A snapshot that is due is taken
    /// before, or after the last call.
    pub(super) fn come_to_the_end(&mut self, left: &mut usize) {
        let may_begin = self.snapshot_due.is_none() || self.states.ending;
        let is_over = self.open_lanes == 0 && !self.loop_open && may_begin && self.redelivered.is_empty();
        if is_over && self.may_go_on(*left) && self.call_back_last(left) {
            self.finish();
            // What could not end is gone back from: nobody may take it for done.
            if self.fatal.is_none() {
                self.pull_handover(left);
                self.take_snapshot();
                self.send_end();
            }
        }
    }

    fn finish(&mut self) {
        if !self.finish_called {
            let now_ns = self.out.core.now_ns;
            if self.finish_at_ns.take_if(|at_ns| *at_ns <= now_ns).is_none() && self.finish_at_ns.is_some() {
                return;
            }
            let is_done = self.call(Call::Last, |bolt, out| bolt.finish(out));
            if !is_done && self.finish_at_ns.is_some() {
                return;
            }
            self.finish_called = is_done || self.bolt.is_some();
            self.states.ending = false;
            // Nobody is called back any more for what the last call has set, or found to be expired.
            while self.states.any && self.drop_timers() > 0 {}
            self.tick_due_ns = None;
            if self.bolt.is_some() {
                self.state = TaskState::Finishing;
            }
            self.settle_held();
            self.let_go_at_ns = Some(self.out.core.now_ns + self.parts.let_go_after_ns);
        }
    }

    /// The last call has failed in a way that may pass: the same instance, with all it has gathered, gets another.
    pub(super) fn finish_later(&mut self, failure: &Failure) {
        tracing::warn!(task = %self.origin, %failure, "the last call failed, and is made again");
        self.out.handover = None;
        let core = &self.out.core;
        match self.rebuilds.next(core.now_ns, core.counts.executed, &self.origin, failure, &self.parts.metrics) {
            Ok(at_ns) => self.finish_at_ns = Some(at_ns),
            Err(fatal) => self.fatal = Some(fatal),
        }
    }

    /// Passes the end on once nothing that could still emit is left.
    fn send_end(&mut self) {
        let emits_no_more =
            self.finish_called && self.out.handover.is_none() && self.door_inside.is_empty() && !self.held.is_awaited();
        if emits_no_more && !self.end_sent && self.bolt.is_some() {
            if self.held.open() > 0 {
                // Their trees are over: nobody is waiting for them.
                self.fail_held();
            }
            self.balance();
            self.end_sent = true;
            self.state = TaskState::Done;
            self.out.set.control(Control::End, &mut self.out.core);
            // Closes the door: nothing may follow the end.
            self.door_inside = crossbeam::channel::never();
        }
    }
}
