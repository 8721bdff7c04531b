//! A child without squall: a loop that writes to its pipe and reads from it.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crossbeam::channel::bounded;
use hdrhistogram::Histogram;
use serde_json::Map;

use super::{Loop, WINDOW};
use crate::bench::row::histogram;
use crate::bench::timing::Timing;
use crate::error::{Error, Result};
use crate::storm::shell::framing::{Incoming, Serializer};
use crate::storm::shell::protocol::{Delivered, FromChild, Setup, decode, encode};
use crate::storm::shell::value::WrittenAll;
use crate::sys::child::{Input, Output, Process, spawn};
use crate::sys::clock::Clock;
use crate::sys::thread;
use crate::task::dynamic::Value;

struct Bare {
    stdin: Input,
    incoming: Incoming<Output>,
    /// Killed when dropped.
    _process: Process,
}

fn failed(what: impl std::fmt::Display) -> Error {
    Error::failed("child", what.to_string())
}

impl Bare {
    fn start(command: &[String], folder: &Path) -> Result<Self> {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).current_dir(folder);
        let spawned = spawn(program).map_err(|error| Error::io(format!("starting {}", command[0]), &error))?;
        let incoming = Incoming::new(spawned.stdout, Serializer::Json);
        let mut bare = Bare { stdin: spawned.stdin, incoming, _process: spawned.process };
        let (conf, context) = (Map::new(), Map::new());
        let mut setup = Vec::new();
        let message = Setup { conf: &conf, context: &context, pid_dir: &folder.to_string_lossy() };
        encode(&message, Serializer::Json, &mut setup);
        bare.stdin.write_all(&setup).map_err(|error| Error::io("writing to the child", &error))?;
        bare.read()?;
        Ok(bare)
    }

    fn read(&mut self) -> Result<FromChild> {
        let message = self.incoming.next().map_err(|none| failed(format!("{none:?}")))?;
        decode(message, Serializer::Json).map_err(failed)
    }

    /// Reads up to the next ack.
    fn read_ack(&mut self) -> Result<()> {
        while !matches!(self.read()?, FromChild::Ack(_)) {}
        Ok(())
    }
}

/// The message that the topology's child gets as well.
fn message(id: u64, into: &mut Vec<u8>) {
    let values = [Value::Int(id as i64)];
    let (id, tuple) = (id.to_string(), WrittenAll(&values));
    let delivered = Delivered { id: &id, comp: Some("source"), stream: "default", task: 3, tuple };
    encode(&delivered, Serializer::Json, into);
}

/// One tuple at a time: write it, read its ack.
fn trips(bare: &mut Bare, timing: &Timing, clock: &Clock) -> Result<Histogram<u64>> {
    let (mut trips, mut bytes, began_ns) = (histogram(), Vec::new(), clock.now_ns());
    let (warm_ns, end_ns) = (timing.warmup.as_nanos() as u64, (timing.warmup + timing.slice).as_nanos() as u64);
    for id in 1.. {
        let sent_ns = clock.now_ns();
        if sent_ns - began_ns >= end_ns {
            break;
        }
        bytes.clear();
        message(id, &mut bytes);
        bare.stdin.write_all(&bytes).map_err(|error| Error::io("writing to the child", &error))?;
        bare.read_ack()?;
        if sent_ns - began_ns >= warm_ns {
            trips.saturating_record(clock.now_ns() - sent_ns);
        }
    }
    Ok(trips)
}

/// As many as the window allows are under way: a thread writes, this one reads. Tuples a second.
fn flow(bare: Bare, timing: &Timing, clock: &Clock) -> Result<f64> {
    let (permits, permitted) = bounded(WINDOW);
    let Bare { stdin, incoming, _process } = bare;
    let writer = thread::spawn_helper("squall-bare-loop", move || {
        let (mut stdin, mut bytes) = (stdin, Vec::new());
        for id in 1.. {
            if permits.send(()).is_err() {
                return;
            }
            bytes.clear();
            message(id, &mut bytes);
            if stdin.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    writer.map_err(|error| Error::io("starting a thread", &error))?;
    let mut reading = incoming;
    let mut acks_until = |until_ns: u64| -> Result<u64> {
        let mut acks = 0;
        while clock.now_ns() < until_ns {
            let message = reading.next().map_err(|none| failed(format!("{none:?}")))?;
            if matches!(decode(message, Serializer::Json).map_err(failed)?, FromChild::Ack(_)) {
                acks += 1;
                let _ = permitted.try_recv();
            }
        }
        Ok(acks)
    };
    acks_until(clock.now_ns() + timing.warmup.as_nanos() as u64)?;
    let from_ns = clock.now_ns();
    let acks = acks_until(from_ns + timing.slice.as_nanos() as u64)?;
    Ok(acks as f64 * 1e9 / (clock.now_ns() - from_ns).max(1) as f64)
}

/// Both loops, with a child each.
pub(super) fn measure(command: &[String], folder: &Path, timing: &Timing, clock: &Clock) -> Result<Loop> {
    let trips = trips(&mut Bare::start(command, folder)?, timing, clock)?;
    Ok(Loop { trips, per_s: flow(Bare::start(command, folder)?, timing, clock)? })
}
