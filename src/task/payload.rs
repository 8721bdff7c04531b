//! What may travel on a stream, and what a component's outputs can be.

use std::any::Any;
use std::marker::PhantomData;

use crate::task::edge::{EdgeOut, ShortWay};
use crate::task::header::{Bare, Full, Header, Placed, Tracked};
use crate::task::lane::{Control, LocalEnd};
use crate::task::outlet::EmitCore;

/// Anything that can travel on a stream. Implemented for every `Clone + Send + 'static` type.
///
/// A clone is made per additional subscriber, per pending root of a replaying source, and when a stream is recorded:
/// put large data into [`bytes::Bytes`] or an [`Arc`](std::sync::Arc).
pub trait Payload: Clone + Send + 'static {}
impl<T: Clone + Send + 'static> Payload for T {}

/// The output of a component that never emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {}

/// Several outputs, each with its own type: `Ports<(Word, Rejected)>`. Emit with
/// [`Outlet::emit_on`](crate::Outlet::emit_on); the builder returns one stream per port.
pub struct Ports<P>(PhantomData<fn() -> P>);

/// What can stand as the `Out` type of a component: one payload type, [`Ports`] of up to four, or
/// [`Many`](crate::task::many::Many) of one type.
pub trait Outputs: Sized + 'static {
    /// The set of ports, each with its edges.
    #[doc(hidden)]
    type Set: PortSet<Emission = Self::Emission>;
    /// One emitted value and which port it is for.
    type Emission: Send + 'static;
}

impl<T: Payload> Outputs for T {
    type Set = PortOut<T>;
    type Emission = T;
}

/// The edges of all ports of a component.
#[doc(hidden)]
pub trait PortSet: Default + 'static {
    type Emission: Send + 'static;
    /// Emits to the port that the emission names.
    fn send(&mut self, emission: Self::Emission, core: &mut EmitCore);
    /// Sends a control item on every lane of every port.
    fn control(&mut self, control: Control, core: &mut EmitCore) {
        self.control_on(&|_| true, control, core);
    }
    /// To the edges of some ports only, none of which may share a lane with an edge of another.
    fn control_on(&mut self, on: &dyn Fn(usize) -> bool, control: Control, core: &mut EmitCore);
    /// Moves overflow into lanes that have room again.
    fn drain(&mut self, core: &mut EmitCore);
    /// Adds an edge (a boxed `Box<dyn EdgeOut<T>>`) to a port.
    fn attach(&mut self, port: usize, edge: Box<dyn Any>);
}

/// One port: the edges of one stream of one task.
#[doc(hidden)]
pub struct PortOut<T> {
    edges: Vec<Box<dyn EdgeOut<T>>>,
    /// There is one edge, and this is a short way along it: one of the four, apart because a test of each costs less
    /// than a jump by a table.
    bare: Option<LocalEnd<Bare, T>>,
    tracked: Option<LocalEnd<Tracked, T>>,
    placed: Option<LocalEnd<Placed, T>>,
    full: Option<LocalEnd<Full, T>>,
}

impl<T> Default for PortOut<T> {
    fn default() -> Self {
        PortOut { edges: Vec::new(), bare: None, tracked: None, placed: None, full: None }
    }
}

/// The queue, if there is one and it has room.
#[inline(always)]
fn open<H: Header, T>(way: &Option<LocalEnd<H, T>>) -> Option<&LocalEnd<H, T>> {
    way.as_ref().filter(|queue| queue.has_room())
}

/// The short way: there is room in the queue.
#[inline(always)]
fn push<H: Header, T>(queue: &LocalEnd<H, T>, value: T, core: &mut EmitCore) {
    if H::FULL {
        // As on all other ways: which of its input's emits it is stands in the header.
        core.counts.emitted += 1;
        core.above_low_water |= queue.push(H::stamp(core), value);
    } else {
        // Pushed first, so that nothing is written between asking for room and taking it.
        core.above_low_water |= queue.push(H::stamp(core), value);
        core.counts.emitted += 1;
    }
}

impl<T: Payload> PortOut<T> {
    /// Sends to every edge; clones only where there is more than one.
    #[inline(always)]
    pub fn emit(&mut self, value: T, core: &mut EmitCore) {
        if core.blocked_lanes == 0 {
            if let Some(queue) = open(&self.bare) {
                return push(queue, value, core);
            }
            if let Some(queue) = open(&self.tracked) {
                return push(queue, value, core);
            }
            if let Some(queue) = open(&self.placed) {
                return push(queue, value, core);
            }
        }
        self.emit_the_long_way(value, core);
    }

    /// As [`emit`](Self::emit), for a task that tracks nothing: it looks at one short way only.
    #[inline(always)]
    pub fn emit_bare(&mut self, value: T, core: &mut EmitCore) {
        self.emit_by(|port| &port.bare, value, core);
    }

    /// As [`emit`](Self::emit), for a task that tracks: it looks at one short way only.
    #[inline(always)]
    pub fn emit_tracked(&mut self, value: T, core: &mut EmitCore) {
        self.emit_by(|port| &port.tracked, value, core);
    }

    #[inline(always)]
    fn emit_by<H: Header>(
        &mut self,
        way: impl FnOnce(&Self) -> &Option<LocalEnd<H, T>>,
        value: T,
        core: &mut EmitCore,
    ) {
        if core.blocked_lanes == 0
            && let Some(queue) = open(way(self))
        {
            return push(queue, value, core);
        }
        self.emit_the_long_way(value, core);
    }

