//! The components of the cases that are run on real Storm as well; `tools/storm-oracle/README.md` says what they do.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::{Failure, Problem};
use crate::storm::emitter::StreamDeclaration;
use crate::storm::native::each::{To, each, value_of};
use crate::storm::native::emits::Emits;
use crate::storm::registry::arguments::fields_of;
use crate::storm::registry::{Argument, Arguments, NativeBolt, NativeSpout, Registry};
use crate::storm::tuple::StormTuple;
use crate::storm::window::bolt::windowed;
use crate::storm::window::{TupleWindow, WindowOutlet};
use crate::task::TaskId;
use crate::task::component::{Bolt, Next, Outcome, Spout};
use crate::task::context::{BoltContext, SpoutContext};
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::{Outlet, SpoutOutlet};

pub(super) fn register(registry: &mut Registry) {
    registry.spout("squall.oracle.ListSpout", list_spout);
    registry.bolt("squall.oracle.RecordBolt", |args| each(args, &[], || |_: &StormTuple, _: &mut To<'_>| Ok(())));
    registry.bolt("squall.oracle.Forward", forward);
    registry.bolt("squall.oracle.FailFirst", fail_first);
    registry.bolt("squall.oracle.DirectEmitter", direct_emitter);
    registry.bolt("squall.oracle.WindowRecorder", window_recorder);
}

/// Something that a [`ListSpout`] emits.
struct Item {
    port: usize,
    task: Option<TaskId>,
    values: Vec<Value>,
    /// Acks before it may be emitted.
    awaited: u64,
}

struct ListSpout {
    items: Arc<[Item]>,
    emits: Emits,
    next: usize,
    acks: u64,
    failed: VecDeque<u64>,
}

fn list_spout(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    let mut streams = vec![args.stream("default", &args.fields("fields", 0)?)?];
    for call in args.calls("stream") {
        let arguments: Vec<_> = call.args.iter().map(|placed| &placed.argument).collect();
        let [Argument::Value(Json::String(name)), fields] = arguments[..] else {
            return Err(Problem::new(&call.place, "stream takes a name and the names of fields"));
        };
        let fields = fields_of(fields).ok_or_else(|| Problem::new(&call.place, "expected the names of fields"))?;
        streams.push(args.stream(name, &fields)?);
    }
    let read = |argument: &Argument| -> Option<Arc<[Item]>> {
        let Argument::Value(Json::Array(items)) = argument else { return None };
        items.iter().map(|item| item_of(item, &streams)).collect()
    };
    let items = args.optional("items", 1, "a list of tuples, or of {stream, task, await, tuple}", read)?;
    let items = items.ok_or_else(|| args.problem("ListSpout needs a list of tuples as its second argument"))?;
    let emits = Emits::new(&streams);
    let make =
        move || ListSpout { items: items.clone(), emits: emits.clone(), next: 0, acks: 0, failed: VecDeque::new() };
    Ok(NativeSpout::new(streams, make))
}

fn item_of(item: &Json, streams: &[StreamDeclaration]) -> Option<Item> {
    let Json::Object(entry) = item else {
        return Some(Item { port: 0, task: None, values: values_of(item)?, awaited: 0 });
    };
    let stream = entry.get("stream").map_or(Some("default"), Json::as_str)?;
    let port = streams.iter().position(|declared| &*declared.name == stream)?;
    let task = entry.get("task").and_then(Json::as_u64).map(|task| TaskId(task as u32));
    let awaited = entry.get("await").and_then(Json::as_u64).unwrap_or(0);
    Some(Item { port, task, values: values_of(entry.get("tuple")?)?, awaited })
}

fn values_of(values: &Json) -> Option<Vec<Value>> {
    values.as_array()?.iter().map(value_of_json).collect()
}

/// As SnakeYAML has it: a whole number that fits 32 bits is an `Integer`. A map with `t` in it is what it describes.
fn value_of_json(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Object(map) => match map.get("t").and_then(Json::as_str) {
            Some(kind) => described(kind, map.get("v"), map.get("hex"))?,
            None => {
                let entries: Option<Vec<_>> =
                    map.iter().map(|(name, value)| Some((name.as_str(), value_of_json(value)?))).collect();
                Value::map(entries?)
            }
        },
        Json::Array(values) => Value::list(values.iter().map(value_of_json).collect::<Option<Vec<_>>>()?),
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::String(value) => value.as_str().into(),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => i32::try_from(whole).map_or(Value::Int(whole), Value::Int32),
            None => Value::Float(number.as_f64()?),
        },
    })
}

