//! What Storm's integration tests ask of Storm, and its documentation promises, restated for squall and run in virtual
//! time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::testing::{TestDriver, capture, feeder};
use squall::{
    Anchor, Bolt, BoltContext, Failure, ManualBolt, Next, Nothing, Outcome, Outlet, Spout, SpoutContext, SpoutOutlet,
    TopologyBuilder, Tuple,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn start(t: TopologyBuilder) -> TestDriver {
    TestDriver::start(t.build().unwrap()).unwrap()
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values
}

#[derive(Default)]
struct WordCount(BTreeMap<String, u32>);

impl Bolt for WordCount {
    type In = String;
    type Out = (String, u32);
    fn execute(&mut self, word: String, out: &mut Outlet<(String, u32)>) -> Outcome {
        let count = self.0.entry(word.clone()).or_default();
        *count += 1;
        out.emit((word, *count));
        Ok(())
    }
}

#[derive(Default)]
struct Total(u32);

impl Bolt for Total {
    type In = (String, u32);
    type Out = u32;
    fn execute(&mut self, _: (String, u32), out: &mut Outlet<u32>) -> Outcome {
        self.0 += 1;
        out.emit(self.0);
        Ok(())
    }
}

/// Words by key to four counters, all counts to one.
fn basic_topology(executors: usize) {
    let (feeder, spout) = feeder::<String>();
    let mut t = TopologyBuilder::new("basic");
    t.settings(|settings| settings.executors = Some(executors));
    let words = t.spout("words", spout).parallelism(3);
    let counts = t.bolt("count", WordCount::default).parallelism(4).fields(&words, |word| word);
    let totals = t.bolt("total", Total::default).global(&counts);
    let (counted, summed) = (capture(&mut t, &counts), capture(&mut t, &totals));
    let mut driver = start(t);
    for (id, word) in ["nathan", "bob", "joey", "nathan", "bob", "nathan"].into_iter().enumerate() {
        feeder.feed(id as u64, word.to_owned());
    }
    driver.run_until_idle().unwrap();
    let expected = [("bob", 1), ("bob", 2), ("joey", 1), ("nathan", 1), ("nathan", 2), ("nathan", 3)];
    assert_eq!(sorted(counted.take()), expected.map(|(word, count)| (word.to_owned(), count)));
    assert_eq!(summed.take(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(sorted(feeder.acked()), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn four_counters_count_words_by_key() {
    basic_topology(4);
}

#[test]
fn several_tasks_of_one_executor_count_the_same() {
    basic_topology(1);
}

#[test]
fn every_task_of_one_executor_gets_its_share() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("shares");
    let numbers = t.spout("numbers", spout);
    struct Who(usize);
    impl Bolt for Who {
        type In = u32;
        type Out = usize;
        fn prepare(&mut self, ctx: &mut BoltContext<usize>) -> Outcome {
            self.0 = ctx.info().index;
            Ok(())
        }
        fn execute(&mut self, _: u32, out: &mut Outlet<usize>) -> Outcome {
            out.emit(self.0);
            Ok(())
        }
    }
    let who = t.bolt("who", || Who(0)).parallelism(4).shuffle(&numbers);
    let captured = capture(&mut t, &who);
    let mut driver = start(t);
    (0..8).for_each(|n| feeder.feed_untracked(n));
    driver.run_until_idle().unwrap();
    assert_eq!(sorted(captured.take()), [0, 0, 1, 1, 2, 2, 3, 3]);
}

/// Copies its input as often as told, anchored.
fn branching(copies: u32) -> impl Fn(u32, &mut Outlet<u32>) + Clone + Send + Sync + 'static {
    move |n, out| (0..copies).for_each(|_| out.emit(n))
}

/// Collects some tuples, emits one anchored to all of them, acks them.
struct Collect {
    count: usize,
    held: Vec<Tuple<u32>>,
}

fn collect(count: usize) -> impl Fn() -> Collect + Send + Sync + 'static {
    move || Collect { count, held: Vec::new() }
}

impl ManualBolt for Collect {
    type In = u32;
    type Out = u32;
    fn execute(&mut self, tuple: Tuple<u32>, out: &mut Outlet<u32>) -> Outcome {
        self.held.push(tuple);
        if self.held.len() == self.count {
            out.anchored(&self.held).emit(0);
            self.held.drain(..).for_each(Tuple::ack);
        }
        Ok(())
    }
}

#[test]
fn branches_of_two_four_and_one_copies_are_acked_through_a_three_way_anchor() {
    let ((one, spout_1), (two, spout_2), (three, spout_3)) = (feeder::<u32>(), feeder::<u32>(), feeder::<u32>());
    let mut t = TopologyBuilder::new("acking");
    let (s1, s2, s3) = (t.spout("s1", spout_1), t.spout("s2", spout_2), t.spout("s3", spout_3));
    let b1 = t.bolt("two", branching(2)).shuffle(&s1);
    let b2 = t.bolt("four", branching(4)).shuffle(&s2);
    let b3 = t.bolt("one", branching(1)).shuffle(&s3);
    let joined = t.bolt("join", collect(3)).shuffle(&b1).shuffle(&b2).shuffle(&b3);
    let again = t.bolt("again", branching(2)).shuffle(&joined);
    t.bolt("sink", |_: u32, _: &mut Outlet<Nothing>| {}).shuffle(&again);
    let mut driver = start(t);

    one.feed(11, 0);
    driver.run_until_idle().unwrap();
    assert!(one.acked().is_empty(), "two of three are there");
    two.feed(21, 0);
    driver.run_until_idle().unwrap();
    assert_eq!((one.acked(), two.acked()), (vec![11], vec![21]), "six make two joins");
    three.feed(31, 0);
    driver.run_until_idle().unwrap();
    assert!(three.acked().is_empty());
    one.feed(12, 0);
    driver.run_until_idle().unwrap();
    assert_eq!((one.acked(), three.acked()), (vec![11, 12], vec![31]));
    assert!([one, two, three].iter().all(|feeder| feeder.failed().is_empty()));
}

#[test]
fn two_branches_joined_by_four_ack_every_second_tuple() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("branching");
    let numbers = t.spout("numbers", spout);
    let left = t.bolt("left", branching(1)).shuffle(&numbers);
    let right = t.bolt("right", branching(1)).shuffle(&numbers);
    t.bolt("join", collect(4)).shuffle(&left).shuffle(&right);
    let mut driver = start(t);
    feeder.feed(1, 0);
    driver.run_until_idle().unwrap();
    assert!(feeder.acked().is_empty());
    feeder.feed(2, 0);
    driver.run_until_idle().unwrap();
    assert_eq!(sorted(feeder.acked()), [1, 2]);
}

struct AnchoredTwice;

impl ManualBolt for AnchoredTwice {
    type In = u32;
    type Out = u32;
    fn execute(&mut self, tuple: Tuple<u32>, out: &mut Outlet<u32>) -> Outcome {
        out.anchored([&tuple, &tuple]).emit(*tuple);
        tuple.ack();
        Ok(())
    }
}

#[test]
fn the_same_tuple_anchored_twice_still_balances() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("self-anchor");
    let numbers = t.spout("numbers", spout);
    let twice = t.bolt("twice", || AnchoredTwice).shuffle(&numbers);
    let captured = capture(&mut t, &twice);
    let mut driver = start(t);
    feeder.feed(1, 5);
    driver.run_until_idle().unwrap();
    assert_eq!((captured.take(), feeder.acked()), (vec![5], vec![1]));
}

