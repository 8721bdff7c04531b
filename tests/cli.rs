//! The command, from outside: as the `squall` binary, and as a program with one topology of its own, for which this
//! test binary starts itself again (see `child_program`).
//!
//! Nothing here sleeps: a child says by its output when it is ready, and waiting for its end has a generous bound that
//! is only reached by a bug.

#[path = "needs/program.rs"]
mod program;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use program::{be_program, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use squall::connect::Generator;
use squall::{
    Failure, ManualBolt, Next, Nothing, Outcome, Outlet, Spout, SpoutOutlet, Topology, TopologyBuilder, Tuple,
};

const FAR_TOO_LONG: Duration = Duration::from_secs(120);

fn squall(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(args).env_remove("RUST_LOG");
    command
}

/// No test, but the program that tests start.
#[test]
fn child_program() {
    be_program("numbers", build);
}

/// Counts numbers
#[derive(clap::Args)]
#[command(after_help = "The numbers are natural.")]
struct Numbers {
    /// How many
    #[arg(long)]
    count: u64,
    /// What becomes of them
    #[arg(long, default_value = "count")]
    mode: String,
}

fn build(args: &Numbers) -> squall::Result<Topology> {
    let mut t = TopologyBuilder::new("numbers");
    let end = args.count;
    if args.mode == "rejecting" {
        let numbers = t.source("numbers", move || Generator::new(end, |number| number));
        t.bolt("sink", reject_two).shuffle(&numbers);
        return t.build();
    }
    let numbers = t.spout("numbers", move || Counting { next: 0, end });
    match &*args.mode {
        "count" => drop(t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers)),
        "stuck" => drop(t.bolt("sink", stuck).shuffle(&numbers)),
        "fatal" => drop(t.bolt("sink", fatal).shuffle(&numbers)),
        "dropping" => drop(t.bolt("sink", || Dropping).shuffle(&numbers)),
        "unreachable" => drop(t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {})),
        other => return Err(squall::Error::usage("--mode", format!("there is no mode {other}"))),
    }
    t.build()
}

struct Counting {
    next: u64,
    end: u64,
}

impl Spout for Counting {
    type Out = u64;
    type Id = u64;
    fn next(&mut self, out: &mut SpoutOutlet<u64, u64>) -> Result<Next, Failure> {
        if self.next == self.end {
            return Ok(Next::Finished);
        }
        out.emit_tracked(self.next, self.next);
        self.next += 1;
        Ok(Next::Emitted)
    }
}

/// Never returns.
fn stuck(_: u64, _: &mut Outlet<Nothing>) {
    println!("stuck");
    loop {
        std::thread::park();
    }
}

fn fatal(number: u64, _: &mut Outlet<Nothing>) -> Outcome {
    Err(Failure::fatal(format!("{number} is too much")))
}

fn reject_two(number: u64, _: &mut Outlet<Nothing>) -> Outcome {
    if number == 2 { Err(Failure::reject("not two")) } else { Ok(()) }
}

struct Dropping;

impl ManualBolt for Dropping {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, input: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        drop(input);
        Ok(())
    }
}

/// What a command left behind.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs a command to its end.
fn done(mut command: Command) -> Done {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Running::watch(child).end()
}

/// A child whose output is read as it comes.
struct Running {
    child: Child,
    out: Reading,
    err: Reading,
}

