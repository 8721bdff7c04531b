//! [`Value`]: one value whose type is known at run time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;

use super::decimal::Decimal;

/// What a [`Value::Map`] holds: texts to values, ordered by text.
pub type Map = BTreeMap<Arc<str>, Value>;

/// One value of a dynamic record.
///
/// Immutable, and cloning costs at most one reference count: all copies of a fan-out share texts, lists and maps.
///
/// Values are equal if type and content are: `Int(1)` is not `Float(1.0)`, and a `NaN` is not equal to itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A signed integer that came as one of 32 bits, or fewer: a Java `Integer`. In JSON and in squall's own keys it is
    /// the same as an `Int`; Java's hashes tell them apart.
    Int32(i32),
    /// An integer that does not fit in 64 signed bits, and only such a one: see [`Value::integer`].
    Big(Arc<BigInt>),
    /// A 64-bit float.
    Float(f64),
    /// A decimal number with more digits than a float has.
    Decimal(Arc<Decimal>),
    /// A text.
    String(Arc<str>),
    /// A text that UTF-8 cannot hold, since it has a surrogate without its pair: UTF-16 code units. See
    /// [`Value::text_of_units`].
    Utf16(Arc<[u16]>),
    /// A byte string; may be a slice of a larger buffer, which it keeps alive.
    Bytes(Bytes),
    /// Values in order.
    List(Arc<[Value]>),
    /// Values by name, ordered by name.
    Map(Arc<Map>),
}

/// The type of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the variant of `Value` with the same name")]
pub enum Kind {
    Null,
    Bool,
    Int,
    Big,
    Float,
    Decimal,
    String,
    Utf16,
    Bytes,
    List,
    Map,
}

impl fmt::Display for Kind {
    /// With its article: "an int".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Null => "null",
            Kind::Bool => "a bool",
            Kind::Int => "an int",
            Kind::Big => "an int of more than 64 bits",
            Kind::Float => "a float",
            Kind::Decimal => "a decimal",
            Kind::String => "a string",
            Kind::Utf16 => "a string with a single surrogate",
            Kind::Bytes => "bytes",
            Kind::List => "a list",
            Kind::Map => "a map",
        })
    }
}

/// The accessors are casts, not conversions: an `Int` is not a float, a `String` is not bytes. To keep a text, list or
/// map without copying it, clone the value.
impl Value {
    /// A list of these values: `Value::list([1.into(), "a".into()])`.
    pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
        Value::List(values.into_iter().collect())
    }

    /// A map of these entries: `Value::map([("a", 1.into())])`. Of several values with one name the last stays.
    pub fn map<N: Into<Arc<str>>>(entries: impl IntoIterator<Item = (N, Value)>) -> Value {
        Value::Map(Arc::new(entries.into_iter().map(|(name, value)| (name.into(), value)).collect()))
    }

    /// This integer, of whatever size.
    pub fn integer(value: BigInt) -> Value {
        i64::try_from(&value).map_or_else(|_| Value::Big(Arc::new(value)), Value::Int)
    }

    /// The text of these UTF-16 code units: a [`Value::String`] unless a surrogate has no pair.
    pub fn text_of_units(units: &[u16]) -> Value {
        String::from_utf16(units).map_or_else(|_| Value::Utf16(units.into()), Value::from)
    }

    /// The type of this value.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) | Value::Int32(_) => Kind::Int,
            Value::Big(_) => Kind::Big,
            Value::Float(_) => Kind::Float,
            Value::Decimal(_) => Kind::Decimal,
            Value::String(_) => Kind::String,
            Value::Utf16(_) => Kind::Utf16,
            Value::Bytes(_) => Kind::Bytes,
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Map,
        }
    }

    /// True if this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The content of a [`Value::Bool`].
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self { Some(*value) } else { None }
    }

    /// The content of a [`Value::Int`] or [`Value::Int32`].
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Int32(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// The content of a [`Value::Int`], [`Value::Int32`] or [`Value::Big`].
    pub fn as_integer(&self) -> Option<BigInt> {
        if let Value::Big(value) = self { Some((**value).clone()) } else { self.as_i64().map(BigInt::from) }
    }

    /// The content of a [`Value::Float`].
    pub fn as_f64(&self) -> Option<f64> {
        if let Value::Float(value) = self { Some(*value) } else { None }
    }

    /// The content of a [`Value::String`].
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(value) = self { Some(value) } else { None }
    }

    /// The content of a [`Value::Bytes`]. Cloning them copies nothing.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        if let Value::Bytes(value) = self { Some(value) } else { None }
    }

    /// The content of a [`Value::List`].
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(value) = self { Some(value) } else { None }
    }

    /// The content of a [`Value::Map`].
    pub fn as_map(&self) -> Option<&Map> {
        if let Value::Map(value) = self { Some(value) } else { None }
    }
}

