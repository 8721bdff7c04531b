//! From a resolved file to a topology.

use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Result;
use crate::storm::conf::Conf;
use crate::storm::flux::model::Definition;
use crate::storm::flux::resolve::{Component, Resolved, What};
use crate::storm::flux::system::SILENT_STREAM;
use crate::storm::flux::wiring::{Subscription, Wired};
use crate::storm::flux::{context, shell};
use crate::storm::grouping::{JavaFields, JavaPartialKey, Named};
use crate::storm::record::Recorder;
use crate::storm::registry::native::{LegacyBolt, LegacySpout};
use crate::storm::tuple::StormTuple;
use crate::storm::yaml::Place;
use crate::topology::Topology;
use crate::topology::builder::TopologyBuilder;
use crate::topology::plan::Grouping;
use crate::topology::settings::ComponentSettings;
use crate::topology::stream::Stream;

enum Handle {
    /// With the number of its streams, behind which its silent one is, if it has one.
    Spout(LegacySpout, usize),
    Bolt(LegacyBolt),
    /// Not part of the topology.
    None,
}

/// Builds what has been found to have no problems.
pub(super) fn build(definition: Definition, resolved: Resolved, recorder: Option<Recorder>) -> Result<Topology> {
    let conf = &resolved.conf;
    let name = definition.name.map(|name| name.text.to_string());
    let name = name.or_else(|| conf.text("topology.name").map(str::to_owned)).unwrap_or_default();
    let mut t = TopologyBuilder::new(name);
    // In one go: the builder looks at all settings whenever some change.
    t.declared_at(&resolved.file).settings(|settings| {
        conf.apply(settings);
        for component in resolved.components.iter().filter(|component| component.is_used) {
            settings.components.insert(component.id.text.to_string(), own_settings(component, conf));
        }
    });
    t.reserve_tasks(system_tasks(conf));
    if let Some(recorder) = &recorder {
        record_subscriptions(&resolved, recorder);
    }
    let silent = silent_inputs(&resolved);
    let wirings: Vec<_> = (0..resolved.components.len())
        .map(|index| match resolved.components[index].what {
            What::Shell(_) => context::wiring(&resolved, index),
            _ => JsonMap::new(),
        })
        .collect();
    let components = resolved.components.into_iter().zip(wirings);
    let declare = |(component, wiring)| declare(&mut t, component, wiring, recorder.as_ref(), !silent.is_empty());
    let mut handles: Vec<Handle> = components.map(declare).collect();
    for subscription in resolved.subscriptions {
        t.declared_at(subscription.place.to_string());
        subscribe(&mut handles, subscription);
    }
    for (to, place) in silent {
        t.declared_at(place.to_string());
        let silent = |handle: &Handle| match handle {
            Handle::Spout(spout, ports) => Some(spout.stream(*ports)),
            _ => None,
        };
        let streams: Vec<Stream<StormTuple>> = handles.iter().filter_map(silent).collect();
        let Handle::Bolt(bolt) = std::mem::replace(&mut handles[to], Handle::None) else { continue };
        handles[to] = Handle::Bolt(streams.iter().fold(bolt, |bolt, stream| bolt.all(stream)));
    }
    t.build()
}

/// Bolts that subscribe to nothing but streams of Storm's own, on which nothing comes here. They live as long as there
/// are spouts, on whose silent streams they wait.
fn silent_inputs(resolved: &Resolved) -> Vec<(usize, Place)> {
    let has_input = |to: usize| resolved.subscriptions.iter().any(|subscription| subscription.to == to);
    let mut all: Vec<(usize, Place)> = Vec::new();
    for subscription in &resolved.system_subscriptions {
        if !has_input(subscription.to) && all.iter().all(|(to, _)| *to != subscription.to) {
            all.push((subscription.to, subscription.place.clone()));
        }
    }
    all
}

/// Components that Storm adds to every topology, and counts when it numbers tasks.
fn system_tasks(conf: &Conf) -> Vec<(String, usize)> {
    let loggers = conf.whole("topology.eventlogger.executors").unwrap_or(0);
    let counted = [("__acker", conf.ackers()), ("__eventlogger", loggers)];
    let mut tasks: Vec<(String, usize)> = counted
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(id, count)| (id.to_owned(), count as usize))
        .collect();
    let consumers = conf.get("topology.metrics.consumer.register").and_then(serde_json::Value::as_array);
    for consumer in consumers.into_iter().flatten() {
        let class = consumer.get("class").and_then(serde_json::Value::as_str).unwrap_or_default();
        let hint = consumer.get("parallelism.hint").and_then(serde_json::Value::as_u64).unwrap_or(1);
        let plain = format!("__metrics_{class}");
        let repeats = tasks.iter().filter(|(id, _)| *id == plain || id.starts_with(&format!("{plain}#"))).count();
        let id = if repeats == 0 { plain } else { format!("{plain}#{}", repeats + 1) };
        tasks.push((id, hint as usize));
    }
    tasks
}

