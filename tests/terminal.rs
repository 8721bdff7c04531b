//! A run outlives its terminal: whatever becomes of standard error, standard output and the report's file, the run goes
//! on, ends as it should, and obeys signals. And what went wrong in it is said with its reasons.
//!
//! Pipes are filled before a run begins, so that the first thing it says finds no room. Waiting for an end has a
//! generous bound that only a bug reaches.
#![cfg(target_os = "linux")]

mod needs;
#[path = "needs/program.rs"]
mod program;

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use program::be_program;
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use squall::connect::Generator;
use squall::{ManualBolt, Nothing, Outcome, Outlet, Topology, TopologyBuilder, Tuple};

const FAR_TOO_LONG: Duration = Duration::from_secs(120);

fn squall(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(args).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The program of `child_program` with these arguments.
fn program(args: &[&str]) -> Command {
    let mut command = program::program(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// No test, but the program that tests start.
#[test]
fn child_program() {
    be_program("numbers", build);
}

/// Counts numbers
#[derive(clap::Args)]
struct Numbers {
    /// How many
    #[arg(long, default_value_t = 3)]
    count: u64,
    /// What becomes of them
    #[arg(long)]
    mode: String,
}

fn build(args: &Numbers) -> squall::Result<Topology> {
    let mut t = TopologyBuilder::new("numbers");
    let count = args.count;
    let numbers = t.source("numbers", move || Generator::new(count, |number| number));
    match &*args.mode {
        "stuck" => drop(t.bolt("sink", stuck).shuffle(&numbers)),
        "panicking" => drop(t.bolt("sink", panicking).shuffle(&numbers)),
        "forgetting" => drop(t.bolt("forgets", Forgetting::default).shuffle(&numbers)),
        other => return Err(squall::Error::usage("--mode", format!("there is no mode {other}"))),
    }
    t.build()
}

/// Never returns.
fn stuck(_: u64, _: &mut Outlet<Nothing>) {
    println!("stuck");
    loop {
        std::thread::park();
    }
}

fn panicking(number: u64, _: &mut Outlet<Nothing>) -> Outcome {
    panic!("{number} is too much")
}

/// Keeps every tuple.
#[derive(Default)]
struct Forgetting(Vec<Tuple<u64>>);

impl ManualBolt for Forgetting {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, input: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.push(input);
        Ok(())
    }
}

/// A folder with a Flux file in it, of numbers that go into a bolt, and into a file.
struct Flux {
    folder: tempfile::TempDir,
}

impl Flux {
    /// `rate` numbers a second, 0 for as fast as may be, of which `bolt` says what becomes.
    fn new(count: u64, rate: u64, bolt: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.txt");
        let text = format!(
            "name: terminal\nconfig: {{topology.max.spout.pending: 100}}\n\
             spouts:\n  - {{id: n, className: squall.Numbers, constructorArgs: [{count}, {rate}]}}\n\
             bolts:\n  - {{id: b, className: {bolt}}}\n  \
             - {{id: w, className: squall.WriteLines, constructorArgs: [{:?}]}}\n\
             streams:\n  - {{from: n, to: b, grouping: {{type: SHUFFLE}}}}\n  \
             - {{from: n, to: w, grouping: {{type: SHUFFLE}}}}\n",
            out.display().to_string()
        );
        std::fs::write(folder.path().join("topology.yaml"), text).unwrap();
        Flux { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `squall run` with its report in `report.json`.
    fn run(&self, more: &[&str]) -> Command {
        let (file, report) = (self.path("topology.yaml"), self.path("report.json"));
        squall(&[&["run", &file, "--report", &report, "--log", "info"], more].concat())
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("report.json")).unwrap()).unwrap()
    }

    fn lines_out(&self) -> usize {
        std::fs::read_to_string(self.path("out.txt")).unwrap().lines().count()
    }
}

/// The exit code, in time.
fn code_of(mut child: Child) -> Option<i32> {
    let pid = Pid::from_child(&child);
    let (ended_in, ended) = mpsc::channel();
    std::thread::spawn(move || ended_in.send(child.wait().unwrap().code()));
    ended.recv_timeout(FAR_TOO_LONG).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("it does not end")
    })
}

