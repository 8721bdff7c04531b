//! How often, and how soon after one another, the topology restarts from its last checkpoint.

use std::collections::VecDeque;

use crate::error::FailureKind;
use crate::sys::random::Random;
use crate::task::backoff::Backoff;
use crate::task::lineage::Place;
use crate::task::shell::Fatal;

/// The limits, as the settings have them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub backoff: Backoff,
    pub max: u32,
    pub window_ns: u64,
    /// How long trouble that belongs to no input is borne; none: without end.
    pub trouble_ns: Option<u64>,
}

/// Which limit another restart would be beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    Restarts,
    Trouble,
}

#[derive(Debug)]
pub(crate) struct Restarts {
    limits: Limits,
    jitter: Random,
    /// In a row, without progress.
    in_row: u32,
    /// When those were that count, within the window.
    counted_at_ns: VecDeque<u64>,
    last_at_ns: u64,
    /// Where the last failure was; a checkpoint behind it is progress.
    last_place: Place,
    /// Emits of a source task between two checkpoints, as halved again and again.
    allowance: Option<u64>,
    /// Restarts since a checkpoint was last completed.
    since_checkpoint: u32,
    /// When the first of those was.
    trouble_since_ns: u64,
    /// Checkpoints behind the last place, which was given up.
    behind_given_up: u32,
}

/// What a checkpoint is to the place of the last failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It is not behind it, or there is none.
    No,
    /// It is behind it, and the input has been handled.
    Handled,
    /// It is behind it because the input was given up; whether sources have emitted anything for it.
    GivenUp { has_input: bool },
}

/// An input that was given up is got past without anything having been handled: the first checkpoint behind it may hold
/// nothing else. With the second one, something has.
const BEHIND_GIVEN_UP: u32 = 2;

/// Without a place to get past, so long without a failure is progress.
const QUIET_NS: u64 = 60_000_000_000;

impl Restarts {
    pub fn new(limits: Limits, seed: u64) -> Self {
        Restarts {
            limits,
            jitter: Random::new(seed),
            in_row: 0,
            counted_at_ns: VecDeque::new(),
            last_at_ns: 0,
            last_place: Place::NONE,
            allowance: None,
            since_checkpoint: 0,
            trouble_since_ns: 0,
            behind_given_up: 0,
        }
    }

    /// Another failure: how long to wait before the restart.
    ///
    /// # Errors
    /// There is none: a limit is reached.
    pub fn next(&mut self, fatal: &Fatal, now_ns: u64) -> Result<u64, Beyond> {
        if fatal.place.is_none() && now_ns.saturating_sub(self.last_at_ns) >= QUIET_NS {
            self.in_row = 0;
        }
        self.in_row += 1;
        self.since_checkpoint += 1;
        if self.since_checkpoint == 1 {
            self.trouble_since_ns = now_ns;
        }
        self.behind_given_up = 0;
        (self.last_at_ns, self.last_place) = (now_ns, fatal.place);
        // What asks to be tried again is tried without end; the growing pause keeps it cheap.
        if !matches!(fatal.failure.kind(), FailureKind::Retry | FailureKind::Timeout) {
            self.counted_at_ns.push_back(now_ns);
        } else if fatal.place.is_none()
            && self.limits.trouble_ns.is_some_and(|trouble_ns| now_ns - self.trouble_since_ns >= trouble_ns)
        {
            return Err(Beyond::Trouble);
        }
        let from_ns = now_ns.saturating_sub(self.limits.window_ns);
        while self.counted_at_ns.front().is_some_and(|&at_ns| at_ns < from_ns) {
            self.counted_at_ns.pop_front();
        }
        if self.counted_at_ns.len() > self.limits.max as usize {
            return Err(Beyond::Restarts);
        }
        Ok(self.limits.backoff.draw_ns(self.in_row, &mut self.jitter))
    }

    /// A checkpoint is durable.
    pub fn checkpointed(&mut self, passed: Passed) {
        self.since_checkpoint = 0;
        self.allowance = None;
        if let Passed::GivenUp { has_input } = passed {
            self.behind_given_up += u32::from(has_input);
        }
        if passed == Passed::Handled || self.behind_given_up >= BEHIND_GIVEN_UP {
            self.behind_given_up = 0;
            self.in_row = 0;
            self.counted_at_ns.clear();
            self.last_place = Place::NONE;
        }
    }

    pub fn last_place(&self) -> Place {
        self.last_place
    }

