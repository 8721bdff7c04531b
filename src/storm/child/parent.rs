//! What the Storm worker says, and how it is answered.

use std::collections::HashMap;
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::error::{Error, Result};
use crate::storm::emitter::StreamDeclaration;
use crate::storm::shell::framing::{Incoming, NoMessage, Serializer};
use crate::storm::shell::json;
use crate::storm::shell::protocol::{HEARTBEAT_STREAM, encode};
use crate::storm::shell::value::WrittenAll;
use crate::storm::tuple::{Source, StormTuple};
use crate::sys::sync::{Arc, Mutex};
use crate::task::TaskId;
use crate::task::dynamic::{Fields, Value};

/// What the worker tells a component about itself before anything else.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The component's effective configuration.
    pub conf: Map<String, Json>,
    /// Its place in Storm's topology, under Storm's names: `taskid`, `componentid`, `task->component` and more.
    pub context: Map<String, Json>,
    /// Its declared streams, in the order in which the context lists them. A stream's position is its port.
    pub streams: Vec<StreamDeclaration>,
}

#[derive(Deserialize)]
struct SetupMessage {
    conf: Map<String, Json>,
    context: Map<String, Json>,
    #[serde(rename = "pidDir")]
    pid_dir: String,
}

/// Everything a worker writes after the setup; the fields of the kinds that the component is not are absent.
pub(super) struct Message {
    pub command: Option<String>,
    pub id: Json,
    comp: Option<String>,
    stream: Option<String>,
    task: Option<i64>,
    tuple: Vec<Value>,
}

impl Message {
    fn read(message: &[u8]) -> std::result::Result<Self, String> {
        let Value::Map(fields) = json::read(message)? else { return Err("expected an object".to_owned()) };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Message {
            command: text("command"),
            id: fields.get("id").map(Json::from).unwrap_or_default(),
            comp: text("comp"),
            stream: text("stream"),
            task: fields.get("task").and_then(Value::as_i64),
            tuple: fields.get("tuple").and_then(Value::as_list).map(<[Value]>::to_vec).unwrap_or_default(),
        })
    }
}

/// The reading side.
pub(super) struct Parent<R> {
    incoming: Incoming<R>,
    /// Names of the values of each source component's streams.
    fields: Json,
    sources: HashMap<(String, String), Arc<Source>>,
}

impl Setup {
    fn component(&self) -> &str {
        self.context.get("componentid").and_then(Json::as_str).unwrap_or("component")
    }

    /// An id for the component in its own topology: Storm's, unless that is taken there.
    pub(super) fn own_id(&self) -> String {
        let id = self.component();
        if id.starts_with("storm-") { format!("{id}-itself") } else { id.to_owned() }
    }

    fn declared(context: &Map<String, Json>) -> Result<Vec<StreamDeclaration>> {
        let fields_of = |stream: &str| -> Vec<String> {
            let fields = context.get("stream->outputfields").and_then(|streams| streams[stream].as_array());
            fields.into_iter().flatten().filter_map(|field| field.as_str().map(str::to_owned)).collect()
        };
        let names = context.get("streams").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        // Storm's own streams are for its own use.
        let declare = |stream: &str| {
            StreamDeclaration::new(stream, fields_of(stream))
                .map_err(|error| Error::usage(format!("stream {stream}"), error.to_string()))
        };
        names.filter(|stream| !stream.starts_with("__")).map(declare).collect()
    }
}

/// Reads the setup, leaves the file that names this process, and answers.
pub(super) fn greet<R: Read, W: Write>(input: R, replies: &Replies<W>) -> Result<(Parent<R>, Setup)> {
    let mut incoming = Incoming::new(input, Serializer::Json);
    let message = incoming.next().map_err(|none| lost(&none))?;
    let SetupMessage { conf, context, pid_dir } = serde_json::from_slice(message)
        .map_err(|error| Error::usage("standard input", format!("not the setup of a Storm worker: {error}")))?;
    let pid = std::process::id();
    let file = std::path::Path::new(&pid_dir).join(pid.to_string());
    std::fs::write(&file, "").map_err(|error| Error::io(format!("cannot write {}", file.display()), &error))?;
    replies.write(&json!({ "pid": pid }));
    let streams = Setup::declared(&context)?;
    let fields = context.get("source->stream->fields").cloned().unwrap_or_default();
    Ok((Parent { incoming, fields, sources: HashMap::new() }, Setup { conf, context, streams }))
}

