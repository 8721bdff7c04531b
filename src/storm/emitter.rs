//! [`Emitter`]: the streams of one task of a component, by name and by port.

use std::sync::Arc;

use crate::error::Failure;
use crate::storm::tuple::{Source, StormTuple};
use crate::task::TaskId;
use crate::task::context::TaskInfo;
use crate::task::dynamic::{Fields, RecordError, Value};

/// A declared output stream of a legacy component. Its position among the component's streams is its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDeclaration {
    /// Its name; `default` if a component has only one.
    pub name: Arc<str>,
    /// The names of its values.
    pub fields: Arc<Fields>,
}

impl StreamDeclaration {
    /// A stream with these fields.
    ///
    /// # Errors
    /// If a field's name occurs twice.
    pub fn new<N: Into<Arc<str>>>(
        name: impl Into<Arc<str>>,
        fields: impl IntoIterator<Item = N>,
    ) -> Result<Self, RecordError> {
        Ok(StreamDeclaration { name: name.into(), fields: Fields::new(fields)? })
    }

    /// Name and fields for [`streams`](crate::topology::builder::BoltHandle::streams).
    pub fn shown(&self) -> (String, String) {
        let names: Vec<&str> = self.fields.names().iter().map(|name| &**name).collect();
        (self.name.to_string(), names.join(", "))
    }
}

/// Makes the tuples that one task emits.
#[derive(Clone, Debug)]
pub struct Emitter {
    task: TaskId,
    sources: Vec<Arc<Source>>,
}

impl Emitter {
    /// For the streams of the task that `info` tells of, in the order in which the component declared them.
    pub fn new(info: &TaskInfo, streams: &[StreamDeclaration]) -> Self {
        let source = |stream: &StreamDeclaration| {
            let (component, stream, fields) = (info.component.clone(), stream.name.clone(), stream.fields.clone());
            Arc::new(Source { component, stream, fields })
        };
        Emitter { task: info.task, sources: streams.iter().map(source).collect() }
    }

    /// The port of a stream.
    ///
    /// # Errors
    /// If the component has not declared it; there is no implicit default stream.
    pub fn port(&self, stream: &str) -> Result<usize, Failure> {
        let position = self.sources.iter().position(|source| &*source.stream == stream);
        position.ok_or_else(|| {
            let known: Vec<&str> = self.sources.iter().map(|source| &*source.stream).collect();
            Failure::reject(format!("unknown stream `{stream}`; the component declares: {}", known.join(", ")))
        })
    }

    /// A tuple for a port.
    ///
    /// # Panics
    /// If there is no such port.
    pub fn tuple(&self, port: usize, values: impl IntoIterator<Item = Value>) -> StormTuple {
        StormTuple::new(&self.sources[port], self.task, values)
    }
}
