//! What goes wrong in a component, and what it tells about itself beside its results: failures by input and kind,
//! errors that belong to no tuple, and that it gets on.

use std::borrow::Cow;
use std::sync::PoisonError;

use crate::error::{Failure, Origin};
use crate::sys::clock::wall_ns;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::task::metrics::TaskMetrics;

/// Errors of a task in a row that are logged; the others are counted.
const LOGGED_MAX: u64 = 5;

/// What a component reports itself, beside the kinds of failures.
pub(crate) const REPORTED: &str = "reported";
const KINDS: [&str; 8] = ["retry", "reject", "fatal", "timeout", "dropped", "panic", "collateral", REPORTED];

/// What the tasks of one component share, so that the first failure of each kind is logged once.
#[derive(Debug)]
pub(crate) struct Reasons {
    component: String,
    /// The streams it subscribes to, in the order of its inputs.
    inputs: Vec<String>,
    /// A bit for each input and kind that has been logged, and how many those are. Inputs beyond the seventh, and what
    /// belongs to no input, share theirs.
    seen: AtomicU64,
    logged: AtomicU64,
}

impl Default for Reasons {
    fn default() -> Self {
        Reasons::new(String::new(), Vec::new())
    }
}

impl Reasons {
    pub fn new(component: String, inputs: Vec<String>) -> Self {
        Reasons { component, inputs, seen: AtomicU64::new(0), logged: AtomicU64::new(0) }
    }

    pub fn component(&self) -> &str {
        &self.component
    }

    /// The name of an input.
    pub fn input(&self, number: Option<usize>) -> Option<&str> {
        number.and_then(|number| self.inputs.get(number)).map(String::as_str)
    }

    /// Failures that have been logged one by one.
    pub fn logged(&self) -> u64 {
        self.logged.load(Ordering::Relaxed)
    }

    fn log_first(&self, noted: &Noted) {
        let input = noted.input.map_or(0, |input| input.min(6) + 1);
        let kind = KINDS.iter().position(|kind| *kind == noted.kind).unwrap_or(0);
        let bit = 1 << (input * KINDS.len() + kind);
        if self.seen.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return;
        }
        self.logged.fetch_add(1, Ordering::Relaxed);
        let (component, kind, failure) = (&self.component, noted.kind, &noted.last);
        match self.input(noted.input) {
            Some(input) => tracing::warn!(%component, input, kind, "failed: {failure}"),
            None => tracing::warn!(%component, kind, "failed: {failure}"),
        }
    }
}

/// Failures of one kind on one input.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// None: of a tick, a callback, a held tuple, a spout.
    pub input: Option<usize>,
    pub kind: &'static str,
    pub count: u64,
    pub first_wall_ns: i64,
    pub last_wall_ns: i64,
    pub last: Failure,
}

impl Noted {
    /// Adds what another task has noted of the same.
    pub fn add(&mut self, other: &Noted) {
        self.count += other.count;
        self.first_wall_ns = self.first_wall_ns.min(other.first_wall_ns);
        if other.last_wall_ns >= self.last_wall_ns {
            (self.last_wall_ns, self.last) = (other.last_wall_ns, other.last.clone());
        }
    }

    pub fn is_same(&self, other: &Noted) -> bool {
        (self.input, self.kind) == (other.input, other.kind)
    }
}

/// What was reported, for the report of the run. Any thread may add.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    errors: AtomicU64,
    last: Mutex<Option<String>>,
    /// Set by the component; taken when it is rebuilt.
    progress: AtomicBool,
    /// One entry for each input and kind.
    noted: Mutex<Vec<Noted>>,
    /// Failures noted, but for what the component has reported itself.
    failures: AtomicU64,
    reasons: Arc<Reasons>,
    /// See [`Reporter::waits_for`].
    waits_for: Mutex<Option<String>>,
}

impl Reported {
    pub fn new(reasons: Arc<Reasons>) -> Self {
        Reported { reasons, ..Reported::default() }
    }

