//! What a component tells about itself beside its results: errors that belong to no tuple, and that it gets on.

use std::borrow::Cow;

use crate::error::Origin;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::task::metrics::TaskMetrics;

/// Errors of a task in a row that are logged; the others are counted.
const LOGGED_MAX: u64 = 5;

/// What was reported, for the report of the run. Any thread may add.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    errors: AtomicU64,
    last: Mutex<Option<String>>,
    /// Set by the component; taken when it is rebuilt.
    progress: AtomicBool,
}

impl Reported {
    /// The message that the report shows as the component's last error.
    pub fn note(&self, message: String) {
        // Nothing panics under it.
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(message);
    }

    /// Errors reported so far.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
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
        reported.note(message.into_owned());
    }

    /// The component has got on: failures before this do not count towards `rebuilds_max` any more. For components
    /// whose progress is not the number of tuples handed to them, such as those that run in a process of their own.
    pub fn progress(&self) {
        self.metrics.reported().progress.store(true, Ordering::Relaxed);
    }

    /// Who reports, as the log shows it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}
