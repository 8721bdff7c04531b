//! A task's place in its executor, and what its turns may take.

use std::cell::Cell;
use std::rc::Rc;

use crate::engine::placement::TaskRef;
use crate::sys::sync::Arc;
use crate::task::lane::Signal;
use crate::task::metrics::TaskMetrics;
use crate::task::shell::Task;
use crate::topology::settings::Settings;

/// A task and what its executor remembers of it.
pub(crate) struct Seat {
    pub reference: TaskRef,
    pub task: Box<dyn Task>,
    pub signal: Rc<Signal>,
    pub woken: Rc<Cell<bool>>,
    pub metrics: Arc<TaskMetrics>,
    pub limits: TurnLimits,
    /// Tuples of its next turn: halved by a turn that took too long, recovering slowly.
    pub budget: usize,
    /// What it had done when it last ended a turn blocked.
    pub done_when_blocked: u64,
    pub due_ns: u64,
    pub done: bool,
    /// It has asked for a checkpoint, and control has been told.
    pub wants_checkpoint: bool,
}

/// What one turn of a task may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnLimits {
    tuples_max: usize,
    time_max_ns: u64,
}

/// A turn costs as much as several tuples, so one for a single tuple does not pay: the tuples of a turn as the settings
/// have it are for so many consumers.
const CONSUMERS_PER_TURN: usize = 4;
const TUPLES_STRETCH_MAX: usize = 128;
const TIME_STRETCH_MAX: usize = 8;

impl TurnLimits {
    /// Those of a task with so many consumer tasks: as the settings say, and more where its turn would otherwise give
    /// most of its consumers a tuple or two.
    pub fn new(settings: &Settings, consumers: usize) -> Self {
        let stretch = (consumers / CONSUMERS_PER_TURN).clamp(1, TUPLES_STRETCH_MAX);
        TurnLimits {
            tuples_max: settings.turn_tuples_max * stretch,
            time_max_ns: settings.turn_time_max.as_nanos() as u64 * stretch.min(TIME_STRETCH_MAX) as u64,
        }
    }
}

impl Seat {
    pub fn new(
        reference: TaskRef,
        task: Box<dyn Task>,
        signal: Rc<Signal>,
        woken: Rc<Cell<bool>>,
        metrics: Arc<TaskMetrics>,
        limits: TurnLimits,
    ) -> Self {
        Seat {
            reference,
            task,
            signal,
            woken,
            metrics,
            limits,
            budget: limits.tuples_max,
            done_when_blocked: 0,
            due_ns: u64::MAX,
            done: false,
            wants_checkpoint: false,
        }
    }

    /// After a turn whose tuples took so long.
    pub fn adapt_budget(&mut self, elapsed_ns: u64) {
        let TurnLimits { tuples_max, time_max_ns } = self.limits;
        self.budget = if elapsed_ns > time_max_ns {
            (self.budget / 2).max(1)
        } else {
            (self.budget + tuples_max.div_ceil(64)).min(tuples_max)
        };
    }

    /// True if a task that ended its turn blocked has done something since it last did.
    pub fn has_got_on(&mut self) -> bool {
        let counts = self.metrics.counts();
        let done = counts.executed + counts.acked + counts.failed + counts.emitted;
        std::mem::replace(&mut self.done_when_blocked, done) != done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_as_the_settings_say_unless_it_has_many_consumers_to_serve() {
        let mut settings = Settings::default();
        let of = |settings: &Settings, consumers| {
            let limits = TurnLimits::new(settings, consumers);
            (limits.tuples_max, limits.time_max_ns)
        };
        assert_eq!((of(&settings, 0), of(&settings, 7)), ((64, 20_000), (64, 20_000)));
        assert_eq!((of(&settings, 40), of(&settings, 5_000)), ((640, 160_000), (8_192, 160_000)));
        settings.turn_tuples_max = 1;
        assert_eq!((of(&settings, 1), of(&settings, 40)), ((1, 20_000), (10, 160_000)));
    }
}
