//! Entries of keyed state as JSON, by the schema that the checkpoint recorded.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::state::codec;
use crate::state::delta::Change;
use crate::state::manifest::StateEntry;
use crate::state::schema::Kind;

use super::json::Json;

/// One entry of a keyed state.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Value,
    /// The element's key, for states with elements: a map's key, a place in a list, a timer's namespace and time.
    pub element: Option<Value>,
    /// The value; null for a timer.
    pub value: Value,
    /// When the value was last refreshed, in nanoseconds since the epoch, if it has a time to live.
    pub refreshed_at_ns: Option<u64>,
}

impl Entry {
    /// Reads an entry as the state's schema has it.
    ///
    /// # Errors
    /// The bytes are no such entry.
    pub fn read(state: &StateEntry, change: &Change<'_>) -> Result<Entry> {
        Entry::decode(state, change).map_err(|error| {
            let shown = &change.key[..change.key.len().min(32)];
            Error::bad_state(format!(
                "state {}: an entry cannot be read ({error}; key group {}, key bytes {shown:02x?})",
                state.full_name(),
                change.group
            ))
        })
    }

    fn decode(state: &StateEntry, change: &Change<'_>) -> Result<Entry, codec::DecodeError> {
        let mut rest = change.key;
        let Json(key) = codec::read_part(&mut rest)?;
        let element = match state.schema.element {
            Some(_) => Some(codec::read::<Json>(rest)?.0),
            None => codec::nothing_left(rest).map(|()| None)?,
        };
        let (refreshed_at_ns, value) = stamp_and_value(state, change.value.unwrap_or_default())?;
        let Json(value) = codec::read(value)?;
        Ok(Entry { key, element, value, refreshed_at_ns })
    }

    /// The bytes of a value without the stamp before it: what differs only there was refreshed and not changed.
    pub fn value_bytes<'a>(state: &StateEntry, value: &'a [u8]) -> &'a [u8] {
        stamp_and_value(state, value).map_or(value, |(_, value)| value)
    }

    /// As one JSON object.
    pub fn to_json(&self, state: &StateEntry) -> Value {
        let mut object = json!({ "component": state.component, "state": state.state, "key": self.key });
        match (&self.element, state.schema.kind) {
            (Some(Value::Array(timer)), Kind::Timers) if timer.len() == 2 => {
                object["namespace"] = timer[0].clone();
                object["at_ns"] = timer[1].clone();
                return object;
            }
            (Some(element), _) => object["element"] = element.clone(),
            (None, _) => {}
        }
        object["value"] = self.value.clone();
        if let Some(refreshed_at_ns) = self.refreshed_at_ns {
            object["refreshed_at_ns"] = refreshed_at_ns.into();
        }
        object
    }
}

fn stamp_and_value<'a>(state: &StateEntry, value: &'a [u8]) -> Result<(Option<u64>, &'a [u8]), codec::DecodeError> {
    if !state.schema.stamped {
        return Ok((None, value));
    }
    let too_short = || codec::DecodeError::Syntax("it is too short for the stamp of its time to live".into());
    let (stamp, value) = value.split_first_chunk::<8>().ok_or_else(too_short)?;
    Ok((Some(u64::from_le_bytes(*stamp)), value))
}

/// A key as somebody types it, for a state: JSON, or for texts just the text.
///
/// # Errors
/// It is no JSON, or of another type than the state's keys.
pub fn key_of_text(state: &StateEntry, text: &str) -> Result<Value> {
    let shape = state.schema.key.as_str();
    let parsed = serde_json::from_str::<Value>(text).ok();
    let key = match parsed {
        Some(key) if matches!(shape, "str" | "char") && !key.is_string() => Value::from(text),
        None if matches!(shape, "str" | "char") => Value::from(text),
        Some(key) if fits(&key, shape) => key,
        _ => {
            let why =
                format!("is no key of this state: its keys are `{shape}`, written as JSON, such as {}", like(shape));
            return Err(Error::usage(state.full_name(), format!("{text:?} {why}")));
        }
    };
    Ok(key)
}

fn like(shape: &str) -> &'static str {
    match shape.as_bytes().first() {
        Some(b'(' | b'[') => "'[\"a\",1]'",
        Some(b'{' | b'm') => "'{\"field\":1}'",
        Some(b'b') if shape == "bool" => "true",
        _ => "42",
    }
}

/// True unless the value is plainly of another type.
fn fits(key: &Value, shape: &str) -> bool {
    if let Some(some) = shape.strip_suffix('?') {
        return key.is_null() || fits(key, some);
    }
    match shape {
        "bool" => key.is_boolean(),
        "str" | "char" => key.is_string(),
        "u8" | "u16" | "u32" | "u64" => key.is_u64(),
        "i8" | "i16" | "i32" | "i64" => key.is_i64(),
        shape if shape.starts_with(['(', '[']) => key.is_array(),
        shape if shape.starts_with('{') || shape.starts_with("map(") => key.is_object(),
        _ => true,
    }
}
