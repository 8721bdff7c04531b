//! Streams: who subscribes to what, and by which grouping.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::error::Problem;
use crate::storm::emitter::StreamDeclaration;
use crate::storm::flux::fields::{listed, nearest};
use crate::storm::flux::model::{GroupingDef, Object, StreamDef, Word};
use crate::storm::flux::resolve::{Component, Obstacle, Resolved, Resolver};
use crate::storm::flux::system::{self, SystemSubscription};
use crate::storm::registry::{GroupingFactory, current, simple_name};
use crate::storm::tuple::SYSTEM_COMPONENT;
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

pub(super) const PARTIAL_KEY: &str = "org.apache.storm.grouping.PartialKeyGrouping";

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
pub(super) fn subscribe_all(streams: &[StreamDef], resolver: &Resolver<'_>, resolved: &mut Resolved) {
    let ids: HashMap<Arc<str>, usize> =
        resolved.components.iter().enumerate().map(|(index, component)| (component.id.text.clone(), index)).collect();
    for (position, stream) in streams.iter().enumerate() {
        // Flux makes the grouping whatever becomes of the stream.
        let custom = match &stream.grouping {
            GroupingDef::Custom(object) => Some(custom(object, resolver, resolved)),
            _ => None,
        };
        let later = streams[position + 1..].iter().find(|later| {
            later.from.text == stream.from.text
                && later.to.text == stream.to.text
                && later.stream.text == stream.stream.text
        });
        if let Some(later) = later {
            // What a file says that is merged twice is no second subscription.
            if later.place != stream.place {
                let message = format!(
                    "the bolt {:?} subscribes to this stream again at {}: as in Storm, only that counts",
                    stream.to.text, later.place
                );
                resolved.warnings.push(Problem::new(stream.place.to_string(), message));
            }
            continue;
        }
        let outcome = subscribe(stream, custom, &ids, resolved);
        match (outcome, &stream.grouping) {
            (Ok(()), _) => {}
            (Err(Some(problem)), GroupingDef::Custom(object)) => {
                resolved.obstacle(&object.class, Obstacle::Wrong(problem));
            }
            (Err(problem), _) => resolved.problems.extend(problem),
        }
    }
    mark_feedback(resolved.components.len(), &mut resolved.subscriptions);
}

/// One subscription. Nothing is said of what has been told before, or of streams that are not known.
fn subscribe(
    stream: &StreamDef,
    custom: Option<Option<Custom>>,
    ids: &HashMap<Arc<str>, usize>,
    resolved: &mut Resolved,
) -> Result<(), Option<Problem>> {
    let components = &resolved.components;
    let to = end(&stream.to, ids, components, true);
    let system = system::look_up(stream);
    if let Some(Err(problem)) = system {
        resolved.problems.extend(to.err());
        return Err(Some(problem));
    }
    let is_from_system = system.is_some() && &*stream.from.text == SYSTEM_COMPONENT;
    let from = if is_from_system { Ok(usize::MAX) } else { end(&stream.from, ids, components, false) };
    for outcome in [&from, &to] {
        if let Err(problem) = outcome {
            resolved.problems.push(problem.clone());
        }
    }
    let (Ok(from), Ok(to)) = (from, to) else { return Err(None) };
    let place = stream.place.clone();
    if let Some(Ok(declared)) = system {
        let grouping = grouping(stream, &declared, custom)?;
        resolved.warnings.extend(system::warning(stream, &resolved.components[to]));
        let from = stream.from.text.clone();
        resolved.system_subscriptions.push(SystemSubscription { from, stream: declared, to, grouping, place });
        return Ok(());
    }
    let port = port(&resolved.components[from], stream)?;
    let declared = &resolved.components[from].streams.as_ref().expect("a port is one of its streams")[port];
    let grouping = grouping(stream, declared, custom)?;
    resolved.subscriptions.push(Subscription { from, port, to, grouping, is_feedback: false, place });
    Ok(())
}

/// The component that one end of a stream names.
fn end(word: &Word, ids: &HashMap<Arc<str>, usize>, components: &[Component], is_to: bool) -> Result<usize, Problem> {
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

/// A grouping of a class, before it is known on which stream.
enum Custom {
    /// By these fields, or by the first value.
    PartialKey(Option<Vec<String>>),
    Other(GroupingFactory),
}

/// A grouping of a class; nothing, and a note of why, if there is none.
fn custom(object: &Object, resolver: &Resolver<'_>, resolved: &mut Resolved) -> Option<Custom> {
    let made = match current(&object.class.text) == PARTIAL_KEY {
        true => resolver.partial_key_fields(object, &resolved.conf).map(Custom::PartialKey),
        false => resolver.grouping(object, &resolved.conf).map(Custom::Other),
    };
    made.map_err(|obstacle| resolved.obstacle(&object.class, obstacle)).ok()
}

/// A grouping on a stream. None of `custom` has been told.
fn grouping(
    stream: &StreamDef,
    declared: &StreamDeclaration,
    custom: Option<Option<Custom>>,
) -> Result<Wired, Option<Problem>> {
    let from = &stream.from.text;
    Ok(match &stream.grouping {
        GroupingDef::All => Wired::All,
        GroupingDef::Direct => Wired::Direct,
        GroupingDef::Shuffle => Wired::Shuffle,
        GroupingDef::LocalOrShuffle => Wired::LocalOrShuffle,
        GroupingDef::Global => Wired::Global,
        GroupingDef::None => Wired::None,
        GroupingDef::Fields(fields) => {
            let positions = positions(from, declared, fields.iter().map(|field| (&*field.text, &field.place)))?;
            Wired::Fields { names: names(fields.iter().map(|field| &*field.text)), positions }
        }
        GroupingDef::Custom(object) => match custom.flatten().ok_or(None)? {
            Custom::PartialKey(Some(fields)) => {
                let place = &object.class.place;
                let positions = positions(from, declared, fields.iter().map(|field| (&**field, place)))?;
                Wired::PartialKey { names: names(fields.iter().map(String::as_str)), positions: Some(positions) }
            }
            Custom::PartialKey(None) => Wired::PartialKey { names: "the first value".to_owned(), positions: None },
            Custom::Other(factory) => {
                let name = simple_name(&object.class.text).to_owned();
                Wired::Custom { name, factory }
            }
        },
    })
}

fn names<'f>(fields: impl Iterator<Item = &'f str>) -> String {
    fields.collect::<Vec<_>>().join(", ")
}

/// Where fields stand in a stream.
fn positions<'f>(
    from: &str,
    stream: &StreamDeclaration,
    fields: impl Iterator<Item = (&'f str, &'f Place)>,
) -> Result<Arc<[usize]>, Problem> {
    let position = |(field, place): (&str, &Place)| {
        stream.fields.position(field).ok_or_else(|| {
            let known: Vec<&str> = stream.fields.names().iter().map(|name| &**name).collect();
            let name = &stream.name;
            let message = format!("the stream {name:?} of {from:?} has no field {field:?}; it has {}", listed(&known));
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
