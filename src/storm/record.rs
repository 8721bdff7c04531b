//! A record of what a legacy topology does: every tuple a bolt takes, every ack and fail of a spout, as JSON lines.
//!
//! One object per line, told apart by `event`: `task` (`id`, `component`), `subscription` (`component`, `source`,
//! `stream`, `grouping`, `fields`), `execute` (`component`, `task`, `source`, `source_task`, `stream`, `values` with
//! their types, as `squall storm route` reads them), `ack` and `fail` (`component`, `task`, `id`). The events of a task
//! are in order; a tuple is recorded before the bolt sees it.
//!
//! Meant for comparing and for looking closely: every event is written to the file by the thread that runs the task.

use std::any::Any;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::error::Failure;
use crate::storm::native::emits::TickTuples;
use crate::storm::shell::ShellId;
use crate::storm::tuple::StormTuple;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::task::component::{Next, Outcome, Replayable, Spout};
use crate::task::context::{BoltContext, SpoutContext, TaskInfo};
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::shell::TaskKit;
use crate::task::snapshot::Checkpointed;
use crate::task::style::{Input, Logic};
use crate::topology::component::{Around, IntoBolt, KeysOfInputs, Unkeyed};
use crate::topology::plan::Kind;

/// The file, shared by all tasks.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Mutex<Record>>);

struct Record {
    path: PathBuf,
    /// What is known before the start.
    subscriptions: Vec<Json>,
    /// None before the first task begins.
    file: Option<File>,
    has_failed: bool,
}

impl Record {
    fn write(&mut self, event: &Json) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(format!("{event}\n").as_bytes())
            && !std::mem::replace(&mut self.has_failed, true)
        {
            tracing::error!("{}: the record is incomplete: {error}", self.path.display());
        }
    }
}

impl Recorder {
    /// A record in this file, which is created, or emptied, when the topology starts.
    pub fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Recorder(Arc::new(Mutex::new(Record { path, subscriptions: Vec::new(), file: None, has_failed: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who subscribes to what. `fields` is for fields grouping only.
    pub fn subscription(&self, component: &str, (source, stream): (&str, &str), grouping: &str, fields: &[&str]) {
        let mut event = json!({"event": "subscription", "component": component, "source": source, "stream": stream,
            "grouping": grouping});
        if !fields.is_empty() {
            event["fields"] = json!(fields);
        }
        self.lock().subscriptions.push(event);
    }

    /// Whichever task comes first creates the file and writes what is known about all.
    fn begin(&self, info: &TaskInfo) -> Outcome {
        let mut record = self.lock();
        if record.file.is_some() {
            return Ok(());
        }
        let file = File::create(&record.path)
            .map_err(|error| Failure::fatal(format!("{}: the record: {error}", record.path.display())))?;
        record.file = Some(file);
        for (component, tasks) in info.tasks.iter() {
            for task in tasks {
                record.write(&json!({"event": "task", "id": task.0, "component": &**component}));
            }
        }
        for event in std::mem::take(&mut record.subscriptions) {
            record.write(&event);
        }
        Ok(())
    }

    /// For one component; `tick` is the period of its tick tuples, `engine_tick` that of the engine's ticks, which a
    /// windowed bolt has more of.
    pub fn tape(&self, tick: Option<Duration>, engine_tick: Option<Duration>) -> Tape {
        let every = |tick: Duration| engine_tick.map_or(1, |engine| tick.as_nanos() / engine.as_nanos().max(1)).max(1);
        let ticks = tick.map(|tick| (TickTuples::new(tick), every(tick)));
        Tape { recorder: self.clone(), ticks, engine_ticks: 0, component: "".into(), task: 0 }
    }
}

/// The record as one component, then as one task, writes it.
#[derive(Clone)]
pub(crate) struct Tape {
    recorder: Recorder,
    /// With how many of the engine's ticks make one.
    ticks: Option<(TickTuples, u128)>,
    engine_ticks: u128,
    component: Arc<str>,
    task: u32,
}

impl Tape {
    fn begin(&mut self, info: &TaskInfo) -> Outcome {
        self.component = info.component.clone();
        self.task = info.task.0;
        self.recorder.begin(info)
    }

    fn execute(&self, tuple: &StormTuple) {
        let values: Vec<Json> = tuple.values().iter().map(typed).collect();
        let source = tuple.source();
        self.recorder.lock().write(&json!({"event": "execute", "component": &*self.component, "task": self.task,
            "source": &*source.component, "source_task": tuple.task(), "stream": &*source.stream, "values": values}));
    }

    fn callback(&self, event: &str, id: &dyn Any) {
        let id = id_as_json(id);
        self.recorder
            .lock()
            .write(&json!({"event": event, "component": &*self.component, "task": self.task, "id": id}));
    }
}

/// The ids that spouts here use; of another type nothing is known, and it is `null`.
fn id_as_json(id: &dyn Any) -> Json {
    if let Some(id) = id.downcast_ref::<u64>() {
        json!(id)
    } else if let Some(id) = id.downcast_ref::<ShellId>() {
        id.as_json()
    } else {
        Json::Null
    }
}

/// A value with the name of its type in Java.
fn typed(value: &Value) -> Json {
    match value {
        Value::Null => json!({"t": "null"}),
        Value::Bool(value) => json!({"t": "bool", "v": value.to_string()}),
        Value::Int(value) => json!({"t": "long", "v": value.to_string()}),
        Value::Int32(value) => json!({"t": "int", "v": value.to_string()}),
        Value::Big(value) => json!({"t": "bigint", "v": value.to_string()}),
        Value::Decimal(value) => json!({"t": "java.math.BigDecimal", "v": value.to_string()}),
        Value::Utf16(units) => json!({"t": "string", "v": String::from_utf16_lossy(units)}),
        Value::Float(value) => json!({"t": "double", "v": format!("{value:?}")}),
        Value::String(value) => json!({"t": "string", "v": &**value}),
        Value::Bytes(value) => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"t": "bytes", "hex": hex})
        }
        Value::List(values) => json!({"t": "list", "v": values.iter().map(typed).collect::<Vec<_>>()}),
        Value::Map(entries) => {
            let pair = |(name, value): (&Arc<str>, &Value)| json!([{"t": "string", "v": &**name}, typed(value)]);
            json!({"t": "map", "v": entries.iter().map(pair).collect::<Vec<_>>()})
        }
    }
}

/// A spout, recorded.
pub(crate) struct RecordedSpout<S> {
    spout: S,
    tape: Tape,
}

impl<S> RecordedSpout<S> {
    pub fn new(spout: S, tape: &Tape) -> Self {
        RecordedSpout { spout, tape: tape.clone() }
    }
}

impl<S: Spout<Out = Many<StormTuple>>> Spout for RecordedSpout<S> {
    type Out = Many<StormTuple>;
    type Id = S::Id;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.tape.begin(ctx.info())?;
        self.spout.open(ctx)
    }
    fn next(&mut self, out: &mut SpoutOutlet<Self::Out, S::Id>) -> Result<Next, Failure> {
        self.spout.next(out)
    }
    fn ack(&mut self, id: S::Id, out: &mut SpoutOutlet<Self::Out, S::Id>) -> Outcome {
        self.tape.callback("ack", &id);
        self.spout.ack(id, out)
    }
    fn fail(&mut self, id: S::Id, why: &Failure, out: &mut SpoutOutlet<Self::Out, S::Id>) -> Outcome {
        self.tape.callback("fail", &id);
        self.spout.fail(id, why, out)
    }
    fn activate(&mut self) -> Outcome {
        self.spout.activate()
    }
    fn deactivate(&mut self) -> Outcome {
        self.spout.deactivate()
    }
    fn close(&mut self) {
        self.spout.close();
    }
    fn wind_down(&mut self) -> bool {
        self.spout.wind_down()
    }
    fn reads(&self) -> Option<String> {
        self.spout.reads()
    }
    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        self.spout.replayable()
    }
    fn loses_items(&mut self) -> bool {
        self.spout.loses_items()
    }
    fn unaccounted(&self) -> u64 {
        self.spout.unaccounted()
    }
}

