//! Timers and evictions, in virtual time: when they are called back, what becomes of them at the end, and of those that
//! fail.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::connect::Generator;
use squall::state::{AtEnd, StateVisitor, Timers, Ttl, ValueState};
use squall::testing::{TestDriver, capture};
use squall::{CurrentKey, Failure, Guarantee, KeyedBolt, Nothing, Outcome, Outlet, Timer, Topology, TopologyBuilder};

const MS: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MS;

/// A callback: key, when it was due, and when it came, in nanoseconds.
type Fired = Arc<Mutex<Vec<(u64, u64, u64)>>>;

/// What a test does at a timer.
type AtTimer = fn(&mut Alarms, CurrentKey<u64>, Timer) -> Outcome;

/// Sets timers and notes when they fire.
struct Alarms {
    timers: Timers<u64>,
    /// From the time of an input to that of its timers.
    after_ns: Vec<u64>,
    fired: Fired,
    at_timer: AtTimer,
    /// Whether it has failed before; outlives the instance.
    failed: Arc<AtomicBool>,
}

impl KeyedBolt for Alarms {
    type Key = u64;
    type In = u64;
    type Out = Nothing;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.timers);
    }

    fn execute(&mut self, key: CurrentKey<u64>, _: u64, _: &mut Outlet<Nothing>) -> Outcome {
        for (namespace, after_ns) in self.after_ns.iter().enumerate() {
            self.timers.set(&key, namespace as u64, key.now_ns() + after_ns);
        }
        Ok(())
    }

    fn on_timer(&mut self, key: CurrentKey<u64>, timer: Timer, _: &mut Outlet<Nothing>) -> Outcome {
        self.fired.lock().unwrap().push((*key, timer.at.as_nanos() as u64, key.now_ns()));
        (self.at_timer)(self, key, timer)
    }
}

struct Setting {
    at_end: AtEnd,
    after_ns: &'static [u64],
    at_timer: AtTimer,
    guarantee: Guarantee,
    inputs: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            at_end: AtEnd::Drop,
            after_ns: &[HOUR],
            at_timer: |_, _, _| Ok(()),
            guarantee: Guarantee::AtLeastOnce,
            inputs: 3,
        }
    }
}

impl Setting {
    /// The inputs come one a millisecond, each its own key.
    fn topology(&self) -> (Topology, Fired) {
        let fired = Fired::default();
        let (inputs, of_bolt) = (self.inputs, fired.clone());
        let mut t = TopologyBuilder::new("alarms");
        let numbers = t.source("numbers", move || Generator::new(inputs, |n| n).rate(1_000));
        let (after_ns, at_end, at_timer) = (self.after_ns, self.at_end, self.at_timer);
        let failed = Arc::new(AtomicBool::new(false));
        let alarms = move || Alarms {
            timers: Timers::new("timers").at_end(at_end),
            after_ns: after_ns.to_vec(),
            fired: of_bolt.clone(),
            at_timer,
            failed: failed.clone(),
        };
        t.bolt("alarms", alarms).fields(&numbers, |n| n);
        t.guarantee(self.guarantee);
        (t.build().expect("valid"), fired)
    }

    fn run(&self) -> (TestDriver, Vec<(u64, u64, u64)>) {
        let (topology, fired) = self.topology();
        let mut driver = TestDriver::start(topology).expect("starts");
        driver.run_to_end().expect("ends well");
        let fired = fired.lock().unwrap().clone();
        (driver, fired)
    }
}

#[test]
fn a_timer_whose_time_has_not_come_at_the_end_is_dropped_and_counted() {
    let (driver, fired) = Setting::default().run();
    assert_eq!(fired, []);
    assert_eq!(driver.counts("alarms").timers_dropped, 3);
    assert!(driver.elapsed() < Duration::from_secs(1), "nobody waits for it");
}

