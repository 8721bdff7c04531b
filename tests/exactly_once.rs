//! Exactly-once and checkpoints, in virtual time: what steps back, and what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use squall::connect::Generator;
use squall::engine::checkpoint::Health;
use squall::state::{StateVisitor, ValueState};
use squall::testing::{Captured, TestDriver, capture, feeder};
use squall::topology::settings::Settings;
use squall::{
    CurrentKey, Failure, Guarantee, Held, KeyedBolt, ManualBolt, Nothing, Outcome, Outlet, Stream, Topology,
    TopologyBuilder, Tuple,
};

/// Counts per key; breaks the first time it comes to each of these values.
struct Count {
    seen: ValueState<u64, u64>,
    breaks_at: Arc<Vec<(u64, AtomicBool)>>,
    panics: bool,
}

impl KeyedBolt for Count {
    type Key = u64;
    type In = u64;
    type Out = (u64, u64);

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.seen);
    }

    fn execute(&mut self, key: CurrentKey<u64>, value: u64, out: &mut Outlet<(u64, u64)>) -> Outcome {
        let seen = self.seen.get_or_insert_with(&key, || 0);
        *seen += 1;
        out.emit((*key, *seen));
        let breaks = self.breaks_at.iter().find(|(at, _)| *at == value);
        if breaks.is_some_and(|(_, done)| !done.swap(true, Ordering::Relaxed)) {
            assert!(!self.panics, "told to panic at {value}");
            return Err(Failure::retry(format!("told to fail at {value}")));
        }
        Ok(())
    }
}

const KEYS: u64 = 10;

struct Run {
    values: u64,
    breaks_at: &'static [u64],
    panics: bool,
    counters: usize,
    settings: fn(&mut Settings),
}

impl Default for Run {
    fn default() -> Self {
        Run { values: 10_000, breaks_at: &[], panics: true, counters: 2, settings: |_| {} }
    }
}

impl Run {
    fn topology(&self) -> (Topology, Captured<(u64, u64)>) {
        self.topology_with(|t, numbers| {
            t.bolt("pass", |n: u64, out: &mut Outlet<u64>| out.emit(n)).parallelism(2).shuffle(numbers).clone()
        })
    }

    /// With something between the source and the bolt that counts.
    fn topology_with(
        &self,
        between: impl FnOnce(&mut TopologyBuilder, &Stream<u64>) -> Stream<u64>,
    ) -> (Topology, Captured<(u64, u64)>) {
        let mut t = TopologyBuilder::new("counts");
        let (values, panics, settings) = (self.values, self.panics, self.settings);
        let breaks_at = Arc::new(self.breaks_at.iter().map(|at| (*at, AtomicBool::new(false))).collect::<Vec<_>>());
        let numbers = t.source("numbers", move || Generator::new(values, |n| n).rate(100_000)).parallelism(2);
        let passed = between(&mut t, &numbers);
        let count = move || Count { seen: ValueState::new("seen"), breaks_at: breaks_at.clone(), panics };
        let counts = t.bolt("count", count).parallelism(self.counters).fields_by(&passed, |n| n % KEYS);
        let captured = capture(&mut t, &counts);
        t.guarantee(Guarantee::ExactlyOnce);
        t.settings(|s| {
            s.executors = Some(2);
            s.checkpoint_interval = Some(Duration::from_millis(10));
            settings(s);
        });
        (t.build().expect("valid"), captured)
    }
}

/// The highest count of each key: with exactly-once state it is the number of its values, whatever was replayed.
fn highest(captured: &Captured<(u64, u64)>) -> BTreeMap<u64, u64> {
    let mut highest = BTreeMap::new();
    for (key, count) in captured.take() {
        let of_key: &mut u64 = highest.entry(key).or_default();
        *of_key = (*of_key).max(count);
    }
    highest
}

#[track_caller]
fn check_counts(run: &Run, step_backs: u64) {
    let (topology, captured) = run.topology();
    check_run(run, topology, &captured, step_backs);
}

