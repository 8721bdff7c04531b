//! `state`: looking into state directories and savepoints, without the program that wrote them.

mod diff;
mod list;
mod read;

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::cli::output::{BAD_USAGE, DONE, FAILED, complain, note, print};
use crate::error::Result;
use crate::observe::units;
use crate::state::directory::StateDirectory;
use crate::state::inspect::Inspection;
use crate::state::savepoint;
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;

pub(super) const ABOUT: &str = "Look into a state directory or a savepoint; make a savepoint";

const HELP: &str = "\
A state directory is what `--state DIR` names; a savepoint is one checkpoint in a folder of its own. Both are read \
without the program that wrote them, and while it runs; only the stores sled and fjall have to be idle.

Examples:
  # which checkpoints and states there are
  squall state ls DIR
  # what is stored under one key; keys are JSON, texts need no quotes
  squall state get DIR count.seen storm
  # all of it, an entry a line
  squall state export DIR --state count.seen > seen.jsonl
  # what changed since a savepoint
  squall state diff SAVEPOINT DIR
  # a savepoint of the newest checkpoint, and a start from it
  squall state savepoint DIR SAVEPOINT
  squall run NAME --state NEW_DIR --from-savepoint SAVEPOINT

Exit codes: 0 done, 1 not found, different or damaged, 2 bad usage.";

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// List checkpoints, states with their shapes and sizes, and the positions of sources
    Ls(list::Ls),
    /// Print what is stored under one key
    Get(read::Get),
    /// Print all entries as JSON lines
    Export(read::Export),
    /// Print the entries that were added, removed or changed from one state to another
    Diff(diff::Diff),
    /// Read every kept checkpoint whole; exit code 1 if anything is damaged
    Verify(list::Verify),
    /// Write a checkpoint as a savepoint: a folder to keep, to move, and to start from
    Savepoint(Savepoint),
}

#[derive(clap::Args, Clone, Debug)]
struct Savepoint {
    /// The state directory
    dir: PathBuf,
    /// The folder to write, which must not be there
    out: PathBuf,
    /// Which checkpoint [default: the newest]
    #[arg(long, value_name = "N")]
    checkpoint: Option<u64>,
}

pub(super) fn command() -> Command {
    let command = Command::new("state").about(ABOUT).after_help(HELP);
    Action::augment_subcommands(command)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
}

/// Does what is asked for and returns the exit code.
pub(super) fn act(matches: &ArgMatches) -> u8 {
    let action = match Action::from_arg_matches(matches) {
        Ok(action) => action,
        Err(refusal) => {
            note(refusal);
            return BAD_USAGE;
        }
    };
    let done = match action {
        Action::Ls(options) => list::ls(&options).map(|()| true),
        Action::Get(options) => read::get(&options),
        Action::Export(options) => read::export(&options).map(|()| true),
        Action::Diff(options) => diff::diff(&options),
        Action::Verify(options) => list::verify(&options),
        Action::Savepoint(options) => make_savepoint(&options.dir, options.checkpoint, &options.out).map(|()| true),
    };
    match done {
        Ok(true) => DONE,
        Ok(false) => FAILED,
        Err(error) => {
            complain("state", &error);
            if error.is_usage() { BAD_USAGE } else { FAILED }
        }
    }
}

fn inspect(path: &Path) -> Result<Inspection> {
    StateDirectory::inspect(Disk::real(), path, Clock::real())
}

/// Writes a checkpoint, the newest unless told otherwise, as a savepoint.
pub(super) fn make_savepoint(dir: &Path, checkpoint: Option<u64>, out: &Path) -> Result<()> {
    let from = inspect(dir)?;
    let generation = from.generation(checkpoint)?;
    let footprint = savepoint::write(&from, generation, &Disk::real(), out, &Clock::real())?;
    let (checkpoint, size) = (generation.checkpoint, units::size(footprint.disk_bytes));
    print(format_args!("{}: checkpoint {checkpoint}, {size}\n", out.display()))
}

/// Shows on standard error, if it is a terminal, how many entries have been read.
struct Watch {
    bar: ProgressBar,
    seen: u64,
}

/// Entries between two looks at the clock.
const WATCHED: u64 = 4_096;

impl Watch {
    fn new(what: String) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_message(what);
        Watch { bar, seen: 0 }
    }

    fn entry(&mut self) {
        self.seen += 1;
        if self.seen.is_multiple_of(WATCHED) {
            self.bar.inc(WATCHED);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Lines for standard output, printed some thousand at a time.
#[derive(Default)]
struct Lines(String);

/// Text that is printed at once.
const CHUNK_BYTES: usize = 64 << 10;

impl Lines {
    fn line(&mut self, line: impl std::fmt::Display, watch: &Watch) -> Result<()> {
        self.0.push_str(&line.to_string());
        self.0.push('\n');
        if self.0.len() < CHUNK_BYTES {
            return Ok(());
        }
        let text = std::mem::take(&mut self.0);
        watch.bar.suspend(|| print(text))
    }

    fn end(self) -> Result<()> {
        print(self.0)
    }
}
