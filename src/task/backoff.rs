//! The one way in which anything that failed is tried again later: replays, rebuilds, restarts.

use std::time::Duration;

use crate::sys::random::Random;

/// How long to wait before something that failed is tried again: a first pause that doubles with every further failure
/// in a row, up to a longest one.
///
/// As text, in settings: `10ms..10s`; one time alone is a pause that never grows.
///
/// ```
/// use std::time::Duration;
/// use squall::task::backoff::Backoff;
///
/// let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(10));
/// assert_eq!(backoff.pause(1), Duration::from_millis(10));
/// assert_eq!(backoff.pause(3), Duration::from_millis(40));
/// assert_eq!(backoff.pause(1_000), Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

/// A drawn pause is shorter than the full one by up to one part in so many, so that what failed together is not tried
/// again all at once.
const JITTER_PART: u64 = 4;

impl Backoff {
    /// Between these two pauses.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Backoff { first, max }
    }

    /// Always the same pause.
    pub const fn constant(pause: Duration) -> Self {
        Backoff { first: pause, max: pause }
    }

    /// The full pause after so many failures in a row, counted from 1.
    pub fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.max.max(self.first))
    }

    /// As [`pause`](Self::pause), a random part shorter; in nanoseconds.
    pub(crate) fn draw_ns(&self, failures: u32, random: &mut Random) -> u64 {
        let pause_ns = self.pause_ns(failures);
        pause_ns - random.below(pause_ns / JITTER_PART + 1)
    }

    pub(crate) fn pause_ns(&self, failures: u32) -> u64 {
        u64::try_from(self.pause(failures).as_nanos()).unwrap_or(u64::MAX)
    }
}