    /// Restarts that counted, within the window.
    pub fn counted(&self) -> usize {
        self.counted_at_ns.len()
    }

    /// How much each source task may emit between two checkpoints from now on, after so many emits of the one that has
    /// made most: without an input to suspect, or where that does not help, half as much each time.
    pub fn allow(&mut self, emitted: u64) -> Option<u64> {
        let has_suspect = !self.last_place.is_none();
        if has_suspect && self.since_checkpoint < 2 {
            return None;
        }
        let emitted = self.allowance.map_or(emitted, |allowance| allowance.min(emitted));
        self.allowance = Some((emitted / 2).max(1));
        self.allowance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::task::lineage::SplitName;
    use std::time::Duration;

    const S: u64 = 1_000_000_000;

    fn restarts(max: u32) -> Restarts {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        Restarts::new(Limits { backoff, max, window_ns: 600 * S, trouble_ns: Some(900 * S) }, 1)
    }

    fn at(position: u64, failure: Failure) -> Fatal {
        Fatal::of(&failure, true, Place::at(SplitName::new("source", "0"), position))
    }

    #[test]
    fn panics_without_progress_reach_the_limit_and_retries_do_not() {
        let mut panicking = restarts(3);
        let panic = at(1, Failure::panic("boo"));
        assert!((0..3).all(|n| panicking.next(&panic, n * S).is_ok()));
        assert_eq!(panicking.next(&panic, 4 * S), Err(Beyond::Restarts));
        let mut retrying = restarts(3);
        let retry = at(1, Failure::retry("away"));
        let pauses: Vec<u64> = (0..40).filter_map(|n| retrying.next(&retry, n * S).ok()).collect();
        assert_eq!(pauses.len(), 40);
        assert!(pauses[0] <= 50_000_000 && pauses[39] > 7 * S && pauses[39] <= 10 * S, "{pauses:?}");
    }

    #[test]
    fn only_a_checkpoint_behind_the_place_is_progress() {
        let mut restarts = restarts(2);
        let panic = at(1, Failure::panic("boo"));
        for n in 0..2 {
            assert!(restarts.next(&panic, n * S).is_ok());
            restarts.checkpointed(Passed::No);
            restarts.checkpointed(Passed::GivenUp { has_input: true });
        }
        assert_eq!(restarts.next(&panic, 3 * S), Err(Beyond::Restarts));
        restarts.checkpointed(Passed::Handled);
        assert!(restarts.next(&panic, 4 * S).is_ok_and(|pause_ns| pause_ns <= 50_000_000));
    }

    #[test]
    fn old_restarts_do_not_count() {
        let mut restarts = restarts(1);
        let panic = at(1, Failure::panic("boo"));
        assert!(restarts.next(&panic, S).is_ok());
        assert!(restarts.next(&panic, 700 * S).is_ok());
        assert_eq!(restarts.next(&panic, 701 * S), Err(Beyond::Restarts));
    }

    #[test]
    fn trouble_of_no_input_has_an_end_in_time_and_a_checkpoint_is_progress() {
        let mut restarts = restarts(1);
        let full = Fatal::of(&Failure::retry("the disk is full"), true, Place::NONE);
        assert!((0..900).step_by(10).all(|s| restarts.next(&full, s * S).is_ok()));
        restarts.checkpointed(Passed::No);
        assert!(restarts.next(&full, 900 * S).is_ok());
        assert_eq!(restarts.next(&full, 1_800 * S), Err(Beyond::Trouble));
        let of_input = at(1, Failure::retry("away"));
        assert!(restarts.next(&of_input, 9_000 * S).is_ok(), "an input has limits of its own");
    }

    #[test]
    fn sources_may_emit_half_as_much_each_time_until_it_is_one() {
        let mut restarts = restarts(100);
        let tick = Fatal::of(&Failure::panic("boo"), true, Place::NONE);
        let allowed: Vec<_> = (0..5)
            .map(|n| {
                restarts.next(&tick, n * S).expect("within the limits");
                restarts.allow(10).expect("there is no input to suspect")
            })
            .collect();
        assert_eq!(allowed, [5, 2, 1, 1, 1]);
        restarts.checkpointed(Passed::No);
        restarts.next(&at(1, Failure::panic("boo")), 9 * S).expect("within the limits");
        assert_eq!(restarts.allow(10), None, "setting the input apart comes first");
        restarts.next(&at(1, Failure::panic("boo")), 10 * S).expect("within the limits");
        assert_eq!(restarts.allow(10), Some(5));
    }
}
