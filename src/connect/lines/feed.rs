//! From the thread that reads to the task that emits.

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use memchr::memchr;

use crate::error::Failure;
use crate::sys::thread;
use crate::task::context::SpoutContext;
use crate::task::waker::Waker;

use super::blocks::{BLOCK_BYTES, Block, Blocks};

/// Blocks that wait for the task.
const BLOCKS_MAX: usize = 8;

enum Message {
    Block(Block),
    /// Takes up room beside a long block, so that the number of messages bounds the bytes.
    Filler,
    End,
    Failed(String),
}

/// What is needed to start a feed.
#[derive(Clone)]
pub(super) struct FeedStart {
    waker: Waker,
    /// Under virtual time blocks are read by the task itself: what it finds then depends on nothing but the input.
    is_inline: bool,
}

impl FeedStart {
    pub fn new(ctx: &SpoutContext) -> Self {
        FeedStart { waker: ctx.waker(), is_inline: ctx.clock().is_virtual() }
    }

    /// Starts reading, on a thread of its own. The thread ends with its input, or soon after the feed is dropped; one
    /// that is blocked in a read is left behind and ends when that read returns, or with the process.
    pub fn start(&self, mut blocks: impl Blocks) -> Result<Feed, Failure> {
        if self.is_inline {
            return Ok(Feed(Kind::Inline(Box::new(blocks))));
        }
        let (sender, receiver) = bounded(BLOCKS_MAX);
        let waker = self.waker.clone();
        thread::spawn_helper("squall-reader", move || read(&mut blocks, &sender, &waker))
            .map_err(|error| Failure::retry(format!("cannot start a reading thread: {error}")))?;
        Ok(Feed(Kind::Thread(receiver)))
    }
}

/// The body of a reading thread.
fn read(blocks: &mut impl Blocks, sender: &Sender<Message>, waker: &Waker) {
    // A send fails when the task has gone or reads elsewhere: nothing is left to do.
    let send = |message| {
        let sent = sender.send(message).is_ok();
        waker.wake();
        sent
    };
    loop {
        let message = match blocks.next() {
            Ok(Some(block)) => Message::Block(block),
            Ok(None) => Message::End,
            Err(error) => Message::Failed(error.to_string()),
        };
        let fillers = match &message {
            Message::Block(block) => (block.lines.len() / BLOCK_BYTES).min(BLOCKS_MAX - 1),
            _ => 0,
        };
        let is_last = !matches!(message, Message::Block(_));
        if !send(message) || is_last || !(0..fillers).all(|_| send(Message::Filler)) {
            return;
        }
    }
}

/// Where a task gets its blocks from.
pub(super) struct Feed(Kind);

enum Kind {
    Inline(Box<dyn Blocks>),
    Thread(Receiver<Message>),
}

pub(super) enum Fed {
    Block(Block),
    /// Nothing yet; the waker will be used.
    Nothing,
    End,
}

impl Feed {
    fn poll(&mut self) -> Result<Fed, Failure> {
        match &mut self.0 {
            Kind::Inline(blocks) => Ok(blocks.next()?.map_or(Fed::End, Fed::Block)),
            Kind::Thread(receiver) => loop {
                return match receiver.try_recv() {
                    Ok(Message::Block(block)) => Ok(Fed::Block(block)),
                    Ok(Message::Filler) => continue,
                    Ok(Message::End) => Ok(Fed::End),
                    Ok(Message::Failed(error)) => Err(Failure::retry(error)),
                    Err(TryRecvError::Empty) => Ok(Fed::Nothing),
                    Err(TryRecvError::Disconnected) => Err(Failure::retry("the reading thread is gone")),
                };
            },
        }
    }
}

/// The lines of a feed.
pub(super) struct Lines {
    feed: Feed,
    block: Block,
    /// How much of the block has been given out.
    taken: usize,
}

pub(super) enum Line {
    Is {
        value: Bytes,
        /// Position of the line's first byte.
        start: u64,
        /// Position behind the line and its end.
        after: u64,
    },
    Nothing,
    End,
}

impl Lines {
    pub fn new(feed: Feed) -> Self {
        Lines { feed, block: Block::default(), taken: 0 }
    }

    /// Up to `len` bytes before a position, and the position of the first, if they are in the block at hand.
    pub fn before(&self, position: u64, len: usize) -> Option<(u64, &[u8])> {
        let to = usize::try_from(position.checked_sub(self.block.start)?).ok()?;
        let from = to.saturating_sub(len);
        let bytes = self.block.lines.get(from..to).filter(|bytes| !bytes.is_empty())?;
        Some((self.block.start + from as u64, bytes))
    }

    /// The next line. Tells `on_block` the size of each block taken from the feed.
    #[inline]
    pub fn poll(&mut self, on_block: impl Fn(u64)) -> Result<Line, Failure> {
        if self.taken == self.block.lines.len() {
            self.block = Block::default();
            self.taken = 0;
            match self.feed.poll()? {
                Fed::Block(block) => {
                    on_block(block.lines.len() as u64);
                    self.block = block;
                }
                Fed::Nothing => return Ok(Line::Nothing),
                Fed::End => return Ok(Line::End),
            }
        }
        let rest = &self.block.lines[self.taken..];
        let (len, ended_len) = memchr(b'\n', rest).map_or((rest.len(), rest.len()), |at| (at, at + 1));
        let value = self.block.lines.slice(self.taken..self.taken + len);
        let start = self.block.start + self.taken as u64;
        self.taken += ended_len;
        Ok(Line::Is { value, start, after: start + ended_len as u64 })
    }
}
