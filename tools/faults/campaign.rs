//! Runs a topology again and again under faults drawn from a seed, until it has come to its end, and compares.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use squall::sys::random::Random;

use crate::below;
use crate::fault::Fault;
use crate::oracle::Difference;
use crate::subject::Subject;
use crate::way::{Way, listed};

/// What to do.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The `squall` binary.
    pub squall: PathBuf,
    /// An empty folder of its own.
    pub dir: PathBuf,
    pub store: String,
    pub seed: u64,
    /// At least this many faults.
    pub kills: u64,
    /// In turns.
    pub subjects: Vec<Subject>,
    /// No fault but `kill -9` at random.
    pub only_kills: bool,
    /// How long after a checkpoint a process is killed at random, at most.
    pub kill_within: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub faults: BTreeMap<&'static str, u64>,
    pub runs: u64,
    /// Effects of all topologies that came to their end.
    pub events: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub wrong: u64,
    /// Ledgers whose own check of their books failed: the order of each account is among them.
    pub books_wrong: u64,
    /// Starts refused after a fault, by its name; they then went on from a copy.
    pub refused: BTreeMap<&'static str, u64>,
    /// Runs that an injected error ended, with an exit code other than 0.
    pub stopped: u64,
    /// Topologies that came to their end.
    pub ended: BTreeMap<&'static str, u64>,
    /// From a start that resumes to the first new checkpoint.
    pub recoveries: Vec<Duration>,
}

impl Outcome {
    pub fn holds(&self) -> bool {
        self.lost + self.duplicated + self.wrong + self.books_wrong == 0
    }
}

/// A topology on its way.
struct On<'a> {
    subject: Subject,
    seed: u64,
    way: Way<'a>,
}

impl Campaign {
    /// Runs topologies until there have been enough faults; the last one too comes to its end.
    ///
    /// # Errors
    /// What keeps the campaign itself from going on, with the seed.
    pub fn run(&self) -> Result<Outcome, String> {
        let library = below::build(&self.dir)?;
        let mut outcome = Outcome::default();
        let mut random = Random::new(self.seed);
        for (number, &subject) in (0..).zip(self.subjects.iter().cycle()) {
            if outcome.faults.values().sum::<u64>() >= self.kills {
                break;
            }
            let seed = self.seed.wrapping_add(number);
            let dir = self.dir.join(format!("{}-{number}", self.store));
            fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            let mut on = On { subject, seed, way: Way::new(dir, &library, self.kill_within) };
            let done = self.follow(&mut on, &mut random, &mut outcome);
            let name = subject.name();
            done.map_err(|error| {
                let (met, left) = (on.way.history.join("\n  "), listed(&on.way.dir));
                format!("{} store, seed {}, {name} {number}: {error}\n  {met}\n{left}", self.store, self.seed)
            })?;
            let faults: u64 = outcome.faults.values().sum();
            let wrong = if outcome.holds() { "nothing wrong" } else { "some wrong" };
            eprintln!("{faults} of {} faults, {} topologies at their end, {wrong}", self.kills, number + 1);
        }
        Ok(outcome)
    }

    fn command(&self, on: &On<'_>) -> Command {
        let mut command = Command::new(&self.squall);
        command.arg("run").args(on.subject.arguments(&on.way.dir, on.seed));
        command.args(["--guarantee", "exactly-once", "--quiet", "--checkpoint-interval", "20ms"]);
        command.args(["--store", &self.store, "--state"]).arg(on.way.state());
        command
    }

    fn follow(&self, on: &mut On<'_>, random: &mut Random, outcome: &mut Outcome) -> Result<(), String> {
        on.subject.prepare(&on.way.dir, on.seed)?;
        let status = loop {
            let is_enough = outcome.faults.values().sum::<u64>() >= self.kills;
            let fault = (!is_enough).then(|| match self.only_kills {
                true => Fault::KillAtRandom,
                false => Fault::drawn(&self.store, random),
            });
            let command = self.command(on);
            if let Some(status) = on.way.process(command, fault, random, outcome)? {
                break status;
            }
        };
        self.judge(on, status, outcome)
    }

    fn judge(&self, on: &On<'_>, status: ExitStatus, outcome: &mut Outcome) -> Result<(), String> {
        let stderr = on.way.stderr();
        let is_wrong = stderr.contains("the books are wrong");
        outcome.books_wrong += u64::from(is_wrong);
        if !status.success() && !is_wrong {
            return Err(format!("{status}:\n{stderr}"));
        }
        let difference = on.subject.judge(&on.way.dir, on.seed)?;
        outcome.events += on.subject.events(&on.way.dir);
        outcome.lost += difference.lost;
        outcome.duplicated += difference.duplicated;
        outcome.wrong += difference.wrong;
        *outcome.ended.entry(on.subject.name()).or_default() += 1;
        if difference == Difference::default() && !is_wrong {
            fs::remove_dir_all(&on.way.dir).map_err(|error| format!("{}: {error}", on.way.dir.display()))?;
        }
        Ok(())
    }
}
