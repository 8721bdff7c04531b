//! One simulated run: what the seed draws before it, and at every move.

use std::time::Duration;

use super::{SimReport, Simulation};
use crate::engine::control::{Phase, Request};
use crate::error::Result;
use crate::sys::disk::Disk;
use crate::sys::disk::simulated::Simulated;
use crate::sys::random::Random;
use crate::testing::stage::{Move, Stage};
use crate::topology::Topology;
use crate::topology::plan::Plan;
use crate::topology::settings::Settings;

pub(super) use crate::engine::executor::TurnLog;

/// What a run draws once.
struct Manner {
    /// Probability that a move is followed by a step of time, and the longest step.
    time_steps: f64,
    step_max_ns: u64,
    /// Probability that an executor that has just had a pass is held up, and for how long at most.
    hold_ups: f64,
    hold_up_max_ns: u64,
    /// Probability that an executor goes on with another pass before anyone else gets one.
    persistence: f64,
    /// Probability that the spouts are deactivated after a move, or activated again.
    toggles: f64,
    /// Probability that a job runs when its turn would have come.
    job_haste: f64,
}

pub(super) struct Run<'a> {
    simulation: &'a Simulation,
    stage: Stage,
    random: Random,
    manner: Manner,
    /// Until when each executor is held up.
    held_up_ns: Vec<u64>,
    last: Option<Move>,
    moves: Vec<Move>,
    drain_at_ns: Option<u64>,
    /// Trees are open then, at least once: their inputs are read again by whoever resumes.
    is_suspended: bool,
}

const MS: u64 = 1_000_000;

impl<'a> Run<'a> {
    pub fn new(simulation: &'a Simulation, topology: Topology, log: Option<&TurnLog>) -> Result<Self> {
        Self::on_disk(simulation, topology, log, Simulated::new(simulation.seed))
    }

    /// With checkpoints on this disk.
    pub fn on_disk(
        simulation: &'a Simulation,
        topology: Topology,
        log: Option<&TurnLog>,
        disk: Simulated,
    ) -> Result<Self> {
        let mut random = Random::new(simulation.seed);
        let mut settings = topology.resolve()?.settings;
        let plan = topology.plan(&settings);
        if simulation.odds.is_some() {
            (settings.rebuilds_max, settings.rebuild_progress_tuples) = (u32::MAX, 1);
        }
        draw_settings(&mut settings, &plan, &mut random);
        let seed = random.next_u64() >> 1;
        let ack_lane_capacity = draw(&mut random, &[1, 1, 2, 5, 4_096]);
        let polled_lanes_max = draw(&mut random, &[0, 64]);
        let mut stage = Stage::new(topology, settings, Disk::simulated(disk), seed, |shared| {
            shared.ack_lane_capacity = ack_lane_capacity;
            shared.polled_lanes_max = polled_lanes_max;
            shared.chaos = simulation.odds;
        })?;
        for (number, actor) in stage.actors.iter_mut().enumerate() {
            if random.chance(0.75) {
                actor.executor.shuffle_turns(random.fork(number as u64));
            }
            if let Some(log) = log {
                actor.executor.log_turns(log.clone());
            }
        }
        let manner = Manner {
            time_steps: *pick(&mut random, &[0.0, 0.05, 0.5]),
            step_max_ns: *pick(&mut random, &[1_000, 100_000, 5 * MS]),
            hold_ups: *pick(&mut random, &[0.0, 0.0, 0.02, 0.2]),
            hold_up_max_ns: *pick(&mut random, &[10_000, MS, 50 * MS]),
            persistence: *pick(&mut random, &[0.0, 0.5, 0.95]),
            toggles: *pick(&mut random, &[0.0, 0.0, 0.0, 0.01]),
            job_haste: *pick(&mut random, &[1.0, 0.1, 0.01]),
        };
        Ok(Run {
            simulation,
            held_up_ns: vec![0; stage.actors.len()],
            stage,
            random,
            manner,
            last: None,
            moves: Vec::new(),
            drain_at_ns: simulation.drain_after.map(|after| after.as_nanos() as u64),
            is_suspended: false,
        })
    }

    pub fn finish(mut self) -> Result<SimReport> {
        self.open();
        while self.step()? {}
        self.end()
    }

    /// What the opening of the state directory had to say.
    #[cfg(test)]
    pub fn notes(&self) -> Vec<String> {
        self.stage.shared.checkpointing.as_ref().map(|c| c.stats.report().notes).unwrap_or_default()
    }

    pub fn open(&mut self) {
        self.stage.open();
    }

    /// What somebody asks for from outside, such as a suspend.
    #[cfg(test)]
    pub fn request(&mut self, request: Request) {
        self.is_suspended |= request == Request::Suspend;
        self.stage.request(request);
    }

    /// One move, or a step of time. False once the topology has stopped.
    pub fn step(&mut self) -> Result<bool> {
        if self.stage.phase() == Phase::Stopped {
            return Ok(false);
        }
        self.drain_if_due();
        if let Some(chosen) = self.choose() {
            self.stage.make(chosen);
            self.last = Some(chosen);
            self.disturb(chosen);
        } else if !self.let_time_pass() {
            let state = self.stage.describe();
            let message = format!("everything sleeps, nothing is due, and it has not ended: {state}");
            return Err(self.simulation.failed("stuck", message));
        }
        if self.stage.moves > self.simulation.moves_max {
            let message = format!("no end after {} moves: {}", self.stage.moves, self.stage.describe());
            return Err(self.simulation.failed("endless", message));
        }
        Ok(true)
    }

