//! `hop`: what it takes from one component to the next, beside what the raw ring takes, measured in the same way.
//!
//! Each slice of a hop follows a slice of the ring on the same two CPUs, and ratios are between the two.

mod trips;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;

use crate::bench::floor::{NEEDS_TWO_CPUS, ring_cross_cpu_row, ring_ops, ring_same_thread_row};
use crate::bench::pingpong::{Ring, one_way};
use crate::bench::row::{Row, Unit};
use crate::bench::session::{Options, Session, Subject, cpus};
use crate::bench::shapes::guarantee_key;
use crate::bench::timing::Timing;
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;
use crate::topology::settings::{Guarantee, WaitPolicy};
use trips::{Measured, Trip};

/// Building, starting and stopping a topology.
const START_STOP: Duration = Duration::from_millis(15);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One tuple at a time from bolt to bolt; times of one way.
    OneWay,
    /// One tuple at a time from a spout's emit to its ack.
    Tree,
    /// As many tuples as go, per tuple.
    Queued,
}

/// One row in the making.
struct Case {
    kind: Kind,
    /// Between two executors, or on one.
    across: bool,
    guarantee: Guarantee,
    wait: WaitPolicy,
    /// Per round.
    times: Vec<Histogram<u64>>,
    ns_per_tuple: Vec<f64>,
    /// The ring's in the slice before.
    ring: Vec<Histogram<u64>>,
    cpus: Vec<Option<usize>>,
}

impl Case {
    fn new(kind: Kind, across: bool, guarantee: Guarantee, wait: WaitPolicy) -> Self {
        let (times, ns_per_tuple, ring, cpus) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Case { kind, across, guarantee, wait, times, ns_per_tuple, ring, cpus }
    }

    fn is_measured(&self) -> bool {
        !self.times.is_empty() || !self.ns_per_tuple.is_empty()
    }

    fn name(&self) -> &'static str {
        match (self.kind, self.across) {
            (Kind::OneWay, true) => "cross",
            (Kind::OneWay, false) => "same",
            (Kind::Tree, true) => "tree_cross",
            (Kind::Tree, false) => "tree_same",
            (Kind::Queued, true) => "cross_queued",
            (Kind::Queued, false) => "same_queued",
        }
    }
}

struct Plan {
    timing: Timing,
    cpus: Vec<CpuId>,
    cases: Vec<Case>,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let timing = Timing::of(options);
        let guarantees = match options.guarantees.as_slice() {
            [] => &[Guarantee::AtMostOnce, Guarantee::AtLeastOnce][..],
            some => some,
        };
        let waits = if options.waits.is_empty() { &[WaitPolicy::BusySpin][..] } else { &options.waits };
        let mut cases = Vec::new();
        for &wait in waits {
            for &guarantee in guarantees {
                for kind in [Kind::OneWay, Kind::Tree, Kind::Queued] {
                    // Nothing is acked where nothing is tracked.
                    if kind != Kind::Tree || guarantee != Guarantee::AtMostOnce {
                        cases.extend([true, false].map(|across| Case::new(kind, across, guarantee, wait)));
                    }
                }
            }
        }
        Plan { timing, cpus: cpus(options), cases }
    }

    /// Two CPUs, if there are two: one spinning thread on each.
    fn two_cpus(&self) -> Option<[CpuId; 2]> {
        self.cpus.first_chunk().copied()
    }

    fn can_measure(&self, case: &Case) -> bool {
        !case.across || self.two_cpus().is_some()
    }

    fn round(&self) -> Duration {
        let slices = self.cases.iter().filter(|case| self.can_measure(case)).map(|case| {
            let ring = case.kind != Kind::Queued && self.two_cpus().is_some();
            START_STOP + self.timing.round(1 + usize::from(ring))
        });
        slices.sum::<Duration>() + self.timing.round(1)
    }
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    let plan = Plan::of(options);
    plan.round() * plan.timing.repeat as u32
}

/// Measures hops. A subject has no influence on them.
///
/// # Errors
/// When a thread cannot be started or pinned, or a topology does not run.
pub(crate) fn run(session: &mut Session, _subject: Option<&Subject<'_>>) -> Result<()> {
    let mut plan = Plan::of(&session.options);
    let mut ring_same_thread = Vec::new();
    let mut cases = std::mem::take(&mut plan.cases);
    'rounds: for round in 1..=plan.timing.repeat {
        for case in cases.iter_mut().filter(|case| plan.can_measure(case)) {
            let what = format!("hop {} {}, round {round} of {}", case.name(), case.guarantee, plan.timing.repeat);
            session.step(&what, START_STOP + plan.timing.round(2));
            measure(&plan, case, &session.clock)?;
            if session.is_interrupted() {
                break 'rounds;
            }
        }
        let Timing { warmup, slice, .. } = plan.timing;
        ring_same_thread.push(ring_ops(plan.cpus[0], warmup, slice, &session.clock)?);
    }
    let ring: Vec<_> = cases.iter().flat_map(|case| &case.ring).cloned().collect();
    if !ring.is_empty() {
        session.row(ring_cross_cpu_row(&ring));
    }
    let mut ring_op_ns = None;
    if !ring_same_thread.is_empty() {
        let row = ring_same_thread_row(&ring_same_thread);
        ring_op_ns = row.number("ns_per_op");
        session.row(row);
    }
    // An interrupted run may not have come to all of them.
    let told = cases.iter().filter(|case| case.is_measured() || !plan.can_measure(case));
    told.for_each(|case| session.row(row(case, ring_op_ns)));
    Ok(())
}

