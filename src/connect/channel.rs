//! Channels between a topology and the rest of the program, for plain threads and for async code of any runtime.
//!
//! [`channel`] leads into a topology, [`collector`] out of it. Neither end on the topology's side ever blocks.

mod entrance;
mod exit;
mod waiting;

pub use entrance::{ChannelSpout, SendError, Sender, channel};
pub use exit::{ChannelSink, Receiver, TryRecvError, collector};

#[cfg(test)]
mod tests;
