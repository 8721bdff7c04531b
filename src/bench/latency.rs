//! `latency`: how long events take at a fixed rate, in turns with the null engine at the same rate.

use std::num::NonZeroU64;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::against_null::{Case, Contest, TURNS_MIN, Turns};
use crate::bench::floor::park_unpark_row;
use crate::bench::open_loop::START_STOP;
use crate::bench::pingpong::{Parking, one_way};
use crate::bench::row::{Row, pooled};
use crate::bench::session::{Options, Session, Subject, cpus};
use crate::bench::shapes::{Setup, guarantee_key, swallow};
use crate::bench::target::{Effective, Manner, Target, each, hold_others};
use crate::bench::text::Text;
use crate::bench::window::window;
use crate::error::{Failure, Result};
use crate::sys::cpu::CpuId;
use crate::task::component::{Next, Spout};
use crate::task::outlet::SpoutOutlet;
use crate::topology::Topology;
use crate::topology::settings::{Guarantee, WaitPolicy};

/// Words of one event.
pub(super) const WORDS_PER_EVENT: usize = 10;
/// Events per second unless told; the low ones are where idle policy decides.
const RATES: [u64; 5] = [100, 1_000, 10_000, 100_000, 500_000];
/// The same for a topology of the program, which may do a great deal per event.
const RATES_OF_SUBJECT: [u64; 3] = [100, 1_000, 10_000];
/// Rates below this are low.
const LOW: u64 = 5_000;
const GUARANTEES: [Guarantee; 2] = [Guarantee::AtLeastOnce, Guarantee::AtMostOnce];
/// As long as an executor that parks is compared with a thread that does.
const PARKING: Duration = Duration::from_millis(20);

/// What runs at a rate: which shapes, and how.
struct Plan {
    turns: Turns,
    cpus: Vec<CpuId>,
    rates: Vec<(NonZeroU64, Vec<(Shape, Manner)>)>,
    idle: Vec<WaitPolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    WordCount,
    Chain,
    Subject,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let default = if options.of_topology { &RATES_OF_SUBJECT[..] } else { &RATES[..] };
        let rates = if options.rates.is_empty() { default } else { &options.rates };
        let rates = rates.iter().filter_map(|&rate| NonZeroU64::new(rate)).map(|rate| (rate, cases(options, rate)));
        let idle = if options.of_topology { Vec::new() } else { waits(options, LOW - 1) };
        Plan {
            turns: Turns::of(options, TURNS_MIN),
            cpus: cpus(options),
            rates: rates.collect(),
            idle: idle.into_iter().filter(|wait| *wait != WaitPolicy::BusySpin).collect(),
        }
    }

    /// Whether executors are compared with a parking thread at this rate.
    fn parks(&self, cases: &[(Shape, Manner)]) -> bool {
        cases.iter().any(|(_, manner)| manner.wait != Some(WaitPolicy::BusySpin))
    }

    fn turn(&self, cases: &[(Shape, Manner)]) -> Duration {
        // One null engine for each number of executors.
        let mut executors: Vec<_> = cases.iter().map(|(_, manner)| manner.executors).collect();
        executors.dedup();
        let parking = if self.parks(cases) { 2 * PARKING } else { Duration::ZERO };
        let null = self.turns.expected(0) * executors.len().saturating_sub(1) as u32;
        self.turns.expected(cases.len()) + null + parking
    }

    fn idle_slice(&self) -> Duration {
        self.turns.length * self.turns.count() as u32
    }

    fn expected(&self) -> Duration {
        let turns: Duration = self.rates.iter().map(|(_, cases)| self.turn(cases)).sum();
        let idle = (self.turns.warmup + START_STOP + self.idle_slice()) * self.idle.len() as u32;
        turns * self.turns.count() as u32 + idle
    }
}

/// At low rates the wait policy decides and the rest hardly matters: all policies, one shape, one guarantee. Elsewhere
/// executors spin, as the null engine does, unless told.
fn cases(options: &Options, rate: NonZeroU64) -> Vec<(Shape, Manner)> {
    if options.of_topology {
        return manners(options, &[], &[], &[]).map(|manner| (Shape::Subject, manner)).collect();
    }
    let is_low = rate.get() < LOW;
    let guarantees = if is_low { &GUARANTEES[..1] } else { &GUARANTEES[..] };
    let shapes = if is_low { &[Shape::WordCount][..] } else { &[Shape::WordCount, Shape::Chain] };
    let manners = manners(options, &[1], guarantees, &waits(options, rate.get())).collect::<Vec<_>>();
    manners.iter().flat_map(|&manner| shapes.iter().map(move |&shape| (shape, manner))).collect()
}

