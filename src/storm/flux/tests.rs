//! Files that are right, and files that are wrong.

mod includes;
mod java_objects;
mod properties;
mod running;
mod system_streams;
mod verdict;
mod windows;

use std::fs;
use std::path::Path;

use super::*;

/// The problems of a file, each as it is printed, with the folder taken out.
fn problems_of(text: &str) -> Vec<String> {
    with_file(text, |path| {
        let flux = Flux::load(path, &FluxOptions::default());
        let folder = path.parent().unwrap().display().to_string() + "/";
        flux.problems().iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    })
}

/// The warnings of a file, likewise.
fn warnings_of(text: &str) -> Vec<String> {
    with_file(text, |path| {
        let flux = Flux::load(path, &FluxOptions::default());
        let folder = path.parent().unwrap().display().to_string() + "/";
        flux.warnings().map(|warning| warning.to_string().replace(&folder, "")).collect()
    })
}

fn with_file<T>(text: &str, act: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yaml");
    fs::write(&path, text).unwrap();
    act(&path)
}

/// Spouts and bolts of a small file, to which streams are added.
fn with_streams(streams: &str) -> String {
    format!(
        "name: t\nspouts:\n  - id: numbers\n    className: squall.Numbers\n    constructorArgs: [10]\nbolts:\n  \
         - id: sum\n    className: squall.Sum\n  - id: print\n    className: squall.Print\nstreams:\n{streams}"
    )
}

const GOOD: &str = "  - {from: numbers, to: sum, grouping: {type: SHUFFLE}}\n";

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = "name: [t]\nconfig:\n  topology.workers: many\nspouts:\n  - id: a\n    className: squall.Numbers\n    \
                paralelism: 2\n  - className: squall.Numbers\nbolts:\n  - id: b\n    className: squall.Sum\n    \
                numTasks: 0\nstreams:\n  - from: a\n    to: b\n    grouping: {type: shuffle}\nstream: []\n";
    assert_eq!(
        problems_of(text),
        [
            "t.yaml:17:1: a Flux file has no \"stream\"; did you mean streams?",
            "t.yaml:1:7: expected a text, not a list",
            "t.yaml:3:21: topology.workers must be a whole number of at least 1, not \"many\"",
            "t.yaml:7:5: a spout has no \"paralelism\"; did you mean parallelism?",
            "t.yaml:8:5: a spout needs id: a text",
            "t.yaml:12:15: expected a number from 1 to 65536 for numTasks, not 0",
            "t.yaml:16:22: there is no grouping \"shuffle\"; did you mean SHUFFLE?",
            "t.yaml: the topology needs a name: a text",
        ]
    );
}

#[test]
fn a_process_s_own_keys_stand_between_the_topology_s_and_those_of_the_file() {
    let own = |key: &str, value: u64| format!("      - {{name: addComponentConfig, args: [{key}, {value}]}}\n");
    let text = format!(
        "name: t\nconfig: {{topology.subprocess.timeout.secs: 60, topology.shellbolt.max.pending: 7}}\n\
         spouts: [{{id: numbers, className: squall.Numbers}}]\nbolts:\n  - id: child\n    \
         className: org.apache.storm.flux.wrappers.bolts.FluxShellBolt\n    constructorArgs: [[x], [y]]\n    \
         configMethods:\n{}{}{}    config: {{mine: 2, none: ~}}\n\
         streams: [{{from: numbers, to: child, grouping: {{type: SHUFFLE}}}}]\n",
        own("topology.subprocess.timeout.secs", 5),
        own("mine", 1),
        own("none", 1),
    );
    assert_eq!(problems_of(&text), [""; 0]);
    with_file(&text, |path| {
        let flux = Flux::load(path, &FluxOptions::default());
        let child = &flux.resolved().components[1];
        let What::Shell(child) = &child.what else { panic!("no process") };
        assert_eq!((child.timeout.as_secs(), child.max_pending), (5, 7));
        assert_eq!((child.conf.get("mine"), child.conf.get("none")), (Some(&2.into()), Some(&serde_json::Value::Null)));
    });
}

#[test]
fn ends_fields_and_streams_that_do_not_exist_are_told() {
    let streams = "  - {from: number, to: sum, grouping: {type: SHUFFLE}}\n  \
                   - {from: numbers, to: numbers, grouping: {type: SHUFFLE}}\n  \
                   - {from: numbers, to: sum, grouping: {type: FIELDS, args: [nr]}}\n  \
                   - {from: sum, to: print, grouping: {type: ALL, streamId: late}}\n";
    assert_eq!(
        problems_of(&with_streams(streams)),
        [
            "t.yaml:12:12: there is no spout or bolt \"number\"; did you mean \"numbers\"?",
            "t.yaml:13:25: expected a bolt for to; \"numbers\" is a spout",
            "t.yaml:14:62: the stream \"default\" of \"numbers\" has no field \"nr\"; it has number",
            "t.yaml:15:60: \"sum\" has no stream \"late\"; its streams: default",
        ]
    );
}

