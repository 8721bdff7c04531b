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

fn substitution() -> Substitution {
    let properties = [("x", "1"), ("long", "a longer text"), ("list", "[\"a\", \"b\"]"), ("two", "- a\n- b")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
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
    let properties = [("x".to_owned(), "1".to_owned()), ("old".to_owned(), "[\r  1]".to_owned())];
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
    let expected = [("a", "b c "), ("k", "v"), ("w", "xy"), ("u", "\u{e9}\n="), ("escaped key", "1"), ("empty", "")];
    let expected: BTreeMap<String, String> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(parse_properties(text), expected);
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
