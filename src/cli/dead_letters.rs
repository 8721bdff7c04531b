//! `dead-letters`: what a file of dead letters holds, and its values for another run.

mod new_file;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches, Subcommand};
use serde_json::Value as Json;

use crate::cli::output::{BAD_USAGE, DONE, FAILED, complain, note, print};
use crate::cli::run::code_of;
use crate::error::{Error, Result};
use crate::observe::{Align, Table};
use crate::words::counted;
use new_file::NewFile;

const PLACE: &str = "dead-letters";

// No doc comment: see `options`.
#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show what was given up, by source and reason, and the last few of each
    ///
    /// Lines that are no dead letters, such as half a line that a killed run has left, are named and left out, and then
    /// the exit code is 1.
    Ls(Ls),
    /// Write the values as lines, for a run that reads lines
    ///
    /// A value that is a text is written as it is, any other one as JSON. One that nobody knew how to write down is
    /// left out and counted, a line that is no dead letter is left out and named, and then the exit code is 1. OUT is
    /// made anew and must not be there yet, and is there only once it is complete; the file of dead letters stays as
    /// it is.
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
    let outcome = match what {
        What::Ls(ls) => list(&ls),
        What::Replay(replay) => write_values(&replay),
    };
    outcome.unwrap_or_else(|error| code_of(PLACE, Err(error)))
}

/// Whether a run may add its dead letters to this file.
///
/// # Errors
/// It holds something else. (A letter that was written by half begins as a whole one does.)
pub(super) fn check_file(path: &Path) -> Result<()> {
    let mut first = [0];
    let is_regular = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    // What cannot be read, or is not there, is told by whoever writes it.
    let has_other = is_regular
        && File::open(path).and_then(|mut file| file.read(&mut first)).is_ok_and(|read| read == 1 && first != *b"{");
    if has_other {
        let message = "holds something other than dead letters: give a file of its own, which need not be there";
        return Err(Error::usage(format!("--dead-letters {}", path.display()), message));
    }
    Ok(())
}

/// What a file held.
#[derive(Default)]
struct Found {
    letters: u64,
    /// Lines that are no letters.
    others: u64,
}

/// Lines that are no letters are named, the first of them.
const NAMED_MAX: u64 = 10;

impl Found {
    fn name(&mut self, place: &str, number: u64, what: &str) {
        self.others += 1;
        if self.others <= NAMED_MAX {
            note(format_args!("error: {place}:{number}: {what}"));
        }
    }

    /// A file without any letter is a file of something else.
    fn is_another_file(&self) -> bool {
        self.letters == 0 && self.others > 0
    }

    fn code(&self) -> u8 {
        match self.others {
            0 => DONE,
            _ if self.is_another_file() => BAD_USAGE,
            _ => FAILED,
        }
    }
}

/// Every letter of a file, in order; what is none is named and passed over.
fn letters(path: &Path, mut each: impl FnMut(Json) -> Result<()>) -> Result<Found> {
    let place = path.display().to_string();
    if path.is_dir() {
        return Err(Error::usage(&place, "this is a directory; give the file that a run had as --dead-letters"));
    }
    let file = File::open(path).map_err(|error| Error::usage(&place, format!("cannot be read: {error}")))?;
    let (mut file, mut line, mut found) = (BufReader::new(file), Vec::new(), Found::default());
    for number in 1.. {
        line.clear();
        let read = file.read_until(b'\n', &mut line);
        if read.map_err(|error| Error::io(format!("reading {place}"), &error))? == 0 {
            break;
        }
        match letter_of(&line) {
            Ok(letter) => {
                found.letters += 1;
                each(letter)?;
            }
            Err(what) => found.name(&place, number, &what),
        }
    }
    if found.others > NAMED_MAX {
        note(format_args!("error: {place}: {} more lines are no dead letters", found.others - NAMED_MAX));
    }
    Ok(found)
}

/// The letter in a line, or why there is none.
fn letter_of(line: &[u8]) -> Result<Json, String> {
    let letter: Json = serde_json::from_slice(line).map_err(|error| match line.last() {
        Some(b'\n') => format!("this line is no dead letter: {error}"),
        _ => "the last line is not whole: its run was ended in the middle of it, or is still going on".to_owned(),
    })?;
    let has = |name: &str| letter[name].is_string();
    let missing = ["source", "kind", "error"].into_iter().find(|name| !has(name));
    match missing.or(letter.get("value").is_none().then_some("value")) {
        Some(name) => Err(format!("this line is JSON, but no dead letter: it has no {name}")),
        None => Ok(letter),
    }
}

