//! Storm's first topology: words get three exclamation marks, and then three more.
//!
//! ```sh
//! cargo run --release --example exclamation -- --count 20
//! ```

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use squall::connect::Generator;
use squall::topology::Progress;
use squall::{Failure, Nothing, Outcome, Outlet, Topology, TopologyBuilder};

const WORDS: [&str; 5] = ["nathan", "mike", "jackson", "golda", "bertels"];

/// Adds exclamation marks to words, twice (Storm's first example)
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Words to emit; without it there is no end
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Words per second
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: u64,
}

/// The topology: `words` to `exclaim1` to `exclaim2` to `print`.
///
/// # Errors
/// Never, unless it is changed into one that cannot work.
pub fn build(args: &Args) -> squall::Result<Topology> {
    let mut t = TopologyBuilder::new("exclamation");
    let made = Arc::new(AtomicU64::new(0));
    let done = made.clone();
    t.progress(Progress::new("words", args.count, move || done.load(Ordering::Relaxed)));
    let generator = Generator::new(args.count.unwrap_or(u64::MAX), move |index| {
        made.store(index + 1, Ordering::Relaxed);
        WORDS[index as usize % WORDS.len()].to_owned()
    });
    let generator = generator.rate(args.rate);

    let words = t.source("words", move || generator.clone());
    let once = t.bolt("exclaim1", exclaim).parallelism(3).shuffle(&words);
    let twice = t.bolt("exclaim2", exclaim).parallelism(2).shuffle(&once);
    t.bolt("print", print).global(&twice);
    t.build()
}

fn exclaim(word: String, out: &mut Outlet<String>) {
    out.emit(word + "!!!");
}

/// Prints with the live line out of the way. Once nobody reads, trying again is pointless for this word and all others.
fn print(word: String, _: &mut Outlet<Nothing>) -> Outcome {
    let printed = squall::observe::above(|| writeln!(std::io::stdout(), "{word}"));
    printed.map_err(|error| Failure::fatal(format!("standard output: {error}")))
}

fn main() -> ExitCode {
    squall::cli::run(build)
}
