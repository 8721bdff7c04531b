//! The name of a setting: which key of which struct, and how to find it from what the user wrote.

use std::collections::BTreeMap;
use std::fmt;

use super::table::Key;
use super::{ComponentSettings, Settings, UserValue};

/// Where a value lives. Ordered as settings are printed: table order within each struct.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// `KEY`, by its place in [`Settings::KEYS`].
    Topology(usize),
    /// `components.ID.KEY`, by its place in [`ComponentSettings::KEYS`].
    Component(String, usize),
    /// `components.ID.user.KEY`.
    ComponentUser(String, String),
    /// `user.KEY`.
    User(String),
}

impl Name {
    /// The name that a path of segments stands for.
    ///
    /// # Errors
    ///
    /// There is no such key: what to do about it.
    pub(super) fn resolve(path: &[String]) -> Result<Name, String> {
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        match segments[..] {
            ["user", ref key @ ..] if !key.is_empty() => Ok(Name::User(key.join("."))),
            ["components", id, "user", ref key @ ..] if !key.is_empty() => {
                Ok(Name::ComponentUser(id.to_owned(), key.join(".")))
            }
            ["user"] | ["components", _, "user"] => Err("expected a table of keys of your own".to_owned()),
            ["components"] | ["components", _] => {
                Err("expected a table of settings for each component, as in [components.ID]".to_owned())
            }
            ["components", id, key, ref rest @ ..] => match find(ComponentSettings::KEYS, key) {
                Some(place) if rest.is_empty() => Ok(Name::Component(id.to_owned(), place)),
                Some(place) => Err(not_a_table((ComponentSettings::KEYS[place].expected)())),
                None => Err(unknown(key, &format!("components.{}.", quoted(id)), ComponentSettings::KEYS, &["user"])),
            },
            [key, ref rest @ ..] => match find(Settings::KEYS, key) {
                Some(place) if rest.is_empty() => Ok(Name::Topology(place)),
                Some(place) => Err(not_a_table((Settings::KEYS[place].expected)())),
                None if rest.is_empty() && find(ComponentSettings::KEYS, key).is_some() => {
                    Err(format!("unknown key; it is set for one component at a time: components.ID.{key}"))
                }
                None => Err(unknown(key, "", Settings::KEYS, &["components", "user"])),
            },
            [] => Err("expected a key".to_owned()),
        }
    }

    /// The component that the name belongs to.
    pub(super) fn component(&self) -> Option<&str> {
        match self {
            Name::Component(id, _) | Name::ComponentUser(id, _) => Some(id),
            Name::Topology(_) | Name::User(_) => None,
        }
    }

    /// Stores a value under this name.
    ///
    /// # Errors
    ///
    /// The value does not fit: what was expected.
    pub(super) fn store(&self, settings: &mut Settings, value: &UserValue) -> Result<(), String> {
        match self {
            Name::Topology(place) => (Settings::KEYS[*place].set)(settings, value)?,
            Name::Component(id, place) => {
                let own = settings.components.entry(id.clone()).or_default();
                (ComponentSettings::KEYS[*place].set)(own, value)?;
            }
            Name::ComponentUser(id, key) => {
                settings.components.entry(id.clone()).or_default().user.insert(key.clone(), value.clone());
            }
            Name::User(key) => {
                settings.user.insert(key.clone(), value.clone());
            }
        }
        Ok(())
    }

    /// Every name under which settings have a value, with that value; what is not set is left out.
    pub(super) fn all(settings: &Settings) -> BTreeMap<Name, UserValue> {
        fn of<S>(keys: &[Key<S>], settings: &S) -> impl Iterator<Item = (usize, UserValue)> {
            keys.iter().enumerate().filter_map(|(place, key)| Some((place, (key.get)(settings)?)))
        }
        let mut all = BTreeMap::new();
        all.extend(of(Settings::KEYS, settings).map(|(place, value)| (Name::Topology(place), value)));
        for (id, own) in &settings.components {
            let keys = of(ComponentSettings::KEYS, own);
            all.extend(keys.map(|(place, value)| (Name::Component(id.clone(), place), value)));
            let user = own.user.iter();
            all.extend(user.map(|(key, value)| (Name::ComponentUser(id.clone(), key.clone()), value.clone())));
        }
        all.extend(settings.user.iter().map(|(key, value)| (Name::User(key.clone()), value.clone())));
        all
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Topology(place) => f.write_str(Settings::KEYS[*place].name),
            Name::Component(id, place) => {
                write!(f, "components.{}.{}", quoted(id), ComponentSettings::KEYS[*place].name)
            }
            Name::ComponentUser(id, key) => write!(f, "components.{}.user.{key}", quoted(id)),
            Name::User(key) => write!(f, "user.{key}"),
        }
    }
}

/// The path as the user would write it in TOML.
pub(super) fn path_text(path: &[String]) -> String {
    path.iter().map(|segment| quoted(segment)).collect::<Vec<_>>().join(".")
}

/// The nearest of the candidates, if one is near enough to be what was meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let near = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    near.filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1)).min().map(|(_, candidate)| candidate)
}

fn find<S>(keys: &[Key<S>], name: &str) -> Option<usize> {
    keys.iter().position(|key| key.name == name)
}

fn not_a_table(expected: String) -> String {
    format!("expected {expected}, got a table")
}

fn unknown<S>(key: &str, prefix: &str, keys: &[Key<S>], sections: &[&'static str]) -> String {
    match nearest(key, keys.iter().map(|key| key.name).chain(sections.iter().copied())) {
        Some(near) => format!("unknown key; did you mean {prefix}{near}?"),
        None => "unknown key".to_owned(),
    }
}

fn quoted(segment: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !segment.is_empty() && segment.chars().all(bare) {
        return segment.to_owned();
    }
    UserValue::from(segment).to_string()
}
