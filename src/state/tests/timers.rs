//! [`Timers`] against sorted sets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::checkpoints::*;
use crate::state::{AnyState, AtEnd, Called, KeyedState, Timers};

/// Time, hash of the key, namespace, key: the order in which they fire.
type Id = (u64, u64, u64, u32);

const MS: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
struct Model {
    queue: BTreeSet<Id>,
    /// Those that have failed: when they are due again, and how often they have.
    waiting: BTreeMap<(u64, Id), u32>,
}

impl Model {
    fn len(&self) -> usize {
        self.queue.len() + self.waiting.len()
    }

    fn has(&self, id: &Id) -> bool {
        self.queue.contains(id) || self.waiting.keys().any(|(_, other)| other == id)
    }

    fn insert(&mut self, id: Id) -> bool {
        !self.has(&id) && self.queue.insert(id)
    }

    fn remove(&mut self, id: &Id) -> bool {
        let before = self.len();
        self.queue.remove(id);
        self.waiting.retain(|(_, other), _| other != id);
        self.len() < before
    }

    fn next_due_ns(&self) -> Option<u64> {
        let waiting = self.waiting.first_key_value().map(|((due_ns, _), _)| *due_ns);
        [self.queue.first().map(|id| id.0), waiting].into_iter().flatten().min()
    }

    /// What has waited comes first.
    fn take(&mut self, now_ns: u64) -> Option<(Id, u32)> {
        if let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now_ns) {
            let ((_, id), failures) = entry.remove_entry();
            return Some((id, failures));
        }
        let first = *self.queue.first().filter(|id| id.0 <= now_ns)?;
        self.queue.remove(&first);
        Some((first, 0))
    }

    fn failed(&mut self, id: Id, failures: u32, now_ns: u64) {
        let after_ns = (10 * MS << failures.min(10)).min(10_000 * MS);
        self.waiting.insert((now_ns + after_ns, id), failures + 1);
    }
}

/// How a callback goes.
#[derive(Clone, Copy, Debug)]
enum Goes {
    Well,
    Badly,
    /// It sets its own timer again.
    Again,
}

#[derive(Clone, Debug)]
enum Op {
    Set(u32, u64, u64),
    Delete(u32, u64, u64),
    Fire(u64, Vec<Goes>),
    Step(Step),
}

fn callbacks() -> impl Strategy<Value = Vec<Goes>> {
    let goes = prop_oneof![4 => Just(Goes::Well), 2 => Just(Goes::Badly), 1 => Just(Goes::Again)];
    proptest::collection::vec(goes, 0..8)
}

fn time() -> impl Strategy<Value = u64> {
    (0..12_u64).prop_map(|n| n * 7 * MS)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        6 => (0..4_u32, 0..2_u64, time()).prop_map(|(key, namespace, at)| Op::Set(key, namespace, at)),
        4 => (0..4_u32, 0..2_u64, time()).prop_map(|(key, namespace, at)| Op::Delete(key, namespace, at)),
        3 => (time(), callbacks()).prop_map(|(now_ns, callbacks)| Op::Fire(now_ns, callbacks)),
        2 => Just(Op::Step(Step::Freeze)),
        4 => (1..200_usize).prop_map(|bytes| Op::Step(Step::Slice(bytes))),
        1 => Just(Op::Step(Step::Abort)),
        1 => Just(Op::Step(Step::Crash)),
    ];
    proptest::collection::vec(one, 1..200)
}

fn make() -> Timers<u32> {
    Timers::new("timers")
}

/// Makes as many callbacks as there are in the list, if so many are due.
fn fire(timers: &mut Timers<u32>, model: &mut Model, now_ns: u64, callbacks: &[Goes]) {
    assert_eq!(timers.next_due_ns(), model.next_due_ns());
    for goes in callbacks {
        let due = timers.take_due(now_ns);
        let expected = model.take(now_ns);
        let id = due.as_ref().map(|due| (due.at_ns, due.key.hash(), due.namespace, *due.key));
        assert_eq!(id, expected.map(|(id, _)| id));
        let (Some(due), Some((id, failures))) = (due, expected) else { return };
        assert_eq!(due.key.now_ns(), now_ns);
        assert!(!timers.delete(&due.key, due.namespace, due.at_ns), "it is not set any more");
        match goes {
            Goes::Well => assert!(!timers.called(Called::Done)),
            Goes::Badly => {
                assert!(timers.called(Called::Failed { now_ns }));
                model.failed(id, failures, now_ns);
            }
            Goes::Again => {
                assert!(timers.set(&due.key, due.namespace, due.at_ns));
                assert!(!timers.called(Called::Done));
                assert!(model.insert(id));
            }
        }
        assert_eq!(timers.counts().entries, model.len());
    }
}