    /// What the others leave. Apart from them, so that they need few registers and can be inlined.
    #[inline(never)]
    fn emit_the_long_way(&mut self, value: T, core: &mut EmitCore) {
        if core.blocked_lanes == 0 {
            if let Some(queue) = open(&self.placed) {
                return push(queue, value, core);
            }
            if let Some(queue) = open(&self.full) {
                return push(queue, value, core);
            }
        }
        if let [only] = &mut self.edges[..] {
            core.counts.emitted += 1;
            return only.send(value, core);
        }
        self.emit_to_all(value, core);
    }

    /// Sends to every edge by the usual way, which tells whom it has chosen.
    #[inline(never)]
    pub fn emit_to_all(&mut self, value: T, core: &mut EmitCore) {
        core.counts.emitted += 1;
        if let Some((last, others)) = self.edges.split_last_mut() {
            for edge in others {
                edge.send(value.clone(), core);
            }
            last.send(value, core);
        }
    }

    /// False if what is emitted goes nowhere.
    pub fn has_subscribers(&self) -> bool {
        !self.edges.is_empty()
    }

    /// Sends to one task of the direct subscribers.
    pub fn emit_direct(&mut self, task: crate::task::TaskId, value: T, core: &mut EmitCore) -> bool {
        core.counts.emitted += 1;
        let mut sent = false;
        for edge in &mut self.edges {
            sent |= edge.send_direct(task, &value, core);
        }
        sent
    }
}

impl<T: Payload> PortSet for PortOut<T> {
    type Emission = T;

    fn send(&mut self, emission: T, core: &mut EmitCore) {
        self.emit(emission, core);
    }

    fn control_on(&mut self, on: &dyn Fn(usize) -> bool, control: Control, core: &mut EmitCore) {
        for edge in self.edges.iter_mut().filter(|_| on(0)) {
            edge.control(control, core);
        }
    }

    fn drain(&mut self, core: &mut EmitCore) {
        for edge in &mut self.edges {
            edge.drain(core);
        }
    }

    fn attach(&mut self, port: usize, edge: Box<dyn Any>) {
        assert_eq!(port, 0, "a single output has port 0 only");
        self.edges.push(*edge.downcast().expect("the builder joins streams and edges of one type"));
        (self.bare, self.tracked, self.placed, self.full) = (None, None, None, None);
        if let [only] = &self.edges[..] {
            match only.short_way() {
                ShortWay::None => {}
                ShortWay::Bare(queue) => self.bare = Some(queue),
                ShortWay::Tracked(queue) => self.tracked = Some(queue),
                ShortWay::Placed(queue) => self.placed = Some(queue),
                ShortWay::Full(queue) => self.full = Some(queue),
            }
        }
    }
}

/// The type and place of port `N` within [`Ports`].
pub trait PortAt<const N: usize>: Outputs {
    /// What the port carries.
    type Item: Payload;
    #[doc(hidden)]
    fn port(set: &mut Self::Set) -> &mut PortOut<Self::Item>;
}

impl<T: Payload> PortAt<0> for T {
    type Item = T;
    #[inline]
    fn port(set: &mut PortOut<T>) -> &mut PortOut<T> {
        set
    }
}

macro_rules! ports {
    ($emission:ident, $($ty:ident $variant:ident $index:tt),+) => {
        /// An emission of a component with several ports: the value, under the name of its port.
        #[derive(Clone, Debug)]
        pub enum $emission<$($ty),+> {
            $(#[doc = concat!("For port ", stringify!($index), ".")] $variant($ty)),+
        }

        impl<$($ty: Payload),+> Outputs for Ports<($($ty,)+)> {
            type Set = ($(PortOut<$ty>,)+);
            type Emission = $emission<$($ty),+>;
        }

        impl<$($ty: Payload),+> PortSet for ($(PortOut<$ty>,)+) {
            type Emission = $emission<$($ty),+>;

            fn send(&mut self, emission: Self::Emission, core: &mut EmitCore) {
                match emission {
                    $($emission::$variant(value) => self.$index.emit(value, core)),+
                }
            }

            fn control_on(&mut self, on: &dyn Fn(usize) -> bool, control: Control, core: &mut EmitCore) {
                $(if on($index) { self.$index.control(control, core); })+
            }

            fn drain(&mut self, core: &mut EmitCore) {
                $(self.$index.drain(core);)+
            }

            fn attach(&mut self, port: usize, edge: Box<dyn Any>) {
                match port {
                    $($index => self.$index.attach(0, edge),)+
                    _ => unreachable!("the builder hands out only ports that exist"),
                }
            }
        }
    };
}

macro_rules! port_at {
    ($index:tt, $item:ident, $($ty:ident),+) => {
        impl<$($ty: Payload),+> PortAt<$index> for Ports<($($ty,)+)> {
            type Item = $item;
            #[inline]
            fn port(set: &mut Self::Set) -> &mut PortOut<$item> {
                &mut set.$index
            }
        }
    };
}

ports!(Emission1, A P0 0);
ports!(Emission2, A P0 0, B P1 1);
ports!(Emission3, A P0 0, B P1 1, C P2 2);
ports!(Emission4, A P0 0, B P1 1, C P2 2, D P3 3);
port_at!(0, A, A);
port_at!(0, A, A, B);
port_at!(1, B, A, B);
port_at!(0, A, A, B, C);
port_at!(1, B, A, B, C);
port_at!(2, C, A, B, C);
port_at!(0, A, A, B, C, D);
port_at!(1, B, A, B, C, D);
port_at!(2, C, A, B, C, D);
port_at!(3, D, A, B, C, D);