    /// How it came to its end, once it has.
    pub fn end(self) -> Result<SimReport> {
        self.stage.outcome().map_err(|error| {
            let state = error.state().unwrap_or("failed");
            self.simulation.failed(state, error)
        })?;
        self.nothing_is_left()?;
        Ok(SimReport {
            seed: self.simulation.seed,
            moves: self.stage.moves,
            trace: self.stage.trace,
            elapsed: Duration::from_nanos(self.stage.now_ns()),
            report: self.stage.report(),
        })
    }

    fn drain_if_due(&mut self) {
        if self.drain_at_ns.is_some_and(|at_ns| at_ns <= self.stage.now_ns())
            && matches!(self.stage.phase(), Phase::Active | Phase::Inactive)
        {
            self.drain_at_ns = None;
            self.stage.request(Request::Drain);
        }
    }

    /// The next move, unless everyone sleeps or is held up.
    fn choose(&mut self) -> Option<Move> {
        if let Some(Move::Executor(number)) = self.last
            && self.stage.can_run(number)
            && self.held_up_ns[number] <= self.stage.now_ns()
            && self.random.chance(self.manner.persistence)
        {
            return self.last;
        }
        self.stage.possible(&mut self.moves);
        let now_ns = self.stage.now_ns();
        let held_up = &self.held_up_ns;
        self.moves.retain(|chosen| !matches!(*chosen, Move::Executor(number) if held_up[number] > now_ns));
        let jobs_only = self.moves.iter().all(|chosen| matches!(chosen, Move::Job(_)));
        if !jobs_only && !self.random.chance(self.manner.job_haste) {
            self.moves.retain(|chosen| !matches!(chosen, Move::Job(_)));
        }
        if self.moves.is_empty() {
            return None;
        }
        let index = self.random.below(self.moves.len() as u64) as usize;
        Some(self.moves[index])
    }

    /// Time may pass, the executor may be held up, the spouts may be switched off or on.
    fn disturb(&mut self, made: Move) {
        if self.random.chance(self.manner.toggles) {
            self.toggle();
        }
        if self.random.chance(self.manner.time_steps) {
            let step_ns = self.random.below(self.manner.step_max_ns);
            self.stage.advance_to(self.stage.now_ns() + step_ns);
        }
        if let Move::Executor(number) = made
            && self.random.chance(self.manner.hold_ups)
        {
            self.held_up_ns[number] = self.stage.now_ns() + self.random.below(self.manner.hold_up_max_ns);
        }
    }

    fn toggle(&mut self) {
        match self.stage.phase() {
            Phase::Active => self.stage.request(Request::Deactivate),
            Phase::Inactive => self.stage.request(Request::Activate),
            _ => {}
        }
    }

    /// Goes on to when something happens by itself or someone is no longer held up. False if that is never.
    fn let_time_pass(&mut self) -> bool {
        if self.stage.phase() == Phase::Inactive {
            self.toggle();
            return true;
        }
        let now_ns = self.stage.now_ns();
        let held_up = (0..self.held_up_ns.len()).filter(|&number| self.stage.can_run(number));
        let free_ns = held_up.map(|number| self.held_up_ns[number]).filter(|&free_ns| free_ns > now_ns).min();
        let drain_ns = self.drain_at_ns.filter(|&at_ns| at_ns > now_ns);
        let next_ns =
            free_ns.into_iter().chain(self.stage.next_due_ns()).chain(drain_ns).filter(|&at_ns| at_ns > now_ns).min();
        next_ns.inspect(|&next_ns| self.stage.advance_to(next_ns)).is_some()
    }

    /// A run that has ended well leaves no tree, no held tuple and no item in a lane, and has lost none.
    fn nothing_is_left(&self) -> Result<()> {
        let shared = &self.stage.shared;
        for (component, tasks) in shared.plan.components.iter().zip(&shared.metrics) {
            for (index, task) in tasks.iter().enumerate() {
                if task.pending() > 0 && !self.is_suspended {
                    let message = format!("{}[{index}] is left with {} pending", component.id, task.pending());
                    return Err(self.simulation.failed("left_over", message));
                }
                if task.unaccounted() > 0 {
                    let message = format!("{}[{index}] has lost {} inputs", component.id, task.unaccounted());
                    return Err(self.simulation.failed("unaccounted", message));
                }
            }
        }
        match self.stage.actors.iter().map(|actor| actor.executor.queued()).sum::<usize>() {
            0 => Ok(()),
            // Behind the last barrier.
            _ if self.is_suspended => Ok(()),
            items => Err(self.simulation.failed("left_over", format!("{items} items are left in lanes"))),
        }
    }
}

/// Executors, lanes and turns. Lanes of a topology with a cycle stay as they are: how much fits into a cycle decides
/// whether it fills up.
fn draw_settings(settings: &mut Settings, plan: &Plan, random: &mut Random) {
    settings.executors = Some(1 + random.below(4) as usize);
    settings.one_thread_per_task |= random.chance(0.1);
    settings.turn_tuples_max = draw(random, &[1, 2, 7, 64]);
    if plan.edges.iter().all(|edge| !edge.feedback) {
        let all_alike = random.chance(0.5);
        let capacity = draw(random, &[1, 1, 2, 3, 8, 1_024]);
        for component in &plan.components {
            let own = settings.components.entry(component.id.clone()).or_default();
            own.lane_capacity = Some(if all_alike { capacity } else { draw(random, &[1, 1, 2, 3, 8, 1_024]) });
        }
    }
}

fn draw(random: &mut Random, choices: &[usize]) -> usize {
    *pick(random, choices)
}

fn pick<'c, T>(random: &mut Random, choices: &'c [T]) -> &'c T {
    &choices[random.below(choices.len() as u64) as usize]
}
