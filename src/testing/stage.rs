//! What the driver and the simulation share: all executors of a topology on one thread, stepped one pass at a time.
//!
//! Parking is as real as on threads: an executor that found nothing to do announces sleep, looks once more, and is then
//! not stepped again before someone wakes its sleeper or its due time comes. A wake-up that gets lost shows as a run in
//! which everyone sleeps and nothing is due.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};

use crate::engine::checkpoint::{self, Opened, keeper::Keeper};
use crate::engine::control::{Command, Control, Event, Phase, Request};
use crate::engine::executor::{Executor, Pass};
use crate::engine::placement::place;
use crate::engine::report::{Report, report};
use crate::engine::watch::Seen;
use crate::engine::wiring::{CommandEnds, Shared, build, command_channels, packages};
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;
use crate::sys::offload::Offload;
use crate::sys::park::Sleep;
use crate::sys::random::mix;
use crate::sys::sync::Arc;
use crate::task::measured::Measured;
use crate::task::snapshot::Restored;
use crate::topology::Topology;
use crate::topology::settings::Settings;

/// One thing that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// A pass of this executor.
    Executor(usize),
    /// The control side takes an event, or notes that time has passed.
    Control,
    /// The keeper of checkpoints handles a message.
    Keeper,
    /// An offloaded job runs; by its place in the queue.
    Job(usize),
}

pub(super) struct Stage {
    pub shared: Arc<Shared>,
    pub actors: Vec<Actor>,
    control: Control,
    events: Receiver<Event>,
    events_in: Sender<Event>,
    channels: CommandEnds,
    keeper: Option<Keeper>,
    /// Passes and other moves so far, and a running hash of them.
    pub moves: u64,
    pub trace: u64,
}

/// An executor and how it rests.
pub(super) struct Actor {
    pub executor: Executor,
    rest: Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Awake,
    /// It has announced sleep and has to look for work once more.
    Announced {
        blocked: bool,
    },
    Asleep {
        due_ns: Option<u64>,
    },
    Stopped,
}

impl Stage {
    /// Wires a topology under settings that are already effective; its checkpoints go to this disk. `adjust` may change
    /// what the plan does not say.
    ///
    /// # Errors
    /// As [`checkpoint::open`].
    pub fn new(
        topology: Topology,
        settings: Settings,
        disk: Disk,
        seed: u64,
        adjust: impl FnOnce(&mut Shared),
    ) -> Result<Self> {
        let plan = topology.plan(&settings);
        let placed = place(&topology, &plan, &settings, settings.executors.unwrap_or(1));
        let (clock, offload) = (Clock::virtual_at_zero(), Offload::deferred());
        let (events_in, events) = crossbeam::channel::unbounded();
        let Opened { checkpointing, keeper, restored } =
            checkpoint::open(&topology, &plan, &settings, disk, &clock, &events_in)?;
        let mut shared = Shared::new(topology, plan, placed, settings, clock, offload, seed);
        shared.checkpointing = checkpointing;
        adjust(&mut shared);
        let shared = Arc::new(shared);
        let channels = command_channels(shared.placed.executors.len());
        let packages = packages(&shared, &channels, &events_in, restored);
        let control = Control::new(
            channels.iter().map(|(sender, _)| sender.clone()).collect(),
            &shared.mailboxes,
            shared.settings.drain_timeout,
            shared.settings.kill_wait,
            shared.has_cycle,
        )
        .with_checkpoints(shared.checkpoints());
        let actors = packages
            .into_iter()
            .map(|package| Actor { executor: build(shared.clone(), package), rest: Rest::Awake })
            .collect();
        Ok(Stage { shared, actors, control, events, events_in, channels, keeper, moves: 0, trace: 0 })
    }

    /// Opens and prepares every task.
    pub fn open(&mut self) {
        self.actors.iter_mut().for_each(|actor| actor.executor.start());
    }

