//! A bolt with real work: what a second executor is for.

use std::hint::black_box;

use crate::bench::pinned;
use crate::bench::shapes::{Numbered, Setup};
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;
use crate::sys::random::mix;
use crate::task::outlet::Outlet;
use crate::task::payload::Nothing;
use crate::topology::Topology;

const TARGET_NS: u64 = 1_000;
const STEPS_AT_A_TIME: u64 = 1_000_000;

/// Steps that take about a microsecond on this CPU: each needs the result of the one before.
///
/// # Errors
/// When the thread that finds out cannot be started or pinned.
pub(super) fn steps(cpu: CpuId, clock: &Clock) -> Result<u64> {
    let clock = clock.clone();
    pinned::on_cpu(cpu, move || {
        // The fastest of some tries is the one that was not interrupted.
        let tries = (0..5).map(|_| {
            let start_ns = clock.now_ns();
            work(0, STEPS_AT_A_TIME);
            (clock.now_ns() - start_ns).max(1)
        });
        let ns = tries.min().expect("there are some");
        (STEPS_AT_A_TIME * TARGET_NS / ns).max(1)
    })
}

fn work(from: u64, steps: u64) -> u64 {
    black_box((0..steps).fold(black_box(from), |sum, _| mix(sum)))
}

/// Numbers to two tasks that work on each.
///
/// # Errors
/// As [`TopologyBuilder::build`](crate::TopologyBuilder::build).
pub(super) fn topology(setup: &Setup, steps: u64) -> Result<Topology> {
    let mut t = setup.builder("work");
    let numbers = t.spout("numbers", || Numbered::new(|number| number));
    let works = move |number: u64, _: &mut Outlet<Nothing>| {
        work(number, steps);
    };
    t.bolt("work", works).parallelism(2).shuffle(&numbers);
    t.build()
}
