//! Streams: who subscribes to what, and by which grouping.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::error::Problem;
use crate::storm::flux::fields::{listed, nearest};
use crate::storm::flux::model::{GroupingDef, StreamDef, Word};
use crate::storm::flux::resolve::{Component, Obstacle, Resolved, Resolver};
use crate::storm::registry::{GroupingFactory, current, simple_name};
use crate::storm::yaml::Place;

/// A subscription that fits.
pub(crate) struct Subscription {
    pub from: usize,
    pub port: usize,
    pub to: usize,
    pub grouping: Wired,
    /// It closes a cycle.
    pub is_feedback: bool,
    pub place: Place,
}

/// A grouping with all that it needs.
#[derive(Clone)]
pub(crate) enum Wired {
    All,
    Direct,
    Shuffle,
    LocalOrShuffle,
    Global,
    None,
    Fields {
        names: String,
        positions: Arc<[usize]>,
    },
    /// No positions: by the text of the first value.
    PartialKey {
        names: String,
        positions: Option<Arc<[usize]>>,
    },
    Custom {
        name: String,
        factory: GroupingFactory,
    },
}

const PARTIAL_KEY: &str = "org.apache.storm.grouping.PartialKeyGrouping";

/// Number of streams that each bolt subscribes to.
pub(super) fn inputs(streams: &[StreamDef]) -> HashMap<&str, usize> {
    let mut seen = HashSet::new();
    let mut inputs = HashMap::new();
    for stream in streams {
        if seen.insert((&*stream.from.text, &*stream.stream.text, &*stream.to.text)) {
            *inputs.entry(&*stream.to.text).or_insert(0) += 1;
        }
    }
    inputs
}

/// The subscriptions of a file; problems and warnings go where they belong.
pub(super) fn subscriptions(
    streams: &[StreamDef],
    resolver: &Resolver<'_>,
    resolved: &mut Resolved,
) -> Vec<Subscription> {
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for (index, component) in resolved.components.iter().enumerate() {
        ids.insert(&component.id.text, index);
    }
    let (mut made, mut problems, mut warnings, mut java) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (position, stream) in streams.iter().enumerate() {
        let components = &resolved.components;
        let (from, to) = (end(&stream.from, &ids, components, false), end(&stream.to, &ids, components, true));
        let later = streams[position + 1..].iter().find(|later| {
            later.from.text == stream.from.text
                && later.to.text == stream.to.text
                && later.stream.text == stream.stream.text
        });
        if let Some(later) = later {
            let message = format!(
                "the bolt {:?} subscribes to this stream again at {}: as in Storm, only that counts",
                stream.to.text, later.place
            );
            warnings.push(Problem::new(stream.place.to_string(), message));
            continue;
        }
        for outcome in [&from, &to] {
            if let Err(problem) = outcome {
                problems.push(problem.clone());
            }
        }
        let (Ok(from), Ok(to)) = (from, to) else { continue };
        let port = match port(&components[from], stream) {
            Ok(port) => port,
            Err(problem) => {
                problems.extend(problem);
                continue;
            }
        };
        match grouping(&components[from], port, stream, resolver, resolved) {
            Ok(grouping) => {
                let place = stream.place.clone();
                made.push(Subscription { from, port, to, grouping, is_feedback: false, place });
            }
            Err(Obstacle::Java(problem)) => java.push(problem),
            Err(Obstacle::Wrong(problem)) => problems.push(problem),
        }
    }
    mark_feedback(resolved.components.len(), &mut made);
    resolved.problems.extend(problems);
    resolved.warnings.extend(warnings);
    resolved.needs_jvm.extend(java);
    made
}

/// The component that one end of a stream names.
fn end(word: &Word, ids: &HashMap<&str, usize>, components: &[Component], is_to: bool) -> Result<usize, Problem> {
    let what = if is_to { "bolt" } else { "spout or bolt" };
    let wrong = |message: String| Err(Problem::new(word.place.to_string(), message));
    match ids.get(&*word.text) {
        Some(&index) if is_to && components[index].is_spout => {
            wrong(format!("expected a {what} for to; {:?} is a spout", word.text))
        }
        Some(&index) if !components[index].is_used => {
            wrong(format!("the bolt {:?} is not part of the topology: no stream leads to it", word.text))
        }
        Some(&index) => Ok(index),
        None => {
            let near = nearest(&word.text, components.iter().map(|component| &*component.id.text));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            wrong(format!("there is no {what} {:?}{hint}", word.text))
        }
    }
}