/// Where a test finds the anchors of what has arrived.
type Kept = Arc<Mutex<Vec<Anchor>>>;

/// Keeps every handle where the test can reach it.
struct Keep(Kept);

impl ManualBolt for Keep {
    type In = u32;
    type Out = Nothing;
    fn execute(&mut self, tuple: Tuple<u32>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.lock().unwrap().push(tuple.split().1);
        Ok(())
    }
}

/// A feeder, a bolt that keeps everything, and a driver for the two.
fn keeping(set: impl FnOnce(&mut squall::Settings)) -> (squall::testing::Feeder<u32>, Kept, TestDriver) {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("keeping");
    t.settings(set);
    let numbers = t.spout("numbers", spout);
    let kept = Kept::default();
    let for_bolt = kept.clone();
    t.bolt("keep", move || Keep(for_bolt.clone())).shuffle(&numbers);
    (feeder, kept, start(t))
}

#[test]
fn storm_timeouts_fail_a_tree_between_one_and_two_periods() {
    let (feeder, _kept, mut driver) = keeping(|settings| {
        settings.message_timeout = 10 * SECOND;
        settings.storm_timeouts = true;
    });
    driver.advance(11 * SECOND).unwrap();
    feeder.feed(1, 0);
    driver.advance(9 * SECOND).unwrap();
    assert!(feeder.failed().is_empty(), "at 20 s");
    driver.advance(12 * SECOND).unwrap();
    assert_eq!(feeder.failed(), [1], "by 32 s");
    assert!(feeder.failures()[0].1.is_timeout());
}

