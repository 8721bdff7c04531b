use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Node {
    parse(&Text::new("f.yaml", text)).unwrap_or_else(|problems| panic!("{text:?}: {problems:?}"))
}

fn problems(text: &str) -> Vec<String> {
    parse(&Text::new("f.yaml", text)).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn plain_scalars_mean_what_they_did_in_version_1_1() {
    let rows = [
        ("yes", "true"),
        ("Off", "false"),
        ("'yes'", "\"yes\""),
        ("y", "\"y\""),
        ("~", "null"),
        ("010", "8"),
        ("08", "\"08\""),
        ("1_000", "1000"),
        ("0x1F", "31"),
        ("-0b101", "-5"),
        ("1:30", "90"),
        ("1.5", "1.5"),
        ("1e3", "1000.0"),
        (".5", "0.5"),
        ("-.inf", "null"),
        ("+12", "12"),
        ("1.2.3", "\"1.2.3\""),
        ("12 MB", "\"12 MB\""),
        ("2001-12-14", "\"2001-12-14\""),
        ("99999999999999999999", "\"99999999999999999999\""),
        ("!!str 12", "\"12\""),
        ("!!float 12", "12.0"),
        ("-", "[null]"),
        ("--1", "\"--1\""),
        ("1-1", "\"1-1\""),
    ];
    for (text, expected) in rows {
        assert_eq!(read(text).to_json().to_string(), expected, "{text}");
    }
}

#[test]
fn values_know_their_places() {
    let root = read("a: 1\nb:\n  - x\n  -   y: z\n");
    let Content::Map(entries) = &root.content else { panic!("{root:?}") };
    assert_eq!(entries[1].0.place.to_string(), "f.yaml:2:1");
    let Content::List(values) = &entries[1].1.content else { panic!("{root:?}") };
    assert_eq!(values[1].get("y").unwrap().place.to_string(), "f.yaml:4:10");
    assert_eq!(read("---\n# the end").place.to_string(), "f.yaml:2:1");
}

#[test]
fn merges_aliases_and_flow_style_work() {
    let root = read("base: &b {a: 1, c: [x]}\nd:\n  <<: *b\n  a: 2\n");
    assert_eq!(root.get("d").unwrap().to_json().to_string(), r#"{"a":2,"c":["x"]}"#);
    assert_eq!(read("{\"a\": [1, 2.5, null, true]}").to_json().to_string(), r#"{"a":[1,2.5,null,true]}"#);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    assert_eq!(problems("a: 1\nb: 2\na: 3\n"), ["f.yaml:3:1: \"a\" is given twice, first at f.yaml:1:1"]);
    assert!(problems("a: [1\nb: 2\n")[0].starts_with("f.yaml:2:"), "{:?}", problems("a: [1\nb: 2\n"));
    assert_eq!(problems("a: 1\n---\nb: 2\n")[0], "f.yaml:2:1: expected one document, and a second one begins here");
    assert!(problems(&("[".repeat(70) + &"]".repeat(70)))[0].contains("deeper"));
    assert!(problems("a: !!java.lang.Runtime x")[0].contains("is not supported"));
}

#[test]
fn a_file_cannot_blow_itself_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        text += &format!("a{level}: &a{level} [{previous}]\n");
    }
    assert!(problems(&text)[0].contains("more than 1000000 values"));
}

fn property(value: &str, place: &str) -> Property {
    Property { value: value.to_owned(), place: place.to_owned() }
}

fn substitution() -> Substitution {
    let properties = [("x", "1"), ("long", "a longer text"), ("list", "[\"a\", \"b\"]"), ("two", "- a\n- b")];
    let properties = properties.map(|(name, value)| (name.to_owned(), property(value, "p.properties:1")));
    let environment = BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]);
    Substitution { properties: properties.into(), environment: Some(environment), has_filter: true }
}

#[test]
fn every_reference_of_a_line_is_replaced() {
    let replaced = |text: &str| substitution().apply(&Text::new("f.yaml", text)).0.text;
    assert_eq!(replaced("a: ${x} ${long} ${x}\nb: ${ENV-HOME}/${list[1]}"), "a: 1 a longer text 1\nb: /h/b");
    assert_eq!(replaced("a: ${ ${}"), "a: ${ ${}");
    assert_eq!(replaced("a: $${x}}"), "a: $1}");
}

