//! Sinks in whole topologies: what a file holds in the end, whoever fails meanwhile, and what is refused before that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(feature = "fjall")]
use squall::connect::UpsertTable;
use squall::connect::{AppendFile, AppendLines, FileSink, Generator, Transactional, TransactionalSink};
use squall::state::store::CheckpointId;
use squall::task::snapshot::{Checkpointed, DurableJob, OwnSnapshot};
use squall::testing::TestDriver;
use squall::topology::settings::Settings;
use squall::{Bolt, CurrentKey, Failure, Guarantee, KeyedBolt, Nothing, Outcome, Outlet, Topology, TopologyBuilder};

/// Says at its end how much it has got of each key; fails when told, once or for good.
struct Totals {
    seen: squall::state::ValueState<u64, u64>,
    fails: Option<Arc<AtomicBool>>,
    is_fatal: bool,
}

impl KeyedBolt for Totals {
    type Key = u64;
    type In = u64;
    type Out = String;

    fn states(&mut self, visit: &mut dyn squall::state::StateVisitor<u64>) {
        visit.state(&mut self.seen);
    }

    fn execute(&mut self, key: CurrentKey<u64>, value: u64, _: &mut Outlet<String>) -> Outcome {
        if value == 50 && self.fails.as_ref().is_some_and(|done| !done.swap(true, Ordering::Relaxed)) {
            let told = "told to fail";
            return Err(if self.is_fatal { Failure::fatal(told) } else { Failure::retry(told) });
        }
        self.seen.update(&key, |seen| *seen += 1);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<String>) -> Outcome {
        let all: Vec<String> = self.seen.iter().map(|(key, seen)| format!("{key} {seen}")).collect();
        out.hand_over(all.into_iter());
        Ok(())
    }
}

/// Two bolts write what they have counted into one file: one ends at once, the other many checkpoints later.
fn two_ends(path: &Path, fails: Option<&Arc<AtomicBool>>, is_fatal: bool, set: fn(&mut Settings)) -> TopologyBuilder {
    let mut t = TopologyBuilder::new("whole");
    let early = t.source("early", || Generator::new(100, |n| n % 10));
    let late = t.source("late", || Generator::new(100, |n| n).rate(500));
    let totals = move |fails: Option<Arc<AtomicBool>>| {
        move || Totals { seen: squall::state::ValueState::new("seen"), fails: fails.clone(), is_fatal }
    };
    let of_early = t.bolt("of_early", totals(None)).fields_by(&early, |n| *n);
    let of_late = t.bolt("of_late", totals(fails.cloned())).parallelism(3).fields_by(&late, |n| 10 + n % 10);
    let sink = FileSink::whole(path);
    t.bolt("file", move || Transactional::new(sink.clone())).global(&of_early).global(&of_late);
    t.guarantee(Guarantee::ExactlyOnce).settings(move |s| {
        s.executors = Some(2);
        s.checkpoint_interval = Some(Duration::from_millis(10));
        set(s);
    });
    t
}

#[track_caller]
fn holds_all_totals(path: &Path) {
    let text = fs::read_to_string(path).expect("the file is there");
    let lines: BTreeMap<u64, u64> = text
        .lines()
        .map(|line| line.split_once(' ').map(|(key, n)| (key.parse().unwrap(), n.parse().unwrap())).unwrap())
        .collect();
    assert_eq!(lines, (0..20).map(|key| (key, 10)).collect(), "{text}");
    assert_eq!(text.lines().count(), 20, "nothing is there twice: {text}");
}

#[test]
fn a_whole_file_holds_what_came_on_both_sides_of_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("totals");
    fs::write(&path, "of the run before").unwrap();
    let mut driver = TestDriver::start(two_ends(&path, None, false, |_| {}).build().unwrap()).unwrap();
    driver.advance(Duration::from_millis(100)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"of the run before", "half a result is no result");
    driver.run_to_end().unwrap();
    assert!(driver.report().checkpoints.unwrap().completed > 10);
    holds_all_totals(&path);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing hidden is left");
}

