//! The topologies that the benches measure: one hop, and word count.

use std::hint::black_box;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use squall::{Bolt, Failure, Guarantee, Next, Nothing, Outcome, Outlet, Spout, SpoutOutlet, TopologyBuilder};

pub type Word = SmallVec<[u8; 24]>;

/// Its hash has no seed: the same text takes the same path through it in every run.
pub type Counts = HashMap<Word, u64, FixedState>;

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

/// Emits the lines of a text, the whole text as often as told.
struct Lines {
    text: Bytes,
    at: usize,
    laps: u64,
}

impl Lines {
    fn next_line(&mut self) -> Option<std::ops::Range<usize>> {
        if self.at >= self.text.len() {
            self.at = 0;
            self.laps -= 1;
        }
        if self.laps == 0 {
            return None;
        }
        let rest = &self.text[self.at..];
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = self.at..self.at + length;
        self.at = line.end + 1;
        Some(line)
    }
}

impl Spout for Lines {
    type Out = Bytes;
    type Id = ();
    fn next(&mut self, out: &mut SpoutOutlet<Bytes, ()>) -> Result<Next, Failure> {
        let Some(line) = self.next_line() else { return Ok(Next::Finished) };
        out.emit_tracked((), self.text.slice(line));
        Ok(Next::Emitted)
    }
}

/// The words of a line, or of a text.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn split(line: Bytes, out: &mut Outlet<Word>) {
    words(&line).for_each(|word| out.emit(Word::from_slice(word)));
}

#[derive(Default)]
struct Count(Counts);

impl Bolt for Count {
    type In = Word;
    type Out = Nothing;
    fn execute(&mut self, word: Word, _out: &mut Outlet<Nothing>) -> Outcome {
        *self.0.entry(word).or_default() += 1;
        Ok(())
    }
}

/// A spout of so many numbers and a bolt that takes them: on one executor, or across two.
pub fn hop(executors: usize, guarantee: Guarantee, tuples: u64) -> TopologyBuilder {
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

/// Lines of a text, taken `laps` times over, split into words and counted; `split` and `count` have a task per
/// executor.
pub fn word_count(text: &Bytes, laps: u64, executors: usize, guarantee: Guarantee) -> TopologyBuilder {
    let mut t = TopologyBuilder::new("word_count");
    t.settings(|settings| {
        settings.executors = Some(executors);
        settings.guarantee = guarantee;
    });
    let text = text.clone();
    let lines = t.spout("lines", move || Lines { text: text.clone(), at: 0, laps });
    let words = t.bolt("split", split).parallelism(executors).shuffle(&lines);
    t.bolt("count", Count::default).parallelism(executors).fields(&words, |word: &Word| word);
    t
}

/// Emits the lines of a text as strings of their own, the whole text as often as told.
struct OwnedLines(Lines);

impl Spout for OwnedLines {
    type Out = String;
    type Id = ();
    fn next(&mut self, out: &mut SpoutOutlet<String, ()>) -> Result<Next, Failure> {
        let Some(line) = self.0.next_line() else { return Ok(Next::Finished) };
        out.emit_tracked((), String::from_utf8_lossy(&self.0.text[line]).into_owned());
        Ok(Next::Emitted)
    }
}

#[derive(Default)]
struct CountOwned(HashMap<String, u64, FixedState>);

impl Bolt for CountOwned {
    type In = String;
    type Out = Nothing;
    fn execute(&mut self, word: String, _out: &mut Outlet<Nothing>) -> Outcome {
        *self.0.entry(word).or_default() += 1;
        Ok(())
    }
}

/// Word count as it is written without a thought to allocation: every line and every word is a `String`. With two
/// executors each word is allocated on one and freed on the other.
pub fn owned_word_count(text: &Bytes, laps: u64, executors: usize, guarantee: Guarantee) -> TopologyBuilder {
    let mut t = TopologyBuilder::new("owned_word_count");
    t.settings(|settings| {
        settings.executors = Some(executors);
        settings.guarantee = guarantee;
    });
    let text = text.clone();
    let lines = t.spout("lines", move || OwnedLines(Lines { text: text.clone(), at: 0, laps }));
    let split = |line: String, out: &mut Outlet<String>| {
        line.split_ascii_whitespace().for_each(|word| out.emit(word.to_owned()));
    };
    let words = t.bolt("split", split).shuffle(&lines);
    let count = t.bolt("count", CountOwned::default);
    let count = if executors == 1 { count } else { count.dedicated() };
    count.fields(&words, |word: &String| word);
    t
}
