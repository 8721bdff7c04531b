//! Multilang components: what a file says about a process, and the component that it becomes.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Problem;
use crate::storm::conf::Conf;
use crate::storm::emitter::StreamDeclaration;
use crate::storm::flux::resolve::Obstacle;
use crate::storm::registry::arguments::{Placed, fields_of};
use crate::storm::registry::{Argument, Arguments, NativeBolt, NativeSpout, current, simple_name};
use crate::storm::shell::{Serializer, ShellSpec};

/// A process as a spout or bolt.
#[derive(Clone, Debug)]
pub(crate) struct ShellDefinition {
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub streams: Vec<StreamDeclaration>,
    /// What the child is told.
    pub conf: JsonMap<String, Json>,
    /// Where it is started: the folder of resources, unless the file wants it otherwise.
    pub working_dir: PathBuf,
    pub is_msgpack: bool,
    pub max_pending: usize,
    pub message_max_bytes: Option<u64>,
    pub unread_max_bytes: Option<u64>,
    pub timeout: Duration,
    /// After a spout's call that emitted nothing.
    pub idle_pause: Duration,
}

/// True for classes that run a command they are given: Storm's, Flux's, and the like of other projects.
pub(super) fn is_shell(class: &str) -> bool {
    const NAMES: [&str; 7] = [
        "org.apache.storm.flux.wrappers.spouts.FluxShellSpout",
        "org.apache.storm.flux.wrappers.bolts.FluxShellBolt",
        "org.apache.storm.task.ShellBolt",
        "org.apache.storm.spout.ShellSpout",
        "org.apache.storm.task.RichShellBolt",
        "org.apache.storm.spout.RichShellSpout",
        "storm.petrel.GenericBolt",
    ];
    let class = current(class);
    let simple = simple_name(&class);
    NAMES.contains(&&*class) || ["GenericBolt", "GenericSpout", "ShellBolt", "ShellSpout"].contains(&simple)
}

/// The component's own configuration.
pub(super) fn own_conf(args: &Arguments<'_>) -> Result<JsonMap<String, Json>, Problem> {
    let mut own_conf = JsonMap::new();
    for call in args.calls("addComponentConfig") {
        let key = text_in(args, &call.args, 0)?;
        match call.args.get(1).map(|placed| &placed.argument) {
            Some(Argument::Value(value)) => own_conf.insert(key, value.clone()),
            _ => return Err(Problem::new(&call.place, "addComponentConfig takes a key and a value")),
        };
    }
    Ok(own_conf)
}

/// What a file says about a process whose whole configuration this is.
pub(super) fn define(args: &Arguments<'_>, conf: &Conf) -> Result<ShellDefinition, Obstacle> {
    let command = match args.get("command", 0) {
        Some(argument) => fields_of(argument).filter(|command| !command.is_empty()),
        None => None,
    };
    let command = command.ok_or_else(|| {
        args.problem(format!("{} needs its command as the first constructor argument: a list of texts", args.class()))
    })?;
    let mut streams = Streams { args, all: Vec::new() };
    if let Some(fields) = args.optional_fields("outputFields", 1)? {
        streams.set("default", &fields)?;
    }
    for call in args.calls("setDefaultStream") {
        streams.set("default", &fields_in(args, &call.args, 0)?)?;
    }
    for call in args.calls("setNamedStream") {
        let name = text_in(args, &call.args, 0)?;
        streams.set(&name, &fields_in(args, &call.args, 1)?)?;
    }
    let mut environment = texts_of(conf.get("topology.environment"));
    for call in args.calls("setEnv") {
        match call.args.first().map(|placed| &placed.argument) {
            Some(Argument::Value(value @ Json::Object(_))) => environment.extend(texts_of(Some(value))),
            _ => return Err(Problem::new(&call.place, "setEnv takes a map of texts").into()),
        }
    }
    let mut in_resources = true;
    for call in args.calls("changeChildCWD") {
        in_resources = call.args.first().is_none_or(|flag| flag.argument != Argument::Value(Json::Bool(false)));
    }
    let setting = |key: &str| conf.whole(key).filter(|&number| number > 0);
    let seconds = setting("topology.subprocess.timeout.secs").or(setting("supervisor.worker.timeout.secs"));
    Ok(ShellDefinition {
        command,
        environment,
        streams: streams.all,
        conf: conf.for_components(),
        working_dir: if in_resources { args.resources().to_path_buf() } else { PathBuf::from(".") },
        is_msgpack: is_msgpack(args, conf)?,
        max_pending: setting("topology.shellbolt.max.pending").unwrap_or(100) as usize,
        message_max_bytes: setting("topology.multilang.message.max.bytes"),
        unread_max_bytes: setting("topology.multilang.unread.max.bytes"),
        timeout: Duration::from_secs(seconds.unwrap_or(30)),
        idle_pause: Duration::from_millis(conf.whole("topology.sleep.spout.wait.strategy.time.ms").unwrap_or(1)),
    })
}

