//! Java's `toString`, which partial key grouping hashes when it is not told any fields.

use std::fmt::Write as _;

use crate::task::dynamic::Value;

/// `Double.toString`, as from JDK 19 on; before, a few doubles got one digit more than they need.
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        return format!("{sign}Infinity");
    }
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{sign}{magnitude:?}");
    }
    let text = format!("{magnitude:e}");
    let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{sign}{digits}{point}E{exponent}")
}

/// `toString` of the Java value that Storm would have in the place of this one. Byte strings, whose text in Java names
/// an address, are written as their hexadecimal digits; the entries of a map are in the order of their names.
pub fn to_java_string(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    // Writing to a text never fails.
    let _ = match value {
        Value::Null => write!(text, "null"),
        Value::Bool(value) => write!(text, "{value}"),
        Value::Int32(value) => write!(text, "{value}"),
        Value::Int(value) => write!(text, "{value}"),
        Value::Big(value) => write!(text, "{value}"),
        Value::Decimal(value) => write!(text, "{value}"),
        Value::Utf16(units) => write!(text, "{}", String::from_utf16_lossy(units)),
        Value::Float(value) => write!(text, "{}", double_text(*value)),
        Value::String(value) => write!(text, "{value}"),
        Value::Bytes(value) => write!(text, "{value:x}"),
        Value::List(values) => {
            text.push('[');
            for (at, value) in values.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                write(value, text);
            }
            write!(text, "]")
        }
        Value::Map(entries) => {
            text.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                text.push_str(key);
                text.push('=');
                write(value, text);
            }
            write!(text, "}}")
        }
    };
}
