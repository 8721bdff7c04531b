//! What objects of Java's come to, and what is said of those that cannot be made.

use super::*;
use crate::storm::registry::Argument;

/// What the component `x` comes to, or what is said of it, without the place.
fn made(object: &str) -> Result<Argument, String> {
    let text = format!("name: t\nspouts: [{{id: a, className: squall.Numbers}}]\ncomponents:\n  - id: x\n{object}");
    let parsed = crate::storm::yaml::parse(&crate::storm::yaml::Text::new("t.yaml", text)).unwrap();
    let mut problems = Vec::new();
    let definition = read::read(&parsed, &mut problems).definition;
    assert_eq!(problems, []);
    let objects = objects::Objects::new(&definition.components);
    objects.make(&definition.components[0]).map_err(|obstacle| match obstacle {
        resolve::Obstacle::Wrong(problem) | resolve::Obstacle::Java(problem) => problem.to_string(),
    })
}

fn value(json: serde_json::Value) -> Result<Argument, String> {
    Ok(Argument::Value(json))
}

#[test]
fn lists_and_maps_are_filled_by_the_methods_that_a_file_calls() {
    use serde_json::json;
    let list = |rest: &str| made(&format!("    className: java.util.ArrayList\n{rest}"));
    let calls = "    configMethods:\n      - {name: add, args: [geo]}\n      - {name: add, args: [0, 7]}\n      \
                 - {name: addAll, args: [[a, b]]}\n      - {name: set, args: [1, host]}\n";
    assert_eq!(list(calls), value(json!([7, "host", "a", "b"])));
    assert_eq!(list("    constructorArgs: [10]\n"), value(json!([])));
    assert_eq!(list("    constructorArgs: [[a, b]]\n"), value(json!(["a", "b"])));
    let as_list = "    className: java.util.Arrays\n    factory: asList\n    factoryArgs: [[a, b]]\n";
    assert_eq!(made(as_list), value(json!(["a", "b"])));
    let map = "    className: java.util.HashMap\n    configMethods:\n      - {name: put, args: [a, 1]}\n      \
               - {name: putAll, args: [{b: [x]}]}\n";
    assert_eq!(made(map), value(json!({"a": 1, "b": ["x"]})));
}

#[test]
fn what_cannot_be_carried_out_is_told_with_its_place() {
    let list = |rest: &str| made(&format!("    className: java.util.ArrayList\n{rest}")).unwrap_err();
    assert_eq!(
        list("    configMethods: [{name: sort, args: [x]}]\n"),
        "t.yaml:6:28: sort of java.util.ArrayList with 1 arguments cannot be carried out here; add, addAll, set and \
         clear can"
    );
    assert!(
        list("    constructorArgs: [a, b]\n").starts_with("t.yaml:5:16: java.util.ArrayList takes nothing, a number")
    );
    assert!(list("    configMethods: [{name: add, args: [5, x]}]\n").starts_with("t.yaml:6:40: expected a position"));
    assert!(
        list("    properties: [{name: size, value: 3}]\n")
            .ends_with("java.util.ArrayList has no property \"size\" here")
    );
    let count = "    className: org.apache.storm.topology.base.BaseWindowedBolt$Count\n";
    let more = made(&format!("{count}    constructorArgs: [1, 2]\n")).unwrap_err();
    assert!(more.ends_with("takes one number of tuples"), "{more}");
    let called = made(&format!("{count}    constructorArgs: [1]\n    configMethods: [{{name: go}}]\n")).unwrap_err();
    assert!(called.ends_with("has no method \"go\" here"), "{called}");
}

