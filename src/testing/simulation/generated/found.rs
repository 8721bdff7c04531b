//! What the campaign has found, each as a test of its own.

use std::time::Duration;

use crate::connect::Generator;
use crate::error::Failure;
use crate::task::component::{Bolt, Outcome};
use crate::task::outlet::Outlet;
use crate::testing::{TestDriver, capture};
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
