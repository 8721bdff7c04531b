use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::sys::random::Random;
use crate::task::acks::Acks;
use crate::task::lane::Peers;
use crate::task::outlet::{EmitCore, Epoch, Outlet, SelfAcked};
use crate::task::payload::Ports;

type Emits = SpoutOutlet<Ports<(u64, DeadLetter<u64>)>, u64>;

/// An outlet without subscribers and with tracking off: it counts what is emitted and keeps the ids.
fn outlet() -> Emits {
    let core = EmitCore::new(Rc::new(Acks::new(Rc::new(Peers::new(1)))), Random::new(1), "spout", false);
    SpoutOutlet {
        out: Outlet::new(Default::default(), core),
        ledger: None,
        ids: Vec::new(),
        self_acked: SelfAcked::default(),
        ended: false,
        late_port: None,
        epoch: Epoch::default(),
        given_up: VecDeque::new(),
        letters_taken: 0,
    }
}

const MS: u64 = 1_000_000;

#[test]
fn a_poison_item_is_replayed_as_often_as_allowed_and_then_dead_lettered() {
    let mut spout = opened(1, &[("0/1", None)]);
    let mut out = outlet();
    let poison = Failure::retry("no");
    assert_eq!(spout.next(&mut out).unwrap(), Next::Emitted);
    for delay_ms in [10, 20, 40] {
        let id = out.self_acked.take().unwrap();
        spout.fail(id, &poison, &mut out).unwrap();
        assert_eq!(spout.next(&mut out).unwrap(), Next::WakeAfter(Duration::from_millis(delay_ms)));
        out.out.core.now_ns += delay_ms * MS;
        assert_eq!(spout.next(&mut out).unwrap(), Next::Emitted);
    }
    let id = out.self_acked.take().unwrap();
    spout.fail(id, &poison, &mut out).unwrap();
    assert_eq!(spout.next(&mut out).unwrap(), Next::Finished);
    let counts = &out.out.core.counts;
    assert_eq!((counts.emitted, counts.replayed, counts.dead_lettered), (5, 3, 1));
    assert!(out.self_acked.take().is_none(), "a dead letter is untracked");
}

#[test]
fn due_replays_come_before_new_items_and_winding_down_stops_only_those() {
    let mut spout = opened(10, &[("0/1", None)]);
    let mut out = outlet();
    (0..2).for_each(|_| assert_eq!(spout.next(&mut out).unwrap(), Next::Emitted));
    let (second, first) = (out.self_acked.take().unwrap(), out.self_acked.take().unwrap());
    spout.fail(second, &Failure::retry("no"), &mut out).unwrap();
    out.out.core.now_ns += 10 * MS;
    assert_eq!(spout.next(&mut out).unwrap(), Next::Emitted);
    assert_eq!((out.self_acked.take(), out.out.core.counts.replayed), (Some(second), 1));
    assert!(spout.wind_down());
    assert_eq!(spout.next(&mut out).unwrap(), Next::Finished, "open trees alone need no further call");
    spout.fail(first, &Failure::retry("no"), &mut out).unwrap();
    out.out.core.now_ns += 10 * MS;
    assert_eq!(spout.next(&mut out).unwrap(), Next::Emitted);
    assert_eq!((out.self_acked.take(), spout.next(&mut out).unwrap()), (Some(first), Next::Finished));
}

#[test]
fn with_too_many_items_waiting_nothing_new_is_read() {
    let mut spout = opened(2 * WAITING_MAX as u64, &[("0/1", None)]);
    let mut out = outlet();
    for _ in 0..WAITING_MAX {
        assert_eq!(spout.next(&mut out).unwrap(), Next::Emitted);
        let id = out.self_acked.take().unwrap();
        spout.fail(id, &Failure::retry("no"), &mut out).unwrap();
    }
    assert_eq!(spout.next(&mut out).unwrap(), Next::WakeAfter(Duration::from_millis(10)));
    assert_eq!(out.out.core.counts.emitted, WAITING_MAX as u64);
}

/// Numbers below a count; the split `i/n` has those that are `i` modulo `n`.
struct Numbers {
    count: u64,
    splits: Vec<(SplitId, u64)>,
}

impl Source for Numbers {
    type Item = u64;
    fn poll(&mut self) -> Result<Polled<u64>, Failure> {
        let count = self.count;
        let splits = self.splits.iter_mut().enumerate();
        let lowest = splits.filter(|(_, (_, next))| *next < count).min_by_key(|(_, (_, next))| *next);
        let Some((split, (id, next))) = lowest else { return Ok(Polled::Finished) };
        let value = *next;
        *next += id.split_once('/').unwrap().1.parse::<u64>().unwrap();
        Ok(Polled::Item { value, split, position: Position(value) })
    }
    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        Some(self)
    }
}

