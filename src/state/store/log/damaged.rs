//! What damage to the log's files costs: the checkpoints that need what is damaged, and no others.

use std::collections::BTreeMap;
use std::path::Path;

use crate::state::delta::{Delta, Space};
use crate::state::store::{CheckpointId, Share, SnapshotStore};
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;
use crate::sys::disk::simulated::Simulated;
use crate::sys::random::Random;

use super::{Log, LogOptions};

const FOLDER: &str = "/state/store";

type Entries = BTreeMap<(u16, u64), u64>;

fn open(disk: &Disk) -> Log {
    // Small, so that files are begun and merged all the time.
    let options = LogOptions { file_bytes: 700, merge_bytes: 400 };
    Log::open(disk.clone(), Path::new(FOLDER), options, Clock::virtual_at_zero()).expect("it opens")
}

fn entries(log: &Log, checkpoint: CheckpointId) -> crate::Result<Entries> {
    let mut entries = Entries::new();
    log.read(checkpoint, Share::ALL, &mut |change| {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        entries.insert((change.group, number(change.key)), number(change.value.expect("a live entry")));
        Ok(())
    })?;
    Ok(entries)
}

/// Some checkpoints with what each contains; three are kept, now and then the newest are taken back.
fn made(log: &mut Log, disk: &Disk, random: &mut Random) -> BTreeMap<CheckpointId, Entries> {
    let mut models: BTreeMap<CheckpointId, Entries> = BTreeMap::new();
    for _ in 0..4 + random.below(20) {
        let (last, mut now) = models.last_key_value().map(|(id, now)| (id.0 + 1, now.clone())).unwrap_or_default();
        let mut delta = Delta::default();
        for _ in 0..1 + random.below(8) {
            let (group, key, value) = (random.below(5) as u16, random.below(20), random.next_u64());
            let bytes = |number: u64| move |out: &mut Vec<u8>| out.extend_from_slice(&number.to_le_bytes());
            if random.chance(0.2) {
                now.remove(&(group, key));
                delta.delete(Space(1), group, bytes(key));
            } else {
                now.insert((group, key), value);
                delta.put(Space(1), group, bytes(key), bytes(value));
            }
        }
        let _written = log.append(CheckpointId(last), &[delta]).expect("it can be appended");
        models.insert(CheckpointId(last), now);
        while models.len() > 3 {
            models.pop_first();
        }
        log.keep_from(*models.keys().next().expect("some")).expect("old ones can be dropped");
        if random.chance(0.1) {
            *log = open(disk);
        }
        if random.chance(0.15) {
            let back = *models.keys().nth(random.below(models.len() as u64) as usize).expect("one of them");
            models.split_off(&CheckpointId(back.0 + 1));
            log.discard_after(back).expect("later ones can be discarded");
        }
    }
    models
}

/// Whatever byte is damaged: a checkpoint that does not need it is read as it was, and one that does is an error.
#[test]
fn damage_costs_the_checkpoints_that_need_what_is_damaged() {
    let (mut spared, mut lost) = (0, 0);
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let simulated = Simulated::new(seed);
        let disk = Disk::simulated(simulated.clone());
        let mut log = open(&disk);
        let models = made(&mut log, &disk, &mut random);
        let parts = log.extents();
        drop(log);
        let files: Vec<_> = simulated.files().into_iter().filter(|(_, length)| *length > 0).collect();
        let (path, length) = &files[random.below(files.len() as u64) as usize];
        let byte = random.below(*length);
        simulated.flip_bit(path, byte * 8 + random.below(8));
        let first_damaged = parts.iter().find(|(of, range, _)| of == path && range.contains(&byte));
        let log = open(&disk);
        let listed = log.checkpoints();
        for (checkpoint, expected) in &models {
            let place = format!("seed {seed}: {}, byte {byte}, checkpoint {checkpoint}", path.display());
            let needs_it = first_damaged.is_some_and(|(.., first)| first <= checkpoint);
            let is_listed = listed.iter().any(|(id, _)| id == checkpoint);
            match entries(&log, *checkpoint) {
                Ok(found) => {
                    assert_eq!(&found, expected, "{place}");
                    spared += 1;
                }
                Err(error) => {
                    assert!(needs_it, "{place} (listed: {is_listed}): {error}");
                    lost += 1;
                }
            }
        }
    }
    assert!(spared > 1_000 && lost > 500, "both happen: {spared} spared, {lost} lost");
}
