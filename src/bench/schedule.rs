//! An open-loop schedule: when each event is due, whatever became of the ones before it.

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The due times of events at a fixed rate, event by event. Number *k* is due *k* / rate seconds after the start,
/// without drift; taking the next one costs an addition and a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    due_ns: u64,
    step_ns: u64,
    /// What the steps fall short of the true period, in units of 1 / rate ns.
    step_rest: u64,
    rest: u64,
    rate: u64,
}

impl Schedule {
    /// Event 0 is due at `start_ns`.
    ///
    /// # Panics
    /// If the rate is 0.
    pub fn new(start_ns: u64, rate: u64) -> Self {
        assert!(rate > 0, "a schedule has at least one event per second");
        Schedule { due_ns: start_ns, step_ns: NS_PER_SECOND / rate, step_rest: NS_PER_SECOND % rate, rest: 0, rate }
    }

    /// When the next event is due.
    #[inline]
    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Goes on to the event after it; returns when the one it leaves was due.
    #[inline]
    pub fn advance(&mut self) -> u64 {
        let due_ns = self.due_ns;
        self.due_ns += self.step_ns;
        self.rest += self.step_rest;
        if self.rest >= self.rate {
            self.rest -= self.rate;
            self.due_ns += 1;
        }
        due_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_k_is_due_k_periods_after_the_start_for_every_rate() {
        for rate in [1, 3, 7, 1_000, 10_000, 333_333, 500_000, 999_999_999, 3_000_000_000] {
            let mut schedule = Schedule::new(17, rate);
            for k in 0..10_000_u64 {
                let due_ns = 17 + (u128::from(k) * 1_000_000_000 / u128::from(rate)) as u64;
                assert_eq!(schedule.due_ns(), due_ns);
                assert_eq!(schedule.advance(), due_ns, "event {k} at {rate}/s");
            }
        }
    }
}
