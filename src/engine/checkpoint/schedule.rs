//! When checkpoints begin, how long they may take, and what is done about those that fail: a state machine of its own.

use crate::state::store::CheckpointId;

/// How often, and how patiently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub interval_ns: u64,
    pub timeout_ns: u64,
}

/// Why a checkpoint is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It was time, or it was the first.
    Periodic,
    /// All input has ended (or has been drained), or the topology is suspended: it stops when this one is durable.
    Last { finished: bool },
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    id: CheckpointId,
    purpose: Purpose,
    began_ns: u64,
    /// Somebody waits for it.
    is_wanted: bool,
}

/// The interval that counts for one that somebody waits for and that has failed, at most.
const WANTED_INTERVAL_NS: u64 = 1_000_000_000;
/// Failures in a row that are borne; one more stops the topology.
const FAILURES_MAX: u32 = 10;
/// The longest back-off, in intervals.
const BACKOFF_INTERVALS_MAX: u64 = 64;

/// At most one checkpoint is under way; they are never piled up.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    next_id: CheckpointId,
    under_way: Option<UnderWay>,
    /// When the next one begins, unless something else decides; none before the start.
    next_at_ns: Option<u64>,
    /// A last one is wanted as soon as nothing is under way.
    last_wanted: Option<bool>,
    failures_in_row: u32,
    /// Somebody waits for the next one, which has not begun.
    soon: bool,
}

impl Schedule {
    /// Goes on after the checkpoint that is resumed.
    pub fn new(pace: Pace, resumed: Option<CheckpointId>) -> Self {
        Schedule {
            pace,
            next_id: resumed.map_or(CheckpointId(0), |id| CheckpointId(id.0 + 1)),
            under_way: None,
            next_at_ns: None,
            last_wanted: None,
            failures_in_row: 0,
            soon: false,
        }
    }

    /// The topology runs, for the first time or again after a step back.
    pub fn running(&mut self, now_ns: u64) {
        let is_first = self.next_id == CheckpointId(0);
        self.next_at_ns = Some(if is_first || self.soon { now_ns } else { now_ns + self.pace.interval_ns });
    }

    /// Somebody waits for a checkpoint that has not begun yet.
    pub fn want_soon(&mut self, now_ns: u64) {
        self.soon = true;
        // After a failure it has its back-off.
        if self.under_way.is_none() && self.failures_in_row == 0 {
            self.next_at_ns = self.next_at_ns.map(|next_at_ns| next_at_ns.min(now_ns));
        }
    }

    /// Everything under way is lost: the next ones follow the checkpoint that is stepped back to; none: the beginning.
    pub fn stepped_back(&mut self, to: Option<CheckpointId>) {
        self.under_way = None;
        self.next_at_ns = None;
        self.soon = false;
        // Whoever wanted it will want it again.
        self.last_wanted = None;
        self.next_id = to.map_or(CheckpointId(0), |to| CheckpointId(to.0 + 1));
    }

    /// A last checkpoint is wanted; `finished`: all input has ended by itself.
    pub fn want_last(&mut self, finished: bool) {
        self.last_wanted = Some(finished);
    }

    pub fn next_due_ns(&self) -> Option<u64> {
        match (self.under_way, self.last_wanted) {
            (Some(under_way), _) => Some(under_way.began_ns + self.pace.timeout_ns),
            (None, Some(_)) => Some(0),
            (None, None) => self.next_at_ns,
        }
    }

    /// The checkpoint to begin now, if any.
    pub fn begin(&mut self, now_ns: u64) -> Option<(CheckpointId, Purpose)> {
        let next_at_ns = self.next_at_ns?;
        if self.under_way.is_some() || (self.last_wanted.is_none() && next_at_ns > now_ns) {
            return None;
        }
        let purpose = match self.last_wanted {
            // The first one goes before everything else.
            Some(finished) if self.next_id != CheckpointId(0) => Purpose::Last { finished },
            _ => Purpose::Periodic,
        };
        let id = self.next_id;
        self.next_id = CheckpointId(id.0 + 1);
        self.under_way = Some(UnderWay { id, purpose, began_ns: now_ns, is_wanted: std::mem::take(&mut self.soon) });
        Some((id, purpose))
    }

    /// The checkpoint that has taken too long, if one has.
    pub fn overdue(&self, now_ns: u64) -> Option<CheckpointId> {
        let under_way = self.under_way?;
        (now_ns.saturating_sub(under_way.began_ns) >= self.pace.timeout_ns).then_some(under_way.id)
    }

    /// A checkpoint is durable; returns what it was for, unless it had been given up.
    pub fn completed(&mut self, id: CheckpointId, now_ns: u64) -> Option<Purpose> {
        let under_way = self.under_way.take_if(|under_way| under_way.id == id)?;
        self.failures_in_row = 0;
        let interval_ns = if self.soon { 0 } else { self.pace.interval_ns };
        self.next_at_ns = Some((under_way.began_ns + interval_ns).max(now_ns));
        if matches!(under_way.purpose, Purpose::Last { .. }) {
            self.last_wanted = None;
            self.next_at_ns = None;
        }
        Some(under_way.purpose)
    }

