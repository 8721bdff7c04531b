//! The campaign of generated topologies: every kind of component, every grouping, every guarantee and every kind of
//! failure, drawn together, and judged by an oracle that knows the topology as data only.

mod bare;
mod build;
mod draw;
mod elsewhere;
mod found;
mod judge;
mod oracle;
mod parts;
mod records;
mod sinks;
#[allow(dead_code, reason = "the processes of the fault campaign use the rest")]
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::run::Run;
use super::{SimReport, Simulation, noticed, seeds};
use crate::engine::control::Request;
use crate::error::Result;
use crate::state::directory::{DirectoryOptions, StateDirectory};
use crate::state::store::kind::StoreKind;
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;
use crate::sys::disk::simulated::Simulated;
use crate::sys::mutation::Mutation;
use crate::sys::random::Random;
use crate::sys::sync::Arc;
use crate::topology::settings::Settings;
pub use draw::Grouping;
use draw::{NOT_STARTED, SIMULATED, Spec, TOO_LATE};
use sinks::Books;
use world::World;

/// A run may take this long in virtual time: it is half a minute of outage, and pauses that grow to ten seconds.
const ELAPSED_MAX: Duration = Duration::from_secs(4 * 3_600);
const MOVES_MAX: u64 = 1_000_000;

fn state_dir(moves: u32) -> String {
    format!("/state-{moves}")
}

fn savepoint_dir(moves: u32) -> String {
    format!("/savepoint-{moves}")
}

type Hits = BTreeMap<String, u64>;

struct Case {
    spec: Arc<Spec>,
    world: World,
    books: Books,
    random: Random,
    disk: Simulated,
    /// How often it has gone on from a savepoint, in another folder.
    moves: u32,
    /// Numbers of tasks of each start so far.
    tasks: Vec<Vec<usize>>,
    starts: u32,
}

enum Ended {
    /// At its end, or drained.
    Well(Box<SimReport>),
    Killed,
    Suspended,
}

impl Case {
    fn new(seed: u64) -> Self {
        let spec = Arc::new(Spec::draw(seed, &SIMULATED));
        let world = World::new(spec.clone());
        Case {
            books: Books::new(world.clone()),
            world,
            random: Random::new(seed).fork(0x63617365),
            disk: Simulated::new(seed),
            moves: 0,
            tasks: Vec::new(),
            starts: 0,
            spec,
        }
    }

    /// Starts it again and again until it comes to its end. None: it was told to stop, and has, by name.
    fn run(&mut self) -> Result<Option<Box<SimReport>>, String> {
        let mut crashes = 0;
        let mut suspends = self.spec.ends.suspends;
        loop {
            let crashes_now = crashes < self.spec.ends.crashes_max;
            let kill_max = 1 << (6 + self.random.below(8));
            let at = self.random.below(kill_max);
            let kill_at = if crashes_now { at } else { u64::MAX };
            let suspend_at = if suspends && !crashes_now { Some(at) } else { None };
            let outcome = self.start(kill_at, suspend_at);
            self.starts += 1;
            if self.world.state().fatal {
                return match outcome {
                    Err(error) if error.contains("told to stop") => Ok(None),
                    // It may have been killed before it could stop.
                    Ok(Ended::Killed) => Ok(None),
                    Err(error) => Err(format!("told to stop, and stopped as: {error}")),
                    Ok(_) => Err("told to stop by a fatal failure, and went on".to_owned()),
                };
            }
            if let Err(error) = &outcome
                && error.contains(TOO_LATE)
                && self.spec.may_be_given_up_too_late()
            {
                self.world.hit("given up too late");
                return Ok(None);
            }
            match outcome {
                Err(error) if error.contains(NOT_STARTED) => self.world.hit("not started"),
                outcome => match outcome? {
                    Ended::Well(report) => return Ok(Some(report)),
                    Ended::Killed => {
                        self.world.hit("crash");
                        crashes += 1;
                        // The power goes with the process, at this moment: what is outside knows what was committed.
                        let changes = self.disk.recorded();
                        self.disk = self.disk.image(changes, Some(self.random.next_u64()));
                    }
                    Ended::Suspended => {
                        self.world.hit("suspend");
                        suspends = false;
                        self.disk = self.disk.crash(self.random.next_u64());
                    }
                },
            }
            self.world.process_ended();
            self.books.process_ended();
            self.may_move();
        }
    }

