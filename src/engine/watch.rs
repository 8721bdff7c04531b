//! What the control thread keeps an eye on beside its work: tasks that do not return, tuples that do not move, failures
//! that nobody has told of.

use std::time::Duration;

use crate::engine::executor::Pulse;
use crate::engine::report::ComponentCounts;
use crate::engine::standstill::{Look, Standstill};
use crate::engine::wiring::Shared;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::task::metrics::TaskMetrics;
use crate::words::grouped;

/// Between two looks at the counters, and between two lines about the failures of one component.
const LOOK_NS: u64 = 500_000_000;
const LINE_NS: u64 = 1_000_000_000;
/// Between two lines about the same standstill.
const SAME_NS: u64 = 60_000_000_000;

/// What was seen, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    stalled: AtomicBool,
    /// Stalls so far; written by the control thread only.
    stalls: AtomicU64,
    standstills: AtomicU64,
    /// Whether it stands still now, and who holds it up, or last did.
    held_up: Mutex<(bool, Option<String>)>,
}

impl Seen {
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// How many there were, and what was said about the last.
    pub fn standstills(&self) -> (u64, Option<String>) {
        (self.standstills.load(Ordering::Relaxed), self.lock().1.clone())
    }

    /// Who holds it up, while nothing moves.
    pub fn held_up(&self) -> Option<String> {
        let held_up = self.lock();
        held_up.1.clone().filter(|_| held_up.0)
    }

    fn lock(&self) -> MutexGuard<'_, (bool, Option<String>)> {
        self.held_up.lock().expect("nothing panics under it")
    }
}

/// See the module.
pub(crate) struct Watch {
    seen: Arc<Seen>,
    standstill: Standstill,
    look_at_ns: u64,
    /// What was last said about a standstill, and when.
    said: Option<(String, u64)>,
    lines: Lines,
}

impl Watch {
    pub fn new(seen: Arc<Seen>) -> Self {
        Watch { seen, standstill: Standstill::default(), look_at_ns: 0, said: None, lines: Lines::default() }
    }

    /// How long it may be left alone.
    pub fn interval(stall_limit: Duration) -> Duration {
        (stall_limit / 2).min(Duration::from_nanos(LINE_NS))
    }

    /// Looks at everything that is due.
    pub fn look(&mut self, now_ns: u64, shared: &Shared, pulses: &[Arc<Pulse>]) {
        self.watch_for_stalls(now_ns, shared, pulses);
        if now_ns < self.look_at_ns {
            return;
        }
        self.look_at_ns = now_ns + LOOK_NS;
        let components: Vec<_> =
            (0..shared.plan.components.len()).map(|position| ComponentCounts::of(shared, position)).collect();
        let consumers = |position| shared.plan.consumers(position).into_iter().map(str::to_owned).collect();
        match self.standstill.look(now_ns, &components, consumers) {
            Look::Fine => self.seen.lock().0 = false,
            Look::Stands { for_s, why, is_new } => {
                let said = format!("nothing has moved for {for_s} s: {why}");
                if is_new {
                    self.seen.standstills.fetch_add(1, Ordering::Relaxed);
                    if self.is_worth_a_line(now_ns, why) {
                        tracing::warn!("{said}");
                    }
                }
                *self.seen.lock() = (true, Some(said));
            }
        }
        self.lines.tell(now_ns, shared, false);
    }

    /// Whoever waits for the same again and again, as before a window of some seconds, is named once a minute.
    fn is_worth_a_line(&mut self, now_ns: u64, why: String) -> bool {
        let is_same = self.said.as_ref().is_some_and(|(before, at_ns)| *before == why && now_ns < at_ns + SAME_NS);
        if !is_same {
            self.said = Some((why, now_ns));
        }
        !is_same
    }

    /// Tells of the failures that are left.
    pub fn end(&mut self, now_ns: u64, shared: &Shared) {
        self.lines.tell(now_ns, shared, true);
    }

