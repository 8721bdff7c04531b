//! A spout task's part in checkpoints: its barrier and its positions.

use crate::error::Failure;
use crate::task::align::CheckpointId;
use crate::task::component::{Position, Replayable, SplitId, Spout};
use crate::task::lane::Control;
use crate::task::payload::PortSet;
use crate::task::shell::guarded;
use crate::task::snapshot::{PartBody, SnapshotStats, StoredSplit, TaskSnapshot, write_splits};
use crate::task::spout::SpoutShell;

/// The checkpoint before the first tuple: until it (or the one after it, if it fails) is durable, nothing is emitted.
pub(crate) const FIRST: CheckpointId = CheckpointId(0);

/// How old remembered positions may be: an older position only means more duplicates after a failure.
const POSITIONS_AGE_NS: u64 = 10_000_000;

/// Checkpoints as a spout sees them.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Begun, the barrier not yet sent.
    due: Option<CheckpointId>,
    /// Nothing is emitted after the next barrier.
    suspending: bool,
    /// Nothing is emitted now: waits for the first checkpoint, or is suspended.
    pub holds: bool,
    /// What the first instance goes on from, until it has found its input to be the same.
    pub resumed: Vec<StoredSplit>,
    /// Positions of the checkpoints that are under way.
    under_way: Vec<(CheckpointId, Vec<(SplitId, Position)>)>,
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
        self.checkpoints.holds |= id == FIRST;
    }

    pub(super) fn suspend(&mut self) {
        self.checkpoints.suspending = true;
    }

    pub(super) fn cancel_checkpoint(&mut self, id: CheckpointId) {
        self.checkpoints.due = self.checkpoints.due.filter(|&due| due > id);
        self.checkpoints.under_way.retain(|(under_way, _)| *under_way > id);
    }

    pub(super) fn committed(&mut self, id: CheckpointId) {
        if !self.checkpoints.suspending {
            self.checkpoints.holds = false;
        }
        let of_id = self.checkpoints.under_way.iter().position(|(under_way, _)| *under_way == id);
        let Some((_, positions)) = of_id.map(|index| self.checkpoints.under_way.swap_remove(index)) else { return };
        self.checkpoints.under_way.retain(|(under_way, _)| *under_way > id);
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
        if !self.end_sent {
            self.out.out.set.control(Control::Barrier(id), core);
        }
        let freeze_ns = self.parts.clock.now_ns() - began_ns;
        let own = write_splits(&splits);
        let positions = splits.into_iter().map(|stored| (stored.split, Position(stored.position))).collect();
        self.checkpoints.under_way.push((id, positions));
        let stats = SnapshotStats { freeze_ns, ..SnapshotStats::default() };
        port.send(id, PartBody::Done(Box::new(TaskSnapshot { own, stats, ..TaskSnapshot::default() })));
    }

    /// Where a resumed task goes on; none at a fresh start.
    pub(super) fn resume_from_checkpoint(&mut self) -> Result<bool, Failure> {
        let restored = self.parts.snapshots.as_ref().and_then(|port| port.restored.clone());
        let Some(restored) = restored.filter(|restored| restored.checkpoint.is_some()) else { return Ok(false) };
        let (component, info) = (self.parts.snapshots.as_ref().map_or(0, |port| port.component), &self.parts.info);
        let splits = restored.splits_of(component, info.index, info.count)?;
        self.positions = splits.iter().map(|stored| (stored.split.clone(), Position(stored.position))).collect();
        self.checkpoints.resumed = splits;
        Ok(true)
    }

    /// Without checkpoints: where a rebuilt instance will resume.
    pub(super) fn remember_positions(&mut self, now_ns: u64) {
        if now_ns < self.positions_at_ns || self.parts.snapshots.is_some() {
            return;
        }
        let Some(spout) = &mut self.spout else { return };
        match guarded(&self.origin, || Ok(spout.replayable().map(|source| source.positions()))) {
            Ok(Some(positions)) => {
                self.positions = positions;
                self.positions_at_ns = now_ns + POSITIONS_AGE_NS;
            }
            Ok(None) => {}
            Err(failure) => self.break_down(&failure),
        }
    }
}
