//! The built-in shapes: the topologies that the lab measures, and the components they are made of.

use std::hint::black_box;

use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::bench::text::{Cycle, Text, words};
use crate::error::{Failure, Result};
use crate::task::component::{Bolt, Next, Outcome, Spout};
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::payload::{Nothing, Payload};
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::{Guarantee, Settings, WaitPolicy};
use crate::topology::stream::Stream;

/// Words up to 24 bytes take no allocation.
pub(crate) type Word = SmallVec<[u8; 24]>;

/// Counts by word, with hashbrown's default hasher: the map of the hand-written loops as well.
pub(crate) type Counts = HashMap<Word, u64>;

/// How a shape is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub executors: usize,
    pub guarantee: Guarantee,
    pub wait: WaitPolicy,
}

impl Setup {
    /// A topology with these settings and no component yet.
    pub fn builder(&self, name: &str) -> TopologyBuilder {
        let mut t = TopologyBuilder::new(name);
        t.settings(|settings: &mut Settings| {
            settings.executors = Some(self.executors);
            settings.guarantee = self.guarantee;
            settings.wait = self.wait;
        });
        t
    }
}

/// The guarantee as rows name it.
pub(crate) fn guarantee_key(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::AtMostOnce => "at_most_once",
        Guarantee::AtLeastOnce => "at_least_once",
        Guarantee::ExactlyOnce => "exactly_once",
    }
}

/// Emits the lines of a text, again and again.
pub(crate) struct Lines {
    lines: Cycle,
    passes_left: u64,
}

impl Lines {
    /// Does not end.
    pub fn endless(text: &Text) -> Self {
        Self::passes(text, u64::MAX)
    }

    /// Ends after reading the text this many times.
    pub fn passes(text: &Text, passes: u64) -> Self {
        Lines { lines: text.cycle(), passes_left: passes }
    }
}

impl Spout for Lines {
    type Out = Bytes;
    type Id = ();

    #[inline]
    fn next(&mut self, out: &mut SpoutOutlet<Bytes, ()>) -> Result<Next, Failure> {
        if self.lines.is_at_start() {
            if self.passes_left == 0 {
                return Ok(Next::Finished);
            }
            self.passes_left -= 1;
        }
        out.emit_tracked((), self.lines.next_line());
        Ok(Next::Emitted)
    }
}

/// Emits what a function makes of 0, 1, 2, ... without end.
pub(crate) struct Numbered<F> {
    make: F,
    next: u64,
}

impl<F> Numbered<F> {
    pub fn new(make: F) -> Self {
        Numbered { make, next: 0 }
    }
}

impl<T: Payload, F: FnMut(u64) -> T + 'static> Spout for Numbered<F> {
    type Out = T;
    type Id = ();

    #[inline]
    fn next(&mut self, out: &mut SpoutOutlet<T, ()>) -> Result<Next, Failure> {
        out.emit_tracked((), (self.make)(self.next));
        self.next += 1;
        Ok(Next::Emitted)
    }
}

/// Emits the words of a line.
pub(crate) fn split(line: Bytes, out: &mut Outlet<Word>) {
    for word in words(&line) {
        out.emit(Word::from_slice(word));
    }
}

/// Counts words.
#[derive(Default)]
pub(crate) struct Count(Counts);

impl Count {
    /// One that has counted before.
    pub fn knowing(counts: &Counts) -> Self {
        Count(counts.clone())
    }
}

impl Bolt for Count {
    type In = Word;
    type Out = Nothing;

    #[inline]
    fn execute(&mut self, word: Word, _: &mut Outlet<Nothing>) -> Outcome {
        *self.0.entry(word).or_default() += 1;
        Ok(())
    }
}

/// Takes a value and drops it.
pub(crate) fn swallow<T: Payload>(value: T, _: &mut Outlet<Nothing>) {
    black_box(value);
}

/// Hands a value on.
pub(crate) fn identity<T: Payload>(value: T, out: &mut Outlet<T>) {
    out.emit(value);
}

/// A chain of `depth` bolts, `hop1` ..., behind a stream, each handing on what it gets; the stream of the last one.
pub(crate) fn chain<T: Payload>(t: &mut TopologyBuilder, from: &Stream<T>, depth: usize) -> Stream<T> {
    chain_of(t, from, depth, 1)
}

/// The same with `tasks` of each bolt.
pub(crate) fn chain_of<T: Payload>(t: &mut TopologyBuilder, from: &Stream<T>, depth: usize, tasks: usize) -> Stream<T> {
    (1..=depth).fold(from.clone(), |upstream, hop| {
        t.bolt(format!("hop{hop}"), identity::<T>).parallelism(tasks).shuffle(&upstream).clone()
    })
}
