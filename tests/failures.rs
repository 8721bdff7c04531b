//! What becomes of an input that fails: what asks to be tried again is tried again, what is given up is given up once,
//! for a reason, and kept. In virtual time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::connect::Generator;
use squall::error::FailureKind;
use squall::testing::{Simulation, TestDriver, capture};
use squall::{
    Bolt, BoltContext, DeadLetter, Door, Failure, Guarantee, Held, ManualBolt, Nothing, Outcome, Outlet, Polled,
    Replayable, Source, SpoutContext, Topology, TopologyBuilder, Tuple,
};

const GUARANTEES: [Guarantee; 2] = [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce];

fn numbers(count: u64, rate: u64) -> impl Fn() -> Generator<u64> + Send + Sync + 'static {
    move || Generator::new(count, |n| n).rate(rate)
}

/// A service that every call needs is away for a while: every input is looked up once it is back.
#[test]
fn an_outage_costs_time_and_nothing_else() {
    for away in [Duration::from_millis(20), Duration::from_secs(1), Duration::from_secs(10)] {
        for guarantee in GUARANTEES {
            let mut t = TopologyBuilder::new("outage");
            let source = t.source("numbers", numbers(10_000, 100_000));
            let from_ns = Duration::from_millis(30).as_nanos() as u64;
            let until_ns = from_ns + away.as_nanos() as u64;
            let lookup = move |n: u64, out: &mut Outlet<u64>| {
                if (from_ns..until_ns).contains(&out.now_ns()) {
                    return Err(Failure::retry("the service is away"));
                }
                out.emit(n);
                Ok(())
            };
            let found = t.bolt("lookup", lookup).parallelism(2).shuffle(&source);
            let (found, letters) = (capture(&mut t, &found), capture(&mut t, source.dead_letters()));
            t.guarantee(guarantee);
            let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
            driver.run_to_end().unwrap_or_else(|error| panic!("{guarantee}, {away:?}: {error}"));
            let found: BTreeSet<u64> = found.take().into_iter().collect();
            assert_eq!(found, (0..10_000).collect(), "{guarantee}, away for {away:?}");
            assert!(letters.is_empty(), "{guarantee}, away for {away:?}");
            assert_eq!(driver.counts("numbers").dead_lettered, 0);
        }
    }
}

/// Rejecting costs one dead letter each and no restart, under every guarantee.
#[test]
fn a_rejected_input_is_one_dead_letter_and_nothing_else_stops() {
    for guarantee in GUARANTEES {
        let mut t = TopologyBuilder::new("rejects");
        let source = t.source("numbers", numbers(5_000, 100_000)).parallelism(2);
        let parse = |n: u64, out: &mut Outlet<u64>| {
            // What the call has emitted until then stays.
            out.emit(n);
            if n % 500 == 7 { Err(Failure::reject(format!("{n} is bad"))) } else { Ok(()) }
        };
        let plus = t.bolt("plus", |n: u64, out: &mut Outlet<u64>| out.emit(n)).parallelism(3).shuffle(&source);
        let parsed = t.bolt("parse", parse).parallelism(2).shuffle(&plus);
        let (parsed, letters) = (capture(&mut t, &parsed), capture(&mut t, source.dead_letters()));
        t.guarantee(guarantee);
        t.settings(|s| s.executors = Some(2));
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.run_to_end().unwrap();
        let mut parsed = parsed.take();
        parsed.sort_unstable();
        assert_eq!(parsed, (0..5_000).collect::<Vec<_>>(), "{guarantee}");
        let mut letters: Vec<DeadLetter<u64>> = letters.take();
        letters.sort_unstable_by_key(|letter| letter.value);
        assert_eq!(
            letters.iter().map(|l| l.value).collect::<Vec<_>>(),
            (0..10).map(|n| n * 500 + 7).collect::<Vec<_>>()
        );
        for letter in &letters {
            assert_eq!((letter.kind, letter.attempts, letter.id), (FailureKind::Reject, 1, letter.value));
            assert_eq!(letter.error, format!("{} is bad", letter.value));
            assert_eq!(&*letter.origin.as_ref().unwrap().component, "parse");
        }
        let report = driver.report();
        assert_eq!((report.components[0].counts.dead_lettered, report.components[0].counts.untaken), (10, 0));
        assert!(report.checkpoints.is_none_or(|checkpoints| checkpoints.step_backs == 0), "{guarantee}");
    }
}