/// The end of input: what fires, and how many are dropped then.
fn end(timers: &mut Timers<u32>, model: &mut Model, at_end: AtEnd, now_ns: u64, callbacks: &[Goes]) {
    timers.begin_end(now_ns);
    let mut last: BTreeSet<Id> = std::mem::take(&mut model.queue);
    if at_end == AtEnd::Drop {
        model.queue = last.split_off(&(now_ns + 1, 0, 0, 0));
    }
    let mut callbacks = callbacks.iter().copied();
    while let Some(due) = timers.take_due(now_ns) {
        let (id, failures) = match last.pop_first() {
            Some(id) => (id, 0),
            None => model.take_waiting(now_ns),
        };
        assert_eq!((due.at_ns, due.key.hash(), due.namespace, *due.key), id);
        assert_eq!(due.key.now_ns(), now_ns.max(due.at_ns), "never before its time, nor at the end of time");
        match callbacks.next() {
            Some(Goes::Badly) => {
                assert!(timers.called(Called::Failed { now_ns }));
                model.failed(id, failures, now_ns);
            }
            Some(Goes::Again) => {
                assert!(timers.set(&due.key, due.namespace, due.at_ns));
                assert!(model.insert(id));
            }
            _ => _ = timers.called(Called::Done),
        }
    }
    assert!(last.is_empty());
    assert_eq!(timers.counts().entries, model.len());
    let dropped: usize = std::iter::from_fn(|| Some(timers.drop_timers(3)).filter(|dropped| *dropped > 0)).sum();
    assert_eq!((dropped, timers.counts().entries, timers.next_due_ns()), (model.len(), 0, None));
}

impl Model {
    fn take_waiting(&mut self, now_ns: u64) -> (Id, u32) {
        let ((due_ns, id), failures) = self.waiting.pop_first().expect("something waits");
        assert!(due_ns <= now_ns);
        (id, failures)
    }
}

proptest! {
    #[test]
    fn timers_fire_once_and_in_order_whatever_happens(
        ops in ops(),
        fires_at_end: bool,
        end_ns in time(),
        last in callbacks(),
    ) {
        let at_end = if fires_at_end { AtEnd::Fire } else { AtEnd::Drop };
        let make = || make().at_end(at_end);
        let (mut timers, mut model, mut engine) = (bound(make()), Model::default(), Engine::new());
        for op in ops {
            match op {
                Op::Set(n, namespace, at) => {
                    let key = key(n, 0);
                    assert_eq!(timers.set(&key, namespace, at), model.insert((at, key.hash(), namespace, n)));
                }
                Op::Delete(n, namespace, at) => {
                    let key = key(n, 0);
                    assert_eq!(timers.delete(&key, namespace, at), model.remove(&(at, key.hash(), namespace, n)));
                }
                Op::Fire(now_ns, callbacks) => fire(&mut timers, &mut model, now_ns, &callbacks),
                Op::Step(step) => {
                    if engine.step(step, &mut timers, &mut model, make) {
                        // That they have failed is forgotten, and nothing else.
                        let waited: Vec<Id> = std::mem::take(&mut model.waiting).into_keys().map(|(_, id)| id).collect();
                        model.queue.extend(waited);
                    }
                }
            }
            assert_eq!(timers.counts().entries, model.len());
        }
        engine.settle(&mut timers, &mut model, make);
        assert_eq!(engine.stored.len(), model.len());
        let (mut restored, mut again) = (restore(make(), &engine.stored), Model::default());
        again.queue.extend(model.queue.iter().copied().chain(model.waiting.keys().map(|(_, id)| *id)));
        fire(&mut restored, &mut again, u64::MAX, &[Goes::Well; 100]);
        assert_eq!(again.len(), 0);
        end(&mut timers, &mut model, at_end, end_ns, &last);
    }
}

#[test]
fn what_fails_is_due_again_after_twice_as_long_each_time_up_to_ten_seconds() {
    let mut timers = bound(make());
    timers.set(&key(1, 0), 0, 0);
    let mut now_ns = 0;
    let mut waits_ms = Vec::new();
    for _ in 0..13 {
        timers.take_due(now_ns).expect("due");
        assert!(timers.called(Called::Failed { now_ns }));
        let due_ns = timers.next_due_ns().expect("it waits");
        assert!(timers.take_due(due_ns - 1).is_none());
        waits_ms.push((due_ns - now_ns) / MS);
        now_ns = due_ns;
    }
    assert_eq!(waits_ms, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_000, 10_000, 10_000]);
}
