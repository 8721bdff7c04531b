//! Checkpoints in an embedded database with ordered keys: every version of an entry is a row of its own.
//!
//! | row | key | value |
//! | --- | --- | --- |
//! | entry | 0, group (2), space (4), length of the key (4), key, checkpoint (8), big-endian | 1 and the value, or 0 |
//! | checkpoint | 1, checkpoint (8) | stamp (8), highest group (4); a stamp of 0 is being discarded |
//!
//! A checkpoint is one atomic batch, its own row included, so its entries are there if and only if its row is. Versions
//! that no kept checkpoint needs are swept by a thread of its own when they are as many as the entries. A batch of a
//! sweep waits for the reads that are going on.

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::error::{Error, Result};
use crate::state::delta::{Change, Changes, Delta, Space};
use crate::sys::clock::Clock;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, RwLock};
use crate::sys::thread;

use super::{CheckpointId, Footprint, Share, SnapshotStore, Stamp, Written, not_after, not_kept};

/// What gets each row: its key and its value.
pub(super) type EachRow<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Rows to write, or to remove where there is no value.
pub type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What is needed of a database.
pub trait Database: Send + Sync + std::fmt::Debug + 'static {
    /// Its name, with the place of its files.
    fn name(&self) -> String;
    /// Writes all rows or none.
    fn write(&self, rows: Rows) -> Result<()>;
    /// Makes everything written durable.
    fn sync(&self) -> Result<()>;
    /// Calls with the rows from one key to another, in order. A batch written meanwhile may be seen in part.
    fn range(&self, from: &[u8], to: &[u8], each: EachRow<'_>) -> Result<()>;
    /// On disk.
    fn disk_bytes(&self) -> u64;
    /// At most in memory.
    fn memory_bytes(&self) -> u64;
}

const ENTRY: u8 = 0;
const CHECKPOINT: u8 = 1;
/// Fewer old versions are not worth a sweep.
const SWEEP_ROWS: u64 = if cfg!(test) { 10 } else { 10_000 };
/// Rows of one batch of a sweep.
const BATCH_ROWS: usize = 1_000;
/// What an entry's key has besides the user's.
const AROUND: usize = 1 + 2 + 4 + 4 + 8;

/// A store over a database.
#[derive(Debug)]
pub struct Versioned<D: Database> {
    shared: Arc<Shared<D>>,
    /// An append failed: what the database holds is unknown.
    failed: bool,
    nudge: Option<Sender<()>>,
    sweeper: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<D> {
    database: D,
    clock: Clock,
    known: Mutex<Known>,
    /// Rows written since the last sweep, and left by it.
    rows_new: AtomicU64,
    rows_swept: AtomicU64,
    /// Held by each read. A read that saw only a part of a sweep's batch, an old value still there and its deletion
    /// gone, would bring the value back.
    reads: RwLock<()>,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    checkpoints: Vec<(CheckpointId, Stamp)>,
    group_last: u32,
    oldest: CheckpointId,
    footprint: Footprint,
}

fn checkpoint_key(checkpoint: CheckpointId) -> Vec<u8> {
    [&[CHECKPOINT][..], &checkpoint.0.to_be_bytes()].concat()
}

fn checkpoint_value(stamp: Stamp, group_last: u32) -> Vec<u8> {
    [&stamp.0.to_le_bytes()[..], &group_last.to_le_bytes()].concat()
}

fn entry_key(change: &Change<'_>, checkpoint: CheckpointId) -> Vec<u8> {
    let mut key = Vec::with_capacity(AROUND + change.key.len());
    key.push(ENTRY);
    key.extend_from_slice(&change.group.to_be_bytes());
    key.extend_from_slice(&change.space.0.to_be_bytes());
    key.extend_from_slice(&(change.key.len() as u32).to_be_bytes());
    key.extend_from_slice(change.key);
    key.extend_from_slice(&checkpoint.0.to_be_bytes());
    key
}

/// A row's entry and version.
fn entry<'a>(row: &'a [u8], value: &'a [u8]) -> Option<(Change<'a>, CheckpointId)> {
    let (front, version) = row.split_last_chunk::<8>()?;
    let group = u16::from_be_bytes(front.get(1..3)?.try_into().ok()?);
    let space = Space(u32::from_be_bytes(front.get(3..7)?.try_into().ok()?));
    let (state, value) = value.split_first()?;
    let change = Change { space, group, key: front.get(11..)?, value: (*state == 1).then_some(value) };
    Some((change, CheckpointId(u64::from_be_bytes(*version))))
}