#[track_caller]
fn check_run(run: &Run, topology: Topology, captured: &Captured<(u64, u64)>, step_backs: u64) {
    let mut driver = TestDriver::start(topology).expect("starts");
    driver.run_to_end().expect("ends well");
    let expected: BTreeMap<u64, u64> = (0..KEYS).map(|key| (key, run.values / KEYS)).collect();
    assert_eq!(highest(captured), expected);
    let checkpoints = driver.report().checkpoints.expect("there are checkpoints");
    assert_eq!(checkpoints.step_backs, step_backs);
    assert!(checkpoints.completed > 5, "{checkpoints:?}");
}

#[test]
fn without_failures_every_value_counts_once() {
    check_counts(&Run::default(), 0);
}

#[test]
fn a_panic_steps_the_whole_topology_back() {
    check_counts(&Run { breaks_at: &[1_234, 5_000, 5_001, 9_999], ..Run::default() }, 4);
}

#[test]
fn an_error_is_the_same_as_a_panic() {
    check_counts(&Run { breaks_at: &[0, 777], panics: false, ..Run::default() }, 2);
}

#[test]
fn lanes_of_one_place_align_without_deadlock() {
    check_counts(&Run { breaks_at: &[4_321], settings: |s| s.lane_capacity = 1, ..Run::default() }, 1);
}

/// Breaks when its input has ended, which belongs to no input.
struct BreaksAtTheEnd;

impl squall::Bolt for BreaksAtTheEnd {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, _: u64, _: &mut Outlet<Nothing>) -> Outcome {
        Ok(())
    }
    fn finish(&mut self, _: &mut Outlet<Nothing>) -> Outcome {
        panic!("told to break")
    }
}

#[test]
fn a_failure_of_no_input_that_comes_again_and_again_stops_the_topology_in_a_named_state() {
    let mut t = TopologyBuilder::new("hopeless");
    let numbers = t.source("numbers", || Generator::new(1_000, |n| n));
    t.bolt("never", || BreaksAtTheEnd).shuffle(&numbers);
    t.guarantee(Guarantee::ExactlyOnce);
    let outcome = TestDriver::start(t.build().expect("valid")).and_then(|mut driver| driver.run_to_end());
    let error = outcome.expect_err("it cannot get past the end");
    assert_eq!(error.state(), Some("restart_limit"));
    assert!(error.to_string().contains("never[0]"), "{error}");
}

#[test]
fn a_spout_that_cannot_go_back_is_refused_before_anything_starts() {
    let (_feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("forgetful");
    let numbers = t.spout("numbers", spout);
    t.bolt("drop", |_: u64, _: &mut Outlet<()>| {}).shuffle(&numbers);
    t.guarantee(Guarantee::ExactlyOnce);
    let error = TestDriver::start(t.build().expect("valid")).map(drop).expect_err("refused");
    assert!(error.is_usage() && error.to_string().contains("numbers"), "{error}");
}

/// Semantics, test (e): a source that has nothing to say still passes barriers.
#[test]
fn an_idle_input_does_not_hold_checkpoints_up() {
    let mut t = TopologyBuilder::new("one-idle");
    let busy = t.source("busy", || Generator::new(1_000, |n| n).rate(10_000));
    // It makes one value per second: between them it has nothing to say.
    let idle = t.source("idle", || Generator::endless(|n| n).rate(1));
    let both = t.bolt("both", |n: u64, out: &mut Outlet<u64>| out.emit(n));
    both.shuffle(&busy).shuffle(&idle);
    t.guarantee(Guarantee::ExactlyOnce);
    let mut driver = TestDriver::start(t.build().expect("valid")).expect("starts");
    driver.advance(Duration::from_millis(1_050)).expect("runs");
    let completed = driver.report().checkpoints.expect("has checkpoints").completed;
    assert!((10..=11).contains(&completed), "one at the start and one every 100 ms, not {completed}");
}

#[test]
fn a_cycle_is_refused_and_the_edge_is_named() {
    let mut t = TopologyBuilder::new("round");
    let numbers = t.source("numbers", || Generator::new(10, |n| n));
    let round = t
        .bolt("round", |n: u64, out: &mut Outlet<u64>| {
            if n > 100 {
                out.emit(n - 1)
            }
        })
        .shuffle(&numbers);
    let again = t.bolt("again", |n: u64, out: &mut Outlet<u64>| out.emit(n)).shuffle(&round);
    let _ = round.closing_cycle(|round| round.shuffle(&again));
    t.guarantee(Guarantee::ExactlyOnce);
    let error = TestDriver::start(t.build().expect("valid")).map(drop).expect_err("refused");
    assert!(error.is_usage() && error.to_string().contains("from again to round"), "{error}");
}

#[test]
fn at_least_once_may_take_checkpoints_too() {
    let run = Run { breaks_at: &[1_111, 7_777], settings: |s| s.guarantee = Guarantee::AtLeastOnce, ..Run::default() };
    let (topology, captured) = run.topology();
    let mut driver = TestDriver::start(topology).expect("starts");
    driver.run_to_end().expect("ends well");
    let highest = highest(&captured);
    assert!(highest.values().all(|&count| count >= run.values / KEYS), "nothing is lost: {highest:?}");
    assert_eq!(driver.report().checkpoints.expect("has checkpoints").step_backs, 2);
}

/// With an hour between two checkpoints, everything that takes the topology past its failures has to ask for its own.
#[test]
fn a_source_that_waits_for_a_checkpoint_gets_it_at_once_again_and_again() {
    let mut t = TopologyBuilder::new("rarely");
    let numbers = t.source("numbers", || Generator::new(1_000, |n| n));
    let calls = Arc::new(AtomicU64::new(0));
    t.bolt("fails", move |_: u64, _: &mut Outlet<Nothing>| -> Outcome {
        let fails = calls.fetch_add(1, Ordering::Relaxed) % 100 == 99;
        if fails { Err(Failure::retry("one call in a hundred fails")) } else { Ok(()) }
    })
    .shuffle(&numbers);
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_secs(3_600)));
    let mut driver = TestDriver::start(t.build().expect("valid")).expect("starts");
    driver.run_to_end().expect("ends well");
    let checkpoints = driver.report().checkpoints.expect("has checkpoints");
    assert!(checkpoints.step_backs >= 10, "{checkpoints:?}");
    assert!(driver.elapsed() < Duration::from_secs(3_600), "it has waited for the interval: {:?}", driver.elapsed());
}

