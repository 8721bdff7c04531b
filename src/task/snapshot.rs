//! A task's part in a checkpoint: what it hands to the keeper of checkpoints, and what it gets back from one.

use std::collections::BTreeMap;

use crossbeam::channel::Sender;

use crate::error::{Error, Failure, Result};
use crate::state::delta::{Delta, Space};
use crate::state::store::Groups;
use crate::state::{Schema, codec};
use crate::sys::sync::Arc;
use crate::task::align::CheckpointId;
use crate::task::component::{Outcome, SplitId};
use crate::task::context::TaskInfo;
use crate::task::lineage::{Caution, GivenUp, Place};
use crate::task::pieces::Pieces;

/// Something that has to be durable before a checkpoint is: flushing and syncing files, for example. Run by the thread
/// that keeps checkpoints, never by an executor.
pub type DurableJob = Box<dyn FnOnce() -> Result<()> + Send>;

/// What a component with a life of its own beside keyed state adds to a checkpoint; see [`Checkpointed`].
#[derive(Default)]
pub struct OwnSnapshot {
    /// Handed back by [`Checkpointed::restore`].
    pub bytes: Vec<u8>,
    /// Done before the checkpoint becomes the truth; an error aborts it.
    pub before: Option<DurableJob>,
}

/// When what a component hands to the world outside can be seen there, and how often after a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// At once; what came after the last checkpoint comes again after a failure.
    #[default]
    Immediate,
    /// At once, under an id that is the same when it comes again, so that it replaces what was there.
    ImmediateById,
    /// With the checkpoint that covers it, once.
    Transactional,
}

impl std::fmt::Display for Visibility {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Visibility::Immediate => "immediate, at least once",
            Visibility::ImmediateById => "immediate, under an id that is the same on every replay",
            Visibility::Transactional => "transactional, seen with the checkpoint that covers it",
        })
    }
}

/// The part of a bolt or sink that takes part in checkpoints itself: a sink that prepares and commits transactions,
/// a component that keeps a position in something outside. Keyed state needs none of this.
///
/// All methods run on the task's executor and must not block; slow work goes into [`OwnSnapshot::before`].
pub trait Checkpointed {
    /// All input before the barrier of this checkpoint has been executed, and none after it.
    ///
    /// # Errors
    /// Restarts the topology from its last checkpoint.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OwnSnapshot, Failure>;

    /// Finds out whether [`restore`](Self::restore) can do its work, and changes nothing: called with the same, once
    /// everything is prepared and before anything is restored. So a start that one component refuses leaves what the
    /// others have outside as it was.
    ///
    /// # Errors
    /// As those of [`restore`](Self::restore).
    fn check_restore(&mut self, _resumed: Option<CheckpointId>, _parts: &[&[u8]]) -> Outcome {
        Ok(())
    }

    /// Called once per instance, after `prepare` and before any input: the checkpoint that is resumed, none at a fresh
    /// start, and the bytes that the tasks of this component had stored in it. After a change of parallelism one task
    /// gets those of several, or none. Nothing to do for what stores nothing of its own.
    ///
    /// # Errors
    /// Stops the start; after a restart, one that asks for a retry is tried again.
    fn restore(&mut self, _resumed: Option<CheckpointId>, _parts: &[&[u8]]) -> Outcome {
        Ok(())
    }

    /// This checkpoint, and with it every older one, is durable: it will never be undone.
    ///
    /// Called at least once for the last of them. Not called for a checkpoint that a later one subsumes.
    ///
    /// # Errors
    /// Restarts the topology from this checkpoint, from where [`restore`](Self::restore) tries again. A fatal one, or
    /// one after the end, stops the topology: the next start tries again.
    fn committed(&mut self, _checkpoint: CheckpointId) -> Outcome {
        Ok(())
    }

    /// When its output is seen. The kind is printed at the start.
    fn visibility(&self) -> Visibility {
        Visibility::Immediate
    }

    /// Where it writes, if it alone may write there: two components that name the same place are refused before the
    /// start. The same place has to have one name, so a path is without links and detours. Asked of an instance that
    /// was made for the purpose and is not prepared.
    fn place(&self) -> Option<String> {
        None
    }
}

/// To the keeper of checkpoints.
pub(crate) enum ToKeeper {
    /// From control: a checkpoint is begun; whether all input has ended, and of which inputs control would like to know
    /// whether it is behind them.
    Begin { checkpoint: CheckpointId, finished: bool, watched: Arc<[Place]> },
    /// From a task.
    Part(Part),
    /// From control: what has come of this checkpoint is worth nothing.
    Cancel(CheckpointId),
    /// From control: read the last checkpoint again.
    StepBack,
    /// From control, last of all.
    Stop,
}

/// One message from a task to the keeper.
pub(crate) struct Part {
    pub component: usize,
    pub index: usize,
    pub checkpoint: CheckpointId,
    pub body: PartBody,
}

