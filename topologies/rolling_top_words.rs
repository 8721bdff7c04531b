//! Rolling top words: sliding counts by ticks, rankings in parallel, one ranking of rankings (after Storm's
//! RollingTopWords).
//!
//! ```sh
//! cargo run --release --example rolling_top_words -- --words 200000 --top 5
//! ```

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use hashbrown::HashMap;
use squall::connect::Generator;
use squall::sys::random::mix;
use squall::{Bolt, CurrentKey, KeyedBolt, Nothing, Outcome, Outlet, Topology, TopologyBuilder};

/// Ranks the most frequent words of the last seconds, all the time
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Words to generate; without it there is no end
    #[arg(long, value_name = "N")]
    pub words: Option<u64>,
    /// Words per second
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// Length of the window
    #[arg(long, value_name = "MS", default_value_t = 9_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub window_ms: u64,
    /// The window slides, and rankings go out, this often
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub slide_ms: u64,
    /// Words in a ranking
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,
}

const VOCABULARY: [&str; 8] = ["storm", "squall", "breeze", "gale", "calm", "gust", "tornado", "zephyr"];

/// A word and how often it came in the window.
pub type Ranked = (&'static str, u64);
/// The most frequent words, most frequent first.
pub type Ranking = Vec<Ranked>;

/// Lower numbers come more often, so that there is something to rank.
fn word(n: u64) -> &'static str {
    let roll = mix(n) % 36;
    // 8 + 7 + ... + 1 = 36
    let mut index = 0;
    let mut left = roll;
    while left >= 8 - index {
        left -= 8 - index;
        index += 1;
    }
    VOCABULARY[index as usize]
}

/// The topology: `words` to `count` by word, to `rank` by word, to `merge`, to `print`.
///
/// # Errors
/// When the options make no sense.
pub fn build(args: &Args) -> squall::Result<Topology> {
    let slots = args.window_ms / args.slide_ms;
    if slots == 0 || !args.window_ms.is_multiple_of(args.slide_ms) {
        return Err(squall::Error::usage("--window-ms", "the window must be a multiple of the slide"));
    }
    let slide = Duration::from_millis(args.slide_ms);
    let (count, rate, top) = (args.words, args.rate, args.top);
    let mut t = TopologyBuilder::new("rolling-top-words");
    let words = t.source("words", move || match count {
        Some(count) => Generator::new(count, word).rate(rate),
        None => Generator::endless(word).rate(rate),
    });
    let counts = t
        .bolt("count", move || RollingCount::new(slots as usize))
        .parallelism(2)
        .tick(slide)
        .fields_by(&words, |word: &&'static str| (*word).to_owned());
    let rankings = t
        .bolt("rank", move || Rank::new(top))
        .parallelism(2)
        .tick(slide)
        .fields_by(counts.via(|ranked: Ranked| vec![ranked]), |ranking: &Ranking| ranking[0].0.to_owned());
    let merged = t.bolt("merge", move || Rank::new(top)).tick(slide).global(&rankings);
    t.bolt("print", print).global(&merged);
    t.build()
}

/// Counts each word over the last slots; a tick emits the counts and moves on by a slot.
pub struct RollingCount {
    /// By word: the counts of the window's slots, newest last.
    slots: HashMap<&'static str, VecDeque<u64>>,
    length: usize,
}

impl RollingCount {
    /// A window of this many slots.
    pub fn new(length: usize) -> Self {
        RollingCount { slots: HashMap::new(), length }
    }

    fn emit_counts(&mut self, out: &mut Outlet<Ranked>) {
        for (word, slots) in &self.slots {
            out.emit((word, slots.iter().sum()));
        }
    }
}

impl KeyedBolt for RollingCount {
    type Key = String;
    type In = &'static str;
    type Out = Ranked;

    fn execute(&mut self, _key: CurrentKey<String>, word: &'static str, _out: &mut Outlet<Ranked>) -> Outcome {
        let slots = self.slots.entry(word).or_insert_with(|| VecDeque::from([0]));
        *slots.back_mut().expect("never empty") += 1;
        Ok(())
    }

    fn tick(&mut self, out: &mut Outlet<Ranked>) -> Outcome {
        self.emit_counts(out);
        for slots in self.slots.values_mut() {
            slots.push_back(0);
            if slots.len() > self.length {
                slots.pop_front();
            }
        }
        // A word that has left the window has been reported with 0 once.
        self.slots.retain(|_, slots| slots.iter().any(|&count| count > 0) || slots.len() < self.length);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Ranked>) -> Outcome {
        self.emit_counts(out);
        Ok(())
    }
}

/// Keeps the most frequent words of what it is told; a tick emits them.
pub struct Rank {
    counts: HashMap<&'static str, u64>,
    top: usize,
}

impl Rank {
    /// A ranking of this many words.
    pub fn new(top: usize) -> Self {
        Rank { counts: HashMap::new(), top }
    }

    fn ranking(&self) -> Ranking {
        let mut ranking: Ranking = self.counts.iter().map(|(word, count)| (*word, *count)).collect();
        ranking.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        ranking.truncate(self.top);
        ranking
    }
}

impl Bolt for Rank {
    type In = Ranking;
    type Out = Ranking;

    fn execute(&mut self, ranking: Ranking, _out: &mut Outlet<Ranking>) -> Outcome {
        for (word, count) in ranking {
            if count == 0 {
                self.counts.remove(word);
            } else {
                self.counts.insert(word, count);
            }
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut Outlet<Ranking>) -> Outcome {
        self.finish(out)
    }

    fn finish(&mut self, out: &mut Outlet<Ranking>) -> Outcome {
        let ranking = self.ranking();
        if !ranking.is_empty() {
            out.emit(ranking);
        }
        Ok(())
    }
}

fn print(ranking: Ranking, _: &mut Outlet<Nothing>) -> Outcome {
    let line = ranking.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join("  ");
    squall::observe::above(|| writeln!(std::io::stdout(), "{line}"))?;
    Ok(())
}

fn main() -> ExitCode {
    squall::cli::run(build)
}