fn text_of<'a>(letter: &'a Json, name: &str) -> &'a str {
    letter[name].as_str().unwrap_or("-")
}

/// Letters that were given up for the same reason.
#[derive(Default)]
struct Reason {
    count: u64,
    last: Vec<Json>,
}

fn list(ls: &Ls) -> Result<u8> {
    let mut reasons: BTreeMap<[String; 3], Reason> = BTreeMap::new();
    let found = letters(&ls.file, |letter| {
        let key = ["source", "kind", "origin"].map(|name| text_of(&letter, name).to_owned());
        let reason = reasons.entry(key).or_default();
        reason.count += 1;
        reason.last.push(letter);
        if reason.last.len() > ls.last {
            reason.last.remove(0);
        }
        Ok(())
    })?;
    if !found.is_another_file() {
        print(if reasons.is_empty() { "no dead letters\n".to_owned() } else { table(&reasons).to_string() })?;
    }
    Ok(found.code())
}

fn table(reasons: &BTreeMap<[String; 3], Reason>) -> Table {
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
    for ([source, kind, origin], reason) in reasons {
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
    table
}

fn write_values(replay: &Replay) -> Result<u8> {
    let mut out = Values::open(&replay.out)?;
    let (mut sources, mut left_out) = (BTreeSet::new(), 0u64);
    let found = letters(&replay.file, |letter| {
        let source = text_of(&letter, "source");
        if !sources.contains(source) {
            sources.insert(source.to_owned());
        }
        if replay.source.as_deref().is_some_and(|only| only != source) {
            return Ok(());
        }
        match &letter["value"] {
            Json::Null => {
                left_out += 1;
                Ok(())
            }
            Json::String(text) => out.write(text),
            other => out.write(other),
        }
    })?;
    if found.is_another_file() {
        return Ok(found.code());
    }
    if let Some(only) = replay.source.as_deref().filter(|only| found.letters > 0 && !sources.contains(*only)) {
        let there = sources.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Error::usage(
            format!("--source {only}"),
            format!("no letter is of it; there are letters of {there}"),
        ));
    }
    let written = out.complete()?;
    note(format_args!("{} written", counted(written, "value")));
    if left_out == 0 {
        return Ok(found.code());
    }
    note(format_args!(
        "error: {PLACE}: {} without a value: nobody knew how to write it down; say how where the source is declared \
         (`.describe(..)`)",
        counted(left_out, "letter")
    ));
    Ok(FAILED)
}

/// Where the values go.
struct Values {
    name: String,
    to: To,
    written: u64,
}

enum To {
    Output(BufWriter<io::Stdout>),
    File(NewFile),
    /// Whoever read standard output has gone, as `head` does, and wanted no more.
    Nobody,
}

impl Values {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let to = if path == Path::new("-") {
            To::Output(BufWriter::new(io::stdout()))
        } else {
            let why = |error: io::Error| match error.kind() {
                ErrorKind::AlreadyExists => error.to_string(),
                _ => format!("cannot be written: {error}"),
            };
            To::File(NewFile::create(path).map_err(|error| Error::usage(&name, why(error)))?)
        };
        Ok(Values { name, to, written: 0 })
    }

    fn write(&mut self, value: impl std::fmt::Display) -> Result<()> {
        self.written += 1;
        self.pass(|to| writeln!(to, "{value}"))
    }

    /// How many there are, once all of them can be read.
    fn complete(mut self) -> Result<u64> {
        self.pass(|to| to.flush())?;
        if let To::File(file) = self.to {
            file.show().map_err(|error| Error::io(format!("writing {}", self.name), &error))?;
        }
        Ok(self.written)
    }

    fn pass(&mut self, give: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let given = match &mut self.to {
            To::Output(out) => give(out),
            To::File(file) => give(file),
            To::Nobody => Ok(()),
        };
        match (given, &self.to) {
            (Err(error), To::Output(_)) if error.kind() == ErrorKind::BrokenPipe => {
                self.to = To::Nobody;
                Ok(())
            }
            (given, _) => given.map_err(|error| Error::io(format!("writing {}", self.name), &error)),
        }
    }
}