pub(crate) enum PartBody {
    /// Some of the task's changed entries.
    Changes(Delta),
    /// All of the task's part has been sent.
    Done(Box<TaskSnapshot>),
    /// The task could not take its snapshot; the checkpoint is given up.
    Failed(Failure),
}

/// What a task says about itself when its part is complete.
#[derive(Default)]
pub(crate) struct TaskSnapshot {
    /// Positions of a spout, the own snapshot of a bolt.
    pub own: Vec<u8>,
    pub before: Option<DurableJob>,
    /// Inputs that were given up before the barrier, and are not dead letters yet.
    pub given_up: Vec<GivenUp>,
    /// Of a spout: dead letters that it has made so far.
    pub dead_lettered: u64,
    /// A bolt's last call has been made: it is not made again by whoever resumes.
    pub finished: bool,
    pub stats: SnapshotStats,
}

/// How long a checkpoint kept one task busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SnapshotStats {
    /// From the first barrier to the last; 0 for a spout.
    pub align_ns: u64,
    /// The one pause: freezing state, own snapshot, sending the barrier on.
    pub freeze_ns: u64,
    /// The longest slice of encoding between turns.
    pub longest_slice_ns: u64,
    /// Entries written.
    pub entries: u64,
}

/// A task's way to the keeper.
#[derive(Clone)]
pub(crate) struct SnapshotPort {
    pub keeper: Sender<ToKeeper>,
    pub component: usize,
    pub index: usize,
    /// Nothing is tracked: any failure steps the whole topology back.
    pub exactly_once: bool,
    /// What the task resumes from; none at a fresh start, and none once it has started.
    pub restored: Option<Arc<Restored>>,
    pub catalogue: Arc<Catalogue>,
    pub pieces: Pieces,
    /// What sources do after a restart.
    pub caution: Caution,
}

/// The keyed states of a topology and their numbers: in the order of the numbers' making.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub states: Vec<CatalogueEntry>,
}

/// One state of one component.
#[derive(Clone, Debug)]
pub(crate) struct CatalogueEntry {
    pub space: Space,
    /// Its position in the plan; none for what nobody owns any more.
    pub component: Option<usize>,
    pub state: String,
    /// As the program has it now.
    pub schema: Schema,
    /// As the checkpoint has it that is resumed.
    pub recorded: Option<Schema>,
}

impl Catalogue {
    fn find(&self, component: usize, state: &str) -> Option<&CatalogueEntry> {
        self.states.iter().find(|entry| entry.component == Some(component) && entry.state == state)
    }
}

impl SnapshotPort {
    pub fn send(&self, checkpoint: CheckpointId, body: PartBody) {
        let part = Part { component: self.component, index: self.index, checkpoint, body };
        // Without a keeper the topology is being stopped, and no checkpoint is completed any more.
        let _ = self.keeper.send(ToKeeper::Part(part));
    }

    pub fn space_of(&self, state: &str) -> Option<Space> {
        self.catalogue.find(self.component, state).map(|entry| entry.space)
    }

    pub fn recorded_schema(&self, state: &str) -> Option<&Schema> {
        self.catalogue.find(self.component, state).and_then(|entry| entry.recorded.as_ref())
    }

    /// True if this task resumes after its last call.
    pub fn has_finished(&self, info: &TaskInfo) -> Result<bool, Failure> {
        let restored = self.restored.as_ref();
        restored.map_or(Ok(false), |restored| restored.has_finished(self.component, info.index, info.count))
    }

    /// Tasks that this component had in the checkpoint that is resumed.
    pub fn tasks_stored(&self) -> usize {
        let restored = self.restored.as_ref();
        restored.and_then(|restored| restored.own.get(&self.component)).map_or(0, Vec::len)
    }

    /// The checkpoint that the task resumes from.
    pub fn resumed(&self) -> Option<CheckpointId> {
        self.restored.as_ref().and_then(|restored| restored.checkpoint)
    }

    /// What the tasks of this component stored that fall to this one, of `count` tasks now.
    pub fn restored_own(&self, count: usize) -> Vec<&[u8]> {
        let Some(restored) = &self.restored else { return Vec::new() };
        restored.own_of(self.component, self.index, count)
    }
}

/// A checkpoint as read back, for all tasks.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// None after a restart before the first checkpoint was durable: from the beginning.
    pub checkpoint: Option<CheckpointId>,
    /// The topology had come to its end.
    pub finished: bool,
    /// The time that timers and times to live went by when it was taken.
    pub now_ns: u64,
    /// By component, what each of its tasks stored of its own.
    pub own: BTreeMap<usize, Vec<Vec<u8>>>,
    /// By component, which of its tasks had made their last call.
    pub finished_tasks: BTreeMap<usize, Vec<bool>>,
    pub groups: Groups,
    /// What sources are to do.
    pub caution: Caution,
    /// Inputs that were given up, and are not dead letters yet.
    pub given_up: Vec<GivenUp>,
    /// By component, the dead letters that its tasks had made.
    pub dead_lettered: BTreeMap<usize, u64>,
}

