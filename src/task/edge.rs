//! An edge at run time: the ways from one producing task to all tasks of one subscriber, under one grouping.
//!
//! [`EdgeSpec`] is the edge's typed kit: the builder captures it where all types are known; the engine asks it for
//! rings, lanes and edge ends without knowing them. `Any` appears here only, while a topology is wired, never per
//! tuple.

use std::any::Any;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::sys::sync::Arc;
use crate::task::TaskId;
use crate::task::header::{Bare, Full, Header, Layout, Placed, Tracked};
use crate::task::lane::{
    Bell, Control, EdgeLane, LaneRx, LocalEnd, Peers, Ring, Sent, Signal, Slot, local, remote_rx, remote_tx, ring,
};
use crate::task::outlet::EmitCore;
use crate::task::payload::Payload;
use crate::task::route::{Grouping, Pick, RouteInfo, Router};

/// The producing end of an edge, for values of the stream's type. One virtual call per tuple.
#[doc(hidden)]
pub trait EdgeOut<T> {
    fn send(&mut self, value: T, core: &mut EmitCore);
    /// True if the task belongs to this edge's subscriber and the subscription is direct.
    fn send_direct(&mut self, task: TaskId, value: &T, core: &mut EmitCore) -> bool;
    fn control(&mut self, control: Control, core: &mut EmitCore);
    fn drain(&mut self, core: &mut EmitCore);
    /// The way to the subscriber that needs neither a conversion nor a choice, if it has one task, on this executor.
    fn short_way(&self) -> ShortWay<T>;
}

/// A queue that a port may push into by itself while none of its lanes is blocked: no virtual call, no routing.
#[doc(hidden)]
#[derive(Default)]
pub enum ShortWay<T> {
    #[default]
    None,
    Bare(LocalEnd<Bare, T>),
    Placed(LocalEnd<Placed, T>),
    Tracked(LocalEnd<Tracked, T>),
    Full(LocalEnd<Full, T>),
}

/// The conversion of an edge from the stream's type to the subscriber's input type.
#[doc(hidden)]
pub trait Convert<Src, Dst>: Send + Sync + 'static {
    fn convert(&self, value: Src) -> Dst;

    /// The same queue for the stream's type, if that is the input type.
    fn unconverted<H>(_queue: LocalEnd<H, Dst>) -> Option<LocalEnd<H, Src>> {
        None
    }
}

/// The stream's type is the input type.
#[doc(hidden)]
pub struct Same;

impl<T> Convert<T, T> for Same {
    #[inline]
    fn convert(&self, value: T) -> T {
        value
    }

    fn unconverted<H>(queue: LocalEnd<H, T>) -> Option<LocalEnd<H, T>> {
        Some(queue)
    }
}

/// Converts by a function.
#[doc(hidden)]
pub struct By<F>(pub F);

impl<Src, Dst, F: Fn(Src) -> Dst + Send + Sync + 'static> Convert<Src, Dst> for By<F> {
    #[inline]
    fn convert(&self, value: Src) -> Dst {
        (self.0)(value)
    }
}

struct Edge<H, Src, Dst, C, R> {
    lanes: Vec<EdgeLane<H, Dst>>,
    tasks: Vec<TaskId>,
    convert: Arc<C>,
    router: R,
    /// Scratch for groupings that choose several tasks.
    listed: Vec<usize>,
    /// Lanes with overflow that this edge has blocked. One that is shared is noted by one of its edges, until nothing
    /// is left.
    blocked: Vec<usize>,
    types: PhantomData<fn(Src)>,
}

impl<H: Header, Src, Dst: Payload, C, R> Edge<H, Src, Dst, C, R> {
    #[inline(always)]
    fn push(&mut self, position: usize, value: Dst, core: &mut EmitCore) {
        core.note_target(|| self.tasks[position]);
        let header = H::stamp(core);
        let sent = self.lanes[position].send(header, value);
        // Nearly always; a match would be a jump through a table, for every tuple.
        if sent == Sent::BelowLowWater {
            return;
        }
        core.above_low_water |= sent == Sent::AboveLowWater;
        if sent == Sent::Blocked {
            self.note_blocked(position, core);
        }
    }