    /// A checkpoint has failed or taken too long: the next one waits longer each time. False if it is time to give up.
    pub fn failed(&mut self, id: CheckpointId, now_ns: u64) -> bool {
        let Some(failed) = self.under_way.take_if(|under_way| under_way.id == id) else { return true };
        self.failures_in_row += 1;
        self.soon |= failed.is_wanted;
        let interval_ns = self.pace.interval_ns;
        let interval_ns = if self.soon { interval_ns.min(WANTED_INTERVAL_NS) } else { interval_ns };
        let backoff = (1 << self.failures_in_row.min(16)).min(BACKOFF_INTERVALS_MAX);
        self.next_at_ns = Some(now_ns + interval_ns.saturating_mul(backoff));
        self.failures_in_row <= FAILURES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(resumed: Option<u64>) -> Schedule {
        let mut schedule = Schedule::new(Pace { interval_ns: 100, timeout_ns: 1_000 }, resumed.map(CheckpointId));
        schedule.running(0);
        schedule
    }

    #[test]
    fn a_fresh_topology_begins_with_the_state_before_the_first_tuple() {
        let mut schedule = running(None);
        assert_eq!(schedule.begin(0), Some((CheckpointId(0), Purpose::Periodic)));
        assert_eq!(schedule.begin(500), None, "one at a time");
        assert_eq!(schedule.completed(CheckpointId(0), 30), Some(Purpose::Periodic));
        assert_eq!(schedule.begin(99), None);
        assert_eq!(schedule.begin(100), Some((CheckpointId(1), Purpose::Periodic)));
    }

    #[test]
    fn one_that_falls_before_its_first_checkpoint_begins_again_with_that() {
        let mut schedule = running(None);
        schedule.begin(0).expect("the first one");
        schedule.stepped_back(None);
        assert_eq!(schedule.begin(0), None, "it has to run first");
        schedule.running(7);
        assert_eq!(schedule.begin(7), Some((CheckpointId(0), Purpose::Periodic)));
    }

    #[test]
    fn a_resumed_one_goes_on_counting() {
        let mut schedule = running(Some(7));
        assert_eq!(schedule.begin(0), None);
        assert_eq!(schedule.begin(100), Some((CheckpointId(8), Purpose::Periodic)));
    }

    #[test]
    fn what_takes_too_long_is_given_up_and_tried_again_later() {
        let mut schedule = running(Some(0));
        schedule.begin(100);
        assert_eq!(schedule.overdue(1_000), None);
        assert_eq!(schedule.overdue(1_100), Some(CheckpointId(1)));
        assert!(schedule.failed(CheckpointId(1), 1_100));
        assert_eq!(schedule.completed(CheckpointId(1), 1_150), None, "too late");
        assert_eq!(schedule.begin(1_200), None, "it backs off");
        assert_eq!(schedule.begin(1_300), Some((CheckpointId(2), Purpose::Periodic)));
    }

    #[test]
    fn what_somebody_waits_for_is_not_forgotten() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let mut schedule = Schedule::new(Pace { interval_ns: HOUR_NS, timeout_ns: 10 }, Some(CheckpointId(0)));
        schedule.want_soon(0);
        schedule.running(5);
        assert_eq!(schedule.begin(5), Some((CheckpointId(1), Purpose::Periodic)), "wanted before it ran");
        schedule.want_soon(6);
        schedule.completed(CheckpointId(1), 7);
        assert_eq!(schedule.begin(7), Some((CheckpointId(2), Purpose::Periodic)), "wanted while one was under way");
        assert!(schedule.failed(CheckpointId(2), 17));
        assert_eq!(schedule.next_due_ns(), Some(17 + 2 * WANTED_INTERVAL_NS), "and it failed");
        schedule.want_soon(18);
        assert_eq!(schedule.next_due_ns(), Some(17 + 2 * WANTED_INTERVAL_NS), "it backs off");
    }

    #[test]
    fn it_gives_up_after_many_failures_in_a_row() {
        let mut schedule = running(Some(0));
        let mut now_ns = 0;
        let failures = (1..)
            .take_while(|_| {
                now_ns += 1_000_000;
                let (id, _) = schedule.begin(now_ns).expect("time has passed");
                schedule.failed(id, now_ns)
            })
            .count();
        assert_eq!(failures as u32, FAILURES_MAX);
    }

    #[test]
    fn the_last_one_does_not_wait_for_its_time_but_for_the_one_before() {
        let mut schedule = running(Some(0));
        schedule.begin(100);
        schedule.want_last(true);
        assert_eq!(schedule.begin(110), None);
        schedule.completed(CheckpointId(1), 120);
        assert_eq!(schedule.begin(120), Some((CheckpointId(2), Purpose::Last { finished: true })));
        assert_eq!(schedule.completed(CheckpointId(2), 130), Some(Purpose::Last { finished: true }));
        assert_eq!(schedule.begin(10_000), None);
    }
}
