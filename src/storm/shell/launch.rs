//! Starting a child, and the two messages that greet it.

use std::io::Write;
use std::process::Command;
use std::sync::Once;

use serde_json::{Map, Value as Json};

use super::framing::{BadOutput, Incoming, NoMessage};
use super::protocol::{FromChild, Setup, decode, encode};
use super::spec::{PID_DIR, ShellSpec};
use crate::error::Failure;
use crate::sys::child::{Input, Output, Spawned, spawn};
use crate::sys::scratch::{Scratch, sweep};

/// Why a conversation with a child has ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has closed its output.
    Closed,
    /// It has closed its input.
    InputClosed,
    /// What it wrote ends it.
    Bad(BadOutput),
    /// It has named a tuple that it has settled before, or that never was: what it has in hand now has no part in it.
    Unknown(BadOutput),
    /// What it wrote is no answer to the handshake.
    NoAnswer(BadOutput),
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

/// A broken pipe: how the process ends tells more than the error, if it does.
impl From<std::io::Error> for Ending {
    fn from(_: std::io::Error) -> Self {
        Ending::InputClosed
    }
}

/// The two ends of a conversation.
pub(super) struct Pipes {
    pub stdin: Input,
    pub incoming: Incoming<Output>,
}

/// Starts the process of a component. With its place in the folder for process ids.
pub(super) fn launch(spec: &ShellSpec) -> Result<(Spawned, Scratch), Failure> {
    static SWEPT: Once = Once::new();

    SWEPT.call_once(|| sweep(&std::env::temp_dir(), PID_DIR));
    let place = Scratch::enter(&spec.pid_dir).map_err(|error| {
        Failure::retry(format!("cannot make the directory for process ids `{}`: {error}", spec.pid_dir.display()))
    })?;
    let mut command = Command::new(&spec.command[0]);
    command.args(&spec.command[1..]).current_dir(&spec.working_dir);
    command.envs(spec.environment.iter().filter(|(name, _)| name != "PATH").map(|(name, value)| (name, value)));
    if let Some(path) = spec.path() {
        command.env("PATH", path);
    }
    let spawned = spawn(command);
    let spawned = spawned.map_err(|error| Failure::retry(format!("cannot start `{}`: {error}", spec.shown())))?;
    Ok((spawned, place))
}

/// Sends the setup and waits for the process id. Returns it as the child tells it.
pub(super) fn greet(pipes: &mut Pipes, spec: &ShellSpec, context: &Map<String, Json>) -> Result<u32, Ending> {
    let pid_dir = std::path::absolute(&spec.pid_dir).unwrap_or_else(|_| spec.pid_dir.clone());
    let mut setup = Vec::new();
    let message = Setup { conf: &spec.conf, context, pid_dir: &pid_dir.to_string_lossy() };
    encode(&message, spec.serializer, &mut setup);
    pipes.stdin.write_all(&setup)?;
    // Its first bytes tell, and it may never write what would end a message.
    let begun = pipes.incoming.begin()?;
    if !spec.serializer.may_begin_with(begun) {
        return Err(Ending::NoAnswer(BadOutput::new("it wrote", begun)));
    }
    let answer = pipes.incoming.next()?;
    match decode(answer, spec.serializer).map_err(Ending::NoAnswer)? {
        FromChild::Pid(pid) => Ok(pid),
        _ => Err(Ending::NoAnswer(BadOutput::new("its first message is not its process id", answer))),
    }
}
