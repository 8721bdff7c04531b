//! How a bolt task comes to its end: control items, the last call, the end of its own output.

use crate::task::bolt::{BoltShell, LAST_CALL};
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
            // Nothing in this version sends the others; they have their place in the lane's order.
            Control::Watermark(_) | Control::Idle | Control::Active => {}
        }
    }

    /// After all input: the timers that are left, the last call, the end of its own output.
    pub(super) fn come_to_the_end(&mut self, left: &mut usize) {
        let is_over =
            self.open_lanes == 0 && !self.loop_open && self.snapshot_due.is_none() && self.redelivered.is_empty();
        if is_over && self.may_go_on(*left) && self.call_back_last(left) {
            self.finish();
            // What could not end is gone back from: nobody may take it for done.
            if self.fatal.is_none() {
                self.pull_handover(left);
                self.send_end();
            }
        }
    }

    fn finish(&mut self) {
        if !self.finish_called {
            self.finish_called = self.call(LAST_CALL, |bolt, out| bolt.finish(out)) || self.bolt.is_some();
            self.tick_due_ns = None;
            if self.bolt.is_some() {
                self.state = TaskState::Finishing;
            }
            self.settle_held();
            self.let_go_at_ns = Some(self.out.core.now_ns + self.parts.let_go_after_ns);
        }
    }

    /// Passes the end on once nothing that could still emit is left.
    fn send_end(&mut self) {
        let emits_no_more =
            self.finish_called && self.out.handover.is_none() && self.door_inside.is_empty() && !self.held.is_awaited();
        if emits_no_more && !self.end_sent && self.bolt.is_some() {
            self.end_sent = true;
            self.state = TaskState::Done;
            self.out.set.control(Control::End, &mut self.out.core);
            // Closes the door: nothing may follow the end.
            self.door_inside = crossbeam::channel::never();
        }
    }
}