/// The lines of one stream, as they come.
struct Reading {
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Reading {
    fn start(stream: impl Read + Send + 'static) -> Self {
        let (line_in, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                if line_in.send(line.expect("output is text")).is_err() {
                    return;
                }
            }
        });
        Reading { lines, seen: String::new() }
    }

    /// Waits for a line with this in it.
    fn wait_for(&mut self, part: &str) {
        loop {
            let line = self.lines.recv_timeout(FAR_TOO_LONG).unwrap_or_else(|_| panic!("no {part:?} in {}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(part) {
                return;
            }
        }
    }

    /// The whole stream, once it is closed.
    fn rest(mut self) -> String {
        loop {
            match self.lines.recv_timeout(FAR_TOO_LONG) {
                Ok(line) => self.seen.push_str(&(line + "\n")),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.seen,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the output does not end: {}", self.seen),
            }
        }
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        Self::watch(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn watch(mut child: Child) -> Self {
        let (out, err): (ChildStdout, ChildStderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Running { child, out: Reading::start(out), err: Reading::start(err) }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end. The streams close when the child ends, so waiting for them bounds waiting for it.
    fn end(mut self) -> Done {
        let (out, err) = (self.out.rest(), self.err.rest());
        Done { code: self.child.wait().unwrap().code(), out, err }
    }
}

fn lines_with<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(part)).collect()
}

#[test]
fn help_teaches_by_examples_with_the_program_s_own_name() {
    for (help, expected) in [
        (done(squall(&["--help"])), ["squall run word_count", "squall explain word_count --format dot", "Signals: "]),
        (done(program(&["--help"])), ["numbers config --keys", "The numbers are natural.", "Counts numbers"]),
    ] {
        assert_eq!(help.code, Some(0));
        for part in expected {
            assert!(help.out.contains(part), "{part}\nis not in\n{}", help.out);
        }
        assert!(help.out.contains("Examples:"));
        let codes = help.out.split_once("Exit codes: ").expect("they are listed").1;
        for code in ["0 done", "1 failed", "2 bad usage", "3 done, with", "4 inputs", "130 and 143"] {
            assert!(codes.contains(code), "{code}\nis not in\n{codes}");
        }
    }
    let help = done(squall(&["run", "exclamation", "--help"])).out;
    for part in ["--count", "--executors", "--report", "Storm's first example"] {
        assert!(help.contains(part), "{part}\nis not in\n{help}");
    }
}

#[test]
fn without_a_command_it_runs_with_the_same_options() {
    for args in [&["--count", "300"][..], &["run", "--count", "300"]] {
        let run = done(program(args));
        assert_eq!(run.code, Some(0), "{}", run.err);
        let spout: Vec<&str> = lines_with(&run.out, "numbers ")[0].split_whitespace().collect();
        assert_eq!(spout[..3], ["numbers", "1", "300"], "{}", run.out);
        assert!(run.out.contains("complete latency of 300 trees:  p50 "));
        assert_eq!(run.err, "");
    }
    let quiet = done(program(&["--count", "3", "--quiet"]));
    assert_eq!((quiet.code, lines_with(&quiet.out, "numbers").len()), (Some(0), 0), "{}", quiet.out);
}

#[test]
fn bad_usage_is_exit_code_2() {
    for args in
        [&["--bogus"][..], &[], &["--count", "x"], &["run"], &["jump", "--count", "1"], &["--count", "1", "explain"]]
    {
        let refused = done(program(args));
        assert_eq!(refused.code, Some(2), "{args:?}: {}", refused.out);
        assert!(refused.err.starts_with("error: "), "{}", refused.err);
    }
    for args in [&["run", "no-such-topology"][..], &["run", "exclamation", "--bogus"], &[]] {
        assert_eq!(done(squall(args)).code, Some(2), "{args:?}");
    }
}

#[test]
fn every_problem_has_a_line_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.toml");
    std::fs::write(&file, "wait = \"park\"\nlane_capcity = 3\n[components.snk]\nparallelism = 2\n").unwrap();
    let (file, missing) = (file.to_str().unwrap(), folder.path().join("none").join("r.json"));
    let missing = missing.to_str().unwrap();
    let settings = ["--config", file, "--config", "nowhere.toml", "--set", "pin=maybe", "--executors", "0"];
    let report = ["--report", missing, "--log", "a=b=c"];

    let refused = done(program(&[&["--count", "3"][..], &settings, &report].concat()));
    let expected = [
        "error: nowhere.toml: the settings file cannot be read: ".to_owned(),
        "error: --log: \"a=b=c\" is no filter".to_owned(),
        format!("error: --report {missing}: cannot be written: "),
        format!("error: {file}:2: lane_capcity: unknown key; did you mean lane_capacity?"),
        format!("error: {file}:4: components.snk.parallelism: there is no component \"snk\"; did you mean \"sink\"?"),
        "error: --set pin=maybe: pin: expected true or false, got \"maybe\"".to_owned(),
        "error: --executors: executors: expected a whole number".to_owned(),
    ];
    assert_eq!(refused.code, Some(2));
    for start in &expected {
        assert!(refused.err.lines().any(|line| line.starts_with(start)), "{start}\nis not in\n{}", refused.err);
    }
    assert_eq!(refused.err.lines().count(), expected.len(), "{}", refused.err);
    assert!(!refused.out.contains("complete latency"));

    // A topology that cannot be built does not hide what is wrong with the settings.
    for (mode, problem) in [("unreachable", "sink"), ("none", "error: --mode: there is no mode none")] {
        let refused = done(program(&["--count", "3", "--mode", mode, "--executors", "0"]));
        assert_eq!(refused.code, Some(2));
        assert_eq!(refused.err.lines().count(), 2, "{}", refused.err);
        assert!(refused.err.contains(problem), "{}", refused.err);
        assert_eq!(lines_with(&refused.err, "error: --executors: ").len(), 1, "{}", refused.err);
    }
}

#[test]
fn explain_shows_the_plan_in_every_format() {
    let explain = |format: &str| {
        let done = done(squall(&["explain", "exclamation", "--executors", "2", "--format", format]));
        assert_eq!(done.code, Some(0), "{}", done.err);
        done.out
    };
    let text = explain("text");
    for part in
        ["spout words", "exclaim1.default (String) by shuffle, 6 lanes of 1024", "executor 1", "KiB", "usable CPUs"]
    {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }

    let dot = explain("dot");
    assert!(dot.starts_with("digraph \"exclamation\" {\n") && dot.ends_with("}\n"));
    assert_eq!((lines_with(&dot, " -> ").len(), lines_with(&dot, "[shape=").len()), (3, 4), "{dot}");

    let mermaid = explain("mermaid");
    assert!(mermaid.starts_with("flowchart LR\n"));
    assert_eq!((lines_with(&mermaid, "-->").len(), mermaid.lines().count()), (3, 8), "{mermaid}");

    let json: Value = serde_json::from_str(&explain("json")).unwrap();
    let ids: Vec<&str> =
        json["plan"]["components"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["words", "exclaim1", "exclaim2", "print"]);
    assert_eq!(json["placement"]["executors"].as_array().unwrap().len(), 2);
}

#[test]
fn config_tells_where_each_value_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.toml");
    std::fs::write(&file, "\nlane_capacity = 32\nwait = \"spin\"\n").unwrap();
    let file = file.to_str().unwrap();
    let options = ["--config", file, "--wait", "park", "--set", "seed=7", "--drain-timeout", "3s"];

    let config = done(squall(&[&["config", "exclamation"][..], &options].concat()));
    assert_eq!(config.code, Some(0), "{}", config.err);
    let row = |key: &str| {
        let line = config.out.lines().find(|line| line.split_whitespace().next() == Some(key));
        let cells: Vec<&str> = line.unwrap_or_else(|| panic!("no {key} in {}", config.out)).split("  ").collect();
        let cells: Vec<&str> = cells.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).collect();
        (cells[1].to_owned(), cells[2].to_owned())
    };
    let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(row("lane_capacity"), is("32", &format!("{file}:2")));
    assert_eq!(row("wait"), is("\"park\"", "--wait"));
    assert_eq!(row("seed"), is("7", "--set seed=7"));
    assert_eq!(row("drain_timeout"), is("\"3s\"", "--drain-timeout"));
    assert_eq!(row("pin"), is("true", "default"));
    let (tasks, place) = row("components.exclaim1.parallelism");
    assert!(tasks == "3" && place.starts_with("topologies/exclamation.rs:"), "{place}");
}

