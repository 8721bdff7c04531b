//! One hop, word count, and acking on and off, each beside what it is measured against.
//!
//! `cargo bench --bench engine`. Every figure is the time from the end of the start to the end of the topology, divided
//! by its elements; inputs are large enough for what ran before to matter little. Compare rows of one run only.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use smallvec::SmallVec;
use squall::{Bolt, Failure, Guarantee, Next, Nothing, Outcome, Outlet, Spout, SpoutOutlet, TopologyBuilder};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Word = SmallVec<[u8; 24]>;

const HOP_TUPLES: u64 = 2_000_000;

/// Emits a range of numbers.
struct Numbers(std::ops::Range<u64>);

impl Spout for Numbers {
    type Out = u64;
    type Id = ();
    fn next(&mut self, out: &mut SpoutOutlet<u64, ()>) -> Result<Next, Failure> {
        Ok(match self.0.next() {
            Some(number) => {
                out.emit_tracked((), number);
                Next::Emitted
            }
            None => Next::Finished,
        })
    }
}

/// Emits the lines of a text.
struct Lines {
    text: Bytes,
    at: usize,
}

impl Spout for Lines {
    type Out = Bytes;
    type Id = ();
    fn next(&mut self, out: &mut SpoutOutlet<Bytes, ()>) -> Result<Next, Failure> {
        if self.at >= self.text.len() {
            return Ok(Next::Finished);
        }
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        out.emit_tracked((), self.text.slice(self.at..self.at + end));
        self.at += end + 1;
        Ok(Next::Emitted)
    }
}

fn split(line: Bytes, out: &mut Outlet<Word>) {
    for word in line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        out.emit(Word::from_slice(word));
    }
}

#[derive(Default)]
struct Count(HashMap<Word, u64>);

impl Bolt for Count {
    type In = Word;
    type Out = Nothing;
    fn execute(&mut self, word: Word, _out: &mut Outlet<Nothing>) -> Outcome {
        *self.0.entry(word).or_default() += 1;
        Ok(())
    }
}

/// Time from the first turn to the end, without building and pinning.
fn timed(t: TopologyBuilder) -> Duration {
    let running = t.build().expect("valid").start().expect("starts");
    let started = Instant::now();
    running.wait().expect("ends well");
    started.elapsed()
}

fn hop_topology(executors: usize, guarantee: Guarantee, tuples: u64) -> TopologyBuilder {
    let mut t = TopologyBuilder::new("hop");
    t.settings(|settings| {
        settings.executors = Some(executors);
        settings.guarantee = guarantee;
    });
    let numbers = t.spout("numbers", move || Numbers(0..tuples));
    let sink = t.bolt("sink", |number: u64, _: &mut Outlet<Nothing>| {
        black_box(number);
    });
    let _ = if executors == 1 { sink.shuffle(&numbers) } else { sink.dedicated().shuffle(&numbers) };
    t
}

fn hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hop");
    group.throughput(Throughput::Elements(HOP_TUPLES)).sample_size(10);
    for (executors, place) in [(1, "same"), (2, "cross")] {
        for (guarantee, name) in [(Guarantee::AtMostOnce, "at_most_once"), (Guarantee::AtLeastOnce, "at_least_once")] {
            group.bench_function(BenchmarkId::new(place, name), |bencher| {
                bencher.iter_custom(|times| {
                    (0..times).map(|_| timed(hop_topology(executors, guarantee, HOP_TUPLES))).sum()
                });
            });
        }
    }
    group.finish();
}

fn word_count_topology(text: &Bytes, executors: usize, guarantee: Guarantee) -> TopologyBuilder {
    let mut t = TopologyBuilder::new("word_count");
    t.settings(|settings| {
        settings.executors = Some(executors);
        settings.guarantee = guarantee;
        if let Ok(c) = std::env::var("CAP") {
            settings.lane_capacity = c.parse().unwrap();
        }
    });
    let text = text.clone();
    let lines = t.spout("lines", move || Lines { text: text.clone(), at: 0 });
    let words = t.bolt("split", split).parallelism(executors).shuffle(&lines);
    t.bolt("count", Count::default).parallelism(executors).fields(&words, |word: &Word| word);
    t
}

fn word_count(criterion: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/data/kjv.txt");
    let text = Bytes::from(std::fs::read(path).expect("the shipped text"));
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count() as u64;
    let mut group = criterion.benchmark_group("word_count");
    group.throughput(Throughput::Elements(words)).sample_size(10);
    group.bench_function("hand_written_loop", |bencher| {
        let text = Arc::new(text.clone());
        bencher.iter(|| {
            let mut counts: HashMap<Word, u64> = HashMap::new();
            for line in text.split(|&byte| byte == b'\n') {
                for word in line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                    *counts.entry(Word::from_slice(word)).or_default() += 1;
                }
            }
            black_box(counts)
        });
    });
    for executors in [1, 2] {
        for (guarantee, name) in [(Guarantee::AtMostOnce, "at_most_once"), (Guarantee::AtLeastOnce, "at_least_once")] {
            group.bench_function(BenchmarkId::new(name, executors), |bencher| {
                bencher.iter_custom(|times| {
                    (0..times).map(|_| timed(word_count_topology(&text, executors, guarantee))).sum()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, hop, word_count);
criterion_main!(benches);
