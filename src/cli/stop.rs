//! `stop`: ends the process that uses a state directory, so that it can go on later; and makes a savepoint of where it
//! stood.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::cli::output::{BAD_USAGE, note, print};
use crate::cli::run::code_of;
use crate::cli::state::make_savepoint;
use crate::error::{Error, Result};
use crate::state::directory::StateDirectory;
use crate::sys::disk::Disk;
use crate::sys::process::OtherProcess;
use crate::topology::settings::parse_duration;

const HELP: &str = "\
It sends the process a SIGTERM, as `kill` does: with a state directory that means a last checkpoint and an end, and \
the same command line goes on from there. A process that was started with --drain finishes what is under way instead.

Examples:
  # stop it, to go on later
  squall stop DIR
  # stop it, and keep where it stood
  squall stop DIR --savepoint SAVEPOINT

Exit codes: 0 stopped, 1 it did not stop in time, or the savepoint failed, 2 bad usage, or nothing runs there.";

#[derive(Args, Clone, Debug)]
struct Stop {
    /// The state directory of the run
    dir: PathBuf,
    /// Write the last checkpoint as a savepoint into this folder, which must not be there
    #[arg(long, value_name = "SAVEPOINT")]
    savepoint: Option<PathBuf>,
    /// How long to wait for its end
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) fn command() -> Command {
    Stop::augment_args(Command::new("stop").about("Stop a run that has a state directory").after_help(HELP))
}

/// Does it and returns the exit code.
pub(super) fn act(matches: &ArgMatches) -> u8 {
    match Stop::from_arg_matches(matches) {
        Ok(options) => code_of("stop", stop(&options)),
        Err(refusal) => {
            note(refusal);
            BAD_USAGE
        }
    }
}

fn stop(options: &Stop) -> Result<()> {
    let dir = options.dir.display().to_string();
    if let Some(out) = options.savepoint.as_deref().filter(|out| out.exists()) {
        return Err(Error::usage(out.display().to_string(), "it is there already: give the savepoint another name"));
    }
    let failed = |what: &'static str| move |error: std::io::Error| Error::io(what, &error);
    let holder = StateDirectory::holder(&Disk::real(), &options.dir)?;
    let process = holder.map(OtherProcess::find).transpose().map_err(failed("finding the process"))?.flatten();
    let (Some(pid), Some(process)) = (holder, process) else {
        return Err(Error::usage(dir, "nothing runs on this state directory"));
    };
    process.terminate().map_err(failed("stopping the process"))?;
    if !process.wait(options.timeout).map_err(failed("waiting for the process"))? {
        let message = format!("process {pid} has not ended within {:?}; it may still: run this again", options.timeout);
        return Err(Error::failed("not_stopped", message));
    }
    print(format_args!("stopped process {pid}\n"))?;
    options.savepoint.as_ref().map_or(Ok(()), |out| make_savepoint(&options.dir, None, out))
}
