use super::*;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::state::delta::{Changes, Space};
use crate::state::store::log::LogOptions;
use crate::sys::disk::simulated::{Faults, Simulated};
use crate::sys::mutation::{self, Mutation};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const PATH: &str = "/state";

fn options() -> DirectoryOptions {
    let log = LogOptions { file_bytes: 3_000, merge_bytes: 1_000 };
    DirectoryOptions { store: StoreOptions { log, ..StoreOptions::default() }, ..DirectoryOptions::default() }
}

fn open(simulated: &Simulated) -> Result<StateDirectory> {
    let disk = Disk::simulated(simulated.clone());
    StateDirectory::open(disk, Path::new(PATH), StoreKind::Log, options(), Clock::virtual_at_zero())
}

/// Changes that differ from checkpoint to checkpoint, with deletions.
fn change(model: &mut Model, checkpoint: u64) -> Vec<Delta> {
    let mut deltas = vec![Delta::default(), Delta::default()];
    for number in 0..8u64 {
        let key = ((checkpoint * 5 + number * 3) % 24).to_le_bytes();
        let delta = &mut deltas[number as usize % 2];
        let group = key[0].into();
        if (checkpoint + number) % 5 == 4 {
            delta.delete(Space(1), group, |out| out.extend_from_slice(&key));
            model.remove(&key[..]);
        } else {
            let value = vec![checkpoint as u8; 60 + number as usize];
            delta.put(Space(1), group, |out| out.extend_from_slice(&key), |out| out.extend_from_slice(&value));
            model.insert(key.to_vec(), value);
        }
    }
    deltas
}

fn content(restored: &Restored) -> Model {
    let changes = restored.groups.values().flat_map(|delta| Changes::of(delta.bytes()));
    let changes = changes.map(|change| change.expect("well formed"));
    changes.map(|change| (change.key.to_vec(), change.value.expect("live").to_vec())).collect()
}

fn checkpoint(directory: &mut StateDirectory, number: u64, deltas: &[Delta]) -> Result<()> {
    let written = directory.append(CheckpointId(number), deltas)?;
    directory.commit(Generation { checkpoint: CheckpointId(number), ..Generation::default() }, written)
}

/// A recorded run with a restart in the middle: what was to be true after how many changes of the disk.
struct Run {
    simulated: Simulated,
    models: Vec<Model>,
    /// How many changes the disk had seen when a checkpoint was acknowledged.
    acknowledged: Vec<usize>,
}

impl Run {
    fn record(checkpoints: u64) -> Run {
        let simulated = Simulated::new(3);
        simulated.record();
        let mut run = Run { simulated, models: Vec::new(), acknowledged: Vec::new() };
        let mut model = Model::new();
        let mut directory = open(&run.simulated).expect("it opens");
        for number in 0..checkpoints {
            if number == checkpoints / 2 {
                // Something that is appended and never committed must not come back.
                let _written = directory.append(CheckpointId(number), &change(&mut Model::new(), number + 7)).unwrap();
                drop(directory);
                directory = open(&run.simulated).expect("it opens again");
            }
            checkpoint(&mut directory, number, &change(&mut model, number)).expect("it is written");
            run.models.push(model.clone());
            run.acknowledged.push(run.simulated.recorded());
        }
        let merged = |(path, _): &(PathBuf, u64)| path.to_string_lossy().contains("base-");
        assert!(checkpoints < 9 || run.simulated.files().iter().any(merged), "the run is too small to merge anything");
        run
    }

    /// Opens what a power cut leaves. It must be what was acknowledged last, or the one being committed, and no
    /// generation may be found unusable: a power cut alone never needs an older one.
    fn check(&self, changes: usize, seed: Option<u64>) {
        let place = format!("after {changes} of {} changes, seed {seed:?}", self.simulated.recorded());
        let image = self.simulated.image(changes, seed);
        let mut directory = open(&image).unwrap_or_else(|error| panic!("{place}: {error}"));
        let opening = directory.opening().clone();
        assert_eq!(opening.unusable, Vec::<String>::new(), "{place}");
        let last = self.acknowledged.iter().rposition(|at| *at <= changes);
        let next = last.map_or(0, |last| last + 1);
        let Some(restored) = directory.take_restored() else {
            assert_eq!(last, None, "{place}: an empty start");
            return;
        };
        let found = restored.generation.checkpoint.0 as usize;
        assert!(Some(found) == last || found == next, "{place}: found {found}, acknowledged {last:?}");
        assert_eq!(content(&restored), self.models[found], "{place}: checkpoint {found}");
        // It must be possible to go on, too.
        let mut model = self.models[found].clone();
        checkpoint(&mut directory, found as u64 + 1, &change(&mut model, 99)).expect("it goes on");
        drop(directory);
        let mut directory = open(&image.crash(seed.unwrap_or(1))).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(content(&directory.take_restored().expect("something")), model, "{place}: going on");
    }

    fn check_all(&self, seeds: u64) {
        for changes in 0..=self.simulated.recorded() {
            for seed in std::iter::once(None).chain((0..seeds).map(Some)) {
                self.check(changes, seed);
            }
        }
    }
}

#[test]
fn every_power_cut_leaves_the_newest_acknowledged_checkpoint() {
    Run::record(24).check_all(6);
}

#[test]
fn the_crash_images_notice_a_skipped_sync() {
    let run = mutation::with(Mutation::FsyncSkipped, || Run::record(24));
    assert!(catch_unwind(AssertUnwindSafe(|| run.check_all(6))).is_err());
}

