//! The names of a sink's files: hidden, visible, set aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::state::store::CheckpointId;

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
}

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
        Names { given: directory.clone(), directory, whole: None }
    }

    pub fn whole(path: PathBuf) -> Self {
        // A link stays one: what it points to is replaced.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => PathBuf::from("/"),
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Names { directory, whole: Some(name), given: path }
    }

    pub fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    pub fn directory(&self) -> &Path {
        &self.directory
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

    pub fn hidden(&self, number: Number, task: usize) -> PathBuf {
        let part = Self::part(number, task);
        self.directory.join(match &self.whole {
            Some(name) => format!(".{name}.{part}.open"),
            None => format!(".{part}.open"),
        })
    }

    pub fn undone(&self, number: Number, task: usize) -> PathBuf {
        self.directory.join(format!(".undone-{}", Self::part(number, task)))
    }

    /// Every file of the sink, however old; of a whole file, what is hidden.
    pub fn list(&self) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some((number, task, is_hidden)) = name.and_then(|name| self.parse(name)) else { continue };
            all.push(Found { number, task, is_hidden, path });
        }
        Ok(all)
    }

    fn parse(&self, name: &str) -> Option<(Number, usize, bool)> {
        let hidden = name.strip_prefix('.').and_then(|name| name.strip_suffix(".open"));
        let part = match (&self.whole, hidden) {
            (Some(whole), hidden) => hidden?.strip_prefix(whole.as_str())?.strip_prefix('.')?,
            (None, Some(hidden)) => hidden,
            (None, None) => name,
        };
        let (number, task) = part.strip_prefix("part-")?.split_once('-')?;
        Some((Number(number.parse().ok()?), task.parse().ok()?, hidden.is_some()))
    }

    pub fn check(&self) -> Result<(), Error> {
        let problem = |what: &str| Error::usage(self.given.display().to_string(), what.to_owned());
        let unwritable = |error: io::Error| problem(&format!("the output cannot be written: {error}"));
        if let Ok(found) = fs::metadata(&self.given) {
            match self.is_whole() {
                true if found.is_dir() => return Err(problem("this is a directory; give a file")),
                true if !found.is_file() => {
                    return Err(problem(
                        "the output becomes visible by a rename, which needs a regular file; give one",
                    ));
                }
                false if !found.is_dir() => return Err(problem("this is a file; give a directory for the parts")),
                _ => {}
            }
        }
        if !self.is_whole() {
            fs::create_dir_all(&self.directory).map_err(unwritable)?;
        }
        // Making a file is the only sure way to know.
        let probe = self.directory.join(format!(".{}.probe", self.whole.as_deref().unwrap_or("part")));
        fs::File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(unwritable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_others_left_alone() {
        let number = Number::after(Some(CheckpointId(41)));
        for names in [Names::parts("out".into()), Names::whole("out/counts.tsv".into())] {
            let name_of = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(names.parse(&name_of(names.hidden(number, 7))), Some((number, 7, true)));
            let visible = (!names.is_whole()).then_some((number, 7, false));
            assert_eq!(names.parse(&name_of(names.visible(number, 7))), visible);
            for other in
                ["", ".", "part-", "part-1", "part-x-1", ".part-1-1", ".open", &name_of(names.undone(number, 7))]
            {
                assert_eq!(names.parse(other), None, "{other}");
            }
        }
    }

    #[test]
    fn a_file_without_a_directory_is_in_the_present_one() {
        assert_eq!(Names::whole("counts.tsv".into()).directory(), Path::new("."));
    }
}
