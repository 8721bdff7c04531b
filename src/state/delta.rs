//! The changes that one checkpoint writes, as bytes: what tasks hand to the writer and stores keep.
//!
//! # The byte format
//!
//! A delta is a sequence of records, one after another, all numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | the *space*: a number the manifest gives each (component, state) |
//! | 2 | the key group |
//! | 4 | length of the key, with the top bit set if the entry is deleted |
//! | n | the key, as the state encoded it (with an element's key behind it, for states with elements) |
//! | 4 | length of the value; absent in a deletion |
//! | n | the value; absent in a deletion |
//!
//! Records of one delta are in the order of their making; of several with one (space, group, key) the last one holds.
//! Checksums and lengths of the whole belong to whoever stores it.

use crate::error::{Error, Result};

/// The top bit of a key's length: the entry is gone.
const DELETED: u32 = 1 << 31;

/// The number that stands for one (component, state) within a state directory; see the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Space(pub u32);

/// One entry as it changed: its new value, or none if it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Which state of which component.
    pub space: Space,
    /// The key group.
    pub group: u16,
    /// The encoded key.
    pub key: &'a [u8],
    /// The encoded value; none for a deletion.
    pub value: Option<&'a [u8]>,
}

impl Change<'_> {
    /// How many bytes its record takes.
    pub fn encoded_bytes(&self) -> usize {
        10 + self.key.len() + self.value.map_or(0, |value| 4 + value.len())
    }
}

/// Changes on their way from a task to the store.
///
/// Adding one costs the copy of its bytes; keys and values are encoded straight into the buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    bytes: Vec<u8>,
    records: usize,
}

impl Delta {
    /// An empty one with room for this many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Delta { bytes: Vec::with_capacity(bytes), records: 0 }
    }

    /// Adds a new value.
    ///
    /// # Panics
    /// If key or value is 2 GiB or longer.
    pub fn put(&mut self, space: Space, group: u16, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        self.head(space, group);
        self.part(0, key);
        self.part(0, value);
    }

    /// Adds a deletion.
    ///
    /// # Panics
    /// If the key is 2 GiB or longer.
    pub fn delete(&mut self, space: Space, group: u16, key: impl FnOnce(&mut Vec<u8>)) {
        self.head(space, group);
        self.part(DELETED, key);
    }

    fn head(&mut self, space: Space, group: u16) {
        self.bytes.extend_from_slice(&space.0.to_le_bytes());
        self.bytes.extend_from_slice(&group.to_le_bytes());
        self.records += 1;
    }

    fn part(&mut self, flag: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - at - 4).ok().filter(|length| length & DELETED == 0);
        let length = length.expect("a key or value is shorter than 2 GiB") | flag;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The bytes, in the format above.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes it can hold before it grows.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many records it has.
    pub fn records(&self) -> usize {
        self.records
    }

    /// True if it has no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Moves the records of another delta behind this one's; the other keeps its memory.
    pub fn append(&mut self, other: &mut Delta) {
        self.bytes.extend_from_slice(&other.bytes);
        self.records += other.records;
        other.clear();
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
    }
}

/// Reads the records of a delta's bytes, in order.
///
/// Ends after the first error: bytes whose checksum was right and which still cannot be read were not written by a
/// [`Delta`].
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    rest: &'a [u8],
}

impl<'a> Changes<'a> {
    /// Reads these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        Changes { rest: bytes }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(part)
    }

    fn take_u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    fn record(&mut self) -> Option<Change<'a>> {
        let space = Space(self.take_u32()?);
        let group = self.take(2).map(|bytes| u16::from_le_bytes(bytes.try_into().expect("two bytes")))?;
        let length = self.take_u32()?;
        let key = self.take((length & !DELETED) as usize)?;
        let value = if length & DELETED != 0 {
            None
        } else {
            let length = self.take_u32()?;
            Some(self.take(length as usize)?)
        };
        Some(Change { space, group, key, value })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let left_bytes = self.rest.len();
        Some(self.record().ok_or_else(|| {
            self.rest = &[];
            Error::bad_state(format!("a delta ends in the middle of a record ({left_bytes} bytes before its end)"))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(records: Vec<(u32, u16, Vec<u8>, Option<Vec<u8>>)>) {
            let mut delta = Delta::default();
            for (space, group, key, value) in &records {
                let key = |out: &mut Vec<u8>| out.extend_from_slice(key);
                match value {
                    Some(value) => delta.put(Space(*space), *group, key, |out| out.extend_from_slice(value)),
                    None => delta.delete(Space(*space), *group, key),
                }
            }
            prop_assert_eq!(delta.records(), records.len());
            let read: Vec<Change> = Changes::of(delta.bytes()).map(|change| change.expect("well formed")).collect();
            let written: Vec<Change> = records
                .iter()
                .map(|(space, group, key, value)| Change {
                    space: Space(*space),
                    group: *group,
                    key,
                    value: value.as_deref(),
                })
                .collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Changes::of(&bytes).count();
        }

        #[test]
        fn a_cut_is_noticed(cut in 1usize..17) {
            let mut delta = Delta::default();
            delta.put(Space(1), 2, |out| out.extend_from_slice(b"key"), |out| out.extend_from_slice(b"1234"));
            let bytes = &delta.bytes()[..delta.bytes().len() - cut.min(delta.bytes().len() - 1)];
            prop_assert!(Changes::of(bytes).any(|change| change.is_err()));
        }
    }
}
