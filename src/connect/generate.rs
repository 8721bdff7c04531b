//! Values made by a function of their index: for tests, benchmarks and examples.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Failure;
use crate::sys::clock::Clock;
use crate::task::component::{Outcome, Polled, Position, Replayable, Source, SplitId};
use crate::task::context::SpoutContext;
use crate::task::payload::Payload;

const NS_PER_SECOND: u128 = 1_000_000_000;

/// A replayable source of the values `make(0)`, `make(1)`, and so on: the same ones at every run.
///
/// With several tasks, task *i* of *n* makes the values whose index is *i* modulo *n*; that is its split `i/n`, and the
/// position is the index. With a [`rate`](Self::rate), value number *k* is due *k* / rate seconds after the first: a
/// source that was held back catches up, so that latency can be measured from the intended time.
///
/// A clone is a source of its own, not yet opened.
///
/// # Examples
///
/// ```
/// use squall::{Outlet, TopologyBuilder, connect::Generator};
///
/// let mut t = TopologyBuilder::new("hundred-a-second");
/// let values = t.source("values", || Generator::endless(|n| format!("value {n}")).rate(100));
/// t.bolt("length", |text: String, out: &mut Outlet<usize>| out.emit(text.len())).shuffle(&values);
/// # t.build()?;
/// # Ok::<(), squall::Error>(())
/// ```
pub struct Generator<T> {
    make: Arc<dyn Fn(u64) -> T + Send + Sync>,
    count: u64,
    /// Values per second over all tasks together.
    rate: Option<u64>,
    splits: Vec<Share>,
    task: Option<Task>,
}

/// The indexes that are `remainder` modulo `modulus`.
struct Share {
    id: SplitId,
    modulus: u64,
    /// The next index to be made; always of this share.
    next: u64,
}

struct Task {
    clock: Clock,
    index: usize,
    count: usize,
    /// Set at the first poll after an assignment.
    schedule: Option<Schedule>,
}

/// When the value with the index `first` was due.
#[derive(Clone, Copy)]
struct Schedule {
    start_ns: u64,
    first: u64,
}

impl<T> Clone for Generator<T> {
    fn clone(&self) -> Self {
        let make = Arc::clone(&self.make);
        Generator { make, count: self.count, rate: self.rate, splits: Vec::new(), task: None }
    }
}

impl<T: Payload> Generator<T> {
    /// The values of the indexes below `count`.
    pub fn new(count: u64, make: impl Fn(u64) -> T + Send + Sync + 'static) -> Self {
        Generator { make: Arc::new(make), count, rate: None, splits: Vec::new(), task: None }
    }

    /// The values of all indexes: a source that does not end.
    pub fn endless(make: impl Fn(u64) -> T + Send + Sync + 'static) -> Self {
        Self::new(u64::MAX, make)
    }

    /// Makes this many values per second, all tasks together, instead of as many as are taken.
    ///
    /// # Panics
    /// If the rate is 0.
    pub fn rate(mut self, per_second: u64) -> Self {
        assert!(
            per_second > 0,
            "a rate of 0 would never make anything; leave the rate out, or deactivate the topology"
        );
        self.rate = Some(per_second);
        self
    }
}

impl Task {
    /// How long until the value with this index is due; zero if it is. All tasks begin at the same round of indexes.
    fn due_in(&mut self, index: u64, modulus: u64, rate: u64) -> Duration {
        let now_ns = self.clock.now_ns();
        let first = index - index % modulus;
        let schedule = *self.schedule.get_or_insert(Schedule { start_ns: now_ns, first });
        let after_ns = u128::from(index.saturating_sub(schedule.first)) * NS_PER_SECOND / u128::from(rate);
        let due_ns = schedule.start_ns.saturating_add(u64::try_from(after_ns).unwrap_or(u64::MAX));
        Duration::from_nanos(due_ns.saturating_sub(now_ns))
    }
}

impl Share {
    fn parse(id: &str, position: Option<Position>) -> Option<Share> {
        let (remainder, modulus) = id.split_once('/')?;
        let (remainder, modulus) = (remainder.parse::<u64>().ok()?, modulus.parse::<u64>().ok()?);
        if remainder >= modulus {
            return None;
        }
        // The first index of this share at or after the position.
        let from = position.map_or(0, |position| position.0);
        let ahead = (remainder + modulus - from % modulus) % modulus;
        Some(Share { id: id.to_owned(), modulus, next: from.saturating_add(ahead) })
    }
}

impl<T: Payload> Source for Generator<T> {
    type Item = T;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        let info = ctx.info();
        self.task = Some(Task { clock: ctx.clock().clone(), index: info.index, count: info.count, schedule: None });
        Ok(())
    }

    #[inline]
    fn poll(&mut self) -> Result<Polled<T>, Failure> {
        let next = self.splits.iter_mut().enumerate().min_by_key(|(_, share)| share.next);
        let Some((split, share)) = next.filter(|(_, share)| share.next < self.count) else {
            return Ok(Polled::Finished);
        };
        if let (Some(rate), Some(task)) = (self.rate, &mut self.task) {
            let due_in = task.due_in(share.next, share.modulus, rate);
            if !due_in.is_zero() {
                return Ok(Polled::WakeAfter(due_in));
            }
        }
        let index = share.next;
        share.next = index.saturating_add(share.modulus);
        Ok(Polled::Item { value: (self.make)(index), split, position: Position(index) })
    }

    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        Some(self)
    }
}

