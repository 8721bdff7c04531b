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
    /// What the options say: `duration` is that of each row over all its repeats. Where they say nothing, a second in
    /// five repeats, each after 20 ms.
    pub fn of(options: &Options) -> Self {
        let repeat = options.repeat.unwrap_or(5).max(1);
        let duration = options.duration.unwrap_or(Duration::from_secs(1));
        let warmup = options.warmup.unwrap_or(Duration::from_millis(20));
        Timing { warmup, slice: duration / repeat as u32, repeat }
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
        let timing = Timing::of(&Options::default());
        assert_eq!(timing, Timing { warmup: ms(20), slice: ms(200), repeat: 5 });
        assert_eq!(timing.round(3), ms(660));
        let options = Options { duration: Some(ms(90)), repeat: Some(3), warmup: Some(ms(1)), ..Options::default() };
        assert_eq!(Timing::of(&options), Timing { warmup: ms(1), slice: ms(30), repeat: 3 });
    }
}
