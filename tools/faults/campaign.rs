//! Runs a topology again and again under faults drawn from a seed, until it has come to its end, and compares.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use squall::sys::random::Random;

use crate::below::{self, Below};
use crate::oracle::Difference;
use crate::subject::Subject;

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

/// After which a process that neither ends nor makes a checkpoint is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may take to meet a fault that is below it.
const FAULT_WITHIN: Duration = Duration::from_secs(2);
const STOPPED_MIN: Duration = Duration::from_millis(500);
const LATE_FAULT_WITHIN: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
enum Fault {
    KillAtRandom,
    KillInRecovery,
    KillAfterCheckpoint,
    Stop,
    Suspend,
    DamageManifest,
    DamageStore,
    Below(Below),
}

impl Fault {
    const ABOVE: [Fault; 10] = [
        Fault::KillAtRandom,
        Fault::KillAtRandom,
        Fault::KillAtRandom,
        Fault::KillAfterCheckpoint,
        Fault::KillAfterCheckpoint,
        Fault::KillInRecovery,
        Fault::Stop,
        Fault::Suspend,
        Fault::DamageManifest,
        Fault::DamageStore,
    ];

    /// One in three happens below the program.
    fn drawn(store: &str, random: &mut Random) -> Self {
        if random.below(3) == 0 {
            return Fault::Below(Below::ALL[random.below(Below::ALL.len() as u64) as usize]);
        }
        match Fault::ABOVE[random.below(Fault::ABOVE.len() as u64) as usize] {
            // The others' files have inner formats of which this program knows nothing.
            Fault::DamageStore if store != "log" => Fault::KillAtRandom,
            fault => fault,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Fault::KillAtRandom => "kill at random",
            Fault::KillInRecovery => "kill soon after a start",
            Fault::KillAfterCheckpoint => "kill after a checkpoint",
            Fault::Stop => "stopped, then killed",
            Fault::Suspend => "suspended by SIGTERM",
            Fault::DamageManifest => "kill and damaged manifest slot",
            Fault::DamageStore => "kill and damaged store file",
            Fault::Below(below) => below.name(),
        }
    }
}

/// Killed when dropped, so that nothing outlives the campaign.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, signal: Signal) -> Result<(), String> {
        match kill_process(Pid::from_child(&self.0), signal) {
            // It has ended by itself meanwhile.
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(format!("{signal:?}: {error}")),
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.0.try_wait().map_err(|error| error.to_string())
    }

    /// Waits for the end of the process or for `until`, at most `PATIENCE`.
    fn wait(&mut self, mut until: impl FnMut() -> bool) -> Result<Option<ExitStatus>, String> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if until() {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
        Err(format!("process {} made no progress in {PATIENCE:?}", self.0.id()))
    }
}

/// The number of the manifest's newest writing: one more at each checkpoint.
fn writing(state: &Path) -> u64 {
    let of = |slot: &str| {
        let bytes = fs::read(state.join(slot)).ok()?;
        Some(u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?))
    };
    ["manifest.0", "manifest.1"].into_iter().filter_map(of).max().unwrap_or(0)
}

/// One topology on its way through faults.
struct Way<'a> {
    subject: Subject,
    seed: u64,
    dir: PathBuf,
    /// What the process that is started meets below it.
    library: &'a Path,
    /// A copy of the state from before it was damaged, and what by.
    copy: Option<(PathBuf, &'static str)>,
    /// What each process met, and how it ended.
    history: Vec<String>,
}

