//! `state get` and `state export`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::output::note;
use crate::error::Result;
use crate::state::inspect::{Entry, key_of_text};
use crate::state::manifest::StateEntry;

use super::{Lines, Watch, inspect};

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Get {
    /// The state directory or savepoint
    dir: PathBuf,
    /// Which state
    #[arg(value_name = "COMPONENT.STATE")]
    state: String,
    /// The key as JSON; a text needs no quotes
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// Which checkpoint [default: the newest]
    #[arg(long, value_name = "N")]
    checkpoint: Option<u64>,
    /// Print JSON lines as `export` does instead of the values alone
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Export {
    /// The state directory or savepoint
    dir: PathBuf,
    /// Only this state
    #[arg(long, value_name = "COMPONENT.STATE")]
    state: Option<String>,
    /// Which checkpoint [default: the newest]
    #[arg(long, value_name = "N")]
    checkpoint: Option<u64>,
}

/// False if there is nothing under the key.
pub(super) fn get(options: &Get) -> Result<bool> {
    let from = inspect(&options.dir)?;
    let generation = from.generation(options.checkpoint)?;
    let state = generation.state_named(&options.state)?;
    let key = key_of_text(state, &options.key)?;
    let mut found = Vec::new();
    let mut watch = Watch::new(options.state.clone());
    from.read(generation, &mut |change| {
        watch.entry();
        if change.space == state.space() {
            found.extend(Some(Entry::read(state, &change)?).filter(|entry| entry.key == key));
        }
        Ok(())
    })?;
    if found.is_empty() {
        let (checkpoint, name) = (generation.checkpoint, &options.state);
        note(format_args!("error: {name}: there is nothing under the key {key} in checkpoint {checkpoint}"));
        return Ok(false);
    }
    // List elements in their order, timers by time within a namespace.
    found.sort_by_key(|entry| {
        let parts = entry.element.as_ref().and_then(|element| element.as_array().cloned());
        let first = entry.element.as_ref().and_then(serde_json::Value::as_u64);
        let number = |at: usize| parts.as_ref().and_then(|parts| parts.get(at)?.as_u64());
        (first.or(number(0)), number(1))
    });
    let mut lines = Lines::default();
    for entry in found {
        let json = entry.to_json(state);
        match (&entry.element, options.json) {
            (None, false) => lines.line(&entry.value, &watch)?,
            (Some(element), false) => lines.line(format_args!("{element}\t{}", entry.value), &watch)?,
            (_, true) => lines.line(json, &watch)?,
        }
    }
    lines.end().map(|()| true)
}

pub(super) fn export(options: &Export) -> Result<()> {
    let from = inspect(&options.dir)?;
    let generation = from.generation(options.checkpoint)?;
    let states: BTreeMap<u32, &StateEntry> = match &options.state {
        Some(name) => [generation.state_named(name)?].map(|state| (state.space, state)).into(),
        None => generation.states.iter().map(|state| (state.space, state)).collect(),
    };
    let mut watch = Watch::new("entries".into());
    let mut lines = Lines::default();
    from.read(generation, &mut |change| {
        watch.entry();
        match states.get(&change.space.0) {
            Some(state) => lines.line(Entry::read(state, &change)?.to_json(state), &watch),
            None => Ok(()),
        }
    })?;
    lines.end()
}