/// However often everything is gone back from, a dead letter is counted once, and the others are there.
#[test]
fn dead_letters_are_counted_once_across_restarts() {
    let mut t = TopologyBuilder::new("counted-once");
    let source = t.source("numbers", numbers(2_000, 10_000));
    let broken: Arc<Vec<(u64, AtomicBool)>> = Arc::new((1..20).map(|n| (n * 97, AtomicBool::new(false))).collect());
    let parse = move |n: u64, out: &mut Outlet<u64>| {
        if n % 10 == 3 {
            return Err(Failure::reject("bad"));
        }
        let due = broken.iter().find(|(at, _)| *at == n);
        assert!(due.is_none_or(|(_, done)| done.swap(true, Ordering::Relaxed)), "told to break once");
        out.emit(n);
        Ok(())
    };
    let parsed = t.bolt("parse", parse).shuffle(&source);
    let (parsed, letters) = (capture(&mut t, &parsed), capture(&mut t, source.dead_letters()));
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    let letters: BTreeSet<u64> = letters.take().into_iter().map(|letter| letter.value).collect();
    assert_eq!(letters, (0..200).map(|n| n * 10 + 3).collect());
    assert_eq!(driver.counts("numbers").dead_lettered, 200);
    assert_eq!(driver.report().checkpoints.unwrap().step_backs, 17, "those that are not rejected break once");
    let parsed: BTreeSet<u64> = parsed.take().into_iter().collect();
    assert_eq!(parsed, (0..2_000).filter(|n| n % 10 != 3).collect());
}

#[test]
fn a_dead_letter_that_nobody_takes_stops_exactly_once_and_is_told_at_least_once() {
    let run = |guarantee| {
        let mut t = TopologyBuilder::new("untaken");
        let source = t.source("numbers", numbers(100, 10_000));
        let parse = |n: u64, _: &mut Outlet<Nothing>| if n == 50 { Err(Failure::reject("bad")) } else { Ok(()) };
        t.bolt("parse", parse).shuffle(&source);
        t.guarantee(guarantee);
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        let outcome = driver.run_to_end();
        (outcome, driver.counts("numbers").untaken)
    };
    let (outcome, untaken) = run(Guarantee::AtLeastOnce);
    outcome.unwrap();
    assert_eq!(untaken, 1);
    let error = run(Guarantee::ExactlyOnce).0.unwrap_err();
    assert_eq!(error.state(), Some("dead_letter"));
    assert!(error.to_string().contains("position 50") && error.to_string().contains("parse"), "{error}");
}

/// What a manual bolt does with every tenth input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Fail,
    Reject,
    Fatal,
    Drop,
    Error,
    RejectedCall,
    Panic,
}

struct Manual {
    way: Way,
    calls: Arc<AtomicU64>,
}

impl ManualBolt for Manual {
    type In = u64;
    type Out = u64;
    const HELD: Option<Held<u64>> = Some(Held::Drain);

    fn execute(&mut self, tuple: Tuple<u64>, out: &mut Outlet<u64>) -> Outcome {
        if self.calls.fetch_add(1, Ordering::Relaxed) % 10 != 9 {
            out.anchored(&tuple).emit(*tuple);
            tuple.ack();
            return Ok(());
        }
        match self.way {
            Way::Fail => tuple.fail(Failure::retry("sorry")),
            Way::Reject => tuple.fail(Failure::reject("never")),
            Way::Fatal => tuple.fail(Failure::fatal("stop")),
            Way::Drop => drop(tuple),
            Way::Error => return Err(Failure::retry("sorry")),
            Way::RejectedCall => return Err(Failure::reject("never")),
            Way::Panic => panic!("boo"),
        }
        Ok(())
    }
}

