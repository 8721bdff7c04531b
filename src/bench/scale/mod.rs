//! `scale`: what a hop or a tuple costs as the work grows. Closed loop; one executor unless told.
//!
//! All points are measured in rounds, one slice of each per round, so that the points of a curve meet the same noise.

mod bare;
mod series;

use std::collections::HashMap;
use std::time::Duration;

use crate::bench::row::Row;
use crate::bench::session::{Options, Session, Subject, cpus};
use crate::bench::shapes::{Setup, guarantee_key};
use crate::bench::text::Text;
use crate::bench::timing::Timing;
use crate::bench::window::ns_per_input;
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::topology::settings::{Guarantee, WaitPolicy};
use bare::{Span, ns_per_step};
use series::{Maps, Material, Series, topology, words_of};

/// Building, starting and stopping a topology, and how much longer each task of it makes that.
const START_STOP: Duration = Duration::from_millis(15);
const START_STOP_PER_TASK: Duration = Duration::from_micros(50);
/// Filling a map, per key: much of it is waiting for memory.
const FILL_PER_KEY: Duration = Duration::from_nanos(150);

/// One row in the making.
struct Point {
    series: Series,
    x: u64,
    setup: Setup,
    /// Per round.
    ns: Vec<f64>,
    bare_ns: Vec<f64>,
}

