//! The command lines: one topology with `run` understood, or several by name; their help; what they lead to.

use std::ffi::OsString;
use std::path::Path;

use clap::{ArgMatches, Args, Command};

use crate::cli::bench;
use crate::cli::config::{ConfigOptions, config, list_keys};
use crate::cli::dead_letters;
use crate::cli::explain::{ExplainOptions, explain};
use crate::cli::flux;
use crate::cli::options::EngineOptions;
use crate::cli::output::{BAD_USAGE, EXIT_CODES, complain, print};
use crate::cli::run::{RunOptions, code_of, run};
use crate::cli::shipped::Shipped;
use crate::cli::state;
use crate::cli::stop;
use crate::cli::storm;
use crate::error::{Error, Problem, Result};
use crate::observe::{Align, Table};

const ABOUT_RUN: &str = "Run the topology until its input ends or a signal comes (what happens without a command)";
const ABOUT_EXPLAIN: &str = "Show what would run where: tasks, lanes, executors and CPUs, memory";
const ABOUT_CONFIG: &str = "Show the effective settings and where each comes from";

const SIGNALS: &str = "\
Signals: the first SIGINT (Ctrl-C) or SIGTERM drains: nothing new is taken in, what is under way is finished. A second \
one ends at once.";

/// Runs the command line of a program with one topology.
pub(super) fn single(shipped: &Shipped, command_line: &[OsString]) -> u8 {
    let program = program_name(command_line);
    if let Err(error) = check_options(std::slice::from_ref(shipped)) {
        complain(&program, &error);
        return BAD_USAGE;
    }
    let own = shipped.options();
    let own_help = own.get_after_help().map(|help| format!("{help}\n\n")).unwrap_or_default();
    let command = run_options(shipped, Command::new("squall"))
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .subcommand(run_command(shipped, "run").about(ABOUT_RUN).long_about(None))
        .subcommand(explain_command(shipped, "explain").about(ABOUT_EXPLAIN).long_about(None))
        .subcommand(config_command(shipped, "config").about(ABOUT_CONFIG).long_about(None))
        .subcommand(bench_command(&program, std::slice::from_ref(shipped), true, command_line))
        .subcommand(state::command())
        .subcommand(stop::command())
        .subcommand(dead_letters::command())
        .after_help(format!("{own_help}{}\n\n{SIGNALS}\n{EXIT_CODES}", examples(&program, "")))
        .after_long_help(None);
    let matches = match parse(command, command_line) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    match matches.subcommand() {
        Some(("state", matches)) => state::act(matches),
        Some(("stop", matches)) => stop::act(matches),
        Some(("dead-letters", matches)) => dead_letters::act(matches),
        Some(("bench", matches)) => measure(std::slice::from_ref(shipped), true, matches, command_line),
        Some((action, matches)) => act(action, shipped, matches),
        None => run(shipped, &matches),
    }
}

/// Runs the command line of a program with several topologies.
pub(super) fn several(about: &'static str, shipped: &[Shipped], command_line: &[OsString]) -> u8 {
    let program = program_name(command_line);
    if let Err(error) = check_options(shipped) {
        complain(&program, &error);
        return BAD_USAGE;
    }
    if flux::is_meant(command_line, shipped) {
        return flux::act(command_line);
    }
    if let Some(file) = flux::is_file_alone(command_line) {
        let file = file.display().to_string();
        let message = format!("this is a file and no command: to run it, say `{program} run {file}`");
        complain(&program, &Error::usage(file, message));
        return BAD_USAGE;
    }
    let first = shipped.first().map_or("NAME", Shipped::name);
    let by_name = |action: &'static str, about: &'static str, of_one: fn(&Shipped, &'static str) -> Command| {
        Command::new(action)
            .about(about)
            .subcommands(shipped.iter().map(|shipped| of_one(shipped, shipped.name())))
            .subcommand_required(true)
            .subcommand_value_name("NAME")
            .subcommand_help_heading("Topologies")
            .arg_required_else_help(true)
            .disable_help_subcommand(true)
    };
    // The keys are the same for all topologies, so that none needs to be named.
    let config =
        ConfigOptions::augment_args(by_name("config", ABOUT_CONFIG, config_command)).subcommand_required(false);
    let command = Command::new("squall")
        .about(about)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            by_name("run", "Run a topology until its input ends or a signal comes", run_command)
                .after_help(flux::instead_of_a_name(&program, "run")),
        )
        .subcommand(
            by_name("explain", ABOUT_EXPLAIN, explain_command).after_help(flux::instead_of_a_name(&program, "explain")),
        )
        .subcommand(config.mut_arg("toml", |toml| toml.hide(true)))
        .subcommand(bench_command(&program, shipped, false, command_line))
        .subcommand(state::command())
        .subcommand(stop::command())
        .subcommand(dead_letters::command())
        .subcommand(Command::new("topologies").about("List the topologies"))
        .subcommands(flux::commands())
        .subcommand(storm::command())
        .after_help(format!(
            "{}\n\n{}\n\n{SIGNALS}\n{EXIT_CODES}",
            examples(&program, first),
            flux::examples(&program)
        ));
    let matches = match parse(command, command_line) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let (action, matches) = matches.subcommand().expect("a command is required");
    if action == "state" {
        return state::act(matches);
    }
    if action == "stop" {
        return stop::act(matches);
    }
    if action == "dead-letters" {
        return dead_letters::act(matches);
    }
    if action == "bench" {
        return measure(shipped, false, matches, command_line);
    }
    if action == "storm" {
        return storm::act(matches);
    }
    if let Some(file) = storm_file(action, matches) {
        return code_of(&file.display().to_string(), storm::config(&file));
    }
    match matches.subcommand() {
        Some((name, matches)) => {
            let shipped = shipped.iter().find(|shipped| shipped.name() == name);
            act(action, shipped.expect("the commands were made from these"), matches)
        }
        None if action == "config" => code_of(action, list_keys()),
        None => code_of(action, list(shipped)),
    }
}