#[test]
fn what_a_manual_bolt_does_to_a_tuple_is_what_every_bolt_does() {
    for guarantee in GUARANTEES {
        for way in [Way::Fail, Way::Reject, Way::Fatal, Way::Drop, Way::Error, Way::RejectedCall, Way::Panic] {
            let mut t = TopologyBuilder::new("manual");
            let source = t.source("numbers", numbers(1_000, 10_000));
            let calls = Arc::new(AtomicU64::new(0));
            let manual = t.bolt("manual", move || Manual { way, calls: calls.clone() }).shuffle(&source);
            let (passed, letters) = (capture(&mut t, &manual), capture(&mut t, source.dead_letters()));
            t.guarantee(guarantee);
            t.settings(|s| (s.restarts_max, s.rebuild_progress_tuples) = (1_000, 1));
            let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
            let outcome = driver.run_to_end();
            if way == Way::Fatal {
                assert_eq!(outcome.unwrap_err().state(), Some("failed"), "{guarantee} {way:?}");
                continue;
            }
            outcome.unwrap_or_else(|error| panic!("{guarantee} {way:?}: {error}"));
            let passed: BTreeSet<u64> = passed.take().into_iter().collect();
            let letters: BTreeSet<u64> = letters.take().into_iter().map(|letter| letter.value).collect();
            let is_rejected = matches!(way, Way::Reject | Way::RejectedCall);
            assert_eq!(letters.len(), if is_rejected { 100 } else { 0 }, "{guarantee} {way:?}");
            let restarts = driver.report().checkpoints.map_or(0, |checkpoints| checkpoints.step_backs);
            assert!(!is_rejected || restarts == 0, "{guarantee} {way:?}: {restarts} restarts");
            assert!(passed.is_disjoint(&letters), "{guarantee} {way:?}");
            assert_eq!(passed.len() + letters.len(), 1_000, "{guarantee} {way:?}");
        }
    }
}

/// `?` in a manual bolt lets go of the tuple: it is tried again as an error asks for, and not given up as dropped.
#[test]
fn what_a_manual_bolt_returns_is_why_the_tuple_has_failed() {
    struct Away(Arc<AtomicU64>);
    impl ManualBolt for Away {
        type In = u64;
        type Out = u64;
        const HELD: Option<Held<u64>> = Some(Held::Drain);

        fn execute(&mut self, tuple: Tuple<u64>, out: &mut Outlet<u64>) -> Outcome {
            if *tuple == 5 && self.0.fetch_add(1, Ordering::Relaxed) < 20 {
                return Err(Failure::retry("the service is away"));
            }
            out.anchored(&tuple).emit(*tuple);
            tuple.ack();
            Ok(())
        }
    }
    for guarantee in GUARANTEES {
        let mut t = TopologyBuilder::new("returns");
        let source = t.source("numbers", numbers(10, 10_000));
        let calls = Arc::new(AtomicU64::new(0));
        let away = t.bolt("away", move || Away(calls.clone())).shuffle(&source);
        let (passed, letters) = (capture(&mut t, &away), capture(&mut t, source.dead_letters()));
        t.guarantee(guarantee);
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.run_to_end().unwrap();
        assert!(letters.is_empty(), "{guarantee}: {letters:?}", letters = letters.take());
        assert_eq!(passed.take().into_iter().collect::<BTreeSet<_>>(), (0..10).collect(), "{guarantee}");
        let counts = driver.counts("away");
        assert_eq!((counts.dropped, counts.errors), (0, 0), "{guarantee}: it belongs to its tuple");
    }
}

/// Holds what it gets in its state; fails at one number when that comes again out of a checkpoint.
struct FailsWhatComesAgain {
    held: Vec<Tuple<u64>>,
    rejects: bool,
    broke: Arc<AtomicBool>,
}

impl ManualBolt for FailsWhatComesAgain {
    type In = u64;
    type Out = u64;
    const HELD: Option<Held<u64>> = Some(Held::in_state());

    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<u64>) -> Outcome {
        if *tuple == 50 && tuple.is_redelivered() {
            if self.rejects {
                return Err(Failure::reject("stale"));
            }
            panic!("stale");
        }
        assert!(*tuple != 900 || self.broke.swap(true, Ordering::Relaxed), "told to break once");
        self.held.push(tuple);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<u64>) -> Outcome {
        for tuple in self.held.drain(..) {
            out.anchored(&tuple).emit(*tuple);
            tuple.ack();
        }
        Ok(())
    }
}

