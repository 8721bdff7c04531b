//! What grows: the shapes behind the curves, each with one size.

use bytes::Bytes;
use hashbrown::HashMap;

use crate::bench::shapes::{Count, Numbered, Setup, Word, chain_of, swallow};
use crate::bench::text::{Text, words};
use crate::error::{Failure, Result};
use crate::sys::random::Random;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::task::component::{Bolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::key::{key_hash, task_of_key};
use crate::task::outlet::Outlet;
use crate::task::payload::{Nothing, Payload};
use crate::topology::Topology;
use crate::topology::builder::TopologyBuilder;

/// One curve's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Series {
    /// A chain of bolts that hand on what they get.
    Chain,
    /// One stream with several bolts subscribed to it.
    FanOut,
    /// One bolt that emits several tuples for each it gets.
    Children,
    /// Words counted by key, by ever more tasks: the same work in smaller parts.
    Tasks,
    /// The same for bolts that do nothing: what a turn costs when there is little in it.
    TasksWithoutWork,
    /// Numbers counted by key, of ever more distinct ones.
    Keys,
    /// Values that the spout makes by copying so many bytes into a fresh [`Bytes`].
    PayloadBytes,
    /// Arrays that travel by value.
    PayloadArray,
}

impl Series {
    pub const ALL: [Series; 8] = [
        Series::Chain,
        Series::FanOut,
        Series::Children,
        Series::Tasks,
        Series::TasksWithoutWork,
        Series::Keys,
        Series::PayloadBytes,
        Series::PayloadArray,
    ];

    /// Its name in rows.
    pub fn key(self) -> &'static str {
        match self {
            Series::Chain => "chain",
            Series::FanOut => "fan_out",
            Series::Children => "children",
            Series::Tasks => "tasks",
            Series::TasksWithoutWork => "tasks_without_work",
            Series::Keys => "keys",
            Series::PayloadBytes => "payload_bytes",
            Series::PayloadArray => "payload_array",
        }
    }

    /// What its size is.
    pub fn x_name(self) -> &'static str {
        match self {
            Series::Chain => "bolts in the chain",
            Series::FanOut => "bolts subscribed to one stream",
            Series::Children => "tuples emitted per input",
            Series::Tasks | Series::TasksWithoutWork => "tasks",
            Series::Keys => "distinct keys",
            Series::PayloadBytes | Series::PayloadArray => "bytes per tuple",
        }
    }

    /// What the time is divided by.
    pub fn per(self) -> &'static str {
        match self {
            Series::Chain => "hop",
            Series::FanOut | Series::Children => "delivered tuple",
            _ => "tuple",
        }
    }

    /// The sizes.
    pub fn xs(self) -> &'static [u64] {
        match self {
            Series::Chain | Series::FanOut | Series::Children => &[1, 2, 4, 8, 16, 32, 64],
            Series::Tasks | Series::TasksWithoutWork => &[2, 4, 10, 32, 100, 316, 1_000],
            Series::Keys => &[1_000, 10_000, 100_000, 1_000_000, 10_000_000],
            Series::PayloadBytes => &[8, 64, 512, 4_096, 16_384, 65_536],
            // By value a tuple is moved in and out of its lane, and a lane holds a thousand of them.
            Series::PayloadArray => &[8, 64, 512, 4_096],
        }
    }

    /// What is measured without the engine beside it.
    pub fn bare(self) -> Option<&'static str> {
        match self {
            Series::Keys => Some("the hash map alone"),
            Series::PayloadBytes => Some("allocate, copy and free alone"),
            Series::PayloadArray => Some("ring push and pop alone"),
            _ => None,
        }
    }

    /// Whether the inputs of this component are what the time is divided by.
    pub fn counts(self, id: &str) -> bool {
        match self {
            Series::Children => id == "sink",
            _ => id != SPOUT,
        }
    }
}

const SPOUT: &str = "spout";
const SEED: u64 = 1;

