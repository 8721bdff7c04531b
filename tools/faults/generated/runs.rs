//! Brings topologies to their ends, one seed after the other, through faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use squall::Guarantee;
use squall::sys::random::Random;

use super::REAL;
use super::draw::{Grouping, NOT_STARTED, Op, Spec, TOO_LATE};
use super::judge::{Ran, judge};
use super::program::ARGUMENTS;
use super::sinks::{self, Kind};
use super::world::STARTED;
use crate::below;
use crate::campaign::Outcome;
use crate::fault::{Fault, writing};
use crate::process::HANGS;
use crate::way::{OTHER_TASKS, Way, listed};

/// What to do.
pub struct Runs {
    /// The program that calls `run_if_asked`, and what it has to be given for that.
    pub program: (PathBuf, Vec<String>),
    /// An empty folder of its own.
    pub dir: PathBuf,
    pub store: String,
    /// Of the first topology; each further one has the next.
    pub seed: u64,
    pub runs: u64,
    /// Variables of every process.
    pub environment: Vec<(String, String)>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Table {
    pub runs: u64,
    /// By guarantee, with and without checkpoints.
    pub guarantees: BTreeMap<String, u64>,
    /// Processes, and what they met.
    pub met: Outcome,
    /// Topologies that were told to stop, and have.
    pub told_to_stop: u64,
    /// Topologies that stopped because what they had held was given up after its source had ended.
    pub too_late: u64,
    /// Lines in sinks.
    pub lines: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub hung: u64,
    pub unaccounted: u64,
    /// In how many topologies each kind of component, grouping, failure has occurred.
    pub hits: BTreeMap<String, u64>,
    /// What was wrong, with the seed.
    pub wrong: Vec<String>,
}

impl Table {
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }

    /// What the draw never came to.
    pub fn missing(&self) -> Vec<String> {
        let ops = Op::ALL.into_iter().filter(|op| !op.is_source() && *op != Op::Child);
        let ops = ops.flat_map(|op| {
            let of = |guarantee: Guarantee| format!("{op:?} under {guarantee}");
            let guarantees: &[Guarantee] = match op {
                // Exactly-once refuses them.
                Op::Window => &[Guarantee::AtLeastOnce],
                _ => &[Guarantee::AtLeastOnce, Guarantee::ExactlyOnce],
            };
            guarantees.iter().copied().map(of).collect::<Vec<_>>()
        });
        let groupings = Grouping::ALL.into_iter().map(|grouping| format!("{grouping:?}"));
        let kinds = Kind::ALL.iter().map(|kind| format!("{kind:?}"));
        let failures = ["poison", "reject", "outage", "drop", "dead letter", "timer", "door", "a thread of the user's"];
        let chance = [
            "retry at Item",
            "panic at Item",
            "another parallelism",
            "lanes of one",
            "savepoint",
            "Child under at-least-once",
        ];
        let all = ops.chain(groupings).chain(kinds).chain(failures.into_iter().chain(chance).map(str::to_owned));
        all.filter(|what| !self.hits.contains_key(what)).collect()
    }
}

/// How long after a checkpoint a process is killed at random, at most.
const KILL_WITHIN: Duration = Duration::from_millis(200);
const FAULTS_MAX: u64 = 3;
/// Starts in a row in which a component by chance does not get up.
const NOT_STARTED_MAX: u32 = 60;
/// Failing seeds after which the campaign stops.
const FAILING_MAX: usize = 5;

impl Runs {
    /// # Errors
    /// What keeps the campaign itself from going on.
    pub fn run(&self) -> Result<Table, String> {
        let library = below::build(&self.dir)?;
        let mut table = Table::default();
        for number in 0..self.runs {
            let seed = self.seed.wrapping_add(number);
            let dir = self.dir.join(format!("{}-{seed}", self.store));
            let mut one = One::new(self, seed, Way::new(dir, &library, KILL_WITHIN));
            let outcome = one.run(&mut table);
            table.runs += 1;
            if let Err(error) = outcome {
                table.hung += u64::from(error.contains(HANGS));
                let (met, left) = (one.way.history.join("\n  "), listed(&one.way.dir));
                let what = format!("{} store, topology {seed}: {error}\n  {met}\n{left}\n{:?}", self.store, one.spec);
                table.wrong.push(what);
                eprintln!("{}", table.wrong.last().expect("just pushed"));
            }
            if table.runs.is_multiple_of(20) {
                eprintln!("{} of {} topologies at their end, {} wrong", table.runs, self.runs, table.wrong.len());
            }
            if table.wrong.len() == FAILING_MAX {
                break;
            }
        }
        Ok(table)
    }
}

