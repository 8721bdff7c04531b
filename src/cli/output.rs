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
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        assert_eq!(one_line("expected:\n\n  a number\n"), "expected:; a number");
    }
}
