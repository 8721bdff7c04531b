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

    /// Adds `p50_ns` ... `max_ns` (or `_us`), `count`, and keeps the histogram for curves and files. `prefix` goes
    /// before each key and is usually empty; only the histogram of the empty prefix is kept.
    pub fn distribution(mut self, prefix: &str, unit: Unit, histogram: &Histogram<u64>) -> Self {
        let (suffix, divisor) = match unit {
            Unit::Ns => ("ns", 1.0),
            Unit::Us => ("us", 1_000.0),
        };
        let mut put = |name: &str, ns: u64| {
            let value = if divisor == 1.0 { Value::from(ns) } else { Value::from(ns as f64 / divisor) };
            self.fields.insert(format!("{prefix}{name}_{suffix}"), value);
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

    /// A field as a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.fields.get(key).and_then(Value::as_f64)
    }
}

/// A histogram of the lab: three significant digits, 1 ns to one hour. Large; never on a task's hot path.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("constant bounds are valid")
}
