//! The messages of Storm's multilang protocol, in both directions.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::framing::{BadOutput, Serializer};
use super::value::{Read, WrittenAll};
use crate::task::TaskId;
use crate::task::dynamic::Value;

/// The stream of an emit that names none.
pub const DEFAULT_STREAM: &str = "default";

/// The stream of a heartbeat.
pub const HEARTBEAT_STREAM: &str = "__heartbeat";

/// Anything a child writes. What a command does not use is ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    command: Option<String>,
    id: Option<Json>,
    stream: Option<String>,
    task: Option<i64>,
    tuple: Option<Vec<Read>>,
    anchors: Anchored,
    need_task_ids: Option<bool>,
    msg: Option<Json>,
    level: Option<i64>,
    name: Option<Json>,
    params: Option<Json>,
    pid: Option<u32>,
}

/// Ids of the tuples that an emit is anchored to: a list, or a single one.
#[derive(Default)]
struct Anchored(Vec<String>);

impl<'de> Deserialize<'de> for Anchored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Anchored;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tuple's id, or a list of them")
            }
            fn visit_unit<E>(self) -> Result<Anchored, E> {
                Ok(Anchored::default())
            }
            fn visit_str<E: de::Error>(self, id: &str) -> Result<Anchored, E> {
                Ok(Anchored(vec![id.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Anchored, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = seq.next_element()? {
                    ids.push(id);
                }
                Ok(Anchored(ids))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// One message of a child.
#[derive(Debug, PartialEq)]
pub enum FromChild {
    /// Its answer to the handshake.
    Pid(u32),
    Emit(Emit),
    Ack(Json),
    Fail(Json),
    Log {
        message: String,
        /// 0 to 4: trace, debug, info, warn, error.
        level: i64,
    },
    Error(String),
    Metrics {
        name: String,
        params: Json,
    },
    Sync,
}

/// An emit of a bolt or spout.
#[derive(Debug, PartialEq)]
pub struct Emit {
    pub stream: String,
    pub values: Vec<Value>,
    /// Of a bolt: the tuples it is anchored to.
    pub anchors: Vec<String>,
    /// Of a spout: what comes back in `ack` and `fail`.
    pub id: Option<Json>,
    /// The task it is for, if it is direct.
    pub to: Option<TaskId>,
    /// The child waits for the numbers of the tasks that got it.
    pub need_task_ids: bool,
}

/// Reads one message.
///
/// # Errors
/// If it is not JSON (or MessagePack), no object, or not a message of the protocol.
pub fn decode(message: &[u8], serializer: Serializer) -> Result<FromChild, BadOutput> {
    let raw = match serializer {
        Serializer::Json => serde_json::from_slice::<Raw>(message).map_err(|error| error.to_string()),
        Serializer::MsgPack => rmp_serde::from_slice::<Raw>(message).map_err(|error| error.to_string()),
    };
    let language = if serializer == Serializer::Json { "JSON" } else { "MessagePack" };
    let raw = raw.map_err(|error| BadOutput::new(format!("not a message in {language} ({error})"), message))?;
    typed(raw).map_err(|what| BadOutput::new(what, message))
}

fn typed(mut raw: Raw) -> Result<FromChild, String> {
    let Some(command) = raw.command.take() else {
        return raw.pid.map(FromChild::Pid).ok_or_else(|| "a message without `command`".to_owned());
    };
    let id = |id: Option<Json>| id.ok_or_else(|| format!("`{command}` without `id`"));
    Ok(match &*command {
        "emit" => FromChild::Emit(emit(raw)?),
        "ack" => FromChild::Ack(id(raw.id)?),
        "fail" => FromChild::Fail(id(raw.id)?),
        "sync" => FromChild::Sync,
        "log" => FromChild::Log { message: text(raw.msg), level: raw.level.unwrap_or(2) },
        "error" => FromChild::Error(text(raw.msg)),
        "metrics" => FromChild::Metrics { name: text(raw.name), params: raw.params.unwrap_or_default() },
        other => return Err(format!("unknown command `{other}`")),
    })
}

fn emit(raw: Raw) -> Result<Emit, String> {
    let to = match raw.task.unwrap_or(0) {
        // Storm's clients leave it out or send 0 for an emit that is not direct.
        0 => None,
        task => Some(TaskId(u32::try_from(task).map_err(|_| format!("there is no task {task}"))?)),
    };
    let values = raw.tuple.ok_or("`emit` without `tuple`")?;
    Ok(Emit {
        stream: raw.stream.unwrap_or_else(|| DEFAULT_STREAM.to_owned()),
        values: values.into_iter().map(|Read(value)| value).collect(),
        anchors: raw.anchors.0,
        id: raw.id,
        to,
        need_task_ids: raw.need_task_ids.unwrap_or(true),
    })
}

/// Texts as they are, anything else as JSON.
fn text(json: Option<Json>) -> String {
    match json {
        None => String::new(),
        Some(Json::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

/// The first message to a child.
#[derive(Serialize)]
pub struct Setup<'a> {
    pub conf: &'a serde_json::Map<String, Json>,
    pub context: &'a serde_json::Map<String, Json>,
    #[serde(rename = "pidDir")]
    pub pid_dir: &'a str,
}

/// A tuple for a bolt, a tick and a heartbeat included.
#[derive(Serialize)]
pub struct Delivered<'a> {
    pub id: &'a str,
    pub comp: Option<&'a str>,
    pub stream: &'a str,
    pub task: i32,
    pub tuple: WrittenAll<'a>,
}

/// An order to a spout.
#[derive(Serialize)]
pub struct Order<'a> {
    pub command: &'static str,
    pub id: &'a Json,
}

/// Appends a message. JSON gets its end.
pub fn encode(message: &impl Serialize, serializer: Serializer, into: &mut Vec<u8>) {
    // Neither can fail: the messages hold no maps with odd keys, and memory does not run out of room.
    match serializer {
        Serializer::Json => {
            serde_json::to_writer(&mut *into, message).expect("messages are plain data");
            into.extend_from_slice(b"\nend\n");
        }
        Serializer::MsgPack => {
            let mut writer = rmp_serde::Serializer::new(into).with_struct_map();
            message.serialize(&mut writer).expect("messages are plain data");
        }
    }
}
