//! Inputs that a bolt task gives up under exactly-once: their sources make dead letters of them, once.
//!
//! Nothing is tracked then, so a source does not know what becomes of its items. The task remembers which places it has
//! given up; they go into each of its snapshots until a checkpoint that has them is durable, whose manifest names them
//! to their sources from then on.

use crate::error::Failure;
use crate::sys::mutation::{self, Forget};
use crate::task::align::CheckpointId;
use crate::task::bolt::BoltShell;
use crate::task::header::Header;
use crate::task::lineage::{GivenUp, Place};
use crate::task::style::Logic;

/// Inputs that a task may give up between two checkpoints; at this number it takes no more input before the next one.
const GIVEN_UP_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Rejected {
    given_up: Vec<GivenUp>,
    /// All that have ever been added, and those that a durable checkpoint has.
    added: u64,
    told: u64,
    /// The checkpoint whose snapshot has that many of them.
    in_snapshot: Option<(CheckpointId, usize)>,
}

impl Rejected {
    pub fn is_full(&self) -> bool {
        self.given_up.len() >= GIVEN_UP_MAX
    }

    /// False for what has no place: nobody could make a dead letter of it.
    pub fn has_room_for(&self, place: Place) -> bool {
        !place.is_none() && !self.is_full()
    }

    pub fn add(&mut self, given_up: GivenUp) {
        self.added += 1;
        if !mutation::forgets(Forget::GivenUp) {
            self.given_up.push(given_up);
        }
    }

    /// For the snapshot of this checkpoint.
    pub fn snapshot(&mut self, id: CheckpointId) -> Vec<GivenUp> {
        self.in_snapshot = Some((id, self.given_up.len()));
        self.given_up.clone()
    }

    /// The checkpoint is durable: what it has is no longer this task's concern.
    pub fn committed(&mut self, id: CheckpointId) {
        if let Some((_, count)) = self.in_snapshot.take_if(|(of, _)| *of == id) {
            self.given_up.drain(..count);
            self.told += count as u64;
        }
    }

    /// Inputs that were given up and that no source will be told of.
    pub fn missing(&self) -> u64 {
        self.added - self.told - self.given_up.len() as u64
    }
}

impl<H: Header, L: Logic> BoltShell<H, L> {
    /// Gives an input up, without a restart. One that descends from no single input of a source stops the topology
    /// instead, since nothing would be left of it.
    #[cold]
    pub(super) fn reject(&mut self, place: Place, failure: &Failure) {
        if place.is_none() {
            let failure = Failure::fatal_in(
                "dead_letter",
                format!(
                    "{failure}: this tuple is given up, and there is no single input of a source that could become a \
                     dead letter for it (it comes from a tick, a timer, a last call, or several inputs); the last \
                     checkpoint is kept. Mend the bolt, or have it pass on what it cannot use, and start again from \
                     there"
                ),
            );
            return self.stop_for(&failure);
        }
        self.rejected.add(GivenUp::at_once(place, failure, self.wall_ns()));
    }
}