/// One topology.
struct One<'a> {
    runs: &'a Runs,
    spec: Spec,
    way: Way<'a>,
    random: Random,
    /// Numbers of tasks of the starts so far.
    tasks: Vec<Vec<usize>>,
    starts: u32,
    drained: bool,
    /// What the state has begun with.
    savepoint: Option<PathBuf>,
}

impl<'a> One<'a> {
    fn new(runs: &'a Runs, seed: u64, way: Way<'a>) -> Self {
        let random = Random::new(seed).fork(0x72756e73);
        let spec = Spec::draw(seed, &REAL);
        One { runs, spec, way, random, tasks: Vec::new(), starts: 0, drained: false, savepoint: None }
    }

    fn has_state(&self) -> bool {
        self.spec.checkpoint_every.is_some()
    }

    /// Beside its folder, where no fault is injected.
    fn beside(&self, what: &str) -> PathBuf {
        self.way.dir.with_extension(what)
    }

    fn run(&mut self, table: &mut Table) -> Result<(), String> {
        fs::create_dir_all(&self.way.dir).map_err(|error| format!("{}: {error}", self.way.dir.display()))?;
        let state = if self.has_state() { "with checkpoints" } else { "without checkpoints" };
        *table.guarantees.entry(format!("{}, {state}", self.spec.guarantee)).or_default() += 1;
        let mut faults = self.random.below(FAULTS_MAX + 1);
        let mut not_started = 0;
        let ended = loop {
            let fault = (faults > 0).then(|| self.draw_fault());
            faults = faults.saturating_sub(1);
            let said = self.way.stderr().len();
            let status = self.process(fault, table)?;
            // It was told to end before it could listen.
            if status.is_some_and(|status| status.signal() == Some(Signal::TERM.as_raw())) {
                continue;
            }
            let since = self.way.stderr().split_off(said);
            if status.is_some_and(|status| status.code() == Some(1)) && since.contains(NOT_STARTED) {
                not_started += 1;
                if not_started == NOT_STARTED_MAX {
                    break Err(format!("it was not started {NOT_STARTED_MAX} times in a row: {since}"));
                }
                continue;
            }
            not_started = 0;
            if self.notes().lines().any(|line| line == "fatal") {
                break self.was_told_to_stop(status, &since).map(|()| table.told_to_stop += 1);
            }
            if status.is_some() && since.contains(TOO_LATE) && self.spec.may_be_given_up_too_late() {
                table.too_late += 1;
                break Ok(());
            }
            if let Some(status) = status {
                break self.judge(status, table);
            }
            self.may_move(table)?;
        };
        self.count(table);
        ended?;
        self.remove()
    }

    /// Takes a savepoint of what the last process left, for the next one to begin with in an empty folder.
    fn may_move(&mut self, table: &mut Table) -> Result<(), String> {
        let state = self.way.state();
        let is_whole = self.way.copy.is_none() && writing(&state) > 0;
        if !self.has_state() || !is_whole || !self.random.chance(0.25) {
            return Ok(());
        }
        let out = self.way.dir.join(format!("savepoint-{}", self.starts));
        let arguments = ["state", "savepoint"].map(str::to_owned).into_iter();
        let arguments = arguments.chain([&state, &out].map(|path| path.display().to_string()));
        let output = self.program(&arguments.collect::<Vec<_>>()).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("it holds no checkpoint yet") {
            return Ok(());
        }
        if !output.status.success() {
            return Err(format!("no savepoint: {said}"));
        }
        fs::remove_dir_all(&state).map_err(|error| format!("{}: {error}", state.display()))?;
        self.savepoint = Some(out);
        *table.hits.entry("savepoint".to_owned()).or_default() += 1;
        Ok(())
    }

