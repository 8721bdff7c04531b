//! `storm route` and `config --storm`: Storm's rules, shown.

use std::io::{self, BufWriter};
use std::path::Path;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::cli::output::print;
use crate::cli::run::code_of;
use crate::error::{Error, Result};
use crate::observe::{Align, Table};
use crate::storm::config_report;
use crate::storm::route::{By, route};

const HELP: &str = "\
Each line of standard input is a JSON array of typed values, such as
  [{\"t\":\"string\",\"v\":\"the\"},{\"t\":\"long\",\"v\":\"-1\"}]
where t is string, int, long, byte, short, bool, char (v: the code unit as a number), double or float (also bits: the \
raw bits), null, bigint, bytes (hex: two digits a byte), list (v: typed values) or map (v: pairs of typed values).
Each line of standard output is the index, from 0, of the task that gets a tuple with these values.";

/// The command and what is under it.
pub(super) fn command() -> Command {
    let grouping = Arg::new("grouping")
        .long("grouping")
        .required(true)
        .value_name("GROUPING")
        .value_parser(["fields", "partial-key"])
        .help("Which grouping: fields, or partial-key (one instance sees all lines in order)");
    let tasks = Arg::new("tasks")
        .long("tasks")
        .required(true)
        .value_name("N")
        .value_parser(value_parser!(u32).range(1..=1 << 20))
        .help("How many tasks there are to choose from");
    let route = Command::new("route").about("Show to which task Storm sends which key").after_help(HELP);
    Command::new("storm")
        .about("Storm's rules, shown")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(route.arg(grouping).arg(tasks))
}

pub(super) fn act(matches: &ArgMatches) -> u8 {
    let (_, matches) = matches.subcommand().expect("a command is required");
    let grouping = matches.get_one::<String>("grouping").expect("it is required");
    let by = if grouping == "fields" { By::Fields } else { By::PartialKey };
    let tasks = *matches.get_one::<u32>("tasks").expect("it is required") as usize;
    code_of("storm route", route(by, tasks, io::stdin().lock(), &mut BufWriter::new(io::stdout().lock())))
}

/// Prints what becomes of each key of a configuration.
///
/// # Errors
/// Keys with values of the wrong type; they are told after all others were printed.
pub(super) fn config(file: &Path) -> Result<()> {
    let (rows, problems) = config_report::read(file);
    let columns =
        [("key", Align::Left), ("value", Align::Left), ("becomes", Align::Left), ("which means", Align::Left)];
    let mut table = Table::new(&columns);
    for row in rows {
        table.row([row.key, row.value, row.fate.to_owned(), row.note]);
    }
    print(table)?;
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}