impl Way<'_> {
    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.dir.join("stderr")).unwrap_or_default()
    }
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
            let mut way = Way { subject, seed, dir, library: &library, copy: None, history: Vec::new() };
            let done = self.follow(&mut way, &mut random, &mut outcome);
            let name = subject.name();
            done.map_err(|error| {
                let (met, left) = (way.history.join("\n  "), listed(&way.dir));
                format!("{} store, seed {}, {name} {number}: {error}\n  {met}\n{left}", self.store, self.seed)
            })?;
            let faults: u64 = outcome.faults.values().sum();
            let wrong = if outcome.holds() { "nothing wrong" } else { "some wrong" };
            eprintln!("{faults} of {} faults, {} topologies at their end, {wrong}", self.kills, number + 1);
        }
        Ok(outcome)
    }

    fn start(&self, way: &Way<'_>, below: Option<String>) -> Result<Process, String> {
        let stderr = fs::File::options().append(true).create(true).open(way.dir.join("stderr"));
        let stderr = stderr.map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.squall);
        command.arg("run").args(way.subject.arguments(&way.dir, way.seed));
        command.args(["--guarantee", "exactly-once", "--quiet", "--checkpoint-interval", "20ms"]);
        command.args(["--store", &self.store, "--state"]).arg(way.state());
        if let Some(fault) = below {
            command.env("LD_PRELOAD", way.library).env("SQUALL_FAULT", fault);
            command.env("SQUALL_FAULT_UNDER", &way.dir);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        child.map(Process).map_err(|error| format!("{}: {error}", self.squall.display()))
    }

    fn follow(&self, way: &mut Way<'_>, random: &mut Random, outcome: &mut Outcome) -> Result<(), String> {
        way.subject.prepare(&way.dir, way.seed)?;
        let status = loop {
            let is_enough = outcome.faults.values().sum::<u64>() >= self.kills;
            let fault = (!is_enough).then(|| match self.only_kills {
                true => Fault::KillAtRandom,
                false => Fault::drawn(&self.store, random),
            });
            if let Some(status) = self.process(fault, way, random, outcome)? {
                break status;
            }
        };
        self.judge(way, status, outcome)
    }

    /// One process, to its end: how it ended if that is the end of the topology.
    fn process(
        &self,
        fault: Option<Fault>,
        way: &mut Way<'_>,
        random: &mut Random,
        outcome: &mut Outcome,
    ) -> Result<Option<ExitStatus>, String> {
        outcome.runs += 1;
        let state = way.state();
        let (before, said) = (writing(&state), way.stderr().len());
        let below = match fault {
            Some(Fault::Below(below)) => Some(below.drawn(random)),
            _ => None,
        };
        // A copy from before stays until a process has gone on from what is there.
        if let (Some(Fault::Below(below)), None) = (fault, &way.copy)
            && below.may_damage()
        {
            way.copy = Some((copy_state(&way.dir)?, below.name()));
        }
        let start = Instant::now();
        let mut process = self.start(way, below)?;
        let mut ended = None;
        if !matches!(fault, Some(Fault::KillInRecovery)) {
            ended = process.wait(|| writing(&state) > before)?;
            if before > 0 && ended.is_none() {
                outcome.recoveries.push(start.elapsed());
            }
        }
        if ended.is_none() {
            ended = match fault {
                Some(fault) => self.inject(fault, &mut process, &state, random)?,
                None => process.wait(|| false)?,
            };
        }
        drop(process);
        let ending = ended.map_or("ended by the campaign".to_owned(), |status| status.to_string());
        way.history.push(format!("{}: {ending}", fault.map_or("no fault", Fault::name)));
        let is_injected = way.stderr().get(said..).is_some_and(|since| since.contains("injected: "));
        let name = fault.map(Fault::name);
        match (ended, fault) {
            (Some(status), Some(Fault::Below(_))) if is_injected => {
                *outcome.faults.entry(name.expect("there is a fault")).or_default() += 1;
                outcome.stopped += u64::from(status.code().is_some_and(|code| code != 0));
                Ok(status.success().then_some(status))
            }
            (Some(status), _) if status.code() == Some(2) && way.copy.is_some() => {
                let (copy, name) = way.copy.take().expect("just seen");
                *outcome.refused.entry(name).or_default() += 1;
                let stderr = way.stderr();
                let why = stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap_or("without a word");
                eprintln!("refused after {name}: {why}");
                fs::remove_dir_all(&state).map_err(|error| error.to_string())?;
                copy_tree(&copy, &state)?;
                Ok(None)
            }
            (Some(status), _) => Ok(Some(status)),
            (None, Some(fault)) => {
                let name = if matches!(fault, Fault::Below(_)) && !is_injected {
                    Fault::KillAtRandom.name()
                } else {
                    fault.name()
                };
                *outcome.faults.entry(name).or_default() += 1;
                // What failed below it may have left what only the next start finds.
                let has_gone_on = writing(&state) > before && !matches!(fault, Fault::Below(_));
                way.copy.take_if(|_| has_gone_on);
                self.damage(fault, way, random)?;
                Ok(None)
            }
            (None, None) => unreachable!("without a fault its end is waited for"),
        }
    }

    /// Lets the process meet the fault; its end, if it was faster.
    fn inject(
        &self,
        fault: Fault,
        process: &mut Process,
        state: &Path,
        random: &mut Random,
    ) -> Result<Option<ExitStatus>, String> {
        let within_us = self.kill_within.as_micros() as u64;
        let (start, after) = (Instant::now(), Duration::from_micros(random.below(within_us.max(1))));
        match fault {
            Fault::KillInRecovery => process.wait(|| start.elapsed() >= after / 5),
            Fault::KillAfterCheckpoint => {
                let until = writing(state) + 1 + random.below(5);
                process.wait(|| writing(state) >= until)
            }
            Fault::Stop => {
                process.signal(Signal::STOP)?;
                let stopped = STOPPED_MIN + after * 10;
                std::thread::sleep(stopped);
                process.signal(Signal::CONT)?;
                process.wait(|| start.elapsed() >= stopped + Duration::from_millis(30))
            }
            Fault::Suspend => {
                process.signal(Signal::TERM)?;
                // Suspended, stopped while it was still starting, or at its end: what it is, a further start tells.
                process.wait(|| false).map(|_| None)
            }
            Fault::KillAtRandom | Fault::DamageManifest | Fault::DamageStore => {
                process.wait(|| start.elapsed() >= after)
            }
            Fault::Below(below) => {
                // It goes on until it has met the fault, and a while longer.
                let fault_within = if below.comes_late() { LATE_FAULT_WITHIN } else { FAULT_WITHIN };
                let stderr = state.with_file_name("stderr");
                let said = fs::metadata(&stderr).map_or(0, |found| found.len());
                let speaks = || fs::metadata(&stderr).is_ok_and(|found| found.len() > said);
                let ended = process.wait(|| speaks() || start.elapsed() >= fault_within)?;
                let met = Instant::now();
                if ended.is_some() { Ok(ended) } else { process.wait(|| met.elapsed() >= after) }
            }
        }
    }

    /// Damages what a dead process left, after copying it, unless there is a copy of something better.
    fn damage(&self, fault: Fault, way: &mut Way<'_>, random: &mut Random) -> Result<(), String> {
        let state = way.state();
        let file = match fault {
            Fault::DamageManifest => Some(state.join(format!("manifest.{}", writing(&state) % 2))),
            Fault::DamageStore => newest_file(&state)?,
            _ => None,
        };
        let Some(file) = file else { return Ok(()) };
        if way.copy.is_none() {
            way.copy = Some((copy_state(&way.dir)?, fault.name()));
        }
        let mut bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        if !bytes.is_empty() {
            let at = random.below(bytes.len() as u64) as usize;
            if random.chance(0.5) {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << random.below(8);
            }
        }
        fs::write(&file, bytes).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn judge(&self, way: &Way<'_>, status: ExitStatus, outcome: &mut Outcome) -> Result<(), String> {
        let stderr = way.stderr();
        let is_wrong = stderr.contains("the books are wrong");
        outcome.books_wrong += u64::from(is_wrong);
        if !status.success() && !is_wrong {
            return Err(format!("{status}:\n{stderr}"));
        }
        let difference = way.subject.judge(&way.dir, way.seed)?;
        outcome.events += way.subject.events(&way.dir);
        outcome.lost += difference.lost;
        outcome.duplicated += difference.duplicated;
        outcome.wrong += difference.wrong;
        *outcome.ended.entry(way.subject.name()).or_default() += 1;
        if difference == Difference::default() && !is_wrong {
            fs::remove_dir_all(&way.dir).map_err(|error| format!("{}: {error}", way.dir.display()))?;
        }
        Ok(())
    }
}