#[test]
fn java_classes_are_listed_with_component_and_line() {
    let text = "name: t\ncomponents:\n  - id: c\n    className: \
                org.apache.storm.kafka.spout.KafkaSpoutConfig\nspouts:\n  - id: k\n    className: \
                org.apache.storm.kafka.spout.KafkaSpout\n    constructorArgs: [ref: c]\nbolts:\n  \
                - id: b\n    className: org.apache.storm.testing.TestWordCountr\nstreams:\n  \
                - {from: k, to: b, grouping: {type: FIELDS, args: [word]}}\n";
    assert_eq!(
        problems_of(text),
        [
            "t.yaml:4:16: component \"c\" needs the JVM: there is no native \
             org.apache.storm.kafka.spout.KafkaSpoutConfig",
            "t.yaml:7:16: spout \"k\" needs the JVM: there is no native org.apache.storm.kafka.spout.KafkaSpout",
            "t.yaml:11:16: bolt \"b\" needs the JVM: there is no native org.apache.storm.testing.TestWordCountr; did \
             you mean org.apache.storm.testing.TestWordCounter?",
        ]
    );
}

#[test]
fn arguments_that_a_component_does_not_have_are_told() {
    let text = "name: t\nspouts:\n  - id: a\n    className: squall.Numbers\n    constructorArgs: [ten, 1, 2, 3]\n  \
                - id: b\n    className: squall.Numbers\n    properties: [{name: cuont, value: 1}]\n    \
                configMethods: [{name: go}]\n";
    assert_eq!(
        problems_of(text),
        [
            "t.yaml:5:23: expected a whole number that is not negative for count of squall.Numbers, not \"ten\"",
            "t.yaml:8:39: squall.Numbers has no property \"cuont\" here; it has: count, per_second",
            "t.yaml:9:28: squall.Numbers has no method \"go\" here",
        ]
    );
}

#[test]
fn references_are_followed_whatever_their_order() {
    let bolt = "bolts:\n  - id: w\n    className: squall.Window\n    configMethods:\n      - name: withWindow\n        \
                args: [ref: length, ref: NAME]\nstreams:\n  - {from: a, to: w, grouping: {type: GLOBAL}}\n";
    let text = format!(
        "name: t\nspouts: [{{id: a, className: squall.Numbers}}]\n{bolt}components:\n  - id: length\n    \
         className: org.apache.storm.topology.base.BaseWindowedBolt$Duration\n    constructorArgs: [2, SECONDS]\n  \
         - id: slide\n    className: org.apache.storm.topology.base.BaseWindowedBolt$Count\n    constructorArgs: [5]\n"
    );
    assert_eq!(problems_of(&text.replace("NAME", "slide")), [""; 0]);
    assert_eq!(
        problems_of(&text.replace("NAME", "sliden")),
        ["t.yaml:8:34: there is no component \"sliden\"; did you mean \"slide\"?"]
    );
}

#[test]
fn windows_that_hold_tuples_too_long_are_refused() {
    let text = "name: t\nconfig: {topology.max.spout.pending: 10}\nspouts: [{id: a, className: squall.Numbers}]\n\
                bolts:\n  - {id: w, className: squall.Window, config: {topology.bolts.window.length.count: 8, \
                topology.bolts.window.sliding.interval.count: 3}}\nstreams:\n  \
                - {from: a, to: w, grouping: {type: GLOBAL}}\n";
    let problems = problems_of(text);
    assert!(problems[0].contains("11 tuples together exceed topology.max.spout.pending, 10"), "{problems:?}");
}

#[test]
fn includes_merge_by_id_and_streams_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let main = "name: main\nincludes:\n  - {file: parts/a.yaml, override: false}\n  - {file: b.yaml, override: true}\n\
                config: {mine: 1, other: main}\nspouts: [{id: a, className: squall.Numbers, parallelism: 2}]\n";
    fs::write(at("t.yaml"), main).unwrap();
    fs::create_dir(at("parts")).unwrap();
    let a = "name: a\nconfig: {mine: 2, added: a}\n\
             spouts: [{id: a, className: squall.Words}]\nbolts: [{id: sum, className: squall.Sum}]\n\
             streams: [{from: a, to: sum, grouping: {type: GLOBAL}}]\n";
    fs::write(at("parts/a.yaml"), a).unwrap();
    fs::write(at("b.yaml"), "name: b\nconfig: {other: b}\n").unwrap();
    let flux = Flux::load(&at("t.yaml"), &FluxOptions::default());
    assert_eq!(flux.problems(), []);
    assert_eq!(flux.warnings().count(), 3, "{:?}", flux.warnings().collect::<Vec<_>>());
    let conf = &flux.resolved().conf;
    assert_eq!((conf.whole("mine"), conf.text("added"), conf.text("other")), (Some(1), Some("a"), Some("b")));
    let topology = flux.topology().unwrap();
    assert_eq!(topology.name(), "b");
    let plan = topology.plan(&topology.resolve().unwrap().settings);
    assert_eq!(plan.components[0].tasks.len(), 2);
    assert_eq!(plan.edges.len(), 1);
}

