//! The multi-producer entrance of a bolt task: threads that are not executors emit through it.
//!
//! A foreign emit under an anchor is itself one edge of the anchor's trees: it is drawn *before* the value is queued,
//! so that no ack can overtake it, and replaced by the real edges when the value is routed on the executor.

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use smallvec::SmallVec;

use crate::task::header::Roots;
use crate::task::held::{Anchors, common_lineage, counted};
use crate::task::lineage::Lineage;
use crate::task::payload::Outputs;
use crate::task::waker::Waker;

/// Values a door can hold before [`Door::try_emit`] gives them back.
pub(crate) const DOOR_CAPACITY: usize = 1_024;

pub(crate) struct Delivery<E> {
    pub emission: E,
    /// Trees with the door's own edge in each.
    pub roots: Roots,
    pub lineage: Lineage,
}

/// The outside of a door: clone it for every thread that emits. Get it from
/// [`BoltContext::door`](crate::BoltContext::door).
pub struct Door<O: Outputs> {
    sender: Sender<Delivery<O::Emission>>,
    waker: Waker,
}

impl<O: Outputs> Clone for Door<O> {
    fn clone(&self) -> Self {
        Door { sender: self.sender.clone(), waker: self.waker.clone() }
    }
}

/// The value that a door did not take, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorError<E> {
    /// The door is full; try again.
    Full(E),
    /// The task is gone.
    Closed(E),
}

pub(crate) type DoorInside<O> = Receiver<Delivery<<O as Outputs>::Emission>>;

impl<O: Outputs> Door<O> {
    pub(crate) fn new(waker: Waker) -> (Self, DoorInside<O>) {
        let (sender, receiver) = bounded(DOOR_CAPACITY);
        (Door { sender, waker }, receiver)
    }

    /// Emits untracked, or gives the value back at once.
    ///
    /// # Errors
    /// When the door is full, or the task is gone.
    pub fn try_emit(&self, emission: O::Emission) -> Result<(), DoorError<O::Emission>> {
        self.try_deliver(Delivery { emission, roots: Roots::None, lineage: Lineage::NONE })
    }

    /// Emits under anchors, or gives the value back at once.
    ///
    /// # Errors
    /// When the door is full, or the task is gone.
    pub fn try_emit_anchored(
        &self,
        anchors: impl Anchors,
        emission: O::Emission,
    ) -> Result<(), DoorError<O::Emission>> {
        let (roots, edges) = draw(&anchors);
        self.try_deliver(Delivery { emission, roots, lineage: lineage_of(&anchors) })
            .inspect(|()| counted(&anchors))
            .inspect_err(|_| give_back(&anchors, &edges))
    }

    /// Emits untracked; waits while the door is full. Never call it from a spout or bolt method: it would wait for
    /// itself.
    ///
    /// # Errors
    /// Gives the value back when the task is gone.
    pub fn emit(&self, emission: O::Emission) -> Result<(), DoorError<O::Emission>> {
        self.deliver(Delivery { emission, roots: Roots::None, lineage: Lineage::NONE })
    }

    /// Emits under anchors; waits while the door is full. Never call it from a spout or bolt method.
    ///
    /// # Errors
    /// Gives the value back when the task is gone.
    pub fn emit_anchored(&self, anchors: impl Anchors, emission: O::Emission) -> Result<(), DoorError<O::Emission>> {
        let (roots, edges) = draw(&anchors);
        self.deliver(Delivery { emission, roots, lineage: lineage_of(&anchors) })
            .inspect(|()| counted(&anchors))
            .inspect_err(|_| give_back(&anchors, &edges))
    }

    fn try_deliver(&self, delivery: Delivery<O::Emission>) -> Result<(), DoorError<O::Emission>> {
        self.sender.try_send(delivery).map_err(|error| match error {
            TrySendError::Full(delivery) => DoorError::Full(delivery.emission),
            TrySendError::Disconnected(delivery) => DoorError::Closed(delivery.emission),
        })?;
        self.waker.wake();
        Ok(())
    }

    /// A value under anchors, their edges drawn: for whoever reaches anchors only under a lock, which must not be held
    /// while a door is waited for. If it is not taken in the end, nobody gives the edges back: only right where the
    /// anchors cannot outlive the door.
    pub(crate) fn anchored(anchors: impl Anchors, emission: O::Emission) -> Delivery<O::Emission> {
        let delivery = Delivery { emission, roots: draw(&anchors).0, lineage: lineage_of(&anchors) };
        counted(&anchors);
        delivery
    }

    /// Waits while the door is full.
    pub(crate) fn deliver(&self, delivery: Delivery<O::Emission>) -> Result<(), DoorError<O::Emission>> {
        self.sender.send(delivery).map_err(|error| DoorError::Closed(error.0.emission))?;
        self.waker.wake();
        Ok(())
    }
}

/// The door's own edge in every tree of every anchor, and the edges to give back if the value is not taken.
fn draw(anchors: &impl Anchors) -> (Roots, SmallVec<[u64; 2]>) {
    let (mut roots, mut edges) = (Roots::None, SmallVec::new());
    anchors.each(|anchor| {
        let (roots_of_one, edge) = anchor.draw_foreign();
        roots = std::mem::take(&mut roots).join(&roots_of_one, edge);
        edges.push(edge);
    });
    (roots, edges)
}

fn lineage_of(anchors: &impl Anchors) -> Lineage {
    common_lineage(anchors).unwrap_or(Lineage::NONE)
}

fn give_back(anchors: &impl Anchors, edges: &[u64]) {
    let mut edges = edges.iter();
    anchors.each(|anchor| anchor.give_back(*edges.next().expect("one edge was drawn for each anchor")));
}
