//! Times to live.

use std::time::Duration;

use super::checkpoints::*;
use crate::state::delta::Delta;
use crate::state::{AnyState, Called, CurrentKey, KeyedState, Refresh, Ttl, ValueState};

const LIVES_NS: u64 = 1600;
const TICK_NS: u64 = 100;

fn a(now_ns: u64) -> CurrentKey<String> {
    key("a".to_string(), now_ns)
}

fn ttl() -> Ttl {
    Ttl::new(Duration::from_nanos(LIVES_NS))
}

fn make(ttl: Ttl) -> ValueState<String, u64> {
    ValueState::new("seen").ttl(ttl)
}

fn records(state: &mut ValueState<String, u64>) -> usize {
    let mut delta = Delta::default();
    state.freeze();
    assert!(state.encode_slice(1 << 20, &mut delta).unwrap());
    delta.records()
}

#[test]
fn a_value_lives_its_time_and_at_most_a_sixteenth_longer() {
    for born_ns in [0, 1, 50, 99, 100, 12_345] {
        let mut state = bound(make(ttl()));
        state.set(&a(born_ns), 1);
        assert_eq!(state.get(&a(born_ns + LIVES_NS)), Some(&1));
        assert_eq!(state.peek(&a(born_ns + LIVES_NS + TICK_NS)), None);
        assert_eq!(state.get(&a(born_ns + LIVES_NS + TICK_NS)), None);
        state.update(&a(born_ns + LIVES_NS + TICK_NS), |count| *count += 5);
        assert_eq!(state.get(&a(born_ns + LIVES_NS + TICK_NS)), Some(&5), "begun anew");
    }
}

#[test]
fn what_refreshes_is_what_was_asked_for() {
    for (refresh, alive) in [(Refresh::OnWrite, false), (Refresh::OnRead, true)] {
        let mut state = bound(make(ttl().refresh(refresh)));
        state.set(&a(0), 1);
        assert!(state.get(&a(1500)).is_some());
        assert_eq!(state.contains(&a(3000)), alive);
        state.set(&a(3000), 2);
        assert!(state.get_mut(&a(4500)).is_some());
        assert!(state.contains(&a(6000)), "a write refreshes in any case");
    }
}

#[test]
fn a_read_is_a_change_only_if_the_stamp_changes() {
    let mut state = bound(make(ttl().refresh(Refresh::OnRead)));
    state.set(&a(0), 1);
    assert_eq!(records(&mut state), 1);
    state.get(&a(TICK_NS - 1));
    assert_eq!(records(&mut state), 0);
    state.get(&a(TICK_NS));
    assert_eq!(records(&mut state), 1);
}

#[test]
fn the_sweep_removes_what_nobody_asks_for() {
    let mut state = bound(make(ttl()));
    for n in 0..100 {
        state.set(&key(n.to_string(), if n % 2 == 0 { 0 } else { 5000 }), n);
    }
    assert_eq!(records(&mut state), 100);
    let removed: usize = (0..20).map(|_| state.sweep(5000, 10)).sum();
    assert_eq!((removed, state.counts().entries), (50, 50));
    assert_eq!(records(&mut state), 50, "the deletions");
}

#[test]
fn what_expires_is_reported_once_with_its_value() {
    let mut state = bound(make(ttl().report_evictions()));
    state.set(&a(0), 1);
    state.set(&key("b".into(), 0), 2);
    state.set(&a(5000), 3);
    state.sweep(5000, 100);
    let mut evicted = Vec::new();
    while let Some(key) = state.next_expired(5000) {
        evicted.push((key.to_string(), *state.evicted().unwrap()));
    }
    assert_eq!(evicted, [("a".to_string(), 1), ("b".to_string(), 2)]);
    assert_eq!(state.evicted(), None);
    assert_eq!(state.get(&a(5000)), Some(&3));
}

#[test]
fn stamps_survive_and_a_time_to_live_may_come_and_go() {
    let mut old = bound(make(ttl()));
    old.set(&a(7), 1);
    let mut engine = Engine::<()>::new();
    engine.settle(&mut old, &mut (), || make(ttl()));
    let restored = restore(make(ttl()), &engine.stored);
    assert!(restored.contains(&a(LIVES_NS)) && !restored.contains(&a(LIVES_NS + TICK_NS)));

    let into = |mut state: ValueState<String, u64>, from: &ValueState<String, u64>, stored: &Stored, now_ns| {
        let binding = crate::state::Binding { now_ns, ..binding() };
        state.bind(&binding, Some(&from.schema())).unwrap();
        restore_all(&mut state, stored);
        state
    };
    let mut without = into(ValueState::new("seen"), &old, &engine.stored, 0);
    assert_eq!(without.get(&a(1 << 60)), Some(&1));
    engine.settle(&mut without, &mut (), || ValueState::new("seen"));
    let with = into(make(ttl()), &without, &engine.stored, 10_000);
    assert!(with.contains(&a(11_000)) && !with.contains(&a(12_000)));
}

#[test]
fn at_the_end_all_that_has_expired_is_reported() {
    let mut state = bound(make(ttl().report_evictions()));
    for n in 0..100 {
        state.set(&key(n.to_string(), if n % 2 == 0 { 0 } else { 5000 }), n);
    }
    state.begin_end(5000);
    let mut evicted = 0;
    while let Some(key) = state.next_expired(5000) {
        assert!(state.evicted().is_some(), "{}", *key);
        evicted += 1;
    }
    assert_eq!((evicted, state.counts().entries, state.has_expired()), (50, 50, false));
}

#[test]
fn a_failed_report_waits_its_time_and_is_given_up_after_five() {
    let mut state = bound(make(ttl().report_evictions()));
    state.set(&a(0), 1);
    state.sweep(5000, 100);
    let mut now_ns = 5000;
    for failures in 1..=5 {
        assert!(state.next_expired(now_ns).is_some());
        assert_eq!(state.evicted(), Some(&1));
        assert_eq!(state.called(Called::Failed { now_ns }), failures < 5);
        assert!(state.next_expired(now_ns).is_none());
        now_ns = state.next_due_ns().unwrap_or(now_ns);
    }
    assert_eq!((now_ns, state.has_expired()), (5000 + 150_000_000, false));
}
