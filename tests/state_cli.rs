//! `squall state` and savepoints, from outside: on state directories that topologies have made.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use squall::connect::Generator;
use squall::state::{MapState, StateVisitor, ValueState};
use squall::topology::settings::Settings;
use squall::{CurrentKey, Guarantee, KeyedBolt, Nothing, Outcome, Outlet, TopologyBuilder};

struct Count {
    seen: ValueState<u64, u64>,
    last: MapState<u64, String, u64>,
}

impl KeyedBolt for Count {
    type Key = u64;
    type In = u64;
    type Out = Nothing;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.seen);
        visit.state(&mut self.last);
    }

    fn execute(&mut self, key: CurrentKey<u64>, value: u64, _: &mut Outlet<Nothing>) -> Outcome {
        *self.seen.get_or_insert_with(&key, || 0) += 1;
        self.last.insert(&key, "last".into(), value);
        Ok(())
    }
}

const KEYS: u64 = 10;

/// Runs the first `values` numbers to their end, on this many tasks.
fn run(values: u64, tasks: usize, bolt: &str, set: impl Fn(&mut Settings) + 'static) -> squall::Result<Vec<String>> {
    let mut t = TopologyBuilder::new("counts");
    let numbers = t.source("numbers", move || Generator::new(values, |n| n)).parallelism(tasks);
    let count = || Count { seen: ValueState::new("seen"), last: MapState::new("last") };
    t.bolt(bolt, count).parallelism(tasks).fields_by(&numbers, |n| n % KEYS);
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| {
        s.executors = Some(1);
        s.checkpoint_interval = Some(Duration::from_millis(10));
        set(s);
    });
    let running = t.build()?.start()?;
    running.wait()?;
    Ok(running.report().checkpoints.expect("there are some").notes)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A state directory of 1,000 numbers.
fn made(folder: &Path, store: &str) -> PathBuf {
    let dir = folder.join("state");
    let (path, store) = (text(&dir), store.parse().expect("a store"));
    run(1_000, 2, "count", move |s| (s.state_dir, s.store) = (Some(path.clone()), store)).expect("runs");
    dir
}

fn squall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_squall")).arg("state").args(args).env_remove("RUST_LOG").output().expect("runs")
}

#[track_caller]
fn shows(args: &[&str], code: i32) -> (String, String) {
    let output = squall(args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
    (out.into_owned(), err.into_owned())
}

#[test]
fn what_is_stored_is_read_without_the_program() {
    for store in ["log", "sled", "fjall"] {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = text(&made(folder.path(), store));
        let (listed, _) = shows(&["ls", &dir], 0);
        for part in ["counts", "count.seen", "count.last", "u64 / str", "all input handled", "numbers", store] {
            assert!(listed.contains(part), "{part}: {listed}");
        }
        assert!(!listed.contains("of its own"), "{listed}");
        let rows: Vec<&str> = listed.lines().filter(|line| line.starts_with("numbers ")).collect();
        assert_eq!(rows.len(), 2, "a split for each task: {listed}");
        let listed: Value = serde_json::from_str(&shows(&["ls", &dir, "--json"], 0).0).expect("JSON");
        assert_eq!(listed["states"][0]["entries"], KEYS);
        let numbers = listed["operators"].as_array().expect("a list").iter().find(|of| of["component"] == "numbers");
        let positions = numbers.expect("the source is listed")["positions"].as_object().expect("positions");
        assert!(positions.len() == 2 && positions.values().all(|at| at.as_u64() > Some(0)), "{positions:?}");
        assert_eq!(shows(&["get", &dir, "count.seen", "3"], 0).0, "100\n");
        assert_eq!(shows(&["get", &dir, "count.last", "3"], 0).0, "\"last\"\t993\n");
        let exported = shows(&["export", &dir, "--state", "count.seen"], 0).0;
        let entries: BTreeMap<u64, u64> = exported
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .map(|entry| (entry["key"].as_u64().expect("a key"), entry["value"].as_u64().expect("a value")))
            .collect();
        assert_eq!(entries, (0..KEYS).map(|key| (key, 100)).collect());
        assert!(shows(&["verify", &dir], 0).0.contains("whole, 20 entries"));
    }
}

#[test]
fn wrong_names_keys_and_folders_are_refused_with_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = text(&made(folder.path(), "log"));
    assert!(shows(&["get", &dir, "count.sen", "3"], 2).1.contains("it has: count.seen, count.last"));
    assert!(shows(&["get", &dir, "count.seen", "three"], 2).1.contains("its keys are `u64`"));
    assert!(shows(&["get", &dir, "count.seen", "77"], 1).1.contains("there is nothing under the key 77"));
    assert!(shows(&["export", &dir, "--checkpoint", "99999"], 2).1.contains("it has no checkpoint 99999"));
    assert!(shows(&["ls", &text(folder.path())], 2).1.contains("no state directory and no savepoint"));
    assert!(shows(&["--help"], 0).0.contains("squall state savepoint DIR SAVEPOINT"));
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = made(folder.path(), "log");
    let log = fs::read_dir(dir.join("store-1")).expect("a store").map(|file| file.expect("a file").path());
    let log = log.max_by_key(|path| fs::metadata(path).expect("a file").len()).expect("a log");
    let mut bytes = fs::read(&log).expect("readable");
    let last = bytes.len() - 1;
    (bytes[last / 2], bytes[last]) = (!bytes[last / 2], !bytes[last]);
    fs::write(&log, bytes).expect("writable");
    assert!(shows(&["verify", &text(&dir)], 1).0.contains("damaged: "));
    fs::write(dir.join("manifest.0"), b"nothing").expect("writable");
    fs::write(dir.join("manifest.1"), b"nothing").expect("writable");
    assert!(shows(&["verify", &text(&dir)], 1).1.contains("no manifest that can be used"));
}