/// Tells the sum when its input has ended.
#[derive(Default)]
struct SumAtTheEnd(u64);

impl squall::Bolt for SumAtTheEnd {
    type In = u64;
    type Out = u64;
    fn execute(&mut self, n: u64, _: &mut Outlet<u64>) -> Outcome {
        self.0 += n;
        Ok(())
    }
    fn finish(&mut self, out: &mut Outlet<u64>) -> Outcome {
        out.emit(self.0);
        Ok(())
    }
}

/// One input ends early, and with it a bolt; the other input breaks something much later.
#[test]
fn a_last_call_before_the_checkpoint_is_not_made_again() {
    let mut t = TopologyBuilder::new("early-end");
    let early = t.source("early", || Generator::new(10, |_| 1u64).rate(1_000));
    let late = t.source("late", || Generator::new(1_000, |n| n).rate(1_000));
    let sum = t.bolt("sum", SumAtTheEnd::default).shuffle(&early);
    let broken = Arc::new(AtomicBool::new(false));
    let has_broken = broken.clone();
    t.bolt("late-sink", move |n: u64, _: &mut Outlet<()>| {
        assert!(n < 900 || has_broken.swap(true, Ordering::Relaxed), "told to break once");
    })
    .shuffle(&late);
    let sums = capture(&mut t, &sum);
    t.guarantee(Guarantee::ExactlyOnce);
    let mut driver = TestDriver::start(t.build().expect("valid")).expect("starts");
    driver.run_to_end().expect("ends well");
    assert_eq!(driver.report().checkpoints.expect("has checkpoints").step_backs, 1);
    assert!(broken.load(Ordering::Relaxed));
    assert_eq!(sums.take().len(), 1, "the sum was emitted before the checkpoint that was gone back to");
}

struct Holding<const DECLARED: bool>;

impl<const DECLARED: bool> ManualBolt for Holding<DECLARED> {
    type In = u64;
    type Out = Nothing;
    const HELD: Option<Held<u64>> = if DECLARED { Some(Held::Drain) } else { None };
    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        tuple.ack();
        Ok(())
    }
}

