//! The word count with state, killed as a user would kill it: the result is that of a run nobody disturbed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/data/kjv.txt");

/// Long after anything here is over on any machine.
const DEADLINE: Duration = Duration::from_secs(300);

struct Count {
    place: tempfile::TempDir,
    args: Vec<String>,
}

impl Count {
    fn new(repeat: u64, args: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut all: Vec<String> =
            ["run", "word_count", "--quiet", "--guarantee", "exactly-once", "--input", TEXT].map(String::from).into();
        let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        all.extend(["--output".into(), path("counts.tsv"), "--state".into(), path("state")]);
        all.extend(["--repeat".into(), repeat.to_string(), "--checkpoint-interval".into(), "20ms".into()]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        Count { place, args: all }
    }

    fn output(&self) -> PathBuf {
        self.place.path().join("counts.tsv")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        command.args(&self.args).stdin(Stdio::null());
        command
    }

    fn run(&self) -> Output {
        self.command().output().unwrap()
    }

    /// When a manifest was last written; none before the first.
    fn last_checkpoint(&self) -> Option<SystemTime> {
        let slot = |number: u8| self.place.path().join(format!("state/manifest.{number}"));
        (0..2).filter_map(|number| slot(number).metadata().ok()?.modified().ok()).max()
    }

    /// Starts it, waits until it has made so many checkpoints, and kills it; none if it was faster.
    fn run_until_killed(&self, checkpoints: usize) -> Option<ExitStatus> {
        let mut child = self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + DEADLINE;
        for _ in 0..checkpoints {
            let last = self.last_checkpoint();
            while self.last_checkpoint() == last {
                if child.try_wait().unwrap().is_some() {
                    return None;
                }
                assert!(Instant::now() < deadline, "no checkpoint in time");
                std::thread::yield_now();
            }
        }
        Some(kill(&mut child))
    }
}

/// As `kill -9` does.
fn kill(child: &mut Child) -> ExitStatus {
    child.kill().unwrap();
    child.wait().unwrap()
}

/// The counts of the text, found independently.
fn counted(times: u64) -> Vec<u8> {
    let text = std::fs::read(TEXT).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    let space = |byte: &u8| b" \t\n\r\x0b\x0c".contains(byte);
    for word in text.split(space).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_insert(0) += times;
    }
    let mut file = Vec::new();
    for (word, count) in counts {
        file.extend_from_slice(word);
        writeln!(file, "\t{count}").unwrap();
    }
    file
}

