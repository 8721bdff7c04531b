//! What a fuzzer calls, with any bytes: the readers of Flux files and of what multilang children write. Each panics
//! where a property does not hold. `tools/fuzz` runs them for long, with coverage to go by; the tests here briefly.

use std::io::{self, Read};
use std::path::Path;

use super::flux::Flux;
use super::shell::Serializer;
use super::shell::framing::{Incoming, NoMessage};
use super::shell::json;
use super::shell::protocol::{FromChild, decode, encode};
use super::shell::value::{Read as ReadValue, Written};
use super::yaml::{Content, Node, Property, Substitution, Text, parse};
use crate::task::dynamic::Value;

#[cfg(test)]
mod tests;

/// A reader, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// The readers.
pub const TARGETS: [Target; 3] =
    [("flux", flux), ("multilang_json", multilang_json), ("multilang_msgpack", multilang_msgpack)];

/// A Flux file: it ends in a topology or in problems, and every place is within the file.
pub fn flux(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let properties = [("x", "1"), ("list", "[\"a\", \"b\"]"), ("two", "- a\n- b")];
    let property = |value: &str| Property { value: value.to_owned(), place: "p.properties:1".to_owned() };
    let properties = properties.map(|(name, value)| (name.to_owned(), property(value))).into();
    let substitution = Substitution { properties, environment: Some([].into()), has_filter: true };
    let text = Text::new("t.yaml", text);
    let lines = text.text.split('\n').count();
    let (text, _) = substitution.apply(&text);
    if let Ok(root) = parse(&text) {
        check_places(&root, lines);
    }
    let flux = Flux::of_text(&text, Path::new("t.yaml"));
    let problems = flux.problems();
    assert!(problems.iter().all(|problem| problem.place.starts_with("t.yaml")), "{problems:?}");
    let is_fine = problems.is_empty();
    let outcome = flux.topology();
    assert!(is_fine || outcome.is_err(), "a topology in spite of {problems:?}");
}

fn check_places(node: &Node, lines: usize) {
    assert!((1..=lines).contains(&node.place.line), "{} of {lines} lines", node.place);
    match &node.content {
        Content::List(values) => values.iter().for_each(|value| check_places(value, lines)),
        Content::Map(entries) => entries.iter().for_each(|(key, value)| {
            check_places(key, lines);
            check_places(value, lines);
        }),
        _ => {}
    }
}

/// What a child writes that speaks JSON.
pub fn multilang_json(bytes: &[u8]) {
    multilang(bytes, Serializer::Json);
}

/// What a child writes that speaks MessagePack.
pub fn multilang_msgpack(bytes: &[u8]) {
    multilang(bytes, Serializer::MsgPack);
}

/// The first byte says in what pieces the others come: they must not matter.
fn multilang(bytes: &[u8], serializer: Serializer) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let (whole, end) = messages(bytes, usize::MAX, serializer);
    let (pieces, pieces_end) = messages(bytes, 1 + usize::from(*size), serializer);
    assert_eq!(whole, pieces, "in pieces of {}", 1 + size);
    assert_eq!(format!("{end:?}"), format!("{pieces_end:?}"), "in pieces of {}", 1 + size);
    for message in &whole {
        if let Ok(FromChild::Emit(emit)) = decode(message, serializer) {
            emit.values.iter().for_each(|value| survives(value, serializer));
        }
    }
}

/// All messages in these bytes, and how they end.
fn messages(bytes: &[u8], size: usize, serializer: Serializer) -> (Vec<Vec<u8>>, NoMessage) {
    let mut incoming = Incoming::new(Pieces { bytes, size }, serializer);
    let mut all = Vec::new();
    loop {
        match incoming.next() {
            Ok(message) => all.push(message.to_vec()),
            Err(end) => return (all, end),
        }
    }
}

/// Gives out bytes in pieces.
struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(into.len()).min(self.bytes.len());
        let (piece, rest) = self.bytes.split_at(size);
        into[..size].copy_from_slice(piece);
        self.bytes = rest;
        Ok(size)
    }
}

/// What has been read is read again from what is written of it; a decimal may have become a float by that.
fn survives(value: &Value, serializer: Serializer) {
    let once = again(value, serializer);
    // Not a number is not equal to itself.
    assert_eq!(write(&again(&once, serializer), serializer), write(&once, serializer), "of {value:?}");
}

fn again(value: &Value, serializer: Serializer) -> Value {
    let written = write(value, serializer);
    let again: Option<ReadValue> = match serializer {
        Serializer::Json => json::read(&written[..written.len() - b"\nend\n".len()]).ok().map(ReadValue),
        Serializer::MsgPack => rmp_serde::from_slice(&written).ok(),
    };
    again.unwrap_or_else(|| panic!("{value:?} is written as {written:?}, which cannot be read")).0
}

fn write(value: &Value, serializer: Serializer) -> Vec<u8> {
    let mut written = Vec::new();
    encode(&Written(value), serializer, &mut written);
    written
}
