//! A thousand tasks on two executors: a full mesh of 500 × 499 lanes runs and drains within the lane memory budget.

use squall::connect::Generator;
use squall::{Nothing, Outlet, TopologyBuilder};

const TUPLES: u64 = 20_000;

#[test]
fn a_mesh_of_a_thousand_tasks_drains_within_the_lane_budget() {
    let mut t = TopologyBuilder::new("mesh");
    t.settings(|settings| settings.executors = Some(2));
    let numbers = t.source("numbers", || Generator::new(TUPLES, |n| n));
    let left = t
        .bolt("left", |n: u64, out: &mut Outlet<u64>| {
            out.emit(n);
            out.emit(n + 1);
        })
        .parallelism(500)
        .shuffle(&numbers);
    t.bolt("right", |_: u64, _: &mut Outlet<Nothing>| {}).parallelism(499).fields(&left, |n: &u64| n);
    let topology = t.build().unwrap();

    let (plan, placed) = topology.explain().unwrap();
    let budget = topology.resolve().unwrap().settings.lane_memory_bytes;
    assert_eq!(plan.task_count(), 1_000);
    assert_eq!(placed.executors.len(), 2);
    assert!(placed.remote_lanes > 124_000, "about half of 249,500 lanes cross: {}", placed.remote_lanes);
    assert!(placed.remote_bytes <= budget, "{} bytes of lanes in a budget of {budget}", placed.remote_bytes);
    assert!(placed.remote_capacity.iter().all(|&capacity| capacity >= 8), "{:?}", placed.remote_capacity);

    let report = topology.run().unwrap();
    let counts: Vec<_> = report.components.iter().map(|component| component.counts).collect();
    assert_eq!((counts[0].acked, counts[0].failed), (TUPLES, 0));
    assert_eq!((counts[1].executed, counts[2].executed), (TUPLES, 2 * TUPLES));
}