struct Plan {
    timing: Timing,
    points: Vec<Point>,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let guarantees = match options.guarantees.as_slice() {
            [] => &[Guarantee::AtMostOnce, Guarantee::AtLeastOnce][..],
            some => some,
        };
        let waits = if options.waits.is_empty() { vec![WaitPolicy::default()] } else { options.waits.clone() };
        let mut points = Vec::new();
        for series in Series::ALL {
            for executors in executors(options, series) {
                for &guarantee in guarantees {
                    for &wait in &waits {
                        let setup = Setup { executors, guarantee, wait };
                        points.extend(series.xs().iter().map(|&x| Point::new(series, x, setup)));
                    }
                }
            }
        }
        Plan { timing: Timing::of(options), points }
    }

    fn round(&self) -> Duration {
        self.points.iter().map(|point| point.expected(&self.timing)).sum()
    }

    /// Numbers of keys and of tasks that count them.
    fn key_spaces(&self) -> Vec<(u64, usize)> {
        let of_keys = self.points.iter().filter(|point| point.series == Series::Keys);
        let mut all: Vec<_> = of_keys.map(|point| (point.x, point.setup.executors)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn preparation(&self) -> Duration {
        self.key_spaces().into_iter().map(|(keys, _)| FILL_PER_KEY * keys as u32).sum()
    }
}

/// One executor unless told; many tasks are spread over two as well where there are two CPUs, since that is what many
/// tasks are for.
fn executors(options: &Options, series: Series) -> Vec<usize> {
    match options.executors.as_slice() {
        [] if series == Series::Tasks && cpus(options).len() > 1 => vec![1, 2],
        [] => vec![1],
        some => some.to_vec(),
    }
}

impl Point {
    fn new(series: Series, x: u64, setup: Setup) -> Self {
        Point { series, x, setup, ns: Vec::new(), bare_ns: Vec::new() }
    }

    /// What a map alone does is compared with one task.
    fn has_bare(&self) -> bool {
        self.series.bare().is_some() && (self.series != Series::Keys || self.setup.executors == 1)
    }

    fn tasks(&self) -> u64 {
        match self.series {
            Series::Tasks | Series::TasksWithoutWork => self.x,
            Series::Chain | Series::FanOut => self.x * self.setup.executors as u64,
            _ => 3 * self.setup.executors as u64,
        }
    }

    fn expected(&self, timing: &Timing) -> Duration {
        let slices = 1 + usize::from(self.has_bare());
        START_STOP + START_STOP_PER_TASK * self.tasks() as u32 + timing.round(slices)
    }

    fn measure(&mut self, timing: &Timing, material: &Material, span: &Span, clock: &Clock) -> Result<()> {
        if self.has_bare() {
            self.bare_ns.extend(ns_per_step(self.series, self.x, material.maps.as_ref(), span)?);
        }
        let topology = topology(self.series, self.x, &self.setup, material)?;
        let counts = |id: &str| self.series.counts(id);
        self.ns.push(ns_per_input(topology, timing.warmup, timing.slice, clock, counts)?);
        Ok(())
    }

    /// The curve it is a point of.
    fn curve(&self) -> String {
        let Setup { executors, guarantee, wait } = self.setup;
        let plural = if executors == 1 { "" } else { "s" };
        let curve = format!("{}, {}, {executors} executor{plural}", self.series.key(), guarantee_key(guarantee));
        if wait == WaitPolicy::default() { curve } else { format!("{curve}, {wait}") }
    }

    fn row(&self) -> Row {
        let Setup { executors, guarantee, wait } = self.setup;
        let row = row_of(self.series, self.x, self.curve())
            .with("guarantee", guarantee_key(guarantee))
            .with("executors", executors)
            .with("wait", wait.to_string())
            .with("per", self.series.per())
            .repeated("ns_per_tuple", &self.ns);
        let ratios: Vec<f64> = self.ns.iter().zip(&self.bare_ns).map(|(own, bare)| own / bare).collect();
        row.repeated("bare_ns_per_tuple", &self.bare_ns).repeated("ratio_to_bare", &ratios)
    }
}

/// All curves of one kind are drawn in one chart.
fn row_of(series: Series, x: u64, curve: String) -> Row {
    Row::new("scale", format!("{curve}, {x}"))
        .with("chart", series.key())
        .with("series", curve)
        .with("x", x)
        .with("x_name", series.x_name())
}

/// The work alone as a curve of its own, from the figures that were taken beside all points of this size.
fn bare_rows(points: &[Point]) -> Vec<Row> {
    let mut rows = Vec::new();
    for series in Series::ALL {
        let Some(what) = series.bare() else { continue };
        for &x in series.xs() {
            let here = points.iter().filter(|point| point.series == series && point.x == x);
            let figures: Vec<f64> = here.flat_map(|point| &point.bare_ns).copied().collect();
            if !figures.is_empty() {
                let row = row_of(series, x, format!("{}, {what}", series.key()));
                rows.push(row.with("per", series.per()).repeated("ns_per_tuple", &figures));
            }
        }
    }
    rows
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    let plan = Plan::of(options);
    plan.preparation() + plan.round() * plan.timing.repeat as u32
}

/// Measures every curve. A subject has no influence on them.
///
/// # Errors
/// When a thread cannot be started or pinned, or a topology does not run.
pub(crate) fn run(session: &mut Session, _subject: Option<&Subject<'_>>) -> Result<()> {
    let mut plan = Plan::of(&session.options);
    let (timing, clock) = (plan.timing, session.clock.clone());
    session.step("scale: filling maps", plan.preparation());
    let maps: HashMap<(u64, usize), Maps> =
        plan.key_spaces().into_iter().map(|(keys, tasks)| ((keys, tasks), Maps::full(keys, tasks))).collect();
    let words = words_of(&Text::load(None)?);
    let cpu = cpus(&session.options)[0];
    let span = Span { cpu, warmup: timing.warmup, length: timing.slice, clock: clock.clone() };
    'rounds: for round in 1..=timing.repeat {
        for series in Series::ALL {
            let points = || plan.points.iter().filter(|point| point.series == series);
            let expected = points().map(|point| point.expected(&timing)).sum();
            session.step(&format!("scale {}, round {round} of {}", series.key(), timing.repeat), expected);
            for point in plan.points.iter_mut().filter(|point| point.series == series) {
                let maps = maps.get(&(point.x, point.setup.executors)).cloned();
                point.measure(&timing, &Material { words: words.clone(), maps }, &span, &clock)?;
            }
            if session.is_interrupted() {
                break 'rounds;
            }
        }
    }
    // An interrupted run may not have come to all of them.
    plan.points.retain(|point| !point.ns.is_empty());
    plan.points.iter().map(Point::row).chain(bare_rows(&plan.points)).for_each(|row| session.row(row));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few and small points, all in the way of a run.
    fn measured(points: Vec<Point>) -> Vec<Row> {
        let ms = Duration::from_millis(1);
        let timing = Timing { warmup: ms, slice: ms, repeat: 2 };
        let mut points = points;
        let clock = Clock::real();
        let cpu = cpus(&Options::default())[0];
        let span = Span { cpu, warmup: ms, length: ms, clock: clock.clone() };
        let words = words_of(&Text::generated());
        for point in &mut points {
            let maps = (point.series == Series::Keys).then(|| Maps::full(point.x, point.setup.executors));
            let material = Material { words: words.clone(), maps };
            (0..timing.repeat).for_each(|_| point.measure(&timing, &material, &span, &clock).unwrap());
        }
        points.iter().map(Point::row).chain(bare_rows(&points)).collect()
    }

    #[test]
    fn every_series_has_its_documented_keys() {
        for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
            let setup = Setup { executors: 1, guarantee, wait: WaitPolicy::default() };
            let second = Series::ALL.map(|series| Point::new(series, series.xs()[1], setup));
            for row in measured(second.into()) {
                let keys = ["x", "ns_per_tuple", "ns_per_tuple_min", "ns_per_tuple_max"];
                keys.iter().for_each(|key| assert!(row.number(key).unwrap() > 0.0, "{key} in {:?}", row.fields));
                assert!(["series", "chart", "x_name", "per"].iter().all(|key| row.fields[*key].is_string()));
                let has_bare = row.label.contains("once") && row.label.contains("keys");
                assert!(!has_bare || row.number("ratio_to_bare").unwrap() > 0.0);
            }
        }
    }

    #[test]
    fn on_several_executors_every_component_has_as_many_tasks() {
        let setup = Setup { executors: 2, guarantee: Guarantee::AtMostOnce, wait: WaitPolicy::Park };
        let rows = measured(vec![Point::new(Series::Chain, 2, setup), Point::new(Series::Keys, 1_000, setup)]);
        assert_eq!(rows[0].fields["series"], "chain, at_most_once, 2 executors, park");
        assert_eq!((rows.len(), rows[1].number("bare_ns_per_tuple")), (2, None), "one thread is no match for two");
    }

    #[test]
    fn the_time_announced_covers_every_point() {
        let options = Options {
            duration: Some(Duration::from_millis(50)),
            warmup: Some(Duration::ZERO),
            repeat: Some(5),
            executors: vec![1],
            guarantees: vec![Guarantee::AtMostOnce],
            ..Options::default()
        };
        let plan = Plan::of(&options);
        let sizes: usize = Series::ALL.iter().map(|series| series.xs().len()).sum();
        assert_eq!(plan.points.len(), sizes);
        assert_eq!(plan.key_spaces().last(), Some(&(10_000_000, 1)));
        let bare = 5 + 6 + 4;
        let least = Duration::from_millis(10) * 5 * (sizes + bare) as u32;
        let expected = expected(&options);
        assert!(expected > least && expected < least * 4, "{expected:?} for {least:?}");
    }
}