impl<T: Payload> Replayable for Generator<T> {
    fn default_splits(&self) -> Vec<SplitId> {
        self.task.iter().map(|task| format!("{}/{}", task.index, task.count)).collect()
    }

    fn assign(&mut self, assigned: &[(SplitId, Option<Position>)]) -> Outcome {
        let parse = |(id, position): &(SplitId, Option<Position>)| {
            Share::parse(id, *position)
                .ok_or_else(|| Failure::fatal(format!("{id} is not a split of a generator: expected index/count")))
        };
        for share in assigned.iter().map(parse).collect::<Result<Vec<_>, _>>()? {
            match self.splits.iter_mut().find(|known| known.id == share.id) {
                Some(known) => *known = share,
                None => self.splits.push(share),
            }
        }
        if let Some(task) = &mut self.task {
            task.schedule = None;
        }
        Ok(())
    }

    fn revoke(&mut self, revoked: &[SplitId]) {
        self.splits.retain(|share| !revoked.contains(&share.id));
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.splits.iter().map(|share| (share.id.clone(), Position(share.next.min(self.count)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(index: usize, count: usize) -> SpoutContext {
        let mut ctx = SpoutContext::detached();
        (ctx.info.index, ctx.info.count) = (index, count);
        ctx
    }

    fn opened(source: Generator<u64>, ctx: &mut SpoutContext) -> Generator<u64> {
        let mut source = source;
        source.open(ctx).unwrap();
        let splits: Vec<_> = source.default_splits().into_iter().map(|split| (split, None)).collect();
        source.assign(&splits).unwrap();
        source
    }

    fn rest(source: &mut Generator<u64>) -> Vec<u64> {
        std::iter::from_fn(|| match source.poll().unwrap() {
            Polled::Item { value, position, .. } => {
                assert_eq!(value, position.0 * 10);
                Some(position.0)
            }
            _ => None,
        })
        .collect()
    }

    fn tens(count: u64) -> Generator<u64> {
        Generator::new(count, |n| n * 10)
    }

    #[test]
    fn the_tasks_together_make_every_value_once() {
        for tasks in 1..8 {
            let mut seen: Vec<u64> =
                (0..tasks).flat_map(|index| rest(&mut opened(tens(20), &mut task(index, tasks)))).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..20).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn it_goes_on_from_a_position_and_ends_there_again() {
        let mut source = opened(tens(10), &mut task(1, 3));
        source.assign(&[("1/3".into(), Some(Position(4)))]).unwrap();
        assert_eq!(rest(&mut source), [4, 7]);
        assert_eq!(source.positions(), [("1/3".to_owned(), Position(10))]);
        source.assign(&[("1/3".into(), Some(Position(5)))]).unwrap();
        assert_eq!(rest(&mut source), [7], "a position between two values means the next one");
        source.assign(&[("1/3".into(), Some(Position(10)))]).unwrap();
        assert_eq!(source.poll().unwrap(), Polled::Finished);
    }

    #[test]
    fn several_splits_are_merged_by_index() {
        let mut source = opened(tens(8), &mut task(0, 4));
        source.assign(&[("3/4".into(), None)]).unwrap();
        assert_eq!(rest(&mut source), [0, 3, 4, 7]);
        source.revoke(&["0/4".into()]);
        assert_eq!(source.positions().len(), 1);
    }

    #[test]
    fn a_split_that_is_none_is_refused() {
        for id in ["", "1", "3/3", "0/0", "a/b", "/"] {
            assert!(opened(tens(1), &mut task(0, 1)).assign(&[(id.into(), None)]).unwrap_err().is_fatal(), "{id}");
        }
    }

    #[test]
    fn with_a_rate_each_value_has_its_time_and_a_late_source_catches_up() {
        let mut ctx = task(0, 1);
        ctx.clock().advance_to(5_000);
        let mut source = opened(tens(10).rate(1_000), &mut ctx);
        assert_eq!(rest(&mut source), [0]);
        assert_eq!(source.poll().unwrap(), Polled::WakeAfter(Duration::from_millis(1)));
        ctx.clock().advance_to(3_505_000);
        assert_eq!(rest(&mut source), [1, 2, 3]);
        assert_eq!(source.poll().unwrap(), Polled::WakeAfter(Duration::from_micros(500)));
    }

    #[test]
    fn the_rate_is_that_of_all_tasks_together() {
        let mut ctx = task(1, 4);
        let mut source = opened(tens(10).rate(1_000), &mut ctx);
        assert_eq!(source.poll().unwrap(), Polled::WakeAfter(Duration::from_millis(1)));
        ctx.clock().advance_to(5_000_000);
        assert_eq!(rest(&mut source), [1, 5]);
        assert_eq!(source.poll().unwrap(), Polled::WakeAfter(Duration::from_millis(4)));
    }

    #[test]
    fn an_endless_generator_does_not_end() {
        let mut source = opened(Generator::endless(|n| n * 10), &mut task(0, 1));
        assert!((0..1_000).all(|_| matches!(source.poll().unwrap(), Polled::Item { .. })));
    }
}
