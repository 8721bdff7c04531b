//! [`ShellSpout`]: a spout whose work is done by a child process.

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use serde_json::Value as Json;

use super::context::context;
use super::exchange::{Exchange, Happened, Order};
use super::keeper::{End, Keeper, Link};
use super::spec::ShellSpec;
use crate::error::Failure;
use crate::storm::emitter::Emitter;
use crate::storm::tuple::StormTuple;
use crate::sys::sync::Arc;
use crate::task::TaskId;
use crate::task::component::{Next, Outcome, Spout};
use crate::task::context::SpoutContext;
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::SpoutOutlet;

/// What a child has emitted and the task has not yet: beyond this the child waits.
const EMITS_WAITING_MAX: usize = 256;

/// A child's id of a tracked tuple. It comes back to that child unchanged; the child of a later instance never hears of
/// it.
#[derive(Clone, Debug, PartialEq)]
pub struct ShellId {
    instance: u64,
    id: Value,
}

impl ShellId {
    /// As the child gave it.
    pub(crate) fn as_json(&self) -> Json {
        Json::from(&self.id)
    }
}

/// A spout whose work is done by a child process that speaks the multilang protocol.
///
/// The protocol is one order, one answer. A thread of the spout's own gives the child its orders and waits for the
/// answers; `next` on the executor takes from a queue what has come and never waits. A `next` order is given only when
/// the engine asks for input, so `max_spout_pending` holds as under Storm: the emits of one order may go beyond it, but
/// what goes beyond it waits. When the child is gone, the engine builds the next instance; trees that are still open
/// are not told to the next child.
pub struct ShellSpout {
    spec: Arc<ShellSpec>,
    running: Option<Running>,
}

struct Running {
    link: Arc<Link>,
    instance: u64,
    orders: Sender<Order>,
    happened: Receiver<Happened>,
    replies: Sender<Vec<u32>>,
    /// A `next` order has not been answered.
    is_asked: bool,
    /// The last one brought nothing.
    was_idle: bool,
    winds_down: bool,
}

impl ShellSpout {
    pub(super) fn new(spec: ShellSpec) -> Self {
        ShellSpout { spec: Arc::new(spec), running: None }
    }

    fn order(&mut self, order: Order) -> Outcome {
        // It fails when the child is gone, which `next` tells.
        if let Some(running) = &self.running {
            let _ = running.orders.send(order);
        }
        Ok(())
    }

    fn order_for(&mut self, id: ShellId, order: impl FnOnce(Value) -> Order) -> Outcome {
        match &self.running {
            Some(running) if running.instance == id.instance => self.order(order(id.id)),
            _ => {
                tracing::debug!(id = %id.id, "the end of a tree of an earlier child is not told");
                Ok(())
            }
        }
    }
}

impl Spout for ShellSpout {
    type Out = Many<StormTuple>;
    type Id = ShellId;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.spec.check()?;
        let spec = self.spec.clone();
        let (link, events) = Link::new(ctx.waker(), ctx.reporter());
        // Bounded by the trees of this task: each is acked or failed once, and an order to emit more waits behind.
        let (orders, orders_of_child) = unbounded();
        let (happens, happened) = bounded(EMITS_WAITING_MAX);
        let (replies, replies_to_child) = bounded(1);
        let exchange = Exchange {
            orders: orders_of_child,
            happens,
            replies: replies_to_child,
            emitter: Emitter::new(ctx.info(), &spec.declared_streams()?),
            link: link.clone(),
            spec: spec.clone(),
        };
        Keeper {
            context: context(&spec, ctx.info()),
            spec,
            link: link.clone(),
            events,
            talk: move |pipes| exchange.run(pipes),
            heartbeat: || {},
            settle: |end: End| Failure::retry(end.message),
        }
        .start()?;
        // Differs from rebuild to rebuild.
        let instance = ctx.random().next_u64();
        let (is_asked, was_idle, winds_down) = (false, false, false);
        self.running = Some(Running { link, instance, orders, happened, replies, is_asked, was_idle, winds_down });
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, ShellId>) -> Result<Next, Failure> {
        let Some(running) = &mut self.running else { return Err(Failure::fatal("next before open")) };
        loop {
            match running.happened.try_recv() {
                Ok(Happened::Emit { id, port, value, to, need_task_ids }) => {
                    let id = id.map(|id| ShellId { instance: running.instance, id });
                    let tasks = emit(out, id, port, value, to);
                    if need_task_ids {
                        // The child waits for this one and for no other.
                        let _ = running.replies.try_send(tasks);
                    }
                    return Ok(Next::Emitted);
                }
                Ok(Happened::Answered { was_next, emitted }) => {
                    running.is_asked &= !was_next;
                    running.was_idle = was_next && emitted == 0;
                    if emitted > 0 {
                        running.link.reporter.progress();
                    }
                }
                // Everything has been taken; why it ends is known once the process has been looked after.
                Err(TryRecvError::Disconnected) => return running.link.failure().map_or(Ok(Next::Idle), Err),
                Err(TryRecvError::Empty) => break,
            }
        }
        if running.is_asked {
            return Ok(Next::Idle);
        }
        if running.winds_down {
            return Ok(Next::Finished);
        }
        if std::mem::take(&mut running.was_idle) {
            return Ok(Next::WakeAfter(self.spec.idle_pause));
        }
        running.is_asked = true;
        self.order(Order::Next)?;
        Ok(Next::Idle)
    }

    fn ack(&mut self, id: ShellId, _out: &mut SpoutOutlet<Many<StormTuple>, ShellId>) -> Outcome {
        self.order_for(id, Order::Ack)
    }

    fn fail(&mut self, id: ShellId, _: &Failure, _out: &mut SpoutOutlet<Many<StormTuple>, ShellId>) -> Outcome {
        self.order_for(id, Order::Fail)
    }

    fn activate(&mut self) -> Outcome {
        self.order(Order::Activate)
    }

    fn deactivate(&mut self) -> Outcome {
        self.order(Order::Deactivate)
    }

    fn close(&mut self) {
        self.running = None;
    }

    /// What the child is in the middle of is finished first.
    fn wind_down(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| {
            running.winds_down = true;
            true
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.link.stop();
    }
}

fn emit(
    out: &mut SpoutOutlet<Many<StormTuple>, ShellId>,
    id: Option<ShellId>,
    port: usize,
    value: StormTuple,
    to: Option<TaskId>,
) -> Vec<u32> {
    let tasks = match (id, to) {
        (None, None) => out.emit_at(port, value),
        (Some(id), None) => out.emit_tracked_at(id, port, value),
        (None, Some(task)) => {
            out.emit_direct_at(port, task, value);
            &[]
        }
        (Some(id), Some(task)) => {
            out.emit_direct_tracked_at(id, port, task, value);
            &[]
        }
    };
    tasks.iter().map(|task| task.0).collect()
}
