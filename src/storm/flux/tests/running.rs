//! Files that run to their end.

use std::time::Duration;

use super::*;
use crate::engine::report::Report;
use crate::testing::TestDriver;
use crate::topology::settings::Layers;

/// Runs a file whose tuples end in `squall.WriteLines` at `OUT`; returns the lines, sorted, and the report.
fn lines_of(text: &str) -> (Vec<String>, Report) {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("t.yaml"), folder.path().join("out.tsv"));
    let text = text.replace("OUT", &out.display().to_string());
    fs::write(folder.path().join("in.txt"), "the cow jumped\nover the moon\nthe end\n").unwrap();
    fs::write(&path, text.replace("IN", &folder.path().join("in.txt").display().to_string())).unwrap();
    let topology = topology(&path, &FluxOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let settings = |layers: &mut Layers| {
        layers.set("test", "executors", "1").set("test", "wait", "park").set("test", "pin", "false");
    };
    let report = topology.configure(settings).run().unwrap_or_else(|error| panic!("{error}"));
    let mut lines: Vec<String> = fs::read_to_string(&out).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    (lines, report)
}

#[test]
fn a_word_count_in_yaml_counts_words() {
    let text = "
name: words
spouts:
  - {id: lines, className: squall.Lines, constructorArgs: [IN]}
bolts:
  - {id: split, className: squall.Split}
  - {id: count, className: squall.CountAtEnd, parallelism: 3}
  - {id: out, className: squall.WriteLines, properties: [{name: path, value: OUT}]}
streams:
  - {from: lines, to: split, grouping: {type: SHUFFLE}}
  - {from: split, to: count, grouping: {type: FIELDS, args: [word]}}
  - {from: count, to: out, grouping: {type: GLOBAL}}
";
    let (lines, report) = lines_of(text);
    assert_eq!(lines, ["cow\t1", "end\t1", "jumped\t1", "moon\t1", "over\t1", "the\t3"]);
    assert_eq!(report.components[0].counts.acked, 3);
}

#[test]
fn filters_projections_and_sums_do_what_they_say() {
    let text = "
name: flow
spouts:
  - {id: n, className: squall.Numbers, constructorArgs: [10]}
bolts:
  - id: big
    className: squall.Filter
    properties: [{name: field, value: number}, {name: above, value: 6}]
  - id: twice
    className: squall.Project
    properties: [{name: fields, value: [number]}, {name: as, value: [n]}]
  - {id: sum, className: squall.Sum}
  - {id: out, className: squall.WriteLines, constructorArgs: [OUT]}
streams:
  - {from: n, to: big, grouping: {type: SHUFFLE}}
  - {from: big, to: twice, grouping: {type: SHUFFLE}}
  - {from: twice, to: sum, grouping: {type: GLOBAL}}
  - {from: sum, to: out, grouping: {type: GLOBAL}}
";
    assert_eq!(lines_of(text).0, ["15", "24", "7"]);
}

#[test]
fn windows_by_number_slide_and_ack_what_leaves_and_nothing_else() {
    let text = "
name: windows
spouts:
  - {id: n, className: squall.Numbers, constructorArgs: [9]}
bolts:
  - id: w
    className: squall.Window
    constructorArgs: [values]
    config: {topology.bolts.window.length.count: 5, topology.bolts.window.sliding.interval.count: 3}
  - {id: out, className: squall.WriteLines, constructorArgs: [OUT]}
streams:
  - {from: n, to: w, grouping: {type: GLOBAL}}
  - {from: w, to: out, grouping: {type: GLOBAL}}
";
    let (lines, report) = lines_of(text);
    assert_eq!(lines, ["[0, 1, 2]", "[1, 2, 3, 4, 5]", "[4, 5, 6, 7, 8]"]);
    let counts = &report.components[0].counts;
    assert_eq!((counts.acked, counts.failed, counts.left_open), (4, 0, 5), "the last window stays open");
}

