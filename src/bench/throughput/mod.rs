//! `throughput`: how much goes through when nothing holds it back. Closed loop.
//!
//! All rows are measured in rounds, each beside the hand-written loop of the same round. Allocations are counted in
//! runs of their own.

mod flow;
mod work;

use std::time::Duration;

use serde_json::Value;

use crate::bench::floor::{Counted, hand_word_count, hand_word_count_row};
use crate::bench::latency::manners;
use crate::bench::open_loop::START_STOP;
use crate::bench::row::Row;
use crate::bench::session::{Options, Session, Subject, cpus};
use crate::bench::shapes::{Setup, guarantee_key};
use crate::bench::target::{Effective, Manner, Target, hold_others};
use crate::bench::text::Text;
use crate::bench::timing::Timing;
use crate::error::Result;
use crate::sys::alloc;
use crate::sys::cpu::CpuId;
use crate::topology::settings::{Guarantee, WaitPolicy};
use flow::{Flow, Window};

const GUARANTEES: [Guarantee; 2] = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce];
/// Steps of work are found out in this time.
const CALIBRATION: Duration = Duration::from_millis(50);
/// Why allocations are not known.
const NOT_COUNTED: &str = "this program's allocator does not count; wrap it in squall::sys::alloc::Counting";

struct Plan {
    timing: Timing,
    cpus: Vec<CpuId>,
    manners: Vec<Manner>,
    of_topology: bool,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let cpus = cpus(options);
        let manners: Vec<Manner> = match options.of_topology {
            true => manners(options, &[], &[], &[]).collect(),
            false => {
                // Fewer CPUs than executors measure how they take turns.
                let executors = if cpus.len() > 1 { &[1, 2][..] } else { &[1] };
                manners(options, executors, &GUARANTEES, &[WaitPolicy::default()]).collect()
            }
        };
        Plan { timing: Timing::of(options), cpus, manners, of_topology: options.of_topology }
    }

    fn has_work(&self) -> bool {
        !self.of_topology && self.cpus.len() > 1
    }

    /// Topologies measured per round.
    fn topologies(&self) -> usize {
        let work = if self.has_work() { 2 } else { 0 };
        self.manners.len() + if self.of_topology { 0 } else { 1 + work }
    }

    fn round(&self) -> Duration {
        let hand = if self.of_topology { 0 } else { 1 };
        self.timing.round(self.topologies() + hand) + START_STOP * self.topologies() as u32
    }

    fn counting(&self) -> Duration {
        self.timing.round(self.manners.len()) + START_STOP * self.manners.len() as u32
    }

    fn window(&self) -> Window {
        Window { warmup: self.timing.warmup, length: self.timing.slice, counts_allocations: false }
    }
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    let plan = Plan::of(options);
    let calibration = if plan.has_work() { CALIBRATION } else { Duration::ZERO };
    plan.round() * plan.timing.repeat as u32 + plan.counting() + calibration
}

/// Measures word count, or the subject.
///
/// # Errors
/// When a topology cannot be built or fails, or a thread cannot be started or pinned.
pub(crate) fn run(session: &mut Session, subject: Option<&Subject<'_>>) -> Result<()> {
    let plan = Plan::of(&session.options);
    match subject {
        Some(subject) => of_subject(session, &plan, &Target::Subject(subject)),
        None => of_word_count(session, &plan),
    }
}

/// One way of running the target, measured once per round.
struct Case {
    manner: Manner,
    effective: Effective,
    flows: Vec<Flow>,
    allocated: Option<Flow>,
}

impl Case {
    fn all(plan: &Plan, target: &Target<'_>) -> Result<Vec<Case>> {
        let case = |&manner: &Manner| {
            let (effective, _) = Effective::of(&target.build(manner)?)?;
            Ok(Case { manner, effective, flows: Vec::new(), allocated: None })
        };
        plan.manners.iter().map(case).collect()
    }

    fn flow(&self, session: &Session, target: &Target<'_>, window: Window) -> Result<Flow> {
        let _others = hold_others(&session.options, self.effective.executors);
        window.flow(target.build(self.manner)?, &session.clock)
    }

