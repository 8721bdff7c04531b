//! How rows are read: which fields are figures, in which unit, and which of two figures is the better one. The unit is
//! in the key; see `docs/bench-format.md`.

use serde_json::{Map, Value};

use crate::bench::row::{QUANTILES, SPREAD_MAX, SPREAD_MIN};
use crate::observe::units::{grouped, rough, size, three_digits, time};

/// A row's fields, as in JSON.
pub(super) type Fields = Map<String, Value>;

/// Samples that must lie beyond a percentile for it to be shown to people.
const SAMPLES_BEYOND_MIN: f64 = 100.0;

/// What a figure measures, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Ns,
    Us,
    Ms,
    Seconds,
    Bytes,
    Percent,
    PerSecond,
    Ratio,
    Other,
}

impl Measure {
    pub fn of(key: &str) -> Self {
        match key {
            "ns" => Measure::Ns,
            "ratio" => Measure::Ratio,
            key if key.ends_with("_per_s") => Measure::PerSecond,
            key if key.ends_with("_ns") || key.starts_with("ns_per_") => Measure::Ns,
            key if key.ends_with("_us") || key.starts_with("us_per_") => Measure::Us,
            key if key.ends_with("_ms") => Measure::Ms,
            key if key.ends_with("_s") => Measure::Seconds,
            key if key.ends_with("_bytes") => Measure::Bytes,
            key if key.ends_with("_percent") => Measure::Percent,
            key if key.ends_with("_ratio") || key.starts_with("ratio_") => Measure::Ratio,
            _ => Measure::Other,
        }
    }

    /// `Some(true)` if less is better; `None` if the key does not tell.
    pub fn less_is_better(self, key: &str) -> Option<bool> {
        match self {
            Measure::PerSecond => Some(key.contains("pauses")),
            Measure::Ns | Measure::Us | Measure::Ms | Measure::Seconds | Measure::Bytes | Measure::Percent => {
                Some(true)
            }
            Measure::Other if key.contains("allocs") => Some(true),
            Measure::Ratio | Measure::Other => None,
        }
    }

    /// A figure as people read it.
    pub fn text(self, figure: f64) -> String {
        match self {
            Measure::Ns if figure < 999.5 => format!("{} ns", three_digits(figure)),
            Measure::Ns => time(figure / 1e3),
            Measure::Us if figure < 0.9995 => format!("{} ns", three_digits(figure * 1e3)),
            Measure::Us => time(figure),
            Measure::Ms => time(figure * 1e3),
            Measure::Seconds => time(figure * 1e6),
            Measure::Bytes => size(figure.max(0.0) as u64),
            Measure::Percent => format!("{} %", three_digits(figure)),
            Measure::PerSecond => rough(figure),
            Measure::Ratio => format!("{}\u{d7}", three_digits(figure)),
            Measure::Other if figure.fract() == 0.0 && figure >= 0.0 => grouped(figure as u64),
            Measure::Other if figure != 0.0 && figure.abs() < 0.01 => format!("{figure:.1e}"),
            Measure::Other => three_digits(figure),
        }
    }
}

/// What a column of this key is called: `p99.9` for `p999_us`.
pub(super) fn heading(key: &str) -> String {
    let unitless = ["_ns", "_us", "_ms", "_bytes", "_percent"].iter().find_map(|unit| key.strip_suffix(unit));
    let name = match (unitless, key.strip_suffix("_per_s")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => format!("{name}/s"),
        (None, None) => key.strip_suffix("_s").unwrap_or(key).to_owned(),
    };
    let name = name.replace("p9999", "p99.99").replace("p999", "p99.9");
    name.replace('_', " ")
}

/// A field as a cell of a table: with its unit, its spread, and `-` where it is not known well enough.
pub(super) fn cell(fields: &Fields, key: &str) -> String {
    match fields.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(is)) => (if *is { "yes" } else { "no" }).to_owned(),
        Some(Value::Number(_)) if is_beyond_the_samples(fields, key) => "-".to_owned(),
        Some(Value::Number(number)) => {
            let figure = number.as_f64().unwrap_or(f64::NAN);
            let spread = spread_percent(fields, key, figure).map(|percent| format!(" \u{b1}{percent:.0}%"));
            Measure::of(key).text(figure) + &spread.unwrap_or_default()
        }
        Some(other) => other.to_string(),
    }
}