#[test]
fn an_include_that_is_missing_is_told() {
    let problems = problems_of("name: t\nincludes: [{file: no.yaml}]\nspouts: [{id: a, className: squall.Numbers}]\n");
    assert!(problems[0].starts_with("t.yaml:2:19: there is no file \"no.yaml\"; looked for "), "{problems:?}");
}

#[test]
fn what_is_wrong_with_a_value_from_elsewhere_names_where_it_is_from() {
    let folder = tempfile::tempdir().unwrap();
    let (path, filter) = (folder.path().join("t.yaml"), folder.path().join("dev.properties"));
    let text = "name: t\nspouts: [{id: a, className: squall.Numbers, parallelism: ${n}}]\n\
                config: {topology.workers: \"${w}\"}\n";
    fs::write(&path, text).unwrap();
    fs::write(&filter, "# tasks\nn=many\nw=two\n").unwrap();
    let flux = Flux::load(&path, &FluxOptions { filter: Some(filter.clone()), ..FluxOptions::default() });
    let problems: Vec<String> = flux.problems().iter().map(|problem| problem.message.clone()).collect();
    let from = |name: &str, line: usize| format!("(the property {name} at {}:{line})", filter.display());
    assert_eq!(
        problems,
        [
            format!("topology.workers must be a whole number of at least 1, not \"two\" {}", from("w", 3)),
            format!("expected a whole number for parallelism, not \"many\" {}", from("n", 2)),
        ]
    );
}

#[test]
fn values_come_from_a_properties_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, filter) = (folder.path().join("t.yaml"), folder.path().join("dev.properties"));
    fs::write(&path, "name: ${stage}-${kind}\nspouts: [{id: a, className: squall.Numbers, parallelism: ${n}}]\n")
        .unwrap();
    fs::write(&filter, "stage=dev\nkind: x\nn=3\n").unwrap();
    let flux = Flux::load(&path, &FluxOptions { filter: Some(filter), ..FluxOptions::default() });
    assert_eq!(flux.problems(), []);
    let topology = flux.topology().unwrap();
    assert_eq!(topology.name(), "dev-x");
    assert_eq!(topology.plan(&topology.resolve().unwrap().settings).components[0].tasks.len(), 3);
}

#[test]
fn tasks_are_numbered_as_storm_numbers_them() {
    let text = "name: t\nconfig: {topology.acker.executors: 2, topology.eventlogger.executors: 1}\nspouts:\n  \
                - {id: spout, className: squall.Numbers, numTasks: 2, parallelism: 1}\n  \
                - {id: A, className: squall.Numbers}\nbolts:\n  - {id: bolt, className: squall.Sum, parallelism: 3}\n\
                streams:\n  - {from: spout, to: bolt, grouping: {type: NONE}}\n  \
                - {from: A, to: bolt, grouping: {type: LOCAL_OR_SHUFFLE}}\n";
    with_file(text, |path| {
        let topology = topology(path, &FluxOptions::default()).unwrap();
        let plan = topology.plan(&topology.resolve().unwrap().settings);
        let tasks: Vec<(String, Vec<u32>)> = plan
            .components
            .iter()
            .map(|component| (component.id.clone(), component.tasks.iter().map(|task| task.0).collect()))
            .collect();
        // A, __acker (2), __eventlogger, bolt (3), spout (2): upper case before `_` before lower case.
        assert_eq!(tasks, [("spout".into(), vec![8, 9]), ("A".into(), vec![1]), ("bolt".into(), vec![5, 6, 7])]);
    });
}

#[test]
fn cycles_are_found_and_declared() {
    let streams = format!(
        "{GOOD}  - {{from: sum, to: print, grouping: {{type: ALL}}}}\n  \
         - {{from: sum, to: sum, grouping: {{type: FIELDS, args: [sum]}}}}\n"
    );
    with_file(&with_streams(&streams), |path| {
        let topology = topology(path, &FluxOptions::default()).unwrap();
        let plan = topology.plan(&topology.resolve().unwrap().settings);
        assert_eq!(plan.edges.iter().map(|edge| edge.feedback).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(plan.edges[2].grouping.to_string(), "fields sum");
    });
}

#[test]
fn of_two_groupings_of_one_stream_the_later_counts_and_unused_bolts_are_told() {
    let streams = format!("{GOOD}  - {{from: numbers, to: sum, grouping: {{type: GLOBAL}}}}\n");
    with_file(&with_streams(&streams), |path| {
        let flux = Flux::load(path, &FluxOptions::default());
        let warnings: Vec<String> = flux.warnings().map(|warning| warning.message.clone()).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("\"print\" is left out"), "{warnings:?}");
        assert!(warnings[1].contains("again"), "{warnings:?}");
        let topology = flux.topology().unwrap();
        let plan = topology.plan(&topology.resolve().unwrap().settings);
        assert_eq!(plan.edges.len(), 1);
        assert_eq!(plan.edges[0].grouping.to_string(), "global");
    });
}