/// Its source is far behind it by then, and makes the dead letter all the same.
#[test]
fn a_held_tuple_that_comes_again_out_of_a_checkpoint_can_be_given_up_too() {
    for rejects in [true, false] {
        let mut t = TopologyBuilder::new("again");
        let source = t.source("numbers", numbers(1_000, 10_000));
        let broke = Arc::new(AtomicBool::new(false));
        let hold = move || FailsWhatComesAgain { held: Vec::new(), rejects, broke: broke.clone() };
        let hold = t.bolt("hold", hold).shuffle(&source);
        let (passed, letters) = (capture(&mut t, &hold), capture(&mut t, source.dead_letters()));
        t.guarantee(Guarantee::ExactlyOnce);
        t.settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.run_to_end().unwrap_or_else(|error| panic!("rejects: {rejects}: {error}"));
        let letters: BTreeSet<u64> = letters.take().into_iter().map(|letter| letter.value).collect();
        assert_eq!(letters, [50].into(), "rejects: {rejects}");
        let passed: BTreeSet<u64> = passed.take().into_iter().collect();
        assert_eq!(passed, (0..1_000).filter(|n| *n != 50).collect(), "rejects: {rejects}");
        assert_eq!(driver.counts("numbers").dead_lettered, 1);
    }
}

/// Panics that have nothing to do with the input, at least once with checkpoints: nothing is given up for them.
#[test]
fn panics_by_chance_are_got_past_under_every_guarantee() {
    for (guarantee, interval) in [
        (Guarantee::AtLeastOnce, None),
        (Guarantee::AtLeastOnce, Some(Duration::from_millis(10))),
        (Guarantee::ExactlyOnce, Some(Duration::from_millis(10))),
    ] {
        let mut t = TopologyBuilder::new("chance");
        let source = t.source("numbers", numbers(2_000, 100_000)).parallelism(2);
        let calls = Arc::new(AtomicU64::new(0));
        let pass = move |n: u64, out: &mut Outlet<u64>| {
            assert_ne!(calls.fetch_add(1, Ordering::Relaxed) % 150, 149, "every 150th call");
            out.emit(n);
        };
        let passed = t.bolt("pass", pass).parallelism(2).shuffle(&source);
        let (passed, letters) = (capture(&mut t, &passed), capture(&mut t, source.dead_letters()));
        t.guarantee(guarantee);
        t.settings(|s| (s.checkpoint_interval, s.executors) = (interval, Some(2)));
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.run_to_end().unwrap_or_else(|error| panic!("{guarantee} {interval:?}: {error}"));
        let passed: BTreeSet<u64> = passed.take().into_iter().collect();
        assert_eq!(passed, (0..2_000).collect(), "{guarantee} {interval:?}");
        assert!(letters.is_empty(), "{guarantee} {interval:?}: {letters:?}", letters = letters.take());
    }
}

#[test]
fn panics_at_every_input_stop_by_name_within_the_limits() {
    let limits = [(10, "restarted 10 times"), (1, "restarted once"), (0, "no restart is allowed (restarts_max)")];
    for (restarts_max, said) in limits {
        let mut t = TopologyBuilder::new("hopeless");
        let source = t.source("numbers", numbers(2_000, 100_000));
        t.bolt("never", |n: u64, _: &mut Outlet<Nothing>| assert_eq!(n, u64::MAX, "told to panic")).shuffle(&source);
        let letters = capture(&mut t, source.dead_letters());
        t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.restarts_max = restarts_max);
        let started = TestDriver::start(t.build().unwrap());
        let error = started.and_then(|mut driver| driver.run_to_end().map(drop)).unwrap_err();
        assert_eq!(error.state(), Some("restart_limit"), "{error}");
        assert!(error.to_string().contains("never[0]") && error.to_string().contains(said), "{error}");
        assert!(letters.take().len() <= 2);
    }
}

/// Fails once, in the middle.
struct FailsOnce {
    source: Generator<u64>,
    polls: u64,
    has_failed: Arc<AtomicBool>,
}

