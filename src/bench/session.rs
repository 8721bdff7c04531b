//! A session: one run of a bench, from the announcement of how long it takes to the files of its report.

use std::path::PathBuf;
use std::time::Duration;

use crate::bench::row::Row;
use crate::error::Result;
use crate::sys::clock::Clock;
use crate::topology::Topology;
use crate::topology::settings::{Guarantee, WaitPolicy};

/// What the common flags say; a bench fills what is `None` or empty with defaults of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Time each row is measured, over all its repeats.
    pub duration: Option<Duration>,
    /// Time before each measurement that does not count.
    pub warmup: Option<Duration>,
    /// Events per second.
    pub rates: Vec<u64>,
    /// Each row is measured this many times; its figures are medians, with the spread beside them.
    pub repeat: Option<usize>,
    /// The CPUs that may be used, by the system's numbers; measured threads take them in this order.
    pub cpus: Vec<usize>,
    pub executors: Vec<usize>,
    pub guarantees: Vec<Guarantee>,
    pub waits: Vec<WaitPolicy>,
    /// Text for word count; the shipped one if none is given.
    pub input: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub out: Option<PathBuf>,
}

/// A user's topology to measure instead of the built-in shapes. `build` is called once per measurement.
pub(crate) struct Subject<'a> {
    pub name: String,
    pub build: &'a dyn Fn() -> Result<Topology>,
}

/// Shows progress, keeps rows.
pub(crate) struct Session {
    pub options: Options,
    pub clock: Clock,
    rows: Vec<Row>,
}

impl Session {
    /// A session that is about to take `expected`; announces it.
    pub fn begin(bench: &'static str, options: Options, expected: Duration) -> Self {
        eprintln!("{bench}: about {} s", expected.as_secs());
        Session { options, clock: Clock::real(), rows: Vec::new() }
    }

    /// Says what is being measured now; `expected` is how long it takes.
    pub fn step(&mut self, what: &str, expected: Duration) {
        eprintln!("{what} ({} s)", expected.as_secs_f64());
    }

    /// Keeps a finished row.
    pub fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Writes everything the options ask for.
    pub fn finish(self) -> Result<()> {
        for row in &self.rows {
            println!("{}", serde_json::Value::Object(row.fields.clone()));
        }
        Ok(())
    }
}