#[test]
fn times_are_made_as_java_makes_them() {
    let length = "    className: org.apache.storm.topology.base.BaseWindowedBolt$Duration\n";
    let time = "    className: java.time.Duration\n";
    for (object, millis) in [
        (format!("{length}    constructorArgs: [2, SECONDS]\n"), 2_000),
        (format!("{length}    constructorArgs: [2500, MICROSECONDS]\n"), 2),
        (format!("{length}    factory: minutes\n    factoryArgs: [1]\n"), 60_000),
        (format!("{length}    factory: of\n    factoryArgs: [7]\n"), 7),
        (format!("{time}    factory: ofSeconds\n    factoryArgs: [3]\n"), 3_000),
    ] {
        assert_eq!(made(&object), Ok(Argument::Millis(millis)), "{object}");
    }
    assert!(made(&format!("{length}    constructorArgs: [2, PARSECS]\n")).is_err());
    assert!(made(&format!("{time}    constructorArgs: [2]\n")).is_err());
}

#[test]
fn an_array_list_reaches_the_component_that_refers_to_it() {
    let text = "name: t\ncomponents:\n  - id: names\n    className: java.util.ArrayList\n    configMethods:\n      \
                - {name: add, args: [geo]}\nspouts: [{id: w, className: squall.Words, constructorArgs: \
                [{ref: names}, 4]}]\n\
                bolts: [{id: s, className: squall.Split}]\nstreams: [{from: w, to: s, grouping: {type: SHUFFLE}}]\n";
    assert_eq!(problems_of(text), [""; 0]);
    let number = text.replace("args: [geo]", "args: [5]");
    assert_eq!(
        problems_of(&number),
        ["t.yaml:7:67: expected a list of texts, or one text of words for words of squall.Words, not [5]; \
             element 1 is 5: put it in quotes"]
    );
}

#[test]
fn objects_that_nothing_refers_to_are_made_too_as_in_flux() {
    let text = "name: t\ncomponents: [{id: f, className: org.apache.storm.tuple.Fields, constructorArgs: [[1]]}]\n\
                spouts: [{id: a, className: squall.Numbers}]\n";
    assert_eq!(problems_of(text), ["t.yaml:2:33: org.apache.storm.tuple.Fields takes the names of fields"]);
}

#[test]
fn references_are_checked_wherever_they_stand() {
    let text = "name: t\ncomponents:\n  - {id: java, className: com.example.Java, properties: [{name: p, ref: a1}]}\n  \
                - {id: list, className: java.util.ArrayList, configMethods: [{name: add, args: [{ref: java}]}]}\n\
                spouts: [{id: s, className: com.example.Spout, constructorArgs: [{ref: a2}, {reflist: [java, a3]}]}]\n\
                bolts: [{id: b, className: com.example.Bolt, configMethods: [{name: m, args: [{ref: a4}]}]}]\n\
                streams:\n  - from: s\n    to: b\n    grouping:\n      type: CUSTOM\n      \
                customClass: {className: com.example.Grouping, constructorArgs: [{ref: a5}]}\n";
    let problems = problems_of(text);
    let missing: Vec<&str> =
        problems.iter().filter_map(|problem| problem.split("there is no component ").nth(1)).collect();
    assert_eq!(missing, ["\"a1\"", "\"a2\"", "\"a3\"", "\"a4\"", "\"a5\""], "{problems:#?}");
    let java: Vec<&String> = problems.iter().filter(|problem| problem.contains("needs the JVM")).collect();
    assert_eq!(java.len(), 4, "{java:#?}");
}

#[test]
fn what_flux_passes_over_is_told() {
    let text = "name: t\nspouts: [{id: a, className: squall.Numbers, constructorArgs: [5], factory: make, \
                factoryArgs: [1]}]\n\
                bolts:\n  - {id: f, className: squall.Filter, properties: [{name: field, value: number}, \
                {name: equals, value: {ref: x}}]}\nstreams:\n  \
                - {from: a, to: f, grouping: {type: SHUFFLE, args: [number]}}\n";
    let warnings = warnings_of(text);
    let messages: Vec<&str> = warnings.iter().map(|warning| warning.split(": ").nth(1).unwrap()).collect();
    assert_eq!(messages[0], "args means nothing for this type of grouping, as in Flux", "{warnings:#?}");
    assert!(messages[1].starts_with("ref refers to nothing here, as in Flux"), "{warnings:#?}");
    assert_eq!(messages[2], "the factory is not called, as in Flux", "{warnings:#?}");
    assert!(warnings[3].ends_with("factoryArgs mean nothing, as in Flux: no factory is called"), "{warnings:#?}");
    assert_eq!(warnings.len(), 4, "{warnings:#?}");
}

