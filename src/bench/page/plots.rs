//! Which rows are drawn in which chart.

use std::time::Duration;

use crate::bench::figure::{Measure, heading, is_beyond_the_samples};
use crate::bench::page::svg::{Axis, COLOURS, Chart, Curve, Look};
use crate::bench::page::ticks::{Scale, percentile_text, tick_text};
use crate::bench::record::{Drawn, Record, Slice};
use crate::bench::row::QUANTILES;

/// Beyond this ratio of the largest to the smallest value an axis is logarithmic.
const LINEAR_RATIO_MAX: f64 = 20.0;

/// Finds rows for each other.
pub(super) struct Plots<'r> {
    records: &'r [Record],
    /// The row that says how the machine itself hesitates; the worst one, if there is one per CPU.
    hiccups: Option<&'r Record>,
}

impl<'r> Plots<'r> {
    pub fn of(records: &'r [Record]) -> Self {
        let hiccups = records.iter().filter(|record| is_hiccups(record));
        let worst =
            |record: &&Record| record.drawn.as_ref().and_then(|drawn| drawn.curve.last()).map_or(0, |p| p.1 as u64);
        Plots { records, hiccups: hiccups.max_by_key(worst) }
    }

    fn by_label(&self, label: &str) -> Option<&'r Record> {
        self.records.iter().find(|record| record.label == label)
    }

    /// Rows whose own curves are drawn: all but those that only stand under others.
    fn drawn(&self) -> impl Iterator<Item = (&'r Record, &'r Drawn)> {
        let is_yardstick =
            |record: &Record| self.records.iter().any(|other| other.yardstick.as_deref() == Some(&record.label));
        let own = self.records.iter().filter(move |record| !is_yardstick(record) && !is_hiccups(record));
        own.filter_map(|record| Some((record, record.drawn.as_ref()?)))
    }

    /// Percentile curves: one chart per bench and yardstick.
    pub fn percentiles(&self) -> Vec<Chart> {
        let rows = self.drawn().map(|(record, drawn)| ((record.bench, record.yardstick.as_deref()), (record, drawn)));
        let mut charts = Vec::new();
        for ((bench, yardstick), rows) in grouped(rows) {
            let yardstick = yardstick.and_then(|label| self.by_label(label));
            for rows in rows.chunks(COLOURS) {
                let mut curves: Vec<Curve> =
                    self.hiccups.into_iter().filter_map(|hiccups| under(hiccups, yardstick)).collect();
                curves.extend(yardstick.and_then(|record| percentile_curve(record, Look::Yardstick)));
                let line = |(colour, (record, _)): (usize, &(&Record, &Drawn))| {
                    percentile_curve(record, Look::Line { colour, has_marks: false })
                };
                curves.extend(rows.iter().enumerate().filter_map(line));
                let against = yardstick.map(|record| format!(" against {}", record.label)).unwrap_or_default();
                let x = Axis { title: "percentile".into(), scale: Scale::Log, tick: Box::new(percentile_text) };
                charts.push(Chart { title: format!("{bench}: percentiles{against}"), x, y: latency_axis(), curves });
            }
        }
        charts
    }

    /// One chart per row that was measured over time.
    pub fn over_time(&self) -> Vec<Chart> {
        let mut charts = Vec::new();
        for (record, drawn) in self.drawn().filter(|(_, drawn)| drawn.slices.len() > 1) {
            let start = drawn.slices[0].at;
            let of = |value: OfSlice, slices: &[Slice]| -> Vec<(f64, f64)> {
                let point = |slice: &Slice| (slice.at.saturating_sub(start).as_secs_f64(), value(slice) as f64);
                slices.iter().map(point).collect()
            };
            let max = |slice: &Slice| slice.max_ns;
            let below = [self.hiccups, record.yardstick.as_deref().and_then(|label| self.by_label(label))];
            let below = below.into_iter().flatten().find(|below| slices(below).len() > 1);
            let mut curves: Vec<Curve> = below
                .map(|below| Curve {
                    name: format!("max of {}", below.label),
                    points: of(max, &within(slices(below), &drawn.slices)),
                    look: Look::Under,
                })
                .into_iter()
                .collect();
            let lines: [(&str, OfSlice); 3] =
                [("p50", |slice| slice.p50_ns), ("p99", |slice| slice.p99_ns), ("max", max)];
            for (colour, (name, value)) in lines.into_iter().enumerate() {
                let look = Look::Line { colour, has_marks: true };
                curves.push(Curve { name: name.into(), points: of(value, &drawn.slices), look });
            }
            let tick = Box::new(|value| tick_text(Measure::Seconds, value));
            let x = Axis { title: "time since the first interval, one point each".into(), scale: Scale::Linear, tick };
            let title = format!("{} over time: {}", record.bench, record.label);
            charts.push(Chart { title, x, y: latency_axis(), curves });
        }
        charts
    }

    /// Latency against load: one chart per series.
    pub fn load(&self) -> Vec<Chart> {
        let rows = self.records.iter().filter_map(|record| {
            let is_series = !record.text("series").is_empty() && record.number("x").is_none();
            let load = record.number("load").or_else(|| record.number("rate"))?;
            is_series.then(|| ((record.bench, record.text("series")), (load, record)))
        });
        let mut charts = Vec::new();
        for ((bench, series), mut rows) in grouped(rows) {
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut curves = Vec::new();
            let below = |(load, record): &(f64, &Record)| {
                let yardstick = self.by_label(record.yardstick.as_deref()?)?;
                Some((*load, latency_ns(yardstick, "p99")?))
            };
            let points: Vec<(f64, f64)> = rows.iter().filter_map(below).collect();
            if !points.is_empty() {
                curves.push(Curve { name: "p99 of the yardstick".into(), points, look: Look::Yardstick });
            }
            for (colour, (name, _)) in QUANTILES.into_iter().chain([("max", 1.0)]).enumerate() {
                let point = |(load, record): &(f64, &Record)| Some((*load, latency_ns(record, name)?));
                let points: Vec<(f64, f64)> = rows.iter().filter_map(point).collect();
                if !points.is_empty() {
                    curves.push(Curve { name: heading(name), points, look: Look::Line { colour, has_marks: true } });
                }
            }
            let scale = scale_of(rows.iter().map(|row| row.0));
            let tick = Box::new(|value| tick_text(Measure::PerSecond, value));
            let x = Axis { title: "events per second".into(), scale, tick };
            if rows.len() > 1 && !curves.is_empty() {
                charts.push(Chart { title: format!("{bench} against load: {series}"), x, y: latency_axis(), curves });
            }
        }
        charts
    }

    /// Cost over size: one chart per `chart`, or per series where rows name none.
    pub fn scaling(&self) -> Vec<Chart> {
        let rows = self.records.iter().filter_map(|record| {
            let (series, x) = (record.text("series"), record.number("x")?);
            let chart = Some(record.text("chart")).filter(|chart| !chart.is_empty()).unwrap_or(series);
            Some(((record.bench, chart), (series, x, record)))
        });
        let mut charts = Vec::new();
        for ((bench, chart), rows) in grouped(rows) {
            let Some(key) = rows.iter().find_map(|(.., record)| figure_drawn(record)) else { continue };
            let points = rows.iter().filter_map(|&(series, x, record)| Some((series, (x, record.number(&key)?))));
            let curves: Vec<Curve> = grouped(points)
                .into_iter()
                .enumerate()
                .map(|(colour, (series, mut points))| {
                    points.sort_by(|a, b| a.0.total_cmp(&b.0));
                    Curve { name: series.to_owned(), points, look: Look::Line { colour, has_marks: true } }
                })
                .collect();
            let measure = Measure::of(&key);
            let y_scale = scale_of(curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1)));
            let y =
                Axis { title: heading(&key), scale: y_scale, tick: Box::new(move |value| tick_text(measure, value)) };
            let named = rows.iter().map(|row| row.2.text("x_name")).find(|name| !name.is_empty()).unwrap_or(chart);
            let tick = Box::new(|value| tick_text(Measure::Other, value));
            let x = Axis { title: named.to_owned(), scale: Scale::Log, tick };
            charts.push(Chart { title: format!("{bench}: {chart}"), x, y, curves });
        }
        charts
    }
}

