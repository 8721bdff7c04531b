//! What the work of a series takes without the engine, on one pinned thread.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use rtrb::RingBuffer;

use crate::bench::pinned::on_cpu;
use crate::bench::scale::series::{ForArray, Maps, Series, numbers_below, with_array};
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;

/// Steps between two reads of the clock.
const STEPS_PER_LOOK: u64 = 1_024;

/// How long is measured, and where.
#[derive(Clone)]
pub(super) struct Span {
    pub cpu: CpuId,
    pub warmup: Duration,
    pub length: Duration,
    pub clock: Clock,
}

/// Nanoseconds per step of this series' work alone; `None` if it has none, or more maps than one thread could fill.
///
/// # Errors
/// When the thread cannot be started or pinned.
pub(super) fn ns_per_step(series: Series, x: u64, maps: Option<&Maps>, span: &Span) -> Result<Option<f64>> {
    let (cpu, span) = (span.cpu, span.clone());
    match series {
        Series::Keys => {
            let Some(maps) = maps.cloned() else { return Ok(None) };
            on_cpu(cpu, move || {
                let mut counts = maps.take(0)?;
                let mut number = numbers_below(x);
                let ns = span.per_step(|| *counts.entry(number()).or_default() += 1);
                maps.give_back(0, counts);
                Some(ns)
            })
        }
        Series::PayloadBytes => on_cpu(cpu, move || {
            let source = vec![1_u8; x as usize];
            Some(span.per_step(|| drop(black_box(Bytes::copy_from_slice(black_box(&source))))))
        }),
        Series::PayloadArray => on_cpu(cpu, move || Some(with_array(x, RingOfArrays(span)))),
        _ => Ok(None),
    }
}

struct RingOfArrays(Span);

impl ForArray for RingOfArrays {
    type Output = f64;

    fn of_length<const N: usize>(self) -> f64 {
        let (mut producer, mut consumer) = RingBuffer::<[u8; N]>::new(STEPS_PER_LOOK as usize);
        let mut number = 0_u8;
        self.0.per_step(|| {
            number = number.wrapping_add(1);
            producer.push([number; N]).expect("it was emptied");
            black_box(consumer.pop().expect("it was filled"));
        })
    }
}

impl Span {
    fn per_step(&self, mut step: impl FnMut()) -> f64 {
        let mut for_a_while = |length: Duration| {
            let start_ns = self.clock.now_ns();
            let mut steps = 0;
            loop {
                (0..STEPS_PER_LOOK).for_each(|_| step());
                steps += STEPS_PER_LOOK;
                let elapsed_ns = self.clock.now_ns() - start_ns;
                if elapsed_ns >= length.as_nanos() as u64 {
                    return elapsed_ns as f64 / steps as f64;
                }
            }
        };
        for_a_while(self.warmup);
        for_a_while(self.length)
    }
}
