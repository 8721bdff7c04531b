//! The file of dead letters, as a user meets it: `--dead-letters FILE` of a run, then `squall dead-letters`.

#[path = "needs/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use program::be_program;
use serde_json::{Value as Json, json};
use squall::connect::Generator;
use squall::{Failure, Nothing, Outcome, Outlet, Topology, TopologyBuilder};

/// Long after anything here is over on any machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// No test, but the program that tests start.
#[test]
fn child_program() {
    be_program("sevens", build);
}

/// Takes numbers, but none that seven divides
#[derive(clap::Args)]
struct Sevens {
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Numbers per second; as fast as may be without it
    #[arg(long)]
    rate: Option<u64>,
    /// Takes those that seven divides too
    #[arg(long)]
    mended: bool,
}

fn build(args: &Sevens) -> squall::Result<Topology> {
    let mut t = TopologyBuilder::new("sevens");
    let (count, rate) = (args.count, args.rate);
    let numbers = t.source("numbers", move || {
        let numbers = Generator::new(count, |number| format!("number {number}"));
        if let Some(rate) = rate { numbers.rate(rate) } else { numbers }
    });
    let mended = args.mended;
    let takes = move |text: String, _: &mut Outlet<Nothing>| takes(&text, mended);
    t.bolt("takes", takes).shuffle(&numbers);
    t.build()
}

fn takes(text: &str, mended: bool) -> Outcome {
    let number: u64 = text.strip_prefix("number ").and_then(|number| number.parse().ok()).expect("a number");
    if number.is_multiple_of(7) && !mended { Err(Failure::reject(format!("seven divides {number}"))) } else { Ok(()) }
}

fn program(args: &[&str]) -> Command {
    let mut command = program::program(args);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
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
fn lines_of_a_flux_file_become_dead_letters_as_those_of_any_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("in.txt"), "1\ntwo\n3\n").unwrap();
    let text = format!(
        "name: sums\nspouts:\n  - {{id: lines, className: squall.Lines, constructorArgs: [{:?}]}}\n\
         bolts:\n  - {{id: digits, className: squall.Sum}}\n  \
         - {{id: kept, className: squall.WriteLines, constructorArgs: [{:?}]}}\n\
         streams:\n  - {{from: lines, to: digits, grouping: {{type: GLOBAL}}}}\n",
        path("in.txt"),
        path("kept.txt")
    );
    let taken = "  - {from: lines, to: kept, grouping: {type: GLOBAL, streamId: dead_letters}}\n";
    std::fs::write(path("taken.yaml"), format!("{text}{taken}")).unwrap();
    let from_digits = "  - {from: digits, to: kept, grouping: {type: GLOBAL}}\n";
    std::fs::write(path("untaken.yaml"), format!("{text}{from_digits}")).unwrap();

    let untaken = squall(&["run", &path("untaken.yaml")]);
    assert_eq!(untaken.status.code(), Some(3), "{}", said(&untaken));
    let file = path("dead.jsonl");
    let kept = squall(&["run", &path("untaken.yaml"), "--dead-letters", &file]);
    assert_eq!(kept.status.code(), Some(0), "{}", said(&kept));
    let letters = letters(Path::new(&file));
    assert_eq!(letters.len(), 3, "lines are texts, which have no sum: {letters:?}");
    let what = ["source", "value", "position", "kind", "origin", "attempts"].map(|name| letters[1][name].clone());
    assert_eq!(json!(what), json!(["lines", "two", 2, "reject", "digits[0]", 1]));
    assert!(squall(&["dead-letters", "replay", &file, &path("again.txt")]).status.success());
    assert_eq!(std::fs::read_to_string(path("again.txt")).unwrap(), "1\ntwo\n3\n");

    let exactly_once = squall(&["run", &path("untaken.yaml"), "--guarantee", "exactly-once"]);
    let refusal = said(&exactly_once);
    assert_eq!(exactly_once.status.code(), Some(2), "native bolts keep what they know in memory: {refusal}");

    let taken = squall(&["run", &path("taken.yaml")]);
    assert_eq!(taken.status.code(), Some(0), "{}", said(&taken));
    let lines = std::fs::read_to_string(path("kept.txt")).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.contains("two\t2\t") && lines.contains("\tdigits[0]\treject\t1\t"), "{lines}");
}

#[test]
fn a_second_run_adds_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead.jsonl");
    for guarantee in ["at-least-once", "exactly-once"] {
        let before = std::fs::read(&file).unwrap_or_default();
        let args = ["--guarantee", guarantee, "--count", "15", "--dead-letters", &file.display().to_string()];
        let output = program(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let after = std::fs::read(&file).unwrap();
        let added = after.strip_prefix(&before[..]).unwrap_or_else(|| panic!("{guarantee}: earlier ones are gone"));
        assert_eq!(added.iter().filter(|byte| **byte == b'\n').count(), 3, "{guarantee}");
    }
}

