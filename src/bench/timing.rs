//! How long things are measured, and how often.

use std::time::Duration;

use crate::bench::session::Options;

/// The times of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Time before each measurement that does not count.
    pub warmup: Duration,
    /// Time that each repeat is measured.
    pub slice: Duration,
    /// Repeats.
    pub repeat: usize,
}

impl Timing {
    /// Medians are of at least this many repeats, unless fewer are asked for.
    pub const REPEAT: usize = 5;

    /// What the options say; by default `duration` for each row over all its repeats.
    pub fn of(options: &Options, duration: Duration, warmup: Duration) -> Self {
        let repeat = options.repeat.unwrap_or(Self::REPEAT).max(1);
        let duration = options.duration.unwrap_or(duration);
        Timing { warmup: options.warmup.unwrap_or(warmup), slice: duration / repeat as u32, repeat }
    }

    /// How long one repeat of this many rows takes.
    pub fn round(&self, rows: usize) -> Duration {
        (self.warmup + self.slice) * rows as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_s_time_is_shared_by_its_repeats() {
        let ms = Duration::from_millis;
        let timing = Timing::of(&Options::default(), ms(1_000), ms(20));
        assert_eq!(timing, Timing { warmup: ms(20), slice: ms(200), repeat: 5 });
        assert_eq!(timing.round(3), ms(660));
        let options = Options { duration: Some(ms(90)), repeat: Some(3), warmup: Some(ms(1)), ..Options::default() };
        assert_eq!(Timing::of(&options, ms(1_000), ms(20)), Timing { warmup: ms(1), slice: ms(30), repeat: 3 });
    }
}
