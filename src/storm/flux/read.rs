//! From the tree of a file to a [`Definition`], without its includes.

use crate::error::Problem;
use crate::storm::conf::{self, Level};
use crate::storm::flux::fields::{Members, listed, members, nearest, word};
use crate::storm::flux::load::without_repeats;
use crate::storm::flux::model::{
    Arg, Bean, ConfigMethod, Definition, GroupingDef, Object, Property, StreamDef, Vertex, Word,
};
use crate::storm::yaml::{Content, Node};

const TOP: [&str; 9] =
    ["name", "config", "includes", "components", "spouts", "bolts", "streams", "topologySource", "workerHooks"];
const OBJECT: [&str; 6] = ["className", "constructorArgs", "properties", "configMethods", "factory", "factoryArgs"];
const VERTEX: [&str; 7] =
    ["id", "parallelism", "numTasks", "onHeapMemoryLoad", "offHeapMemoryLoad", "cpuLoad", "config"];

/// An include as it stands in the file.
pub(super) struct Include {
    pub file: Word,
    pub is_resource: bool,
    pub overrides: bool,
}

/// What one file says.
#[derive(Default)]
pub(super) struct OneFile {
    pub definition: Definition,
    pub includes: Vec<Include>,
    /// Odd, and no obstacle.
    pub warnings: Vec<Problem>,
}

/// Reads one file.
pub(super) fn read(root: &Node, problems: &mut Vec<Problem>) -> OneFile {
    let (mut definition, mut warnings) = (Definition::default(), Vec::new());
    let Some(top) = members(root, "a Flux file", &TOP, problems) else { return OneFile::default() };
    definition.name = top.optional_word("name", problems);
    if let Some(config) = top.get("config") {
        definition.config = conf::check(config, Level::Topology, problems);
    }
    let components = beans(&top, "components", "a component", problems);
    definition.components = without_repeats(components, "the component", &mut warnings);
    let hooks = beans(&top, "workerHooks", "a worker hook", problems);
    definition.worker_hooks = without_repeats(hooks, "the worker hook", &mut warnings);
    let spouts = vertices(&top, "spouts", "a spout", problems);
    definition.spouts = without_repeats(spouts, "the spout", &mut warnings);
    let bolts = vertices(&top, "bolts", "a bolt", problems);
    definition.bolts = without_repeats(bolts, "the bolt", &mut warnings);
    let streams = top.list("streams", problems);
    definition.streams = streams.iter().filter_map(|node| stream(node, problems, &mut warnings)).collect();
    if let Some(node) = top.get("topologySource") {
        let known: Vec<&str> = OBJECT.into_iter().chain(["methodName"]).collect();
        let source = members(node, "a topologySource", &known, problems);
        definition.topology_source = source.and_then(|source| object(&source, problems));
    }
    let includes = top.list("includes", problems);
    let includes = includes.iter().filter_map(|node| include(node, problems)).collect();
    OneFile { definition, includes, warnings }
}

fn include(node: &Node, problems: &mut Vec<Problem>) -> Option<Include> {
    let include = members(node, "an include", &["file", "resource", "override"], problems)?;
    let file = include.word("file", problems)?;
    let (is_resource, overrides) = (include.flag("resource", problems), include.flag("override", problems));
    Some(Include { file, is_resource, overrides })
}

fn beans(top: &Members<'_>, section: &str, what: &'static str, problems: &mut Vec<Problem>) -> Vec<Bean> {
    let known: Vec<&str> = OBJECT.into_iter().chain(["id"]).collect();
    let mut all: Vec<Bean> = Vec::new();
    for node in top.list(section, problems) {
        let Some(bean) = members(node, what, &known, problems) else { continue };
        let (id, object) = (bean.word("id", problems), object(&bean, problems));
        if let (Some(id), Some(object)) = (id, object) {
            all.push(Bean { id, object });
        }
    }
    all
}

fn vertices(top: &Members<'_>, section: &str, what: &'static str, problems: &mut Vec<Problem>) -> Vec<Vertex> {
    let known: Vec<&str> = VERTEX.into_iter().chain(OBJECT).collect();
    let mut all: Vec<Vertex> = Vec::new();
    for node in top.list(section, problems) {
        let Some(vertex) = members(node, what, &known, problems) else { continue };
        let (id, object) = (vertex.word("id", problems), object(&vertex, problems));
        let parallelism = count(&vertex, "parallelism", problems).unwrap_or(1);
        let tasks = count(&vertex, "numTasks", problems);
        let config = vertex.get("config").map(|config| conf::check(config, Level::Component, problems));
        let mut config = config.unwrap_or_default();
        for load in ["onHeapMemoryLoad", "offHeapMemoryLoad", "cpuLoad"] {
            let given = vertex.whole(load, problems);
            config.extend(given.map(|(load_of, node)| conf::Checked::without_effect(load, load_of, node)));
        }
        if let (Some(id), Some(object)) = (id, object) {
            all.push(Vertex { id, object, parallelism, tasks, config });
        }
    }
    all
}

/// A number of tasks; −1 stands for none.
fn count(vertex: &Members<'_>, name: &str, problems: &mut Vec<Problem>) -> Option<u64> {
    let (number, node) = vertex.whole(name, problems)?;
    match number {
        -1 if name == "numTasks" => None,
        1..=65_536 => Some(number as u64),
        _ => {
            problems.push(node.expected(&format!("a number from 1 to 65536 for {name}")));
            None
        }
    }
}

