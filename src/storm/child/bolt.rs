//! A bolt as the child of a Storm worker.

use std::collections::HashMap;
use std::io::{Read, Write};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use serde_json::{Value as Json, json};

use super::parent::{Emitted, Parent, Replies, Setup, greet};
use crate::error::{Failure, Result};
use crate::storm::tuple::StormTuple;
use crate::sys::sync::{Arc, Mutex};
use crate::sys::thread;
use crate::task::component::{Bolt, ManualBolt, Next, Outcome, Spout};
use crate::task::context::{BoltContext, SpoutContext};
use crate::task::header::Root;
use crate::task::held::Tuple;
use crate::task::many::Many;
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::payload::Nothing;
use crate::task::waker::Waker;
use crate::topology::component::{IntoBolt, Unkeyed};

/// Tuples read and not yet taken; then the worker's pipe fills.
const READ_AHEAD: usize = 1_024;

/// Runs a bolt in automatic style as the child of a Storm worker, until the worker ends it.
///
/// # Errors
/// If standard input is not what a Storm worker writes, or the component fails for good.
pub fn run_bolt<B>(make: impl Fn(&Setup) -> B + Send + Sync + 'static) -> Result<()>
where
    B: Bolt<In = StormTuple, Out = Many<StormTuple>>,
{
    serve_bolt(std::io::stdin(), std::io::stdout(), make)
}

/// Runs a bolt in manual style as the child of a Storm worker, until the worker ends it.
///
/// # Errors
/// As [`run_bolt`].
pub fn run_manual_bolt<B>(make: impl Fn(&Setup) -> B + Send + Sync + 'static) -> Result<()>
where
    B: ManualBolt<In = StormTuple, Out = Many<StormTuple>>,
{
    serve_manual_bolt(std::io::stdin(), std::io::stdout(), make)
}

/// Like [`run_bolt`], over any pair of streams.
///
/// # Errors
/// As [`run_bolt`].
pub fn serve_bolt<B>(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    make: impl Fn(&Setup) -> B + Send + Sync + 'static,
) -> Result<()>
where
    B: Bolt<In = StormTuple, Out = Many<StormTuple>>,
{
    serve(input, output, move |setup| move || Ticking(make(&setup)))
}

/// Like [`run_manual_bolt`], over any pair of streams.
///
/// # Errors
/// As [`run_bolt`].
pub fn serve_manual_bolt<B>(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    make: impl Fn(&Setup) -> B + Send + Sync + 'static,
) -> Result<()>
where
    B: ManualBolt<In = StormTuple, Out = Many<StormTuple>>,
{
    serve(input, output, move |setup| move || TickingManual(make(&setup)))
}

/// Storm's ids of the tuples under way, by the tree that each is the root of.
type Ids = Arc<Mutex<HashMap<Root, Json>>>;

fn serve<F, M>(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    factory: impl FnOnce(Setup) -> F,
) -> Result<()>
where
    F: IntoBolt<M, In = StormTuple, Out = Many<StormTuple>, Keying = Unkeyed> + 'static,
{
    let replies = Arc::new(Replies::new(output));
    let (parent, setup) = greet(input, &replies)?;
    let (own_id, streams) = (setup.own_id(), setup.streams.clone());
    let mut t = super::topology();
    let (ids, reader) = (Ids::default(), Arc::new(Mutex::new(Some(parent))));
    let (ids_in, replies_in) = (ids.clone(), replies.clone());
    let entrance =
        move || Entrance { reader: reader.clone(), items: None, ids: ids_in.clone(), replies: replies_in.clone() };
    let inputs = t.spout("storm-in", entrance).streams([("tuples", "any")]);
    let shown: Vec<(String, String)> = streams.iter().map(|stream| stream.shown()).collect();
    let bolt = t.bolt(own_id, factory(setup)).streams(shown).shuffle(&inputs.stream(0));
    if !streams.is_empty() {
        let exit = t.bolt("storm-out", move || Exit { ids: ids.clone(), replies: replies.clone() });
        (0..streams.len()).fold(exit, |exit, port| exit.global(&bolt.stream(port)));
    }
    t.build()?.run().map(drop)
}

enum Item {
    Tuple(Json, StormTuple),
    Heartbeat,
    /// The worker has ended the conversation, with the reason if it is one.
    End(Option<String>),
}

/// Where Storm's tuples enter, each the root of a tree, and where the ends of the trees are told.
struct Entrance<R, W> {
    reader: Arc<Mutex<Option<Parent<R>>>>,
    items: Option<Receiver<Item>>,
    ids: Ids,
    replies: Arc<Replies<W>>,
}

fn read<R: Read>(mut parent: Parent<R>, items: &Sender<Item>, waker: &Waker) {
    loop {
        let item = match parent.next() {
            Ok(Some(message)) if message.is_heartbeat() => Item::Heartbeat,
            Ok(Some(message)) => {
                let id = message.id.clone();
                Item::Tuple(id, parent.tuple(message))
            }
            Ok(None) => Item::End(None),
            Err(error) => Item::End(Some(error.to_string())),
        };
        let is_last = matches!(item, Item::End(_));
        if items.send(item).is_err() || is_last {
            waker.wake();
            return;
        }
        waker.wake();
    }
}

impl<R: Read + Send + 'static, W: Write + Send + 'static> Spout for Entrance<R, W> {
    type Out = Many<StormTuple>;
    type Id = (Root, Json);

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        let parent = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let parent = parent.ok_or_else(|| Failure::fatal("the conversation with Storm cannot be begun twice"))?;
        let ((sender, items), waker) = (bounded(READ_AHEAD), ctx.waker());
        thread::spawn_helper("squall-reader", move || read(parent, &sender, &waker))?;
        self.items = Some(items);
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, (Root, Json)>) -> std::result::Result<Next, Failure> {
        let Some(items) = &self.items else { return Ok(Next::Finished) };
        match items.try_recv() {
            Ok(Item::Tuple(id, value)) => {
                let ids = &self.ids;
                out.tracked_as(
                    |root| {
                        ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(root, id.clone());
                        (root, id)
                    },
                    |out| out.emit_at(0, value),
                );
                Ok(Next::Emitted)
            }
            Ok(Item::Heartbeat) => {
                self.replies.sync();
                Ok(Next::Emitted)
            }
            Ok(Item::End(None)) => Ok(Next::Finished),
            Ok(Item::End(Some(error))) => Err(Failure::fatal(error)),
            Err(TryRecvError::Empty) => Ok(Next::Idle),
            Err(TryRecvError::Disconnected) => Ok(Next::Finished),
        }
    }

    fn ack(&mut self, (root, id): (Root, Json), _: &mut SpoutOutlet<Many<StormTuple>, (Root, Json)>) -> Outcome {
        self.forget(root);
        self.replies.write(&json!({ "command": "ack", "id": id }));
        Ok(())
    }

    fn fail(
        &mut self,
        (root, id): (Root, Json),
        why: &Failure,
        _: &mut SpoutOutlet<Many<StormTuple>, (Root, Json)>,
    ) -> Outcome {
        self.forget(root);
        self.replies.write(&json!({ "command": "error", "msg": why.to_string() }));
        self.replies.write(&json!({ "command": "fail", "id": id }));
        Ok(())
    }
}

impl<R, W> Entrance<R, W> {
    fn forget(&self, root: Root) {
        self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&root);
    }
}

