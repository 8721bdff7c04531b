//! Flux files and Storm's rules on the command line.

mod needs;

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

use needs::has;

fn squall(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    squall(arguments).output().expect("squall starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = squall(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("squall starts");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

const ONE_EXECUTOR: [&str; 4] = ["--executors", "1", "--wait", "park"];

#[test]
fn route_tells_where_keys_go() {
    let input = "[{\"t\":\"string\",\"v\":\"nathan\"}]\n[{\"t\":\"int\",\"v\":-1}]\n[{\"t\":\"long\",\"v\":\"-1\"}]\n";
    let output = with_input(&["storm", "route", "--grouping", "fields", "--tasks", "4"], input);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("3\n2\n3\n", Some(0)));
    let nathan = "[{\"t\":\"string\",\"v\":\"nathan\"}]\n".repeat(3);
    let output = with_input(&["storm", "route", "--grouping", "partial-key", "--tasks", "5"], &nathan);
    assert_eq!(text(&output.stdout), "2\n1\n2\n");
}

#[test]
fn route_names_the_line_that_is_wrong() {
    let input = "[{\"t\":\"null\"}]\n[{\"t\":\"int\",\"v\":\"x\"}]\n";
    let output = with_input(&["storm", "route", "--grouping", "fields", "--tasks", "4"], input);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("3\n", Some(2)));
    let error = text(&output.stderr);
    assert!(error.starts_with("error: line 2: value 1: expected an int"), "{error}");
}

#[test]
fn config_tells_what_becomes_of_each_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("storm.yaml");
    fs::write(&file, "topology.workers: 2\ntopology.debug: maybe\nmine: 1\n").unwrap();
    let output = run(&["config", "--storm", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let shown = text(&output.stdout);
    assert!(shown.contains("topology.workers") && shown.contains("mapped"), "{shown}");
    assert!(shown.contains("passed to components"), "{shown}");
    let error = text(&output.stderr);
    assert!(error.contains("storm.yaml:2:17: topology.debug must be true or false, not \"maybe\""), "{error}");
}

#[test]
fn a_native_file_runs_to_its_end() {
    let mut arguments = vec!["run", "topologies/flux/native.yaml", "--quiet"];
    arguments.extend(ONE_EXECUTOR);
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    // 300 verses: windows of up to 200 after 100, 200 and 300.
    let windows: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("verses in the window: ")).collect();
    assert_eq!(windows, ["100", "200", "200"]);
    assert!(shown.lines().any(|line| line.ends_with("\tthe")), "{shown}");
}

/// The same verses, split in Python and in JavaScript.
#[test]
fn files_with_a_bolt_in_another_language_run_to_their_end() {
    if !has(&["python3", "node"]) {
        return;
    }
    for file in ["topologies/flux/word_count.yaml", "topologies/flux/node.yaml"] {
        let output = run(&[&["run", file, "--quiet"][..], &ONE_EXECUTOR].concat());
        assert_eq!(output.status.code(), Some(0), "{file}: {}", text(&output.stderr));
        let shown = text(&output.stdout);
        let frequent: Vec<&str> = shown.lines().collect();
        assert_eq!(frequent.len(), 13, "{file}: {shown}");
        assert!(frequent.contains(&"629\tthe") && frequent.contains(&"81\tGod"), "{file}: {shown}");
    }
}

#[test]
fn every_grouping_reaches_its_bolt() {
    let mut arguments = vec!["run", "topologies/flux/groupings.yaml", "--quiet"];
    arguments.extend(ONE_EXECUTOR);
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let count = |prefix: &str| shown.lines().filter(|line| line.starts_with(prefix)).count();
    for prefix in ["shuffle", "local or shuffle", "fields", "partial key", "global", "none", "direct"] {
        assert_eq!(count(prefix), 10, "{prefix}\n{shown}");
    }
    assert_eq!((count("all, to two tasks"), count("custom, two of 3")), (20, 20), "{shown}");
}

#[test]
fn a_duration_ends_in_a_drain() {
    let folder = tempfile::tempdir().unwrap();
    let (file, report) = (folder.path().join("endless.yaml"), folder.path().join("report.json"));
    let yaml = "name: endless\nspouts: [{id: words, className: org.apache.storm.testing.TestWordSpout}]\n\
                bolts: [{id: count, className: org.apache.storm.testing.TestWordCounter}]\n\
                streams: [{from: words, to: count, grouping: {type: FIELDS, args: [word]}}]\n";
    fs::write(&file, yaml).unwrap();
    let (file, report_text) = (file.to_str().unwrap(), report.to_str().unwrap());
    let mut arguments = vec!["run", file, "--duration", "500ms", "--report", report_text, "--quiet"];
    arguments.extend(ONE_EXECUTOR);
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(json["outcome"], "completed");
}

