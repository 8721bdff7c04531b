//! `bench`: the latency lab's command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args, Command};

use crate::bench::{self, Bench, Flag, Interruption, Options, Outputs, Subject, duration_text};
use crate::cli::options::{CommandLine, SettingOptions, from_matches};
use crate::cli::output::{complain, note, print};
use crate::cli::shipped::Shipped;
use crate::cli::signals::Signals;
use crate::connect::FileLines;
use crate::error::{Error, Problem, Result};
use crate::observe::logs;
use crate::sys::cpu::{CpuId, parse_cpu_list, usable_cpus};
use crate::topology::Topology;
use crate::topology::settings::{Layers, Settings, parse_duration};

pub(super) const ABOUT: &str = "Measure this machine, and the engine against it";
const ABOUT_COMPARE: &str = "Set two reports side by side and mark what differs beyond the noise";
/// What the names of flags begin with where a topology has an option of the same name.
const PREFIX: &str = "bench-";
const DURATION_MAX: Duration = Duration::from_secs(24 * 3_600);
const REPEAT_MAX: usize = 1_000;

// No doc comment: see `options`. The ids differ from the names, so that a topology may have options of these names.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Bench options")]
#[group(skip)]
struct BenchOptions {
    /// How long each row is measured, over all its repeats, such as 500ms or 10s
    #[arg(id = "bench-duration", long = "duration", value_name = "TIME")]
    duration: Option<String>,
    /// How long each measurement runs before it counts
    #[arg(id = "bench-warmup", long = "warmup", value_name = "TIME")]
    warmup: Option<String>,
    /// How often each row is measured; its figures are medians, with the spread beside them
    #[arg(id = "bench-repeat", long = "repeat", value_name = "N")]
    repeat: Option<String>,
    /// Events per second, such as 1000,50k; may be repeated
    #[arg(id = "bench-rate", long = "rate", value_name = "LIST", value_delimiter = ',')]
    rate: Vec<String>,
    /// Numbers of executors, such as 1,2
    #[arg(id = "bench-executors", long = "executors", value_name = "LIST", value_delimiter = ',')]
    executors: Vec<String>,
    /// Guarantees: at-most-once, at-least-once
    #[arg(id = "bench-guarantee", long = "guarantee", value_name = "LIST", value_delimiter = ',')]
    guarantee: Vec<String>,
    /// What idle executors do: spin, adaptive, park
    #[arg(id = "bench-wait", long = "wait", value_name = "LIST", value_delimiter = ',')]
    wait: Vec<String>,
    /// The CPUs to measure on, such as 0,1 or 0-3; measured threads take them in this order
    #[arg(id = "bench-cpus", long = "cpus", value_name = "LIST", value_delimiter = ',')]
    cpus: Vec<String>,
    /// The text whose words are counted [default: the King James Bible, shipped with squall]
    #[arg(id = "bench-input", long = "input", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Let a topology with sinks of its own write to them, over and over, as if each measurement were a run
    #[arg(id = "bench-allow-output", long = "allow-output")]
    allow_output: bool,
    /// Write the rows to this file as JSON Lines; - for standard output, instead of the tables
    #[arg(id = "bench-json", long = "json", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write report.html with its plots, rows.jsonl, and .hlog and .hgrm files for HdrHistogram's tools to this folder
    #[arg(id = "bench-out", long = "out", value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The ids of the flags, which a topology must not have.
pub(super) fn reserved() -> Vec<String> {
    let command = BenchOptions::augment_args(Command::new("bench"));
    command.get_arguments().map(|arg| arg.get_id().to_string()).collect()
}

/// The command of a program with one topology, or several.
pub(super) fn command(program: &str, shipped: &[Shipped], is_single: bool) -> Command {
    let command = Command::new("bench")
        .about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands(Bench::all().map(|bench| bench_command(bench, program, shipped, is_single)));
    let report = |name: &'static str, help: &'static str| {
        Arg::new(name).help(help).required(true).value_parser(clap::value_parser!(PathBuf))
    };
    command.subcommand(
        Command::new("compare")
            .about(ABOUT_COMPARE)
            .arg(report("old", "A report that --json wrote, or rows.jsonl of --out").value_name("OLD"))
            .arg(report("new", "Another").value_name("NEW"))
            .after_help(
                "Rows are matched by bench and label. A figure differs beyond the noise if no repeat of one report \
                 lies within the range of the other's; figures measured once carry a question mark.",
            ),
    )
}

fn bench_command(bench: &'static Bench, program: &str, shipped: &[Shipped], is_single: bool) -> Command {
    let command = Command::new(bench.name).about(bench.about).after_help(help(bench, program, shipped, is_single));
    match (bench.takes_topology, is_single) {
        (false, _) => with_options(command, bench, None),
        (true, true) => with_options(command, bench, shipped.first()),
        (true, false) => {
            let of_one = |shipped: &Shipped| {
                with_options(Command::new(shipped.name()), bench, Some(shipped)).about(shipped.about()).long_about(None)
            };
            with_options(command, bench, None)
                .subcommands(shipped.iter().map(of_one))
                .subcommand_value_name("NAME")
                .subcommand_help_heading("Topologies, to measure instead of the built-in shapes")
                .disable_help_subcommand(true)
                .args_conflicts_with_subcommands(true)
        }
    }
}

/// Adds the flags, hides those that the bench has no use for, and makes room for the topology's own options.
fn with_options(command: Command, bench: &Bench, shipped: Option<&Shipped>) -> Command {
    let mut command = command;
    let mut taken = Vec::new();
    if let Some(shipped) = shipped {
        command = SettingOptions::augment_args(shipped.add_options(command));
        taken = shipped.options().get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
    }
    command = BenchOptions::augment_args(command);
    let is_useless = |name: &str| {
        let flag = Flag::ALL.into_iter().find(|flag| flag.name() == name);
        flag.is_some_and(|flag| !bench.takes(flag) || (flag == Flag::Input && shipped.is_some()))
            || (name == "allow-output" && shipped.is_none())
    };
    command.mut_args(|arg| {
        let id = arg.get_id().clone();
        let Some(name) = id.as_str().strip_prefix(PREFIX) else { return arg };
        let arg = if is_useless(name) { arg.hide(true) } else { arg };
        if taken.iter().any(|other| other == name) { arg.long(id) } else { arg }
    })
}

fn help(bench: &Bench, program: &str, shipped: &[Shipped], is_single: bool) -> String {
    let name = bench.name;
    let mut lines = vec![
        (format!("{program} bench {name}"), "with the defaults, tables on standard output"),
        (
            format!("{program} bench {name} --duration 30s --out report"),
            "longer, and with plots: open report/report.html",
        ),
        (format!("{program} bench {name} --json a.json"), "for `bench compare`, or a program"),
    ];
    if bench.takes(Flag::Rate) {
        lines.push((format!("{program} bench {name} --rate 1000,100k"), "at these rates"));
    }
    if let (Some(first), false, true) = (shipped.first(), is_single, bench.takes_topology) {
        lines.push((
            format!("{program} bench {name} {} --help", first.name()),
            "a topology instead of the built-in shapes",
        ));
    }
    let lines: Vec<String> = lines.iter().map(|(line, what)| format!("  # {what}\n  {line}")).collect();
    format!(
        "{}\n\nEach row is measured for {} unless told otherwise, in {} repeats with {} of warm-up. With the \
        defaults it takes \
         about {} on this machine; every run announces how long it will take.\n\nExamples:\n{}",
        bench.teaches,
        humantime::format_duration(bench.duration),
        bench.repeat,
        humantime::format_duration(bench.warmup),
        duration_text(bench.expected(&Options::default())),
        lines.join("\n"),
    )
}

/// Runs what a `bench` command line asks for. `shipped` are all topologies of the program.
pub(super) fn act(shipped: &[Shipped], is_single: bool, matches: &ArgMatches, command_line: String) -> Result<()> {
    let (name, matches) = matches.subcommand().expect("a command is required");
    if name == "compare" {
        let path = |id: &str| matches.get_one::<PathBuf>(id).expect("it is required");
        return print(bench::compare(path("old"), path("new"))?);
    }
    let bench = Bench::all().find(|bench| bench.name == name).expect("the commands were made from these");
    let (shipped, matches) = match matches.subcommand() {
        Some((name, matches)) => (shipped.iter().find(|shipped| shipped.name() == name), matches),
        None => (shipped.first().filter(|_| is_single && bench.takes_topology), matches),
    };
    measure(bench, shipped, matches, command_line)
}

fn measure(bench: &Bench, shipped: Option<&Shipped>, matches: &ArgMatches, typed: String) -> Result<()> {
    let mut command_line =
        if shipped.is_some() { CommandLine::read_for_bench(matches)? } else { CommandLine::default() };
    let installed = logs::install(command_line.log_filter());
    command_line.note(installed);
    let of_bench = from_matches::<BenchOptions>(matches)?;
    let allows_output = of_bench.allow_output;
    let (options, outcome) = of_bench.read(typed);
    command_line.note(outcome);
    command_line.note(outcome_of(bench.problems(&options, shipped.is_some())));
    if let (Some(input), None, true) = (&options.input, shipped, bench.takes(Flag::Input)) {
        command_line.note(FileLines::new(input).check());
    }
    let outputs = Outputs::check(&options).unwrap_or_else(|error| {
        command_line.note(Err(error));
        Outputs::default()
    });
    let topology = shipped.and_then(|shipped| command_line.check(shipped, matches));
    match &topology {
        Some(topology) if !allows_output => command_line.note(outcome_of(outputs_of(topology))),
        None if allows_output && shipped.is_none() => {
            let what = "there is no topology here whose output it could be";
            command_line.note(Err(Error::usage("--allow-output", what)));
        }
        _ => {}
    }
    command_line.in_order()?;

    logs::log_panics();
    let watch = |interruption| Signals::install(|signal| end(interruption, signal));
    let Some((shipped, topology)) = shipped.zip(topology) else {
        return bench::run(bench, options, outputs, None, watch);
    };
    let build = || command_line.build(shipped, matches);
    let subject = Subject { name: topology.name().to_owned(), build: &build };
    bench::run(bench, options, outputs, Some(&subject), watch)
}

/// Where the topology would leave something behind: a bench builds and runs it dozens of times, and what is there may
/// belong to a run.
fn outputs_of(topology: &Topology) -> Vec<Problem> {
    let remedy = "a bench runs the topology many times over and would overwrite what is there: leave out what names \
                  it, or name another place and give --allow-output";
    let sinks = topology.places().into_iter().map(|(component, place)| {
        let id = topology.component_id(component);
        Problem::new(id.to_string(), format!("it writes to {place}, and {remedy}"))
    });
    let settings = topology.resolve().ok().map(|resolved| resolved.settings);
    let state = settings.and_then(|settings| settings.state_dir);
    let state = state.map(|dir| Problem::new("state_dir", format!("the state is kept in {dir}, and {remedy}")));
    sinks.chain(state).collect()
}

/// What the first signal does: the rows so far are written, and the process ends as signals end processes.
fn end(interruption: Interruption, signal: i32) {
    note("interrupted: ending with the measurement under way; a second signal ends at once, without a report");
    if let Err(error) = interruption.end() {
        complain("bench", &error);
    }
    std::process::exit(128 + signal);
}

impl BenchOptions {
    /// Reads every value that can be read, and says what is wrong with the others.
    fn read(self, command_line: String) -> (Options, Result<()>) {
        let mut problems = Problems(Vec::new());
        let mut cpu_list = Vec::new();
        for cpu in problems.each("cpus", self.cpus, cpus).into_iter().flatten() {
            if !cpu_list.contains(&cpu) {
                cpu_list.push(cpu);
            }
        }
        let options = Options {
            duration: problems.one("duration", self.duration, |text| duration(text, Duration::from_millis(1))),
            warmup: problems.one("warmup", self.warmup, |text| duration(text, Duration::ZERO)),
            repeat: problems.one("repeat", self.repeat, repeat),
            rates: problems.each("rate", self.rate, rate),
            cpus: cpu_list,
            executors: problems.settings("executors", self.executors, |settings| settings.executors.unwrap_or(1)),
            guarantees: problems.settings("guarantee", self.guarantee, |settings| settings.guarantee),
            waits: problems.settings("wait", self.wait, |settings| settings.wait),
            input: self.input,
            json: self.json,
            out: self.out,
            command_line,
            of_topology: false,
        };
        (options, outcome_of(problems.0))
    }
}

fn outcome_of(problems: Vec<Problem>) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}

