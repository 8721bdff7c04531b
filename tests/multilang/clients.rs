//! The published clients, unmodified.

use std::time::Duration;

use serde_json::json;
use squall::storm::shell::{Serializer, ShellSpec};
use squall::storm::tuple::StormTuple;
use squall::{Nothing, Outlet, TopologyBuilder, Value};

use crate::stage::{Seen, numbered, of, spec, through};
use crate::tools::{has, packages, resources};

fn sentences(n: u64) -> String {
    format!("the cow {n} jumped")
}

/// The words of ten sentences, as a sink shows them.
fn words() -> Vec<String> {
    let mut words: Vec<String> =
        (0..10).flat_map(|n| sentences(n).split(' ').map(|word| format!("{word:?}")).collect::<Vec<_>>()).collect();
    words.sort();
    words
}

/// A splitting bolt gets ten sentences: all words come out, and everything is acked the first time.
#[track_caller]
fn splits(spec: ShellSpec) {
    let command = spec.command.join(" ");
    let (seen, report) = through(spec, numbered(10, sentences));
    assert_eq!(seen, words(), "{command}");
    let (source, child) = (of(&report, "source"), of(&report, "child"));
    assert_eq!((source.counts.acked, source.counts.failed), (10, 0), "{command}");
    assert_eq!((child.counts.rebuilt, child.pending), (0, 0), "{command}: {:?}", child.last_error);
}

/// A spout that counts to ten: all its tuples come out and its trees complete.
#[track_caller]
fn counts_to_ten(spec: ShellSpec) {
    let seen = Seen::default();
    let mut t = TopologyBuilder::new("ten");
    let child = t.spout("child", move || spec.spout()).streams([("default", "sentence")]);
    t.bolt("sink", seen.sink()).global(&child.stream(0));
    let running = t.build().unwrap().start().unwrap();
    let acked = || running.report().components[0].counts.acked;
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while acked() < 10 {
        assert!(std::time::Instant::now() < deadline, "only {} acked", acked());
        std::thread::yield_now();
    }
    running.drain();
    running.wait().unwrap();
    let mut expected: Vec<String> = (1..=10).map(|n| format!("\"number {n}\"")).collect();
    expected.sort();
    assert_eq!(seen.sorted(), expected);
}

#[test]
fn storm_py_a_basic_bolt() {
    if let (true, Some(folder)) = (has(&["python3"]), resources()) {
        splits(spec(&["python3", "storm_split.py"], &folder, &["word"]));
    }
}

#[test]
fn storm_js_a_bolt_and_a_spout() {
    if let (true, Some(folder)) = (has(&["node"]), resources()) {
        splits(spec(&["node", "storm_bolt.js"], &folder, &["word"]));
        counts_to_ten(spec(&["node", "storm_spout.js"], &folder, &["sentence"]));
    }
}

#[test]
fn storm_rb_a_bolt() {
    if let (true, Some(folder)) = (has(&["ruby"]), resources()) {
        splits(spec(&["ruby", "storm_split.rb"], &folder, &["word"]));
    }
}

/// As under Storm: the command `streamparse_run` with the component's class.
fn streamparse(class: &str, fields: &[&str]) -> Option<ShellSpec> {
    let (packages, folder) = (packages()?, resources()?);
    let mut spec = spec(&["streamparse_run", class], &folder, fields);
    spec.environment =
        vec![("PATH".into(), packages.join("bin").to_str()?.into()), ("PYTHONPATH".into(), packages.to_str()?.into())];
    spec.conf = json!({"topology.name": "multilang", "pystorm.log.level": "info"}).as_object()?.clone();
    spec.wiring.insert("source->stream->fields".into(), json!({"source": {"default": ["sentence"]}}));
    Some(spec)
}

#[test]
fn pystorm_and_streamparse_bolts() {
    if !has(&["python3"]) {
        return;
    }
    for class in ["Split", "StreamparseSplit"] {
        let Some(spec) = streamparse(&format!("pystorm_parts.{class}"), &["word"]) else { return };
        splits(spec);
    }
}

#[test]
fn pystorm_by_messagepack() {
    if !has(&["python3"]) {
        return;
    }
    let Some(mut spec) = streamparse("pystorm_parts.Split", &["word"]) else { return };
    spec.command.extend(["-s".to_owned(), "msgpack".to_owned()]);
    spec.serializer = Serializer::MsgPack;
    splits(spec);
}

#[test]
fn pystorm_a_batching_bolt_with_ticks() {
    if !has(&["python3"]) {
        return;
    }
    let Some(mut spec) = streamparse("pystorm_parts.SplitInBatches", &["word"]) else { return };
    spec.conf.insert("topology.tick.tuple.freq.secs".into(), 1.into());
    splits(spec);
}

#[test]
fn streamparse_a_reliable_spout() {
    if has(&["python3"])
        && let Some(spec) = streamparse("pystorm_parts.Ten", &["sentence"])
    {
        counts_to_ten(spec);
    }
}

