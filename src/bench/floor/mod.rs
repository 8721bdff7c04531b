//! `floor`: this machine's own limits. Everything else is reported as a ratio to these.
//!
//! The rows are measured in rounds, one slice of each per round, so that all meet the same noise.

mod hand;
mod machine;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::null::{self, Placement};
use crate::bench::pingpong::{Channel, Parking, Ring, one_way};
use crate::bench::row::{Interval, Row, Unit, pooled};
use crate::bench::session::{Options, Session, Subject, cpus};
use crate::bench::text::Text;
use crate::bench::timing::Timing;
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;

pub(crate) use hand::{Counted, one_thread as hand_word_count, row as hand_word_count_row};
pub(crate) use machine::ring_ops;

/// Events per second of the null engine unless told.
const RATES: [u64; 3] = [10_000, 100_000, 500_000];
/// Words of one event.
const WORDS_PER_EVENT: usize = 10;
/// On a machine with more CPUs than this, all of them together take no longer than so many.
const HICCUP_CPUS_TIME_MAX: usize = 4;
/// Gaps above this are counted as pauses.
const PAUSE_NS: u64 = 10_000;

/// Why a row has no figures: two threads that spin on one CPU would take turns of milliseconds.
pub(crate) const NEEDS_TWO_CPUS: &str = "needs two CPUs";

/// What a run of `floor` measures, and for how long.
struct Plan {
    timing: Timing,
    cpus: Vec<CpuId>,
    rates: Vec<u64>,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let timing = Timing::of(options);
        let rates = if options.rates.is_empty() { RATES.to_vec() } else { options.rates.clone() };
        Plan { timing, cpus: cpus(options), rates }
    }

    /// Two CPUs, if there are two: one spinning thread on each.
    fn two_cpus(&self) -> Option<[CpuId; 2]> {
        self.cpus.first_chunk().copied()
    }

    /// Where the null engine can be.
    fn placements(&self) -> &'static [Placement] {
        if self.two_cpus().is_some() { &[Placement::OneThread, Placement::TwoThreads] } else { &[Placement::OneThread] }
    }

    fn hiccup_slice(&self) -> Duration {
        let cpus = self.cpus.len();
        self.timing.slice.mul_f64(cpus.min(HICCUP_CPUS_TIME_MAX) as f64 / cpus as f64)
    }

    /// Rows of one round besides the hiccups.
    fn rows(&self) -> usize {
        let cross_cpu = if self.two_cpus().is_some() { 3 } else { 0 };
        4 + cross_cpu + self.rates.len() * self.placements().len()
    }

    fn round(&self) -> Duration {
        self.hiccup_slice() * self.cpus.len() as u32 + self.timing.round(self.rows())
    }
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    let plan = Plan::of(options);
    plan.round() * plan.timing.repeat as u32
}

/// Measures the floor. A subject has no influence on it.
///
/// # Errors
/// When a thread cannot be started or pinned, or the text not be read.
pub(crate) fn run(session: &mut Session, _subject: Option<&Subject<'_>>) -> Result<()> {
    let plan = Plan::of(&session.options);
    let text = Text::load(session.options.input.as_deref())?;
    let mut found = Found::new(&plan);
    for round in 1..=plan.timing.repeat {
        session.step(&format!("floor, round {round} of {}", plan.timing.repeat), plan.round());
        found.measure(&plan, &text, &session.clock)?;
        if session.is_interrupted() {
            break;
        }
    }
    found.rows(&plan, &text).into_iter().for_each(|row| session.row(row));
    Ok(())
}

/// What was found so far: a figure or histogram per round.
struct Found {
    hiccups: Vec<Vec<Slice>>,
    clock_read: Vec<Histogram<u64>>,
    ring_cross_cpu: Vec<Histogram<u64>>,
    ring_same_thread: Vec<Histogram<u64>>,
    channel_cross_cpu: Vec<Histogram<u64>>,
    park_unpark: Vec<Histogram<u64>>,
    hand_word_count_1: Vec<Counted>,
    hand_word_count_2: Vec<Counted>,
    null: Vec<Null>,
}

/// A slice that is also drawn over time.
struct Slice {
    start: Duration,
    length: Duration,
    histogram: Histogram<u64>,
}

struct Null {
    placement: Placement,
    rate: u64,
    slices: Vec<Slice>,
}

impl Found {
    fn new(plan: &Plan) -> Self {
        let null =
            |&rate: &u64| plan.placements().iter().map(move |&placement| Null { placement, rate, slices: Vec::new() });
        Found {
            hiccups: plan.cpus.iter().map(|_| Vec::new()).collect(),
            clock_read: Vec::new(),
            ring_cross_cpu: Vec::new(),
            ring_same_thread: Vec::new(),
            channel_cross_cpu: Vec::new(),
            park_unpark: Vec::new(),
            hand_word_count_1: Vec::new(),
            hand_word_count_2: Vec::new(),
            null: plan.rates.iter().flat_map(null).collect(),
        }
    }

