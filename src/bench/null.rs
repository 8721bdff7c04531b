//! The null engine: what the machine alone makes of an open-loop schedule, without any work per event.
//!
//! An event is one line of a text. It is taken by the source when it is due, handed to the sink, and the sink reads the
//! clock; its latency counts from the time it was due. What a pause of the machine costs is in it, and nothing else: it
//! is the yardstick of every open-loop latency.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::bench::pinned;
use crate::bench::row::histogram;
use crate::bench::schedule::Schedule;
use crate::bench::text::{Cycle, Text};
use crate::error::{Error, Result};
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;

/// As many as a lane holds unless told.
const RING_CAPACITY: usize = 1_024;

/// Where source and sink are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// On one pinned thread.
    OneThread,
    /// On two pinned, spinning threads joined by one raw ring.
    TwoThreads,
}

impl Placement {
    /// Its name in a row.
    pub fn key(self) -> &'static str {
        match self {
            Placement::OneThread => "one_thread",
            Placement::TwoThreads => "two_threads",
        }
    }

    /// CPUs that it spins on.
    pub fn cpus(self) -> usize {
        match self {
            Placement::OneThread => 1,
            Placement::TwoThreads => 2,
        }
    }
}

/// An event on its way.
struct Event {
    due_ns: u64,
    line: Bytes,
}

/// Latencies in nanoseconds of the events that become due within `length` after `warmup`, at `rate` events per second.
/// The lines of `text` are the events; `cpus` are taken in their order. At a rate that is too much even for it, it ends
/// a little after the schedule does: then there are fewer.
///
/// # Errors
/// When there are fewer CPUs than the placement needs, or a thread cannot be pinned.
pub(crate) fn slice(
    placement: Placement,
    rate: u64,
    warmup: Duration,
    length: Duration,
    cpus: &[CpuId],
    text: &Text,
    clock: &Clock,
) -> Result<Histogram<u64>> {
    if cpus.len() < placement.cpus() {
        let message = format!("the null engine on two threads needs two CPUs, not {}", cpus.len());
        return Err(Error::usage("--cpus", message));
    }
    let events = Events { rate, warmup, length, lines: text.cycle(), clock: clock.clone() };
    match placement {
        Placement::OneThread => pinned::on_cpu(cpus[0], move || one_thread(events)),
        Placement::TwoThreads => two_threads(events, [cpus[0], cpus[1]]),
    }
}

struct Events {
    rate: u64,
    warmup: Duration,
    length: Duration,
    lines: Cycle,
    clock: Clock,
}

impl Events {
    /// Events whose latency does not count, and events altogether.
    fn counts(&self) -> (u64, u64) {
        let within = |time: Duration| (time.as_nanos() * u128::from(self.rate) / 1_000_000_000) as u64;
        (within(self.warmup), within(self.warmup + self.length))
    }

    /// When whoever still has events to take does not keep up.
    fn give_up_ns(&self, start_ns: u64) -> u64 {
        start_ns + (self.warmup + self.length + slack(self.length)).as_nanos() as u64
    }
}

/// What a run may take longer than its schedule and still keep up with it: the machine may have paused.
pub(super) fn slack(length: Duration) -> Duration {
    (length / 10).max(Duration::from_millis(50))
}

/// Waits until the next event is due; false if it is time to give up.
fn wait(events: &Events, due_ns: u64, give_up_ns: u64) -> bool {
    loop {
        let now_ns = events.clock.now_ns();
        if now_ns >= due_ns {
            return now_ns < give_up_ns;
        }
    }
}

fn one_thread(mut events: Events) -> Histogram<u64> {
    let mut latencies = histogram();
    let (skipped, total) = events.counts();
    let start_ns = events.clock.now_ns();
    let (mut schedule, give_up_ns) = (Schedule::new(start_ns, events.rate), events.give_up_ns(start_ns));
    for number in 0..total {
        if !wait(&events, schedule.due_ns(), give_up_ns) {
            break;
        }
        let event = Event { due_ns: schedule.advance(), line: events.lines.next_line() };
        sink(event, number >= skipped, &events.clock, &mut latencies);
    }
    latencies
}

fn two_threads(events: Events, cpus: [CpuId; 2]) -> Result<Histogram<u64>> {
    let (producer, consumer) = RingBuffer::new(RING_CAPACITY);
    let (counts, clock) = (events.counts(), events.clock.clone());
    let ((), latencies) = pinned::pair(cpus, move || feed(events, producer), move || drain(consumer, counts, &clock))?;
    Ok(latencies)
}

fn feed(mut events: Events, mut ring: Producer<Event>) {
    let (_, total) = events.counts();
    let start_ns = events.clock.now_ns();
    let (mut schedule, give_up_ns) = (Schedule::new(start_ns, events.rate), events.give_up_ns(start_ns));
    for _ in 0..total {
        if !wait(&events, schedule.due_ns(), give_up_ns) {
            break;
        }
        let mut event = Event { due_ns: schedule.advance(), line: events.lines.next_line() };
        while let Err(PushError::Full(back)) = ring.push(event) {
            event = back;
        }
    }
}

fn drain(mut ring: Consumer<Event>, (skipped, total): (u64, u64), clock: &Clock) -> Histogram<u64> {
    let mut latencies = histogram();
    let mut number = 0;
    while number < total {
        // In this order: what came last came before its producer went.
        let is_over = ring.is_abandoned();
        match ring.pop() {
            Ok(event) => {
                sink(event, number >= skipped, clock, &mut latencies);
                number += 1;
            }
            Err(_) if is_over => break,
            Err(_) => {}
        }
    }
    latencies
}

#[inline]
fn sink(event: Event, counts: bool, clock: &Clock, latencies: &mut Histogram<u64>) {
    let now_ns = clock.now_ns();
    black_box(&event.line);
    if counts {
        latencies.saturating_record(now_ns.saturating_sub(event.due_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cpu::usable_cpus;

    #[test]
    fn every_event_that_is_due_after_the_warm_up_is_measured_in_both_placements() {
        let cpus = usable_cpus().preferred();
        let text = Text::generated().in_lines_of(10);
        for placement in [Placement::OneThread, Placement::TwoThreads] {
            let (warmup, length) = (Duration::from_millis(1), Duration::from_millis(3));
            let measured = slice(placement, 100_000, warmup, length, &cpus, &text, &Clock::real());
            match measured {
                Ok(latencies) => assert_eq!(latencies.len(), 300, "{}", placement.key()),
                Err(error) => assert!(cpus.len() < placement.cpus() && error.is_usage(), "{error}"),
            }
        }
    }

    #[test]
    fn at_a_rate_that_nothing_keeps_up_with_it_ends_in_time_with_fewer_events() {
        let cpus = usable_cpus().preferred();
        let text = Text::generated().in_lines_of(10);
        for placement in [Placement::OneThread, Placement::TwoThreads] {
            let (rate, length) = (10_000_000_000, Duration::from_millis(3));
            match slice(placement, rate, Duration::ZERO, length, &cpus, &text, &Clock::real()) {
                Ok(latencies) => assert!(latencies.len() < 30_000_000, "{}", placement.key()),
                Err(error) => assert!(cpus.len() < placement.cpus() && error.is_usage(), "{error}"),
            }
        }
    }
}
