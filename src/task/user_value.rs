//! A value as it stands in a settings file or on the command line.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// An untyped value: what the user's own keys hold. TOML dates are kept as text.
///
/// Displays as TOML.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum UserValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list of values.
    List(Vec<UserValue>),
    /// A table inside a list. (A table that is not inside a list is not a value: its keys are, see
    /// `Settings::user`.)
    Table(BTreeMap<String, UserValue>),
}

impl UserValue {
    /// The flag, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            UserValue::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The whole number, if this is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            UserValue::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The number, whole or not, if this is one.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            UserValue::Float(number) => Some(*number),
            UserValue::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            UserValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The list, if this is one.
    pub fn as_list(&self) -> Option<&[UserValue]> {
        match self {
            UserValue::List(values) => Some(values),
            _ => None,
        }
    }

    /// The value for people: text without quotes, everything else as TOML.
    pub(crate) fn bare(&self) -> String {
        match self {
            UserValue::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for UserValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let toml = toml::Value::try_from(self).map_err(|_| fmt::Error)?;
        write!(f, "{toml}")
    }
}

impl Serialize for UserValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            UserValue::Bool(flag) => serializer.serialize_bool(*flag),
            UserValue::Integer(number) => serializer.serialize_i64(*number),
            UserValue::Float(number) => serializer.serialize_f64(*number),
            UserValue::Text(text) => serializer.serialize_str(text),
            UserValue::List(values) => values.serialize(serializer),
            UserValue::Table(values) => values.serialize(serializer),
        }
    }
}

impl From<bool> for UserValue {
    fn from(flag: bool) -> Self {
        UserValue::Bool(flag)
    }
}

impl From<i64> for UserValue {
    fn from(number: i64) -> Self {
        UserValue::Integer(number)
    }
}

impl From<f64> for UserValue {
    fn from(number: f64) -> Self {
        UserValue::Float(number)
    }
}

impl From<&str> for UserValue {
    fn from(text: &str) -> Self {
        UserValue::Text(text.to_owned())
    }
}

impl From<String> for UserValue {
    fn from(text: String) -> Self {
        UserValue::Text(text)
    }
}

/// As text, such as `1h 30m`: TOML has no durations.
impl From<Duration> for UserValue {
    fn from(duration: Duration) -> Self {
        UserValue::Text(humantime::format_duration(duration).to_string())
    }
}

macro_rules! from_unsigned {
    ($($type:ty),*) => {$(
        /// Numbers that TOML cannot hold become text.
        impl From<$type> for UserValue {
            fn from(number: $type) -> Self {
                i64::try_from(number).map_or_else(|_| UserValue::Text(number.to_string()), UserValue::Integer)
            }
        }
    )*};
}

from_unsigned!(usize, u32, u64);