#[test]
fn one_that_is_declared_to_fire_at_the_end_fires_in_order_at_its_own_time() {
    let (driver, fired) = Setting { at_end: AtEnd::Fire, after_ns: &[HOUR, 1], ..Setting::default() }.run();
    let late: Vec<_> = fired.iter().filter(|(_, due_ns, _)| *due_ns >= HOUR).copied().collect();
    assert_eq!(late.iter().map(|(key, ..)| *key).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(late.iter().all(|(_, due_ns, now_ns)| due_ns == now_ns), "{late:?}");
    assert_eq!((fired.len(), driver.counts("alarms").timers_dropped), (6, 0));
    assert!(driver.elapsed() < Duration::from_secs(1), "nobody waits for it");
}

#[test]
fn a_timer_that_sets_the_next_one_does_not_keep_the_end_open() {
    let by_now: AtTimer = |alarms, key, _| {
        alarms.timers.set(&key, 0, key.now_ns() + HOUR);
        Ok(())
    };
    let by_due: AtTimer = |alarms, key, timer| {
        alarms.timers.set(&key, 0, timer.at.as_nanos() as u64 + HOUR);
        Ok(())
    };
    let at_once: AtTimer = |alarms, key, timer| {
        assert!(alarms.timers.set(&key, 0, timer.at.as_nanos() as u64));
        Ok(())
    };
    for (at_timer, at_end, times) in
        [(by_now, AtEnd::Fire, 3), (by_due, AtEnd::Fire, 3), (at_once, AtEnd::Fire, 3), (by_due, AtEnd::Drop, 0)]
    {
        for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
            let (driver, fired) = Setting { at_end, at_timer, guarantee, ..Setting::default() }.run();
            assert_eq!((fired.len(), driver.counts("alarms").timers_dropped), (times, 3));
        }
    }
}

#[test]
fn a_drain_fires_what_is_due_and_drops_the_rest() {
    let (topology, fired) = Setting { inputs: u64::MAX, after_ns: &[MS, HOUR], ..Setting::default() }.topology();
    let mut driver = TestDriver::start(topology).expect("starts");
    driver.advance(Duration::from_millis(10)).expect("runs");
    driver.drain().expect("drains");
    let inputs = driver.counts("alarms").executed;
    let fired = fired.lock().unwrap().len() as u64;
    assert!((9..=11).contains(&inputs) && (inputs - 2..=inputs).contains(&fired), "{fired} of {inputs}");
    assert_eq!(driver.counts("alarms").timers_dropped, 2 * inputs - fired);
}

#[test]
fn the_timers_of_all_states_fire_in_one_order() {
    struct Two(Timers<u64>, Timers<u64>, Arc<Mutex<Vec<u64>>>);
    impl KeyedBolt for Two {
        type Key = u64;
        type In = u64;
        type Out = Nothing;
        fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
            visit.state(&mut self.0);
            visit.state(&mut self.1);
        }
        fn execute(&mut self, key: CurrentKey<u64>, n: u64, _: &mut Outlet<Nothing>) -> Outcome {
            let timers = if n.is_multiple_of(2) { &mut self.0 } else { &mut self.1 };
            timers.set(&key, 0, key.now_ns() + HOUR + n);
            Ok(())
        }
        fn on_timer(&mut self, _: CurrentKey<u64>, timer: Timer, _: &mut Outlet<Nothing>) -> Outcome {
            self.2.lock().unwrap().push(timer.at.as_nanos() as u64);
            Ok(())
        }
    }
    let fired = Arc::new(Mutex::new(Vec::new()));
    let of_bolt = fired.clone();
    let mut t = TopologyBuilder::new("two");
    let numbers = t.source("numbers", || Generator::new(100, |n| n));
    let timers = |name: &str| Timers::new(name).at_end(AtEnd::Fire);
    t.bolt("two", move || Two(timers("even"), timers("odd"), of_bolt.clone())).fields(&numbers, |n| n);
    TestDriver::start(t.build().expect("valid")).expect("starts").run_to_end().expect("ends well");
    let fired = fired.lock().unwrap();
    assert!(fired.len() == 100 && fired.is_sorted(), "{fired:?}");
}

const fn fails_once() -> AtTimer {
    |alarms, key, _| match *key == 1 && !alarms.failed.swap(true, Ordering::Relaxed) {
        true => Err(Failure::retry("told to fail once")),
        false => Ok(()),
    }
}

