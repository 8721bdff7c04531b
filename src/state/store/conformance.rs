//! What every store must do, whichever it is.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::state::delta::{Changes, Delta, Space};
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;
use crate::sys::disk::simulated::Simulated;

#[cfg(any(feature = "sled", feature = "fjall"))]
use super::kind::{StoreKind, StoreOptions};
use super::log::{Log, LogOptions};
use super::memory::Memory;
use super::{CheckpointId, Share, SnapshotStore, Stamp};

type Entries = BTreeMap<(u32, u16, Vec<u8>), Vec<u8>>;
type Made = (u32, u16, Vec<u8>, Option<Vec<u8>>);

/// Opens one and the same store again and again.
type Open = Box<dyn Fn() -> Box<dyn SnapshotStore>>;

#[derive(Clone, Debug)]
enum Step {
    /// The changes, and how many deltas they come in.
    Append(Vec<Made>, usize),
    /// Of the checkpoints that are kept, by share of the way from the oldest to the newest.
    KeepFrom(f64),
    DiscardAfter(f64),
    Reopen,
}

fn a_change() -> impl Strategy<Value = Made> {
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Some),
        1 => (1usize..700_000).prop_map(|length| Some(vec![7; length])),
        2 => Just(None),
    ];
    (0u32..3, prop_oneof![0u16..8, Just(u16::MAX)], prop::collection::vec(0u8..4, 0..3), value)
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec(a_change(), 0..12), 0usize..4).prop_map(|(made, count)| Step::Append(made, count)),
        2 => (0.0..1.0).prop_map(Step::KeepFrom),
        1 => (0.0..1.0).prop_map(Step::DiscardAfter),
        1 => Just(Step::Reopen),
    ]
}

/// The changes in so many deltas (and none at all in none).
fn deltas(made: &[Made], count: usize) -> Vec<Delta> {
    let mut deltas = vec![Delta::default(); count.max(usize::from(!made.is_empty()))];
    let each = made.len().div_ceil(deltas.len().max(1)).max(1);
    for (part, delta) in made.chunks(each).zip(&mut deltas) {
        for (space, group, key, value) in part {
            let key = |out: &mut Vec<u8>| out.extend_from_slice(key);
            match value {
                Some(value) => delta.put(Space(*space), *group, key, |out| out.extend_from_slice(value)),
                None => delta.delete(Space(*space), *group, key),
            }
        }
    }
    deltas
}

fn apply(entries: &mut Entries, made: &[Made]) {
    for (space, group, key, value) in made {
        let name = (*space, *group, key.clone());
        match value {
            Some(value) => drop(entries.insert(name, value.clone())),
            None => drop(entries.remove(&name)),
        }
    }
}

/// Everything a store says of a checkpoint, read in so many shares; each key may come once.
fn entries(store: &dyn SnapshotStore, checkpoint: CheckpointId, of: u32) -> Entries {
    let mut entries = Entries::new();
    for index in 0..of {
        let read = store.read(checkpoint, Share { index, of }, &mut |change| {
            let value = change.value.expect("a live entry").to_vec();
            let twice = entries.insert((change.space.0, change.group, change.key.to_vec()), value);
            assert_eq!(twice, None, "a key came twice");
            Ok(())
        });
        read.expect("a kept checkpoint can be read");
    }
    entries
}

fn entries_in_parallel(store: &dyn SnapshotStore, checkpoint: CheckpointId) -> Entries {
    let groups = store.read_groups(checkpoint).expect("a kept checkpoint can be read");
    let changes = groups.iter().flat_map(|((space, group), delta)| {
        Changes::of(delta.bytes()).map(move |change| {
            let change = change.expect("well formed");
            assert_eq!((change.space, change.group), (*space, *group));
            ((space.0, *group, change.key.to_vec()), change.value.expect("a live entry").to_vec())
        })
    });
    changes.collect()
}

