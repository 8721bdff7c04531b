//! The shipped topologies do what they say, run as a user runs them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/data/kjv.txt");

fn squall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_squall")).arg("run").args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the word count; the counts it writes, and its report.
fn word_count(input: &Path, args: &[&str]) -> (Vec<u8>, Value) {
    let dir = tempfile::tempdir().unwrap();
    let (output, report) = (dir.path().join("counts.tsv"), dir.path().join("report.json"));
    let mut all = vec!["word_count", "--quiet", "--input", input.to_str().unwrap()];
    all.extend(["--output", output.to_str().unwrap(), "--report", report.to_str().unwrap()]);
    all.extend(args);
    let run = squall(&all);
    assert!(run.status.success(), "{args:?}: {}", text(&run.stderr));
    (std::fs::read(output).unwrap(), serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap())
}

/// The counts of an input, found independently.
fn counted(input: &[u8], times: u64) -> BTreeMap<&[u8], u64> {
    let mut counts = BTreeMap::new();
    let space = |byte: &u8| b" \t\n\r\x0b\x0c".contains(byte);
    for word in input.split(space).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_insert(0) += times;
    }
    counts
}

fn written(counts: &BTreeMap<&[u8], u64>) -> Vec<u8> {
    let mut file = Vec::new();
    for (word, count) in counts {
        file.extend_from_slice(word);
        writeln!(file, "\t{count}").unwrap();
    }
    file
}

fn component<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["components"].as_array().unwrap().iter().find(|component| component["id"] == id).unwrap()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value:#}"))
}

#[test]
fn the_word_count_equals_an_independent_count() {
    let input = std::fs::read(TEXT).unwrap();
    let expected = written(&counted(&input, 1));
    let plans: [&[&str]; 5] = [
        &[],
        &["--parallelism", "7", "--executors", "2"],
        &["--parallelism", "2", "--executors", "2", "--wait", "park"],
        &["--guarantee", "at-most-once"],
        &["--set", "lane_capacity=1", "--parallelism", "2"],
    ];
    for plan in plans {
        let (counts, report) = word_count(Path::new(TEXT), plan);
        assert!(counts == expected, "{plan:?} counts differently");
        assert_eq!(number(component(&report, "lines"), "acked"), 31_102, "{plan:?}");
    }
    let repeated = word_count(Path::new(TEXT), &["--repeat", "3"]).0;
    assert!(repeated == written(&counted(&input, 3)));
}

#[test]
fn the_word_count_takes_any_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input");
    let mut random = squall::sys::random::Random::new(1);
    let garbage: Vec<u8> = (0..300_000).map(|_| random.next_u64() as u8).collect();
    // Longer than a block of the reader and than what is split at once, in one line, in one word.
    let long_line = b"many words in one line ".repeat(60_000);
    let long_word = vec![b'w'; 1_500_000];
    for input in [&b""[..], b"\n\n \x0b\x0c\r\n", b"last line without end", &garbage, &long_line, &long_word] {
        std::fs::write(&file, input).unwrap();
        let counts = word_count(&file, &[]).0;
        assert!(counts == written(&counted(input, 1)), "{} bytes", input.len());
    }
}

#[test]
fn failed_words_are_counted_in_the_end_and_the_report_agrees_with_what_was_injected() {
    let input = std::fs::read(TEXT).unwrap();
    let (counts, report) = word_count(Path::new(TEXT), &["--fail-rate", "0.01"]);
    let (lines, count) = (component(&report, "lines"), component(&report, "count"));
    assert_eq!(number(lines, "acked"), 31_102);
    assert_eq!(number(lines, "dead_lettered"), 0);
    assert_eq!(number(lines, "replayed"), number(lines, "failed"));
    assert_eq!(number(count, "failed"), number(&report["injected"], "fails"));
    assert!(number(&report["injected"], "fails") > 1_000);
    let mut found = BTreeMap::new();
    for line in counts.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let tab = line.iter().rposition(|&byte| byte == b'\t').unwrap();
        found.insert(&line[..tab], text(&line[tab + 1..]).parse::<u64>().unwrap());
    }
    for (word, times) in counted(&input, 1) {
        assert!(found[word] >= times, "{} is below the true count", text(word));
    }
}

