//! Figures over repeats: the median, with the least and the greatest beside it.

use hdrhistogram::Histogram;

use crate::bench::row::{QUANTILES, Row, Unit};

/// Samples that must lie beyond a quantile within each repeat for its spread over repeats to mean anything.
const SAMPLES_BEYOND_MIN: f64 = 100.0;

/// What a figure was in the middle of the repeats, at least and at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of the figures of all repeats, in any order.
    ///
    /// # Panics
    /// If there is none, or one is no number.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(|a, b| a.partial_cmp(b).expect("figures are numbers"));
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            figures[middle - 1].midpoint(figures[middle])
        } else {
            figures[middle]
        };
        Spread { median, min: figures[0], max: figures[figures.len() - 1] }
    }
}

impl Row {
    /// Adds the median as `key`, and `key_min` and `key_max`.
    pub fn spread(self, key: &str, figures: impl IntoIterator<Item = f64>) -> Self {
        let Spread { median, min, max } = Spread::of(figures);
        self.with(key, median).with(&format!("{key}_min"), min).with(&format!("{key}_max"), max)
    }

    /// Adds the distribution of all repeats together, but with the median of the repeats for every quantile that each
    /// repeat has enough samples for, and the spread over the repeats beside it.
    pub fn repeats(self, unit: Unit, repeats: &[Histogram<u64>]) -> Self {
        let mut row = self.distribution("", unit, &pooled(repeats));
        let (suffix, ns_per_unit) = match unit {
            Unit::Ns => ("ns", 1.0),
            Unit::Us => ("us", 1_000.0),
        };
        for (name, quantile) in QUANTILES {
            let is_carried = |repeat: &Histogram<u64>| repeat.len() as f64 * (1.0 - quantile) >= SAMPLES_BEYOND_MIN;
            if repeats.iter().all(is_carried) {
                let figures = repeats.iter().map(|repeat| repeat.value_at_quantile(quantile) as f64 / ns_per_unit);
                row = row.spread(&format!("{name}_{suffix}"), figures);
            }
        }
        row
    }
}

/// All repeats in one histogram.
///
/// # Panics
/// If there is no repeat.
pub(crate) fn pooled(repeats: &[Histogram<u64>]) -> Histogram<u64> {
    let mut all = repeats[0].clone();
    repeats[1..].iter().for_each(|repeat| all += repeat);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::histogram;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
    }

    #[test]
    fn a_quantile_is_the_median_of_the_repeats_and_the_maximum_that_of_all() {
        let repeat = |value: u64| {
            let mut repeat = histogram();
            repeat.record_n(value, 10_000).unwrap();
            repeat
        };
        let row = Row::new("floor", "x").repeats(Unit::Ns, &[repeat(100), repeat(900), repeat(200)]);
        let number = |key: &str| row.number(key).unwrap();
        assert_eq!((number("p50_ns"), number("p50_ns_min"), number("p50_ns_max")), (200.0, 100.0, 900.0));
        assert_eq!((number("max_ns"), number("count")), (900.0, 30_000.0));
        assert!(row.number("p9999_ns_min").is_none(), "one sample beyond it in each repeat");
        assert_eq!(number("p9999_ns"), 900.0);
        assert_eq!(row.histogram.unwrap().len(), 30_000);
    }
}
