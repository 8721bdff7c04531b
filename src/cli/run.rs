//! `run`: start, watch, report.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, ValueEnum};

use crate::cli::dead_letters;
use crate::cli::options::{CommandLine, from_matches};
use crate::cli::output::{BAD_USAGE, DONE, FAILED, UNACCOUNTED, UNTAKEN, complain, flush, note, print_at_end};
use crate::cli::report_file::ReportFile;
use crate::cli::shipped::Shipped;
use crate::cli::signals::{Drain, Signals};
use crate::connect::AppendLines;
use crate::engine::checkpoint::Health;
use crate::engine::report::Report;
use crate::engine::{Running, places};
use crate::error::{Error, Result};
use crate::observe::{Live, Show, logs, report};
use crate::sys::clock::Clock;
use crate::sys::sync::Arc;
use crate::topology::Topology;

// No doc comment: see `options`.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Output options")]
#[group(skip)]
pub(super) struct RunOptions {
    /// Write the report to this file as JSON when the run has ended
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Show a live line on standard error: auto (if it is a terminal), always or never
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", hide_possible_values = true)]
    progress: When,
    /// Print no live line and no table at the end; warnings and errors remain
    #[arg(long)]
    quiet: bool,
    /// On a signal, finish what is under way instead of suspending it; without stored state that is always so
    #[arg(long)]
    drain: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq)]
enum When {
    #[default]
    Auto,
    Always,
    Never,
}

impl From<When> for Show {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Show::Auto,
            When::Always => Show::Always,
            When::Never => Show::Never,
        }
    }
}

/// Runs to the end and returns the exit code.
pub(super) fn run(shipped: &Shipped, matches: &ArgMatches) -> u8 {
    run_for(shipped, matches, None)
}

/// Runs to the end, or drains after this time.
pub(super) fn run_for(shipped: &Shipped, matches: &ArgMatches, duration: Option<Duration>) -> u8 {
    let prepared = match Prepared::new(shipped, matches) {
        Ok(prepared) => prepared,
        Err(error) => {
            complain(shipped.name(), &error);
            return BAD_USAGE;
        }
    };
    let place = prepared.topology.name().to_owned();
    let (outcome, report) = match prepared.run(duration) {
        Ok((outcome, report)) => (outcome, Some(report)),
        Err(error) => (Err(error), None),
    };
    if let Err(error) = &outcome {
        complain(&place, error);
    }
    let unaccounted = report.as_ref().map_or(0, Report::unaccounted);
    let untaken = report.as_ref().and_then(report::untaken);
    match outcome {
        // Whatever else is said of such a run cannot be relied on.
        _ if unaccounted > 0 => {
            note(format_args!("error: {place}: {unaccounted} inputs are unaccounted for; this is a bug of squall"));
            UNACCOUNTED
        }
        Err(error) if error.is_usage() || error.is_bad_state() => BAD_USAGE,
        Err(_) => FAILED,
        Ok(()) => match untaken {
            Some(untaken) => {
                note(format_args!("error: {place}: {untaken}"));
                UNTAKEN
            }
            None => DONE,
        },
    }
}

/// Everything found to be in order; nothing started.
struct Prepared {
    topology: Topology,
    report_file: Option<ReportFile>,
    show: Show,
    is_quiet: bool,
    /// A signal drains even where it could suspend.
    drains: bool,
}

impl Prepared {
    fn new(shipped: &Shipped, matches: &ArgMatches) -> Result<Self> {
        let options = from_matches::<RunOptions>(matches)?;
        let mut command_line = CommandLine::read(matches)?;
        let installed = logs::install(command_line.log_filter());
        command_line.note(installed);
        let mut report_file = None;
        if let Some(path) = &options.report {
            let checked = ReportFile::check(path).map(|file| report_file = Some(file));
            command_line.note(checked);
        }
        let topology = command_line.topology(shipped, matches)?;
        let show = if options.quiet { Show::Never } else { options.progress.into() };
        Ok(Prepared { topology, report_file, show, is_quiet: options.quiet, drains: options.drain })
    }