impl Replayable for Numbers {
    fn default_splits(&self) -> Vec<SplitId> {
        vec!["0/1".to_owned()]
    }
    fn assign(&mut self, splits: &[(SplitId, Option<Position>)]) -> Outcome {
        for (id, position) in splits {
            let first = || id.split_once('/').unwrap().0.parse().unwrap();
            self.splits.retain(|(known, _)| known != id);
            self.splits.push((id.clone(), position.map_or_else(first, |position| position.0)));
        }
        Ok(())
    }
    fn revoke(&mut self, splits: &[SplitId]) {
        self.splits.retain(|(known, _)| !splits.contains(known));
    }
    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.splits.iter().map(|(id, next)| (id.clone(), Position(*next))).collect()
    }
}

fn opened(count: u64, splits: &[(&str, Option<u64>)]) -> Replaying<Numbers> {
    let mut spout = Replaying::new(move || Numbers { count, splits: Vec::new() }).max_replays(3);
    spout.pending.without_jitter = true;
    spout.open(&mut SpoutContext::detached()).unwrap();
    assign(&mut spout, splits);
    spout
}

fn assign(spout: &mut Replaying<Numbers>, splits: &[(&str, Option<u64>)]) {
    let splits: Vec<_> = splits.iter().map(|(split, at)| ((*split).to_owned(), at.map(Position))).collect();
    Replayable::assign(spout, &splits).unwrap();
}

/// What `next` does with one item of the source.
fn read(spout: &mut Replaying<Numbers>) -> (u64, u64) {
    match spout.source.get_mut().poll().unwrap() {
        Polled::Item { value, split, position } => (spout.pending.insert(value, split, position), value),
        other => panic!("expected an item, found {other:?}"),
    }
}

fn positions(spout: &Replaying<Numbers>) -> Vec<(String, u64)> {
    spout.positions().into_iter().map(|(split, position)| (split, position.0)).collect()
}

fn at(positions: &[(&str, u64)]) -> Vec<(String, u64)> {
    positions.iter().map(|(split, position)| ((*split).to_owned(), *position)).collect()
}

#[test]
fn the_position_is_that_of_the_lowest_open_item_else_how_far_the_source_has_read() {
    let mut spout = opened(10, &[("0/1", None)]);
    let ids: Vec<u64> = (0..4).map(|_| read(&mut spout).0).collect();
    assert_eq!(positions(&spout), at(&[("0/1", 0)]));
    spout.pending.ack(ids[0]);
    spout.pending.ack(ids[2]);
    assert_eq!(positions(&spout), at(&[("0/1", 1)]));
    spout.pending.fail(ids[1], &Failure::retry("again"), 0);
    assert_eq!(positions(&spout), at(&[("0/1", 1)]));
    spout.pending.ack(ids[3]);
    spout.pending.take_due(u64::MAX).unwrap();
    spout.pending.ack(ids[1]);
    assert_eq!(positions(&spout), at(&[("0/1", 4)]));
}

#[test]
fn a_revoked_split_takes_its_open_items_along() {
    let mut spout = opened(10, &[("0/2", None), ("1/2", None)]);
    let ids: Vec<u64> = (0..4).map(|_| read(&mut spout).0).collect();
    Replayable::revoke(&mut spout, &["0/2".to_owned()]);
    assert_eq!(positions(&spout), at(&[("1/2", 1)]));
    assert!(!spout.pending.ack(ids[0]), "item 0 belongs to whoever reads the split now");
    assert!(spout.pending.ack(ids[1]) && spout.pending.ack(ids[3]));
    assert_eq!(positions(&spout), at(&[("1/2", 5)]));
}

#[test]
fn assigning_a_split_anew_rewinds_it_and_keeps_the_others() {
    let mut spout = opened(10, &[("0/2", None), ("1/2", None)]);
    let ids: Vec<u64> = (0..6).map(|_| read(&mut spout).0).collect();
    assign(&mut spout, &[("0/2", Some(2))]);
    assert!(!spout.pending.ack(ids[2]));
    assert_eq!(read(&mut spout).1, 2);
    assert!(spout.pending.ack(ids[1]));
    let mut found = positions(&spout);
    found.sort();
    assert_eq!(found, at(&[("0/2", 2), ("1/2", 3)]));
}

#[test]
fn while_replays_wait_the_spout_is_not_finished() {
    let mut spout = opened(1, &[("0/1", None)]);
    let (id, _) = read(&mut spout);
    assert_eq!(spout.pending.rest(0, Next::Finished), Next::Finished, "an open tree alone does not hold it up");
    spout.pending.fail(id, &Failure::retry("again"), 0);
    assert_eq!(spout.pending.rest(0, Next::Finished), Next::WakeAfter(Duration::from_millis(10)));
    assert_eq!(
        spout.pending.rest(0, Next::WakeAfter(Duration::from_nanos(5))),
        Next::WakeAfter(Duration::from_nanos(5))
    );
    assert_eq!(spout.pending.rest(20_000_000, Next::Idle), Next::WakeAfter(Duration::ZERO));
}