impl<D: Database> Versioned<D> {
    /// Reads which checkpoints the database has.
    ///
    /// # Errors
    /// Those of the database; it holds something else.
    pub fn open(database: D, clock: Clock) -> Result<Self> {
        let mut known = Known::default();
        database.range(&[CHECKPOINT], &[CHECKPOINT + 1], &mut |key, value| {
            let number = key[1..].try_into().map(u64::from_be_bytes).ok();
            let stamp = value.get(..8).and_then(|stamp| stamp.try_into().ok()).map(u64::from_le_bytes);
            let group = value.get(8..12).and_then(|group| group.try_into().ok()).map(u32::from_le_bytes);
            let (Some(number), Some(stamp), Some(group)) = (number, stamp, group) else {
                return Err(Error::bad_state("a row of a checkpoint is malformed: use another store, or --fresh"));
            };
            known.checkpoints.push((CheckpointId(number), Stamp(stamp)));
            known.group_last = known.group_last.max(group);
            Ok(())
        })?;
        let shared = Shared {
            database,
            clock,
            known: Mutex::new(known),
            rows_new: AtomicU64::new(0),
            rows_swept: AtomicU64::new(0),
            reads: RwLock::new(()),
            stopped: AtomicBool::new(false),
        };
        Ok(Versioned { shared: Arc::new(shared), failed: false, nudge: None, sweeper: None })
    }

    fn wake_sweeper(&mut self) -> Result<()> {
        if self.nudge.is_none() {
            let (nudge, nudged) = bounded(1);
            let shared = self.shared.clone();
            let sweeper = thread::spawn_helper("squall-sweep", move || shared.sweep_when_nudged(&nudged));
            let failed = |error| Error::io("cannot start the thread that drops old checkpoints", &error);
            self.sweeper = Some(sweeper.map_err(failed)?);
            self.nudge = Some(nudge);
        }
        // A full channel has a nudge in it already.
        let _ = self.nudge.as_ref().map(|nudge| nudge.try_send(()));
        Ok(())
    }

    fn try_append(&mut self, checkpoint: CheckpointId, deltas: &[Delta]) -> Result<Written> {
        let shared = &self.shared;
        let start_ns = shared.clock.now_ns();
        let (last, mut group_last) = {
            let known = shared.known();
            (known.checkpoints.last().copied(), known.group_last)
        };
        let stamp = last.unwrap_or_default().1.then(checkpoint, deltas);
        let mut rows = Rows::with_capacity(deltas.iter().map(Delta::records).sum::<usize>() + 1);
        for change in deltas.iter().flat_map(|delta| Changes::of(delta.bytes())) {
            let change = change?;
            group_last = group_last.max(change.group.into());
            let value = change.value.map_or_else(|| vec![0], |value| [&[1][..], value].concat());
            rows.push((entry_key(&change, checkpoint), Some(value)));
        }
        shared.rows_new.fetch_add(rows.len() as u64, Ordering::Relaxed);
        rows.push((checkpoint_key(checkpoint), Some(checkpoint_value(stamp, group_last))));
        let bytes = rows.iter().map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len)) as u64).sum();
        shared.database.write(rows)?;
        let written_ns = shared.clock.now_ns();
        shared.database.sync()?;
        let mut known = shared.known();
        known.checkpoints.push((checkpoint, stamp));
        known.group_last = group_last;
        let (write_ns, sync_ns) = (written_ns - start_ns, shared.clock.now_ns() - written_ns);
        Ok(Written { checkpoint, stamp, bytes, write_ns, sync_ns })
    }
}