    fn measure(&mut self, plan: &Plan, text: &Text, clock: &Clock) -> Result<()> {
        let Timing { warmup, slice, .. } = plan.timing;
        let cpu = plan.cpus[0];
        for (slices, &cpu) in self.hiccups.iter_mut().zip(&plan.cpus) {
            slices.push(timed(clock, || machine::gaps(cpu, plan.hiccup_slice(), clock))?);
        }
        self.clock_read.push(machine::clock_reads(cpu, warmup, slice, clock)?);
        self.ring_same_thread.push(machine::ring_ops(cpu, warmup, slice, clock)?);
        self.hand_word_count_1.push(hand::one_thread(text, cpu, warmup, slice, clock)?);
        if let Some(cpus) = plan.two_cpus() {
            self.ring_cross_cpu.push(one_way(Ring::pair(), cpus, warmup, slice, clock)?);
            self.channel_cross_cpu.push(one_way(Channel::pair(), cpus, warmup, slice, clock)?);
            self.hand_word_count_2.push(hand::two_threads(text, cpus, warmup, slice, clock)?);
        }
        // Two threads that sleep in turn may share a CPU.
        let park_cpus = plan.two_cpus().unwrap_or([cpu, cpu]);
        self.park_unpark.push(one_way(Parking::pair(), park_cpus, warmup, slice, clock)?);
        let events = text.in_lines_of(WORDS_PER_EVENT);
        for Null { placement, rate, slices } in &mut self.null {
            let measure = || null::slice(*placement, *rate, warmup, slice, &plan.cpus, &events, clock);
            slices.push(timed(clock, measure)?);
        }
        Ok(())
    }

    fn rows(&self, plan: &Plan, text: &Text) -> Vec<Row> {
        let hiccups = plan.cpus.iter().zip(&self.hiccups).map(|(cpu, slices)| hiccups_row(*cpu, slices));
        let mut rows: Vec<Row> = hiccups.collect();
        // Two reads that follow each other closely show how finely the clock counts.
        let steps = self.hiccups.iter().flatten().map(|slice| slice.histogram.min_nz()).min();
        let clock_read = machine::batch_row(floor_row("clock_read"), &self.clock_read);
        rows.push(clock_read.with("smallest_step_ns", steps));
        rows.push(ring_same_thread_row(&self.ring_same_thread));
        rows.push(park_unpark_row(&self.park_unpark));
        rows.push(hand::row("hand_word_count_1", text, &self.hand_word_count_1));
        if plan.two_cpus().is_some() {
            rows.push(ring_cross_cpu_row(&self.ring_cross_cpu));
            rows.push(one_way_row("channel_cross_cpu", &self.channel_cross_cpu));
            rows.push(hand::row("hand_word_count_2", text, &self.hand_word_count_2));
        } else {
            let across = ["ring_cross_cpu", "channel_cross_cpu", "hand_word_count_2"];
            rows.extend(across.map(|name| floor_row(name).with("skipped", NEEDS_TWO_CPUS)));
        }
        rows.extend(self.null.iter().map(null_row));
        rows
    }
}

fn timed(clock: &Clock, measure: impl FnOnce() -> Result<Histogram<u64>>) -> Result<Slice> {
    let start_ns = clock.now_ns();
    let histogram = measure()?;
    let (start, length) = (Duration::from_nanos(start_ns), Duration::from_nanos(clock.now_ns() - start_ns));
    Ok(Slice { start, length, histogram })
}

fn floor_row(name: &'static str) -> Row {
    Row::new("floor", name).with("row", name)
}

/// Half round trips of one token at a time.
fn one_way_row(name: &'static str, repeats: &[Histogram<u64>]) -> Row {
    floor_row(name).with("round_trips_per_sample", 1).distributions("", Unit::Ns, repeats)
}

/// The row that hops are compared with.
pub(crate) fn ring_cross_cpu_row(repeats: &[Histogram<u64>]) -> Row {
    one_way_row("ring_cross_cpu", repeats)
}

/// The row that sleeping executors are compared with.
pub(crate) fn park_unpark_row(repeats: &[Histogram<u64>]) -> Row {
    one_way_row("park_unpark", repeats)
}

/// The row that tuples handed over on one executor are compared with.
pub(crate) fn ring_same_thread_row(repeats: &[Histogram<u64>]) -> Row {
    machine::batch_row(floor_row("ring_same_thread"), repeats)
}