    /// A row with what it shares with every other.
    fn row(&self, name: &str) -> Row {
        let Effective { executors, guarantee, wait } = self.effective;
        Row::new("throughput", format!("{name} {}", self.effective.text()))
            .with("row", name)
            .with("guarantee", guarantee_key(guarantee))
            .with("executors", executors)
            .with("wait", wait.to_string())
    }

    /// What the whole process had in memory at most, and allocations per `unit`, which are known where counted.
    fn memory(&self, row: Row, unit: &str, count: fn(&Flow) -> u64) -> Row {
        let peaks = self.flows.iter().filter_map(|flow| flow.peak_rss_bytes).map(|bytes| bytes as f64);
        let row = row.repeated("peak_rss_bytes", &peaks.collect::<Vec<_>>());
        let per_unit = |flow: &Flow| flow.allocated.allocations as f64 / count(flow).max(1) as f64;
        let key = format!("allocs_per_{unit}");
        match &self.allocated {
            Some(flow) => row.with(&key, per_unit(flow)),
            None => row.with(&key, Value::Null).with("allocs_note", NOT_COUNTED),
        }
    }
}

/// Has allocations counted, in runs of their own.
fn count_allocations(session: &mut Session, plan: &Plan, target: &Target<'_>, cases: &mut [Case]) -> Result<()> {
    if !alloc::is_installed() || session.is_interrupted() {
        return Ok(());
    }
    session.step("throughput, counting allocations", plan.counting());
    for case in cases {
        case.allocated = Some(case.flow(session, target, Window { counts_allocations: true, ..plan.window() })?);
    }
    Ok(())
}

fn of_subject(session: &mut Session, plan: &Plan, target: &Target<'_>) -> Result<()> {
    let mut cases = Case::all(plan, target)?;
    for round in 1..=plan.timing.repeat {
        session.step(&format!("throughput, round {round} of {}", plan.timing.repeat), plan.round());
        for case in &mut cases {
            case.flows.push(case.flow(session, target, plan.window())?);
        }
        if session.is_interrupted() {
            break;
        }
    }
    count_allocations(session, plan, target, &mut cases)?;
    for case in &cases {
        let per_event = |flow: &Flow, time: Duration| time.as_nanos() as f64 / flow.emitted.max(1) as f64;
        let figures = |figure: &dyn Fn(&Flow) -> f64| case.flows.iter().map(figure).collect::<Vec<_>>();
        let row = case
            .row(target.name())
            .repeated("events_per_s", &figures(&|flow| flow.emitted as f64 / flow.elapsed.as_secs_f64()))
            .repeated("ns_per_event", &figures(&|flow| per_event(flow, flow.elapsed)))
            .repeated("cpu_ns_per_event", &figures(&|flow| per_event(flow, flow.cpu)));
        let is_whole_run = case.flows.iter().any(|flow| flow.is_whole_run);
        session.row(case.memory(row, "event", |flow| flow.emitted).with("whole_run", is_whole_run));
    }
    Ok(())
}

fn of_word_count(session: &mut Session, plan: &Plan) -> Result<()> {
    let text = Text::load(session.options.input.as_deref())?;
    let target = Target::word_count(&text);
    let mut cases = Case::all(plan, &target)?;
    let mut extra = Extra::new(session, plan)?;
    let mut hand = Vec::new();
    for round in 1..=plan.timing.repeat {
        session.step(&format!("throughput, round {round} of {}", plan.timing.repeat), plan.round());
        let Timing { warmup, slice, .. } = plan.timing;
        hand.push(hand_word_count(&text, plan.cpus[0], warmup, slice, &session.clock)?);
        for (index, case) in cases.iter_mut().enumerate() {
            case.flows.push(case.flow(session, &target, plan.window())?);
            if index == 0 {
                extra.bare.push(extra.without_instruments(session, plan, case, &target)?);
            }
        }
        extra.work(session, plan)?;
        if session.is_interrupted() {
            break;
        }
    }
    count_allocations(session, plan, &target, &mut cases)?;
    session.row(hand_word_count_row("hand_word_count_1", &text, &hand));
    cases.iter().for_each(|case| session.row(word_count_row(case, &cases, &text, &hand)));
    session.row(extra.instruments_row(&cases[0]));
    extra.work_rows().into_iter().for_each(|row| session.row(row));
    Ok(())
}

