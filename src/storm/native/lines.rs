//! Spouts: lines, words, numbers.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::connect::{FileLines, StdinLines};
use crate::error::{Failure, Problem};
use crate::storm::native::emits::Emits;
use crate::storm::native::periodic::{Making, Periodic};
use crate::storm::registry::arguments::fields_of;
use crate::storm::registry::{Argument, Arguments, NativeSpout, Registry};
use crate::storm::tuple::StormTuple;
use crate::task::component::{Next, Outcome, Polled, Position, Source, Spout};
use crate::task::context::SpoutContext;
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::SpoutOutlet;
use crate::task::replay::{Dead, Patience, Pending, Verdict, WAITING_MAX};

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

/// Lines of a source, each the root of a tree, emitted again as the settings say when that fails.
struct Lines<S> {
    source: S,
    emits: Emits,
    /// Of the next line.
    number: u64,
    pending: Pending<StormTuple>,
    is_over: bool,
}

impl<S> Lines<S> {
    fn new(source: S, emits: Emits) -> Self {
        Lines { source, emits, number: 0, pending: Pending::new(Patience::default()), is_over: false }
    }
}

impl<S: Source<Item = Bytes>> Spout for Lines<S> {
    type Out = Many<StormTuple>;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.emits.prepare(ctx.info());
        let mut random = ctx.random();
        self.pending.start_ids_at(random.next_u64() as u32);
        self.pending.set_patience(ctx.patience, random);
        self.source.open(ctx)?;
        // The engine does this for spouts that can go back to a position, which this one does not offer.
        if let Some(splits) = self.source.replayable() {
            let all: Vec<_> = splits.default_splits().into_iter().map(|split| (split, None)).collect();
            splits.assign(&all)?;
        }
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Result<Next, Failure> {
        let now_ns = out.now_ns();
        if let Some((id, tuple)) = self.pending.take_due(now_ns) {
            out.note_replay();
            out.emit_tracked_at(id, 0, tuple);
            return Ok(Next::Emitted);
        }
        if self.is_over {
            return Ok(self.pending.rest(now_ns, Next::Finished));
        }
        if self.pending.waiting() >= WAITING_MAX {
            return Ok(self.pending.rest(now_ns, Next::Idle));
        }
        Ok(match self.source.poll()? {
            Polled::Item { value, .. } => {
                let line = String::from_utf8_lossy(&value);
                let line = line.strip_suffix('\r').unwrap_or(&line);
                let tuple = self.emits.tuple(0, [Value::from(line)]);
                let id = self.pending.insert(tuple.clone(), 0, Position(self.number));
                out.emit_tracked_at(id, 0, tuple);
                self.number += 1;
                Next::Emitted
            }
            Polled::Idle => self.pending.rest(now_ns, Next::Idle),
            Polled::WakeAfter(after) => self.pending.rest(now_ns, Next::WakeAfter(after)),
            Polled::Finished => {
                self.is_over = true;
                self.pending.rest(now_ns, Next::Finished)
            }
        })
    }

    fn ack(&mut self, id: u64, _: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        self.pending.ack(id);
        Ok(())
    }

    fn fail(&mut self, id: u64, why: &Failure, out: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        match self.pending.fail(id, why, out.now_ns()) {
            Verdict::Waits => {}
            Verdict::Dead(Dead { value, attempts, .. }) => {
                tracing::warn!("given up after {attempts} attempts: {value}: {why}");
                out.note_dead_letter();
            }
            Verdict::Unknown => {
                tracing::warn!(%why, "a line emitted before the spout was rebuilt failed; it cannot be replayed");
            }
        }
        Ok(())
    }

    fn unaccounted(&self) -> u64 {
        self.pending.missing()
    }

    fn close(&mut self) {
        self.source.close();
    }

    fn wind_down(&mut self) -> bool {
        self.is_over = true;
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