fn is_msgpack(args: &Arguments<'_>, conf: &Conf) -> Result<bool, Obstacle> {
    let serializer = conf.text("topology.multilang.serializer").unwrap_or("JsonSerializer");
    let name = serializer.to_lowercase();
    match (name.contains("msgpack") || name.contains("messagepack"), name.contains("json")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(Obstacle::Java(args.problem(format!(
            "the serializer {serializer} needs the JVM; JsonSerializer and those with MessagePack in their name do not"
        )))),
    }
}

/// Streams, the last declaration of a name wins.
struct Streams<'a, 'c> {
    args: &'a Arguments<'c>,
    all: Vec<StreamDeclaration>,
}

impl Streams<'_, '_> {
    fn set(&mut self, name: &str, fields: &[String]) -> Result<(), Problem> {
        let stream = self.args.stream(name, fields)?;
        self.all.retain(|other| &*other.name != name);
        self.all.push(stream);
        Ok(())
    }
}

fn text_in(args: &Arguments<'_>, given: &[Placed], position: usize) -> Result<String, Problem> {
    match given.get(position).map(|placed| &placed.argument) {
        Some(Argument::Value(Json::String(text))) => Ok(text.clone()),
        _ => Err(args.problem(format!("a method of {} needs a text as argument {}", args.class(), position + 1))),
    }
}

fn fields_in(args: &Arguments<'_>, given: &[Placed], position: usize) -> Result<Vec<String>, Problem> {
    given.get(position).and_then(|placed| fields_of(&placed.argument)).ok_or_else(|| {
        args.problem(format!("a method of {} needs field names as argument {}", args.class(), position + 1))
    })
}

fn texts_of(map: Option<&Json>) -> Vec<(String, String)> {
    let entries = map.and_then(Json::as_object).into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The process as a spout.
pub(super) fn spout(definition: ShellDefinition, wiring: JsonMap<String, Json>) -> NativeSpout {
    let streams = definition.streams.clone();
    let spec = spec(definition, wiring);
    NativeSpout::new(streams, move || spec.spout())
}

/// The process as a bolt.
pub(super) fn bolt(definition: ShellDefinition, wiring: JsonMap<String, Json>) -> NativeBolt {
    let streams = definition.streams.clone();
    let spec = spec(definition, wiring);
    NativeBolt::new(streams, move || spec.bolt())
}

fn spec(definition: ShellDefinition, wiring: JsonMap<String, Json>) -> ShellSpec {
    let fields = |stream: &StreamDeclaration| stream.fields.names().iter().map(ToString::to_string).collect();
    let default = ShellSpec::new(definition.command);
    let bytes = |set: Option<u64>, default: usize| set.map_or(default, |bytes| bytes as usize);
    ShellSpec {
        streams: definition.streams.iter().map(|stream| (stream.name.to_string(), fields(stream))).collect(),
        environment: definition.environment,
        working_dir: definition.working_dir,
        conf: definition.conf,
        wiring,
        serializer: if definition.is_msgpack { Serializer::MsgPack } else { Serializer::Json },
        max_pending: definition.max_pending,
        message_max_bytes: bytes(definition.message_max_bytes, default.message_max_bytes),
        unread_max_bytes: bytes(definition.unread_max_bytes, default.unread_max_bytes),
        timeout: definition.timeout,
        idle_pause: definition.idle_pause,
        ..default
    }
}
