//! Native components, their types erased but for what a legacy topology needs to know.

use std::time::Duration;

use serde_json::{Map as JsonMap, Value as Json};

use crate::error::Problem;
use crate::storm::emitter::StreamDeclaration;
use crate::storm::record::{RecordedBolt, RecordedSpout, Tape};
use crate::storm::tuple::StormTuple;
use crate::task::component::Spout;
use crate::task::many::Many;
use crate::topology::builder::{BoltHandle, SpoutHandle, TopologyBuilder};
use crate::topology::component::{IntoBolt, Unkeyed};

/// The handle of a legacy bolt.
pub(crate) type LegacyBolt = BoltHandle<StormTuple, Many<StormTuple>, Unkeyed>;
/// Declares a component under an id, recording what it does if there is a tape.
type Declare<H> = Box<dyn FnOnce(&mut TopologyBuilder, &str, Option<Tape>) -> H>;
/// The handle of a legacy spout.
pub(crate) type LegacySpout = SpoutHandle<Many<StormTuple>>;

/// A spout with its streams.
pub struct NativeSpout {
    pub(crate) streams: Vec<StreamDeclaration>,
    pub(crate) conf: JsonMap<String, Json>,
    pub(crate) declare: Declare<LegacySpout>,
}

/// A bolt with its streams.
pub struct NativeBolt {
    pub(crate) streams: Vec<StreamDeclaration>,
    pub(crate) conf: JsonMap<String, Json>,
    /// Instead of the configured period.
    pub(crate) tick: Option<Duration>,
    /// What a person should know before the start.
    pub(crate) warnings: Vec<Problem>,
    pub(crate) declare: Declare<LegacyBolt>,
}

impl NativeSpout {
    /// A spout that emits on these streams, made by a factory.
    pub fn new<S: Spout<Out = Many<StormTuple>>>(
        streams: impl IntoIterator<Item = StreamDeclaration>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let declare = Box::new(|t: &mut TopologyBuilder, id: &str, tape: Option<Tape>| match tape {
            None => t.spout(id, factory),
            Some(tape) => t.spout(id, move || RecordedSpout::new(factory(), &tape)),
        });
        NativeSpout { streams: streams.into_iter().collect(), conf: JsonMap::new(), declare }
    }

    /// What the spout gives up goes out on this port, and where nobody subscribes to it, as lines.
    pub(crate) fn gives_up_on(mut self, port: usize, as_line: fn(StormTuple) -> String) -> Self {
        let declare = self.declare;
        self.declare = Box::new(move |t, id, tape| declare(t, id, tape).gives_up_on(port, as_line));
        self
    }

    /// A configuration key that the component brings itself, as `getComponentConfiguration` does in Java. A file's
    /// `config` for the component overrides it.
    #[must_use]
    pub fn configured(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.conf.insert(key.to_owned(), value.into());
        self
    }
}

impl NativeBolt {
    /// A bolt that emits on these streams: a factory of a [`Bolt`](crate::Bolt) or [`ManualBolt`](crate::ManualBolt),
    /// or a function.
    pub fn new<B, M>(streams: impl IntoIterator<Item = StreamDeclaration>, bolt: B) -> Self
    where
        B: IntoBolt<M, In = StormTuple, Out = Many<StormTuple>, Keying = Unkeyed> + 'static,
    {
        let declare = Box::new(|t: &mut TopologyBuilder, id: &str, tape: Option<Tape>| match tape {
            None => t.bolt(id, bolt),
            Some(tape) => t.bolt(id, RecordedBolt { bolt, tape }),
        });
        NativeBolt {
            streams: streams.into_iter().collect(),
            conf: JsonMap::new(),
            tick: None,
            warnings: Vec::new(),
            declare,
        }
    }

    /// Has this told before the start.
    pub(crate) fn warning(mut self, warning: Option<Problem>) -> Self {
        self.warnings.extend(warning);
        self
    }

    /// Has the bolt's `tick` called with this period, whatever the configuration says.
    #[must_use]
    pub fn ticking(mut self, period: Duration) -> Self {
        self.tick = Some(period);
        self
    }

    /// As [`NativeSpout::configured`].
    #[must_use]
    pub fn configured(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.conf.insert(key.to_owned(), value.into());
        self
    }
}
