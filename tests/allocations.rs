//! The engine allocates nothing per tuple in steady state.
//!
//! Queues, ledgers and tables grow as needed up to their bounds. So a run begins with floods that take each of them
//! there, then every task counts what its executor's thread allocates while 100,000 values pass by: its own calls and
//! everything the engine does between them, for whichever task.

use std::alloc::System;
use std::hint::black_box;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use squall::sys::alloc::{self, Counted, Counting};
use squall::testing::TestDriver;
use squall::{
    Bolt, Failure, Guarantee, Next, Nothing, Outcome, Outlet, Polled, Ports, Source, Spout, SpoutOutlet, Topology,
    TopologyBuilder,
};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

/// Values counted over, and all of them: every task comes to the end of its count while all others still run.
const STEADY: Range<u64> = 20_000..120_000;
const VALUES: u64 = 140_000;

/// Values from here on are floods: more than all bounds set below.
const FLOOD: u64 = u64::MAX - 4_096;
const LANE_CAPACITY: usize = 64;
const PENDING_MAX: usize = 512;

/// What each task has counted; made large enough at first.
type Results = Arc<Mutex<Vec<(&'static str, Counted)>>>;

/// Set when the call that floods has returned. The consumer waits for it, since one on another executor might otherwise
/// keep up, and what grows only while a lane is full would do so later.
type Flooded = Arc<OnceLock<()>>;

/// A task's count.
struct Window {
    task: &'static str,
    results: Results,
    before: Option<Counted>,
    is_over: bool,
}

impl Window {
    fn new(task: &'static str, results: &Results) -> Self {
        Window { task, results: results.clone(), before: None, is_over: false }
    }

    /// Opens at the first value that counts, closes at the first that does not any more.
    fn pass(&mut self, value: u64) {
        if self.before.is_none() && STEADY.contains(&value) {
            self.before = Some(alloc::of_this_thread());
        } else if let Some(before) = self.before
            && value >= STEADY.end
            && !self.is_over
        {
            self.is_over = true;
            self.results.lock().unwrap().push((self.task, alloc::of_this_thread() - before));
        }
    }
}

/// Emits the values one by one, after a flood on both outputs, the second of which nobody takes: a tree without tuples
/// ends within the call that begins it, so as many trees as there can be wait for their callbacks at once.
struct Numbers {
    next: Option<u64>,
    flooded: Flooded,
    window: Window,
}

impl Spout for Numbers {
    type Out = Ports<(u64, u64)>;
    type Id = u64;
    fn next(&mut self, out: &mut SpoutOutlet<Self::Out, u64>) -> Result<Next, Failure> {
        let Some(value) = self.next else {
            (FLOOD..u64::MAX).for_each(|value| out.emit_tracked_on::<1>(value, value));
            (FLOOD..u64::MAX).for_each(|value| out.emit_tracked_on::<0>(value, value));
            self.next = Some(0);
            self.flooded.get_or_init(|| ());
            return Ok(Next::Emitted);
        };
        if value == 0 && out.pending() > 0 {
            return Ok(Next::Emitted); // nothing, until the flood has run off
        }
        if value == VALUES {
            return Ok(Next::Finished);
        }
        self.window.pass(value);
        out.emit_tracked_on::<0>(value, value);
        self.next = Some(value + 1);
        Ok(Next::Emitted)
    }
}

/// Passes values on, with a flood of its own at the first of a flood.
struct PassOn {
    before: Flooded,
    flooded: Flooded,
    window: Window,
}

impl Bolt for PassOn {
    type In = u64;
    type Out = u64;
    fn execute(&mut self, value: u64, out: &mut Outlet<u64>) -> Outcome {
        self.before.wait();
        self.window.pass(value);
        out.emit(value);
        if value == FLOOD {
            (FLOOD..u64::MAX).for_each(|value| out.emit(value));
            self.flooded.get_or_init(|| ());
        }
        Ok(())
    }
}

/// Takes values.
struct Take {
    before: Flooded,
    window: Window,
    boxes: bool,
}

impl Bolt for Take {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, value: u64, _: &mut Outlet<Nothing>) -> Outcome {
        self.before.wait();
        self.window.pass(value);
        if self.boxes {
            drop(black_box(Box::new(value)));
        } else {
            black_box(value);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    OneTask,
    TwoTasksByKey,
}

fn topology(executors: usize, guarantee: Guarantee, to: To, boxes: bool, results: &Results) -> Topology {
    let mut t = TopologyBuilder::new("steady");
    t.settings(|settings| {
        settings.executors = Some(executors);
        settings.guarantee = guarantee;
        settings.lane_capacity = LANE_CAPACITY;
        settings.max_spout_pending = PENDING_MAX;
    });
    let (flooded_first, flooded_second) = (Flooded::default(), Flooded::default());
    let window = |task| {
        let results = results.clone();
        move || Window::new(task, &results)
    };
    let (window_of_numbers, window_of_pass, window_of_take) = (window("numbers"), window("pass"), window("take"));
    let flooded = flooded_first.clone();
    let outputs =
        t.spout("numbers", move || Numbers { next: None, flooded: flooded.clone(), window: window_of_numbers() });
    let flooded = flooded_second.clone();
    let pass = t.bolt("pass", move || PassOn {
        before: flooded_first.clone(),
        flooded: flooded.clone(),
        window: window_of_pass(),
    });
    let pass = if executors == 1 { pass } else { pass.dedicated() };
    let passed = pass.shuffle(&outputs.0);
    let take = t.bolt("take", move || Take { before: flooded_second.clone(), window: window_of_take(), boxes });
    match to {
        To::OneTask => take.shuffle(&passed),
        To::TwoTasksByKey => take.parallelism(2).fields(&passed, |value: &u64| value),
    };
    t.build().unwrap()
}

/// Runs on threads; what each task has counted.
fn counted(executors: usize, guarantee: Guarantee, to: To, boxes: bool) -> Vec<(&'static str, Counted)> {
    assert!(alloc::is_installed());
    // Never stopped: only counts by thread are read, and the tests of this file run side by side.
    alloc::start();
    let results: Results = Arc::new(Mutex::new(Vec::with_capacity(16)));
    let report = topology(executors, guarantee, to, boxes, &results).run().unwrap();
    assert_eq!(report.components[0].counts.failed, 0);
    let results = results.lock().unwrap();
    assert_eq!(results.len(), if to == To::OneTask { 3 } else { 4 }, "every task has counted: {results:?}");
    results.clone()
}

fn assert_nothing_allocates(executors: usize, guarantee: Guarantee) {
    for to in [To::OneTask, To::TwoTasksByKey] {
        for (task, counted) in counted(executors, guarantee, to, false) {
            assert_eq!(counted, Counted::default(), "{task}, {executors} executors, {guarantee}");
        }
    }
}

#[test]
fn one_executor_allocates_nothing_per_tuple_at_most_once() {
    assert_nothing_allocates(1, Guarantee::AtMostOnce);
}

#[test]
fn one_executor_allocates_nothing_per_tuple_at_least_once() {
    assert_nothing_allocates(1, Guarantee::AtLeastOnce);
}

#[test]
fn two_executors_allocate_nothing_per_tuple_at_most_once() {
    assert_nothing_allocates(2, Guarantee::AtMostOnce);
}

#[test]
fn two_executors_allocate_nothing_per_tuple_at_least_once() {
    assert_nothing_allocates(2, Guarantee::AtLeastOnce);
}

/// The method itself: what a bolt allocates per value is seen, and on its own executor only.
#[test]
fn an_allocation_per_tuple_of_a_bolt_is_counted() {
    let values = STEADY.end - STEADY.start;
    for (task, counted) in counted(1, Guarantee::AtLeastOnce, To::OneTask, true) {
        // Other tasks of the executor are up to the lanes between them ahead or behind.
        let margin = if task == "take" { 0 } else { 4 * LANE_CAPACITY as u64 };
        assert!(counted.allocations.abs_diff(values) <= margin, "{task}: {counted:?}");
    }
}

/// A source as users write one, in the replaying spout around every source.
struct Counter {
    next: u64,
    window: Window,
}

impl Source for Counter {
    type Item = u64;
    fn poll(&mut self) -> Result<Polled<u64>, Failure> {
        if self.next == VALUES {
            return Ok(Polled::Finished);
        }
        self.window.pass(self.next);
        self.next += 1;
        Ok(Polled::Item { value: self.next, split: 0, position: squall::Position(self.next) })
    }
}

/// In virtual time, where a run takes the same path always: what its tables grow to does not depend on the machine.
#[test]
fn a_replayed_source_allocates_nothing_per_tuple() {
    alloc::start();
    for executors in [1, 2] {
        let results: Results = Arc::new(Mutex::new(Vec::with_capacity(16)));
        let mut t = TopologyBuilder::new("replayed");
        t.settings(|settings| settings.executors = Some(executors));
        let (of_counter, of_take) = (results.clone(), results.clone());
        let numbers = t.source("numbers", move || Counter { next: 0, window: Window::new("numbers", &of_counter) });
        let take = t.bolt("take", move || Take {
            before: Arc::new(OnceLock::from(())),
            window: Window::new("take", &of_take),
            boxes: false,
        });
        let _ = if executors == 1 { take.shuffle(&numbers) } else { take.dedicated().shuffle(&numbers) };
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.run_to_end().unwrap();
        assert_eq!(driver.counts("numbers").acked, VALUES);
        let results = results.lock().unwrap();
        assert_eq!(results.len(), 2);
        results.iter().for_each(|(task, counted)| assert_eq!(*counted, Counted::default(), "{task}, {executors}"));
    }
}
