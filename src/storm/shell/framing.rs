//! Where one message ends and the next begins, in what a child process writes.

use std::fmt;
use std::io::{self, Read};

use memchr::memchr;

/// The longest message a child may send, unless it is set (`topology.multilang.message.max.bytes`).
pub const MESSAGE_MAX_BYTES: usize = 128 << 20;

/// Room for every read.
const CHUNK_BYTES: usize = 64 << 10;

/// Characters of an offending message that an error shows.
const SHOWN_CHARS: usize = 200;

/// How messages are written: what Storm calls `topology.multilang.serializer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serializer {
    /// One JSON text, a newline, `end`, a newline; the text may span lines.
    #[default]
    Json,
    /// MessagePack values one after another, as pystorm and streamparse write them.
    MsgPack,
}

impl Serializer {
    /// True if these can be the first bytes of an object.
    pub fn may_begin_with(self, bytes: &[u8]) -> bool {
        match self {
            Serializer::Json => bytes.trim_ascii_start().starts_with(b"{"),
            Serializer::MsgPack => matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
        }
    }
}

impl fmt::Display for Serializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Serializer::Json { "JSON" } else { "MessagePack" })
    }
}

/// Output of a child that is not what the protocol says: it ends the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOutput {
    /// What is wrong with it.
    pub what: String,
    /// The output, shortened.
    pub shown: String,
}

impl BadOutput {
    pub fn new(what: impl Into<String>, output: &[u8]) -> Self {
        BadOutput { what: what.into(), shown: shorten(output) }
    }
}

impl fmt::Display for BadOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.shown)
    }
}

/// The beginning of an output as text, with its length if it is longer.
pub fn shorten(output: &[u8]) -> String {
    let head = &output[..output.len().min(4 * SHOWN_CHARS)];
    let text = String::from_utf8_lossy(head);
    let shown: String = text.trim_end_matches('\n').chars().take(SHOWN_CHARS).collect();
    if shown.len() + 1 >= output.len() { shown } else { format!("{shown}… ({} bytes)", output.len()) }
}

/// Why there is no next message.
#[derive(Debug)]
pub enum NoMessage {
    /// The child has closed its output, between two messages.
    End,
    Bad(BadOutput),
    Io(io::Error),
}

/// Messages of a child, one after another.
pub struct Incoming<R> {
    input: R,
    serializer: Serializer,
    max_bytes: usize,
    /// Made once and then kept: clearing it for each read would cost more than most reads.
    buffer: Vec<u8>,
    /// Where what has not been given out begins.
    start: usize,
    /// Where what has been read ends.
    end: usize,
    search: Search,
}

/// How far the search for the end of the message at `start` has got.
#[derive(Clone, Copy)]
struct Search {
    /// Everything before it has been looked at.
    at: usize,
    /// JSON: where the line that is being looked at begins.
    line: usize,
    /// MessagePack: values that are still missing.
    missing: u64,
}

impl Search {
    fn from(at: usize) -> Self {
        Search { at, line: at, missing: 1 }
    }
}

/// A message found: where its text ends, and where the next one begins.
type Found = Option<(usize, usize)>;

impl<R: Read> Incoming<R> {
    pub fn new(input: R, serializer: Serializer) -> Self {
        Incoming {
            input,
            serializer,
            max_bytes: MESSAGE_MAX_BYTES,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            search: Search::from(0),
        }
    }

    /// With another limit on the length of a message.
    pub fn at_most(self, max_bytes: usize) -> Self {
        Incoming { max_bytes, ..self }
    }

