//! The cases of `tools/storm-oracle`, run on squall and held against what real Storm did with the same files.

#[path = "storm_oracle/compare.rs"]
mod compare;
mod needs;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, thread};

use compare::{Recording, differences};
use needs::has;
use rustix::process::{Pid, Signal, kill_process};

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

/// A run that is ended with the test, whatever becomes of it.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Runs a case until it has done what is recorded, a little longer for what it must not do, and through a drain.
fn on_squall(case: &str, executors: usize, record: &Path) -> Vec<String> {
    let cases = oracle().join("cases");
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.current_dir(&cases).env("ORACLE_GREETING", "hello").args(["run", "--env-filter", "--quiet"]);
    command.args(["--executors", &executors.to_string(), "--wait", "park"]).arg("--record").arg(record);
    if cases.join(format!("{case}.properties")).exists() {
        command.arg("--filter").arg(format!("{case}.properties"));
    }
    let said = record.with_extension("log");
    let log = File::create(&said).expect("a log");
    command.arg(format!("{case}.yaml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut run = Run(command.spawn().expect("squall starts"));
    let expected = recorded(case);
    let compare = || {
        let text = fs::read_to_string(record).unwrap_or_default();
        differences(&expected, &Recording::parse(&text).unwrap_or_else(|error| panic!("{case}: {error}")))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut found = compare();
    while !found.is_empty() && Instant::now() < deadline {
        if let Some(status) = run.0.try_wait().expect("a child can be waited for") {
            found = compare();
            found.push(format!("it ended early: {status}"));
            break;
        }
        thread::sleep(Duration::from_millis(50));
        found = compare();
    }
    if found.is_empty() {
        thread::sleep(Duration::from_millis(500));
        found = compare();
    }
    // A drain does nothing more either: it acks nothing that is in an open window.
    if found.is_empty() {
        kill_process(Pid::from_child(&run.0), Signal::TERM).expect("it runs");
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
            status = run.0.try_wait().expect("a child can be waited for");
        }
        found = compare();
        if status.is_none_or(|status| !status.success()) {
            found.push(format!("it did not drain well: {status:?}"));
        }
    }
    if !found.is_empty() {
        found.push(fs::read_to_string(&said).unwrap_or_default());
    }
    found
}

#[test]
fn squall_does_what_real_storm_did() {
    if !has(&["python3"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = names(&oracle().join("cases"), ".yaml");
    // Lanes within an executor are others than those between two.
    let waiting = Mutex::new(cases.iter().flat_map(|case| [(case, 1), (case, 2)]).collect::<Vec<_>>());
    let differing = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((case, executors)) = waiting.lock().expect("no panic").pop() else { return };
                    let name = format!("{case} on {executors}");
                    let found = on_squall(case, executors, &folder.path().join(&name));
                    differing.lock().expect("no panic").push((name, found));
                }
            });
        }
    });
    report(differing.into_inner().expect("no panic"));
}

/// Without a JVM there is nothing to compare with, which is a failure only where everything must be there.
#[test]
fn real_storm_still_does_what_is_recorded() {
    if !has(&["javac", "jar", "mvn", "python3"]) {
        return;
    }
    let cases = names(&oracle().join("cases"), ".yaml");
    let files: Vec<PathBuf> = cases.iter().map(|case| oracle().join("cases").join(format!("{case}.yaml"))).collect();
    let compared = cases.into_iter().zip(on_storm(&files)).map(|(case, record)| {
        let fresh = Recording::parse(&record).unwrap_or_else(|error| panic!("{case}: {error}"));
        let found = differences(&recorded(&case), &fresh);
        (case, found)
    });
    report(compared.collect());
}