    fn draw_fault(&mut self) -> Fault {
        match self.random.below(8) {
            0 => Fault::Pause,
            1 if !self.has_state() => Fault::Drain,
            _ if !self.has_state() => Fault::Pause,
            _ => Fault::drawn(&self.runs.store, &mut self.random),
        }
    }

    fn draw_tasks(&mut self) -> Vec<usize> {
        let mut tasks: Vec<usize> = self.spec.components.iter().map(|component| component.tasks).collect();
        if self.tasks.is_empty() {
            return tasks;
        }
        for (number, tasks) in tasks.iter_mut().enumerate() {
            let component = &self.spec.components[number];
            let is_single = component.op.is_sink() && Kind::of(&self.spec, number).is_single();
            if !component.fixed && !is_single && self.random.chance(0.5) {
                *tasks = 1 + self.random.below(5) as usize;
            }
        }
        tasks
    }

    /// One process, with another number of tasks if it may have one.
    fn process(&mut self, fault: Option<Fault>, table: &mut Table) -> Result<Option<ExitStatus>, String> {
        let mut tasks = self.draw_tasks();
        loop {
            if self.tasks.last().is_some_and(|before| *before != tasks) {
                *table.hits.entry("another parallelism".to_owned()).or_default() += 1;
            }
            let said = self.way.stderr().len();
            let command = self.command(&tasks, table);
            self.drained |= matches!(fault, Some(Fault::Drain));
            let status = self.way.process(command, fault, &mut self.random, &mut table.met)?;
            self.starts += 1;
            let is_refused = status.and_then(|status| status.code()) == Some(2);
            // Something is held in the checkpoint, or the input had ended for some tasks: does as it is told.
            match self.tasks.pop() {
                Some(before) if is_refused && self.way.stderr()[said..].contains(OTHER_TASKS) => tasks = before,
                before => {
                    self.tasks.extend(before);
                    self.tasks.push(tasks);
                    return Ok(status);
                }
            }
        }
    }

    fn command(&mut self, tasks: &[usize], table: &mut Table) -> Command {
        let tasks: Vec<String> = tasks.iter().map(usize::to_string).collect();
        let path = |path: &Path| path.display().to_string();
        let (executors, lanes) = (1 + self.random.below(2), [1, 2, 7, 1_024][self.random.below(4) as usize]);
        // Two that spin have no CPU for each other where there are two.
        let spins = if executors == 1 { 1.0 / 3.0 } else { 0.1 };
        let wait = match self.random.chance(spins) {
            true => "spin",
            false => ["adaptive", "park"][self.random.below(2) as usize],
        };
        if lanes == 1 {
            *table.hits.entry("lanes of one".to_owned()).or_default() += 1;
        }
        let mut arguments = vec![
            ("--topology-seed", self.spec.seed.to_string()),
            ("--tasks", tasks.join(",")),
            ("--out", path(&self.way.dir.join("out"))),
            ("--notes", path(&self.beside("notes"))),
            ("--report", path(&self.beside("report"))),
            ("--start", self.starts.to_string()),
            ("--executors", executors.to_string()),
            ("--wait", wait.to_owned()),
            ("--set", format!("lane_capacity={lanes}")),
        ];
        if self.has_state() {
            arguments.extend([("--state", path(&self.way.state())), ("--store", self.runs.store.clone())]);
        }
        if let Some(savepoint) = &self.savepoint {
            arguments.push(("--from-savepoint", path(savepoint)));
        }
        let met = format!("{executors} executors that {wait}, lanes of {lanes}, tasks {}", tasks.join(","));
        self.way.history.push(met);
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let run = ["run", "--quiet"].map(str::to_owned).into_iter();
        self.program(&run.chain(arguments).collect::<Vec<_>>())
    }

    fn program(&self, arguments: &[String]) -> Command {
        let (program, own) = &self.runs.program;
        let mut command = Command::new(program);
        command.args(own).env(ARGUMENTS, arguments.join("\n")).env_remove("RUST_LOG");
        command.envs(self.runs.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.beside("notes")).unwrap_or_default()
    }

