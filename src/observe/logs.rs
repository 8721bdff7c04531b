//! Where the log goes: to standard error, above the live line, by way of the thread that writes there.

use std::backtrace::Backtrace;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Error, Result};
use crate::observe::output::{END_WAIT, note};
use crate::sys::output::{flush, stderr};
use crate::sys::thread;

/// The environment variable with the filter, where no option gives one.
pub const FILTER_VARIABLE: &str = "RUST_LOG";
/// What is logged unless told otherwise.
pub const FILTER_DEFAULT: &str = "warn";

/// Sends the log of this process to standard error, filtered by `filter`, else by the variable `RUST_LOG`, else from
/// level `warn` on. A subscriber that is already there stays, and gets the log instead.
///
/// Nobody who logs waits: a thread of its own writes, out of a bounded queue. What does not fit, since standard error is
/// not read, is left out; how much that was stands in the log once it is read again, and in the report.
///
/// # Errors
/// A usage error if the filter cannot be read.
pub fn install(filter: Option<&str>) -> Result<()> {
    let from_environment = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty());
    let (place, filter) = match (filter, from_environment) {
        (Some(filter), _) => ("--log", filter.to_owned()),
        (None, Some(filter)) => (FILTER_VARIABLE, filter),
        (None, None) => (FILTER_VARIABLE, FILTER_DEFAULT.to_owned()),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        let message = format!("{filter:?} is no filter: {error}; give a level such as info, or TARGET=LEVEL,...");
        Error::usage(place, message)
    })?;
    let has_colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(has_colours);
    // Its own complaints would be printed past the queue.
    let subscriber = subscriber.with_writer(|| LogWriter).log_internal_errors(false);
    if subscriber.finish().try_init().is_err() {
        tracing::debug!("the program has a log subscriber of its own, which stays");
    }
    Ok(())
}

/// Sends panics to the log, one line each, in place of whatever hook there was: those of executors are caught and
/// counted by the engine, and none may wait for a reader of standard error. With `RUST_BACKTRACE` each has its backtrace.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no text)");
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            let backtrace = Backtrace::force_capture();
            note(format_args!("thread '{thread}' panicked at {place}:\n{message}\nstack backtrace:\n{backtrace}"));
        } else if is_executor(thread) {
            tracing::warn!(thread, "panicked at {place}: {message}");
        } else {
            // A bug of somebody's: said whatever the filter.
            note(format_args!("error: thread '{thread}' panicked at {place}: {message}"));
        }
        if thread == "main" {
            // The process may end with it.
            flush(END_WAIT);
        }
    }));
}

fn is_executor(thread: &str) -> bool {
    // `squall-control` is none.
    thread.strip_prefix("squall-").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Gets each event as one write, and hands it over.
struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        stderr().say(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
