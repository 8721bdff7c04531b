//! The keeper of checkpoints: gathers the tasks' parts, makes them durable, and reads them back. A thread drives it, or
//! a test driver; everything that touches a disk happens here and never on an executor.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam::channel::{Receiver, Sender};

use crate::engine::checkpoint::catalogue::Roster;
use crate::engine::checkpoint::stats::{CheckpointStats, Completed};
use crate::engine::control::Event;
use crate::error::{Error, Failure, Result};
use crate::state::delta::Delta;
use crate::state::directory::StateDirectory;
use crate::state::manifest::{Blob, Generation, OperatorEntry};
use crate::state::store::CheckpointId;
use crate::sys::clock::{Clock, wall_ns};
use crate::sys::mutation::{self, Mutation};
use crate::sys::sync::Arc;
use crate::task::key::KEY_GROUPS_DEFAULT;
use crate::task::lineage::{GivenUp, Place, SplitName};
use crate::task::pieces::Pieces;
use crate::task::snapshot::{
    Part, PartBody, Restored, TaskSnapshot, ToKeeper, read_splits, write_given_up, write_splits,
};

/// The parts of a checkpoint that have come so far.
struct Gathering {
    checkpoint: CheckpointId,
    finished: bool,
    watched: Arc<[Place]>,
    began_ns: u64,
    deltas: Vec<Delta>,
    /// By component and task.
    done: BTreeMap<(usize, usize), TaskSnapshot>,
}

/// What becomes known with a checkpoint that is durable.
#[derive(Debug)]
pub(crate) struct Durable {
    /// Inputs that bolts gave up before it: news to their sources.
    pub given_up: Arc<[GivenUp]>,
    /// Of the watched inputs, those that it is behind.
    pub passed: Vec<Place>,
}

pub(crate) struct Keeper {
    directory: StateDirectory,
    roster: Arc<Roster>,
    stats: Arc<CheckpointStats>,
    clock: Clock,
    /// What to add to the clock for nanoseconds since the epoch.
    wall_offset_ns: u64,
    messages: Receiver<ToKeeper>,
    events: Sender<Event>,
    pieces: Pieces,
    gathering: Option<Gathering>,
    /// Inputs that bolts gave up before the last checkpoint that is durable. A bolt may hear of that only after the
    /// barrier of the next one, and have them in its snapshot again.
    told: BTreeSet<Place>,
}

impl Keeper {
    pub fn new(
        directory: StateDirectory,
        roster: Arc<Roster>,
        stats: Arc<CheckpointStats>,
        (clock, wall_offset_ns): (Clock, u64),
        messages: Receiver<ToKeeper>,
        events: Sender<Event>,
        pieces: Pieces,
    ) -> Self {
        let (gathering, told) = (None, BTreeSet::new());
        Keeper { directory, roster, stats, clock, wall_offset_ns, messages, events, pieces, gathering, told }
    }

    /// Handles messages until told to stop.
    pub fn run(mut self) {
        while let Ok(message) = self.messages.recv() {
            if matches!(message, ToKeeper::Stop) {
                return;
            }
            self.handle(message);
        }
    }

