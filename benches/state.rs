//! What keyed state costs beside a bare hash map, in one process: access, growth, memory, freezing and encoding.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use squall::state::delta::{Delta, Space};
use squall::state::key::{KEY_GROUPS_DEFAULT, key_hash};
use squall::state::{AnyState, Binding, CurrentKey, StateKey, StateValue, ValueState};
use squall::sys::alloc::{self, Counting};
use squall::sys::random::Random;

#[cfg(feature = "mimalloc")]
use mimalloc::MiMalloc as Allocator;
#[cfg(not(feature = "mimalloc"))]
use std::alloc::System as Allocator;

#[global_allocator]
static ALLOCATOR: Counting<Allocator> = Counting::new(Allocator);

const KEYS: u64 = 1_000_000;
const SLICES: usize = 20;
const OPS_PER_SLICE: usize = 200_000;

fn bound<K: StateKey, V: StateValue>() -> ValueState<K, V> {
    let mut state = ValueState::new("bench");
    let binding = Binding {
        component: "bench".into(),
        space: Some(Space(0)),
        first_group: 0,
        groups: KEY_GROUPS_DEFAULT,
        groups_total: KEY_GROUPS_DEFAULT,
        now_ns: 0,
    };
    state.bind(&binding, None).expect("nothing is recorded");
    state
}

fn current<K: StateKey>(key: K) -> CurrentKey<K> {
    let hash = key_hash(&key);
    CurrentKey::of_hashed(key, hash, KEY_GROUPS_DEFAULT, 0)
}

