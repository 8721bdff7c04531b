use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// Replays are limited by their number only; pauses are exact.
fn limited<T: Clone>(max_replays: u32) -> Pending<T> {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    let mut pending = Pending::new(Patience { max_replays: Some(max_replays), backoff, ..Patience::default() });
    pending.without_jitter = true;
    pending
}

fn patient<T: Clone>() -> Pending<T> {
    Pending::new(Patience::default())
}

fn retry() -> Failure {
    Failure::retry("again")
}

#[test]
fn an_item_is_replayed_with_growing_delays_and_then_given_up() {
    let mut pending = limited(4);
    let id = pending.insert("poison", 0, Position(7));
    let mut now_ns = 0;
    for delay_ns in [10 * MS, 20 * MS, 40 * MS, 80 * MS] {
        assert_eq!(pending.fail(id, &retry(), now_ns), Verdict::Waits);
        assert_eq!(pending.take_due(now_ns + delay_ns - 1), None);
        assert_eq!(pending.next_due_ns(), Some(now_ns + delay_ns));
        now_ns += delay_ns;
        assert_eq!(pending.take_due(now_ns), Some((id, "poison")));
    }
    let dead = Verdict::Dead(Dead { value: "poison", position: Position(7), attempts: 5, first_failed_ns: 1 });
    assert_eq!(pending.fail(id, &retry(), now_ns), dead);
    assert_eq!((pending.len(), pending.lowest(0), pending.next_due_ns()), (0, None, None));
}

#[test]
fn what_asks_to_be_tried_again_is_tried_for_its_time_and_then_given_up() {
    let mut pending = patient();
    let id = pending.insert(1, 0, Position(0));
    let mut now_ns = MS;
    let mut replays = 0;
    let given_up_ns = loop {
        match pending.fail(id, &retry(), now_ns) {
            Verdict::Waits => replays += 1,
            Verdict::Dead(_) => break now_ns,
            Verdict::Unknown => panic!("the item is open"),
        }
        now_ns = pending.next_due_ns().expect("it waits");
        pending.take_due(now_ns).expect("it is due");
    };
    assert!((600_000 * MS..611_000 * MS).contains(&given_up_ns), "10 minutes: {given_up_ns}");
    assert!((60..100).contains(&replays), "pauses grow to 10 s, a part less by chance: {replays}");
}

#[test]
fn a_bug_is_tried_five_times_and_what_only_stood_by_is_never_given_up() {
    let mut pending = patient();
    let (poison, innocent) = (pending.insert(1, 0, Position(0)), pending.insert(2, 0, Position(1)));
    for failures in 1..=5 {
        let verdict = pending.fail(poison, &Failure::panic("boo"), failures);
        assert_eq!(matches!(verdict, Verdict::Dead(Dead { attempts: 5, .. })), failures == 5, "{verdict:?}");
        if failures < 5 {
            pending.take_due(u64::MAX);
        }
    }
    for failures in 1..100 {
        assert_eq!(pending.fail(innocent, &Failure::collateral("the other one"), failures), Verdict::Waits);
        pending.take_due(u64::MAX);
    }
}

#[test]
fn what_only_stood_by_does_not_wait_longer_each_time() {
    let mut pending = patient();
    let innocent = pending.insert(1, 0, Position(0));
    let longest_ns = Patience::default().backoff.pause_ns(1);
    for now_ns in (1..100).map(|failures| failures * 1_000 * MS) {
        pending.fail(innocent, &Failure::collateral("the other one"), now_ns);
        assert!(pending.next_due_ns().unwrap() <= now_ns + longest_ns);
        pending.take_due(u64::MAX);
    }
}

#[test]
fn a_rejected_item_is_given_up_at_once() {
    let mut pending = limited(1_000);
    let id = pending.insert(1, 0, Position(0));
    let dead = Verdict::Dead(Dead { value: 1, position: Position(0), attempts: 1, first_failed_ns: 1 });
    assert_eq!(pending.fail(id, &Failure::reject("never"), 0), dead);
}

#[test]
fn without_replays_the_first_failure_is_the_last() {
    let mut pending = limited(0);
    let id = pending.insert(1, 0, Position(0));
    assert!(matches!(pending.fail(id, &retry(), 0), Verdict::Dead(Dead { attempts: 1, .. })));
}

#[test]
fn items_due_at_the_same_time_come_in_the_order_in_which_they_failed() {
    let mut pending = limited(3);
    let ids: Vec<u64> = (0..5).map(|n| pending.insert(n, 0, Position(n))).collect();
    for n in [3, 1, 4, 0, 2] {
        pending.fail(ids[n], &retry(), 0);
    }
    let order: Vec<u64> = std::iter::from_fn(|| pending.take_due(10 * MS).map(|(_, value)| value)).collect();
    assert_eq!(order, [3, 1, 4, 0, 2]);
}

