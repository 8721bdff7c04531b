//! What stores cost: a checkpoint of 10,000 dirty keys made durable, beside a bare write and sync of the same bytes
//! right after, and reading all keys back.

use crate::bench::row::{Row, Unit, histogram};
use crate::bench::session::Session;
use crate::bench::timing::Timing;
use crate::bench::working_folder::WorkingFolder;
use crate::error::Result;
use crate::state::delta::{Delta, Space};
use crate::state::key::KEY_GROUPS_DEFAULT;
use crate::state::store::CheckpointId;
use crate::state::store::kind::{StoreKind, StoreOptions};
use crate::sys::disk::Disk;
use crate::sys::random::{Random, mix};

/// Dirty keys of a checkpoint, of a million.
const DIRTY: u64 = 10_000;
/// As many as tasks might be.
const DELTAS: u64 = 4;
/// Checkpoints that load the store.
const LOADS: u64 = 10;
/// A store that is slower is measured with what it has by then.
const LOAD_NS_MAX: u64 = 8_000_000_000;

/// Entries with keys of 16 bytes and values of 100.
fn deltas(keys: impl Iterator<Item = u64>, random: &mut Random) -> Vec<Delta> {
    let groups = u64::from(KEY_GROUPS_DEFAULT);
    let mut deltas = vec![Delta::default(); DELTAS as usize];
    for key in keys {
        let group = mix(key) % groups;
        let key = [mix(key).to_le_bytes(), key.to_le_bytes()].concat();
        let mut value = [0; 100];
        value.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.next_u64().to_le_bytes()[..part.len()]));
        let delta = &mut deltas[(group * DELTAS / groups) as usize];
        delta.put(Space(1), group as u16, |out| out.extend_from_slice(&key), |out| out.extend_from_slice(&value));
    }
    deltas
}

pub(super) fn run(session: &mut Session, timing: &Timing, keys: u64) -> Result<()> {
    for kind in StoreKind::built() {
        session.step(&format!("the store {kind}"), timing.slice * timing.repeat as u32);
        let folder = WorkingFolder::make()?;
        measure(session, timing, kind, keys, &folder)?;
    }
    Ok(())
}

fn measure(session: &mut Session, timing: &Timing, kind: StoreKind, keys: u64, folder: &WorkingFolder) -> Result<()> {
    let (clock, options) = (session.clock.clone(), StoreOptions::default());
    let (disk, path) = (Disk::real(), folder.path().join("store"));
    let open = || kind.open(&disk, &path, &options, &clock);
    let mut random = Random::new(1);
    let mut store = open()?;
    let start_ns = clock.now_ns();
    let mut number = 0;
    while number < LOADS && clock.now_ns() - start_ns < LOAD_NS_MAX {
        let range = number * keys / LOADS..(number + 1) * keys / LOADS;
        let _written = store.append(CheckpointId(number), &deltas(range, &mut random))?;
        number += 1;
    }
    let load_ns = clock.now_ns() - start_ns;
    // Fewer where a store is slow.
    let (loaded, keys) = (number, number * keys / LOADS);

    let bare = disk.create(&folder.path().join("bare"))?;
    let dirty_keys = DIRTY.min(keys / 100);
    let (mut appends, mut bares) = (histogram(), histogram());
    let (start_ns, most_ns) = (clock.now_ns(), 2 * timing.slice.as_nanos() * timing.repeat as u128);
    while number == loaded || u128::from(clock.now_ns() - start_ns) < most_ns {
        let dirty: Vec<u64> = (0..dirty_keys).map(|_| random.below(keys)).collect();
        let deltas = deltas(dirty.into_iter(), &mut random);
        let begin_ns = clock.now_ns();
        let _written = store.append(CheckpointId(number), &deltas)?;
        appends.saturating_record(clock.now_ns() - begin_ns);
        store.keep_from(CheckpointId(number.saturating_sub(2)))?;
        let bytes = deltas.iter().map(Delta::bytes).collect::<Vec<_>>().concat();
        let begin_ns = clock.now_ns();
        bare.write_at((number - loaded) * bytes.len() as u64, &bytes)?;
        bare.sync()?;
        bares.saturating_record(clock.now_ns() - begin_ns);
        number += 1;
    }
    let (last, footprint) = (CheckpointId(number - 1), store.footprint());
    if kind != StoreKind::Memory {
        drop(store);
        store = open()?;
    }
    let start_ns = clock.now_ns();
    let records: usize = store.read_groups(last)?.values().map(Delta::records).sum();
    let read_ns = clock.now_ns() - start_ns;
    debug_assert_eq!(records as u64, keys);
    let row = Row::new("state", format!("append to {kind}"))
        .with("row", "append")
        .with("store", kind.name())
        .with("keys", keys)
        .with("dirty_keys", dirty_keys)
        .distributions("", Unit::Us, &[appends])
        .distributions("bare_", Unit::Us, &[bares])
        .with("load_s", load_ns as f64 / 1e9)
        .with("read_s", read_ns as f64 / 1e9)
        .with("disk_bytes", footprint.disk_bytes)
        .with("memory_bytes", footprint.memory_bytes)
        .with("merges", footprint.merges)
        .with("longest_merge_ms", footprint.merge_ns_max as f64 / 1e6);
    session.row(row);
    Ok(())
}
