//! What is left of children when a topology has ended: nothing.

use std::path::Path;
use std::time::Duration;

use squall::TopologyBuilder;

use crate::lives::{lives, wait_until};
use crate::stage::{Seen, numbered, of, spec, through};
use crate::tools::{clients, fixtures, has};

#[test]
fn a_child_has_its_time_after_the_end_of_its_input() {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut spec = spec(&["python3", "at_eof.py"], &fixtures(), &["n"]);
    spec.environment = vec![("OUT".into(), place.path().display().to_string())];
    through(spec, numbered(10, |n| n as i64));
    for file in ["saw-the-end", "finished"] {
        assert!(place.path().join(file).exists(), "{file}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_child_has_started_in_its_group_ends_with_the_topology() {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("started");
    let script = format!("sleep 1000 & echo $! > {}; exec python3 at_eof.py", file.display());
    let mut spec = spec(&["sh", "-c", &script], &fixtures(), &["n"]);
    spec.environment = vec![("OUT".into(), place.path().display().to_string())];
    through(spec, numbered(10, |n| n as i64));
    let pid = std::fs::read_to_string(file).unwrap();
    // Killed is not gone yet: it may have a moment of its own.
    wait_until("the grandchild has ended", || !lives(pid.trim()));
}

#[test]
fn the_folder_for_process_ids_is_gone_after_the_end() {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // As the first of two processes does it: the shell's child is the one that leaves its file.
    let mut spec = spec(&["sh", "-c", "python3 closes_stdin.py; true"], &fixtures(), &["n"]);
    spec.pid_dir = place.path().join("pids");
    through(spec, numbered(5, |n| n as i64));
    assert!(!place.path().join("pids").exists());
}

#[test]
fn a_child_that_closes_its_input_is_given_up_at_once() {
    if !has(&["python3"]) {
        return;
    }
    let spec = spec(&["python3", "closes_stdin.py"], &fixtures(), &["n"]);
    assert_eq!(spec.timeout, Duration::from_secs(30), "it is not for hanging that it is ended");
    let (_, report) = through(spec, numbered(25, |n| n as i64));
    let child = of(&report, "child");
    assert!(child.counts.rebuilt >= 2, "{child:?}");
    assert!(child.last_error.as_deref().unwrap().contains("has closed its input"), "{:?}", child.last_error);
}

#[test]
fn thousands_of_emits_may_come_before_their_task_ids_are_read() {
    if !has(&["python3"]) {
        return;
    }
    let fanout = |count: &str| {
        let mut spec = spec(&["python3", "fanout.py", count], &fixtures(), &["out"]);
        spec.environment = clients();
        spec
    };
    let (seen, report) = through(fanout("20000"), numbered(1, |n| n as i64));
    assert_eq!((seen.len(), of(&report, "child").counts.rebuilt), (20_000, 0));
}

#[test]
fn whoever_waits_for_the_other_to_read_is_told() {
    if !has(&["python3"]) {
        return;
    }
    let mut spec = spec(&["python3", "fanout.py", "200000"], &fixtures(), &["out"]);
    spec.environment = clients();
    (spec.unread_max_bytes, spec.timeout) = (64 * 100, Duration::from_secs(1));
    let mut t = TopologyBuilder::new("unread");
    t.settings(|settings| settings.message_timeouts_enabled = false);
    let source = t.source("source", || numbered(1, |n| n as i64)).max_replays(1_000_000);
    t.bolt("child", move || spec.bolt()).streams([("default", "out")]).shuffle(&source);
    let running = t.build().unwrap().start().unwrap();
    let said = || of(&running.report(), "child").last_error.clone().unwrap_or_default();
    wait_until("the child is given up", || said().contains("hangs"));
    let said = said();
    assert!(said.contains("each waits for the other"), "{said}");
    assert!(said.contains("topology.multilang.unread.max.bytes"), "{said}");
    running.kill(Some(Duration::ZERO));
    running.wait().unwrap();
}

#[test]
fn the_end_does_not_wait_for_tuples_whose_trees_are_over() {
    if !has(&["python3"]) {
        return;
    }
    let mut spec = spec(&["python3", "forgets.py"], &fixtures(), &["n"]);
    spec.environment = clients();
    let seen = Seen::default();
    let mut t = TopologyBuilder::new("forgets");
    t.settings(|settings| {
        settings.message_timeout = Duration::from_secs(1);
        // Longer than any test may take.
        settings.drain_timeout = Duration::from_secs(86_400);
    });
    let source = t.source("source", || numbered(8, |n| n as i64)).max_replays(1_000_000);
    let child = t.bolt("child", move || spec.bolt()).streams([("default", "n")]).shuffle(&source);
    t.bolt("sink", seen.sink()).global(&child.stream(0));
    let report = t.build().unwrap().run().unwrap();
    assert_eq!(of(&report, "source").counts.acked, 8);
    let child = of(&report, "child").counts;
    assert!(child.acked < child.executed, "it has not settled all of them: {child:?}");
}

/// Whatever a test leaves in the folder for temporary files of this process: nothing of children.
#[test]
fn the_usual_folder_is_named_after_this_process() {
    let spec = spec(&["true"], Path::new("."), &["n"]);
    let name = format!("squall-pids-{}", std::process::id());
    assert_eq!(spec.pid_dir.file_name().unwrap().to_str(), Some(&*name));
}