#[test]
fn what_has_no_value_stays_and_is_told_but_not_in_comments() {
    let (text, missing) = substitution().apply(&Text::new("f.yaml", "# ${no}\na: ${no}\nb: ${list[7]} ${ENV-NO}"));
    assert_eq!(text.text, "# ${no}\na: ${no}\nb: ${list[7]} ${ENV-NO}");
    let places: Vec<&str> = missing.iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["f.yaml:2:4", "f.yaml:3:4", "f.yaml:3:15"]);
}

#[test]
fn places_are_those_of_the_file_as_it_was_written() {
    let text = Text::new("f.yaml", "${long}: ${x}\nc: ${long} # \nd:\n${two}\ne: x\n");
    let (text, missing) = substitution().apply(&text);
    assert!(missing.is_empty());
    let root = parse(&text).unwrap();
    let Content::Map(entries) = &root.content else { panic!("{root:?}") };
    let places: Vec<String> = entries.iter().map(|(key, value)| format!("{} {}", key.place, value.place)).collect();
    assert_eq!(
        places,
        ["f.yaml:1:1 f.yaml:1:10", "f.yaml:2:1 f.yaml:2:4", "f.yaml:3:1 f.yaml:4:1", "f.yaml:5:1 f.yaml:5:4"]
    );
}

#[test]
fn a_carriage_return_ends_a_line_too() {
    let text = Text::new("f.yaml", "a: 1\r\rb: ${x}\r\nc: ${old}\rd: x");
    let properties = [("x", "1"), ("old", "[\r  1]")].map(|(name, value)| (name.to_owned(), property(value, "p:1")));
    let (text, _) = Substitution { properties: properties.into(), ..substitution() }.apply(&text);
    let root = parse(&text).unwrap();
    let Content::Map(entries) = &root.content else { panic!("{root:?}") };
    let places: Vec<String> = entries.iter().map(|(key, value)| format!("{} {}", key.place, value.place)).collect();
    assert_eq!(
        places,
        ["f.yaml:1:1 f.yaml:1:4", "f.yaml:3:1 f.yaml:3:4", "f.yaml:4:1 f.yaml:4:4", "f.yaml:5:1 f.yaml:5:4"]
    );
}

#[test]
fn properties_are_read_as_java_does() {
    let text = "# c\n! c\n a = b c \nk:v\nw  x\\\n   y\nu=\\u00e9\\n\\=\nescaped\\ key=1\nempty\n";
    let expected = [
        ("a", "b c ", 3),
        ("k", "v", 4),
        ("w", "xy", 5),
        ("u", "\u{e9}\n=", 7),
        ("escaped key", "1", 8),
        ("empty", "", 9),
    ];
    let expected: BTreeMap<String, Property> =
        expected.map(|(name, value, line)| (name.to_owned(), property(value, &format!("p:{line}")))).into();
    let mut problems = Vec::new();
    assert_eq!(parse_properties(text, "p", &mut problems), expected);
    assert_eq!(problems, []);
}

#[test]
fn a_property_that_java_would_not_take_is_told_with_its_line() {
    let mut problems = Vec::new();
    let properties = parse_properties("a=1\nb=\\u12\nc=\\ud83e\nd=\\ud83e\\udd80\ne=\\u+123", "p", &mut problems);
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["a", "d"]);
    assert_eq!(properties["d"].value, "\u{1f980}");
    let places: Vec<&str> = problems.iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["p:2", "p:3", "p:5"]);
}

#[test]
fn elements_of_a_list_may_hold_commas_and_quotes() {
    let list = r#"["a", "b, with comma", 'c, d' , "it"s", plain ,"last"]"#;
    let properties = [("list".to_owned(), property(list, "p:3"))].into();
    let substitution = Substitution { properties, environment: None, has_filter: true };
    let replaced = |text: &str| substitution.apply(&Text::new("f.yaml", text));
    let all: Vec<String> = (0..6).map(|at| replaced(&format!("${{list[{at}]}}")).0.text).collect();
    assert_eq!(all, ["a", "b, with comma", "c, d", "it\"s", "plain", "last"]);
    let missing = |text: &str| replaced(text).1[0].message.clone();
    assert!(missing("${list[6]}").contains("the property list at p:3 has 6 elements, counted from 0"));
    assert!(missing("${lists[0]}").contains("the properties file has no lists"));
    assert!(missing("${list[x]}").contains("expected an index from 0, not x"));
}

