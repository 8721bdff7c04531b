//! What a bolt task waits for besides input.

use crate::task::bolt::BoltShell;
use crate::task::header::Header;
use crate::task::metrics::TaskState;
use crate::task::shell::Wants;
use crate::task::style::Logic;

impl<H: Header, L: Logic> BoltShell<H, L> {
    pub(super) fn wants(&self) -> Wants {
        let done = self.end_sent && self.out.core.blocked_lanes == 0;
        Wants {
            due_ns: self.next_due_ns(),
            quiet: self.wants_quiet(),
            done,
            checkpoint: self.owes_checkpoint() && self.states.timer_due_wall_ns.is_some(),
            aside_ns: self.states.slice_ns,
        }
    }

    pub(super) fn wants_quiet(&self) -> bool {
        self.open_lanes == 0 && self.loop_open
    }

    fn next_due_ns(&self) -> Option<u64> {
        match self.state {
            // A rebuild and a tick wait for room, which gives the task a turn.
            _ if self.out.core.blocked_lanes > 0 => None,
            TaskState::BackingOff => Some(self.rebuild_at_ns),
            _ if self.finish_called && !self.end_sent => {
                let let_go_at_ns = self.let_go_at_ns.filter(|_| self.held.open() > 0);
                [let_go_at_ns, self.held.over_at_ns()].into_iter().flatten().min()
            }
            _ if self.finish_called => None,
            _ => [self.tick_due_ns, self.timer_due_ns(), self.finish_at_ns].into_iter().flatten().min(),
        }
    }
}
