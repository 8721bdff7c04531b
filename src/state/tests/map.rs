//! [`MapState`] and [`ListState`] against maps and vectors.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::checkpoints::*;
use crate::state::{AnyState, ListState, MapState};

type Model = BTreeMap<u32, BTreeMap<String, i64>>;
type Fields = MapState<u32, String, i64>;

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u8, i64),
    Add(u32, u8),
    Remove(u32, u8),
    Clear(u32),
    Step(Step),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Freeze),
        4 => (1..200_usize).prop_map(Step::Slice),
        1 => Just(Step::Abort),
        1 => Just(Step::Crash),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        8 => (0..5_u32, 0..6_u8, any::<i64>()).prop_map(|(key, element, value)| Op::Insert(key, element, value)),
        4 => (0..5_u32, 0..6_u8).prop_map(|(key, element)| Op::Add(key, element)),
        6 => (0..5_u32, 0..6_u8).prop_map(|(key, element)| Op::Remove(key, element)),
        1 => (0..5_u32).prop_map(Op::Clear),
        8 => step().prop_map(Op::Step),
    ];
    proptest::collection::vec(one, 1..200)
}

fn make() -> Fields {
    MapState::new("fields")
}

fn same(state: &Fields, model: &Model) {
    for n in 0..5 {
        let key = key(n, 0);
        let expected = model.get(&n).cloned().unwrap_or_default();
        let found: BTreeMap<String, i64> = state.iter(&key).map(|(element, value)| (element.clone(), *value)).collect();
        assert_eq!(found, expected);
        assert_eq!((state.len(&key), state.is_empty(&key)), (expected.len(), expected.is_empty()));
        for element in (0..6).map(|n| format!("e{n}")) {
            assert_eq!(state.get(&key, &element), expected.get(&element));
        }
    }
    assert_eq!(state.counts().entries, model.values().map(BTreeMap::len).sum::<usize>());
}

fn run(ops: Vec<Op>) {
    let (mut state, mut model, mut engine) = (bound(make()), Model::new(), Engine::new());
    for op in ops {
        match op {
            Op::Insert(n, element, value) => {
                let element = format!("e{element}");
                let old = model.entry(n).or_default().insert(element.clone(), value);
                assert_eq!(state.insert(&key(n, 0), element, value), old);
            }
            Op::Add(n, element) => {
                let element = format!("e{element}");
                let now = state.get_or_insert_with(&key(n, 0), element.clone(), || 5);
                *now = now.wrapping_add(1);
                let now = model.entry(n).or_default().entry(element).or_insert(5);
                *now = now.wrapping_add(1);
            }
            Op::Remove(n, element) => {
                let element = format!("e{element}");
                let old = model.get_mut(&n).and_then(|map| map.remove(&element));
                assert_eq!(state.remove(&key(n, 0), &element), old);
            }
            Op::Clear(n) => {
                state.clear(&key(n, 0));
                model.remove(&n);
            }
            Op::Step(step) => {
                if engine.step(step, &mut state, &mut model, make) {
                    same(&state, &model);
                }
            }
        }
    }
    same(&state, &model);
    engine.settle(&mut state, &mut model, make);
    same(&restore(make(), &engine.stored), &model);
    let elements: usize = model.values().map(BTreeMap::len).sum();
    assert_eq!(engine.stored.len(), elements, "no element stays behind in the store");
}

/// Zero pushes, else clears.
fn run_list(ops: Vec<(u32, u8, Option<Step>)>) {
    let make = || ListState::<u32, u64>::new("list");
    let mut model = BTreeMap::<u32, Vec<u64>>::new();
    let (mut state, mut engine, mut pushed) = (bound(make()), Engine::new(), 0);
    let same = |state: &ListState<u32, u64>, model: &BTreeMap<u32, Vec<u64>>| {
        for n in 0..3 {
            let expected = model.get(&n).cloned().unwrap_or_default();
            assert_eq!(state.iter(&key(n, 0)).copied().collect::<Vec<_>>(), expected);
            assert_eq!(state.len(&key(n, 0)), expected.len());
            assert_eq!(state.get(&key(n, 0), 2), expected.get(2));
        }
    };
    for (n, what, step) in ops {
        if what == 0 {
            state.clear(&key(n, 0));
            model.remove(&n);
        } else {
            pushed += 1;
            state.push(&key(n, 0), pushed);
            model.entry(n).or_default().push(pushed);
        }
        if step.is_some_and(|step| engine.step(step, &mut state, &mut model, make)) {
            same(&state, &model);
        }
    }
    engine.settle(&mut state, &mut model, make);
    same(&state, &model);
    same(&restore(make(), &engine.stored), &model);
}

proptest! {
    #[test]
    fn any_interleaving_restores_the_maps_as_of_the_freeze(ops in ops()) {
        run(ops);
    }

    #[test]
    fn any_interleaving_restores_the_lists_as_of_the_freeze(
        ops in proptest::collection::vec((0..3_u32, 0..6_u8, proptest::option::of(step())), 1..150)
    ) {
        run_list(ops);
    }
}

#[test]
fn one_more_element_is_one_record() {
    let mut list = bound(ListState::<u32, String>::new("list"));
    for n in 0..1000 {
        list.push(&key(1, 0), n.to_string());
    }
    let mut delta = crate::state::delta::Delta::default();
    for records in [1000, 1] {
        delta.clear();
        list.freeze();
        assert!(list.encode_slice(1 << 20, &mut delta).unwrap());
        assert_eq!(delta.records(), records);
        list.push(&key(1, 0), "more".into());
    }
}