#[test]
fn a_timer_that_fails_is_called_again_and_holds_up_no_other() {
    let setting = Setting { after_ns: &[5 * MS], at_timer: fails_once(), inputs: 100, ..Setting::default() };
    let (driver, fired) = setting.run();
    let of_one: Vec<_> = fired.iter().filter(|(key, ..)| *key == 1).collect();
    assert_eq!(of_one.len(), 2, "{fired:?}");
    assert!(of_one[1].1 == of_one[0].1 && (10 * MS..12 * MS).contains(&(of_one[1].2 - of_one[0].2)), "{of_one:?}");
    assert!(fired.windows(2).any(|pair| pair[0].0 == 1 && pair[1].0 == 2), "the next one does not wait");
    let counts = driver.counts("alarms");
    assert_eq!((counts.errors, counts.rebuilt), (1, 0), "no state is lost for it");
    let component = driver.report().components.into_iter().find(|component| component.id == "alarms").unwrap();
    assert!(component.last_error.is_some_and(|error| error.contains("told to fail once")));
}

#[test]
fn under_exactly_once_a_timer_that_fails_goes_back_to_the_checkpoint_and_fires_again() {
    let guarantee = Guarantee::ExactlyOnce;
    let setting = Setting { after_ns: &[5 * MS], at_timer: fails_once(), guarantee, inputs: 100, ..Setting::default() };
    let (driver, fired) = setting.run();
    assert_eq!(driver.report().checkpoints.expect("has checkpoints").step_backs, 1);
    assert!((0..90).all(|key| fired.iter().any(|fired| fired.0 == key)), "{fired:?}");
    assert!(fired.iter().filter(|fired| fired.0 == 1).count() >= 2, "{fired:?}");
}

#[test]
fn one_that_is_rejected_is_given_up_and_nothing_else() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let at_timer: AtTimer = |_, key, _| if *key == 1 { Err(Failure::reject("never")) } else { Ok(()) };
        let setting = Setting { after_ns: &[5 * MS], at_timer, guarantee, inputs: 100, ..Setting::default() };
        let (driver, fired) = setting.run();
        let counts = driver.counts("alarms");
        assert_eq!((counts.errors, counts.rebuilt), (1, 0));
        assert_eq!(fired.len() as u64 + counts.timers_dropped, 100, "once each");
        assert!(driver.report().checkpoints.is_none_or(|checkpoints| checkpoints.step_backs == 0));
    }
}

#[test]
fn the_end_waits_for_a_timer_that_fails_while_there_is_hope() {
    let until_a_second: AtTimer =
        |_, key, _| if key.now_ns() < 1_000 * MS { Err(Failure::retry("not yet")) } else { Ok(()) };
    let (driver, fired) = Setting { after_ns: &[0], at_timer: until_a_second, ..Setting::default() }.run();
    assert_eq!(driver.counts("alarms").timers_dropped, 0);
    assert!((1_000..3_000).contains(&driver.elapsed().as_millis()), "{:?}", driver.elapsed());
    assert_eq!(fired.iter().filter(|fired| fired.2 >= 1_000 * MS).count(), 3);

    let at_timer: AtTimer = |_, key, _| if *key == 1 { Err(Failure::retry("never")) } else { Ok(()) };
    let (driver, fired) = Setting { after_ns: &[0], at_timer, ..Setting::default() }.run();
    assert_eq!(driver.counts("alarms").timers_dropped, 1, "it is given up, and counted");
    assert!((20..60).contains(&driver.elapsed().as_secs()), "after drain_timeout: {:?}", driver.elapsed());
    let times = fired.iter().filter(|fired| fired.0 == 1).count();
    assert!((10..20).contains(&times), "with a longer pause each time: {times}");
}

/// Each input has two timers at fixed times, one while there is input and one in an hour; each timer counts for its
/// key, and the later ones set others, which are dropped.
struct Counting {
    timers: Timers<u64>,
    count: ValueState<u64, u64>,
    breaks: Arc<Vec<(u64, AtomicBool)>>,
}

impl KeyedBolt for Counting {
    type Key = u64;
    type In = u64;
    type Out = (u64, u64);

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.timers);
        visit.state(&mut self.count);
    }

    fn execute(&mut self, key: CurrentKey<u64>, n: u64, _: &mut Outlet<(u64, u64)>) -> Outcome {
        self.timers.set(&key, n, n * MS / 10);
        self.timers.set(&key, n, HOUR + n);
        Ok(())
    }

    fn on_timer(&mut self, key: CurrentKey<u64>, timer: Timer, out: &mut Outlet<(u64, u64)>) -> Outcome {
        let at_ns = timer.at.as_nanos() as u64;
        if at_ns > 2 * HOUR {
            return Err(Failure::fatal("set by another timer, and fired"));
        }
        let id = if at_ns >= HOUR { 10_000 + timer.namespace } else { timer.namespace };
        let breaks = self.breaks.iter().find(|(at, _)| *at == id);
        let count = self.count.get_or_insert_with(&key, || 0);
        *count += 1;
        out.emit((*key, *count));
        if at_ns >= HOUR {
            self.timers.set(&key, timer.namespace, at_ns + 3 * HOUR);
        }
        assert!(breaks.is_none_or(|(_, done)| done.swap(true, Ordering::Relaxed)), "told to break at {id}");
        Ok(())
    }
}

