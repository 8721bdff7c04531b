//! Finding out what every key is, and whether its value is of the right type.

use serde_json::Value as Json;

use super::keys::{Fate, Found, Takes, find};
use crate::error::Problem;
use crate::storm::yaml::{Content, Node, Place};

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The whole topology's.
    Topology,
    /// One component's.
    Component,
}

/// One key of a configuration whose value is as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub key: String,
    pub value: Json,
    pub place: Place,
    pub fate: Fate,
    /// What it does, or why it does nothing; empty for keys that are not Storm's.
    pub note: String,
    /// Storm takes it out of the configuration in which it stands.
    pub is_dropped: bool,
}

impl Checked {
    /// What is for Storm's scheduler only; it is no key of any configuration, but a report tells of it as of one.
    pub fn without_effect(name: &str, value: i64, node: &Node) -> Self {
        Checked {
            key: name.to_owned(),
            value: value.into(),
            place: node.place.clone(),
            fate: Fate::Ignored,
            note: "of Storm's scheduler; there is none".to_owned(),
            is_dropped: true,
        }
    }
}

/// Of Storm's own keys, those that it lets a component's configuration change.
const OF_COMPONENTS: [&str; 16] = [
    "topology.debug",
    "topology.max.spout.pending",
    "topology.max.task.parallelism",
    "topology.tasks",
    "topology.transactional.id",
    "topology.tick.tuple.freq.secs",
    "topology.tick.tuple.freq.millis",
    "topology.sleep.spout.wait.strategy.time.ms",
    "topology.spout.wait.strategy",
    "topology.bolts.tuple.timestamp.max.lag.ms",
    "topology.bolts.message.id.field.name",
    "topology.state.provider",
    "topology.state.provider.config",
    "topology.bolts.late.tuple.stream",
    "topology.bolts.tuple.timestamp.field.name",
    "topology.kryo.register",
];

/// Every key of a map, in the file's order; keys with values of the wrong type are problems instead.
pub(crate) fn check(map: &Node, level: Level, problems: &mut Vec<Problem>) -> Vec<Checked> {
    let entries = match &map.content {
        Content::Map(entries) => entries,
        Content::Null => return Vec::new(),
        _ => {
            problems.push(map.expected("a map of configuration keys"));
            return Vec::new();
        }
    };
    let mut checked = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Some(name) = key.as_text() else {
            problems.push(key.expected("the name of a configuration key"));
            continue;
        };
        let (fate, note) = match find(name) {
            Some(Found::Key(known)) => {
                if let Some(problem) = misfit(name, value, known.takes) {
                    problems.push(problem);
                    continue;
                }
                (known.fate, known.note.to_owned())
            }
            Some(Found::Family) => (Fate::Ignored, "of Storm's daemons; there are none".to_owned()),
            None => (Fate::Passed, String::new()),
        };
        if let Some(number) = value.not_finite() {
            problems
                .push(number.problem(format!("{name} cannot hold {}: Storm's configuration is JSON", number.shown())));
            continue;
        }
        let is_dropped = level == Level::Component
            && matches!(find(name), Some(Found::Key(_)))
            && !OF_COMPONENTS.contains(&&**name)
            && !name.starts_with("topology.bolts.window.")
            && !is_read_per_component(name);
        let (fate, note) = match is_dropped {
            true => {
                (Fate::Ignored, "Storm drops it from a component's configuration: set it for the topology".to_owned())
            }
            false => (fate, note),
        };
        let (key, place) = (name.to_string(), value.place.clone());
        checked.push(Checked { key, value: value.to_json(), place, fate, note, is_dropped });
    }
    checked
}

/// Storm drops the watermark interval, though its builder writes it there; here it does what its name says. What shell
/// components are asked for is read from the component's configuration as well.
fn is_read_per_component(name: &str) -> bool {
    matches!(
        name,
        "topology.bolts.watermark.event.interval.ms"
            | "topology.multilang.serializer"
            | "topology.shellbolt.max.pending"
            | "topology.subprocess.timeout.secs"
            | "topology.environment"
    )
}

/// What is wrong with a value of one of Storm's keys, wherever it is set; nothing with those of other keys.
pub(crate) fn check_value(name: &str, value: &Node) -> Option<Problem> {
    match find(name) {
        Some(Found::Key(known)) => misfit(name, value, known.takes),
        _ => None,
    }
}

/// What is wrong with a value: with the whole of it, or with the first element that does not fit.
fn misfit(name: &str, value: &Node, takes: Takes) -> Option<Problem> {
    let expected = takes.expected();
    match (&value.content, takes) {
        (Content::Map(entries), Takes::Strings) => misfit_in(entries).map(|(node, which)| {
            let remedy = if node.is_scalar() { ": put it in quotes" } else { "" };
            node.problem(format!("{name} must be {expected}, and {which} is {}{remedy}", node.shown()))
        }),
        (Content::List(values), Takes::Texts | Takes::ListOrText) => {
            let (at, node) = values.iter().enumerate().find(|(_, value)| value.as_text().is_none())?;
            let remedy = if node.is_scalar() { ": put it in quotes" } else { "" };
            let which = format!("element {} is {}", at + 1, node.shown());
            Some(node.problem(format!("{name} must be {expected}, and {which}{remedy}")))
        }
        _ if fits(&value.content, takes) => None,
        _ => Some(value.problem(format!("{name} must be {expected}, not {}", value.shown()))),
    }
}

/// The first key or value of a map that is no text, and what to call it.
fn misfit_in(entries: &[(Node, Node)]) -> Option<(&Node, String)> {
    entries.iter().find_map(|(key, value)| match (key.as_text(), value.as_text()) {
        (None, _) => Some((key, "a key".to_owned())),
        (Some(key), None) => Some((value, format!("the value of {key}"))),
        _ => None,
    })
}

fn fits(value: &Content, takes: Takes) -> bool {
    let number = match value {
        Content::Null => return true,
        Content::Int(value) => Some(*value as f64),
        Content::Float(value) => Some(*value),
        _ => None,
    };
    match takes {
        // As Storm has it: any number without a fraction, within 32 bits.
        Takes::Int(min) => number.is_some_and(|number| {
            number.fract() == 0.0
                && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
                && number >= min as f64
        }),
        Takes::Number(min) => number.is_some_and(|number| number >= min),
        Takes::Above(min) => number.is_some_and(|number| number > min),
        Takes::Bool => matches!(value, Content::Bool(_)),
        Takes::Text => matches!(value, Content::Text(_)),
        Takes::Texts => is_list_of_texts(value),
        Takes::Strings => {
            matches!(value, Content::Map(entries) if entries.iter().all(|(_, value)| value.as_text().is_some()))
        }
        Takes::Map => matches!(value, Content::Map(_)),
        Takes::List => matches!(value, Content::List(_)),
        Takes::ListOrText => matches!(value, Content::Text(_)) || is_list_of_texts(value),
        Takes::Any => true,
    }
}

fn is_list_of_texts(value: &Content) -> bool {
    matches!(value, Content::List(values) if values.iter().all(|value| value.as_text().is_some()))
}
