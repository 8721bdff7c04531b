//! What the handshake tells a child of its place in the topology.

use serde_json::{Map, Value as Json, json};

use super::spec::ShellSpec;
use crate::task::context::TaskInfo;

/// The names that Storm's context has and that the builder of the topology knows.
const WIRING: [&str; 5] = [
    "streams",
    "stream->outputfields",
    "stream->target->grouping",
    "source->stream->grouping",
    "source->stream->fields",
];

/// The context of a task. What the wiring does not say of the component's own streams comes from its declaration.
pub(super) fn context(spec: &ShellSpec, info: &TaskInfo) -> Map<String, Json> {
    let tasks = info.tasks.iter().flat_map(|(component, tasks)| {
        tasks.iter().map(move |task| (task.0.to_string(), Json::from(component.to_string())))
    });
    let mut context = Map::new();
    context.insert("task->component".into(), Json::Object(tasks.collect()));
    context.insert("taskid".into(), info.task.0.into());
    context.insert("componentid".into(), info.component.to_string().into());
    for name in WIRING {
        let told = spec.wiring.get(name).cloned();
        context.insert(name.into(), told.unwrap_or_else(|| declared(spec, name)));
    }
    context
}

fn declared(spec: &ShellSpec, name: &str) -> Json {
    match name {
        "streams" => spec.streams.iter().map(|(stream, _)| Json::from(stream.as_str())).collect(),
        "stream->outputfields" => {
            Json::Object(spec.streams.iter().map(|(stream, fields)| (stream.clone(), json!(fields))).collect())
        }
        _ => json!({}),
    }
}
