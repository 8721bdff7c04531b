//! The alignment of checkpoint barriers over the input lanes of one task, as a state machine of its own.
//!
//! The algorithm is that of Carbone et al., "Lightweight Asynchronous Snapshots for Distributed Dataflows" (2015), as
//! Flink runs it: a lane that has brought barrier *n* is not read until all open lanes have. Two differences. A lane
//! that has ended counts as having every barrier, so an input's end completes an alignment instead of declining it. And
//! a cancelled checkpoint is told to every task by control instead of by a marker in the lanes.

use crate::sys::bits::Bits;
use crate::sys::mutation::{self, Mutation};

pub use crate::state::store::CheckpointId;

/// What a barrier, or the end of a lane, leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aligned {
    /// Nothing to do.
    No,
    /// Every open lane has brought this barrier: take the snapshot, then [`release`](Alignment::release).
    All(CheckpointId),
}

pub(crate) struct Alignment {
    /// Lanes that have brought the barrier of the checkpoint in alignment; they are not read.
    blocked: Bits,
    blocked_count: usize,
    /// The checkpoint in alignment.
    current: Option<CheckpointId>,
    /// The newest checkpoint that was snapshot or cancelled: its late barriers mean nothing any more.
    over: Option<CheckpointId>,
    /// The newest checkpoint that control has begun.
    begun: Option<CheckpointId>,
    began_ns: u64,
}

impl Alignment {
    pub fn new(lanes: usize) -> Self {
        Alignment { blocked: Bits::new(lanes), blocked_count: 0, current: None, over: None, begun: None, began_ns: 0 }
    }

    /// True while a lane must not be read.
    #[inline]
    pub fn is_blocked(&self, lane: usize) -> bool {
        self.current.is_some() && self.blocked.get(lane)
    }

    #[cfg(test)]
    fn is_aligning(&self) -> bool {
        self.current.is_some()
    }

    /// When the first barrier of the checkpoint in alignment came.
    pub fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// A lane has brought a barrier. `open` lanes have not ended, this one included.
    pub fn barrier(&mut self, lane: usize, id: CheckpointId, open: usize, now_ns: u64) -> Aligned {
        if self.over.is_some_and(|over| id <= over) || self.current.is_some_and(|current| id < current) {
            return Aligned::No;
        }
        if self.current != Some(id) {
            // An older one still in alignment is overtaken: this lane brings no barrier of it any more.
            self.current = Some(id);
            self.blocked.drain(|_| {});
            self.blocked_count = 0;
            self.began_ns = now_ns;
        }
        debug_assert!(!self.blocked.get(lane), "a blocked lane is not read");
        if !mutation::is(Mutation::AlignmentOff) {
            self.blocked.set(lane);
        }
        self.blocked_count += 1;
        self.ended(open)
    }

    /// A lane has ended; `open` are left.
    pub fn ended(&mut self, open: usize) -> Aligned {
        if open == 0 && self.current.is_none() {
            self.current = self.begun.filter(|&begun| self.over.is_none_or(|over| begun > over));
        }
        match self.current {
            Some(id) if self.blocked_count == open => Aligned::All(id),
            _ => Aligned::No,
        }
    }

    /// Control has begun a checkpoint: what a task without open lanes goes by, since no barrier reaches it.
    pub fn begun(&mut self, id: CheckpointId, open: usize, now_ns: u64) -> Aligned {
        self.begun = Some(id);
        if self.current.is_none() {
            self.began_ns = now_ns;
        }
        if open == 0 { self.ended(0) } else { Aligned::No }
    }

    /// The snapshot is taken and the barrier has gone on: all lanes are read again. Returns those that were blocked.
    pub fn release(&mut self, each: impl FnMut(usize)) {
        self.over = self.current.take().max(self.over);
        self.blocked.drain(each);
        self.blocked_count = 0;
    }