fn measure(plan: &Plan, case: &mut Case, clock: &Clock) -> Result<()> {
    let Timing { warmup, slice, .. } = plan.timing;
    let here = plan.cpus[0];
    let cpus = if case.across { plan.two_cpus().unwrap_or([here, here]) } else { [here, here] };
    let trip = Trip { guarantee: case.guarantee, wait: case.wait, cpus, warmup, length: slice, clock: clock.clone() };
    if case.kind == Kind::Queued {
        case.ns_per_tuple.push(trip.queued()?);
        return Ok(());
    }
    if let Some(cpus) = plan.two_cpus() {
        case.ring.push(one_way(Ring::pair(), cpus, warmup, slice, clock)?);
    }
    let Measured { figure, cpus } = if case.kind == Kind::Tree { trip.tree()? } else { trip.one_way()? };
    case.times.push(figure);
    case.cpus = cpus;
    Ok(())
}

/// `ring_op_ns` is a push and a pop on one thread.
fn row(case: &Case, ring_op_ns: Option<f64>) -> Row {
    let (name, guarantee) = (case.name(), guarantee_key(case.guarantee));
    let row = Row::new("hop", format!("{name} {guarantee} {}", case.wait))
        .with("row", name)
        .with("guarantee", guarantee)
        .with("wait", case.wait.to_string());
    if !case.is_measured() {
        return row.with("skipped", NEEDS_TWO_CPUS);
    }
    if case.kind == Kind::Queued {
        let ratio = |ns: &f64| ring_op_ns.map(|ring_ns| ns / ring_ns);
        let ratios: Vec<f64> = case.ns_per_tuple.iter().filter_map(ratio).collect();
        let row = row.repeated("ns_per_tuple", &case.ns_per_tuple);
        return if case.across { row } else { row.repeated("ratio_to_ring_same_thread", &ratios) };
    }
    let row = row
        .with("cpus", case.cpus.iter().copied().map(Value::from).collect::<Vec<_>>())
        .with("round_trips_per_sample", 1)
        .distributions("", Unit::Ns, &case.times);
    [("p50", 0.5), ("p99", 0.99)].into_iter().fold(row, |row, (quantile_name, quantile)| {
        let ratio = |(hop, ring): (&Histogram<u64>, &Histogram<u64>)| {
            hop.value_at_quantile(quantile) as f64 / ring.value_at_quantile(quantile).max(1) as f64
        };
        let ratios: Vec<f64> = case.times.iter().zip(&case.ring).map(ratio).collect();
        row.repeated(&format!("ratio_to_ring_{quantile_name}"), &ratios)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let ms = Duration::from_millis;
        Options { duration: Some(ms(6)), warmup: Some(ms(1)), repeat: Some(2), ..Options::default() }
    }

    fn names(options: &Options) -> Vec<(&'static str, Guarantee)> {
        let plan = Plan::of(options);
        plan.cases.iter().filter(|case| plan.can_measure(case)).map(|case| (case.name(), case.guarantee)).collect()
    }

    #[test]
    fn every_row_has_its_documented_keys() {
        let mut session = Session::begin("hop", options(), expected(&options()));
        run(&mut session, None).unwrap();
        let rows = session.rows();
        for (name, guarantee) in names(&options()) {
            let guarantee = guarantee_key(guarantee);
            let is_it =
                |row: &&Row| row.bench == "hop" && row.fields["row"] == name && row.fields["guarantee"] == guarantee;
            let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {name} {guarantee}"));
            let keys: &[&str] = match name {
                "cross_queued" => &["ns_per_tuple", "ns_per_tuple_min"],
                "same_queued" => &["ns_per_tuple", "ns_per_tuple_max", "ratio_to_ring_same_thread"],
                _ => &["p50_ns", "p99_ns", "p9999_ns", "p50_ns_min", "max_ns", "count"],
            };
            keys.iter().for_each(|key| assert!(row.number(key).unwrap() > 0.0, "{name}: {key} in {:?}", row.fields));
        }
        if cpus(&options()).len() > 1 {
            let cross = rows.iter().find(|row| row.fields["row"] == "cross").unwrap();
            let keys = ["ratio_to_ring_p50", "ratio_to_ring_p50_min", "ratio_to_ring_p99", "ratio_to_ring_p99_max"];
            keys.iter().for_each(|key| assert!(cross.number(key).unwrap() > 0.0, "{key}"));
            assert!(rows.iter().any(|row| row.bench == "floor" && row.fields["row"] == "ring_cross_cpu"));
        }
        assert!(rows.iter().any(|row| row.fields["row"] == "ring_same_thread"));
    }

    #[test]
    fn trees_need_tracking_and_crossing_needs_two_cpus() {
        let untracked = Options { guarantees: vec![Guarantee::AtMostOnce], cpus: vec![1, 0], ..options() };
        let names_of = |options: &Options| names(options).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names_of(&untracked), ["cross", "same", "cross_queued", "same_queued"]);
        let tracked = Options { guarantees: vec![Guarantee::AtLeastOnce], cpus: vec![0], ..options() };
        assert_eq!(names_of(&tracked), ["same", "tree_same", "same_queued"]);
        let slices = 3 * (START_STOP + Duration::from_millis(4)) + Duration::from_millis(4);
        assert_eq!(expected(&tracked), slices * 2);
    }
}
