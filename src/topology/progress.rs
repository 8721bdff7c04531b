//! How far a topology's input has been read: what a progress bar needs to know.

use std::fmt;
use std::sync::Arc;

/// How much input there is and how much of it has been taken in, given by the topology for progress bars.
///
/// Cheap to clone; asked some times a second while a topology runs, from any thread. The engine itself never asks.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use squall::topology::Progress;
///
/// let read = Arc::new(AtomicU64::new(0)); // the source adds to it
/// let done = read.clone();
/// let progress = Progress::new("lines", Some(31_102), move || done.load(Ordering::Relaxed));
///
/// read.fetch_add(40_000, Ordering::Relaxed);
/// assert_eq!(progress.done(), 31_102); // never more than there is
/// ```
#[derive(Clone)]
pub struct Progress {
    unit: &'static str,
    total: Option<u64>,
    done: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Progress {
    /// The unit that is shown as sizes, such as `4.2 MiB`.
    pub const BYTES: &'static str = "bytes";

    /// Progress counted in `unit` (in plural, such as `lines`, or [`Progress::BYTES`]). `total` is `None`
    /// for input without a known end. `done` must not block.
    pub fn new(unit: &'static str, total: Option<u64>, done: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Progress { unit, total, done: Arc::new(done) }
    }

    /// What is counted, in plural.
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// How much there is, where that is known.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// How much has been taken in so far; never more than the total.
    pub fn done(&self) -> u64 {
        (self.done)().min(self.total.unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { unit, total, .. } = self;
        f.debug_struct("Progress").field("unit", unit).field("total", total).field("done", &self.done()).finish()
    }
}
