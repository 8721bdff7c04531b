//! [`JavaValue`]: a value with the type it has in Java.

use num_bigint::BigInt;

use super::hash::{double_bits, float_bits};

/// A value with the type it has in Java. Equal as `equals` says: an `Integer` is never a `Long`, every NaN is equal to
/// every other, the two zeros differ; only byte strings are compared by content.
#[derive(Clone, Debug)]
pub enum JavaValue {
    /// `null`.
    Null,
    /// A `Boolean`.
    Bool(bool),
    /// A `Byte`.
    Byte(i8),
    /// A `Short`.
    Short(i16),
    /// A `Character`: one UTF-16 code unit.
    Char(u16),
    /// An `Integer`.
    Int(i32),
    /// A `Long`.
    Long(i64),
    /// A `Float`.
    Float(f32),
    /// A `Double`.
    Double(f64),
    /// A `BigInteger`.
    Big(BigInt),
    /// A `String`, which may hold single surrogates.
    String(Vec<u16>),
    /// A `byte[]`.
    Bytes(Vec<u8>),
    /// A `List`.
    List(Vec<JavaValue>),
    /// A `Map`; made by [`map`](JavaValue::map), so that no key occurs twice.
    Map(Vec<(JavaValue, JavaValue)>),
}

impl JavaValue {
    /// A `String`.
    pub fn text(text: &str) -> Self {
        JavaValue::String(text.encode_utf16().collect())
    }

    /// A `Map` after these calls of `put`: of several values of one key the last stays.
    pub fn map(puts: impl IntoIterator<Item = (JavaValue, JavaValue)>) -> Self {
        let mut places: hashbrown::HashMap<JavaValue, usize> = hashbrown::HashMap::new();
        let mut entries: Vec<(JavaValue, JavaValue)> = Vec::new();
        for (key, value) in puts {
            match places.get(&key) {
                Some(&place) => entries[place].1 = value,
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
        }
        JavaValue::Map(entries)
    }

    /// True if it is a byte string or holds one: Java hashes an array inside a list or map by its address.
    pub fn holds_bytes(&self) -> bool {
        match self {
            JavaValue::Bytes(_) => true,
            JavaValue::List(values) => values.iter().any(JavaValue::holds_bytes),
            JavaValue::Map(entries) => entries.iter().any(|(key, value)| key.holds_bytes() || value.holds_bytes()),
            _ => false,
        }
    }
}

impl PartialEq for JavaValue {
    fn eq(&self, other: &Self) -> bool {
        use JavaValue::*;
        match (self, other) {
            (Null, Null) => true,
            (Bool(a), Bool(b)) => a == b,
            (Byte(a), Byte(b)) => a == b,
            (Short(a), Short(b)) => a == b,
            (Char(a), Char(b)) => a == b,
            (Int(a), Int(b)) => a == b,
            (Long(a), Long(b)) => a == b,
            (Float(a), Float(b)) => float_bits(*a) == float_bits(*b),
            (Double(a), Double(b)) => double_bits(*a) == double_bits(*b),
            (Big(a), Big(b)) => a == b,
            (String(a), String(b)) => a == b,
            (Bytes(a), Bytes(b)) => a == b,
            (List(a), List(b)) => a == b,
            // Each has no key twice, so that this is symmetric.
            (Map(a), Map(b)) => a.len() == b.len() && a.iter().all(|entry| b.contains(entry)),
            _ => false,
        }
    }
}

impl Eq for JavaValue {}

impl std::hash::Hash for JavaValue {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_i32(self.java_hash());
    }
}