impl Source for FailsOnce {
    type Item = u64;
    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.source.open(ctx)
    }
    fn poll(&mut self) -> Result<Polled<u64>, Failure> {
        self.polls += 1;
        if self.polls == 5_000 && !self.has_failed.swap(true, Ordering::Relaxed) {
            return Err(Failure::retry("the source is away"));
        }
        self.source.poll()
    }
    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        self.source.replayable()
    }
}

#[test]
fn a_source_that_fails_once_gives_nothing_twice_where_nothing_is_tracked() {
    let mut t = TopologyBuilder::new("twice");
    let has_failed = Arc::new(AtomicBool::new(false));
    let source = t.source("numbers", move || FailsOnce {
        source: Generator::new(10_000, |n| n),
        polls: 0,
        has_failed: has_failed.clone(),
    });
    let seen = capture(&mut t, &source);
    t.guarantee(Guarantee::AtMostOnce);
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    assert_eq!(seen.take(), (0..10_000).collect::<Vec<_>>());
}

/// Tells its sum at the end, once the service that takes it is back.
struct Sum {
    sum: u64,
    away: Arc<AtomicU64>,
}

impl Bolt for Sum {
    type In = u64;
    type Out = u64;
    fn execute(&mut self, n: u64, _: &mut Outlet<u64>) -> Outcome {
        self.sum += n;
        Ok(())
    }
    fn finish(&mut self, out: &mut Outlet<u64>) -> Outcome {
        let is_away = |left: u64| left.checked_sub(1);
        if self.away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_away).is_ok() {
            return Err(Failure::retry("the service is away"));
        }
        out.emit(self.sum);
        Ok(())
    }
}

#[test]
fn a_last_call_that_fails_is_made_again_and_has_lost_nothing() {
    let mut t = TopologyBuilder::new("last-call");
    let source = t.source("numbers", numbers(100, 100_000));
    let away = Arc::new(AtomicU64::new(5));
    let sum = t.bolt("sum", move || Sum { sum: 0, away: away.clone() }).shuffle(&source);
    let sums = capture(&mut t, &sum);
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    assert_eq!(sums.take(), [(0..100).sum::<u64>()]);
}

/// Works on each tuple elsewhere, and emits through its door.
struct Elsewhere {
    door: Option<Door<u64>>,
    offload: Option<squall::sys::offload::Offload>,
}

impl Elsewhere {
    fn new() -> Self {
        Elsewhere { door: None, offload: None }
    }
}

impl ManualBolt for Elsewhere {
    type In = u64;
    type Out = u64;
    const HELD: Option<Held<u64>> = Some(Held::Drain);

    fn prepare(&mut self, ctx: &mut BoltContext<u64>) -> Outcome {
        (self.door, self.offload) = (Some(ctx.door()), Some(ctx.offload()));
        Ok(())
    }

    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<u64>) -> Outcome {
        let (Some(door), Some(offload)) = (self.door.clone(), &self.offload) else { return Ok(()) };
        offload.run(move || {
            let (value, anchor) = tuple.split();
            assert!(door.try_emit_anchored(&anchor, value).is_ok(), "the door has room for one");
            anchor.ack();
        });
        Ok(())
    }
}

/// A barrier waits for the work, and no longer: not for another turn that never comes.
#[test]
fn a_barrier_that_waits_for_held_tuples_goes_on_in_the_turn_in_which_they_are_done() {
    let mut t = TopologyBuilder::new("stall");
    // The second one comes after 10 ms.
    let source = t.source("numbers", numbers(2, 100));
    let looked_up = t.bolt("elsewhere", Elsewhere::new).shuffle(&source);
    let seen = capture(&mut t, &looked_up);
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| s.checkpoint_interval = Some(Duration::from_millis(50)));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.hold_jobs(true);
    driver.advance(Duration::from_millis(100)).unwrap();
    let completed = |driver: &TestDriver| driver.report().checkpoints.unwrap().completed;
    let before = completed(&driver);
    assert_eq!((driver.waiting_jobs(), seen.take()), (1, vec![0]));
    driver.run_job(0).unwrap();
    assert!(completed(&driver) > before, "no time has passed");
    assert_eq!(seen.take(), [1]);
    driver.hold_jobs(false);
    driver.run_to_end().unwrap();
}

