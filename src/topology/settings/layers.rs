//! Layers of settings, and the settings that result, each value with its origin.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::name::{Name, nearest, path_text};
use super::source::{Entry, Source};
use super::table::UNSET;
use super::{ComponentSettings, Settings, UserValue, checks};
use crate::error::{Error, Problem, Result};

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provenance {
    /// Built in.
    Default,
    /// Set in code, at this place of the topology's source.
    Topology {
        /// File and line, or whatever else names the place.
        place: String,
    },
    /// A line of a settings file.
    File {
        /// The file, as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The command line.
    Option {
        /// The option, such as `--executors`.
        text: String,
    },
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Provenance::Default => f.write_str("default"),
            Provenance::Topology { place } => f.write_str(place),
            Provenance::File { path, line } => write!(f, "{path}:{line}"),
            Provenance::Option { text } => f.write_str(text),
        }
    }
}

/// Collects layers of settings and resolves them into one [`Settings`].
///
/// From lowest to highest: built-in defaults; what the [topology](Layers::topology) sets in code;
/// [files](Layers::toml); [options](Layers::set). The kind of a layer decides, not the order of the calls; within one
/// kind later calls win.
///
/// Nothing fails before [`resolve`](Layers::resolve), which then reports everything that is wrong in any layer, also in
/// values that a higher layer overrides.
///
/// # Examples
///
/// ```
/// use squall::topology::settings::Layers;
///
/// let mut layers = Layers::new();
/// layers.topology("main.rs:12", |settings| settings.max_spout_pending = 100);
/// layers.toml("max_spout_pending = 200\nmessage_timeout = \"5s\"", "squall.toml");
/// layers.assign("max_spout_pending=300");
///
/// let resolved = layers.resolve()?;
/// assert_eq!(resolved.settings.max_spout_pending, 300);
/// assert_eq!(resolved.provenance("max_spout_pending").to_string(), "--set max_spout_pending=300");
/// assert_eq!(resolved.provenance("message_timeout").to_string(), "squall.toml:2");
/// assert_eq!(resolved.provenance("lane_capacity").to_string(), "default");
/// # Ok::<(), squall::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Layers {
    topology: Settings,
    /// Where each name that the topology changed was changed last.
    topology_places: BTreeMap<Name, String>,
    files: Vec<Source>,
    options: Vec<Source>,
    components: Option<BTreeSet<String>>,
}

impl Layers {
    /// The built-in defaults and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets values in code, on top of what earlier calls set; every value that `change` changes gets `place` as its
    /// origin. A value set to what it already was keeps the origin it had.
    pub fn topology(&mut self, place: impl Into<String>, change: impl FnOnce(&mut Settings)) -> &mut Self {
        let place = place.into();
        let before = Name::all(&self.topology);
        change(&mut self.topology);
        let after = Name::all(&self.topology);
        self.topology_places.retain(|name, _| after.contains_key(name));
        for (name, value) in &after {
            if before.get(name) != Some(value) {
                self.topology_places.insert(name.clone(), place.clone());
            }
        }
        self
    }

    /// Adds TOML text: that of a file of this name.
    pub fn toml(&mut self, text: &str, name: &str) -> &mut Self {
        self.files.push(Source::toml(text, name));
        self
    }

    /// Sets one key, given as text, on behalf of a command-line option such as `--executors`.
    ///
    /// The value may be any TOML value; what is none, such as `30s` or `park`, is taken as text.
    pub fn set(&mut self, option: impl Into<String>, key: &str, value_text: &str) -> &mut Self {
        self.options.push(Source::assignment(key, value_text, &Provenance::Option { text: option.into() }));
        self
    }

    /// Sets one key by `KEY=VALUE`, as after `--set`.
    pub fn assign(&mut self, assignment: &str) -> &mut Self {
        let option = format!("--set {assignment}");
        match assignment.split_once('=') {
            Some((key, value_text)) => self.set(option, key.trim(), value_text),
            None => {
                let unreadable = vec![(Provenance::Option { text: option }, "expected KEY=VALUE".to_owned())];
                self.options.push(Source { entries: Vec::new(), unreadable });
                self
            }
        }
    }

