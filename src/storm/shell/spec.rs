//! [`ShellSpec`]: what to start for a component, and what to tell it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::bolt::ShellBolt;
use super::framing::{MESSAGE_MAX_BYTES, Serializer};
use super::spout::ShellSpout;
use super::suspects::Memory;
use crate::error::Failure;
use crate::storm::emitter::StreamDeclaration;
use crate::sys::sync::Arc;

/// What the folders for process ids are called, before this process's own id.
pub(super) const PID_DIR: &str = "squall-pids-";

/// Everything about a component that runs in a process of its own. Use it as a factory: `move || spec.bolt()`.
///
/// ```
/// use squall::storm::shell::ShellSpec;
///
/// let mut spec = ShellSpec::new(["python3", "splitsentence.py"]);
/// spec.working_dir = "resources".into();
/// spec.streams = vec![("default".into(), vec!["word".into()])];
/// let factory = move || spec.bolt();
/// # let _ = factory;
/// ```
#[derive(Clone, Debug)]
pub struct ShellSpec {
    /// The program and its arguments. A program without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// Set in the child's environment; `PATH` is appended to the inherited one, as Storm does.
    pub environment: Vec<(String, String)>,
    /// Where it is started: what Storm calls the `resources` directory.
    pub working_dir: PathBuf,
    /// Its output streams with the names of their values.
    pub streams: Vec<(String, Vec<String>)>,
    /// The component's effective configuration, sent in the handshake.
    pub conf: Map<String, Json>,
    /// What the handshake's context tells of the topology besides the tasks, under Storm's names: `streams`,
    /// `stream->outputfields`, `stream->target->grouping`, `source->stream->grouping`, `source->stream->fields`.
    pub wiring: Map<String, Json>,
    /// How messages are written.
    pub serializer: Serializer,
    /// Tuples that may wait to be written to a bolt (`topology.shellbolt.max.pending`, at least 1); then it gets no
    /// more input until the child has read some.
    pub max_pending: usize,
    /// The longest message that a child may write (`topology.multilang.message.max.bytes`).
    pub message_max_bytes: usize,
    /// Memory for task ids that a bolt's child has asked for and not read (`topology.multilang.unread.max.bytes`).
    pub unread_max_bytes: usize,
    /// How long a child may be silent (`topology.subprocess.timeout.secs`).
    pub timeout: Duration,
    /// The pause after a `next` of a spout that emitted nothing (`topology.sleep.spout.wait.strategy.time.ms`).
    pub idle_pause: Duration,
    /// Where each child leaves an empty file named after its process. If it is not there, it is made, and removed with
    /// the last child.
    pub pid_dir: PathBuf,
    /// What is known of earlier children; shared by all that is made of this.
    pub(crate) memory: Arc<Memory>,
}

impl ShellSpec {
    /// A command in the current directory with Storm's defaults: JSON, 100 tuples waiting, 30 s of silence, 1 ms
    /// between idle calls, and no streams.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        ShellSpec {
            command: command.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            working_dir: PathBuf::from("."),
            streams: Vec::new(),
            conf: Map::new(),
            wiring: Map::new(),
            serializer: Serializer::Json,
            max_pending: 100,
            message_max_bytes: MESSAGE_MAX_BYTES,
            unread_max_bytes: 64 << 20,
            timeout: Duration::from_secs(30),
            idle_pause: Duration::from_millis(1),
            pid_dir: std::env::temp_dir().join(format!("{PID_DIR}{}", std::process::id())),
            memory: Arc::default(),
        }
    }

    /// A bolt instance; its child is started in `prepare`.
    pub fn bolt(&self) -> ShellBolt {
        ShellBolt::new(self.clone())
    }

    /// A spout instance; its child is started in `open`.
    pub fn spout(&self) -> ShellSpout {
        ShellSpout::new(self.clone())
    }

    /// Its streams as an emitter and a builder take them.
    ///
    /// # Errors
    /// If a field's name occurs twice in a stream.
    pub fn declared_streams(&self) -> Result<Vec<StreamDeclaration>, Failure> {
        let declare = |(name, fields): &(String, Vec<String>)| {
            Ok(StreamDeclaration::new(name.as_str(), fields.iter().map(String::as_str))?)
        };
        self.streams.iter().map(declare).collect()
    }

    /// The command as an error shows it.
    pub(super) fn shown(&self) -> String {
        self.command.join(" ")
    }

    /// Finds out what can be known before a process is started, so that a topology with a wrong command does not start.
    ///
    /// # Errors
    /// If there is no such directory or program.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if !self.working_dir.is_dir() {
            let directory = self.working_dir.display();
            return Err(Failure::fatal(format!(
                "the directory `{directory}` to start `{}` in is missing",
                self.shown()
            )));
        }
        let Some(program) = self.command.first() else {
            return Err(Failure::fatal("the command of a shell component is empty"));
        };
        let is_there = if program.contains('/') {
            self.working_dir.join(program).is_file()
        } else {
            let path = self.path().or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
            std::env::split_paths(&path).any(|directory| self.working_dir.join(directory).join(program).is_file())
        };
        if is_there {
            return Ok(());
        }
        let advice = "install it, or put its directory into PATH or the component's environment";
        Err(Failure::fatal(format!("there is no program `{program}` to run `{}`: {advice}", self.shown())))
    }

    /// `PATH` for the child, if it is not just the inherited one.
    pub(super) fn path(&self) -> Option<String> {
        let appended: Vec<&str> =
            self.environment.iter().filter(|(name, _)| name == "PATH").map(|(_, value)| &**value).collect();
        let inherited = std::env::var("PATH").ok();
        let all: Vec<&str> = inherited.as_deref().into_iter().chain(appended.iter().copied()).collect();
        (!appended.is_empty()).then(|| all.join(":"))
    }
}
