use super::*;

const FILE: &str = r#"
name: mixed
config:
  topology.workers: 2
  topology.debug: true
  mine: 1
components:
  - id: config
    className: org.apache.storm.kafka.spout.KafkaSpoutConfig
spouts:
  - id: words
    className: org.apache.storm.testing.TestWordSpout
  - id: kafka
    className: org.apache.storm.kafka.spout.KafkaSpout
    constructorArgs: [ref: config]
bolts:
  - id: count
    className: org.apache.storm.testing.TestWordCounter
  - id: own
    className: com.example.Enrich
  - id: lonely
    className: org.apache.storm.testing.TestGlobalCount
streams:
  - {from: words, to: count, grouping: {type: SHUFFLE}}
  - from: kafka
    to: own
    grouping: {type: CUSTOM, customClass: {className: com.example.Mine}}
"#;

fn written(text: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yaml");
    std::fs::write(&path, text).unwrap();
    report(&path, &FluxOptions::default())
}

#[test]
fn a_report_tells_what_runs_and_what_does_not() {
    let report = written(FILE);
    assert!(!report.runs && report.mistakes.is_empty(), "{:?}", report.mistakes);
    let how = |id: &str| report.parts.iter().find(|part| part.id == id).map(|part| part.how);
    assert_eq!(how("words"), Some(How::Native));
    assert_eq!(how("kafka"), Some(How::NeedsJvm));
    assert_eq!(how("own"), Some(How::NeedsJvm));
    assert_eq!(how("lonely"), Some(How::LeftOut));
    assert_eq!(how("config"), Some(How::NeedsJvm));
    let changed: Vec<&str> =
        report.settings.iter().filter(|setting| setting.changes).map(|setting| setting.key.as_str()).collect();
    assert_eq!(changed, ["topology.workers", "topology.debug"]);
    let about: Vec<&str> = report.differences.iter().map(|difference| difference.about).collect();
    assert_eq!(about, ["shuffle", "workers", "open trees", "a failing component", "references"]);
}

#[test]
fn it_can_be_read_by_people_and_by_programs() {
    let report = written(FILE);
    let text = report.to_text();
    for part in
        ["Runs natively:\n  spout words", "Needs the JVM:\n  spout kafka", "to do: ", "Left out:\n  bolt lonely"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["parts"][1]["how"], "needs_jvm");
    assert_eq!(json["runs"], false);
}

#[test]
fn mistakes_are_told_apart_from_what_needs_a_jvm() {
    let report = written("name: t\nspouts: [{id: a, className: squall.Numbers}]\nbolts: [{id: b}]\n");
    assert!(!report.runs);
    assert_eq!(report.mistakes.len(), 1, "{:?}", report.mistakes);
}
