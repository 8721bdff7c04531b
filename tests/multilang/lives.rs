//! How children begin and end with the topology, and with the process that runs it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::stage::{numbered, of, spec, through};
use crate::tools::{fixtures, has};

const DEADLINE: Duration = Duration::from_secs(120);

/// True while there is such a process and it is no zombie.
pub fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::yield_now();
    }
}

fn stubborn(file: &Path) -> squall::storm::shell::ShellSpec {
    let mut spec = spec(&["python3", "stubborn.py", file.to_str().unwrap()], &fixtures(), &["n"]);
    spec.pid_dir = file.with_extension("pids");
    spec
}

/// Not a test of its own: the process that the next one kills.
#[test]
fn hosts_a_child_when_it_is_asked_to() {
    if let Ok(file) = std::env::var("SQUALL_TEST_HOST") {
        through(stubborn(Path::new(&file)), numbered(10, |n| n as i64));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_dies_with_an_engine_that_is_killed() {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("pid");
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lives::hosts_a_child_when_it_is_asked_to", "--nocapture"])
        .env("SQUALL_TEST_HOST", &file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the child has started", || file.exists());
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(lives(&pid));
    host.kill().unwrap();
    host.wait().unwrap();
    wait_until("the child has died", || !lives(&pid));
}

#[test]
#[cfg(target_os = "linux")]
fn a_stubborn_child_is_ended_with_its_topology() {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("pid");
    let spec = stubborn(&file);
    let mut t = squall::TopologyBuilder::new("stubborn");
    t.settings(|settings| settings.drain_timeout = Duration::from_millis(1));
    let source = t.source("source", || numbered(10, |n| n as i64));
    t.bolt("child", move || spec.bolt()).streams([("default", "n")]).shuffle(&source);
    let running = t.build().unwrap().start().unwrap();
    wait_until("the child has started", || file.exists());
    let pid = std::fs::read_to_string(&file).unwrap();
    running.kill(Some(Duration::ZERO));
    running.wait().unwrap();
    wait_until("the child has been ended", || !lives(&pid));
}

#[test]
fn what_cannot_be_started_does_not_start() {
    let run = |command: &[&str], folder: &Path| {
        let spec = spec(command, folder, &["n"]);
        let mut t = squall::TopologyBuilder::new("wrong");
        let source = t.source("source", || numbered(1, |n| n as i64));
        t.bolt("child", move || spec.bolt()).streams([("default", "n")]).shuffle(&source);
        t.build().unwrap().run().unwrap_err().to_string()
    };
    let error = run(&["there-is-no-such-program", "x.py"], &fixtures());
    assert!(error.contains("child[0]") && error.contains("there is no program `there-is-no-such-program`"), "{error}");
    let error = run(&["python3"], Path::new("no/such/folder"));
    assert!(error.contains("the directory `no/such/folder`"), "{error}");
}

#[test]
fn a_child_that_never_gets_anywhere_stops_the_topology_with_what_it_said() {
    if !has(&["python3"]) {
        return;
    }
    let command = ["python3", "-c", "raise SystemExit('no module named sense')"];
    let spec = spec(&command, &fixtures(), &["n"]);
    let mut t = squall::TopologyBuilder::new("hopeless");
    t.settings(|settings| settings.rebuilds_max = 2);
    let source = t.source("source", || numbered(1, |n| n as i64)).max_replays(1_000);
    t.bolt("child", move || spec.bolt()).streams([("default", "n")]).shuffle(&source);
    let error = t.build().unwrap().run().unwrap_err();
    assert_eq!(error.state(), Some("rebuild_limit"), "{error}");
    let said = error.to_string();
    assert!(said.contains("ended with exit code 1") && said.contains("no module named sense"), "{said}");
}

#[test]
fn a_small_queue_holds_the_input_back_and_loses_nothing() {
    if !has(&["python3"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut spec = spec(&["python3", "plain.py", "none", place.path().to_str().unwrap(), "0"], &fixtures(), &["n"]);
    spec.max_pending = 1;
    let (seen, report) = through(spec, numbered(2_000, |n| n as i64));
    assert_eq!(seen.len(), 2_000);
    let child = of(&report, "child");
    assert!(child.counts.blocked > 0, "the bound was reached, and counted");
    assert_eq!((child.counts.acked, child.counts.rebuilt), (2_000, 0));
}
