use std::time::Duration;

use super::*;

fn problems(layers: &Layers) -> Vec<String> {
    let error = layers.resolve().expect_err("the settings are wrong");
    assert!(error.is_usage());
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn the_kind_of_a_layer_decides_whatever_the_order_of_calls() {
    let mut layers = Layers::new();
    layers.assign("lane_capacity=4").toml("lane_capacity = 3\nturn_tuples_max = 3", "a.toml");
    layers.toml("turn_tuples_max = 5", "b.toml");
    layers.topology("main.rs:1", |s| {
        s.lane_capacity = 2;
        s.turn_tuples_max = 2;
        s.rebuilds_max = 2;
    });
    let resolved = layers.resolve().unwrap();
    assert_eq!(resolved.settings.lane_capacity, 4);
    assert_eq!(resolved.settings.turn_tuples_max, 5);
    assert_eq!(resolved.settings.rebuilds_max, 2);
    assert_eq!(resolved.settings.max_spout_pending, 16_384);
}

#[test]
fn every_value_knows_its_line_option_or_place() {
    let mut layers = Layers::new();
    layers.topology("main.rs:7", |s| s.components.entry("count".into()).or_default().parallelism = Some(2));
    layers.toml(
        "# a comment\n\nwait = \"park\"\n[components.count]\ntick = \"5ms\"\n[user.db]\nhost = \"h\"\n",
        "s.toml",
    );
    layers.set("--executors", "executors", "3");
    let resolved = layers.resolve().unwrap();

    let origin = |key: &str| resolved.provenance(key).to_string();
    assert_eq!(*resolved.provenance("wait"), Provenance::File { path: "s.toml".into(), line: 3 });
    assert_eq!(origin("components.count.tick"), "s.toml:5");
    assert_eq!(origin("user.db.host"), "s.toml:7");
    assert_eq!(origin("components.count.parallelism"), "main.rs:7");
    assert_eq!(origin("executors"), "--executors");
    assert_eq!(origin("pin"), "default");

    let count = &resolved.settings.components["count"];
    assert_eq!((count.parallelism, count.tick), (Some(2), Some(Duration::from_millis(5))));
    assert_eq!(resolved.settings.user["db.host"], UserValue::from("h"));
}

#[test]
fn a_place_in_code_is_recorded_for_what_changed_only_and_forgotten_with_the_value() {
    let mut layers = Layers::new();
    layers.topology("a", |s| s.components.entry("count".into()).or_default().parallelism = Some(2));
    layers.topology("b", |s| s.executors = Some(2));
    layers.topology("c", |s| {
        s.executors = None;
        s.components.clear();
        s.kill_wait = Duration::from_secs(1);
    });
    let resolved = layers.resolve().unwrap();
    assert_eq!(resolved.settings, Settings { kill_wait: Duration::from_secs(1), ..Settings::default() });
    assert_eq!(*resolved.provenance("executors"), Provenance::Default);
    assert_eq!(resolved.provenance("kill_wait").to_string(), "c");
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once_with_their_places() {
    let mut layers = Layers::new();
    layers.topology("main.rs:3", |s| s.drain_timeout = Duration::ZERO);
    layers.toml("lane_capcity = 3\npin = 1\nmax_spout_pending = 0\ncomponents.count.paralelism = 2", "s.toml");
    layers.toml("executors =\nwait = \"maybe\n", "broken.toml");
    layers.set("--guarantee", "guarantee", "exactly-twice").assign("nonsense").assign("user=3");
    layers.assign("message_timeout=30").assign("wait.spin=3").assign("parallelism=3");
    let problems = problems(&layers);
    let expected = [
        "main.rs:3: drain_timeout: expected a duration such as \"100ms\" or \"1h 30m\" (1ms to 1day), got \"0s\"",
        "s.toml:1: lane_capcity: unknown key; did you mean lane_capacity?",
        "s.toml:2: pin: expected true or false, got 1",
        "s.toml:3: max_spout_pending: expected a whole number (1 to 2097152), got 0: out of range",
        "s.toml:4: components.count.paralelism: unknown key; did you mean components.count.parallelism?",
        "broken.toml:1: ",
        "broken.toml:2: ",
        "--guarantee: guarantee: expected \"at-most-once\", \"at-least-once\" or \"exactly-once\", got \"exac",
        "--set nonsense: expected KEY=VALUE",
        "--set user=3: user: expected a table of keys of your own",
        "--set message_timeout=30: message_timeout: expected a duration",
        "--set wait.spin=3: wait.spin: expected \"spin\", ",
        "--set parallelism=3: parallelism: unknown key; it is set for one component at a time",
    ];
    for start in expected {
        assert!(problems.iter().any(|problem| problem.starts_with(start)), "{start}\nis not in\n{problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}

#[test]
fn a_contradiction_names_both_settings_and_their_places() {
    let cases = [
        ("ackers = 0", "ackers contradicts guarantee (default)"),
        ("guarantee = \"at-most-once\"\nackers = 2", "ackers contradicts guarantee (s.toml:1)"),
        ("one_thread_per_task = true\nexecutors = 2", "executors contradicts one_thread_per_task (s.toml:1)"),
        (
            "message_timeouts_enabled = false\nstorm_timeouts = true",
            "storm_timeouts contradicts message_timeouts_enabled",
        ),
        (
            "pin = false\ncomponents.\"a b\".placement = \"cpu:1\"",
            "components.\"a b\".placement contradicts pin (s.toml:1)",
        ),
    ];
    for (text, expected) in cases {
        let problems = problems(Layers::new().toml(text, "s.toml"));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let line = text.lines().count();
        assert!(problems[0].starts_with(&format!("s.toml:{line}: {expected}")), "{}", problems[0]);
    }
    let misread = problems(Layers::new().toml("guarantee = \"at-most\"\nackers = 0", "s.toml"));
    assert_eq!(misread.len(), 1, "nothing follows from a guarantee that could not be read: {misread:?}");
    Layers::new().toml("guarantee = \"at-most-once\"\nackers = 0", "s.toml").resolve().unwrap();
}

#[test]
fn settings_for_a_component_that_does_not_exist_are_a_problem() {
    let mut layers = Layers::new();
    layers.toml("components.cuont.parallelism = 2\ncomponents.count.parallelism = 2", "s.toml");
    layers.resolve().expect("nobody said which components there are");
    layers.components(["lines", "count"]);
    assert_eq!(
        problems(&layers),
        ["s.toml:1: components.cuont.parallelism: there is no component \"cuont\"; did you mean \"count\"?"]
    );
}

#[test]
fn a_higher_layer_can_unset_what_a_lower_one_set() {
    let mut layers = Layers::new();
    layers.toml("executors = 4", "s.toml").assign("executors=auto");
    let resolved = layers.resolve().unwrap();
    assert_eq!(resolved.settings.executors, None);
    assert_eq!(resolved.provenance("executors").to_string(), "--set executors=auto");
}

#[test]
fn options_take_toml_values_bare_text_and_quoted_keys() {
    let mut layers = Layers::new();
    layers.assign("components.\"a.b\".parallelism=0x10").assign("message_timeout=1h30m").assign("user.list=[1, \"x\"]");
    layers.assign("lane_memory_bytes = 1GiB").assign("user.text=a = b").assign("user={ a = 1, b = { c = true } }");
    let settings = layers.resolve().unwrap().settings;
    assert_eq!(settings.components["a.b"].parallelism, Some(16));
    assert_eq!(settings.message_timeout, Duration::from_secs(5_400));
    assert_eq!(settings.lane_memory_bytes, 1 << 30);
    assert_eq!(settings.user["list"], UserValue::List(vec![1i64.into(), "x".into()]));
    assert_eq!(settings.user["text"], "a = b".into());
    assert_eq!((&settings.user["a"], &settings.user["b.c"]), (&1i64.into(), &true.into()));

    for key in ["", "a b", "pin = true\nexecutors", "[user]\na", "# "] {
        let problems = problems(Layers::new().set("--set", key, "1"));
        assert_eq!(problems, [format!("--set: {key:?} is not a key")]);
    }
}

#[test]
fn the_defaults_written_as_toml_load_back_equal_and_cover_every_key() {
    let text = Settings::default().to_toml();
    let resolved = Layers::new().toml(&text, "defaults.toml").resolve().unwrap();
    assert_eq!(resolved.settings, Settings::default());
    for row in resolved.explain() {
        assert!(row.origin.starts_with("defaults.toml:"), "{row:?}");
    }
}

#[test]
fn settings_far_from_the_defaults_load_back_equal() {
    let mut settings = Settings {
        executors: Some(3),
        wait: WaitPolicy::Adaptive { spin: Duration::from_micros(77) },
        message_timeout: Duration::new(61, 5),
        seed: Some(i64::MAX as u64),
        lane_memory_bytes: 65_537,
        ..Settings::default()
    };
    let own = settings.components.entry("a.b \"c\"".to_owned()).or_default();
    own.placement = Some(Placement::On(3));
    own.user.insert("x.y".to_owned(), 1.5.into());
    let table = [("k".to_owned(), UserValue::Bool(true))].into();
    settings.user.insert("list".to_owned(), UserValue::List(vec![UserValue::Table(table)]));
    let text = settings.to_toml();
    assert_eq!(Layers::new().toml(&text, "s.toml").resolve().unwrap().settings, settings, "{text}");

    let mut layers = Layers::new();
    layers.topology("main.rs:1", |s| *s = settings.clone());
    assert_eq!(layers.resolve().unwrap().settings, settings);
}

#[test]
fn the_listing_has_every_key_with_its_documentation_bounds_and_default() {
    let keys = keys();
    assert_eq!(keys.len(), Settings::KEYS.len() + ComponentSettings::KEYS.len());
    let find = |name: &str| keys.iter().find(|key| key.key == name).unwrap();
    let memory = find("lane_memory_bytes");
    assert_eq!(memory.default, "256MiB");
    assert!(memory.expected.ends_with("(64KiB to 1TiB)"), "{}", memory.expected);
    assert!(memory.doc.starts_with("Memory for all lanes"));
    assert_eq!(find("executors").default, "auto");
    assert_eq!(find("components.ID.tick").default, "auto");
}

#[test]
fn overrides_of_a_component_win_over_the_topology_and_tracking_follows_guarantee_and_ackers() {
    let mut settings = Settings::default();
    settings.components.entry("count".to_owned()).or_default().lane_capacity = Some(8);
    assert_eq!((settings.lane_capacity_of("count"), settings.lane_capacity_of("split")), (8, 1_024));
    assert_eq!(settings.max_spout_pending_of("count"), 16_384);
    assert!(settings.tracking());
    settings.guarantee = Guarantee::AtMostOnce;
    assert!(!settings.tracking());
}