/// Counts by number.
pub(super) type Counts = HashMap<u64, u64>;

/// Full maps, one per task: a task takes its own when it is prepared and gives it back in the end, so that filling them
/// is no part of any measurement. Clones share them.
#[derive(Clone)]
pub(super) struct Maps(Arc<Vec<Mutex<Option<Counts>>>>);

impl Maps {
    /// With all numbers below `keys`, each in the map of the task that a fields grouping sends it to.
    pub fn full(keys: u64, tasks: usize) -> Maps {
        let mut maps = vec![Counts::with_capacity(keys as usize / tasks); tasks];
        for key in 0..keys {
            maps[task_of_key(key_hash(&key), tasks)].insert(key, 0);
        }
        Maps(Arc::new(maps.into_iter().map(|map| Mutex::new(Some(map))).collect()))
    }

    pub fn take(&self, task: usize) -> Option<Counts> {
        self.slot(task).take()
    }

    pub fn give_back(&self, task: usize, map: Counts) {
        *self.slot(task) = Some(map);
    }

    fn slot(&self, task: usize) -> MutexGuard<'_, Option<Counts>> {
        self.0[task].lock().expect("nothing panics under it")
    }
}

/// Counts numbers in a map that was there before it.
struct CountNumbers {
    maps: Maps,
    task: usize,
    counts: Counts,
}

impl Bolt for CountNumbers {
    type In = u64;
    type Out = Nothing;

    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.task = ctx.info().index;
        self.counts = self.maps.take(self.task).ok_or_else(|| Failure::fatal("its map was not given back"))?;
        Ok(())
    }

    #[inline]
    fn execute(&mut self, number: u64, _: &mut Outlet<Nothing>) -> Outcome {
        *self.counts.entry(number).or_default() += 1;
        Ok(())
    }

    fn cleanup(&mut self) {
        self.maps.give_back(self.task, std::mem::take(&mut self.counts));
    }
}

/// Numbers below `keys`, all equally frequent, the same ones every time.
pub(super) fn numbers_below(keys: u64) -> impl FnMut() -> u64 + Send + 'static {
    let mut random = Random::new(SEED);
    move || random.below(keys)
}

/// The words of a text, cut beforehand.
pub(super) fn words_of(text: &Text) -> Arc<[Word]> {
    words(&text.bytes).map(Word::from_slice).collect()
}

/// What the shapes are made from, beside their size.
#[derive(Clone)]
pub(super) struct Material {
    pub words: Arc<[Word]>,
    pub maps: Option<Maps>,
}

