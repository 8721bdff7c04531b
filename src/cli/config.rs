//! `config`: the effective settings and where each came from; every key there is.

use std::path::PathBuf;

use clap::ArgMatches;

use crate::cli::options::{CommandLine, from_matches};
use crate::cli::output::print;
use crate::cli::shipped::Shipped;
use crate::cli::storm;
use crate::error::Result;
use crate::observe::logs;
use crate::observe::{Align, Table};
use crate::topology::settings;

// No doc comment: see `options`.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub(super) struct ConfigOptions {
    /// List every key there is, with what it takes, its default and what it does
    #[arg(long, exclusive = true)]
    keys: bool,
    /// Print the effective settings as a settings file
    #[arg(long)]
    toml: bool,
    /// Tell for each key of a Storm configuration, in YAML or JSON, what becomes of it
    #[arg(long, value_name = "FILE", exclusive = true)]
    storm: Option<PathBuf>,
}

/// Prints every key.
pub(super) fn list_keys() -> Result<()> {
    let mut text = String::new();
    for key in settings::keys() {
        let settings::KeyDoc { key, expected, default, doc } = key;
        text.push_str(&format!("{key} = {default}\n    {doc}\n    Takes {expected}.\n\n"));
    }
    text.push_str("user.ANY.KEY\n    Keys of your own, which components read from their context; the same under\n");
    text.push_str("    components.ID.user for one component.\n");
    print(text)
}

pub(super) fn config(shipped: &Shipped, matches: &ArgMatches) -> Result<()> {
    let options = from_matches::<ConfigOptions>(matches)?;
    if options.keys {
        return list_keys();
    }
    if let Some(file) = &options.storm {
        return storm::config(file);
    }
    let mut command_line = CommandLine::read(matches)?;
    let installed = logs::install(command_line.log_filter());
    command_line.note(installed);
    let resolved = command_line.topology(shipped, matches)?.resolve()?;
    if options.toml {
        return print(resolved.settings.to_toml());
    }
    let mut table = Table::new(&[("key", Align::Left), ("value", Align::Left), ("from", Align::Left)]);
    for row in resolved.explain() {
        table.row([row.key, row.value.to_string(), row.origin]);
    }
    print(table)
}
