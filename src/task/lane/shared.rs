//! The producing end of a lane as the edges that lead along it have it: one edge its own, several a share each.

use std::cell::RefCell;
use std::rc::Rc;

use crate::task::lane::{Control, LaneTx, LocalEnd, Sent, Slot};

/// The way from one task to another, of one edge.
pub(crate) enum EdgeLane<H, T> {
    /// No other edge leads from this task to that one.
    Own(LaneTx<H, T>),
    /// Other edges do, and there is one lane for all of them: what the one task emits comes to the other in the order
    /// of the emits, by whichever edge.
    Shared(Share<H, T>),
}

/// One edge's share of a lane.
pub(crate) struct Share<H, T> {
    /// Borrowed only within `send`, `control`, `drain` and `is_above_low_water` below, which run no foreign code.
    lane: Rc<RefCell<Numbered<H, T>>>,
    /// Number of the edge among the consumer's inputs.
    input: usize,
    /// It is the edge that sends what concerns the lane as a whole, which must come once.
    leads: bool,
}

/// A lane that tells its consumer which input the tuples that follow belong to.
struct Numbered<H, T> {
    lane: LaneTx<H, T>,
    /// Of the tuple that was sent last. At first, on both sides, the first edge's.
    input: usize,
}

impl<H, T> EdgeLane<H, T> {
    /// One end for each of the edges that lead along a lane, told by their numbers among the consumer's inputs.
    pub fn of_edges(lane: LaneTx<H, T>, inputs: &[usize]) -> Vec<EdgeLane<H, T>> {
        let [first, _, ..] = *inputs else { return vec![EdgeLane::Own(lane)] };
        let lane = Rc::new(RefCell::new(Numbered { lane, input: first }));
        let share = |(at, &input)| EdgeLane::Shared(Share { lane: lane.clone(), input, leads: at == 0 });
        inputs.iter().enumerate().map(share).collect()
    }

    /// Sends a tuple. If the lane becomes blocked by it, this edge is the one that drains the lane.
    #[inline(always)]
    pub fn send(&mut self, header: H, value: T) -> Sent {
        match self {
            EdgeLane::Own(lane) => lane.send(Slot::tuple(header, value)),
            EdgeLane::Shared(share) => share.send(Slot::tuple(header, value)),
        }
    }

    /// Sends a control item, once for all edges of the lane.
    pub fn control(&mut self, control: Control) -> Sent {
        match self {
            EdgeLane::Own(lane) => lane.send(Slot::control(control)),
            EdgeLane::Shared(share) if share.leads => share.lane.borrow_mut().lane.send(Slot::control(control)),
            EdgeLane::Shared(_) => Sent::BelowLowWater,
        }
    }

    /// Moves overflow into the lane while there is room. True if none is left.
    pub fn drain(&mut self) -> bool {
        match self {
            EdgeLane::Own(lane) => lane.drain(),
            EdgeLane::Shared(share) => share.lane.borrow_mut().lane.drain(),
        }
    }

    /// The queue itself, if the consumer is a task of the same executor and no other edge could be overtaken.
    pub fn local_end(&self) -> Option<LocalEnd<H, T>> {
        match self {
            EdgeLane::Own(lane) => lane.local_end(),
            EdgeLane::Shared(_) => None,
        }
    }

    /// As that of the lane.
    #[inline]
    pub fn is_above_low_water(&self) -> bool {
        match self {
            EdgeLane::Own(lane) => lane.is_above_low_water(),
            EdgeLane::Shared(share) => share.lane.borrow().lane.is_above_low_water(),
        }
    }
}

impl<H, T> Share<H, T> {
    /// Where the last tuple was another edge's, the number goes before the tuple: both into the lane, or what has no
    /// place in it into the overflow.
    #[inline(never)]
    fn send(&mut self, tuple: Slot<H, T>) -> Sent {
        let Numbered { lane, input } = &mut *self.lane.borrow_mut();
        if *input == self.input {
            return lane.send(tuple);
        }
        *input = self.input;
        let number = lane.send(Slot::control(Control::Input(self.input)));
        let sent = lane.send(tuple);
        // The tuple is kept then, and who has blocked the lane must know of it.
        if number == Sent::Blocked { number } else { sent }
    }
}
