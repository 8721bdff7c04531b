//! Values and records as JSON, and back.
//!
//! JSON has no byte strings and no NaN or infinities. They are written as objects with one marked name; a map that
//! happens to look like one gets one more `$`, so that every value comes back as what it was:
//!
//! | value | JSON |
//! | --- | --- |
//! | bytes 0x00ff | `{"$bytes": "00ff"}` |
//! | not a number, infinity, −infinity | `{"$float": "NaN"}`, `{"$float": "inf"}`, `{"$float": "-inf"}` |
//! | an integer beyond 64 bits, a decimal | `{"$int": "18446744073709551616"}`, `{"$decimal": "0.30"}` |
//! | a text with a single surrogate | `{"$utf16": "d83e"}` |
//! | a map whose only name is one of these after any further `$` | the same with one `$` more in front |
//!
//! Integers stay integers and floats stay floats: `1` and `1.0` are different. How wide an integer was is lost: an
//! `Int32` comes back as an `Int`.

use std::sync::Arc;

use serde_json::{Map as JsonMap, Number, Value as Json, json};

use super::record::{Fields, Record, RecordError};
use super::value::Value;

const BYTES: &str = "$bytes";
const FLOAT: &str = "$float";
const INT: &str = "$int";
const DECIMAL: &str = "$decimal";
const UTF16: &str = "$utf16";

impl From<&Value> for Json {
    /// Bytes, floats that JSON lacks, and maps that look like these become marked objects: bytes 0x00ff are
    /// `{"$bytes": "00ff"}`, infinity is `{"$float": "inf"}`, the map `{"$bytes": 1}` is `{"$$bytes": 1}`.
    fn from(value: &Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Int32(value) => Json::from(*value),
            Value::Big(value) => json!({ INT: value.to_string() }),
            Value::Decimal(value) => json!({ DECIMAL: value.to_string() }),
            Value::Utf16(units) => {
                json!({ UTF16: units.iter().map(|unit| format!("{unit:04x}")).collect::<String>() })
            }
            Value::Float(value) => {
                Number::from_f64(*value).map_or_else(|| json!({ FLOAT: value.to_string() }), Json::Number)
            }
            Value::String(value) => Json::from(&**value),
            Value::Bytes(value) => json!({ BYTES: format!("{value:x}") }),
            Value::List(values) => values.iter().map(Json::from).collect(),
            Value::Map(values) => {
                let escape = if values.len() == 1 && values.keys().all(|name| is_marker(name)) { "$" } else { "" };
                values.iter().map(|(name, value)| (format!("{escape}{name}"), Json::from(value))).collect()
            }
        }
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        Json::from(&value)
    }
}

impl TryFrom<Json> for Value {
    type Error = RecordError;

    /// Undoes the conversion to JSON; see there for the marked objects.
    ///
    /// # Errors
    ///
    /// If an integer does not fit in 64 signed bits, or a `$bytes` or `$float` object does not hold what it should.
    fn try_from(json: Json) -> Result<Value, RecordError> {
        Ok(match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => from_number(&number)?,
            Json::String(value) => Value::from(value),
            Json::Array(values) => {
                values.into_iter().map(Value::try_from).collect::<Result<Vec<_>, RecordError>>()?.into()
            }
            Json::Object(object) => from_object(object)?,
        })
    }
}

impl From<&Record> for Json {
    /// An object with one member per field.
    fn from(record: &Record) -> Json {
        let members = record.fields().names().iter().zip(record.values());
        members.map(|(name, value)| (name.to_string(), Json::from(value))).collect()
    }
}

impl Record {
    /// A record from a JSON object with exactly these fields.
    ///
    /// # Errors
    ///
    /// If the JSON value is not an object, lacks a field, has a member that is no field, or a value does not convert.
    pub fn from_json(fields: &Arc<Fields>, json: Json) -> Result<Self, RecordError> {
        let Json::Object(mut object) = json else {
            return Err(bad(format!("a record is an object, not {json}")));
        };
        let mut values = Vec::with_capacity(fields.len());
        for name in fields.names() {
            let member = object.remove(&**name).ok_or_else(|| bad(format!("field `{name}` is missing")))?;
            values.push(Value::try_from(member)?);
        }
        match object.keys().next() {
            Some(name) => Err(RecordError::UnknownField { name: name.as_str().into(), known: fields.clone() }),
            None => Record::new(fields, values),
        }
    }
}

fn bad(message: String) -> RecordError {
    RecordError::Json { message }
}

/// True for the marked names and for those with more `$` in front, which are escaped ones.
fn is_marker(name: &str) -> bool {
    [BYTES, FLOAT, INT, DECIMAL, UTF16]
        .iter()
        .any(|marker| name.strip_suffix(marker).is_some_and(|extra| extra.bytes().all(|b| b == b'$')))
}

fn from_number(number: &Number) -> Result<Value, RecordError> {
    if let Some(value) = number.as_i64() {
        return Ok(Value::Int(value));
    }
    match number.as_f64() {
        Some(value) if number.is_f64() => Ok(Value::Float(value)),
        _ => Err(bad(format!("the integer {number} does not fit in 64 signed bits"))),
    }
}

