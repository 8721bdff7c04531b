//! Cuts a byte stream into blocks of whole lines, off the executor, so that the task only has to look for line ends.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memchr::{memchr, memrchr};

/// How much is read at a time, and the size of a block unless one line is longer.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Whole lines, each ended by `\n` but for the last of an input that ends without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub lines: Bytes,
    /// Position of the first byte.
    pub start: u64,
}

/// A sequence of blocks; `None` is its end.
pub(super) trait Blocks: Send + Sync + 'static {
    /// Reads until there is at least one whole line. May block.
    fn next(&mut self) -> io::Result<Option<Block>>;
}

/// The lines of an input that *start* before an end.
pub(super) struct Cutter<R> {
    input: R,
    /// `filled` bytes of input, then room for more. Between calls it holds the beginning of a line, with no line end in
    /// it.
    buffer: Vec<u8>,
    filled: usize,
    /// Position of the buffer's first byte.
    offset: u64,
    /// Lines starting here or later belong to someone else.
    end: u64,
    /// The input began inside a line, or just before its end: what comes up to and including the first line end is
    /// someone else's.
    skips_first: bool,
    is_done: bool,
}

impl<R: Read> Cutter<R> {
    /// Cuts everything.
    pub fn all(input: R) -> Self {
        Self::new(input, 0, u64::MAX, false)
    }

    fn new(input: R, offset: u64, end: u64, skips_first: bool) -> Self {
        Cutter { input, buffer: Vec::new(), filled: 0, offset, end, skips_first, is_done: offset >= end }
    }

    /// The next block.
    pub fn cut(&mut self) -> io::Result<Option<Block>> {
        while !self.is_done {
            let fresh = self.filled;
            if self.fill()? == 0 {
                self.is_done = true;
                let rest = self.filled > 0 && !self.skips_first;
                return Ok(rest.then(|| self.take(self.filled)));
            }
            if let Some(len) = self.line_ends(fresh) {
                return Ok(Some(self.take(len)));
            }
        }
        Ok(None)
    }

    /// Reads once; 0 is the end of the input.
    fn fill(&mut self) -> io::Result<usize> {
        if self.filled == self.buffer.len() {
            // The capacity doubles, but only what is about to be read is touched: a long line costs no more than twice
            // its size while the buffer moves.
            self.buffer.resize(self.filled + BLOCK_BYTES, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(read) => {
                    self.filled += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Length of the whole lines in the buffer, whose bytes from `fresh` on have not been looked at. Decides when it is
    /// done.
    fn line_ends(&mut self, mut fresh: usize) -> Option<usize> {
        if self.skips_first {
            let Some(at) = memchr(b'\n', &self.buffer[fresh..self.filled]) else {
                self.offset += self.filled as u64;
                self.filled = 0;
                self.is_done = self.offset >= self.end;
                return None;
            };
            self.skips_first = false;
            self.discard(fresh + at + 1);
            fresh = 0;
            self.is_done = self.offset >= self.end;
            if self.is_done {
                return None;
            }
        }
        // A line end at `end - 1` or later is followed by a line that starts at `end` or later.
        let last_end = usize::try_from(self.end - 1 - self.offset).unwrap_or(usize::MAX).max(fresh);
        if last_end < self.filled
            && let Some(at) = memchr(b'\n', &self.buffer[last_end..self.filled])
        {
            self.is_done = true;
            return Some(last_end + at + 1);
        }
        memrchr(b'\n', &self.buffer[fresh..self.filled]).map(|at| fresh + at + 1)
    }

    /// The first `len` bytes as a block. An ordinary block is copied out, and takes no more memory than its bytes; a
    /// line longer than a block is given away together with the buffer.
    fn take(&mut self, len: usize) -> Block {
        let start = self.offset;
        if len <= BLOCK_BYTES {
            let lines = Bytes::copy_from_slice(&self.buffer[..len]);
            self.discard(len);
            return Block { lines, start };
        }
        let rest = self.buffer[len..self.filled].to_vec();
        self.buffer.truncate(len);
        self.filled = rest.len();
        self.offset += len as u64;
        Block { lines: std::mem::replace(&mut self.buffer, rest).into(), start }
    }

    fn discard(&mut self, len: usize) {
        self.buffer.copy_within(len..self.filled, 0);
        self.filled -= len;
        self.offset += len as u64;
    }
}

impl<R: Read + Send + Sync + 'static> Blocks for Cutter<R> {
    fn next(&mut self) -> io::Result<Option<Block>> {
        self.cut()
    }
}

/// The lines of a range of a file, one or several times. Positions go on from one time to the next: the byte at
/// `offset` has position `round * size + offset`.
pub(super) struct RangeBlocks {
    pub path: Arc<Path>,
    /// Size of the file when the source was opened; what is appended later is not read.
    pub size: u64,
    /// Lines that start in this range...
    pub start: u64,
    pub end: u64,
    /// ...from this position on.
    pub position: u64,
    pub rounds: u64,
    pub cutter: Option<Cutter<Take<File>>>,
}

impl RangeBlocks {
    fn cutter_at(&self, offset: u64) -> io::Result<Cutter<Take<File>>> {
        let mut file = File::open(&self.path)?;
        // The byte before tells whether a line starts at `offset`.
        let from = offset.saturating_sub(1);
        file.seek(SeekFrom::Start(from))?;
        let input = file.take(self.size - from);
        Ok(Cutter::new(input, from, self.end, offset > 0))
    }
}

impl Blocks for RangeBlocks {
    fn next(&mut self) -> io::Result<Option<Block>> {
        loop {
            let round = self.position / self.size;
            if round >= self.rounds {
                return Ok(None);
            }
            let cutter = match &mut self.cutter {
                Some(cutter) => cutter,
                None => {
                    let offset = (self.position % self.size).max(self.start);
                    let cutter = self.cutter_at(offset)?;
                    self.cutter.insert(cutter)
                }
            };
            if let Some(mut block) = cutter.cut()? {
                block.start += round * self.size;
                return Ok(Some(block));
            }
            self.cutter = None;
            self.position = (round + 1) * self.size;
        }
    }
}

/// An input of unknown size, one or several times.
pub(super) struct StreamBlocks {
    pub path: Arc<Path>,
    pub rounds: u64,
    pub position: u64,
    pub cutter: Option<Cutter<File>>,
}

impl Blocks for StreamBlocks {
    fn next(&mut self) -> io::Result<Option<Block>> {
        while self.rounds > 0 {
            let cutter = match &mut self.cutter {
                Some(cutter) => cutter,
                None => self.cutter.insert(Cutter::all(File::open(&self.path)?)),
            };
            if let Some(mut block) = cutter.cut()? {
                block.start = self.position;
                self.position += block.lines.len() as u64;
                return Ok(Some(block));
            }
            self.cutter = None;
            self.rounds -= 1;
        }
        Ok(None)
    }
}