#[test]
fn a_savepoint_starts_again_on_other_tasks_and_another_store_with_the_same_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = made(folder.path(), "log");
    let mut from = first.clone();
    for (round, (tasks, store)) in [(3, "fjall"), (2, "sled"), (1, "log")].into_iter().enumerate() {
        let savepoint = text(&folder.path().join(format!("savepoint-{round}")));
        shows(&["savepoint", &text(&from), &savepoint], 0);
        assert!(shows(&["savepoint", &text(&from), &savepoint], 2).1.contains("it is there already"));
        assert!(shows(&["verify", &savepoint], 0).0.contains("whole, 20 entries"));
        let dir = folder.path().join(format!("state-{round}"));
        let (path, store) = (text(&dir), store.parse().expect("a store"));
        let begin = move |s: &mut Settings| {
            (s.state_dir, s.store, s.restore_from) = (Some(path.clone()), store, Some(savepoint.clone()));
        };
        let notes = run(1_000, tasks, "count", begin.clone()).expect("starts");
        let says = |what: &str| notes.iter().any(|note| note.contains(what));
        assert!(says("begins with the savepoint") && says("restored: count.seen, count.last"), "{notes:?}");
        let notes = run(1_000, tasks, "count", begin.clone()).expect("the same command line goes on");
        assert!(notes[0].contains("resumed from checkpoint"), "{notes:?}");
        let elsewhere = text(&first);
        let begin_elsewhere = move |s: &mut Settings| {
            begin(s);
            (s.state_dir, s.store) = (Some(elsewhere.clone()), "log".parse().expect("a store"));
        };
        let refused = run(1_000, tasks, "count", begin_elsewhere).expect_err("there is state").to_string();
        assert!(refused.contains("already holds state") && refused.contains("--fresh"), "{refused}");
        let (differences, _) = shows(&["diff", &text(&first), &text(&dir), "--json"], 0);
        assert_eq!(differences, "");
        from = dir;
    }
}

#[test]
fn state_that_nobody_owns_keeps_its_name_until_its_owner_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = text(&made(folder.path(), "log"));
    let path = dir.clone();
    let with = move |allow: bool| {
        let path = path.clone();
        move |s: &mut Settings| (s.state_dir, s.allow_ownerless_state) = (Some(path.clone()), allow)
    };
    let refused = run(1_000, 1, "renamed", with(false)).expect_err("refused").to_string();
    assert!(refused.contains("count.seen") && refused.contains("allow_ownerless_state"), "{refused}");
    let notes = run(1_000, 1, "renamed", with(true)).expect("allowed");
    assert!(notes.iter().any(|note| note.contains("owned by nobody: count.seen, count.last")), "{notes:?}");
    assert_eq!(shows(&["get", &dir, "count.seen", "3"], 0).0, "100\n");
}

/// Takes everybody the right to write; gives it back in the end, so that the folder can be removed.
struct ReadOnly(Vec<PathBuf>);

impl ReadOnly {
    fn of(path: &Path) -> Self {
        let mut all = vec![path.to_owned()];
        let mut at = 0;
        while let Some(path) = all.get(at) {
            if path.is_dir() {
                let entries: Vec<_> =
                    fs::read_dir(path).expect("readable").map(|entry| entry.expect("one").path()).collect();
                all.extend(entries);
            }
            at += 1;
        }
        let all = ReadOnly(all);
        all.set(0o555);
        all
    }

    fn set(&self, mode: u32) {
        for path in &self.0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        self.set(0o755);
    }
}

#[test]
fn who_may_only_read_reads() {
    for store in ["log", "fjall"] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let dir = made(folder.path(), store);
        let _read_only = ReadOnly::of(&dir);
        for args in [&["ls"][..], &["verify"], &["export", "--state", "count.seen"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
            command.arg("state").arg(args[0]).arg(&dir).args(&args[1..]).env_remove("RUST_LOG");
            if rustix::process::geteuid().is_root() {
                // The superuser may write whatever the permissions say.
                command.uid(65_534).gid(65_534);
            }
            let output = match command.output() {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    eprintln!("skipped: another user may not execute {}", env!("CARGO_BIN_EXE_squall"));
                    return;
                }
                output => output.expect("runs"),
            };
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if store == "log" {
                assert_eq!(output.status.code(), Some(0), "{args:?}: {out}{err}");
            } else {
                assert_eq!(output.status.code(), Some(2), "{args:?}: {out}{err}");
                assert!(err.contains("state savepoint"), "{err}");
            }
        }
    }
}

#[test]
fn a_file_in_the_place_of_a_state_folder_is_bad_usage_and_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = text(&folder.path().join("state"));
    fs::write(&file, "mine").unwrap();
    let below = format!("{file}/below");
    let exactly_once = ["run", "word_count", "--guarantee", "exactly-once"];
    for dir in [&file, &below] {
        let run = [&exactly_once[..], &["--state", dir]].concat();
        let restore = [&exactly_once[..], &["--from-savepoint", dir]].concat();
        for args in [&run[..], &restore, &["state", "ls", dir], &["state", "verify", dir], &["stop", dir]] {
            let refused = Command::new(env!("CARGO_BIN_EXE_squall")).args(args).output().unwrap();
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{args:?}: {said}");
            assert!(said.contains(&format!("{file} is a file")) && said.contains("folder"), "{args:?}: {said}");
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
