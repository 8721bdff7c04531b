//! A spout task's part in checkpoints: its barrier and its positions.

use std::collections::BTreeSet;

use crate::error::Failure;
use crate::sys::mutation::{self, Mutation};
use crate::task::align::CheckpointId;
use crate::task::component::{Outcome, Position, Replayable, SplitId, Spout};
use crate::task::lane::Control;
use crate::task::lineage::{GivenUp, SplitName};
use crate::task::payload::PortSet;
use crate::task::shell::guarded;
use crate::task::snapshot::{PartBody, SnapshotPort, SnapshotStats, StoredSplit, TaskSnapshot, write_splits};
use crate::task::spout::{Appetite, SpoutShell};

/// How old remembered positions may be: an older position only means more duplicates after a failure.
const POSITIONS_AGE_NS: u64 = 10_000_000;

/// Checkpoints as a spout sees them.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Begun, the barrier not yet sent.
    due: Option<CheckpointId>,
    /// Nothing is emitted after the next barrier.
    suspending: bool,
    /// Nothing is emitted now: until the first checkpoint (or the one after it, if it fails) is durable, or for good,
    /// when it is suspended.
    pub holds: bool,
    /// What the first instance goes on from, until it has found its input to be the same.
    pub resumed: Vec<StoredSplit>,
    /// Positions of the checkpoints that are under way.
    under_way: Vec<UnderWay>,
    /// Dead letters of the tasks before this one, as the checkpoint has them that it goes on from.
    dead_lettered_before: u64,
}

impl Checkpoints {
    /// Of a new task. It holds before it is told of the first checkpoint: what it emitted until then would be in no
    /// checkpoint, and would not be undone.
    pub fn new(port: Option<&SnapshotPort>) -> Self {
        Checkpoints { holds: port.is_some_and(|port| port.resumed().is_none()), ..Checkpoints::default() }
    }
}

/// A checkpoint whose barrier has been sent.
#[derive(Debug)]
struct UnderWay {
    id: CheckpointId,
    positions: Vec<(SplitId, Position)>,
    /// Emits that had been made.
    emitted: u64,
}

/// Exactly-once with a spout that cannot go back would lose what it had read before a failure.
#[cold]
pub(super) fn cannot_replay() -> Failure {
    Failure::fatal(
        "exactly-once needs a spout that can go back to a position, and this one cannot (`Spout::replayable` gives \
         none): read from something that can, such as a file, or use at-least-once",
    )
}

fn stored_splits(source: &mut dyn Replayable) -> Vec<StoredSplit> {
    let stored = |(split, position): (SplitId, Position)| StoredSplit {
        identity: source.identity(&split, position),
        split,
        position: position.0,
    };
    source.positions().into_iter().map(stored).collect()
}

/// What a new instance reads: what it resumes, or all that is its own from the start.
pub(super) fn first_splits(
    source: &dyn Replayable,
    resumed: Option<&Vec<(SplitId, Position)>>,
) -> Vec<(SplitId, Option<Position>)> {
    match resumed {
        Some(resumed) => resumed.iter().map(|(split, position)| (split.clone(), Some(*position))).collect(),
        None => source.default_splits().into_iter().map(|split| (split, None)).collect(),
    }
}

/// Fails if the input of a split is not the one that was read before.
pub(super) fn check_identities(source: &mut dyn Replayable, resumed: &[StoredSplit]) -> Result<(), Failure> {
    resumed.iter().try_for_each(|stored| match &stored.identity {
        Some(identity) => source.check_identity(&stored.split, Position(stored.position), identity),
        None => Ok(()),
    })
}

impl<S: Spout> SpoutShell<S> {
    pub(super) fn begin_checkpoint(&mut self, id: CheckpointId) {
        self.checkpoints.due = Some(id);
    }

    pub(super) fn suspend(&mut self) {
        self.checkpoints.suspending = true;
    }

    pub(super) fn cancel_checkpoint(&mut self, id: CheckpointId) {
        self.checkpoints.due = self.checkpoints.due.filter(|&due| due > id);
        self.checkpoints.under_way.retain(|under_way| under_way.id > id);
    }

    pub(super) fn committed(&mut self, id: CheckpointId) {
        if !self.checkpoints.suspending {
            self.checkpoints.holds = false;
        }
        let of_id = self.checkpoints.under_way.iter().position(|under_way| under_way.id == id);
        let Some(under_way) = of_id.map(|index| self.checkpoints.under_way.swap_remove(index)) else { return };
        self.checkpoints.under_way.retain(|under_way| under_way.id > id);
        self.out.epoch.committed(under_way.emitted);
        let positions = under_way.positions;
        let Some(spout) = &mut self.spout else { return };
        let told = guarded(&self.origin, || {
            if let Some(source) = spout.replayable() {
                source.committed(&positions);
            }
            Ok(())
        });
        if let Err(failure) = told {
            self.break_down(&failure);
        }
    }

