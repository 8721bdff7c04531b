//! Savepoints with every kind of state: a topology that is moved from one to three, to two and to one task while its
//! input goes on comes to what it comes to undisturbed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use squall::connect::Generator;
use squall::state::{
    AggregatingState, AtEnd, ListState, MapState, ReducingState, Refresh, StateVisitor, Timers, Ttl, ValueState,
};
use squall::topology::settings::Settings;
use squall::{CurrentKey, Guarantee, KeyedBolt, Nothing, Outcome, Outlet, Running, Timer, TopologyBuilder};

const KEYS: u64 = 50;
const VALUES: u64 = 6_000;
const RATE: u64 = 10_000;
/// Never due while the test runs: the end of the input fires it.
const FAR_NS: u64 = 7_000_000_000_000_000_000;

struct Everything {
    last: ValueState<u64, u64>,
    all: ListState<u64, u64>,
    by_digit: MapState<u64, u64, u64>,
    highest: ReducingState<u64, u64>,
    mean: AggregatingState<u64, u64, (u64, u64), u64>,
    timers: Timers<u64>,
    fired: ValueState<u64, Vec<u64>>,
}

impl Everything {
    fn new() -> Self {
        let day = Duration::from_secs(86_400);
        let add = |(sum, count): &mut (u64, u64), value: u64| (*sum, *count) = (*sum + value, *count + 1);
        Everything {
            last: ValueState::new("last").ttl(Ttl::new(day).refresh(Refresh::OnRead)),
            all: ListState::new("all"),
            by_digit: MapState::new("by_digit"),
            highest: ReducingState::new("highest", |highest: &mut u64, value: u64| *highest = (*highest).max(value)),
            mean: AggregatingState::new("mean", || (0, 0), add, |(sum, count)| sum / count),
            timers: Timers::new("timers").at_end(AtEnd::Fire),
            fired: ValueState::new("fired"),
        }
    }
}

impl KeyedBolt for Everything {
    type Key = u64;
    type In = u64;
    type Out = Nothing;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.last);
        visit.state(&mut self.all);
        visit.state(&mut self.by_digit);
        visit.state(&mut self.highest);
        visit.state(&mut self.mean);
        visit.state(&mut self.timers);
        visit.state(&mut self.fired);
    }

    fn execute(&mut self, key: CurrentKey<u64>, value: u64, _: &mut Outlet<Nothing>) -> Outcome {
        self.last.set(&key, value);
        self.all.push(&key, value);
        // Elements come and go, so that deletions are among what is saved.
        if value.is_multiple_of(7) {
            self.by_digit.remove(&key, &(value / KEYS % 10));
        } else {
            *self.by_digit.get_or_insert_with(&key, value / KEYS % 10, || 0) += 1;
        }
        self.highest.add(&key, value);
        self.mean.add(&key, value);
        // Ten timers a key, each set often; every other one is deleted again.
        self.timers.set(&key, 0, FAR_NS + value / KEYS % 10);
        self.timers.delete(&key, 0, FAR_NS + (value / KEYS + 5) % 10);
        Ok(())
    }

    fn on_timer(&mut self, key: CurrentKey<u64>, timer: Timer, _: &mut Outlet<Nothing>) -> Outcome {
        self.fired.get_or_insert_with(&key, Vec::new).push(timer.at.as_nanos() as u64 - FAR_NS);
        Ok(())
    }
}

fn start(tasks: usize, set: impl Fn(&mut Settings) + 'static) -> squall::Result<Running> {
    let mut t = TopologyBuilder::new("everything");
    let numbers = t.source("numbers", || Generator::new(VALUES, |n| n).rate(RATE));
    t.bolt("keep", Everything::new).parallelism(tasks).fields_by(&numbers, |n| n % KEYS);
    t.guarantee(Guarantee::ExactlyOnce);
    t.settings(|s| {
        s.executors = Some(1);
        s.checkpoint_interval = Some(Duration::from_millis(10));
        set(s);
    });
    t.build()?.start()
}