#[test]
fn deadlines_are_precise_by_default() {
    let (feeder, _kept, mut driver) = keeping(|settings| settings.message_timeout = SECOND);
    driver.advance(123 * MS).unwrap();
    feeder.feed(1, 0);
    driver.advance(999 * MS).unwrap();
    assert!(feeder.failed().is_empty());
    driver.advance(10 * MS).unwrap();
    assert_eq!(feeder.failed(), [1], "within 10 ms of due");
}

#[test]
fn a_reset_gives_a_tree_a_fresh_deadline() {
    for storm_timeouts in [false, true] {
        let (feeder, kept, mut driver) = keeping(|settings| {
            settings.message_timeout = 10 * SECOND;
            settings.storm_timeouts = storm_timeouts;
        });
        feeder.feed(1, 0);
        feeder.feed(2, 0);
        driver.run_until_idle().unwrap();
        for _ in 0..6 {
            kept.lock().unwrap()[0].reset_deadline();
            driver.advance(6 * SECOND).unwrap();
        }
        assert_eq!(feeder.failed(), [2], "the other one ran into its deadline");
        kept.lock().unwrap().remove(0).ack();
        driver.run_until_idle().unwrap();
        assert_eq!(feeder.acked(), [1]);
        kept.lock().unwrap().remove(0).ack();
        driver.run_until_idle().unwrap();
        assert_eq!((feeder.acked(), feeder.failed()), (vec![1], vec![2]), "a late ack reaches nobody");
    }
}

#[test]
fn without_message_timeouts_a_tree_lives_for_ever() {
    let (feeder, kept, mut driver) = keeping(|settings| settings.message_timeouts_enabled = false);
    feeder.feed(1, 0);
    driver.advance(100_000 * SECOND).unwrap();
    assert!(feeder.failed().is_empty());
    kept.lock().unwrap().remove(0).ack();
    driver.run_until_idle().unwrap();
    assert_eq!(feeder.acked(), [1]);
}

#[test]
fn an_ack_from_another_thread_completes_the_tree() {
    let (feeder, kept, mut driver) = keeping(|_| {});
    (1..=3).for_each(|id| feeder.feed(id, 0));
    driver.run_until_idle().unwrap();
    let anchors = std::mem::take(&mut *kept.lock().unwrap());
    let acking = std::thread::spawn(move || anchors.into_iter().rev().for_each(Anchor::ack));
    acking.join().unwrap();
    driver.run_until_idle().unwrap();
    assert_eq!(sorted(feeder.acked()), [1, 2, 3]);
}

#[test]
fn a_dropped_handle_fails_its_tree_at_once_and_is_counted() {
    let (feeder, kept, mut driver) = keeping(|_| {});
    feeder.feed(1, 0);
    driver.run_until_idle().unwrap();
    kept.lock().unwrap().clear();
    driver.run_until_idle().unwrap();
    assert_eq!(feeder.failed(), [1]);
    assert_eq!(feeder.failures()[0].1.kind(), squall::error::FailureKind::Dropped);
    let counts = driver.counts("keep");
    assert_eq!((counts.dropped, counts.failed, counts.acked), (1, 1, 0));
}