fn ns_per_word(flow: &Flow) -> f64 {
    flow.elapsed.as_nanos() as f64 / flow.executed.max(1) as f64
}

fn word_count_row(case: &Case, cases: &[Case], text: &Text, hand: &[Counted]) -> Row {
    let flows = &case.flows;
    let figures = |figure: &dyn Fn(&Flow) -> f64| flows.iter().map(figure).collect::<Vec<_>>();
    let times_as_fast: Vec<f64> =
        hand.iter().zip(flows).map(|(hand, flow)| hand.ns_per_word() / ns_per_word(flow)).collect();
    let row = case
        .row("word_count")
        .with("text", text.name.clone())
        .with("text_words", text.words)
        .repeated("lines_per_s", &figures(&|flow| flow.emitted as f64 / flow.elapsed.as_secs_f64()))
        .repeated("words_per_s", &figures(&|flow| flow.executed as f64 / flow.elapsed.as_secs_f64()))
        .repeated("ns_per_word", &figures(&ns_per_word))
        .repeated("cpu_ns_per_word", &figures(&|flow| flow.cpu.as_nanos() as f64 / flow.executed.max(1) as f64))
        .repeated("ratio_to_hand", &times_as_fast);
    let alone = Manner { executors: Some(1), ..case.manner };
    let row = match cases.iter().find(|other| other.manner == alone) {
        Some(one) => {
            let times_as_fast = one.flows.iter().zip(flows).map(|(one, two)| ns_per_word(one) / ns_per_word(two));
            row.repeated("ratio_to_one_executor", &times_as_fast.collect::<Vec<_>>())
        }
        None => row,
    };
    case.memory(row, "word", |flow| flow.executed)
}

/// What is measured once and not for every way of running.
struct Extra {
    /// Word count as in the first case, without instruments.
    bare: Vec<Flow>,
    setup: Setup,
    /// Of work per tuple, and what went through on one executor and on two.
    steps: u64,
    works: [Vec<Flow>; 2],
}

impl Extra {
    fn new(session: &Session, plan: &Plan) -> Result<Self> {
        let steps = if plan.has_work() { work::steps(plan.cpus[0], &session.clock)? } else { 0 };
        let Manner { guarantee, wait, .. } = plan.manners[0];
        let setup = Setup { executors: 1, guarantee: guarantee.unwrap_or_default(), wait: wait.unwrap_or_default() };
        Ok(Extra { bare: Vec::new(), setup, steps, works: [Vec::new(), Vec::new()] })
    }

    fn without_instruments(&self, session: &Session, plan: &Plan, case: &Case, target: &Target<'_>) -> Result<Flow> {
        let _others = hold_others(&session.options, case.effective.executors);
        plan.window().flow(target.build(case.manner)?.without_instruments(), &session.clock)
    }

    fn instruments_row(&self, case: &Case) -> Row {
        let (with, without): (Vec<f64>, Vec<f64>) =
            (case.flows.iter().map(ns_per_word).collect(), self.bare.iter().map(ns_per_word).collect());
        let percent = with.iter().zip(&without).map(|(with, without)| 100.0 * (with / without - 1.0));
        case.row("instruments")
            .repeated("ns_per_word", &with)
            .repeated("ns_per_word_without", &without)
            .repeated("instruments_percent", &percent.collect::<Vec<_>>())
    }

    fn work(&mut self, session: &Session, plan: &Plan) -> Result<()> {
        if plan.has_work() {
            for (flows, executors) in self.works.iter_mut().zip([1, 2]) {
                let _others = hold_others(&session.options, executors);
                let topology = work::topology(&Setup { executors, ..self.setup }, self.steps)?;
                flows.push(plan.window().flow(topology, &session.clock)?);
            }
        }
        Ok(())
    }