#[test]
fn the_crash_images_notice_a_manifest_before_its_data() {
    let run = mutation::with(Mutation::ManifestBeforeData, || Run::record(24));
    assert!(catch_unwind(AssertUnwindSafe(|| run.check_all(6))).is_err());
}

/// Whatever bit decays, what comes back is one of the checkpoints as it was, or an error.
#[test]
fn a_flipped_bit_never_makes_a_wrong_value_or_an_empty_start() {
    let run = Run::record(9);
    for (path, length) in run.simulated.files() {
        for bit in (0..length * 8).step_by(37) {
            let image = run.simulated.image(usize::MAX, None);
            image.flip_bit(&path, bit);
            let place = format!("{}, bit {bit}", path.display());
            match open(&image) {
                Ok(mut directory) => {
                    let restored = directory.take_restored().unwrap_or_else(|| panic!("{place}: an empty start"));
                    let found = restored.generation.checkpoint.0 as usize;
                    assert_eq!(content(&restored), run.models[found], "{place}");
                    assert!(found >= 6, "{place}: three generations are kept, found {found}");
                }
                Err(error) => {
                    assert!(error.is_bad_state() && error.to_string().contains("--fresh"), "{place}: {error}")
                }
            }
        }
    }
}

#[test]
fn a_damaged_newest_generation_is_moved_aside_and_the_one_before_is_used() {
    let run = Run::record(9);
    let newest = run.simulated.files().into_iter().rfind(|(path, _)| path.to_string_lossy().contains("log-")).unwrap();
    run.simulated.flip_bit(&newest.0, newest.1 * 8 - 1);
    let mut directory = open(&run.simulated.crash(1)).unwrap();
    let opening = directory.opening().clone();
    assert_eq!(opening.restored, Some(CheckpointId(7)));
    assert!(opening.unusable[0].contains("checkpoint 8") && opening.unusable[0].contains("checksum"));
    assert_eq!(opening.moved_aside, [Path::new(PATH).join("aside-1-store-1")]);
    assert_eq!(content(&directory.take_restored().unwrap()), run.models[7]);
    checkpoint(&mut directory, 8, &[]).unwrap();
    assert_eq!(content(&directory.step_back().unwrap().unwrap()), run.models[7]);
}

#[test]
fn a_lost_manifest_or_store_is_an_error_and_fresh_moves_all_aside() {
    for lost in ["manifest", "store"] {
        let image = Run::record(5).simulated.image(usize::MAX, None);
        let disk = Disk::simulated(image.clone());
        for name in disk.list(Path::new(PATH)).unwrap().into_iter().filter(|name| name.starts_with(lost)) {
            disk.rename(&Path::new(PATH).join(&name), &Path::new(PATH).join("elsewhere")).unwrap();
        }
        let error = open(&image).unwrap_err();
        assert!(error.is_bad_state() && error.to_string().contains("--fresh"), "{error}");
        let fresh = DirectoryOptions { fresh: true, ..options() };
        let directory = StateDirectory::open(disk, Path::new(PATH), StoreKind::Log, fresh, Clock::virtual_at_zero());
        let directory = directory.unwrap();
        assert_eq!(directory.opening().restored, None);
        assert!(!directory.opening().moved_aside.is_empty());
    }
}

#[test]
fn a_second_process_is_refused_with_the_first_ones_pid() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let clock = Clock::virtual_at_zero();
        StateDirectory::open(Disk::real(), folder.path(), StoreKind::Log, options(), clock)
    };
    let first = open().unwrap();
    let error = open().unwrap_err().to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
    drop(first);
    open().unwrap();
}

/// Failing writes and syncs, a full disk: what was acknowledged comes back, whatever was going on.
#[test]
fn what_was_acknowledged_survives_failing_writes_and_syncs() {
    for seed in 0..300 {
        let simulated = Simulated::new(seed);
        let (mut models, mut acknowledged, mut model) = (Vec::new(), None, Model::new());
        let mut directory = open(&simulated).unwrap();
        let full = (seed % 3 == 0).then_some(4_000 + seed * 10);
        simulated.set_faults(Faults { write: 0.02, sync: 0.02, capacity_bytes: full });
        for number in 0..30 {
            let deltas = change(&mut model, number);
            models.push(model.clone());
            if checkpoint(&mut directory, number, &deltas).is_err() {
                break;
            }
            acknowledged = Some(number as usize);
        }
        drop(directory);
        let mut directory = open(&simulated.crash(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = directory.take_restored();
        let at = found.as_ref().map(|restored| restored.generation.checkpoint.0 as usize);
        assert!(at >= acknowledged, "seed {seed}: found {at:?}, acknowledged {acknowledged:?}");
        if let Some(restored) = found {
            assert_eq!(content(&restored), models[at.expect("it has a number")], "seed {seed}");
        }
    }
}

#[test]
fn another_kind_of_store_takes_the_state_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    for (number, kind) in StoreKind::ALL.into_iter().skip(1).chain([StoreKind::Log]).enumerate() {
        let clock = Clock::virtual_at_zero();
        let opened = StateDirectory::open(Disk::real(), folder.path(), kind, options(), clock);
        let mut directory = match opened {
            Err(error) if error.is_usage() => continue, // not in this build
            opened => opened.unwrap(),
        };
        let restored = directory.take_restored();
        assert_eq!(restored.as_ref().map(content).unwrap_or_default(), model, "{kind}");
        checkpoint(&mut directory, number as u64, &change(&mut model, number as u64)).unwrap();
    }
}