fn lost(none: &NoMessage) -> Error {
    let message = match none {
        NoMessage::End => "the Storm worker has closed it".to_owned(),
        NoMessage::Bad(bad) => bad.to_string(),
        NoMessage::Io(error) => error.to_string(),
    };
    Error::usage("standard input", message)
}

impl<R: Read> Parent<R> {
    /// The next message that is not a list of task numbers, which nobody here has asked for; none at the end.
    pub fn next(&mut self) -> Result<Option<Message>> {
        loop {
            let message = match self.incoming.next() {
                Ok(message) => message,
                Err(NoMessage::End) => return Ok(None),
                Err(none) => return Err(lost(&none)),
            };
            if message.trim_ascii_start().starts_with(b"[") {
                continue;
            }
            return Message::read(message)
                .map(Some)
                .map_err(|error| Error::usage("standard input", format!("not a message of a Storm worker: {error}")));
        }
    }

    /// The tuple in a message for a bolt.
    pub fn tuple(&mut self, message: Message) -> StormTuple {
        let component = message.comp.unwrap_or_default();
        let stream = message.stream.unwrap_or_default();
        let values = message.tuple;
        let source = self.source(component, stream, values.len());
        match message.task.and_then(|task| u32::try_from(task).ok()) {
            Some(task) => StormTuple::new(&source, TaskId(task), values),
            None => StormTuple::of_system(&source, values),
        }
    }

    fn source(&mut self, component: String, stream: String, values: usize) -> Arc<Source> {
        let told = &self.fields;
        let made = self.sources.entry((component, stream)).or_insert_with_key(|(component, stream)| {
            let names = told[component][stream].as_array();
            let names: Vec<&str> = names.into_iter().flatten().filter_map(Json::as_str).collect();
            let fields = Fields::new(names).ok().filter(|fields| fields.len() == values);
            // Names that are not told, or are no names, are the positions.
            let fields = fields.unwrap_or_else(|| {
                Fields::new((0..values).map(|position| position.to_string())).expect("numbers are different")
            });
            Arc::new(Source { component: component.as_str().into(), stream: stream.as_str().into(), fields })
        });
        made.clone()
    }
}

impl Message {
    pub fn is_heartbeat(&self) -> bool {
        self.stream.as_deref() == Some(HEARTBEAT_STREAM)
    }
}

/// The writing side, shared by all who answer. A write may wait for the worker to read.
pub(super) struct Replies<W>(Mutex<W>);

/// An emit.
#[derive(Serialize)]
pub(super) struct Emitted<'a> {
    pub command: &'static str,
    pub stream: &'a str,
    pub tuple: WrittenAll<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<String>,
    pub need_task_ids: bool,
}

impl<'a> Emitted<'a> {
    pub fn of(tuple: &'a StormTuple) -> Self {
        let (stream, values) = (&*tuple.source().stream, WrittenAll(tuple.values()));
        Emitted { command: "emit", stream, tuple: values, id: None, anchors: Vec::new(), need_task_ids: false }
    }
}

impl<W: Write> Replies<W> {
    pub fn new(output: W) -> Self {
        Replies(Mutex::new(output))
    }

    /// Writes one message. A worker that does not read any more closes its side as well, which ends the reading.
    pub fn write(&self, message: &impl Serialize) {
        let mut bytes = Vec::new();
        encode(message, Serializer::Json, &mut bytes);
        let mut output = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = output.write_all(&bytes).and_then(|()| output.flush()) {
            tracing::debug!(%error, "the Storm worker does not read any more");
        }
    }

    pub fn sync(&self) {
        self.write(&json!({ "command": "sync" }));
    }
}
