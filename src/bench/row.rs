//! A row: what one measurement found, as a JSON object with units in its keys, and the histograms behind it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value};

/// One measured row. `bench` and the identifying fields come first, figures after them.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The subcommand: `floor`, `hop`, ...
    pub bench: &'static str,
    /// For people and file names, unique within a report: `chain at_least_once 100000/s`.
    pub label: String,
    /// In order of insertion.
    pub fields: Map<String, Value>,
    /// The whole distribution in nanoseconds, if the row has one.
    pub histogram: Option<Histogram<u64>>,
    /// The same over time, if the row was measured over time.
    pub intervals: Vec<Interval>,
    /// The label of the row that this one is drawn above and compared with, such as the null engine's.
    pub yardstick: Option<String>,
}

/// A slice of a row's time with its own histogram, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// Since the session began.
    pub start: Duration,
    pub length: Duration,
    pub histogram: Histogram<u64>,
}

/// The unit of a row's percentiles; it is part of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Ns,
    Us,
}

impl Unit {
    /// How keys in this unit end.
    fn suffix(self) -> &'static str {
        match self {
            Unit::Ns => "ns",
            Unit::Us => "us",
        }
    }

    fn of_ns(self, ns: u64) -> f64 {
        match self {
            Unit::Ns => ns as f64,
            Unit::Us => ns as f64 / 1_000.0,
        }
    }
}

/// What the keys of a figure's spread add to the figure's own.
pub(crate) const SPREAD_MIN: &str = "_min";
pub(crate) const SPREAD_MAX: &str = "_max";

/// Quantiles that every distribution is reported at, and their names in keys.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

impl Row {
    pub fn new(bench: &'static str, label: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("bench".to_owned(), bench.into());
        Row { bench, label: label.into(), fields, histogram: None, intervals: Vec::new(), yardstick: None }
    }

    /// Adds a field.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a field before all others that are shown.
    pub fn first(mut self, key: &str, value: impl Into<Value>) -> Self {
        // After `bench`.
        self.fields.shift_insert(1, key.to_owned(), value.into());
        self
    }

    /// Adds `p50_ns` ... `max_ns` (or `_us`), `count`, and keeps the histogram for curves and files. `prefix` goes
    /// before each key and is usually empty; only the histogram of the empty prefix is kept.
    pub fn distribution(mut self, prefix: &str, unit: Unit, histogram: &Histogram<u64>) -> Self {
        let mut put = |name: &str, ns: u64| {
            self.fields.insert(format!("{prefix}{name}_{}", unit.suffix()), number(unit.of_ns(ns)));
        };
        for (name, quantile) in QUANTILES {
            put(name, histogram.value_at_quantile(quantile));
        }
        put("max", histogram.max());
        self.fields.insert(format!("{prefix}count"), histogram.len().into());
        if prefix.is_empty() {
            self.histogram = Some(histogram.clone());
        }
        self
    }

    /// Adds the percentiles of a distribution that was measured several times: each is the median of the repeats', with
    /// its spread beside it; the largest value is that of all of them. The repeats together are kept as the histogram.
    pub fn distributions(self, prefix: &str, unit: Unit, repeats: &[Histogram<u64>]) -> Self {
        let mut row = self.distribution(prefix, unit, &pooled(repeats));
        for (name, quantile) in QUANTILES {
            let figures: Vec<f64> = repeats.iter().map(|one| unit.of_ns(one.value_at_quantile(quantile))).collect();
            row = row.repeated(&format!("{prefix}{name}_{}", unit.suffix()), &figures);
        }
        let maxima: Vec<f64> = repeats.iter().map(|one| unit.of_ns(one.max())).collect();
        row.spread(&format!("{prefix}max_{}", unit.suffix()), &maxima)
    }

    /// Adds a figure that was measured several times: the median under `key`, the spread as `key_min` and `key_max`.
    /// A single measurement tells nothing about its noise: it gets no spread. Without any, nothing is added.
    pub fn repeated(mut self, key: &str, figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return self,
            length if length.is_multiple_of(2) => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        self.fields.insert(key.to_owned(), number(median));
        self.spread(key, &sorted)
    }

    fn spread(mut self, key: &str, figures: &[f64]) -> Self {
        if figures.len() > 1 {
            let (min, max) = figures.iter().fold((f64::MAX, f64::MIN), |(min, max), &f| (min.min(f), max.max(f)));
            self.fields.insert(format!("{key}{SPREAD_MIN}"), number(min));
            self.fields.insert(format!("{key}{SPREAD_MAX}"), number(max));
        }
        self
    }

    /// A field as a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.fields.get(key).and_then(Value::as_f64)
    }
}

/// A whole number as one: `57`, not `57.0`.
fn number(figure: f64) -> Value {
    if figure.fract() == 0.0 && figure.abs() < 9e15 { Value::from(figure as i64) } else { Value::from(figure) }
}

/// A histogram of the lab: three significant digits, 1 ns to one hour. Large; never on a task's hot path.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("constant bounds are valid")
}

/// All repeats in one histogram.
pub(crate) fn pooled(repeats: &[Histogram<u64>]) -> Histogram<u64> {
    let mut together = histogram();
    for repeat in repeats {
        together.add(repeat).expect("as wide as every histogram of the lab");
    }
    together
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Histogram<u64> {
        let mut one = histogram();
        values.iter().for_each(|&value| one.record(value).unwrap());
        one
    }

    #[test]
    fn a_figure_of_several_repeats_is_their_median_with_its_spread() {
        let row = Row::new("hop", "x").repeated("a_ns", &[3.0, 1.0, 2.5]).repeated("b_ns", &[4.0, 1.0]);
        let row = row.repeated("once_ns", &[7.0]).repeated("never_ns", &[]);
        let json = Value::Object(row.fields).to_string();
        let expected = r#""a_ns":2.5,"a_ns_min":1,"a_ns_max":3,"b_ns":2.5,"b_ns_min":1,"b_ns_max":4,"once_ns":7"#;
        assert_eq!(json, format!(r#"{{"bench":"hop",{expected}}}"#));
    }

    #[test]
    fn percentiles_of_repeats_are_medians_and_the_maximum_is_that_of_all() {
        let repeats = [of(&[100, 100]), of(&[300, 900]), of(&[200, 200])];
        let row = Row::new("hop", "x").distributions("", Unit::Ns, &repeats);
        let figure = |key| row.number(key).unwrap();
        assert_eq!((figure("p50_ns"), figure("p50_ns_min"), figure("p50_ns_max")), (200.0, 100.0, 300.0));
        assert_eq!((figure("max_ns"), figure("max_ns_min"), figure("max_ns_max")), (900.0, 100.0, 900.0));
        assert_eq!((figure("count"), row.histogram.as_ref().unwrap().len()), (6.0, 6));
        let one = Row::new("hop", "x").distributions("tree_", Unit::Us, &repeats[..1]);
        assert_eq!((one.number("tree_p50_us"), one.number("tree_p50_us_min")), (Some(0.1), None));
        assert!(one.histogram.is_none());
    }
}
