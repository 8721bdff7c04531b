//! [`ValueState`] against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::checkpoints::*;
use crate::state::delta::{Change, Delta, Space};
use crate::state::{AnyState, ValueState};

type Model = BTreeMap<String, u64>;
type Counts = ValueState<String, u64>;

#[derive(Clone, Debug)]
enum Op {
    Set(u8, u64),
    Add(u8),
    Remove(u8),
    Change(u8),
    Step(Step),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        4 => (0..20_u8, any::<u64>()).prop_map(|(key, value)| Op::Set(key, value)),
        6 => (0..20_u8).prop_map(Op::Add),
        4 => (0..20_u8).prop_map(Op::Remove),
        2 => (0..20_u8).prop_map(Op::Change),
        2 => Just(Op::Step(Step::Freeze)),
        4 => (1..200_usize).prop_map(|bytes| Op::Step(Step::Slice(bytes))),
        1 => Just(Op::Step(Step::Abort)),
        1 => Just(Op::Step(Step::Crash)),
    ];
    proptest::collection::vec(one, 1..200)
}

fn make() -> Counts {
    ValueState::new("seen")
}

fn same(state: &Counts, model: &Model) {
    for n in 0..20_u8 {
        let name = format!("key {n}");
        assert_eq!(state.peek(&key(name.clone(), 0)), model.get(&name), "{name}");
    }
    assert_eq!(state.counts().entries, model.len());
}

fn run(ops: Vec<Op>) {
    let (mut state, mut model, mut engine) = (bound(make()), Model::new(), Engine::new());
    for op in ops {
        let name = |n: u8| (key(format!("key {n}"), 0), format!("key {n}"));
        match op {
            Op::Set(n, value) => {
                let (key, name) = name(n);
                state.set(&key, value);
                model.insert(name, value);
            }
            Op::Add(n) => {
                let (key, name) = name(n);
                state.update(&key, |count| *count = count.wrapping_add(1));
                let count = model.entry(name).or_default();
                *count = count.wrapping_add(1);
            }
            Op::Remove(n) => {
                let (key, name) = name(n);
                assert_eq!(state.remove(&key), model.remove(&name));
            }
            Op::Change(n) => {
                let (key, name) = name(n);
                assert_eq!(state.get_mut(&key).map(|v| std::mem::replace(v, 7)), model.get(&name).copied());
                model.entry(name).and_modify(|v| *v = 7);
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
    assert_eq!(engine.stored.len(), model.len(), "no entry stays behind in the store");
}

proptest! {
    #[test]
    fn any_interleaving_restores_the_state_as_of_the_freeze(ops in ops()) {
        run(ops);
    }
}

#[test]
fn an_unchanged_state_writes_nothing() {
    let mut state = bound(make());
    state.set(&key("a".into(), 0), 1);
    let mut delta = Delta::default();
    for records in [1, 0, 0] {
        delta.clear();
        state.freeze();
        assert!(state.encode_slice(1 << 20, &mut delta).unwrap());
        assert_eq!(delta.records(), records);
    }
    assert_eq!(state.peek(&key("a".into(), 0)), Some(&1));
}

#[test]
fn what_came_and_went_between_checkpoints_leaves_no_trace() {
    let mut state = bound(make());
    state.set(&key("a".into(), 0), 1);
    state.remove(&key("a".into(), 0));
    let mut delta = Delta::default();
    state.freeze();
    assert!(state.encode_slice(1 << 20, &mut delta).unwrap());
    assert!(delta.is_empty());
}

#[test]
fn a_state_that_is_never_checkpointed_tracks_nothing() {
    let mut state = make();
    state.bind(&crate::state::Binding { space: None, ..binding() }, None).unwrap();
    for n in 0..1000_u64 {
        state.set(&key(format!("key {n}"), 0), n);
        state.remove(&key(format!("key {}", n / 2), 0));
    }
    assert_eq!(state.counts().dirty, 0);
}

#[test]
#[should_panic(expected = "encoded wholly")]
fn a_second_freeze_waits_for_the_first() {
    let mut state = bound(make());
    state.set(&key("a".into(), 0), 1);
    state.freeze();
    state.freeze();
}

#[test]
#[should_panic(expected = "visit each one in the bolt's `states`")]
fn a_forgotten_state_says_so() {
    make().set(&key("a".into(), 0), 1);
}

#[test]
fn a_key_under_a_wrong_group_is_refused() {
    let mut state = bound(make());
    let right = key("a".to_string(), 0).group();
    let key = rmp_serde::to_vec("a").unwrap();
    for group in 0..GROUPS {
        let change = Change { space: Space(3), group: group as u16, key: &key, value: Some(&[1]) };
        match state.restore(&change) {
            Ok(()) => assert_eq!(group, right),
            Err(error) => {
                assert!(error.is_bad_state() && group != right, "{error}");
                assert!(error.to_string().contains("state `seen` of component `count`"), "{error}");
            }
        }
    }
}

#[test]
fn older_values_migrate_and_are_written_anew() {
    let mut old = bound(make());
    for n in 0..10_u64 {
        old.set(&key(n.to_string(), 0), n);
    }
    let mut engine = Engine::<Model>::new();
    engine.settle(&mut old, &mut Model::new(), make);

    let make = || ValueState::<String, (u64, String)>::new("seen").version(2).migrate(1, |n: u64| (n, n.to_string()));
    let mut new = make();
    new.bind(&binding(), Some(&old.schema())).unwrap();
    restore_all(&mut new, &engine.stored);
    assert_eq!(new.peek(&key("7".into(), 0)), Some(&(7, "7".to_string())));
    engine.step(Step::Freeze, &mut new, &mut Model::new(), make);
    engine.step(Step::Slice(1 << 20), &mut new, &mut Model::new(), make);
    assert_eq!(restore(make(), &engine.stored).peek(&key("9".into(), 0)), Some(&(9, "9".to_string())));
}

#[test]
fn what_cannot_be_read_is_refused_with_a_remedy() {
    let recorded = bound(make()).schema();
    let refused = |error: crate::Error, parts: &[&str]| {
        let text = error.to_string();
        assert!(error.is_bad_state());
        parts.iter().for_each(|part| assert!(text.contains(part), "{text}"));
    };
    let error = ValueState::<u64, u64>::new("seen").bind(&binding(), Some(&recorded)).unwrap_err();
    refused(error, &["state `seen` of component `count`", "`str`", "`u64`", "another name"]);
    let error = make().version(3).bind(&binding(), Some(&recorded)).unwrap_err();
    refused(error, &["version 1", "version 3", "`.migrate(1, |old| ...)`"]);
    let newer = crate::state::Schema { version: 9, ..recorded.clone() };
    refused(make().bind(&binding(), Some(&newer)).unwrap_err(), &["version 9", "newer program"]);
    let list = crate::state::Schema { kind: crate::state::Kind::List, ..recorded };
    refused(make().bind(&binding(), Some(&list)).unwrap_err(), &["`list`", "`value`"]);
}