/// JSON-like text for people: `null`, `true`, `1`, `1.0`, `"text"`, `0x00ff` for bytes, `[1, 2]`, `{"a": 1}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Int32(value) => write!(f, "{value}"),
            Value::Big(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Decimal(value) => write!(f, "{value}"),
            Value::String(value) => write!(f, "{value:?}"),
            // With U+FFFD for what no text has.
            Value::Utf16(units) => write!(f, "{:?}", String::from_utf16_lossy(units)),
            Value::Bytes(value) => write!(f, "0x{value:x}"),
            Value::List(values) => f.debug_list().entries(values.iter().map(Shown)).finish(),
            Value::Map(values) => {
                f.debug_map().entries(values.iter().map(|(name, value)| (name, Shown(value)))).finish()
            }
        }
    }
}

/// Lends the standard library's list and map writers the `Display` text of a value.
pub(super) struct Shown<'a>(pub(super) &'a Value);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
    }
}

macro_rules! from {
    ($($type:ty, $value:ident => $made:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        }
    )*};
}

// No `u64`, `u128`, `i128`, `usize`: they may not fit, and the caller knows better what to do then.
from! {
    (), _value => Value::Null;
    bool, value => Value::Bool(value);
    i8, value => Value::Int(value.into());
    i16, value => Value::Int(value.into());
    i32, value => Value::Int(value.into());
    i64, value => Value::Int(value);
    u8, value => Value::Int(value.into());
    u16, value => Value::Int(value.into());
    u32, value => Value::Int(value.into());
    f32, value => Value::Float(value.into());
    f64, value => Value::Float(value);
    &str, value => Value::String(value.into());
    String, value => Value::String(value.into());
    Arc<str>, value => Value::String(value);
    Bytes, value => Value::Bytes(value);
    Vec<u8>, value => Value::Bytes(value.into());
    Vec<Value>, value => Value::List(value.into());
    Arc<[Value]>, value => Value::List(value);
    Map, value => Value::Map(Arc::new(value));
    Arc<Map>, value => Value::Map(value);
}

/// `None` is [`Value::Null`].
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accessors_cast_and_do_not_convert() {
        let values: [Value; 8] = [
            ().into(),
            true.into(),
            1.into(),
            1.0.into(),
            "1".into(),
            Bytes::from_static(b"1").into(),
            Value::list([Value::Null]),
            Value::map([("a", Value::Null)]),
        ];
        let answers = values.each_ref().map(|value| {
            let answered = [
                value.is_null(),
                value.as_bool().is_some(),
                value.as_i64().is_some(),
                value.as_f64().is_some(),
                value.as_str().is_some(),
                value.as_bytes().is_some(),
                value.as_list().is_some(),
                value.as_map().is_some(),
            ];
            (answered.iter().filter(|&&is| is).count(), answered.iter().position(|&is| is))
        });
        for (index, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, (1, Some(index)), "{}", values[index]);
        }
    }

    #[test]
    fn display_is_one_line_of_json_like_text() {
        let map = Value::map([("b", Value::Null), ("a", Value::list([1.into(), 1.0.into(), "x\"".into()]))]);
        assert_eq!(map.to_string(), r#"{"a": [1, 1.0, "x\""], "b": null}"#);
        assert_eq!(Value::from(vec![0u8, 255]).to_string(), "0x00ff");
    }

    #[test]
    fn clones_share_their_content() {
        let text = Value::from("shared");
        assert!(std::ptr::eq(text.as_str().unwrap(), text.clone().as_str().unwrap()));
    }

    #[test]
    fn an_absent_option_is_null() {
        assert_eq!(Value::from(None::<i64>), Value::Null);
        assert_eq!(Value::from(Some("a")), Value::from("a"));
    }
}