#[test]
fn the_effective_settings_as_a_file_are_the_same_settings_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.toml");
    let first = done(squall(&["config", "exclamation", "--toml", "--set", "lane_capacity=5", "--wait", "park"]));
    std::fs::write(&file, &first.out).unwrap();
    let again = done(squall(&["config", "exclamation", "--toml", "--config", file.to_str().unwrap()]));
    assert!(first.out.contains("lane_capacity = 5\n"));
    assert_eq!(first.out, again.out);
}

#[test]
fn every_key_is_listed_without_the_options_that_a_run_requires() {
    for listing in [done(squall(&["config", "--keys"])), done(program(&["config", "--keys"]))] {
        assert_eq!(listing.code, Some(0), "{}", listing.err);
        for key in squall::topology::settings::keys() {
            assert!(listing.out.contains(&format!("{} = {}\n", key.key, key.default)), "{}", key.key);
        }
    }
}

#[test]
fn the_topologies_are_listed_and_a_reader_may_leave_early() {
    let listing = done(squall(&["topologies"]));
    assert!(lines_with(&listing.out, "exclamation ")[0].contains("exclamation marks"));
    let mut child = squall(&["config", "--keys"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let left = Done::from(child.wait_with_output().unwrap());
    assert_eq!((left.code, &*left.err), (Some(0), ""));
}

#[test]
fn the_report_has_every_key_and_replaces_the_old_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    std::fs::write(&file, "old").unwrap();
    let run = done(program(&["--count", "300", "--quiet", "--report", file.to_str().unwrap(), "--executors", "1"]));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, std::slice::from_ref(&file), "nothing else is left");

    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let has = |value: &Value, keys: &[&str]| {
        keys.iter().for_each(|key| assert!(value.get(key).is_some(), "no {key} in {value:#}"));
    };
    has(&report, &["components", "complete_latency_us", "wall_s", "injected", "settings", "machine", "outcome"]);
    let latency = ["p50", "p90", "p99", "p999", "p9999", "max", "count"];
    has(&report["complete_latency_us"], &latency);
    assert_eq!(report["complete_latency_us"]["count"], 300);
    for key in latency {
        assert!(report["complete_latency_us"][key].is_number(), "{key} in {report:#}");
    }
    has(&report["injected"], &["fails", "panics"]);
    assert_eq!(report["settings"]["executors"], 1);
    assert_eq!(report["outcome"], "completed");
    let counts = ["emitted", "executed", "acked", "failed", "replayed", "dead_lettered", "rebuilt"];
    for (component, kind) in report["components"].as_array().unwrap().iter().zip(["spout", "bolt"]) {
        has(component, &["id", "tasks", "execute_latency_us"]);
        has(component, &counts);
        has(&component["execute_latency_us"], &latency);
        assert_eq!((&component["kind"], &component["acked"]), (&kind.into(), &300.into()));
    }
}