/// More poisoned inputs than a task may be built again for nothing: each is given up by itself.
#[test]
fn many_poisoned_inputs_are_dead_letters_and_stop_nothing() {
    let mut t = TopologyBuilder::new("poisoned");
    let source = t.source("numbers", numbers(600, 1_000));
    let parse = |n: u64, out: &mut Outlet<u64>| {
        assert!(n % 30 != 7, "{n} is poison");
        out.emit(n);
    };
    let parsed = t.bolt("parse", parse).shuffle(&source);
    let (parsed, letters) = (capture(&mut t, &parsed), capture(&mut t, source.dead_letters()));
    t.guarantee(Guarantee::AtLeastOnce);
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    let good: BTreeSet<u64> = parsed.take().into_iter().collect();
    assert_eq!(good, (0..600).filter(|n| n % 30 != 7).collect());
    let letters: Vec<DeadLetter<u64>> = letters.take();
    assert_eq!(letters.iter().map(|letter| letter.value).collect::<BTreeSet<_>>(), (7..600).step_by(30).collect());
    assert!(letters.iter().all(|letter| (letter.kind, letter.attempts) == (FailureKind::Panic, 5)), "{letters:?}");
}

/// Stands for a child process: it dies of every thirtieth tuple, which it has in hand alone.
#[derive(Default)]
struct Dies {
    offload: Option<squall::sys::offload::Offload>,
    is_dead: Arc<AtomicBool>,
}

impl ManualBolt for Dies {
    type In = u64;
    type Out = u64;
    const HELD: Option<Held<u64>> = Some(Held::Drain);

    fn prepare(&mut self, ctx: &mut BoltContext<u64>) -> Outcome {
        self.offload = Some(ctx.offload());
        Ok(())
    }

    fn ready(&mut self) -> Result<bool, Failure> {
        if self.is_dead.load(Ordering::Relaxed) { Err(Failure::panic("the child died")) } else { Ok(true) }
    }

    fn execute(&mut self, tuple: Tuple<u64>, out: &mut Outlet<u64>) -> Outcome {
        let (Some(offload), 7) = (&self.offload, *tuple % 30) else {
            out.anchored(&tuple).emit(*tuple);
            tuple.ack();
            return Ok(());
        };
        let is_dead = self.is_dead.clone();
        offload.run(move || {
            is_dead.store(true, Ordering::Relaxed);
            tuple.fail(Failure::panic("the child died"));
        });
        Ok(())
    }
}

/// A death is told in no input's call; which one it was over is known all the same, and each is given up by itself.
#[test]
fn inputs_that_kill_whoever_works_on_them_elsewhere_are_dead_letters_and_stop_nothing() {
    for guarantee in GUARANTEES {
        let mut t = TopologyBuilder::new("deaths");
        let source = t.source("numbers", numbers(600, 1_000));
        let worked = t.bolt("works", Dies::default).shuffle(&source);
        let (worked, letters) = (capture(&mut t, &worked), capture(&mut t, source.dead_letters()));
        t.guarantee(guarantee).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(50)));
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.run_to_end().unwrap_or_else(|error| panic!("{guarantee}: {error}"));
        let worked: BTreeSet<u64> = worked.take().into_iter().collect();
        assert_eq!(worked, (0..600).filter(|n| n % 30 != 7).collect(), "{guarantee}");
        let letters: Vec<DeadLetter<u64>> = letters.take();
        let values: BTreeSet<u64> = letters.iter().map(|letter| letter.value).collect();
        assert_eq!(values, (7..600).step_by(30).collect(), "{guarantee}");
        assert!(letters.iter().all(|letter| letter.kind == FailureKind::Panic), "{letters:?}");
    }
}

/// Keeps what it gets until the end.
#[derive(Default)]
struct Hoards(Vec<Tuple<u64>>);

impl ManualBolt for Hoards {
    type In = u64;
    type Out = Nothing;

    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.push(tuple);
        Ok(())
    }

    fn finish(&mut self, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.drain(..).for_each(|tuple| tuple.fail(Failure::retry("the service is away")));
        Ok(())
    }
}

