//! What becomes of the tuples that a manual bolt holds when a barrier comes: the barrier waits for them, or their
//! values go into the snapshot and are delivered again by whoever resumes from it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::state::{StateValue, codec};
use crate::task::lineage::Place;

/// What a bolt that holds tuples promises under exactly-once; `T` is its input type.
///
/// ```
/// use squall::{Failure, Held, ManualBolt, Outcome, Outlet, Tuple};
///
/// /// Emits the sum of every three numbers.
/// #[derive(Default)]
/// struct Threes(Vec<Tuple<u64>>);
///
/// impl ManualBolt for Threes {
///     type In = u64;
///     type Out = u64;
///     // It waits for more input, so a barrier cannot wait for it.
///     const HELD: Option<Held<u64>> = Some(Held::in_state());
///
///     fn execute(&mut self, number: Tuple<u64>, out: &mut Outlet<u64>) -> Outcome {
///         self.0.push(number);
///         if self.0.len() == 3 {
///             out.anchored(&self.0).emit(self.0.iter().map(|number| **number).sum());
///             self.0.drain(..).for_each(Tuple::ack);
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub enum Held<T> {
    /// It settles whatever it holds without waiting for further input: a barrier waits until it holds nothing. Right
    /// for calls to elsewhere; a collector that waits for more tuples would hold up checkpoints for ever.
    Drain,
    /// The values it holds go into the snapshot, and are delivered first, and [flagged](crate::Tuple::is_redelivered),
    /// when the topology resumes from it; see [`Held::in_state`].
    InState(HeldCodec<T>),
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Held<T> {}

impl<T: StateValue> Held<T> {
    /// The values go into the snapshot, so a barrier need not wait: for collectors.
    ///
    /// What is emitted for held tuples has to be emitted in the call in which they are settled, by `execute`, `tick` or
    /// `finish`: what was emitted earlier, or through the [`Door`](crate::Door), may be emitted again by whoever
    /// resumes. Each value is encoded once when it comes in. While tuples are held in a checkpoint, the number of tasks
    /// of the component cannot be changed.
    pub const fn in_state() -> Self {
        Held::InState(HeldCodec { write: write::<T>, read: read::<T> })
    }
}

/// How values of a type become bytes, and back; made by [`Held::in_state`].
pub struct HeldCodec<T> {
    write: fn(&T) -> Result<Vec<u8>, Failure>,
    read: fn(&[u8]) -> Result<T, Failure>,
}

impl<T> Clone for HeldCodec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for HeldCodec<T> {}

impl<T> fmt::Debug for HeldCodec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldCodec")
    }
}

impl<T> HeldCodec<T> {
    pub(crate) fn write(self, value: &T) -> Result<Bytes, Failure> {
        (self.write)(value).map(Bytes::from)
    }

    /// The values held in a stored part.
    ///
    /// # Errors
    /// Fatal, if they cannot be read.
    pub(crate) fn read_all(self, part: &OwnPart) -> Result<Vec<T>, Failure> {
        part.held.iter().map(|bytes| (self.read)(bytes)).collect()
    }
}

fn write<T: StateValue>(value: &T) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    codec::write_value(value, &mut bytes)
        .map_err(|error| Failure::fatal(format!("a value that is held in state cannot be written: {error}")))?;
    Ok(bytes)
}

fn read<T: StateValue>(bytes: &[u8]) -> Result<T, Failure> {
    codec::read(bytes)
        .map_err(|error| Failure::fatal(format!("a value held in the checkpoint cannot be read: {error}")))
}

/// Marks the stored part of a task that holds tuples in its state; no other part begins like this.
const MAGIC: &[u8] = b"\xc1squall-held-1";

/// What a task stores beside keyed state: bytes of its own, and the tuples that it holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnPart {
    pub own: Bytes,
    /// In the order in which they came in.
    pub held: Vec<Bytes>,
    /// The place in a source of each of them.
    #[serde(default)]
    pub places: Vec<Place>,
}

impl OwnPart {
    /// As stored.
    pub fn write(self) -> Vec<u8> {
        if self.held.is_empty() {
            return self.own.into();
        }
        let mut bytes = MAGIC.to_vec();
        codec::write(&self, &mut bytes).expect("bytes can be encoded");
        bytes
    }

    /// # Errors
    /// Fatal, if the bytes are damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, Failure> {
        match bytes.strip_prefix(MAGIC) {
            None => Ok(OwnPart { own: Bytes::copy_from_slice(bytes), ..OwnPart::default() }),
            Some(part) => codec::read(part)
                .map_err(|error| Failure::fatal(format!("the tuples held in the checkpoint cannot be read: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_held_tuples_is_stored_as_it_always_was() {
        let part = OwnPart { own: Bytes::from_static(b"own"), ..OwnPart::default() };
        assert_eq!(part.write(), b"own");
        assert_eq!(OwnPart::read(b"own").expect("reads"), OwnPart { own: "own".into(), ..OwnPart::default() });
    }

    #[test]
    fn held_tuples_are_read_back_in_order_and_damage_is_an_error() {
        let codec = match Held::<u64>::in_state() {
            Held::InState(codec) => codec,
            Held::Drain => unreachable!("it is in state"),
        };
        let held: Vec<Bytes> = (0..3).map(|value| codec.write(&value).expect("writes")).collect();
        let bytes = OwnPart { held, ..OwnPart::default() }.write();
        let part = OwnPart::read(&bytes).expect("reads");
        assert_eq!(codec.read_all(&part).expect("reads"), [0, 1, 2]);
        assert!(OwnPart::read(&bytes[..bytes.len() - 1]).expect_err("a byte is missing").is_fatal());
    }
}
