//! User code that fails where it is least expected: nothing hangs, nothing stays half done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::connect::Generator;
use squall::task::door::DoorError;
use squall::testing::{TestDriver, capture, feeder};
use squall::topology::settings::{Backoff, WaitPolicy};
use squall::{
    Anchor, Bolt, BoltContext, Custom, Door, Failure, ManualBolt, Next, Nothing, Outcome, Outlet, Position, Replayable,
    SplitId, Spout, SpoutOutlet, TaskId, TopologyBuilder, Tuple,
};

/// Long enough for any machine; a topology that hangs never ends.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(t: TopologyBuilder) -> TestDriver {
    TestDriver::start(t.build().unwrap()).unwrap()
}

/// Its destructor panics, which nothing can catch for it.
struct Mine;

impl Iterator for Mine {
    type Item = u64;
    fn next(&mut self) -> Option<u64> {
        None
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        panic!("a destructor that panics");
    }
}

#[test]
fn an_executor_that_dies_ends_the_topology_in_a_named_state() {
    let mut t = TopologyBuilder::new("mined");
    t.settings(|s| s.executors = Some(2));
    let numbers = t.source("numbers", || Generator::endless(|n| n));
    let mined = t.bolt("mined", |_: u64, out: &mut Outlet<u64>| out.hand_over(Mine)).shuffle(&numbers);
    t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).parallelism(2).shuffle(&mined);
    let running = t.build().unwrap().start().unwrap();
    let outcome = running.wait_timeout(PATIENCE);
    let Some(outcome) = outcome else {
        std::mem::forget(running); // it would wait for ever
        panic!("the topology hangs");
    };
    assert_eq!(outcome.unwrap_err().state(), Some("executor_died"));
}

/// Takes no input, ever.
struct Closed;

impl ManualBolt for Closed {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        tuple.ack();
        Ok(())
    }
    fn ready(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }
}

#[test]
fn a_spinning_executor_takes_orders_although_a_blocked_task_has_input_waiting() {
    let mut t = TopologyBuilder::new("blocked");
    t.settings(|s| {
        (s.executors, s.wait, s.lane_capacity) = (Some(2), WaitPolicy::BusySpin, 1);
        s.force_oversubscription = true;
    });
    let numbers = t.source("numbers", || Generator::endless(|n| n));
    let pass = t.bolt("pass", |n: u64, out: &mut Outlet<u64>| out.emit(n)).dedicated().shuffle(&numbers);
    t.bolt("closed", || Closed).shuffle(&pass);
    let running = t.build().unwrap().start().unwrap();
    let began = std::time::Instant::now();
    let is_blocked = || running.counts().iter().any(|c| c.id == "pass" && c.counts.blocked > 0);
    while !is_blocked() && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert!(is_blocked(), "the test needs a blocked task");
    running.kill(None);
    if running.wait_timeout(PATIENCE).is_none() {
        std::mem::forget(running); // it would wait for ever
        panic!("the executor does not stop");
    }
}

/// Chooses the task with the index that a value names; panics when told to.
struct Picky {
    tasks: Vec<TaskId>,
    panics_at_once: bool,
}

impl Custom<u64> for Picky {
    fn prepare(&mut self, _source: TaskId, tasks: &[TaskId]) {
        assert!(!self.panics_at_once, "a grouping that cannot be prepared");
        self.tasks = tasks.to_vec();
    }

    fn choose(&mut self, value: &u64, chosen: &mut Vec<TaskId>) {
        chosen.push(self.tasks[*value as usize % 10]);
        if *value >= 10 {
            chosen.push(TaskId(u32::MAX));
        }
    }
}

#[test]
fn an_executor_that_dies_while_it_is_built_fails_the_start() {
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut t = TopologyBuilder::new("unbuilt");
        let numbers = t.source("numbers", || Generator::new(1, |n| n));
        let picky = || Picky { tasks: Vec::new(), panics_at_once: true };
        t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).custom(&numbers, picky);
        let error = t.build().unwrap().start().err();
        let _ = told.send(error.and_then(|error| error.state().map(str::to_owned)));
    });
    assert_eq!(heard.recv_timeout(PATIENCE).expect("the start hangs").as_deref(), Some("not_started"));
}

#[test]
fn a_choice_that_panicked_half_way_is_not_delivered_with_the_next_one() {
    struct Index(usize);
    impl Bolt for Index {
        type In = u64;
        type Out = (usize, u64);
        fn prepare(&mut self, ctx: &mut BoltContext<(usize, u64)>) -> Outcome {
            self.0 = ctx.info().index;
            Ok(())
        }
        fn execute(&mut self, n: u64, out: &mut Outlet<(usize, u64)>) -> Outcome {
            out.emit((self.0, n));
            Ok(())
        }
    }
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("picky");
    let numbers = t.spout("numbers", spout);
    let passed = t.bolt("pass", |n: u64, out: &mut Outlet<u64>| out.emit(n)).shuffle(&numbers);
    let picky = || Picky { tasks: Vec::new(), panics_at_once: false };
    let indexed = t.bolt("index", || Index(0)).parallelism(3).custom(&passed, picky);
    let captured = capture(&mut t, &indexed);
    let mut driver = start(t);
    feeder.feed(1, 12);
    feeder.feed(2, 0);
    driver.advance(Duration::from_secs(1)).unwrap();
    assert_eq!((feeder.failed(), feeder.acked()), (vec![1], vec![2]));
    assert_eq!(captured.take(), [(0, 0)]);
}

