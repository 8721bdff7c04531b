//! Faults that a simulation injects between a bolt and its input, without the bolt's doing.

use crate::error::Failure;
use crate::sys::random::Random;
use crate::sys::sync::Arc;
use crate::task::metrics::FaultCounters;

/// How often an input fails, and how often an instance breaks down over one, per visit of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Odds {
    pub fail: f64,
    pub panic: f64,
}

/// The faults of one task; drawn from its own sequence.
pub(crate) struct Chaos {
    odds: Odds,
    random: Random,
    counters: Arc<FaultCounters>,
}

/// What happens to the next input instead of being executed.
pub(crate) enum Strike {
    Fail(Failure),
    /// As if the bolt had panicked.
    BreakDown(Failure),
}

impl Chaos {
    pub fn new(odds: Odds, random: Random, counters: Arc<FaultCounters>) -> Self {
        Chaos { odds, random, counters }
    }

    /// Whether a fault comes next.
    pub fn draw(&mut self) -> Option<Strike> {
        if self.random.chance(self.odds.panic) {
            self.counters.count_panic();
            return Some(Strike::BreakDown(Failure::panic("a panic injected by the simulation".to_owned())));
        }
        if self.random.chance(self.odds.fail) {
            self.counters.count_fail();
            return Some(Strike::Fail(Failure::retry("a failure injected by the simulation")));
        }
        None
    }
}
