//! Where the log goes: to standard error, above the live line.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Error, Result};
use crate::observe::live::above;
use crate::sys::thread;

/// The environment variable with the filter, where no option gives one.
pub const FILTER_VARIABLE: &str = "RUST_LOG";
/// What is logged unless told otherwise.
pub const FILTER_DEFAULT: &str = "warn";

/// Sends the log of this process to standard error, filtered by `filter`, else by the variable `RUST_LOG`, else from
/// level
/// `warn` on. A subscriber that is already there stays, and gets the log instead.
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
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(has_colours).with_writer(|| LogWriter);
    if subscriber.finish().try_init().is_err() {
        tracing::debug!("the program has a log subscriber of its own, which stays");
    }
    Ok(())
}

/// Sends panics of executors to the log, one line each, since the engine catches and counts them; all others go where
/// they went before.
pub fn log_executor_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let is_executor = thread.name().and_then(|name| name.strip_prefix("squall-")).is_some_and(|rest| {
            rest.bytes().all(|byte| byte.is_ascii_digit()) // `squall-control` is none
        });
        if !is_executor || std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            return before(panic);
        }
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            thread = thread.name(),
            "panicked at {place}: {}",
            panic.payload_as_str().unwrap_or("(no text)")
        );
    }));
}

/// Gets each event as one write.
struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        above(|| io::stderr().write(event))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