fn described(kind: &str, v: Option<&Json>, hex: Option<&Json>) -> Option<Value> {
    let text = || v.and_then(Json::as_str);
    Some(match kind {
        "string" => text()?.into(),
        "int" => Value::Int32(text()?.parse().ok()?),
        "long" => Value::Int(text()?.parse().ok()?),
        "bool" => Value::Bool(text()?.parse().ok()?),
        "double" => Value::Float(text()?.parse().ok()?),
        "bigint" => Value::integer(text()?.parse().ok()?),
        "java.math.BigDecimal" => Value::Decimal(Arc::new(text()?.parse().ok()?)),
        "null" => Value::Null,
        "bytes" => {
            let digits = hex?.as_str()?;
            let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
            Value::Bytes((0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?.into())
        }
        _ => return None,
    })
}

impl ListSpout {
    fn emit(&self, id: u64, out: &mut SpoutOutlet<Many<StormTuple>, u64>) {
        let item = &self.items[id as usize];
        let tuple = self.emits.tuple(item.port, item.values.iter().cloned());
        match item.task {
            Some(task) => _ = out.emit_direct_tracked_at(id, item.port, task, tuple),
            None => _ = out.emit_tracked_at(id, item.port, tuple),
        }
    }
}

impl Spout for ListSpout {
    type Out = Many<StormTuple>;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.emits.prepare(ctx.info());
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Result<Next, Failure> {
        if let Some(id) = self.failed.pop_front() {
            self.emit(id, out);
            return Ok(Next::Emitted);
        }
        match self.items.get(self.next) {
            Some(item) if item.awaited <= self.acks => {
                self.emit(self.next as u64, out);
                self.next += 1;
                Ok(Next::Emitted)
            }
            _ => Ok(Next::Idle),
        }
    }

    fn ack(&mut self, _: u64, _: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        self.acks += 1;
        Ok(())
    }

    fn fail(&mut self, id: u64, _: &Failure, _: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        self.failed.push_back(id);
        Ok(())
    }
}

fn names(fields: &[String]) -> Vec<&str> {
    fields.iter().map(String::as_str).collect()
}

fn forward(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    each(args, &names(&args.fields("fields", 0)?), || {
        |tuple: &StormTuple, to: &mut To<'_>| {
            to.emit(tuple.values().iter().cloned());
            Ok(())
        }
    })
}

fn number(tuple: &StormTuple) -> Result<i64, Failure> {
    let value = value_of(tuple, None)?;
    value.as_i64().ok_or_else(|| Failure::reject(format!("{tuple}: expected a whole number first")))
}

fn fail_first(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let n = args.number_or("n", 1, 1)?.max(1) as i64;
    each(args, &names(&args.fields("fields", 0)?), move || {
        let mut seen = HashSet::new();
        move |tuple: &StormTuple, to: &mut To<'_>| {
            let number = number(tuple)?;
            if number % n == 0 && seen.insert(number) {
                return Err(Failure::retry("seen for the first time"));
            }
            to.emit(tuple.values().iter().cloned());
            Ok(())
        }
    })
}

struct DirectEmitter {
    emits: Emits,
    target: Arc<str>,
    tasks: Vec<TaskId>,
}

fn direct_emitter(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let streams = [args.stream("default", &args.fields("fields", 0)?)?];
    let target: Arc<str> = args.text("target", 1)?.into();
    let emits = Emits::new(&streams);
    let make = move || DirectEmitter { emits: emits.clone(), target: target.clone(), tasks: Vec::new() };
    Ok(NativeBolt::new(streams, make))
}

impl Bolt for DirectEmitter {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emits.prepare(ctx.info());
        self.tasks = ctx.info().tasks.of_component(&self.target).to_vec();
        match self.tasks.is_empty() {
            true => Err(Failure::reject(format!("there is no component {:?}", self.target))),
            false => Ok(()),
        }
    }

    fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let task = self.tasks[number(&tuple)?.rem_euclid(self.tasks.len() as i64) as usize];
        out.emit_direct_at(0, task, self.emits.tuple(0, tuple.values().iter().cloned()));
        Ok(())
    }
}

fn window_recorder(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let streams = vec![args.stream("default", &["window", "new", "expired"])?];
    windowed(args, streams, || {
        |window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>| -> Outcome {
            let values = |tuple: &StormTuple| Value::list(tuple.values().iter().cloned());
            let window_values = Value::list(window.values().map(values));
            let new = Value::list(window.new_values().map(values));
            out.emit(0, [window_values, new, Value::list(window.expired.iter().map(values))]);
            Ok(())
        }
    })
}
