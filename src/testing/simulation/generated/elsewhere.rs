//! A bolt that passes tuples on through its door, when another thread has had them.

use crate::error::Failure;
use crate::sys::offload::Offload;
use crate::task::component::{ManualBolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::door::Door;
use crate::task::held::{Anchor, Tuple};
use crate::task::held_state::Held;
use crate::task::outlet::Outlet;

/// Waits for room, or does not; false: there is none.
pub type Emit = fn(&Door<u64>, &Anchor, u64) -> bool;

pub struct Elsewhere {
    emit: Emit,
    outside: Option<(Door<u64>, Offload)>,
}

impl Elsewhere {
    pub fn new(emit: Emit) -> Self {
        Elsewhere { emit, outside: None }
    }
}

impl ManualBolt for Elsewhere {
    type In = u64;
    type Out = u64;
    const HELD: Option<Held<u64>> = Some(Held::Drain);

    fn prepare(&mut self, ctx: &mut BoltContext<u64>) -> Outcome {
        self.outside = Some((ctx.door(), ctx.offload()));
        Ok(())
    }

    fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<u64>) -> Outcome {
        let (door, offload) = self.outside.clone().expect("prepared");
        let emit = self.emit;
        offload.run(move || {
            let (value, anchor) = tuple.split();
            match emit(&door, &anchor, value) {
                true => anchor.ack(),
                false => anchor.fail(Failure::retry("no room, or the task is gone")),
            }
        });
        Ok(())
    }
}
