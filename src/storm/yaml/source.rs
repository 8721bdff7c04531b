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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 0.
    pub original: usize,
    /// Columns of this line, and those of the original line from where on the two run in parallel.
    pub spans: Vec<(usize, usize)>,
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
                let before = moved.spans.partition_point(|&(from, _)| from <= column);
                let column = match moved.spans.get(before.wrapping_sub(1)) {
                    // Within a replaced part, which ends where the next span begins.
                    Some(&(from, original)) => match moved.spans.get(before) {
                        Some(&(_, next)) => (original + column - from).min(next.max(original)),
                        None => original + column - from,
                    },
                    None => column,
                };
                at(moved.original, column)
            }
            _ => at(line, column),
        }
    }
}
