//! `BoltHarness`: one bolt through everything that may happen to it, with the same result every time.

use std::fmt::Debug;
use std::time::Duration;

use super::driver::TestDriver;
use super::feeder::{capture, feeder};
use crate::error::Result;
use crate::task::key::Key;
use crate::task::payload::Payload;
use crate::topology::builder::TopologyBuilder;
use crate::topology::component::{ByKey, IntoBolt, Unkeyed};
use crate::topology::stream::{Stream, Streams};

/// Declares the bolt under test, subscribed to a stream, and picks the output to look at.
type Declare<I, T> = Box<dyn Fn(&mut TopologyBuilder, &Stream<I>, Option<Duration>) -> Stream<T>>;

/// Runs a bolt against inputs in every manner that an engine may choose, and checks that outputs, acks and fails are
/// the same in all of them: one input at a time or all at once; with roomy lanes on one executor or with lanes of
/// capacity 1 across executors, so that the output is full every other call; with ticks between the inputs or none.
///
/// Every input is tracked; at the end the input ends, so what a bolt emits in `finish` counts. In each manner every
/// input must end exactly once: acked, unless it is [expected to fail](Self::expect_failed). Deadlines are off: a tuple
/// that the bolt holds for ever fails after the end.
///
/// # Examples
///
/// ```
/// use squall::Outlet;
/// use squall::testing::BoltHarness;
///
/// fn words(line: String, out: &mut Outlet<String>) {
///     line.split(' ').for_each(|word| out.emit(word.to_owned()));
/// }
/// BoltHarness::new(words)
///     .inputs(["to be or".to_owned(), "not".to_owned()])
///     .expect(["to", "be", "or", "not"].map(str::to_owned))
///     .check();
/// ```
#[must_use = "nothing is checked before `check`"]
pub struct BoltHarness<I, T> {
    declare: Declare<I, T>,
    inputs: Vec<I>,
    expected: Option<Expected<T>>,
    /// Positions of inputs whose trees must fail.
    expected_failed: Vec<u64>,
    tick: Option<Duration>,
}

struct Expected<T> {
    outputs: Vec<T>,
    in_order: bool,
}

/// How the engine goes about it.
#[derive(Clone, Copy, Debug)]
struct Manner {
    all_at_once: bool,
    tight: bool,
    ticks: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
struct Ending<T> {
    outputs: Vec<T>,
    acked: Vec<u64>,
    failed: Vec<u64>,
}

impl<I: Payload, T: Payload> BoltHarness<I, T> {
    /// A harness for a bolt with one output: a factory of a [`Bolt`](crate::Bolt) or [`ManualBolt`](crate::ManualBolt),
    /// or a function.
    pub fn new<B, M>(bolt: B) -> Self
    where
        B: IntoBolt<M, In = I, Out = T, Keying = Unkeyed> + Clone + 'static,
        T: Streams<Handles = Stream<T>>,
    {
        Self::of_port(bolt, Stream::clone)
    }

