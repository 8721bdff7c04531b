//! The programs under test: how they are started, and what their output must be.

use std::fs;
use std::path::Path;

use squall::sys::random::Random;

use crate::oracle::{self, Difference};

/// A topology with an output that a program of ours can tell from its input alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Ledger { accounts: u64, transfers: u64 },
    WordCount { lines: u64, repeat: u64 },
}

const RATE: u64 = 20_000;

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Subject::Ledger { .. } => "ledger",
            Subject::WordCount { .. } => "word_count",
        }
    }

    /// Makes the input of this seed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn prepare(self, dir: &Path, seed: u64) -> Result<(), String> {
        let Subject::WordCount { lines, .. } = self else { return Ok(()) };
        let input = dir.join("input");
        fs::write(&input, text(lines, seed)).map_err(|error| format!("{}: {error}", input.display()))
    }

    /// The arguments after `run`, but for those about state.
    pub fn arguments(self, dir: &Path, seed: u64) -> Vec<String> {
        let path = |name: &str| dir.join(name).display().to_string();
        let own = match self {
            Subject::Ledger { accounts, transfers } => vec![
                ("--rate", RATE.to_string()),
                ("--accounts", accounts.to_string()),
                ("--transfers", transfers.to_string()),
                ("--transfer-seed", seed.to_string()),
            ],
            Subject::WordCount { repeat, .. } => vec![("--input", path("input")), ("--repeat", repeat.to_string())],
        };
        let own = own.into_iter().chain([("--output", path("output"))]);
        std::iter::once(self.name().to_owned()).chain(own.flat_map(|(name, value)| [name.to_owned(), value])).collect()
    }

    /// How many effects there are.
    pub fn events(self, dir: &Path) -> u64 {
        match self {
            Subject::Ledger { transfers, .. } => 2 * transfers,
            Subject::WordCount { repeat, .. } => {
                let words: u64 = oracle::words(&fs::read(dir.join("input")).unwrap_or_default()).values().sum();
                words * repeat
            }
        }
    }

    /// Compares what was written with what must be.
    ///
    /// # Errors
    /// There is no output, or it is not one of this topology's.
    pub fn judge(self, dir: &Path, seed: u64) -> Result<Difference, String> {
        let read = |name: &str| fs::read(dir.join(name)).map_err(|error| format!("no {name}: {error}"));
        let written = read("output")?;
        match self {
            Subject::Ledger { accounts, transfers } => {
                let expected = oracle::ledger(seed, accounts, transfers);
                oracle::compare(&expected, &String::from_utf8_lossy(&written))
            }
            Subject::WordCount { repeat, .. } => oracle::compare_words(&read("input")?, repeat, &written),
        }
    }
}

/// Lines of words, the frequent ones much more frequent than the others.
fn text(lines: u64, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut text = Vec::new();
    for _ in 0..lines {
        for _ in 0..10 {
            let bound = 1 + random.below(20_000);
            let word = random.below(bound);
            text.extend_from_slice(format!("w{word:x} ").as_bytes());
        }
        text.push(b'\n');
    }
    text
}
