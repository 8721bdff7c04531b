//! Multilang components: what a file says about a process, and the component that it becomes.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Problem;
use crate::storm::conf::{Conf, check_value};
use crate::storm::emitter::StreamDeclaration;
use crate::storm::flux::resolve::Obstacle;
use crate::storm::registry::arguments::{Call, Placed, fields_of};
use crate::storm::registry::{Argument, Arguments, NativeBolt, NativeSpout, current, simple_name};
use crate::storm::shell::{Serializer, ShellSpec};
use crate::storm::yaml::{Node, Place};

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

const NAMES: [&str; 7] = [
    "org.apache.storm.flux.wrappers.spouts.FluxShellSpout",
    "org.apache.storm.flux.wrappers.bolts.FluxShellBolt",
    "org.apache.storm.task.ShellBolt",
    "org.apache.storm.spout.ShellSpout",
    "org.apache.storm.task.RichShellBolt",
    "org.apache.storm.spout.RichShellSpout",
    "storm.petrel.GenericBolt",
];

/// True for classes of spouts, or else of bolts, that run a command they are given: Storm's, Flux's, and the like of
/// other projects.
pub(super) fn is_shell(class: &str, is_spout: bool) -> bool {
    let class = current(class);
    let simple = simple_name(&class);
    let is_one =
        NAMES.contains(&&*class) || ["GenericBolt", "GenericSpout", "ShellBolt", "ShellSpout"].contains(&simple);
    is_one && simple.ends_with(if is_spout { "Spout" } else { "Bolt" })
}

/// Their names, for suggestions.
pub(super) fn names<'a>(of_spouts: bool) -> impl Iterator<Item = &'a str> {
    NAMES.into_iter().filter(move |name| is_shell(name, of_spouts))
}

/// The component's own configuration.
pub(super) fn own_conf(args: &Arguments<'_>) -> Result<JsonMap<String, Json>, Problem> {
    let mut own_conf = JsonMap::new();
    for call in args.calls("addComponentConfig") {
        let [key, value] = args.exactly(call)?;
        let key = text_of(args, call, key)?;
        let Argument::Value(json) = &value.argument else {
            let message = format!("addComponentConfig of {} takes a key and a value, not an object", args.class());
            return Err(Problem::new(&value.place, message));
        };
        let here = Place { file: "".into(), line: 1, column: 1 };
        if let Some(problem) = check_value(&key, &Node::from_json(json, &here)) {
            return Err(Problem::new(&value.place, problem.message));
        }
        own_conf.insert(key, json.clone());
    }
    Ok(own_conf)
}

/// What a file says about a process whose whole configuration this is.
pub(super) fn define(args: &Arguments<'_>, conf: &Conf) -> Result<ShellDefinition, Obstacle> {
    let command = args.optional("command", 0, "a list of texts", fields_of)?.filter(|command| !command.is_empty());
    let command = command.ok_or_else(|| {
        args.problem(format!("{} needs its command as the first constructor argument: a list of texts", args.class()))
    })?;
    let mut streams = Streams { args, all: Vec::new() };
    if let Some(fields) = args.optional_fields("outputFields", 1)? {
        streams.set("default", &fields)?;
    }
    for call in args.calls("setDefaultStream") {
        let [fields] = args.exactly(call)?;
        streams.set("default", &fields_in(args, call, fields)?)?;
    }
    for call in args.calls("setNamedStream") {
        let [name, fields] = args.exactly(call)?;
        streams.set(&text_of(args, call, name)?, &fields_in(args, call, fields)?)?;
    }
    let configured = conf.get("topology.environment").and_then(Json::as_object);
    let mut environment = configured
        .map(texts_of)
        .transpose()
        .map_err(|wrong| args.problem(format!("topology.environment must be a map of texts to texts, and {wrong}")))?;
    for call in args.calls("setEnv") {
        let [map] = args.exactly(call)?;
        let wrong = |what: &str| Problem::new(&map.place, format!("setEnv takes a map of texts to texts{what}"));
        let Argument::Value(Json::Object(entries)) = &map.argument else { return Err(wrong("").into()) };
        let texts = texts_of(entries).map_err(|which| wrong(&format!(", and {which}: put it in quotes")))?;
        environment.get_or_insert_default().extend(texts);
    }
    let mut in_resources = true;
    for call in args.calls("changeChildCWD") {
        let [flag] = args.exactly(call)?;
        let Argument::Value(Json::Bool(flag)) = flag.argument else {
            return Err(Problem::new(&flag.place, "changeChildCWD takes true or false").into());
        };
        in_resources = flag;
    }
    let setting = |key: &str| conf.whole(key).filter(|&number| number > 0);
    let seconds = setting("topology.subprocess.timeout.secs").or(setting("supervisor.worker.timeout.secs"));
    Ok(ShellDefinition {
        command,
        environment: environment.unwrap_or_default(),
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

fn text_of(args: &Arguments<'_>, call: &Call, given: &Placed) -> Result<String, Problem> {
    match &given.argument {
        Argument::Value(Json::String(text)) => Ok(text.clone()),
        _ => Err(Problem::new(&given.place, format!("{} of {} takes a text here", call.name, args.class()))),
    }
}

fn fields_in(args: &Arguments<'_>, call: &Call, given: &Placed) -> Result<Vec<String>, Problem> {
    fields_of(&given.argument).ok_or_else(|| {
        let message = format!("{} of {} takes names of fields here: a list of texts", call.name, args.class());
        Problem::new(&given.place, message)
    })
}

/// The texts of a map, or the entry that is none.
fn texts_of(map: &JsonMap<String, Json>) -> Result<Vec<(String, String)>, String> {
    let text = |(name, value): (&String, &Json)| match value {
        Json::String(text) => Ok((name.clone(), text.clone())),
        other => Err(format!("the value of {name} is {other}")),
    };
    map.iter().map(text).collect()
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