fn encode<K: StateKey, V: StateValue>(state: &mut ValueState<K, V>, delta: &mut Delta) {
    while !state.encode_slice(delta.bytes().len() + 65_536, delta).expect("encodes") {}
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn per_op(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9 / OPS_PER_SLICE as f64
}

/// Read, add one, write, of random keys: slices of the map and of the state in turn.
fn access<K: StateKey>(name: &str, make: impl Fn(u64) -> K) {
    let mut map: HashMap<K, u64, foldhash::fast::RandomState> = HashMap::default();
    let mut state = bound::<K, u64>();
    for n in 0..KEYS {
        map.insert(make(n), n);
        state.set(&current(make(n)), n);
    }
    let mut delta = Delta::default();
    let mut random = Random::new(1);
    let (mut of_map, mut of_state, mut of_frozen) = (Vec::new(), Vec::new(), Vec::new());
    for slice in 0..SLICES * 2 {
        let keys: Vec<CurrentKey<K>> = (0..OPS_PER_SLICE).map(|_| current(make(random.below(KEYS)))).collect();
        let start = Instant::now();
        for key in &keys {
            *map.get_mut(&**key).expect("there") += 1;
        }
        of_map.push(per_op(start.elapsed()));
        let start = Instant::now();
        for key in &keys {
            *state.get_or_insert_with(key, || 0) += 1;
        }
        (if slice % 2 == 0 { &mut of_state } else { &mut of_frozen }).push(per_op(start.elapsed()));
        if slice % 2 == 1 {
            encode(&mut state, &mut delta);
            delta.clear();
        } else {
            // The next slice of writes finds much of this one frozen.
            encode(&mut state, &mut delta);
            delta.clear();
            state.freeze();
        }
    }
    let (map, state, frozen) = (median(of_map), median(of_state), median(of_frozen));
    println!("access {name}: map {map:.1} ns, state {state:.1} ns ({:.2}x), over frozen {frozen:.1} ns", state / map);
}

/// As above, all keys dirty already: the access alone.
fn access_dirty<K: StateKey>(name: &str, make: impl Fn(u64) -> K) {
    let mut map: HashMap<K, u64, foldhash::fast::RandomState> = HashMap::default();
    let mut state = bound::<K, u64>();
    for n in 0..KEYS {
        map.insert(make(n), n);
        state.set(&current(make(n)), n);
    }
    let mut random = Random::new(2);
    let (mut of_map, mut of_state) = (Vec::new(), Vec::new());
    for _ in 0..SLICES {
        let keys: Vec<CurrentKey<K>> = (0..OPS_PER_SLICE).map(|_| current(make(random.below(KEYS)))).collect();
        let start = Instant::now();
        for key in &keys {
            *map.get_mut(&**key).expect("there") += 1;
        }
        of_map.push(per_op(start.elapsed()));
        let start = Instant::now();
        for key in &keys {
            *state.get_or_insert_with(key, || 0) += 1;
        }
        of_state.push(per_op(start.elapsed()));
    }
    let (map, state) = (median(of_map), median(of_state));
    println!("access {name}, all dirty: map {map:.1} ns, state {state:.1} ns ({:.2}x)", state / map);
}

/// The longest of many insertions; checkpoints run meanwhile, as they would.
fn growth(keys: u64) {
    let mut state = bound::<u64, u64>();
    let mut longest = Vec::new();
    let mut delta = Delta::default();
    let start = Instant::now();
    for n in 0..keys {
        let key = current(n);
        let before = Instant::now();
        state.set(&key, n);
        longest.push(before.elapsed().as_nanos() as u32);
        if n % 100_000 == 99_999 {
            state.freeze();
            encode(&mut state, &mut delta);
            delta.clear();
        }
    }
    let total = start.elapsed();
    longest.sort_unstable();
    let at = |q: f64| longest[((longest.len() - 1) as f64 * q) as usize];
    println!(
        "growth to {keys}: {:.0} ns per key, p99.99 {} ns, p99.999 {} ns, longest {:.1} us",
        total.as_secs_f64() * 1e9 / keys as f64,
        at(0.9999),
        at(0.99999),
        f64::from(at(1.0)) / 1e3
    );
}

/// 100 bytes, written as bytes.
#[derive(Clone, Copy)]
struct Hundred([u8; 100]);

impl serde::Serialize for Hundred {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Hundred {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: bytes::Bytes = serde::Deserialize::deserialize(deserializer)?;
        bytes.as_ref().try_into().map(Hundred).map_err(serde::de::Error::custom)
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Memory, freeze and encode for keys of 16 and values of 100 bytes, 10 % dirty.
fn memory() {
    let raw = KEYS * 116;
    let key = |n: u64| (n, !n);
    let before = resident_bytes();
    let mut map: HashMap<(u64, u64), Hundred, foldhash::fast::RandomState> = HashMap::default();
    for n in 0..KEYS {
        map.insert(key(n), Hundred([n as u8; 100]));
    }
    let of_map = map.allocation_size() as u64;
    let map_resident = resident_bytes() - before;
    black_box(&map);
    drop(map);

    let mut state = bound::<(u64, u64), Hundred>();
    let mut delta = Delta::default();
    for n in 0..KEYS {
        state.set(&current(key(n)), Hundred([n as u8; 100]));
        if n % 100_000 == 99_999 {
            state.freeze();
            encode(&mut state, &mut delta);
            delta.clear();
        }
    }
    let of_state = state.counts().allocated_bytes as u64;
    let percent = |bytes: u64| bytes as f64 * 100.0 / raw as f64;
    println!(
        "memory, raw {raw}: map {of_map} ({:.0} %, resident {:.0} %), state {of_state} ({:.0} %)",
        percent(of_map),
        percent(map_resident),
        percent(of_state)
    );

    let mut random = Random::new(3);
    let (mut freezes, mut encodes, mut per_slice, mut aside) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..10 {
        for _ in 0..KEYS / 10 {
            state.set(&current(key(random.below(KEYS))), Hundred([1; 100]));
        }
        let start = Instant::now();
        state.freeze();
        freezes.push(start.elapsed().as_nanos() as f64);
        // A tenth of the frozen is written again before it is encoded.
        for _ in 0..KEYS / 100 {
            state.set(&current(key(random.below(KEYS))), Hundred([2; 100]));
        }
        aside = aside.max(state.counts().allocated_bytes as u64 - of_state);
        let start = Instant::now();
        let mut is_done = false;
        while !is_done {
            let slice = Instant::now();
            is_done = state.encode_slice(delta.bytes().len() + 4096, &mut delta).expect("encodes");
            per_slice.push(slice.elapsed().as_nanos() as f64);
        }
        encodes.push(start.elapsed().as_secs_f64() * 1e9 / delta.records() as f64);
        aside = aside.max(state.counts().allocated_bytes as u64 + delta.bytes().len() as u64 - of_state);
        delta.clear();
    }
    println!(
        "checkpoint of 10 %: freeze {:.0} ns, encode {:.0} ns per entry, slice of 4 KiB {:.1} us, adds {:.1} % of raw",
        median(freezes),
        median(encodes),
        median(per_slice) / 1e3,
        percent(aside)
    );
}

/// How long a restart takes per entry.
fn restore() {
    let mut state = bound::<(u64, u64), Hundred>();
    (0..KEYS).for_each(|n| state.set(&current((n, !n)), Hundred([n as u8; 100])));
    let mut delta = Delta::default();
    state.freeze();
    encode(&mut state, &mut delta);
    let mut again = bound::<(u64, u64), Hundred>();
    let start = Instant::now();
    for change in squall::state::delta::Changes::of(delta.bytes()) {
        again.restore(&change.expect("well formed")).expect("readable");
    }
    println!("restore: {:.0} ns per entry of 116 bytes", start.elapsed().as_secs_f64() * 1e9 / KEYS as f64);
}

/// No access to a key that is there allocates.
fn allocations() {
    let mut state = bound::<String, u64>();
    let keys: Vec<CurrentKey<String>> = (0..10_000).map(|n| current(format!("a key of some length {n}"))).collect();
    let mut delta = Delta::default();
    for _ in 0..3 {
        keys.iter().for_each(|key| state.update(key, |count| *count += 1));
        state.freeze();
        encode(&mut state, &mut delta);
        delta.clear();
    }
    alloc::start();
    for _ in 0..3 {
        keys.iter().for_each(|key| state.update(key, |count| *count += 1));
        state.freeze();
        encode(&mut state, &mut delta);
        delta.clear();
    }
    println!("allocations by 30,000 updates and 3 checkpoints: {}", alloc::stop().allocations);
}

fn main() {
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let is_asked = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if is_asked("access") {
        access("u64", |n| n);
        access_dirty("u64", |n| n);
        access("16 B", |n| (n, !n));
        access_dirty("16 B", |n| (n, !n));
    }
    if is_asked("memory") {
        memory();
    }
    if is_asked("growth") {
        growth(10_000);
        growth(10_000_000);
    }
    if is_asked("restore") {
        restore();
    }
    if is_asked("allocations") {
        allocations();
    }
}