fn run(mut command: Command) -> Option<i32> {
    code_of(command.spawn().unwrap())
}

/// The writing end of a pipe that has no room left, and the end that nobody reads.
fn full_pipe() -> (std::io::PipeWriter, PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fill(&mut writer);
    (writer, reader)
}

fn fill(stream: &mut (impl Write + AsFd)) {
    fcntl_setfl(stream.as_fd(), OFlags::NONBLOCK).unwrap();
    for chunk in [&[b'.'; 4096][..], b"."] {
        while stream.write(chunk).is_ok() {}
    }
    fcntl_setfl(stream.as_fd(), OFlags::empty()).unwrap();
}

/// Sends a signal again and again until the process has ended.
fn signal_until_it_ends(mut child: Child, signal: Signal) -> Option<i32> {
    let until = std::time::Instant::now() + FAR_TOO_LONG;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(std::time::Instant::now() < until, "no signal ends it: {:?}", child.kill());
        kill_process(Pid::from_child(&child), signal).unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn a_closed_standard_error_ends_nothing_and_is_no_error() {
    let flux = Flux::new(2_000, 0, "squall.Log");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = flux.run(&["--progress", "always"]);
    command.stderr(writer);
    assert_eq!(run(command), Some(0));
    assert_eq!(flux.lines_out(), 2_000);
    assert!(flux.report()["messages_lost"].as_u64().unwrap() >= 2_000, "{}", flux.report()["messages_lost"]);
}

#[test]
fn a_standard_error_that_nobody_reads_costs_log_lines_and_nothing_else() {
    let flux = Flux::new(20_000, 0, "squall.Log");
    let (writer, _reader) = full_pipe();
    let mut command = flux.run(&["--progress", "always"]);
    command.stderr(writer);
    assert_eq!(run(command), Some(0));
    assert_eq!(flux.lines_out(), 20_000);
    // All but what the queue holds.
    assert!(flux.report()["messages_lost"].as_u64().unwrap() > 10_000, "{}", flux.report()["messages_lost"]);
}

#[test]
fn what_was_left_out_is_said_when_somebody_reads_again() {
    let flux = Flux::new(u64::from(u32::MAX), 0, "squall.Log");
    let (writer, mut reader) = full_pipe();
    let mut command = flux.run(&[]);
    command.stderr(writer);
    let child = command.spawn().unwrap();
    drop(command);
    // So many lines are written only if the log, which nobody reads, holds up none of them.
    let out = PathBuf::from(flux.path("out.txt"));
    wait_for(|| std::fs::metadata(&out).is_ok_and(|found| found.len() > 100_000));
    let (seen_in, seen) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(&mut reader).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("messages were left out")));
        seen_in.send(line.map(Result::unwrap)).unwrap();
        lines.for_each(drop);
    });
    let line = seen.recv_timeout(FAR_TOO_LONG).expect("it is said").expect("before the end");
    assert!(line.contains("warning: standard error: "), "{line}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(code_of(child), Some(0));
}