    fn work_rows(&self) -> Vec<Row> {
        let ns_per_tuple = |flow: &Flow| flow.elapsed.as_nanos() as f64 / flow.executed.max(1) as f64;
        let row = |executors: usize, flows: &[Flow]| {
            let ns: Vec<f64> = flows.iter().map(ns_per_tuple).collect();
            let per_s: Vec<f64> = ns.iter().map(|ns| 1e9 / ns).collect();
            let ratio = self.works[0].iter().zip(&ns).map(|(one, ns)| ns_per_tuple(one) / ns);
            let guarantee = guarantee_key(self.setup.guarantee);
            Row::new("throughput", format!("work_1us {guarantee} on {executors} executors"))
                .with("row", "work_1us")
                .with("guarantee", guarantee)
                .with("executors", executors)
                .with("wait", self.setup.wait.to_string())
                .repeated("tuples_per_s", &per_s)
                .repeated("ns_per_tuple", &ns)
                .repeated("ratio_to_one_executor", &ratio.collect::<Vec<_>>())
        };
        let measured = self.works.iter().zip([1, 2]).filter(|(flows, _)| !flows.is_empty());
        measured.map(|(flows, executors)| row(executors, flows)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Generator;
    use crate::task::outlet::Outlet;
    use crate::task::payload::Nothing;
    use crate::topology::builder::TopologyBuilder;

    fn options() -> Options {
        let ms = Duration::from_millis;
        Options { duration: Some(ms(20)), warmup: Some(ms(2)), repeat: Some(2), ..Options::default() }
    }

    fn keys(row: &Row, keys: &[&str]) {
        keys.iter().for_each(|key| assert!(row.number(key).is_some(), "{}: {key} in {:?}", row.label, row.fields));
    }

    #[test]
    fn every_row_has_its_documented_keys() {
        let options = Options { executors: vec![1], ..options() };
        let mut session = Session::begin("throughput", options.clone(), expected(&options));
        run(&mut session, None).unwrap();
        let named =
            |name: &str| session.rows().iter().filter(move |row| row.fields["row"] == *name).collect::<Vec<_>>();
        let rows = named("word_count");
        assert_eq!(rows.len(), 2);
        for (row, guarantee) in rows.iter().zip(["at_most_once", "at_least_once"]) {
            assert_eq!((&row.fields["guarantee"], row.number("executors")), (&guarantee.into(), Some(1.0)));
            keys(row, &["lines_per_s", "words_per_s", "ns_per_word", "ns_per_word_min", "ns_per_word_max"]);
            keys(row, &["cpu_ns_per_word", "ratio_to_hand", "ratio_to_one_executor"]);
            // The tests' allocator does not count.
            assert_eq!(
                (&row.fields["allocs_per_word"], row.fields["allocs_note"].as_str()),
                (&Value::Null, Some(NOT_COUNTED))
            );
            if cfg!(target_os = "linux") {
                keys(row, &["peak_rss_bytes"]);
            }
        }
        assert_eq!(named("hand_word_count_1").len(), 1);
        keys(named("instruments")[0], &["ns_per_word", "ns_per_word_without", "instruments_percent"]);
        let works = named("work_1us");
        assert_eq!(works.len(), if cpus(&options).len() > 1 { 2 } else { 0 });
        works.iter().for_each(|row| keys(row, &["tuples_per_s", "ns_per_tuple", "ratio_to_one_executor"]));
    }

    #[test]
    fn a_topology_of_the_program_is_measured_by_what_its_spouts_emit_to_its_end_if_that_comes_first() {
        let build = || {
            let mut t = TopologyBuilder::new("short");
            let numbers = t.source("numbers", || Generator::new(1_000, |number| number));
            t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
            t.build()
        };
        let subject = Subject { name: "short".into(), build: &build };
        let options = Options { warmup: Some(Duration::from_secs(60)), of_topology: true, ..options() };
        let mut session = Session::begin("throughput", options, Duration::ZERO);
        run(&mut session, Some(&subject)).unwrap();
        let row = &session.rows()[0];
        assert_eq!((row.fields["row"].as_str(), &row.fields["whole_run"]), (Some("short"), &true.into()));
        keys(row, &["events_per_s", "ns_per_event", "ns_per_event_min", "cpu_ns_per_event"]);
        assert!(row.fields["allocs_per_event"].is_null());
    }
}
