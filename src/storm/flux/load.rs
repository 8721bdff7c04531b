//! Files: reading them, replacing `${}`, merging includes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::Problem;
use crate::storm::conf::Checked;
use crate::storm::flux::model::{Bean, Definition, Vertex, Word};
use crate::storm::flux::read::{Include, read};
use crate::storm::yaml::{self, Substitution, Text, parse_properties};

/// The largest Flux or properties file.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files that one topology may consist of.
const FILES_MAX: usize = 100;

/// Where the parts of a topology are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Where {
    /// The properties that `${}` takes values from.
    pub filter: Option<PathBuf>,
    /// Whether `${ENV-NAME}` takes them from the environment.
    pub env_filter: bool,
    /// The folder that stands for the class path: of includes that are resources, and of shell components.
    pub resources: Option<PathBuf>,
}

/// What was read, and what to say about it.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// None if the file could not be read at all.
    pub definition: Option<Definition>,
    pub problems: Vec<Problem>,
    /// Odd, and no obstacle.
    pub warnings: Vec<Problem>,
}

/// Reads a file and everything that it includes.
pub(crate) fn load(path: &Path, wheres: &Where) -> Loaded {
    let mut loader = Loader { wheres, substitution: Substitution::default(), loaded: Loaded::default(), files: 0 };
    loader.substitution = loader.substitution_of();
    loader.loaded.definition = loader.file(path, &mut Vec::new());
    loader.loaded
}

/// Reads a text as if it were a file, without includes.
#[cfg(any(test, squall_fuzz))]
pub(crate) fn load_text(text: &Text) -> Loaded {
    let mut loaded = Loaded::default();
    match yaml::parse(text) {
        Ok(root) => loaded.definition = Some(read(&root, &mut loaded.problems).0),
        Err(problems) => loaded.problems = problems,
    }
    loaded
}

struct Loader<'w> {
    wheres: &'w Where,
    substitution: Substitution,
    loaded: Loaded,
    files: usize,
}

impl Loader<'_> {
    fn substitution_of(&mut self) -> Substitution {
        let mut properties = BTreeMap::new();
        if let Some(path) = &self.wheres.filter {
            match read_file(path) {
                Ok(text) => properties = parse_properties(&text),
                Err(error) => self.unreadable(&path.display().to_string(), "the properties file", &error),
            }
        }
        let variables = || {
            let text = |text: std::ffi::OsString| text.into_string().ok();
            std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
        };
        let environment = self.wheres.env_filter.then(variables);
        Substitution { properties, environment, has_filter: self.wheres.filter.is_some() }
    }

    fn unreadable(&mut self, place: &str, what: &str, error: &io::Error) {
        self.loaded.problems.push(Problem::new(place, format!("{what} cannot be read: {error}")));
    }

    /// One file with its includes. `open` are the files that lead here.
    fn file(&mut self, path: &Path, open: &mut Vec<PathBuf>) -> Option<Definition> {
        let name = path.display().to_string();
        let text = match read_file(path) {
            Ok(text) => text,
            Err(error) => {
                self.unreadable(&name, "the file", &error);
                return None;
            }
        };
        let (text, missing) = self.substitution.apply(&Text::new(name, text));
        self.loaded.warnings.extend(missing);
        let root = match yaml::parse(&text) {
            Ok(root) => root,
            Err(problems) => {
                self.loaded.problems.extend(problems);
                return None;
            }
        };
        let (mut definition, includes) = read(&root, &mut self.loaded.problems);
        open.push(path.to_path_buf());
        for include in includes {
            if let Some(included) = self.include(&include, path, open) {
                merge(&mut definition, included, &include, &mut self.loaded.warnings);
            }
        }
        open.pop();
        Some(definition)
    }

    fn include(&mut self, include: &Include, from: &Path, open: &mut Vec<PathBuf>) -> Option<Definition> {
        let file = &include.file;
        let path = self.find(include, from);
        let path = match path {
            Ok(path) => path,
            Err(tried) => {
                let message = format!("there is no file {:?}; looked for {}", file.text, tried.join(", "));
                self.loaded.problems.push(Problem::new(file.place.to_string(), message));
                return None;
            }
        };
        if open.contains(&path) {
            let message = format!("{:?} includes itself", file.text);
            self.loaded.problems.push(Problem::new(file.place.to_string(), message));
            return None;
        }
        self.files += 1;
        if self.files > FILES_MAX {
            let message = format!("more than {FILES_MAX} files are included");
            self.loaded.problems.push(Problem::new(file.place.to_string(), message));
            return None;
        }
        self.file(&path, open)
    }

    /// A file is looked for beside the one that includes it and in the working directory; a resource beside it and in
    /// the folder of resources, with a leading `/` or without.
    fn find(&self, include: &Include, from: &Path) -> Result<PathBuf, Vec<String>> {
        let beside = from.parent().unwrap_or(Path::new(""));
        let text = &*include.file.text;
        let mut tried = Vec::new();
        if include.is_resource {
            let relative = text.trim_start_matches('/');
            tried.push(beside.join(relative));
            tried.extend(self.wheres.resources.iter().map(|resources| resources.join(relative)));
            tried.push(beside.join("resources").join(relative));
            // As in a jar built from this folder: `/configs/a.yaml` may be beside `configs/b.yaml`.
            tried.extend(beside.parent().map(|above| above.join(relative)));
        } else {
            tried.push(beside.join(text));
            tried.push(PathBuf::from(text));
        }
        let found = tried.iter().find(|path| path.is_file()).cloned();
        found.ok_or_else(|| tried.iter().map(|path| path.display().to_string()).collect())
    }
}

pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    Ok(text)
}

/// Adds what a file has included. Of two things with one name that of the including file stays, unless the include
/// overrides.
fn merge(into: &mut Definition, from: Definition, include: &Include, warnings: &mut Vec<Problem>) {
    let mut merging = Merging { overrides: include.overrides, warnings };
    if let Some(name) = from.name {
        match &into.name {
            Some(own) if !include.overrides => merging.kept("the name", &name, own),
            _ => into.name = Some(name),
        }
    }
    merging.all(&mut into.config, from.config, "the configuration key");
    merging.all(&mut into.components, from.components, "the component");
    merging.all(&mut into.spouts, from.spouts, "the spout");
    merging.all(&mut into.bolts, from.bolts, "the bolt");
    merging.all(&mut into.worker_hooks, from.worker_hooks, "the worker hook");
    into.streams.extend(from.streams);
    if into.topology_source.is_none() {
        into.topology_source = from.topology_source;
    }
}

struct Merging<'w> {
    overrides: bool,
    warnings: &'w mut Vec<Problem>,
}

impl Merging<'_> {
    fn kept(&mut self, what: &str, other: &Word, own: &Word) {
        let message =
            format!("{what} {:?} is left out: {} has it already, and override is false", other.text, own.place);
        self.warnings.push(Problem::new(other.place.to_string(), message));
    }

    fn all<T: Named>(&mut self, into: &mut Vec<T>, from: Vec<T>, what: &str) {
        for other in from {
            let name = other.name();
            match into.iter_mut().find(|own| own.name().text == name.text) {
                None => into.push(other),
                Some(own) if self.overrides => *own = other,
                Some(own) => {
                    let own = own.name();
                    self.kept(what, &name, &own);
                }
            }
        }
    }
}

/// What has a name by which includes are merged.
trait Named {
    fn name(&self) -> Word;
}

impl Named for Bean {
    fn name(&self) -> Word {
        self.id.clone()
    }
}

impl Named for Vertex {
    fn name(&self) -> Word {
        self.id.clone()
    }
}

impl Named for Checked {
    fn name(&self) -> Word {
        Word { text: self.key.as_str().into(), place: self.place.clone() }
    }
}
