//! A session: one run of a bench, from the announcement of how long it takes to the files of its report.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
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
    shared: Arc<Shared>,
    /// When the present step began, which is when the next row's measurement did.
    step_ns: u64,
    /// The first row that could not be kept.
    failure: Option<Error>,
}

/// What a session shares with whoever interrupts it.
struct Shared {
    state: Mutex<State>,
    /// The report has been taken.
    ended: Condvar,
}

struct State {
    /// Until somebody writes it: the session at its end, or whoever interrupts it.
    report: Option<Report>,
    is_interrupted: bool,
    /// When the present step will end, by its own account and the session's clock.
    step_end: Duration,
}

/// The right to end a session from another thread.
pub(crate) struct Interruption {
    shared: Arc<Shared>,
    clock: Clock,
}

/// What an interrupted session gets beyond its present step to end by itself,
const GRACE: Duration = Duration::from_secs(1);
/// and how long that may be at most.
const GRACE_MAX: Duration = Duration::from_secs(10);

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
        let state = State { report: Some(report), is_interrupted: false, step_end: Duration::ZERO };
        Session {
            options,
            clock: Clock::real(),
            rows: Vec::new(),
            bench,
            expected,
            shared: Arc::new(Shared { state: Mutex::new(state), ended: Condvar::new() }),
            step_ns: 0,
            failure: None,
        }
    }

    /// Also writes these files at the end.
    pub fn writing(self, outputs: Outputs) -> Self {
        if let Some(report) = &mut self.shared.lock().report {
            report.outputs = outputs;
        }
        self
    }

    /// Says what is being measured now; `expected` is how long it takes. Nothing is shown again before the next step.
    pub fn step(&mut self, what: &str, expected: Duration) {
        self.step_ns = self.clock.now_ns();
        let mut state = self.shared.lock();
        state.step_end = Duration::from_nanos(self.step_ns) + expected;
        if let Some(report) = &mut state.report {
            report.steps.step(what, expected);
        }
    }

    /// True once it was asked to end. A bench whose rows come of several rounds then makes them of those that it has:
    /// what is under way when the present step and a moment more are over is lost.
    pub fn is_interrupted(&self) -> bool {
        self.shared.lock().is_interrupted
    }

    /// Keeps a finished row. Its intervals go into the report and no further.
    pub fn row(&mut self, mut row: Row) {
        let is_taken = |label: &str| self.rows.iter().any(|other| other.label == label);
        if is_taken(&row.label) {
            let numbered = |number| format!("{} #{number}", row.label);
            row.label = (2..).map(numbered).find(|label| !is_taken(label)).expect("there is always a next number");
        }
        let span = (Duration::from_nanos(self.step_ns), Duration::from_nanos(self.clock.now_ns()));
        if let Some(report) = &mut self.shared.lock().report {
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
    #[cfg(test)]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Lets another thread end this session.
    pub fn interruption(&self) -> Interruption {
        Interruption { shared: self.shared.clone(), clock: self.clock.clone() }
    }

    /// Writes everything the options ask for.
    pub fn finish(self) -> Result<()> {
        // Kept locked while it is written: who interrupts meanwhile waits until it has been.
        let mut state = self.shared.lock();
        let Some(report) = state.report.take() else { return Ok(()) };
        let (rows, took) = (self.rows.len(), duration_text(Duration::from_nanos(self.clock.now_ns())));
        let written = report.write(state.is_interrupted);
        self.shared.ended.notify_all();
        note(format_args!("{}: {rows} rows in {took}, announced were {}", self.bench, duration_text(self.expected)));
        written.and(self.failure.map_or(Ok(()), Err))
    }
}

impl Shared {
    /// A panic under the lock leaves at worst a row out.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interruption {
    /// Asks the session to end and gives it until its present step is over, and a moment more; then writes the rows so
    /// far itself. Either way they are written when this returns, and none after.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn end(self) -> Result<()> {
        let mut state = self.shared.lock();
        state.is_interrupted = true;
        let left = state.step_end.saturating_sub(Duration::from_nanos(self.clock.now_ns()));
        let is_running = |state: &mut State| state.report.is_some();
        let grace = (left + GRACE).min(GRACE_MAX);
        let waited = self.shared.ended.wait_timeout_while(state, grace, is_running);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(report) = state.report.take() else { return Ok(()) };
        let within = duration_text(grace);
        note(format_args!("interrupted: what was being measured did not end within {within}: its rows are lost"));
        report.write(true)
    }
}