    /// Pushes to the tasks that the grouping has listed.
    #[inline(never)]
    fn push_listed(&mut self, value: Dst, core: &mut EmitCore) {
        let mut listed = std::mem::take(&mut self.listed);
        if let Some((&last, others)) = listed.split_last() {
            for &position in others {
                self.push(position, value.clone(), core);
                core.ordinal += 1;
            }
            self.push(last, value, core);
            core.ordinal = 0;
        }
        listed.clear();
        self.listed = listed;
    }

    #[cold]
    fn note_blocked(&mut self, position: usize, core: &mut EmitCore) {
        self.blocked.push(position);
        core.blocked_lanes += 1;
    }
}

impl<H, Src, Dst, C, R> EdgeOut<Src> for Edge<H, Src, Dst, C, R>
where
    H: Header,
    Src: Payload,
    Dst: Payload,
    C: Convert<Src, Dst>,
    R: Router<Dst>,
{
    #[inline]
    fn send(&mut self, value: Src, core: &mut EmitCore) {
        if R::IS_DIRECT {
            panic!("a regular emit on a stream with a direct subscriber: use emit_direct");
        }
        let value = self.convert.convert(value);
        // Empty, unless a grouping or a clone panicked half way the last time.
        self.listed.clear();
        match self.router.pick(&value, &mut self.listed) {
            Pick::One(position) => self.push(position, value, core),
            Pick::Listed => self.push_listed(value, core),
        }
    }

    fn send_direct(&mut self, task: TaskId, value: &Src, core: &mut EmitCore) -> bool {
        let Ok(position) = self.tasks.binary_search(&task) else { return false };
        assert!(
            R::IS_DIRECT,
            "emit_direct to {task}, whose component does not subscribe to this stream by a direct grouping"
        );
        self.push(position, self.convert.convert(value.clone()), core);
        true
    }

    fn control(&mut self, control: Control, core: &mut EmitCore) {
        for position in 0..self.lanes.len() {
            if self.lanes[position].control(control) == Sent::Blocked {
                self.note_blocked(position, core);
            }
        }
    }

    fn drain(&mut self, core: &mut EmitCore) {
        let lanes = &mut self.lanes;
        self.blocked.retain(|&position| {
            let drained = lanes[position].drain();
            core.blocked_lanes -= usize::from(drained);
            !drained
        });
        core.above_low_water |= lanes.iter().any(EdgeLane::is_above_low_water);
    }

    fn short_way(&self) -> ShortWay<Src> {
        let only = self.router.only_task().and_then(|position| self.lanes[position].local_end());
        only.and_then(C::unconverted).map_or(ShortWay::None, H::short_way)
    }
}

/// What an edge end needs to know of its consumer and its place.
pub(crate) struct EdgeEnds {
    /// One boxed `EdgeLane<H, Dst>` per task of the consumer, in ascending task order.
    pub lanes: Vec<Box<dyn Any>>,
    pub tasks: Vec<TaskId>,
    pub local: Vec<usize>,
    pub source: TaskId,
    pub source_index: usize,
    pub seed: u64,
}

/// The typed kit of an edge, with its types erased.
pub(crate) trait EdgeKit: Send + Sync {
    /// The two ends of a cross-executor lane.
    fn ring(&self, layout: Layout, capacity: usize) -> (Box<dyn Any + Send>, Box<dyn Any + Send>);
    /// Both ends of a lane within an executor: a boxed `EdgeLane<H, Dst>` for each of the edges that lead along it,
    /// told by their numbers among the consumer's inputs, and a boxed `LaneRx<H, Dst>`.
    fn local(
        &self,
        layout: Layout,
        inputs: &[usize],
        capacity: usize,
        to: Rc<Signal>,
        lane: usize,
    ) -> (Vec<Box<dyn Any>>, Box<dyn Any>);
    /// As the producing ends of [`local`](Self::local).
    fn remote_tx(
        &self,
        layout: Layout,
        inputs: &[usize],
        end: Box<dyn Any + Send>,
        peer: usize,
        peers: Rc<Peers>,
        bell: Option<Bell>,
    ) -> Vec<Box<dyn Any>>;
    fn remote_rx(&self, layout: Layout, end: Box<dyn Any + Send>, peer: usize, peers: Rc<Peers>) -> Box<dyn Any>;
    /// A boxed `Box<dyn EdgeOut<Src>>`.
    fn edge(&self, layout: Layout, ends: EdgeEnds) -> Box<dyn Any>;
    /// Bytes of one lane slot.
    fn slot_bytes(&self, layout: Layout) -> usize;
}

