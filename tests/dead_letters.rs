//! The file of dead letters, as a user meets it: `--dead-letters FILE` of a run, then `squall dead-letters`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use squall::connect::Generator;
use squall::{Failure, Nothing, Outcome, Outlet, Topology, TopologyBuilder};

/// Long after anything here is over on any machine.
const DEADLINE: Duration = Duration::from_secs(300);

const ARGUMENTS: &str = "SQUALL_TEST_ARGUMENTS";

/// No test, but the program that tests start: does nothing unless it is started by one.
#[test]
fn child_program() {
    let Ok(args) = std::env::var(ARGUMENTS) else { return };
    let args = std::iter::once("sevens").chain(args.lines()).map(Into::into);
    std::process::exit(squall::cli::run_from(args, build).into());
}

/// Takes numbers, but none that seven divides
#[derive(clap::Args)]
struct Sevens {
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Numbers per second; as fast as may be without it
    #[arg(long)]
    rate: Option<u64>,
}

fn build(args: &Sevens) -> squall::Result<Topology> {
    let mut t = TopologyBuilder::new("sevens");
    let (count, rate) = (args.count, args.rate);
    let numbers = t.source("numbers", move || {
        let numbers = Generator::new(count, |number| format!("number {number}"));
        if let Some(rate) = rate { numbers.rate(rate) } else { numbers }
    });
    t.bolt("takes", takes).shuffle(&numbers);
    t.build()
}

fn takes(text: String, _: &mut Outlet<Nothing>) -> Outcome {
    let number: u64 = text.strip_prefix("number ").and_then(|number| number.parse().ok()).expect("a number");
    if number.is_multiple_of(7) { Err(Failure::reject(format!("seven divides {number}"))) } else { Ok(()) }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_program", "--exact", "--nocapture"]).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.env(ARGUMENTS, args.join("\n"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn squall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_squall")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn letters(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn numbers(letters: &[Json]) -> Vec<u64> {
    let number = |letter: &Json| letter["value"].as_str()?.strip_prefix("number ")?.parse().ok();
    letters.iter().map(|letter| number(letter).unwrap_or_else(|| panic!("{letter}"))).collect()
}

#[test]
fn what_is_given_up_lies_in_the_file_once_and_can_be_run_again() {
    for guarantee in ["at-least-once", "exactly-once"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (file, again) = (path("dead.jsonl"), path("again.txt"));
        let output = program(&["--guarantee", guarantee, "--dead-letters", &file]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "kept, so nothing is wrong: {}", said(&output));
        let letters = letters(Path::new(&file));
        let sevens: Vec<u64> = (0..100).step_by(7).collect();
        let mut found = numbers(&letters);
        found.sort_unstable();
        assert_eq!(found, sevens, "{guarantee}");
        for letter in &letters {
            assert_eq!(letter["source"], "numbers");
            assert_eq!(letter["kind"], "reject");
            assert_eq!(letter["origin"], "takes[0]");
            assert!(letter["error"].as_str().is_some_and(|error| error.contains("seven divides")), "{letter}");
        }

        let listed = squall(&["dead-letters", "ls", &file]);
        assert!(listed.status.success() && said(&listed).contains("seven divides 98"), "{}", said(&listed));
        assert!(said(&listed).contains("15"), "all of them are counted: {}", said(&listed));

        assert!(squall(&["dead-letters", "replay", &file, &again]).status.success());
        let mut lines: Vec<String> = std::fs::read_to_string(&again).unwrap().lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| line["number ".len()..].parse::<u64>().unwrap());
        assert_eq!(lines, sevens.iter().map(|number| format!("number {number}")).collect::<Vec<_>>());
        let twice = squall(&["dead-letters", "replay", &file, &again]);
        assert_eq!(twice.status.code(), Some(2), "OUT is there: {}", said(&twice));
    }
}

#[test]
fn without_a_file_the_exit_code_says_that_something_was_given_up() {
    let output = program(&["--guarantee", "at-least-once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("15 of numbers") && said(&output).contains("--dead-letters"), "{}", said(&output));
    let output = program(&["--guarantee", "exactly-once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("(dead_letter)"), "stopped before it is lost: {}", said(&output));
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let output = program(&["--dead-letters", &path("none/dead.jsonl")]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("dead.jsonl"), "{}", said(&output));
    let output = program(&["--dead-letters", &path("both"), "--report", &path("./both")]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "the report would replace it: {}", said(&output));
    assert!(said(&output).contains("same file as --dead-letters"), "{}", said(&output));
}

#[test]
fn a_file_of_something_else_is_no_file_of_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "{}\nnot json\n").unwrap();
    let output = squall(&["dead-letters", "ls", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("notes.txt:2"), "{}", said(&output));
}

/// What a killed run has left may end in the middle of a line.
fn whole_lines(file: &Path) -> usize {
    std::fs::read(file).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// Waits until the file has more than so many letters; false if the run was faster.
fn wait_for_more_than(child: &mut Child, file: &Path, count: usize) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while whole_lines(file) <= count {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "no dead letters in time");
        std::thread::yield_now();
    }
    true
}

#[test]
fn killed_again_and_again_every_letter_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead.jsonl");
    let (path, state) = (file.display().to_string(), folder.path().join("state").display().to_string());
    let args = ["--guarantee", "exactly-once", "--count", "3000", "--rate", "2000", "--checkpoint-interval", "20ms"];
    let args = [&args[..], &["--dead-letters", &path, "--state", &state, "--quiet"]].concat();
    let mut killed = 0;
    for _ in 0..5 {
        let had = whole_lines(&file);
        let mut child = program(&args).stderr(Stdio::null()).spawn().unwrap();
        let was_running = wait_for_more_than(&mut child, &file, had);
        // Without a chance to tidy up, as by `kill -9`.
        let _ = child.kill();
        child.wait().unwrap();
        if !was_running {
            break;
        }
        killed += 1;
    }
    let output = program(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let found = numbers(&letters(&file));
    let once: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(once, (0..3_000).step_by(7).collect(), "after {killed} kills");
    assert_eq!(found.len(), once.len(), "after {killed} kills something is there twice");
    assert!(killed > 0, "the run is long enough to be killed in it");
}
