//! A session: one run of a bench, from the announcement of how long it takes to the files of its report.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bench::catalogue::{Bench, duration_text};
use crate::bench::machine::Watch;
use crate::bench::record::Record;
use crate::bench::report::{Outputs, Report};
use crate::bench::row::Row;
use crate::error::{Error, Result};
use crate::observe::{Steps, note};
use crate::sys::clock::Clock;
use crate::sys::cpu::{CpuId, usable_cpus};
use crate::sys::sync::Arc;
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
    /// What was typed, for the report.
    pub command_line: String,
    /// It is about a topology of the program and not about built-in shapes.
    pub of_topology: bool,
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
    bench: &'static str,
    expected: Duration,
    report: Shared,
    /// When the present step began, which is when the next row's measurement did.
    step_ns: u64,
    /// The first row that could not be kept.
    failure: Option<Error>,
}

/// The report, until somebody has written it: the session at its end, or whoever interrupts it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<Report>>>);

/// The right to end a session from another thread.
pub(crate) struct Interruption(Shared);

impl Session {
    /// A session that is about to take `expected`; announces it.
    pub fn begin(bench: &'static str, options: Options, expected: Duration) -> Self {
        let about = Bench::about_of(bench);
        let takes = duration_text(expected);
        note(format_args!("{bench}: {about}\nIt takes about {takes}; Ctrl-C ends it and keeps the rows so far."));
        let watch = Watch::begin(cpus(&options));
        let command_line = options.command_line.clone();
        let (outputs, steps) = (Outputs::default(), Steps::start(expected));
        let report = Report { bench, command_line, outputs, watch, steps, records: Vec::new() };
        Session {
            options,
            clock: Clock::real(),
            rows: Vec::new(),
            bench,
            expected,
            report: Shared(Arc::new(Mutex::new(Some(report)))),
            step_ns: 0,
            failure: None,
        }
    }

    /// Also writes these files at the end.
    pub fn writing(self, outputs: Outputs) -> Self {
        if let Some(report) = &mut *self.report.lock() {
            report.outputs = outputs;
        }
        self
    }

    /// Says what is being measured now; `expected` is how long it takes. Nothing is shown again before the next step.
    pub fn step(&mut self, what: &str, expected: Duration) {
        self.step_ns = self.clock.now_ns();
        if let Some(report) = &mut *self.report.lock() {
            report.steps.step(what, expected);
        }
    }

    /// Keeps a finished row. Its intervals go into the report and no further.
    pub fn row(&mut self, mut row: Row) {
        let is_taken = |label: &str| self.rows.iter().any(|other| other.label == label);
        if is_taken(&row.label) {
            let numbered = |number| format!("{} #{number}", row.label);
            row.label = (2..).map(numbered).find(|label| !is_taken(label)).expect("there is always a next number");
        }
        let span = (Duration::from_nanos(self.step_ns), Duration::from_nanos(self.clock.now_ns()));
        if let Some(report) = &mut *self.report.lock() {
            match Record::of(&row, report.watch.began(), span) {
                Ok(record) => report.records.push(record),
                Err(error) => {
                    let failure = Error::io(format!("keeping the histograms of {}", row.label), &error);
                    self.failure.get_or_insert(failure);
                }
            }
        }
        row.intervals = Vec::new();
        self.rows.push(row);
    }

    /// The rows so far, without their intervals.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Lets another thread end this session.
    pub fn interruption(&self) -> Interruption {
        Interruption(self.report.clone())
    }

    /// Writes everything the options ask for.
    pub fn finish(self) -> Result<()> {
        // Kept locked while it is written: who interrupts meanwhile waits until it has been.
        let mut report = self.report.lock();
        let Some(report) = report.take() else { return Ok(()) };
        let (rows, took) = (self.rows.len(), duration_text(Duration::from_nanos(self.clock.now_ns())));
        let written = report.write(false);
        note(format_args!("{}: {rows} rows in {took}, announced were {}", self.bench, duration_text(self.expected)));
        written.and(self.failure.map_or(Ok(()), Err))
    }
}

impl Shared {
    /// A panic under the lock leaves at worst a row out.
    fn lock(&self) -> MutexGuard<'_, Option<Report>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interruption {
    /// Writes the rows so far, unless the session has ended. Then it keeps and writes nothing more.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn write_rows(self) -> Result<()> {
        let mut report = self.0.lock();
        report.take().map_or(Ok(()), |report| report.write(true))
    }
}

/// The CPUs to use, in order: those of the options, else all usable ones, the one best left free last.
pub(crate) fn cpus(options: &Options) -> Vec<CpuId> {
    if options.cpus.is_empty() {
        return usable_cpus().preferred();
    }
    options.cpus.iter().copied().map(CpuId).collect()
}
