//! A million keys of 16 bytes with values of 100: memory, freezing and encoding a tenth of them, restoring all.

use std::hint::black_box;

use hashbrown::HashMap;

use crate::bench::row::Row;
use crate::bench::session::Session;
use crate::bench::state::{Hundred, bound, current, encode};
use crate::bench::timing::Timing;
use crate::error::Result;
use crate::state::delta::{Changes, Delta};
use crate::state::{AnyState, ValueState};
use crate::sys::random::Random;

/// Of a key and its value.
const RAW_BYTES: u64 = 116;
/// What a task encodes between two turns.
const SLICE_BYTES: usize = 2 << 10;

type State = ValueState<(u64, u64), Hundred>;

fn key(n: u64) -> (u64, u64) {
    (n, !n)
}

pub(super) fn run(session: &mut Session, timing: &Timing, keys: u64) -> Result<()> {
    session.step("memory, encode, restore", timing.slice);
    let map_bytes = {
        let mut map: HashMap<(u64, u64), Hundred, foldhash::fast::RandomState> = HashMap::default();
        for n in 0..keys {
            map.insert(key(n), Hundred([n as u8; 100]));
        }
        black_box(&map).allocation_size() as u64
    };
    let mut state: State = bound();
    let mut delta = Delta::default();
    for n in 0..keys {
        state.set(&current(key(n)), Hundred([n as u8; 100]));
        if n % (keys / 10) == keys / 10 - 1 {
            state.freeze();
            encode(&mut state, &mut delta)?;
            delta.clear();
        }
    }
    let state_bytes = state.counts().allocated_bytes as u64;
    let mut freezes = Freezes::default();
    for _ in 0..timing.repeat.max(3) {
        freezes.one(&mut state, keys, session)?;
    }
    session.row(
        Row::new("state", format!("memory, {keys} keys of 16 B with 100 B"))
            .with("row", "memory")
            .with("keys", keys)
            .with("raw_bytes", keys * RAW_BYTES)
            .with("map_bytes", map_bytes)
            .with("allocated_bytes", state_bytes)
            .with("ratio_to_raw", state_bytes as f64 / (keys * RAW_BYTES) as f64)
            .with("map_ratio_to_raw", map_bytes as f64 / (keys * RAW_BYTES) as f64)
            .with("checkpoint_adds_percent", freezes.added_bytes_max as f64 * 100.0 / (keys * RAW_BYTES) as f64),
    );
    session.row(
        Row::new("state", "freeze and encode a tenth")
            .with("row", "encode")
            .with("keys", keys)
            .repeated("freeze_ns", &freezes.freeze_ns)
            .repeated("ns_per_entry", &freezes.ns_per_entry)
            .repeated("longest_slice_us", &freezes.longest_slice_us),
    );
    restore(session, state, keys)
}

#[derive(Default)]
struct Freezes {
    freeze_ns: Vec<f64>,
    ns_per_entry: Vec<f64>,
    longest_slice_us: Vec<f64>,
    added_bytes_max: u64,
}

impl Freezes {
    /// A tenth is written and frozen; a tenth of that is written again before it is encoded.
    fn one(&mut self, state: &mut State, keys: u64, session: &Session) -> Result<()> {
        let clock = &session.clock;
        let mut random = Random::new(self.freeze_ns.len() as u64);
        let mut write = |state: &mut State, count: u64| {
            (0..count).for_each(|_| state.set(&current(key(random.below(keys))), Hundred([1; 100])));
        };
        let before_bytes = state.counts().allocated_bytes as u64;
        write(state, keys / 10);
        let start_ns = clock.now_ns();
        state.freeze();
        self.freeze_ns.push((clock.now_ns() - start_ns) as f64);
        let (mut delta, mut done, mut longest_ns) = (Delta::with_capacity(keys as usize * 16), false, 0);
        let mut left = keys / 100;
        let mut encoding_ns = 0;
        while !done {
            let slice_ns = clock.now_ns();
            done = state.encode_slice(delta.bytes().len() + SLICE_BYTES, &mut delta)?;
            let took_ns = clock.now_ns() - slice_ns;
            longest_ns = longest_ns.max(took_ns);
            encoding_ns += took_ns;
            // A turn in between.
            let turn = left.min(64);
            write(state, turn);
            left -= turn;
        }
        self.ns_per_entry.push(encoding_ns as f64 / delta.records().max(1) as f64);
        self.longest_slice_us.push(longest_ns as f64 / 1e3);
        let now_bytes = state.counts().allocated_bytes as u64 + delta.bytes().len() as u64;
        self.added_bytes_max = self.added_bytes_max.max(now_bytes.saturating_sub(before_bytes));
        Ok(())
    }
}

/// What a restart takes for decoding, on one thread.
fn restore(session: &mut Session, state: State, keys: u64) -> Result<()> {
    let mut delta = Delta::default();
    {
        let mut all: State = bound();
        state.iter().for_each(|(key, value)| all.set(&current(*key), *value));
        drop(state);
        all.freeze();
        encode(&mut all, &mut delta)?;
    }
    let mut again: State = bound();
    let start_ns = session.clock.now_ns();
    for change in Changes::of(delta.bytes()) {
        again.restore(&change?)?;
    }
    let took_ns = session.clock.now_ns() - start_ns;
    let row = Row::new("state", format!("restore {keys} keys of 16 B with 100 B")).with("row", "restore");
    let row = row.with("keys", keys).with("ns_per_entry", took_ns as f64 / keys as f64);
    session.row(row.with("restore_s", took_ns as f64 / 1e9));
    Ok(())
}