#[test]
fn validate_explain_and_migrate_answer() {
    let file = "topologies/flux/groupings.yaml";
    let output = run(&["validate", file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("every-grouping is valid"));
    for (format, start) in [("text", "topology every-grouping"), ("dot", "digraph"), ("mermaid", "flowchart")] {
        let output = run(&["explain", file, "--format", format]);
        assert!(text(&output.stdout).starts_with(start), "{}", text(&output.stdout));
    }
    let output = run(&["migrate", file, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["runs"], true, "{json}");
}

#[test]
fn java_is_told_in_one_list() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("java.yaml");
    let yaml = "name: java\nspouts: [{id: k, className: com.example.Kafka}]\n\
                bolts: [{id: b, className: com.example.Bolt}]\n\
                streams: [{from: k, to: b, grouping: {type: CUSTOM, customClass: {className: com.example.G}}}]\n";
    fs::write(&file, yaml).unwrap();
    let output = run(&["run", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
    // Spout, bolt and grouping.
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("error: ") && line.contains("needs the JVM")), "{lines:?}");
}

/// Whatever it is called, and beside a topology of a program's own of the same name.
#[test]
fn a_flux_file_may_have_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "name: crawler\nspouts: [{id: seeds, className: squall.Words, constructorArgs: [[north, south], 4]}]\n\
                bolts: [{id: show, className: squall.Print}]\n\
                streams: [{from: seeds, to: show, grouping: {type: SHUFFLE}}]\n";
    for name in ["crawler.flux", "crawler", "word_count", "crawler.yaml"] {
        fs::write(folder.path().join(name), yaml).unwrap();
    }
    let run_in = |arguments: &[&str]| {
        let output = squall(arguments).current_dir(folder.path()).output().expect("squall starts");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    for file in ["crawler.flux", "crawler", "./word_count", "crawler.yaml"] {
        let (code, out, error) = run_in(&[&["run", file, "--quiet"][..], &ONE_EXECUTOR].concat());
        assert_eq!((code, out.as_str()), (Some(0), "north\nsouth\nnorth\nsouth\n"), "{file}: {error}");
        let (code, out, error) = run_in(&["explain", file]);
        assert!(code == Some(0) && out.starts_with("topology crawler"), "{file}: {error}");
        let (code, out, error) = run_in(&["config", file]);
        assert!(code == Some(0) && out.contains("lane_capacity"), "{file}: {error}");
    }
    // The name of a topology wins, and its options may name files.
    let (code, out, error) = run_in(&["explain", "word_count", "--input", "crawler.yaml"]);
    assert!(code == Some(0) && out.starts_with("topology word-count"), "{out}{error}");
    let (code, _, error) = run_in(&["run", "missing.flux"]);
    assert_eq!(code, Some(2));
    assert!(error.starts_with("error: missing.flux: the file cannot be read"), "{error}");
}

/// Long before it is given up.
#[test]
fn a_process_that_gives_no_answer_to_the_handshake_is_told_of_while_it_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("resources")).unwrap();
    let yaml = "name: silent\nconfig:\n  topology.subprocess.timeout.secs: 60\n  \
                topology.multilang.serializer: com.yelp.pyleus.serializer.MessagePackSerializer\n\
                spouts: [{id: words, className: squall.Words, constructorArgs: [[a], 2]}]\n\
                bolts:\n  - id: child\n    className: org.apache.storm.flux.wrappers.bolts.FluxShellBolt\n    \
                constructorArgs: [[sleep, '600'], [out]]\n\
                streams: [{from: words, to: child, grouping: {type: SHUFFLE}}]\n";
    let file = folder.path().join("silent.yaml");
    fs::write(&file, yaml).unwrap();
    let mut command = squall(&["run", file.to_str().unwrap(), "--quiet"]);
    let mut running = command.stderr(std::process::Stdio::piped()).spawn().expect("squall starts");
    let lines = BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.filter(|line| line.contains("(sent as MessagePack)")).find(|line| line.contains("sleep 600"));
    running.kill().unwrap();
    running.wait().unwrap();
    let told = told.expect("it is told");
    assert!(told.contains("answer the handshake") || told.contains("gives no answer to the handshake"), "{told}");
}

#[test]
fn validate_migrate_and_run_have_one_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.yaml");
    let path = file.to_str().unwrap();
    let spout = "name: t\nspouts: [{id: words, className: squall.Words, constructorArgs: [WORDS, 2]}]\n";
    let streams = "streams: [{from: words, to: show, grouping: {type: SHUFFLE}}]\n";
    let with = |words: &str, bolt: &str| {
        format!("{}bolts: [{{id: show, className: {bolt}}}]\n{streams}", spout.replace("WORDS", words))
    };
    for (yaml, verdict) in [
        (with("[a]", "squall.Print"), None),
        (with("[1, 2]", "squall.Print"), Some("element 1 is 1: put it in quotes")),
        (with("[a]", "squall.Prnt"), Some("did you mean squall.Print?")),
        (with("[a]", "squall.Words"), Some("squall.Words is a spout")),
        (with("[a]", "squall.Print").replace("id: show", "id: words"), Some("words")),
    ] {
        fs::write(&file, &yaml).unwrap();
        let code = if verdict.is_some() { Some(2) } else { Some(0) };
        for action in ["validate", "run", "explain"] {
            let output = run(&[action, path]);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), code, "{action} {yaml}: {error}");
            assert!(error.contains(verdict.unwrap_or_default()), "{action} {yaml}: {error}");
        }
        let report = text(&run(&["migrate", path]).stdout);
        assert_eq!(report.contains("runs here as it is"), verdict.is_none(), "{report}");
        assert!(report.contains(verdict.unwrap_or_default()), "{report}");
    }
}

#[test]
fn a_topology_by_name_is_still_one() {
    let output = run(&["run", "--help"]);
    assert!(text(&output.stdout).contains("word_count"));
    assert!(text(&run(&["--help"]).stdout).contains("migrate"));
}
