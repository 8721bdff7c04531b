//! [`StormTuple`]: a list of values that knows where it comes from.

use std::fmt;
use std::sync::Arc;

use crate::task::TaskId;
use crate::task::dynamic::{Fields, RecordError, Value};

/// The component that Storm's own tuples come from.
pub const SYSTEM_COMPONENT: &str = "__system";
/// The stream of its ticks.
pub const TICK_STREAM: &str = "__tick";

/// The stream that tuples come from, and the names of their values. Shared by all tuples of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Id of the emitting component.
    pub component: Arc<str>,
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Names of the values, in order.
    pub fields: Arc<Fields>,
}

/// What travels in a legacy topology: Storm's `Tuple`, without its place in any tree, which is the engine's matter.
///
/// Immutable. A clone costs two reference counts, and all targets of an emit share one list of values, as they do
/// within a worker of Storm.
#[derive(Clone, Debug)]
pub struct StormTuple {
    source: Arc<Source>,
    /// 0 stands for Storm's −1: no component's task, but the system's.
    task: TaskId,
    values: Arc<[Value]>,
}

impl StormTuple {
    /// A tuple of a stream. Storm does not check on a cluster that there is a value per field, nor does this.
    pub fn new(source: &Arc<Source>, task: TaskId, values: impl IntoIterator<Item = Value>) -> Self {
        StormTuple { source: source.clone(), task, values: values.into_iter().collect() }
    }

    /// A tuple that Storm itself sends, such as a tick: its task is −1.
    pub fn of_system(source: &Arc<Source>, values: impl IntoIterator<Item = Value>) -> Self {
        Self::new(source, TaskId(0), values)
    }

    /// The stream it was emitted on.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Number of the task that emitted it, −1 for the system's.
    pub fn task(&self) -> i32 {
        if self.task.0 == 0 { -1 } else { self.task.0 as i32 }
    }

    /// True for a tick, which Storm itself sends among a bolt's tuples.
    pub fn is_tick(&self) -> bool {
        &*self.source.component == SYSTEM_COMPONENT && &*self.source.stream == TICK_STREAM
    }

    /// Its values, in the order of the fields.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of a field.
    ///
    /// # Errors
    /// If the stream has no such field, or the tuple was emitted with too few values.
    pub fn get(&self, field: &str) -> Result<&Value, RecordError> {
        let fields = &self.source.fields;
        let unknown = || RecordError::UnknownField { name: field.into(), known: fields.clone() };
        let position = fields.position(field).ok_or_else(unknown)?;
        self.values
            .get(position)
            .ok_or_else(|| RecordError::Arity { fields: fields.clone(), values: self.values.len() })
    }
}

/// `words.default task 3 ["storm", 1]`
impl fmt::Display for StormTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} task {} [", self.source.component, self.source.stream, self.task())?;
        for (at, value) in self.values.iter().enumerate() {
            write!(f, "{}{value}", if at > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}
