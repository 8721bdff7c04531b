//! Stand-ins for Java classes that tests, examples and Flux files commonly use, as Storm's source has them.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::error::{Failure, Problem};
use crate::storm::native::each::{each, value_of};
use crate::storm::native::emits::Emits;
use crate::storm::native::periodic::{Making, Periodic};
use crate::storm::native::sink;
use crate::storm::registry::{Argument, Arguments, GroupingFactory, NativeBolt, NativeSpout, Registry};
use crate::storm::tuple::StormTuple;
use crate::sys::clock::wall_ns;
use crate::task::TaskId;
use crate::task::component::Custom;
use crate::task::dynamic::Value;

/// What these spouts sleep before each emit.
const PAUSE: Duration = Duration::from_millis(100);
const WORDS: [&str; 5] = ["nathan", "mike", "jackson", "golda", "bertels"];
const SENTENCES: [&str; 5] = [
    "the cow jumped over the moon",
    "an apple a day keeps the doctor away",
    "four score and seven years ago",
    "snow white and the seven dwarfs",
    "i am at two with nature",
];

pub(super) fn register(registry: &mut Registry) {
    const TESTING: &str = "org.apache.storm.testing.";
    const STARTER: &str = "org.apache.storm.starter.";
    const EXAMPLES: &str = "org.apache.storm.flux.examples.";
    registry.spout(format!("{TESTING}TestWordSpout"), word_spout);
    registry.spout(format!("{TESTING}TestPlannerSpout"), planner_spout);
    registry.spout(format!("{STARTER}spout.RandomSentenceSpout"), |args| one_of(args, &SENTENCES));
    registry.spout(format!("{STARTER}spout.RandomIntegerSpout"), random_integers);
    registry.bolt(format!("{TESTING}TestWordCounter"), |args| word_counter(args, text));
    registry.bolt(format!("{TESTING}TestWordBytesCounter"), |args| word_counter(args, text_of_bytes));
    registry.bolt(format!("{TESTING}TestGlobalCount"), global_count);
    registry.bolt(format!("{TESTING}TestAggregatesCounter"), aggregates_counter);
    registry.bolt(format!("{TESTING}TestPlannerBolt"), |args| each(args, &["field1", "field2"], || |_, _| Ok(())));
    registry.bolt(format!("{TESTING}IdentityBolt"), identity);
    registry.bolt("org.apache.storm.flux.wrappers.bolts.LogInfoBolt", sink::log);
    registry.bolt(format!("{EXAMPLES}WordCounter"), word_with_one);
    registry.bolt(format!("{EXAMPLES}TestPrintBolt"), sink::print_tuple);
    registry.bolt(format!("{STARTER}bolt.PrinterBolt"), sink::print_tuple);
    registry.bolt(format!("{STARTER}WordCountTopology$WordCount"), |args| word_counter(args, text));
    registry.bolt(format!("{STARTER}ExclamationTopology$ExclamationBolt"), exclamation);
    registry.grouping(format!("{TESTING}NGrouping"), first_tasks);
}

/// Spouts whose argument at a position says whether they may have several tasks.
fn with_limit(args: &Arguments<'_>, position: usize, spout: NativeSpout) -> Result<NativeSpout, Problem> {
    Ok(match args.optional_flag("isDistributed", position)? {
        Some(false) => spout.configured("topology.max.task.parallelism", 1),
        _ => spout,
    })
}

