//! Word count written by hand: what an engine's word count is compared with. Same text, words, splitting and map.

use std::time::Duration;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::bench::pinned;
use crate::bench::row::Row;
use crate::bench::shapes::{Counts, Word};
use crate::bench::text::{Cycle, Text, words};
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;

/// Words that were counted, and the time that took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub words: u64,
    pub elapsed: Duration,
}

impl Counted {
    /// Nanoseconds per word.
    pub fn ns_per_word(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.words as f64
    }
}

/// Lines between two reads of the clock.
const LINES_PER_LOOK: usize = 64;
/// Words between two reads of the clock.
const WORDS_PER_LOOK: u64 = 1_024;
/// As many as a lane holds unless told.
const RING_CAPACITY: usize = 1_024;

/// Counts on one thread pinned to this CPU, the text again and again. The map is filled by one pass at least, which is
/// part of the warm-up.
///
/// # Errors
/// When the thread cannot be started or pinned.
pub(crate) fn one_thread(
    text: &Text,
    cpu: CpuId,
    warmup: Duration,
    length: Duration,
    clock: &Clock,
) -> Result<Counted> {
    let (mut lines, pass, clock) = (text.cycle(), text.words, clock.clone());
    pinned::on_cpu(cpu, move || {
        let mut counts = Counts::new();
        let mut watch = Watch::new(&clock, warmup, length, pass);
        loop {
            let mut counted = 0;
            for _ in 0..LINES_PER_LOOK {
                for word in words(lines.next_slice()) {
                    *counts.entry(Word::from_slice(word)).or_default() += 1;
                    counted += 1;
                }
            }
            if let Some(counted) = watch.look(counted) {
                return counted;
            }
        }
    })
}

/// Reads and splits on one thread and counts on another, joined by one ring that carries words.
///
/// # Errors
/// When a thread cannot be started or pinned.
pub(crate) fn two_threads(
    text: &Text,
    cpus: [CpuId; 2],
    warmup: Duration,
    length: Duration,
    clock: &Clock,
) -> Result<Counted> {
    let (producer, consumer) = RingBuffer::new(RING_CAPACITY);
    let (lines, pass, clock) = (text.cycle(), text.words, clock.clone());
    let count = move || count_from(consumer, Watch::new(&clock, warmup, length, pass));
    let ((), counted) = pinned::pair(cpus, move || split_into(producer, lines), count)?;
    Ok(counted)
}

/// Until nobody takes words any more.
fn split_into(mut ring: Producer<Word>, mut lines: Cycle) {
    loop {
        for word in words(lines.next_slice()) {
            let mut word = Word::from_slice(word);
            while let Err(PushError::Full(back)) = ring.push(word) {
                if ring.is_abandoned() {
                    return;
                }
                word = back;
            }
        }
    }
}

fn count_from(mut ring: Consumer<Word>, mut watch: Watch<'_>) -> Counted {
    let mut counts = Counts::new();
    loop {
        for _ in 0..WORDS_PER_LOOK {
            let word = loop {
                if let Ok(word) = ring.pop() {
                    break word;
                }
            };
            *counts.entry(word).or_default() += 1;
        }
        if let Some(counted) = watch.look(WORDS_PER_LOOK) {
            return counted;
        }
    }
}

/// Tells when the warm-up and the measurement are over.
struct Watch<'a> {
    clock: &'a Clock,
    length_ns: u64,
    warm_at_ns: u64,
    warm_up_words: u64,
    /// When the measurement began.
    start_ns: Option<u64>,
    words: u64,
}

impl<'a> Watch<'a> {
    fn new(clock: &'a Clock, warmup: Duration, length: Duration, warm_up_words: u64) -> Self {
        let warm_at_ns = clock.now_ns() + warmup.as_nanos() as u64;
        Watch { clock, length_ns: length.as_nanos() as u64, warm_at_ns, warm_up_words, start_ns: None, words: 0 }
    }

    /// Notes what was counted since the last look.
    fn look(&mut self, words: u64) -> Option<Counted> {
        let now_ns = self.clock.now_ns();
        self.words += words;
        match self.start_ns {
            None if now_ns >= self.warm_at_ns && self.words >= self.warm_up_words => {
                (self.start_ns, self.words) = (Some(now_ns), 0);
                None
            }
            Some(start_ns) if now_ns - start_ns >= self.length_ns => {
                Some(Counted { words: self.words, elapsed: Duration::from_nanos(now_ns - start_ns) })
            }
            _ => None,
        }
    }
}

/// A row of what all repeats counted.
pub(crate) fn row(label: &'static str, text: &Text, repeats: &[Counted]) -> Row {
    let ns_per_word: Vec<f64> = repeats.iter().map(Counted::ns_per_word).collect();
    let per_s: Vec<f64> = ns_per_word.iter().map(|ns| 1e9 / ns).collect();
    Row::new("floor", label)
        .with("row", label)
        .with("text", text.name.clone())
        .with("text_words", text.words)
        .repeated("ns_per_word", &ns_per_word)
        .repeated("words_per_s", &per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(1);

    #[test]
    fn words_are_counted_on_one_thread_and_on_two() {
        let (text, clock) = (Text::generated().in_lines_of(10), Clock::real());
        let cpus = crate::sys::cpu::usable_cpus().preferred();
        let one = one_thread(&text, cpus[0], TIME, TIME, &clock).unwrap();
        let two = two_threads(&text, [cpus[0], cpus[cpus.len() - 1]], TIME, TIME, &clock).unwrap();
        for (label, counted) in [("hand_word_count_1", one), ("hand_word_count_2", two)] {
            assert!(counted.words > 0 && counted.elapsed >= TIME);
            let row = row(label, &text, &[counted]);
            assert!(row.number("ns_per_word").unwrap() > 0.0 && row.number("words_per_s").unwrap() > 0.0);
        }
    }

    #[test]
    fn the_measurement_begins_when_the_map_is_full_and_the_warm_up_over() {
        let clock = Clock::virtual_at_zero();
        let mut watch = Watch::new(&clock, Duration::from_nanos(50), Duration::from_nanos(100), 10);
        let mut at = |ns, words| {
            clock.advance_to(ns);
            watch.look(words).map(|counted| (counted.words, counted.elapsed.as_nanos()))
        };
        assert_eq!(at(60, 9), None, "too few words");
        assert_eq!(at(70, 5), None, "now it begins");
        assert_eq!(at(169, 3), None);
        assert_eq!(at(175, 4), Some((7, 105)));
    }
}