    /// Names tasks that have not returned for longer than the limit.
    fn watch_for_stalls(&self, now_ns: u64, shared: &Shared, pulses: &[Arc<Pulse>]) {
        let limit_ns = shared.settings.stall_limit.as_nanos() as u64;
        let mut stalled = false;
        for (number, pulse) in pulses.iter().enumerate() {
            let since_ns = pulse.since_ns.load(Ordering::Relaxed);
            if since_ns == 0 || now_ns.saturating_sub(since_ns) < limit_ns {
                continue;
            }
            stalled = true;
            let task = shared.placed.executors[number].tasks[pulse.position.load(Ordering::Relaxed) as usize];
            let component = &shared.plan.components[task.component].id;
            if !self.seen.is_stalled() {
                self.seen.stalls.fetch_add(1, Ordering::Relaxed);
                let for_ms = (now_ns - since_ns) / 1_000_000;
                tracing::warn!(executor = number, %component, task = task.index, for_ms, "a task has not returned");
            }
        }
        self.seen.stalled.store(stalled, Ordering::Relaxed);
    }
}

/// Lines about failures: at most one a second for each component, beside the first of each kind, which its task logs.
#[derive(Debug, Default)]
struct Lines {
    next_ns: u64,
    /// Failures told of, by component.
    told: Vec<u64>,
}

impl Lines {
    fn tell(&mut self, now_ns: u64, shared: &Shared, is_end: bool) {
        if now_ns < self.next_ns && !is_end {
            return;
        }
        self.next_ns = now_ns + LINE_NS;
        self.told.resize(shared.metrics.len(), 0);
        for (tasks, told) in shared.metrics.iter().zip(&mut self.told) {
            if let Some((component, more, last)) = more(tasks, told) {
                tracing::warn!(%component, "and {} more failed, the last: {last}", grouped(more));
            }
        }
    }
}

/// Failures of a component that no line has told of, and the last one; they count as told now.
fn more(tasks: &[Arc<TaskMetrics>], told: &mut u64) -> Option<(String, u64, String)> {
    let failures: u64 = tasks.iter().map(|task| task.reported().failures()).sum();
    let reasons = tasks.first()?.reported().reasons();
    // Each is counted before it is logged.
    let more = failures.saturating_sub(reasons.logged() + *told);
    if more == 0 {
        return None;
    }
    *told += more;
    let last = tasks.iter().flat_map(|task| task.reported().noted()).max_by_key(|noted| noted.last_wall_ns)?;
    Some((reasons.component().to_owned(), more, last.last.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::task::reporter::Reasons;

    #[test]
    fn the_same_standstill_has_a_line_a_minute() {
        let mut watch = Watch::new(Arc::default());
        let mut says = |second: u64, why: &str| watch.is_worth_a_line(second * 1_000_000_000, why.into());
        assert_eq!(
            [says(0, "a"), says(4, "a"), says(8, "b"), says(12, "a"), says(16, "a")].map(u8::from),
            [1, 0, 1, 1, 0]
        );
        assert!(!says(71, "a") && says(72, "a") && !says(73, "a"));
    }

    #[test]
    fn what_came_after_the_first_is_told_once_as_a_number() {
        let reasons = Arc::new(Reasons::new("split".into(), Vec::new()));
        let tasks = [0, 1].map(|_| Arc::new(TaskMetrics::of(reasons.clone(), false)));
        let mut told = 0;
        assert_eq!(more(&tasks, &mut told), None);
        for number in 0..2_000 {
            tasks[number % 2].reported().failed(None, &Failure::retry(format!("number {number}")));
        }
        let (component, count, last) = more(&tasks, &mut told).expect("there are more");
        assert_eq!((&*component, grouped(count)), ("split", "1,999".to_owned()));
        assert!(last.starts_with("number 199"), "{last}");
        assert_eq!(more(&tasks, &mut told), None);
        tasks[0].reported().failed(None, &Failure::reject("another kind, logged by its task"));
        assert_eq!(more(&tasks, &mut told), None);
    }
}