#[test]
fn under_exactly_once_each_timer_counts_once_whatever_steps_back_also_in_the_middle_of_the_end() {
    const INPUTS: u64 = 2_000;
    for (lane_capacity, breaks) in [(1_024, &[100, 1_500, 10_000, 11_000, 11_999][..]), (1, &[10_500, 11_998])] {
        let broken: Arc<Vec<_>> = Arc::new(breaks.iter().map(|at| (*at, AtomicBool::new(false))).collect());
        let of_bolt = broken.clone();
        let mut t = TopologyBuilder::new("counting");
        let numbers = t.source("numbers", || Generator::new(INPUTS, |n| n).rate(10_000));
        let counting = move || Counting {
            timers: Timers::new("timers").at_end(AtEnd::Fire),
            count: ValueState::new("count"),
            breaks: of_bolt.clone(),
        };
        let counts = t.bolt("counting", counting).parallelism(2).fields_by(&numbers, |n| n % 10);
        let counts = t.bolt("pass", |c: (u64, u64), out: &mut Outlet<(u64, u64)>| out.emit(c)).shuffle(&counts);
        let captured = capture(&mut t, &counts);
        t.guarantee(Guarantee::ExactlyOnce).settings(move |s| {
            (s.executors, s.lane_capacity) = (Some(2), lane_capacity);
            s.checkpoint_interval = Some(Duration::from_millis(10));
        });
        let mut driver = TestDriver::start(t.build().expect("valid")).expect("starts");
        driver.run_to_end().expect("ends well");
        let mut highest = [0; 10];
        captured.take().into_iter().for_each(|(key, count)| {
            let of_key: &mut u64 = &mut highest[key as usize];
            *of_key = count.max(*of_key);
        });
        assert!(broken.iter().all(|(_, done)| done.load(Ordering::Relaxed)), "all that was to break has broken");
        assert_eq!(highest, [2 * INPUTS / 10; 10]);
    }
}

/// Keys and values that have expired.
type Expired = Arc<Mutex<Vec<(u64, u64)>>>;

/// Notes what has expired. Some of it fails.
struct Sessions {
    last: ValueState<u64, u64>,
    expired: Expired,
    fails: Arc<AtomicU64>,
}

impl Sessions {
    fn factory(lives: Duration, fails: u64) -> (impl Fn() -> Sessions, Expired) {
        let (expired, fails) = (Expired::default(), Arc::new(AtomicU64::new(fails)));
        let of_bolt = expired.clone();
        let factory = move || Sessions {
            last: ValueState::new("last").ttl(Ttl::new(lives).report_evictions()),
            expired: of_bolt.clone(),
            fails: fails.clone(),
        };
        (factory, expired)
    }
}

impl KeyedBolt for Sessions {
    type Key = u64;
    type In = (u64, u64);
    type Out = Nothing;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.last);
    }

    fn execute(&mut self, key: CurrentKey<u64>, (_, n): (u64, u64), _: &mut Outlet<Nothing>) -> Outcome {
        self.last.set(&key, n);
        Ok(())
    }

    fn on_evict(&mut self, key: CurrentKey<u64>, _: &str, _: &mut Outlet<Nothing>) -> Outcome {
        let left = self.fails.load(Ordering::Relaxed);
        if left > 0 {
            self.fails.store(left - 1, Ordering::Relaxed);
            return Err(Failure::retry("told to fail"));
        }
        self.expired.lock().unwrap().push((*key, *self.last.evicted().expect("it is there to be read")));
        Ok(())
    }
}

