//! Runs the ledger again and again under faults drawn from a seed, until it has come to its end, and compares.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use squall::sys::random::Random;

use crate::oracle;

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
    pub transfers: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub faults: BTreeMap<&'static str, u64>,
    pub runs: u64,
    /// Entries of all ledgers that came to their end.
    pub events: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub wrong: u64,
    /// Ledgers whose own check of their books failed: the order of each account is among them.
    pub books_wrong: u64,
    /// Starts refused because of damage; they then went on from a copy.
    pub refused: u64,
    /// From a start that resumes to the first new checkpoint.
    pub recoveries: Vec<Duration>,
}

impl Outcome {
    pub fn holds(&self) -> bool {
        self.lost + self.duplicated + self.wrong + self.books_wrong == 0
    }
}

const ACCOUNTS: u64 = 500;
const RATE: u64 = 20_000;
/// After which a process that neither ends nor makes a checkpoint is given up.
const PATIENCE: Duration = Duration::from_secs(60);
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
}

impl Fault {
    const ALL: [Fault; 10] = [
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

    fn name(self) -> &'static str {
        match self {
            Fault::KillAtRandom => "kill at random",
            Fault::KillInRecovery => "kill soon after a start",
            Fault::KillAfterCheckpoint => "kill after a checkpoint",
            Fault::Stop => "stopped, then killed",
            Fault::Suspend => "suspended by SIGTERM",
            Fault::DamageManifest => "kill and damaged manifest slot",
            Fault::DamageStore => "kill and damaged store file",
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

impl Campaign {
    /// Runs ledgers until there have been enough faults; the last one too comes to its end.
    ///
    /// # Errors
    /// What keeps the campaign itself from going on, with the seed.
    pub fn run(&self) -> Result<Outcome, String> {
        let mut outcome = Outcome::default();
        let mut random = Random::new(self.seed);
        for number in 0.. {
            if outcome.faults.values().sum::<u64>() >= self.kills {
                break;
            }
            let context = |error| format!("{} store, seed {}, ledger {number}: {error}", self.store, self.seed);
            self.ledger(number, &mut random, &mut outcome).map_err(context)?;
        }
        Ok(outcome)
    }

    fn start(&self, dir: &Path, ledger_seed: u64) -> Result<Process, String> {
        let stderr = fs::File::options().append(true).create(true).open(dir.join("stderr"));
        let stderr = stderr.map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.squall);
        command.args(["run", "ledger", "--guarantee", "exactly-once", "--quiet", "--checkpoint-interval", "20ms"]);
        command.args(["--store", &self.store, "--rate", &RATE.to_string(), "--accounts", &ACCOUNTS.to_string()]);
        command.args(["--transfers", &self.transfers.to_string(), "--transfer-seed", &ledger_seed.to_string()]);
        command.arg("--state").arg(dir.join("state")).arg("--output").arg(dir.join("balances"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        child.map(Process).map_err(|error| format!("{}: {error}", self.squall.display()))
    }

    fn ledger(&self, number: u64, random: &mut Random, outcome: &mut Outcome) -> Result<(), String> {
        let dir = self.dir.join(format!("{}-{number}", self.store));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let (state, ledger_seed) = (dir.join("state"), self.seed.wrapping_add(number));
        let mut copy: Option<PathBuf> = None;
        let status = loop {
            outcome.runs += 1;
            let before = writing(&state);
            let start = Instant::now();
            let mut process = self.start(&dir, ledger_seed)?;
            let is_enough = outcome.faults.values().sum::<u64>() >= self.kills;
            let fault = match Fault::ALL[random.below(Fault::ALL.len() as u64) as usize] {
                // The others' files have inner formats of which this program knows nothing.
                Fault::DamageStore if self.store != "log" => Fault::KillAtRandom,
                fault => fault,
            };
            let mut ended = None;
            if !matches!(fault, Fault::KillInRecovery) || is_enough {
                ended = process.wait(|| writing(&state) > before)?;
                if before > 0 && ended.is_none() {
                    outcome.recoveries.push(start.elapsed());
                }
            }
            if ended.is_none() {
                ended = match is_enough {
                    true => process.wait(|| false)?,
                    false => self.inject(fault, &mut process, &state, random)?,
                };
            }
            match ended {
                Some(status) if status.code() == Some(2) && copy.is_some() => {
                    outcome.refused += 1;
                    drop(process);
                    fs::remove_dir_all(&state).map_err(|error| error.to_string())?;
                    copy_tree(&copy.take().expect("just seen"), &state)?;
                }
                Some(status) => break status,
                None => {
                    drop(process);
                    *outcome.faults.entry(fault.name()).or_default() += 1;
                    copy = self.damage(fault, &dir, random)?;
                }
            }
        };
        self.judge(&dir, status, ledger_seed, outcome)
    }

    /// Lets the process meet the fault; its end, if it was faster.
    fn inject(
        &self,
        fault: Fault,
        process: &mut Process,
        state: &Path,
        random: &mut Random,
    ) -> Result<Option<ExitStatus>, String> {
        let (start, after) = (Instant::now(), Duration::from_micros(random.below(200_000)));
        match fault {
            Fault::KillInRecovery => process.wait(|| start.elapsed() >= after / 5),
            Fault::KillAfterCheckpoint => {
                let until = writing(state) + 1 + random.below(5);
                process.wait(|| writing(state) >= until)
            }
            Fault::Stop => {
                process.signal(Signal::STOP)?;
                std::thread::sleep(after * 2);
                process.signal(Signal::CONT)?;
                process.wait(|| start.elapsed() >= after * 2 + Duration::from_millis(30))
            }
            Fault::Suspend => {
                process.signal(Signal::TERM)?;
                // Suspended, stopped while it was still starting, or at its end: what it is, a further start tells.
                process.wait(|| false).map(|_| None)
            }
            Fault::KillAtRandom | Fault::DamageManifest | Fault::DamageStore => {
                process.wait(|| start.elapsed() >= after)
            }
        }
    }

    /// Damages what a dead process left; where the state was copied to before.
    fn damage(&self, fault: Fault, dir: &Path, random: &mut Random) -> Result<Option<PathBuf>, String> {
        let (state, copy) = (dir.join("state"), dir.join("copy"));
        let file = match fault {
            Fault::DamageManifest => Some(state.join(format!("manifest.{}", writing(&state) % 2))),
            Fault::DamageStore => newest_file(&state)?,
            _ => None,
        };
        let Some(file) = file else { return Ok(None) };
        let _ = fs::remove_dir_all(&copy);
        copy_tree(&state, &copy)?;
        let mut bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        if !bytes.is_empty() {
            let at = random.below(bytes.len() as u64) as usize;
            if random.chance(0.5) {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << random.below(8);
            }
        }
        fs::write(&file, bytes).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Some(copy))
    }

    fn judge(&self, dir: &Path, status: ExitStatus, seed: u64, outcome: &mut Outcome) -> Result<(), String> {
        let stderr = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
        let is_wrong = stderr.contains("the books are wrong");
        outcome.books_wrong += u64::from(is_wrong);
        if !status.success() && !is_wrong {
            return Err(format!("{status}:\n{stderr}"));
        }
        let written = fs::read_to_string(dir.join("balances")).map_err(|error| format!("no balances: {error}"))?;
        let expected = oracle::ledger(seed, ACCOUNTS, self.transfers);
        let difference = oracle::compare(&expected, &written)?;
        outcome.events += 2 * self.transfers;
        outcome.lost += difference.lost;
        outcome.duplicated += difference.duplicated;
        outcome.wrong += difference.wrong;
        if difference == oracle::Difference::default() && !is_wrong {
            fs::remove_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        Ok(())
    }
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
