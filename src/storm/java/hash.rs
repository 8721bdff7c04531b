//! Java's hash codes.

use num_bigint::{BigInt, Sign};

use super::value::JavaValue;
use crate::task::dynamic::Value;

/// `String.hashCode` over UTF-16 code units.
pub fn units_hash(units: impl IntoIterator<Item = u16>) -> i32 {
    units.into_iter().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `String.hashCode`.
pub fn text_hash(text: &str) -> i32 {
    if text.is_ascii() { units_hash(text.bytes().map(u16::from)) } else { units_hash(text.encode_utf16()) }
}

/// `Arrays.hashCode(byte[])`; Java's bytes are signed.
pub fn bytes_hash(bytes: &[u8]) -> i32 {
    array_hash(bytes.iter().map(|&byte| i32::from(byte as i8)))
}

/// `Arrays.hashCode` and `List.hashCode` over the hashes of the elements.
pub fn array_hash(elements: impl IntoIterator<Item = i32>) -> i32 {
    elements.into_iter().fold(1, |hash: i32, element| hash.wrapping_mul(31).wrapping_add(element))
}

/// `Long.hashCode`, and that of a double's bits.
fn folded(bits: u64) -> i32 {
    (bits ^ (bits >> 32)) as i32
}

fn bool_hash(value: bool) -> i32 {
    if value { 1231 } else { 1237 }
}

/// `Double.hashCode`: all NaNs are one, the zeros are two.
fn double_hash(value: f64) -> i32 {
    folded(double_bits(value))
}

/// `Double.doubleToLongBits`.
pub(super) fn double_bits(value: f64) -> u64 {
    if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() }
}

/// `Float.floatToIntBits`.
pub(super) fn float_bits(value: f32) -> u32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
}

/// `BigInteger.hashCode`: over the magnitude's words, the highest first, then the sign.
fn big_hash(value: &BigInt) -> i32 {
    let (sign, words) = value.to_u32_digits();
    let hash = words.iter().rev().fold(0, |hash: i32, &word| hash.wrapping_mul(31).wrapping_add(word as i32));
    if sign == Sign::Minus { hash.wrapping_neg() } else { hash }
}

impl JavaValue {
    /// What `hashCode` returns, and for byte strings `Arrays.hashCode`.
    pub fn java_hash(&self) -> i32 {
        match self {
            JavaValue::Null => 0,
            JavaValue::Bool(value) => bool_hash(*value),
            JavaValue::Byte(value) => i32::from(*value),
            JavaValue::Short(value) => i32::from(*value),
            JavaValue::Char(value) => i32::from(*value),
            JavaValue::Int(value) => *value,
            JavaValue::Long(value) => folded(*value as u64),
            JavaValue::Float(value) => float_bits(*value) as i32,
            JavaValue::Double(value) => double_hash(*value),
            JavaValue::Big(value) => big_hash(value),
            JavaValue::String(units) => units_hash(units.iter().copied()),
            JavaValue::Bytes(bytes) => bytes_hash(bytes),
            JavaValue::List(values) => array_hash(values.iter().map(JavaValue::java_hash)),
            JavaValue::Map(entries) => {
                entries.iter().fold(0, |sum: i32, (key, value)| sum.wrapping_add(key.java_hash() ^ value.java_hash()))
            }
        }
    }
}

/// A tuple's value has the hash of the Java value that Storm would have there: an
/// [`Int32`](Value::Int32) that of an `Integer`, an [`Int`](Value::Int) that of a `Long`, a
/// [`Big`](Value::Big) that of a `BigInteger`, a [`Decimal`](Value::Decimal) that of a `BigDecimal`.
///
/// Byte strings inside lists and maps, which Java hashes by identity, are hashed by content.
pub(crate) fn value_hash(value: &Value) -> i32 {
    match value {
        Value::Null => 0,
        Value::Bool(value) => bool_hash(*value),
        Value::Int32(value) => *value,
        Value::Int(value) => folded(*value as u64),
        Value::Big(value) => big_hash(value),
        Value::Float(value) => double_hash(*value),
        Value::Decimal(value) => 31_i32.wrapping_mul(big_hash(value.unscaled())).wrapping_add(value.scale()),
        Value::String(text) => text_hash(text),
        Value::Utf16(units) => units_hash(units.iter().copied()),
        Value::Bytes(bytes) => bytes_hash(bytes),
        Value::List(values) => array_hash(values.iter().map(value_hash)),
        Value::Map(entries) => {
            entries.iter().fold(0, |sum: i32, (key, value)| sum.wrapping_add(text_hash(key) ^ value_hash(value)))
        }
    }
}