/// A source of 100 numbers, ten of which are rejected, and what takes their dead letters.
fn letters_into(keep: impl Fn(DeadLetter<u64>) -> Outcome + Clone + Send + Sync + 'static) -> Topology {
    let mut t = TopologyBuilder::new("letters");
    let source = t.source("numbers", numbers(100, 1_000));
    let parse = |n: u64, _: &mut Outlet<Nothing>| if n % 10 == 7 { Err(Failure::reject("bad")) } else { Ok(()) };
    t.bolt("parse", parse).shuffle(&source);
    t.bolt("keep", move |letter: DeadLetter<u64>, _: &mut Outlet<Nothing>| keep(letter)).global(source.dead_letters());
    t.build().unwrap()
}

#[test]
fn a_dead_letter_that_its_subscriber_fails_is_emitted_again_until_it_is_taken() {
    let (tries, kept) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (tried, taken) = (tries.clone(), kept.clone());
    let topology = letters_into(move |letter| {
        // Longer than any number of replays that an item would be given.
        if letter.value == 47 && tried.fetch_add(1, Ordering::Relaxed) < 20 {
            return Err(Failure::retry("the disk is full"));
        }
        taken.lock().unwrap().push((letter.value, letter.error, letter.attempts));
        Ok(())
    });
    let mut driver = TestDriver::start(topology).unwrap();
    driver.run_to_end().unwrap();
    let mut kept = kept.lock().unwrap().clone();
    kept.sort_unstable();
    assert_eq!(kept, (0..10).map(|n| (10 * n + 7, "bad".to_owned(), 1)).collect::<Vec<_>>());
    let report = driver.report();
    let counts = report.components[0].counts;
    assert_eq!((counts.acked, counts.dead_lettered, counts.untaken, report.unaccounted()), (90, 10, 0, 0));
    assert_eq!(tries.load(Ordering::Relaxed), 21);
}

#[test]
fn a_dead_letter_that_its_subscriber_never_takes_shows_in_the_report() {
    let topology = letters_into(|letter| match letter.value {
        47 => Err(Failure::retry("the disk is full")),
        57 => Err(Failure::reject("too long")),
        _ => Ok(()),
    });
    let mut driver = TestDriver::start(topology).unwrap();
    driver.run_to_end().unwrap();
    let report = driver.report();
    let counts = report.components[0].counts;
    assert_eq!((counts.acked, counts.dead_lettered, counts.untaken, report.unaccounted()), (90, 10, 2, 0));
}

#[test]
fn a_tree_that_fails_after_the_end_of_its_source_has_its_dead_letter() {
    let mut t = TopologyBuilder::new("late");
    let source = t.source("numbers", numbers(10, 1_000));
    t.bolt("hoards", Hoards::default).shuffle(&source);
    let letters = capture(&mut t, source.dead_letters());
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    let report = driver.report();
    let counts = report.components[0].counts;
    assert_eq!((counts.acked, counts.dead_lettered, counts.untaken, report.unaccounted()), (0, 10, 0, 0));
    let letters = letters.take();
    assert_eq!(letters.len(), 10);
    for letter in letters {
        assert!(letter.error.starts_with("ended: ") && letter.kind != FailureKind::Reject, "{letter:?}");
    }
}

/// Lets go of what it has when its input ends.
#[derive(Default)]
struct UntilTheEnd(Vec<Tuple<DeadLetter<u64>>>);

impl ManualBolt for UntilTheEnd {
    type In = DeadLetter<u64>;
    type Out = Nothing;
    fn execute(&mut self, letter: Tuple<DeadLetter<u64>>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.push(letter);
        Ok(())
    }
    fn finish(&mut self, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.drain(..).for_each(Tuple::ack);
        Ok(())
    }
}

