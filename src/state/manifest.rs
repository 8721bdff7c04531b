//! The manifest: which checkpoints count. A checkpoint is the truth from the moment its generation is durable here.
//!
//! # The byte format
//!
//! Two files, `manifest.0` and `manifest.1`, written in turns, each in place and synced; so whatever a crash does to
//! one of them, the other holds what was true before. All numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `sqlmani` and the format version |
//! | 8 | number of this writing, one more each time; odd ones are in `manifest.1` |
//! | 8 | length of the content |
//! | 4 | CRC32 of the 24 bytes before and of the content |
//! | n | the content: [`Generation`]s, oldest first, in MessagePack with named fields, so that fields can be added |
//!
//! What lies behind the content is left from a longer writing and means nothing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::state::Schema;
use crate::state::delta::Space;
use crate::state::store::{CheckpointId, Stamp};
use crate::sys::disk::{Disk, DiskFile};

const MAGIC: [u8; 8] = *b"sqlmani\x01";
const HEADER_BYTES: usize = 28;

/// A checkpoint that counts: everything besides the entries of keyed state, which are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// What it must be found under in the store. Filled in when it is committed.
    pub stamp: Stamp,
    /// The kind of store it is in. Filled in when it is committed.
    pub store: String,
    /// The folder of that store within the state directory. Filled in when it is committed.
    pub folder: String,
    /// The topology's name.
    pub topology: String,
    /// The number of key groups.
    pub key_groups: u32,
    /// True if all input had ended.
    pub finished: bool,
    /// When, in nanoseconds since the epoch.
    pub written_at_ns: i64,
    /// The time that timers and times to live went by, in nanoseconds since the epoch: for whoever resumes it goes on
    /// from here, if the clock was set back meanwhile. 0 in what was written before this was recorded.
    pub now_ns: u64,
    /// The stamp of the savepoint that the directory began with, if it did. Filled in when it is committed.
    pub began_with: Option<Stamp>,
    /// The keyed states.
    pub states: Vec<StateEntry>,
    /// What components keep besides keyed state.
    pub operators: Vec<OperatorEntry>,
    /// Inputs that bolts have given up and that are not dead letters yet, in a form of the engine's.
    pub given_up: Blob,
}

/// One state of one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The number that stands for it in the store.
    pub space: u32,
    /// The component's name.
    pub component: String,
    /// The state's name.
    pub state: String,
    /// How its keys and values are written.
    pub schema: Schema,
}

impl StateEntry {
    /// The number, as changes carry it.
    pub fn space(&self) -> Space {
        Space(self.space)
    }
}

/// What the tasks of one component keep: source positions, pending transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorEntry {
    /// The component's name.
    pub component: String,
    /// One blob per task, whose meaning only the component knows.
    pub tasks: Vec<Blob>,
    /// For each task whether its input had ended and its last call was made.
    pub finished: Vec<bool>,
    /// Of a source: the dead letters that its tasks had made.
    pub dead_lettered: u64,
}

/// Bytes without meaning here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Blob(#[serde(with = "blob")] pub Vec<u8>);

/// Bytes as MessagePack's binary, not as an array of numbers.
mod blob {
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// The bytes of a slot.
fn encode(number: u64, generations: &[Generation]) -> Result<Vec<u8>> {
    let unencodable = |error: rmp_serde::encode::Error| Error::bad_state(format!("cannot encode a manifest: {error}"));
    let content = rmp_serde::to_vec_named(generations).map_err(unencodable)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes);
    crc.update(&content);
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes.extend_from_slice(&content);
    Ok(bytes)
}

/// What a slot holds, or why it cannot be used.
fn decode(bytes: &[u8]) -> Result<(u64, Vec<Generation>), String> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or("it is too short")?;
    let number_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if header[..7] != MAGIC[..7] {
        return Err("it is no manifest".into());
    }
    if header[7] != MAGIC[7] {
        return Err(format!("its format version is {}, this squall reads {}", header[7], MAGIC[7]));
    }
    let length = usize::try_from(number_at(16)).map_err(|error| error.to_string())?;
    let content = rest.get(..length).ok_or("it ends too early")?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..24]);
    crc.update(content);
    if crc.finalize().to_le_bytes() != header[24..] {
        return Err("it does not match its checksum".into());
    }
    let generations = rmp_serde::from_slice(content).map_err(|error| format!("its content is unreadable: {error}"))?;
    Ok((number_at(8), generations))
}

/// The two slots and what the newer one says.
#[derive(Debug)]
pub struct Manifest {
    disk: Disk,
    folder: PathBuf,
    slots: [Option<DiskFile>; 2],
    number: u64,
    generations: Vec<Generation>,
}

/// What was found where a manifest should be.
#[derive(Debug)]
pub enum Found {
    /// A slot that verifies; and what is wrong with the other.
    Manifest(Manifest, Option<String>),
    /// No slot that verifies; and what is wrong with those that are there.
    Nothing(Vec<String>),
}

fn slot_path(folder: &Path, slot: usize) -> PathBuf {
    folder.join(format!("manifest.{slot}"))
}

impl Manifest {
    /// Reads the newest slot that verifies; changes nothing.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(disk: &Disk, folder: &Path) -> Result<Found> {
        let mut newest: Option<(u64, Vec<Generation>)> = None;
        let mut wrong = Vec::new();
        let mut slots = [None, None];
        for (slot, opened) in slots.iter_mut().enumerate() {
            let path = slot_path(folder, slot);
            let Some(file) = disk.open(&path)? else { continue };
            let mut bytes = vec![0; file.len_bytes()? as usize];
            file.read_at(0, &mut bytes)?;
            match decode(&bytes) {
                Ok(found) if newest.as_ref().is_none_or(|newest| newest.0 < found.0) => newest = Some(found),
                Ok(_) => {}
                Err(why) => wrong.push(format!("{}: {why}", path.display())),
            }
            *opened = Some(file);
        }
        Ok(match newest {
            None => Found::Nothing(wrong),
            Some((number, generations)) => {
                let manifest = Manifest { disk: disk.clone(), folder: folder.to_owned(), slots, number, generations };
                Found::Manifest(manifest, wrong.pop())
            }
        })
    }

    /// Writes a manifest without generations where there is none; durable when it returns.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin(disk: &Disk, folder: &Path) -> Result<Manifest> {
        let (disk, folder) = (disk.clone(), folder.to_owned());
        // The first writing has the number 2 and goes to slot 0.
        let mut manifest = Manifest { disk, folder, slots: [None, None], number: 1, generations: Vec::new() };
        manifest.write(Vec::new())?;
        Ok(manifest)
    }

    /// The generations, oldest first.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Replaces the generations; durable when it returns. One write and one sync.
    ///
    /// # Errors
    /// Those of the disk. What is true then is on the disk only: open it again.
    pub fn write(&mut self, generations: Vec<Generation>) -> Result<()> {
        let number = self.number + 1;
        let slot = (number % 2) as usize;
        let bytes = encode(number, &generations)?;
        let is_new = self.slots[slot].is_none();
        if is_new {
            self.slots[slot] = Some(self.disk.create(&slot_path(&self.folder, slot))?);
        }
        let file = self.slots[slot].as_ref().expect("there is one now");
        file.write_at(0, &bytes)?;
        file.sync()?;
        if is_new {
            self.disk.sync_dir(&self.folder)?;
        }
        self.number = number;
        self.generations = generations;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
