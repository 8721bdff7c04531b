//! squall: a low-latency, per-event topology engine.

pub mod cli;
pub mod connect;
pub mod engine;
pub mod error;
pub mod observe;
pub mod sys;
pub mod task;
pub mod testing;
pub mod topology;

pub use engine::Running;
pub use error::{Error, Failure, Result};
pub use task::TaskId;
pub use task::component::{
    Bolt, Custom, KeyedBolt, ManualBolt, Next, Outcome, Polled, Position, Replayable, Source, SplitId, Spout,
};
pub use task::context::{BoltContext, SpoutContext, TaskInfo};
pub use task::door::Door;
pub use task::dynamic::{Record, Value};
pub use task::held::{Anchor, Tuple};
pub use task::key::Key;
pub use task::outlet::{Outlet, SpoutOutlet};
pub use task::payload::{Nothing, Outputs, Payload, Ports};
pub use task::replay::{DeadLetter, Replaying};
pub use task::waker::Waker;
pub use topology::Topology;
pub use topology::builder::TopologyBuilder;
pub use topology::settings::{Guarantee, Layers, Settings, WaitPolicy};
pub use topology::stream::Stream;
