//! A bare spout: what fails is its own to emit again, and to give up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::draw::{At, Item};
use super::parts::Part;
use crate::error::{Failure, FailureKind};
use crate::task::component::{Next, Outcome, Spout};
use crate::task::context::{SpoutContext, TaskInfo};
use crate::task::outlet::SpoutOutlet;
use crate::topology::settings::Guarantee;

/// What a task's instances leave to the next one.
#[derive(Default)]
pub struct Left {
    /// How many inputs it has taken.
    taken: u64,
    open: u64,
    /// When to emit what has failed.
    again: Vec<(u64, u64)>,
    /// Of each input all failures, and those that count.
    failures: BTreeMap<u64, (u32, u32)>,
}

impl Left {
    fn due(&mut self, now_ns: u64) -> Option<(u64, u64)> {
        let at = self.again.iter().position(|(at_ns, _)| *at_ns <= now_ns)?;
        Some(self.again.remove(at))
    }
}

pub struct Bare {
    part: Part,
    info: Option<TaskInfo>,
}

const PAUSE: Duration = Duration::from_millis(20);
const DOUBLINGS_MAX: u32 = 8;
/// As the shipped sources have it.
const FAILURES_MAX: u32 = 5;

impl Bare {
    pub fn new(part: Part) -> Self {
        Bare { part, info: None }
    }

    fn left<R>(&self, with: impl FnOnce(&mut Left) -> R) -> R {
        let task = self.info.as_ref().map_or(0, |info| info.index);
        with(self.part.world.state().left.entry((self.part.number, task)).or_default())
    }

    fn emit(&self, n: u64, out: &mut SpoutOutlet<Item, u64>) {
        let item = Item::of_source(self.part.number, n);
        if self.part.spec.guarantee == Guarantee::AtMostOnce {
            return out.emit(item);
        }
        self.left(|left| left.open += 1);
        out.emit_tracked(n, item);
    }
}

impl Spout for Bare {
    type Out = Item;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.info = Some(ctx.info().clone());
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Item, u64>) -> Result<Next, Failure> {
        self.part.strike(None, At::Poll, 0)?;
        let now_ns = out.now_ns();
        if let Some((_, n)) = self.left(|left| left.due(now_ns)) {
            out.note_replay();
            self.emit(n, out);
            return Ok(Next::Emitted);
        }
        let info = self.info.as_ref().expect("opened");
        let n = self.left(|left| left.taken) * info.count as u64 + info.index as u64;
        if n < self.part.spec.inputs {
            self.left(|left| left.taken += 1);
            self.emit(n, out);
            return Ok(Next::Emitted);
        }
        let is_waiting = self.left(|left| left.open > 0 || !left.again.is_empty());
        Ok(if is_waiting { Next::WakeAfter(PAUSE) } else { Next::Finished })
    }

    fn ack(&mut self, n: u64, _: &mut SpoutOutlet<Item, u64>) -> Outcome {
        self.left(|left| {
            left.open -= 1;
            left.failures.remove(&n);
        });
        Ok(())
    }

    fn fail(&mut self, n: u64, why: &Failure, out: &mut SpoutOutlet<Item, u64>) -> Outcome {
        let counts = matches!(why.kind(), FailureKind::Panic | FailureKind::Dropped);
        let now_ns = out.now_ns();
        let gives_up = self.left(|left| {
            left.open -= 1;
            let (all, counted) = left.failures.entry(n).or_default();
            (*all, *counted) = (*all + 1, *counted + u32::from(counts));
            let gives_up = why.is_reject() || *counted >= FAILURES_MAX;
            if !gives_up {
                let pause_ns = PAUSE.as_nanos() as u64 * (1 << (*all).min(DOUBLINGS_MAX));
                left.again.push((now_ns + pause_ns, n));
            }
            gives_up
        });
        if gives_up {
            self.part.world.hit("given up by a bare spout");
            out.note_dead_letter();
        }
        Ok(())
    }
}