/// The port of a stream. No problem of its own where the component's streams are not known.
fn port(from: &Component, stream: &StreamDef) -> Result<usize, Option<Problem>> {
    let Some(streams) = &from.streams else { return Err(None) };
    let name = &stream.stream.text;
    streams.iter().position(|declared| declared.name == *name).ok_or_else(|| {
        let known: Vec<&str> = streams.iter().map(|declared| &*declared.name).collect();
        let message = format!(
            "{:?} has no stream {name:?}; its streams: {}",
            from.id.text,
            if known.is_empty() { "none".to_owned() } else { listed(&known) }
        );
        Some(Problem::new(stream.stream.place.to_string(), message))
    })
}

fn grouping(
    from: &Component,
    port: usize,
    stream: &StreamDef,
    resolver: &Resolver<'_>,
    resolved: &Resolved,
) -> Result<Wired, Obstacle> {
    Ok(match &stream.grouping {
        GroupingDef::All => Wired::All,
        GroupingDef::Direct => Wired::Direct,
        GroupingDef::Shuffle => Wired::Shuffle,
        GroupingDef::LocalOrShuffle => Wired::LocalOrShuffle,
        GroupingDef::Global => Wired::Global,
        GroupingDef::None => Wired::None,
        GroupingDef::Fields(fields) => {
            let positions = positions(from, port, fields.iter().map(|field| (&*field.text, &field.place)))?;
            Wired::Fields { names: names(fields.iter().map(|field| &*field.text)), positions }
        }
        GroupingDef::Custom(object) if current(&object.class.text) == PARTIAL_KEY => {
            let place = &object.class.place;
            match resolver.partial_key_fields(object, &resolved.conf)? {
                Some(fields) => {
                    let positions = positions(from, port, fields.iter().map(|field| (&**field, place)))?;
                    Wired::PartialKey { names: names(fields.iter().map(String::as_str)), positions: Some(positions) }
                }
                None => Wired::PartialKey { names: "the first value".to_owned(), positions: None },
            }
        }
        GroupingDef::Custom(object) => {
            let class = &object.class.text;
            let name = simple_name(class).to_owned();
            Wired::Custom { name, factory: resolver.grouping(object, &resolved.conf)? }
        }
    })
}

fn names<'f>(fields: impl Iterator<Item = &'f str>) -> String {
    fields.collect::<Vec<_>>().join(", ")
}

/// Where fields stand in a stream.
fn positions<'f>(
    from: &Component,
    port: usize,
    fields: impl Iterator<Item = (&'f str, &'f Place)>,
) -> Result<Arc<[usize]>, Problem> {
    let stream = &from.streams.as_ref().expect("a port is one of its streams")[port];
    let position = |(field, place): (&str, &Place)| {
        stream.fields.position(field).ok_or_else(|| {
            let known: Vec<&str> = stream.fields.names().iter().map(|name| &**name).collect();
            let (id, name) = (&from.id.text, &stream.name);
            let message = format!("the stream {name:?} of {id:?} has no field {field:?}; it has {}", listed(&known));
            Problem::new(place.to_string(), message)
        })
    };
    fields.map(position).collect()
}

/// Finds the subscriptions that close cycles: what leads back to a component on the way from the start to itself.
fn mark_feedback(components: usize, subscriptions: &mut [Subscription]) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut outgoing: Vec<Vec<usize>> = vec![Vec::new(); components];
    for (index, subscription) in subscriptions.iter().enumerate() {
        outgoing[subscription.from].push(index);
    }
    let mut states = vec![State::New; components];
    for start in 0..components {
        if states[start] != State::New {
            continue;
        }
        states[start] = State::Open;
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let Some(&edge) = outgoing[*at].get(*next) else {
                states[*at] = State::Done;
                path.pop();
                continue;
            };
            *next += 1;
            let to = subscriptions[edge].to;
            match states[to] {
                State::New => {
                    states[to] = State::Open;
                    path.push((to, 0));
                }
                State::Open => subscriptions[edge].is_feedback = true,
                State::Done => {}
            }
        }
    }
}