fn check(open: &Open, survives: bool, steps: &[Step]) {
    let mut store = open();
    let mut model: Vec<(CheckpointId, Stamp, Entries)> = Vec::new();
    let mut next = 0;
    for step in steps {
        let at = |share: &f64, model: &[(CheckpointId, Stamp, Entries)]| (share * model.len() as f64) as usize;
        match step {
            Step::Append(made, count) => {
                let mut now = model.last().map(|(_, _, entries)| entries.clone()).unwrap_or_default();
                apply(&mut now, made);
                let written = store.append(CheckpointId(next), &deltas(made, *count)).expect("it can be appended");
                assert_eq!(written.checkpoint(), CheckpointId(next));
                model.push((CheckpointId(next), written.stamp(), now));
                next += 1 + next % 2;
            }
            Step::KeepFrom(share) if !model.is_empty() => {
                model.drain(..at(share, &model));
                store.keep_from(model[0].0).expect("old ones can be dropped");
            }
            Step::DiscardAfter(share) if !model.is_empty() => {
                model.truncate(at(share, &model) + 1);
                next = model.last().expect("at least one").0.0 + 1;
                store.discard_after(CheckpointId(next - 1)).expect("later ones can be discarded");
            }
            Step::Reopen if survives => {
                drop(store);
                store = open();
            }
            Step::KeepFrom(_) | Step::DiscardAfter(_) | Step::Reopen => {}
        }
        let kept = store.checkpoints();
        assert_eq!(kept.last().map(|last| last.0), model.last().map(|last| last.0));
        for (checkpoint, stamp, expected) in &model {
            assert!(kept.contains(&(*checkpoint, *stamp)), "checkpoint {checkpoint} is missing in {kept:?}");
            assert_eq!(&entries(&*store, *checkpoint, 1), expected);
        }
        if let Some((checkpoint, _, expected)) = model.last() {
            assert_eq!(&entries(&*store, *checkpoint, 3), expected);
            assert_eq!(&entries_in_parallel(&*store, *checkpoint), expected);
        }
    }
}

/// Any sequence of appends, reopenings and so on equals the model.
fn conforms(cases: u32, survives: bool, fresh: impl Fn() -> Open) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let steps = prop::collection::vec(a_step(), 1..25);
    let result = runner.run(&steps, |steps| {
        check(&fresh(), survives, &steps);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

fn log_on(disk: &Disk, path: &Path) -> Box<dyn SnapshotStore> {
    // Small, so that files are begun and merged all the time.
    let options = LogOptions { file_bytes: 2_000, merge_bytes: 300 };
    Box::new(Log::open(disk.clone(), path, options, Clock::virtual_at_zero()).expect("it opens"))
}

#[test]
fn memory_conforms() {
    conforms(200, false, || Box::new(|| Box::new(Memory::new(Clock::virtual_at_zero()))));
}

#[test]
fn the_log_conforms_on_a_simulated_disk() {
    conforms(200, true, || {
        let disk = Disk::simulated(Simulated::new(1));
        Box::new(move || log_on(&disk, Path::new("/state/store")))
    });
}

#[test]
fn the_log_conforms_on_a_real_disk_while_it_merges_on_a_thread_of_its_own() {
    conforms(30, true, || {
        let folder = tempfile::tempdir().expect("a folder");
        Box::new(move || log_on(&Disk::real(), folder.path()))
    });
}

#[cfg(any(feature = "sled", feature = "fjall"))]
fn the_database_conforms(kind: StoreKind) {
    conforms(12, true, || {
        let folder = tempfile::tempdir().expect("a folder");
        Box::new(move || {
            let (options, clock) = (StoreOptions::default(), Clock::virtual_at_zero());
            kind.open(&Disk::real(), folder.path(), &options, &clock).expect("it opens")
        })
    });
}

#[test]
#[cfg(feature = "sled")]
fn sled_conforms() {
    the_database_conforms(StoreKind::Sled);
}

#[test]
#[cfg(feature = "fjall")]
fn fjall_conforms() {
    the_database_conforms(StoreKind::Fjall);
}