/// Looks until it is so; the time between two looks is nothing that a result depends on.
fn wait_for(mut is_so: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + FAR_TOO_LONG;
    while !is_so() {
        assert!(std::time::Instant::now() < until, "it does not come to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn full_devices_are_said_where_it_is_possible_and_only_a_report_or_listing_asked_for_is_an_error() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let flux = Flux::new(500, 0, "squall.Log");
    let mut errors = flux.run(&["--progress", "always"]);
    errors.stderr(full());
    assert_eq!(run(errors), Some(0), "the log is not the result");

    let mut output = flux.run(&[]);
    output.stdout(full()).stderr(Stdio::piped());
    let output = output.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "nor is the table, all was handled: {said}");
    assert!(said.contains("warning: terminal: the table") && said.contains("No space left"), "{said}");
    assert_eq!(flux.lines_out(), 500);

    // What a command prints that does nothing else is its result.
    let mut listing = squall(&["topologies"]);
    listing.stdout(full()).stderr(Stdio::piped());
    let output = listing.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output") && said.contains("No space left"), "{said}");

    let (file, report) = (flux.path("topology.yaml"), "/dev/full");
    let output = squall(&["run", &file, "--quiet", "--report", report]).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the report could not be written to /dev/full"), "{said}");
}

#[test]
fn a_report_pipe_that_nobody_opens_is_not_waited_for() {
    let flux = Flux::new(10, 0, "squall.Log");
    let (file, pipe) = (flux.path("topology.yaml"), flux.path("pipe"));
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut child = squall(&["run", &file, "--quiet", "--report", &pipe]).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    assert_eq!(code_of(child), Some(1));
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert!(said.contains("takes nothing"), "{said}");
}

#[test]
fn a_standard_output_that_is_closed_or_that_nobody_reads_holds_up_no_end() {
    let flux = Flux::new(10, 0, "squall.Log");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut closed = flux.run(&[]);
    closed.stdout(writer);
    assert_eq!(run(closed), Some(0), "who has gone wanted no more");

    let (writer, _reader) = full_pipe();
    let mut unread = flux.run(&[]);
    unread.stdout(writer).stderr(Stdio::piped());
    let mut unread = unread.spawn().unwrap();
    let mut errors = unread.stderr.take().unwrap();
    assert_eq!(code_of(unread), Some(0));
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert!(said.contains("nobody reads standard output"), "{said}");
}

#[test]
fn the_first_signal_drains_while_nothing_can_be_said() {
    for signal in [Signal::TERM, Signal::INT] {
        let flux = Flux::new(u64::from(u32::MAX), 0, "squall.Log");
        let (writer, _reader) = full_pipe();
        let mut command = flux.run(&["--progress", "always"]);
        command.stderr(writer);
        let child = command.spawn().unwrap();
        let out = PathBuf::from(flux.path("out.txt"));
        wait_for(|| std::fs::metadata(&out).is_ok_and(|found| found.len() > 0));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(code_of(child), Some(0));
        assert_eq!(flux.report()["components"][0]["pending"], 0, "it is drained");
    }
}

#[test]
fn the_second_signal_ends_at_once_while_nothing_can_be_said() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (writer, _reader) = full_pipe();
        let mut command = program(&["--mode", "stuck", "--drain-timeout", "1h", "--progress", "always"]);
        command.stdout(Stdio::piped()).stderr(writer);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "stuck")));
        assert_eq!(signal_until_it_ends(child, signal), Some(code));
    }
}

#[test]
fn panics_are_said_the_same_way_and_hold_nobody_up() {
    for backtrace in ["0", "1"] {
        let (writer, _reader) = full_pipe();
        let settings = ["--set", "rebuild_backoff=1ms", "--set", "rebuilds_max=2"];
        let mut command = program(&[&["--mode", "panicking"], &settings[..]].concat());
        command.stderr(writer).env("RUST_BACKTRACE", backtrace);
        assert_eq!(run(command), Some(1), "it stops by name");

        let mut command = program(&[&["--mode", "panicking"], &settings[..]].concat());
        let output = command.stderr(Stdio::piped()).env("RUST_BACKTRACE", backtrace).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("panicked at ") && said.contains("0 is too much"), "{said}");
        assert_eq!(said.contains("stack backtrace"), backtrace == "1", "{said}");
    }
}

#[test]
fn a_terminal_that_takes_nothing_holds_up_neither_the_run_nor_its_end() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let open = || rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    fill(&mut File::from(open()));
    let flux = Flux::new(u64::from(u32::MAX), 0, "squall.Log");
    let mut command = flux.run(&[]);
    // The live line, the log and the table all go there.
    command.stdout(open()).stderr(open());
    let child = command.spawn().unwrap();
    let out = PathBuf::from(flux.path("out.txt"));
    wait_for(|| std::fs::metadata(&out).is_ok_and(|found| found.len() > 1_000_000));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(code_of(child), Some(0));
    drop(master);
}