/// In virtual time: a word comes every 100 ms.
#[test]
fn tick_periods_may_be_in_milliseconds_and_windows_hold_ticks_as_in_storm() {
    let text = "
name: ticking
spouts:
  - {id: w, className: org.apache.storm.testing.TestWordSpout}
bolts:
  - {id: ticks, className: squall.Ticks, config: {topology.tick.tuple.freq.millis: 20}}
  - id: pairs
    className: squall.Window
    constructorArgs: [values]
    config:
      topology.tick.tuple.freq.millis: 50
      topology.bolts.window.length.count: 2
      topology.bolts.window.sliding.interval.count: 2
  - {id: out, className: squall.WriteLines, constructorArgs: [OUT]}
streams:
  - {from: w, to: ticks, grouping: {type: GLOBAL}}
  - {from: w, to: pairs, grouping: {type: GLOBAL}}
  - {from: ticks, to: out, grouping: {type: GLOBAL}}
  - {from: pairs, to: out, grouping: {type: GLOBAL}}
";
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("t.yaml"), folder.path().join("out.tsv"));
    fs::write(&path, text.replace("OUT", &out.display().to_string())).unwrap();
    let topology = topology(&path, &FluxOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut driver = TestDriver::start(topology).unwrap();
    driver.advance(Duration::from_millis(1_010)).unwrap();
    driver.drain().unwrap();
    let written = fs::read_to_string(&out).unwrap();
    let (pairs, ticks): (Vec<&str>, Vec<&str>) = written.lines().partition(|line| line.starts_with('['));
    assert_eq!(ticks, vec!["0.02"; 50]);
    // Ten words and twenty ticks.
    assert_eq!((pairs.len(), written.matches("0.05").count()), (15, 20), "{written}");
}

#[test]
fn java_hashes_decide_which_task_gets_a_word() {
    // Of two tasks "nathan" goes to the second and "bob" and "joey" to the first.
    let text = "
name: routed
spouts:
  - {id: w, className: squall.Words, constructorArgs: [[nathan, bob, joey], 6]}
bolts:
  - {id: count, className: org.apache.storm.testing.TestGlobalCount, parallelism: 2}
  - {id: out, className: squall.WriteLines, constructorArgs: [OUT]}
streams:
  - {from: w, to: count, grouping: {type: FIELDS, args: [word]}}
  - {from: count, to: out, grouping: {type: GLOBAL}}
";
    assert_eq!(lines_of(text).0, ["1", "1", "2", "2", "3", "4"]);
}

#[test]
fn partial_key_and_custom_groupings_are_found() {
    let text = "
name: custom
components:
  - {id: word, className: org.apache.storm.tuple.Fields, constructorArgs: [[word]]}
  - {id: two, className: org.apache.storm.tuple.Fields, constructorArgs: [a, b]}
spouts:
  - {id: w, className: squall.Words, constructorArgs: [[nathan], 8]}
bolts:
  - {id: count, className: org.apache.storm.testing.TestWordCounter, parallelism: 5}
  - {id: first, className: org.apache.storm.testing.IdentityBolt, parallelism: 3, constructorArgs: [ref: two]}
  - {id: out, className: squall.WriteLines, constructorArgs: [OUT]}
streams:
  - from: w
    to: count
    grouping:
      type: CUSTOM
      customClass:
        className: org.apache.storm.grouping.PartialKeyGrouping
        constructorArgs: [ref: word]
  - from: count
    to: first
    grouping:
      type: CUSTOM
      customClass: {className: org.apache.storm.testing.NGrouping, constructorArgs: [2]}
  - {from: first, to: out, grouping: {type: GLOBAL}}
";
    let (lines, _) = lines_of(text);
    // Two tasks count four each, and each count goes to two tasks.
    let expected = ["nathan\t1", "nathan\t2", "nathan\t3", "nathan\t4"].map(|line| [line; 4]).concat();
    assert_eq!(lines, expected);
}
