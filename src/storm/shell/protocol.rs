//! The messages of Storm's multilang protocol, in both directions.

use serde::Serialize;
use serde_json::Value as Json;

use super::framing::{BadOutput, Serializer};
use super::json;
use super::value::{Read, Written, WrittenAll};
use crate::task::TaskId;
use crate::task::dynamic::{Map, Value};

/// The stream of an emit that names none.
pub const DEFAULT_STREAM: &str = "default";

/// The stream of a heartbeat.
pub const HEARTBEAT_STREAM: &str = "__heartbeat";

/// One message of a child.
#[derive(Debug, PartialEq)]
pub enum FromChild {
    /// Its answer to the handshake.
    Pid(u32),
    Emit(Emit),
    Ack(Value),
    Fail(Value),
    Log {
        message: String,
        /// 0 to 4: trace, debug, info, warn, error.
        level: i64,
    },
    Error(String),
    Metrics {
        name: String,
        params: String,
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
    pub id: Option<Value>,
    /// The task it is for, if it is direct.
    pub to: Option<TaskId>,
    /// The child waits for the numbers of the tasks that got it.
    pub need_task_ids: bool,
}

/// Reads one message. What its command does not use is ignored.
///
/// # Errors
/// If it is not JSON (or MessagePack), no object, or not a message of the protocol.
pub fn decode(message: &[u8], serializer: Serializer) -> Result<FromChild, BadOutput> {
    let value = match serializer {
        Serializer::Json => json::read(message),
        Serializer::MsgPack => {
            rmp_serde::from_slice(message).map(|Read(value)| value).map_err(|error| error.to_string())
        }
    };
    let value = value.map_err(|error| BadOutput::new(format!("not a message in {serializer} ({error})"), message))?;
    let typed = match &value {
        Value::Map(fields) => typed(&Fields(fields)),
        other => Err(format!("not a message in {serializer} (expected an object, not {})", other.kind())),
    };
    typed.map_err(|what| BadOutput::new(what, message))
}

/// What a message has, by name; `null` is as if it were not there.
struct Fields<'a>(&'a Map);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        self.get(name).map(|value| text_of(value).ok_or_else(|| wrong(name, "a text", value))).transpose()
    }

    /// Texts as they are, anything else as JSON.
    fn shown(&self, name: &str) -> String {
        let shown = |value| text_of(value).unwrap_or_else(|| serde_json::Value::from(value).to_string());
        self.get(name).map(shown).unwrap_or_default()
    }

    /// What comes back as it is.
    fn id(&self, command: &str) -> Result<Value, String> {
        self.get("id").cloned().ok_or_else(|| format!("`{command}` without `id`"))
    }
}

fn wrong(name: &str, expected: &str, value: &Value) -> String {
    format!("`{name}` must be {expected}, not {}", value.kind())
}

/// MessagePack of some clients has bytes for texts.
fn text_of(value: &Value) -> Option<String> {
    let bytes = |bytes: &bytes::Bytes| std::str::from_utf8(bytes).ok().map(str::to_owned);
    value.as_str().map(str::to_owned).or_else(|| value.as_bytes().and_then(bytes))
}

fn typed(fields: &Fields<'_>) -> Result<FromChild, String> {
    let Some(command) = fields.text("command")? else {
        let pid = fields.get("pid").and_then(Value::as_i64).and_then(|pid| u32::try_from(pid).ok());
        return pid.map(FromChild::Pid).ok_or_else(|| "a message without `command`".to_owned());
    };
    Ok(match &*command {
        "emit" => FromChild::Emit(emit(fields)?),
        "ack" => FromChild::Ack(fields.id(&command)?),
        "fail" => FromChild::Fail(fields.id(&command)?),
        "sync" => FromChild::Sync,
        "log" => FromChild::Log { message: fields.shown("msg"), level: level(fields.get("level")) },
        "error" => FromChild::Error(fields.shown("msg")),
        "metrics" => FromChild::Metrics { name: fields.shown("name"), params: fields.shown("params") },
        other => return Err(format!("unknown command `{other}`")),
    })
}

/// Storm's numbers, and the names that people write in their place. What is neither is `info`, as it is in Storm.
fn level(level: Option<&Value>) -> i64 {
    const NAMES: [&[&str]; 5] =
        [&["trace"], &["debug"], &["info"], &["warn", "warning"], &["error", "fatal", "critical"]];
    let named = |text: String| {
        let text = text.trim().to_lowercase();
        let position = NAMES.iter().position(|names| names.contains(&&*text));
        text.parse().ok().or_else(|| position.map(|level| level as i64))
    };
    level.and_then(|level| level.as_i64().or_else(|| text_of(level).and_then(named))).unwrap_or(2)
}

fn emit(fields: &Fields<'_>) -> Result<Emit, String> {
    let whole = |name: &str| {
        fields.get(name).map(|value| value.as_i64().ok_or_else(|| wrong(name, "a number", value))).transpose()
    };
    let to = match whole("task")?.unwrap_or(0) {
        // Storm's clients leave it out or send 0 for an emit that is not direct.
        0 => None,
        task => Some(TaskId(u32::try_from(task).map_err(|_| format!("there is no task {task}"))?)),
    };
    let values = fields.get("tuple").ok_or("`emit` without `tuple`")?;
    let flag = |value: &Value| value.as_bool().ok_or_else(|| wrong("need_task_ids", "true or false", value));
    Ok(Emit {
        stream: fields.text("stream")?.unwrap_or_else(|| DEFAULT_STREAM.to_owned()),
        values: values.as_list().ok_or_else(|| wrong("tuple", "a list", values))?.to_vec(),
        anchors: anchors(fields.get("anchors"))?,
        id: fields.get("id").cloned(),
        to,
        need_task_ids: fields.get("need_task_ids").map(flag).transpose()?.unwrap_or(true),
    })
}

/// Ids of the tuples that an emit is anchored to: a list, or a single one.
fn anchors(value: Option<&Value>) -> Result<Vec<String>, String> {
    let id = |value: &Value| tuple_id(value).ok_or_else(|| wrong("anchors", "a tuple's id, or a list of them", value));
    match value {
        None => Ok(Vec::new()),
        Some(Value::List(ids)) => ids.iter().map(id).collect(),
        Some(single) => Ok(vec![id(single)?]),
    }
}

/// The id of a tuple is a text; a child may have made a number of it.
pub(super) fn tuple_id(value: &Value) -> Option<String> {
    text_of(value).or_else(|| value.as_integer().map(|id| id.to_string()))
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
    pub id: Written<'a>,
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