    /// How the run ended, and what it did.
    ///
    /// # Errors
    /// It was not started.
    fn run(self, duration: Option<Duration>) -> Result<(Result<()>, Report)> {
        let progress = self.topology.progress().cloned();
        logs::log_panics();
        let settings = self.topology.resolve()?.settings;
        let drain = Drain::new(settings.state_dir.is_some() && !self.drains);
        if let Some(report) = &self.report_file {
            for (component, path) in self.topology.places().into_iter().chain(self.topology.inputs()) {
                report.is_not(&format!("that of {}", self.topology.component_id(component)), path.as_ref())?;
            }
        }
        let asked = drain.clone();
        let _signals = Signals::install(move |_| asked.ask())?;
        let topology = match &settings.dead_letters {
            None => self.topology,
            Some(path) => {
                let report = self.report_file.as_ref();
                report.map_or(Ok(()), |report| report.is_not("--dead-letters", path.as_ref()))?;
                dead_letters::check_file(path.as_ref())?;
                let file = AppendLines::new(path);
                let of_topology = file.clone();
                let topology = self.topology.with_dead_letters(move || of_topology.clone());
                places::check(&topology, &topology.plan(&settings))?;
                file.check()?;
                topology
            }
        };
        let running = Arc::new(topology.start()?);
        drain.attach(&running);
        say_what_was_resumed(&running);
        let outcome = watch(&running, Live::start(self.show, progress), duration);
        // What nobody reads is counted when it is tried: the report has what was said so far.
        flush();
        let report = running.report();
        if !self.is_quiet {
            show(&report);
        }
        // A report that cannot be written is an error of the run, but not before the run's own.
        let written = self.report_file.map_or(Ok(()), |file| file.write(&report, &outcome));
        warn(&report);
        if let (Err(error), true) = (&written, outcome.is_err()) {
            complain(&report.topology, error);
        }
        Ok((outcome.and(written), report))
    }
}

/// Prints the table at the end, which is for people: the exit code tells of the data, whatever becomes of the terminal.
fn show(report: &Report) {
    if let Err(error) = print_at_end(format_args!("\n{}", report::to_text(report))) {
        note(format_args!("warning: {}: the table at the end could not be printed: {error}", report.topology));
    }
}

/// How often health is looked at without a live line.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Whoever starts a topology with state wants to know at once where it begins.
fn say_what_was_resumed(running: &Running) {
    let Some(checkpoints) = running.checkpoints() else { return };
    checkpoints.notes.iter().for_each(|line| note(format_args!("state: {line}")));
    if checkpoints.was_finished {
        note("state: all input had been handled before; what was left to commit is committed, nothing is run again");
    }
}

/// Waits for the end, keeping the live line up to date, and drains when the time is up.
fn watch(running: &Running, live: Option<Live>, duration: Option<Duration>) -> Result<()> {
    let clock = Clock::real();
    let mut end_ns = duration.map(|duration| clock.now_ns().saturating_add(duration.as_nanos() as u64));
    let (mut live, mut health) = (live, Health::Green);
    loop {
        let left = end_ns.map(|end_ns| Duration::from_nanos(end_ns.saturating_sub(clock.now_ns())));
        if left == Some(Duration::ZERO) {
            end_ns = None;
            running.drain();
            continue;
        }
        let wait = live.as_ref().map_or(HEALTH_INTERVAL, Live::interval);
        if let Some(outcome) = running.wait_timeout(left.map_or(wait, |left| wait.min(left))) {
            return outcome;
        }
        if let Some(live) = &mut live {
            live.update(&running.counts(), running.held_up().as_deref());
        }
        if let Some(checkpoints) = running.checkpoints() {
            if (checkpoints.health, health) == (Health::Red, Health::Green) {
                note(format_args!("warning: {}", report::red_health(&checkpoints)));
            }
            health = checkpoints.health;
        }
    }
}

fn warn(report: &Report) {
    for warning in report::warnings(report).into_iter().chain(report::nothing_succeeded(report)) {
        note(format_args!("warning: {warning}"));
    }
}

/// What a subcommand other than `run` returns, as an exit code: it starts nothing, so all that can be wrong is usage;
/// only printing can fail.
pub(super) fn code_of(place: &str, outcome: Result<(), Error>) -> u8 {
    match outcome {
        Ok(()) => DONE,
        Err(error) => {
            complain(place, &error);
            if error.is_usage() { BAD_USAGE } else { FAILED }
        }
    }
}