#[test]
fn what_is_no_yaml_because_of_a_property_names_the_property() {
    let properties = [("text".to_owned(), property("a\"b", "dev.properties:7"))].into();
    let substitution = Substitution { properties, environment: None, has_filter: true };
    let (text, _) = substitution.apply(&Text::new("f.yaml", "a: 1\nb: [\"${text}\"]\n"));
    let problem = parse(&text).unwrap_err().remove(0).to_string();
    assert!(problem.starts_with("f.yaml:2:"), "{problem}");
    assert!(
        problem.ends_with("here ${text} stands for \"a\\\"b\", the property text at dev.properties:7"),
        "{problem}"
    );
}

#[test]
fn surrogates_as_escapes_are_the_characters_that_they_are_in_java() {
    let value = |text: &str| read(text).to_json();
    assert_eq!(value(r#""\ud83e\udd80 crab \u00e9""#), "\u{1f980} crab \u{e9}");
    assert_eq!(value(r#""\uD83E\uDD80""#), "\u{1f980}");
    // What is no escape is text; what the text uses itself stays what it is.
    assert_eq!(value(r#"["\ud83e\udd80", '\ud83e\uDD80', \uD83E, "\\ud83e"]"#)[1], r"\ud83e\uDD80");
    assert_eq!(value(r#"["\ud83e\udd80", '\ud83e\uDD80', \uD83E, "\\ud83e"]"#)[2], r"\uD83E");
    assert_eq!(value(r#"["\ud83e\udd80", '\ud83e\uDD80', \uD83E, "\\ud83e"]"#)[3], r"\ud83e");
    let own = "[\"\\ud83e\\udd80\", \"\u{e03e}\", \"\\ue83e\"]";
    assert_eq!(value(own), serde_json::json!(["\u{1f980}", "\u{e03e}", "\u{e83e}"]));
    assert_eq!(
        problems(r#"a: ["\ud83e x"]"#),
        [r"f.yaml:1:5: \ud83e is half of a character, and the other half is missing"]
    );
    let root = read("{\"\\ud83e\\udd80\": 1, \"b\": 2}");
    let Content::Map(entries) = &root.content else { panic!("{root:?}") };
    assert_eq!(entries[1].0.place.to_string(), "f.yaml:1:21");
}

/// More with `SQUALL_FUZZ_CASES`, for the long form.
fn cases() -> u32 {
    std::env::var("SQUALL_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Whatever the text, there is a tree or a list of problems, and every place is within the file.
    #[test]
    fn no_text_breaks_the_reader(text in "[ -~\n\u{e9}]{0,80}|([ ]{0,3}[-a-c:&*\\[\\]{}'\"|>#!%<, $]{0,6}\n?){0,8}") {
        let source = Text::new("f", text.clone());
        let (replaced, _) = substitution().apply(&source);
        let lines = text.split('\n').count();
        match parse(&replaced) {
            Ok(root) => check_places(&root, lines)?,
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    /// JSON is YAML.
    #[test]
    fn json_is_read_as_it_is(
        numbers in prop::collection::vec(any::<i32>(), 0..4),
        text in "[a-z \"\\\\/\n\u{e9}]{0,9}",
    ) {
        let json = serde_json::json!({ "numbers": numbers, "text": text, "none": null });
        prop_assert_eq!(read(&json.to_string()).to_json(), json.clone());
        prop_assert_eq!(read(&serde_json::to_string_pretty(&json).unwrap()).to_json(), json);
    }
}

fn check_places(node: &Node, lines: usize) -> Result<(), TestCaseError> {
    prop_assert!((1..=lines).contains(&node.place.line), "{} of {lines} lines", node.place);
    match &node.content {
        Content::List(values) => values.iter().try_for_each(|value| check_places(value, lines)),
        Content::Map(entries) => entries.iter().try_for_each(|(key, value)| {
            check_places(key, lines)?;
            check_places(value, lines)
        }),
        _ => Ok(()),
    }
}
