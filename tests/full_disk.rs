//! Sinks on a disk that is full for a while. In a process of its own: the limit on the size of files, which stands in for
//! the disk's, is the process's.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use squall::connect::{AppendLines, FileSink, Generator, Transactional};
use squall::testing::TestDriver;
use squall::{Bolt, Guarantee, Nothing, TopologyBuilder};

/// From here on no file of this process grows beyond so much; none: as far as it likes.
fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).expect("a lower one is always allowed");
}

/// Of each line, its end included.
const LINE_BYTES: u64 = 1_000;
const LINES: u64 = 200;

fn line(number: u64) -> String {
    format!("{number:0width$}", width = LINE_BYTES as usize - 1)
}

/// Runs until the sink has failed several times, gives it room, and runs to the end.
fn outlasts<S: Bolt<In = String, Out = Nothing>>(sink: impl Fn() -> S + Send + Sync + 'static) {
    let mut t = TopologyBuilder::new("full");
    let lines = t.source("lines", || Generator::new(LINES, line).rate(1_000));
    t.bolt("file", sink).global(&lines);
    // Twenty lines from one checkpoint to the next: they do not fill a buffer, and fail when they are made durable.
    t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(20)));
    limit(Some(10 * LINE_BYTES + 1));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    let failures = |driver: &TestDriver| {
        let checkpoints = driver.report().checkpoints.unwrap();
        (checkpoints.failed, checkpoints.step_backs)
    };
    while failures(&driver).1 < 3 {
        driver.advance(Duration::from_millis(20)).expect("the disk is full for a while only");
    }
    assert!(failures(&driver).0 > 0);
    limit(None);
    driver.run_to_end().expect("ends well");
    assert_eq!((driver.counts("lines").dead_lettered, driver.counts("file").executed >= LINES), (0, true));
}

fn all_lines() -> String {
    (0..LINES).map(|number| line(number) + "\n").collect()
}

/// What the files of the folder hold, in the order of their names; nothing but output is there.
fn content(folder: &Path) -> String {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn nothing_is_lost_twice_there_or_half_there_and_no_input_is_blamed() {
    // Without a handler the signal would end the process; with one the write fails.
    let hit = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), hit).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let parts = in_folder("parts");
    let sink = FileSink::parts(&parts);
    outlasts(move || Transactional::new(sink.clone()));
    assert_eq!(content(&parts), all_lines());

    let whole = in_folder("whole");
    let sink = FileSink::whole(whole.join("file"));
    outlasts(move || Transactional::new(sink.clone()));
    assert_eq!(content(&whole), all_lines());

    let lines = in_folder("lines");
    let sink = AppendLines::new(lines.join("file"));
    outlasts(move || sink.clone());
    assert_eq!(content(&lines), all_lines());
    limit(None);
}
