//! Bolts that make tuples out of tuples: split, count, sum, filter, project, ticks, ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::error::{Failure, Problem};
use crate::storm::native::each::{each, value_of};
use crate::storm::native::emits::{Emits, shown};
use crate::storm::registry::{Argument, Arguments, NativeBolt, Registry};
use crate::storm::tuple::StormTuple;
use crate::task::TaskId;
use crate::task::component::{Bolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::dynamic::{FieldsKey, Value};
use crate::task::many::{Many, ManyEmission};
use crate::task::outlet::Outlet;

pub(super) fn register(registry: &mut Registry) {
    registry.bolt("squall.Split", split);
    registry.bolt("squall.Count", count);
    registry.bolt("squall.CountAtEnd", count_at_end);
    registry.bolt("squall.Sum", sum);
    registry.bolt("squall.Filter", filter);
    registry.bolt("squall.Project", project);
    registry.bolt("squall.Ticks", ticks);
    registry.bolt("squall.Ledger", ledger);
    registry.bolt("squall.Deal", deal);
}

/// The field that a bolt looks at; none for the first.
fn field(args: &Arguments<'_>, name: &str, position: usize) -> Result<Option<Arc<str>>, Problem> {
    Ok(args.optional_text(name, position)?.map(Arc::from))
}

fn split(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let field = field(args, "field", 0)?;
    each(args, &["word"], move || {
        let field = field.clone();
        move |tuple, to| {
            if !tuple.is_tick() {
                let text = shown(value_of(tuple, field.as_deref())?);
                text.split_whitespace().for_each(|word| to.emit([Value::from(word)]));
            }
            Ok(())
        }
    })
}

fn count(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let field = field(args, "field", 0)?;
    let named = field.clone().unwrap_or_else(|| "word".into());
    each(args, &[&named, "count"], move || {
        let field = field.clone();
        let mut counts: HashMap<FieldsKey, i64> = HashMap::new();
        move |tuple, to| {
            if !tuple.is_tick() {
                let value = value_of(tuple, field.as_deref())?;
                let count = counts.entry(FieldsKey::new([value])).or_default();
                *count += 1;
                to.emit([value.clone(), Value::Int(*count)]);
            }
            Ok(())
        }
    })
}

fn count_at_end(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let field = field(args, "field", 0)?;
    let named = field.clone().unwrap_or_else(|| "word".into());
    let stream = args.stream("default", &[&*named, "count"])?;
    let emits = Emits::new(std::slice::from_ref(&stream));
    Ok(NativeBolt::new([stream], move || CountAtEnd {
        emits: emits.clone(),
        field: field.clone(),
        counts: BTreeMap::new(),
    }))
}

struct CountAtEnd {
    emits: Emits,
    field: Option<Arc<str>>,
    counts: BTreeMap<FieldsKey, (Value, i64)>,
}

impl Bolt for CountAtEnd {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emits.prepare(ctx.info());
        Ok(())
    }

    fn execute(&mut self, tuple: StormTuple, _: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let value = value_of(&tuple, self.field.as_deref())?;
        self.counts.entry(FieldsKey::new([value])).or_insert_with(|| (value.clone(), 0)).1 += 1;
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let emits = self.emits.clone();
        let counts = std::mem::take(&mut self.counts).into_values();
        out.hand_over(counts.map(move |(value, count)| {
            let value = emits.tuple(0, [value, Value::Int(count)]);
            ManyEmission { port: 0, value, to: None, told: None }
        }));
        Ok(())
    }
}

fn number(value: &Value) -> Result<f64, Failure> {
    let whole = value.as_i64().map(|whole| whole as f64);
    whole.or_else(|| value.as_f64()).ok_or_else(|| Failure::reject(format!("expected a number, not {value}")))
}

/// Whole numbers stay whole.
fn add(a: &Value, b: &Value) -> Result<Value, Failure> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => {
            a.checked_add(b).map(Value::Int).ok_or_else(|| Failure::reject("the sum does not fit 64 bits"))
        }
        _ => Ok(Value::Float(number(a)? + number(b)?)),
    }
}

fn sum(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let field = field(args, "field", 0)?;
    each(args, &["sum"], move || {
        let (field, mut sum) = (field.clone(), Value::Int(0));
        move |tuple, to| {
            if !tuple.is_tick() {
                sum = add(&sum, value_of(tuple, field.as_deref())?)?;
                to.emit([sum.clone()]);
            }
            Ok(())
        }
    })
}

/// What a filter lets through.
#[derive(Clone)]
enum Test {
    Equals(Value),
    NotEquals(Value),
    Contains(String),
    Above(f64),
    Below(f64),
}

impl Test {
    fn passes(&self, value: &Value) -> Result<bool, Failure> {
        let same = |other: &Value| FieldsKey::new([value]) == FieldsKey::new([other]);
        Ok(match self {
            Test::Equals(other) => same(other),
            Test::NotEquals(other) => !same(other),
            Test::Contains(part) => shown(value).contains(part.as_str()),
            Test::Above(limit) => number(value)? > *limit,
            Test::Below(limit) => number(value)? < *limit,
        })
    }
}

