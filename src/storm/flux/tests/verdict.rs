//! One verdict on a file: what `validate` and `run` say, `migrate` says.

use super::*;
use crate::storm::migrate::{How, report};

#[test]
fn a_misspelt_class_names_the_one_that_is_meant() {
    let text = "name: t\nspouts: [{id: f, className: squall.Numbers}]\nbolts:\n  - id: outliers\n    \
                className: org.apache.storm.flux.wrappers.spout.FluxShellSpout\n    constructorArgs: \
                [[python, x.py]]\n";
    let problems = problems_of(text);
    let hint = "did you mean org.apache.storm.flux.wrappers.bolts.FluxShellBolt? \
                (org.apache.storm.flux.wrappers.spouts.FluxShellSpout is a spout)";
    assert_eq!(
        problems,
        [format!(
            "t.yaml:5:16: bolt \"outliers\" needs the JVM: there is no native \
             org.apache.storm.flux.wrappers.spout.FluxShellSpout; {hint}"
        )]
    );
    with_file(text, |path| {
        let report = report(path, &FluxOptions::default());
        let part = report.parts.iter().find(|part| part.id == "outliers").unwrap();
        assert_eq!((report.runs, part.how), (false, How::NeedsJvm));
        assert_eq!(part.to_do, format!("{hint} Else remove it: no stream leads to it"));
    });
    let spouts = "name: t\nspouts: [{id: f, className: org.apache.storm.flux.wrappers.spout.FluxShellSpout}]\n";
    let told = problems_of(spouts);
    assert!(told[0].ends_with("did you mean org.apache.storm.flux.wrappers.spouts.FluxShellSpout?"), "{told:?}");
}

#[test]
fn a_class_of_the_other_kind_is_a_mistake_and_no_matter_of_java() {
    let text = "name: t\nspouts: [{id: f, className: squall.Sum}]\nbolts: [{id: b, className: \
                org.apache.storm.flux.wrappers.spouts.FluxShellSpout, constructorArgs: [[x], [y]]}]\n";
    let problems = problems_of(text);
    assert!(problems[0].starts_with("t.yaml:2:29: expected a spout for \"f\"; squall.Sum is a bolt"), "{problems:?}");
    assert!(problems[1].contains("expected a bolt for \"b\""), "{problems:?}");
    assert!(problems[1].contains("did you mean org.apache.storm.flux.wrappers.bolts.FluxShellBolt?"), "{problems:?}");
    with_file(text, |path| {
        let report = report(path, &FluxOptions::default());
        assert!(!report.runs && report.parts.iter().all(|part| part.how == How::Broken), "{:?}", report.parts);
    });
}

#[test]
fn a_grouping_in_java_is_named_whatever_the_ends_of_its_stream_are() {
    let grouping = "{type: CUSTOM, customClass: {className: com.example.Mine}}";
    let text = format!(
        "name: t\nspouts: [{{id: s, className: com.example.InJava}}]\nbolts: [{{id: b, className: squall.Count}}]\n\
         streams:\n  - {{from: s, to: b, grouping: {grouping}}}\n  - {{from: s, to: b, grouping: {{type: ALL}}}}\n"
    );
    assert_eq!(
        problems_of(&text),
        [
            "t.yaml:2:29: spout \"s\" needs the JVM: there is no native com.example.InJava",
            "t.yaml:5:72: the grouping needs the JVM: there is no native com.example.Mine",
        ]
    );
    with_file(&text, |path| {
        let report = report(path, &FluxOptions::default());
        let part = report.parts.iter().find(|part| part.kind == "grouping").unwrap();
        assert_eq!((report.runs, part.how), (false, How::NeedsJvm));
    });
}

#[test]
fn what_only_the_whole_topology_shows_is_in_the_report() {
    let text = "name: t\nspouts: [{id: a, className: squall.Numbers}]\nbolts: [{id: a, className: squall.Sum}]\n\
                streams: [{from: a, to: a, grouping: {type: SHUFFLE}}]\n";
    with_file(text, |path| {
        let report = report(path, &FluxOptions::default());
        let error = Flux::load(path, &FluxOptions::default()).topology().map(|_| ()).unwrap_err();
        let problems: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        assert!(!report.runs && !problems.is_empty());
        assert_eq!(report.mistakes, problems);
    });
}

#[test]
fn an_object_that_holds_one_of_java_s_is_java_s_too() {
    let text = "name: t\ncomponents:\n  - {id: java, className: com.example.Java}\n  \
                - {id: list, className: java.util.ArrayList, configMethods: [{name: add, args: [{ref: java}]}]}\n\
                spouts: [{id: w, className: squall.Words, constructorArgs: [{ref: list}]}]\n";
    assert_eq!(
        problems_of(text),
        ["t.yaml:3:27: component \"java\" needs the JVM: there is no native com.example.Java"]
    );
    with_file(text, |path| {
        let report = report(path, &FluxOptions::default());
        assert!(report.parts.iter().all(|part| part.how == How::NeedsJvm), "{:?}", report.parts);
    });
}

#[test]
fn a_key_that_storm_drops_from_a_component_is_told() {
    let text = "name: t\nspouts: [{id: a, className: squall.Numbers, config: {topology.message.timeout.secs: 5}}]\n";
    assert_eq!(
        warnings_of(text),
        ["t.yaml:2:85: topology.message.timeout.secs has no effect here: Storm drops it from a component's \
          configuration: set it for the topology"]
    );
}

#[test]
fn loads_for_the_scheduler_are_in_the_report() {
    let text = "name: t\nspouts: [{id: a, className: squall.Numbers, cpuLoad: 50}]\n";
    with_file(text, |path| {
        let report = report(path, &FluxOptions::default());
        let load = report.settings.iter().find(|setting| setting.key == "cpuLoad").unwrap();
        assert_eq!((load.value.as_str(), load.fate, load.component.as_deref()), ("50", "ignored", Some("a")));
    });
}