/// The main distribution is what an event that comes at a random moment waits: that is what open-loop latencies are
/// compared with. The gaps it comes from are beside it.
fn hiccups_row(cpu: CpuId, slices: &[Slice]) -> Row {
    let gaps: Vec<_> = slices.iter().map(|slice| slice.histogram.clone()).collect();
    let waits: Vec<_> = gaps.iter().map(machine::waits).collect();
    let seconds: f64 = slices.iter().map(|slice| slice.length.as_secs_f64()).sum();
    let gaps = pooled(&gaps);
    let pauses = gaps.count_between(PAUSE_NS, gaps.max().max(PAUSE_NS));
    let mut row = Row::new("floor", format!("hiccups cpu {cpu}"))
        .with("row", "hiccups")
        .with("cpu", cpu.0)
        .distributions("", Unit::Ns, &waits)
        .distribution("gap_", Unit::Ns, &gaps)
        .with("count", gaps.len())
        .with("pauses_over_10us_per_s", pauses as f64 / seconds);
    row.intervals = intervals(slices, &waits);
    row
}

fn null_row(null: &Null) -> Row {
    let repeats: Vec<_> = null.slices.iter().map(|slice| slice.histogram.clone()).collect();
    // The figures are those of all slices together: a slice has few events beyond its higher percentiles.
    let mut row = null_engine_row(null.placement, null.rate).distributions("", Unit::Us, &repeats).distribution(
        "",
        Unit::Us,
        &pooled(&repeats),
    );
    row.intervals = intervals(&null.slices, &repeats);
    row
}

/// A row of the null engine without its figures.
pub(crate) fn null_engine_row(placement: Placement, rate: u64) -> Row {
    Row::new("latency", format!("null {} {rate}/s", placement.key()))
        .with("shape", "null")
        .with("placement", placement.key())
        .with("rate", rate)
        .with("words_per_event", WORDS_PER_EVENT)
}

fn intervals(slices: &[Slice], histograms: &[Histogram<u64>]) -> Vec<Interval> {
    let interval = |(slice, histogram): (&Slice, &Histogram<u64>)| Interval {
        start: slice.start,
        length: slice.length,
        histogram: histogram.clone(),
    };
    slices.iter().zip(histograms).map(interval).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_documented_keys() {
        let options = Options {
            duration: Some(Duration::from_millis(4)),
            warmup: Some(Duration::from_millis(1)),
            repeat: Some(2),
            rates: vec![50_000],
            ..Options::default()
        };
        let expected = expected(&options);
        assert!(expected < Duration::from_secs(1), "{expected:?}");
        let mut session = Session::begin("floor", options, expected);
        run(&mut session, None).unwrap();
        let rows = session.rows();
        let row = |name: &str| rows.iter().find(|row| row.fields.get("row").is_some_and(|row| row == name));
        let has = |name: &str, keys: &[&str]| {
            let row = row(name).unwrap_or_else(|| panic!("no row {name}"));
            keys.iter().for_each(|key| assert!(row.number(key).is_some(), "{name}: {key} in {:?}", row.fields));
        };
        has("hiccups", &["cpu", "p50_ns", "p9999_ns", "max_ns", "gap_p50_ns", "gap_max_ns", "pauses_over_10us_per_s"]);
        has("clock_read", &["ns_per_op", "p50_ns", "p99_ns", "amortised_over", "smallest_step_ns"]);
        has("ring_same_thread", &["ns_per_op", "ns_per_op_min", "p50_ns", "p99_ns"]);
        has("park_unpark", &["p50_ns", "p99_ns", "count"]);
        has("hand_word_count_1", &["ns_per_word", "ns_per_word_max", "words_per_s", "text_words"]);
        if session.options.cpus.len() != 1 && cpus(&Options::default()).len() > 1 {
            has("ring_cross_cpu", &["p50_ns", "p99_ns", "max_ns", "round_trips_per_sample"]);
            has("channel_cross_cpu", &["p50_ns", "p99_ns"]);
            has("hand_word_count_2", &["ns_per_word", "words_per_s"]);
        }
        let null = rows.iter().find(|row| row.fields["bench"] == "latency").unwrap();
        assert_eq!((&null.fields["shape"], &null.fields["placement"]), (&"null".into(), &"one_thread".into()));
        assert!(["rate", "p50_us", "p99_us", "p999_us", "p9999_us", "max_us"].iter().all(|k| null.number(k).is_some()));
        assert_eq!(null.number("count"), Some(200.0), "all events of two slices of 2 ms");
        let mut labels: Vec<_> = rows.iter().map(|row| &row.label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), rows.len(), "labels are unique");
    }

    #[test]
    fn on_one_cpu_nothing_spins_against_itself() {
        let options = Options { cpus: vec![0], ..Options::default() };
        let plan = Plan::of(&options);
        assert_eq!((plan.two_cpus(), plan.placements(), plan.rows()), (None, &[Placement::OneThread][..], 7));
        assert_eq!(expected(&options), (plan.hiccup_slice() + plan.timing.round(7)) * 5);
    }

    #[test]
    fn many_cpus_take_no_more_time_than_a_few() {
        let plan = |cpus: usize| Plan::of(&Options { cpus: (0..cpus).collect(), ..Options::default() });
        assert_eq!(plan(2).hiccup_slice(), plan(2).timing.slice);
        assert_eq!(plan(64).hiccup_slice() * 64, plan(64).timing.slice * 4);
    }
}
