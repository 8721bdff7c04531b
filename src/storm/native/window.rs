//! Bolts of windows.

use std::sync::Arc;

use crate::error::{Failure, Problem};
use crate::storm::native::each::value_of;
use crate::storm::registry::{Arguments, NativeBolt, Registry};
use crate::storm::window::bolt::windowed;
use crate::storm::window::{TupleWindow, WindowOutlet};
use crate::task::component::Outcome;
use crate::task::dynamic::Value;

pub(super) fn register(registry: &mut Registry) {
    registry.bolt("squall.Window", window);
    registry.bolt("org.apache.storm.flux.examples.TestWindowBolt", size);
    registry.bolt("org.apache.storm.starter.bolt.SlidingWindowSumBolt", sliding_sum);
}

/// What a window comes to.
#[derive(Clone, Copy)]
enum Emit {
    Count,
    Sum,
    Values,
}

fn window(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let (emit, named) = match args.optional_text("emit", 0)?.as_deref() {
        None | Some("count") => (Emit::Count, "count"),
        Some("sum") => (Emit::Sum, "sum"),
        Some("values") => (Emit::Values, "values"),
        Some(other) => return Err(args.problem(format!("expected count, sum or values for emit, not {other:?}"))),
    };
    let field: Option<Arc<str>> = args.optional_text("field", 1)?.map(Arc::from);
    let streams = vec![args.stream("default", &[named])?];
    windowed(args, streams, move || {
        let field = field.clone();
        move |window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>| -> Outcome {
            let value = match emit {
                Emit::Count => Value::Int(window.values().len() as i64),
                Emit::Sum => sum(window, field.as_deref())?,
                Emit::Values => {
                    let values: Result<Vec<Value>, Failure> =
                        window.values().map(|tuple| value_of(tuple, field.as_deref()).cloned()).collect();
                    values?.into()
                }
            };
            out.emit(0, [value]);
            Ok(())
        }
    })
}

fn sum(window: &TupleWindow<'_>, field: Option<&str>) -> Result<Value, Failure> {
    let mut sum = 0.0;
    let mut whole = Some(0i64);
    for tuple in window.values() {
        let value = value_of(tuple, field)?;
        whole = whole.zip(value.as_i64()).and_then(|(sum, value)| sum.checked_add(value));
        let number = value.as_i64().map(|whole| whole as f64).or_else(|| value.as_f64());
        sum += number.ok_or_else(|| Failure::reject(format!("expected a number, not {value}")))?;
    }
    Ok(whole.map_or(Value::Float(sum), Value::Int))
}

/// The number of tuples in the window.
fn size(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let streams = vec![args.stream("default", &["count"])?];
    windowed(args, streams, || {
        |window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>| -> Outcome {
            out.emit(0, [Value::Int32(window.values().len() as i32)]);
            Ok(())
        }
    })
}

/// The sum of the integers that came first in the tuples, by what is new and what has expired.
fn sliding_sum(args: &Arguments<'_>) -> Result<NativeBolt, Problem> {
    let streams = vec![args.stream("default", &["sum"])?];
    windowed(args, streams, || {
        let mut sum = 0i32;
        move |window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>| -> Outcome {
            let integer = |value: &Value| match value {
                Value::Int32(value) => Ok(*value),
                other => Err(Failure::reject(format!("expected an Integer, not {other}"))),
            };
            for tuple in window.new_values() {
                sum = sum.wrapping_add(integer(value_of(tuple, None)?)?);
            }
            for tuple in window.expired {
                sum = sum.wrapping_sub(integer(value_of(tuple, None)?)?);
            }
            out.emit(0, [Value::Int32(sum)]);
            Ok(())
        }
    })
}
