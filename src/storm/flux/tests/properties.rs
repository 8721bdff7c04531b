//! Whatever stands in a file, reading it ends in a topology or in problems with places.

use proptest::prelude::*;

use super::*;
use crate::storm::yaml::Text;

/// Pieces of Flux files, right and wrong, put together at random.
fn any_file() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        "b",
        "numbers",
        "squall.Numbers",
        "squall.Sum",
        "squall.Window",
        "\"\"",
        "~",
        "3",
        "-1",
        "[]",
        "{}",
        "yes",
        "[a, {ref: a}]",
        "{ref: c}",
        "{reflist: [c, d]}",
        "FIELDS",
        "SHUFFLE",
        "CUSTOM",
        "default",
        "&x [*x]",
        "${a}",
        "org.apache.storm.tuple.Fields",
        "org.apache.storm.grouping.PartialKeyGrouping",
        "1:30",
        "'",
        "\u{e9}",
    ]);
    let key = prop::sample::select(vec![
        "name",
        "id",
        "className",
        "constructorArgs",
        "properties",
        "configMethods",
        "parallelism",
        "numTasks",
        "from",
        "to",
        "grouping",
        "type",
        "args",
        "streamId",
        "customClass",
        "config",
        "value",
        "ref",
        "factory",
        "<<",
        "bogus",
    ]);
    let member = (key, word).prop_map(|(key, word)| format!("{key}: {word}"));
    let item = prop::collection::vec(member, 0..5).prop_map(|members| format!("  - {}\n", members.join("\n    ")));
    let section = prop::sample::select(vec![
        "components",
        "spouts",
        "bolts",
        "streams",
        "includes",
        "workerHooks",
        "config",
        "topologySource",
    ]);
    let part =
        (section, prop::collection::vec(item, 0..3)).prop_map(|(name, items)| format!("{name}:\n{}", items.concat()));
    prop::collection::vec(part, 0..6).prop_map(|parts| format!("name: t\n{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn reading_a_file_ends_in_a_topology_or_in_problems(text in any_file()) {
        let flux = Flux::of_text(&Text::new("t.yaml", text), Path::new("t.yaml"));
        let problems = flux.problems();
        prop_assert!(problems.iter().all(|problem| problem.place.starts_with("t.yaml")), "{problems:?}");
        let (is_fine, outcome) = (problems.is_empty(), flux.topology());
        prop_assert!(is_fine || outcome.is_err());
    }
}

/// More with `SQUALL_FUZZ_CASES`, for the long form.
fn cases() -> u32 {
    std::env::var("SQUALL_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

/// Texts that broke something once, or nearly.
#[test]
fn the_corpus_is_read() {
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/flux")).unwrap() {
        let path = entry.unwrap().path();
        let flux = Flux::load(&path, &FluxOptions::default());
        let is_good = path.file_name().unwrap().to_string_lossy().starts_with("good");
        assert_eq!(flux.problems().is_empty(), is_good, "{}: {:?}", path.display(), flux.problems());
    }
}
