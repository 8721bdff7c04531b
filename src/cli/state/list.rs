//! `state ls` and `state verify`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::output::print;
use crate::error::{Error, Result};
use crate::observe::{Align, Table, units};
use crate::state::inspect::{Entry, Inspection};
use crate::state::manifest::{Generation, OperatorEntry, StateEntry};
use crate::sys::clock::wall_ns;

use super::{Watch, inspect};

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Ls {
    /// The state directory or savepoint
    dir: PathBuf,
    /// Which checkpoint's states to list [default: the newest]
    #[arg(long, value_name = "N")]
    checkpoint: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Verify {
    /// The state directory or savepoint
    dir: PathBuf,
    /// Print a JSON object for each checkpoint
    #[arg(long)]
    json: bool,
}

/// Entries and bytes by state.
type Sizes = BTreeMap<u32, (u64, u64)>;

fn sizes(from: &Inspection, generation: &Generation, decodes: bool) -> Result<Sizes> {
    let states: BTreeMap<u32, &StateEntry> = generation.states.iter().map(|state| (state.space, state)).collect();
    let mut sizes = Sizes::new();
    let mut watch = Watch::new(format!("checkpoint {}", generation.checkpoint));
    from.read(generation, &mut |change| {
        watch.entry();
        let Some(state) = states.get(&change.space.0) else {
            let space = change.space.0;
            return Err(Error::bad_state(format!("there is an entry of state number {space}, which is not listed")));
        };
        if decodes {
            Entry::read(state, &change)?;
        }
        let size = sizes.entry(change.space.0).or_default();
        size.0 += 1;
        size.1 += (change.key.len() + change.value.map_or(0, <[u8]>::len)) as u64;
        Ok(())
    })?;
    Ok(sizes)
}

fn total(sizes: &Sizes) -> (u64, u64) {
    sizes.values().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
}

fn age(generation: &Generation) -> Duration {
    Duration::from_nanos(u64::try_from(wall_ns() - generation.written_at_ns).unwrap_or(0))
}

fn positions(operator: &OperatorEntry) -> Value {
    match operator.positions() {
        Some(positions) => json!(positions.into_iter().collect::<BTreeMap<_, _>>()),
        None => Value::Null,
    }
}

pub(super) fn ls(options: &Ls) -> Result<()> {
    let from = inspect(&options.dir)?;
    let shown = from.generation(options.checkpoint)?;
    let all: Vec<_> = from.generations().iter().map(|generation| sizes(&from, generation, false)).collect();
    let of_shown =
        from.generations().iter().zip(&all).find(|(generation, _)| generation.checkpoint == shown.checkpoint);
    let empty = Sizes::new();
    let of_shown = of_shown.and_then(|(_, sizes)| sizes.as_ref().ok()).unwrap_or(&empty);
    if options.json {
        return print(format_args!("{}\n", to_json(&from, shown, &all, of_shown)));
    }
    print(format_args!("{}: the topology {}\n\n", from.path().display(), shown.topology))?;
    print(checkpoints(&from, &all))?;
    print(format_args!("\nStates of checkpoint {}:\n{}", shown.checkpoint, states(shown, of_shown)))?;
    let operators: Vec<_> = shown.operators.iter().filter(|operator| operator.bytes() > 0).collect();
    if operators.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[("component", Align::Left), ("split", Align::Left), ("position", Align::Right)]);
    for operator in operators {
        match operator.positions() {
            Some(splits) => splits.into_iter().for_each(|(split, position)| {
                table.row([operator.component.clone(), split, units::grouped(position)]);
            }),
            None => {
                let what = format!("({} of its own)", units::size(operator.bytes()));
                table.row([operator.component.clone(), what, String::new()]);
            }
        }
    }
    print(format_args!("\n{table}"))
}

