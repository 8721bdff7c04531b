//! [`Periodic`]: a spout that emits at a rate, and knows nothing of what becomes of it.

use std::time::Duration;

use crate::error::Failure;
use crate::storm::native::emits::Emits;
use crate::storm::tuple::StormTuple;
use crate::sys::clock::Clock;
use crate::sys::random::Random;
use crate::task::component::{Next, Outcome, Spout};
use crate::task::context::SpoutContext;
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::SpoutOutlet;

/// What a spout may use to make its values.
pub(super) struct Making<'a> {
    /// Number of the emit in this task, from 0.
    pub number: u64,
    pub task_index: usize,
    pub tasks: usize,
    pub random: &'a mut Random,
}

/// Emits what `make` makes, until there is no more.
pub(super) struct Periodic<F> {
    emits: Emits,
    /// Time before each emit; zero: as fast as is taken.
    period: Duration,
    /// Whether emits have trees.
    is_tracked: bool,
    make: F,
    number: u64,
    due_ns: u64,
    place: (usize, usize),
    clock: Clock,
    random: Random,
}

impl<F> Periodic<F> {
    pub fn new(emits: Emits, period: Duration, is_tracked: bool, make: F) -> Self {
        let (clock, random) = (Clock::real(), Random::new(0));
        Periodic { emits, period, is_tracked, make, number: 0, due_ns: 0, place: (0, 1), clock, random }
    }
}

impl<F: FnMut(Making<'_>) -> Option<Vec<Value>> + 'static> Spout for Periodic<F> {
    type Out = Many<StormTuple>;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.emits.prepare(ctx.info());
        self.place = (ctx.info().index, ctx.info().count);
        self.clock = ctx.clock().clone();
        self.random = ctx.random();
        self.due_ns = self.clock.now_ns() + self.period.as_nanos() as u64;
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Result<Next, Failure> {
        if !self.period.is_zero() {
            let now_ns = self.clock.now_ns();
            if now_ns < self.due_ns {
                return Ok(Next::WakeAfter(Duration::from_nanos(self.due_ns - now_ns)));
            }
            // What was missed is not made up for, as after Storm's sleep.
            self.due_ns = (self.due_ns + self.period.as_nanos() as u64).max(now_ns);
        }
        let (task_index, tasks) = self.place;
        let making = Making { number: self.number, task_index, tasks, random: &mut self.random };
        let Some(values) = (self.make)(making) else { return Ok(Next::Finished) };
        let tuple = self.emits.tuple(0, values);
        match self.is_tracked {
            true => out.emit_tracked_at(self.number, 0, tuple),
            false => out.emit_at(0, tuple),
        };
        self.number += 1;
        Ok(Next::Emitted)
    }
}
