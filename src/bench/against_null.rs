//! A load and all that is measured under it in turns: the null engine, and topologies with it as their yardstick.

use std::num::NonZeroU64;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;

use crate::bench::floor::null_engine_row;
use crate::bench::null::{self, Placement};
use crate::bench::open_loop::{Load, START_STOP, Slice};
use crate::bench::row::{Interval, QUANTILES, Row, Unit, pooled};
use crate::bench::session::{Options, Session, cpus};
use crate::bench::shapes::guarantee_key;
use crate::bench::target::{Effective, Manner, Target, hold_others};
use crate::bench::text::Text;
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;

/// Fewest turns that the null engine and a topology take, all repeats together.
pub(super) const TURNS_MIN: usize = 20;

/// So many turns that all fail to keep up tell enough: no more are taken, since each takes longer than was announced.
const FAILURES_ENOUGH: usize = 2;

/// How long and how often, for everything under one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turns {
    pub warmup: Duration,
    pub length: Duration,
    pub repeat: usize,
    /// Of each repeat.
    pub turns: usize,
}

impl Turns {
    /// The options' duration in at least so many turns.
    pub fn of(options: &Options, turns_min: usize) -> Self {
        let repeat = options.repeat.unwrap_or(5).max(1);
        let turns = turns_min.div_ceil(repeat).max(1);
        let duration = options.duration.unwrap_or(Duration::from_secs(5));
        let warmup = options.warmup.unwrap_or(Duration::from_millis(50));
        Turns { warmup, length: duration / (repeat * turns) as u32, repeat, turns }
    }

    pub fn count(&self) -> usize {
        self.repeat * self.turns
    }

    /// One turn of so many topologies and the null engine.
    pub fn expected(&self, topologies: usize) -> Duration {
        let each = self.warmup + self.length;
        each + (each + START_STOP) * topologies as u32
    }
}

/// One topology under one load.
pub(super) struct Case<'t> {
    target: &'t Target<'t>,
    pub manner: Manner,
    pub effective: Effective,
    /// In order of time: all turns of a repeat follow one another.
    slices: Vec<Slice>,
}

impl<'t> Case<'t> {
    /// Builds it once, to see what it comes to.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn new(target: &'t Target<'t>, manner: Manner) -> Result<Self> {
        let (effective, _) = Effective::of(&target.build(manner)?)?;
        Ok(Case { target, manner, effective, slices: Vec::new() })
    }

    /// Whether it keeps up with its load, pauses of the machine aside.
    fn is_sustained(&self) -> bool {
        is_mostly(self.slices.iter().map(|slice| slice.keeps_up || slice.ended_early))
    }

    pub fn label(&self, rate: NonZeroU64) -> String {
        format!("{} {} {rate}/s", self.target.name(), self.effective.text())
    }
}

/// The null engine and topologies under one rate.
pub(super) struct Contest<'t> {
    pub rate: NonZeroU64,
    turns: Turns,
    placement: Placement,
    pub cases: Vec<Case<'t>>,
    null: Vec<Interval>,
}

impl<'t> Contest<'t> {
    /// `executors` are those of all cases.
    pub fn new(rate: NonZeroU64, turns: Turns, executors: usize, cpus: &[CpuId], cases: Vec<Case<'t>>) -> Self {
        let placement = if executors > 1 && cpus.len() > 1 { Placement::TwoThreads } else { Placement::OneThread };
        Contest { rate, turns, placement, cases, null: Vec::new() }
    }

    fn load(&self) -> Load {
        Load { rate: self.rate, warmup: self.turns.warmup, length: self.turns.length }
    }

    pub fn expected(&self) -> Duration {
        self.turns.expected(self.cases.len())
    }

    /// One turn of each.
    ///
    /// # Errors
    /// When something cannot be started, or fails.
    pub fn turn(&mut self, session: &Session, events: &Text) -> Result<()> {
        let (load, clock) = (self.load(), &session.clock);
        if !(self.null.len() >= FAILURES_ENOUGH && self.null.iter().all(|slice| !self.null_keeps_up(slice))) {
            self.null.push(null_slice(self.placement, &load, &cpus(&session.options), events, clock)?);
        }
        for case in &mut self.cases {
            let failures = case.slices.iter().filter(|slice| !slice.keeps_up && !slice.ended_early).count();
            if failures >= FAILURES_ENOUGH && failures == case.slices.len() {
                continue;
            }
            let _others = hold_others(&session.options, case.effective.executors);
            case.slices.push(load.run(case.target.build(case.manner)?, clock)?);
        }
        Ok(())
    }

