//! How keys and values become bytes: MessagePack with named fields.
//!
//! It describes itself, so tools show stored values without the program's types, and a value whose type gained a
//! `#[serde(default)]` field is still read. The bytes of a key are those of its type and value alone: equal keys have
//! equal bytes, by which stores find them.

use std::any::Any;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::state::key::Key;

/// A key of keyed state: a [`Key`] that serde can write and read. Implemented for every type that qualifies.
pub trait StateKey: Key + Serialize + DeserializeOwned {}
impl<K: Key + Serialize + DeserializeOwned> StateKey for K {}

/// A value of keyed state: what serde can write and read. Implemented for every type that qualifies.
pub trait StateValue: Serialize + DeserializeOwned + Send + 'static {}
impl<V: Serialize + DeserializeOwned + Send + 'static> StateValue for V {}

/// Why a value could not be written.
pub(crate) type EncodeError = rmp_serde::encode::Error;

/// Why bytes could not be read.
pub(crate) type DecodeError = rmp_serde::decode::Error;

/// Appends the bytes of a key, or of something of squall's own.
pub(crate) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    rmp_serde::encode::write_named(out, value)
}

/// Appends the bytes of a value.
///
/// A `Vec<u8>` is written as bytes, fifty times faster than as the list of numbers that it is to serde, and is read in
/// either form. Not so where it is a part of the value: not every type reads a part back from bytes (an untagged
/// enumeration does not). And not for keys, whose bytes stores compare.
pub(crate) fn write_value<V: Serialize + 'static>(value: &V, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match (value as &dyn Any).downcast_ref::<Vec<u8>>() {
        Some(bytes) => rmp_serde::Serializer::new(out).serialize_bytes(bytes),
        None => write(value, out),
    }
}

/// Reads one key or value from the front of the bytes.
pub(crate) fn read_part<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, DecodeError> {
    T::deserialize(&mut rmp_serde::Deserializer::new(bytes))
}

/// Reads bytes that hold one key or value and nothing else.
pub(crate) fn read<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, DecodeError> {
    let value = read_part(&mut bytes)?;
    nothing_left(bytes)?;
    Ok(value)
}

/// Refuses bytes behind the last part.
pub(crate) fn nothing_left(bytes: &[u8]) -> Result<(), DecodeError> {
    match bytes {
        [] => Ok(()),
        _ => Err(serde::de::Error::custom(format_args!("{} bytes too many", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde::Deserialize;

    #[test]
    fn a_value_that_gained_a_field_is_still_read() {
        #[derive(Serialize)]
        struct Old {
            count: u32,
        }
        #[derive(Deserialize, PartialEq, Debug)]
        struct New {
            #[serde(default)]
            last: Option<String>,
            count: u64,
        }
        let mut bytes = Vec::new();
        write(&Old { count: 7 }, &mut bytes).unwrap();
        assert_eq!(read::<New>(&bytes).unwrap(), New { last: None, count: 7 });
    }

    #[test]
    fn a_value_of_bytes_is_written_as_bytes_and_read_from_a_list_of_numbers_as_well() {
        let value: Vec<u8> = (0..=255).collect();
        let (mut as_bytes, mut as_numbers) = (Vec::new(), Vec::new());
        write_value(&value, &mut as_bytes).unwrap();
        write(&value, &mut as_numbers).unwrap();
        assert_eq!(as_bytes.len(), 256 + 3);
        assert!(as_numbers.len() > 256 + 3);
        assert_eq!(read::<Vec<u8>>(&as_bytes).unwrap(), value);
        assert_eq!(read::<Vec<u8>>(&as_numbers).unwrap(), value);
        // Another element type is a list as before.
        let mut others = Vec::new();
        write_value(&vec![1_u16, 2], &mut others).unwrap();
        assert_eq!(others, [0x92, 1, 2]);
    }

    #[test]
    fn parts_stand_one_after_another() {
        let mut bytes = Vec::new();
        write(&("a", 1_u8), &mut bytes).unwrap();
        write(&300_u64, &mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        assert_eq!(read_part::<(String, u8)>(&mut rest).unwrap(), ("a".into(), 1));
        assert_eq!(read_part::<u64>(&mut rest).unwrap(), 300);
        nothing_left(rest).unwrap();
        assert!(read::<(String, u8)>(&bytes).is_err());
    }
}