#[test]
fn a_whole_file_holds_everything_once_after_a_step_back_between() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("totals");
    let fails = Arc::new(AtomicBool::new(false));
    let mut driver = TestDriver::start(two_ends(&path, Some(&fails), false, |_| {}).build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    assert_eq!(driver.report().checkpoints.unwrap().step_backs, 1);
    holds_all_totals(&path);
}

#[test]
fn a_whole_file_holds_everything_once_after_another_process_has_gone_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("totals");
    let fails = Arc::new(AtomicBool::new(false));
    let start = |fails| {
        let state = folder.path().join("state").display().to_string();
        let topology = two_ends(&path, Some(fails), true, |_| {}).build().unwrap();
        let in_state_dir = topology.configure(|layers| {
            layers.set("test", "state_dir", &state);
        });
        in_state_dir.run()
    };
    let error = start(&fails).expect_err("told to fail for good");
    assert_eq!(error.state(), Some("failed"));
    assert!(!path.exists());
    start(&fails).expect("goes on");
    holds_all_totals(&path);
    start(&fails).expect("was at its end");
    holds_all_totals(&path);
}

/// What others see of a sink, and how many commits of its last transaction still fail.
#[derive(Default)]
struct Outside {
    visible: Mutex<Vec<Vec<u64>>>,
    failing: AtomicU64,
    is_fatal: bool,
}

struct FailsAtTheEnd(Arc<Outside>);

impl TransactionalSink for FailsAtTheEnd {
    type In = u64;
    /// The values, and whether it is the last.
    type Transaction = (Vec<u64>, bool);

    fn begin(&mut self, _: Option<CheckpointId>) -> Result<Self::Transaction, Failure> {
        Ok((Vec::new(), false))
    }

    fn write(&mut self, transaction: &mut Self::Transaction, value: u64) -> Outcome {
        transaction.0.push(value);
        Ok(())
    }

    fn finish(&mut self, transaction: &mut Self::Transaction) -> Outcome {
        transaction.1 = true;
        Ok(())
    }

    fn pre_commit(&mut self, _: &mut Self::Transaction) -> Result<Option<DurableJob>, Failure> {
        Ok(None)
    }

    fn commit(&mut self, (values, is_last): &Self::Transaction) -> Outcome {
        let takes_one = |left: u64| left.checked_sub(1);
        if *is_last && self.0.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes_one).is_ok() {
            let told = "the outside is away";
            return Err(if self.0.is_fatal { Failure::fatal(told) } else { Failure::retry(told) });
        }
        let mut visible = self.0.visible.lock().unwrap();
        if !values.is_empty() && !visible.contains(values) {
            visible.push(values.clone());
        }
        Ok(())
    }

    fn abort(&mut self, _: &Self::Transaction) -> Outcome {
        Ok(())
    }

    fn abort_unknown(&mut self, _: Option<CheckpointId>) -> Outcome {
        Ok(())
    }
}

fn into_outside(outside: &Arc<Outside>) -> Topology {
    let mut t = TopologyBuilder::new("end");
    let numbers = t.source("numbers", || Generator::new(100, |n| n).rate(500));
    let outside = outside.clone();
    t.bolt("sink", move || Transactional::new(FailsAtTheEnd(outside.clone()))).global(&numbers);
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
    t.build().unwrap()
}

#[test]
fn a_last_commit_that_fails_is_tried_again_before_the_end() {
    let outside = Arc::new(Outside { failing: AtomicU64::new(3), ..Outside::default() });
    let mut driver = TestDriver::start(into_outside(&outside)).unwrap();
    driver.run_to_end().unwrap();
    assert_eq!(outside.failing.load(Ordering::Relaxed), 0);
    assert_eq!(driver.report().checkpoints.unwrap().step_backs, 1);
    assert_eq!(outside.visible.lock().unwrap().concat(), (0..100).collect::<Vec<u64>>());
}

#[test]
fn a_last_commit_that_fails_for_good_is_an_error() {
    let outside = Arc::new(Outside { failing: AtomicU64::new(1), is_fatal: true, ..Outside::default() });
    let error = into_outside(&outside).run().expect_err("what was prepared is not visible");
    assert!(error.to_string().contains("the outside is away"), "{error}");
}