/// One of the lines over time.
type OfSlice = fn(&Slice) -> u64;

fn is_hiccups(record: &Record) -> bool {
    record.drawn.is_some() && record.text("row").starts_with("hiccup")
}

fn under(hiccups: &Record, yardstick: Option<&Record>) -> Option<Curve> {
    let is_the_yardstick = yardstick.is_some_and(|yardstick| yardstick.label == hiccups.label);
    if is_the_yardstick { None } else { percentile_curve(hiccups, Look::Under) }
}

fn percentile_curve(record: &Record, look: Look) -> Option<Curve> {
    Some(Curve { name: record.label.clone(), points: record.drawn.as_ref()?.curve.clone(), look })
}

fn slices(record: &Record) -> &[Slice] {
    record.drawn.as_ref().map_or(&[], |drawn| &drawn.slices)
}

/// Those that lie in the time that is shown.
fn within(slices: &[Slice], shown: &[Slice]) -> Vec<Slice> {
    let at = |slice: Option<&Slice>| slice.map_or(Duration::ZERO, |slice| slice.at);
    let shown = at(shown.first())..=at(shown.last());
    slices.iter().copied().filter(|slice| shown.contains(&slice.at)).collect()
}

fn latency_axis() -> Axis {
    let tick = Box::new(|value| tick_text(Measure::Ns, value));
    Axis { title: "latency".into(), scale: Scale::Log, tick }
}

/// A percentile in nanoseconds, if there are enough samples for it.
fn latency_ns(record: &Record, name: &str) -> Option<f64> {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6)];
    units.into_iter().find_map(|(unit, factor)| {
        let key = format!("{name}_{unit}");
        let figure = record.number(&key)?;
        (!is_beyond_the_samples(&record.fields, &key)).then_some(figure * factor)
    })
}

/// The figure that a scaling row names as its `y`, else its first one with a unit.
fn figure_drawn(record: &Record) -> Option<String> {
    let named = record.text("y");
    if !named.is_empty() {
        return Some(named.to_owned());
    }
    let has_unit = |key: &&String| Measure::of(key) != Measure::Other && record.number(key).is_some();
    record.fields.keys().find(has_unit).cloned()
}

fn scale_of(values: impl Iterator<Item = f64> + Clone) -> Scale {
    let (smallest, largest) = (values.clone().fold(f64::MAX, f64::min), values.fold(0.0, f64::max));
    if smallest > 0.0 && largest / smallest > LINEAR_RATIO_MAX { Scale::Log } else { Scale::Linear }
}

/// Values by key, in the order in which the keys first occur.
fn grouped<K: PartialEq, V>(pairs: impl Iterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in pairs {
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => groups.push((key, vec![value])),
        }
    }
    groups
}
