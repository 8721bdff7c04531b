//! Printing: what was asked for on standard output, problems on standard error.

use crate::error::Error;
use crate::observe::END_WAIT;
pub(super) use crate::observe::{note, print, print_at_end};

/// Exit codes; see the page of `cli`, and [`EXIT_CODES`] for the others.
pub(super) const DONE: u8 = 0;
pub(super) const FAILED: u8 = 1;
pub(super) const BAD_USAGE: u8 = 2;

/// All exit codes, for `--help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed while running, in a state that is named, or could not write what was asked for; 2 bad \
usage, settings, topology or stored state, nothing was started; 3 done, with dead letters that nobody took; 4 inputs \
unaccounted for, a bug of squall; 130 and 143 ended by a second signal.";

/// Lets what was said be read, for a moment.
pub(super) fn flush() {
    // What is not read by now is not waited for.
    let _ = crate::sys::output::flush(END_WAIT);
}

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
