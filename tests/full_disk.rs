//! Sinks on a disk that is full for a while. In a process of its own: the limit on the size of files, which stands in
//! for the disk's, is the process's.

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

/// How much comes, and in what portions. What fills a buffer fails in the call that takes a line, all else when it is
/// made durable.
#[derive(Clone, Copy)]
struct Load {
    /// Of each line, its end included.
    line_bytes: usize,
    lines: u64,
    limit: u64,
}

const BUFFERED: Load = Load { line_bytes: 1_000, lines: 200, limit: 10_001 };
const LARGE: Load = Load { line_bytes: 40_000, lines: 60, limit: 100_001 };

impl Load {
    fn line(self, number: u64) -> String {
        format!("{number:0width$}", width = self.line_bytes - 1)
    }

    fn all_lines(self) -> String {
        (0..self.lines).map(|number| self.line(number) + "\n").collect()
    }

    /// Runs until the sink has failed several times, gives it room, and runs to the end.
    fn outlasts<S: Bolt<In = String, Out = Nothing>>(self, sink: impl Fn() -> S + Send + Sync + 'static) {
        let mut t = TopologyBuilder::new("full");
        let lines = t.source("lines", move || Generator::new(self.lines, move |n| self.line(n)).rate(1_000));
        t.bolt("file", sink).global(&lines);
        t.guarantee(Guarantee::ExactlyOnce).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(20)));
        limit(Some(self.limit));
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        while driver.report().checkpoints.unwrap().step_backs < 3 {
            driver.advance(Duration::from_millis(20)).expect("the disk is full for a while only");
        }
        limit(None);
        driver.run_to_end().expect("ends well");
        let counts = (driver.counts("lines").dead_lettered, driver.counts("file").executed >= self.lines);
        assert_eq!(counts, (0, true));
    }
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

    for load in [BUFFERED, LARGE] {
        let folder = tempfile::tempdir().unwrap();
        let in_folder = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let parts = in_folder("parts");
        let sink = FileSink::parts(&parts);
        load.outlasts(move || Transactional::new(sink.clone()));
        assert_eq!(content(&parts), load.all_lines());

        let whole = in_folder("whole");
        let sink = FileSink::whole(whole.join("file"));
        load.outlasts(move || Transactional::new(sink.clone()));
        assert_eq!(content(&whole), load.all_lines());

        let lines = in_folder("lines");
        let sink = AppendLines::new(lines.join("file"));
        load.outlasts(move || sink.clone());
        assert_eq!(content(&lines), load.all_lines());
    }
}