#[test]
fn a_manual_bolt_has_to_say_what_becomes_of_what_it_holds() {
    fn start<const DECLARED: bool>() -> squall::Result<TestDriver> {
        let mut t = TopologyBuilder::new("holding");
        let numbers = t.source("numbers", || Generator::new(10, |n| n));
        t.bolt("hold", || Holding::<DECLARED>).shuffle(&numbers);
        t.guarantee(Guarantee::ExactlyOnce);
        TestDriver::start(t.build().expect("valid"))
    }
    let error = start::<false>().map(drop).expect_err("refused");
    assert!(error.is_usage() && error.to_string().contains("hold") && error.to_string().contains("HELD"), "{error}");
    start::<true>().expect("starts").run_to_end().expect("ends well");
}

/// Passes numbers on in batches.
struct Batches {
    held: Vec<Tuple<u64>>,
    redelivered: Arc<AtomicU64>,
}

impl Batches {
    fn emit(&mut self, out: &mut Outlet<Vec<u64>>) {
        out.anchored(&self.held).emit(self.held.iter().map(|number| **number).collect());
        self.held.drain(..).for_each(Tuple::ack);
    }
}

impl ManualBolt for Batches {
    type In = u64;
    type Out = Vec<u64>;
    const HELD: Option<Held<u64>> = Some(Held::in_state());

    fn execute(&mut self, number: Tuple<u64>, out: &mut Outlet<Vec<u64>>) -> Outcome {
        self.redelivered.fetch_add(u64::from(number.is_redelivered()), Ordering::Relaxed);
        self.held.push(number);
        if self.held.len() == 777 {
            self.emit(out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Vec<u64>>) -> Outcome {
        self.emit(out);
        Ok(())
    }
}

#[test]
fn tuples_held_in_state_hold_no_checkpoint_up_and_count_once_whatever_steps_back() {
    let run = Run { breaks_at: &[3_000, 5_000, 9_998], ..Run::default() };
    let redelivered = Arc::new(AtomicU64::new(0));
    let (topology, captured) = run.topology_with(|t, numbers| {
        let redelivered = redelivered.clone();
        let batches = move || Batches { held: Vec::new(), redelivered: redelivered.clone() };
        let batches = t.bolt("batches", batches).shuffle(numbers);
        t.bolt("numbers-again", |batch: Vec<u64>, out: &mut Outlet<u64>| batch.into_iter().for_each(|n| out.emit(n)))
            .shuffle(&batches)
            .clone()
    });
    check_run(&run, topology, &captured, 3);
    assert!(redelivered.load(Ordering::Relaxed) > 0, "every checkpoint but the last has some");
}

/// A bolt that stays blocked by what it holds: no checkpoint gets past it.
struct Never(Vec<Tuple<u64>>);

impl ManualBolt for Never {
    type In = u64;
    type Out = Nothing;
    const HELD: Option<Held<u64>> = Some(Held::Drain);
    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.push(tuple);
        Ok(())
    }
}

#[test]
fn without_good_checkpoints_health_turns_red_and_names_the_task_that_is_waited_for() {
    let mut t = TopologyBuilder::new("stuck");
    let numbers = t.source("numbers", || Generator::endless(|n| n).rate(100));
    t.bolt("pass", |n: u64, out: &mut Outlet<u64>| out.emit(n)).shuffle(&numbers);
    t.bolt("never", || Never(Vec::new())).shuffle(&numbers);
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| s.checkpoint_interval = Some(Duration::from_millis(100)));
    let mut driver = TestDriver::start(t.build().expect("valid")).expect("starts");
    driver.advance(Duration::from_millis(90)).expect("runs");
    let health = |driver: &TestDriver| driver.report().checkpoints.expect("has checkpoints");
    assert_eq!(health(&driver).health, Health::Green);
    driver.advance(Duration::from_secs(2)).expect("runs");
    let checkpoints = health(&driver);
    assert_eq!(checkpoints.health, Health::Red);
    assert_eq!(checkpoints.waits_for, ["never[0]"]);
}

