//! The cases of `tools/storm-oracle`, run on squall and held against what real Storm did with the same files.

#[path = "storm_oracle/compare.rs"]
mod compare;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use compare::{Recording, differences};

fn oracle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/storm-oracle")
}

/// Names of the files in a folder with this ending, without it.
fn names(folder: &Path, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"));
    files.filter_map(|file| file.strip_suffix(ending).map(str::to_owned)).collect()
}

fn read(path: &Path) -> Recording {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Recording::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn recorded(case: &str) -> Recording {
    read(&oracle().join("recorded").join(format!("{case}.jsonl")))
}

/// Panics with all that differs.
fn report(differing: Vec<(String, Vec<String>)>) {
    let list: Vec<String> = differing
        .into_iter()
        .filter(|(_, found)| !found.is_empty())
        .map(|(case, found)| format!("{case}:\n  {}", found.join("\n  ")))
        .collect();
    assert!(list.is_empty(), "{} cases differ:\n{}", list.len(), list.join("\n"));
}

#[test]
fn every_case_has_a_record() {
    assert_eq!(names(&oracle().join("cases"), ".yaml"), names(&oracle().join("recorded"), ".jsonl"));
}

/// Without a JVM there is nothing to compare with, which is a failure only where everything must be there.
#[test]
fn real_storm_still_does_what_is_recorded() {
    for tool in ["java", "mvn", "python3"] {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            assert_ne!(env::var("CI").as_deref(), Ok("true"), "`{tool}` is needed to run real Storm");
            eprintln!("skipped: `{tool}` is needed to run real Storm");
            return;
        }
    }
    let cases = names(&oracle().join("cases"), ".yaml");
    let out = tempfile::tempdir().expect("a temporary folder");
    let mut run = Command::new(oracle().join("run"));
    run.arg("--out").arg(out.path()).stdin(Stdio::null());
    run.args(cases.iter().map(|case| oracle().join("cases").join(format!("{case}.yaml"))));
    let output = run.output().expect("tools/storm-oracle/run starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{}{said}", output.status, String::from_utf8_lossy(&output.stdout));
    let compared = cases.into_iter().map(|case| {
        let fresh = read(&out.path().join(format!("{case}.jsonl")));
        let found = differences(&recorded(&case), &fresh);
        (case, found)
    });
    report(compared.collect());
}

/// The record of a case with one line put through `change`: what it differs in.
fn changed(case: &str, change: impl Fn(&str) -> Option<String>) -> usize {
    let path = oracle().join("recorded").join(format!("{case}.jsonl"));
    let text = fs::read_to_string(&path).expect("a record");
    let lines: Vec<String> = text.lines().filter_map(change).collect();
    let other = Recording::parse(&(lines.join("\n") + "\n")).expect("a record");
    differences(&recorded(case), &other).len()
}

/// Replaces the first text by the second.
fn replacing<'a>(from: &'a str, to: &'a str) -> impl Fn(&str) -> Option<String> + use<'a> {
    move |line| Some(line.replace(from, to))
}

#[test]
fn the_comparison_sees_what_matters() {
    assert_eq!(changed("fields", replacing("x", "x")), 0);
    assert_eq!(changed("fields", |line| (!line.contains("nathan")).then(|| line.into())), 3 + 2, "tuples lost");
    assert_eq!(changed("fields", replacing("\"task\":16", "\"task\":17")), 2, "tuples elsewhere");
    assert_eq!(changed("fields", replacing("\"long\",\"v\":\"-1\"", "\"int\",\"v\":\"-1\"")), 3, "another type");
    assert_eq!(changed("fields", replacing("\"id\":30", "\"id\":31")), 1, "another ack");
    assert_eq!(changed("shuffle", replacing("\"task\":4,", "\"task\":3,")), 1, "not dealt out evenly");
    assert_eq!(changed("none", replacing("\"task\":4,", "\"task\":3,")), 0, "by chance");
    let twice = |line: &str| Some(if line.contains("__tick") { format!("{line}\n{line}") } else { line.into() });
    assert_eq!(changed("ticks", twice), 0, "a tick more");
    assert_eq!(changed("global", replacing("\"global\"", "\"all\"")), 2, "another grouping");
}

#[test]
fn the_order_of_a_pair_counts_unless_something_failed() {
    let turned = |case: &str| {
        let text = fs::read_to_string(oracle().join("recorded").join(format!("{case}.jsonl"))).expect("a record");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.reverse();
        let other = Recording::parse(&(lines.join("\n") + "\n")).expect("a record");
        differences(&recorded(case), &other).len()
    };
    assert_eq!(turned("word_count"), 5);
    assert_eq!(turned("shell_fail"), 0);
    assert_eq!(turned("shuffle"), 0, "which of the tuples a task got, and so their order, is chance");
}
