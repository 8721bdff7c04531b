//! The word count: lines of a file, split into words, counted by word.
//!
//! ```sh
//! cargo run --release --example word_count
//! cargo run --release --example word_count -- --input book.txt --output counts.tsv --parallelism 2
//! cargo run --release --example word_count -- --output counts.tsv --guarantee exactly-once --state counts.state
//! ```
//!
//! The last one may be killed at any time, also with `kill -9`: the same command line goes on where it was.
//!
//! A word is a maximal run of bytes other than ASCII white space (space, tab, newline, carriage return, vertical tab,
//! form feed), kept as it is; input need not be text.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;
use squall::connect::{FileLines, FileSink, StdinLines, Transactional};
use squall::state::{StateVisitor, ValueState};
use squall::sys::random::Random;
use squall::task::metrics::FaultCounters;
use squall::topology::builder::SourceHandle;
use squall::{BoltContext, CurrentKey, Failure, KeyedBolt, Outcome, Outlet, Stream, Topology, TopologyBuilder};

/// Counts the words of a text
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The text; `-` for standard input [default: the King James Bible, shipped with squall]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Write all counts to this file as `word<TAB>count`, sorted by the bytes of the word; it becomes visible as
    /// a whole at the end
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Read the input this many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: u64,
    /// Tasks of `split` and of `count`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub parallelism: u32,
    /// How many of the most frequent words to print
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Fail this share of the words before they are counted, to see replay at work
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub fail_rate: f64,
    /// Panic at every Nth word of each count task, before it is counted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub panic_every: Option<u64>,
    /// Fail every line that holds this word, until it is dead-lettered
    #[arg(long, value_name = "WORD")]
    pub poison: Option<String>,
    /// Replays of a failed line before it is dead-lettered [default: 3 with --poison, else as the settings say]
    #[arg(long, value_name = "N")]
    pub max_replays: Option<u32>,
}

/// Words up to 24 bytes take no allocation.
type Word = SmallVec<[u8; 24]>;

/// The topology: `lines` to `split` to `count` to `report`, and to `output` if the counts are written.
///
/// # Errors
/// When the options make no sense, or the input cannot be read.
pub fn build(args: &Args) -> squall::Result<Topology> {
    if !(0.0..=1.0).contains(&args.fail_rate) {
        return Err(squall::Error::usage("--fail-rate", "expected a share between 0 and 1"));
    }
    let output = args.output.as_ref().map(FileSink::whole);
    output.as_ref().map_or(Ok(()), FileSink::check)?;
    let mut t = TopologyBuilder::new("word-count");
    // A poisoned line never succeeds.
    let replays = args.max_replays.or(args.poison.as_ref().map(|_| 3));
    let lines = lines(&mut t, args, replays)?;
    let tasks = args.parallelism as usize;
    let words = t.bolt("split", split).parallelism(tasks).shuffle(&lines);
    let faults = Faults::new(args, t.fault_counters());
    let counts =
        t.bolt("count", move || Count::new(faults.clone())).parallelism(tasks).fields(&words, |word: &Word| word);
    let (is_written, top) = (output.is_some(), args.top);
    let report = t
        .bolt("report", move || Report { counts: ValueState::new("gathered"), is_written, top })
        .fields(&counts, |(word, _): &(Word, u64)| word);
    if let Some(output) = output {
        t.bolt("output", move || Transactional::new(output.clone())).global(&report);
    }
    t.build()
}

/// The lines of the input, from wherever it is.
fn lines(t: &mut TopologyBuilder, args: &Args, replays: Option<u32>) -> squall::Result<Stream<Bytes>> {
    if args.input.as_deref() == Some(Path::new("-")) {
        if args.repeat != 1 {
            return Err(squall::Error::usage("--repeat", "standard input can be read only once"));
        }
        return Ok(limited(t.source("lines", StdinLines::new), replays));
    }
    let shipped = || concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/data/kjv.txt").into();
    let source = FileLines::new(args.input.clone().unwrap_or_else(shipped)).repeat(args.repeat);
    source.check()?;
    t.progress(source.progress());
    Ok(limited(t.source("lines", move || source.clone()), replays))
}

fn limited(lines: SourceHandle<Bytes>, replays: Option<u32>) -> Stream<Bytes> {
    match replays {
        Some(replays) => lines.max_replays(replays).clone(),
        None => lines.clone(),
    }
}

/// Lines up to this size are split in one go; longer ones word by word, as room appears.
const LINE_BYTES_AT_ONCE: usize = 4_096;

fn split(line: Bytes, out: &mut Outlet<Word>) {
    if line.len() > LINE_BYTES_AT_ONCE {
        out.hand_over(Words { line, at: 0 });
        return;
    }
    for word in line.split(|&byte| is_space(byte)).filter(|word| !word.is_empty()) {
        out.emit(Word::from_slice(word));
    }
}

/// ASCII white space as C's `isspace` has it: unlike Rust's `is_ascii_whitespace`, with the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The words of a line that is too long to be split in one go.
struct Words {
    line: Bytes,
    at: usize,
}

