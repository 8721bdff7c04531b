//! squall: a low-latency, per-event topology engine. Storm's spouts and bolts on pinned threads joined by lock-free
//! rings, with tuple trees for at-least-once delivery.
//!
//! A topology is declared with a [`TopologyBuilder`]: components by id, joined by groupings through typed
//! [`Stream`]s. Components are factories or plain functions; what they implement are [`Spout`], [`Source`], [`Bolt`],
//! [`KeyedBolt`] and [`ManualBolt`].
//!
//! ```
//! use squall::connect::{Generator, collector};
//! use squall::{Outlet, TopologyBuilder};
//!
//! # fn main() -> squall::Result<()> {
//! let (sink, words) = collector::<String>(16);
//! let mut t = TopologyBuilder::new("hello");
//! let numbers = t.source("numbers", || Generator::new(3, |n| n));
//! let greetings = t.bolt("greet", greet).shuffle(&numbers);
//! t.bolt("words", move || sink.clone()).global(&greetings);
//!
//! let report = t.build()?.run()?;
//! assert_eq!(report.components[0].counts.acked, 3);
//! assert_eq!(words.try_recv().unwrap(), "hello 0");
//!
//! fn greet(n: u64, out: &mut Outlet<String>) {
//!     out.emit(format!("hello {n}"));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What the types rule out
//!
//! Subscribing to a stream of another type does not compile (convert it with [`Stream::via`]):
//!
//! ```compile_fail
//! # use squall::{Nothing, Outlet, TopologyBuilder, connect::Generator};
//! let mut t = TopologyBuilder::new("wrong");
//! let numbers = t.source("numbers", || Generator::new(3, |n| n));
//! t.bolt("text", |_: String, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
//! ```
//!
//! A [`KeyedBolt`] can be subscribed only by fields, with its own key type:
//!
//! ```compile_fail
//! # use squall::{CurrentKey, KeyedBolt, Nothing, Outcome, Outlet, TopologyBuilder, connect::Generator};
//! struct ByText;
//! impl KeyedBolt for ByText {
//!     type Key = String;
//!     type In = u64;
//!     type Out = Nothing;
//!     fn execute(&mut self, _: CurrentKey<String>, _: u64, _: &mut Outlet<Nothing>) -> Outcome { Ok(()) }
//! }
//! let mut t = TopologyBuilder::new("wrong");
//! let numbers = t.source("numbers", || Generator::new(3, |n| n));
//! t.bolt("text", || ByText).fields(&numbers, |n: &u64| n);
//! ```
//!
//! A tuple cannot be used after it was acked:
//!
//! ```compile_fail
//! # use squall::{Failure, Tuple};
//! fn twice(tuple: Tuple<u64>) {
//!     tuple.ack();
//!     tuple.fail(Failure::retry("too late"));
//! }
//! ```
//!
//! # Running
//!
//! [`Topology::run`] runs to the end, [`Topology::start`] returns a [`Running`] handle, [`cli::run`] makes a program of
//! it. [`testing`] runs the same engine without threads, in virtual time.

mod bench;
pub mod cli;
pub mod connect;
pub mod engine;
pub mod error;
pub mod observe;
pub mod state;
pub mod storm;
pub mod sys;
pub mod task;
pub mod testing;
pub mod topology;
mod words;

pub use engine::Running;
pub use error::{Error, Failure, Result};
pub use state::CurrentKey;
pub use task::TaskId;
pub use task::component::{
    Bolt, Custom, KeyedBolt, ManualBolt, Next, Outcome, Polled, Position, Replayable, Source, SplitId, Spout,
};
pub use task::context::{BoltContext, SpoutContext, TaskInfo};
pub use task::dead_letter::DeadLetter;
pub use task::door::Door;
pub use task::dynamic::{Record, Value};
pub use task::held::{Anchor, Tuple};
pub use task::held_state::Held;
pub use task::key::Key;
pub use task::keyed::Timer;
pub use task::lineage::ReplayId;
pub use task::outlet::{Outlet, SpoutOutlet};
pub use task::payload::{Nothing, Outputs, Payload, Ports};
pub use task::replay::Replaying;
pub use task::waker::Waker;
pub use topology::Topology;
pub use topology::builder::TopologyBuilder;
pub use topology::settings::{Guarantee, Layers, Settings, WaitPolicy};
pub use topology::stream::Stream;

/// The README's programs are compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
