//! What this machine does to a thread that only reads the clock, and what single operations cost on one thread.

use std::hint::black_box;
use std::time::Duration;

use hdrhistogram::Histogram;
use rtrb::RingBuffer;

use crate::bench::pinned::on_cpu;
use crate::bench::row::{Row, histogram, pooled};
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;

/// Operations between two reads of the clock where a single one is too short to be timed.
pub(super) const OPS_PER_BATCH: u64 = 1_024;

/// The gaps between successive reads of the clock by a thread that does nothing else, in nanoseconds.
pub(super) fn gaps(cpu: CpuId, length: Duration, clock: &Clock) -> Result<Histogram<u64>> {
    let clock = clock.clone();
    on_cpu(cpu, move || {
        let mut gaps = histogram();
        let mut last_ns = clock.now_ns();
        let end_ns = last_ns + length.as_nanos() as u64;
        while last_ns < end_ns {
            let now_ns = clock.now_ns();
            gaps.saturating_record(now_ns - last_ns);
            last_ns = now_ns;
        }
        gaps
    })
}

/// What an event that comes at a random moment waits before the thread looks, by the gaps between its looks: every
/// nanosecond counts once, and within a gap the wait is anything up to its length.
pub(super) fn waits(gaps: &Histogram<u64>) -> Histogram<u64> {
    const STEPS: u64 = 20;
    let mut waits = histogram();
    for gap in gaps.iter_recorded() {
        let (gap_ns, count) = (gap.value_iterated_to(), gap.count_since_last_iteration());
        for step in 0..STEPS {
            let wait_ns = gap_ns * (2 * step + 1) / (2 * STEPS);
            waits.saturating_record_n(wait_ns, (count * gap_ns).div_ceil(STEPS));
        }
    }
    waits.saturating_record(gaps.max());
    waits
}

/// Times of batches of clock reads.
pub(super) fn clock_reads(cpu: CpuId, warmup: Duration, length: Duration, clock: &Clock) -> Result<Histogram<u64>> {
    let (clock, read) = (clock.clone(), clock.clone());
    on_cpu(cpu, move || {
        batches(&clock, warmup, length, || {
            black_box(read.now_ns());
        })
    })
}

/// Times of batches of a push and a pop each, on one thread.
///
/// # Errors
/// When the thread cannot be started or pinned.
pub(crate) fn ring_ops(cpu: CpuId, warmup: Duration, length: Duration, clock: &Clock) -> Result<Histogram<u64>> {
    let clock = clock.clone();
    on_cpu(cpu, move || {
        let (mut producer, mut consumer) = RingBuffer::new(OPS_PER_BATCH as usize);
        batches(&clock, warmup, length, || {
            producer.push(black_box(1_u64)).expect("it was emptied");
            black_box(consumer.pop().expect("it was filled"));
        })
    })
}

fn batches(clock: &Clock, warmup: Duration, length: Duration, mut operation: impl FnMut()) -> Histogram<u64> {
    let mut times = histogram();
    let count_from_ns = clock.now_ns() + warmup.as_nanos() as u64;
    let end_ns = count_from_ns + length.as_nanos() as u64;
    loop {
        let start_ns = clock.now_ns();
        for _ in 0..OPS_PER_BATCH {
            operation();
        }
        let now_ns = clock.now_ns();
        if start_ns >= count_from_ns {
            times.saturating_record(now_ns - start_ns);
        }
        // At least one batch counts, however long it took.
        if now_ns >= end_ns && !times.is_empty() {
            return times;
        }
    }
}

/// A row of operations that were timed in batches: `ns_per_op` with its spread, and the quantiles of a batch's mean.
pub(super) fn batch_row(row: Row, repeats: &[Histogram<u64>]) -> Row {
    let per_op = |batch_ns: u64| batch_ns as f64 / OPS_PER_BATCH as f64;
    let all = pooled(repeats);
    let medians: Vec<f64> = repeats.iter().map(|repeat| per_op(repeat.value_at_quantile(0.5))).collect();
    row.repeated("ns_per_op", &medians)
        .with("p50_ns", per_op(all.value_at_quantile(0.5)))
        .with("p99_ns", per_op(all.value_at_quantile(0.99)))
        .with("amortised_over", OPS_PER_BATCH)
        .with("count", all.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gap_weighs_as_much_as_the_time_it_takes() {
        let mut gaps = histogram();
        gaps.record_n(100, 9_900).unwrap();
        gaps.record(10_000).unwrap();
        let waits = waits(&gaps);
        assert!((48..=53).contains(&waits.value_at_quantile(0.5)), "half of a short gap");
        let middle = waits.value_at_quantile(0.995);
        assert!((4_000..6_000).contains(&middle), "{middle}: the long gap is a hundredth of the time");
        assert!((9_990..10_010).contains(&waits.max()), "{}", waits.max());
    }

    #[test]
    fn single_operations_are_timed_in_batches() {
        let (cpu, time) = (crate::sys::cpu::usable_cpus().ids()[0], Duration::from_millis(1));
        let clock = Clock::real();
        for measure in [clock_reads, ring_ops] {
            let row = batch_row(Row::new("floor", "x"), &[measure(cpu, time, time, &clock).unwrap()]);
            assert!(row.number("ns_per_op").unwrap() > 0.0 && row.number("p99_ns") >= row.number("p50_ns"));
        }
        assert!(gaps(cpu, time, &clock).unwrap().len() > 1);
    }
}
