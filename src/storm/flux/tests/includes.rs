//! Includes, and things of one name: as Flux has them, told where it says nothing.

use super::*;

/// Warnings and problems of `t.yaml` among files, each with the folder taken out.
fn told(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>, Flux) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let flux = Flux::load(&folder.path().join("t.yaml"), &FluxOptions::default());
    let prefix = folder.path().display().to_string() + "/";
    let shown = |problem: &Problem| problem.to_string().replace(&prefix, "");
    (flux.warnings().map(shown).collect(), flux.problems().iter().map(shown).collect(), flux)
}

const BODY: &str = "spouts: [{id: n, className: squall.Numbers, constructorArgs: [5]}]\n\
                    bolts: [{id: s, className: squall.Sum}]\n\
                    streams: [{from: n, to: s, grouping: {type: SHUFFLE}}]\n";

#[test]
fn includes_of_included_files_are_not_followed_and_told() {
    let a = "includes: [{file: b.yaml}]\nconfig: {a: 1}\n\
             workerHooks: [{id: hook, className: com.example.Hook}]\n";
    let t = format!("name: t\nincludes: [{{file: parts/a.yaml}}]\n{BODY}");
    let (warnings, problems, flux) = told(&[("t.yaml", &t), ("parts/a.yaml", a), ("parts/b.yaml", "config: {b: 1}\n")]);
    assert_eq!(problems, [""; 0]);
    let because = "is left out, as in Flux, because the file that holds it is itself included; put it into t.yaml";
    assert_eq!(
        warnings,
        [
            format!("parts/a.yaml:1:19: the include of \"b.yaml\" {because}"),
            format!("parts/a.yaml:3:20: the worker hook \"hook\" {because}"),
        ]
    );
    let conf = &flux.resolved().conf;
    assert_eq!((conf.whole("a"), conf.get("b")), (Some(1), None));
}

#[test]
fn a_file_that_includes_itself_is_merged_once_more_whatever_the_path() {
    let other = "name: other\nconfig: {mine: 2}\n";
    let t = format!(
        "name: t\nconfig: {{mine: 1}}\nincludes:\n  - {{file: other.yaml, override: true}}\n  \
         - {{file: sub/../t.yaml, override: true}}\n{BODY}"
    );
    let (warnings, problems, flux) = told(&[("t.yaml", &t), ("other.yaml", other), ("sub/x", "")]);
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        warnings,
        ["t.yaml:5:12: \"sub/../t.yaml\" is this file itself: it is merged once more, as in Flux; remove this include"]
    );
    assert_eq!(flux.resolved().conf.whole("mine"), Some(1));
    assert_eq!(flux.resolved().subscriptions.len(), 1);
    assert_eq!(flux.topology().unwrap().name(), "t");
}

#[test]
fn a_file_that_is_included_twice_is_told_by_what_it_is() {
    let t = format!("name: t\nincludes: [{{file: a.yaml}}, {{file: ./sub/../a.yaml}}]\n{BODY}");
    let (warnings, problems, _) = told(&[("t.yaml", &t), ("a.yaml", "config: {a: 1}\n"), ("sub/x", "")]);
    assert_eq!(problems, [""; 0]);
    let expected = "t.yaml:2:35: \"./sub/../a.yaml\" is the file that is included at t.yaml:2:19: it is merged once \
                    more, as in Flux; remove this include";
    assert_eq!(warnings, [expected]);
}

#[test]
fn of_two_things_with_one_id_the_later_counts_and_the_first_is_told() {
    let text = "name: t\ncomponents:\n  - {id: f, className: org.apache.storm.tuple.Fields, constructorArgs: [[a]]}\n  \
                - {id: f, className: org.apache.storm.tuple.Fields, constructorArgs: [[b]]}\nspouts:\n  \
                - {id: n, className: squall.Words}\n  - {id: n, className: squall.Numbers, parallelism: 2}\nbolts:\n  \
                - {id: s, className: squall.Split}\n  - {id: s, className: squall.Sum}\n\
                streams: [{from: n, to: s, grouping: {type: FIELDS, args: [number]}}]\n";
    let left_out = |place: &str, what: &str, by: &str| {
        format!(
            "t.yaml:{place}: the {what} is left out: t.yaml:{by} has the same id, and the later one counts, as in Flux"
        )
    };
    assert_eq!(
        warnings_of(text),
        [
            left_out("3:10", "component \"f\"", "4:10"),
            left_out("6:10", "spout \"n\"", "7:10"),
            left_out("9:10", "bolt \"s\"", "10:10"),
        ]
    );
    with_file(text, |path| {
        let topology = topology(path, &FluxOptions::default()).unwrap();
        let plan = topology.plan(&topology.resolve().unwrap().settings);
        assert_eq!((plan.components[0].tasks.len(), plan.edges.len()), (2, 1));
    });
}

#[test]
fn a_topology_source_excludes_spouts_of_an_included_file_too() {
    let t = "includes: [{file: a.yaml}]\ntopologySource: {className: com.example.Source}\n";
    let (_, problems, _) = told(&[("t.yaml", t), ("a.yaml", BODY)]);
    assert!(problems[0].ends_with("topologySource excludes spouts, bolts and streams: remove one or the other"));
}