#[track_caller]
fn assert_counted(output: &Path, times: u64, what: &str) {
    let found = std::fs::read(output).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(found == counted(times), "{what}: counts differently, {} bytes", found.len());
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn kill_and_rerun(args: &[&str]) {
    const TIMES: u64 = 10;
    let count = Count::new(TIMES, args);
    // More checkpoints each time, so that the kills meet different places of the input.
    let kills = (1..=4).filter(|checkpoints| count.run_until_killed(*checkpoints).is_some()).count();
    assert!(kills > 0, "it was faster than its first checkpoint");
    let last = count.run();
    assert!(last.status.success(), "{args:?} after {kills} kills: {}", text(&last.stderr));
    assert_counted(&count.output(), TIMES, &format!("{args:?} after {kills} kills"));
    assert_eq!(names(count.place.path()), ["counts.tsv", "state"], "nothing hidden is left");
}

#[test]
fn killed_at_any_time_it_goes_on_and_counts_the_same() {
    kill_and_rerun(&["--parallelism", "2", "--executors", "2"]);
}

#[test]
fn killed_with_another_store_it_counts_the_same() {
    kill_and_rerun(&["--store", "fjall"]);
}

#[test]
fn killed_and_resumed_with_another_parallelism_it_counts_the_same() {
    let count = Count::new(10, &["--parallelism", "3"]);
    count.run_until_killed(1).expect("it makes a checkpoint before its end");
    let mut changed = count;
    *changed.args.last_mut().unwrap() = "2".into();
    let last = changed.run();
    assert!(last.status.success(), "{}", text(&last.stderr));
    assert_counted(&changed.output(), 10, "3 tasks, then 2");
}

#[test]
fn panics_step_back_and_count_the_same() {
    let count = Count::new(1, &["--panic-every", "200000"]);
    let run = count.run();
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert_counted(&count.output(), 1, "with panics");
}

#[test]
fn a_rerun_after_the_end_says_so_and_leaves_the_output_alone() {
    let count = Count::new(1, &[]);
    assert!(count.run().status.success());
    let written = count.output().metadata().unwrap().modified().unwrap();
    let rerun = count.run();
    assert!(rerun.status.success(), "{}", text(&rerun.stderr));
    assert!(text(&rerun.stderr).contains("all input had been handled before"), "{}", text(&rerun.stderr));
    assert!(text(&rerun.stdout).is_empty(), "{}", text(&rerun.stdout));
    assert_counted(&count.output(), 1, "after a rerun");
    assert_eq!(count.output().metadata().unwrap().modified().unwrap(), written);
}

#[test]
fn a_rerun_that_finds_its_output_gone_says_what_to_do() {
    let count = Count::new(1, &[]);
    assert!(count.run().status.success());
    std::fs::remove_file(count.output()).unwrap();
    let rerun = count.run();
    assert!(!rerun.status.success() && text(&rerun.stderr).contains("--fresh"), "{}", text(&rerun.stderr));
    assert!(count.command().arg("--fresh").output().unwrap().status.success());
    assert_counted(&count.output(), 1, "started over");
}

/// Runs with another text, once to its end, then after the change.
fn rerun_with_changed_input(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let count = Count::new(1, &[]);
    let input = count.place.path().join("input");
    let mut text_now = b"a few words\nand a few more\n".to_vec();
    std::fs::write(&input, &text_now).unwrap();
    let args: Vec<&str> =
        count.args.iter().map(|arg| if arg == TEXT { input.to_str().unwrap() } else { arg.as_str() }).collect();
    let run = || Command::new(env!("CARGO_BIN_EXE_squall")).args(&args).stdin(Stdio::null()).output().unwrap();
    assert!(run().status.success());
    change(&mut text_now);
    std::fs::write(&input, &text_now).unwrap();
    let rerun = run();
    assert_eq!(rerun.status.code(), Some(2), "{}", text(&rerun.stderr));
    text(&rerun.stderr)
}

#[test]
fn a_changed_input_is_refused_with_both_identities() {
    let said = rerun_with_changed_input(|text| text[0] = b'A');
    assert!(said.contains("then 27 bytes, 0..27 xxh3") && said.contains("now 27 bytes"), "{said}");
    let said = rerun_with_changed_input(|text| text.extend_from_slice(b"more\n"));
    assert!(said.contains("then 27 bytes") && said.contains("now 32 bytes") && said.contains("--fresh"), "{said}");
}

#[test]
fn stopped_from_elsewhere_it_ends_well_and_the_savepoint_holds_where_it_stood() {
    let count = Count::new(100_000, &[]);
    let mut child = count.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while count.last_checkpoint().is_none() {
        assert!(Instant::now() < deadline, "no checkpoint in time");
        std::thread::yield_now();
    }
    let (state, saved) = (count.place.path().join("state"), count.place.path().join("saved"));
    let stop = |args: &[&std::ffi::OsStr]| {
        Command::new(env!("CARGO_BIN_EXE_squall")).arg("stop").arg(&state).args(args).output().unwrap()
    };
    let stopped = stop(&["--savepoint".as_ref(), saved.as_ref()]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert!(child.try_wait().unwrap().is_some_and(|status| status.success()), "it has ended, and well");
    let mut diff = Command::new(env!("CARGO_BIN_EXE_squall"));
    let differs = diff.args(["state", "diff"]).args([&state, &saved]).output().unwrap();
    assert!(differs.status.success(), "{}{}", text(&differs.stdout), text(&differs.stderr));
    let again = stop(&[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("nothing runs"), "{}", text(&again.stderr));
}

#[test]
fn standard_input_is_refused_before_anything_starts() {
    let count = Count::new(1, &[]);
    let args = count.args.iter().map(|arg| if arg == TEXT { "-" } else { arg });
    let run = Command::new(env!("CARGO_BIN_EXE_squall")).args(args).stdin(Stdio::null()).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    let said = text(&run.stderr);
    assert!(said.contains("lines") && said.contains("write the input to a file"), "{said}");
    assert!(names(count.place.path()).is_empty(), "{:?}", names(count.place.path()));
}

#[test]
fn an_empty_input_has_an_empty_count() {
    let count = Count::new(1, &[]);
    let empty = count.place.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let args = count.args.iter().map(|arg| if arg == TEXT { empty.to_str().unwrap() } else { arg });
    let run = Command::new(env!("CARGO_BIN_EXE_squall")).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert_eq!(std::fs::read(count.output()).unwrap(), b"");
}
