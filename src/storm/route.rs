//! `storm route`: where Storm sends keys, for typed values from lines of JSON.
//!
//! One array of typed values per line: `[{"t":"string","v":"the"},{"t":"long","v":"-1"}]`.
//!
//! | `t` | value |
//! | --- | --- |
//! | `string` | `v`, a text; `\ud83d` alone is a single surrogate |
//! | `int`, `long`, `byte`, `short`, `bigint` | `v`, a number or its digits as a text |
//! | `bool` | `v`, true or false |
//! | `char` | `v`, the UTF-16 code unit as a number |
//! | `double`, `float` | `v`, a number, or a text such as `NaN` and `-Infinity`; or `bits` |
//! | `null` | |
//! | `bytes` | `hex`, two digits a byte |
//! | `list` | `v`, an array of typed values |
//! | `map` | `v`, an array of pairs of typed values, put one after another |
//!
//! `bits` are the raw bits: a number, its digits as a text, or hexadecimal digits in a text, with `0x` before them or
//! exactly 16 (for a `float` 8) of them.

mod typed;

use std::io::{BufRead, Write};

use crate::error::{Error, Result};
use crate::storm::grouping::{PartialKey, fields_index, partial_key_bytes};
use crate::storm::java::JavaValue;

pub use typed::parse_line;

/// The groupings that choose by Java's hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Fields grouping.
    Fields,
    /// Partial key grouping with fields; one instance sees all keys.
    PartialKey,
}

/// Writes for every line of values the index of the task, from 0, that gets a tuple with them.
///
/// # Errors
/// At the first line that is not as it should be, with its number and what was expected; what came before is written.
pub fn route(by: By, tasks: usize, mut lines: impl BufRead, out: &mut impl Write) -> Result<()> {
    let mut partial_key = PartialKey::new(tasks);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(|error| Error::io("reading the values", &error))?;
        if read == 0 {
            break;
        }
        let index = std::str::from_utf8(&line)
            .map_err(|error| format!("expected UTF-8: {error}"))
            .and_then(|line| parse_line(line.trim()))
            .and_then(|values| match by {
                By::Fields => portable(&values, false).map(|()| fields_index(&values, tasks)),
                By::PartialKey => portable(&values, true).map(|()| {
                    let key: Vec<u8> = partial_key_bytes(values.iter().map(JavaValue::java_hash)).collect();
                    partial_key.choose(&key)
                }),
            });
        match index {
            Ok(index) => writeln!(out, "{index}").map_err(|error| Error::io("writing the indices", &error))?,
            Err(message) => {
                out.flush().map_err(|error| Error::io("writing the indices", &error))?;
                return Err(Error::usage(format!("line {number}"), message));
            }
        }
    }
    out.flush().map_err(|error| Error::io("writing the indices", &error))
}

/// Refuses values whose hash differs from one JVM to the next. Partial key grouping looks into a list itself, and so
/// sees the content of byte strings there.
fn portable(values: &[JavaValue], is_partial_key: bool) -> Result<(), String> {
    if is_partial_key && values.is_empty() {
        return Err("expected at least one value: partial key grouping sends an empty tuple nowhere".to_owned());
    }
    let inner = |value: &JavaValue| match value {
        JavaValue::Bytes(_) => false,
        JavaValue::List(values) if is_partial_key => {
            values.iter().any(|value| !matches!(value, JavaValue::Bytes(_)) && value.holds_bytes())
        }
        value => value.holds_bytes(),
    };
    match values.iter().any(inner) {
        true => Err("bytes inside a list or map: Java hashes them by their address, so Storm's choice differs from \
                     run to run"
            .to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(by: By, tasks: usize, lines: &str) -> Result<String, String> {
        let mut out = Vec::new();
        route(by, tasks, lines.as_bytes(), &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap().replace('\n', " "))
    }

    #[test]
    fn every_line_gets_its_task() {
        let lines =
            "[{\"t\":\"string\",\"v\":\"nathan\"}]\n[{\"t\":\"string\",\"v\":\"a\"},{\"t\":\"long\",\"v\":1}]\r\n[]";
        assert_eq!(routed(By::Fields, 4, lines).unwrap(), "3 1 1 ");
        let nathan = "[{\"v\":\"nathan\",\"t\":\"string\"}]\n".repeat(3);
        assert_eq!(routed(By::PartialKey, 5, &nathan).unwrap(), "2 1 2 ");
    }

    #[test]
    fn a_bad_line_is_named() {
        let bad = |line: &str| routed(By::Fields, 4, &format!("[{{\"t\":\"null\"}}]\n{line}\n")).unwrap_err();
        assert!(bad("").starts_with("line 2: expected a JSON array of typed values"), "{}", bad(""));
        let error = bad(r#"[{"t":"int","v":"2147483648"}]"#);
        assert_eq!(error, "line 2: value 1: expected an int (from -2147483648 to 2147483647), not \"2147483648\"");
        assert!(bad(r#"[{"t":"list","v":[{"t":"bytes","hex":"00"}]}]"#).contains("by their address"));
        assert!(routed(By::PartialKey, 4, "[]").unwrap_err().contains("at least one value"));
        assert!(routed(By::PartialKey, 4, r#"[{"t":"list","v":[{"t":"bytes","hex":"00"}]}]"#).is_ok());
    }
}
