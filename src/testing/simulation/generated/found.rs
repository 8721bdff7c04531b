//! What the campaign has found, each as a test of its own.

use std::time::Duration;

use super::elsewhere::Elsewhere;
use crate::connect::Generator;
use crate::error::Failure;
use crate::sys::mutation::{self, Mutation};
use crate::task::component::{Bolt, ManualBolt, Outcome};
use crate::task::door::Door;
use crate::task::held::{Anchor, Tuple};
use crate::task::outlet::Outlet;
use crate::testing::{Simulation, TestDriver, capture};
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::Guarantee;

/// Hands over more than a lane takes in its last call.
struct Tells;

impl Bolt for Tells {
    type In = u64;
    type Out = u64;

    fn execute(&mut self, _: u64, _: &mut Outlet<u64>) -> Outcome {
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<u64>) -> Outcome {
        out.hand_over(0..1_000);
        Ok(())
    }
}

/// It was taken for an input that is neither acked nor failed, by whatever checkpoint came meanwhile.
#[test]
fn an_iterator_of_a_last_call_is_no_missing_input() {
    let mut t = TopologyBuilder::new("last-call");
    let numbers = t.source("numbers", || Generator::new(10, |n| n));
    let told = t.bolt("tells", || Tells).global(&numbers);
    let captured = capture(&mut t, &told);
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| (s.checkpoint_interval, s.lane_capacity, s.turn_tuples_max) = (Some(10 * MS), 1, 1));
    let mut driver = TestDriver::start(t.build().expect("builds")).expect("starts");
    driver.run_to_end().expect("ends");
    assert_eq!((captured.take().len(), driver.report().unaccounted()), (1_000, 0));
}

const MS: Duration = Duration::from_millis(1);

/// Each of them made a dead letter of it.
#[test]
fn an_input_that_is_rejected_for_several_descendants_is_one_dead_letter() {
    let mut t = TopologyBuilder::new("several");
    let numbers = t.source("numbers", || Generator::new(10, |n| n).rate(1_000));
    let fan = |n: u64, out: &mut Outlet<u64>| (0..5).for_each(|_| out.emit(n));
    let fanned = t.bolt("fan", fan).shuffle(&numbers);
    let reject = |n: u64, out: &mut Outlet<u64>| {
        out.emit(n);
        if n == 3 { Err(Failure::reject("bad")) } else { Ok(()) }
    };
    let passed = t.bolt("reject", reject).parallelism(3).shuffle(&fanned);
    let (passed, letters) = (capture(&mut t, &passed), capture(&mut t, numbers.dead_letters()));
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| s.checkpoint_interval = Some(100 * MS));
    let mut driver = TestDriver::start(t.build().expect("builds")).expect("starts");
    driver.run_to_end().expect("ends");
    assert_eq!(letters.take().iter().map(|letter| letter.value).collect::<Vec<_>>(), [3]);
    assert_eq!((passed.take().len(), driver.counts("numbers").dead_lettered), (50, 1));
}

/// The news that a checkpoint is durable made what the iterator at hand emits belong to no input, and rejecting it
/// stopped the topology.
#[test]
fn what_an_iterator_emits_belongs_to_its_input_whatever_comes_between() {
    for seed in 0..60 {
        let mut letters = None;
        let build = || {
            let mut t = TopologyBuilder::new("between");
            let numbers = t.source("numbers", || Generator::new(20, |n| n).rate(1_000));
            let fan = |n: u64, out: &mut Outlet<u64>| out.hand_over((0..20).map(move |_| n));
            let fanned = t.bolt("fan", fan).shuffle(&numbers);
            let reject = |n: u64, _: &mut Outlet<u64>| if n % 2 == 1 { Err(Failure::reject("odd")) } else { Ok(()) };
            t.bolt("reject", reject).shuffle(&fanned);
            letters = Some(capture(&mut t, numbers.dead_letters()));
            t.guarantee(Guarantee::ExactlyOnce);
            t.settings(|s| s.checkpoint_interval = Some(10 * MS));
            t.build()
        };
        Simulation::new(seed).run(build).expect("rejects, and goes on");
        let mut letters: Vec<u64> = letters.expect("built").take().iter().map(|letter| letter.value).collect();
        letters.sort_unstable();
        assert_eq!(letters, (0..20).filter(|n| n % 2 == 1).collect::<Vec<_>>());
    }
}

/// Holds everything until its tick, and panics at 10.
struct Holds(Vec<Tuple<u64>>);

impl ManualBolt for Holds {
    type In = u64;
    type Out = u64;

    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<u64>) -> Outcome {
        if *tuple == 10 {
            std::panic::resume_unwind(Box::new("poison".to_owned()));
        }
        self.0.push(tuple);
        Ok(())
    }

    fn tick(&mut self, _: &mut Outlet<u64>) -> Outcome {
        self.0.drain(..).for_each(Tuple::ack);
        Ok(())
    }
}

/// How many inputs were given up: those held beside the one that panics fail with it, again and again.
fn given_up_beside_a_poison(seed: u64) -> usize {
    let mut letters = None;
    let build = || {
        let mut t = TopologyBuilder::new("beside");
        let numbers = t.source("numbers", || Generator::new(20, |n| n));
        t.bolt("holds", || Holds(Vec::new())).tick(1_000 * MS).shuffle(&numbers);
        letters = Some(capture(&mut t, numbers.dead_letters()));
        t.settings(|s| (s.rebuilds_max, s.failures_max) = (1_000, 2));
        t.build()
    };
    Simulation::new(seed).run(build).expect("ends");
    letters.expect("built").take().len()
}

#[test]
fn a_failure_of_others_that_counts_against_a_tuple_is_noticed() {
    let counted = |seed| mutation::with(Mutation::CollateralCounted, || given_up_beside_a_poison(seed));
    assert!((0..60).any(|seed| counted(seed) > 1));
    assert!((0..60).all(|seed| given_up_beside_a_poison(seed) <= 1));
}

fn try_emit(door: &Door<u64>, anchor: &Anchor, value: u64) -> bool {
    door.try_emit_anchored(anchor, value).is_ok()
}

/// How long, in virtual time, until two inputs are through.
fn through_a_door(seed: u64) -> Duration {
    let build = || {
        let mut t = TopologyBuilder::new("door");
        let numbers = t.source("numbers", || Generator::new(2, |n| n).rate(100));
        let through = t.bolt("elsewhere", || Elsewhere::new(try_emit)).shuffle(&numbers);
        capture(&mut t, &through);
        t.guarantee(Guarantee::ExactlyOnce);
        t.settings(|s| s.checkpoint_interval = Some(10 * MS));
        t.build()
    };
    Simulation::new(seed).run(build).expect("ends").elapsed
}

#[test]
fn a_snapshot_that_is_not_taken_after_the_last_turn_is_noticed() {
    let timeout = Duration::from_secs(10);
    let late = |seed| mutation::with(Mutation::SnapshotNotAfterTurn, || through_a_door(seed)) >= timeout;
    assert!((0..100).any(late));
    assert!((0..100).all(|seed| through_a_door(seed) < timeout));
}
