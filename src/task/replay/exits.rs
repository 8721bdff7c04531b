//! Where a source's items go, and what is given up of them.

use crate::task::context::TaskInfo;
use crate::task::dead_letter::DeadLetter;
use crate::task::outlet::SpoutOutlet;
use crate::task::payload::{Outputs, Payload, Ports};

/// The ports of a [`Replaying`](super::Replaying) spout.
#[doc(hidden)]
pub trait Exits<T: Payload>: 'static {
    type Out: Outputs;

    /// Called when the spout is opened.
    fn open(&mut self, _info: &TaskInfo) {}
    /// Emits an item as the root of a tree.
    fn emit(&mut self, out: &mut SpoutOutlet<Self::Out, u64>, id: u64, item: T);
    /// Whether somebody subscribes to what is given up.
    fn is_taken(&self, out: &mut SpoutOutlet<Self::Out, u64>) -> bool;
    /// Emits an item that is given up; with an id as the root of a tree.
    fn bury(&mut self, out: &mut SpoutOutlet<Self::Out, u64>, id: Option<u64>, letter: DeadLetter<T>);
}

/// Both as they are: port 0 carries the items, port 1 the dead letters.
#[doc(hidden)]
pub struct Typed;

impl<T: Payload> Exits<T> for Typed {
    type Out = Ports<(T, DeadLetter<T>)>;

    #[inline]
    fn emit(&mut self, out: &mut SpoutOutlet<Self::Out, u64>, id: u64, item: T) {
        out.emit_tracked_on::<0>(id, item);
    }

    fn is_taken(&self, out: &mut SpoutOutlet<Self::Out, u64>) -> bool {
        out.has_subscribers::<1>()
    }

    fn bury(&mut self, out: &mut SpoutOutlet<Self::Out, u64>, id: Option<u64>, letter: DeadLetter<T>) {
        match id {
            Some(id) => out.emit_tracked_on::<1>(id, letter),
            None => out.emit_on::<1>(letter),
        }
    }
}
