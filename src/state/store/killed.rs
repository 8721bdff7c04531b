//! What a killed process leaves of a store on a real disk: its files as they are at that moment, here copied while the
//! store is still open; and such files with an end missing.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::state::delta::{Delta, Space};
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;

use super::kind::{StoreKind, StoreOptions};
use super::{CheckpointId, Share, SnapshotStore, Stamp};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn open(kind: StoreKind, folder: &Path) -> crate::error::Result<Box<dyn SnapshotStore>> {
    kind.open(&Disk::real(), folder, &StoreOptions::default(), &Clock::virtual_at_zero())
}

fn content(store: &dyn SnapshotStore, checkpoint: CheckpointId) -> crate::error::Result<Model> {
    let mut model = Model::new();
    store.read(checkpoint, Share::ALL, &mut |change| {
        model.insert(change.key.to_vec(), change.value.expect("live").to_vec());
        Ok(())
    })?;
    Ok(model)
}

/// Copies after every checkpoint hold it; a copy that lost an end holds what it says it holds, or is refused.
fn survives_a_kill(kind: StoreKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(kind, &folder.path().join("live")).unwrap();
    let mut model = Model::new();
    let mut made: Vec<(CheckpointId, Stamp, Model)> = Vec::new();
    for number in 0..6u64 {
        let mut delta = Delta::default();
        for key in 0..50u64 {
            let key = ((number * 31 + key * 7) % 200).to_be_bytes();
            let value = vec![number as u8; 80];
            delta.put(Space(1), key[7].into(), |out| out.extend_from_slice(&key), |out| out.extend_from_slice(&value));
            model.insert(key.to_vec(), value);
        }
        let written = store.append(CheckpointId(number), &[delta]).unwrap();
        made.push((CheckpointId(number), written.stamp(), model.clone()));
        let left = folder.path().join(format!("left-{number}"));
        copy(&folder.path().join("live"), &left);
        let again = open(kind, &left).unwrap();
        let found = again.checkpoints();
        assert_eq!(found, made.iter().map(|(checkpoint, stamp, _)| (*checkpoint, *stamp)).collect::<Vec<_>>());
        assert_eq!(content(&*again, CheckpointId(number)).unwrap(), model);
    }
    let mut names = Vec::new();
    files(&folder.path().join("live"), &mut names);
    for (index, name) in names.iter().enumerate() {
        let length = fs::metadata(name).unwrap().len();
        for cut in [1, 100, length / 2] {
            let left = folder.path().join(format!("cut-{index}-{cut}"));
            copy(&folder.path().join("live"), &left);
            let shorter = left.join(name.strip_prefix(folder.path().join("live")).unwrap());
            let file = fs::OpenOptions::new().write(true).open(&shorter).unwrap();
            file.set_len(length.saturating_sub(cut)).unwrap();
            // A database that panics over damaged files has at least given nothing wrong.
            let read = catch_unwind(AssertUnwindSafe(|| {
                let Ok(again) = open(kind, &left) else { return Vec::new() };
                let found = again.checkpoints().into_iter();
                found.filter_map(|(it, stamp)| Some((it, stamp, content(&*again, it).ok()?))).collect()
            }));
            for found in read.unwrap_or_default() {
                assert!(made.contains(&found), "{kind}: {} less {cut}: {:?}", shorter.display(), found.0);
            }
        }
    }
}

#[test]
fn the_log_survives_a_kill() {
    survives_a_kill(StoreKind::Log);
}

#[test]
#[cfg(feature = "sled")]
fn sled_survives_a_kill() {
    survives_a_kill(StoreKind::Sled);
}

#[test]
#[cfg(feature = "fjall")]
fn fjall_survives_a_kill() {
    survives_a_kill(StoreKind::Fjall);
}