type Doors = Arc<Mutex<Vec<Door<u64>>>>;

/// Gives its door away and passes nothing on.
struct Ajar(Doors);

impl Bolt for Ajar {
    type In = u64;
    type Out = u64;
    fn prepare(&mut self, ctx: &mut BoltContext<u64>) -> Outcome {
        self.0.lock().unwrap().push(ctx.door());
        Ok(())
    }
    fn execute(&mut self, _: u64, _: &mut Outlet<u64>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_conversion_that_panics_on_what_came_through_a_door_breaks_only_the_instance() {
    let (_feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("ajar");
    let numbers = t.spout("numbers", spout);
    let doors = Doors::default();
    let given = doors.clone();
    let ajar = t.bolt("ajar", move || Ajar(given.clone())).shuffle(&numbers);
    let converted = t.bolt("pass", |n: u64, out: &mut Outlet<u64>| out.emit(n)).shuffle(ajar.via(|n: u64| {
        assert!(n != 13, "no");
        n
    }));
    let captured = capture(&mut t, &converted);
    let mut driver = start(t);
    let door = doors.lock().unwrap()[0].clone();
    [1, 13, 2].into_iter().for_each(|n| door.try_emit(n).unwrap());
    driver.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(captured.take(), [1, 2]);
    assert_eq!(driver.counts("ajar").rebuilt, 1);
}

#[test]
fn a_door_is_closed_once_its_task_has_ended() {
    let (_open, other) = feeder::<u64>();
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("closed");
    let numbers = t.spout("numbers", spout);
    let others = t.spout("others", other);
    let doors = Doors::default();
    let given = doors.clone();
    let ajar = t.bolt("ajar", move || Ajar(given.clone())).shuffle(&numbers);
    let captured = capture(&mut t, &ajar);
    t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&others);
    let mut driver = start(t);
    feeder.finish();
    driver.run_until_idle().unwrap();
    let door = doors.lock().unwrap()[0].clone();
    assert_eq!(door.try_emit(1), Err(DoorError::Closed(1)));
    driver.run_until_idle().unwrap();
    assert!(captured.is_empty(), "nothing follows the end of input");
}

#[test]
fn a_deactivated_source_drains_at_once() {
    let mut t = TopologyBuilder::new("asleep");
    let numbers = t.source("numbers", || Generator::endless(|n| n).rate(10));
    t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
    let mut driver = start(t);
    driver.deactivate().unwrap();
    driver.drain().unwrap();
    assert!(driver.elapsed() < Duration::from_secs(1), "{:?}", driver.elapsed());
}

/// Keeps the handles of its inputs where the test finds them, and emits three values for each.
struct Keeps(Arc<Mutex<Vec<Anchor>>>);

impl ManualBolt for Keeps {
    type In = u64;
    type Out = u64;
    fn execute(&mut self, tuple: Tuple<u64>, out: &mut Outlet<u64>) -> Outcome {
        (0..3).for_each(|n| out.emit(n));
        self.0.lock().unwrap().push(tuple.split().1);
        Ok(())
    }
}

#[test]
fn an_ack_does_not_wait_for_room_in_a_data_lane() {
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("blocked");
    t.settings(|s| {
        s.lane_capacity = 1;
        s.rebuild_backoff = Backoff::constant(Duration::from_secs(10));
    });
    let numbers = t.spout("numbers", spout);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeps = kept.clone();
    let three = t.bolt("keeps", move || Keeps(keeps.clone())).shuffle(&numbers);
    // Backs off for ten seconds over its first input.
    t.bolt("breaks", |n: u64, _: &mut Outlet<Nothing>| assert!(n > 0, "the first one")).shuffle(&three);
    let mut driver = start(t);
    feeder.feed(1, 0);
    driver.run_until_idle().unwrap();
    let anchor = kept.lock().unwrap().pop().unwrap();
    anchor.ack();
    driver.run_until_idle().unwrap();
    assert_eq!(feeder.acked(), [1]);
    assert!(driver.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_panic_in_the_middle_of_a_tracked_emit_fails_its_tree() {
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("half");
    t.settings(|s| s.message_timeouts_enabled = false);
    let numbers = t.spout("numbers", spout);
    t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
    t.bolt("keyed", |_: u64, _: &mut Outlet<Nothing>| {}).parallelism(2).fields_by(&numbers, |n: &u64| {
        assert!(*n != 13, "no key");
        *n
    });
    let mut driver = start(t);
    feeder.feed(1, 13);
    feeder.feed(2, 2);
    driver.advance(Duration::from_secs(1)).unwrap();
    assert_eq!((feeder.failed(), feeder.acked()), (vec![1], vec![2]));
}

#[test]
fn a_fatal_failure_of_a_rebuild_stops_the_topology() {
    struct Once(Arc<Mutex<u32>>);
    impl Bolt for Once {
        type In = u64;
        type Out = Nothing;
        fn prepare(&mut self, _: &mut BoltContext<Nothing>) -> Outcome {
            let mut built = self.0.lock().unwrap();
            *built += 1;
            if *built > 1 { Err(Failure::fatal("the licence is used up")) } else { Ok(()) }
        }
        fn execute(&mut self, _: u64, _: &mut Outlet<Nothing>) -> Outcome {
            panic!("breaks")
        }
    }
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("once");
    let numbers = t.spout("numbers", spout);
    let built = Arc::new(Mutex::new(0));
    t.bolt("once", move || Once(built.clone())).shuffle(&numbers);
    let mut driver = start(t);
    feeder.feed(1, 1);
    let error = driver.advance(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.state(), Some("failed"));
    assert!(error.to_string().contains("the licence is used up"), "{error}");
}

/// Breaks the first time that one is asked where it is.
struct Lost(Arc<AtomicBool>);

impl Spout for Lost {
    type Out = u64;
    type Id = u64;
    fn next(&mut self, _: &mut SpoutOutlet<u64, u64>) -> Result<Next, Failure> {
        Ok(Next::Idle)
    }
    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        Some(self)
    }
}

impl Replayable for Lost {
    fn default_splits(&self) -> Vec<SplitId> {
        Vec::new()
    }
    fn assign(&mut self, _: &[(SplitId, Option<Position>)]) -> Outcome {
        Ok(())
    }
    fn revoke(&mut self, _: &[SplitId]) {}
    fn positions(&self) -> Vec<(SplitId, Position)> {
        assert!(self.0.swap(true, Ordering::Relaxed), "where am I?");
        Vec::new()
    }
}

#[test]
fn a_spout_that_panics_when_asked_for_its_positions_is_rebuilt() {
    let mut t = TopologyBuilder::new("lost");
    let asked = Arc::new(AtomicBool::new(false));
    let lost = t.spout("lost", move || Lost(asked.clone()));
    t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&lost);
    let mut driver = start(t);
    driver.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(driver.counts("lost").rebuilt, 1);
}

#[test]
fn a_kill_that_waits_for_ever_can_be_followed_by_one_that_does_not() {
    let mut t = TopologyBuilder::new("patient");
    let numbers = t.source("numbers", || Generator::endless(|n| n).rate(10));
    t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
    let running = t.build().unwrap().start().unwrap();
    running.kill(Some(Duration::MAX));
    running.kill(Some(Duration::ZERO));
    running.wait().unwrap();
}

#[test]
fn what_a_loop_sends_itself_while_it_ends_is_not_executed_after_the_end() {
    struct Last(Arc<Mutex<Vec<&'static str>>>);
    impl Bolt for Last {
        type In = u64;
        type Out = u64;
        fn execute(&mut self, _: u64, _: &mut Outlet<u64>) -> Outcome {
            self.0.lock().unwrap().push("execute");
            Ok(())
        }
        fn finish(&mut self, out: &mut Outlet<u64>) -> Outcome {
            self.0.lock().unwrap().push("finish");
            out.emit(1);
            Ok(())
        }
    }
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("loop");
    let numbers = t.spout("numbers", spout);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = calls.clone();
    let first = t.bolt("first", move || Last(seen.clone())).shuffle(&numbers);
    let second = t.bolt("second", |n: u64, out: &mut Outlet<u64>| out.emit(n)).shuffle(&first);
    let _ = first.closing_cycle(|first| first.shuffle(&second));
    let mut driver = start(t);
    feeder.finish();
    driver.run_to_end().unwrap();
    assert_eq!(*calls.lock().unwrap(), ["finish"]);
}

#[test]
fn callbacks_beyond_one_turn_do_not_wait_for_room() {
    const TREES: u64 = 3_000;
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("overdue");
    t.settings(|s| {
        s.lane_capacity = 1;
        s.rebuild_backoff = Backoff::constant(Duration::from_secs(600));
    });
    let numbers = t.spout("numbers", spout);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeps = kept.clone();
    t.bolt("keeps", move || Keeps(keeps.clone())).shuffle(&numbers);
    t.bolt("breaks", |n: u64, _: &mut Outlet<Nothing>| assert!(n < TREES, "from here on"))
        .dedicated()
        .shuffle(&numbers);
    let mut driver = start(t);
    (0..TREES).for_each(|n| feeder.feed(n, n));
    (0..5).for_each(|n| feeder.feed_untracked(TREES + n));
    driver.run_until_idle().unwrap();
    driver.advance(Duration::from_secs(31)).unwrap();
    assert_eq!(feeder.failed().len() as u64, TREES);
}
