//! Typed values in JSON.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use serde_json::value::RawValue;

use crate::storm::java::JavaValue;

/// How deep lists and maps may be nested.
const DEPTH_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    #[serde(borrow, default)]
    v: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bits: Option<&'a RawValue>,
    #[serde(borrow, default)]
    hex: Option<Cow<'a, str>>,
}

/// The values of one line.
///
/// # Errors
/// What was expected, and where.
pub fn parse_line(line: &str) -> Result<Vec<JavaValue>, String> {
    let values: Vec<Typed<'_>> = serde_json::from_str(line).map_err(|error| {
        format!("expected a JSON array of typed values such as [{{\"t\":\"string\",\"v\":\"the\"}}]: {error}")
    })?;
    values.iter().enumerate().map(|(at, value)| named(at, read(value, 0))).collect()
}

fn named<T>(at: usize, outcome: Result<T, String>) -> Result<T, String> {
    outcome.map_err(|message| format!("value {}: {message}", at + 1))
}

fn read(value: &Typed<'_>, depth: usize) -> Result<JavaValue, String> {
    if depth > DEPTH_MAX {
        return Err(format!("nested deeper than {DEPTH_MAX}"));
    }
    let unused = match &*value.t {
        "double" | "float" => value.hex.is_some().then_some("hex"),
        "bytes" => value.bits.is_some().then_some("bits"),
        _ if value.hex.is_some() => Some("hex"),
        _ => value.bits.is_some().then_some("bits"),
    };
    if let Some(member) = unused {
        return Err(format!("a value of type {:?} has no {member:?}", value.t));
    }
    let v = value.v.map(RawValue::get);
    Ok(match &*value.t {
        "null" => match v {
            None => JavaValue::Null,
            Some(other) => return Err(format!("expected no \"v\" beside null, not {other}")),
        },
        "string" => JavaValue::String(text_units(v)?),
        "bool" => JavaValue::Bool(number(v, "true or false")?),
        "byte" => JavaValue::Byte(number(v, "a byte (from -128 to 127)")?),
        "short" => JavaValue::Short(number(v, "a short (from -32768 to 32767)")?),
        "char" => JavaValue::Char(number(v, "a UTF-16 code unit (from 0 to 65535)")?),
        "int" => JavaValue::Int(number(v, "an int (from -2147483648 to 2147483647)")?),
        "long" => JavaValue::Long(number(v, "a long (of 64 bits)")?),
        "bigint" => JavaValue::Big(number(v, "an integer")?),
        "double" => match value.bits {
            Some(bits) => JavaValue::Double(f64::from_bits(read_bits(bits.get(), 64)?)),
            None => JavaValue::Double(number(v, "a number, NaN, Infinity or -Infinity, or \"bits\"")?),
        },
        "float" => match value.bits {
            Some(bits) => JavaValue::Float(f32::from_bits(read_bits(bits.get(), 32)? as u32)),
            None => JavaValue::Float(number(v, "a number, NaN, Infinity or -Infinity, or \"bits\"")?),
        },
        "bytes" => JavaValue::Bytes(bytes(value.hex.as_deref(), v)?),
        "list" => JavaValue::List(list(v, depth)?),
        "map" => JavaValue::map(pairs(v, depth)?),
        other => {
            return Err(format!(
                "expected a type (string, int, long, byte, short, bool, char, double, float, null, bigint, bytes, list \
                 or map), not {other:?}"
            ));
        }
    })
}

/// A number or anything else with a plain text, given as itself or as a JSON text.
fn number<T: FromStr>(v: Option<&str>, expected: &str) -> Result<T, String> {
    let json = v.ok_or_else(|| format!("expected {expected} in \"v\""))?;
    plain(json).parse().map_err(|_| format!("expected {expected}, not {json}"))
}

/// The content of a JSON text; anything else as it is written.
fn plain(json: &str) -> Cow<'_, str> {
    let text = json.starts_with('"').then(|| serde_json::from_str::<String>(json).ok()).flatten();
    text.map_or(Cow::Borrowed(json), Cow::Owned)
}