/// Runs the command in the background of a terminal that stops whoever writes from there, and prints what the terminal
/// got.
const BACKGROUND: &str = "
import os, pty, subprocess, sys, termios
pid, master = pty.fork()
if pid == 0:
    attributes = termios.tcgetattr(2)
    attributes[3] |= termios.TOSTOP
    termios.tcsetattr(2, termios.TCSANOW, attributes)
    command = subprocess.Popen(sys.argv[1:], preexec_fn=os.setpgrp)
    _, status = os.waitpid(command.pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        command.kill()
        os._exit(99)
    os._exit(os.WEXITSTATUS(status))
try:
    while data := os.read(master, 65536):
        os.write(1, data)
except OSError:
    pass
sys.exit(os.WEXITSTATUS(os.waitpid(pid, 0)[1]))
";

#[test]
fn a_terminal_does_not_stop_a_run_in_its_background() {
    if !needs::has(&["python3"]) {
        return;
    }
    let flux = Flux::new(500, 0, "squall.Log");
    let mut command = Command::new("python3");
    let squall = env!("CARGO_BIN_EXE_squall");
    command.args(["-c", BACKGROUND, squall, "run", &flux.path("topology.yaml"), "--log", "info"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("squall::storm::log") && said.contains("complete latency"), "{said}");
}

#[test]
fn why_a_bolt_fails_everything_is_in_log_table_and_report_and_the_last_line_says_that_nothing_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    let (file, report) = (folder.path().join("topology.yaml"), folder.path().join("report.json"));
    let text = "name: no-reason\nconfig: {topology.max.spout.pending: 1000}\n\
                spouts:\n  - {id: n, className: squall.Words, constructorArgs: [[a, b], 2000]}\n\
                bolts:\n  - {id: s, className: squall.Sum}\n\
                streams:\n  - {from: n, to: s, grouping: {type: SHUFFLE}}\n";
    std::fs::write(&file, text).unwrap();
    let path = |path: &Path| path.display().to_string();
    let mut command = squall(&["run", &path(&file), "--report", &path(&report)]);
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let errors = report["components"][1]["errors"].as_array().unwrap();
    let failed = report["components"][1]["failed"].as_u64().unwrap();
    assert!(failed >= 2_000, "{failed}");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["count"], failed);
    assert_eq!(errors[0]["input"], "n.default");
    let (kind, last) = (errors[0]["kind"].as_str().unwrap(), errors[0]["last"].as_str().unwrap());
    assert!(last.starts_with("s[0]: "), "{last}");
    assert!(errors[0]["first_at"].as_str().unwrap() <= errors[0]["last_at"].as_str().unwrap());

    let row = out.lines().find(|line| line.contains("n.default")).unwrap_or_else(|| panic!("no row in {out}"));
    assert!(row.contains(kind) && row.contains(last), "{row}");
    // The first at once with its reason, then how many more.
    let lines: Vec<&str> = err.lines().filter(|line| line.contains("failed") && line.contains("s[0]: ")).collect();
    assert!(lines[0].contains("failed: s[0]: ") && lines[1].contains("more failed, the last: "), "{err}");
    assert!(lines.len() < 100, "{err}");
    let said = err.lines().last().unwrap();
    assert!(said.contains("no tuple succeeded") && said.contains(last), "{said}");
}

#[test]
fn a_bolt_that_forgot_to_ack_is_named_while_the_run_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json").display().to_string();
    let args = ["--mode", "forgetting", "--count", "100", "--set", "max_spout_pending=10"];
    let more = [
        "--set",
        "message_timeouts_enabled=false",
        "--progress",
        "always",
        "--report",
        &report,
        "--drain-timeout",
        "1ms",
    ];
    let mut child = program(&[&args[..], &more].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let held = "numbers is held back by max_spout_pending (10 trees open); forgets holds 10 tuples";
    let mut next = |what: &str| lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(what))).is_some();
    assert!(next(held), "the log names it");
    assert!(next(held), "the live line too");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    lines.for_each(drop);
    assert_eq!(code_of(child), Some(1), "what was forgotten is still open at the end of the drain");
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert!(report["standstills"].as_u64().unwrap() >= 1);
    assert!(report["held_up"].as_str().unwrap().contains("forgets holds"), "{}", report["held_up"]);
}
