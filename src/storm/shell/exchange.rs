//! The thread that gives a spout's child its orders and waits for the answers.

use std::io::Write;

use crossbeam::channel::{Receiver, Sender};

use super::bolt::{log, tuple};
use super::framing::BadOutput;
use super::keeper::{Link, Stage};
use super::launch::{Ending, Pipes};
use super::protocol::{self, Emit, FromChild, decode, encode};
use super::spec::ShellSpec;
use super::value::Written;
use crate::storm::emitter::Emitter;
use crate::storm::tuple::StormTuple;
use crate::sys::sync::Arc;
use crate::task::TaskId;
use crate::task::dynamic::Value;

/// What the engine wants of the spout.
pub(super) enum Order {
    Next,
    Ack(Value),
    Fail(Value),
    Activate,
    Deactivate,
}

/// What the child has done.
pub(super) enum Happened {
    Emit {
        id: Option<Value>,
        port: usize,
        value: StormTuple,
        to: Option<TaskId>,
        need_task_ids: bool,
    },
    /// An order has been carried out, with so many emits.
    Answered {
        was_next: bool,
        emitted: usize,
    },
}

pub(super) struct Exchange {
    pub orders: Receiver<Order>,
    pub happens: Sender<Happened>,
    /// Task numbers of the emit that the child waits for.
    pub replies: Receiver<Vec<u32>>,
    pub emitter: Emitter,
    pub link: Arc<Link>,
    pub spec: Arc<ShellSpec>,
}

impl Exchange {
    /// One order after another, until the spout is dropped or the child ends.
    pub fn run(self, mut pipes: Pipes) -> Result<(), Ending> {
        // While nothing is asked of it, it may be as silent as it likes.
        self.link.signs.owes(false);
        let no_id = Value::from("");
        let mut buffer = Vec::new();
        for order in &self.orders {
            let (command, id) = match &order {
                Order::Next => ("next", &no_id),
                Order::Ack(id) => ("ack", id),
                Order::Fail(id) => ("fail", id),
                Order::Activate => ("activate", &no_id),
                Order::Deactivate => ("deactivate", &no_id),
            };
            buffer.clear();
            encode(&protocol::Order { command, id: Written(id) }, self.spec.serializer, &mut buffer);
            self.send(&mut pipes, &buffer)?;
            let Some(emitted) = self.wait_for_sync(&mut pipes)? else { return Ok(()) };
            if !self.tell(Happened::Answered { was_next: matches!(order, Order::Next), emitted }) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn send(&self, pipes: &mut Pipes, message: &[u8]) -> Result<(), Ending> {
        self.link.signs.owes(true);
        self.link.signs.writes();
        pipes.stdin.write_all(message)?;
        self.link.signs.wrote(message.len());
        Ok(())
    }

    /// Takes what the child does on an order. The number of emits, or none if the spout is gone.
    fn wait_for_sync(&self, pipes: &mut Pipes) -> Result<Option<usize>, Ending> {
        let mut emitted = 0;
        loop {
            let message = pipes.incoming.next()?;
            self.link.signs.note();
            self.link.comes_to(Stage::Works);
            if self.link.is_stopping() {
                return Ok(None);
            }
            let origin = self.link.reporter.origin();
            match decode(message, self.spec.serializer)? {
                FromChild::Sync => {
                    self.link.signs.owes(false);
                    return Ok(Some(emitted));
                }
                FromChild::Emit(emit) => {
                    let (happened, need_task_ids) = self.emitted(emit).map_err(|what| BadOutput::new(what, message))?;
                    emitted += 1;
                    // From here until the reply the child waits for us.
                    self.link.signs.owes(false);
                    if !self.tell(happened) || (need_task_ids && !self.reply(pipes)?) {
                        return Ok(None);
                    }
                    self.link.signs.owes(true);
                }
                FromChild::Error(message) => self.link.reported(message),
                FromChild::Log { message, level } => log(origin, &message, level),
                FromChild::Metrics { name, params } => {
                    tracing::info!(task = %origin, metric = name, params, "metrics");
                }
                FromChild::Ack(_) | FromChild::Fail(_) => {
                    return Err(BadOutput::new("a spout does not ack or fail", message).into());
                }
                FromChild::Pid(_) => return Err(BadOutput::new("a process id after the greeting", message).into()),
            }
        }
    }

    fn emitted(&self, emit: Emit) -> Result<(Happened, bool), String> {
        let Emit { stream, values, id, to, need_task_ids, .. } = emit;
        let (port, value) = tuple(&self.emitter, &self.spec, &stream, values)?;
        let need_task_ids = need_task_ids && to.is_none();
        Ok((Happened::Emit { id, port, value, to, need_task_ids }, need_task_ids))
    }

    /// Waits until the emit has been routed and tells the child where to. False if the spout is gone.
    fn reply(&self, pipes: &mut Pipes) -> Result<bool, Ending> {
        let Ok(tasks) = self.replies.recv() else { return Ok(false) };
        let mut buffer = Vec::new();
        encode(&tasks, self.spec.serializer, &mut buffer);
        self.send(pipes, &buffer)?;
        Ok(true)
    }

    /// Waits while the task is behind. False if the spout is gone.
    fn tell(&self, happened: Happened) -> bool {
        let told = self.happens.send(happened).is_ok();
        self.link.waker.wake();
        told
    }
}
