//! Compares what came out with what must come out, under every guarantee.

use std::collections::{BTreeMap, BTreeSet};

use super::draw::{Class, DEAD_LETTERS, Op, Spec};
use super::oracle::{Expected, Leaf, expected};
use crate::topology::settings::Guarantee;

/// What came of a topology.
pub struct Ran<'a> {
    /// Items in the sink with this number, by id; dead letters by their input.
    pub written: &'a BTreeMap<(usize, u64), u64>,
    pub starts: u32,
    pub source_failed: bool,
    /// Inputs whose trees failed after their source had ended.
    pub ended: &'a BTreeSet<u64>,
    /// Inputs in windows that were open at the end: nobody has seen them there.
    pub in_windows: &'a BTreeSet<u64>,
    pub drained: bool,
    /// Dead letters in the last report.
    pub counted: u64,
    pub unaccounted: u64,
}

/// How it differs from what it must be.
#[derive(Debug, Default)]
pub struct Difference {
    pub lost: u64,
    pub duplicated: u64,
    pub unaccounted: u64,
    /// All of it in words.
    pub wrong: Vec<String>,
}

impl Difference {
    fn add(&mut self, found: u64, right: u64, wrong: String) {
        self.lost += right.saturating_sub(found);
        self.duplicated += found.saturating_sub(right);
        self.wrong.push(wrong);
    }
}

pub fn judge(spec: &Spec, ran: &Ran<'_>) -> Difference {
    let letters = spec.edges.iter().filter(|edge| edge.port == DEAD_LETTERS).map(|edge| (edge.from, edge.to));
    let mut judge = Judge {
        spec,
        ran,
        expected: expected(spec),
        letters: letters.collect(),
        missing: BTreeSet::new(),
        difference: Difference::default(),
    };
    judge.outputs();
    judge.unknown();
    judge.dead_letters();
    judge.sums();
    judge.difference
}

struct Judge<'a> {
    spec: &'a Spec,
    ran: &'a Ran<'a>,
    expected: Expected,
    /// Sinks of dead letters, by source.
    letters: BTreeMap<usize, usize>,
    /// At least once: inputs of which something is missing. They may be dead letters: nothing is emitted again after
    /// the end of a source.
    missing: BTreeSet<u64>,
    difference: Difference,
}

impl Judge<'_> {
    fn found(&self, sink: usize, id: u64) -> u64 {
        self.ran.written.get(&(sink, id)).copied().unwrap_or(0)
    }

    fn is_exact(&self, sink: usize) -> bool {
        self.spec.guarantee == Guarantee::ExactlyOnce && self.spec.components[sink].op == Op::Transactional
    }

    fn outputs(&mut self) {
        let all: Vec<((usize, u64), Leaf)> = self.expected.all.iter().map(|(at, leaf)| (*at, *leaf)).collect();
        for ((sink, id), leaf) in all {
            let found = self.found(sink, id);
            let exact = self.expected.exact.get(&(sink, id)).map_or(0, |leaf| leaf.copies);
            let is_right = match self.spec.guarantee {
                Guarantee::ExactlyOnce if self.is_exact(sink) => found == exact,
                Guarantee::ExactlyOnce => found >= exact,
                Guarantee::AtMostOnce => leaf.class >= Class::Total || found <= leaf.copies,
                _ => {
                    let is_dead = self.expected.dead.contains(&leaf.root);
                    let may_be_missing = is_dead || self.ran.drained || self.ran.in_windows.contains(&leaf.root);
                    if found < leaf.copies && leaf.class <= Class::Joined && !may_be_missing {
                        self.missing.insert(leaf.root);
                    }
                    true
                }
            };
            if !is_right {
                let wrong = format!("{id:x} is {found} times in c{sink:02}, and should be {exact} times: {leaf:?}");
                self.difference.add(found, exact, wrong);
            }
        }
    }

    fn unknown(&mut self) {
        for (&(sink, id), &count) in self.ran.written {
            // Sums depend on what came twice.
            let is_known = self.expected.all.contains_key(&(sink, id)) || self.letters.values().any(|of| *of == sink);
            if !is_known && self.is_exact(sink) {
                self.difference.add(count, 0, format!("{id:x} is {count} times in c{sink:02}, and should not be"));
            }
        }
    }

    fn dead_letters(&mut self) {
        for (source, sink) in self.letters.clone() {
            for n in 0..self.spec.inputs {
                let root = (source as u64) << 32 | n;
                let (is_dead, found) = (self.expected.dead.contains(&root), self.found(sink, root));
                let is_right = match self.spec.guarantee {
                    Guarantee::ExactlyOnce => {
                        let later = self.expected.later.get(&root).copied().unwrap_or(0);
                        found >= u64::from(is_dead) && found <= u64::from(is_dead) * (1 + later)
                    }
                    Guarantee::AtMostOnce => found == 0,
                    _ => {
                        // Whoever reads it again, or goes back to a checkpoint before, gives it up again.
                        let again = self.spec.checkpoint_every.is_some() || self.ran.source_failed;
                        let may = is_dead || self.ran.ended.contains(&root);
                        let must = is_dead || self.missing.contains(&root);
                        match found {
                            0 => !must || self.ran.drained,
                            1 => may,
                            _ => may && again,
                        }
                    }
                };
                if !is_right {
                    let is_dead = is_dead || self.missing.contains(&root);
                    let wrong = format!("input {n} of c{source:02} is {found} dead letters, and should be: {is_dead}");
                    self.difference.add(found, u64::from(is_dead), wrong);
                }
            }
        }
    }

    fn sums(&mut self) {
        let Ran { counted, unaccounted, .. } = *self.ran;
        let there = self.ran.written.iter().filter(|((sink, _), _)| self.letters.values().any(|of| of == sink));
        let there: u64 = there.map(|(_, count)| count).sum();
        if self.ran.starts == 1 && self.spec.guarantee == Guarantee::ExactlyOnce && counted != there {
            self.difference.wrong.push(format!("{counted} dead letters are counted, and there are {there}"));
        }
        if unaccounted > 0 {
            self.difference.unaccounted = unaccounted;
            self.difference.wrong.push(format!("{unaccounted} are unaccounted for"));
        }
    }
}