fn one_of(args: &Arguments<'_>, texts: &'static [&'static str]) -> Result<NativeSpout, Problem> {
    let stream = args.stream("default", &["word"])?;
    let emits = Emits::new(std::slice::from_ref(&stream));
    let make = move |making: Making<'_>| Some(vec![texts[making.random.below(texts.len() as u64) as usize].into()]);
    Ok(NativeSpout::new([stream], move || Periodic::new(emits.clone(), PAUSE, false, make)))
}

fn word_spout(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    with_limit(args, 0, one_of(args, &WORDS)?)
}

/// Declares its fields and never emits. Made by fields, a flag, or both.
fn planner_spout(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    let is_flag = matches!(args.first(), Some(Argument::Value(serde_json::Value::Bool(_))));
    let (of_fields, of_flag) = if is_flag { (usize::MAX, 0) } else { (0, 1) };
    let fields = args.optional_fields("outFields", of_fields)?;
    let fields = fields.unwrap_or_else(|| ["field1", "field2"].map(str::to_owned).to_vec());
    let stream = args.stream("default", &fields)?;
    let emits = Emits::new(std::slice::from_ref(&stream));
    let never = Duration::from_secs(1 << 32);
    let spout = NativeSpout::new([stream], move || Periodic::new(emits.clone(), never, false, |_: Making<'_>| None));
    with_limit(args, of_flag, spout)
}

/// A number below 1000, the time a day ago, a message id.
fn random_integers(args: &Arguments<'_>) -> Result<NativeSpout, Problem> {
    const DAY_MS: i64 = 86_400_000;
    let stream = args.stream("default", &["value", "ts", "msgid"])?;
    let emits = Emits::new(std::slice::from_ref(&stream));
    let make = |making: Making<'_>| {
        let value = Value::Int32(making.random.below(1_000) as i32);
        Some(vec![value, Value::Int(wall_ns() / 1_000_000 - DAY_MS), Value::Int(making.number as i64 + 1)])
    };
    Ok(NativeSpout::new([stream], move || Periodic::new(emits.clone(), PAUSE, true, make)))
}

/// A Java cast to `String`.
fn text(value: &Value) -> Result<Arc<str>, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(Failure::reject(format!("expected a string, not {other}"))),
    }
}

fn text_of_bytes(value: &Value) -> Result<Arc<str>, Failure> {
    let bytes = value.as_bytes().ok_or_else(|| Failure::reject(format!("expected bytes, not {value}")))?;
    Ok(String::from_utf8_lossy(bytes).into())
}

fn word_counter(args: &Arguments<'_>, word: fn(&Value) -> Result<Arc<str>, Failure>) -> Result<NativeBolt, Problem> {
    each(args, &["word", "count"], move || {
        let mut counts: HashMap<Arc<str>, i32> = HashMap::new();
        move |tuple, to| {
            let word = word(value_of(tuple, None)?)?;
            let count = counts.entry(word.clone()).or_default();
            *count = count.wrapping_add(1);
            to.emit([word.into(), Value::Int32(*count)]);
            Ok(())
        }
    })
}

fn global_count(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    each(args, &["global-count"], || {
        let mut count = 0i32;
        move |_, to| {
            count = count.wrapping_add(1);
            to.emit([Value::Int32(count)]);
            Ok(())
        }
    })
}

/// The sum over all words of the last count of each. Storm's emits unanchored; here the emit belongs to the input's
/// tree.
fn aggregates_counter(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    each(args, &["agg-global"], || {
        let mut counts: HashMap<Arc<str>, i32> = HashMap::new();
        let mut sum = 0i32;
        move |tuple, to| {
            let word = text(value_of(tuple, None)?)?;
            let Some(Value::Int32(count)) = tuple.values().get(1) else {
                return Err(Failure::reject(format!("{tuple}: expected an Integer as the second value")));
            };
            let before = counts.insert(word, *count).unwrap_or(0);
            sum = sum.wrapping_add(*count).wrapping_sub(before);
            to.emit([Value::Int32(sum)]);
            Ok(())
        }
    })
}

fn identity(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let fields = args.fields("fields", 0)?;
    let names: Vec<&str> = fields.iter().map(String::as_str).collect();
    each(args, &names, || {
        |tuple, to| {
            to.emit(tuple.values().to_vec());
            Ok(())
        }
    })
}

fn word_with_one(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    each(args, &["word", "count"], || {
        |tuple, to| {
            to.emit([value_of(tuple, None)?.clone(), Value::Int32(1)]);
            Ok(())
        }
    })
}

fn exclamation(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    each(args, &["word"], || {
        |tuple, to| {
            to.emit([format!("{}!!!", text(value_of(tuple, None)?)?).into()]);
            Ok(())
        }
    })
}

/// Every tuple goes to the first tasks, this many.
fn first_tasks(args: &Arguments<'_>) -> Result<GroupingFactory, Problem> {
    let count = args.number_or("number", 0, 1)? as usize;
    Ok(Arc::new(move || Box::new(FirstTasks { count, tasks: Vec::new() })))
}

struct FirstTasks {
    count: usize,
    tasks: Vec<TaskId>,
}

impl Custom<StormTuple> for FirstTasks {
    fn prepare(&mut self, _: TaskId, tasks: &[TaskId]) {
        assert!(self.count <= tasks.len(), "NGrouping of {} tasks where there are {}", self.count, tasks.len());
        self.tasks = tasks[..self.count].to_vec();
    }

    fn choose(&mut self, _: &StormTuple, chosen: &mut Vec<TaskId>) {
        chosen.extend_from_slice(&self.tasks);
    }
}