/// Where the bolt's tuples leave for Storm, anchored to Storm's tuples that they descend from.
struct Exit<W> {
    ids: Ids,
    replies: Arc<Replies<W>>,
}

impl<W: Write + Send + 'static> ManualBolt for Exit<W> {
    type In = StormTuple;
    type Out = Nothing;

    fn execute(&mut self, tuple: Tuple<StormTuple>, _: &mut Outlet<Nothing>) -> Outcome {
        let mut emitted = Emitted::of(tuple.value());
        if let Some((roots, _)) = tuple.anchor().as_held() {
            let ids = self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            roots.each(|root, _| emitted.anchors.extend(ids.get(&root).map(text)));
        }
        self.replies.write(&emitted);
        tuple.ack();
        Ok(())
    }
}

/// Storm's ids of tuples are texts.
fn text(id: &Json) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// Turns Storm's tick tuples into ticks.
struct Ticking<B>(B);

impl<B: Bolt<In = StormTuple, Out = Many<StormTuple>>> Bolt for Ticking<B> {
    type In = StormTuple;
    type Out = Many<StormTuple>;
    fn prepare(&mut self, ctx: &mut BoltContext<Self::Out>) -> Outcome {
        self.0.prepare(ctx)
    }
    fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Self::Out>) -> Outcome {
        if tuple.is_tick() { self.0.tick(out) } else { self.0.execute(tuple, out) }
    }
    fn finish(&mut self, out: &mut Outlet<Self::Out>) -> Outcome {
        self.0.finish(out)
    }
    fn cleanup(&mut self) {
        self.0.cleanup();
    }
}

/// The same in manual style.
struct TickingManual<B>(B);

impl<B: ManualBolt<In = StormTuple, Out = Many<StormTuple>>> ManualBolt for TickingManual<B> {
    type In = StormTuple;
    type Out = Many<StormTuple>;
    fn prepare(&mut self, ctx: &mut BoltContext<Self::Out>) -> Outcome {
        self.0.prepare(ctx)
    }
    fn execute(&mut self, tuple: Tuple<StormTuple>, out: &mut Outlet<Self::Out>) -> Outcome {
        if !tuple.is_tick() {
            return self.0.execute(tuple, out);
        }
        let ticked = self.0.tick(out);
        tuple.ack();
        ticked
    }
    fn works_elsewhere(&self) -> bool {
        self.0.works_elsewhere()
    }
    fn ready(&mut self) -> std::result::Result<bool, Failure> {
        self.0.ready()
    }
    fn finish(&mut self, out: &mut Outlet<Self::Out>) -> Outcome {
        self.0.finish(out)
    }
    fn cleanup(&mut self) {
        self.0.cleanup();
    }
}