    /// Tells which components there are; settings for any other then are problems.
    pub fn components<I: Into<String>>(&mut self, ids: impl IntoIterator<Item = I>) -> &mut Self {
        self.components = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// The settings that result.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once, each problem with its place: files that cannot be read, syntax errors,
    /// unknown keys and components, values of the wrong type or out of range; and settings that contradict each other,
    /// as far as they could be read.
    pub fn resolve(&self) -> Result<Resolved> {
        let mut resolution = Resolution::new(self.components.as_ref());
        let values = Name::all(&self.topology);
        for (name, place) in &self.topology_places {
            resolution.apply(name, &values[name], &Provenance::Topology { place: place.clone() });
        }
        for source in self.files.iter().chain(&self.options) {
            for (origin, message) in &source.unreadable {
                resolution.problem(origin, message);
            }
            for Entry { path, value, origin } in &source.entries {
                match Name::resolve(path) {
                    Ok(name) => resolution.apply(&name, value, origin),
                    Err(message) => resolution.problem(origin, &format!("{}: {message}", path_text(path))),
                }
            }
        }
        resolution.finish()
    }
}

/// Layers being laid over each other.
struct Resolution<'l> {
    resolved: Resolved,
    components: Option<&'l BTreeSet<String>>,
    problems: Vec<Problem>,
    /// Keys whose effective value is not what the user meant, so that nothing can be concluded from it.
    misread: BTreeSet<String>,
}

impl<'l> Resolution<'l> {
    fn new(components: Option<&'l BTreeSet<String>>) -> Self {
        let resolved = Resolved { settings: Settings::default(), places: BTreeMap::new() };
        Resolution { resolved, components, problems: Vec::new(), misread: BTreeSet::new() }
    }

    fn apply(&mut self, name: &Name, value: &UserValue, origin: &Provenance) {
        let key = name.to_string();
        let known = name.component().map_or(Ok(()), |id| self.check_component(id));
        match known.and_then(|()| name.store(&mut self.resolved.settings, value)) {
            Ok(()) => {
                self.misread.remove(&key);
                self.resolved.places.insert(key, origin.clone());
            }
            Err(message) => {
                self.problem(origin, &format!("{key}: {message}"));
                self.misread.insert(key);
            }
        }
    }

    fn check_component(&self, id: &str) -> Result<(), String> {
        match self.components {
            Some(known) if !known.contains(id) => Err(match nearest(id, known.iter().map(String::as_str)) {
                Some(near) => format!("there is no component {id:?}; did you mean {near:?}?"),
                None => format!("there is no component {id:?}"),
            }),
            _ => Ok(()),
        }
    }

    fn problem(&mut self, origin: &Provenance, message: &str) {
        self.problems.push(Problem::new(origin.to_string(), message));
    }

    fn finish(mut self) -> Result<Resolved> {
        self.problems.extend(checks::contradictions(&self.resolved, &self.misread));
        if self.problems.is_empty() { Ok(self.resolved) } else { Err(Error::invalid(self.problems)) }
    }
}

/// Settings that passed every check, with the origin of each value.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The effective settings.
    pub settings: Settings,
    /// By the text of the key; what is missing is a default.
    places: BTreeMap<String, Provenance>,
}

/// One effective setting, for a listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The key, as after `--set`.
    pub key: String,
    /// The effective value; `auto` where nothing is set.
    pub value: UserValue,
    /// Where it came from, in words.
    pub origin: String,
}

impl Resolved {
    /// Where the value of a key came from; [`Provenance::Default`] also for a key that does not exist.
    pub fn provenance(&self, key: &str) -> &Provenance {
        self.places.get(key).unwrap_or(&Provenance::Default)
    }

    /// Every key of the topology, then every key that is set for a component, then the user's own keys: the value of
    /// each and where it came from.
    pub fn explain(&self) -> Vec<Row> {
        let mut values = Name::all(&self.settings);
        for place in 0..Settings::KEYS.len() {
            values.entry(Name::Topology(place)).or_insert_with(|| UNSET.into());
        }
        let row = |(name, value): (Name, UserValue)| {
            let key = name.to_string();
            let origin = self.provenance(&key).to_string();
            Row { key, value, origin }
        };
        values.into_iter().map(row).collect()
    }

    /// The key of a component's placement.
    pub(super) fn placement_key(&self, component: &str) -> String {
        let place = ComponentSettings::KEYS.iter().position(|key| key.name == "placement");
        Name::Component(component.to_owned(), place.expect("components have a placement")).to_string()
    }
}
