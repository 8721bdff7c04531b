//! MessagePack as JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What any stored key or value looks like as JSON: bytes become an array of numbers, keys of maps that are no texts
/// become their JSON as a text, and numbers that JSON lacks (`NaN`, infinities, beyond 64 bits) become texts.
pub(super) struct Json(pub Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Json)
    }
}

struct AnyValue;

macro_rules! plain {
    ($($visit:ident $type:ty;)*) => {$(
        fn $visit<E: Error>(self, value: $type) -> Result<Value, E> {
            Ok(Value::from(value))
        }
    )*};
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    plain! { visit_bool bool; visit_i64 i64; visit_u64 u64; visit_str &str; visit_bytes &[u8]; }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(if value.is_finite() { Value::from(value) } else { Value::from(value.to_string()) })
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::from(value.to_string()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(Value::from(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Json(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((Json(key), Json(value))) = entries.next_entry()? {
            let name = match key {
                Value::String(name) => name,
                other => other.to_string(),
            };
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}