#[test]
fn a_failure_before_the_acks_fails_the_tree_once() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("fail-first");
    let numbers = t.spout("numbers", spout);
    let kept = Kept::default();
    for id in ["left", "right"] {
        let kept = kept.clone();
        t.bolt(id, move || Keep(kept.clone())).shuffle(&numbers);
    }
    let mut driver = start(t);
    feeder.feed(1, 0);
    driver.run_until_idle().unwrap();
    let mut anchors = std::mem::take(&mut *kept.lock().unwrap());
    anchors.remove(0).fail(Failure::retry("no"));
    driver.run_until_idle().unwrap();
    assert_eq!(feeder.failed(), [1]);
    anchors.remove(0).ack();
    driver.advance(100 * SECOND).unwrap();
    assert_eq!((feeder.acked(), feeder.failed()), (vec![], vec![1]));
}

#[test]
fn tuples_of_one_key_arrive_in_the_order_of_their_emits() {
    let (feeder, spout) = feeder::<(u8, u32)>();
    let mut t = TopologyBuilder::new("in-order");
    t.settings(|settings| {
        settings.executors = Some(3);
        settings.lane_capacity = 2;
        settings.turn_tuples_max = 3;
    });
    let pairs = t.spout("pairs", spout);
    let pass = |pair: (u8, u32), out: &mut Outlet<(u8, u32)>| out.emit(pair);
    let first = t.bolt("first", pass).parallelism(4).fields(&pairs, |pair| &pair.0);
    let second = t.bolt("second", pass).parallelism(3).fields(&first, |pair| &pair.0);
    let captured = capture(&mut t, &second);
    let mut driver = start(t);
    for n in 0..500u32 {
        feeder.feed(u64::from(n), ((n % 7) as u8, n));
    }
    driver.run_until_idle().unwrap();
    let arrived = captured.take();
    assert_eq!(arrived.len(), 500);
    for key in 0..7u8 {
        let of_key: Vec<u32> = arrived.iter().filter(|pair| pair.0 == key).map(|pair| pair.1).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
    assert_eq!(feeder.acked().len(), 500);
}

#[test]
fn with_every_lane_at_capacity_one_nothing_waits_for_itself() {
    for executors in [1, 2, 3] {
        let (feeder, spout) = feeder::<u32>();
        let mut t = TopologyBuilder::new("narrow");
        t.settings(|settings| {
            settings.executors = Some(executors);
            settings.lane_capacity = 1;
        });
        let numbers = t.spout("numbers", spout).parallelism(2);
        let many = t.bolt("many", branching(5)).parallelism(2).shuffle(&numbers);
        let more = t.bolt("more", branching(3)).parallelism(3).all(&many);
        let captured = capture(&mut t, &more);
        let mut driver = start(t);
        (0..100).for_each(|id| feeder.feed(id, 0));
        driver.run_until_idle().unwrap();
        assert_eq!(captured.len(), 100 * 5 * 3 * 3);
        assert_eq!(feeder.acked().len(), 100);
    }
}

/// Hands its inputs on one at a time, each a second after the other.
#[derive(Default)]
struct Slow(Vec<Tuple<u32>>);

impl ManualBolt for Slow {
    type In = u32;
    type Out = u32;
    fn execute(&mut self, tuple: Tuple<u32>, _: &mut Outlet<u32>) -> Outcome {
        self.0.push(tuple);
        Ok(())
    }
    fn tick(&mut self, out: &mut Outlet<u32>) -> Outcome {
        if !self.0.is_empty() {
            let tuple = self.0.remove(0);
            out.anchored(&tuple).emit(*tuple);
            tuple.ack();
        }
        Ok(())
    }
}

#[test]
fn a_diamond_with_one_slow_arm_delivers_everything_in_the_end() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("diamond");
    t.settings(|settings| {
        settings.executors = Some(3);
        settings.lane_capacity = 1;
        settings.message_timeouts_enabled = false;
        settings.max_spout_pending = 4;
    });
    let numbers = t.spout("numbers", spout);
    let fast = t.bolt("fast", branching(1)).shuffle(&numbers);
    let slow = t.bolt("slow", Slow::default).tick(SECOND).shuffle(&numbers);
    let joined = t.bolt("join", collect(2)).shuffle(&fast).shuffle(&slow);
    let captured = capture(&mut t, &joined);
    let mut driver = start(t);
    (0..20).for_each(|id| feeder.feed(id, 0));
    driver.advance(10 * SECOND).unwrap();
    assert!(feeder.acked().len() < 20 && feeder.waiting() > 0, "the slow arm holds the spout back");
    driver.advance(30 * SECOND).unwrap();
    assert_eq!((captured.len(), feeder.acked().len(), feeder.failed().len()), (20, 20, 0));
}