fn from_object(object: JsonMap<String, Json>) -> Result<Value, RecordError> {
    let mut escaped = false;
    if object.len() == 1
        && let Some((name, value)) = object.iter().next()
    {
        match name.as_str() {
            BYTES => return unhex(value),
            FLOAT => return named_float(value),
            INT => return written(INT, value, |text| text.parse().ok().map(Value::integer)),
            DECIMAL => {
                return written(DECIMAL, value, |text| text.parse().ok().map(|value| Value::Decimal(Arc::new(value))));
            }
            UTF16 => return written(UTF16, value, units),
            name => escaped = is_marker(name),
        }
    }
    let entry = |(name, value): (String, Json)| Ok((name[usize::from(escaped)..].into(), Value::try_from(value)?));
    Ok(Value::Map(Arc::new(object.into_iter().map(entry).collect::<Result<_, RecordError>>()?)))
}

fn unhex(value: &Json) -> Result<Value, RecordError> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = value.as_str().filter(|text| text.len() % 2 == 0).and_then(|text| {
        text.as_bytes().chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
    });
    bytes
        .map(|bytes: Vec<u8>| Value::from(bytes))
        .ok_or_else(|| bad(format!("`{BYTES}` holds pairs of hex digits, not {value}")))
}

fn written(name: &str, value: &Json, read: impl FnOnce(&str) -> Option<Value>) -> Result<Value, RecordError> {
    let read = value.as_str().and_then(read);
    read.ok_or_else(|| bad(format!("`{name}` does not hold {value}")))
}

fn units(hex: &str) -> Option<Value> {
    if !hex.len().is_multiple_of(4) {
        return None;
    }
    let unit = |at: usize| u16::from_str_radix(hex.get(at..at + 4)?, 16).ok();
    Some(Value::text_of_units(&(0..hex.len()).step_by(4).map(unit).collect::<Option<Vec<u16>>>()?))
}

fn named_float(value: &Json) -> Result<Value, RecordError> {
    match value.as_str() {
        Some("NaN") => Ok(Value::Float(f64::NAN)),
        Some("inf") => Ok(Value::Float(f64::INFINITY)),
        Some("-inf") => Ok(Value::Float(f64::NEG_INFINITY)),
        _ => Err(bad(format!("`{FLOAT}` holds \"NaN\", \"inf\" or \"-inf\", not {value}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fields_key::tests::{any_value, same};
    use super::*;

    #[test]
    fn numbers_keep_their_type() {
        let values = Value::list([1.into(), 1.0.into(), i64::MIN.into(), (-0.0).into()]);
        let json = Json::from(&values);
        assert_eq!(json.to_string(), "[1,1.0,-9223372036854775808,-0.0]");
        let parsed: Json = serde_json::from_str(&json.to_string()).unwrap();
        assert_eq!(Value::try_from(parsed), Ok(values));
    }

    #[test]
    fn what_json_lacks_is_marked() {
        let say = |value: Value| Json::from(value).to_string();
        assert_eq!(say(vec![0u8, 255].into()), r#"{"$bytes":"00ff"}"#);
        assert_eq!(say(f64::NEG_INFINITY.into()), r#"{"$float":"-inf"}"#);
        assert_eq!(say(f64::NAN.into()), r#"{"$float":"NaN"}"#);
        assert_eq!(say(Value::map([("$$bytes", 1.into())])), r#"{"$$$bytes":1}"#);
        assert_eq!(say(Value::map([("a$bytes", 1.into())])), r#"{"a$bytes":1}"#);
    }

    #[test]
    fn what_does_not_convert_is_refused_and_named() {
        let refuse = |text: &str| {
            let json: Json = serde_json::from_str(text).unwrap();
            Value::try_from(json).unwrap_err().to_string()
        };
        assert!(refuse("[9223372036854775808]").contains("9223372036854775808 does not fit"));
        assert!(refuse(r#"{"$bytes":"0"}"#).contains("hex digits"));
        assert!(refuse(r#"{"$bytes":"0g"}"#).contains("hex digits"));
        assert!(refuse(r#"{"$bytes":1}"#).contains("hex digits"));
        assert!(refuse(r#"{"$float":"1.0"}"#).contains("$float"));
    }

    #[test]
    fn a_record_is_an_object_with_exactly_its_fields() {
        let fields = Fields::new(["$bytes", "n"]).unwrap();
        let record = Record::new(&fields, [vec![7u8].into(), 1.into()]).unwrap();
        let json = Json::from(&record);
        assert_eq!(json, json!({ "$bytes": { "$bytes": "07" }, "n": 1 }));
        assert_eq!(Record::from_json(&fields, json), Ok(record));
        let refuse = |json| Record::from_json(&fields, json).unwrap_err().to_string();
        assert_eq!(refuse(json!({ "n": 1 })), "JSON: field `$bytes` is missing");
        assert_eq!(refuse(json!({ "n": 1, "$bytes": 1, "x": 1 })), "no field `x`; the fields are `$bytes`, `n`");
        assert_eq!(refuse(json!([1, 2])), "JSON: a record is an object, not [1,2]");
    }

    proptest! {
        #[test]
        fn every_value_survives_the_round_trip(value in any_value()) {
            let back = Value::try_from(Json::from(&value)).unwrap();
            prop_assert!(same(&back, &value), "{} {}", back, value);
        }
    }
}