    /// Notes why something failed: a tuple that came in on this input, or what belongs to none. The first of a kind is
    /// logged at once; the others by whoever watches. Costs some tens of nanoseconds.
    #[cold]
    pub fn failed(&self, input: Option<usize>, failure: &Failure) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(first) = self.keep(input, failure.kind().word(), failure) {
            self.reasons.log_first(&first);
        }
    }

    /// The entry, if it is a new one.
    fn keep(&self, input: Option<usize>, kind: &'static str, failure: &Failure) -> Option<Noted> {
        let now_ns = wall_ns();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = noted.iter_mut().find(|noted| noted.input == input && noted.kind == kind) {
            same.count += 1;
            (same.last_wall_ns, same.last) = (now_ns, failure.clone());
            return None;
        }
        let first = Noted { input, kind, count: 1, first_wall_ns: now_ns, last_wall_ns: now_ns, last: failure.clone() };
        noted.push(first.clone());
        Some(first)
    }

    /// Failures noted so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// All that was noted, by input and kind.
    pub fn noted(&self) -> Vec<Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the tasks of the component share.
    pub fn reasons(&self) -> &Reasons {
        &self.reasons
    }

    /// The message that the report shows as the component's last error.
    pub fn note(&self, message: String) {
        // Nothing panics under it.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    /// What the task says that it waits for.
    pub fn waits_for(&self) -> Option<String> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Errors reported so far.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if the component has got on since this was last asked.
    pub fn take_progress(&self) -> bool {
        self.progress.swap(false, Ordering::Relaxed)
    }
}

/// How a component reports what no tuple can be failed for: Storm's `reportError`. Clone it for other threads.
///
/// Get it from [`SpoutContext::reporter`](crate::SpoutContext::reporter).
#[derive(Clone, Debug)]
pub struct Reporter {
    metrics: Arc<TaskMetrics>,
    origin: Origin,
}

impl Reporter {
    pub(crate) fn new(metrics: Arc<TaskMetrics>, origin: Origin) -> Self {
        Reporter { metrics, origin }
    }

    /// Reports an error: it is counted, shown as the component's last one in the report of the run, and logged unless
    /// many came before it. Processing goes on.
    pub fn error<'a>(&self, message: impl Into<Cow<'a, str>>) {
        let message = message.into();
        let reported = self.metrics.reported();
        let before = reported.errors.fetch_add(1, Ordering::Relaxed);
        if before < LOGGED_MAX || before.is_multiple_of(1_000) {
            tracing::warn!(task = %self.origin, errors = before + 1, "reported: {message}");
        }
        reported.keep(None, REPORTED, &Failure::retry(message.clone().into_owned()).at(&self.origin));
        reported.note(message.into_owned());
    }

    /// The component has got on: failures before this do not count towards `rebuilds_max` any more. For components
    /// whose progress is not the number of tuples handed to them, such as those that run in a process of their own.
    pub fn progress(&self) {
        self.metrics.reported().progress.store(true, Ordering::Relaxed);
    }

    /// What keeps it from taking input, beside what it has in hand, as a sentence without its subject; none: nothing
    /// does. Told when nothing moves.
    pub(crate) fn waits_for(&self, what: Option<String>) {
        *self.metrics.reported().waits_for.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Who reports, as the log shows it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;
    use crate::error::FailureKind;

    #[test]
    fn failures_are_kept_by_input_and_kind_with_the_last_reason_and_the_first_of_each_is_logged_once() {
        let reasons = Arc::new(Reasons::new("split".into(), vec!["lines.out".into(), "late.out".into()]));
        let tasks = [Reported::new(reasons.clone()), Reported::new(reasons.clone())];
        for number in 0..1_000 {
            tasks[number % 2].failed(Some(1), &Failure::retry(format!("number {number}")));
        }
        tasks[0].failed(Some(0), &Failure::reject("never"));
        tasks[0].failed(None, &Failure::timeout());
        assert_eq!(reasons.logged(), 3);
        assert_eq!(tasks.iter().map(Reported::failures).sum::<u64>(), 1_002);
        let [mut first, second] = tasks.each_ref().map(Reported::noted);
        assert!(first[0].is_same(&second[0]) && !first[0].is_same(&first[1]));
        first[0].add(&second[0]);
        assert_eq!((first[0].count, first[0].kind, first[0].last.message()), (1_000, "retry", "number 999"));
        assert_eq!(first.len(), 3);
        assert_eq!((reasons.input(first[0].input), reasons.input(None)), (Some("late.out"), None));
    }

    #[test]
    fn every_kind_of_failure_is_logged_as_one_of_its_own() {
        for kind in [
            FailureKind::Retry,
            FailureKind::Reject,
            FailureKind::Fatal,
            FailureKind::Timeout,
            FailureKind::Dropped,
            FailureKind::Panic,
            FailureKind::Collateral,
        ] {
            assert!(KINDS.contains(&kind.word()), "{kind:?}");
        }
    }
}