/// A topology with two sinks.
fn two_sinks<A, B>(first: A, second: B) -> squall::Result<()>
where
    A: Fn(&mut TopologyBuilder, &squall::Stream<String>),
    B: Fn(&mut TopologyBuilder, &squall::Stream<String>),
{
    let mut t = TopologyBuilder::new("two");
    let lines = t.source("lines", || Generator::new(10, |n| n.to_string()));
    first(&mut t, &lines);
    second(&mut t, &lines);
    t.build()?.run().map(|_| ())
}

fn sink<F, S>(name: &'static str, sink: F) -> impl Fn(&mut TopologyBuilder, &squall::Stream<String>)
where
    F: Fn() -> S + Clone + Send + Sync + 'static,
    S: Bolt<In = String, Out = Nothing>,
{
    move |t, lines| {
        t.bolt(name, sink.clone()).global(lines);
    }
}

#[test]
fn two_sinks_in_one_place_are_refused_before_the_start_and_both_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (file, parts, table) = (folder.path().join("file"), folder.path().join("parts"), folder.path().join("table"));
    fs::create_dir(&parts).unwrap();
    // Another way to the same place.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&parts, &link).unwrap();
    let refused = |result: squall::Result<()>, place: &str| {
        let error = result.expect_err("refused");
        assert!(error.is_usage(), "{error}");
        for part in ["first", "second", place, "tests/sinks.rs"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    };
    let whole = || FileSink::<String>::whole(&file);
    let in_transactions = |sink: FileSink<String>| move || Transactional::new(sink.clone());
    let (of_parts, of_link) = (FileSink::<String>::parts(&parts), FileSink::<String>::parts(&link));
    let same = of_parts.clone();
    refused(
        two_sinks(sink("first", in_transactions(of_parts.clone())), sink("second", in_transactions(of_link))),
        "/parts",
    );
    refused(two_sinks(sink("first", in_transactions(same.clone())), sink("second", in_transactions(same))), "/parts");
    let append = AppendFile::<String>::new(&file);
    let lines = AppendLines::<String>::new(&file);
    let (a, l) = (append.clone(), lines.clone());
    refused(two_sinks(sink("first", in_transactions(whole())), sink("second", move || a.clone())), "/file");
    refused(two_sinks(sink("first", move || append.clone()), sink("second", move || l.clone())), "/file");
    refused(two_sinks(sink("first", move || lines.clone()), sink("second", in_transactions(whole()))), "/file");
    #[cfg(feature = "fjall")]
    {
        let tables = [0, 1].map(|_| UpsertTable::<String>::new(&table).at_least_once());
        let [one, other] = tables.map(|table| move || table.clone());
        refused(two_sinks(sink("first", one), sink("second", other)), "/table");
    }
    assert_eq!(fs::read_dir(&parts).unwrap().count() + usize::from(file.exists() || table.exists()), 0);
    // In places of their own all of them go well together.
    let lines = AppendLines::<String>::new(folder.path().join("lines"));
    two_sinks(sink("first", in_transactions(of_parts)), sink("second", move || lines.clone())).unwrap();
}

#[test]
fn several_components_may_write_to_a_device() {
    let null = || AppendFile::<String>::new("/dev/null");
    two_sinks(sink("first", null), sink("second", null)).unwrap();
}

#[test]
fn lines_are_appended_once_each_through_a_step_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    fs::write(&path, "before\n").unwrap();
    let mut t = TopologyBuilder::new("lines");
    let numbers = t.source("numbers", || Generator::new(200, |n| n).rate(1_000));
    let done = Arc::new(AtomicBool::new(false));
    let lines = t
        .bolt("text", move |n: u64, out: &mut Outlet<String>| -> Outcome {
            if n == 100 && !done.swap(true, Ordering::Relaxed) {
                return Err(Failure::retry("told to fail"));
            }
            out.emit(n.to_string());
            Ok(())
        })
        .global(&numbers)
        .clone();
    let sink = AppendLines::new(&path);
    t.bolt("file", move || sink.clone()).global(&lines);
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    driver.run_to_end().unwrap();
    assert_eq!(driver.report().checkpoints.unwrap().step_backs, 1);
    let expected: String = (0..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("before\n{expected}"));
}