    /// A harness for a bolt with several outputs, one of which is looked at.
    pub fn of_port<B, M, O>(bolt: B, port: impl Fn(&O::Handles) -> Stream<T> + 'static) -> Self
    where
        B: IntoBolt<M, In = I, Out = O, Keying = Unkeyed> + Clone + 'static,
        O: Streams,
    {
        Self::declared(Box::new(move |t, inputs, tick| {
            let handle = t.bolt("under-test", bolt.clone()).shuffle(inputs);
            let handle = match tick {
                Some(period) => handle.tick(period),
                None => handle,
            };
            port(&handle)
        }))
    }

    /// A harness for a [`KeyedBolt`](crate::KeyedBolt) with one output.
    pub fn keyed<B, M, K>(bolt: B, key: impl Fn(&I) -> K + Clone + Send + Sync + 'static) -> Self
    where
        B: IntoBolt<M, In = I, Out = T, Keying = ByKey<K>> + Clone + 'static,
        T: Streams<Handles = Stream<T>>,
        K: Key,
    {
        Self::declared(Box::new(move |t, inputs, tick| {
            let handle = t.bolt("under-test", bolt.clone()).fields_by(inputs, key.clone());
            let handle = match tick {
                Some(period) => handle.tick(period),
                None => handle,
            };
            Stream::clone(&handle)
        }))
    }

    fn declared(declare: Declare<I, T>) -> Self {
        let tick = Some(Duration::from_millis(100));
        BoltHarness { declare, inputs: Vec::new(), expected: None, expected_failed: Vec::new(), tick }
    }

    /// Adds inputs.
    pub fn inputs(mut self, values: impl IntoIterator<Item = I>) -> Self {
        self.inputs.extend(values);
        self
    }

    /// Exactly these outputs, in this order. Without this or the next all manners must only agree among each other, in
    /// any order.
    pub fn expect(mut self, outputs: impl IntoIterator<Item = T>) -> Self {
        self.expected = Some(Expected { outputs: outputs.into_iter().collect(), in_order: true });
        self
    }

    /// Exactly these outputs, in any order.
    pub fn expect_in_any_order(mut self, outputs: impl IntoIterator<Item = T>) -> Self {
        self.expected = Some(Expected { outputs: outputs.into_iter().collect(), in_order: false });
        self
    }

    /// The inputs at these positions (from 0) must fail.
    pub fn expect_failed(mut self, positions: impl IntoIterator<Item = usize>) -> Self {
        self.expected_failed.extend(positions.into_iter().map(|position| position as u64));
        self.expected_failed.sort_unstable();
        self
    }

    /// The period of ticks where there are ticks; 100 ms unless told.
    pub fn tick(mut self, period: Duration) -> Self {
        self.tick = Some(period);
        self
    }

    /// No ticks in any manner: for a bolt whose ticks are meant to change what it emits.
    pub fn without_ticks(mut self) -> Self {
        self.tick = None;
        self
    }

    /// Runs the bolt in every manner.
    ///
    /// # Panics
    /// If a manner ends otherwise than expected, or than the others; the message names it and shows both.
    #[track_caller]
    pub fn check(self)
    where
        T: Debug + PartialEq,
    {
        let mut first: Option<Ending<T>> = None;
        for manner in self.manners() {
            let ending = self.run(manner).unwrap_or_else(|error| panic!("{}: {error}", manner.name()));
            if let Some(wrong) = self.judge(&ending, first.as_ref()) {
                panic!("{}: {wrong}", manner.name());
            }
            first.get_or_insert(ending);
        }
    }

    fn manners(&self) -> Vec<Manner> {
        let mut manners = Vec::new();
        for ticks in [false, true] {
            for tight in [false, true] {
                for all_at_once in [false, true] {
                    manners.push(Manner { all_at_once, tight, ticks });
                }
            }
        }
        manners.retain(|manner| !manner.ticks || self.tick.is_some());
        manners
    }

    fn run(&self, manner: Manner) -> Result<Ending<T>> {
        let (feeder, spout) = feeder();
        let mut t = TopologyBuilder::new("harness");
        t.settings(|settings| {
            settings.message_timeouts_enabled = false;
            if manner.tight {
                settings.one_thread_per_task = true;
                settings.lane_capacity = 1;
            }
        });
        let inputs = t.spout("inputs", spout);
        let tick = self.tick.filter(|_| manner.ticks);
        let outputs = (self.declare)(&mut t, &inputs, tick);
        let captured = capture(&mut t, &outputs);
        let mut driver = TestDriver::start(t.build()?)?;
        for (position, input) in self.inputs.iter().enumerate() {
            feeder.feed(position as u64, input.clone());
            if !manner.all_at_once {
                driver.advance(tick.unwrap_or_default())?;
            }
        }
        driver.advance(tick.unwrap_or_default())?;
        feeder.finish();
        driver.run_to_end()?;
        let (mut acked, mut failed) = (feeder.acked(), feeder.failed());
        acked.sort_unstable();
        failed.sort_unstable();
        Ok(Ending { outputs: captured.take(), acked, failed })
    }

    /// What is wrong with an ending, if anything is.
    fn judge(&self, ending: &Ending<T>, first: Option<&Ending<T>>) -> Option<String>
    where
        T: Debug + PartialEq,
    {
        if ending.failed != self.expected_failed {
            return Some(format!("inputs {:?} failed, expected to fail: {:?}", ending.failed, self.expected_failed));
        }
        let all = 0..self.inputs.len() as u64;
        let expected_acked: Vec<u64> = all.filter(|position| !self.expected_failed.contains(position)).collect();
        if ending.acked != expected_acked {
            return Some(format!("inputs {:?} were acked, expected: {expected_acked:?}", ending.acked));
        }
        let (expected, in_order) = match (&self.expected, first) {
            (Some(expected), _) => (&expected.outputs, expected.in_order),
            (None, Some(first)) => (&first.outputs, false),
            (None, None) => return None,
        };
        let same = if in_order { ending.outputs == *expected } else { same_in_any_order(&ending.outputs, expected) };
        (!same).then(|| format!("it emitted {:?}, expected {expected:?}", ending.outputs))
    }
}

impl Manner {
    fn name(self) -> String {
        let inputs = if self.all_at_once { "all inputs at once" } else { "one input at a time" };
        let lanes = if self.tight { "lanes of capacity 1" } else { "roomy lanes" };
        format!("{inputs}, {lanes}, {}", if self.ticks { "ticks between" } else { "no ticks" })
    }
}

/// Equal as multisets; quadratic, since outputs need not be ordered or hashed.
fn same_in_any_order<T: PartialEq>(left: &[T], right: &[T]) -> bool {
    let mut unmatched: Vec<&T> = right.iter().collect();
    left.len() == right.len()
        && left.iter().all(|value| {
            let at = unmatched.iter().position(|candidate| *candidate == value);
            at.map(|at| unmatched.swap_remove(at)).is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::state::CurrentKey;
    use crate::task::component::{Bolt, KeyedBolt, ManualBolt, Outcome};
    use crate::task::held::Tuple;
    use crate::task::outlet::Outlet;
    use crate::task::payload::{Nothing, Ports};

    #[test]
    fn a_function_that_fans_out_and_fails() {
        let odd_twice = |n: u32, out: &mut Outlet<u32>| {
            if n == 4 {
                return Err(Failure::reject("four"));
            }
            (0..n).for_each(|i| out.emit(10 * n + i));
            Ok(())
        };
        BoltHarness::new(odd_twice).inputs([1, 4, 3, 0, 4]).expect([10, 30, 31, 32]).expect_failed([1, 4]).check();
    }

    #[derive(Default)]
    struct Pairs(Option<Tuple<u32>>);

    impl ManualBolt for Pairs {
        type In = u32;
        type Out = u32;
        fn execute(&mut self, tuple: Tuple<u32>, out: &mut Outlet<u32>) -> Outcome {
            match self.0.take() {
                None => self.0 = Some(tuple),
                Some(first) => {
                    out.anchored([&first, &tuple]).emit(*first + *tuple);
                    first.ack();
                    tuple.ack();
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_manual_bolt_that_holds_one_for_ever_fails_it() {
        BoltHarness::new(Pairs::default).inputs([1, 2, 3, 4, 5]).expect([3, 7]).expect_failed([4]).check();
    }

    #[derive(Default)]
    struct Count(u32);

    impl KeyedBolt for Count {
        type Key = u8;
        type In = u8;
        type Out = (u8, u32);
        fn execute(&mut self, key: CurrentKey<u8>, _: u8, out: &mut Outlet<(u8, u32)>) -> Outcome {
            self.0 += 1;
            out.hand_over((0..self.0).map(move |n| (*key, n)));
            Ok(())
        }
        fn finish(&mut self, out: &mut Outlet<(u8, u32)>) -> Outcome {
            out.emit((255, self.0));
            Ok(())
        }
    }

    #[test]
    fn a_keyed_bolt_with_an_iterator_and_a_last_word() {
        let outputs = [(7, 0), (8, 0), (8, 1), (255, 2)];
        BoltHarness::keyed(Count::default, |n| *n).inputs([7, 8]).expect(outputs).check();
        BoltHarness::keyed(Count::default, |n| *n)
            .inputs([7, 8])
            .expect_in_any_order(outputs.into_iter().rev())
            .check();
    }

    #[test]
    fn one_of_several_ports() {
        let split = |n: u32, out: &mut Outlet<Ports<(u32, String)>>| {
            out.emit_on::<0>(n);
            out.emit_on::<1>(n.to_string());
        };
        let second = |streams: &(Stream<u32>, Stream<String>)| streams.1.clone();
        BoltHarness::of_port(split, second).inputs([5, 6]).expect(["5".to_owned(), "6".to_owned()]).check();
    }

    #[derive(Default)]
    struct Ticks;

    impl Bolt for Ticks {
        type In = u32;
        type Out = u32;
        fn execute(&mut self, _: u32, _: &mut Outlet<u32>) -> Outcome {
            Ok(())
        }
        fn tick(&mut self, out: &mut Outlet<u32>) -> Outcome {
            out.emit(1);
            Ok(())
        }
    }

    #[test]
    #[should_panic(expected = "one input at a time, roomy lanes, ticks between: it emitted [1, 1, 1]")]
    fn a_bolt_that_emits_by_the_clock_is_caught() {
        BoltHarness::new(|| Ticks).inputs([1, 2]).check();
    }

    #[test]
    fn a_sink_has_no_outputs_to_expect() {
        BoltHarness::new(|_: u32, _: &mut Outlet<Nothing>| {}).inputs(0..3).check();
        BoltHarness::new(|| Ticks).without_ticks().inputs([1]).expect([]).check();
    }
}
