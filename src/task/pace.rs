//! Measured runs: when a spout's events are due, whatever becomes of them, and what the spout has measured.
//!
//! Latency under a given load is honest only in open loop: events come when they come, and one that had to wait counts
//! from when it was meant to come, not from when the system found time for it.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::sys::sync::{Arc, AtomicU64, Ordering};
use crate::task::header::NO_EVENT;
use crate::task::measured::Measured;
use crate::task::metrics::{Latency, latency};

const NS_PER_S: u64 = 1_000_000_000;

/// How a measured run goes; give it to [`Topology::paced`](crate::Topology::paced).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Events per second over all spout tasks together. `None`: as many as get through (closed loop).
    pub events_per_s: Option<NonZeroU64>,
    /// Time before the measurement: its events are emitted and not counted.
    pub warmup: Duration,
    /// Time that is measured. After it the spouts end as if their input had ended.
    pub duration: Duration,
}

impl Pace {
    /// True if events have intended times: their headers carry them.
    pub fn is_open_loop(&self) -> bool {
        self.events_per_s.is_some()
    }
}

/// One schedule for all spout tasks of a run. Task k of n has the events k, k + n, k + 2n, ...; event g is due g / rate
/// seconds after the start.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    spout_tasks: u64,
    /// `NO_EVENT` until the first spout task has its first turn.
    start_ns: AtomicU64,
}

impl Schedule {
    pub fn new(pace: Pace, spout_tasks: usize) -> Self {
        Schedule { pace, spout_tasks: spout_tasks as u64, start_ns: AtomicU64::new(NO_EVENT) }
    }

    /// The start of the run, which is now for the first who asks.
    fn begin(&self, now_ns: u64) -> u64 {
        match self.start_ns.compare_exchange(NO_EVENT, now_ns, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now_ns,
            Err(start_ns) => start_ns,
        }
    }

    fn measured_from(&self, start_ns: u64) -> u64 {
        start_ns.saturating_add(saturating_ns(self.pace.warmup))
    }

    fn measured_until(&self, start_ns: u64) -> u64 {
        self.measured_from(start_ns).saturating_add(saturating_ns(self.pace.duration))
    }

    /// The intended times that count; empty before the start.
    pub fn window_ns(&self) -> std::ops::Range<u64> {
        match self.start_ns.load(Ordering::Relaxed) {
            NO_EVENT => 0..0,
            start_ns => self.measured_from(start_ns)..self.measured_until(start_ns),
        }
    }
}

fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The part of a schedule that one spout task has to keep. Intended times go on whatever happens: a spout that is held
/// back or has nothing to emit is late, and its lateness is part of the latency.
#[derive(Debug)]
pub(crate) struct Pacer {
    schedule: Arc<Schedule>,
    /// Position among all spout tasks.
    number: u64,
    window_ns: std::ops::Range<u64>,
    has_begun: bool,
    is_over: bool,
    /// Open loop: the intended time of the next event (`NO_EVENT` after the last), and the fraction of a nanosecond by
    /// which it is later, in units of the rate: no sum of rounded periods, no drift.
    due_ns: u64,
    due_rest: u64,
    tree: Latency,
    events: u64,
    starved: u64,
    late_max_ns: u64,
}

impl Pacer {
    pub fn new(schedule: Arc<Schedule>, number: usize) -> Self {
        Pacer {
            schedule,
            number: number as u64,
            window_ns: 0..u64::MAX,
            has_begun: false,
            is_over: false,
            due_ns: 0,
            due_rest: 0,
            tree: latency(),
            events: 0,
            starved: 0,
            late_max_ns: 0,
        }
    }

    /// Has the schedule begin, unless it has.
    #[inline]
    pub fn begin(&mut self, now_ns: u64) {
        if !self.has_begun {
            self.has_begun = true;
            let start_ns = self.schedule.begin(now_ns);
            self.window_ns = self.schedule.measured_from(start_ns)..self.schedule.measured_until(start_ns);
            self.due_ns = start_ns;
            self.advance(self.number);
        }
    }

    /// True while `next` may be called only when an event is due.
    #[inline]
    pub fn is_gate(&self) -> bool {
        self.schedule.pace.is_open_loop() && !self.is_over
    }

    /// The intended time of the next event.
    #[inline]
    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// What stands for an intended time where something is emitted that is none of the schedule's events. In open loop
    /// it is a time that is not counted, so that its tree is not either.
    pub fn no_event_ns(&self) -> u64 {
        if self.schedule.pace.is_open_loop() { self.window_ns.end } else { NO_EVENT }
    }

    /// The due event has been emitted.
    #[inline]
    pub fn emitted(&mut self, now_ns: u64) {
        if self.window_ns.contains(&self.due_ns) {
            self.events += 1;
            self.late_max_ns = self.late_max_ns.max(now_ns.saturating_sub(self.due_ns));
        }
        self.advance(self.schedule.spout_tasks);
    }

    /// There was nothing to emit for the due event, which stays due.
    pub fn starved(&mut self) {
        self.starved += 1;
    }