/// Runs these Flux files on real Storm; what each did, as text.
fn on_storm(cases: &[PathBuf]) -> Vec<String> {
    let out = tempfile::tempdir().expect("a temporary folder");
    let mut run = Command::new(oracle().join("run"));
    run.arg("--out").arg(out.path()).arg("--resources").arg(oracle().join("cases/resources"));
    let output = run.args(cases).stdin(Stdio::null()).output().expect("tools/storm-oracle/run starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{}{said}", output.status, String::from_utf8_lossy(&output.stdout));
    let record = |case: &PathBuf| out.path().join(case.file_stem().expect("a name")).with_extension("jsonl");
    cases.iter().map(|case| fs::read_to_string(record(case)).expect("a record")).collect()
}

/// `topologies/storm_child.rs`, which is built with the tests.
fn child_program() -> String {
    let squall = Path::new(env!("CARGO_BIN_EXE_squall"));
    let program = squall.with_file_name("examples").join("storm_child");
    assert!(program.exists(), "there is no {}: cargo build --example storm_child", program.display());
    program.display().to_string()
}

/// What a record says but for the ids of a spout's emits, which a spout of squall's chooses itself.
fn without_ids(record: &str) -> Recording {
    let line = |line: &str| match line.split_once("\"id\":") {
        Some((callback, _)) if !line.contains("\"event\":\"task\"") => format!("{callback}\"id\":0}}\n"),
        _ => format!("{line}\n"),
    };
    Recording::parse(&record.lines().map(line).collect::<String>()).expect("a record")
}

/// A bolt and a spout of squall's in the place of a Python bolt and of the oracle's own spout, under Storm itself.
#[test]
fn components_of_squall_do_as_children_of_real_storm_what_others_do() {
    if !has(&["javac", "jar", "mvn", "python3"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = child_program();
    let changed = |case: &str, changes: &[(&str, String)]| {
        let mut text = fs::read_to_string(oracle().join("cases").join(format!("{case}.yaml"))).expect("a case");
        for (from, to) in changes {
            assert!(text.contains(from), "{case} has no {from}");
            text = text.replace(from, to);
        }
        let path = folder.path().join(format!("{case}.yaml"));
        fs::write(&path, text).expect("a case");
        path
    };
    let bolt = changed("word_count", &[("\"python3\", \"split.py\"", format!("\"{program}\", \"split\""))]);
    let of_flux = "org.apache.storm.flux.wrappers.spouts.FluxShellSpout".to_owned();
    let spout = changed(
        "shell_fail",
        &[
            ("squall.oracle.ListSpout", of_flux),
            ("[\"n\"]\n      - [[1], [2], [3], [4], [5], [6], [7], [8], [9], [10]]", {
                format!("[\"{program}\", \"numbers\", \"10\"]\n      - [\"n\"]")
            }),
        ],
    );
    let records = on_storm(&[bolt, spout]);
    let recorded = fs::read_to_string(oracle().join("recorded/shell_fail.jsonl")).expect("a record");
    let bolt = differences(&self::recorded("word_count"), &Recording::parse(&records[0]).expect("a record"));
    let spout = differences(&without_ids(&recorded), &without_ids(&records[1]));
    report(vec![("word_count".into(), bolt), ("shell_fail".into(), spout)]);
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
    assert_eq!(changed("ticks", twice), 2, "what a tick more led to");
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
    let by_stream = |case: &str| {
        let text = fs::read_to_string(oracle().join("recorded").join(format!("{case}.jsonl"))).expect("a record");
        let mut lines: Vec<&str> = text.lines().collect();
        // Stable: each stream's tuples stay in their order.
        lines.sort_by_key(|line| line.split("\"stream\":").nth(1).and_then(|rest| rest.split('"').nth(1)));
        let other = Recording::parse(&(lines.join("\n") + "\n")).expect("a record");
        differences(&recorded(case), &other).len()
    };
    assert_eq!(by_stream("stream_order"), 1, "one task's emits on three streams, to one other");
    assert_eq!(by_stream("word_count"), 0);
    assert_eq!(turned("shell_fail"), 0);
    assert_eq!(turned("shuffle"), 0, "which of the tuples a task got, and so their order, is chance");
}