#[test]
fn an_emit_that_nobody_gets_is_acked_at_once() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("nobody");
    let numbers = t.spout("numbers", spout);
    let none = t.bolt("filter", |_: u32, _: &mut Outlet<u32>| {}).shuffle(&numbers);
    let captured = capture(&mut t, &none);
    let (lonely, lonely_spout) = squall::testing::feeder::<u32>();
    t.spout("lonely", lonely_spout);
    let mut driver = start(t);
    feeder.feed(1, 0);
    lonely.feed(2, 0);
    driver.run_until_idle().unwrap();
    assert_eq!((feeder.acked(), lonely.acked()), (vec![1], vec![2]));
    assert!(captured.is_empty());
}

#[test]
fn an_untracked_emit_never_calls_back() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("untracked");
    let numbers = t.spout("numbers", spout);
    let fails = |_: u32, _: &mut Outlet<Nothing>| Err::<(), _>(Failure::retry("no"));
    t.bolt("fails", fails).shuffle(&numbers);
    let mut driver = start(t);
    feeder.feed_untracked(0);
    driver.advance(100 * SECOND).unwrap();
    assert_eq!(driver.counts("fails").failed, 1);
    assert!(feeder.acked().is_empty() && feeder.failed().is_empty());
}

/// Emits a burst at every call and notes every call.
struct Burst {
    size: u64,
    calls: Arc<Mutex<Vec<String>>>,
    largest_pending: Arc<Mutex<usize>>,
    left: u64,
}

impl Spout for Burst {
    type Out = u32;
    type Id = u64;
    fn open(&mut self, _: &mut SpoutContext) -> Outcome {
        self.note("open");
        Ok(())
    }
    fn next(&mut self, out: &mut SpoutOutlet<u32, u64>) -> Result<Next, Failure> {
        if self.left == 0 {
            return Ok(Next::Finished);
        }
        self.note("next");
        self.left -= 1;
        (0..self.size).for_each(|id| out.emit_tracked(id, 0));
        let mut largest = self.largest_pending.lock().unwrap();
        *largest = out.pending().max(*largest);
        Ok(Next::Emitted)
    }
    fn ack(&mut self, id: u64, _: &mut SpoutOutlet<u32, u64>) -> Outcome {
        self.note(&format!("ack {id}"));
        Ok(())
    }
    fn activate(&mut self) -> Outcome {
        self.note("activate");
        Ok(())
    }
    fn deactivate(&mut self) -> Outcome {
        self.note("deactivate");
        Ok(())
    }
    fn close(&mut self) {
        self.note("close");
    }
}

impl Burst {
    fn note(&self, call: &str) {
        self.calls.lock().unwrap().push(call.to_owned());
    }
}