#[test]
fn a_bolt_that_ends_before_others_reports_what_has_expired_and_then_nothing_more() {
    let (sessions, expired) = Sessions::factory(Duration::from_millis(50), 0);
    let mut t = TopologyBuilder::new("sessions");
    // Keys 0 to 9 expire while there is input, 10 to 19 not before its end.
    let short = t.source("short", || Generator::new(200, |n| (if n < 10 { n } else { 10 + n % 10 }, n)).rate(1_000));
    let long = t.source("long", || Generator::new(200, |n| n).rate(100));
    t.bolt("sessions", sessions).fields(&short, |(key, _)| key);
    t.bolt("other", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&long);
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(20)));
    TestDriver::start(t.build().expect("valid")).expect("starts").run_to_end().expect("ends well");
    let mut expired = expired.lock().unwrap().clone();
    expired.sort_unstable();
    assert_eq!(expired, (0..10).map(|n| (n, n)).collect::<Vec<_>>());
}

/// On threads, in real time: nearly each input finds the value of its key expired, and some have a barrier right behind
/// them.
#[test]
fn what_an_input_finds_expired_is_reported_before_the_snapshot() {
    let (sessions, expired) = Sessions::factory(Duration::from_millis(1), 0);
    let mut t = TopologyBuilder::new("sessions");
    let inputs = t.source("inputs", || Generator::new(100_000, |n| (n % 10_000, n)));
    t.bolt("sessions", sessions).fields(&inputs, |(key, _)| key);
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| {
        s.executors = Some(1);
        s.checkpoint_interval = Some(Duration::from_millis(10));
    });
    let report = t.build().expect("valid").run().expect("ends well");
    let mut expired = expired.lock().unwrap().clone();
    let reported = expired.len();
    expired.sort_unstable();
    expired.dedup();
    assert!(reported > 10_000 && expired.len() == reported, "{reported} reports of {}", expired.len());
    assert!(report.checkpoints.expect("has checkpoints").completed >= 2);
}

#[test]
fn an_eviction_that_fails_is_called_again_a_few_times() {
    for (fails, reported) in [(4, 1), (5, 0)] {
        let (sessions, expired) = Sessions::factory(Duration::from_millis(10), fails);
        let mut t = TopologyBuilder::new("sessions");
        // The second key keeps the task at work, so that it comes to sweep.
        let inputs = t.source("inputs", || Generator::new(1_000, |n| (n.min(1), n)).rate(1_000));
        t.bolt("sessions", sessions).fields(&inputs, |(key, _)| key);
        let mut driver = TestDriver::start(t.build().expect("valid")).expect("starts");
        driver.run_to_end().expect("ends well");
        assert_eq!(expired.lock().unwrap().iter().filter(|(key, _)| *key == 0).count(), reported);
        assert_eq!(driver.counts("sessions").errors, fails);
    }
}

/// Every key has one timer, all at the same time; one call in 31 fails, whichever it is.
struct AtOnce {
    timers: Timers<u64>,
    calls: Arc<AtomicU64>,
}

impl KeyedBolt for AtOnce {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.timers);
    }

    fn execute(&mut self, key: CurrentKey<u64>, n: u64, _: &mut Outlet<u64>) -> Outcome {
        if n < 300 {
            self.timers.set(&key, 0, HOUR);
        }
        Ok(())
    }

    fn on_timer(&mut self, key: CurrentKey<u64>, _: Timer, out: &mut Outlet<u64>) -> Outcome {
        if self.calls.fetch_add(1, Ordering::Relaxed) % 31 == 30 {
            return Err(Failure::retry("the service is away"));
        }
        out.emit(*key);
        Ok(())
    }
}

#[test]
fn callbacks_that_fail_by_chance_are_got_past_though_all_are_due_at_once() {
    let calls = Arc::new(AtomicU64::new(0));
    let mut t = TopologyBuilder::new("at-once");
    // One a second, for three hours.
    let numbers = t.source("numbers", || Generator::new(3 * 3_600, |n| n).rate(1));
    let of_bolt = calls.clone();
    let at_once = move || AtOnce { timers: Timers::new("timers"), calls: of_bolt.clone() };
    let at_once = t.bolt("at_once", at_once).fields_by(&numbers, |n| *n);
    let fired = capture(&mut t, &at_once);
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_secs(10)));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    let keys: BTreeSet<u64> = fired.take().into_iter().collect();
    assert_eq!(keys, (0..300).collect());
    assert!(driver.report().checkpoints.unwrap().step_backs >= 300 / 31, "some have failed");
}
