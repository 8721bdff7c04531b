//! Starting a child, and the two messages that greet it.

use std::io::Write;
use std::process::{ChildStdin, ChildStdout, Command};

use serde_json::{Map, Value as Json};

use super::framing::{BadOutput, Incoming, NoMessage};
use super::protocol::{FromChild, Setup, decode, encode};
use super::spec::ShellSpec;
use crate::error::Failure;
use crate::sys::child::{Spawned, spawn};

/// Why a conversation with a child has ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has closed its output, or does not take input any more.
    Closed,
    /// What it wrote ends it.
    Bad(BadOutput),
}

impl From<NoMessage> for Ending {
    fn from(none: NoMessage) -> Self {
        match none {
            NoMessage::End => Ending::Closed,
            NoMessage::Bad(bad) => Ending::Bad(bad),
            // A pipe that cannot be read is as good as closed; the process's end tells more.
            NoMessage::Io(_) => Ending::Closed,
        }
    }
}

impl From<BadOutput> for Ending {
    fn from(bad: BadOutput) -> Self {
        Ending::Bad(bad)
    }
}

/// A broken pipe: how the process has ended tells more than the error.
impl From<std::io::Error> for Ending {
    fn from(_: std::io::Error) -> Self {
        Ending::Closed
    }
}

/// The two ends of a conversation.
pub(super) struct Pipes {
    pub stdin: ChildStdin,
    pub incoming: Incoming<ChildStdout>,
}

/// Starts the process of a component.
pub(super) fn launch(spec: &ShellSpec) -> Result<Spawned, Failure> {
    std::fs::create_dir_all(&spec.pid_dir).map_err(|error| {
        Failure::retry(format!("cannot make the directory for process ids `{}`: {error}", spec.pid_dir.display()))
    })?;
    let mut command = Command::new(&spec.command[0]);
    command.args(&spec.command[1..]).current_dir(&spec.working_dir);
    command.envs(spec.environment.iter().filter(|(name, _)| name != "PATH").map(|(name, value)| (name, value)));
    if let Some(path) = spec.path() {
        command.env("PATH", path);
    }
    spawn(command).map_err(|error| Failure::retry(format!("cannot start `{}`: {error}", spec.shown())))
}

/// Sends the setup and waits for the process id. Returns it as the child tells it.
pub(super) fn greet(pipes: &mut Pipes, spec: &ShellSpec, context: &Map<String, Json>) -> Result<u32, Ending> {
    let pid_dir = std::path::absolute(&spec.pid_dir).unwrap_or_else(|_| spec.pid_dir.clone());
    let mut setup = Vec::new();
    let message = Setup { conf: &spec.conf, context, pid_dir: &pid_dir.to_string_lossy() };
    encode(&message, spec.serializer, &mut setup);
    pipes.stdin.write_all(&setup)?;
    let answer = pipes.incoming.next()?;
    match decode(answer, spec.serializer)? {
        FromChild::Pid(pid) => Ok(pid),
        _ => Err(BadOutput::new("its first message is not its process id", answer).into()),
    }
}