    /// Takes a savepoint of what the last process left, for the next one to begin with in an empty folder.
    fn may_move(&mut self) {
        if !self.spec.ends.savepoints || self.random.chance(0.5) {
            return;
        }
        let (disk, clock) = (Disk::simulated(self.disk.clone()), Clock::virtual_at_zero());
        let from = StateDirectory::inspect(disk.clone(), state_dir(self.moves).as_ref(), clock.clone());
        // There is none before the first checkpoint.
        let Ok(restored) = from.and_then(|from| from.restored(from.generation(None)?)) else { return };
        // Under its name at once: nothing fails on the way.
        let (out, options) = (savepoint_dir(self.moves), DirectoryOptions::default());
        let savepoint = StateDirectory::open(disk, out.as_ref(), StoreKind::Log, options, clock);
        savepoint.and_then(|mut savepoint| savepoint.adopt(restored)).expect("the disk is in order");
        self.moves += 1;
        self.world.hit("savepoint");
    }

    fn draw_tasks(&mut self) -> Vec<usize> {
        let first = self.tasks.is_empty();
        let components = self.spec.clone();
        let of = |component: &draw::Component| match first || component.fixed || self.random.chance(0.5) {
            true => component.tasks,
            false => 1 + self.random.below(5) as usize,
        };
        components.components.iter().map(of).collect()
    }

    fn start(&mut self, kill_at: u64, suspend_at: Option<u64>) -> Result<Ended, String> {
        let mut tasks = self.draw_tasks();
        loop {
            if self.tasks.last().is_some_and(|before| *before != tasks) {
                self.world.hit("another parallelism");
            }
            let outcome = self.start_with(&tasks, kill_at, suspend_at);
            // Something is held in the checkpoint, or the input had ended for some tasks: does as it is told.
            if let Err(error) = &outcome
                && error.contains("cannot become")
                && let Some(before) = self.tasks.pop()
            {
                tasks = before;
                continue;
            }
            self.tasks.push(tasks);
            return outcome;
        }
    }