fn read_bits(json: &str, width: u32) -> Result<u64, String> {
    let text = plain(json);
    let is_text = json.starts_with('"');
    let digits = text.strip_prefix("0x");
    let hex = digits.or((is_text && text.len() == width as usize / 4).then_some(&*text));
    let is_hex = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = match hex.filter(is_hex) {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => text.parse::<i128>().ok(),
    };
    // As signed numbers, which Java prints, or as unsigned ones.
    let range = -(1i128 << (width - 1))..1 << width;
    let number = number.filter(|number| range.contains(number));
    let bits = number.ok_or_else(|| format!("expected {width} bits as a number or in hexadecimal, not {json}"))?;
    Ok(bits as u64 & (u64::MAX >> (64 - width)))
}

fn bytes(hex: Option<&str>, v: Option<&str>) -> Result<Vec<u8>, String> {
    let expected = || "expected \"hex\": two hexadecimal digits a byte".to_owned();
    let digits = hex.map(Cow::Borrowed).or(v.map(plain)).ok_or_else(expected)?;
    let digits = digits.as_bytes();
    if digits.len() % 2 != 0 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(expected());
    }
    let digit = |digit: u8| (digit as char).to_digit(16).expect("they were checked") as u8;
    Ok(digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}

fn list(v: Option<&str>, depth: usize) -> Result<Vec<JavaValue>, String> {
    let expected = |error: &dyn fmt::Display| format!("expected an array of typed values in \"v\": {error}");
    let values: Vec<Typed<'_>> =
        serde_json::from_str(v.ok_or_else(|| expected(&"there is none"))?).map_err(|error| expected(&error))?;
    values.iter().enumerate().map(|(at, value)| named(at, read(value, depth + 1))).collect()
}

fn pairs(v: Option<&str>, depth: usize) -> Result<Vec<(JavaValue, JavaValue)>, String> {
    let expected = |error: &dyn fmt::Display| format!("expected an array of pairs of typed values in \"v\": {error}");
    let pairs: Vec<(Typed<'_>, Typed<'_>)> =
        serde_json::from_str(v.ok_or_else(|| expected(&"there is none"))?).map_err(|error| expected(&error))?;
    let read = |pair: &(Typed<'_>, Typed<'_>)| Ok((read(&pair.0, depth + 1)?, read(&pair.1, depth + 1)?));
    pairs.iter().enumerate().map(|(at, pair)| named(at, read(pair))).collect()
}

/// The UTF-16 units of a JSON text, in which single surrogates may be escaped.
fn text_units(v: Option<&str>) -> Result<Vec<u16>, String> {
    let json = v.ok_or("expected a text in \"v\"")?;
    if !json.starts_with('"') {
        return Err(format!("expected a text in \"v\", not {json}"));
    }
    let wide: Wide = serde_json::from_str(json).map_err(|error| format!("expected a text in \"v\": {error}"))?;
    Ok(wide.0)
}

struct Wide(Vec<u16>);

impl<'de> Deserialize<'de> for Wide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, serde_json lets single surrogates through, each as the three bytes that UTF-8 would have for it.
        deserializer.deserialize_bytes(WideVisitor).map(Wide)
    }
}

struct WideVisitor;

impl Visitor<'_> for WideVisitor {
    type Value = Vec<u16>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u16>, E> {
        Ok(utf16_units(bytes))
    }
}