/// Runs a bursting spout into a sink to its end; returns its calls and the most trees it had open.
fn burst(size: u64, calls: u64, set: impl FnOnce(&mut squall::Settings)) -> (Vec<String>, usize) {
    let (noted, largest) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let mut t = TopologyBuilder::new("burst");
    t.settings(set);
    let factory = {
        let (noted, largest) = (noted.clone(), largest.clone());
        move || Burst { size, calls: noted.clone(), largest_pending: largest.clone(), left: calls }
    };
    let numbers = t.spout("numbers", factory);
    t.bolt("sink", |_: u32, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
    start(t).run_to_end().unwrap();
    let calls = noted.lock().unwrap().clone();
    (calls, *largest.lock().unwrap())
}

#[test]
fn with_tracking_off_the_ack_comes_right_after_next() {
    let (calls, _) = burst(2, 2, |settings| {
        settings.guarantee = squall::Guarantee::AtMostOnce;
        settings.ackers = Some(0);
    });
    let expected = ["open", "activate", "next", "ack 0", "ack 1", "next", "ack 0", "ack 1", "close"];
    assert_eq!(calls, expected);
}

#[test]
fn the_pending_limit_is_overshot_by_one_call_at_most() {
    let (calls, largest) = burst(5, 20, |settings| settings.max_spout_pending = 2);
    assert_eq!(largest, 5, "one call of five, although two are allowed");
    assert_eq!(calls.iter().filter(|call| call.starts_with("ack")).count(), 100);
}

#[test]
fn acks_arrive_while_the_spout_is_deactivated() {
    let (feeder, kept, mut driver) = keeping(|_| {});
    feeder.feed(1, 0);
    driver.run_until_idle().unwrap();
    driver.deactivate().unwrap();
    feeder.feed(2, 0);
    kept.lock().unwrap().remove(0).ack();
    driver.run_until_idle().unwrap();
    assert_eq!(feeder.acked(), [1]);
    assert_eq!(feeder.waiting(), 1);
    driver.activate().unwrap();
    assert_eq!(feeder.waiting(), 0);
}

#[test]
fn ticks_come_on_time_to_a_bolt_with_a_backlog_and_to_a_deactivated_topology() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("ticking");
    let numbers = t.spout("numbers", spout);
    let slow = t.bolt("slow", Slow::default).tick(5 * MS).shuffle(&numbers);
    capture(&mut t, &slow);
    let mut driver = start(t);
    (0..1_000).for_each(|id| feeder.feed(id, 0));
    driver.advance(SECOND).unwrap();
    assert_eq!(driver.counts("slow").ticks, 200);
    driver.deactivate().unwrap();
    driver.advance(SECOND).unwrap();
    assert_eq!((driver.counts("slow").ticks, driver.counts("slow").ticks_missed), (400, 0));
}

#[test]
fn direct_streams_go_to_the_named_task_or_to_nobody() {
    let (feeder, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("direct");
    let numbers = t.spout("a-numbers", spout);
    // Tasks are numbered over the components in order of their ids: the spout's is 1, the bolt's are 2 to 4.
    let by_name = |n: u32, out: &mut Outlet<u32>| {
        out.emit_direct(squall::TaskId(n), n);
    };
    let named = t.bolt("z-names", by_name).shuffle(&numbers);
    let seen: Arc<Mutex<Vec<(usize, u32)>>> = Arc::default();
    struct Target(Arc<Mutex<Vec<(usize, u32)>>>, usize);
    impl Bolt for Target {
        type In = u32;
        type Out = Nothing;
        fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
            self.1 = ctx.info().index;
            Ok(())
        }
        fn execute(&mut self, n: u32, _: &mut Outlet<Nothing>) -> Outcome {
            self.0.lock().unwrap().push((self.1, n));
            Ok(())
        }
    }
    let into = seen.clone();
    t.bolt("m-target", move || Target(into.clone(), 0)).parallelism(3).direct(&named);
    let mut driver = start(t);
    [3, 2, 4, 99].into_iter().for_each(|n| feeder.feed(u64::from(n), n));
    driver.run_until_idle().unwrap();
    assert_eq!(sorted(seen.lock().unwrap().clone()), [(0, 2), (1, 3), (2, 4)]);
    assert_eq!(
        sorted(feeder.acked()),
        [2, 3, 4, 99],
        "a task that does not subscribe gets nothing, and that is no failure"
    );
}

/// The messages of everything that is wrong with a topology.
fn problems(t: TopologyBuilder) -> Vec<String> {
    t.build().expect_err("invalid").problems().iter().map(ToString::to_string).collect()
}

fn pass(n: u32, out: &mut Outlet<u32>) {
    out.emit(n);
}

