//! Where streams come from and where they go: files, standard input, generators, channels to the rest of the program.
//!
//! A shipped source is a [`Source`](crate::task::component::Source), which knows nothing of trees; [`Replaying`] makes
//! a spout of it that replays with back-off and dead-letters what never succeeds.

pub mod channel;
pub mod generate;
pub mod lines;
pub mod replay;

pub use channel::{ChannelSink, ChannelSpout, Receiver, SendError, Sender, TryRecvError, channel, collector};
pub use generate::Generator;
pub use lines::{FileLines, Progress, StdinLines};
pub use replay::{DeadLetter, Replaying};
