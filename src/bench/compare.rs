//! Two reports side by side.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::bench::figure::{Fields, Measure, heading, is_spread, spread};
use crate::bench::table::Loop;
use crate::error::{Error, Problem, Result};
use crate::observe::units::three_digits;
use crate::observe::{Align, Table};

/// What makes two machines comparable. Load and disturbance are told by themselves.
const OF_MACHINE: [&str; 7] = ["cpu_model", "cpus_online", "cpus_usable", "kernel", "governor", "memory_bytes", "cpus"];

/// A report that was read back.
struct Read {
    name: String,
    machine: Option<Fields>,
    rows: Vec<Fields>,
}

/// Reads two reports and sets the figures of the rows that both have beside each other.
///
/// # Errors
/// A usage error with everything that is wrong with both files.
pub(crate) fn compare(old: &Path, new: &Path) -> Result<String> {
    let (old, new) = match (Read::from(old), Read::from(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let problems = [old.err(), new.err()].into_iter().flatten();
            return Err(Error::invalid(problems.flat_map(|error| error.problems().to_vec()).collect()));
        }
    };
    let mut text = about_machines(&old, &new);
    text.push_str(&figures(&old, &new));
    for (one, other) in [(&old, &new), (&new, &old)] {
        let only: Vec<&Fields> = one.rows.iter().filter(|row| other.find(row).is_none()).collect();
        if !only.is_empty() {
            let _ = writeln!(text, "\nonly in {}:", one.name);
            only.iter().for_each(|row| _ = writeln!(text, "  {} {}", name(row, "bench"), name(row, "label")));
        }
    }
    Ok(text)
}

impl Read {
    fn from(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::usage(&*name, format!("the report cannot be read: {error}")))?;
        let (mut read, mut problems) = (Read { name: name.clone(), machine: None, rows: Vec::new() }, Vec::new());
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(Value::Object(row)) if row.contains_key("bench") && row.contains_key("label") => read.rows.push(row),
                Ok(Value::Object(row)) if row.get("bench").is_some_and(|bench| bench == "machine") => {
                    read.machine = Some(row);
                }
                _ => {
                    let message = "no row of a report; give a file that --json wrote, or rows.jsonl of --out";
                    problems.push(Problem::new(format!("{name}:{}", index + 1), message));
                }
            }
        }
        if problems.is_empty() { Ok(read) } else { Err(Error::invalid(problems)) }
    }

    /// The row with the same bench and label.
    fn find(&self, row: &Fields) -> Option<&Fields> {
        let id = |row: &Fields| [row.get("bench").cloned(), row.get("label").cloned()];
        self.rows.iter().find(|own| id(own) == id(row))
    }
}

fn name<'r>(row: &'r Fields, key: &str) -> &'r str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The differences between the machines, and whether either was disturbed.
fn about_machines(old: &Read, new: &Read) -> String {
    let mut text = format!("old: {}\nnew: {}\n", old.name, new.name);
    for read in [old, new] {
        match &read.machine {
            Some(machine) if machine.get("disturbed").and_then(Value::as_bool) == Some(true) => {
                let _ = writeln!(text, "{}: disturbed machine: {}", read.name, name(machine, "disturbed_why"));
            }
            Some(_) => {}
            None => _ = writeln!(text, "{}: does not say which machine it is from", read.name),
        }
    }
    let (Some(before), Some(after)) = (&old.machine, &new.machine) else { return text };
    let differing: Vec<&str> = OF_MACHINE.into_iter().filter(|key| before.get(*key) != after.get(*key)).collect();
    if !differing.is_empty() {
        text.push_str("the machines differ: do not take these differences for squall's\n");
    }
    let of = |fields: &Fields, key: &str| fields.get(key).cloned().unwrap_or_default();
    for key in differing.into_iter().chain((before.get("squall") != after.get("squall")).then_some("squall")) {
        let _ = writeln!(text, "  {}: {} and {}", heading(key), of(before, key), of(after, key));
    }
    text
}

fn figures(old: &Read, new: &Read) -> String {
    let (mut text, mut last, mut table) = (String::new(), String::new(), None::<Table>);
    let mut has_unknown_noise = false;
    let end = |table: Option<Table>, text: &mut String| {
        if let Some(table) = table {
            let _ = write!(text, "\n{table}");
        }
    };
    for before in &old.rows {
        let Some(after) = new.find(before) else { continue };
        let section = format!("{}, {}", name(before, "bench"), Loop::of(before).explained());
        if section != last {
            end(table.take(), &mut text);
            let _ = writeln!(text, "\n{section}");
            last = section;
        }
        let table = table.get_or_insert_with(|| {
            let [left, right] = [Align::Left, Align::Right];
            Table::new(&[("row", left), ("figure", left), ("old", right), ("new", right), ("ratio", right), ("", left)])
        });
        for difference in differences(before, after) {
            has_unknown_noise |= difference.verdict == Verdict::NoiseUnknown;
            table.row(difference.cells(name(before, "label")));
        }
    }
    end(table, &mut text);
    if text.is_empty() {
        text.push_str("\nno row is in both reports\n");
    }
    if has_unknown_noise {
        text.push_str("\n?: one of the two was measured once, so its noise is not known; see --repeat\n");
    }
    text
}

/// One figure of a row that both reports have.
struct Difference {
    key: String,
    old: f64,
    new: f64,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    WithinNoise,
    NoiseUnknown,
    Better,
    Worse,
    /// Beyond the noise, and the key does not tell which is better.
    Different,
}

