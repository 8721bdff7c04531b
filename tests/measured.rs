//! Measured runs in virtual time: what the schedule says is what the histograms show, to the sample.

use std::num::NonZeroU64;
use std::time::Duration;

use squall::sys::clock::Clock;
use squall::task::measured::Measured;
use squall::task::pace::Pace;
use squall::testing::{Simulation, TestDriver, feeder, seeds};
use squall::{
    Bolt, BoltContext, Failure, Guarantee, ManualBolt, Next, Nothing, Outcome, Outlet, Spout, SpoutContext,
    SpoutOutlet, Stream, Topology, TopologyBuilder, Tuple,
};

const MS: u64 = 1_000_000;

/// Always has a next number; takes this long to find it.
struct Numbers {
    next: u64,
    takes: Duration,
    clock: Option<Clock>,
}

impl Numbers {
    fn new() -> Self {
        Numbers { next: 0, takes: Duration::ZERO, clock: None }
    }
}

impl Spout for Numbers {
    type Out = u64;
    type Id = ();

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.clock = Some(ctx.clock().clone());
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<u64, ()>) -> Result<Next, Failure> {
        let clock = self.clock.as_ref().expect("opened");
        clock.advance_to(clock.now_ns() + self.takes.as_nanos() as u64);
        out.emit_tracked((), self.next);
        self.next += 1;
        Ok(Next::Emitted)
    }
}

/// Passes on; stalls once, at one number.
struct Stalls {
    at: u64,
    for_ns: u64,
    clock: Option<Clock>,
}

impl Bolt for Stalls {
    type In = u64;
    type Out = u64;

    fn prepare(&mut self, ctx: &mut BoltContext<u64>) -> Outcome {
        self.clock = Some(ctx.clock().clone());
        Ok(())
    }

    fn execute(&mut self, number: u64, out: &mut Outlet<u64>) -> Outcome {
        if number == self.at {
            let clock = self.clock.as_ref().expect("prepared");
            clock.advance_to(clock.now_ns() + self.for_ns);
        }
        out.emit(number);
        Ok(())
    }
}

fn drop_number(_: u64, _: &mut Outlet<Nothing>) {}

fn open_loop(events_per_s: u64, warmup_ms: u64, duration_ms: u64) -> Pace {
    Pace {
        events_per_s: NonZeroU64::new(events_per_s),
        warmup: Duration::from_millis(warmup_ms),
        duration: Duration::from_millis(duration_ms),
    }
}

/// A topology whose `shape` takes numbers from an endless spout.
fn of_numbers(guarantee: Guarantee, shape: impl FnOnce(&mut TopologyBuilder, &Stream<u64>)) -> Topology {
    let mut t = TopologyBuilder::new("measured");
    t.guarantee(guarantee);
    let numbers = t.spout("numbers", Numbers::new);
    shape(&mut t, &numbers);
    t.build().unwrap()
}

fn measured(topology: Topology, pace: Pace) -> Measured {
    let mut driver = TestDriver::start(topology.paced(pace)).unwrap();
    driver.run_to_end().unwrap();
    driver.take_measured()
}

/// Samples of at least so many milliseconds, to the resolution of the histogram.
fn at_least(histogram: &squall::task::metrics::Latency, ms: u64) -> u64 {
    histogram.count_between(ms * MS, u64::MAX)
}

#[test]
fn a_run_without_delays_has_every_event_of_the_schedule_and_no_latency() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let topology = of_numbers(guarantee, |t, numbers| {
            let pass = |number: u64, out: &mut Outlet<u64>| out.emit(number);
            let passed = t.bolt("pass", pass).shuffle(numbers);
            t.bolt("drop", drop_number).shuffle(&passed);
        });
        // A rate that does not divide a second.
        let measured = measured(topology, open_loop(3_001, 500, 10_000));
        assert_eq!((measured.events, measured.sink.len()), (30_010, 30_010));
        assert_eq!((measured.sink.max(), measured.late_max_ns), (1, 0));
        let trees = if guarantee == Guarantee::AtLeastOnce { 30_010 } else { 0 };
        assert_eq!((measured.tree.len(), measured.due, measured.pending, measured.queued), (trees, 0, 0, 0));
    }
}