    /// Moves the intended time by this many events of the whole schedule.
    #[inline]
    fn advance(&mut self, events: u64) {
        if let Some(rate) = self.schedule.pace.events_per_s {
            let units = u128::from(self.due_rest) + u128::from(events) * u128::from(NS_PER_S);
            let (whole_ns, rest) = match u64::try_from(units) {
                Ok(units) => (units / rate, units % rate),
                Err(_) => ((units / u128::from(rate.get())) as u64, (units % u128::from(rate.get())) as u64),
            };
            let due_ns = self.due_ns.saturating_add(whole_ns);
            self.due_ns = if due_ns < self.window_ns.end { due_ns } else { NO_EVENT };
            self.due_rest = rest;
        }
    }

    /// True from when the spout has to end: in open loop when all events have been emitted, or when it has nothing to
    /// emit and no time is left.
    pub fn has_ended(&self, now_ns: u64, has_more: bool) -> bool {
        let time_is_up = now_ns >= self.window_ns.end;
        match self.schedule.pace.is_open_loop() {
            true => self.due_ns == NO_EVENT || (time_is_up && !has_more),
            false => time_is_up,
        }
    }

    /// From here on nothing is due any more.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// When the spout needs a turn; `wants_more` if it would have one for the next event.
    pub fn next_due_ns(&self, now_ns: u64, wants_more: bool) -> Option<u64> {
        if self.is_over || !self.has_begun {
            return None;
        }
        let event_ns = (wants_more && self.is_gate()).then_some(self.due_ns);
        event_ns.into_iter().chain([self.window_ns.end]).filter(|&due_ns| due_ns > now_ns).min()
    }

    /// The tree of an event of this intended time is complete.
    #[inline]
    pub fn completed(&mut self, born_ns: u64, elapsed_ns: u64) {
        if self.window_ns.contains(&born_ns) {
            self.tree.saturating_record(elapsed_ns);
        }
    }

    /// Adds what was measured since the last call, and how things stand.
    pub fn take(&mut self, now_ns: u64, into: &mut Measured) {
        into.add_tree(&mut self.tree);
        into.events += std::mem::take(&mut self.events);
        into.starved += std::mem::take(&mut self.starved);
        into.late_max_ns = into.late_max_ns.max(std::mem::take(&mut self.late_max_ns));
        into.due += self.due_now(now_ns);
    }

    /// Events that are due and have not been emitted.
    fn due_now(&self, now_ns: u64) -> u64 {
        let Some(rate) = self.schedule.pace.events_per_s.filter(|_| self.has_begun && !self.is_over) else { return 0 };
        let until_ns = now_ns.min(self.window_ns.end - 1);
        let Some(waited_ns) = until_ns.checked_sub(self.due_ns) else { return 0 };
        let period_units = u128::from(self.schedule.spout_tasks) * u128::from(NS_PER_S);
        (u128::from(waited_ns) * u128::from(rate.get()) / period_units) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacers(events_per_s: u64, spout_tasks: usize, duration: Duration) -> Vec<Pacer> {
        let pace = Pace { events_per_s: NonZeroU64::new(events_per_s), warmup: Duration::ZERO, duration };
        let schedule = Arc::new(Schedule::new(pace, spout_tasks));
        (0..spout_tasks).map(|number| Pacer::new(schedule.clone(), number)).collect()
    }

    #[test]
    fn intended_times_do_not_drift_whatever_the_rate() {
        for rate in [3, 7, 300_000, 999_999_937, 3_000_000_000] {
            let mut pacer = pacers(rate, 1, Duration::MAX).pop().unwrap();
            pacer.begin(5);
            for event in 0..100_000 {
                assert_eq!(u128::from(pacer.due_ns()), 5 + event * 1_000_000_000 / u128::from(rate), "event {event}");
                pacer.emitted(0);
            }
        }
    }

    #[test]
    fn tasks_share_the_rate_and_take_turns() {
        let mut pacers = pacers(3_000, 3, Duration::MAX);
        // Whoever comes first sets the start for all.
        pacers.iter_mut().rev().enumerate().for_each(|(late, pacer)| pacer.begin(100 + late as u64));
        let mut due: Vec<u64> = Vec::new();
        for _ in 0..10 {
            for pacer in &mut pacers {
                due.push(pacer.due_ns());
                pacer.emitted(0);
            }
        }
        assert_eq!(due, (0..30).map(|event| 100 + event * 1_000_000_000 / 3_000).collect::<Vec<u64>>());
    }

    #[test]
    fn the_backlog_is_what_is_due_and_not_emitted() {
        let mut pacer = pacers(1_000, 1, Duration::from_millis(10)).pop().unwrap();
        pacer.begin(1);
        let due_at = |pacer: &mut Pacer, ms: u64| {
            let mut measured = Measured::default();
            pacer.take(ms * 1_000_000 + 1, &mut measured);
            measured.due
        };
        assert_eq!((due_at(&mut pacer, 0), due_at(&mut pacer, 3)), (1, 4));
        assert_eq!(due_at(&mut pacer, 50), 10, "no more than the schedule has");
        (0..10).for_each(|_| pacer.emitted(0));
        assert_eq!(due_at(&mut pacer, 50), 0);
        assert!(pacer.has_ended(0, true));
    }
}
