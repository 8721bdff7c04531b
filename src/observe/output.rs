//! Printing, above the live line: what was asked for on standard output, all else on standard error.

use std::fmt::Display;
use std::io::{self, Write};

use crate::error::{Error, Result};
use crate::observe::live::above;

/// Prints on standard output. A reader that has gone, as `head` does, wanted no more: that is no error.
pub(crate) fn print(text: impl Display) -> Result<()> {
    let written = above(|| {
        let mut out = io::stdout().lock();
        write!(out, "{text}").and_then(|()| out.flush())
    });
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("standard output", &error)),
        _ => Ok(()),
    }
}

/// Prints a line on standard error. There is nowhere to report that this failed.
pub(crate) fn note(line: impl Display) {
    above(|| {
        let _ = writeln!(io::stderr().lock(), "{line}");
    });
}
