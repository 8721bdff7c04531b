//! One hop, word count, and acking on and off, each beside what it is measured against.
//!
//! `cargo bench --bench engine`. Every figure is the time from the end of the start to the end of the topology, divided
//! by its elements; inputs are large enough for what ran before to matter little. Compare rows of one run only.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use squall::{Guarantee, TopologyBuilder};

mod shapes;

use shapes::{Counts, Word, words};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOP_TUPLES: u64 = 2_000_000;

/// Time from the first turn to the end, without building and pinning.
fn timed(t: TopologyBuilder) -> Duration {
    let running = t.build().expect("valid").start().expect("starts");
    let started = Instant::now();
    running.wait().expect("ends well");
    started.elapsed()
}

fn hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hop");
    group.throughput(Throughput::Elements(HOP_TUPLES)).sample_size(10);
    for (executors, place) in [(1, "same"), (2, "cross")] {
        for (guarantee, name) in [(Guarantee::AtMostOnce, "at_most_once"), (Guarantee::AtLeastOnce, "at_least_once")] {
            group.bench_function(BenchmarkId::new(place, name), |bencher| {
                bencher.iter_custom(|times| {
                    (0..times).map(|_| timed(shapes::hop(executors, guarantee, HOP_TUPLES))).sum()
                });
            });
        }
    }
    group.finish();
}

fn word_count(criterion: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/data/kjv.txt");
    let text = Bytes::from(std::fs::read(path).expect("the shipped text"));
    let mut group = criterion.benchmark_group("word_count");
    group.throughput(Throughput::Elements(words(&text).count() as u64)).sample_size(10);
    group.bench_function("hand_written_loop", |bencher| {
        bencher.iter(|| {
            let mut counts = Counts::default();
            for line in text.split(|&byte| byte == b'\n') {
                words(line).for_each(|word| *counts.entry(Word::from_slice(word)).or_default() += 1);
            }
            black_box(counts)
        });
    });
    for executors in [1, 2] {
        for (guarantee, name) in [(Guarantee::AtMostOnce, "at_most_once"), (Guarantee::AtLeastOnce, "at_least_once")] {
            group.bench_function(BenchmarkId::new(name, executors), |bencher| {
                bencher.iter_custom(|times| {
                    (0..times).map(|_| timed(shapes::word_count(&text, 1, executors, guarantee))).sum()
                });
            });
        }
        // What the allocator is chosen by; `--no-default-features` measures the system's.
        group.bench_function(BenchmarkId::new("owned_strings", executors), |bencher| {
            let build = || shapes::owned_word_count(&text, 1, executors, Guarantee::AtLeastOnce);
            bencher.iter_custom(|times| (0..times).map(|_| timed(build())).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, hop, word_count);
criterion_main!(benches);