/// What is in the folder of a topology and what its last processes said.
fn listed(dir: &Path) -> String {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let stderr = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
    let last: Vec<&str> = stderr.lines().rev().take(20).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("in {}: {}\n{}", dir.display(), names.join(" "), last.join("\n"))
}

/// Where the state is copied to, in place of the copy before.
fn copy_state(dir: &Path) -> Result<PathBuf, String> {
    let (state, copy) = (dir.join("state"), dir.join("copy"));
    let _ = fs::remove_dir_all(&copy);
    // There is none before the first start.
    fs::create_dir_all(&state).map_err(|error| format!("{}: {error}", state.display()))?;
    copy_tree(&state, &copy)?;
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), String> {
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy_tree(&entry.path(), &target).map_err(std::io::Error::other)?;
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    };
    copy().map_err(|error| format!("copying {}: {error}", from.display()))
}

/// The file of a store that was written to last.
fn newest_file(state: &Path) -> Result<Option<PathBuf>, String> {
    let find = || -> std::io::Result<Option<PathBuf>> {
        let mut newest = None;
        for entry in fs::read_dir(state)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("store-") {
                continue;
            }
            for file in fs::read_dir(entry.path())? {
                let file = file?;
                newest = newest.max(Some((file.metadata()?.modified()?, file.path())));
            }
        }
        Ok(newest.map(|(_, path)| path))
    };
    find().map_err(|error| format!("{}: {error}", state.display()))
}
