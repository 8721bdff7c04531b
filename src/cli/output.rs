//! Printing: what was asked for on standard output, problems on standard error.

use crate::error::Error;
pub(super) use crate::observe::{note, print};

/// Exit codes; see the page of `cli`.
pub(super) const DONE: u8 = 0;
pub(super) const FAILED: u8 = 1;
pub(super) const BAD_USAGE: u8 = 2;

/// Prints an error, each of its problems on a line of its own.
pub(super) fn complain(place: &str, error: &Error) {
    if error.problems().is_empty() {
        return note(format_args!("error: {place}: {}", one_line(&error.to_string())));
    }
    for problem in error.problems() {
        note(format_args!("error: {}", one_line(&problem.to_string())));
    }
}

fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        assert_eq!(one_line("expected:\n\n  a number\n  or a text"), "expected: a number; or a text");
    }
}
