//! [`Each`]: a bolt that is a function of single tuples, with ticks as tuples among them.

use std::sync::Arc;

use crate::error::{Failure, Problem};
use crate::storm::emitter::StreamDeclaration;
use crate::storm::native::emits::{Emits, TickTuples};
use crate::storm::registry::{Arguments, NativeBolt};
use crate::storm::tuple::StormTuple;
use crate::task::component::{Bolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::Outlet;

/// Where a function emits.
pub(super) struct To<'a> {
    emits: &'a Emits,
    out: &'a mut Outlet<Many<StormTuple>>,
}

impl To<'_> {
    pub fn emit(&mut self, values: impl IntoIterator<Item = Value>) {
        self.out.emit_at(0, self.emits.tuple(0, values));
    }
}

/// A bolt of one function, which may keep what it wants between calls.
pub(super) struct Each<F> {
    emits: Emits,
    ticks: Option<Arc<TickTuples>>,
    each: F,
}

impl<F: FnMut(&StormTuple, &mut To<'_>) -> Outcome + 'static> Bolt for Each<F> {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emits.prepare(ctx.info());
        Ok(())
    }

    fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        (self.each)(&tuple, &mut To { emits: &self.emits, out })
    }

    /// Storm's bolts get ticks like any other tuple.
    fn tick(&mut self, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let Some(ticks) = &self.ticks else { return Ok(()) };
        (self.each)(&ticks.tuple(), &mut To { emits: &self.emits, out })
    }
}

/// A bolt with one stream of these fields (none: no stream); `make` makes the function of each task.
pub(super) fn each<F>(
    args: &Arguments<'_>,
    fields: &[&str],
    make: impl Fn() -> F + Send + Sync + 'static,
) -> Result<NativeBolt, Problem>
where
    F: FnMut(&StormTuple, &mut To<'_>) -> Outcome + 'static,
{
    let streams: Vec<StreamDeclaration> = match fields {
        [] => Vec::new(),
        fields => vec![args.stream("default", fields)?],
    };
    let emits = Emits::new(&streams);
    let ticks = args.conf.tick().map(|period| Arc::new(TickTuples::new(period)));
    let factory = move || Each { emits: emits.clone(), ticks: ticks.clone(), each: make() };
    Ok(NativeBolt::new(streams, factory))
}

/// The value of a field, or of the first one.
///
/// # Errors
/// There is none; another attempt would not help.
pub(super) fn value_of<'t>(tuple: &'t StormTuple, field: Option<&str>) -> Result<&'t Value, Failure> {
    match field {
        Some(field) => tuple.get(field).map_err(|error| Failure::reject(format!("{tuple}: {error}"))),
        None => tuple.values().first().ok_or_else(|| Failure::reject(format!("{tuple} has no values"))),
    }
}
