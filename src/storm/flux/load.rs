//! Files: reading them, replacing `${}`, merging includes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::Problem;
use crate::storm::conf::Checked;
use crate::storm::flux::model::{Bean, Definition, Vertex, Word};
use crate::storm::flux::read::{Include, OneFile, read};
use crate::storm::yaml::{self, Replacement, Substitution, Text, parse_properties};

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
    /// What has come into the files by `${}`.
    pub replacements: Vec<Replacement>,
}

/// Reads a file and everything that it includes.
pub(crate) fn load(path: &Path, wheres: &Where) -> Loaded {
    let mut loader = Loader { wheres, substitution: Substitution::default(), loaded: Loaded::default() };
    loader.substitution = loader.substitution_of();
    loader.loaded.definition = loader.whole(path);
    loader.loaded
}

/// Reads a text as if it were a file, without includes.
#[cfg(any(test, squall_fuzz))]
pub(crate) fn load_text(text: &Text) -> Loaded {
    let mut loaded = Loaded::default();
    match yaml::parse(text) {
        Ok(root) => {
            let OneFile { definition, warnings, .. } = read(&root, &mut loaded.problems);
            (loaded.definition, loaded.warnings) = (Some(definition), warnings);
        }
        Err(problems) => loaded.problems = problems,
    }
    loaded.replacements = text.replacements.clone();
    loaded
}

struct Loader<'w> {
    wheres: &'w Where,
    substitution: Substitution,
    loaded: Loaded,
}

impl Loader<'_> {
    fn substitution_of(&mut self) -> Substitution {
        let mut properties = BTreeMap::new();
        if let Some(path) = &self.wheres.filter {
            match read_file(path) {
                Ok(text) => {
                    let file = path.display().to_string();
                    properties = parse_properties(&text, &file, &mut self.loaded.problems);
                }
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

    /// A file with its includes. Those of an included file are not followed, as in Flux.
    fn whole(&mut self, path: &Path) -> Option<Definition> {
        let name = path.display().to_string();
        let OneFile { mut definition, includes, warnings } = self.file(path, &name)?;
        self.loaded.warnings.extend(warnings);
        let mut known = vec![Known { identity: identity(path), name, place: None }];
        for (at, include) in includes.iter().enumerate() {
            if at == FILES_MAX {
                let message = format!("more than {FILES_MAX} files are included");
                self.loaded.problems.push(Problem::new(include.file.place.to_string(), message));
                break;
            }
            self.include(include, path, &mut known, &mut definition);
        }
        Some(definition)
    }

    /// One file without its includes. `name` is what places in it are called by.
    fn file(&mut self, path: &Path, name: &str) -> Option<OneFile> {
        let text = match read_file(path) {
            Ok(text) => text,
            Err(error) => {
                self.unreadable(name, "the file", &error);
                return None;
            }
        };
        let (text, missing) = self.substitution.apply(&Text::new(name, text));
        self.loaded.warnings.extend(missing);
        self.loaded.replacements.extend(text.replacements.iter().cloned());
        match yaml::parse(&text) {
            Ok(root) => Some(read(&root, &mut self.loaded.problems)),
            Err(problems) => {
                self.loaded.problems.extend(problems);
                None
            }
        }
    }

    fn include(&mut self, include: &Include, from: &Path, known: &mut Vec<Known>, into: &mut Definition) {
        let file = &include.file;
        let warning = |place: &dyn std::fmt::Display, message: String| Problem::new(place.to_string(), message);
        let path = match self.find(include, from) {
            Ok(path) => path,
            Err(tried) => {
                let message = format!("there is no file {:?}; looked for {}", file.text, tried.join(", "));
                self.loaded.problems.push(Problem::new(file.place.to_string(), message));
                return;
            }
        };
        let identity = identity(&path);
        let first = known.iter().find(|known| identity.is_some() && known.identity == identity);
        let (name, is_again) = match first {
            Some(first) => (first.name.clone(), true),
            None => (path.display().to_string(), false),
        };
        if let Some(first) = first {
            let what = match &first.place {
                Some(place) => format!("the file that is included at {place}"),
                None => "this file itself".to_owned(),
            };
            let message = format!("{:?} is {what}: it is merged once more, as in Flux; remove this include", file.text);
            self.loaded.warnings.push(warning(&file.place, message));
        } else {
            known.push(Known { identity, name: name.clone(), place: Some(file.place.to_string()) });
        }
        let Some(OneFile { mut definition, includes, warnings }) = self.file(&path, &name) else { return };
        if !is_again {
            self.loaded.warnings.extend(warnings);
            let ignored =
                includes.iter().map(|nested| (&nested.file.place, format!("the include of {:?}", nested.file.text)));
            let hooks = definition
                .worker_hooks
                .iter()
                .map(|hook| (&hook.id.place, format!("the worker hook {:?}", hook.id.text)));
            let source =
                definition.topology_source.iter().map(|source| (&source.class.place, "topologySource".to_owned()));
            let messages = ignored.chain(hooks).chain(source).map(|(place, what)| {
                let message = format!(
                    "{what} is left out, as in Flux, because the file that holds it is itself included; put it into {}",
                    from.display()
                );
                warning(place, message)
            });
            self.loaded.warnings.extend(messages);
        }
        (definition.worker_hooks, definition.topology_source) = (Vec::new(), None);
        // Of what is merged once more the warnings are known.
        let mut unheard = Vec::new();
        let warnings = if is_again { &mut unheard } else { &mut self.loaded.warnings };
        merge(into, definition, include, warnings);
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

/// A file that has been read.
struct Known {
    identity: Option<(u64, u64)>,
    /// What it is called in places.
    name: String,
    /// Where it is included; none for the file that includes all others.
    place: Option<String>,
}

/// What a file is, whatever path leads to it.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;

    // A file that is not there is told when it is read.
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
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
    into.streams.extend(from.streams);
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

/// Of two things of one file with one name the later stays, in the place of the first.
pub(super) fn without_repeats<T: Named>(all: Vec<T>, what: &str, warnings: &mut Vec<Problem>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(all.len());
    let mut positions: hashbrown::HashMap<std::sync::Arc<str>, usize> = hashbrown::HashMap::new();
    for one in all {
        let name = one.name();
        match positions.get(&name.text) {
            Some(&position) => {
                let first = std::mem::replace(&mut kept[position], one).name();
                let message = format!(
                    "{what} {:?} is left out: {} has the same id, and the later one counts, as in Flux",
                    name.text, name.place
                );
                warnings.push(Problem::new(first.place.to_string(), message));
            }
            None => {
                positions.insert(name.text, kept.len());
                kept.push(one);
            }
        }
    }
    kept
}

/// What has a name by which includes are merged.
pub(super) trait Named {
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
