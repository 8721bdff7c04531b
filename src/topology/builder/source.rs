//! The handle of a source.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use crate::sys::sync::Arc;
use crate::task::dead_letter::{DeadLetter, Describe};
use crate::task::payload::{Payload, Ports};
use crate::task::user_value::UserValue;
use crate::topology::builder::SpoutHandle;
use crate::topology::settings::Placement;
use crate::topology::stream::Stream;

/// A declared source: the stream of its items, and the stream of those that were given up.
pub struct SourceHandle<T: Payload> {
    pub(super) spout: SpoutHandle<Ports<(T, DeadLetter<T>)>>,
    pub(super) replays_max: Rc<Cell<Option<u32>>>,
    pub(super) describe: DescribeCell<T>,
}

/// How a source's values are written down, once that has been said.
pub(super) type DescribeCell<T> = Arc<std::sync::OnceLock<Describe<T>>>;

impl<T: Payload> SourceHandle<T> {
    component_methods!(spout.0);

    /// How often a failed item is emitted again before it becomes a dead letter. Unless told there is no such number:
    /// items that ask to be tried again are for `retry_for`, and those that make a bolt panic are given up after
    /// `failures_max`. Under exactly-once only failures count in which the item was alone between two checkpoints.
    pub fn max_replays(self, replays: u32) -> Self {
        self.replays_max.set(Some(replays));
        self
    }

    /// How a value is written into the file of dead letters (`--dead-letters FILE`), as JSON. Text, bytes, numbers and
    /// records need none of this; other values are null there without it. The first call counts.
    pub fn describe(self, describe: impl Fn(&T) -> serde_json::Value + Send + Sync + 'static) -> Self {
        let _ = self.describe.set(Arc::new(describe));
        self
    }

    /// Open trees per task; see the setting of this name.
    #[track_caller]
    pub fn max_spout_pending(self, trees: usize) -> Self {
        self.spout.0.set(|settings| settings.max_spout_pending = Some(trees));
        self
    }

    /// Items that were given up, each with its error, origin and number of attempts. Counted whether or not anyone
    /// subscribes.
    pub fn dead_letters(&self) -> &Stream<DeadLetter<T>> {
        &self.spout.0.streams.1
    }
}

impl<T: Payload> Deref for SourceHandle<T> {
    type Target = Stream<T>;
    fn deref(&self) -> &Stream<T> {
        &self.spout.0.streams.0
    }
}
