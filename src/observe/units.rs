//! Numbers as people read them. Every form keeps three digits where exactness does not matter, and all where it does.

use std::time::Duration;

pub(crate) use crate::words::grouped;

/// `950 ns`, `12.3 µs`, `1.24 ms`, `30.1 s`.
pub(crate) fn time(us: f64) -> String {
    match us {
        us if us < 1.0 => format!("{:.0} ns", us * 1e3),
        us if us < 1e3 => format!("{} µs", three_digits(us)),
        us if us < 1e6 => format!("{} ms", three_digits(us / 1e3)),
        us => format!("{} s", three_digits(us / 1e6)),
    }
}

/// The time of a percentile; `-` if there were too few samples to tell.
pub(crate) fn percentile(us: Option<f64>) -> String {
    us.map_or_else(|| "-".to_owned(), time)
}

/// `12.3k`: for rates and other numbers that change faster than they are read.
pub(crate) fn rough(number: f64) -> String {
    match number {
        n if n < 1e3 => format!("{n:.0}"),
        n if n < 1e6 => format!("{}k", three_digits(n / 1e3)),
        n if n < 1e9 => format!("{}M", three_digits(n / 1e6)),
        n => format!("{}G", three_digits(n / 1e9)),
    }
}

/// `34.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let steps = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match steps.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{} {unit}", three_digits(bytes as f64 / (1u64 << shift) as f64)),
        None => format!("{bytes} B"),
    }
}

/// `0:07`, `1:02:03`.
pub(crate) fn elapsed(duration: Duration) -> String {
    let (hours, minutes, seconds) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60, duration.as_secs() % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

pub(crate) fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_carry_three_digits_and_their_unit() {
        let times = [(0.25, "250 ns"), (1.0, "1.00 µs"), (12.34, "12.3 µs"), (1_240.0, "1.24 ms"), (30.1e6, "30.1 s")];
        times.into_iter().for_each(|(us, text)| assert_eq!(time(us), text));
        assert_eq!(percentile(None), "-");
        let sizes = [(0, "0 B"), (1_023, "1023 B"), (1 << 10, "1.00 KiB"), (35_861_299, "34.2 MiB")];
        sizes.into_iter().for_each(|(bytes, text)| assert_eq!(size(bytes), text));
        let roughly = [(0.4, "0"), (999.0, "999"), (12_345.0, "12.3k"), (4.2e6, "4.20M")];
        roughly.into_iter().for_each(|(number, text)| assert_eq!(rough(number), text));
        assert_eq!(elapsed(Duration::from_secs(67)), "1:07");
        assert_eq!(elapsed(Duration::from_secs(3_723)), "1:02:03");
    }
}
