//! Spouts: lines, words, numbers.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::connect::{FileLines, StdinLines};
use crate::error::{Failure, Problem};
use crate::storm::native::emits::Emits;
use crate::storm::native::periodic::{Making, Periodic};
use crate::storm::registry::arguments::fields_of;
use crate::storm::registry::{Argument, Arguments, NativeSpout, Registry};
use crate::storm::tuple::StormTuple;
use crate::task::component::{Next, Outcome, Polled, Source, Spout};
use crate::task::context::SpoutContext;
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::SpoutOutlet;

/// How often a failed line is emitted again before it is given up.
const REPLAYS_MAX: u32 = 3;

pub(super) fn register(registry: &mut Registry) {
    registry.spout("squall.Lines", lines);
    registry.spout("squall.Words", words);
    registry.spout("squall.Numbers", numbers);
}

fn lines(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    let path = args.text("path", 0)?;
    let repeat = args.number_or("repeat", 1, 1)?;
    let stream = args.stream("default", &["line"])?;
    let emits = Emits::new(std::slice::from_ref(&stream));
    if path == "-" {
        return Ok(NativeSpout::new([stream], move || Lines::new(StdinLines::new(), emits.clone())));
    }
    // As every file that a component is given: relative to where the topology is started, or else to its resources.
    let beside = args.resources().join(&path);
    let path = if Path::new(&path).exists() || !beside.exists() { path.into() } else { beside };
    let file = FileLines::new(path).repeat(repeat);
    file.check().map_err(|error| args.problem(error.to_string()))?;
    Ok(NativeSpout::new([stream], move || Lines::new(file.clone(), emits.clone())))
}

/// Lines of a source, each the root of a tree, emitted again when that fails.
struct Lines<S> {
    source: S,
    emits: Emits,
    number: u64,
    /// Lines with open trees, and how often they were replayed. Bounded by the number of open trees.
    open: HashMap<u64, (StormTuple, u32)>,
    is_winding_down: bool,
}

impl<S> Lines<S> {
    fn new(source: S, emits: Emits) -> Self {
        Lines { source, emits, number: 0, open: HashMap::new(), is_winding_down: false }
    }
}

impl<S: Source<Item = Bytes>> Spout for Lines<S> {
    type Out = Many<StormTuple>;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.emits.prepare(ctx.info());
        self.source.open(ctx)?;
        // The engine does this for spouts that can go back to a position, which this one does not offer.
        if let Some(splits) = self.source.replayable() {
            let all: Vec<_> = splits.default_splits().into_iter().map(|split| (split, None)).collect();
            splits.assign(&all)?;
        }
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Result<Next, Failure> {
        if self.is_winding_down {
            return Ok(Next::Finished);
        }
        Ok(match self.source.poll()? {
            Polled::Item { value, .. } => {
                let line = String::from_utf8_lossy(&value);
                let line = line.strip_suffix('\r').unwrap_or(&line);
                let tuple = self.emits.tuple(0, [Value::from(line)]);
                self.open.insert(self.number, (tuple.clone(), 0));
                out.emit_tracked_at(self.number, 0, tuple);
                self.number += 1;
                Next::Emitted
            }
            Polled::Idle => Next::Idle,
            Polled::WakeAfter(time) => Next::WakeAfter(time),
            Polled::Finished => Next::Finished,
        })
    }

    fn ack(&mut self, id: u64, _: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        self.open.remove(&id);
        Ok(())
    }

    fn fail(&mut self, id: u64, why: &Failure, out: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        let Some((tuple, replays)) = self.open.get_mut(&id) else { return Ok(()) };
        if *replays < REPLAYS_MAX && why.is_retry() {
            *replays += 1;
            out.note_replay();
            let tuple = tuple.clone();
            out.emit_tracked_at(id, 0, tuple);
        } else {
            tracing::warn!("given up after {replays} replays: {tuple}: {why}");
            out.note_dead_letter();
            self.open.remove(&id);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.source.close();
    }

    fn wind_down(&mut self) -> bool {
        self.is_winding_down = true;
        true
    }
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
