//! Lines of files and of standard input, as bytes, without copying and without ever blocking an executor.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::connect::place_of;
use crate::error::{Error, Failure};
use crate::sys::stdin::Turn;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::task::component::{Outcome, Polled, Position, Replayable, Source, SplitId};
use crate::task::context::SpoutContext;
use crate::topology::Progress;

mod blocks;
mod feed;
mod identity;
mod splits;

use blocks::{Cutter, RangeBlocks, StreamBlocks};
use feed::{FeedStart, Line, Lines};
use identity::{Identity, SAMPLE_BYTES};
use splits::Split;

/// The lines of a file, each without its `\n`: bytes, never checked to be text; a `\r` before the line end is kept. A
/// last line without a line end counts.
///
/// The file is read on a thread of its own in blocks of 256 KiB, of which at most eight wait; a line is a slice of its
/// block and costs no copy. A line kept for long therefore keeps its block: copy what you keep
/// (`Bytes::copy_from_slice`). A line longer than a block is held once, and up to twice while it is being read.
///
/// **Splits.** The file is cut into one byte range per task, named `path:start-end`; a range owns the lines that
/// *start* in it, so every line is read exactly once whatever the number of tasks. The position is the byte offset of a
/// line, plus the file's size for every full [repetition](Self::repeat). The size is taken when the source is opened;
/// what is appended later is not read.
///
/// A pipe, a device or a file that does not tell its size (as in `/proc`) is read by the first task alone, and cannot
/// be resumed.
///
/// A clone is a source of its own for the same file, not yet opened.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use squall::{Outlet, TopologyBuilder, connect::FileLines};
///
/// let file = FileLines::new("Cargo.toml").repeat(2);
/// file.check()?; // a clear message, before anything starts, if the file is not there
/// let progress = file.progress();
///
/// let mut t = TopologyBuilder::new("line-lengths");
/// let lines = t.source("lines", move || file.clone());
/// t.bolt("length", |line: Bytes, out: &mut Outlet<usize>| out.emit(line.len())).shuffle(&lines);
/// # t.build()?;
/// assert_eq!(progress.done(), 0);
/// # Ok::<(), squall::Error>(())
/// ```
pub struct FileLines {
    path: Arc<Path>,
    rounds: u64,
    bytes_read: Arc<AtomicU64>,
    opened: Option<Opened>,
}

/// What a file source knows once it is open.
struct Opened {
    start: FeedStart,
    /// Position of this task among the component's, and their number.
    index: usize,
    count: usize,
    input: Input,
}

/// Bytes that all tasks have read, never more than the total; bytes read again after a rebuild count again.
fn progress(bytes_total: Option<u64>, bytes_read: &Arc<AtomicU64>) -> Progress {
    let bytes_read = Arc::clone(bytes_read);
    Progress::new(Progress::BYTES, bytes_total, move || bytes_read.load(Ordering::Relaxed))
}

enum Input {
    /// A file of this size, read split by split.
    Ranges { size: u64, head: Identity, splits: Vec<Split>, lines: Option<Lines> },
    /// Anything else; `None` once it has ended, and in all tasks but the first.
    Stream(Option<Lines>),
}

impl Clone for FileLines {
    fn clone(&self) -> Self {
        let (path, bytes_read) = (Arc::clone(&self.path), Arc::clone(&self.bytes_read));
        FileLines { path, rounds: self.rounds, bytes_read, opened: None }
    }
}