/// Fails each time it comes to these values.
fn poisoned(rejects: bool) -> (Vec<u64>, Vec<squall::DeadLetter<u64>>, u64) {
    let mut t = TopologyBuilder::new("poisoned");
    let numbers = t.source("numbers", || Generator::new(1_000, |n| n).rate(10_000));
    let plus = t.bolt("plus", |n: u64, out: &mut Outlet<u64>| out.emit(n + 1)).shuffle(&numbers);
    let passed = t
        .bolt("never", move |n: u64, out: &mut Outlet<u64>| match n {
            501 | 700 if rejects => Err(Failure::reject("poison")),
            501 | 700 => panic!("poison"),
            _ => {
                out.emit(n);
                Ok(())
            }
        })
        .shuffle(&plus);
    let (captured, letters) = (capture(&mut t, &passed), capture(&mut t, numbers.dead_letters()));
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
    let mut driver = TestDriver::start(t.build().expect("valid")).expect("starts");
    driver.run_to_end().expect("gets past the poison");
    let mut values = captured.take();
    values.sort_unstable();
    values.dedup();
    (values, letters.take(), driver.report().checkpoints.expect("has checkpoints").step_backs)
}

#[test]
fn an_input_that_fails_again_and_again_becomes_a_dead_letter_of_its_source() {
    // A panic restarts: once until the input is known, then until it has failed five times alone. A reject does not.
    for (rejects, step_backs, attempts) in [(false, 2 * (1 + 5), 5), (true, 0, 1)] {
        let (values, letters, stepped_back) = poisoned(rejects);
        let expected: Vec<u64> = (1..=1_000).filter(|n| ![501, 700].contains(n)).collect();
        assert_eq!(values, expected);
        let told: Vec<(u64, u64, u32)> = letters.iter().map(|l| (l.value, l.id, l.attempts)).collect();
        // The output is immediate, so a letter may be seen again after a step back to before it.
        assert_eq!((told.first(), told.last()), (Some(&(500, 500, attempts)), Some(&(699, 699, attempts))));
        assert!(letters.iter().all(|l| l.origin.as_ref().is_some_and(|origin| &*origin.component == "never")));
        assert_eq!(stepped_back, step_backs);
    }
}

#[cfg(feature = "fjall")]
mod by_id {
    use squall::connect::UpsertTable;

    use super::*;

    /// Each number becomes several words, some of which fail their task once; by several tasks, in any order.
    fn table(breaks_at: &'static [u64], stable: bool) -> squall::Result<Vec<(squall::ReplayId, u64)>> {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("table");
        let table = UpsertTable::<u64>::new(&path);
        let mut t = TopologyBuilder::new("by-id");
        let numbers = t.source("numbers", || Generator::new(2_000, |n| n).rate(100_000)).parallelism(2);
        let fan = |n: u64, out: &mut Outlet<u64>| (0..=n % 3).for_each(|k| out.emit(n * 10 + k));
        let fanned = t.bolt("fan", fan).parallelism(3).shuffle(&numbers);
        let fanned = if stable { fanned.replay_stable() } else { fanned };
        let broken: Arc<Vec<_>> = Arc::new(breaks_at.iter().map(|at| (*at, AtomicBool::new(false))).collect());
        let pass = move |n: u64, out: &mut Outlet<u64>| {
            let due = broken.iter().find(|(at, _)| *at == n);
            assert!(due.is_none_or(|(_, done)| done.swap(true, Ordering::Relaxed)), "told to break");
            out.emit(n);
        };
        let passed = t.bolt("pass", pass).parallelism(2).replay_stable().fields_by(&fanned, |n| n % 7);
        t.bolt("table", move || table.clone()).parallelism(2).all(&passed);
        t.guarantee(Guarantee::ExactlyOnce);
        t.settings(|s| {
            s.executors = Some(2);
            s.checkpoint_interval = Some(Duration::from_millis(10));
        });
        let mut driver = TestDriver::start(t.build()?)?;
        driver.run_to_end()?;
        drop(driver);
        UpsertTable::read(&path)
    }

    #[test]
    fn ids_are_the_same_whatever_is_replayed() {
        let undisturbed = table(&[], true).expect("runs");
        // Both tasks of the table get every value, each under an id of its own.
        let values: usize = (0..2_000).map(|n| n % 3 + 1).sum();
        assert_eq!(undisturbed.len(), 2 * values);
        let disturbed = table(&[4_560, 12_001, 12_002, 19_990], true).expect("runs");
        assert_eq!(disturbed, undisturbed);
    }

