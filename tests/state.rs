//! Keyed state from outside: what it stores is read for ever, and what it has is reached without allocating.

use std::alloc::System;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use squall::state::delta::{Changes, Delta, Space};
use squall::state::key::{KEY_GROUPS_DEFAULT, key_hash};
use squall::state::{
    AggregatingState, AnyState, Binding, CurrentKey, KeyedState, ListState, MapState, ReducingState, Schema, StateKey,
    Timers, Ttl, ValueState,
};
use squall::sys::alloc::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

const NOW_NS: u64 = 1_700_000_000_000_000_000;

fn key<K: StateKey>(key: K) -> CurrentKey<K> {
    let hash = key_hash(&key);
    CurrentKey::of_hashed(key, hash, KEY_GROUPS_DEFAULT, NOW_NS)
}

fn bind<K>(state: &mut impl KeyedState<K>, recorded: Option<&Schema>) {
    let binding = Binding {
        component: "fixture".into(),
        space: Some(Space(1)),
        first_group: 0,
        groups: KEY_GROUPS_DEFAULT,
        groups_total: KEY_GROUPS_DEFAULT,
        now_ns: NOW_NS,
    };
    state.bind(&binding, recorded).expect("readable");
}

fn encode<K>(state: &mut impl KeyedState<K>, delta: &mut Delta) {
    state.freeze();
    while !state.encode_slice(delta.bytes().len() + 1024, delta).expect("encodes") {}
}

/// Fills a state and compares its bytes and schema with the fixture's, then reads the fixture into another one.
///
/// The files were written by the first format and are never written again: if this fails, stored state can no longer be
/// read, and the code is wrong. For a new fixture run the tests with `WRITE_FIXTURES=1`; existing ones are left alone.
fn fixture<K, S: KeyedState<K>>(name: &str, make: impl Fn() -> S, fill: impl Fn(&mut S), look: impl Fn(&mut S)) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state/1");
    let (of_delta, of_schema) = (folder.join(format!("{name}.delta")), folder.join(format!("{name}.json")));
    let mut state = make();
    bind(&mut state, None);
    fill(&mut state);
    let mut delta = Delta::default();
    encode(&mut state, &mut delta);
    if std::env::var_os("WRITE_FIXTURES").is_some() && !of_delta.exists() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&of_delta, delta.bytes()).unwrap();
        fs::write(&of_schema, serde_json::to_string_pretty(&state.schema()).unwrap() + "\n").unwrap();
    }
    let stored = fs::read(&of_delta).unwrap_or_else(|error| panic!("{}: {error}", of_delta.display()));
    let recorded: Schema = serde_json::from_slice(&fs::read(&of_schema).unwrap()).unwrap();
    assert!(delta.bytes() == stored, "{name}: what is written has changed");
    assert_eq!(state.schema(), recorded, "{name}");

    let mut restored = make();
    bind(&mut restored, Some(&recorded));
    for change in Changes::of(&stored) {
        restored.restore(&change.unwrap()).unwrap();
    }
    look(&mut restored);
}

#[test]
fn what_the_first_format_wrote_is_read() {
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Seen {
        count: u64,
        last: Option<String>,
    }
    let seen = |count| Seen { count, last: Some(format!("at {count}")) };
    fixture(
        "value",
        || ValueState::<String, Seen>::new("seen"),
        |state| (0..20).for_each(|n| state.set(&key(format!("key {n}")), seen(n * n))),
        |state| (0..20).for_each(|n| assert_eq!(state.get(&key(format!("key {n}"))), Some(&seen(n * n)))),
    );
    fixture(
        "value_with_ttl",
        || ValueState::<(u32, String), i64>::new("recent").ttl(Ttl::new(Duration::from_secs(60))),
        |state| (0..20).for_each(|n| state.set(&key((n, n.to_string())), -i64::from(n))),
        |state| (0..20).for_each(|n| assert_eq!(state.get(&key((n, n.to_string()))), Some(&-i64::from(n)))),
    );
    fixture(
        "list",
        || ListState::<u64, String>::new("list"),
        |state| (0..20).for_each(|n| state.push(&key(n % 3), n.to_string())),
        |state| assert_eq!(state.iter(&key(1)).cloned().collect::<String>(), "14710131619"),
    );
    fixture(
        "map",
        || MapState::<[u8; 4], Option<u16>, f64>::new("map"),
        |state| {
            for n in 0..20_u16 {
                state.insert(&key([n as u8 % 3; 4]), Some(n), f64::from(n) / 2.0);
            }
        },
        |state| assert_eq!((state.len(&key([1; 4])), state.get(&key([1; 4]), &Some(7))), (7, Some(&3.5))),
    );
    fixture(
        "reducing",
        || ReducingState::<u64, u64>::new("highest", |a, b| *a = (*a).max(b)),
        |state| {
            for n in 0..20 {
                state.add(&key(n % 3), n);
            }
        },
        |state| assert_eq!(*state.add(&key(1), 7), 19),
    );
    fixture(
        "aggregating",
        || AggregatingState::<u64, u64, (u64, u32), u64>::new("sum", || (0, 0), |acc, n| acc.0 += n, |acc| acc.0),
        |state| (0..20).for_each(|n| state.add(&key(n % 3), n)),
        |state| assert_eq!(state.get(&key(0)), Some(63)),
    );
    fixture(
        "timers",
        || Timers::<String>::new("timers"),
        |state| (0..20).for_each(|n| assert!(state.set(&key(format!("key {}", n % 3)), n % 2, NOW_NS + n))),
        |state| {
            let due: Vec<u64> =
                std::iter::from_fn(|| state.take_due(NOW_NS + 9)).map(|due| due.at_ns - NOW_NS).collect();
            assert_eq!(due, (0..10).collect::<Vec<_>>());
        },
    );
}

/// Updates, freezes, writes over the frozen and encoding, over and over.
#[test]
fn keys_that_are_there_cost_no_allocation() {
    let keys: Vec<CurrentKey<String>> = (0..5_000).map(|n| key(format!("a key of some length {n}"))).collect();
    let mut state = ValueState::<String, u64>::new("seen");
    bind(&mut state, None);
    let mut delta = Delta::default();
    let mut round = || {
        keys.iter().for_each(|key| state.update(key, |count| *count += 1));
        delta.clear();
        state.freeze();
        keys.iter().step_by(2).for_each(|key| *state.get_mut(key).unwrap() += 1);
        keys.iter().for_each(|key| assert!(state.get(key).is_some()));
        while !state.encode_slice(delta.bytes().len() + 1024, &mut delta).expect("encodes") {}
    };
    (0..4).for_each(|_| round());
    alloc::start();
    let before = alloc::of_this_thread();
    (0..3).for_each(|_| round());
    let counted = alloc::of_this_thread() - before;
    alloc::stop();
    assert!(alloc::is_installed());
    assert_eq!(counted.allocations, 0, "{counted:?}");
}
