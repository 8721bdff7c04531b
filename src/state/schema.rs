//! What a checkpoint records of each state, and whether the program can still read it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::state::codec::{self, DecodeError, StateValue};

/// The kinds of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// One value per key.
    Value,
    /// A sequence per key.
    List,
    /// A map per key.
    Map,
    /// One value per key, into which others of its type are folded.
    Reducing,
    /// One accumulator per key.
    Aggregating,
    /// Processing-time timers per key.
    Timers,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Value => "value",
            Kind::List => "list",
            Kind::Map => "map",
            Kind::Reducing => "reducing",
            Kind::Aggregating => "aggregating",
            Kind::Timers => "timers",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How keys and values became bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Codec {
    /// MessagePack, structures as maps by field name.
    MessagePack,
}

/// What is recorded of a state, once per checkpoint: enough to read its entries without the program, and to tell
/// whether a program can.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Schema {
    /// Which kind of state.
    pub kind: Kind,
    /// How keys and values are written.
    pub codec: Codec,
    /// The shape of the key, such as `u64` or `(str,u32)`. It cannot change.
    pub key: String,
    /// The shape of an element's key, behind the key in every entry; none where there are no elements. It cannot
    /// change.
    pub element: Option<String>,
    /// The shape of the value, for people and tools: it may change as long as the values can be read.
    pub value: String,
    /// The version of the value's type, which the program counts up when it registers a migration.
    pub version: u32,
    /// True if each value has 8 bytes before it (little-endian): when it was last refreshed, in nanoseconds since the
    /// epoch, for its time to live.
    #[serde(default)]
    pub stamped: bool,
}

/// The name of a state and where it belongs, for messages.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) component: Arc<str>,
    pub(super) state: String,
}

impl Place {
    pub(super) fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::bad_state(format!("state `{}` of component `{}`: {what}", self.state, self.component))
    }
}

impl Schema {
    /// Refuses a recorded schema that a program with this schema and migrations from these versions cannot read.
    pub(super) fn check(&self, recorded: &Schema, from: &[u32], place: &Place) -> Result<()> {
        let differs = |what: &str, found: &str, expected: &str| {
            Err(place.error(format_args!(
                "its {what} in the checkpoint is `{found}`, in the program `{expected}`; a state's {what} cannot \
                 change: go back to `{found}`, or give the new state another name"
            )))
        };
        if recorded.kind != self.kind {
            return differs("kind", recorded.kind.name(), self.kind.name());
        }
        if recorded.codec != self.codec {
            return differs("codec", &format!("{:?}", recorded.codec), &format!("{:?}", self.codec));
        }
        if recorded.key != self.key {
            return differs("key type", &recorded.key, &self.key);
        }
        if recorded.element != self.element {
            let shape = |schema: &Schema| schema.element.clone().unwrap_or_default();
            return differs("element key type", &shape(recorded), &shape(self));
        }
        if recorded.version != self.version && !from.contains(&recorded.version) {
            let (found, expected) = (recorded.version, self.version);
            let remedy = if found > expected {
                "run the newer program that wrote it".to_string()
            } else {
                format!("register `.migrate({found}, |old| ...)`")
            };
            return Err(place.error(format_args!(
                "its values in the checkpoint have version {found}, the program's have version {expected}, and no \
                 migration from {found} is registered; {remedy}, or give the new state another name"
            )));
        }
        Ok(())
    }
}

type Migration<V> = Box<dyn Fn(&[u8]) -> Result<V, DecodeError> + Send>;

/// The version of a value's type, and how older ones are read.
pub(super) struct Versions<V> {
    pub(super) version: u32,
    migrations: Vec<(u32, Migration<V>)>,
    /// The version of what is being restored.
    pub(super) recorded: u32,
}

impl<V: StateValue> Versions<V> {
    pub(super) fn new() -> Self {
        Versions { version: 1, migrations: Vec::new(), recorded: 1 }
    }

    pub(super) fn migrate<Old: StateValue>(&mut self, from: u32, migrate: impl Fn(Old) -> V + Send + 'static) {
        let read = move |bytes: &[u8]| codec::read(bytes).map(&migrate);
        self.migrations.push((from, Box::new(read)));
    }

    pub(super) fn from(&self) -> Vec<u32> {
        self.migrations.iter().map(|(from, _)| *from).collect()
    }

    /// True if what is restored is of an older version, so that it has to be written anew.
    pub(super) fn is_migrating(&self) -> bool {
        self.recorded != self.version
    }

    pub(super) fn read(&self, bytes: &[u8]) -> Result<V, DecodeError> {
        if !self.is_migrating() {
            return codec::read(bytes);
        }
        let migration = self.migrations.iter().find(|(from, _)| *from == self.recorded);
        migration.expect("checked when it was bound").1(bytes)
    }
}

impl<V> std::fmt::Debug for Versions<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions").field("version", &self.version).finish_non_exhaustive()
    }
}