fn checkpoints(from: &Inspection, all: &[Result<Sizes>]) -> Table {
    let mut table = Table::new(&[
        ("checkpoint", Align::Right),
        ("age", Align::Right),
        ("store", Align::Left),
        ("entries", Align::Right),
        ("size", Align::Right),
        ("", Align::Left),
    ]);
    for (generation, sizes) in from.generations().iter().zip(all) {
        let (entries, bytes, what) = match sizes {
            Ok(sizes) => {
                let (entries, bytes) = total(sizes);
                let what = if generation.finished { "all input handled" } else { "" };
                (units::grouped(entries), units::size(bytes), what.to_owned())
            }
            Err(error) => ("?".into(), "?".into(), format!("damaged: {error}")),
        };
        let (checkpoint, age) = (generation.checkpoint.to_string(), units::elapsed(age(generation)));
        table.row([checkpoint, age, generation.store.clone(), entries, bytes, what]);
    }
    table
}

fn states(shown: &Generation, sizes: &Sizes) -> Table {
    let mut table = Table::new(&[
        ("state", Align::Left),
        ("kind", Align::Left),
        ("key", Align::Left),
        ("value", Align::Left),
        ("version", Align::Right),
        ("entries", Align::Right),
        ("size", Align::Right),
    ]);
    for state in &shown.states {
        let schema = &state.schema;
        let (entries, bytes) = sizes.get(&state.space).copied().unwrap_or_default();
        let element = schema.element.as_ref().map(|element| format!(" / {element}")).unwrap_or_default();
        let stamped = if schema.stamped { ", with a time to live" } else { "" };
        table.row([
            state.full_name(),
            schema.kind.to_string(),
            format!("{}{element}", schema.key),
            format!("{}{stamped}", schema.value),
            schema.version.to_string(),
            units::grouped(entries),
            units::size(bytes),
        ]);
    }
    table
}

fn to_json(from: &Inspection, shown: &Generation, all: &[Result<Sizes>], of_shown: &Sizes) -> Value {
    let checkpoints = from.generations().iter().zip(all).map(|(generation, sizes)| {
        let (entries, bytes) = sizes.as_ref().map(total).unwrap_or_default();
        json!({
            "checkpoint": generation.checkpoint, "written_at_ns": generation.written_at_ns, "store": generation.store,
            "finished": generation.finished, "entries": entries, "bytes": bytes,
            "damaged": sizes.as_ref().err().map(ToString::to_string),
        })
    });
    let states = shown.states.iter().map(|state| {
        let (entries, bytes) = of_shown.get(&state.space).copied().unwrap_or_default();
        json!({
            "component": state.component, "state": state.state, "schema": state.schema,
            "entries": entries, "bytes": bytes,
        })
    });
    let operators = shown.operators.iter().map(|operator| {
        json!({ "component": operator.component, "positions": positions(operator), "bytes": operator.bytes() })
    });
    json!({
        "topology": shown.topology,
        "checkpoint": shown.checkpoint,
        "checkpoints": checkpoints.collect::<Vec<_>>(),
        "states": states.collect::<Vec<_>>(),
        "operators": operators.collect::<Vec<_>>(),
    })
}

/// False if anything is damaged.
pub(super) fn verify(options: &Verify) -> Result<bool> {
    let from = inspect(&options.dir)?;
    from.generation(None)?;
    let mut is_whole = from.torn_slot().is_none();
    if let Some(torn) = from.torn_slot() {
        print(match options.json {
            true => format!("{}\n", json!({ "manifest": torn })),
            false => format!("damaged: {torn}; the other manifest is used\n"),
        })?;
    }
    for generation in from.generations() {
        let read = sizes(&from, generation, true);
        is_whole &= read.is_ok();
        let checkpoint = generation.checkpoint;
        let (entries, bytes) = read.as_ref().map(total).unwrap_or_default();
        print(match (&read, options.json) {
            (_, true) => {
                let damaged = read.err().map(|error| error.to_string());
                let found = json!({ "checkpoint": checkpoint, "entries": entries, "bytes": bytes, "damaged": damaged });
                format!("{found}\n")
            }
            (Ok(_), false) => {
                let (entries, bytes) = (units::grouped(entries), units::size(bytes));
                format!("checkpoint {checkpoint}: whole, {entries} entries, {bytes}\n")
            }
            (Err(error), false) => format!("checkpoint {checkpoint}: damaged: {error}\n"),
        })?;
    }
    Ok(is_whole)
}
