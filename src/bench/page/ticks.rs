//! Where an axis begins and ends, and which places on it have names.

use crate::bench::figure::Measure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// Values must be positive; others are drawn at the lower end.
    Log,
}

/// An axis fitted to values.
#[derive(Debug)]
pub(super) struct Ticks {
    scale: Scale,
    low: f64,
    high: f64,
    /// With names, ascending.
    pub major: Vec<f64>,
    /// Without.
    pub minor: Vec<f64>,
}

/// More names than this do not fit side by side.
const MAJOR_MAX: usize = 9;

impl Ticks {
    pub fn fit(scale: Scale, values: &[f64]) -> Self {
        let largest = values.iter().copied().filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
        match scale {
            Scale::Linear => Self::linear(largest),
            Scale::Log => {
                let positive = values.iter().copied().filter(|value| value.is_finite() && *value > 0.0);
                Self::log(positive.fold(largest, f64::min), largest)
            }
        }
    }

    fn linear(largest: f64) -> Self {
        let step = steps_from(largest / 8.0).next().expect("steps do not end");
        let count = (largest / step - 1e-9).ceil();
        let major: Vec<f64> = (0..=count as usize).map(|tick| tick as f64 * step).collect();
        Ticks { scale: Scale::Linear, low: 0.0, high: count * step, major, minor: Vec::new() }
    }

    fn log(smallest: f64, largest: f64) -> Self {
        let decade = |value: f64, round: fn(f64) -> f64| round(value.log10()) as i32;
        let (first, last) = (decade(smallest * 1.000_001, f64::floor), decade(largest * 0.999_999, f64::ceil));
        let on = |digits: &'static [i32]| {
            (first..=last)
                .flat_map(move |decade| digits.iter().map(move |&digit| f64::from(digit) * 10_f64.powi(decade)))
        };
        // The ends are round numbers; a decade of which little is used is not shown whole.
        let low = on(&[1, 2, 5]).filter(|&at| at <= smallest * 1.000_001).next_back().unwrap_or(smallest);
        let high = on(&[1, 2, 5]).find(|&at| at >= largest * 0.999_999 && at > low).unwrap_or(low * 10.0);
        let inside = |at: &f64| (low * 0.999_999..=high * 1.000_001).contains(at);
        let decades: Vec<f64> = on(&[1]).filter(inside).collect();
        let finer: Vec<f64> = on(&[1, 2, 5]).filter(inside).collect();
        let major = if decades.len() < 4 && finer.len() <= MAJOR_MAX { finer } else { every(decades) };
        let minor = on(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).filter(inside).collect();
        Ticks { scale: Scale::Log, low, high, major, minor }
    }

    /// Where a value lies, from 0 at the lower end to 1 at the upper.
    pub fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        place.clamp(0.0, 1.0)
    }
}

/// All decades, or as many of them at equal distances as fit.
fn every(decades: Vec<f64>) -> Vec<f64> {
    let step = decades.len().div_ceil(MAJOR_MAX);
    decades.into_iter().step_by(step).collect()
}

/// 1, 2, 5, 10, ... times a power of ten, from this value on.
fn steps_from(value: f64) -> impl Iterator<Item = f64> {
    let decade = value.log10().floor() as i32;
    let steps = (decade..).flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(decade)));
    steps.skip_while(move |step| *step < value * 0.999_999)
}

/// A round value with its unit, as short as it can be: `20 µs`, `100k`.
pub(super) fn tick_text(measure: Measure, value: f64) -> String {
    let units: &[(f64, &str)] = match measure {
        Measure::Ns => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
        Measure::Us => return tick_text(Measure::Ns, value * 1e3),
        Measure::Ms => return tick_text(Measure::Ns, value * 1e6),
        Measure::Seconds => &[(1.0, " s")],
        Measure::Bytes => &[((1_u64 << 30) as f64, " GiB"), ((1 << 20) as f64, " MiB"), (1024.0, " KiB"), (1.0, " B")],
        Measure::Percent => &[(1.0, " %")],
        Measure::Ratio => &[(1.0, "×")],
        Measure::PerSecond | Measure::Other => &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")],
    };
    let last = units[units.len() - 1];
    let &(divisor, unit) = units.iter().find(|(divisor, _)| value >= divisor * 0.999_999).unwrap_or(&last);
    let scaled = value / divisor;
    let digits = if scaled < 1.0 { 3 } else { 2 };
    let number = format!("{scaled:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{unit}")
}

/// The percentile at 1/(1-p): `99.9%`.
pub(super) fn percentile_text(inverse: f64) -> String {
    let decades = inverse.log10().round() as usize;
    match decades {
        0 => "0%".to_owned(),
        1 => "90%".to_owned(),
        2 => "99%".to_owned(),
        more => format!("99.{}%", "9".repeat(more - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_ends_at_round_numbers_and_names_decades() {
        let ticks = Ticks::fit(Scale::Log, &[57.0, 0.0, 1_200_000.0]);
        assert_eq!((ticks.low, ticks.high), (50.0, 2_000_000.0));
        assert_eq!(ticks.major, [1e2, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!((ticks.place(50.0), ticks.place(0.0), ticks.place(2e6)), (0.0, 0.0, 1.0));
        assert!((ticks.place(1e4) - 0.5).abs() < 1e-9, "{}", ticks.place(1e4));
    }

    #[test]
    fn a_short_logarithmic_axis_names_more_than_decades() {
        let ticks = Ticks::fit(Scale::Log, &[57.0, 105.0]);
        assert_eq!(ticks.major, [50.0, 100.0, 200.0]);
        let one_value = Ticks::fit(Scale::Log, &[100.0]);
        assert!(one_value.high > one_value.low);
        assert!(Ticks::fit(Scale::Log, &[]).high > 0.0);
    }

    #[test]
    fn a_linear_axis_starts_at_zero_and_has_round_steps() {
        let ticks = Ticks::fit(Scale::Linear, &[3.0, 29.0]);
        assert_eq!(ticks.major, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(ticks.place(15.0), 0.5);
        assert!(Ticks::fit(Scale::Linear, &[0.0]).place(0.0).is_finite());
    }

    #[test]
    fn ticks_are_short_and_carry_their_unit() {
        let times = [(50.0, "50 ns"), (1e3, "1 µs"), (2e7, "20 ms"), (1e9, "1 s"), (0.5, "0.5 ns")];
        times.into_iter().for_each(|(ns, text)| assert_eq!(tick_text(Measure::Ns, ns), text));
        assert_eq!(tick_text(Measure::Us, 0.2), "200 ns");
        assert_eq!((tick_text(Measure::Other, 1e5), tick_text(Measure::Other, 64.0)), ("100k".into(), "64".into()));
        assert_eq!(tick_text(Measure::PerSecond, 2.5e6), "2.5M");
        let percentiles = [1.0, 10.0, 100.0, 1e4].map(percentile_text);
        assert_eq!(percentiles, ["0%", "90%", "99%", "99.99%"]);
    }
}