/// The configuration of Storm that `config --storm` names.
fn storm_file(action: &str, matches: &ArgMatches) -> Option<std::path::PathBuf> {
    (action == "config").then(|| matches.get_one("storm").cloned()).flatten()
}

fn act(action: &str, shipped: &Shipped, matches: &ArgMatches) -> u8 {
    match action {
        "run" => run(shipped, matches),
        "explain" => code_of(shipped.name(), explain(shipped, matches)),
        "config" => code_of(shipped.name(), config(shipped, matches)),
        other => unreachable!("there is no command {other}"),
    }
}

/// The help of each bench says how long it takes, which is not worked out for other commands.
fn bench_command(program: &str, shipped: &[Shipped], is_single: bool, command_line: &[OsString]) -> Command {
    let is_meant = command_line.iter().any(|argument| argument == "bench");
    if is_meant { bench::command(program, shipped, is_single) } else { Command::new("bench").about(bench::ABOUT) }
}

fn measure(shipped: &[Shipped], is_single: bool, matches: &ArgMatches, command_line: &[OsString]) -> u8 {
    let program = program_name(command_line);
    let arguments = command_line.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let typed: Vec<String> = std::iter::once(program).chain(arguments).collect();
    code_of("bench", bench::act(shipped, is_single, matches, typed.join(" ")))
}

pub(super) fn parse(command: Command, command_line: &[OsString]) -> Result<ArgMatches, u8> {
    command.try_get_matches_from(command_line).map_err(|refusal| {
        // Help, too, arrives here, with code 0. If it cannot be printed there is nowhere to say so.
        let _ = refusal.print();
        u8::try_from(refusal.exit_code()).unwrap_or(BAD_USAGE)
    })
}

fn run_options(shipped: &Shipped, command: Command) -> Command {
    RunOptions::augment_args(EngineOptions::augment_args(shipped.add_options(command)))
}

pub(super) fn run_command(shipped: &Shipped, name: &'static str) -> Command {
    run_options(shipped, Command::new(name))
}

pub(super) fn explain_command(shipped: &Shipped, name: &'static str) -> Command {
    EngineOptions::augment_args(ExplainOptions::augment_args(shipped.add_options(Command::new(name))))
}

pub(super) fn config_command(shipped: &Shipped, name: &'static str) -> Command {
    EngineOptions::augment_args(ConfigOptions::augment_args(shipped.add_options(Command::new(name))))
}

/// Finds options that a program and the engine would share: clap would take one for the other.
fn check_options(shipped: &[Shipped]) -> Result<()> {
    let none = || Command::new("engine");
    let of_engine = [
        EngineOptions::augment_args(none()),
        RunOptions::augment_args(none()),
        ExplainOptions::augment_args(none()),
        ConfigOptions::augment_args(none()),
    ];
    let of_bench = bench::reserved();
    let of_engine: Vec<&clap::Arg> = of_engine.iter().flat_map(Command::get_arguments).collect();
    let mut problems = Vec::new();
    for shipped in shipped {
        for own in shipped.options().get_arguments() {
            let is_same = |other: &&&clap::Arg| {
                own.get_id() == other.get_id() || (own.get_long().is_some() && own.get_long() == other.get_long())
            };
            let is_of_bench = |name: &String| *name == own.get_id().as_str() || own.get_long() == Some(name);
            if let Some(name) = of_bench.iter().find(|name| is_of_bench(name)) {
                let message = format!("--{name} is an option of `bench`; rename the program's");
                problems.push(Problem::new(format!("option {} of {}", own.get_id(), shipped.name()), message));
            }
            if let Some(other) = of_engine.iter().find(is_same) {
                let message = format!("--{} is an option of the engine; rename the program's", other.get_id());
                problems.push(Problem::new(format!("option {} of {}", own.get_id(), shipped.name()), message));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}

fn program_name(command_line: &[OsString]) -> String {
    let path = command_line.first().map(Path::new);
    path.and_then(Path::file_stem).map_or_else(|| "squall".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Command lines to start from; `name` is the topology's, empty where there is only one.
fn examples(program: &str, name: &str) -> String {
    let separated = if name.is_empty() { String::new() } else { format!(" {name}") };
    let run = if name.is_empty() { program.to_owned() } else { format!("{program} run {name}") };
    let lines = [
        (run.clone(), "run with the defaults; a table at the end says what happened"),
        (format!("{run} --executors 2 --wait park"), "on two threads that sleep when idle"),
        (format!("{run} --report report.json"), "the same numbers for a program"),
        (format!("{program} explain{separated}"), "which task runs where, and what joins them"),
        (format!("{program} explain{separated} --format dot | dot -Tsvg > plan.svg"), "a picture"),
        (format!("{program} bench --help"), "how fast that is, and how slow at worst"),
        (format!("{program} config --keys"), "everything that can be set"),
        (format!("{program} config{separated} --set lane_capacity=64"), "what is set, and where that comes from"),
        (format!("{program} config{separated} --toml > {program}.toml"), "a settings file to start from"),
        (format!("{run} --config {program}.toml"), "run with it"),
    ];
    let mut text = "Examples:".to_owned();
    for (line, what) in lines {
        text.push_str(&format!("\n  # {what}\n  {line}"));
    }
    text
}

fn list(shipped: &[Shipped]) -> Result<()> {
    let mut table = Table::new(&[("name", Align::Left), ("what it does", Align::Left)]);
    for shipped in shipped {
        table.row([shipped.name().to_owned(), shipped.about()]);
    }
    print(table)
}