    /// Waits for the beginning of the next message: what there is of it.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn begin(&mut self) -> Result<&[u8], NoMessage> {
        while self.buffer[self.start..self.end].trim_ascii().is_empty() {
            if self.read_more().map_err(NoMessage::Io)? == 0 {
                return Err(NoMessage::End);
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// At the end of the output, if a message is too long or only half there, or if reading fails.
    pub fn next(&mut self) -> Result<&[u8], NoMessage> {
        loop {
            if let Some((end, next)) = self.find() {
                let start = std::mem::replace(&mut self.start, next);
                self.search = Search::from(next);
                return Ok(&self.buffer[start..end]);
            }
            let waiting = &self.buffer[self.start..self.end];
            if waiting.len() > self.max_bytes {
                let what =
                    format!("a message of more than {} bytes (topology.multilang.message.max.bytes)", self.max_bytes);
                return Err(NoMessage::Bad(BadOutput::new(what, waiting)));
            }
            if self.read_more().map_err(NoMessage::Io)? == 0 {
                let waiting = &self.buffer[self.start..self.end];
                return Err(if waiting.is_empty() {
                    NoMessage::End
                } else {
                    NoMessage::Bad(BadOutput::new("its output ended in the middle of a message", waiting))
                });
            }
        }
    }

    fn find(&mut self) -> Found {
        let (buffer, start) = (&self.buffer[..self.end], self.start);
        match self.serializer {
            Serializer::Json => find_end_line(buffer, start, &mut self.search),
            Serializer::MsgPack => find_end_of_value(buffer, &mut self.search),
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        // What has been given out makes room, once that moves little.
        if self.start > 0 && self.end - self.start <= self.start {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.search.at -= self.start;
            self.search.line -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.end + CHUNK_BYTES {
            self.buffer.resize(2 * self.end + CHUNK_BYTES, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => return read.inspect(|bytes| self.end += bytes),
            }
        }
    }
}

/// Looks for a line `end`.
fn find_end_line(buffer: &[u8], start: usize, search: &mut Search) -> Found {
    while let Some(length) = memchr(b'\n', &buffer[search.at..]) {
        let next = search.at + length + 1;
        let line_start = std::mem::replace(&mut search.line, next);
        search.at = next;
        let line = &buffer[line_start..next - 1];
        if line == b"end" || line == b"end\r" {
            // Without the newline before the line.
            return Some((line_start.saturating_sub(1).max(start), next));
        }
    }
    search.at = buffer.len();
    None
}

/// Walks over the headers of MessagePack values until none is missing.
fn find_end_of_value(buffer: &[u8], search: &mut Search) -> Found {
    while search.missing > 0 {
        let (skip, inside) = value_at(&buffer[search.at.min(buffer.len())..])?;
        search.at = search.at.saturating_add(skip);
        search.missing = search.missing - 1 + inside;
    }
    (search.at <= buffer.len()).then_some((search.at, search.at))
}

/// Bytes of the value at the beginning of the buffer without the values inside it, and how many those are; `None` if
/// its header is not complete. The bytes may go beyond the buffer.
fn value_at(buffer: &[u8]) -> Option<(usize, u64)> {
    let number = |bytes: usize| -> Option<usize> {
        let digits = buffer.get(1..=bytes)?;
        Some(digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)))
    };
    let first = *buffer.first()?;
    Some(match first {
        0x00..=0x7f | 0xc0..=0xc3 | 0xe0..=0xff => (1, 0),
        0x80..=0x8f => (1, 2 * u64::from(first & 0x0f)),
        0x90..=0x9f => (1, u64::from(first & 0x0f)),
        0xa0..=0xbf => (1 + usize::from(first & 0x1f), 0),
        0xc4 | 0xd9 => (2 + number(1)?, 0),
        0xc5 | 0xda => (3 + number(2)?, 0),
        0xc6 | 0xdb => (5 + number(4)?, 0),
        0xc7 => (3 + number(1)?, 0),
        0xc8 => (4 + number(2)?, 0),
        0xc9 => (6 + number(4)?, 0),
        0xcc | 0xd0 => (2, 0),
        0xcd | 0xd1 => (3, 0),
        0xca | 0xce | 0xd2 => (5, 0),
        0xcb | 0xcf | 0xd3 => (9, 0),
        0xd4..=0xd8 => (2 + (1 << (first - 0xd4)), 0),
        0xdc => (3, number(2)? as u64),
        0xdd => (5, number(4)? as u64),
        0xde => (3, 2 * number(2)? as u64),
        0xdf => (5, 2 * number(4)? as u64),
    })
}