/// A bolt, recorded.
pub(crate) struct RecordedBolt<B> {
    pub bolt: B,
    pub tape: Tape,
}

/// Marks it for [`IntoBolt`].
pub(crate) struct Recorded<M>(std::marker::PhantomData<M>);

#[allow(private_interfaces, private_bounds)]
impl<M, B> IntoBolt<Recorded<M>> for RecordedBolt<B>
where
    B: IntoBolt<M, In = StormTuple, Out = Many<StormTuple>, Keying = Unkeyed>,
{
    type In = StormTuple;
    type Out = Many<StormTuple>;
    type Keying = Unkeyed;
    const KIND: Kind = B::KIND;

    /// What else is to be around it goes around the record.
    fn kit(self, keys: KeysOfInputs<StormTuple, ()>, _: impl Around<Self::In, Self::Out>) -> Arc<dyn TaskKit> {
        self.bolt.kit(keys, self.tape)
    }
}

impl Around<StormTuple, Many<StormTuple>> for Tape {
    fn around(
        self,
        logic: impl Logic<In = StormTuple, Out = Many<StormTuple>>,
    ) -> impl Logic<In = StormTuple, Out = Many<StormTuple>> {
        RecordedLogic { logic, tape: self }
    }
}

struct RecordedLogic<L> {
    logic: L,
    tape: Tape,
}

impl<L: Logic<In = StormTuple, Out = Many<StormTuple>>> Logic for RecordedLogic<L> {
    type In = StormTuple;
    type Out = Many<StormTuple>;
    const MANUAL: bool = L::MANUAL;

    fn prepare(&mut self, ctx: &mut BoltContext<Self::Out>) -> Outcome {
        self.tape.begin(ctx.info())?;
        self.logic.prepare(ctx)
    }
    fn execute(&mut self, tuple: StormTuple, input: Input<'_>, out: &mut Outlet<Self::Out>) -> Outcome {
        self.tape.execute(&tuple);
        self.logic.execute(tuple, input, out)
    }
    fn ready(&mut self) -> Result<bool, Failure> {
        self.logic.ready()
    }
    fn tick(&mut self, out: &mut Outlet<Self::Out>) -> Outcome {
        self.tape.engine_ticks += 1;
        if let Some((ticks, every)) = &self.tape.ticks
            && self.tape.engine_ticks.is_multiple_of(*every)
        {
            self.tape.execute(&ticks.tuple());
        }
        self.logic.tick(out)
    }
    fn finish(&mut self, out: &mut Outlet<Self::Out>) -> Outcome {
        self.logic.finish(out)
    }
    fn cleanup(&mut self) {
        self.logic.cleanup();
    }
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        self.logic.checkpointed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread::spawn_named;

    #[test]
    fn a_value_as_deep_as_a_child_may_send_is_written_down() {
        let written = spawn_named("record-test", || {
            let deep = (0..400).fold(Value::list([]), |inner, _| Value::list([inner]));
            typed(&deep).to_string()
        });
        assert_eq!(written.unwrap().join().unwrap().matches("list").count(), 401);
    }
}
