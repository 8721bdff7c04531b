//! JSON as Storm's reader takes it, which is more than the standard allows: what a child writes may hold control
//! characters inside texts, single surrogates, `NaN` and infinities, and integers of any size.
//!
//! | written | becomes |
//! | --- | --- |
//! | an integer | an `Int32`, an `Int` or a `Big`, whichever is the first it fits in; −0 is 0 |
//! | a number with a point or an exponent | a `Float`; of more than 18 characters a `Decimal`: no digit is lost |
//! | a text with a single surrogate | a `Utf16` |

use std::sync::Arc;

use memchr::memchr2;
use num_bigint::BigInt;

use crate::task::dynamic::{Map, Value};

/// Lists and objects inside one another, the message itself included: Storm's reader takes no more.
const DEPTH_MAX: usize = 400;

/// Characters of the longest number written with a point or exponent that is a float.
const FLOAT_CHARS_MAX: usize = 18;

/// Digits of the longest integer: reading one takes the square of its length.
const DIGITS_MAX: usize = 100_000;

/// Reads one value, and nothing after it.
///
/// # Errors
/// What was expected, and at which byte.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let value = reader.value()?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.expected("nothing more")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn expected(&self, what: &str) -> String {
        format!("expected {what} at byte {}", self.at)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let takes = self.peek() == Some(byte);
        self.at += usize::from(takes);
        takes
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.peek() {
            Some(b'"') => self.text(),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'-') if self.bytes[self.at..].starts_with(b"-I") => {
                self.word("-Infinity", Value::Float(f64::NEG_INFINITY))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'N') => self.word("NaN", Value::Float(f64::NAN)),
            Some(b'I') => self.word("Infinity", Value::Float(f64::INFINITY)),
            _ => Err(self.expected("a value")),
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Value, String>) -> Result<Value, String> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("lists and objects more than {DEPTH_MAX} deep"));
        }
        let value = inside(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, String> {
        let mut values = Vec::new();
        if self.takes(b']') {
            return Ok(Value::from(values));
        }
        loop {
            values.push(self.value()?);
            if self.takes(b']') {
                return Ok(Value::from(values));
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    /// Of several values of one name the last stays.
    fn object(&mut self) -> Result<Value, String> {
        let mut entries = Map::new();
        if self.takes(b'}') {
            return Ok(Value::Map(Arc::new(entries)));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a name in quotes"));
            }
            let Value::String(name) = self.text()? else {
                return Err(format!("a name with a single surrogate before byte {}", self.at));
            };
            if !self.takes(b':') {
                return Err(self.expected("`:`"));
            }
            let value = self.value()?;
            entries.insert(name, value);
            if self.takes(b'}') {
                return Ok(Value::Map(Arc::new(entries)));
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        self.at += usize::from(self.bytes[self.at] == b'-');
        let digits = self.digits();
        if digits == 0 {
            return Err(self.expected("a digit"));
        }
        let mut is_whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits();
            is_whole = false;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
            is_whole = false;
        }
        // Digits, points and signs are ASCII.
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        if text.len() > DIGITS_MAX {
            return Err(format!("a number of more than {DIGITS_MAX} digits"));
        }
        let bad = || format!("a number that cannot be read before byte {}", self.at);
        match (is_whole, text.len() > FLOAT_CHARS_MAX) {
            (true, _) => match text.parse::<i64>() {
                Ok(value) => Ok(integer(value)),
                Err(_) => text.parse::<BigInt>().map(Value::integer).map_err(|_| bad()),
            },
            (false, true) => text.parse().map(|value| Value::Decimal(Arc::new(value))).map_err(|_| bad()),
            (false, false) => text.parse().map(Value::Float).map_err(|_| bad()),
        }
    }

    fn text(&mut self) -> Result<Value, String> {
        self.at += 1;
        let mut text = String::new();
        // Once a surrogate without its pair has come: UTF-16, since no `String` can have it.
        let mut units: Option<Vec<u16>> = None;
        loop {
            let length =
                memchr2(b'"', b'\\', &self.bytes[self.at..]).ok_or_else(|| self.expected("the end of a text"))?;
            let plain = &self.bytes[self.at..self.at + length];
            let plain = std::str::from_utf8(plain).map_err(|_| self.expected("UTF-8"))?;
            let ends = self.bytes[self.at + length] == b'"';
            self.at += length + 1;
            if ends && units.is_none() && text.is_empty() {
                return Ok(Value::from(plain));
            }
            push(&mut text, &mut units, plain);
            if ends {
                return Ok(units.map_or_else(|| Value::from(text), |units| Value::Utf16(units.into())));
            }
            let unit = self.escape()?;
            let second = if (0xd800..0xdc00).contains(&unit) { self.low_surrogate() } else { None };
            match char::decode_utf16([Some(unit), second].into_iter().flatten()).next() {
                Some(Ok(character)) => push(&mut text, &mut units, character.encode_utf8(&mut [0; 4])),
                _ => units.get_or_insert_with(|| text.encode_utf16().collect()).push(unit),
            }
        }
    }

    /// The code unit that an escape behind its backslash stands for.
    fn escape(&mut self) -> Result<u16, String> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        Ok(u16::from(match byte {
            Some(byte @ (b'"' | b'\\' | b'/' | b'\'')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.hex().ok_or_else(|| self.expected("four hexadecimal digits")),
            _ => return Err(format!("an unknown escape before byte {}", self.at)),
        }))
    }

    fn hex(&mut self) -> Option<u16> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let unit = digits.iter().try_fold(0, |unit, byte| Some(unit << 4 | digit(byte)?))?;
        self.at += 4;
        Some(unit as u16)
    }

    /// The second half of a pair, if it follows.
    fn low_surrogate(&mut self) -> Option<u16> {
        let start = self.at;
        if self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            if let Some(unit) = self.hex().filter(|unit| (0xdc00..0xe000).contains(unit)) {
                return Some(unit);
            }
        }
        self.at = start;
        None
    }
}

fn push(text: &mut String, units: &mut Option<Vec<u16>>, piece: &str) {
    match units {
        Some(units) => units.extend(piece.encode_utf16()),
        None => text.push_str(piece),
    }
}

/// An integer as Storm's JSON reader types it.
pub(super) fn integer(value: i64) -> Value {
    i32::try_from(value).map_or(Value::Int(value), Value::Int32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match read(text.as_bytes()) {
            Ok(value) => format!("{:?} {value}", value.kind()),
            Err(what) => what,
        }
    }

    /// What Storm's own reader makes of these, found by asking it (json-smart 2.5.2, as Storm 2.8.3 has it). It reads
    /// infinities as texts, which no child can mean.
    #[test]
    fn numbers_and_texts_are_read_as_storm_reads_them() {
        let all = [
            ("-0", "Int 0"),
            ("-0.0", "Float -0.0"),
            ("0.1e1", "Float 1.0"),
            ("1E5", "Float 100000.0"),
            ("1e400", "Float inf"),
            ("1.", "Float 1.0"),
            ("007", "Int 7"),
            ("NaN", "Float NaN"),
            ("-Infinity", "Float -inf"),
            ("9223372036854775807", "Int 9223372036854775807"),
            ("9223372036854775808", "Big 9223372036854775808"),
            ("18446744073709551617", "Big 18446744073709551617"),
            ("-9223372036854775809", "Big -9223372036854775809"),
            ("0.3000000000000000", "Float 0.3"),
            ("0.30000000000000004441", "Decimal 0.30000000000000004441"),
            ("0.12345678901234567", "Decimal 0.12345678901234567"),
            ("123456789012345678901234567890.5", "Decimal 123456789012345678901234567890.5"),
            ("\"\\ud83e\"", "Utf16 \"\u{fffd}\""),
            ("\"x\\udd80\\ud83e\\udd80\"", "Utf16 \"x\u{fffd}🦀\""),
            ("\"\\ud83e\\udd80\"", "String \"🦀\""),
            ("\"a\tb\u{1}\"", "String \"a\\tb\\u{1}\""),
            ("{\"a\":1,\"a\":2}", "Map {\"a\": 2}"),
        ];
        for (text, expected) in all {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert!(matches!(read(b"2147483647"), Ok(Value::Int32(i32::MAX))));
        assert!(matches!(read(b"2147483648"), Ok(Value::Int(_))));
    }

    #[test]
    fn lists_may_be_as_deep_as_storm_takes_them() {
        let deep = |levels: usize| read(("[".repeat(levels) + &"]".repeat(levels)).as_bytes());
        assert!(deep(400).is_ok());
        assert_eq!(deep(401).unwrap_err(), "lists and objects more than 400 deep");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let all = [
            ("", "expected a value at byte 0"),
            ("Traceback", "expected a value at byte 0"),
            ("{\"a\" 1}", "expected `:` at byte 5"),
            ("[1 2]", "expected `,` or `]` at byte 3"),
            ("{1:2}", "expected a name in quotes at byte 1"),
            ("[1]x", "expected nothing more at byte 3"),
            ("\"abc", "expected the end of a text at byte 1"),
            ("\"\\x\"", "an unknown escape before byte 3"),
            ("\"\\u12\"", "expected four hexadecimal digits at byte 3"),
            ("-", "expected a digit at byte 1"),
            ("1e", "expected a digit at byte 2"),
            ("{\"\\ud83e\":1}", "a name with a single surrogate before byte 9"),
        ];
        for (text, expected) in all {
            assert_eq!(read(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        assert_eq!(read(b"\"\xff\"").unwrap_err(), "expected UTF-8 at byte 1");
        assert!(read("1".repeat(DIGITS_MAX + 1).as_bytes()).unwrap_err().contains("digits"));
    }
}
