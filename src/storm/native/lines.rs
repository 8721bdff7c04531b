//! Spouts: lines, words, numbers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;

use crate::connect::{FileLines, StdinLines};
use crate::error::{Failure, Problem};
use crate::storm::emitter::StreamDeclaration;
use crate::storm::native::emits::Emits;
use crate::storm::native::periodic::{Making, Periodic};
use crate::storm::registry::arguments::fields_of;
use crate::storm::registry::{Argument, Arguments, NativeSpout, Registry};
use crate::storm::tuple::StormTuple;
use crate::task::component::{Outcome, Polled, Source};
use crate::task::context::{SpoutContext, TaskInfo};
use crate::task::dead_letter::{self, DeadLetter, time};
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::SpoutOutlet;
use crate::task::replay::{Exits, Replaying};

pub(super) fn register(registry: &mut Registry) {
    registry.spout("squall.Lines", lines);
    registry.spout("squall.Words", words);
    registry.spout("squall.Numbers", numbers);
}

fn lines(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    let path = args.text("path", 0)?;
    let repeat = args.number_or("repeat", 1, 1)?;
    let (stream, letters) = (args.stream("default", &["line"])?, args.stream(dead_letter::STREAM, &LETTER_FIELDS)?);
    if path == "-" {
        return Ok(replaying(stream, letters, StdinLines::new));
    }
    // As every file that a component is given: relative to where the topology is started, or else to its resources.
    let beside = args.resources().join(&path);
    let path = if Path::new(&path).exists() || !beside.exists() { path.into() } else { beside };
    let file = FileLines::new(path).repeat(repeat);
    file.check().map_err(|error| args.problem(error.to_string()))?;
    Ok(replaying(stream, letters, move || file.clone()))
}

/// The stream of what is given up. As with every source, a file takes it where nobody subscribes (`--dead-letters`).
const LETTERS: usize = 1;
const LETTER_FIELDS: [&str; 8] =
    ["value", "position", "error", "origin", "kind", "attempts", "first_failed", "last_failed"];

/// The spout around a source of lines.
fn replaying<S: Source<Item = Bytes>>(
    stream: StreamDeclaration,
    letters: StreamDeclaration,
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> NativeSpout {
    let streams = [stream, letters];
    let (emits, factory) = (Emits::new(&streams), Arc::new(factory));
    let spout = move || {
        let factory = factory.clone();
        Replaying::with(Arc::new(move || Onward(factory())), Tuples(emits.clone()))
    };
    NativeSpout::new(streams, spout).gives_up_on(LETTERS, letter_as_line)
}

/// A source that does not go back, although it could: exactly-once would then be promised for native bolts that keep
/// what they know in memory.
struct Onward<S>(S);

impl<S: Source> Source for Onward<S> {
    type Item = S::Item;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.0.open(ctx)?;
        // The engine does this for those that go back.
        let Some(splits) = self.0.replayable() else { return Ok(()) };
        let all: Vec<_> = splits.default_splits().into_iter().map(|split| (split, None)).collect();
        splits.assign(&all)
    }

    fn poll(&mut self) -> Result<Polled<S::Item>, Failure> {
        self.0.poll()
    }

    fn reads(&self) -> Option<String> {
        self.0.reads()
    }

    fn close(&mut self) {
        self.0.close();
    }
}

/// Lines as tuples.
struct Tuples(Emits);

impl Exits<Bytes> for Tuples {
    type Out = Many<StormTuple>;

    fn open(&mut self, info: &TaskInfo) {
        self.0.prepare(info);
    }

    fn emit(&mut self, out: &mut SpoutOutlet<Self::Out, u64>, id: u64, line: Bytes) {
        out.emit_tracked_at(id, 0, self.0.tuple(0, [text(&line)]));
    }

    fn is_taken(&self, out: &mut SpoutOutlet<Self::Out, u64>) -> bool {
        out.has_subscribers_at(LETTERS)
    }

    fn bury(&mut self, out: &mut SpoutOutlet<Self::Out, u64>, id: Option<u64>, letter: DeadLetter<Bytes>) {
        let origin = letter.origin.as_ref().map_or(Value::Null, |origin| Value::from(origin.to_string()));
        let values = [
            text(&letter.value),
            Value::Int(letter.id as i64),
            Value::from(letter.error),
            origin,
            Value::from(letter.kind.word()),
            Value::Int(i64::from(letter.attempts)),
            Value::from(time(letter.first_failed_ns)),
            Value::from(time(letter.last_failed_ns)),
        ];
        let tuple = self.0.tuple(LETTERS, values);
        match id {
            Some(id) => drop(out.emit_tracked_at(id, LETTERS, tuple)),
            None => drop(out.emit_at(LETTERS, tuple)),
        }
    }
}

fn text(line: &[u8]) -> Value {
    let line = String::from_utf8_lossy(line);
    Value::from(line.strip_suffix('\r').unwrap_or(&line))
}

/// As the dead letters of other sources are written.
fn letter_as_line(letter: StormTuple) -> String {
    let source = letter.source();
    let named = source.fields.names().iter().map(ToString::to_string).zip(letter.values().iter().map(Json::from));
    let named = named.chain([("source".to_owned(), Json::from(&*source.component))]);
    Json::Object(named.collect()).to_string()
}

/// The period of a rate per second; zero for none.
fn period(args: &Arguments<'_>, position: usize) -> Result<Duration, Problem> {
    Ok(match args.number_or("per_second", position, 0)? {
        0 => Duration::ZERO,
        rate => Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX),
    })
}

fn words(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    let texts = |argument: &Argument| match argument {
        Argument::Value(serde_json::Value::String(text)) => Some(text.split_whitespace().map(str::to_owned).collect()),
        argument => fields_of(argument),
    };
    let given: Option<Vec<String>> = args.optional("words", 0, "a list of texts, or one text of words", texts)?;
    let default = || ["the", "quick", "brown", "fox", "jumps"].map(str::to_owned).to_vec();
    let words: Vec<Value> = given.unwrap_or_else(default).into_iter().map(Value::from).collect();
    if words.is_empty() {
        return Err(args.problem("expected at least one word for words"));
    }
    let count = args.number_or("count", 1, u64::MAX)?;
    counting(args, "word", count, period(args, 2)?, move |number| words[(number % words.len() as u64) as usize].clone())
}

fn numbers(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    let count = args.number_or("count", 0, u64::MAX)?;
    counting(args, "number", count, period(args, 1)?, |number| Value::Int(number as i64))
}

/// `count` values, over all tasks, each made of its number.
fn counting(
    args: &Arguments<'_>,
    field: &str,
    count: u64,
    period: Duration,
    value: impl Fn(u64) -> Value + Clone + Send + Sync + 'static,
) -> Result<NativeSpout, Problem> {
    let stream = args.stream("default", &[field])?;
    let emits = Emits::new(std::slice::from_ref(&stream));
    let factory = move || {
        let value = value.clone();
        let make = move |making: Making<'_>| {
            let number = making.number.checked_mul(making.tasks as u64)?.checked_add(making.task_index as u64)?;
            (number < count).then(|| vec![value(number)])
        };
        Periodic::new(emits.clone(), period, true, make)
    };
    Ok(NativeSpout::new([stream], factory))
}