    /// The rows: the null engine's first, which is the yardstick of the others.
    pub fn rows(&self, bench: &'static str) -> Vec<Row> {
        let null = self.null_row();
        let mut rows: Vec<Row> = self.cases.iter().map(|case| self.case_row(bench, case, &null)).collect();
        rows.insert(0, null);
        rows
    }

    /// All of the events but for what rounding takes were there in time.
    fn null_keeps_up(&self, slice: &Interval) -> bool {
        let due = slice.length.as_secs_f64() * self.rate.get() as f64;
        slice.histogram.len() as f64 >= 0.99 * due - 1.0
    }

    fn null_is_sustained(&self) -> bool {
        is_mostly(self.null.iter().map(|slice| self.null_keeps_up(slice)))
    }

    fn null_row(&self) -> Row {
        if !self.null_is_sustained() {
            return null_engine_row(self.placement, self.rate.get()).first("sustained", false);
        }
        let slices: Vec<&Histogram<u64>> = self.null.iter().map(|slice| &slice.histogram).collect();
        let repeats = self.repeats(&slices);
        let half = |odd: usize| pooled_of(slices.iter().skip(odd).step_by(2).copied());
        let (one, other) = (half(0), half(1));
        let row = null_engine_row(self.placement, self.rate.get()).first("sustained", true);
        let mut row = percentiles(row, "", &repeats);
        for (name, quantile) in COMPARED {
            let (one, other) = (one.value_at_quantile(quantile), other.value_at_quantile(quantile));
            let ratio = one.max(other) as f64 / one.min(other).max(1) as f64;
            row = row.with(&format!("null_vs_null_{name}_ratio"), ratio);
        }
        row.intervals = self.null.clone();
        row
    }

    fn case_row(&self, bench: &'static str, case: &Case<'_>, null: &Row) -> Row {
        let Effective { executors, guarantee, wait } = case.effective;
        let slices = &case.slices;
        let of = |histogram: fn(&Slice) -> &Histogram<u64>| slices.iter().map(histogram).collect::<Vec<_>>();
        let (sink, tree) = (self.repeats(&of(|slice| &slice.sink)), self.repeats(&of(|slice| &slice.tree)));
        let cpus = slices.last().map_or(&[][..], |slice| &slice.executor_cpus);
        let sum = |count: fn(&Slice) -> u64| slices.iter().map(count).sum::<u64>();
        let is_sustained = case.is_sustained();
        let row = Row::new(bench, case.label(self.rate))
            .with("sustained", is_sustained)
            .with("shape", case.target.name())
            .with("guarantee", guarantee_key(guarantee))
            .with("rate", self.rate.get())
            .with("wait", wait.to_string())
            .with("executors", executors)
            .with("cpus", cpus.iter().copied().map(Value::from).collect::<Vec<_>>());
        if !is_sustained {
            // Percentiles of what only grows say for how long it was looked at.
            let cpu: Vec<f64> = slices.iter().map(|slice| slice.cpu_percent).collect();
            return row
                .repeated("cpu_percent", &cpu)
                .with("events", sum(|slice| slice.events))
                .with("unfinished", sum(|slice| slice.unfinished));
        }
        let mut row = percentiles(row, "", &sink);
        if tree.iter().any(|repeat| !repeat.is_empty()) {
            row = percentiles(row, "tree_", &tree);
        }
        if self.null_is_sustained() {
            row = self.against_null(row, &sink, null);
        }
        let cpu: Vec<f64> = slices.chunks(self.turns.turns).map(mean_cpu_percent).collect();
        row = row
            .repeated("cpu_percent", &cpu)
            .with("events", sum(|slice| slice.events))
            .with("starved", sum(|slice| slice.starved))
            .with("late_max_us", slices.iter().map(|slice| slice.late_max_ns).max().unwrap_or(0) as f64 / 1e3)
            .with("unfinished", sum(|slice| slice.unfinished));
        if slices.iter().any(|slice| slice.ended_early) {
            row = row.with("ended_early", true);
        }
        row.intervals = slices.iter().map(interval).collect();
        row.yardstick = Some(null.label.clone());
        row
    }