/// The smallest and the largest of the repeats behind a figure, if there were any.
pub(super) fn spread(fields: &Fields, key: &str) -> Option<(f64, f64)> {
    let side = |end: &str| fields.get(&format!("{key}{end}")).and_then(Value::as_f64);
    side(SPREAD_MIN).zip(side(SPREAD_MAX))
}

/// True for the fields that only tell the spread of another one.
pub(super) fn is_spread(fields: &Fields, key: &str) -> bool {
    let base = key.strip_suffix(SPREAD_MIN).or_else(|| key.strip_suffix(SPREAD_MAX));
    base.is_some_and(|base| fields.contains_key(base))
}

fn spread_percent(fields: &Fields, key: &str, figure: f64) -> Option<f64> {
    let (min, max) = spread(fields, key)?;
    (figure != 0.0).then(|| 100.0 * (figure - min).max(max - figure) / figure.abs())
}

/// Whether this is a percentile with too few samples beyond it to be shown.
pub(super) fn is_beyond_the_samples(fields: &Fields, key: &str) -> bool {
    let Some((name, _)) = key.rsplit_once('_') else { return false };
    let found = QUANTILES.iter().find_map(|(quantile, at)| Some((name.strip_suffix(quantile)?, at)));
    let Some((prefix, at)) = found.filter(|(prefix, _)| prefix.is_empty() || prefix.ends_with('_')) else {
        return false;
    };
    let count = fields.get(&format!("{prefix}count")).and_then(Value::as_f64);
    count.is_some_and(|count| count * (1.0 - at) < SAMPLES_BEYOND_MIN - 0.5)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_cell_shows_the_unit_that_is_in_the_key_and_the_spread() {
        let row = fields(json!({"p50_ns": 57.25, "p50_ns_min": 50, "p50_ns_max": 60, "ns_per_word": 1234.0,
            "lines_per_s": 1_250_000.0, "peak_bytes": 1 << 20, "cpu_percent": 99.0, "allocs_per_word": 0.0004,
            "rate": 100_000, "hop_ratio": 1.5, "wait": "park", "p99_us": 0.25, "governor": null, "pinned": true}));
        let cells = [
            ("p50_ns", "57.2 ns \u{b1}13%"),
            ("ns_per_word", "1.23 µs"),
            ("lines_per_s", "1.25M"),
            ("peak_bytes", "1.00 MiB"),
            ("cpu_percent", "99.0 %"),
            ("allocs_per_word", "4.0e-4"),
            ("rate", "100,000"),
            ("hop_ratio", "1.50\u{d7}"),
            ("wait", "park"),
            ("p99_us", "250 ns"),
            ("governor", "-"),
            ("pinned", "yes"),
        ];
        cells.into_iter().for_each(|(key, text)| assert_eq!(cell(&row, key), text));
        assert_eq!(spread(&row, "p50_ns"), Some((50.0, 60.0)));
        assert!(is_spread(&row, "p50_ns_max") && !is_spread(&row, "p50_ns"));
        assert!(!is_spread(&fields(json!({"slots_max": 4})), "slots_max"));
    }

    #[test]
    fn a_percentile_needs_a_hundred_samples_beyond_it() {
        let row = fields(json!({"p99_us": 5.0, "p999_us": 9.0, "count": 10_000, "tree_p99_us": 1.0, "tree_count": 9}));
        assert_eq!((cell(&row, "p99_us").as_str(), cell(&row, "p999_us").as_str()), ("5.00 µs", "-"));
        assert_eq!(cell(&row, "tree_p99_us"), "-");
    }

    #[test]
    fn headings_say_percentiles_as_people_do() {
        let keys = [("p9999_us", "p99.99"), ("lines_per_s", "lines/s"), ("tree_p999_ns", "tree p99.9")];
        keys.into_iter().for_each(|(key, text)| assert_eq!(heading(key), text));
    }

    #[test]
    fn the_unit_tells_what_is_better() {
        let better = |key: &str| Measure::of(key).less_is_better(key);
        assert_eq!(
            (better("p50_ns"), better("words_per_s"), better("allocs_per_word")),
            (Some(true), Some(false), Some(true))
        );
        assert_eq!((better("rate"), better("cpu_s"), better("pauses_over_10us_per_s")), (None, Some(true), Some(true)));
    }
}