/// Source type, conversion, destination type and grouping of an edge.
pub(crate) struct EdgeSpec<Src, Dst, C, G> {
    pub convert: Arc<C>,
    pub grouping: G,
    pub types: PhantomData<fn(Src) -> Dst>,
}

/// Runs `$body` with `$h` naming the header type of a layout.
macro_rules! with_layout {
    ($layout:expr, $h:ident => $body:expr) => {
        match $layout {
            Layout::Bare => {
                type $h = Bare;
                $body
            }
            Layout::Placed => {
                type $h = Placed;
                $body
            }
            Layout::Tracked => {
                type $h = Tracked;
                $body
            }
            Layout::Full => {
                type $h = Full;
                $body
            }
        }
    };
}
pub(crate) use with_layout;

fn typed<T: 'static>(end: Box<dyn Any>) -> T {
    *end.downcast().expect("lanes are made by the kits of the consumer's edges, which agree on its input type")
}

fn boxed<T: 'static>(end: T) -> Box<dyn Any> {
    Box::new(end)
}

impl<Src, Dst, C, G> EdgeKit for EdgeSpec<Src, Dst, C, G>
where
    Src: Payload,
    Dst: Payload,
    C: Convert<Src, Dst>,
    G: Grouping<Dst>,
{
    fn ring(&self, layout: Layout, capacity: usize) -> (Box<dyn Any + Send>, Box<dyn Any + Send>) {
        with_layout!(layout, H => {
            let (tx, rx): Ring<H, Dst> = ring(capacity);
            (Box::new(tx), Box::new(rx))
        })
    }

    fn local(
        &self,
        layout: Layout,
        inputs: &[usize],
        capacity: usize,
        to: Rc<Signal>,
        lane: usize,
    ) -> (Vec<Box<dyn Any>>, Box<dyn Any>) {
        with_layout!(layout, H => {
            let (tx, rx) = local::<H, Dst>(capacity, to, lane);
            (EdgeLane::of_edges(tx, inputs).into_iter().map(boxed).collect(), boxed(rx))
        })
    }

    fn remote_tx(
        &self,
        layout: Layout,
        inputs: &[usize],
        end: Box<dyn Any + Send>,
        peer: usize,
        peers: Rc<Peers>,
        bell: Option<Bell>,
    ) -> Vec<Box<dyn Any>> {
        with_layout!(layout, H => {
            let tx = remote_tx::<H, Dst>(typed(end), peer, peers, bell);
            EdgeLane::of_edges(tx, inputs).into_iter().map(boxed).collect()
        })
    }

    fn remote_rx(&self, layout: Layout, end: Box<dyn Any + Send>, peer: usize, peers: Rc<Peers>) -> Box<dyn Any> {
        with_layout!(layout, H => Box::new(remote_rx::<H, Dst>(typed(end), peer, peers)))
    }

    fn edge(&self, layout: Layout, ends: EdgeEnds) -> Box<dyn Any> {
        let router = self.grouping.router(RouteInfo {
            tasks: &ends.tasks,
            local: &ends.local,
            source: ends.source,
            source_index: ends.source_index,
            seed: ends.seed,
        });
        with_layout!(layout, H => {
            let edge: Box<dyn EdgeOut<Src>> = Box::new(Edge::<H, Src, Dst, C, G::Router> {
                lanes: ends.lanes.into_iter().map(typed::<EdgeLane<H, Dst>>).collect(),
                tasks: ends.tasks,
                convert: self.convert.clone(),
                router,
                listed: Vec::new(),
                blocked: Vec::new(),
                types: PhantomData,
            });
            Box::new(edge)
        })
    }

    fn slot_bytes(&self, layout: Layout) -> usize {
        with_layout!(layout, H => size_of::<Slot<H, Dst>>())
    }
}

/// Unboxes the consuming ends of a task's lanes.
pub(crate) fn typed_lanes<H: Header, T: Payload>(lanes: Vec<Box<dyn Any>>) -> Vec<LaneRx<H, T>> {
    lanes.into_iter().map(typed).collect()
}
