//! One topology on its way through faults.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use squall::sys::random::Random;

use crate::campaign::Outcome;
use crate::fault::{Fault, copy_state, copy_tree, newest_file, writing};
use crate::process::Process;

/// How long a process may take to meet a fault that is below it.
const FAULT_WITHIN: Duration = Duration::from_secs(2);
const STOPPED_MIN: Duration = Duration::from_millis(500);
const LATE_FAULT_WITHIN: Duration = Duration::from_secs(8);

/// Said by the library below a process.
const INJECTED: &str = "injected: ";
/// Said by a process that started well and went back later.
const RESTARTS: &str = "restarting from the last checkpoint";
/// Said by a start that would need another number of tasks.
pub const OTHER_TASKS: &str = "cannot become";

pub struct Way<'a> {
    /// Its state is in `state`, what its processes say in `stderr`.
    pub dir: PathBuf,
    /// What the process that is started meets below it.
    pub library: &'a Path,
    /// How long after a checkpoint a process is killed at random, at most.
    pub kill_within: Duration,
    /// A copy of the state from before it was damaged, and what by.
    pub copy: Option<(PathBuf, &'static str)>,
    /// Parts of outputs that were set aside by then.
    aside: BTreeSet<PathBuf>,
    /// What each process met, and how it ended.
    pub history: Vec<String>,
}

