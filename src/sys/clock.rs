//! The engine's clock: durations from the processor's time-stamp counter, or virtual time under a driver.

use crate::sys::sync::{Arc, AtomicU64, Ordering};

/// Monotonic time in nanoseconds since the clock was made.
///
/// The real clock reads the time-stamp counter (about 10 ns a read); the virtual one is moved by its owner. Clones
/// share the same time. It drifts against wall time by some parts per million: use it for durations, never for dates.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Counter { clock: quanta::Clock, start: u64 },
    Virtual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock. The first one in a process calibrates the counter (some milliseconds).
    pub fn real() -> Self {
        let clock = quanta::Clock::new();
        let start = clock.raw();
        Clock(Source::Counter { clock, start })
    }

    /// A clock that stands at zero until it is moved.
    pub fn virtual_at_zero() -> Self {
        Clock(Source::Virtual(Arc::new(AtomicU64::new(0))))
    }

    /// Nanoseconds since the clock was made.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match &self.0 {
            Source::Counter { clock, start } => clock.delta_as_nanos(*start, clock.raw()),
            Source::Virtual(now_ns) => now_ns.load(Ordering::Relaxed),
        }
    }

    /// What to add for nanoseconds since the epoch, as the operating system has them now; virtual time begins there.
    pub fn wall_offset_ns(&self) -> u64 {
        if self.is_virtual() { 0 } else { u64::try_from(wall_ns()).unwrap_or(0).saturating_sub(self.now_ns()) }
    }

    /// True if time only moves when told.
    pub fn is_virtual(&self) -> bool {
        matches!(self.0, Source::Virtual(_))
    }

    /// Moves a virtual clock forward; never back.
    ///
    /// # Panics
    /// On a real clock.
    pub fn advance_to(&self, ns: u64) {
        match &self.0 {
            Source::Virtual(now_ns) => {
                now_ns.fetch_max(ns, Ordering::Relaxed);
            }
            Source::Counter { .. } => panic!("a real clock cannot be moved"),
        }
    }
}

/// Wall time as nanoseconds since the Unix epoch, from the operating system.
pub fn wall_ns() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or_else(|before| -(before.duration().as_nanos() as i64), |since| since.as_nanos() as i64)
}