#[test]
fn dead_letters_may_be_held_until_their_stream_ends() {
    let mut t = TopologyBuilder::new("held");
    let source = t.source("numbers", numbers(100, 1_000));
    let parse = |n: u64, _: &mut Outlet<Nothing>| if n % 10 == 7 { Err(Failure::reject("bad")) } else { Ok(()) };
    t.bolt("parse", parse).shuffle(&source);
    t.bolt("keep", UntilTheEnd::default).global(source.dead_letters());
    t.settings(|s| s.message_timeout = Duration::from_secs(3_600));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    let report = driver.report();
    let counts = report.components[0].counts;
    assert_eq!((counts.acked, counts.dead_lettered, counts.untaken, report.unaccounted()), (90, 10, 0, 0));
    assert!(report.wall_s < 3_600.0, "nothing waited for a deadline: {} s", report.wall_s);
}

#[test]
fn a_subscriber_of_dead_letters_that_fails_by_chance_is_got_past_exactly_once() {
    let mut t = TopologyBuilder::new("letters");
    let source = t.source("numbers", numbers(200, 1_000));
    let parse = |n: u64, _: &mut Outlet<Nothing>| if n % 10 == 7 { Err(Failure::reject("bad")) } else { Ok(()) };
    t.bolt("parse", parse).shuffle(&source);
    let calls = Arc::new(AtomicU64::new(0));
    let keep = move |letter: DeadLetter<u64>, out: &mut Outlet<u64>| {
        if calls.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            return Err(Failure::retry("the disk is full"));
        }
        out.emit(letter.value);
        Ok(())
    };
    let kept = t.bolt("keep", keep).global(source.dead_letters());
    let kept = capture(&mut t, &kept);
    // All letters between two checkpoints.
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_secs(1)));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    let kept: BTreeSet<u64> = kept.take().into_iter().collect();
    assert_eq!(kept, (0..20).map(|n| 10 * n + 7).collect());
    assert_eq!(driver.counts("numbers").dead_lettered, 20);
}

/// A bolt whose last call never succeeds.
struct NeverDone;

impl Bolt for NeverDone {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, _: u64, _: &mut Outlet<Nothing>) -> Outcome {
        Ok(())
    }
    fn finish(&mut self, _: &mut Outlet<Nothing>) -> Outcome {
        Err(Failure::retry("the disk is full"))
    }
}

#[test]
fn trouble_of_no_input_stops_by_name_when_retry_for_is_over() {
    let mut t = TopologyBuilder::new("full");
    let source = t.source("numbers", numbers(100, 1_000));
    t.bolt("disk", || NeverDone).shuffle(&source);
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.retry_for = Some(Duration::from_secs(600)));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    let error = driver.run_to_end().expect_err("it never ends");
    assert_eq!(error.state(), Some("retry_limit"), "{error}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    let report = driver.report();
    assert!((600.0..700.0).contains(&report.wall_s), "{} s", report.wall_s);
    assert_eq!(report.components[0].counts.dead_lettered, 0, "no input is blamed");
}

/// Notes what it acks; one call in ten fails its tuple instead.
struct Notes {
    calls: Arc<AtomicU64>,
    acked: Arc<Mutex<BTreeSet<u64>>>,
}

impl ManualBolt for Notes {
    type In = u64;
    type Out = Nothing;
    const HELD: Option<Held<u64>> = Some(Held::Drain);

    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        if self.calls.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            tuple.fail(Failure::retry("the service is away"));
        } else {
            self.acked.lock().unwrap().insert(*tuple);
            tuple.ack();
        }
        Ok(())
    }
}

/// The handle fails, and the next item in the lane is the barrier: no checkpoint may be behind the input.
#[test]
fn an_input_that_fails_right_before_a_barrier_is_in_front_of_its_checkpoint() {
    for seed in 0..20 {
        let acked = Arc::new(Mutex::new(BTreeSet::new()));
        let build = || {
            let (calls, acked) = (Arc::new(AtomicU64::new(0)), acked.clone());
            let mut t = TopologyBuilder::new("barriers");
            let source = t.source("numbers", numbers(400, 500));
            t.bolt("notes", move || Notes { calls: calls.clone(), acked: acked.clone() }).shuffle(&source);
            t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
            t.build()
        };
        let report = Simulation::new(seed).run(build).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(report.report.checkpoints.unwrap().step_backs > 10, "some have failed");
        let missing: Vec<u64> = (0..400).filter(|n| !acked.lock().unwrap().contains(n)).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
    }
}