fn waits(options: &Options, rate: u64) -> Vec<WaitPolicy> {
    match options.waits.as_slice() {
        [] if rate < LOW => vec![WaitPolicy::BusySpin, WaitPolicy::default(), WaitPolicy::Park],
        [] => vec![WaitPolicy::BusySpin],
        some => some.to_vec(),
    }
}

/// Every combination of what the options say, or else of these defaults; by number of executors.
pub(super) fn manners(
    options: &Options,
    executors: &[usize],
    guarantees: &[Guarantee],
    waits: &[WaitPolicy],
) -> impl Iterator<Item = Manner> {
    let executors = each(&options.executors, executors);
    let (guarantees, waits) = (each(&options.guarantees, guarantees), each(&options.waits, waits));
    executors.into_iter().flat_map(move |executors| {
        let waits = waits.clone();
        guarantees
            .clone()
            .into_iter()
            .flat_map(move |guarantee| waits.clone().into_iter().map(move |wait| Manner { executors, guarantee, wait }))
    })
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    Plan::of(options).expected()
}

/// Measures the built-in shapes, or the subject.
///
/// # Errors
/// When a topology cannot be built or fails, or a thread cannot be started or pinned.
pub(crate) fn run(session: &mut Session, subject: Option<&Subject<'_>>) -> Result<()> {
    let plan = Plan::of(&session.options);
    let events = Text::load(session.options.input.as_deref())?.in_lines_of(WORDS_PER_EVENT);
    let (word_count, chain) = (Target::word_count(&events), Target::Chain { text: events.clone() });
    let own = subject.map(Target::Subject);
    let target = |shape| match shape {
        Shape::WordCount => &word_count,
        Shape::Chain => &chain,
        Shape::Subject => own.as_ref().expect("a subject is planned for if there is one"),
    };
    let mut parks = Vec::new();
    for (rate, planned) in &plan.rates {
        let made = planned.iter().map(|&(shape, manner)| Case::new(target(shape), manner));
        let mut contests = contests(*rate, &plan, made.collect::<Result<Vec<_>>>()?);
        let mut park = Vec::new();
        for turn in 1..=plan.turns.count() {
            session.step(&format!("latency at {rate}/s, {turn} of {}", plan.turns.count()), plan.turn(planned));
            for contest in &mut contests {
                contest.turn(session, &events)?;
            }
            if plan.parks(planned) {
                park.push(parking(&plan.cpus, session)?);
            }
        }
        for contest in &contests {
            contest.rows("latency").into_iter().for_each(|row| session.row(against_parking(row, &park)));
        }
        parks.append(&mut park);
    }
    if !parks.is_empty() {
        session.row(park_unpark_row(&parks));
    }
    idle(session, &plan)
}

/// One for each number of executors: the null engine is placed alike.
fn contests<'t>(rate: NonZeroU64, plan: &Plan, cases: Vec<Case<'t>>) -> Vec<Contest<'t>> {
    let mut contests: Vec<(usize, Vec<Case<'t>>)> = Vec::new();
    for case in cases {
        match contests.iter_mut().find(|(executors, _)| *executors == case.effective.executors) {
            Some((_, cases)) => cases.push(case),
            None => contests.push((case.effective.executors, vec![case])),
        }
    }
    let contest = |(executors, cases)| Contest::new(rate, plan.turns, executors, &plan.cpus, cases);
    contests.into_iter().map(contest).collect()
}

fn parking(cpus: &[CpuId], session: &Session) -> Result<Histogram<u64>> {
    let there = cpus.get(1).copied().unwrap_or(cpus[0]);
    one_way(Parking::pair(), [cpus[0], there], PARKING, PARKING, &session.clock)
}

/// An executor that sleeps is compared with a thread that parks and is unparked.
fn against_parking(row: Row, parks: &[Histogram<u64>]) -> Row {
    let sleeps = row.fields.get("wait").is_some_and(|wait| *wait != WaitPolicy::BusySpin.to_string());
    let (Some(p50_us), true, false) = (row.number("p50_us"), sleeps, parks.is_empty()) else { return row };
    let park_us = pooled(parks).value_at_quantile(0.5) as f64 / 1e3;
    row.with("ratio_to_park_unpark_p50", p50_us / park_us)
}

/// What a topology without input uses.
fn idle(session: &mut Session, plan: &Plan) -> Result<()> {
    for &wait in &plan.idle {
        let length = plan.idle_slice();
        session.step(&format!("idle, {wait}"), plan.turns.warmup + length);
        let topology = waiting(wait)?;
        let (Effective { guarantee, .. }, _) = Effective::of(&topology)?;
        let _others = hold_others(&session.options, 1);
        let window = window(topology, plan.turns.warmup, length, &session.clock)?;
        let percent = 100.0 * window.cpu.as_secs_f64() / window.elapsed.as_secs_f64();
        let row = Row::new("latency", format!("idle {wait}"))
            .with("shape", "idle")
            .with("guarantee", guarantee_key(guarantee))
            .with("rate", 0)
            .with("wait", wait.to_string())
            .with("executors", 1)
            .with("cpu_percent", percent);
        session.row(row);
    }
    Ok(())
}

