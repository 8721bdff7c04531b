//! Flux files on the command line: `run FILE`, `explain FILE`, `validate`, `migrate`.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use crate::cli::command::{config_command, explain_command, parse, run_command};
use crate::cli::config::config;
use crate::cli::explain::explain;
use crate::cli::options::from_matches;
use crate::cli::output::{BAD_USAGE, complain, note, print};
use crate::cli::run::{code_of, run_for};
use crate::cli::shipped::Shipped;
use crate::connect::place_of;
use crate::error::{Error, Result};
use crate::observe::WholeFile;
use crate::storm::flux::{self, FluxOptions};
use crate::storm::migrate;
use crate::topology::Topology;
use crate::topology::settings::parse_duration;

const ABOUT_VALIDATE: &str = "Check a Flux file, and say everything that is wrong with it";
const ABOUT_MIGRATE: &str = "Tell what of a Flux file runs here as it is, what does not, and what to do about it";

// No doc comment: see `options`.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Flux options")]
#[group(skip)]
struct FluxArgs {
    /// The Flux file: a topology in YAML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take ${name} from this properties file
    #[arg(short = 'f', long, value_name = "FILE")]
    filter: Option<PathBuf>,
    /// Take ${ENV-NAME} from the environment
    #[arg(short = 'e', long)]
    env_filter: bool,
    /// The folder in which shell components are started, and which stands for the class path [default: resources/
    /// beside the file]
    #[arg(long, value_name = "DIR")]
    resources: Option<PathBuf>,
    /// Record in this file, as JSON lines, every tuple that a bolt takes and every ack and fail of a spout; slow
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// FILE is a resource: look for it in the folder of resources
    #[arg(short = 'R', long)]
    resource: bool,
}

impl FluxArgs {
    /// Where the file is.
    fn path(&self) -> PathBuf {
        if !self.resource {
            return self.file.clone();
        }
        let relative = self.file.strip_prefix("/").unwrap_or(&self.file);
        self.resources.clone().unwrap_or_else(|| PathBuf::from("resources")).join(relative)
    }

    fn options(&self) -> FluxOptions {
        let resources = self.resources.clone().or_else(|| self.resource.then(|| PathBuf::from("resources")));
        let (filter, record) = (self.filter.clone(), self.record.clone());
        FluxOptions { filter, env_filter: self.env_filter, resources, record }
    }

    /// The record is begun anew.
    fn check_record(&self) -> Result<()> {
        let Some(record) = &self.record else { return Ok(()) };
        WholeFile::check("--record", record)?;
        let inputs = [Some(&self.path()), self.filter.as_ref()].map(|path| path.and_then(|path| place_of(path)));
        if place_of(record).is_some_and(|place| inputs.contains(&Some(place))) {
            let message = "is read here, and would be replaced by the record: give the record a file of its own";
            return Err(Error::usage(format!("--record {}", record.display()), message));
        }
        Ok(())
    }

    fn topology(&self) -> Result<Topology> {
        self.check_record()?;
        flux::topology(&self.path(), &self.options())
    }
}

/// True if a command line is about a Flux file: a path of a file after `run`, `explain` or `config` where the name of a
/// topology could stand, or a command that only Flux files have.
pub(super) fn is_meant(command_line: &[OsString], shipped: &[Shipped]) -> bool {
    let Some(action) = command_line.get(1).and_then(|action| action.to_str()) else { return false };
    let rest = &command_line[2..];
    let is_named = rest.first().is_some_and(|first| shipped.iter().any(|shipped| first == shipped.name()));
    match action {
        "run" | "explain" => !is_named && rest.iter().any(is_path),
        "config" => !is_named && rest.first().is_some_and(is_path),
        "validate" | "migrate" => true,
        _ => false,
    }
}

/// A file in the place of a command.
pub(super) fn is_file_alone(command_line: &[OsString]) -> Option<&Path> {
    let file = command_line.get(1)?;
    let path = Path::new(file);
    (is_path(file) && path.is_file()).then_some(path)
}

/// True for what can only be a file, whether it is there or not, and for the bare name of one that is.
fn is_path(argument: &OsString) -> bool {
    let path = Path::new(argument);
    let is_option = argument.as_encoded_bytes().starts_with(b"-");
    !is_option && (path.extension().is_some() || path.components().count() > 1 || path.is_file())
}

