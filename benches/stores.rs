//! What the stores cost: a checkpoint of 10,000 dirty keys made durable, beside a bare write and sync of the same
//! bytes, and reading a million keys back. `cargo bench --bench stores [-- STORE…]`; needs a folder on a real disk
//! (`TMPDIR`).

use std::path::Path;
use std::time::{Duration, Instant};

use squall::state::delta::{Delta, Space};
use squall::state::store::CheckpointId;
use squall::state::store::kind::{StoreKind, StoreOptions};
use squall::sys::clock::Clock;
use squall::sys::disk::Disk;
use squall::sys::random::{Random, mix};

const KEYS: u64 = 1_000_000;
const DIRTY: u64 = 10_000;
const GROUPS: u64 = 1_024;
const MIB: f64 = (1 << 20) as f64;
/// How long checkpoints are written, at most, and how many.
const TIME: Duration = Duration::from_secs(6);
const CHECKPOINTS: u64 = 600;

/// Some entries with keys of 16 bytes and values of 100, in four deltas as of four tasks.
fn deltas(keys: impl Iterator<Item = u64>, random: &mut Random) -> Vec<Delta> {
    let mut deltas = vec![Delta::default(); 4];
    for key in keys {
        let group = mix(key) % GROUPS;
        let key = [mix(key).to_le_bytes(), key.to_le_bytes()].concat();
        let mut value = [0; 100];
        value.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.next_u64().to_le_bytes()[..part.len()]));
        let delta = &mut deltas[(group * 4 / GROUPS) as usize];
        delta.put(Space(1), group as u16, |out| out.extend_from_slice(&key), |out| out.extend_from_slice(&value));
    }
    deltas
}

fn percentile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}

/// The resident memory of this process.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn disk_mib(folder: &Path) -> f64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0.0 };
    let sizes = entries.flatten().map(|entry| {
        let metadata = entry.metadata().ok();
        metadata.map_or(0.0, |found| if found.is_dir() { disk_mib(&entry.path()) } else { found.len() as f64 / MIB })
    });
    sizes.sum()
}

fn measure(kind: StoreKind) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (path, options, clock) = (folder.path().join("store"), StoreOptions::default(), Clock::real());
    let open = || kind.open(&Disk::real(), &path, &options, &clock);
    let mut random = Random::new(1);
    let resident_before = resident_mib();
    let mut store = open()?;
    let start = Instant::now();
    for (number, first) in (0..KEYS).step_by(100_000).enumerate() {
        let _written = store.append(CheckpointId(number as u64), &deltas(first..first + 100_000, &mut random))?;
    }
    let load_s = start.elapsed().as_secs_f64();

    let bare = std::fs::File::create(folder.path().join("bare"))?;
    let (mut store_times, mut bare_times) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for number in 10..10 + CHECKPOINTS {
        let dirty: Vec<u64> = (0..DIRTY).map(|_| random.below(KEYS)).collect();
        let deltas = deltas(dirty.into_iter(), &mut random);
        let begin = Instant::now();
        let _written = store.append(CheckpointId(number), &deltas)?;
        store_times.push(begin.elapsed());
        store.keep_from(CheckpointId(number - 2))?;
        let bytes = deltas.iter().map(Delta::bytes).collect::<Vec<_>>().concat();
        let begin = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&bare, &bytes, (number - 10) * bytes.len() as u64)?;
        bare.sync_data()?;
        bare_times.push(begin.elapsed());
        if start.elapsed() > TIME {
            break;
        }
    }
    let (last, footprint) = (store.checkpoints().last().expect("many").0, store.footprint());
    let resident = resident_mib() - resident_before;
    if kind != StoreKind::Memory {
        drop(store);
        store = open()?;
    }
    let start = Instant::now();
    let groups = store.read_groups(last)?;
    let read_s = start.elapsed().as_secs_f64();
    let records: usize = groups.values().map(Delta::records).sum();
    assert_eq!(records as u64, KEYS);
    println!(
        "| {kind} | {:.2} / {:.2} / {:.1} | {:.2} / {:.2} | {} | {load_s:.1} | {read_s:.2} | {:.0} | {resident:.0} \
         | {} / {:.0} |",
        percentile_ms(&mut store_times, 0.5),
        percentile_ms(&mut store_times, 0.99),
        percentile_ms(&mut store_times, 1.0),
        percentile_ms(&mut bare_times, 0.5),
        percentile_ms(&mut bare_times, 0.99),
        store_times.len(),
        disk_mib(&path),
        footprint.merges,
        footprint.merge_ns_max as f64 / 1e6,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!(
        "| store | checkpoint p50 / p99 / max ms | bare write and sync p50 / p99 ms | checkpoints | load s | read s \
         | disk MiB | memory MiB | merges, longest ms |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for kind in StoreKind::ALL {
        if asked.is_empty() || asked.iter().any(|name| name == kind.name()) {
            measure(kind)?;
        }
    }
    Ok(())
}