    pub fn now_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }

    pub fn phase(&self) -> Phase {
        self.control.phase()
    }

    pub fn outcome(&self) -> Result<()> {
        self.control.outcome()
    }

    pub fn request(&mut self, request: Request) {
        self.control.request(request, self.now_ns());
    }

    /// Lists what can happen now. Empty: everyone sleeps.
    pub fn possible(&self, moves: &mut Vec<Move>) {
        moves.clear();
        moves.extend((0..self.actors.len()).filter(|&number| self.can_run(number)).map(Move::Executor));
        if self.control_can_run() {
            moves.push(Move::Control);
        }
        if self.keeper.as_ref().is_some_and(Keeper::has_work) {
            moves.push(Move::Keeper);
        }
        moves.extend((0..self.shared.offload.deferred_len()).map(Move::Job));
    }

    pub fn can_run(&self, number: usize) -> bool {
        match self.actors[number].rest {
            Rest::Awake | Rest::Announced { .. } => true,
            Rest::Asleep { due_ns } => {
                !self.shared.mailboxes[number].sleeper.is_asleep()
                    || due_ns.is_some_and(|due_ns| due_ns <= self.now_ns())
            }
            Rest::Stopped => false,
        }
    }

    pub fn control_can_run(&self) -> bool {
        !self.events.is_empty() || self.control.next_due_ns().is_some_and(|due_ns| due_ns <= self.now_ns())
    }

    /// When the next thing happens by itself.
    pub fn next_due_ns(&self) -> Option<u64> {
        let executors = self.actors.iter().filter_map(|actor| match actor.rest {
            Rest::Asleep { due_ns } => due_ns,
            _ => None,
        });
        executors.chain(self.control.next_due_ns()).min()
    }

    pub fn advance_to(&self, ns: u64) {
        self.shared.clock.advance_to(ns);
    }

    pub fn make(&mut self, chosen: Move) {
        self.moves += 1;
        let what = match chosen {
            Move::Executor(number) => self.pass(number) << 16 | number as u64,
            Move::Control => {
                if let Ok(event) = self.events.try_recv() {
                    self.control.event(event, self.now_ns());
                }
                self.control.time(self.now_ns());
                if let Some(restored) = self.control.take_rebuild() {
                    self.shared.trace();
                    self.rebuild(restored);
                }
                u64::MAX
            }
            Move::Keeper => {
                if let Some(keeper) = &mut self.keeper {
                    keeper.step();
                }
                1 << 41
            }
            Move::Job(index) => {
                self.run_job(index);
                1 << 40 | index as u64
            }
        };
        self.trace = mix(self.trace ^ what).wrapping_add(mix(self.now_ns()));
    }

    /// Sends every executor the rings of its new tasks.
    fn rebuild(&self, restored: Arc<Restored>) {
        let packages = packages(&self.shared, &self.channels, &self.events_in, Some(restored));
        for (number, package) in packages.into_iter().enumerate() {
            // Every executor of a stage listens until it is stopped.
            let _ = self.channels[number].0.send(Command::Rebuild(Box::new(package)));
            self.shared.mailboxes[number].sleeper.wake();
        }
    }

    /// As the thread of an executor does between two passes; returns what happened, for the trace.
    fn pass(&mut self, number: usize) -> u64 {
        let sleeper = &self.shared.mailboxes[number].sleeper;
        let actor = &mut self.actors[number];
        let announced = match actor.rest {
            Rest::Announced { blocked } => Some(blocked),
            Rest::Asleep { .. } => {
                sleeper.cancel();
                None
            }
            Rest::Awake | Rest::Stopped => None,
        };
        actor.rest = match (actor.executor.pass(), announced) {
            (Pass::Stopped, _) => Rest::Stopped,
            (Pass::Idle { blocked, .. }, None) => {
                sleeper.announce(if blocked { Sleep::Blocked } else { Sleep::Idle });
                Rest::Announced { blocked }
            }
            (Pass::Idle { due_ns, blocked }, Some(was_blocked)) if blocked == was_blocked => Rest::Asleep { due_ns },
            (Pass::Busy | Pass::Idle { .. }, _) => {
                sleeper.cancel();
                Rest::Awake
            }
        };
        match actor.rest {
            Rest::Awake => 0,
            Rest::Announced { .. } => 1,
            Rest::Asleep { due_ns } => 2 ^ mix(due_ns.unwrap_or(0)),
            Rest::Stopped => 3,
        }
    }

    fn run_job(&self, index: usize) {
        let job = AssertUnwindSafe(|| self.shared.offload.run_deferred(index));
        if catch_unwind(job).is_err() {
            tracing::error!("an offloaded job panicked");
        }
    }

    pub fn report(&self) -> Report {
        let latencies = match self.phase() {
            Phase::Stopped => self.control.latencies.clone(),
            _ => self.actors.iter().flat_map(|actor| actor.executor.latencies()).collect(),
        };
        let wall = Duration::from_nanos(self.now_ns());
        report(&self.shared, self.phase(), wall, &latencies, vec![None; self.actors.len()], &Seen::default())
    }

    /// What was measured since the last call.
    pub fn take_measured(&mut self) -> Measured {
        let mut all = self.control.measured.take().map_or_else(Measured::default, |left| *left);
        if self.phase() != Phase::Stopped {
            self.actors.iter_mut().for_each(|actor| actor.executor.take_measured(&mut all));
        }
        all
    }

    /// Who sleeps with input waiting, for the message of a run that is stuck.
    pub fn describe(&self) -> String {
        let executors = self.actors.iter().enumerate().map(|(number, actor)| {
            let asleep = self.shared.mailboxes[number].sleeper.is_asleep();
            let queued = actor.executor.queued();
            format!(
                "executor {number}: {:?}, wake-up {}, {queued} queued",
                actor.rest,
                if asleep { "none" } else { "seen" }
            )
        });
        let components = self.shared.plan.components.iter().zip(&self.shared.metrics).flat_map(|(component, tasks)| {
            tasks.iter().enumerate().map(move |(index, task)| {
                format!("{}[{index}]: {:?}, {} pending", component.id, task.state(), task.pending())
            })
        });
        executors.chain(components).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::outlet::Outlet;
    use crate::testing::{capture, feeder};
    use crate::topology::builder::TopologyBuilder;

    /// Spout, bolt, ledger and back to the spout, each on an executor of its own.
    #[test]
    fn with_every_ring_at_capacity_one_acks_included_nothing_waits_for_itself() {
        let (feeder, spout) = feeder::<u32>();
        let mut t = TopologyBuilder::new("rings");
        t.settings(|settings| {
            settings.one_thread_per_task = true;
            settings.lane_capacity = 1;
        });
        let numbers = t.spout("numbers", spout).parallelism(2);
        let twice = |n: u32, out: &mut Outlet<u32>| {
            out.emit(n);
            out.emit(n);
        };
        let doubled = t.bolt("twice", twice).parallelism(2).shuffle(&numbers);
        let captured = capture(&mut t, &doubled);
        let topology = t.build().unwrap();
        let settings = topology.resolve().unwrap().settings;
        let disk = Disk::simulated(crate::sys::disk::simulated::Simulated::new(0));
        let mut stage = Stage::new(topology, settings, disk, 0, |shared| shared.ack_lane_capacity = 1).expect("opens");
        assert_eq!(stage.actors.len(), 5);
        stage.open();
        (0..500).for_each(|id| feeder.feed(id, 0));
        feeder.finish();
        let mut moves = Vec::new();
        while stage.phase() != Phase::Stopped {
            stage.possible(&mut moves);
            assert!(!moves.is_empty(), "stuck: {}", stage.describe());
            moves.iter().for_each(|chosen| stage.make(*chosen));
        }
        assert_eq!((captured.len(), feeder.acked().len()), (1_000, 500));
    }
}