/// Collects what is wrong with values.
struct Problems(Vec<Problem>);

impl Problems {
    fn one<T>(&mut self, flag: &str, text: Option<String>, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.each(flag, text, read).pop()
    }

    fn each<T>(
        &mut self,
        flag: &str,
        texts: impl IntoIterator<Item = String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for text in texts {
            match read(text.trim()) {
                Ok(value) => values.push(value),
                Err(message) => self.0.push(Problem::new(format!("--{flag} {text}"), message)),
            }
        }
        values
    }

    /// Values that are settings, read and checked as such.
    fn settings<T>(&mut self, key: &str, texts: Vec<String>, value: impl Fn(&Settings) -> T) -> Vec<T> {
        let mut values = Vec::new();
        for text in texts {
            let mut layers = Layers::new();
            layers.set(format!("--{key} {text}"), key, text.trim());
            match layers.resolve() {
                Ok(resolved) => values.push(value(&resolved.settings)),
                Err(error) => self.0.extend_from_slice(error.problems()),
            }
        }
        values
    }
}

fn duration(text: &str, min: Duration) -> Result<Duration, String> {
    let expected = "expected a time such as 500ms or 10s";
    let duration = parse_duration(text).map_err(|error| format!("{expected}: {error}"))?;
    if (min..=DURATION_MAX).contains(&duration) {
        return Ok(duration);
    }
    let limits = [min, DURATION_MAX].map(|limit| humantime::format_duration(limit).to_string());
    Err(format!("{expected}, from {} to {}", limits[0], limits[1]))
}

fn repeat(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=REPEAT_MAX).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {REPEAT_MAX}"))
}

/// Events per second; `50k` and `2M` are understood.
fn rate(text: &str) -> Result<u64, String> {
    let units = [("k", 1_000), ("M", 1_000_000)];
    let unit = units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    let in_range = number.filter(|rate| (1..=1_000_000_000).contains(rate));
    in_range.ok_or_else(|| "expected events per second, such as 1000, 50k or 2M".to_owned())
}

fn cpus(text: &str) -> Result<Vec<usize>, String> {
    let cpus = parse_cpu_list(text).map_err(|error| format!("{error}; expected such as 0,1 or 0-3"))?;
    let usable = usable_cpus();
    let is_there = |cpu: &CpuId| usable.ids().contains(cpu) || usable.on_request().contains(cpu);
    match cpus.iter().find(|cpu| !is_there(cpu)) {
        None => Ok(cpus.into_iter().map(|cpu| cpu.0).collect()),
        Some(missing) => {
            let ids: Vec<String> = usable.ids().iter().map(ToString::to_string).collect();
            Err(format!("CPU {missing} is not usable here; usable are {}", ids.join(", ")))
        }
    }
}
