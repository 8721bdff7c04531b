//! Children that do what they must not, under load: the topology goes on, every tuple is acked in the end, and the
//! report names what happened.

use std::time::Duration;

use crate::stage::{numbered, of, spec, through};
use crate::tools::{fixtures, has};

const TUPLES: u64 = 400;

/// Runs a child whose first lives end badly; the report must say how.
#[track_caller]
fn survives(fault: &str, lives: u64, named: &str) {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (directory, count) = (place.path().to_str().unwrap(), lives.to_string());
    let mut spec = spec(&["python3", "plain.py", fault, directory, &count], &fixtures(), &["n"]);
    spec.pid_dir = place.path().join("pids");
    spec.message_max_bytes = 32 << 20;
    if fault == "hang" || fault == "spin" {
        spec.timeout = Duration::from_secs(2);
    }
    let (seen, report) = through(spec, numbered(TUPLES, |n| n as i64));

    let mut values = seen;
    values.dedup();
    assert_eq!(values.len() as u64, TUPLES, "{fault}: every tuple came through");
    let (source, child) = (of(&report, "source"), of(&report, "child"));
    assert_eq!(source.counts.acked, TUPLES, "{fault}: every tuple was acked in the end");
    let last = child.last_error.as_deref().unwrap_or("nothing");
    assert!(last.contains(named), "{fault}: the report says: {last}");
    if fault == "flood" {
        assert_eq!((child.counts.rebuilt, source.counts.failed), (0, 0), "a flood harms nobody");
    } else {
        assert!(child.counts.rebuilt >= lives, "{fault}: rebuilt {} times", child.counts.rebuilt);
        assert!(source.counts.replayed > 0, "{fault}: what the child had was replayed");
    }
    assert_eq!(child.pending, 0, "{fault}: nothing is held");
    assert!(!place.path().join("pids").exists(), "{fault}: the folder for process ids is left");
}

#[test]
fn a_child_that_exits_is_replaced() {
    survives("exit", 3, "ended with exit code 3");
}

#[test]
fn a_child_that_hangs_is_replaced() {
    survives("hang", 1, "hangs: for");
}

#[test]
fn a_child_that_spins_is_replaced_too_in_the_end() {
    survives("spin", 1, "hangs: for");
}

#[test]
fn a_child_that_floods_its_standard_error_works_on() {
    survives("flood", 2, "floods its standard error");
}

#[test]
fn a_child_that_writes_garbage_is_replaced_and_the_line_is_shown() {
    survives("garbage", 2, "not a message in JSON (expected a value at byte 0): Traceback: this is no JSON");
}

#[test]
fn a_child_that_prints_is_replaced_and_the_line_is_shown() {
    survives("print", 1, "debugging output without an end");
}

#[test]
fn unknown_commands_streams_ids_and_wrong_numbers_of_values_end_the_child() {
    survives("command", 1, "unknown command `dance`: {\"command\": \"dance\"}");
    survives("stream", 1, "unknown stream `nowhere`");
    survives("fields", 1, "3 values for stream `default`, which has 1 fields");
    survives("unknown-ack", 1, "unknown tuple id \"987654321\"");
    survives("unknown-anchor", 1, "unknown anchor 987654321");
    survives("double-ack", 1, "never sent, or settled before");
}

#[test]
fn a_line_of_100_mb_and_half_a_message_end_the_child() {
    survives("long", 1, "a message of more than 33554432 bytes (topology.multilang.message.max.bytes): xxxxxxxx");
    survives("half", 1, "its output ended in the middle of a message: {\"command\": \"em");
}

#[test]
fn what_a_child_reports_before_it_ends_is_in_the_report() {
    survives("error", 1, "ended with exit code 0; its last error: ValueError: no such thing");
}

#[test]
fn a_child_that_closes_its_output_and_lives_on_is_ended() {
    survives("close", 1, "has closed its output");
}
