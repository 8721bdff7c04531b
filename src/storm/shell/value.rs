//! Values on their way to and from a child.
//!
//! | value | JSON | MessagePack |
//! | --- | --- | --- |
//! | integer | the first of `Int32`, `Int`, `Big` it fits in; all digits go back | above 64 bits a text of digits |
//! | decimal | a number with a point of more than 18 characters; all digits go back | goes as a float |
//! | float | stays one, also `1.0`; not a number and the infinities are written as `null`, as Storm does | stays one |
//! | bytes | a list of signed numbers, as Storm's JSON writer has it; they come back as a list | bytes |
//! | map | names are texts | likewise |
//! | text with a single surrogate | comes and goes as its escapes | U+FFFD stands for the surrogate |

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use serde_json::value::RawValue;

use super::json::integer;
use crate::task::dynamic::{Map, Value};

/// A value as a child writes it.
pub struct Read(pub Value);

/// A value as a child reads it.
pub struct Written<'a>(pub &'a Value);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Read)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::integer(value.into()), integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::from(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Read(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::from(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Read(value))) = entries.next_entry::<String, Read>()? {
            map.insert(name.into(), value);
        }
        Ok(Value::Map(Arc::new(map)))
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Int32(value) => serializer.serialize_i32(*value),
            Value::Big(value) if serializer.is_human_readable() => raw(value.to_string(), serializer),
            Value::Big(value) => match u64::try_from(&**value) {
                Ok(value) => serializer.serialize_u64(value),
                Err(_) => serializer.collect_str(value),
            },
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Decimal(value) if serializer.is_human_readable() => raw(value.to_string(), serializer),
            Value::Decimal(value) => serializer.serialize_f64(value.to_f64()),
            Value::Utf16(units) if serializer.is_human_readable() => {
                let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
                raw(format!("\"{escaped}\""), serializer)
            }
            Value::Utf16(units) => serializer.serialize_str(&String::from_utf16_lossy(units)),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) if serializer.is_human_readable() => {
                serializer.collect_seq(value.iter().map(|byte| *byte as i8))
            }
            Value::Bytes(value) => serializer.serialize_bytes(value),
            Value::List(values) => {
                let mut seq = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| seq.serialize_element(&Written(value)))?;
                seq.end()
            }
            Value::Map(values) => {
                let mut map = serializer.serialize_map(Some(values.len()))?;
                values.iter().try_for_each(|(name, value)| map.serialize_entry(&**name, &Written(value)))?;
                map.end()
            }
        }
    }
}

/// JSON as it stands.
fn raw<S: Serializer>(json: String, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(json).map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// The values of a tuple, written.
pub struct WrittenAll<'a>(pub &'a [Value]);

impl Serialize for WrittenAll<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Written))
    }
}