    /// The checkpoint is given up.
    pub fn cancel(&mut self, id: CheckpointId, each: impl FnMut(usize)) {
        if self.current.is_some_and(|current| current <= id) {
            self.release(each);
        }
        self.over = self.over.max(Some(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(alignment: &mut Alignment) -> Vec<usize> {
        let mut lanes = Vec::new();
        alignment.release(|lane| lanes.push(lane));
        lanes
    }

    #[test]
    fn a_lane_that_has_brought_the_barrier_is_not_read_until_all_have() {
        let mut alignment = Alignment::new(3);
        assert_eq!(alignment.barrier(1, CheckpointId(7), 3, 10), Aligned::No);
        assert!(alignment.is_blocked(1) && !alignment.is_blocked(0));
        assert_eq!(alignment.barrier(0, CheckpointId(7), 3, 20), Aligned::No);
        assert_eq!(alignment.barrier(2, CheckpointId(7), 3, 30), Aligned::All(CheckpointId(7)));
        assert_eq!(alignment.began_ns(), 10);
        assert_eq!(released(&mut alignment), [0, 1, 2]);
        assert!(!alignment.is_aligning() && !alignment.is_blocked(1));
    }

    #[test]
    fn a_newer_barrier_overtakes() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, CheckpointId(1), 2, 0), Aligned::No);
        assert_eq!(alignment.barrier(1, CheckpointId(2), 2, 0), Aligned::No);
        assert!(alignment.is_blocked(1) && !alignment.is_blocked(0));
        assert_eq!(alignment.barrier(0, CheckpointId(2), 2, 0), Aligned::All(CheckpointId(2)));
    }

    #[test]
    fn late_barriers_of_a_cancelled_checkpoint_mean_nothing() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, CheckpointId(1), 2, 0), Aligned::No);
        let mut lanes = Vec::new();
        alignment.cancel(CheckpointId(1), |lane| lanes.push(lane));
        assert_eq!(lanes, [0]);
        assert_eq!(alignment.barrier(1, CheckpointId(1), 2, 0), Aligned::No);
        assert!(!alignment.is_aligning());
        assert_eq!(alignment.barrier(0, CheckpointId(2), 2, 0), Aligned::No);
        assert_eq!(alignment.barrier(1, CheckpointId(2), 2, 0), Aligned::All(CheckpointId(2)));
    }

    #[test]
    fn a_cancel_that_comes_before_any_barrier_is_remembered() {
        let mut alignment = Alignment::new(1);
        alignment.cancel(CheckpointId(3), |_| {});
        assert_eq!(alignment.barrier(0, CheckpointId(3), 1, 0), Aligned::No);
        assert_eq!(alignment.barrier(0, CheckpointId(4), 1, 0), Aligned::All(CheckpointId(4)));
    }

    #[test]
    fn an_input_that_ends_in_mid_alignment_completes_it() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, CheckpointId(1), 2, 0), Aligned::No);
        assert_eq!(alignment.ended(1), Aligned::All(CheckpointId(1)));
    }

    #[test]
    fn an_end_outside_of_an_alignment_completes_nothing() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.ended(1), Aligned::No);
        assert_eq!(alignment.barrier(1, CheckpointId(1), 1, 0), Aligned::All(CheckpointId(1)));
    }

    #[test]
    fn a_task_without_open_lanes_goes_by_what_control_says() {
        let mut alignment = Alignment::new(1);
        assert_eq!(alignment.begun(CheckpointId(1), 1, 0), Aligned::No);
        assert_eq!(alignment.begun(CheckpointId(1), 0, 0), Aligned::All(CheckpointId(1)));
        released(&mut alignment);
        assert_eq!(alignment.begun(CheckpointId(1), 0, 0), Aligned::No);
    }

    #[test]
    fn a_task_whose_last_lane_ends_after_control_has_begun_takes_part_too() {
        let mut alignment = Alignment::new(1);
        assert_eq!(alignment.begun(CheckpointId(1), 1, 0), Aligned::No);
        assert_eq!(alignment.ended(0), Aligned::All(CheckpointId(1)));
        released(&mut alignment);
        assert_eq!(alignment.ended(0), Aligned::No);
    }
}
