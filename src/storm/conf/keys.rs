//! What is known of one of Storm's keys.

use super::table::{IGNORED_PREFIXES, KEYS};

/// A key of Storm's configuration.
#[derive(Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    pub takes: Takes,
    /// Storm's default as JSON; empty if there is none.
    pub default: &'static str,
    pub fate: Fate,
    /// What it does here, or why it does nothing.
    pub note: &'static str,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Means the same here.
    Honoured,
    /// Becomes a setting of squall's that does what it is for.
    Mapped,
    /// Has no effect here, which may surprise.
    Accepted,
    /// Is about clusters, JVMs or schedulers, none of which there are.
    Ignored,
    /// Concerns Java code only.
    Java,
    /// Is not one of Storm's: components get it as it is.
    Passed,
}

impl Fate {
    pub fn word(self) -> &'static str {
        match self {
            Fate::Honoured => "honoured",
            Fate::Mapped => "mapped",
            Fate::Accepted => "accepted, no effect",
            Fate::Ignored => "ignored",
            Fate::Java => "needs the JVM",
            Fate::Passed => "passed to components",
        }
    }
}

/// The type of a value. Null means everywhere that a key is not set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// A whole number of 32 bits, no smaller than this.
    Int(i64),
    /// A number, no smaller than this.
    Number(f64),
    /// A number above this.
    Above(f64),
    Bool,
    Text,
    /// A list of texts.
    Texts,
    /// A map of texts to texts.
    Strings,
    Map,
    List,
    /// A list of texts, or one text.
    ListOrText,
    Any,
}

impl Takes {
    pub fn expected(self) -> String {
        match self {
            Takes::Int(i64::MIN) => "a whole number".to_owned(),
            Takes::Int(min) => format!("a whole number of at least {min}"),
            Takes::Number(min) => format!("a number of at least {min}"),
            Takes::Above(min) => format!("a number above {min}"),
            Takes::Bool => "true or false".to_owned(),
            Takes::Text => "a text".to_owned(),
            Takes::Texts => "a list of texts".to_owned(),
            Takes::Strings => "a map of texts to texts".to_owned(),
            Takes::Map => "a map".to_owned(),
            Takes::List => "a list".to_owned(),
            Takes::ListOrText => "a text or a list of texts".to_owned(),
            Takes::Any => "any value".to_owned(),
        }
    }
}

/// What is known of a key; nothing if it is not one of Storm's.
pub(crate) fn find(name: &str) -> Option<Found> {
    let exact = KEYS.iter().find(|key| key.name == name);
    let of_family = || IGNORED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)).then_some(Found::Family);
    exact.map(Found::Key).or_else(of_family)
}

/// What [`find`] found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Key(&'static Key),
    /// One of the many keys of Storm's daemons.
    Family,
}