/// The test of the method itself: a pause of 100 ms in a run of 10 s at 1,000 events/s delays the hundred events that
/// fall into it, each by what was left of it. A closed loop would have seen one slow event.
#[test]
fn a_stall_shows_in_the_tail_as_the_schedule_says() {
    for executors in [1, 3] {
        let topology = of_numbers(Guarantee::AtLeastOnce, |t, numbers| {
            t.settings(|settings| settings.executors = Some(executors));
            let stalls = || Stalls { at: 5_000, for_ns: 100 * MS, clock: None };
            let passed = t.bolt("stalls", stalls).dedicated().shuffle(numbers);
            t.bolt("drop", drop_number).shuffle(&passed);
        });
        let measured = measured(topology, open_loop(1_000, 0, 10_000));
        for histogram in [&measured.sink, &measured.tree] {
            assert_eq!(histogram.len(), 10_000);
            for ms in 1..=100 {
                assert_eq!(at_least(histogram, ms), 101 - ms, "events that took {ms} ms or more");
            }
            let at = |quantile: f64| histogram.value_at_quantile(quantile);
            assert_eq!(at(0.99), 1);
            assert!((90 * MS..92 * MS).contains(&at(0.999)), "p99.9 is {} ns", at(0.999));
            assert!((99 * MS..102 * MS).contains(&at(0.9999)), "p99.99 is {} ns", at(0.9999));
        }
        assert!((99 * MS..=100 * MS).contains(&measured.late_max_ns), "{}", measured.late_max_ns);
    }
}

/// Acks everything it holds at each tick.
#[derive(Default)]
struct AcksAtTicks(Vec<Tuple<u64>>);

impl ManualBolt for AcksAtTicks {
    type In = u64;
    type Out = Nothing;

    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.push(tuple);
        Ok(())
    }

    fn tick(&mut self, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.drain(..).for_each(Tuple::ack);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Nothing>) -> Outcome {
        self.tick(out)
    }
}

#[test]
fn a_spout_that_is_held_back_is_late_and_pays_for_it() {
    let topology = of_numbers(Guarantee::AtLeastOnce, |t, numbers| {
        t.settings(|settings| settings.max_spout_pending = 1);
        t.bolt("acks", AcksAtTicks::default).tick(Duration::from_millis(10)).shuffle(numbers);
    });
    let mut driver = TestDriver::start(topology.paced(open_loop(1_000, 0, 100))).unwrap();
    driver.advance(Duration::from_millis(55)).unwrap();
    let early = driver.take_measured();
    // One at 0 ms and one after each of five ticks; 56 were due.
    assert_eq!((early.events, early.due, early.pending, early.backlog()), (6, 50, 1, 51));
    assert_eq!(early.tree.len(), 5);
    driver.run_to_end().unwrap();
    let late = driver.take_measured();
    assert_eq!((late.events, late.tree.len(), late.backlog()), (94, 95, 0));
    // Event n is emitted at n ticks of 10 ms instead of n ms; the last but one waits for tick 99, the last for the end.
    assert!((892 * MS..902 * MS).contains(&late.tree.max()), "{}", late.tree.max());
    assert!((891 * MS..901 * MS).contains(&late.late_max_ns), "{}", late.late_max_ns);
    assert!(driver.counts("numbers").held_back > 0);
}

/// Emits a number at each tick and at the end, beside what it passes on.
struct Adds;

impl Bolt for Adds {
    type In = u64;
    type Out = u64;

    fn execute(&mut self, number: u64, out: &mut Outlet<u64>) -> Outcome {
        out.emit(number);
        Ok(())
    }

    fn tick(&mut self, out: &mut Outlet<u64>) -> Outcome {
        out.emit(0);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<u64>) -> Outcome {
        out.emit(0);
        Ok(())
    }
}

#[test]
fn ticks_and_the_end_have_no_intended_time() {
    let topology = of_numbers(Guarantee::AtLeastOnce, |t, numbers| {
        let passed = t.bolt("adds", || Adds).tick(Duration::from_millis(1)).shuffle(numbers);
        t.bolt("drop", drop_number).shuffle(&passed);
    });
    let mut driver = TestDriver::start(topology.paced(open_loop(100, 0, 1_000))).unwrap();
    driver.run_to_end().unwrap();
    assert!(driver.counts("drop").executed > 1_000);
    assert_eq!(driver.take_measured().sink.len(), 100);
}

