//! What a spout task waits for besides acks.

use crate::task::component::Spout;
use crate::task::metrics::TaskState;
use crate::task::shell::{Task, Wants};
use crate::task::spout::{Appetite, SpoutShell};

impl<S: Spout> SpoutShell<S> {
    pub(super) fn wants(&self) -> Wants {
        let done = self.is_over() && self.out.out.core.blocked_lanes == 0 && self.out.pending() == 0;
        Wants {
            due_ns: self.next_due_ns(),
            quiet: self.can_use_quiet(),
            done,
            checkpoint: self.wants_checkpoint(),
            aside_ns: 0,
        }
    }

    fn next_due_ns(&self) -> Option<u64> {
        let deadline_ns = self.parts.ledger.as_ref().and_then(|ledger| ledger.borrow().next_due_ns());
        let own_ns = match (self.state, self.appetite) {
            (TaskState::BackingOff, _) => Some(self.rebuild_at_ns),
            (_, Appetite::Until(at_ns)) if self.active && !self.checkpoints.holds && !self.is_held_back() => {
                Some(at_ns)
            }
            _ => None,
        };
        let turn_ns = self.out.out.core.now_ns;
        let has_room = self.out.out.core.blocked_lanes == 0;
        let pace_ns =
            self.parts.pacer.as_ref().and_then(|pacer| pacer.next_due_ns(turn_ns, has_room && self.wants_more()));
        deadline_ns.into_iter().chain(own_ns).chain(pace_ns).min()
    }
}
