//! Printing, above the live line: what was asked for on standard output, all else on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::observe::live::above;
use crate::sys::output::{self, flush, stderr};

/// How long an end waits for whoever reads, on each stream.
pub(crate) const END_WAIT: Duration = Duration::from_secs(1);

/// Prints on standard output, and waits until it is read: for commands that do nothing else. A reader that has gone, as
/// `head` does, wanted no more: that is no error.
pub(crate) fn print(text: impl Display) -> Result<()> {
    // On a terminal both streams are one text, in this order.
    flush(END_WAIT);
    printed(above(|| {
        let mut out = io::stdout().lock();
        write!(out, "{text}").and_then(|()| out.flush())
    }))
}

/// Prints on standard output at the end of a run, which does not wait for a reader that sleeps.
pub(crate) fn print_at_end(text: impl Display) -> Result<()> {
    flush(END_WAIT);
    match output::stdout().say_within(text.to_string(), END_WAIT) {
        Some(written) => printed(written),
        None => {
            note("warning: nobody reads standard output: what was to be printed at the end is left out");
            Ok(())
        }
    }
}

fn printed(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("standard output", &error)),
        _ => Ok(()),
    }
}

/// Says a line on standard error. Never waits: what cannot be written is left out and counted.
pub(crate) fn note(line: impl Display) {
    stderr().say(format!("{line}\n"));
}