fn filter(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let tested: Arc<str> = args.text("field", 0)?.into();
    let mut tests = Vec::new();
    for name in ["equals", "not_equals", "contains", "above", "below"] {
        let of_value = |argument: &Argument| {
            let Argument::Value(json) = argument else { return None };
            Some(match name {
                "equals" => Test::Equals(Value::try_from(json.clone()).ok()?),
                "not_equals" => Test::NotEquals(Value::try_from(json.clone()).ok()?),
                "contains" => Test::Contains(json.as_str()?.to_owned()),
                "above" => Test::Above(json.as_f64()?),
                _ => Test::Below(json.as_f64()?),
            })
        };
        let expected = match name {
            "above" | "below" => "a number",
            "contains" => "a text",
            _ => "a value",
        };
        tests.extend(args.optional(name, usize::MAX, expected, of_value)?);
    }
    if tests.is_empty() {
        return Err(args.problem("a filter needs one of equals, not_equals, contains, above and below"));
    }
    let passed = args.optional_fields("fields", 1)?.unwrap_or_else(|| vec![tested.to_string()]);
    let names: Vec<&str> = passed.iter().map(String::as_str).collect();
    let selected: Arc<[String]> = passed.clone().into();
    each(args, &names, move || {
        let (tested, tests, selected) = (tested.clone(), tests.clone(), selected.clone());
        move |tuple, to| {
            if tuple.is_tick() {
                return Ok(());
            }
            let value = value_of(tuple, Some(&tested))?;
            for test in &tests {
                if !test.passes(value)? {
                    return Ok(());
                }
            }
            to.emit(fields_of(tuple, &selected)?);
            Ok(())
        }
    })
}

fn fields_of(tuple: &StormTuple, fields: &[String]) -> Result<Vec<Value>, Failure> {
    fields.iter().map(|field| value_of(tuple, Some(field)).cloned()).collect()
}

fn project(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let selected: Arc<[String]> = args.fields("fields", 0)?.into();
    let renamed = args.optional_fields("as", 1)?.unwrap_or_else(|| selected.to_vec());
    if renamed.len() != selected.len() {
        return Err(args.problem(format!("{} names for {} fields", renamed.len(), selected.len())));
    }
    let names: Vec<&str> = renamed.iter().map(String::as_str).collect();
    each(args, &names, move || {
        let selected = selected.clone();
        move |tuple, to| {
            if !tuple.is_tick() {
                to.emit(fields_of(tuple, &selected)?);
            }
            Ok(())
        }
    })
}

fn ticks(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    if args.conf.tick().is_none() {
        return Err(args.problem("squall.Ticks needs topology.tick.tuple.freq.secs, in its config or the topology's"));
    }
    each(args, &["seconds"], || {
        |tuple, to| {
            if tuple.is_tick() {
                to.emit(tuple.values().to_vec());
            }
            Ok(())
        }
    })
}

fn ledger(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let (account, amount) = (field(args, "account", 0)?, field(args, "amount", 1)?);
    each(args, &["account", "balance"], move || {
        let (account, amount) = (account.clone(), amount.clone());
        let mut balances: HashMap<FieldsKey, Value> = HashMap::new();
        move |tuple, to| {
            if tuple.is_tick() {
                return Ok(());
            }
            let account = value_of(tuple, account.as_deref())?;
            let missing = || Failure::reject(format!("{tuple} has no amount"));
            let amount = match &amount {
                Some(field) => value_of(tuple, Some(field))?,
                None => tuple.values().get(1).ok_or_else(missing)?,
            };
            let balance = balances.entry(FieldsKey::new([account])).or_insert(Value::Int(0));
            *balance = add(balance, amount)?;
            to.emit([account.clone(), balance.clone()]);
            Ok(())
        }
    })
}

fn deal(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let to: Arc<str> = args.text("to", 0)?.into();
    let fields = args.fields("fields", 1)?;
    let stream = args.stream("default", &fields)?;
    let emits = Emits::new(std::slice::from_ref(&stream));
    let fields: Arc<[String]> = fields.into();
    Ok(NativeBolt::new([stream], move || Deal {
        emits: emits.clone(),
        to: to.clone(),
        fields: fields.clone(),
        tasks: Vec::new(),
        next: 0,
    }))
}

/// Deals tuples to the tasks of a component in turn, by a direct stream.
struct Deal {
    emits: Emits,
    to: Arc<str>,
    fields: Arc<[String]>,
    tasks: Vec<TaskId>,
    next: usize,
}

impl Bolt for Deal {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emits.prepare(ctx.info());
        self.tasks = ctx.info().tasks.of_component(&self.to).to_vec();
        match self.tasks.is_empty() {
            true => Err(Failure::fatal(format!("there is no component {:?} to deal to", self.to))),
            false => Ok(()),
        }
    }

    fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let dealt = self.emits.tuple(0, fields_of(&tuple, &self.fields)?);
        out.emit_direct_at(0, self.tasks[self.next], dealt);
        self.next = (self.next + 1) % self.tasks.len();
        Ok(())
    }
}