#[test]
fn a_rejection_is_not_undone_by_mending_the_bolt() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (state, file) = (path("state"), path("dead.jsonl"));
    let args = ["--guarantee", "exactly-once", "--state", &state];
    for more in [&[][..], &["--mended"]] {
        let output = program(&[&args[..], more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let said = said(&output);
        assert!(said.contains("whatever is mended, the next start stops here again"), "{said}");
        assert!(said.contains("seven divides") && said.contains("--dead-letters FILE"), "{said}");
    }
    let output = program(&[&args[..], &["--mended", "--dead-letters", &file]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let found = numbers(&letters(Path::new(&file)));
    assert!(!found.is_empty(), "what was rejected before is still given up");
}

#[test]
fn a_run_that_goes_on_is_given_its_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (state, file) = (path("state"), path("dead.jsonl"));
    let args = ["--guarantee", "exactly-once", "--state", &state, "--mended"];
    let run = |more: &[&str]| program(&[&args[..], more].concat()).output().unwrap();
    // To its end: then there is a checkpoint for sure.
    let output = run(&["--dead-letters", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("give the same one again (--dead-letters FILE)"), "{}", said(&output));
    assert!(!said(&output).contains("old names"), "nothing was renamed: {}", said(&output));
    let output = run(&["--set", "allow_ownerless_state=true"]);
    assert_eq!(output.status.code(), Some(0), "it goes on without: {}", said(&output));
    let output = run(&["--dead-letters", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
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

/// A file with letters of two sources, and lines that are none: half a line, JSON of something else, and a last one
/// that was cut off within a character.
fn a_damaged_file(folder: &Path) -> String {
    let letter = |source: &str, value: &str| {
        let error = format!("{value} is too much");
        json!({ "source": source, "value": value, "position": 7, "error": error, "origin": "b[0]", "kind": "reject",
                "attempts": 1, "first_failed": "-", "last_failed": "-" })
        .to_string()
    };
    let lines =
        [letter("a", "one"), letter("a", "two")[..30].to_owned(), r#"{"level":"warn"}"#.into(), letter("b", "three")];
    let mut bytes = lines.map(|line| line + "\n").concat().into_bytes();
    bytes.extend_from_slice(br#"{"source":"a","value":""#);
    bytes.push("ä".as_bytes()[0]);
    let file = folder.join("damaged.jsonl");
    std::fs::write(&file, bytes).unwrap();
    file.display().to_string()
}

#[test]
fn a_line_that_is_no_letter_is_named_and_the_others_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (a_damaged_file(folder.path()), folder.path().join("out.txt"));
    let listed = squall(&["dead-letters", "ls", &file]);
    let replayed = squall(&["dead-letters", "replay", &file, &out.display().to_string()]);
    for output in [&listed, &replayed] {
        let said = said(output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for what in
            ["jsonl:2: this line is no dead letter", "jsonl:3: this line is JSON, but", "jsonl:5: the last line"]
        {
            assert!(said.contains(what), "{said}");
        }
        assert!(!said.contains("jsonl:1:") && !said.contains("jsonl:4:"), "{said}");
    }
    let table = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(table.lines().filter(|line| line.contains("is too much")).count(), 2, "{table}");
    assert_eq!(std::fs::read_to_string(out).unwrap(), "one\nthree\n");
}

#[test]
fn a_source_that_is_not_there_is_answered_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (a_damaged_file(folder.path()), folder.path().join("out.txt"));
    let replay =
        |source: &str| squall(&["dead-letters", "replay", &file, &out.display().to_string(), "--source", source]);
    let output = replay("nosuch");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("--source nosuch") && said(&output).contains("a, b"), "{}", said(&output));
    assert_eq!(names_in(folder.path()), ["damaged.jsonl"]);
    replay("b");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "three\n");
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// The limit on the size of a file stands for a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_replay_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("dead.jsonl"), folder.path().join("out.txt"));
    let letter = json!({ "source": "a", "value": "x".repeat(100_000), "error": "", "kind": "reject" });
    std::fs::write(&file, format!("{letter}\n")).unwrap();
    let command =
        format!("trap '' XFSZ; ulimit -f 8; exec {} dead-letters replay \"$@\"", env!("CARGO_BIN_EXE_squall"));
    let output = Command::new("sh").args(["-c", &command, "sh"]).args([&file, &out]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("out.txt"), "{}", said(&output));
    assert_eq!(names_in(folder.path()), ["dead.jsonl"]);
}

#[test]
fn a_file_of_something_else_is_no_file_of_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "{}\nnot json\n".repeat(10)).unwrap();
    let out = folder.path().join("out.txt").display().to_string();
    let file = file.display().to_string();
    for args in [&["ls", &file][..], &["replay", &file, &out]] {
        let output = squall(&[&["dead-letters"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("notes.txt:2") && said(&output).contains("10 more lines"), "{}", said(&output));
        assert!(output.stdout.is_empty(), "{}", said(&output));
    }
    assert_eq!(names_in(folder.path()), ["notes.txt"]);
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