/// More than one task of what takes one, a file where a folder is asked for, and the like.
#[test]
fn sinks_that_cannot_work_stop_the_start_with_the_place_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let start = |tasks: usize, build: &dyn Fn(&mut TopologyBuilder, &squall::Stream<String>, usize)| {
        let mut t = TopologyBuilder::new("wrong");
        let lines = t.source("lines", || Generator::new(10, |n| n.to_string()));
        build(&mut t, &lines, tasks);
        let topology: Topology = t.build().unwrap();
        topology.run().expect_err("refused").to_string()
    };
    let transactional = |sink: FileSink<String>| {
        move |t: &mut TopologyBuilder, lines: &squall::Stream<String>, tasks: usize| {
            let sink = sink.clone();
            t.bolt("sink", move || Transactional::new(sink.clone())).parallelism(tasks).shuffle(lines);
        }
    };
    let lines = AppendLines::<String>::new(&file);
    let append = move |t: &mut TopologyBuilder, of: &squall::Stream<String>, tasks: usize| {
        let lines = lines.clone();
        t.bolt("sink", move || lines.clone()).parallelism(tasks).shuffle(of);
    };
    let cases = [
        (start(2, &transactional(FileSink::whole(&file))), "parallelism"),
        (start(2, &append), "parallelism"),
        (start(1, &transactional(FileSink::parts(&file))), "give a directory"),
        (start(1, &transactional(FileSink::whole(folder.path()))), "give a file"),
        (start(1, &transactional(FileSink::whole(folder.path().join("none/file")))), "cannot be written"),
    ];
    for (error, what) in cases {
        assert!(error.contains(what) && error.contains("sink"), "{what}: {error}");
    }
}

/// Passes on; its snapshots fail the first so many times.
struct FailsFirst {
    left: Arc<AtomicU64>,
}

impl Bolt for FailsFirst {
    type In = String;
    type Out = String;

    fn execute(&mut self, value: String, out: &mut Outlet<String>) -> Outcome {
        out.emit(value);
        Ok(())
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        Some(self)
    }
}

impl Checkpointed for FailsFirst {
    fn snapshot(&mut self, _: CheckpointId) -> Result<OwnSnapshot, Failure> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => panic!("told to panic before anything is durable"),
            Err(_) => Ok(OwnSnapshot::default()),
        }
    }
}

#[test]
fn a_panic_before_the_first_checkpoint_is_durable_goes_back_to_the_beginning() {
    for store in ["memory", "log", "fjall"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut t = TopologyBuilder::new("early");
        let lines = t.source("lines", || Generator::new(100, |n| n.to_string()));
        let left = Arc::new(AtomicU64::new(2));
        let fails = t.bolt("fails", move || FailsFirst { left: left.clone() }).global(&lines).clone();
        let sink = FileSink::whole(&path);
        t.bolt("file", move || Transactional::new(sink.clone())).global(&fails);
        let state = folder.path().join("state").display().to_string();
        t.guarantee(Guarantee::ExactlyOnce).settings(|s| {
            s.executors = Some(1);
            if store != "memory" {
                (s.state_dir, s.store) = (Some(state), store.parse().unwrap());
            }
        });
        let report = t.build().unwrap().run().unwrap_or_else(|error| panic!("{store}: {error}"));
        assert_eq!(report.checkpoints.unwrap().step_backs, 2, "{store}");
        let expected: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{store}");
    }
}

#[test]
fn a_state_folder_that_is_a_file_is_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for state in [file.clone(), file.join("state")] {
        let mut t = TopologyBuilder::new("wrong");
        let lines = t.source("lines", || Generator::new(10, |n| n.to_string()));
        t.bolt("sink", |_: String, _: &mut Outlet<Nothing>| {}).global(&lines);
        let state = state.display().to_string();
        t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.state_dir = Some(state));
        let error = t.build().unwrap().run().expect_err("refused");
        assert!(error.is_usage() && error.to_string().contains("is a file"), "{error}");
    }
}