/// The commands that only Flux files have, for the list of all commands.
pub(super) fn commands() -> [Command; 2] {
    [validate_command(), migrate_command()]
}

fn validate_command() -> Command {
    FluxArgs::augment_args(Command::new("validate").about(ABOUT_VALIDATE))
}

fn migrate_command() -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Write the report as JSON");
    FluxArgs::augment_args(Command::new("migrate").about(ABOUT_MIGRATE)).arg(json)
}

/// What the help of a command that takes a topology's name says about files.
pub(super) fn instead_of_a_name(program: &str, action: &str) -> String {
    format!("A Flux file can stand in the place of a name: `{program} {action} FILE --help` tells what it takes.")
}

pub(super) fn examples(program: &str) -> String {
    let lines = [
        (format!("{program} run topology.yaml"), "a Flux file, as it is"),
        (
            format!("{program} run topology.yaml --filter dev.properties --duration 30s"),
            "with ${} from a file, for a while",
        ),
        (format!("{program} migrate topology.yaml"), "what of it runs here, and what to do about the rest"),
        (format!("{program} config --storm storm.yaml"), "what becomes of each of Storm's settings"),
    ];
    let lines: Vec<String> = lines.iter().map(|(line, what)| format!("  # {what}\n  {line}")).collect();
    format!("Storm topologies:\n{}", lines.join("\n"))
}

/// Does what a command line about a Flux file asks for; returns the exit code.
pub(super) fn act(command_line: &[OsString]) -> u8 {
    let shipped = Shipped::new::<FluxArgs>("flux", FluxArgs::topology);
    let duration = Arg::new("duration").long("duration").value_name("TIME");
    let duration = duration.help("Drain after this time, such as 12s or 1m").help_heading("Flux options");
    let command = Command::new("squall")
        .subcommand_required(true)
        .subcommand(run_command(&shipped, "run").about("Run a Flux file").arg(duration))
        .subcommand(explain_command(&shipped, "explain").about("Show what a Flux file comes to"))
        .subcommand(config_command(&shipped, "config").about("Show the settings that a Flux file comes to"))
        .subcommands(commands());
    let matches = match parse(command, command_line) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let (action, matches) = matches.subcommand().expect("a command is required");
    let place = match from_matches::<FluxArgs>(matches) {
        Ok(args) => args.path().display().to_string(),
        Err(error) => {
            complain(action, &error);
            return BAD_USAGE;
        }
    };
    match action {
        "run" => match duration_of(matches) {
            Ok(duration) => run_for(&shipped, matches, duration),
            Err(error) => {
                complain(&place, &error);
                BAD_USAGE
            }
        },
        "explain" => code_of(&place, explain(&shipped, matches)),
        "config" => code_of(&place, config(&shipped, matches)),
        "validate" => code_of(&place, validate(matches)),
        _ => code_of(&place, report(matches)),
    }
}

fn duration_of(matches: &ArgMatches) -> Result<Option<Duration>> {
    let Some(text) = matches.get_one::<String>("duration") else { return Ok(None) };
    let duration = parse_duration(text);
    duration.map(Some).map_err(|error| Error::usage("--duration", format!("expected a time such as 12s: {error}")))
}

fn validate(matches: &ArgMatches) -> Result<()> {
    let args = from_matches::<FluxArgs>(matches)?;
    let (path, options) = (args.path(), args.options());
    let flux = flux::Flux::load(&path, &options);
    for warning in flux.warnings() {
        note(format_args!("warning: {warning}"));
    }
    let topology = flux.topology()?;
    let settings = topology.resolve()?.settings;
    let plan = topology.plan(&settings);
    print(format_args!(
        "{}: {} is valid: {} components, {} tasks\n",
        path.display(),
        topology.name(),
        plan.components.len(),
        plan.task_count()
    ))
}

fn report(matches: &ArgMatches) -> Result<()> {
    let args = from_matches::<FluxArgs>(matches)?;
    let path = args.path();
    let is_readable = std::fs::File::open(&path).and_then(|mut file| file.read(&mut [0]));
    is_readable
        .map_err(|error| Error::usage(path.display().to_string(), format!("the file cannot be read: {error}")))?;
    let report = migrate::report(&path, &args.options());
    match matches.get_flag("json") {
        true => print(report.to_json()),
        false => print(report.to_text()),
    }
}