impl<'a> Way<'a> {
    pub fn new(dir: PathBuf, library: &'a Path, kill_within: Duration) -> Self {
        Way { dir, library, kill_within, copy: None, aside: BTreeSet::new(), history: Vec::new() }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.dir.join("stderr")).unwrap_or_default()
    }

    fn start(&self, mut command: Command, below: Option<String>) -> Result<Process, String> {
        let stderr = fs::File::options().append(true).create(true).open(self.dir.join("stderr"));
        let stderr = stderr.map_err(|error| error.to_string())?;
        if let Some(fault) = below {
            command.env("LD_PRELOAD", self.library).env("SQUALL_FAULT", fault);
            command.env("SQUALL_FAULT_UNDER", &self.dir);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        child
            .map(|child| Process { child, dir: self.dir.clone() })
            .map_err(|error| format!("{}: {error}", Path::new(command.get_program()).display()))
    }

    /// One process, to its end: how it ended if that is the end of the topology.
    pub fn process(
        &mut self,
        command: Command,
        fault: Option<Fault>,
        random: &mut Random,
        outcome: &mut Outcome,
    ) -> Result<Option<ExitStatus>, String> {
        outcome.runs += 1;
        let state = self.state();
        let (before, said, aside) = (writing(&state), self.stderr().len(), set_aside(&self.dir));
        let below = match fault {
            Some(Fault::Below(below)) => Some(below.drawn(random)),
            _ => None,
        };
        // A copy from before stays until a process has gone on from what is there.
        if let (Some(Fault::Below(below)), None) = (fault, &self.copy)
            && below.may_damage()
        {
            self.aside = set_aside(&self.dir);
            self.copy = Some((copy_state(&self.dir)?, below.name()));
        }
        let name = fault.map_or("no fault", Fault::name);
        self.history.push(format!("{name}: did not end"));
        let start = Instant::now();
        let mut process = self.start(command, below)?;
        let mut ended = None;
        if !matches!(fault, Some(Fault::KillInRecovery | Fault::Pause | Fault::Drain)) {
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
        self.history.pop();
        self.history.push(format!("{name}: {ending}"));
        let stderr = self.stderr();
        let since = stderr.get(said..).unwrap_or_default();
        let is_injected = since.contains(INJECTED);
        let is_refused = ended.and_then(|status| status.code()) == Some(2) && !since.contains(RESTARTS);
        if is_refused && set_aside(&self.dir) != aside {
            return Err(format!("a start that was refused has set parts aside: {since}"));
        }
        let name = fault.map(Fault::name);
        match (ended, fault) {
            (Some(status), _) if status.code() == Some(2) && since.contains(OTHER_TASKS) => Ok(Some(status)),
            (Some(status), Some(Fault::Below(_))) if is_injected => {
                *outcome.faults.entry(name.expect("there is a fault")).or_default() += 1;
                outcome.stopped += u64::from(status.code().is_some_and(|code| code != 0));
                Ok(status.success().then_some(status))
            }
            (Some(status), _) if status.code() == Some(2) && self.copy.is_some() => {
                let (copy, name) = self.copy.take().expect("just seen");
                *outcome.refused.entry(name).or_default() += 1;
                let why = since.lines().rfind(|line| line.starts_with("error: ")).unwrap_or("without a word");
                eprintln!("refused after {name}: {why}");
                fs::remove_dir_all(&state).map_err(|error| error.to_string())?;
                copy_tree(&copy, &state)?;
                put_back(set_aside(&self.dir).difference(&self.aside))?;
                Ok(None)
            }
            (Some(status), fault) => {
                if let Some(fault @ (Fault::Pause | Fault::Drain)) = fault {
                    *outcome.faults.entry(fault.name()).or_default() += 1;
                }
                Ok(Some(status))
            }
            (None, Some(fault)) => {
                let name = if matches!(fault, Fault::Below(_)) && !is_injected {
                    Fault::KillAtRandom.name()
                } else {
                    fault.name()
                };
                *outcome.faults.entry(name).or_default() += 1;
                // What failed below it may have left what only the next start finds.
                let has_gone_on = writing(&state) > before && !matches!(fault, Fault::Below(_));
                self.copy.take_if(|_| has_gone_on);
                self.damage(fault, random)?;
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
            Fault::Pause => {
                if let Some(status) = process.wait(|| start.elapsed() >= after)? {
                    return Ok(Some(status));
                }
                process.signal(Signal::STOP)?;
                std::thread::sleep(STOPPED_MIN);
                process.signal(Signal::CONT)?;
                process.wait(|| false)
            }
            Fault::Drain => {
                if let Some(status) = process.wait(|| start.elapsed() >= after)? {
                    return Ok(Some(status));
                }
                process.signal(Signal::TERM)?;
                process.wait(|| false)
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
                let said = self.stderr().matches(INJECTED).count();
                let is_met = || self.stderr().matches(INJECTED).count() > said;
                let ended = process.wait(|| is_met() || start.elapsed() >= fault_within)?;
                let met = Instant::now();
                if ended.is_some() { Ok(ended) } else { process.wait(|| met.elapsed() >= after) }
            }
        }
    }

    /// Damages what a dead process left, after copying it, unless there is a copy of something better.
    fn damage(&mut self, fault: Fault, random: &mut Random) -> Result<(), String> {
        let state = self.state();
        let file = match fault {
            Fault::DamageManifest => Some(state.join(format!("manifest.{}", writing(&state) % 2))),
            Fault::DamageStore => newest_file(&state)?,
            _ => None,
        };
        let Some(file) = file else { return Ok(()) };
        if self.copy.is_none() {
            self.aside = set_aside(&self.dir);
            self.copy = Some((copy_state(&self.dir)?, fault.name()));
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
}

/// What is in the folder of a topology and what its last processes said.
pub fn listed(dir: &Path) -> String {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let stderr = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
    let last: Vec<&str> = stderr.lines().rev().take(20).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("in {}: {}\n{}", dir.display(), names.join(" "), last.join("\n"))
}

/// Parts that sinks have set aside as of a time that is undone, in the folders of their outputs.
fn set_aside(dir: &Path) -> BTreeSet<PathBuf> {
    let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let outputs = list(&dir.join("out")).flat_map(|output| list(&output).collect::<Vec<_>>());
    outputs.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".undone-"))).collect()
}

/// Who puts a newer state back has to put back the parts too that starts from an older one have set aside.
fn put_back<'a>(parts: impl Iterator<Item = &'a PathBuf>) -> Result<(), String> {
    for part in parts {
        let name = part.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((_, own)) = name.split_once("-part-") else { continue };
        let visible = part.with_file_name(format!("part-{own}"));
        if !visible.exists() {
            fs::rename(part, &visible).map_err(|error| format!("{}: {error}", part.display()))?;
        }
    }
    Ok(())
}
