//! Topologies on real threads: counts, ends, faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use squall::{Bolt, BoltContext, Failure, Next, Nothing, Outcome, Outlet, Spout, SpoutOutlet, TopologyBuilder};

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

/// Emits as fast as it is asked, until told to stop.
struct Flood(Arc<AtomicU64>);

impl Spout for Flood {
    type Out = u64;
    type Id = ();
    fn next(&mut self, out: &mut SpoutOutlet<u64, ()>) -> Result<Next, Failure> {
        if self.0.load(Ordering::Relaxed) > 0 {
            return Ok(Next::Finished);
        }
        out.emit(0);
        Ok(Next::Emitted)
    }
}

#[test]
fn a_flood_does_not_starve_a_neighbour_on_the_same_executor() {
    const COUNT: u64 = 5_000;
    let stop = Arc::new(AtomicU64::new(0));
    let mut t = TopologyBuilder::new("neighbours");
    t.settings(|s| s.executors = Some(1));
    let flag = stop.clone();
    let flood = t.spout("flood", move || Flood(flag.clone()));
    t.bolt("drown", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&flood);
    let numbers = t.spout("numbers", || Numbers { next: 0, end: COUNT });
    t.bolt("last", move |n: u64, _: &mut Outlet<Nothing>| {
        if n == COUNT - 1 {
            stop.store(1, Ordering::Relaxed);
        }
    })
    .shuffle(&numbers);
    // Ends only because the small pipeline gets its turns while the other could use all of them.
    let report = t.build().unwrap().run().unwrap();
    assert_eq!(report.components[2].counts.acked, COUNT);
    assert!(report.components[1].counts.executed > 0);
}

#[test]
fn ticks_reach_a_bolt_that_always_has_input() {
    /// Stops the flood at its third tick.
    struct Ticking {
        stop: Arc<AtomicU64>,
        ticks: u64,
    }
    impl Bolt for Ticking {
        type In = u64;
        type Out = Nothing;
        fn execute(&mut self, _: u64, _: &mut Outlet<Nothing>) -> Outcome {
            Ok(())
        }
        fn tick(&mut self, _: &mut Outlet<Nothing>) -> Outcome {
            self.ticks += 1;
            self.stop.store(u64::from(self.ticks >= 3), Ordering::Relaxed);
            Ok(())
        }
    }
    let stop = Arc::new(AtomicU64::new(0));
    let mut t = TopologyBuilder::new("ticks");
    t.settings(|s| s.executors = Some(1));
    let flag = stop.clone();
    let flood = t.spout("flood", move || Flood(flag.clone()));
    t.bolt("ticking", move || Ticking { stop: stop.clone(), ticks: 0 }).tick(Duration::from_millis(1)).shuffle(&flood);
    let report = t.build().unwrap().run().unwrap();
    assert!(report.components[1].counts.ticks >= 3);
}

#[test]
fn a_failed_prepare_stops_the_start_and_names_the_component() {
    struct Unprepared;
    impl Bolt for Unprepared {
        type In = u64;
        type Out = Nothing;
        fn prepare(&mut self, _: &mut BoltContext<Nothing>) -> Outcome {
            Err(Failure::retry("no licence"))
        }
        fn execute(&mut self, _: u64, _: &mut Outlet<Nothing>) -> Outcome {
            Ok(())
        }
    }
    let mut t = TopologyBuilder::new("unprepared");
    t.settings(|s| s.executors = Some(2));
    let numbers = t.spout("numbers", || Numbers { next: 0, end: 1 });
    t.bolt("bad", || Unprepared).parallelism(2).shuffle(&numbers);
    let error = t.build().unwrap().start().err().expect("it cannot start");
    assert_eq!(error.state(), Some("not_started"));
    assert!(error.to_string().contains("bad[") && error.to_string().contains("no licence"), "{error}");
}

#[test]
fn a_killed_topology_ends_although_its_spout_never_would() {
    let mut t = TopologyBuilder::new("endless");
    let flood = t.spout("flood", || Flood(Arc::default()));
    t.bolt("drown", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&flood);
    let running = t.build().unwrap().start().unwrap();
    running.deactivate();
    running.activate();
    running.kill(Some(Duration::ZERO));
    running.wait().unwrap();
}

#[test]
fn more_spinning_executors_than_cpus_are_refused_unless_forced() {
    let build = |force: bool| {
        let mut t = TopologyBuilder::new("spinning");
        t.settings(|s| {
            s.wait = squall::WaitPolicy::BusySpin;
            s.one_thread_per_task = true;
            s.force_oversubscription = force;
        });
        let numbers = t.spout("numbers", || Numbers { next: 0, end: 10 });
        let tasks = squall::sys::cpu::usable_cpus().count() + 1;
        t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).parallelism(tasks).shuffle(&numbers);
        t.build().unwrap()
    };
    let error = build(false).start().err().expect("refused");
    assert!(error.is_usage() && error.to_string().contains("force_oversubscription"), "{error}");
    build(true).run().unwrap();
}

#[test]
fn a_full_cycle_stops_the_topology_in_a_named_state() {
    for executors in [1, 2] {
        let mut t = TopologyBuilder::new("full");
        t.settings(|s| {
            s.executors = Some(executors);
            s.lane_capacity = 4;
            s.message_timeouts_enabled = false;
        });
        let numbers = t.spout("numbers", || Numbers { next: 0, end: 100 });
        // Every tuple that comes round becomes two.
        let double = |n: u64, out: &mut Outlet<u64>| {
            out.emit(n);
            out.emit(n);
        };
        let first = t.bolt("first", double).shuffle(&numbers);
        let second = t.bolt("second", |n: u64, out: &mut Outlet<u64>| out.emit(n)).shuffle(&first);
        let second = if executors == 2 { second.dedicated() } else { second };
        let _ = first.closing_cycle(|first| first.shuffle(&second));
        let running = t.build().unwrap().start().unwrap();
        let error = running.wait().expect_err("it can never end");
        assert_eq!(error.state(), Some("cycle_full"), "{executors} executors: {error}");
    }
}