impl FileLines {
    /// The lines of the file at a path, once. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileLines { path: path.into().into(), rounds: 1, bytes_read: Arc::default(), opened: None }
    }

    /// Reads the file this many times, one after the other; each task repeats its own part. 0 reads nothing.
    pub fn repeat(mut self, times: u64) -> Self {
        self.rounds = times;
        self
    }

    /// Where the lines come from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that tells how far this source and its clones have read; the total is as of now.
    pub fn progress(&self) -> Progress {
        let bytes_total = self.known_size().map(|size| size.saturating_mul(self.rounds));
        progress(bytes_total, &self.bytes_read)
    }

    /// Finds out, before anything starts, whether the file can be read.
    ///
    /// # Errors
    /// A usage error that names the path and the remedy: the file is missing, is a directory, may not be read, or is to
    /// be repeated although it can be read only once.
    pub fn check(&self) -> Result<(), Error> {
        let place = self.path.display().to_string();
        let problem = |error: std::io::Error| {
            let advice = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file; check the path".to_owned(),
                std::io::ErrorKind::PermissionDenied => {
                    "the file may not be read by this user; change its permissions or give another file".to_owned()
                }
                _ => format!("the file cannot be read: {error}; give another file"),
            };
            Error::usage(place.clone(), advice)
        };
        let found = fs::metadata(&self.path).map_err(problem)?;
        if found.is_dir() {
            return Err(Error::usage(place, "this is a directory; give a file"));
        }
        if found.is_file() {
            File::open(&self.path).map_err(problem)?;
        } else if self.rounds > 1 {
            // Opening it to see would already take from it.
            return Err(Error::usage(place, "a pipe or device can be read only once; repeat a file instead"));
        }
        Ok(())
    }

    /// The size, of a regular file that has one; those of `/proc` say 0 and are not empty.
    fn known_size(&self) -> Option<u64> {
        let found = fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file)?;
        let is_empty = || File::open(&self.path).and_then(|mut file| file.read(&mut [0])).is_ok_and(|read| read == 0);
        (found.len() > 0 || is_empty()).then_some(found.len())
    }

    fn open_input(&self, start: &FeedStart, index: usize) -> Result<Input, Failure> {
        if let Some(size) = self.known_size() {
            let head = Identity::of_head(&self.path, size)?;
            return Ok(Input::Ranges { size, head, splits: Vec::new(), lines: None });
        }
        let blocks = StreamBlocks { path: Arc::clone(&self.path), rounds: self.rounds, position: 0, cutter: None };
        let lines = if index == 0 { Some(Lines::new(start.start(blocks)?)) } else { None };
        Ok(Input::Stream(lines))
    }

    /// The splits, of an open input that has any.
    fn splits_mut(&mut self) -> Option<(u64, &mut Vec<Split>, &mut Option<Lines>)> {
        match &mut self.opened.as_mut()?.input {
            Input::Ranges { size, splits, lines, .. } => Some((*size, splits, lines)),
            Input::Stream(_) => None,
        }
    }
}

impl Source for FileLines {
    type Item = Bytes;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.check().map_err(|error| Failure::fatal(error.to_string()))?;
        let start = FeedStart::new(ctx);
        let input = self.open_input(&start, ctx.info().index)?;
        self.opened = Some(Opened { start, index: ctx.info().index, count: ctx.info().count, input });
        Ok(())
    }

    fn poll(&mut self) -> Result<Polled<Bytes>, Failure> {
        let opened = self.opened.as_mut().expect("a source is opened before anything else");
        let count_block = |bytes| add(&self.bytes_read, bytes);
        match &mut opened.input {
            Input::Stream(lines) => poll_stream(lines, count_block),
            Input::Ranges { size, splits, lines, .. } => loop {
                let Some((number, split)) = splits.iter_mut().enumerate().find(|(_, split)| !split.is_done) else {
                    return Ok(Polled::Finished);
                };
                let reading = match lines {
                    Some(lines) => lines,
                    None => lines.insert(Lines::new(opened.start.start(RangeBlocks {
                        path: Arc::clone(&self.path),
                        size: *size,
                        start: split.start,
                        end: split.end,
                        position: split.position,
                        rounds: self.rounds,
                        cutter: None,
                    })?)),
                };
                match reading.poll(count_block)? {
                    Line::Is { value, start, after } => {
                        split.position = after;
                        return Ok(Polled::Item { value, split: number, position: Position(start) });
                    }
                    Line::Nothing => return Ok(Polled::Idle),
                    Line::End => {
                        split.position = *size * self.rounds;
                        split.is_done = true;
                        *lines = None;
                    }
                }
            },
        }
    }

    fn close(&mut self) {
        self.opened = None;
    }

    fn reads(&self) -> Option<String> {
        place_of(&self.path)
    }

    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        let has_splits = match &self.opened {
            Some(opened) => matches!(opened.input, Input::Ranges { .. }),
            None => self.known_size().is_some(),
        };
        if has_splits { Some(self) } else { None }
    }
}

fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