    fn start_with(&mut self, tasks: &[usize], kill_at: u64, suspend_at: Option<u64>) -> Result<Ended, String> {
        self.disk.record();
        let mut simulation = Simulation::new(self.spec.seed ^ u64::from(self.starts) << 32).moves_max(MOVES_MAX);
        if self.spec.ends.drains {
            simulation = simulation.drain_after(Duration::from_micros(self.random.below(50_000)));
            self.world.hit("drain");
        }
        let state_dir = self.spec.checkpoint_every.map(|_| state_dir(self.moves));
        let savepoint = self.moves.checked_sub(1).map(savepoint_dir);
        let set = |settings: &mut Settings| (settings.state_dir, settings.restore_from) = (state_dir, savepoint);
        let sinks = |t: &mut _, id, part, tasks| self.books.sink(t, id, part, tasks);
        let outside = build::Outside { sinks: &sinks, children: None };
        let topology = build::build(&self.spec, &self.world, tasks, outside, set).map_err(|error| error.to_string())?;
        let mut run =
            Run::on_disk(&simulation, topology, None, self.disk.clone()).map_err(|error| error.to_string())?;
        run.open();
        let mut suspended = false;
        let mut moves = 0;
        while run.step().map_err(|error| error.to_string())? {
            moves += 1;
            if moves == kill_at {
                return Ok(Ended::Killed);
            }
            if suspend_at == Some(moves) {
                run.request(Request::Suspend);
                suspended = true;
            }
        }
        let report = run.end().map_err(|error| error.to_string())?;
        if report.report.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.step_backs > 0) {
            self.world.hit("restart");
        }
        if report.elapsed > ELAPSED_MAX {
            return Err(format!("it took {:?}", report.elapsed));
        }
        Ok(if suspended { Ended::Suspended } else { Ended::Well(Box::new(report)) })
    }

    fn judge(&self, report: &SimReport) -> Result<(), String> {
        let report = &report.report;
        let state = self.world.state();
        let ran = judge::Ran {
            written: &state.written,
            starts: self.starts,
            source_failed: state.source_failed,
            ended: &state.ended,
            in_windows: &state.in_windows(),
            drained: self.spec.ends.drains,
            counted: report.components.iter().map(|component| component.counts.dead_lettered).sum(),
            unaccounted: report.unaccounted(),
        };
        let difference = judge::judge(&self.spec, &ran);
        let wrong = &difference.wrong[..difference.wrong.len().min(6)];
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

fn judge(seed: u64) -> Result<Hits, String> {
    let run = || {
        let mut case = Case::new(seed);
        let outcome = case.run();
        if let Some(wrong) = case.world.wrong() {
            return Err(wrong);
        }
        if let Some(report) = outcome? {
            case.judge(&report)?;
        }
        Ok(std::mem::take(&mut case.world.state().hits))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

fn rerun(seed: u64) -> String {
    format!("SQUALL_SEED={seed} cargo test --lib testing::simulation::generated::every_topology_keeps_its_guarantee")
}

/// Failing seeds after which the campaign stops.
const FAILING_MAX: usize = 5;

#[test]
fn every_topology_keeps_its_guarantee() {
    let seeds = seeds(1_000);
    let mut hits = Hits::new();
    let mut failing = Vec::new();
    for seed in seeds.clone() {
        match judge(seed) {
            Ok(of_seed) => of_seed.into_iter().for_each(|(what, count)| *hits.entry(what).or_default() += count),
            Err(wrong) => failing.push((seed, wrong)),
        }
        if failing.len() == FAILING_MAX {
            break;
        }
    }
    if let Some((first, _)) = failing.first() {
        let list =
            failing.iter().map(|(seed, wrong)| format!("seed {seed}: {wrong}\nrun it alone: {}\n", rerun(*seed)));
        let list: Vec<String> = list.collect();
        panic!("{}\nthe first of these topologies: {:#?}", list.join("\n"), Spec::draw(*first, &SIMULATED));
    }
    if seeds.end - seeds.start >= 1_000 {
        let groupings = Grouping::ALL.into_iter().map(|grouping| format!("{grouping:?}"));
        let missing: Vec<_> = groupings.chain(world::kinds()).filter(|what| !hits.contains_key(what)).collect();
        assert!(missing.is_empty(), "the campaign never came to {missing:?}, only to {hits:#?}");
    }
}

fn must_be_noticed(mutation: Mutation, symptoms: &[&str]) {
    noticed::must_be_noticed(mutation, 0..1_000, symptoms, judge);
}

#[test]
fn inputs_given_up_that_are_not_in_the_checkpoint_are_noticed() {
    must_be_noticed(Mutation::GivenUpNotSaved, &["is 0 dead letters, and should be: true"]);
}

#[test]
fn dead_letters_that_are_counted_anew_after_a_restart_are_noticed() {
    must_be_noticed(Mutation::DeadLettersNotRestored, &["dead letters are counted"]);
}

#[test]
fn an_input_that_is_blamed_without_being_alone_is_noticed() {
    must_be_noticed(Mutation::NotSetApart, &["restart_limit", "no end after"]);
}

#[test]
fn streams_between_two_tasks_that_overtake_each_other_are_noticed() {
    must_be_noticed(Mutation::LanesNotShared, &["out of order"]);
}

#[test]
fn tuples_that_are_acked_although_their_window_failed_are_noticed() {
    must_be_noticed(Mutation::WindowFailureAcked, &["is 0 dead letters, and should be: true"]);
}

#[test]
fn a_commit_that_is_left_out_is_noticed() {
    must_be_noticed(Mutation::CommitSkipped, &["is 0 times in"]);
}
