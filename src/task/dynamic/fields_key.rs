//! [`FieldsKey`]: the key that some fields of a record make.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;
use smallvec::SmallVec;

use super::decimal::Decimal;
use super::value::{Map, Value};
use crate::task::key::{Canonical, CanonicalSink};

/// The canonical bytes of a value name its type, unlike those of static types. FROZEN, like all canonical bytes.
mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const BOOL: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const FLOAT: u8 = 3;
    pub(super) const STRING: u8 = 4;
    pub(super) const BYTES: u8 = 5;
    pub(super) const LIST: u8 = 6;
    pub(super) const MAP: u8 = 7;
    pub(super) const BIG: u8 = 8;
    pub(super) const DECIMAL: u8 = 9;
    pub(super) const UTF16: u8 = 10;
}

/// A value's canonical bytes are a type byte, then the content, numbers little-endian:
///
/// | value | bytes |
/// | --- | --- |
/// | `Null` | 0 |
/// | `Bool` | 1, then 0 or 1 |
/// | `Int`, `Int32` | 2, then 8 bytes |
/// | `Float` | 3, then the 8 bytes of its IEEE 754 bits; −0.0 as 0.0, every NaN as 0x7ff8000000000000 |
/// | `String` | 4, then the length as `u64` and the UTF-8 bytes |
/// | `Bytes` | 5, then the length as `u64` and the bytes |
/// | `List` | 6, then the number of values as `u64` and each value |
/// | `Map` | 7, the number of entries as `u64`, in the order of the names each name (length, bytes) and value |
/// | `Big` | 8, then the length as `u64` and the bytes of its two's complement |
/// | `Decimal` | 9, then the scale in 4 bytes, and the digits as an integer like those of `Big` |
/// | `Utf16` | 10, then the number of code units as `u64` and each in 2 bytes |
///
/// So `Int(1)`, `Float(1.0)` and `String("1")` differ, while all NaNs are one key and both zeros are one key.
impl Canonical for Value {
    fn write_part<S: CanonicalSink>(&self, out: &mut S) {
        match self {
            Value::Null => out.put(&[tag::NULL]),
            Value::Bool(value) => (tag::BOOL, value).write_part(out),
            Value::Int(value) => (tag::INT, value).write_part(out),
            Value::Int32(value) => (tag::INT, i64::from(*value)).write_part(out),
            Value::Big(value) => (tag::BIG, value.to_signed_bytes_le().as_slice()).write_part(out),
            Value::Decimal(value) => {
                (tag::DECIMAL, value.scale(), value.unscaled().to_signed_bytes_le().as_slice()).write_part(out);
            }
            Value::Utf16(units) => {
                (tag::UTF16, units.len()).write_part(out);
                units.iter().for_each(|unit| unit.write_part(out));
            }
            Value::Float(value) => (tag::FLOAT, canonical_bits(*value)).write_part(out),
            Value::String(value) => (tag::STRING, value).write_part(out),
            Value::Bytes(value) => (tag::BYTES, value).write_part(out),
            Value::List(values) => {
                (tag::LIST, values.len()).write_part(out);
                values.iter().for_each(|value| value.write_part(out));
            }
            Value::Map(values) => {
                (tag::MAP, values.len()).write_part(out);
                values.iter().for_each(|(name, value)| (name, value).write_part(out));
            }
        }
    }
}

fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

/// The values of some fields of a record, in the order they were asked for, as a [key](crate::task::key::Key).
///
/// It holds their canonical bytes, one value's after another's, and so owns its content: it keeps no buffer of the
/// record alive. Up to 40 bytes (four integers; a text of 31 bytes) are stored inline, longer keys allocate.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldsKey(SmallVec<[u8; 40]>);

impl FieldsKey {
    /// The key that these values make.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut key = FieldsKey::default();
        values.into_iter().for_each(|value| key.push(value));
        key
    }

    pub(super) fn push(&mut self, value: &Value) {
        value.write_part(&mut self.0);
    }

    /// The values, decoded. Equal to those the key was made of, but for the sign of a zero, the bits of a NaN
    /// and an `Int32`, which has become an `Int`.
    pub fn values(&self) -> Vec<Value> {
        let mut rest = self.0.as_slice();
        let mut values = Vec::new();
        while !rest.is_empty() {
            values.push(decode(&mut rest));
        }
        values
    }
}

/// The whole key is one byte string: the values' canonical bytes, one after another.
impl Canonical for FieldsKey {
    #[inline]
    fn write_part<S: CanonicalSink>(&self, out: &mut S) {
        self.0.write_part(out);
    }

    #[inline]
    fn with_single<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
        Some(use_bytes(&self.0))
    }
}

/// `("storm", 3)`, with the values' own text.
impl fmt::Display for FieldsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (at, value) in self.values().iter().enumerate() {
            write!(f, "{}{value}", if at > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for FieldsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldsKey{self}")
    }
}

