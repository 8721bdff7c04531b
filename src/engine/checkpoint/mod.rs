//! Checkpoints: when they begin, who takes part, and the keeper that makes them durable.

pub(crate) mod blame;
pub(crate) mod catalogue;
pub(crate) mod keeper;
pub(crate) mod restarts;
pub(crate) mod schedule;
pub(crate) mod stats;

use std::path::Path;

use crossbeam::channel::Sender;

use crate::engine::checkpoint::catalogue::Roster;
use crate::engine::checkpoint::keeper::Keeper;
use crate::engine::checkpoint::schedule::Pace;
use crate::engine::checkpoint::stats::CheckpointStats;
use crate::engine::control::Event;
use crate::engine::{ids, places};
use crate::error::Result;
use crate::state::directory::{DirectoryOptions, StateDirectory};
use crate::state::manifest::Generation;
use crate::state::store::CheckpointId;
use crate::state::store::kind::StoreKind;
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;
use crate::sys::sync::Arc;
use crate::task::pieces::Pieces;
use crate::task::snapshot::{Restored, ToKeeper};
use crate::topology::Topology;
use crate::topology::plan::{Kind, Plan};
use crate::topology::settings::{Guarantee, Settings};

pub use stats::{CheckpointReport, Completed, Health};

/// Everything about a run's checkpoints that its parts share.
pub(crate) struct Checkpointing {
    pub roster: Arc<Roster>,
    pub stats: Arc<CheckpointStats>,
    pub keeper: Sender<ToKeeper>,
    pub pieces: Pieces,
    pub pace: Pace,
    pub exactly_once: bool,
    /// The checkpoint that the run goes on from at first, and whether the topology had come to its end.
    pub resumed: Option<(CheckpointId, bool)>,
    /// What to add to the engine's time for nanoseconds since the epoch. Never less than in the run that is resumed: if
    /// the machine's clock was set back meanwhile, time goes on where it was.
    pub wall_offset_ns: u64,
}

/// What opening gives; all none without checkpoints.
#[derive(Default)]
pub(crate) struct Opened {
    pub checkpointing: Option<Checkpointing>,
    pub keeper: Option<Keeper>,
    /// What the first tasks are built from; none at a beginning.
    pub restored: Option<Arc<Restored>>,
}

/// Opens the state directory, if the settings ask for checkpoints.
///
/// # Errors
/// The directory is in use, or nothing in it can be used; it is of another topology, or has state that nobody owns.
pub(crate) fn open(
    topology: &Topology,
    plan: &Plan,
    settings: &Settings,
    disk: Disk,
    clock: &Clock,
    events: &Sender<Event>,
) -> Result<Opened> {
    ids::check(topology, plan)?;
    places::check(topology, plan)?;
    let Some(interval) = settings.checkpoint_interval() else { return Ok(Opened::default()) };
    if let Some(edge) = plan.edges.iter().find(|edge| edge.feedback) {
        let (from, to) = (&plan.components[edge.from].id, &plan.components[edge.to].id);
        let why = "checkpoints and cycles exclude each other: a barrier would go round for ever; take the cycle out, \
                   or the checkpoints";
        return Err(crate::Error::usage(format!("the edge from {from} to {to}"), why));
    }
    let exactly_once = settings.guarantee == Guarantee::ExactlyOnce;
    check_replay(topology, plan, exactly_once)?;
    if exactly_once {
        check_held(topology, plan)?;
    }
    let options = DirectoryOptions {
        generations: settings.checkpoints_kept,
        fresh: settings.fresh_state,
        ..DirectoryOptions::default()
    };
    // Before --fresh moves anything aside.
    let savepoint = match &settings.restore_from {
        Some(path) => {
            let savepoint = StateDirectory::inspect(disk.clone(), Path::new(path), clock.clone())?;
            let generation = savepoint.generation(None)?;
            if settings.fresh_state {
                check_name(generation, plan, path)?;
                Roster::new(topology, plan, Some(generation), settings.allow_ownerless_state)?;
            }
            Some(savepoint)
        }
        None => None,
    };
    let mut directory = match &settings.state_dir {
        Some(path) => StateDirectory::open(disk.clone(), Path::new(path), settings.store, options, clock.clone())?,
        None => StateDirectory::in_memory(options, clock.clone())?,
    };
    let savepoint = match savepoint {
        Some(savepoint) => {
            let generation = savepoint.generation(None)?;
            // The same command line goes on with what the first start has begun.
            if directory.began_with(generation) {
                None
            } else {
                directory.require_empty()?;
                Some(savepoint.restored(generation)?)
            }
        }
        None => None,
    };
    let begins_with_savepoint = savepoint.is_some();
    let resumed = savepoint.or_else(|| directory.take_restored());
    let generation = resumed.as_ref().map(|resumed| &resumed.generation);
    if let Some(generation) = generation {
        let place = directory.path().display().to_string();
        check_name(generation, plan, settings.restore_from.as_deref().unwrap_or(&place))?;
    }
    let roster = Arc::new(Roster::new(topology, plan, generation, settings.allow_ownerless_state)?);
    let mut notes = notes(&directory, generation.is_some(), settings);
    notes.extend(roster.notes(generation));
    notes.extend(visibilities(topology, plan));
    // Only now, when nothing can refuse it any more on this side.
    let resumed = match resumed {
        Some(savepoint) if begins_with_savepoint => Some(directory.adopt(savepoint)?),
        resumed => resumed,
    };
    let restored = resumed.map(|resumed| roster.restored(resumed)).transpose()?.map(Arc::new);
    let resumed = restored.as_ref().and_then(|restored| Some((restored.checkpoint?, restored.finished)));
    let resumed_at_ns = restored.as_ref().map_or(0, |restored| restored.now_ns);
    let wall_offset_ns = clock.wall_offset_ns().max(resumed_at_ns.saturating_sub(clock.now_ns()));
    let stats = Arc::new(CheckpointStats::new(resumed, notes, roster.clone(), interval, clock.clone()));
    let (sender, messages) = crossbeam::channel::unbounded();
    let pieces = Pieces::new();
    let (events, of_keeper) = (events.clone(), pieces.clone());
    let time = (clock.clone(), wall_offset_ns);
    let keeper = Keeper::new(directory, roster.clone(), stats.clone(), time, messages, events, of_keeper);
    let pace =
        Pace { interval_ns: interval.as_nanos() as u64, timeout_ns: settings.checkpoint_timeout.as_nanos() as u64 };
    let checkpointing =
        Checkpointing { roster, stats, keeper: sender, pieces, pace, exactly_once, resumed, wall_offset_ns };
    Ok(Opened { checkpointing: Some(checkpointing), keeper: Some(keeper), restored })
}