fn executed(running: &Running) -> u64 {
    running.counts().last().map_or(0, |bolt| bolt.counts.executed)
}

/// Goes on until there have been this many more, then suspends.
fn some(running: &Running, more: u64) {
    while executed(running) < more && running.wait_timeout(Duration::from_millis(1)).is_none() {}
    running.suspend();
    running.wait().expect("it suspends");
}

fn squall(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_squall")).arg("state").args(args).env_remove("RUST_LOG").output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Every entry of keyed state as the command shows it, but for when values were refreshed.
fn content(dir: &Path) -> Vec<String> {
    let exported = squall(&["export", &text(dir)]);
    let mut lines: Vec<String> = exported.lines().map(without_stamp).collect();
    lines.sort();
    lines
}

fn without_stamp(line: &str) -> String {
    let mut entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let fields = entry.as_object_mut().expect("an object");
    fields.retain(|name, _| !name.contains("stamp") && !name.contains("refreshed") && name != "at_ns");
    entry.to_string()
}

#[test]
fn every_kind_of_state_moves_between_tasks_and_stores_while_input_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir_of = |name: &str| -> PathBuf { folder.path().join(name) };
    let undisturbed = dir_of("undisturbed");
    let path = text(&undisturbed);
    start(1, move |s| s.state_dir = Some(path.clone())).expect("starts").wait().expect("ends");

    let first = dir_of("state-0");
    let path = text(&first);
    some(&start(1, move |s| s.state_dir = Some(path.clone())).expect("starts"), VALUES / 5);
    let mut from = first;
    for (round, (tasks, store)) in [(3, "fjall"), (2, "sled"), (1, "log")].into_iter().enumerate() {
        let savepoint = text(&dir_of(&format!("savepoint-{round}")));
        squall(&["savepoint", &text(&from), &savepoint]);
        assert!(squall(&["verify", &savepoint]).contains("whole"));
        // The original is not needed any more.
        fs::remove_dir_all(&from).expect("removed");
        let dir = dir_of(&format!("state-{}", round + 1));
        let (path, store) = (text(&dir), store.parse().expect("a store"));
        let running = start(tasks, move |s| {
            (s.state_dir, s.store, s.restore_from) = (Some(path.clone()), store, Some(savepoint.clone()));
        });
        let running = running.expect("starts");
        if tasks == 1 {
            running.wait().expect("ends");
        } else {
            some(&running, VALUES / 5);
        }
        from = dir;
    }
    let (expected, found) = (content(&undisturbed), content(&from));
    assert!(expected.len() as u64 > VALUES, "one entry per element at least");
    assert_eq!(found, expected);
    for state in ["last", "all", "by_digit", "highest", "mean", "fired"] {
        assert!(expected.iter().any(|line| line.contains(&format!("\"state\":\"{state}\""))), "{state} is there");
    }
    // Each timer fired once: what is there is five of them per key, in order.
    let fired = squall(&["get", &text(&from), "keep.fired", "7"]);
    let undisturbed_fired = squall(&["get", &text(&undisturbed), "keep.fired", "7"]);
    assert_eq!(fired, undisturbed_fired);
}

#[test]
fn the_command_shows_every_kind_of_state_of_a_topology_that_was_suspended() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("state");
    let path = text(&dir);
    some(&start(2, move |s| s.state_dir = Some(path.clone())).expect("starts"), 2 * KEYS);
    let dir = text(&dir);
    let listed = squall(&["ls", &dir]);
    for state in ["last", "all", "by_digit", "highest", "mean", "timers", "fired"] {
        assert!(listed.contains(&format!("keep.{state}")), "{state}: {listed}");
    }
    assert!(squall(&["get", &dir, "keep.all", "3"]).starts_with("0\t3\n1\t53\n"));
    assert!(squall(&["export", &dir, "--state", "keep.timers"]).lines().count() as u64 >= KEYS);
    assert!(squall(&["get", &dir, "keep.mean", "3"]).contains(','));
    assert_eq!(squall(&["diff", &dir, &dir, "--json"]), "");
    assert!(squall(&["verify", &dir]).contains("whole"));
}