/// What a component does differently from its topology.
fn own_settings(component: &Component, topology: &Conf) -> ComponentSettings {
    let conf = &component.conf;
    let tick = match &component.what {
        // Spouts never see ticks.
        _ if component.is_spout => None,
        What::Bolt(bolt) => bolt.tick.or_else(|| conf.tick()),
        _ => conf.tick(),
    };
    let pending = conf.max_spout_pending().filter(|trees| topology.max_spout_pending() != Some(*trees));
    ComponentSettings {
        parallelism: Some(component.tasks as usize),
        tick,
        max_spout_pending: pending.filter(|_| component.is_spout),
        ..ComponentSettings::default()
    }
}

fn declare(
    t: &mut TopologyBuilder,
    component: Component,
    wiring: JsonMap<String, Json>,
    recorder: Option<&Recorder>,
    has_silent: bool,
) -> Handle {
    if !component.is_used {
        return Handle::None;
    }
    t.declared_at(component.id.place.to_string());
    let id = &component.id.text;
    let what = match component.what {
        What::Shell(definition) if component.is_spout => What::Spout(shell::spout(definition, wiring)),
        What::Shell(definition) => What::Bolt(shell::bolt(definition, wiring)),
        what => what,
    };
    match what {
        What::Spout(spout) => {
            let ports = spout.streams.len();
            let silent = has_silent.then(|| (SILENT_STREAM.to_owned(), "event".to_owned()));
            let streams: Vec<_> = spout.streams.iter().map(|stream| stream.shown()).chain(silent).collect();
            let tape = recorder.map(|recorder| recorder.tape(None, None));
            Handle::Spout((spout.declare)(t, id, tape).streams(streams), ports)
        }
        What::Bolt(bolt) => {
            let streams: Vec<_> = bolt.streams.iter().map(|stream| stream.shown()).collect();
            let tape = recorder.map(|recorder| recorder.tape(component.conf.tick(), bolt.tick));
            Handle::Bolt((bolt.declare)(t, id, tape).streams(streams))
        }
        What::Shell(_) | What::NeedsJvm | What::Broken => Handle::None,
    }
}

/// Storm's names for groupings, as in its Thrift definition.
fn record_subscriptions(resolved: &Resolved, recorder: &Recorder) {
    let own = resolved.subscriptions.iter().map(|subscription| {
        let from = &resolved.components[subscription.from];
        let stream = &from.streams.as_ref().expect("its streams are known")[subscription.port];
        (&from.id.text, stream, subscription.to, &subscription.grouping)
    });
    let system = resolved.system_subscriptions.iter();
    let system =
        system.map(|subscription| (&subscription.from, &subscription.stream, subscription.to, &subscription.grouping));
    for (from, stream, to, grouping) in own.chain(system) {
        let mut fields = Vec::new();
        let grouping = match grouping {
            Wired::All => "all",
            Wired::Direct => "direct",
            Wired::Shuffle => "shuffle",
            Wired::LocalOrShuffle => "local_or_shuffle",
            Wired::Global => "global",
            Wired::None => "none",
            Wired::Fields { positions, .. } => {
                fields.extend(positions.iter().map(|&position| &*stream.fields.names()[position]));
                "fields"
            }
            Wired::PartialKey { .. } | Wired::Custom { .. } => "custom_serialized",
        };
        let to = &resolved.components[to].id.text;
        recorder.subscription(to, (from, &stream.name), grouping, &fields);
    }
}

fn subscribe(handles: &mut [Handle], subscription: Subscription) {
    let stream = match &handles[subscription.from] {
        Handle::Spout(spout, _) => spout.stream(subscription.port),
        Handle::Bolt(bolt) => bolt.stream(subscription.port),
        Handle::None => return,
    };
    let slot = &mut handles[subscription.to];
    if let Handle::Bolt(bolt) = std::mem::replace(slot, Handle::None) {
        let grouping = subscription.grouping;
        *slot = Handle::Bolt(match subscription.is_feedback {
            true => bolt.closing_cycle(|bolt| group(bolt, &stream, grouping)),
            false => group(bolt, &stream, grouping),
        });
    }
}

fn group(bolt: LegacyBolt, stream: &Stream<StormTuple>, grouping: Wired) -> LegacyBolt {
    match grouping {
        Wired::All => bolt.all(stream),
        Wired::Direct => bolt.direct(stream),
        Wired::Shuffle => bolt.shuffle(stream),
        Wired::LocalOrShuffle => bolt.local_or_shuffle(stream),
        Wired::Global => bolt.global(stream),
        Wired::None => bolt.none(stream),
        Wired::Fields { names, positions } => {
            let factory = move || JavaFields { selected: positions.clone(), tasks: Vec::new() };
            bolt.custom_as(stream, Grouping::Fields(names), factory)
        }
        Wired::PartialKey { names, positions } => {
            let factory = move || JavaPartialKey::new(positions.clone());
            bolt.custom_as(stream, Grouping::PartialKey(names), factory)
        }
        Wired::Custom { name, factory } => bolt.custom_as(stream, Grouping::Custom(name), move || Named(factory())),
    }
}