#[test]
fn callbacks_for_an_earlier_instance_are_not_mistaken_for_ones_of_this() {
    let mut earlier = limited(3);
    let stale = earlier.insert("old", 0, Position(0));
    let mut pending = limited(3);
    pending.start_ids_at(99);
    pending.insert("new", 0, Position(0));
    assert!(!pending.ack(stale));
    assert_eq!(pending.fail(stale, &retry(), 0), Verdict::Unknown);
    assert_eq!(pending.len(), 1);
}

#[test]
fn giving_a_split_up_forgets_its_items_and_keeps_those_of_others() {
    let mut pending = limited(3);
    let gone = pending.insert("gone", 0, Position(1));
    let kept = pending.insert("kept", 1, Position(2));
    let waits = pending.insert("gone and waiting", 0, Position(3));
    pending.fail(waits, &retry(), 0);
    pending.renumber(&[None, Some(0)], 1);
    assert_eq!((pending.len(), pending.waiting(), pending.lowest(0)), (1, 0, Some(Position(2))));
    assert!(!pending.ack(gone) && !pending.ack(waits) && pending.ack(kept));
    assert_eq!(pending.lowest(0), None);
}

#[test]
fn slots_are_used_again() {
    let mut pending = limited(3);
    for n in 0..10_000 {
        let (a, b) = (pending.insert(n, 0, Position(n)), pending.insert(n, 0, Position(n)));
        assert!(pending.ack(b) && pending.ack(a));
    }
    assert_eq!(pending.entries.len(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Emit(usize),
    Ack(prop::sample::Index),
    Fail(prop::sample::Index, bool),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3usize).prop_map(Step::Emit),
        3 => any::<prop::sample::Index>().prop_map(Step::Ack),
        3 => (any::<prop::sample::Index>(), prop::bool::weighted(0.1)).prop_map(|(index, no)| Step::Fail(index, no)),
        2 => (0..30 * MS).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    /// Under any order of acks and fails each item ends exactly once, no split's position passes an open item, and no
    /// item is emitted more than one time plus the replays allowed.
    #[test]
    fn every_item_ends_exactly_once_and_positions_never_pass_an_open_one(steps in steps(), max_replays in 0..4u32) {
        let mut pending = limited(max_replays);
        let (mut now_ns, mut emitted) = (0, 0u64);
        // Ids with an open tree; all items that have not ended, as (split, number); how often each was emitted.
        let mut open: Vec<(u64, usize, u64)> = Vec::new();
        let mut unfinished: [BTreeSet<u64>; 3] = Default::default();
        let mut attempts: BTreeMap<u64, u32> = BTreeMap::new();
        let mut ended = BTreeSet::new();
        let finish = std::iter::repeat_n(Step::Pass(2_000 * MS), 1);
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Emit(split) => {
                    let id = pending.insert((split, emitted), split, Position(emitted));
                    open.push((id, split, emitted));
                    unfinished[split].insert(emitted);
                    attempts.insert(emitted, 1);
                    emitted += 1;
                }
                Step::Ack(index) if !open.is_empty() => {
                    let (id, split, number) = open.swap_remove(index.index(open.len()));
                    prop_assert!(pending.ack(id));
                    prop_assert!(!pending.ack(id));
                    prop_assert!(unfinished[split].remove(&number) && ended.insert(number));
                }
                Step::Fail(index, reject) if !open.is_empty() => {
                    let (id, split, number) = open.swap_remove(index.index(open.len()));
                    let failure = if reject { Failure::reject("no") } else { retry() };
                    match pending.fail(id, &failure, now_ns) {
                        Verdict::Waits => prop_assert!(!reject && attempts[&number] <= max_replays),
                        Verdict::Dead(Dead { value, attempts: counted, .. }) => {
                            prop_assert_eq!(value, (split, number));
                            prop_assert_eq!(counted, attempts[&number]);
                            prop_assert!(reject || counted == max_replays + 1);
                            prop_assert!(unfinished[split].remove(&number) && ended.insert(number));
                        }
                        Verdict::Unknown => prop_assert!(false, "the item is open"),
                    }
                }
                Step::Ack(_) | Step::Fail(..) => {}
                Step::Pass(ns) => {
                    now_ns += ns;
                    while let Some((id, (split, number))) = pending.take_due(now_ns) {
                        prop_assert!(!open.iter().any(|(other, ..)| *other == id));
                        open.push((id, split, number));
                        *attempts.get_mut(&number).unwrap() += 1;
                    }
                }
            }
            for (split, unfinished) in unfinished.iter().enumerate() {
                prop_assert_eq!(pending.lowest(split), unfinished.first().map(|number| Position(*number)));
            }
            prop_assert_eq!(pending.waiting() + open.len(), pending.len());
        }
        prop_assert_eq!(pending.waiting(), 0);
        for (id, ..) in open {
            prop_assert!(pending.ack(id));
        }
        prop_assert_eq!(pending.len(), 0);
        prop_assert!(ended.len() as u64 <= emitted);
    }
}
