//! Rows as tables for people. Rows of different loops never share one.

use crate::bench::figure::{Fields, cell, heading, is_spread};
use crate::observe::{Align, Table};

/// Fields that are said elsewhere, or only matter to programs.
const NOT_SHOWN: [&str; 6] = ["bench", "label", "loop", "yardstick", "y", "chart"];

/// Rows that can stand under the same heads.
pub(super) struct Group {
    /// The bench, and how load was made in it.
    pub heading: String,
    /// What each column is called, and how it is aligned.
    pub columns: Vec<(String, Align)>,
    pub rows: Vec<Vec<String>>,
}

/// How the load of a row is made. Its figures mean something else in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    /// The next item waits for the one before.
    Closed,
    /// Items come at intended times, whatever happened to the ones before.
    Open,
}

impl Loop {
    /// What the row says itself, else what its bench does.
    pub fn of(row: &Fields) -> Self {
        let text = |key: &str| row.get(key).and_then(serde_json::Value::as_str);
        match (text("loop"), text("bench")) {
            (Some("open"), _) | (None, Some("latency" | "saturate")) => Loop::Open,
            _ => Loop::Closed,
        }
    }

    pub fn explained(self) -> &'static str {
        match self {
            Loop::Closed => "closed loop: the next waits for the one before",
            Loop::Open => "open loop: latency counts from the intended time",
        }
    }
}

/// Sorts rows into tables, in the order in which they first occur.
pub(super) fn groups<'r>(rows: impl IntoIterator<Item = &'r Fields>) -> Vec<Group> {
    let mut groups: Vec<(String, Vec<&str>, Vec<&Fields>)> = Vec::new();
    for row in rows {
        let bench = row.get("bench").and_then(serde_json::Value::as_str).unwrap_or("?");
        let heading = format!("{bench}, {}", Loop::of(row).explained());
        let keys: Vec<&str> = row.keys().map(String::as_str).filter(|key| is_shown(row, key)).collect();
        match groups.iter_mut().find(|(of, columns, _)| *of == heading && *columns == keys) {
            Some((.., rows)) => rows.push(row),
            None => groups.push((heading, keys, vec![row])),
        }
    }
    groups.into_iter().map(|(heading, keys, rows)| Group::new(heading, &keys, &rows)).collect()
}

fn is_shown(row: &Fields, key: &str) -> bool {
    // That a rate is kept up with goes without saying.
    let goes_without_saying = key == "sustained" && row.get(key) == Some(&serde_json::Value::Bool(true));
    !NOT_SHOWN.contains(&key) && !goes_without_saying && !is_spread(row, key)
}

impl Group {
    fn new(heading_of_group: String, keys: &[&str], rows: &[&Fields]) -> Self {
        let align = |key: &str| match rows.iter().any(|row| row.get(key).is_some_and(serde_json::Value::is_number)) {
            true => Align::Right,
            false => Align::Left,
        };
        Group {
            heading: heading_of_group,
            columns: keys.iter().map(|key| (heading(key), align(key))).collect(),
            rows: rows.iter().map(|row| keys.iter().map(|key| cell(row, key)).collect()).collect(),
        }
    }
}

/// Rows as text.
pub(super) fn to_text<'r>(rows: impl IntoIterator<Item = &'r Fields>) -> String {
    let (mut text, mut last) = (String::new(), String::new());
    for group in groups(rows) {
        if group.heading != last {
            text.push_str(&format!("\n{}\n", group.heading));
            last = group.heading;
        }
        let columns: Vec<(&str, Align)> = group.columns.iter().map(|(name, align)| (name.as_str(), *align)).collect();
        let mut table = Table::new(&columns);
        for row in group.rows {
            table.row(row);
        }
        text.push_str(&format!("\n{table}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(value: Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn closed_and_open_loop_never_share_a_table_even_with_the_same_keys() {
        let rows = [
            fields(json!({"bench": "latency", "shape": "chain", "p50_us": 1.0})),
            fields(json!({"bench": "hop", "shape": "cross", "p50_us": 2.0})),
            fields(json!({"bench": "hop", "loop": "open", "shape": "cross", "p50_us": 3.0})),
            fields(json!({"bench": "latency", "shape": "word_count", "p50_us": 4.0, "p50_us_min": 1, "p50_us_max": 5})),
        ];
        let groups = groups(&rows);
        let loops: Vec<&str> = groups.iter().map(|group| group.heading.split(':').next().unwrap()).collect();
        assert_eq!(loops, ["latency, open loop", "hop, closed loop", "hop, open loop"]);
        assert_eq!(groups[0].rows, [["chain", "1.00 µs"], ["word_count", "4.00 µs ±75%"]]);
        let text = to_text(&rows);
        assert!(text.contains("\nshape       p50\nchain") || text.contains("shape"), "{text}");
        assert_eq!(text.matches("hop, closed loop").count(), 1);
    }
}
