//! `${}`: properties, the environment, and where they go.

use std::collections::BTreeMap;

use super::source::{Line, Replacement, Span, Text, with_newlines};
use crate::error::Problem;

/// The value of a property, and where its file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Property {
    pub value: String,
    pub place: String,
}

/// What `${}` is replaced by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Substitution {
    /// `${name}`.
    pub properties: BTreeMap<String, Property>,
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
enum Found {
    Value {
        value: String,
        source: String,
    },
    /// Left as it is, with what to say about it.
    Missing(String),
}

impl Substitution {
    /// Replaces every `${}` of a text. What has no value stays as it is, and is told, except in comments.
    pub fn apply(&self, text: &Text) -> (Text, Vec<Problem>) {
        let (mut out, mut moved, mut missing) = (String::with_capacity(text.text.len()), Vec::new(), Vec::new());
        let mut replacements = Vec::new();
        for (number, line) in text.text.split('\n').enumerate() {
            if number > 0 {
                out.push('\n');
            }
            if line.contains("${") {
                self.line((text, number, line), &mut out, &mut moved, &mut replacements, &mut missing);
            } else {
                out.push_str(line);
                // Once a value has brought a line of its own, all that follow have moved.
                let is_moved = moved.len() != number;
                moved.push(is_moved.then(|| Line { original: number, spans: vec![same(0, 0)] }));
            }
        }
        (Text::replaced(text.name.clone(), out, moved, replacements), missing)
    }

    fn line(
        &self,
        (text, number, line): (&Text, usize, &str),
        out: &mut String,
        moved: &mut Vec<Option<Line>>,
        replacements: &mut Vec<Replacement>,
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
                Found::Value { value, source } => {
                    let is_quoted = before.ends_with(['"', '\'']);
                    replacements.push(Replacement {
                        place: text.place(number, original - usize::from(is_quoted)),
                        reference: rest[start..=end].to_owned(),
                        value: value.clone(),
                        source: source.clone(),
                    });
                    value.as_str()
                }
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

    fn look_up(&self, name: &str) -> Found {
        if let (Some(variable), Some(environment)) = (name.strip_prefix("ENV-"), &self.environment) {
            return environment.get(variable).map_or_else(
                || Found::Missing(format!("the environment has no variable {variable}; ${{{name}}} stays as it is")),
                |value| Found::Value { value: value.clone(), source: format!("the environment variable {variable}") },
            );
        }
        if let Some(property) = self.properties.get(name) {
            return Found::Value { value: property.value.clone(), source: source(name, property) };
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
    fn element(&self, name: &str, list: &str, index: &str) -> Found {
        let missing = |why: String| {
            Found::Missing(format!("nothing to put in the place of ${{{name}}}: {why}; it stays as it is"))
        };
        let Some(property) = self.properties.get(list) else {
            return missing(match self.has_filter {
                true => format!("the properties file has no {list}"),
                false => "give a properties file by --filter".to_owned(),
            });
        };
        let source = source(list, property);
        let Ok(index) = index.trim().parse::<usize>() else {
            return missing(format!("expected an index from 0, not {index}"));
        };
        let inner = property.value.trim().strip_prefix('[').and_then(|value| value.strip_suffix(']'));
        let Some(inner) = inner else {
            return missing(format!("{source} is no list such as [\"a\", \"b\"]"));
        };
        let elements = elements(inner);
        match elements.get(index) {
            Some(element) => Found::Value { value: (*element).to_owned(), source },
            None => missing(format!("{source} has {} elements, counted from 0", elements.len())),
        }
    }
}

fn source(name: &str, property: &Property) -> String {
    format!("the property {name} at {}", property.place)
}

/// What stands between the brackets of a list: elements in quotes, in which commas are text, or as they are.
fn elements(inner: &str) -> Vec<&str> {
    let (mut elements, mut rest) = (Vec::new(), inner.trim());
    while !rest.is_empty() {
        let (element, after) = quoted(rest).unwrap_or_else(|| {
            let (element, after) = rest.split_once(',').unwrap_or((rest, ""));
            (element.trim(), after)
        });
        elements.push(element);
        rest = after.trim();
    }
    elements
}

/// An element in quotes, and what comes after its comma. Its end is the first quote before a comma or the end.
fn quoted(rest: &str) -> Option<(&str, &str)> {
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let content = &rest[1..];
    content.match_indices(quote).find_map(|(end, _)| {
        let after = content[end + 1..].trim_start();
        let after = if after.is_empty() { after } else { after.strip_prefix(',')? };
        Some((&content[..end], after))
    })
}

/// A properties file of Java: `key=value`, `key: value` or `key value` on lines, comments after `#` or `!`, lines that
/// go on after `\`, escapes such as `\n` and `\u00e9`.
pub(crate) fn parse_properties(text: &str, file: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, Property> {
    let mut properties = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1 {
            line.pop();
            match lines.next() {
                Some((_, next)) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split_property(&line);
        let place = format!("{file}:{}", number + 1);
        match (unescaped(key), unescaped(value)) {
            (Some(key), Some(value)) => {
                properties.insert(key, Property { value, place });
            }
            _ => problems.push(Problem::new(
                place,
                format!("the property {key} has a \\u that no four hexadecimal digits of a character follow"),
            )),
        }
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

/// None if a `\u` is not as it should be.
fn unescaped(text: &str) -> Option<String> {
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
                    let digits = characters.as_str().get(..4)?;
                    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                        return None;
                    }
                    units.push(u16::from_str_radix(digits, 16).ok()?);
                    characters = characters.as_str()[4..].chars();
                    continue;
                }
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend_from_slice(unit.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}