#[test]
fn an_undeclared_cycle_is_refused_and_a_declared_one_ends() {
    let build = |declared: bool| {
        let (feeder, spout) = feeder::<u32>();
        let mut t = TopologyBuilder::new("cycle");
        let numbers = t.spout("numbers", spout);
        let first = t.bolt("first", pass).shuffle(&numbers);
        let second = t.bolt("second", |n: u32, out: &mut Outlet<u32>| {
            if n > 0 {
                out.emit(n - 1);
            }
        });
        let second = second.shuffle(&first);
        if declared {
            let _ = first.closing_cycle(|first| first.shuffle(&second));
        } else {
            let _ = first.shuffle(&second);
        }
        (feeder, t)
    };
    let (_, undeclared) = build(false);
    let found = problems(undeclared);
    assert!(found.len() == 1 && found[0].contains("undeclared cycle second -> first -> second"), "{found:?}");

    let (feeder, declared) = build(true);
    let mut driver = start(declared);
    feeder.feed(1, 10);
    driver.run_until_idle().unwrap();
    assert_eq!(feeder.acked(), [1]);
    assert_eq!(driver.counts("second").executed, 11);
    driver.drain().unwrap();
}

#[test]
fn everything_wrong_with_a_structure_is_reported_at_once_with_its_place() {
    let mut t = TopologyBuilder::new("a/b");
    let (_, spout) = feeder::<u32>();
    let numbers = t.spout("__numbers", spout);
    let same = t.bolt("same", pass).shuffle(&numbers);
    t.bolt("same", pass).shuffle(&same).shuffle(&same);
    t.bolt("deaf", pass);
    let found = problems(t);
    for expected in
        ["a/b", "__numbers", "\"same\" is already used", "already subscribes", "\"deaf\" subscribes to nothing"]
    {
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
    let placed = found.iter().filter(|problem| problem.starts_with("tests/storm_semantics.rs:")).count();
    assert_eq!(placed, found.len() - 1, "all but the topology's name have a line: {found:#?}");
}

#[test]
fn a_declared_cycle_that_is_none_is_refused() {
    let (_, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("straight");
    let numbers = t.spout("numbers", spout);
    t.bolt("first", pass).closing_cycle(|first| first.shuffle(&numbers));
    assert!(problems(t).iter().any(|problem| problem.contains("numbers -> first closes no cycle")));
}

#[test]
fn a_cycle_stays_open_for_what_comes_in_further_along_it() {
    let ((early, early_spout), (late, late_spout)) = (feeder::<u32>(), feeder::<u32>());
    let mut t = TopologyBuilder::new("side-entry");
    t.settings(|settings| settings.executors = Some(3));
    let numbers = t.spout("early", early_spout);
    let head = t.bolt("head", pass).shuffle(&numbers);
    let others = t.spout("late", late_spout);
    let down = |n: u32, out: &mut Outlet<u32>| {
        if n > 0 {
            out.emit(n - 1);
        }
    };
    let back = t.bolt("back", down).shuffle(&head).shuffle(&others);
    let _ = head.closing_cycle(|head| head.shuffle(&back));
    let mut driver = start(t);
    early.feed(1, 2);
    early.finish();
    driver.run_until_idle().unwrap();
    let head_states =
        driver.report().components.iter().find(|component| component.id == "head").unwrap().states.clone();
    assert!(!head_states.contains_key("done"), "something may still come round: {head_states:?}");
    late.feed_untracked(10);
    late.finish();
    driver.run_to_end().unwrap();
    assert_eq!(driver.counts("head").executed, 3 + 10, "what came in late went round too");
}

#[test]
fn a_topology_without_a_spout_is_refused() {
    let mut t = TopologyBuilder::new("spoutless");
    t.bolt("deaf", pass);
    assert!(problems(t).iter().any(|problem| problem.contains("no spout")));
}

#[test]
fn zero_tasks_are_refused() {
    let (_, spout) = feeder::<u32>();
    let mut t = TopologyBuilder::new("zero");
    let _ = t.spout("numbers", spout).parallelism(0);
    let error = TestDriver::start(t.build().unwrap()).err().unwrap();
    assert!(error.is_usage() && error.to_string().contains("parallelism"), "{error}");
}
