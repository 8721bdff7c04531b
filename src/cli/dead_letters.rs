//! `dead-letters`: what a file of dead letters holds, and its values for another run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches, Subcommand};
use serde_json::Value as Json;

use crate::cli::output::{BAD_USAGE, complain, note, print};
use crate::cli::run::code_of;
use crate::error::{Error, Result};
use crate::observe::{Align, Table};

const PLACE: &str = "dead-letters";

// No doc comment: see `options`.
#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show what was given up, by source and reason, and the last few of each
    Ls(Ls),
    /// Write the values as lines, for a run that reads lines
    ///
    /// A value that is a text is written as it is, any other one as JSON; one that nobody knew how to write down is
    /// left out and counted, and then the exit code is 1. OUT is made anew and must not be there yet; the file of dead
    /// letters stays as it is.
    Replay(Replay),
}

#[derive(Args, Clone, Debug)]
struct Ls {
    /// The file given as --dead-letters
    file: PathBuf,
    /// Show this many of each reason
    #[arg(long, value_name = "N", default_value_t = 3)]
    last: usize,
}

#[derive(Args, Clone, Debug)]
struct Replay {
    /// The file given as --dead-letters
    file: PathBuf,
    /// The file to write, or - for standard output
    out: PathBuf,
    /// Only those of this source
    #[arg(long, value_name = "ID")]
    source: Option<String>,
}

/// The command, as it stands beside `run` and the others.
pub(super) fn command() -> Command {
    let command = Command::new(PLACE)
        .about("Show what was given up into a file (--dead-letters), or write it as input of another run")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    What::augment_subcommands(command)
}

/// Carries it out; returns the exit code.
pub(super) fn act(matches: &clap::ArgMatches) -> u8 {
    let what = match What::from_arg_matches(matches) {
        Ok(what) => what,
        Err(error) => {
            complain(PLACE, &Error::usage("options", error.to_string()));
            return BAD_USAGE;
        }
    };
    code_of(
        PLACE,
        match what {
            What::Ls(ls) => list(&ls),
            What::Replay(replay) => write_values(&replay),
        },
    )
}

/// Every letter of a file, in order.
fn letters(path: &Path, mut each: impl FnMut(Json) -> Result<()>) -> Result<()> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(|error| Error::usage(&place, format!("cannot be read: {error}")))?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| Error::io(format!("reading {place}"), &error))?;
        let letter: Json = serde_json::from_str(&line).map_err(|error| {
            Error::usage(format!("{place}:{}", number + 1), format!("this line is no dead letter: {error}"))
        })?;
        each(letter)?;
    }
    Ok(())
}

fn text_of<'a>(letter: &'a Json, name: &str) -> &'a str {
    letter[name].as_str().unwrap_or("-")
}

fn list(ls: &Ls) -> Result<()> {
    #[derive(Default)]
    struct Reason {
        count: u64,
        last: Vec<Json>,
    }
    let mut reasons: BTreeMap<[String; 3], Reason> = BTreeMap::new();
    letters(&ls.file, |letter| {
        let key = ["source", "kind", "origin"].map(|name| text_of(&letter, name).to_owned());
        let reason = reasons.entry(key).or_default();
        reason.count += 1;
        reason.last.push(letter);
        if reason.last.len() > ls.last {
            reason.last.remove(0);
        }
        Ok(())
    })?;
    if reasons.is_empty() {
        return print("no dead letters\n");
    }
    let mut table = Table::new(&[
        ("source", Align::Left),
        ("kind", Align::Left),
        ("given up by", Align::Left),
        ("count", Align::Right),
        ("last at", Align::Left),
        ("position", Align::Right),
        ("attempts", Align::Right),
        ("error", Align::Left),
    ]);
    for ([source, kind, origin], reason) in &reasons {
        for (row, letter) in reason.last.iter().rev().enumerate() {
            let of_reason = if row == 0 {
                [source.clone(), kind.clone(), origin.clone(), reason.count.to_string()]
            } else {
                Default::default()
            };
            let own = [
                text_of(letter, "last_failed").to_owned(),
                letter["position"].to_string(),
                letter["attempts"].to_string(),
                text_of(letter, "error").replace('\n', " "),
            ];
            table.row(of_reason.into_iter().chain(own));
        }
    }
    print(table.to_string())
}

fn write_values(replay: &Replay) -> Result<()> {
    let place = replay.out.display().to_string();
    let io_error = |error: std::io::Error| Error::io(format!("writing {place}"), &error);
    let mut out: Box<dyn Write> = if replay.out == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        let file = File::create_new(&replay.out).map_err(|error| Error::usage(&place, error.to_string()))?;
        Box::new(BufWriter::new(file))
    };
    let (mut written, mut left_out) = (0u64, 0u64);
    letters(&replay.file, |letter| {
        if replay.source.as_deref().is_some_and(|source| source != text_of(&letter, "source")) {
            return Ok(());
        }
        match &letter["value"] {
            Json::Null => left_out += 1,
            Json::String(text) => {
                written += 1;
                writeln!(out, "{text}").map_err(io_error)?;
            }
            other => {
                written += 1;
                writeln!(out, "{other}").map_err(io_error)?;
            }
        }
        Ok(())
    })?;
    out.flush().map_err(io_error)?;
    note(format_args!("{written} values written"));
    match left_out {
        0 => Ok(()),
        _ => Err(Error::failed(
            "left_out",
            format!(
                "{left_out} letters have no value: nobody knew how to write it down; say how where the source is \
                 declared (`.describe(..)`)"
            ),
        )),
    }
}