    /// Sends the barrier that is due, also while held back, inactive, idle or blocked: then it is overflow.
    pub(super) fn send_barrier(&mut self) {
        let Some(id) = self.checkpoints.due else { return };
        let Some(port) = self.parts.snapshots.clone() else { return };
        // One that has failed is gone back for.
        if self.spout.is_none() || self.fatal.is_some() {
            return;
        }
        self.balance();
        let Some(spout) = &mut self.spout else { return };
        self.checkpoints.due = None;
        self.checkpoints.holds |= self.checkpoints.suspending;
        let began_ns = self.parts.clock.now_ns();
        let splits = match guarded(&self.origin, || Ok(spout.replayable().map(stored_splits))) {
            Ok(splits) => splits.unwrap_or_default(),
            Err(failure) => {
                port.send(id, PartBody::Failed(failure.clone()));
                return self.break_down(&failure);
            }
        };
        let core = &mut self.out.out.core;
        let (end_sent, late_port) = (self.end_sent, self.out.late_port);
        self.out.out.set.control_on(&|port| !end_sent || Some(port) == late_port, Control::Barrier(id), core);
        let freeze_ns = self.parts.clock.now_ns() - began_ns;
        let own = write_splits(&splits);
        let positions = splits.into_iter().map(|stored| (stored.split, Position(stored.position))).collect();
        let counts = &self.out.out.core.counts;
        self.checkpoints.under_way.push(UnderWay { id, positions, emitted: counts.emitted });
        let snapshot = TaskSnapshot {
            own,
            stats: SnapshotStats { freeze_ns, ..SnapshotStats::default() },
            given_up: self.out.given_up.iter().cloned().collect(),
            dead_lettered: self.checkpoints.dead_lettered_before + counts.dead_lettered,
            ..TaskSnapshot::default()
        };
        port.send(id, PartBody::Done(Box::new(snapshot)));
    }

    /// Where a resumed task goes on; none at a fresh start.
    pub(super) fn resume_from_checkpoint(&mut self) -> Result<bool, Failure> {
        let restored = self.parts.snapshots.as_ref().and_then(|port| port.restored.clone());
        let Some(restored) = restored.filter(|restored| restored.checkpoint.is_some()) else { return Ok(false) };
        let (component, info) = (self.parts.snapshots.as_ref().map_or(0, |port| port.component), &self.parts.info);
        let splits = restored.splits_of(component, info.index, info.count)?;
        self.positions = splits.iter().map(|stored| (stored.split.clone(), Position(stored.position))).collect();
        self.checkpoints.resumed = splits;
        // Counted as one component's; its first task has them.
        let is_first = info.index == 0 && !mutation::is_off(Mutation::DeadLettersNotRestored);
        let dead_lettered = if is_first { restored.dead_lettered.get(&component).copied() } else { None };
        self.checkpoints.dead_lettered_before = dead_lettered.unwrap_or(0);
        self.parts.metrics.restore_dead_letters(self.checkpoints.dead_lettered_before);
        Ok(true)
    }

    /// Takes those of the inputs given up that are in splits of this task: it makes dead letters of them.
    pub(super) fn take_given_up(&mut self, given_up: &[GivenUp]) -> Outcome {
        let Some(spout) = self.spout.as_mut().filter(|_| !given_up.is_empty()) else { return Ok(()) };
        let component = &self.parts.info.component;
        let splits = guarded(&self.origin, || Ok(spout.replayable().map(|source| source.positions())))?;
        let own: Vec<SplitName> =
            splits.unwrap_or_default().iter().map(|(split, _)| SplitName::new(component, split)).collect();
        let before = self.out.given_up.len();
        // One may be waiting here already, given up in an earlier checkpoint for another of its descendants.
        let mut known: BTreeSet<_> = self.out.given_up.iter().map(|given_up| given_up.place).collect();
        let mine = given_up.iter().filter(|given_up| own.contains(&given_up.place.split()));
        self.out.given_up.extend(mine.filter(|given_up| known.insert(given_up.place)).cloned());
        if self.out.given_up.len() > before {
            if self.end_sent {
                return Err(Failure::fatal_in(
                    "dead_letter",
                    "an input was given up after its source had ended; the last checkpoint is kept",
                ));
            }
            // Finished or not: `next` is called for them.
            self.appetite = Appetite::Eager;
        }
        Ok(())
    }

    /// Without checkpoints: where a rebuilt instance will resume.
    pub(super) fn remember_positions(&mut self, now_ns: u64) {
        if now_ns < self.positions_at_ns || self.parts.snapshots.is_some() {
            return;
        }
        if let Err(failure) = self.take_positions() {
            return self.break_down(&failure);
        }
        self.positions_at_ns = now_ns + POSITIONS_AGE_NS;
    }

    /// The instance has failed: where it is now, if it can still tell.
    pub(super) fn remember_positions_now(&mut self) {
        if self.parts.snapshots.is_none()
            && let Err(failure) = self.take_positions()
        {
            tracing::warn!(task = %self.origin, %failure, "a broken spout cannot tell where it is");
        }
    }

    fn take_positions(&mut self) -> Outcome {
        let Some(spout) = &mut self.spout else { return Ok(()) };
        let positions = guarded(&self.origin, || Ok(spout.replayable().map(|source| source.positions())))?;
        if let Some(positions) = positions {
            self.positions = positions;
        }
        Ok(())
    }
}
