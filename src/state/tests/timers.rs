//! [`Timers`] against a sorted set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::checkpoints::*;
use crate::state::{AnyState, KeyedState, Timers};

/// Time, hash of the key, namespace, key: the order in which they fire.
type Model = BTreeSet<(u64, u64, u64, u32)>;

#[derive(Clone, Debug)]
enum Op {
    Set(u32, u64, u64),
    Delete(u32, u64, u64),
    Fire(u64),
    Step(Step),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        6 => (0..4_u32, 0..2_u64, 0..12_u64).prop_map(|(key, namespace, at)| Op::Set(key, namespace, at)),
        4 => (0..4_u32, 0..2_u64, 0..12_u64).prop_map(|(key, namespace, at)| Op::Delete(key, namespace, at)),
        2 => (0..12_u64).prop_map(Op::Fire),
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

fn fire(timers: &mut Timers<u32>, model: &mut Model, now_ns: u64) {
    assert_eq!(timers.next_due_ns(), model.first().map(|first| first.0));
    while let Some(due) = timers.take_due(now_ns) {
        assert_eq!(Some((due.at_ns, due.key.hash(), due.namespace, *due.key)), model.pop_first());
    }
    assert!(model.first().is_none_or(|first| first.0 > now_ns));
}

proptest! {
    #[test]
    fn timers_fire_once_and_in_order_whatever_happens(ops in ops()) {
        let (mut timers, mut model, mut engine) = (bound(make()), Model::new(), Engine::new());
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
                Op::Fire(now_ns) => fire(&mut timers, &mut model, now_ns),
                Op::Step(step) => {
                    engine.step(step, &mut timers, &mut model, make);
                }
            }
            assert_eq!(timers.counts().entries, model.len());
        }
        engine.settle(&mut timers, &mut model, make);
        assert_eq!(engine.stored.len(), model.len());
        fire(&mut restore(make(), &engine.stored), &mut model, u64::MAX);
        assert!(model.is_empty());
    }
}
