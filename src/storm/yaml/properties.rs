//! `${}`: properties, the environment, and where they go.

use std::collections::BTreeMap;

use super::source::{Line, Span, Text, with_newlines};
use crate::error::Problem;

/// What `${}` is replaced by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Substitution {
    /// `${name}`.
    pub properties: BTreeMap<String, String>,
    /// `${ENV-NAME}`; none if the environment is not to be used.
    pub environment: Option<BTreeMap<String, String>>,
    /// Said where something is missing: how to give it.
    pub has_filter: bool,
}

fn same(column: usize, original: usize) -> Span {
    Span { column, original, is_replaced: false }
}

fn replaced(column: usize, original: usize) -> Span {
    Span { column, original, is_replaced: true }
}

/// What stands in the place of a `${}`.
enum Found<'t> {
    Value(&'t str),
    Owned(String),
    /// Left as it is, with what to say about it.
    Missing(String),
}

impl Substitution {
    /// Replaces every `${}` of a text. What has no value stays as it is, and is told, except in comments.
    pub fn apply(&self, text: &Text) -> (Text, Vec<Problem>) {
        let (mut out, mut moved, mut missing) = (String::with_capacity(text.text.len()), Vec::new(), Vec::new());
        for (number, line) in text.text.split('\n').enumerate() {
            if number > 0 {
                out.push('\n');
            }
            if line.contains("${") {
                self.line(text, number, line, &mut out, &mut moved, &mut missing);
            } else {
                out.push_str(line);
                // Once a value has brought a line of its own, all that follow have moved.
                let is_moved = moved.len() != number;
                moved.push(is_moved.then(|| Line { original: number, spans: vec![same(0, 0)] }));
            }
        }
        (Text::replaced(text.name.clone(), out, moved), missing)
    }

    fn line(
        &self,
        text: &Text,
        number: usize,
        line: &str,
        out: &mut String,
        moved: &mut Vec<Option<Line>>,
        missing: &mut Vec<Problem>,
    ) {
        let is_comment = line.trim_start().starts_with('#');
        let width = |part: &str| part.chars().count();
        let mut made = Line { original: number, spans: vec![same(0, 0)] };
        let (mut column, mut original, mut rest) = (0, 0, line);
        while let Some(start) = rest.find("${") {
            let Some(end) = rest[start..].find('}').map(|end| start + end) else { break };
            let (before, name) = (&rest[..start], &rest[start + 2..end]);
            out.push_str(before);
            column += width(before);
            original += width(before);
            let found = self.look_up(name);
            let value = match &found {
                Found::Value(value) => value,
                Found::Owned(value) => value.as_str(),
                Found::Missing(message) => {
                    if !is_comment {
                        missing.push(Problem::new(text.place(number, original).to_string(), message.clone()));
                    }
                    &rest[start..=end]
                }
            };
            made.spans.push(replaced(column, original));
            for (at, part) in with_newlines(value).split('\n').enumerate() {
                if at > 0 {
                    out.push('\n');
                    let next = Line { original: number, spans: vec![replaced(0, original)] };
                    moved.push(Some(std::mem::replace(&mut made, next)));
                    column = 0;
                }
                out.push_str(part);
                column += width(part);
            }
            original += width(&rest[start..=end]);
            made.spans.push(same(column, original));
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
        moved.push(Some(made));
    }

    fn look_up(&self, name: &str) -> Found<'_> {
        if let (Some(variable), Some(environment)) = (name.strip_prefix("ENV-"), &self.environment) {
            return environment.get(variable).map_or_else(
                || Found::Missing(format!("the environment has no variable {variable}; ${{{name}}} stays as it is")),
                |value| Found::Value(value),
            );
        }
        if let Some(value) = self.properties.get(name) {
            return Found::Value(value);
        }
        if let Some((list, index)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            return self.element(name, list, index);
        }
        let remedy = match (name.starts_with("ENV-") && self.environment.is_none(), self.has_filter) {
            (true, _) => "give --env-filter to take it from the environment",
            (_, true) => "the properties file does not have it",
            (_, false) => "give a properties file by --filter",
        };
        Found::Missing(format!("nothing to put in the place of ${{{name}}}: {remedy}; it stays as it is"))
    }

    /// An element of a property such as `["a", "b"]`.
    fn element(&self, name: &str, list: &str, index: &str) -> Found<'_> {
        let missing = |why: &str| Found::Missing(format!("nothing to put in the place of ${{{name}}}: {why}"));
        let Some(value) = self.properties.get(list) else {
            return missing(&format!("there is no property {list}"));
        };
        let inner = value.trim().strip_prefix('[').and_then(|value| value.strip_suffix(']'));
        let (Some(inner), Ok(index)) = (inner, index.trim().parse::<usize>()) else {
            return missing("expected a property that is a list such as [\"a\", \"b\"], and an index from 0");
        };
        match inner.split(',').nth(index) {
            Some(element) => {
                let element = element.trim();
                let quoted = ['"', '\''].into_iter().find_map(|quote| element.strip_prefix(quote)?.strip_suffix(quote));
                Found::Owned(quoted.unwrap_or(element).to_owned())
            }
            None => missing("the list has no such element"),
        }
    }
}

/// A properties file of Java: `key=value`, `key: value` or `key value` on lines, comments after `#` or `!`, lines that
/// go on after `\`, escapes such as `\n` and `\u00e9`.
pub(crate) fn parse_properties(text: &str) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(first) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1 {
            line.pop();
            match lines.next() {
                Some(next) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split_property(&line);
        properties.insert(unescaped(key), unescaped(value));
    }
    properties
}

/// The key ends at the first separator that is not escaped; white space around `=` or `:` belongs to neither.
fn split_property(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    for (at, character) in line.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if matches!(character, '=' | ':' | ' ' | '\t' | '\x0c') {
            let rest = line[at..].trim_start_matches([' ', '\t', '\x0c']);
            let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], value.trim_start_matches([' ', '\t', '\x0c']));
        }
    }
    (line, "")
}

fn unescaped(text: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let unit = match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits = characters.as_str().get(..4).unwrap_or("");
                    if let Ok(unit) = u16::from_str_radix(digits, 16) {
                        units.push(unit);
                        characters = characters.as_str()[4..].chars();
                    }
                    continue;
                }
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend_from_slice(unit.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}
