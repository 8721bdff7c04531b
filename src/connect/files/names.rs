//! The names of a sink's files: hidden, visible, set aside.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use serde::{Deserialize, Serialize};

use super::{failed, lock_alone};
use crate::connect::place::folder_of;
use crate::error::{Error, Failure};
use crate::state::store::CheckpointId;
use crate::sys::sync::{Arc, Mutex};

/// Counts transactions: one more than the checkpoint after which it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Number(u64);

impl Number {
    pub fn after(checkpoint: Option<CheckpointId>) -> Self {
        Number(checkpoint.map_or(0, |checkpoint| checkpoint.0 + 1))
    }
}

pub(super) struct Names {
    directory: PathBuf,
    /// Of the one file; none for parts.
    whole: Option<String>,
    /// As the user gave it.
    given: PathBuf,
    /// The number of what this process sets aside.
    run: Mutex<Option<u64>>,
    /// The directory of parts, locked while a task has it open.
    lock: Mutex<Weak<File>>,
}

const UNDONE: &str = ".undone-";

/// A file of the sink.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub path: PathBuf,
    pub number: Number,
    pub task: usize,
    pub is_hidden: bool,
}

impl Names {
    pub fn parts(directory: PathBuf) -> Self {
        Names { given: directory.clone(), directory, whole: None, run: Mutex::default(), lock: Mutex::default() }
    }

    pub fn whole(path: PathBuf) -> Self {
        // A link stays one: what it points to is replaced.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let directory = folder_of(&path).to_owned();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Names { directory, whole: Some(name), given: path, run: Mutex::default(), lock: Mutex::default() }
    }

    pub fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Parts have one writer: another would give its own the same names, and set these aside. Held by whoever has what
    /// this returns.
    pub fn lock(&self) -> Result<Option<Arc<File>>, Failure> {
        if self.is_whole() {
            return Ok(None);
        }
        let mut lock = self.lock.lock().expect("nothing panics under it");
        if let Some(locked) = lock.upgrade() {
            return Ok(Some(locked));
        }
        let directory = File::open(&self.directory).map_err(|error| failed("opening", &self.directory, &error))?;
        lock_alone(&directory, &self.directory)?;
        let locked = Arc::new(directory);
        *lock = Arc::downgrade(&locked);
        Ok(Some(locked))
    }

    fn part(number: Number, task: usize) -> String {
        format!("part-{:010}-{task:05}", number.0)
    }

    pub fn visible(&self, number: Number, task: usize) -> PathBuf {
        match self.whole {
            Some(_) => self.given.clone(),
            None => self.directory.join(Self::part(number, task)),
        }
    }

    pub fn given(&self) -> &Path {
        &self.given
    }

    /// The whole file has one hidden name for the run.
    pub fn hidden(&self, number: Number, task: usize) -> PathBuf {
        self.directory.join(match &self.whole {
            Some(name) => format!(".{name}.open"),
            None => format!(".{}.open", Self::part(number, task)),
        })
    }

    /// A name that nothing has, for a part that is set aside. Those that one process sets aside have one number.
    pub fn undone(&self, number: Number, task: usize) -> io::Result<PathBuf> {
        let mut run = self.run.lock().expect("nothing panics under it");
        let first = match *run {
            Some(first) => first,
            None => *run.insert(self.next_run()?),
        };
        let name = |run: u64| self.directory.join(format!("{UNDONE}{run}-{}", Self::part(number, task)));
        let free = (first..).map(name).find(|path| !path.exists());
        Ok(free.expect("there is always a next number"))
    }

    fn next_run(&self) -> io::Result<u64> {
        let mut last = 0;
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let run = name.to_str().and_then(|name| name.strip_prefix(UNDONE)?.split_once('-')?.0.parse().ok());
            last = last.max(run.unwrap_or(0));
        }
        Ok(last + 1)
    }

    /// Every part, however old.
    pub fn list(&self) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some((number, task, is_hidden)) = name.and_then(Self::parse) else { continue };
            all.push(Found { number, task, is_hidden, path });
        }
        Ok(all)
    }

    fn parse(name: &str) -> Option<(Number, usize, bool)> {
        let hidden = name.strip_prefix('.').and_then(|name| name.strip_suffix(".open"));
        let (number, task) = hidden.unwrap_or(name).strip_prefix("part-")?.split_once('-')?;
        Some((Number(number.parse().ok()?), task.parse().ok()?, hidden.is_some()))
    }

    pub fn check(&self) -> Result<(), Unusable> {
        if self.whole.as_ref().is_some_and(String::is_empty) {
            return Err(Unusable::Wrong("this names no file; give one"));
        }
        match fs::metadata(&self.given) {
            Ok(found) if self.is_whole() && found.is_dir() => {
                return Err(Unusable::Wrong("this is a directory; give a file"));
            }
            Ok(found) if self.is_whole() && !found.is_file() => {
                let why = "the output becomes visible by a rename, which needs a regular file; give one";
                return Err(Unusable::Wrong(why));
            }
            Ok(found) if !self.is_whole() && !found.is_dir() => {
                return Err(Unusable::Wrong("this is a file; give a directory for the parts"));
            }
            _ => {}
        }
        if !self.is_whole() {
            fs::create_dir_all(&self.directory).map_err(Unusable::Io)?;
        }
        self.probe().map_err(Unusable::Io)
    }

    /// Making a file is the only sure way to know. Others may do the same here at the same time.
    fn probe(&self) -> io::Result<()> {
        let name = self.whole.as_deref().unwrap_or("part");
        for number in 0.. {
            let probe = self.directory.join(format!(".{name}.probe-{number}"));
            match File::create_new(&probe) {
                Ok(_) => return fs::remove_file(&probe),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("there is always a next number")
    }

    pub fn problem(&self, unusable: &Unusable) -> Error {
        let what = match unusable {
            Unusable::Wrong(what) => (*what).to_owned(),
            Unusable::Io(error) => format!("the output cannot be written: {error}"),
        };
        Error::usage(self.given.display().to_string(), what)
    }
}

/// Why there can be no output.
pub(super) enum Unusable {
    Wrong(&'static str),
    Io(io::Error),
}

impl Unusable {
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Unusable::Io(error) if full.contains(&error.kind()))
    }

    /// Trying again may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Unusable::Io(_)) && !self.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_others_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (number, names) = (Number::after(Some(CheckpointId(41))), Names::parts(folder.path().into()));
        let name_of = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(Names::parse(&name_of(names.hidden(number, 7))), Some((number, 7, true)));
        assert_eq!(Names::parse(&name_of(names.visible(number, 7))), Some((number, 7, false)));
        let whole = name_of(Names::whole("out/counts.tsv".into()).hidden(number, 7));
        let undone = name_of(names.undone(number, 7).unwrap());
        for other in ["", ".", "part-", "part-1", "part-x-1", ".part-1-1", ".open", ".part.probe-0", &whole, &undone] {
            assert_eq!(Names::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_without_a_directory_is_in_the_present_one() {
        assert_eq!(Names::whole("counts.tsv".into()).directory(), Path::new("."));
    }
}
