//! Topologies on real threads: counts, ends, faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use squall::{Bolt, Failure, Next, Nothing, Outcome, Outlet, Spout, SpoutOutlet, TopologyBuilder};

struct Numbers {
    next: u64,
    end: u64,
}

impl Spout for Numbers {
    type Out = u64;
    type Id = u64;
    fn next(&mut self, out: &mut SpoutOutlet<u64, u64>) -> Result<Next, Failure> {
        if self.next == self.end {
            return Ok(Next::Finished);
        }
        out.emit_tracked(self.next, self.next);
        self.next += 1;
        Ok(Next::Emitted)
    }
}

struct Sum(Arc<AtomicU64>);

impl Bolt for Sum {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, input: u64, _out: &mut Outlet<Nothing>) -> Outcome {
        self.0.fetch_add(input, Ordering::Relaxed);
        Ok(())
    }
}

fn sum_topology(executors: usize, tasks: usize, capacity: usize) {
    const COUNT: u64 = 20_000;
    let sum = Arc::new(AtomicU64::new(0));
    let mut t = TopologyBuilder::new("sum");
    t.settings(|s| {
        s.executors = Some(executors);
        s.lane_capacity = capacity;
    });
    let numbers = t.spout("numbers", || Numbers { next: 0, end: COUNT });
    let twice = t
        .bolt("twice", |n: u64, out: &mut Outlet<u64>| {
            out.emit(n);
            out.emit(n);
        })
        .parallelism(tasks)
        .shuffle(&numbers);
    let into = sum.clone();
    t.bolt("sum", move || Sum(into.clone())).parallelism(tasks).fields_by(&twice, |n: &u64| *n);
    let report = t.build().unwrap().run().unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), COUNT * (COUNT - 1));
    assert_eq!(report.components[0].counts.acked, COUNT);
    assert_eq!(report.components[0].counts.failed, 0);
    assert_eq!(report.components[2].counts.executed, 2 * COUNT);
    assert_eq!(report.complete_latency_us.count, COUNT);
}

#[test]
fn every_tree_is_acked_on_one_executor() {
    sum_topology(1, 1, 1024);
}

#[test]
fn every_tree_is_acked_across_executors() {
    sum_topology(2, 3, 64);
}

#[test]
fn every_tree_is_acked_with_lanes_of_capacity_one() {
    sum_topology(1, 2, 1);
    sum_topology(3, 2, 1);
}
