//! What native components share: their streams, and ticks as tuples.

use std::sync::Arc;
use std::time::Duration;

use crate::storm::emitter::{Emitter, StreamDeclaration};
use crate::storm::tuple::{SYSTEM_COMPONENT, Source, StormTuple, TICK_STREAM};
use crate::task::context::TaskInfo;
use crate::task::dynamic::{Fields, Value};

/// The streams of one task; ready once the task knows who it is.
#[derive(Clone)]
pub(crate) struct Emits {
    streams: Arc<[StreamDeclaration]>,
    emitter: Option<Emitter>,
}

impl Emits {
    pub fn new(streams: &[StreamDeclaration]) -> Self {
        Emits { streams: streams.into(), emitter: None }
    }

    pub fn prepare(&mut self, info: &TaskInfo) {
        self.emitter = Some(Emitter::new(info, &self.streams));
    }

    /// A tuple for a port.
    pub fn tuple(&self, port: usize, values: impl IntoIterator<Item = Value>) -> StormTuple {
        self.emitter.as_ref().expect("a component is prepared before it emits").tuple(port, values)
    }
}

/// The tick tuples of one component, as Storm sends them: from `__system` on `__tick`, with the period in seconds.
#[derive(Clone)]
pub(crate) struct TickTuples {
    source: Arc<Source>,
    rate_secs: Value,
}

impl TickTuples {
    /// A period of less than a second, which Storm does not have, is a fraction.
    pub fn new(period: Duration) -> Self {
        let fields = Fields::new(["rate_secs"]).expect("one name does not occur twice");
        let source = Arc::new(Source { component: SYSTEM_COMPONENT.into(), stream: TICK_STREAM.into(), fields });
        TickTuples { source, rate_secs: rate_secs(period) }
    }

    pub fn tuple(&self) -> StormTuple {
        StormTuple::of_system(&self.source, [self.rate_secs.clone()])
    }
}

/// The one value of a tick tuple.
pub(crate) fn rate_secs(period: Duration) -> Value {
    let whole = i32::try_from(period.as_secs()).ok().filter(|_| period.subsec_nanos() == 0);
    whole.map_or_else(|| Value::Float(period.as_secs_f64()), Value::Int32)
}

/// The text of a value as a Java program would print it; a text is itself.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        value => crate::storm::java::to_java_string(value),
    }
}
