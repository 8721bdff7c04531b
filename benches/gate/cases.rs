//! What is measured.

use bytes::Bytes;
use squall::{Guarantee, TopologyBuilder};

use crate::shapes;

/// One topology under one guarantee.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its key in the baseline.
    pub name: &'static str,
    guarantee: Guarantee,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    /// Spout and bolt on this many executors.
    Hop { executors: usize },
    /// On one executor.
    WordCount,
}

/// Large enough that queues, ledgers and hash maps have reached their size before the smaller of the two sizes ends.
const HOP_TUPLES: u64 = 40_000;
const TEXT_LINES: usize = 1_000;
const TEXT_LAPS: u64 = 2;

impl Case {
    pub const ALL: [Case; 6] = [
        Case::new("hop_at_most_once", Guarantee::AtMostOnce, Shape::Hop { executors: 1 }),
        Case::new("hop_at_least_once", Guarantee::AtLeastOnce, Shape::Hop { executors: 1 }),
        Case::new("cross_hop_at_most_once", Guarantee::AtMostOnce, Shape::Hop { executors: 2 }),
        Case::new("cross_hop_at_least_once", Guarantee::AtLeastOnce, Shape::Hop { executors: 2 }),
        Case::new("word_count_at_most_once", Guarantee::AtMostOnce, Shape::WordCount),
        Case::new("word_count_at_least_once", Guarantee::AtLeastOnce, Shape::WordCount),
    ];

    const fn new(name: &'static str, guarantee: Guarantee, shape: Shape) -> Self {
        Case { name, guarantee, shape }
    }

    pub fn named(name: &str) -> Option<Case> {
        Case::ALL.into_iter().find(|case| case.name == name)
    }

    /// The topology at a size (1 or 2), and its tuples: numbers of a hop, words of word count.
    pub fn build(&self, size: u64) -> (TopologyBuilder, u64) {
        match self.shape {
            Shape::Hop { executors } => (shapes::hop(executors, self.guarantee, size * HOP_TUPLES), size * HOP_TUPLES),
            Shape::WordCount => {
                let text = text();
                let words = shapes::words(&text).count() as u64;
                let laps = size * TEXT_LAPS;
                (shapes::word_count(&text, laps, 1, self.guarantee), laps * words)
            }
        }
    }
}

/// The first lines of the shipped text.
fn text() -> Bytes {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/data/kjv.txt");
    let text = std::fs::read(path).expect("the shipped text");
    let end = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(TEXT_LINES - 1).expect("long enough").0;
    Bytes::from(text).slice(..=end)
}
