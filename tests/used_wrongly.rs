//! Every command and connector, used wrongly: exit code 2, a line that names the place and what to do, and nothing that
//! was there before is touched.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const FLUX: &str = "name: ok
spouts:
  - {id: lines, className: squall.Lines, constructorArgs: [notes.txt]}
bolts:
  - {id: one, className: squall.WriteLines, constructorArgs: [ONE]}
  - {id: other, className: squall.WriteLines, constructorArgs: [OTHER]}
streams:
  - {from: lines, to: one, grouping: {type: SHUFFLE}}
  - {from: lines, to: other, grouping: {type: SHUFFLE}}
";

/// A folder with something of each kind.
fn furnished() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    write("folder/in_it", "");
    write("notes.txt", "some words\n");
    write("letters", "{\"source\":\"lines\",\"value\":\"x\"}\n");
    let flux = |one: &str, other: &str| FLUX.replace("ONE", one).replace("OTHER", other);
    write("ok.yaml", &flux("one.txt", "other.txt"));
    write("same.yaml", &flux("one.txt", "./one.txt"));
    write("over.yaml", &flux("one.txt", "notes.txt"));
    write("sink.yaml", &flux("one.txt", "folder"));
    write("nowhere.yaml", &flux("one.txt", "missing/two.txt"));
    write("below.yaml", &flux("one.txt", "notes.txt/two.txt"));
    folder
}

fn squall(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(line.split_whitespace()).current_dir(folder).env_remove("RUST_LOG");
    command.output().expect("squall starts")
}

