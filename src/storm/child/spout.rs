//! A spout as the child of a Storm worker.

use std::collections::HashMap;
use std::io::{Read, Write};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use serde_json::Value as Json;

use super::parent::{Emitted, Parent, Replies, Setup, greet};
use crate::error::{Failure, Result};
use crate::storm::tuple::StormTuple;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::sys::thread;
use crate::task::component::{ManualBolt, Next, Outcome, Spout};
use crate::task::context::SpoutContext;
use crate::task::held::{Anchor, Tuple};
use crate::task::many::Many;
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::payload::Nothing;
use crate::task::waker::Waker;

/// Runs a spout as the child of a Storm worker, until the worker ends it. One `next` order is one call of `next`;
/// [`Next::Finished`] makes later orders bring nothing.
///
/// # Errors
/// If standard input is not what a Storm worker writes, or the component fails for good.
pub fn run_spout<S>(make: impl Fn(&Setup) -> S + Send + Sync + 'static) -> Result<()>
where
    S: Spout<Out = Many<StormTuple>>,
{
    serve_spout(std::io::stdin(), std::io::stdout(), make)
}

/// Like [`run_spout`], over any pair of streams.
///
/// # Errors
/// As [`run_spout`].
pub fn serve_spout<S>(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    make: impl Fn(&Setup) -> S + Send + Sync + 'static,
) -> Result<()>
where
    S: Spout<Out = Many<StormTuple>>,
{
    let replies = Arc::new(Replies::new(output));
    let (parent, setup) = greet(input, &replies)?;
    let (own_id, streams) = (setup.own_id(), setup.streams.clone());
    let mut t = super::topology();
    let turn = Arc::new(Turn { replies, state: Mutex::default() });
    let (reader, turn_out) = (Arc::new(Mutex::new(Some(parent))), turn.clone());
    let gate = move || Gate {
        spout: make(&setup),
        reader: reader.clone(),
        orders: None,
        turn: turn.clone(),
        settling: None,
        is_finished: false,
    };
    let shown: Vec<(String, String)> = streams.iter().map(|stream| stream.shown()).collect();
    let spout = t.spout(own_id, gate).streams(shown);
    if !streams.is_empty() {
        let exit = t.bolt("storm-out", move || Exit(turn_out.clone()));
        (0..streams.len()).fold(exit, |exit, port| exit.global(&spout.stream(port)));
    }
    t.build()?.run().map(drop)
}

/// One order of the worker, from its start until everything it has brought is written.
struct Turn<W> {
    replies: Arc<Replies<W>>,
    state: Mutex<TurnState>,
}

#[derive(Default)]
struct TurnState {
    /// Emits of the order that have not been written.
    unwritten: u64,
    /// The spout is through with the order; what is missing is writing.
    is_carried_out: bool,
    /// What Storm has and has not settled, by the id it was told.
    open: HashMap<u64, Anchor>,
    last_id: u64,
}

impl<W: Write> Turn<W> {
    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The spout has done what it was told, with so many emits.
    fn carried_out(&self, emitted: u64) {
        let mut state = self.state();
        state.unwritten = state.unwritten.wrapping_add(emitted);
        state.is_carried_out = true;
        self.sync_if_done(&mut state);
    }

    fn sync_if_done(&self, state: &mut TurnState) {
        if state.is_carried_out && state.unwritten == 0 {
            state.is_carried_out = false;
            self.replies.sync();
        }
    }

    /// A tuple leaves for Storm. It is written before the order's answer, since both are on one executor.
    fn write(&self, tuple: Tuple<StormTuple>) {
        let mut state = self.state();
        let (value, anchor) = tuple.split();
        let mut emitted = Emitted::of(&value);
        if anchor.as_held().is_some() {
            state.last_id += 1;
            emitted.id = Some(state.last_id.to_string());
        }
        self.replies.write(&emitted);
        match emitted.id {
            Some(_) => {
                let id = state.last_id;
                state.open.insert(id, anchor);
            }
            None => anchor.ack(),
        }
        state.unwritten = state.unwritten.wrapping_sub(1);
        self.sync_if_done(&mut state);
    }
}

enum Order {
    Next,
    Ack(Json),
    Fail(Json),
    Activate,
    Deactivate,
    End(Option<String>),
}

fn read<R: Read>(mut parent: Parent<R>, orders: &Sender<Order>, waker: &Waker) {
    loop {
        let order = match parent.next() {
            Ok(None) => Order::End(None),
            Err(error) => Order::End(Some(error.to_string())),
            Ok(Some(message)) => match message.command.as_deref() {
                Some("next") => Order::Next,
                Some("ack") => Order::Ack(message.id),
                Some("fail") => Order::Fail(message.id),
                Some("activate") => Order::Activate,
                Some("deactivate") => Order::Deactivate,
                other => Order::End(Some(format!("unknown command of the Storm worker: {other:?}"))),
            },
        };
        let is_last = matches!(order, Order::End(_));
        let sent = orders.send(order).is_ok();
        waker.wake();
        if is_last || !sent {
            return;
        }
    }
}

/// The user's spout, which acts on Storm's orders only.
struct Gate<S, R, W> {
    spout: S,
    reader: Arc<Mutex<Option<Parent<R>>>>,
    orders: Option<Receiver<Order>>,
    turn: Arc<Turn<W>>,
    /// The engine is about to call back for an order, with the emits counted before it.
    settling: Option<u64>,
    is_finished: bool,
}

impl<S, R, W> Gate<S, R, W>
where
    S: Spout<Out = Many<StormTuple>>,
    W: Write,
{
    fn order(&mut self, order: Order, out: &mut SpoutOutlet<S::Out, S::Id>) -> std::result::Result<Next, Failure> {
        let before = emitted(out);
        match order {
            Order::Next if !self.is_finished => self.is_finished = self.spout.next(out)? == Next::Finished,
            Order::Next => {}
            Order::Activate => self.spout.activate()?,
            Order::Deactivate => self.spout.deactivate()?,
            Order::Ack(id) => return self.settle(&id, before, Anchor::ack),
            Order::Fail(id) => {
                return self.settle(&id, before, |anchor| anchor.fail(Failure::retry("failed by the Storm topology")));
            }
            Order::End(None) => return Ok(Next::Finished),
            Order::End(Some(error)) => return Err(Failure::fatal(error)),
        }
        self.turn.carried_out(emitted(out) - before);
        Ok(Next::Emitted)
    }

    /// Ends a tree; the engine then calls back, which ends the order.
    fn settle(&mut self, id: &Json, before: u64, end: impl FnOnce(Anchor)) -> std::result::Result<Next, Failure> {
        let number = id.as_str().and_then(|id| id.parse::<u64>().ok());
        let anchor = number.and_then(|id| self.turn.state().open.remove(&id));
        let Some(anchor) = anchor else {
            tracing::warn!(%id, "Storm settles a tuple that is not open");
            self.turn.carried_out(0);
            return Ok(Next::Emitted);
        };
        self.settling = Some(before);
        end(anchor);
        Ok(Next::Idle)
    }

    fn settled(&mut self, out: &SpoutOutlet<S::Out, S::Id>) {
        if let Some(before) = self.settling.take() {
            self.turn.carried_out(emitted(out) - before);
        }
    }
}

fn emitted<Id>(out: &SpoutOutlet<Many<StormTuple>, Id>) -> u64 {
    out.out.core.counts.emitted
}

impl<S, R, W> Spout for Gate<S, R, W>
where
    S: Spout<Out = Many<StormTuple>>,
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    type Out = Many<StormTuple>;
    type Id = S::Id;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        let parent = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let parent = parent.ok_or_else(|| Failure::fatal("the conversation with Storm cannot be begun twice"))?;
        // One order at a time, so the bound is never met.
        let ((sender, orders), waker) = (bounded(16), ctx.waker());
        thread::spawn_helper("squall-reader", move || read(parent, &sender, &waker))?;
        self.orders = Some(orders);
        self.spout.open(ctx)
    }

    fn next(&mut self, out: &mut SpoutOutlet<Self::Out, Self::Id>) -> std::result::Result<Next, Failure> {
        let Some(orders) = &self.orders else { return Ok(Next::Finished) };
        if self.settling.is_some() {
            return Ok(Next::Idle);
        }
        match orders.try_recv() {
            Ok(order) => self.order(order, out),
            Err(TryRecvError::Empty) => Ok(Next::Idle),
            Err(TryRecvError::Disconnected) => Ok(Next::Finished),
        }
    }

    fn ack(&mut self, id: S::Id, out: &mut SpoutOutlet<Self::Out, Self::Id>) -> Outcome {
        let done = self.spout.ack(id, out);
        self.settled(out);
        done
    }

    fn fail(&mut self, id: S::Id, why: &Failure, out: &mut SpoutOutlet<Self::Out, Self::Id>) -> Outcome {
        let done = self.spout.fail(id, why, out);
        self.settled(out);
        done
    }

    fn close(&mut self) {
        self.spout.close();
    }
}

/// Where the spout's tuples leave for Storm; a tracked one is held until Storm settles it.
struct Exit<W>(Arc<Turn<W>>);

impl<W: Write + Send + 'static> ManualBolt for Exit<W> {
    type In = StormTuple;
    type Out = Nothing;

    fn execute(&mut self, tuple: Tuple<StormTuple>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.write(tuple);
        Ok(())
    }

    /// What Storm has not settled when it ends the conversation is its concern.
    fn finish(&mut self, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.state().open.clear();
        Ok(())
    }
}