impl<D: Database> Shared<D> {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no one panics with it in hand")
    }

    fn kept(&self) -> Vec<(CheckpointId, Stamp)> {
        let known = self.known();
        let kept = |(checkpoint, stamp): &&(CheckpointId, Stamp)| *checkpoint >= known.oldest && stamp.0 != 0;
        known.checkpoints.iter().filter(kept).copied().collect()
    }

    fn require(&self, checkpoint: CheckpointId) -> Result<()> {
        let kept = self.kept();
        if kept.iter().any(|(kept, _)| *kept == checkpoint) {
            return Ok(());
        }
        Err(not_kept(&self.database.name(), checkpoint, &kept, ""))
    }

    fn sweep_when_nudged(&self, nudged: &Receiver<()>) {
        while nudged.recv().is_ok() {
            let new = self.rows_new.load(Ordering::Relaxed);
            if new < SWEEP_ROWS.max(self.rows_swept.load(Ordering::Relaxed)) {
                continue;
            }
            let start_ns = self.clock.now_ns();
            let done = self.sweep();
            let mut known = self.known();
            match done {
                Ok(()) => {
                    known.footprint.merges += 1;
                    let took_ns = self.clock.now_ns() - start_ns;
                    known.footprint.merge_ns_max = known.footprint.merge_ns_max.max(took_ns);
                }
                Err(_) if self.stopped.load(Ordering::Relaxed) => {}
                Err(error) => {
                    tracing::warn!("dropping old checkpoints failed and is tried again: {error}");
                    known.footprint.merge_failures += 1;
                    known.footprint.merge_failure = Some(error.to_string());
                }
            }
        }
    }

    /// Waits for the reads that are going on.
    fn drop_swept(&self, rows: Rows) -> Result<()> {
        let _no_read = self.reads.write().expect("no one panics with it in hand");
        self.database.write(rows)
    }

    /// Drops the versions that no kept checkpoint needs.
    fn sweep(&self) -> Result<()> {
        let (oldest, gone) = {
            let mut known = self.known();
            let oldest = known.oldest;
            let gone: Vec<_> = known.checkpoints.iter().map(|known| known.0).filter(|it| *it < oldest).collect();
            known.checkpoints.retain(|(checkpoint, _)| *checkpoint >= oldest);
            (oldest, gone)
        };
        // First of all nobody must find them any more, not even after a crash.
        self.database.write(gone.into_iter().map(|checkpoint| (checkpoint_key(checkpoint), None)).collect())?;
        self.database.sync()?;
        let (mut dropped, mut left) = (Rows::new(), 0);
        // The newest version so far that the oldest checkpoint sees, and whether it is a deletion.
        let mut seen: Option<(Vec<u8>, bool)> = None;
        let drop_deleted = |seen: Option<(Vec<u8>, bool)>, dropped: &mut Rows| -> Result<()> {
            dropped.extend(seen.and_then(|(row, is_deleted)| is_deleted.then_some((row, None))));
            if dropped.len() >= BATCH_ROWS {
                self.drop_swept(std::mem::take(dropped))?;
            }
            Ok(())
        };
        self.database.range(&[ENTRY], &[ENTRY + 1], &mut |row, value| {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(Error::failed("stopped", "the sweep was stopped with its store"));
            }
            let (change, version) = entry(row, value).ok_or_else(malformed)?;
            let same = seen.as_ref().is_some_and(|(seen, _)| seen[..seen.len() - 8] == row[..row.len() - 8]);
            if !same {
                // All of one key goes in one batch, or an old version could come back from behind its deletion.
                drop_deleted(seen.take(), &mut dropped)?;
            }
            left += 1;
            if version <= oldest {
                dropped.extend(seen.take().map(|(row, _)| (row, None)));
                seen = Some((row.to_vec(), change.value.is_none()));
            }
            Ok(())
        })?;
        drop_deleted(seen, &mut dropped)?;
        self.drop_swept(dropped)?;
        self.rows_new.store(0, Ordering::Relaxed);
        self.rows_swept.store(left, Ordering::Relaxed);
        Ok(())
    }
}