fn differences(old: &Fields, new: &Fields) -> Vec<Difference> {
    let mut differences = Vec::new();
    for key in old.keys().filter(|key| !is_spread(old, key)) {
        let figure = |fields: &Fields| fields.get(key).and_then(Value::as_f64);
        if let (Some(before), Some(after)) = (figure(old), figure(new)) {
            let spreads = spread(old, key).zip(spread(new, key));
            let verdict = Verdict::of(key, before, after, spreads);
            differences.push(Difference { key: key.clone(), old: before, new: after, verdict });
        }
    }
    differences
}

impl Verdict {
    /// A difference is beyond the noise if no repeat of one report lies within the range of the other's.
    fn of(key: &str, old: f64, new: f64, spreads: Option<((f64, f64), (f64, f64))>) -> Self {
        if old == new {
            return Verdict::WithinNoise;
        }
        let Some(((old_min, old_max), (new_min, new_max))) = spreads else { return Verdict::NoiseUnknown };
        if new_min <= old_max && old_min <= new_max {
            return Verdict::WithinNoise;
        }
        match Measure::of(key).less_is_better(key) {
            Some(less_is_better) if less_is_better == (new < old) => Verdict::Better,
            Some(_) => Verdict::Worse,
            None => Verdict::Different,
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Verdict::WithinNoise => "",
            Verdict::NoiseUnknown => "?",
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
            Verdict::Different => "different",
        }
    }
}

impl Difference {
    fn cells(&self, label: &str) -> [String; 6] {
        let text = |figure| Measure::of(&self.key).text(figure);
        let ratio = if self.old == 0.0 { "-".to_owned() } else { three_digits(self.new / self.old) };
        let mark = self.verdict.mark().to_owned();
        [label.to_owned(), heading(&self.key), text(self.old), text(self.new), ratio, mark]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = r#"{"bench":"machine","squall":"1","cpu_model":"Frog","kernel":"L 1","disturbed":false}"#;

    fn compared(old: &[&str], new: &[&str]) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.json"), folder.path().join("b.json"));
        std::fs::write(&a, old.join("\n")).unwrap();
        std::fs::write(&b, new.join("\n")).unwrap();
        compare(&a, &b)
    }

    fn line<'t>(text: &'t str, figure: &str) -> Vec<&'t str> {
        let found = text.lines().find(|line| line.split_whitespace().any(|word| word == figure));
        found.unwrap_or_else(|| panic!("no {figure} in {text}")).split_whitespace().collect()
    }

    #[test]
    fn differences_beyond_the_noise_are_marked_and_others_are_not() {
        let row = |p50: &str, p99: &str, words: &str| {
            let mut row = r#"{"bench":"hop","row":"cross","#.to_owned();
            for (key, figures) in [("p50_ns", p50), ("p99_ns", p99), ("words_per_s", words)] {
                let [median, min, max]: [&str; 3] = figures.split(' ').collect::<Vec<_>>().try_into().unwrap();
                write!(row, r#""{key}":{median},"{key}_min":{min},"{key}_max":{max},"#).unwrap();
            }
            row + r#""cpu_s":1.5,"rate":7,"label":"cross"}"#
        };
        let old = row("50 48 52", "100 90 130", "1000 990 1010");
        let new = row("40 39 47", "120 110 150", "900 880 989");
        let text = compared(&[MACHINE, &old], &[MACHINE, &new.replace("1.5", "3")]).unwrap();
        assert_eq!(line(&text, "p50"), ["cross", "p50", "50.0", "ns", "40.0", "ns", "0.80", "better"]);
        assert_eq!(line(&text, "p99").last(), Some(&"1.20"), "within the noise");
        assert_eq!(line(&text, "words/s")[4..], ["0.90", "WORSE"]);
        assert_eq!(line(&text, "cpu").last(), Some(&"?"));
        assert_eq!(line(&text, "rate").last(), Some(&"1.00"), "equal figures need no noise");
        assert!(text.contains("hop, closed loop") && text.contains("?: one of the two was measured once"));
        assert!(!text.contains("differ:"), "{text}");
    }

    #[test]
    fn other_machines_disturbance_and_rows_of_one_report_are_told() {
        let other = MACHINE.replace("Frog", "Toad").replace("false", r#"true,"disturbed_why":"9 % was stolen""#);
        let row = |label: &str| format!(r#"{{"bench":"hop","p50_ns":1,"label":"{label}"}}"#);
        let text = compared(&[MACHINE, &row("one")], &[&other, &row("two")]).unwrap();
        assert!(text.contains("the machines differ") && text.contains(r#"cpu model: "Frog" and "Toad""#), "{text}");
        assert!(text.contains("b.json: disturbed machine: 9 % was stolen"));
        assert!(text.contains("a.json:\n  hop one\n") && text.contains("b.json:\n  hop two\n"), "{text}");
        assert!(text.contains("no row is in both reports"));
    }

    #[test]
    fn what_is_no_report_is_refused_with_every_line() {
        let error = compared(&["{", MACHINE, "7"], &["[]"]).unwrap_err();
        assert!(error.is_usage());
        assert_eq!(error.problems().len(), 3);
        let missing = compare(Path::new("no/a"), Path::new("no/b")).unwrap_err();
        assert_eq!((missing.is_usage(), missing.problems().len()), (true, 2));
    }
}
