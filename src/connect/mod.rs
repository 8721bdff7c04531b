//! Where streams come from and where they go: files, standard input, generators, channels to the rest of the program.
//!
//! A shipped source is a [`Source`](crate::task::component::Source), which knows nothing of trees; the builder puts
//! [`Replaying`](crate::task::replay::Replaying) around it, a spout that replays with back-off and dead-letters what
//! never succeeds.

pub mod channel;
pub mod files;
pub mod generate;
pub mod lines;
mod place;
pub mod transaction;
#[cfg(feature = "fjall")]
pub mod upsert;

pub use channel::{ChannelSink, ChannelSpout, Receiver, SendError, Sender, TryRecvError, channel, collector};
pub use files::{AppendFile, AppendLines, FileSink};
pub use generate::Generator;
pub use lines::{FileLines, StdinLines};
pub(crate) use place::folder_of;
pub use place::place_of;
pub use transaction::{Transactional, TransactionalSink};
#[cfg(feature = "fjall")]
pub use upsert::UpsertTable;
