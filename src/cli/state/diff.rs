//! `state diff`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::output::print;
use crate::error::Result;
use crate::observe::{Align, Table, units};
use crate::state::delta::{Change, Space};
use crate::state::inspect::Entry;
use crate::state::manifest::StateEntry;

use super::{Lines, Watch, inspect};

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Diff {
    /// The state directory or savepoint to begin with
    a: PathBuf,
    /// The one to compare it with; may be the same
    b: PathBuf,
    /// Which checkpoint of A [default: the newest]
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Which checkpoint of B [default: the newest]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Print each difference as a JSON line instead of a table of their numbers
    #[arg(long)]
    json: bool,
}

/// Group, key bytes, value bytes.
type Entries = BTreeMap<Vec<u8>, (u16, Vec<u8>)>;

/// A checkpoint in memory, by the names of its states.
fn load(path: &Path, checkpoint: Option<u64>) -> Result<BTreeMap<String, (StateEntry, Entries)>> {
    let from = inspect(path)?;
    let generation = from.generation(checkpoint)?;
    let mut spaces: BTreeMap<Space, (StateEntry, Entries)> =
        generation.states.iter().map(|state| (state.space(), (state.clone(), Entries::new()))).collect();
    let mut watch = Watch::new(path.display().to_string());
    from.read(generation, &mut |change| {
        watch.entry();
        if let Some((_, entries)) = spaces.get_mut(&change.space) {
            entries.insert(change.key.to_vec(), (change.group, change.value.unwrap_or_default().to_vec()));
        }
        Ok(())
    })?;
    Ok(spaces.into_values().map(|(state, entries)| (state.full_name(), (state, entries))).collect())
}

fn entry(state: &StateEntry, key: &[u8], of: &(u16, Vec<u8>)) -> Result<Entry> {
    Entry::read(state, &Change { space: state.space(), group: of.0, key, value: Some(&of.1) })
}

/// False if there are differences. A value that was only refreshed, for its time to live, is none.
pub(super) fn diff(options: &Diff) -> Result<bool> {
    let (a, b) = (load(&options.a, options.from)?, load(&options.b, options.to)?);
    let columns = [("state", Align::Left), ("added", Align::Right), ("removed", Align::Right)];
    let mut table = Table::new(&[columns[0], columns[1], columns[2], ("changed", Align::Right)]);
    let mut lines = Lines::default();
    let watch = Watch::new("comparing".into());
    let mut differences = 0;
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    let none = Entries::new();
    for name in names {
        let (old, new) = (a.get(name), b.get(name));
        let of_old = old.map_or(&none, |(_, entries)| entries);
        let of_new = new.map_or(&none, |(_, entries)| entries);
        let mut counts = [0_u64; 3];
        let mut say = |kind: usize, state: &StateEntry, key: &[u8], now: &(u16, Vec<u8>), was: Option<Value>| {
            counts[kind] += 1;
            if !options.json {
                return Ok(());
            }
            let change = ["added", "removed", "changed"][kind];
            let mut line = serde_json::json!({ "change": change });
            if let (Value::Object(line), Value::Object(entry)) = (&mut line, entry(state, key, now)?.to_json(state)) {
                line.extend(entry);
                line.extend(was.map(|was| ("was".to_owned(), was)));
            }
            lines.line(line, &watch)
        };
        if let Some((state, _)) = new {
            for (key, now) in of_new {
                let Some((was_state, was)) = old.map(|(state, _)| state).zip(of_old.get(key)) else {
                    say(0, state, key, now, None)?;
                    continue;
                };
                if Entry::value_bytes(state, &now.1) != Entry::value_bytes(was_state, &was.1) {
                    say(2, state, key, now, Some(entry(was_state, key, was)?.value))?;
                }
            }
        }
        if let Some((state, _)) = old {
            for (key, was) in of_old.iter().filter(|(key, _)| !of_new.contains_key(*key)) {
                say(1, state, key, was, None)?;
            }
        }
        differences += counts.iter().sum::<u64>();
        let [added, removed, changed] = counts.map(units::grouped);
        table.row([name.clone(), added, removed, changed]);
    }
    if options.json {
        lines.end()?
    } else {
        print(table)?
    }
    Ok(differences == 0)
}