    /// How much longer, at the median and at p99, and how many times as long in the tail, which is the machine's.
    fn against_null(&self, mut row: Row, sink: &[Histogram<u64>], null: &Row) -> Row {
        let slices: Vec<&Histogram<u64>> = self.null.iter().map(|slice| &slice.histogram).collect();
        let nulls = self.repeats(&slices);
        let (all, all_null) = (pooled(sink), pooled(&nulls));
        for (name, quantile) in COMPARED {
            let figure = |one: &Histogram<u64>, null: &Histogram<u64>| {
                let (ns, null_ns) = (one.value_at_quantile(quantile) as f64, null.value_at_quantile(quantile) as f64);
                if is_tail(name) { ns / null_ns.max(1.0) } else { (ns - null_ns) / 1e3 }
            };
            let key = if is_tail(name) { format!("vs_null_{name}_ratio") } else { format!("vs_null_{name}_us_diff") };
            let repeats: Vec<f64> = sink.iter().zip(&nulls).map(|(one, null)| figure(one, null)).collect();
            // The figure is that of all turns together; the repeats tell the spread.
            row = row.repeated(&key, &repeats).with(&key, figure(&all, &all_null));
        }
        for name in ["p999", "p9999"] {
            let key = format!("null_vs_null_{name}_ratio");
            row = row.with(&key, null.number(&key));
        }
        row
    }

    fn repeats(&self, slices: &[&Histogram<u64>]) -> Vec<Histogram<u64>> {
        slices.chunks(self.turns.turns).map(|turns| pooled_of(turns.iter().copied())).collect()
    }
}

/// The quantiles that are compared with the null engine's.
const COMPARED: [(&str, f64); 4] = [QUANTILES[0], QUANTILES[2], QUANTILES[3], QUANTILES[4]];

/// More than half of them.
fn is_mostly(each: impl Iterator<Item = bool>) -> bool {
    let (all, yes) = each.fold((0, 0), |(all, yes), is| (all + 1, yes + usize::from(is)));
    2 * yes > all
}

fn is_tail(name: &str) -> bool {
    matches!(name, "p999" | "p9999")
}

/// Percentiles of all repeats together, since a single one has few samples beyond the higher ones, with the spread of
/// the repeats beside them.
fn percentiles(row: Row, prefix: &str, repeats: &[Histogram<u64>]) -> Row {
    row.distributions(prefix, Unit::Us, repeats).distribution(prefix, Unit::Us, &pooled(repeats))
}

fn pooled_of<'h>(histograms: impl Iterator<Item = &'h Histogram<u64>>) -> Histogram<u64> {
    let mut all = pooled(&[]);
    histograms.for_each(|one| all.add(one).expect("as wide as every histogram of the lab"));
    all
}

fn mean_cpu_percent(slices: &[Slice]) -> f64 {
    slices.iter().map(|slice| slice.cpu_percent).sum::<f64>() / slices.len() as f64
}

fn interval(slice: &Slice) -> Interval {
    Interval { start: slice.start, length: slice.length, histogram: slice.sink.clone() }
}

fn null_slice(placement: Placement, load: &Load, cpus: &[CpuId], events: &Text, clock: &Clock) -> Result<Interval> {
    let start_ns = clock.now_ns() + load.warmup.as_nanos() as u64;
    let histogram = null::slice(placement, load.rate.get(), load.warmup, load.length, cpus, events, clock)?;
    Ok(Interval { start: Duration::from_nanos(start_ns), length: load.length, histogram })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::settings::WaitPolicy;

    #[test]
    fn a_rate_that_nothing_keeps_up_with_is_marked_first_and_has_no_percentiles() {
        let text = Text::generated().in_lines_of(10);
        let target = Target::word_count(&text);
        let manner = Manner { executors: Some(1), guarantee: None, wait: Some(WaitPolicy::Park) };
        let case = Case::new(&target, manner).unwrap();
        let (options, length) = (Options::default(), Duration::from_millis(2));
        let turns = Turns { warmup: Duration::ZERO, length, repeat: 5, turns: 1 };
        let rate = NonZeroU64::new(10_000_000_000).unwrap();
        let mut contest = Contest::new(rate, turns, 1, &cpus(&options), vec![case]);
        let session = Session::begin("latency", options, Duration::from_secs(1));
        for _ in 0..turns.count() {
            contest.turn(&session, &text).unwrap();
        }
        assert_eq!((contest.null.len(), contest.cases[0].slices.len()), (2, 2), "it is enough to have seen it twice");
        for row in contest.rows("latency") {
            let shown: Vec<&String> = row.fields.keys().filter(|key| !["bench", "label"].contains(&&key[..])).collect();
            assert_eq!((shown[0].as_str(), &row.fields["sustained"]), ("sustained", &Value::Bool(false)));
            assert!(shown.iter().all(|key| !key.contains("p50") && !key.contains("p99")), "{shown:?}");
            assert!(row.histogram.is_none());
        }
    }
}
