//! What an executor sees of a bolt task.

use crate::error::Failure;
use crate::task::bolt::BoltShell;
use crate::task::header::Header;
use crate::task::lane::LaneRx;
use crate::task::measured::Measured;
use crate::task::metrics::{Latency, TaskState, Waits};
use crate::task::shell::{Fatal, Order, Task, TurnEnd, Wants, guarded};
use crate::task::style::Logic;

impl<H: Header, L: Logic> Task for BoltShell<H, L> {
    fn start(&mut self, now_ns: u64) -> Result<(), Failure> {
        self.out.core.now_ns = now_ns;
        self.tick_due_ns = self.parts.tick_ns.map(|period_ns| now_ns + period_ns);
        self.instantiate()
    }

    fn restore(&mut self) -> Result<(), Failure> {
        self.restore_own()?;
        self.parts.forget_restored();
        Ok(())
    }

    fn turn(&mut self, now_ns: u64, budget: usize) -> TurnEnd {
        self.out.core.now_ns = now_ns;
        self.executed_before = self.out.core.counts.executed;
        self.states.slice_ns = 0;
        let end = self.run(now_ns, budget);
        // However the turn ended: an ack must not wait for room in a data lane, nor for a rebuild.
        self.out.core.flush_acks();
        end
    }

    fn after_turn(&mut self, elapsed_ns: u64) -> Wants {
        let counts = &mut self.out.core.counts;
        counts.busy_ns += elapsed_ns;
        let executed = if self.parts.metrics.is_bare() { 0 } else { counts.executed - self.executed_before };
        if let Some(mean_ns) = elapsed_ns.saturating_sub(self.states.slice_ns).checked_div(executed) {
            let _ = self.latency.record_n(mean_ns.clamp(1, self.latency.high()), executed);
        }
        if self.state != self.told {
            self.told = self.state;
            self.parts.metrics.tell(self.state);
        }
        self.wants()
    }

    fn publish(&mut self) {
        let (blocked, unready) = (self.out.core.blocked_lanes > 0, self.is_held_back());
        self.parts.metrics.publish_waits(Waits { blocked, unready, held_back: false });
        self.parts.metrics.publish(&self.out.core.counts, self.state, self.held.open());
    }

    fn poll_lanes(&mut self) -> bool {
        // While backing off, input waits for the due time, and otherwise for the bolt: a turn could do nothing with it.
        if self.bolt.is_none() || !self.is_ready {
            return false;
        }
        let mut any = false;
        for (index, lane) in self.lanes.iter().enumerate() {
            if lane.look() && !self.align.is_blocked(index) {
                self.parts.signal.lanes.set(index);
                any = true;
            }
        }
        any
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::EndInput if self.can_use_quiet() => {
                self.loop_open = !self.loop_closing;
                self.loop_closing = true;
                self.parts.signal.wake();
            }
            Order::Begin(id) => self.checkpoint_begun(id),
            Order::Cancel(id) => self.cancel_checkpoint(id),
            Order::Committed(id) => self.committed(id),
            Order::Suspend => self.states.suspended = true,
            Order::EndInput | Order::Activate | Order::Deactivate | Order::WindDown => {}
        }
    }

    fn stop(&mut self) {
        self.balance();
        if let Some(mut bolt) = self.bolt.take() {
            let cleaned = guarded(&self.origin, move || {
                bolt.cleanup();
                Ok(())
            });
            if let Err(failure) = cleaned {
                tracing::warn!(component = %self.origin.component, %failure, "cleanup failed");
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.out.core.blocked_lanes == 0
            && self.out.handover.is_none()
            && self.door_inside.is_empty()
            && !self.is_working_elsewhere()
            && self.state != TaskState::BackingOff
            && self.finish_at_ns.is_none()
            && self.lanes.iter().all(LaneRx::is_empty)
    }

    fn can_use_quiet(&self) -> bool {
        self.wants_quiet() && self.parts.loop_feeders.iter().all(|feeder| feeder.state() == TaskState::Done)
    }

    fn take_fatal(&mut self) -> Option<Fatal> {
        self.fatal.take()
    }

    fn queued(&self) -> usize {
        let lanes = self.lanes.iter().zip(&self.parts.lane_feedback);
        lanes.filter(|(_, feedback)| !**feedback).map(|(lane, _)| lane.len()).sum()
    }

    fn latency(&self) -> Latency {
        self.latency.clone()
    }

    fn take_measured(&mut self, _now_ns: u64, into: &mut Measured) {
        if let Some(meter) = &mut self.meter {
            meter.take(into);
        }
        into.queued += self.queued() as u64;
    }
}
