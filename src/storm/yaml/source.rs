//! [`Text`]: a file's text after `${}` was replaced, that still knows where everything stood.

use std::sync::Arc;

use super::node::Place;

/// The text of one file. Replaced parts have the place of the `${}` they came from.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub name: Arc<str>,
    pub text: String,
    /// Where each line of `text` came from, for those that are not what they were.
    moved: Vec<Option<Line>>,
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
        // A byte order mark is no content.
        let text = text.into();
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Text { name: name.into(), text, moved: Vec::new() }
    }

    pub(super) fn replaced(name: Arc<str>, text: String, moved: Vec<Option<Line>>) -> Self {
        Text { name, text, moved }
    }

    /// The place in the file of a line and column, both from 0, of the text.
    pub fn place(&self, line: usize, column: usize) -> Place {
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
