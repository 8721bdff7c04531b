//! What a component of Storm is told about the topology around it, beyond its tasks.

use serde_json::{Map as JsonMap, Value as Json, json};

use crate::storm::flux::resolve::Resolved;
use crate::storm::flux::system::SystemSubscription;
use crate::storm::flux::wiring::Wired;

/// The part of a multilang handshake's context that follows from streams and subscriptions, under Storm's names.
pub(super) fn wiring(resolved: &Resolved, component: usize) -> JsonMap<String, Json> {
    let fields_of = |component: usize, port: usize| -> Json {
        let stream = resolved.components[component].streams.as_ref().and_then(|streams| streams.get(port));
        stream.map_or(Json::Null, |stream| stream.fields.names().iter().map(|name| &**name).collect())
    };
    let name_of = |component: usize, port: usize| -> &str {
        let streams = resolved.components[component].streams.as_ref();
        streams.and_then(|streams| streams.get(port)).map_or("", |stream| &stream.name)
    };
    let id_of = |component: usize| &*resolved.components[component].id.text;

    let own = resolved.components[component].streams.as_deref().unwrap_or_default();
    let streams: Vec<&str> = own.iter().map(|stream| &*stream.name).collect();
    let mut output_fields = JsonMap::new();
    let mut targets = JsonMap::new();
    for (port, name) in streams.iter().enumerate() {
        output_fields.insert((*name).to_owned(), fields_of(component, port));
    }
    let (mut groupings, mut source_fields) = (json!({}), json!({}));
    for subscription in &resolved.subscriptions {
        let grouping = shown(&subscription.grouping);
        if subscription.from == component {
            // As in Storm, only streams that somebody subscribes to.
            let of_stream = targets.entry(name_of(component, subscription.port)).or_insert_with(|| json!({}));
            of_stream[id_of(subscription.to)] = grouping.clone();
        }
        if subscription.to == component {
            let (source, stream) = (id_of(subscription.from), name_of(subscription.from, subscription.port));
            groupings[source][stream] = grouping;
            source_fields[source][stream] = fields_of(subscription.from, subscription.port);
        }
    }
    let system = resolved.system_subscriptions.iter().filter(|subscription| subscription.to == component);
    for SystemSubscription { from, stream, grouping, .. } in system {
        groupings[&**from][&*stream.name] = shown(grouping);
        source_fields[&**from][&*stream.name] = stream.fields.names().iter().map(|name| &**name).collect();
    }
    let members = [
        ("streams", json!(streams)),
        ("stream->outputfields", Json::Object(output_fields)),
        ("stream->target->grouping", Json::Object(targets)),
        ("source->stream->grouping", groupings),
        ("source->stream->fields", source_fields),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A grouping under the name it has in Storm's Thrift interface, where global is fields without fields.
fn shown(grouping: &Wired) -> Json {
    let kind = match grouping {
        Wired::All => "ALL",
        Wired::Direct => "DIRECT",
        Wired::Shuffle => "SHUFFLE",
        Wired::LocalOrShuffle => "LOCAL_OR_SHUFFLE",
        Wired::None => "NONE",
        Wired::Global => return json!({ "type": "FIELDS", "fields": [] }),
        Wired::Fields { names, .. } => {
            let names: Vec<&str> = names.split(", ").collect();
            return json!({ "type": "FIELDS", "fields": names });
        }
        Wired::PartialKey { .. } | Wired::Custom { .. } => "CUSTOM_SERIALIZED",
    };
    json!({ "type": kind })
}
