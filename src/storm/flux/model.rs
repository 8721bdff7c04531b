//! A Flux file as data, before any class name means anything.

use std::sync::Arc;

use crate::storm::conf::Checked;
use crate::storm::yaml::{Node, Place};

/// A text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub text: Arc<str>,
    pub place: Place,
}

/// A whole topology, includes merged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definition {
    pub name: Option<Word>,
    pub config: Vec<Checked>,
    pub components: Vec<Bean>,
    pub spouts: Vec<Vertex>,
    pub bolts: Vec<Vertex>,
    pub streams: Vec<StreamDef>,
    pub worker_hooks: Vec<Bean>,
    /// Java code that makes the topology.
    pub topology_source: Option<Object>,
}

/// How an object is made.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub class: Word,
    pub constructor_args: Vec<Arg>,
    pub factory: Option<Word>,
    pub factory_args: Vec<Arg>,
    pub properties: Vec<Property>,
    pub config_methods: Vec<ConfigMethod>,
}

impl Object {
    /// The static method that makes it; as in Flux, arguments of a constructor win over it.
    pub fn used_factory(&self) -> Option<&Word> {
        self.factory.as_ref().filter(|_| self.constructor_args.is_empty())
    }

    /// All arguments, wherever they stand.
    pub fn args(&self) -> impl Iterator<Item = &Arg> {
        let properties = self.properties.iter().map(|property| &property.value);
        let of_methods = self.config_methods.iter().flat_map(|method| &method.args);
        self.constructor_args.iter().chain(&self.factory_args).chain(properties).chain(of_methods)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Property {
    pub name: Word,
    pub value: Arg,
}

#[derive(Clone, Debug)]
pub(crate) struct ConfigMethod {
    pub name: Word,
    pub args: Vec<Arg>,
}

/// An argument of a constructor or method.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Value(Node),
    /// `{ref: ID}`.
    Ref(Word),
    /// `{reflist: [ID, ...]}`.
    RefList(Place, Vec<Word>),
}

impl Arg {
    pub fn place(&self) -> &Place {
        match self {
            Arg::Value(node) => &node.place,
            Arg::Ref(word) => &word.place,
            Arg::RefList(place, _) => place,
        }
    }
}

/// An object that others refer to.
#[derive(Clone, Debug)]
pub(crate) struct Bean {
    pub id: Word,
    pub object: Object,
}

/// A spout or bolt.
#[derive(Clone, Debug)]
pub(crate) struct Vertex {
    pub id: Word,
    pub object: Object,
    pub parallelism: u64,
    pub tasks: Option<u64>,
    pub config: Vec<Checked>,
}

/// A subscription.
#[derive(Clone, Debug)]
pub(crate) struct StreamDef {
    pub from: Word,
    pub to: Word,
    /// The stream's name.
    pub stream: Word,
    pub grouping: GroupingDef,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum GroupingDef {
    All,
    Direct,
    Shuffle,
    LocalOrShuffle,
    Global,
    None,
    Fields(Vec<Word>),
    Custom(Box<Object>),
}

impl GroupingDef {
    pub const NAMES: [&'static str; 8] =
        ["ALL", "CUSTOM", "DIRECT", "SHUFFLE", "LOCAL_OR_SHUFFLE", "FIELDS", "GLOBAL", "NONE"];
}
