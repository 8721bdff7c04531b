//! The project's own campaign: random topologies under random schedules and faults, judged by an oracle.

mod generate;
mod parts;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Simulation, seeds};
use crate::sys::mutation::{self, Mutation};
use generate::Spec;
use world::World;

/// Runs one seed; every hundredth twice. Returns roots acked, roots failed and parcels made.
fn run_seed(seed: u64) -> Result<(usize, usize, usize), String> {
    let spec = Spec::draw(seed);
    let mut simulation = Simulation::new(seed).moves_max(1_000_000);
    if let Some(after) = spec.drain_after {
        simulation = simulation.drain_after(after);
    }
    let world: RefCell<Option<World>> = RefCell::new(None);
    let build = || {
        let (topology, of_run) = spec.build()?;
        *world.borrow_mut() = Some(of_run);
        Ok(topology)
    };
    let result = if seed.is_multiple_of(100) { simulation.run_twice(build) } else { simulation.run(build) };
    let world = world.into_inner().ok_or("the generator made no valid topology")?;
    let verdict = world.verdict(spec.drain_after.is_some());
    match (result, verdict) {
        (Ok(report), Ok(())) => {
            let failed: u64 = report.report.components.iter().map(|component| component.counts.failed).sum();
            if spec.faultless() && failed > 0 {
                return Err(format!("{failed} failed although no fault was injected"));
            }
            Ok(world.sums())
        }
        (Err(error), Ok(())) => Err(error.to_string()),
        (Ok(_), Err(wrong)) => Err(wrong),
        (Err(error), Err(wrong)) => Err(format!("{error}\n{wrong}")),
    }
}

/// The same, a panic of the engine being a failure like any other.
fn judge_seed(seed: u64) -> Result<(usize, usize, usize), String> {
    catch_unwind(AssertUnwindSafe(|| run_seed(seed))).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

/// How to run a failing seed alone.
fn rerun(seed: u64) -> String {
    format!("SQUALL_SEED={seed} cargo test --lib testing::simulation::campaign::every_seed_keeps_the_promises")
}

/// Failing seeds after which the campaign stops.
const FAILING_MAX: usize = 5;

#[test]
fn every_seed_keeps_the_promises() {
    let mut sums = (0, 0, 0);
    let seeds = seeds(1_000);
    let mut failing = Vec::new();
    for seed in seeds.clone() {
        match judge_seed(seed) {
            Ok((acked, failed, parcels)) => sums = (sums.0 + acked, sums.1 + failed, sums.2 + parcels),
            Err(wrong) => failing.push((seed, wrong)),
        }
        if failing.len() == FAILING_MAX {
            break;
        }
    }
    if let Some((first, _)) = failing.first() {
        let list: Vec<String> = failing
            .iter()
            .map(|(seed, wrong)| format!("seed {seed}: {wrong}\nrun it alone: {}\n", rerun(*seed)))
            .collect();
        panic!("{}\nthe first of these topologies: {:#?}", list.join("\n"), Spec::draw(*first));
    }
    if seeds.end - seeds.start >= 1_000 {
        assert!(sums.0 > 1_000 && sums.1 > 100 && sums.2 > 10_000, "the campaign must do something: {sums:?}");
    }
}

/// Takes out a safety of the engine and runs seeds until one that passes with it fails without it, in one of the ways
/// in which the loss must show.
fn must_be_noticed(mutation: Mutation, symptoms: &[&str]) {
    let mut others = Vec::new();
    for seed in 0..SEEDS_TO_NOTICE_MAX {
        let Err(wrong) = mutation::with(mutation, || judge_seed(seed)) else { continue };
        assert!(judge_seed(seed).is_ok(), "seed {seed} fails without the mutation too");
        if symptoms.iter().any(|symptom| wrong.contains(symptom)) {
            return;
        }
        others.push(wrong);
    }
    panic!("{mutation:?} was not noticed as {symptoms:?} in {SEEDS_TO_NOTICE_MAX} seeds, but as {others:#?}");
}

/// Seeds within which a missing safety must be noticed.
const SEEDS_TO_NOTICE_MAX: u64 = 50;

#[test]
fn a_lost_wake_up_is_noticed() {
    must_be_noticed(Mutation::LoseWakeup, &["everything sleeps, nothing is due"]);
}

#[test]
fn a_dropped_ack_is_noticed() {
    must_be_noticed(Mutation::DropAck, &["failed although nothing happened to it"]);
}

#[test]
fn a_reused_edge_id_is_noticed() {
    must_be_noticed(Mutation::ReuseEdge, &["of its tuples alive"]);
}