/// Of UTF-8 in which surrogates may stand alone, each as three bytes.
fn utf16_units(mut bytes: &[u8]) -> Vec<u16> {
    let mut units = Vec::with_capacity(bytes.len());
    while let Some(&first) = bytes.first() {
        let length = match first {
            0..=0x7f => 1,
            0x80..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        let (head, tail) = bytes.split_at(length.min(bytes.len()));
        let lead = u32::from(first) & (0x7f >> if length == 1 { 0 } else { length });
        let code = head[1..].iter().fold(lead, |code, &byte| code << 6 | u32::from(byte & 0x3f));
        match char::from_u32(code) {
            Some(character) => units.extend_from_slice(character.encode_utf16(&mut [0; 2])),
            None => units.push(code as u16),
        }
        bytes = tail;
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> Result<JavaValue, String> {
        parse_line(&format!("[{json}]")).map(|mut values| values.remove(0))
    }

    #[test]
    fn every_type_is_read_from_numbers_and_texts() {
        let rows = [
            (r#"{"t":"null"}"#, JavaValue::Null),
            (r#"{"t":"null","v":null}"#, JavaValue::Null),
            (r#"{"t":"long","v":"-9223372036854775808"}"#, JavaValue::Long(i64::MIN)),
            (r#"{"t":"long","v":-9223372036854775808}"#, JavaValue::Long(i64::MIN)),
            (r#"{"t":"bool","v":"true"}"#, JavaValue::Bool(true)),
            (r#"{"t":"bool","v":false}"#, JavaValue::Bool(false)),
            (r#"{"t":"char","v":55357}"#, JavaValue::Char(0xd83d)),
            (r#"{"t":"byte","v":-128}"#, JavaValue::Byte(-128)),
            (r#"{"t":"short","v":"32767"}"#, JavaValue::Short(32_767)),
            (r#"{"t":"float","v":0.1}"#, JavaValue::Float(0.1)),
            (r#"{"t":"double","v":"-Infinity"}"#, JavaValue::Double(f64::NEG_INFINITY)),
            (r#"{"t":"double","v":-0.0}"#, JavaValue::Double(-0.0)),
            (r#"{"t":"double","bits":"8000000000000000"}"#, JavaValue::Double(-0.0)),
            (r#"{"t":"double","bits":"-9223372036854775808"}"#, JavaValue::Double(-0.0)),
            (r#"{"t":"double","bits":9223372036854775808}"#, JavaValue::Double(-0.0)),
            (r#"{"t":"float","bits":"0x7fc00001"}"#, JavaValue::Float(f32::NAN)),
            (r#"{"t":"float","bits":1065353216}"#, JavaValue::Float(1.0)),
            (
                r#"{"t":"bigint","v":123456789012345678901234567890}"#,
                JavaValue::Big("123456789012345678901234567890".parse().unwrap()),
            ),
            (r#"{"t":"bytes","hex":"00fF"}"#, JavaValue::Bytes(vec![0, 255])),
            (r#"{"t":"bytes","v":""}"#, JavaValue::Bytes(vec![])),
            (r#"{"t":"list","v":[{"t":"int","v":1}]}"#, JavaValue::List(vec![JavaValue::Int(1)])),
            (
                r#"{"t":"map","v":[[{"t":"null"},{"t":"int","v":"1"}]]}"#,
                JavaValue::map([(JavaValue::Null, JavaValue::Int(1))]),
            ),
        ];
        for (json, expected) in rows {
            assert_eq!(one(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn a_text_may_hold_single_surrogates() {
        let units = |json: &str| one(&format!(r#"{{"t":"string","v":"{json}"}}"#));
        assert_eq!(units(r"\ud83d"), Ok(JavaValue::String(vec![0xd83d])));
        assert_eq!(units(r"\ude00\ud83da"), Ok(JavaValue::String(vec![0xde00, 0xd83d, 0x61])));
        assert_eq!(units(r"\ud83d\ude00 na\u00efve \n"), Ok(JavaValue::text("\u{1f600} na\u{ef}ve \n")));
        assert_eq!(units("\u{1f600}\u{ef}\u{ffff}"), Ok(JavaValue::text("\u{1f600}\u{ef}\u{ffff}")));
    }

    #[test]
    fn what_is_wrong_says_what_was_expected() {
        let rows = [
            (r#"{"t":"string","v":1}"#, "value 1: expected a text in \"v\", not 1"),
            (r#"{"t":"word","v":1}"#, "value 1: expected a type (string,"),
            (r#"{"t":"int","v":1.0}"#, "value 1: expected an int"),
            (r#"{"t":"int"}"#, "value 1: expected an int (from -2147483648 to 2147483647) in \"v\""),
            (r#"{"t":"bytes","hex":"0"}"#, "value 1: expected \"hex\": two hexadecimal digits a byte"),
            (r#"{"t":"float","bits":4294967296}"#, "value 1: expected 32 bits"),
            (r#"{"t":"int","v":1,"bits":1}"#, "value 1: a value of type \"int\" has no \"bits\""),
            (r#"{"v":1}"#, "expected a JSON array of typed values"),
            (r#"{"t":"list","v":[{"t":"int","v":"x"}]}"#, "value 1: value 1: expected an int"),
        ];
        for (json, expected) in rows {
            let error = one(json).unwrap_err();
            assert!(error.starts_with(expected), "{json}: {error}");
        }
        let deep = r#"{"t":"list","v":["#.repeat(5_000) + &"]}".repeat(5_000);
        assert!(one(&deep).unwrap_err().contains("deep"), "{}", one(&deep).unwrap_err().len());
    }
}