/// Names and contents of everything below a folder.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            all.push((path.display().to_string(), Vec::new()));
            all.extend(contents(&path));
        } else {
            all.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

/// What is there no more, or not as it was, or was not there; but for a store: every opening begins a new file in it.
fn changes(before: &[(String, Vec<u8>)], after: &[(String, Vec<u8>)]) -> Vec<String> {
    let missing = before.iter().filter(|file| !after.contains(file));
    let new = after.iter().filter(|file| !before.contains(file));
    missing.chain(new).map(|(name, _)| name.clone()).filter(|name| !name.contains("/state/")).collect()
}

/// Each line is refused with a message that has these parts, and leaves the folder as it was.
#[track_caller]
fn are_refused(folder: &Path, lines: &[(&str, &[&str])]) {
    for (line, parts) in lines {
        let before = contents(folder);
        let output = squall(folder, line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "squall {line}: {said}");
        for part in *parts {
            assert!(said.contains(part), "squall {line}: {part:?} is not in\n{said}");
        }
        let changed: Vec<String> = changes(&before, &contents(folder));
        assert_eq!(changed, [""; 0], "squall {line}: {said}");
    }
}

#[test]
fn options_of_a_run() {
    let folder = furnished();
    are_refused(
        folder.path(),
        &[
            ("run", &["Usage"]),
            ("run nosuch", &["nosuch"]),
            ("run word_count --executors 0", &["--executors", "1 to 1024"]),
            ("run word_count --executors 1 --executors 2", &["--executors", "multiple times"]),
            ("run word_count --wait never", &["--wait", "\"park\""]),
            ("run word_count --guarantee maybe", &["--guarantee", "\"exactly-once\""]),
            ("run word_count --checkpoint-interval 5", &["--checkpoint-interval", "the unit is missing"]),
            ("run word_count --store sqlite", &["--store", "\"fjall\""]),
            ("run word_count --store sled", &["--store", "state_dir", "name one"]),
            ("run word_count --store sled --guarantee exactly-once", &["--store", "state_dir"]),
            ("run word_count --state new", &["--state", "guarantee"]),
            ("run word_count --state notes.txt --guarantee exactly-once", &["notes.txt", "is a file", "name a folder"]),
            ("run word_count --fresh --guarantee exactly-once", &["--fresh", "state_dir", "name it"]),
            ("run word_count --from-savepoint folder", &["--from-savepoint", "checkpoint_interval"]),
            ("run word_count --guarantee exactly-once --from-savepoint missing", &["missing/manifest.0"]),
            ("run word_count --guarantee exactly-once --from-savepoint notes.txt", &["notes.txt", "is a file"]),
            ("run word_count --config missing.toml", &["missing.toml", "cannot be read"]),
            ("run word_count --config folder", &["folder", "cannot be read"]),
            ("run word_count --config notes.txt", &["notes.txt:1"]),
            (
                "run word_count --guarantee at-least-once --checkpoint-interval 1s --input -",
                &["lines", "standard input", "leave checkpoint_interval out"],
            ),
            ("run word_count --guarantee exactly-once --input -", &["lines", "standard input", "to a file"]),
            ("run word_count --set lane_capacity", &["--set", "KEY=VALUE"]),
            ("run word_count --set nokey=1", &["nokey", "unknown key"]),
            ("run word_count --set lane_capacity=0", &["lane_capacity", "1 to 1048576"]),
            ("run word_count --drain-timeout soon", &["--drain-timeout", "duration"]),
            ("run word_count --seed x", &["--seed", "whole number"]),
            ("run word_count --log squall=loud", &["--log", "give a level"]),
            ("run word_count --progress sometimes", &["--progress", "never"]),
            ("run word_count --report folder", &["--report folder", "directory"]),
            ("run word_count --report missing/r.json", &["--report missing/r.json", "cannot be written"]),
            ("run word_count --report notes.txt --input notes.txt", &["--report notes.txt", "that of lines"]),
            ("run word_count --report o.txt --output o.txt", &["--report o.txt", "that of output"]),
            ("run word_count --report letters --dead-letters letters", &["--report letters", "--dead-letters"]),
            ("run word_count --dead-letters folder", &["folder", "regular file"]),
            ("run word_count --dead-letters missing/x", &["missing/x"]),
            ("run word_count --dead-letters notes.txt", &["notes.txt", "give a file of its own"]),
            ("run word_count --dead-letters o.txt --output o.txt", &["o.txt", "output", "a place of its own"]),
        ],
    );
}

#[test]
fn inputs_and_outputs_of_the_shipped_topologies() {
    let folder = furnished();
    are_refused(
        folder.path(),
        &[
            ("run word_count --input missing.txt", &["missing.txt", "check the path"]),
            ("run word_count --input folder", &["folder", "give a file"]),
            ("run word_count --input notes.txt --output ./notes.txt", &["output", "lines", "a place of its own"]),
            ("run word_count --output folder", &["folder", "give a file"]),
            ("run word_count --output missing/x", &["missing/x", "cannot be written"]),
            ("run word_count --output notes.txt/x", &["notes.txt/x", "cannot be written"]),
            ("run word_count --fail-rate 2", &["--fail-rate", "between 0 and 1"]),
            ("run word_count --fail-rate NaN", &["--fail-rate", "between 0 and 1"]),
            ("run word_count --parallelism 0", &["--parallelism"]),
            ("run word_count --panic-every 0", &["--panic-every"]),
            ("run ledger --accounts 1", &["--accounts"]),
            ("run ledger --output folder", &["folder", "give a file"]),
            ("run ledger --output missing/x", &["missing/x", "cannot be written"]),
            ("run ledger --output o.txt --report o.txt", &["--report o.txt", "that of report"]),
            ("run external_service --concurrency 0", &["--concurrency"]),
            ("run external_service --fail-every 0", &["--fail-every"]),
        ],
    );
}

#[test]
fn flux_files_and_what_is_asked_of_them() {
    let folder = furnished();
    are_refused(
        folder.path(),
        &[
            ("ok.yaml", &["ok.yaml", "run ok.yaml"]),
            ("run missing.yaml", &["missing.yaml", "cannot be read"]),
            ("run ./folder", &["./folder", "cannot be read"]),
            ("run notes.txt", &["notes.txt", "expected a Flux file"]),
            ("run ok.yaml --duration soon", &["--duration", "12s"]),
            ("run ok.yaml --filter missing", &["missing", "cannot be read"]),
            ("run ok.yaml --filter folder", &["folder", "cannot be read"]),
            ("run ok.yaml --resources missing", &["missing", "no such folder"]),
            ("run ok.yaml --record folder", &["--record folder", "cannot be written"]),
            ("run ok.yaml --record missing/r", &["--record missing/r", "cannot be written"]),
            ("run ok.yaml --record ./ok.yaml", &["--record ./ok.yaml", "a file of its own"]),
            ("run same.yaml", &["one.txt", "other", "a place of its own"]),
            ("run over.yaml", &["notes.txt", "other", "lines", "a place of its own"]),
            ("run sink.yaml", &["sink.yaml:6", "give a file"]),
            ("run nowhere.yaml", &["nowhere.yaml:6", "there is no folder missing"]),
            ("run below.yaml", &["below.yaml:6", "notes.txt/two.txt cannot be written"]),
            ("validate nowhere.yaml", &["nowhere.yaml:6", "there is no folder missing"]),
            ("run -R ok.yaml", &["resources/ok.yaml", "cannot be read"]),
            ("validate", &["FILE"]),
            ("validate missing.yaml", &["missing.yaml", "cannot be read"]),
            ("validate folder", &["folder", "cannot be read"]),
            ("migrate missing.yaml", &["missing.yaml", "cannot be read"]),
            ("migrate folder", &["folder", "cannot be read"]),
            ("explain missing.yaml", &["missing.yaml", "cannot be read"]),
            ("config missing.yaml", &["missing.yaml", "cannot be read"]),
        ],
    );
}

#[test]
fn the_other_commands() {
    let folder = furnished();
    are_refused(
        folder.path(),
        &[
            ("nosuch", &["nosuch"]),
            ("explain word_count --format png", &["--format", "mermaid"]),
            ("config nosuch", &["nosuch"]),
            ("config --keys --storm x", &["--keys"]),
            ("config --storm missing", &["missing", "cannot be read"]),
            ("config --storm folder", &["folder", "cannot be read"]),
            ("config word_count --set bad", &["--set bad", "KEY=VALUE"]),
            ("state ls missing", &["missing/manifest.0"]),
            ("state ls notes.txt", &["notes.txt", "is a file"]),
            ("state ls folder", &["folder/manifest.0"]),
            ("state export folder", &["folder/manifest.0"]),
            ("state verify notes.txt", &["notes.txt", "is a file"]),
            ("state get folder", &["<KEY>"]),
            ("state diff folder folder", &["folder/manifest.0"]),
            ("state savepoint missing out", &["missing/manifest.0"]),
            ("stop missing", &["missing", "nothing runs"]),
            ("stop notes.txt", &["notes.txt", "is a file"]),
            ("stop folder --timeout soon", &["--timeout"]),
            ("dead-letters ls missing", &["missing", "cannot be read"]),
            ("dead-letters ls folder", &["folder", "is a directory"]),
            ("dead-letters ls letters --last x", &["--last", "invalid value"]),
            ("dead-letters ls notes.txt", &["notes.txt:1", "no dead letter"]),
            ("dead-letters replay missing out", &["missing", "cannot be read"]),
            ("dead-letters replay notes.txt out", &["notes.txt:1", "no dead letter"]),
            ("dead-letters replay letters notes.txt", &["notes.txt", "is there already"]),
            ("dead-letters replay letters missing/x", &["missing/x", "cannot be written"]),
            ("storm route --grouping shuffle --tasks 2", &["--grouping", "partial-key"]),
            ("storm route --grouping fields --tasks 0", &["--tasks"]),
        ],
    );
}

#[test]
fn a_bench() {
    let folder = furnished();
    are_refused(
        folder.path(),
        &[
            ("bench", &["Usage"]),
            ("bench hop --guarantee exactly-once", &["--guarantee exactly-once", "cycle"]),
            ("bench hop --json folder", &["--json folder", "cannot be written"]),
            ("bench hop --out notes.txt", &["--out notes.txt"]),
            ("bench hop --json same --out same", &["--out", "--json"]),
            ("bench hop --duration soon", &["--duration soon", "500ms or 10s"]),
            ("bench hop --duration 0s", &["--duration 0s", "from 1ms"]),
            ("bench hop --warmup soon", &["--warmup soon", "500ms or 10s"]),
            ("bench hop --repeat 0", &["--repeat 0", "from 1 to 1000"]),
            ("bench hop --executors 0", &["--executors 0", "1 to 1024"]),
            ("bench hop --wait never", &["--wait never", "\"park\""]),
            ("bench hop --guarantee maybe", &["--guarantee maybe", "\"at-most-once\""]),
            ("bench hop --cpus 60000", &["--cpus 60000", "usable are"]),
            ("bench hop --cpus x", &["--cpus x", "such as 0,1 or 0-3"]),
            ("bench latency --rate 0", &["--rate 0", "events per second"]),
            ("bench latency --rate NaN", &["--rate NaN", "events per second"]),
            ("bench latency --input missing", &["missing", "check the path"]),
            ("bench latency --input folder", &["folder", "give a file"]),
            ("bench latency word_count --output o.txt", &["output", "--allow-output"]),
            ("bench latency ledger --output o.txt", &["report", "--allow-output"]),
            ("bench latency --allow-output", &["--allow-output"]),
            ("bench compare notes.txt notes.txt", &["notes.txt:1", "--json"]),
            ("bench compare folder missing", &["folder", "missing"]),
        ],
    );
}

/// What is kept belongs to whoever has kept it.
#[test]
fn a_folder_with_state() {
    let folder = furnished();
    let run = "run word_count --quiet --top 0 --input notes.txt --guarantee exactly-once";
    let made = squall(folder.path(), &format!("{run} --state state"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let listed = || String::from_utf8(squall(folder.path(), "state ls state").stdout).unwrap();
    let before = listed();
    assert!(before.contains("count.counts"), "{before}");
    let fresh = format!("{run} --state state --fresh");
    let again = format!("{run} --state state --from-savepoint state");
    are_refused(
        folder.path(),
        &[
            ("state ls state --checkpoint 99", &["no checkpoint 99"]),
            ("state get state nosuch k", &["no such state", "count.counts"]),
            ("state export state --state nosuch", &["no such state"]),
            ("state savepoint state folder", &["folder", "another name"]),
            ("state savepoint state out --checkpoint 99", &["no checkpoint 99"]),
            ("stop state", &["nothing runs"]),
            ("stop state --savepoint folder", &["folder", "another name"]),
            (&again, &["already holds state", "--fresh"]),
            (&format!("{fresh} --from-savepoint folder"), &["folder/manifest.0"]),
            (&format!("{fresh} --from-savepoint missing"), &["missing/manifest.0"]),
            ("run ledger --quiet --guarantee exactly-once --state state", &["word-count", "ledger", "old name"]),
            (
                "run ledger --quiet --guarantee exactly-once --state new --fresh --from-savepoint state",
                &["word-count", "ledger"],
            ),
        ],
    );
    assert_eq!(listed(), before);
}