    #[test]
    fn a_sink_by_id_behind_an_unstable_bolt_is_refused_and_the_bolt_is_named() {
        let error = table(&[], false).expect_err("refused").to_string();
        assert!(error.contains("fan") && error.contains("replay_stable") && !error.contains("pass:"), "{error}");
    }

    /// Holds what it gets until the next tick, and lets go of it through its door or in the tick.
    #[derive(Default)]
    struct HoldsAll {
        held: Vec<Tuple<u64>>,
        door: Option<squall::Door<u64>>,
    }

    impl ManualBolt for HoldsAll {
        type In = u64;
        type Out = u64;
        const HELD: Option<Held<u64>> = Some(Held::Drain);

        fn prepare(&mut self, ctx: &mut squall::BoltContext<u64>) -> Outcome {
            self.door = Some(ctx.door());
            Ok(())
        }

        fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<u64>) -> Outcome {
            self.held.push(tuple);
            Ok(())
        }

        fn tick(&mut self, out: &mut Outlet<u64>) -> Outcome {
            for tuple in self.held.drain(..) {
                for n in [10 * *tuple, 10 * *tuple + 1] {
                    out.anchored(&tuple).emit(n);
                }
                let door = self.door.as_ref().expect("prepared");
                for n in [10 * *tuple + 2, 10 * *tuple + 3] {
                    assert!(door.try_emit_anchored(&tuple, n).is_ok(), "it has room");
                }
                tuple.ack();
            }
            Ok(())
        }
    }

    /// They took each other's place in a table: the lineage of what was held had forgotten the way from its input.
    #[test]
    fn what_is_emitted_for_held_tuples_of_one_input_has_ids_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let table = UpsertTable::<u64>::new(&path);
        let mut t = TopologyBuilder::new("held-ids");
        let numbers = t.source("numbers", || Generator::new(20, |n| n).rate(1_000));
        let fan = |n: u64, out: &mut Outlet<u64>| (0..3).for_each(|copy| out.emit(3 * n + copy));
        let fanned = t.bolt("fan", fan).replay_stable().shuffle(&numbers);
        let held = t.bolt("held", HoldsAll::default).tick(Duration::from_millis(5)).replay_stable().shuffle(&fanned);
        t.bolt("table", move || table.clone()).shuffle(&held);
        t.guarantee(Guarantee::ExactlyOnce);
        TestDriver::start(t.build().unwrap()).unwrap().run_to_end().unwrap();
        let mut values: Vec<u64> = UpsertTable::read(&path).unwrap().into_iter().map(|(_, value)| value).collect();
        values.sort_unstable();
        assert_eq!(values, (0..60).flat_map(|n| (0..4).map(move |copy| 10 * n + copy)).collect::<Vec<_>>());
    }

    /// Nobody keeps the way of a tuple where no sink needs ids that are stable: what one input led to shared one row.
    #[test]
    fn a_table_that_writes_at_least_once_has_everything_that_an_input_leads_to() {
        for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("table");
            let table = UpsertTable::<u64>::new(&path).at_least_once();
            let mut t = TopologyBuilder::new("rows");
            let numbers = t.source("numbers", || Generator::new(20, |n| n).rate(1_000));
            let panicked = AtomicBool::new(false);
            let fan = move |n: u64, out: &mut Outlet<u64>| {
                (0..3).for_each(|copy| out.emit(3 * n + copy));
                // Ids that are made up are others after a restart.
                assert!(n != 15 || panicked.swap(true, Ordering::Relaxed), "once");
            };
            let fan = Arc::new(fan);
            let fanned = t.bolt("fan", move |n: u64, out: &mut Outlet<u64>| fan(n, out)).shuffle(&numbers);
            t.bolt("table", move || table.clone()).shuffle(&fanned);
            t.guarantee(guarantee).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
            TestDriver::start(t.build().unwrap()).unwrap().run_to_end().unwrap();
            let mut values: Vec<u64> = UpsertTable::read(&path).unwrap().into_iter().map(|(_, value)| value).collect();
            values.sort_unstable();
            values.dedup();
            assert_eq!(values, (0..60).collect::<Vec<_>>(), "{guarantee}");
        }
    }
}