fn object(members: &Members<'_>, problems: &mut Vec<Problem>) -> Option<Object> {
    let class = members.word("className", problems);
    let constructor_args = args(members.list("constructorArgs", problems), problems);
    let factory = members.optional_word("factory", problems);
    let factory_args = args(members.list("factoryArgs", problems), problems);
    let properties = members.list("properties", problems);
    let properties = properties.iter().filter_map(|node| property(node, problems)).collect();
    let config_methods = members.list("configMethods", problems);
    let config_methods = config_methods.iter().filter_map(|node| config_method(node, problems)).collect();
    Some(Object { class: class?, constructor_args, factory, factory_args, properties, config_methods })
}

fn property(node: &Node, problems: &mut Vec<Problem>) -> Option<Property> {
    let property = members(node, "a property", &["name", "value", "ref"], problems)?;
    let name = property.word("name", problems)?;
    let value = match (node.get("value"), property.get("ref")) {
        (Some(value), None) => Arg::Value(value.clone()),
        (None, Some(id)) => Arg::Ref(word(id, problems)?),
        _ => {
            problems.push(node.problem(format!("the property {:?} needs exactly one of value and ref", name.text)));
            return None;
        }
    };
    Some(Property { name, value })
}

fn config_method(node: &Node, problems: &mut Vec<Problem>) -> Option<ConfigMethod> {
    let method = members(node, "a config method", &["name", "args"], problems)?;
    let args = args(method.list("args", problems), problems);
    Some(ConfigMethod { name: method.word("name", problems)?, args })
}

fn args(nodes: &[Node], problems: &mut Vec<Problem>) -> Vec<Arg> {
    nodes.iter().filter_map(|node| arg(node, problems)).collect()
}

/// A map of one key `ref` or `reflist` refers; everything else is a value.
fn arg(node: &Node, problems: &mut Vec<Problem>) -> Option<Arg> {
    let Content::Map(entries) = &node.content else { return Some(Arg::Value(node.clone())) };
    match (&entries[..], node.get("ref"), node.get("reflist")) {
        ([_], Some(id), _) => Some(Arg::Ref(word(id, problems)?)),
        ([_], _, Some(ids)) => {
            let Content::List(ids) = &ids.content else {
                problems.push(ids.expected("a list of component ids"));
                return None;
            };
            Some(Arg::RefList(node.place.clone(), ids.iter().filter_map(|id| word(id, problems)).collect()))
        }
        _ => Some(Arg::Value(node.clone())),
    }
}

fn stream(node: &Node, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) -> Option<StreamDef> {
    let stream = members(node, "a stream", &["name", "from", "to", "grouping"], problems)?;
    let (from, to) = (stream.word("from", problems), stream.word("to", problems));
    let Some(grouping) = stream.get("grouping") else {
        problems.push(node.problem("a stream needs grouping: a map with type"));
        return None;
    };
    let known = ["type", "args", "streamId", "customClass"];
    let members = members(grouping, "a grouping", &known, problems)?;
    let default = || Word { text: "default".into(), place: grouping.place.clone() };
    let name = members.optional_word("streamId", problems).unwrap_or_else(default);
    let grouping = self::grouping(&members, problems);
    if let Some(grouping) = &grouping {
        let is_asked = |member: &str| match grouping {
            GroupingDef::Fields(_) => member == "args",
            GroupingDef::Custom(_) => member == "customClass",
            _ => false,
        };
        for member in ["args", "customClass"].into_iter().filter(|member| !is_asked(member)) {
            if let Some(unused) = members.get(member) {
                warnings.push(unused.problem(format!("{member} means nothing for this type of grouping, as in Flux")));
            }
        }
    }
    Some(StreamDef { from: from?, to: to?, stream: name, grouping: grouping?, place: node.place.clone() })
}

fn grouping(members: &Members<'_>, problems: &mut Vec<Problem>) -> Option<GroupingDef> {
    let kind = members.word("type", problems)?;
    let args = members.list("args", problems);
    let custom = members.get("customClass");
    let grouping = match &*kind.text {
        "ALL" => GroupingDef::All,
        "DIRECT" => GroupingDef::Direct,
        "SHUFFLE" => GroupingDef::Shuffle,
        "LOCAL_OR_SHUFFLE" => GroupingDef::LocalOrShuffle,
        "GLOBAL" => GroupingDef::Global,
        "NONE" => GroupingDef::None,
        "FIELDS" => {
            let fields: Vec<Word> = args.iter().filter_map(|node| word(node, problems)).collect();
            if fields.is_empty() {
                problems.push(members.node.problem("FIELDS needs args: the names of the fields"));
                return None;
            }
            GroupingDef::Fields(fields)
        }
        "CUSTOM" => {
            let Some(custom) = custom else {
                problems.push(members.node.problem("CUSTOM needs customClass: a map with className"));
                return None;
            };
            let class = self::members(custom, "a customClass", &OBJECT, problems)?;
            GroupingDef::Custom(Box::new(object(&class, problems)?))
        }
        other => {
            let hint = match nearest(other, GroupingDef::NAMES) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected one of {}", listed(&GroupingDef::NAMES)),
            };
            problems.push(Problem::new(kind.place.to_string(), format!("there is no grouping {other:?}; {hint}")));
            return None;
        }
    };
    Some(grouping)
}