/// A topology whose spout waits to be woken.
fn waiting(wait: WaitPolicy) -> Result<Topology> {
    struct Silent;

    impl Spout for Silent {
        type Out = u64;
        type Id = ();
        fn next(&mut self, _: &mut SpoutOutlet<u64, ()>) -> Result<Next, Failure> {
            Ok(Next::Idle)
        }
    }

    let mut t = Setup { executors: 1, guarantee: Guarantee::AtLeastOnce, wait }.builder("idle");
    let silence = t.spout("silence", || Silent);
    t.bolt("sink", swallow).shuffle(&silence);
    t.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let ms = Duration::from_millis;
        let wait = WaitPolicy::Park;
        Options { duration: Some(ms(8)), warmup: Some(ms(1)), repeat: Some(2), waits: vec![wait], ..Options::default() }
    }

    fn keys(row: &Row, keys: &[&str]) {
        keys.iter().for_each(|key| assert!(row.number(key).is_some(), "{}: {key} in {:?}", row.label, row.fields));
    }

    #[test]
    fn every_row_has_its_documented_keys() {
        let options = Options { rates: vec![1_000, 20_000], guarantees: vec![Guarantee::AtLeastOnce], ..options() };
        let mut session = Session::begin("latency", options.clone(), expected(&options));
        run(&mut session, None).unwrap();
        let rows = session.rows();
        let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "null one_thread 1000/s",
                "word_count at_least_once park 1000/s",
                "null one_thread 20000/s",
                "word_count at_least_once park 20000/s",
                "chain at_least_once park 20000/s",
                "park_unpark",
                "idle park",
            ]
        );
        let null = &rows[2];
        keys(null, &["p50_us", "p9999_us", "max_us", "count", "null_vs_null_p999_ratio", "null_vs_null_p9999_ratio"]);
        assert_eq!(null.fields["shape"], "null");
        for row in &rows[3..5] {
            keys(row, &["rate", "executors", "p50_us", "p99_us", "p999_us", "p9999_us", "max_us", "tree_p9999_us"]);
            keys(row, &["vs_null_p50_us_diff", "vs_null_p99_us_diff", "vs_null_p999_ratio", "vs_null_p9999_ratio"]);
            keys(row, &["p50_us_min", "cpu_percent", "late_max_us", "unfinished", "ratio_to_park_unpark_p50"]);
            assert_eq!(
                (row.yardstick.as_deref(), &row.fields["guarantee"]),
                (labels.get(2).copied(), &"at_least_once".into())
            );
            assert!(row.number("count").unwrap() > 0.0 && row.histogram.is_some());
        }
        keys(&rows[6], &["cpu_percent"]);
    }

    #[test]
    fn low_rates_are_measured_per_wait_policy_and_others_per_shape_and_guarantee() {
        let plan = Plan::of(&Options::default());
        let counts: Vec<(u64, usize)> = plan.rates.iter().map(|(rate, cases)| (rate.get(), cases.len())).collect();
        assert_eq!(counts, [(100, 3), (1_000, 3), (10_000, 4), (100_000, 4), (500_000, 4)]);
        assert!(plan.rates[0].1.iter().all(|(shape, _)| *shape == Shape::WordCount));
        assert_eq!(plan.turns.count(), TURNS_MIN);
        let told = Options { executors: vec![1, 2], waits: vec![WaitPolicy::Park], ..Options::default() };
        assert_eq!(Plan::of(&told).rates[4].1.len(), 8);
        let of_topology = Plan::of(&Options { of_topology: true, ..Options::default() });
        assert!(of_topology.rates.iter().all(|(_, cases)| *cases == [(Shape::Subject, Manner::default())]));
    }

    #[test]
    fn a_topology_of_the_program_takes_the_place_of_the_shapes() {
        let options = Options { rates: vec![2_000], of_topology: true, waits: Vec::new(), ..options() };
        let text = Text::generated().in_lines_of(3);
        let build = || Target::Chain { text: text.clone() }.build(Manner::default());
        let subject = Subject { name: "mine".into(), build: &build };
        let mut session = Session::begin("latency", options.clone(), expected(&options));
        run(&mut session, Some(&subject)).unwrap();
        let row = session.rows().iter().find(|row| row.fields["shape"] == "mine").unwrap();
        keys(row, &["p50_us", "tree_p50_us", "vs_null_p50_us_diff"]);
        assert_eq!((row.fields["wait"].as_str(), row.number("rate")), (Some("adaptive"), Some(2_000.0)));
    }
}
