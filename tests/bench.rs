//! The latency lab's command line, from outside: its help, what it refuses, its output, and its end by a signal.
//! Measurements here are as short as they can be; no figure is judged.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SHORT: [&str; 6] = ["--duration", "4ms", "--warmup", "1ms", "--repeat", "2"];

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.arg("bench").args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is text")
}

fn done(args: &[&str]) -> Output {
    bench(args).output().unwrap()
}

fn succeeded(args: &[&str]) -> Output {
    let output = done(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output
}

fn rows(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn help_says_what_each_bench_measures_how_long_and_how_to_read_it() {
    let output = succeeded(&["--help"]);
    let all = text(&output.stdout);
    for name in ["floor", "hop", "compare"] {
        assert!(all.lines().any(|line| line.trim_start().starts_with(name)), "{name}\nis not in\n{all}");
        let help = succeeded(&[name, "--help"]);
        let help = text(&help.stdout).replace('\n', " ");
        let parts: &[&str] = match name {
            "compare" => &["<OLD> <NEW>", "beyond the noise"],
            _ => &["How to read it", "it takes about", "Examples:", "--duration", "--json", "--out", "report.html"],
        };
        parts.iter().for_each(|part| assert!(help.contains(part), "{part}\nis not in\n{help}"));
    }
    let help = succeeded(&["hop", "--help"]);
    assert!(!text(&help.stdout).contains("--rate"), "a flag it has no use for");
}

#[test]
fn all_bad_usage_is_reported_at_once_and_nothing_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none").join("a.json");
    let args = ["hop", "--duration", "5", "--warmup=-1s", "--repeat", "0", "--cpus", "0,99999", "--guarantee", "maybe"];
    let more = ["--wait", "park,nap", "--rate", "1k", "--input", "x", "--json", missing.to_str().unwrap()];
    let refused = done(&[&args[..], &more].concat());
    let expected = [
        "error: --duration 5: expected a time such as 500ms or 10s",
        "error: --warmup -1s: expected a time such as 500ms or 10s",
        "error: --repeat 0: expected a number from 1 to 1000",
        "error: --cpus 99999: ",
        "error: --guarantee maybe: guarantee: expected \"at-most-once\", \"at-least-once\" or \"exactly-once\"",
        "error: --wait nap: wait: expected \"spin\"",
        "error: --rate: `bench hop` does not take it: it is a closed loop",
        "error: --input: `bench hop` does not take it: ",
        "error: --json ",
    ];
    let problems = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    for start in expected {
        assert!(problems.lines().any(|line| line.starts_with(start)), "{start}\nis not in\n{problems}");
    }
    assert_eq!(problems.lines().count(), expected.len(), "{problems}");
    assert!(refused.stdout.is_empty());
    for args in [&[][..], &["no-such-bench"], &["floor", "--bogus"], &["compare", "a.json"], &["compare", "a", "b"]] {
        assert_eq!(done(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn json_lines_begin_with_the_machine_and_have_the_keys_that_others_rely_on() {
    let output = succeeded(&[&["floor", "--json", "-", "--rate", "20k"][..], &SHORT].concat());
    let rows = rows(text(&output.stdout));
    let machine = &rows[0];
    assert_eq!((&machine["bench"], &machine["run"]), (&"machine".into(), &"floor".into()));
    assert!(machine["command_line"].as_str().unwrap().starts_with("squall bench floor --json - --rate 20k"));
    assert!(machine["disturbed"].is_boolean() && machine["pinning"].is_string());
    let row = |name: &str| rows.iter().find(|row| row["bench"] == "floor" && row["row"] == name).unwrap();
    assert!(row("ring_same_thread")["p50_ns"].is_number() && row("hand_word_count_1")["ns_per_word"].is_number());
    let null = rows.iter().find(|row| row["bench"] == "latency").unwrap();
    assert_eq!((&null["shape"], &null["placement"]), (&"null".into(), &"one_thread".into()));
    assert_eq!(null["rate"], 20_000);
    assert!(["p50_us", "p99_us", "p999_us", "p9999_us", "max_us"].iter().all(|key| null[key].is_number()));

    let said = text(&output.stderr);
    assert!(said.starts_with("floor: What this machine can do at best, without squall\nIt takes about "), "{said}");
    assert!(said.contains(" rows in ") && said.contains(", announced were "), "{said}");
}

#[test]
fn tables_keep_closed_and_open_loop_apart_and_a_folder_gets_the_whole_report() {
    let folder = tempfile::tempdir().unwrap();
    let (out, json) = (folder.path().join("report"), folder.path().join("a.json"));
    let files = ["--out", out.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let output = succeeded(&[&["floor"][..], &files, &SHORT].concat());
    let tables = text(&output.stdout);
    let closed = tables.find("floor, closed loop").unwrap();
    let open = tables.find("latency, open loop").unwrap();
    assert!(closed < open && tables[closed..open].contains("hand_word_count_1") && tables[open..].contains("null"));
    let lines = std::fs::read_to_string(&json).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("rows.jsonl")).unwrap(), lines);
    let is_disturbed = rows(&lines)[0]["disturbed"] == true;
    assert_eq!(tables.lines().next().unwrap().starts_with("disturbed machine: "), is_disturbed, "{tables}");
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("<svg"));
    let has = |name: &str| assert!(out.join(name).exists(), "no {name}");
    has("latency_null_one_thread_10000_per_s.hlog");
    has("latency_null_one_thread_10000_per_s.hgrm");
    compares(&json);
}

/// A report with itself: nothing differs.
fn compares(json: &Path) {
    let path = json.to_str().unwrap();
    let output = succeeded(&["compare", path, path]);
    let compared = text(&output.stdout);
    assert!(compared.contains("null one_thread 10000/s") && compared.contains("1.00"), "{compared}");
    assert!(!compared.contains("WORSE") && !compared.contains("better") && !compared.contains("only in"), "{compared}");
}

#[test]
fn an_interrupted_bench_leaves_its_rows_and_ends_as_the_signal_says() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    // A hundred rounds of a tenth of a second each; the announcement of the second says that the first is done.
    let long = ["--duration", "20s", "--warmup", "0s", "--repeat", "1000", "--rate", "10k"];
    let mut command = bench(&[&["floor", "--json", json.to_str().unwrap()][..], &long].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("round ") || line.contains("round 1 ") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended by itself");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted: ending with the measurement under way"), "{rest}");
    let rows = rows(&std::fs::read_to_string(&json).unwrap());
    assert_eq!(rows[0]["interrupted"], true);
    // On a machine that is too busy the bench says that it did not wait for the rows.
    let has_given_up = rest.contains("interrupted: what was being measured did not end within");
    let has_row = rows.iter().any(|row| row["row"] == "clock_read");
    assert!(has_row || has_given_up, "the rows of the rounds so far: {rest}");
}

/// The option that names a real output, left over from a run that is to be measured.
#[test]
fn a_bench_touches_no_output_and_no_state_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("counts.tsv");
    std::fs::write(&output, "of a run").unwrap();
    let state = folder.path().join("state");
    let to_output = ["latency", "word_count", "--output", output.to_str().unwrap(), "--rate", "1k"];
    let set_state = format!("state_dir={}", state.display());
    let refused = done(&[&to_output[..], &SHORT, &["--set", &set_state]].concat());
    let problems = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{problems}");
    for part in ["it writes to", "counts.tsv", "state_dir: the state is kept in", "--allow-output"] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
    assert!(refused.stdout.is_empty() && !state.exists());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["counts.tsv"]);
    assert_eq!(std::fs::read(&output).unwrap(), b"of a run");
    succeeded(&[&to_output[..], &SHORT, &["--allow-output"]].concat());
    // Where nothing could be written the permission is a mistake.
    let pointless = done(&[&["hop", "--allow-output"][..], &SHORT].concat());
    assert_eq!(pointless.status.code(), Some(2));
    assert!(!text(&succeeded(&["hop", "--help"]).stdout).contains("--allow-output"));
    assert!(text(&succeeded(&["latency", "word_count", "--help"]).stdout).contains("--allow-output"));
}