#[test]
fn a_device_gets_the_report_and_is_not_replaced() {
    let run = done(program(&["--count", "3", "--quiet", "--report", "/dev/stderr"]));
    assert_eq!(run.code, Some(0));
    assert!(serde_json::from_str::<Value>(&run.err).is_ok(), "{}", run.err);
    let folder = tempfile::tempdir().unwrap();
    let refused = done(program(&["--count", "3", "--report", folder.path().to_str().unwrap()]));
    assert_eq!((refused.code, refused.err.lines().count()), (Some(2), 1), "{}", refused.err);
}

#[test]
fn a_failed_run_is_exit_code_1_and_still_reports() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let run = done(program(&["--count", "3", "--mode", "fatal", "--report", file.to_str().unwrap()]));
    assert_eq!(run.code, Some(1));
    let line = lines_with(&run.err, "error: numbers: ");
    assert!(line.len() == 1 && line[0].contains("sink") && line[0].contains("0 is too much"), "{}", run.err);
    assert_eq!(lines_with(&run.out, "sink ").len(), 2, "what it did, and why it failed: {}", run.out);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["outcome"], "failed");
    assert!(report["error"].as_str().unwrap().contains("too much"));
}

#[test]
fn what_went_wrong_without_failing_the_run_is_a_warning() {
    let run = done(program(&["--count", "4", "--mode", "dropping", "--quiet"]));
    assert_eq!(run.code, Some(0));
    assert_eq!(lines_with(&run.err, "warning: sink: 4 held tuples dropped").len(), 1, "{}", run.err);

    // What is given up and taken by nobody has an exit code of its own, and is said last.
    let run = done(program(&["--count", "4", "--mode", "rejecting"]));
    assert_eq!(run.code, Some(3));
    assert_eq!(lines_with(&run.err, "warning: numbers: 1 dead letter: ").len(), 1, "{}", run.err);
    let last = run.err.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: numbers: inputs were given up and not kept: 1 of numbers"), "{last}");
    assert!(run.out.contains("complete latency of 3 trees"), "{}", run.out);
}

#[test]
fn progress_can_be_shown_without_a_terminal_and_only_on_standard_error() {
    let mut run = Running::start(squall(&["run", "exclamation", "--progress", "always", "--rate", "50"]));
    run.err.wait_for("emitted/s");
    run.signal(Signal::INT);
    let run = run.end();
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(lines_with(&run.err, " words, ").len() == lines_with(&run.err, "pending").len(), "{}", run.err);
    assert!(!run.out.contains("emitted/s"));
}

#[test]
fn the_first_signal_drains_and_ends_well() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut run = Running::start(squall(&["run", "exclamation", "--rate", "1000"]));
        run.out.wait_for("jackson!!!!!!");
        run.signal(signal);
        let run = run.end();
        assert_eq!(run.code, Some(0), "{}", run.err);
        assert_eq!(lines_with(&run.err, "draining").len(), 1, "{}", run.err);
        let words = lines_with(&run.out, "!!!!!!").len();
        assert!(run.out.contains(&format!("complete latency of {words} trees")), "{}", run.out);
    }
}

#[test]
fn the_second_signal_ends_at_once_whatever_the_topology_is_stuck_in() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut run = Running::start(program(&["--count", "3", "--mode", "stuck", "--drain-timeout", "1h"]));
        run.out.wait_for("stuck");
        run.signal(Signal::INT);
        run.err.wait_for("draining");
        run.signal(second);
        let run = run.end();
        assert_eq!(run.code, Some(code), "{}", run.err);
        assert!(!run.out.contains("complete latency"));
    }
}

#[test]
fn a_file_in_the_place_of_a_state_folder_is_bad_usage_and_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state").display().to_string();
    std::fs::write(&file, "mine").unwrap();
    let below = format!("{file}/below");
    let exactly_once = ["run", "word_count", "--guarantee", "exactly-once"];
    for dir in [&file, &below] {
        let run = [&exactly_once[..], &["--state", dir]].concat();
        let restore = [&exactly_once[..], &["--from-savepoint", dir]].concat();
        for args in [&run[..], &restore, &["state", "ls", dir], &["state", "verify", dir], &["stop", dir]] {
            let Done { code, err: said, .. } = done(squall(args));
            assert_eq!(code, Some(2), "{args:?}: {said}");
            assert!(said.contains(&format!("{file} is a file")) && said.contains("folder"), "{args:?}: {said}");
        }
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}