impl Iterator for Words {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        let start = self.at + self.line[self.at..].iter().position(|&byte| !is_space(byte))?;
        let length = self.line[start..].iter().position(|&byte| is_space(byte));
        self.at = length.map_or(self.line.len(), |length| start + length);
        Some(Word::from_slice(&self.line[start..self.at]))
    }
}

/// The faults to inject, shared by all instances of the count bolt.
#[derive(Clone)]
struct Faults {
    fail_rate: f64,
    panic_every: Option<u64>,
    poison: Option<Arc<[u8]>>,
    counters: Arc<FaultCounters>,
    /// Executes of each task, which outlive its instances.
    executed: Arc<Mutex<HashMap<usize, Arc<AtomicU64>>>>,
}

impl Faults {
    fn new(args: &Args, counters: Arc<FaultCounters>) -> Self {
        let poison = args.poison.as_ref().map(|word| word.as_bytes().into());
        Faults { fail_rate: args.fail_rate, panic_every: args.panic_every, poison, counters, executed: Arc::default() }
    }

    fn are_any(&self) -> bool {
        self.fail_rate > 0.0 || self.panic_every.is_some() || self.poison.is_some()
    }
}

/// Counts words in keyed state. Without checkpoints a rebuilt instance starts from nothing.
struct Count {
    counts: ValueState<Word, u64>,
    faults: Faults,
    injects: bool,
    executed: Arc<AtomicU64>,
    random: Random,
}

impl Count {
    fn new(faults: Faults) -> Self {
        let injects = faults.are_any();
        let counts = ValueState::new("counts");
        Count { counts, faults, injects, executed: Arc::default(), random: Random::new(0) }
    }

    fn inject(&mut self, word: &Word) -> Outcome {
        let nth = self.executed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.faults.panic_every.is_some_and(|every| nth.is_multiple_of(every)) {
            self.faults.counters.count_panic();
            panic!("injected at execute {nth} of this task");
        }
        let poisoned = self.faults.poison.as_deref() == Some(&word[..]);
        if poisoned || (self.faults.fail_rate > 0.0 && self.random.chance(self.faults.fail_rate)) {
            self.faults.counters.count_fail();
            return Err(Failure::retry("injected"));
        }
        Ok(())
    }
}

impl KeyedBolt for Count {
    type Key = Word;
    type In = Word;
    type Out = (Word, u64);

    fn states(&mut self, visit: &mut dyn StateVisitor<Word>) {
        visit.state(&mut self.counts);
    }

    fn prepare(&mut self, ctx: &mut BoltContext<(Word, u64)>) -> Outcome {
        let mut executed = self.faults.executed.lock().expect("nothing panics under it");
        self.executed = executed.entry(ctx.info().index).or_default().clone();
        self.random = ctx.random();
        Ok(())
    }

    fn execute(&mut self, key: CurrentKey<Word>, word: Word, _out: &mut Outlet<(Word, u64)>) -> Outcome {
        if self.injects {
            self.inject(&word)?;
        }
        self.counts.update(&key, |count| *count += 1);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<(Word, u64)>) -> Outcome {
        let counts: Vec<(Word, u64)> = self.counts.iter().map(|(word, count)| (word.clone(), *count)).collect();
        out.hand_over(counts.into_iter());
        Ok(())
    }
}

/// Gathers the counts of all tasks, passes them on in order if they are written, prints the most frequent ones.
struct Report {
    /// State: the tasks that count have made their last call when these are there, and are not asked again.
    counts: ValueState<Word, u64>,
    is_written: bool,
    top: usize,
}

impl KeyedBolt for Report {
    type Key = Word;
    type In = (Word, u64);
    type Out = Vec<u8>;

    fn states(&mut self, visit: &mut dyn StateVisitor<Word>) {
        visit.state(&mut self.counts);
    }

    fn execute(&mut self, word: CurrentKey<Word>, (_, count): (Word, u64), _out: &mut Outlet<Vec<u8>>) -> Outcome {
        self.counts.set(&word, count);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Vec<u8>>) -> Outcome {
        let mut counts: Vec<(Word, u64)> = self.counts.iter().map(|(word, count)| (word.clone(), *count)).collect();
        // Most frequent first, equally frequent ones by the word.
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let top = counts.iter().take(self.top).map(|(word, count)| format!("{count:>10}  {}\n", shown(word)));
        let text: String = top.collect();
        squall::observe::above(|| std::io::stdout().write_all(text.as_bytes()))?;
        if self.is_written {
            counts.sort_unstable();
            out.hand_over(counts.into_iter().map(|(word, count)| line(&word, count)));
        }
        Ok(())
    }
}

fn line(word: &Word, count: u64) -> Vec<u8> {
    [word, format!("\t{count}").as_bytes()].concat()
}

/// A word for people: no control characters, not endless.
fn shown(word: &Word) -> String {
    const SHOWN_BYTES_MAX: usize = 60;
    let text = word[..word.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string();
    if word.len() > SHOWN_BYTES_MAX { format!("{text}... ({} bytes)", word.len()) } else { text }
}

fn main() -> ExitCode {
    squall::cli::run(build)
}