/// Everything a bolt can say and be told, through Storm's own Python client.
#[test]
fn storm_py_all_that_a_bolt_can_say() {
    let (true, Some(folder)) = (has(&["python3"]), resources()) else { return };
    let mut spec = spec(&["python3", "storm_bolt.py"], &folder, &["what", "a", "b", "c"]);
    spec.streams.push(("direct".into(), vec!["what".into(), "task".into()]));
    spec.conf =
        json!({"a.key": {"nested": [1, null]}, "topology.tick.tuple.freq.secs": 1}).as_object().unwrap().clone();

    let (seen, direct) = (Seen::default(), Seen::default());
    let mut t = TopologyBuilder::new("telling");
    let asked = ["plain", "context", "tasks", "direct", "numbers", "log", "fail-once"];
    let source = t.source("source", move || numbered(asked.len() as u64, |n| n as i64));
    let ask = move |tuple: StormTuple| {
        let n = tuple.values()[0].as_i64().unwrap() as usize;
        let numbers = Value::list([1.into(), 1.5.into(), Value::Int(1 << 40), Value::Null, true.into()]);
        StormTuple::new(tuple.source(), squall::TaskId(9), [asked[n].into(), numbers])
    };
    let child = t
        .bolt("child", move || spec.bolt())
        .streams([("default", "what, a, b, c"), ("direct", "what, task")])
        .tick(Duration::from_secs(1))
        .shuffle(source.via(ask));
    t.bolt("sink", seen.sink()).parallelism(2).all(&child.stream(0));
    t.bolt("direct", direct.sink()).direct(&child.stream(1));
    let report = t.build().unwrap().run().unwrap();

    // Tasks by component id: child 1, direct 2, sink 3 and 4, source 5.
    let mut all = seen.sorted();
    all.retain(|line| !line.starts_with("\"tick\""));
    all.dedup();
    let expected = [
        r#""context" "child" 1 {"nested": [1, null]}"#,
        r#""fail-once" "source" 0 0"#,
        r#""logged" "" 0 0"#,
        r#""numbers" "[1, 1.5, 1099511627776, null, true]" 2147483648 1.0"#,
        r#""plain" "source" 0 0"#,
        r#""tasks" "[3, 4]" 0 0"#,
        r#""told" "" 0 0"#,
    ];
    assert_eq!(all, expected);
    assert_eq!(direct.sorted(), [r#""direct" "2""#]);
    let (source, child) = (of(&report, "source"), of(&report, "child"));
    assert_eq!((source.counts.acked, source.counts.failed), (7, 1));
    assert_eq!((child.errors_reported, child.last_error.as_deref()), (1, Some("reported by the bolt")));
}

/// Ids of any JSON type come back unchanged; replays are the spout's own.
#[test]
fn storm_py_a_spout_with_ids_of_several_types() {
    let (true, Some(folder)) = (has(&["python3"]), resources()) else { return };
    let spec = spec(&["python3", "storm_spout.py"], &folder, &["what", "id"]);
    let seen = Seen::default();
    let (sink, failed) = (seen.sink(), std::sync::Mutex::new(std::collections::HashSet::new()));
    let failed = std::sync::Arc::new(failed);
    let picky = move |tuple: StormTuple, out: &mut Outlet<Nothing>| {
        let values = tuple.values();
        let fails = values[0].as_str() == Some("new") && matches!(values[1].as_str(), Some("3.5" | "[5]"));
        if fails && failed.lock().unwrap().insert(values[1].to_string()) {
            return Err(squall::Failure::retry("on purpose"));
        }
        sink(tuple, out);
        Ok(())
    };
    let mut t = TopologyBuilder::new("ids");
    let child = t.spout("child", move || spec.spout()).streams([("default", "what, id")]);
    t.bolt("sink", picky).global(&child.stream(0));
    let running = t.build().unwrap().start().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while seen.sorted().iter().filter(|line| line.starts_with("\"acked\"")).count() < 10 {
        assert!(std::time::Instant::now() < deadline, "got {:?}", seen.sorted());
        std::thread::yield_now();
    }
    running.drain();
    running.wait().unwrap();
    let ids = ["1", "'two'", "3.5", "{'four': 4}", "[5]", "6", "7", "8", "9", "10"];
    let line = |what: &str, id: &str| format!("{what:?} {id:?}");
    let mut expected: Vec<String> = ids.iter().map(|id| line("acked", id)).collect();
    expected.extend(ids.iter().filter(|id| !["3.5", "[5]"].contains(id)).map(|id| line("new", id)));
    expected.extend(["3.5", "[5]"].map(|id| line("failed", id)));
    expected.extend(["3.5", "[5]"].map(|id| line("again", id)));
    expected.sort();
    assert_eq!(seen.sorted(), expected);
}