/// The shape of this size.
///
/// # Errors
/// As [`TopologyBuilder::build`].
pub(super) fn topology(series: Series, x: u64, setup: &Setup, material: &Material) -> Result<Topology> {
    let mut t = setup.builder(series.key());
    let (size, copies) = (x as usize, setup.executors);
    match series {
        Series::Chain => {
            let numbers = t.spout(SPOUT, || Numbered::new(|n| n)).parallelism(copies);
            let last = chain_of(&mut t, &numbers, size - 1, copies);
            t.bolt("sink", swallow::<u64>).parallelism(copies).shuffle(&last);
        }
        Series::FanOut => {
            let numbers = t.spout(SPOUT, || Numbered::new(|n| n)).parallelism(copies);
            for number in 1..=size {
                t.bolt(format!("sink{number}"), swallow::<u64>).parallelism(copies).shuffle(&numbers);
            }
        }
        Series::Children => {
            let numbers = t.spout(SPOUT, || Numbered::new(|n| n)).parallelism(copies);
            let fan = move |number: u64, out: &mut Outlet<u64>| (0..size).for_each(|_| out.emit(number));
            let children = t.bolt("fan", fan).parallelism(copies).shuffle(&numbers);
            t.bolt("sink", swallow::<u64>).parallelism(copies).shuffle(&children);
        }
        Series::Tasks => {
            let all = material.words.clone();
            let words = move || {
                let (all, mut next) = (all.clone(), 0);
                Numbered::new(move |_| {
                    let word = all[next].clone();
                    next = if next + 1 == all.len() { 0 } else { next + 1 };
                    word
                })
            };
            let words = t.spout(SPOUT, words);
            t.bolt("count", Count::default).parallelism(size - 1).fields(&words, |word: &Word| word);
        }
        Series::TasksWithoutWork => {
            let numbers = t.spout(SPOUT, || Numbered::new(|n| n));
            t.bolt("sink", swallow::<u64>).parallelism(size - 1).shuffle(&numbers);
        }
        Series::Keys => {
            let numbers = move || {
                let mut number = numbers_below(x);
                Numbered::new(move |_| number())
            };
            let numbers = t.spout(SPOUT, numbers).parallelism(copies);
            let maps = material.maps.clone().expect("made for every number of keys");
            let count = move || CountNumbers { maps: maps.clone(), task: 0, counts: Counts::new() };
            t.bolt("count", count).parallelism(copies).fields(&numbers, |number: &u64| number);
        }
        Series::PayloadBytes => {
            let source = vec![1_u8; size];
            let values = move || {
                let source = source.clone();
                Numbered::new(move |_| Bytes::copy_from_slice(&source))
            };
            let values = t.spout(SPOUT, values).parallelism(copies);
            t.bolt("sink", swallow::<Bytes>).parallelism(copies).shuffle(&values);
        }
        Series::PayloadArray => with_array(x, Arrays { t: &mut t, copies }),
    }
    t.build()
}

/// Something to be done with arrays of a length that is known at run time only.
pub(super) trait ForArray {
    type Output;
    fn of_length<const N: usize>(self) -> Self::Output;
}

/// Does it for this length, which is one of the series'.
pub(super) fn with_array<F: ForArray>(length: u64, what: F) -> F::Output {
    match length {
        8 => what.of_length::<8>(),
        64 => what.of_length::<64>(),
        512 => what.of_length::<512>(),
        4_096 => what.of_length::<4_096>(),
        _ => unreachable!("{length} is no length of the series"),
    }
}

struct Arrays<'a> {
    t: &'a mut TopologyBuilder,
    copies: usize,
}

impl ForArray for Arrays<'_> {
    type Output = ();

    fn of_length<const N: usize>(self) {
        fn payload<T: Payload>(
            t: &mut TopologyBuilder,
            copies: usize,
            value: impl Fn(u64) -> T + Copy + Send + Sync + 'static,
        ) {
            let values = t.spout(SPOUT, move || Numbered::new(value)).parallelism(copies);
            t.bolt("sink", swallow::<T>).parallelism(copies).shuffle(&values);
        }
        payload(self.t, self.copies, |number| [number as u8; N]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_in_the_map_of_its_task_and_only_there() {
        let maps = Maps::full(1_000, 3);
        let taken: Vec<Counts> = (0..3).map(|task| maps.take(task).unwrap()).collect();
        assert_eq!(taken.iter().map(Counts::len).sum::<usize>(), 1_000);
        assert!((0..1_000).all(|key| taken[task_of_key(key_hash(&key), 3)].contains_key(&key)));
        assert!(maps.take(0).is_none());
        maps.give_back(0, taken.into_iter().next().unwrap());
        assert!(maps.take(0).is_some());
    }

    #[test]
    fn arrays_have_every_length_of_their_series() {
        struct Length;
        impl ForArray for Length {
            type Output = u64;
            fn of_length<const N: usize>(self) -> u64 {
                N as u64
            }
        }
        assert!(Series::PayloadArray.xs().iter().all(|&length| with_array(length, Length) == length));
    }

    #[test]
    fn numbers_are_the_same_every_time() {
        let (mut one, mut other) = (numbers_below(10), numbers_below(10));
        assert!((0..100).all(|_| one() == other()));
    }
}