/// Reads back what `Value::write_part` wrote. Only it writes a key's bytes, so anything else is a fault of this module.
fn decode(rest: &mut &[u8]) -> Value {
    match take::<1>(rest)[0] {
        tag::NULL => Value::Null,
        tag::BOOL => Value::Bool(take::<1>(rest)[0] != 0),
        tag::INT => Value::Int(i64::from_le_bytes(take(rest))),
        tag::FLOAT => Value::Float(f64::from_bits(u64::from_le_bytes(take(rest)))),
        tag::STRING => Value::String(text(rest)),
        tag::BYTES => Value::Bytes(Bytes::copy_from_slice(byte_string(rest))),
        tag::LIST => {
            let count = length(rest);
            (0..count).map(|_| decode(rest)).collect::<Vec<_>>().into()
        }
        tag::MAP => {
            let count = length(rest);
            (0..count).map(|_| (text(rest), decode(rest))).collect::<Map>().into()
        }
        tag::BIG => Value::Big(Arc::new(BigInt::from_signed_bytes_le(byte_string(rest)))),
        tag::DECIMAL => {
            let scale = i32::from_le_bytes(take(rest));
            Value::Decimal(Arc::new(Decimal::new(BigInt::from_signed_bytes_le(byte_string(rest)), scale)))
        }
        tag::UTF16 => {
            let count = length(rest);
            Value::Utf16((0..count).map(|_| u16::from_le_bytes(take(rest))).collect())
        }
        other => unreachable!("no value has the type byte {other}"),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_first_chunk().expect("a key holds whole values");
    *rest = tail;
    *head
}

fn length(rest: &mut &[u8]) -> usize {
    u64::from_le_bytes(take(rest)) as usize
}

fn byte_string<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = length(rest);
    let (head, tail) = rest.split_at(length);
    *rest = tail;
    head
}

fn text(rest: &mut &[u8]) -> Arc<str> {
    std::str::from_utf8(byte_string(rest)).expect("a key's texts came from texts").into()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::key::{Key, key_hash};

    /// Any value, nested a little; small and similar, so that near misses are common.
    pub(in super::super) fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2i64..3).prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i128>().prop_map(|whole| Value::integer(whole.into())),
            (any::<i128>(), -3..30_i32)
                .prop_map(|(digits, scale)| { Value::Decimal(Arc::new(Decimal::new(digits.into(), scale))) }),
            prop::collection::vec(prop::sample::select(vec![0x61, 0xd83e, 0xdd80]), 0..3)
                .prop_map(|units| Value::text_of_units(&units)),
            prop::sample::select(vec![0.0, -0.0, 1.0, f64::NAN, f64::INFINITY]).prop_map(Value::from),
            "[ab$]{0,2}".prop_map(Value::from),
            prop::collection::vec(0u8..3, 0..3).prop_map(Value::from),
        ];
        let name = prop_oneof!["[ab]{0,2}", "\\$?\\$(bytes|float|int|decimal|utf16)"];
        leaf.prop_recursive(3, 16, 3, move |inner| {
            let entries = prop::collection::btree_map(name.clone().prop_map(Arc::from), inner.clone(), 0..3);
            prop_oneof![prop::collection::vec(inner, 0..3).prop_map(Value::from), entries.prop_map(Value::from)]
        })
    }

    /// FROZEN. Snapshots hold key groups that follow from these bytes: a change here loses users' state.
    #[test]
    fn golden_vectors_hold() {
        let map = Value::map([("b", 1.into()), ("a", Value::list([true.into()]))]);
        let vectors: [(Value, &[u8]); 10] = [
            (Value::Null, &[0]),
            (true.into(), &[1, 1]),
            ((-2).into(), &[2, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            (1.0.into(), &[3, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]),
            ((-0.0).into(), &[3, 0, 0, 0, 0, 0, 0, 0, 0]),
            ((-f64::NAN).into(), &[3, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
            ("1".into(), b"\x04\x01\0\0\0\0\0\0\x001"),
            (b"1".to_vec().into(), b"\x05\x01\0\0\0\0\0\0\x001"),
            (Value::list([Value::Null]), b"\x06\x01\0\0\0\0\0\0\0\0"),
            (
                map,
                b"\x07\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a\x06\x01\0\0\0\0\0\0\0\x01\x01\
                  \x01\0\0\0\0\0\0\0b\x02\x01\0\0\0\0\0\0\0",
            ),
        ];
        for (value, bytes) in &vectors {
            assert_eq!(FieldsKey::new([value]).0.as_slice(), *bytes, "{value}");
        }
        let all = FieldsKey::new(vectors.iter().map(|(value, _)| value));
        assert_eq!(key_hash(&all), 0xf08c_54af_5d4c_b716, "got {:#018x}", key_hash(&all));
    }

    #[test]
    fn values_of_different_types_are_different_keys() {
        let keys = [Value::from(1), 1.0.into(), "1".into(), b"1".to_vec().into(), true.into(), Value::Null];
        for (at, a) in keys.iter().enumerate() {
            for b in &keys[at + 1..] {
                assert_ne!(FieldsKey::new([a]), FieldsKey::new([b]));
            }
        }
        assert_eq!(FieldsKey::new(&[Value::Int32(-1)]), FieldsKey::new(&[Value::Int(-1)]));
    }

    #[test]
    fn a_fields_key_is_a_key_and_shows_its_values() {
        fn key<K: Key>(_: &K) {}
        let fields_key = FieldsKey::new(&[Value::from("storm"), 3.into()]);
        key(&fields_key);
        assert_eq!(fields_key.to_string(), r#"("storm", 3)"#);
    }

    proptest! {
        /// Decoding gives the values back, so no two keys share their bytes.
        #[test]
        fn a_key_decodes_to_its_values(values in prop::collection::vec(any_value(), 0..4)) {
            let key = FieldsKey::new(&values);
            let decoded = key.values();
            prop_assert_eq!(decoded.len(), values.len());
            for (decoded, value) in decoded.iter().zip(&values) {
                prop_assert!(same(decoded, value), "{} {}", decoded, value);
            }
            prop_assert_eq!(FieldsKey::new(&decoded), key);
        }
    }

    /// Equality, but with every NaN the same.
    pub(in super::super) fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(&**b).all(|(a, b)| same(a, b)),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().zip(&**b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
            }
            _ => a == b,
        }
    }
}