impl Restored {
    /// Stored part *i* falls to task *i* modulo the number of tasks.
    fn own_of(&self, component: usize, index: usize, count: usize) -> Vec<&[u8]> {
        let Some(parts) = self.own.get(&component) else { return Vec::new() };
        let mine = parts.iter().enumerate().filter(|(part, _)| part % count == index);
        mine.map(|(_, part)| part.as_slice()).collect()
    }

    /// True if a task need not make its last call, because it was made before the checkpoint.
    pub fn has_finished(&self, component: usize, index: usize, count: usize) -> Result<bool, Failure> {
        let Some(finished) = self.finished_tasks.get(&component) else { return Ok(false) };
        if finished.iter().all(|task| *task == finished[0]) {
            return Ok(finished.first().copied().unwrap_or(false));
        }
        if finished.len() == count {
            return Ok(finished[index]);
        }
        Err(Failure::fatal(format!(
            "the input had ended for some of its {} tasks when the checkpoint was taken, so that parallelism cannot \
             become {count} now: resume with {} tasks once, to its end",
            finished.len(),
            finished.len()
        )))
    }

    /// A spout's splits are dealt out again one by one, so that parallelism may change.
    pub fn splits_of(&self, component: usize, index: usize, count: usize) -> Result<Vec<StoredSplit>, Failure> {
        let Some(parts) = self.own.get(&component) else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for part in parts {
            all.extend(read_splits(part)?);
        }
        all.sort();
        Ok(all.into_iter().enumerate().filter(|(split, _)| split % count == index).map(|(_, split)| split).collect())
    }
}

/// What a spout stores of a split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredSplit {
    pub split: SplitId,
    pub position: u64,
    /// See [`Replayable::identity`](crate::Replayable::identity).
    #[serde(default)]
    pub identity: Option<String>,
}

/// What was given up, as stored.
pub(crate) fn write_given_up(given_up: &[GivenUp]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !given_up.is_empty() {
        codec::write(&given_up, &mut bytes).expect("texts and numbers can be encoded");
    }
    bytes
}

pub(crate) fn read_given_up(bytes: &[u8]) -> Result<Vec<GivenUp>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    codec::read(bytes)
        .map_err(|error| Error::bad_state(format!("the stored inputs that were given up cannot be read: {error}")))
}

/// A spout's own part, in MessagePack.
pub(crate) fn write_splits(splits: &[StoredSplit]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::write(&splits, &mut bytes).expect("texts and numbers can be encoded");
    bytes
}

pub(crate) fn read_splits(bytes: &[u8]) -> Result<Vec<StoredSplit>, Failure> {
    codec::read(bytes)
        .map_err(|error| Failure::fatal(format!("the stored positions of a spout cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(parts: &[&[(&str, u64)]]) -> Restored {
        let encode = |part: &&[(&str, u64)]| {
            let stored = |(split, position): &(&str, u64)| StoredSplit {
                split: (*split).to_owned(),
                position: *position,
                identity: None,
            };
            write_splits(&part.iter().map(stored).collect::<Vec<_>>())
        };
        Restored { own: BTreeMap::from([(0, parts.iter().map(encode).collect())]), ..Restored::default() }
    }

    #[test]
    fn splits_are_dealt_out_again_over_any_number_of_tasks() {
        let restored = restored(&[&[("a", 1), ("b", 2)], &[("c", 3)]]);
        for count in 1..=4 {
            let mut all: Vec<_> =
                (0..count).flat_map(|index| restored.splits_of(0, index, count).expect("reads")).collect();
            all.sort();
            let names: Vec<_> = all.iter().map(|split| (split.split.as_str(), split.position)).collect();
            assert_eq!(names, [("a", 1), ("b", 2), ("c", 3)], "{count} tasks");
        }
    }

    /// Before there were identities a split was stored as a pair.
    #[test]
    fn splits_stored_as_pairs_are_read() {
        let mut bytes = Vec::new();
        codec::write(&[("a", 1u64), ("b", 2)], &mut bytes).expect("encodes");
        let splits = read_splits(&bytes).expect("reads");
        assert_eq!(splits.iter().map(|s| (s.split.as_str(), s.position)).collect::<Vec<_>>(), [("a", 1), ("b", 2)]);
    }

    #[test]
    fn bytes_that_are_no_positions_are_refused() {
        let restored = Restored { own: BTreeMap::from([(0, vec![vec![0xc1]])]), ..Restored::default() };
        assert!(restored.splits_of(0, 0, 1).expect_err("refused").is_fatal());
    }
}