    fn was_told_to_stop(&self, status: Option<ExitStatus>, since: &str) -> Result<(), String> {
        match status.map(|status| status.code()) {
            // It may have been ended before it could stop.
            None => Ok(()),
            Some(Some(1)) if since.contains("told to stop") => Ok(()),
            _ => Err(format!("told to stop by a fatal failure, and: {status:?}")),
        }
    }

    fn judge(&self, status: ExitStatus, table: &mut Table) -> Result<(), String> {
        // A bare spout has no stream for what it gives up.
        let gives_up = self.spec.components.iter().any(|component| component.op == Op::Bare);
        let code = status.code();
        // Unaccounted: the rest is worth knowing too.
        if !code.is_some_and(|code| [0, 4].contains(&code) || (gives_up && code == 3)) {
            return Err(format!("{status}"));
        }
        let written = sinks::written(&self.spec, &self.way.dir.join("out"))?;
        let (counted, unaccounted) = self.reported()?;
        let notes = self.notes();
        let source_failed = notes.lines().any(|line| line == "source failed");
        let ended = notes.lines().filter_map(|line| line.strip_prefix("ended ")?.parse().ok()).collect();
        let (starts, drained, in_windows) = (self.starts, self.drained, in_windows(&notes));
        let (ended, in_windows) = (&ended, &in_windows);
        let ran = Ran { written: &written, starts, source_failed, ended, in_windows, drained, counted, unaccounted };
        let difference = judge(&self.spec, &ran);
        table.lines += written.values().sum::<u64>();
        table.lost += difference.lost;
        table.duplicated += difference.duplicated;
        table.unaccounted += difference.unaccounted;
        let mut wrong = difference.wrong;
        wrong.truncate(6);
        wrong.extend(code.filter(|code| *code == 4).map(|_| status.to_string()));
        let told = notes.lines().filter_map(|line| line.strip_prefix("wrong "));
        table.out_of_order += told.clone().filter(|what| what.starts_with("out of order")).count() as u64;
        wrong.extend(told.take(6).map(str::to_owned));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Dead letters, and inputs unaccounted for, of the last process.
    fn reported(&self) -> Result<(u64, u64), String> {
        let path = self.beside("report");
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read(&path).map_err(|error| failed(&error))?;
        let report: serde_json::Value = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        let components = report["components"].as_array().ok_or_else(|| failed(&"no components"))?;
        let sum = |what: &str| components.iter().map(|component| component[what].as_u64()).sum::<Option<u64>>();
        let both = sum("dead_lettered").zip(sum("unaccounted"));
        both.ok_or_else(|| failed(&"a component without counts"))
    }

    /// What has occurred.
    fn count(&self, table: &mut Table) {
        let notes = self.notes();
        let hits: BTreeSet<&str> = notes.lines().filter_map(|line| line.strip_prefix("hit ")).collect();
        hits.into_iter().for_each(|hit| *table.hits.entry(hit.to_owned()).or_default() += 1);
    }

    /// Of children that have died.
    fn remove_marks(&self) -> Result<(), String> {
        let marks = format!("{}-died-", self.beside("notes").display());
        let failed = |error: std::io::Error| format!("{}: {error}", self.runs.dir.display());
        for entry in fs::read_dir(&self.runs.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.display().to_string().starts_with(&marks) {
                fs::remove_file(path).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn remove(&self) -> Result<(), String> {
        fs::remove_dir_all(&self.way.dir).map_err(|error| format!("{}: {error}", self.way.dir.display()))?;
        self.remove_marks()?;
        for beside in ["notes", "report"] {
            let path = self.beside(beside);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Inputs in windows of the last process that were open at its end.
fn in_windows(notes: &str) -> BTreeSet<u64> {
    let of_last = notes.rsplit(STARTED).next().unwrap_or_default();
    let mut times: BTreeMap<(&str, &str, u64), i64> = BTreeMap::new();
    for line in of_last.lines().filter_map(|line| line.strip_prefix("window ")) {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[component, id, root, change] = fields.as_slice() else { continue };
        let (Ok(root), Ok(change)) = (root.parse(), change.parse::<i64>()) else { continue };
        *times.entry((component, id, root)).or_default() += change;
    }
    times.into_iter().filter(|(_, times)| *times > 0).map(|((.., root), _)| root).collect()
}