fn check_name(generation: &Generation, plan: &Plan, place: &str) -> Result<()> {
    if generation.topology == plan.name {
        return Ok(());
    }
    Err(crate::Error::bad_state(format!(
        "{place} holds the state of the topology {:?}, and this one is {:?}: use another state directory, or give the \
         topology its old name",
        generation.topology, plan.name
    )))
}

/// What came after the checkpoint is read again: under exactly-once no spout may be unable to, and under at-least-once
/// none that alone has it.
fn check_replay(topology: &Topology, plan: &Plan, exactly_once: bool) -> Result<()> {
    for (position, component) in plan.components.iter().enumerate().filter(|(_, c)| c.kind == Kind::Spout) {
        let kit = topology.task_kit(position);
        let (who, instead) = match exactly_once {
            true if !kit.can_replay() => ("exactly-once has", "choose --guarantee at-least-once"),
            false if kit.loses_items() => ("a restart from a checkpoint has", "leave checkpoint_interval out"),
            _ => continue,
        };
        let why = format!(
            "{who} to read its input again after a failure, and this spout cannot: standard input, pipes and channels \
             are gone once they are read; write the input to a file and read that, or {instead}"
        );
        return Err(crate::Error::usage(component.id.to_string(), why));
    }
    Ok(())
}

/// A barrier waits for held tuples; nobody knows whether a bolt that has not thought about it ever lets go of them.
fn check_held(topology: &Topology, plan: &Plan) -> Result<()> {
    let manual = plan.components.iter().enumerate().filter(|(_, component)| component.kind == Kind::ManualBolt);
    for (position, component) in manual {
        if !topology.task_kit(position).declares_held() {
            let why = "under exactly-once a bolt in manual style has to say what becomes of the tuples it holds when a \
                       barrier comes: declare `const HELD: Option<Held<Self::In>> = Some(Held::Drain)` if it settles \
                       them without waiting for more input, `Some(Held::in_state())` if it collects tuples";
            return Err(crate::Error::usage(component.id.to_string(), why));
        }
    }
    Ok(())
}

/// When output is seen, for the components at the ends.
fn visibilities(topology: &Topology, plan: &Plan) -> Vec<String> {
    let ends = plan.components.iter().enumerate().filter(|(position, _)| plan.is_sink(*position));
    ends.map(|(position, end)| format!("output of {}: {}", end.id, topology.task_kit(position).visibility())).collect()
}

/// What was found, in words for the log and the report.
fn notes(directory: &StateDirectory, resumes: bool, settings: &Settings) -> Vec<String> {
    let opening = directory.opening();
    let place = directory.path().display();
    let mut notes = Vec::new();
    if directory.kind() == StoreKind::Memory {
        notes.push("checkpoints are kept in memory: after the process has ended, it starts from the beginning".into());
    } else if let Some(checkpoint) = opening.restored {
        notes.push(format!("resumed from checkpoint {checkpoint} in {place}"));
    } else if let Some(savepoint) = &settings.restore_from {
        notes.push(format!("{place} begins with the savepoint {savepoint}"));
    } else if !resumes {
        notes.push(format!("nothing to resume in {place}: starting from the beginning"));
    }
    notes.extend(opening.unusable.iter().map(|why| format!("not usable: {why}")));
    notes.extend(opening.torn_slot.iter().map(|why| format!("one manifest slot was torn, the other was used: {why}")));
    notes.extend(opening.moved_aside.iter().map(|path| format!("moved aside: {}", path.display())));
    if settings.fresh_state && opening.moved_aside.is_empty() {
        notes.push(format!("{place} held nothing to start over from"));
    }
    notes
}
