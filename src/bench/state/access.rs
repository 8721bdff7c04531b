//! Read, add one, write: a counter among many, in a bare map and in keyed state, in turns.

use std::fmt;

use hashbrown::HashMap;

use crate::bench::row::Row;
use crate::bench::session::Session;
use crate::bench::state::{bound, current, encode};
use crate::bench::timing::Timing;
use crate::state::delta::Delta;
use crate::state::{AnyState, CurrentKey, StateKey, ValueState};
use crate::sys::clock::Clock;
use crate::sys::random::Random;

/// Rows: two types of keys in each of three conditions, and the sizes.
pub(super) const CASES: u32 = 2 * 3 + SIZES.len() as u32;
/// Numbers of keys of which the cost is a curve.
const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// Operations between two looks at the clock: long enough that these do not count.
const BATCH: usize = 50_000;

/// What a write finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Written since the last checkpoint already.
    Dirty,
    /// The first write since then.
    Clean,
    /// Frozen for a checkpoint, and not encoded yet.
    Frozen,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::Dirty => "dirty",
            Condition::Clean => "clean",
            Condition::Frozen => "frozen",
        })
    }
}

pub(super) fn run(session: &mut Session, timing: &Timing, keys: u64) {
    for condition in [Condition::Dirty, Condition::Clean, Condition::Frozen] {
        row(session, timing, keys, condition, "u64", |n| n);
        row(session, timing, keys, condition, "16 B", |n| (n, !n));
    }
    for size in SIZES.into_iter().filter(|&size| size <= 10 * keys) {
        let (map, state) = measure(session, timing, size, Condition::Dirty, &|n| n);
        let row = Row::new("state", format!("access, u64, {size} keys"));
        let row = row.with("row", "access_by_size").with("series", "keyed state").with("chart", "keys").with("x", size);
        session.row(figures(row, &map, &state));
    }
}

fn row<K: StateKey>(
    session: &mut Session,
    timing: &Timing,
    keys: u64,
    condition: Condition,
    name: &str,
    make: impl Fn(u64) -> K,
) {
    let (map, state) = measure(session, timing, keys, condition, &make);
    let row = Row::new("state", format!("access, {name}, {condition}"));
    let row = row.with("row", "access").with("key", name).with("condition", condition.to_string()).with("keys", keys);
    session.row(figures(row, &map, &state));
}

fn figures(row: Row, map: &[f64], state: &[f64]) -> Row {
    let ratios: Vec<f64> = map.iter().zip(state).map(|(map, state)| state / map).collect();
    row.repeated("ns_per_op", state).repeated("map_ns_per_op", map).repeated("ratio_to_map", &ratios)
}

/// Nanoseconds per operation of each repeat: the map's and the state's.
fn measure<K: StateKey>(
    session: &mut Session,
    timing: &Timing,
    keys: u64,
    condition: Condition,
    make: &dyn Fn(u64) -> K,
) -> (Vec<f64>, Vec<f64>) {
    session.step(&format!("access, {keys} keys"), timing.slice * timing.repeat as u32);
    let mut map: HashMap<K, u64, foldhash::fast::RandomState> = HashMap::default();
    let mut state = bound::<K, u64>();
    for n in 0..keys {
        map.insert(make(n), n);
        state.set(&current(make(n)), n);
    }
    let mut random = Random::new(1);
    let (mut of_map, mut of_state) = (Vec::new(), Vec::new());
    for _ in 0..timing.repeat {
        let (mut map_ns, mut state_ns, mut operations) = (0, 0, 0);
        while operations == 0 || u128::from(map_ns + state_ns) < timing.slice.as_nanos() {
            let batch: Vec<_> = (0..BATCH).map(|_| current(make(random.below(keys)))).collect();
            prepare(&mut state, condition);
            map_ns += timed(&session.clock, || {
                batch.iter().for_each(|key| *map.get_mut(&**key).expect("it is there") += 1);
            });
            state_ns += timed(&session.clock, || batch.iter().for_each(|key| count(&mut state, key)));
            operations += BATCH;
        }
        of_map.push(map_ns as f64 / operations as f64);
        of_state.push(state_ns as f64 / operations as f64);
    }
    (of_map, of_state)
}

#[inline]
fn count<K: StateKey>(state: &mut ValueState<K, u64>, key: &CurrentKey<K>) {
    *state.get_or_insert_with(key, || 0) += 1;
}

/// Brings all entries into the condition.
fn prepare<K: StateKey>(state: &mut ValueState<K, u64>, condition: Condition) {
    if condition == Condition::Dirty {
        return;
    }
    let mut delta = Delta::default();
    encode(state, &mut delta).expect("counters can be encoded");
    state.freeze();
    if condition == Condition::Clean {
        encode(state, &mut delta).expect("counters can be encoded");
    }
}

fn timed(clock: &Clock, work: impl FnOnce()) -> u64 {
    let start_ns = clock.now_ns();
    work();
    clock.now_ns() - start_ns
}