#[test]
fn panics_cost_rebuilds_and_no_line() {
    let faults = ["--fail-rate", "0.01", "--panic-every", "100000"];
    let (_, report) = word_count(Path::new(TEXT), &faults);
    let (lines, count) = (component(&report, "lines"), component(&report, "count"));
    let (fails, panics) = (number(&report["injected"], "fails"), number(&report["injected"], "panics"));
    assert!(panics >= 7, "one in 100,000 of some 800,000 words");
    assert_eq!(number(lines, "acked"), 31_102);
    assert_eq!(number(lines, "dead_lettered"), 0);
    assert_eq!(number(count, "rebuilt"), panics);
    assert_eq!(number(count, "failed"), fails + panics);
    assert_eq!(number(lines, "replayed"), number(lines, "failed"));
}

#[test]
fn a_line_that_always_fails_is_dead_lettered_and_everything_else_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input");
    std::fs::write(&file, "one good line\na poisoned line\nanother good line\n").unwrap();
    let letters = dir.path().join("letters.jsonl");
    let args = ["--poison", "poisoned", "--max-replays", "3", "--dead-letters", letters.to_str().unwrap()];
    let (counts, report) = word_count(&file, &args);
    let letters = std::fs::read_to_string(letters).unwrap();
    assert!(letters.lines().count() == 1 && letters.contains("\"value\":\"a poisoned line\""), "{letters}");
    let lines = component(&report, "lines");
    assert_eq!((number(lines, "acked"), number(lines, "dead_lettered")), (2, 1));
    assert_eq!((number(lines, "failed"), number(lines, "replayed")), (4, 3));
    let counts = text(&counts);
    assert!(counts.contains("another\t1\n") && counts.contains("one\t1\n") && !counts.contains("poisoned"), "{counts}");
}

#[test]
fn input_that_cannot_be_read_is_one_clear_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for input in [missing.to_str().unwrap(), dir.path().to_str().unwrap()] {
        let run = squall(&["word_count", "--input", input]);
        let errors = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(input), "{errors}");
    }
}

#[test]
fn the_word_count_reads_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["run", "word_count", "--quiet", "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a b a\nb a").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines: Vec<String> = text(&output.stdout).lines().map(|line| line.trim().to_owned()).collect();
    assert_eq!(lines, ["3  a", "2  b"]);
}

#[test]
fn exclamation_marks_every_word_twice() {
    let run = squall(&["exclamation", "--quiet", "--count", "6", "--rate", "1000000"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let printed = text(&run.stdout);
    let mut words: Vec<&str> = printed.lines().collect();
    words.sort_unstable();
    let expected = ["bertels", "golda", "jackson", "mike", "nathan", "nathan"].map(|word| format!("{word}!!!!!!"));
    assert_eq!(words, expected);
}

#[test]
fn rolling_top_words_ends_with_a_ranking_of_the_vocabulary() {
    let args = ["--words", "20000", "--rate", "200000", "--top", "3", "--window-ms", "60000", "--slide-ms", "30000"];
    let run = squall(&[&["rolling_top_words", "--quiet"], &args[..]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    // The window holds the whole run, so the last ranking is the one of all words: drawn 8 : 7 : 6.
    let printed = text(&run.stdout);
    let last: Vec<&str> = printed.lines().last().unwrap().split_whitespace().collect();
    assert_eq!([last[0], last[2], last[4]], ["storm", "squall", "breeze"], "{printed}");
}

#[test]
fn every_answer_of_the_external_service_counts_once_whatever_is_done_again() {
    // An hour between two checkpoints: whatever fails has to ask for its own.
    let args = ["--requests", "100", "--latency-ms", "1", "--fail-every", "40", "--checkpoint-interval", "1h"];
    let run = squall(&[&["external_service", "--quiet", "--guarantee", "exactly-once"], &args[..]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let sum: u64 = (0..100u64).map(|n| n * n).sum();
    assert_eq!(text(&run.stdout).trim(), format!("100 answers, sum {sum}"));
}

#[test]
fn the_external_service_answers_every_request() {
    let args = ["--requests", "300", "--latency-ms", "1", "--fail-every", "20"];
    let run = squall(&[&["external_service", "--quiet"], &args[..]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let sum: u64 = (0..300u64).map(|n| n * n).sum();
    assert_eq!(text(&run.stdout).trim(), format!("300 answers, sum {sum}"));
    assert!(!text(&run.stderr).contains("dead letter"), "what failed is tried again: {}", text(&run.stderr));
}