/// The CPUs to use, in order: those of the options, else all usable ones, the one best left free last.
pub(crate) fn cpus(options: &Options) -> Vec<CpuId> {
    if options.cpus.is_empty() {
        return usable_cpus().preferred();
    }
    options.cpus.iter().copied().map(CpuId).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::bench::row::{Unit, histogram};
    use crate::sys::thread::spawn_named;

    fn session(folder: &std::path::Path) -> Session {
        let (json, out) = (Some(folder.join("rows.json")), Some(folder.join("out")));
        let options = Options { json, out, command_line: "squall bench hop".into(), ..Options::default() };
        let outputs = Outputs::check(&options).unwrap();
        Session::begin("hop", options, Duration::from_secs(1)).writing(outputs)
    }

    fn row(label: &str) -> Row {
        let mut samples = histogram();
        (1..2_000).for_each(|ns| samples.record(ns).unwrap());
        Row::new("hop", label).with("row", "cross").distribution("", Unit::Ns, &samples)
    }

    fn read(folder: &std::path::Path) -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join("rows.json")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_session_leaves_the_machine_and_every_row_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = session(folder.path());
        session.step("cross", Duration::from_millis(1));
        session.row(row("cross spin"));
        session.row(row("cross spin"));
        assert_eq!(session.rows()[1].label, "cross spin #2", "labels are unique");
        session.finish().unwrap();

        let rows = read(folder.path());
        assert_eq!(rows.len(), 3);
        assert_eq!((&rows[0]["bench"], &rows[0]["run"]), (&"machine".into(), &"hop".into()));
        assert_eq!(rows[0]["interrupted"], false);
        assert_eq!((&rows[1]["label"], &rows[2]["label"]), (&"cross spin".into(), &"cross spin #2".into()));
        assert_eq!((&rows[1]["p50_ns"], &rows[1]["count"]), (&1_000.into(), &1_999.into()));
        let mut names: Vec<String> = std::fs::read_dir(folder.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let per_row =
            ["hop_cross_spin.hgrm", "hop_cross_spin.hlog", "hop_cross_spin__2.hgrm", "hop_cross_spin__2.hlog"];
        assert_eq!(names, [&per_row[..], &["percentiles_1.svg", "report.html", "rows.jsonl"]].concat());
    }

    #[test]
    fn an_interrupted_session_ends_by_itself_if_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = session(folder.path());
        session.step("round 1", Duration::from_secs(3_600));
        let interruption = session.interruption();
        let ending = spawn_named("test-interrupt", move || interruption.end()).unwrap();
        while !session.is_interrupted() {
            crate::sys::thread::yield_now();
        }
        session.row(row("of one round"));
        session.finish().unwrap();
        ending.join().unwrap().unwrap();
        let rows = read(folder.path());
        assert_eq!((&rows[0]["interrupted"], &rows[1]["label"]), (&true.into(), &"of one round".into()));
    }

    #[test]
    fn a_session_that_does_not_end_by_itself_leaves_the_rows_so_far() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = session(folder.path());
        session.row(row("done"));
        session.interruption().end().unwrap();
        session.row(row("too late"));
        session.finish().unwrap();
        let rows = read(folder.path());
        assert_eq!((rows.len(), &rows[0]["interrupted"], &rows[1]["label"]), (2, &true.into(), &"done".into()));
    }
}