    /// True if a message waits.
    pub fn has_work(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Handles one message, if one waits.
    pub fn step(&mut self) {
        if let Ok(message) = self.messages.try_recv() {
            self.handle(message);
        }
    }

    fn handle(&mut self, message: ToKeeper) {
        match message {
            ToKeeper::Begin { checkpoint, finished, watched } => {
                let began_ns = self.clock.now_ns();
                self.stats.begun();
                let (deltas, done) = (Vec::new(), BTreeMap::new());
                self.gathering = Some(Gathering { checkpoint, finished, watched, began_ns, deltas, done });
            }
            ToKeeper::Part(part) => self.take_part(part),
            ToKeeper::Cancel(checkpoint) => {
                self.gathering.take_if(|gathering| gathering.checkpoint <= checkpoint);
            }
            ToKeeper::Stop => self.gathering = None,
            ToKeeper::StepBack => {
                self.gathering = None;
                self.told.clear();
                let restored = self.directory.step_back();
                let restored = restored.and_then(|found| {
                    found.map_or_else(|| Ok(Restored::default()), |found| self.roster.restored(found))
                });
                self.report(match restored {
                    Ok(restored) => Event::SteppedBack(Box::new(restored)),
                    Err(error) => Event::KeeperFailed(error),
                });
            }
        }
    }

    /// Control outlives the keeper.
    fn report(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn take_part(&mut self, part: Part) {
        // What is left of a checkpoint that was given up.
        let Some(gathering) = self.gathering.as_mut().filter(|gathering| gathering.checkpoint == part.checkpoint)
        else {
            return;
        };
        match part.body {
            PartBody::Changes(delta) => gathering.deltas.push(delta),
            PartBody::Done(snapshot) => {
                self.stats.part_came(part.component, part.index);
                gathering.done.insert((part.component, part.index), *snapshot);
                if gathering.done.len() == self.roster.tasks
                    && let Some(complete) = self.gathering.take()
                {
                    self.complete(complete);
                }
            }
            PartBody::Failed(failure) => {
                self.gathering = None;
                self.report(Event::CheckpointFailed { checkpoint: part.checkpoint, why: failure.to_string() });
            }
        }
    }

    /// Everyone has given their part: make it the truth.
    fn complete(&mut self, mut gathering: Gathering) {
        let told = self.leave_out_told(&mut gathering);
        let checkpoint = gathering.checkpoint;
        let (given_up, splits) = (self.given_up(&gathering), self.splits(&gathering));
        let durable = match splits {
            Ok(splits) => {
                let is_behind = |place: &&Place| {
                    let of_split = splits.iter().filter(|(split, _)| *split == place.split());
                    of_split.map(|(_, position)| *position > place.position).min().unwrap_or(true)
                };
                if let Some(lost) = given_up.iter().find(|g| !splits.iter().any(|(split, _)| *split == g.place.split()))
                {
                    let error = format!("an input that {:?} gave up is in no split of any source", lost.origin);
                    return self.report(Event::KeeperFailed(Error::bad_state(error)));
                }
                Durable { passed: gathering.watched.iter().filter(is_behind).copied().collect(), given_up }
            }
            Err(failure) => return self.report(Event::KeeperFailed(Error::bad_state(failure.to_string()))),
        };
        match self.write(gathering) {
            Ok(completed) => {
                self.told = told;
                self.stats.completed(completed);
                self.report(Event::Checkpointed { checkpoint, durable });
            }
            // What the disk holds now is unknown: only a new start, which reads it, can tell.
            Err(Unwritten::Disk(error)) => self.report(Event::KeeperFailed(error)),
            Err(Unwritten::Job(failure)) => {
                self.report(Event::CheckpointFailed { checkpoint, why: failure.to_string() });
            }
        }
    }

    /// Takes what sources have been told of out of the bolts' snapshots. Returns what is told by now.
    fn leave_out_told(&self, gathering: &mut Gathering) -> BTreeSet<Place> {
        let mut told = BTreeSet::new();
        for ((component, _), snapshot) in &mut gathering.done {
            if !self.roster.is_spout(*component) {
                told.extend(snapshot.given_up.iter().map(|given_up| given_up.place));
                snapshot.given_up.retain(|given_up| !self.told.contains(&given_up.place));
            }
        }
        told
    }

    fn given_up(&self, gathering: &Gathering) -> Arc<[GivenUp]> {
        let bolts = gathering.done.iter().filter(|((component, _), _)| !self.roster.is_spout(*component));
        once_each(bolts.flat_map(|(_, snapshot)| &snapshot.given_up)).into()
    }

    /// How far each split has been read, if somebody wants to know.
    fn splits(&self, gathering: &Gathering) -> Result<Vec<(SplitName, u64)>, Failure> {
        let mut splits = Vec::new();
        let is_asked = !gathering.watched.is_empty() || gathering.done.values().any(|s| !s.given_up.is_empty());
        for (&(component, _), snapshot) in gathering.done.iter().filter(|_| is_asked) {
            if self.roster.is_spout(component) {
                let name = self.roster.name(component);
                let stored = read_splits(&snapshot.own)?;
                splits.extend(stored.iter().map(|stored| (SplitName::new(name, &stored.split), stored.position)));
            }
        }
        Ok(splits)
    }

    fn write(&mut self, mut gathering: Gathering) -> Result<Completed, Unwritten> {
        let mut completed = Completed { checkpoint: gathering.checkpoint.0, ..Completed::default() };
        for (&(component, index), snapshot) in &mut gathering.done {
            completed.add(&snapshot.stats, || self.roster.task_name(component, index));
            if let Some(job) = snapshot.before.take() {
                job().map_err(|error| Unwritten::Job(Failure::retry(error.to_string())))?;
            }
        }
        let written = self.directory.append(gathering.checkpoint, &gathering.deltas).map_err(Unwritten::Disk)?;
        (completed.written_bytes, completed.sync_ns) = (written.bytes, written.sync_ns);
        gathering.deltas.drain(..).for_each(|piece| self.pieces.give_back(piece));
        let generation = self.generation(&gathering);
        self.directory.commit(generation, written).map_err(Unwritten::Disk)?;
        let now_ns = self.clock.now_ns();
        completed.took_ns = now_ns - gathering.began_ns;
        completed.at_ns = now_ns;
        Ok(completed)
    }

    fn generation(&self, gathering: &Gathering) -> Generation {
        let mut operators: Vec<OperatorEntry> = Vec::new();
        for (&(component, _), snapshot) in &gathering.done {
            let own = if self.roster.is_spout(component) && mutation::is(Mutation::PositionsNotSaved) {
                write_splits(&[])
            } else {
                snapshot.own.clone()
            };
            let name = self.roster.name(component);
            if operators.last().is_none_or(|last| last.component != name) {
                operators.push(OperatorEntry { component: name.to_owned(), ..OperatorEntry::default() });
            }
            let operator = operators.last_mut().expect("there is one now");
            operator.tasks.push(Blob(own));
            operator.finished.push(snapshot.finished);
            operator.dead_lettered += snapshot.dead_lettered;
        }
        operators.extend_from_slice(self.roster.kept_operators());
        // Also what sources know of and have not made dead letters of.
        let mut given_up = once_each(gathering.done.values().flat_map(|snapshot| &snapshot.given_up));
        if mutation::is_off(Mutation::GivenUpNotSaved) {
            given_up.clear();
        }
        Generation {
            checkpoint: gathering.checkpoint,
            topology: self.roster.topology.clone(),
            key_groups: KEY_GROUPS_DEFAULT,
            finished: gathering.finished,
            written_at_ns: if self.clock.is_virtual() { self.clock.now_ns() as i64 } else { wall_ns() },
            now_ns: self.clock.now_ns().saturating_add(self.wall_offset_ns),
            states: self.roster.state_entries(),
            operators,
            given_up: Blob(write_given_up(&given_up)),
            ..Generation::default()
        }
    }
}

/// Inputs that were given up, in order. One whose descendants failed in several places was given up there each time,
/// and is one dead letter nevertheless.
fn once_each<'a>(all: impl Iterator<Item = &'a GivenUp>) -> Vec<GivenUp> {
    let mut known = BTreeSet::new();
    all.filter(|given_up| known.insert(given_up.place)).cloned().collect()
}

/// Why a checkpoint did not become the truth.
enum Unwritten {
    /// A component could not make its own part durable; the next checkpoint may succeed.
    Job(Failure),
    Disk(Error),
}
