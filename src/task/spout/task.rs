//! What an executor sees of a spout task.

use crate::error::Failure;
use crate::task::component::Spout;
use crate::task::lineage::GivenUp;
use crate::task::measured::Measured;
use crate::task::metrics::{Latency, TaskState, Waits};
use crate::task::shell::{Fatal, Order, Task, TurnEnd, Wants, guarded};
use crate::task::spout::{Appetite, SpoutShell};

impl<S: Spout> Task for SpoutShell<S> {
    fn start(&mut self, now_ns: u64) -> Result<(), Failure> {
        self.out.out.core.now_ns = now_ns;
        let given_up = self.parts.snapshots.as_ref().and_then(|port| port.restored.clone());
        self.resumes = self.resume_from_checkpoint()?;
        self.parts.forget_restored();
        self.instantiate()?;
        given_up.map_or(Ok(()), |restored| self.take_given_up(&restored.given_up))
    }

    fn turn(&mut self, now_ns: u64, budget: usize) -> TurnEnd {
        self.out.out.core.now_ns = now_ns;
        self.run(now_ns, budget)
    }

    fn after_turn(&mut self, elapsed_ns: u64) -> Wants {
        self.out.out.core.counts.busy_ns += elapsed_ns;
        if self.state != self.told {
            self.told = self.state;
            self.parts.metrics.tell(self.state);
        }
        self.wants()
    }

    fn publish(&mut self) {
        let pending = self.out.pending();
        self.parts.metrics.publish_since_checkpoint(self.out.since_checkpoint());
        let core = &mut self.out.out.core;
        if let Some(ledger) = &self.out.ledger {
            core.counts.stale = ledger.borrow().stale();
        }
        let held_back = pending >= self.parts.max_spout_pending && !self.end_sent;
        self.parts.metrics.publish_waits(Waits { blocked: core.blocked_lanes > 0, held_back, unready: false });
        self.parts.metrics.publish(&core.counts, self.state, pending);
    }

    fn poll_lanes(&mut self) -> bool {
        false
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Activate => self.active_wanted = true,
            Order::Deactivate => self.active_wanted = false,
            Order::WindDown => self.wind_down(),
            Order::EndInput if !self.can_use_quiet() => {}
            // Quiet once more: what is still held waits for that end.
            Order::EndInput if self.end_sent => self.end_late_port(),
            Order::EndInput => self.send_end(),
            Order::Begin(id) => self.begin_checkpoint(id),
            Order::Cancel(id) => self.cancel_checkpoint(id),
            Order::Committed(id) => self.committed(id),
            Order::Suspend => self.suspend(),
        }
        self.parts.signal.wake();
    }

    fn bury(&mut self, given_up: &[GivenUp]) {
        let result = self.take_given_up(given_up);
        self.note_callback(result);
        self.parts.signal.wake();
    }

    fn stop(&mut self) {
        self.balance();
        if let Some(mut spout) = self.spout.take() {
            let closed = guarded(&self.origin, move || {
                spout.close();
                Ok(())
            });
            if let Err(failure) = closed {
                tracing::warn!(component = %self.origin.component, %failure, "close failed");
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let finished_or_waiting = !matches!(self.appetite, Appetite::Eager | Appetite::Until(_)) || !self.active;
        self.out.out.core.blocked_lanes == 0
            && self.state != TaskState::BackingOff
            && (finished_or_waiting || self.is_held_back() || self.is_over())
            && !self.parts.ledger.as_ref().is_some_and(|ledger| ledger.borrow().has_ended())
    }

    fn can_use_quiet(&self) -> bool {
        // While another spout goes on, what is held may still be let go.
        let may_end = !self.end_sent || self.parts.spouts.iter().all(|spout| spout.state() == TaskState::Done);
        self.appetite == Appetite::Finished && !self.is_over() && !self.owes_checkpoint() && may_end
    }

    fn take_fatal(&mut self) -> Option<Fatal> {
        self.fatal.take()
    }

    fn queued(&self) -> usize {
        0
    }

    fn latency(&self) -> Latency {
        self.latency.to_histogram()
    }

    fn take_measured(&mut self, now_ns: u64, into: &mut Measured) {
        if let Some(pacer) = &mut self.parts.pacer {
            pacer.take(now_ns, into);
        }
        into.pending += self.out.pending() as u64;
    }
}