#[test]
fn everything_that_descends_from_an_event_has_its_time() {
    let topology = of_numbers(Guarantee::AtMostOnce, |t, numbers| {
        let by_hand = |number: u64, out: &mut Outlet<u64>| (0..3).for_each(|_| out.emit(number));
        let handed_over = |number: u64, out: &mut Outlet<u64>| out.hand_over((0..100).map(move |_| number));
        let three = t.bolt("three", by_hand).shuffle(numbers);
        let many = t.bolt("many", handed_over).shuffle(&three);
        let stalls = || Stalls { at: 0, for_ns: 5 * MS, clock: None };
        let last = t.bolt("stalls", stalls).shuffle(&many);
        t.bolt("drop", drop_number).all(&last);
    });
    let measured = measured(topology, open_loop(10, 0, 1_000));
    assert_eq!(measured.sink.len(), 10 * 300);
    // All but what the first number stalls is done at once: intended times are those of each tuple's own event.
    assert!(at_least(&measured.sink, 5) > 1);
    assert_eq!(measured.events, 10);
}

#[test]
fn a_source_without_input_is_starved_and_its_events_are_late() {
    let (feeder, spout) = feeder::<u64>();
    let mut t = TopologyBuilder::new("starved");
    let numbers = t.spout("numbers", spout);
    t.bolt("drop", drop_number).shuffle(&numbers);
    let mut driver = TestDriver::start(t.build().unwrap().paced(open_loop(1_000, 0, 100))).unwrap();
    driver.advance(Duration::from_millis(50)).unwrap();
    let starved = driver.take_measured();
    assert_eq!((starved.events, starved.starved, starved.due), (0, 1, 51));
    (0..80).for_each(|id| feeder.feed(id, id));
    driver.run_to_end().unwrap();
    let measured = driver.take_measured();
    // The last twenty never come: the end does not wait for them.
    assert_eq!((measured.events, measured.sink.len(), feeder.acked().len()), (80, 80, 80));
    assert_eq!(at_least(&measured.sink, 1), 50);
    assert_eq!(driver.elapsed(), Duration::from_millis(100));
}

#[test]
fn the_warm_up_is_not_counted() {
    let topology = of_numbers(Guarantee::AtLeastOnce, |t, numbers| {
        t.bolt("drop", || Stalls { at: 0, for_ns: 50 * MS, clock: None }).shuffle(numbers);
    });
    let measured = measured(topology, open_loop(1_000, 40, 100));
    assert_eq!((measured.events, measured.sink.len(), measured.tree.len()), (100, 100, 100));
    assert_eq!(at_least(&measured.sink, 1), 10, "those that were due in the last ten milliseconds of the stall");
}

#[test]
fn a_closed_loop_ends_after_its_time() {
    let mut t = TopologyBuilder::new("closed");
    let takes = Duration::from_millis(1);
    let numbers = t.spout("numbers", move || Numbers { takes, ..Numbers::new() });
    t.bolt("drop", drop_number).shuffle(&numbers);
    t.settings(|settings| settings.turn_tuples_max = 1);
    let pace = Pace { events_per_s: None, warmup: takes * 10, duration: takes * 100 };
    let mut driver = TestDriver::start(t.build().unwrap().paced(pace)).unwrap();
    driver.run_to_end().unwrap();
    assert_eq!(driver.counts("drop").executed, 110);
    let measured = driver.take_measured();
    assert_eq!((measured.tree.len(), measured.sink.len()), (100, 0));
}

#[test]
fn a_drain_ends_the_schedule() {
    let topology = of_numbers(Guarantee::AtLeastOnce, |t, numbers| {
        t.bolt("drop", drop_number).shuffle(numbers);
    });
    let mut driver = TestDriver::start(topology.paced(open_loop(1_000, 0, 60_000))).unwrap();
    driver.advance(Duration::from_millis(10)).unwrap();
    driver.drain().unwrap();
    assert_eq!(driver.take_measured().events, 11);
    assert_eq!(driver.elapsed(), Duration::from_millis(10));
}

#[test]
fn spout_tasks_share_the_rate_under_any_order_of_turns() {
    for seed in seeds(100) {
        let report = Simulation::new(seed).run(|| {
            let mut t = TopologyBuilder::new("shared");
            let odd = t.spout("odd", Numbers::new).parallelism(2);
            let even = t.spout("even", Numbers::new).parallelism(3);
            t.bolt("drop", drop_number).parallelism(2).shuffle(&odd).shuffle(&even);
            Ok(t.build()?.paced(open_loop(10_000, 3, 20)))
        });
        let emitted = report.unwrap().report.components.iter().map(|component| component.counts.emitted).sum::<u64>();
        assert_eq!(emitted, 230, "seed {seed}");
    }
}
