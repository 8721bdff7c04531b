//! [`Text`]: a file's text after `${}` was replaced, that still knows where everything stood.

use std::borrow::Cow;
use std::sync::Arc;

use super::node::Place;

/// The text of one file. Replaced parts have the place of the `${}` they came from.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub name: Arc<str>,
    pub text: String,
    lines: usize,
    /// Where each line of `text` came from, for those that are not what they were.
    moved: Vec<Option<Line>>,
    /// What has come into it by `${}`.
    pub replacements: Vec<Replacement>,
}

/// What stands in the place of a `${}`.
#[derive(Clone, Debug)]
pub(crate) struct Replacement {
    /// Where the `${}` is; or the quote directly before it, where the value of which it is the beginning begins.
    pub place: Place,
    /// The `${}` itself.
    pub reference: String,
    /// What it is replaced by.
    pub value: String,
    /// Where that comes from.
    pub source: String,
}

/// A part of a line, from this column on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub column: usize,
    /// Where it begins in the original line.
    pub original: usize,
    /// It stands in the place of what was there.
    pub is_replaced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 0.
    pub original: usize,
    /// Where its parts begin, in order.
    pub spans: Vec<Span>,
}

impl Text {
    /// A text as it stands.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<String>) -> Self {
        let text = text.into();
        // A byte order mark is no content.
        let content = text.strip_prefix('\u{feff}').unwrap_or(&text);
        Self::replaced(name.into(), with_newlines(content).into_owned(), Vec::new(), Vec::new())
    }

    pub(super) fn replaced(
        name: Arc<str>,
        text: String,
        moved: Vec<Option<Line>>,
        replacements: Vec<Replacement>,
    ) -> Self {
        let lines = text.split('\n').count();
        Text { name, text, lines, moved, replacements }
    }

    /// The place in the file of a line and column, both from 0, of the text.
    pub fn place(&self, line: usize, column: usize) -> Place {
        // The parser sees the end of a file behind its last line.
        let (line, column) = if line < self.lines { (line, column) } else { (self.lines - 1, 0) };
        let at = |line: usize, column: usize| Place { file: self.name.clone(), line: line + 1, column: column + 1 };
        match self.moved.get(line) {
            Some(Some(moved)) => {
                let before = moved.spans.partition_point(|span| span.column <= column);
                let column = match moved.spans[..before].last() {
                    Some(span) if span.is_replaced => span.original,
                    Some(span) => span.original + column - span.column,
                    None => column,
                };
                at(moved.original, column)
            }
            _ => at(line, column),
        }
    }
}

/// A text whose lines all end in `\n`. YAML, like Java's readers, also takes `\r` and `\r\n` for the end of a line.
pub(super) fn with_newlines(text: &str) -> Cow<'_, str> {
    match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n").into(),
        false => text.into(),
    }
}
