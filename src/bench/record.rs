//! What a report keeps of a row: its fields, and its histograms in the forms in which they are written and drawn.
//! The histograms themselves are large and are not kept.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use crate::bench::figure::Fields;
use crate::bench::hdr;
use crate::bench::row::{Interval, Row};

/// Points of a percentile curve per factor of ten in 1/(1-p).
const POINTS_PER_DECADE: u32 = 40;

/// A finished row.
pub(super) struct Record {
    pub bench: &'static str,
    /// As written to JSON, with the label.
    pub fields: Fields,
    pub label: String,
    pub yardstick: Option<String>,
    pub drawn: Option<Drawn>,
}

/// What is left of a row's histograms.
pub(super) struct Drawn {
    /// Nanoseconds over 1/(1-p), from the median's side to the last sample.
    pub curve: Vec<(f64, f64)>,
    /// In order of time; empty if the row was not measured over time.
    pub slices: Vec<Slice>,
    pub interval_log: Vec<u8>,
    pub percentiles: String,
}

/// One interval of a row, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    /// The middle of the interval, since the session began.
    pub at: Duration,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

impl Record {
    /// Takes what is needed from a row that was measured during `span` of the session that began at `began`.
    pub fn of(row: &Row, began: SystemTime, span: (Duration, Duration)) -> io::Result<Self> {
        let mut fields = row.fields.clone();
        if let Some(yardstick) = &row.yardstick {
            fields.insert("yardstick".to_owned(), yardstick.clone().into());
        }
        fields.insert("label".to_owned(), row.label.clone().into());
        let drawn = row.histogram.as_ref().map(|histogram| Drawn::of(row, histogram, began, span)).transpose()?;
        Ok(Record { bench: row.bench, fields, label: row.label.clone(), yardstick: row.yardstick.clone(), drawn })
    }

    /// A text field, or an empty text.
    pub fn text(&self, key: &str) -> &str {
        self.fields.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    /// A field as a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.fields.get(key).and_then(serde_json::Value::as_f64)
    }

    /// The label as the name of a file.
    pub fn file_name(&self) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let per_s = self.label.replace("/s", "_per_s");
        let name: String = per_s.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        format!("{}_{}", self.bench, name)
    }
}

impl Drawn {
    fn of(row: &Row, histogram: &Histogram<u64>, began: SystemTime, span: (Duration, Duration)) -> io::Result<Self> {
        let whole;
        let intervals: &[Interval] = if row.intervals.is_empty() {
            whole = [hdr::whole(histogram, span.0, span.1)];
            &whole
        } else {
            &row.intervals
        };
        let mut slices: Vec<Slice> = row.intervals.iter().filter_map(Slice::of).collect();
        slices.sort_by_key(|slice| slice.at);
        Ok(Drawn {
            curve: curve(histogram),
            slices,
            interval_log: hdr::interval_log(&row.label, began, intervals)?,
            percentiles: hdr::percentiles(histogram),
        })
    }
}

impl Slice {
    fn of(Interval { start, length, histogram }: &Interval) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        let slice = Slice { at: *start + *length / 2, p50_ns: at(0.5), p99_ns: at(0.99), max_ns: histogram.max() };
        (!histogram.is_empty()).then_some(slice)
    }
}

/// The percentile curve: 1/(1-p) against the value in nanoseconds.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let end = (histogram.len() as f64).max(1.0);
    let steps = (end.log10() * f64::from(POINTS_PER_DECADE)).ceil() as u32;
    let inverse_of = |step: u32| 10_f64.powf(f64::from(step) / f64::from(POINTS_PER_DECADE)).min(end);
    let point = |step| {
        let inverse = inverse_of(step);
        (inverse, histogram.value_at_quantile(1.0 - 1.0 / inverse) as f64)
    };
    let mut points: Vec<(f64, f64)> = (0..steps).map(point).collect();
    points.push((end, histogram.max() as f64));
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::{Unit, histogram};

    #[test]
    fn a_curve_runs_from_the_smallest_to_the_largest_sample() {
        let mut samples = histogram();
        (1..=1_000).for_each(|ns| samples.record(ns).unwrap());
        let points = curve(&samples);
        assert_eq!((points[0], *points.last().unwrap()), ((1.0, 1.0), (1_000.0, 1_000.0)));
        assert_eq!(points[80].0, 100.0, "p99 is at 100");
        assert!((989.0..=991.0).contains(&points[80].1), "{}", points[80].1);
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
    }

    #[test]
    fn a_label_becomes_a_file_s_name() {
        let row = Row::new("latency", "chain at-least-once 100000/s");
        let record = Record::of(&row, SystemTime::UNIX_EPOCH, Default::default()).unwrap();
        assert_eq!(record.file_name(), "latency_chain_at-least-once_100000_per_s");
        assert!(record.drawn.is_none());
    }

    #[test]
    fn a_row_that_was_not_measured_over_time_is_one_interval_of_its_log_and_has_no_slices() {
        let mut samples = histogram();
        samples.record(5).unwrap();
        let row = Row::new("hop", "x").distribution("", Unit::Ns, &samples);
        let span = (Duration::from_secs(2), Duration::from_secs(3));
        let drawn = Record::of(&row, SystemTime::UNIX_EPOCH, span).unwrap().drawn.unwrap();
        assert!(drawn.slices.is_empty());
        assert!(String::from_utf8(drawn.interval_log).unwrap().contains("\n2.000,1.000,0.000,"));
    }
}