#[test]
fn arguments_of_a_process_are_not_replaced_or_left_out() {
    let problem = |method: &str| {
        let text = format!(
            "name: t\nspouts: [{{id: n, className: squall.Numbers}}]\nbolts:\n  - id: b\n    \
             className: org.apache.storm.flux.wrappers.bolts.FluxShellBolt\n    constructorArgs: [[x], [y]]\n    \
             configMethods: [{method}]\nstreams: [{{from: n, to: b, grouping: {{type: SHUFFLE}}}}]\n"
        );
        problems_of(&text).join("\n")
    };
    assert!(problem("{name: changeChildCWD, args: ['no']}").ends_with("7:51: changeChildCWD takes true or false"));
    let environment = problem("{name: setEnv, args: [{A: b, RETRIES: 3}]}");
    assert!(environment.ends_with("and the value of RETRIES is 3: put it in quotes"), "{environment}");
    assert!(problem("{name: setDefaultStream, args: [[a], [b]]}").ends_with("takes 1 arguments here, not 2"));
    let config = problem("{name: addComponentConfig, args: [topology.subprocess.timeout.secs, soon]}");
    assert!(config.ends_with("must be a whole number of at least 1, not \"soon\""), "{config}");
    assert_eq!(problem("{name: addComponentConfig, args: [mine, [1, 2]]}"), "");
}

#[test]
fn a_constructor_that_a_stand_in_does_not_have_is_refused() {
    let problems = |class: &str, args: &str| {
        problems_of(&format!("name: t\nspouts: [{{id: w, className: {class}, constructorArgs: {args}}}]\n"))
    };
    let words = "org.apache.storm.testing.TestWordSpout";
    assert_eq!(problems(words, "[false]"), [""; 0]);
    assert_eq!(
        problems(words, "[false, 7, [], true]"),
        [format!("t.yaml:2:94: there is no such constructor: {words} takes 1 constructor arguments here, not 4")]
    );
    assert_eq!(
        problems(words, "[a, 7, [], true]"),
        [format!(
            "t.yaml:2:87: there is no such constructor: expected true or false for isDistributed of {words}, not \"a\""
        )]
    );
    let planner = "org.apache.storm.testing.TestPlannerSpout";
    for args in ["[true]", "[[a, b]]", "[[a, b], false]"] {
        assert_eq!(problems(planner, args), [""; 0], "{args}");
    }
    for args in ["[true, true]", "[[a], true, 1]", "[7]"] {
        assert_eq!(problems(planner, args).len(), 1, "{args}");
    }
    // Arguments that are properties only do not make room for more in the constructor.
    let text = "name: t\nspouts: [{id: n, className: squall.Numbers}]\nbolts:\n  - {id: f, className: squall.Filter, \
                constructorArgs: [number, [number], more], properties: [{name: above, value: 1}]}\n\
                streams: [{from: n, to: f, grouping: {type: SHUFFLE}}]\n";
    assert!(problems_of(text)[0].ends_with("takes 2 constructor arguments here, not 3"), "{:?}", problems_of(text));
}

#[test]
fn a_number_that_json_lacks_is_no_default() {
    let text = "name: t\nspouts: [{id: n, className: squall.Numbers, constructorArgs: [.inf]}]\n";
    assert_eq!(problems_of(text), ["t.yaml:2:63: expected a number that is finite, not inf"]);
}
