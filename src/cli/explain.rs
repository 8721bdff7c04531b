//! `explain`: what would run where, without running it.

use clap::{ArgMatches, ValueEnum};

use crate::cli::options::{CommandLine, from_matches};
use crate::cli::output::print;
use crate::cli::shipped::Shipped;
use crate::engine::placement::Placed;
use crate::error::{Error, Result};
use crate::observe::logs;
use crate::sys::cpu::usable_cpus;
use crate::topology::plan::Plan;

// No doc comment: see `options`.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(super) struct ExplainOptions {
    /// text, dot (Graphviz), mermaid (for Markdown) or json (everything, for programs)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", hide_possible_values = true)]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum Format {
    #[default]
    Text,
    Dot,
    Mermaid,
    Json,
}

pub(super) fn explain(shipped: &Shipped, matches: &ArgMatches) -> Result<()> {
    let options = from_matches::<ExplainOptions>(matches)?;
    let mut command_line = CommandLine::read(matches)?;
    let installed = logs::install(command_line.log_filter());
    command_line.note(installed);
    let (plan, placed) = command_line.topology(shipped, matches)?.explain()?;
    print(match options.format {
        Format::Text => to_text(&plan, &placed),
        Format::Dot => plan.to_dot(),
        Format::Mermaid => plan.to_mermaid(),
        Format::Json => to_json(&plan, &placed)?,
    })
}

fn to_text(plan: &Plan, placed: &Placed) -> String {
    let usable = usable_cpus();
    let ids: Vec<String> = usable.ids().iter().map(ToString::to_string).collect();
    let mut machine = format!("usable CPUs: {}", ids.join(", "));
    if usable.count() < ids.len() {
        machine.push_str(&format!(", time for {} of them", usable.count()));
    }
    format!("{}{machine}\n{}", plan.to_text(), placed.to_text(plan))
}

fn to_json(plan: &Plan, placed: &Placed) -> Result<String> {
    let json = serde_json::to_string_pretty(&serde_json::json!({ "plan": plan, "placement": placed }));
    Ok(json.map_err(|error| Error::io("the plan as JSON", &error.into()))? + "\n")
}