fn malformed() -> Error {
    Error::bad_state("a row of an entry is malformed")
}

impl<D: Database> SnapshotStore for Versioned<D> {
    fn append(&mut self, checkpoint: CheckpointId, deltas: &[Delta]) -> Result<Written> {
        let name = self.shared.database.name();
        if self.failed {
            return Err(Error::bad_state(format!("{name}: an earlier write failed; start again from the disk")));
        }
        let last = self.shared.known().checkpoints.last().copied();
        if let Some((last, _)) = last.filter(|(last, _)| *last >= checkpoint) {
            return Err(not_after(&name, checkpoint, last));
        }
        let written = self.try_append(checkpoint, deltas);
        self.failed = written.is_err();
        written
    }

    fn read(
        &self,
        checkpoint: CheckpointId,
        share: Share,
        each: &mut dyn FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()> {
        let _reading = self.shared.reads.read().expect("no one panics with it in hand");
        self.shared.require(checkpoint)?;
        let groups = u64::from(self.shared.known().group_last) + 1;
        // As far as the next group: one more than the last group is the next kind of row.
        let cut = |index: u32| match groups * u64::from(index) / u64::from(share.of) {
            group if group > u64::from(u16::MAX) => vec![ENTRY + 1],
            group => [&[ENTRY][..], &(group as u16).to_be_bytes()].concat(),
        };
        let (mut row_seen, mut value_seen) = (Vec::<u8>::new(), Vec::new());
        let give = |row: &[u8], value: &[u8], each: &mut dyn FnMut(Change<'_>) -> Result<()>| {
            if row.is_empty() {
                return Ok(());
            }
            let (change, _) = entry(row, value).ok_or_else(malformed)?;
            if change.value.is_some() { each(change) } else { Ok(()) }
        };
        self.shared.database.range(&cut(share.index), &cut(share.index + 1), &mut |row, value| {
            let (_, version) = entry(row, value).ok_or_else(malformed)?;
            if version > checkpoint {
                return Ok(());
            }
            if row_seen.len() != row.len() || row_seen[..row.len() - 8] != row[..row.len() - 8] {
                give(&row_seen, &value_seen, each)?;
            }
            row_seen.clear();
            row_seen.extend_from_slice(row);
            value_seen.clear();
            value_seen.extend_from_slice(value);
            Ok(())
        })?;
        give(&row_seen, &value_seen, each)
    }

    fn checkpoints(&self) -> Vec<(CheckpointId, Stamp)> {
        self.shared.kept()
    }

    fn discard_after(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.shared.require(checkpoint)?;
        let mut known = self.shared.known();
        let later = known.checkpoints.iter().map(|known| known.0).filter(|later| *later > checkpoint);
        let later: Vec<CheckpointId> = later.collect();
        if later.is_empty() {
            return Ok(());
        }
        let database = &self.shared.database;
        let void = checkpoint_value(Stamp(0), known.group_last);
        database.write(later.iter().map(|later| (checkpoint_key(*later), Some(void.clone()))).collect())?;
        database.sync()?;
        let mut dropped = Rows::new();
        database.range(&[ENTRY], &[ENTRY + 1], &mut |row, value| {
            if entry(row, value).ok_or_else(malformed)?.1 > checkpoint {
                dropped.push((row.to_vec(), None));
            }
            if dropped.len() >= BATCH_ROWS { database.write(std::mem::take(&mut dropped)) } else { Ok(()) }
        })?;
        dropped.extend(later.iter().map(|later| (checkpoint_key(*later), None)));
        database.write(dropped)?;
        database.sync()?;
        known.checkpoints.retain(|(known, _)| *known <= checkpoint);
        Ok(())
    }

    fn keep_from(&mut self, oldest: CheckpointId) -> Result<()> {
        {
            let mut known = self.shared.known();
            // The first that is kept, if this one is not there.
            let first = known.checkpoints.iter().map(|known| known.0).find(|known| *known >= oldest);
            known.oldest = known.oldest.max(first.unwrap_or(oldest));
        }
        self.wake_sweeper()
    }

    fn footprint(&self) -> Footprint {
        let footprint = self.shared.known().footprint.clone();
        let database = &self.shared.database;
        Footprint { disk_bytes: database.disk_bytes(), memory_bytes: database.memory_bytes(), ..footprint }
    }
}

impl<D: Database> Drop for Versioned<D> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.nudge = None;
        if let Some(sweeper) = self.sweeper.take() {
            // A panic of it has been printed by the thread itself.
            let _ = sweeper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    /// Rows in memory; each is read for itself, as in the databases.
    #[derive(Debug)]
    struct Plain {
        rows: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
        /// Told of each batch that removes an entry.
        removed: Sender<()>,
    }

    impl Plain {
        fn next(&self, after: &[u8], to: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
            let rows = self.rows.lock().expect("it is whole");
            let next = rows.range(after.to_vec()..to.to_vec()).next();
            next.map(|(key, value)| (key.clone(), value.clone()))
        }
    }

    impl Database for Plain {
        fn name(&self) -> String {
            "rows in memory".to_owned()
        }

        fn write(&self, batch: Rows) -> Result<()> {
            let removes = batch.iter().any(|(key, value)| key[0] == ENTRY && value.is_none());
            let mut rows = self.rows.lock().expect("it is whole");
            for (key, value) in batch {
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
            // A batch more than the test waits for.
            let _ = removes.then(|| self.removed.try_send(()));
            Ok(())
        }

        fn sync(&self) -> Result<()> {
            Ok(())
        }

        fn range(&self, from: &[u8], to: &[u8], each: EachRow<'_>) -> Result<()> {
            let mut after = from.to_vec();
            while let Some((key, value)) = self.next(&after, to) {
                each(&key, &value)?;
                after = [&key[..], &[0]].concat();
            }
            Ok(())
        }

        fn disk_bytes(&self) -> u64 {
            0
        }

        fn memory_bytes(&self) -> u64 {
            0
        }
    }

    fn change(key: &str, value: Option<&str>) -> Delta {
        let mut delta = Delta::default();
        let key = |out: &mut Vec<u8>| out.extend_from_slice(key.as_bytes());
        match value {
            Some(value) => delta.put(Space(0), 0, key, |out| out.extend_from_slice(value.as_bytes())),
            None => delta.delete(Space(0), 0, key),
        }
        delta
    }

    #[test]
    fn a_sweep_drops_nothing_under_a_read() {
        let (removed, was_removed) = bounded(1);
        let database = Plain { rows: Mutex::default(), removed };
        let mut store = Versioned::open(database, Clock::virtual_at_zero()).expect("it is empty");
        for number in 0..SWEEP_ROWS {
            let value = number.to_string();
            let deltas = [change("first", Some(&value)), change("gone", (number == 0).then_some("value"))];
            let written = store.append(CheckpointId(number), &deltas).expect("it takes everything");
            assert_eq!(written.checkpoint(), CheckpointId(number));
        }
        let last = CheckpointId(SWEEP_ROWS - 1);
        store.keep_from(CheckpointId(0)).expect("it starts the thread");
        let shared = store.shared.clone();
        let mut found = Vec::new();
        let read = store.read(last, Share { index: 0, of: 1 }, &mut |change| {
            if change.key == b"first" {
                // In the midst of the rows, all but the last checkpoint become old.
                shared.known().oldest = last;
                store.nudge.as_ref().expect("it was started").send(()).expect("it listens");
                let under_the_read = was_removed.recv_timeout(Duration::from_millis(100));
                assert!(under_the_read.is_err(), "rows went while they were read");
            }
            found.push(change.key.to_vec());
            Ok(())
        });
        read.expect("the checkpoint is kept");
        assert_eq!(found, [b"first"]);
        was_removed.recv_timeout(Duration::from_secs(60)).expect("after the read the sweep goes on");
    }
}