/// Reads what cannot be split; forgets the feed when it ends.
fn poll_stream(lines: &mut Option<Lines>, count_block: impl Fn(u64)) -> Result<Polled<Bytes>, Failure> {
    let Some(reading) = lines else { return Ok(Polled::Finished) };
    Ok(match reading.poll(count_block)? {
        Line::Is { value, start, .. } => Polled::Item { value, split: 0, position: Position(start) },
        Line::Nothing => Polled::Idle,
        Line::End => {
            *lines = None;
            Polled::Finished
        }
    })
}

impl Replayable for FileLines {
    fn default_splits(&self) -> Vec<SplitId> {
        match &self.opened {
            Some(Opened { index, count, input: Input::Ranges { size, .. }, .. }) => {
                splits::default_of(&self.path, *size, *index, *count).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn assign(&mut self, assigned: &[(SplitId, Option<Position>)]) -> Outcome {
        let (path, rounds) = (Arc::clone(&self.path), self.rounds);
        let Some((size, splits, lines)) = self.splits_mut() else {
            return Err(Failure::fatal(format!("{} is not open, or cannot be read from a position", path.display())));
        };
        let parse = |(id, position): &(SplitId, Option<Position>)| splits::parse(&path, size, rounds, id, *position);
        let parsed = assigned.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        for split in parsed {
            match splits.iter_mut().find(|known| known.id == split.id) {
                Some(known) => *known = split,
                None => splits.push(split),
            }
        }
        // Whatever is being read goes on from its split's position, which is the next line to give out.
        *lines = None;
        Ok(())
    }

    fn revoke(&mut self, revoked: &[SplitId]) {
        if let Some((_, splits, lines)) = self.splits_mut() {
            splits.retain(|split| !revoked.contains(&split.id));
            *lines = None;
        }
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        match &self.opened {
            Some(Opened { input: Input::Ranges { splits, .. }, .. }) => {
                splits.iter().map(|split| (split.id.clone(), Position(split.position))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The size of the file, and a hash of up to 16 KiB before the position, or of its beginning where the bytes before
    /// the position are not at hand any more.
    fn identity(&self, _split: &str, position: Position) -> Option<String> {
        let Input::Ranges { size, head, lines, .. } = &self.opened.as_ref()?.input else { return None };
        let before = lines.as_ref().and_then(|lines| lines.before(position.0, SAMPLE_BYTES));
        let identity = before.map_or(*head, |(start, bytes)| Identity::of(*size, start % size, bytes));
        Some(identity.to_string())
    }

    fn check_identity(&mut self, _split: &str, _position: Position, identity: &str) -> Outcome {
        match &self.opened {
            Some(Opened { input: Input::Ranges { size, .. }, .. }) => Identity::check(&self.path, *size, identity),
            _ => Err(Failure::fatal(format!("{} is not a file that could be read again", self.path.display()))),
        }
    }
}

/// The lines of standard input, as [`FileLines`] gives those of a file. Read by the first task alone.
///
/// Cannot be resumed: after a failure of the process, what was read is gone. The thread that reads is left behind in
/// its read when the topology stops; it keeps neither the topology nor the process alive, but it takes the next block
/// of standard input with it. One at a time reads it: a second one stops its start.
///
/// A clone is a source of its own, not yet opened.
#[derive(Default)]
pub struct StdinLines {
    bytes_read: Arc<AtomicU64>,
    lines: Option<Lines>,
    turn: Option<Turn>,
}

impl Clone for StdinLines {
    fn clone(&self) -> Self {
        StdinLines { bytes_read: Arc::clone(&self.bytes_read), lines: None, turn: None }
    }
}

impl StdinLines {
    /// The lines of standard input.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that tells how far this source and its clones have read; the total is unknown.
    pub fn progress(&self) -> Progress {
        progress(None, &self.bytes_read)
    }
}

const READ_ALREADY: &str = "standard input is read by another source of this process already, and each would get \
                            halves of lines: subscribe to one source, or read files";

impl Source for StdinLines {
    type Item = Bytes;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        if ctx.info().index == 0 {
            let turn = Turn::take().ok_or_else(|| Failure::fatal(READ_ALREADY))?;
            self.turn = Some(turn);
            let cutter = Cutter::all(std::io::stdin());
            self.lines = Some(Lines::new(FeedStart::new(ctx).start(cutter)?));
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Polled<Bytes>, Failure> {
        poll_stream(&mut self.lines, |bytes| add(&self.bytes_read, bytes))
    }

    fn close(&mut self) {
        (self.lines, self.turn) = (None, None);
    }
}

#[cfg(test)]
mod tests;
