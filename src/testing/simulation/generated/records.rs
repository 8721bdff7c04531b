//! Components of dynamic records: a bolt, and a bolt of windows. What stands before makes records of the items, what
//! stands behind makes items of what comes out; both with names of their own.

use std::sync::Arc;
use std::time::Duration;

use super::draw::{At, Item, Op};
use super::parts::{Out, Part};
use crate::error::Failure;
use crate::storm::emitter::{Emitter, StreamDeclaration};
use crate::storm::tuple::{Source, StormTuple};
use crate::storm::window::{Length, Slide, TupleWindow, WindowOutlet, WindowSettings, Windowed};
use crate::task::TaskId;
use crate::task::component::{Bolt, Outcome};
use crate::task::context::{BoltContext, TaskInfo};
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::Outlet;
use crate::topology::builder::TopologyBuilder;
use crate::topology::stream::Stream;

/// Names in the topology that a component of records has.
pub const NAMES: usize = 3;

/// The component itself and what emits behind it: its two streams.
pub fn declare(t: &mut TopologyBuilder, id: &str, part: Part, tasks: usize, input: &Stream<Item>) -> Vec<Stream<Item>> {
    let (records, name, own) = (records_of(id), format!("{id}x"), part.clone());
    let shown = [stream().shown()];
    let made = match part.spec.components[part.number].op {
        Op::Record => {
            let bolt = t.bolt(name, move || Recorder { part: own.clone(), emitter: None });
            bolt.streams(shown).parallelism(tasks).fields_by(input.via(records), key).stream(0)
        }
        _ => {
            let bolt = t.bolt(name, move || windowed(own.clone())).tick(SLIDE);
            bolt.streams(shown).parallelism(tasks).shuffle(input.via(records)).stream(0)
        }
    };
    behind(t, id, part, tasks, &made)
}

/// Makes records of items, as from this component.
pub fn records_of(id: &str) -> impl Fn(Item) -> StormTuple + Clone + Send + Sync + 'static {
    let StreamDeclaration { name: stream, fields } = StreamDeclaration::new("default", ["item"]).expect("one name");
    let source = Arc::new(Source { component: id.into(), stream, fields });
    move |item| StormTuple::new(&source, TaskId(1), [text(&item)])
}

/// What every component of records emits: on which port, and the item.
pub fn stream() -> StreamDeclaration {
    StreamDeclaration::new("default", ["port", "item"]).expect("two names")
}

/// Makes items of what a component of records emits, and emits them: its two streams.
pub fn behind(
    t: &mut TopologyBuilder,
    id: &str,
    part: Part,
    tasks: usize,
    made: &Stream<StormTuple>,
) -> Vec<Stream<Item>> {
    let behind = t.bolt(format!("{id}y"), move || Behind { part: part.clone(), info: None }).parallelism(tasks);
    let behind = behind.shuffle(made);
    vec![behind.0.clone(), behind.1.clone()]
}

pub fn text(item: &Item) -> Value {
    serde_json::to_string(item).expect("numbers and names").into()
}

pub fn item(value: Option<&Value>) -> Result<Item, Failure> {
    let text = value.and_then(Value::as_str).ok_or_else(|| Failure::fatal("not an item"))?;
    serde_json::from_str(text).map_err(|error| Failure::fatal(format!("{text}: {error}")))
}

fn key(record: &StormTuple) -> u16 {
    item(record.values().first()).map_or(0, |item| item.key())
}

/// A bolt from records to records.
struct Recorder {
    part: Part,
    emitter: Option<Emitter>,
}

impl Bolt for Recorder {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emitter = Some(Emitter::new(ctx.info(), &[stream()]));
        self.part.strike(None, At::Prepare, 0)
    }

    fn execute(&mut self, record: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let item = item(record.values().first())?;
        self.part.strike(Some(&item), At::Item, out.now_ns())?;
        let emitter = self.emitter.as_ref().expect("prepared");
        for (port, child) in self.part.spec.children(self.part.number, &item) {
            out.emit_at(0, emitter.tuple(0, [Value::from(port as i64), text(&child)]));
        }
        Ok(())
    }
}

const LENGTH_MS: u64 = 20;
const SLIDE: Duration = Duration::from_millis(10);

/// Emits for what is new in each window, anchored to all that is in it.
fn windowed(part: Part) -> Windowed<impl FnMut(&TupleWindow<'_>, &mut WindowOutlet<'_>) -> Outcome> {
    let settings = WindowSettings::of_arrival(Length::Millis(LENGTH_MS), Slide::Millis(SLIDE.as_millis() as u64));
    let look = move |window: &TupleWindow<'_>, out: &mut WindowOutlet<'_>| {
        let new: Result<Vec<Item>, Failure> = window.new_values().map(|record| item(record.values().first())).collect();
        let new = new?;
        new.iter().for_each(|item| part.world.left_window(part.number, item));
        part.world.hit("window");
        // All that is in it comes again.
        new.iter().try_for_each(|_| part.strike(None, At::Tick, 0))?;
        for (port, child) in new.iter().flat_map(|item| part.spec.children(part.number, item)) {
            out.emit(0, [Value::from(port as i64), text(&child)]);
        }
        Ok(())
    };
    Windowed::new(look, &settings, &[stream()], 1)
}

/// Emits what a component of records has made.
struct Behind {
    part: Part,
    info: Option<TaskInfo>,
}

impl Bolt for Behind {
    type In = StormTuple;
    type Out = Out;

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.info = Some(ctx.info().clone());
        Ok(())
    }

    fn execute(&mut self, record: StormTuple, out: &mut Outlet<Out>) -> Outcome {
        let [port, made] = record.values() else { return Err(Failure::fatal("not a port and an item")) };
        let port = usize::from(port.as_i64() == Some(1));
        self.part.emit_one(port, item(Some(made))?, self.info.as_ref().expect("prepared"), out);
        Ok(())
    }
}
