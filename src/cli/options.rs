//! The options that every program shares, and how they become layers of settings.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, FromArgMatches};

use crate::cli::shipped::Shipped;
use crate::error::{Error, Problem, Result};
use crate::topology::Topology;
use crate::topology::settings::Layers;

/// The largest settings file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

// No doc comment on the structs here: clap would show it as the description of the program.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub(super) struct EngineOptions {
    #[command(flatten)]
    of_a_run: RunSettings,
    #[command(flatten)]
    settings: SettingOptions,
}

// What a run takes one of, and a bench a list.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Engine options")]
#[group(skip)]
struct RunSettings {
    /// Number of pinned threads [default: the usable CPUs minus one, at least one]
    #[arg(long, value_name = "N")]
    executors: Option<String>,
    /// What an idle executor does: spin, adaptive (spin briefly, then sleep) or park (sleep at once)
    #[arg(long, value_name = "POLICY")]
    wait: Option<String>,
    /// What is promised about every input: at-most-once, at-least-once or exactly-once
    #[arg(long, value_name = "WORD")]
    guarantee: Option<String>,
    /// Keep checkpoints in this folder, and go on from the last one [default: in memory only]
    #[arg(long, value_name = "DIR")]
    state: Option<String>,
    /// Take a checkpoint this often [default: 100ms under exactly-once, otherwise never]
    #[arg(long, value_name = "TIME")]
    checkpoint_interval: Option<String>,
    /// What keeps the checkpoints in that folder: log, sled or fjall [default: log]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// Add dead letters that no component takes to this file, as lines of JSON; what earlier runs have left in it stays
    /// [default: stop at the first under exactly-once, else count them and exit with 3]
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<String>,
    /// Start over: what the folder holds is moved aside, not removed
    #[arg(long)]
    fresh: bool,
    /// Begin with what a savepoint holds, in a folder that holds nothing yet
    #[arg(long, value_name = "DIR")]
    from_savepoint: Option<String>,
}

// What a run and a bench have in common.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Engine options")]
#[group(skip)]
pub(super) struct SettingOptions {
    /// Read settings from this TOML file; may be repeated, later files win
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Set any key, such as lane_capacity=64 or components.count.parallelism=4; may be repeated ("config --keys" lists
    /// them)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How long a drain waits for what is under way, such as 500ms or 1m
    #[arg(long, value_name = "TIME")]
    drain_timeout: Option<String>,
    /// Seed of every random choice of the engine
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// What to log to standard error: error, warn, info, debug, or TARGET=LEVEL,... [default: RUST_LOG, else warn]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Settings from the command line and the files it names, read.
#[derive(Default)]
pub(super) struct CommandLine {
    /// Name and text.
    files: Vec<(String, String)>,
    options: EngineOptions,
    problems: Vec<Problem>,
}

impl CommandLine {
    /// Takes the engine's options off a command line and reads the files. Problems are kept for
    /// [`topology`](Self::topology).
    pub fn read(matches: &ArgMatches) -> Result<Self> {
        Ok(Self::of(from_matches(matches)?))
    }

    /// Like [`read`](Self::read), where what a run takes one of is the bench's to read.
    pub fn read_for_bench(matches: &ArgMatches) -> Result<Self> {
        let settings = from_matches(matches)?;
        Ok(Self::of(EngineOptions { settings, of_a_run: RunSettings::default() }))
    }

    fn of(options: EngineOptions) -> Self {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for path in &options.settings.config {
            let name = path.display().to_string();
            match read_file(path) {
                Ok(text) => files.push((name, text)),
                Err(error) => problems.push(Problem::new(name, format!("the settings file cannot be read: {error}"))),
            }
        }
        CommandLine { files, options, problems }
    }

    /// The filter of the log, if one is given.
    pub fn log_filter(&self) -> Option<&str> {
        self.options.settings.log.as_deref()
    }

    /// Remembers a problem, to be reported with all others.
    pub fn note(&mut self, outcome: Result<()>) {
        match outcome {
            Err(error) if error.is_usage() => self.problems.extend_from_slice(error.problems()),
            Err(error) => self.problems.push(Problem::new("start", error.to_string())),
            Ok(()) => {}
        }
    }

    /// Builds the topology and lays the settings over it.
    ///
    /// # Errors
    /// Everything that is wrong with the command line, the files, the settings and the topology.
    pub fn topology(mut self, shipped: &Shipped, matches: &ArgMatches) -> Result<Topology> {
        let topology = self.check(shipped, matches);
        self.in_order()?;
        Ok(topology.expect("there is one, or a problem was noted"))
    }

    /// Reports every problem noted so far.
    pub fn in_order(&self) -> Result<()> {
        if self.problems.is_empty() { Ok(()) } else { Err(Error::invalid(self.problems.clone())) }
    }

    /// Builds the topology to see whether it can be; notes what is wrong with it and with the settings.
    pub fn check(&mut self, shipped: &Shipped, matches: &ArgMatches) -> Option<Topology> {
        match self.build(shipped, matches) {
            Ok(topology) => {
                self.note(topology.resolve().map(drop));
                Some(topology)
            }
            Err(error) => {
                // Without a topology its components are not known; all else about the settings can still be told.
                let mut layers = Layers::new();
                self.lay(&mut layers);
                self.note(Err(error));
                self.note(layers.resolve().map(drop));
                None
            }
        }
    }

    /// Builds the topology, with the settings laid over it, however often it is needed.
    pub fn build(&self, shipped: &Shipped, matches: &ArgMatches) -> Result<Topology> {
        Ok(shipped.build(matches)?.configure(|layers| self.lay(layers)))
    }

    /// The dedicated options come last, so that they win over `--set`.
    fn lay(&self, layers: &mut Layers) {
        for (name, text) in &self.files {
            layers.toml(text, name);
        }
        let EngineOptions { of_a_run, settings } = &self.options;
        for assignment in &settings.set {
            layers.assign(assignment);
        }
        let dedicated = [
            ("--executors", "executors", &of_a_run.executors),
            ("--wait", "wait", &of_a_run.wait),
            ("--guarantee", "guarantee", &of_a_run.guarantee),
            ("--state", "state_dir", &of_a_run.state),
            ("--checkpoint-interval", "checkpoint_interval", &of_a_run.checkpoint_interval),
            ("--store", "store", &of_a_run.store),
            ("--dead-letters", "dead_letters", &of_a_run.dead_letters),
            ("--from-savepoint", "restore_from", &of_a_run.from_savepoint),
            ("--fresh", "fresh_state", &of_a_run.fresh.then(|| "true".to_owned())),
            ("--drain-timeout", "drain_timeout", &settings.drain_timeout),
            ("--seed", "seed", &settings.seed),
        ];
        for (option, key, value) in dedicated {
            if let Some(value) = value {
                layers.set(option, key, value);
            }
        }
    }
}

/// The options of one kind, from a command line that has been checked against them.
pub(super) fn from_matches<O: FromArgMatches>(matches: &ArgMatches) -> Result<O> {
    O::from_arg_matches(matches).map_err(|error| Error::usage("options", error.to_string()))
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("larger than the 1 MiB that a settings file can have"));
    }
    Ok(text)
}
