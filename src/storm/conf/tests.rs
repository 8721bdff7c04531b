use std::time::Duration;

use super::*;
use crate::storm::yaml::{self, Text};
use crate::topology::settings::{Guarantee, Layers, WaitPolicy};

fn read(text: &str, level: Level) -> (Vec<Checked>, Vec<String>) {
    let mut problems = Vec::new();
    let checked = check(&yaml::parse(&Text::new("c.yaml", text)).unwrap(), level, &mut problems);
    (checked, problems.iter().map(ToString::to_string).collect())
}

fn conf(text: &str) -> Conf {
    let (checked, problems) = read(text, Level::Topology);
    assert_eq!(problems, [""; 0]);
    Conf::new(&checked)
}

#[test]
fn keys_are_told_apart_by_what_becomes_of_them() {
    let text = "topology.workers: 2\ntopology.max.spout.pending: 100\ntopology.debug: no\nnimbus.seeds: [a]\n\
                topology.kryo.register: [a.B]\nmy.key: {a: 1}\n";
    let (checked, problems) = read(text, Level::Topology);
    assert!(problems.is_empty());
    let fates: Vec<Fate> = checked.iter().map(|entry| entry.fate).collect();
    use Fate::*;
    assert_eq!(fates, [Mapped, Honoured, Accepted, Ignored, Java, Passed]);
}

#[test]
fn values_of_the_wrong_type_name_key_value_and_what_was_expected() {
    let text = "topology.workers: 0\ntopology.debug: 1\ntopology.message.timeout.secs: 30.5\n\
                topology.environment: {A: 1}\ntopology.name: null\ntopology.acker.executors: 1.0\n\
                topology.worker.childopts: [-Xmx1g, -v]\n\
                topology.auto-credentials: [a, 2]\ntopology.kryo.decorators: {a: b}\n";
    let (checked, problems) = read(text, Level::Topology);
    assert_eq!(
        problems,
        [
            "c.yaml:1:19: topology.workers must be a whole number of at least 1, not 0",
            "c.yaml:2:17: topology.debug must be true or false, not 1",
            "c.yaml:3:32: topology.message.timeout.secs must be a whole number of at least 1, not 30.5",
            "c.yaml:4:27: topology.environment must be a map of texts to texts, and the value of A is 1: put it in \
             quotes",
            "c.yaml:8:32: topology.auto-credentials must be a list of texts, and element 2 is 2: put it in quotes",
            "c.yaml:9:27: topology.kryo.decorators must be a list of texts, not a map",
        ]
    );
    assert_eq!(checked.len(), 3);
}

#[test]
fn an_environment_names_the_entry_that_is_no_text() {
    let problems = |map: &str| read(&format!("topology.environment: {map}"), Level::Topology).1;
    let of = |place: &str, what: &str| {
        vec![format!("c.yaml:1:{place}: topology.environment must be a map of texts to texts, {what}")]
    };
    assert_eq!(problems("{A: b, RETRIES: 3}"), of("39", "and the value of RETRIES is 3: put it in quotes"));
    assert_eq!(problems("{A: [b]}"), of("27", "and the value of A is a list"));
    assert_eq!(problems("{A: ~}"), of("27", "and the value of A is nothing"));
    assert_eq!(problems("{1: b}"), of("24", "and a key is 1: put it in quotes"));
    assert_eq!(problems("[A]"), of("23", "not a list"));
    assert_eq!(problems("{A: '3'}"), [""; 0]);
}

#[test]
fn a_number_that_json_lacks_is_refused_instead_of_left_out() {
    let (checked, problems) = read("mine: {a: [.nan]}\nother: 1.5", Level::Topology);
    assert_eq!(problems, ["c.yaml:1:12: mine cannot hold NaN: Storm's configuration is JSON"]);
    assert_eq!(checked.len(), 1);
}

#[test]
fn a_component_may_change_only_what_storm_lets_it_change() {
    let (checked, _) =
        read("topology.message.timeout.secs: 5\ntopology.tick.tuple.freq.secs: 5\nown: 1", Level::Component);
    let fates: Vec<Fate> = checked.iter().map(|entry| entry.fate).collect();
    assert_eq!(fates, [Fate::Ignored, Fate::Honoured, Fate::Passed]);
}

#[test]
fn settings_follow_from_what_is_honoured_and_mapped() {
    let mut layers = Layers::new();
    let conf = conf(
        "topology.acker.executors: 0\ntopology.message.timeout.secs: 5\ntopology.max.spout.pending: 100\n\
         topology.executor.receive.buffer.size: 1000\ntopology.bolt.wait.park.microsec: 0\n\
         topology.bolt.wait.strategy: org.apache.storm.policy.WaitStrategyPark\n\
         topology.spout.wait.strategy: org.apache.storm.policy.WaitStrategyProgressive\n",
    );
    layers.topology("c.yaml", |settings| conf.apply(settings));
    let settings = layers.resolve().unwrap().settings;
    assert_eq!((settings.guarantee, settings.ackers), (Guarantee::AtMostOnce, Some(0)));
    assert_eq!((settings.message_timeout, settings.storm_timeouts), (Duration::from_secs(5), true));
    assert_eq!((settings.max_spout_pending, settings.lane_capacity), (100, 1_024));
    assert_eq!(settings.wait, WaitPolicy::BusySpin);
}

#[test]
fn without_timeouts_there_is_no_contradiction() {
    let mut layers = Layers::new();
    layers.topology("c.yaml", |settings| conf("topology.enable.message.timeouts: off").apply(settings));
    assert!(!layers.resolve().unwrap().settings.message_timeouts_enabled);
}

#[test]
fn tasks_ackers_and_ticks_are_worked_out_as_in_storm() {
    assert_eq!(conf("a: 1").tasks(3), 3);
    assert_eq!(conf("topology.tasks: 5").tasks(3), 5);
    assert_eq!(conf("topology.tasks: 5\ntopology.max.task.parallelism: 2").tasks(3), 2);
    assert_eq!((conf("a: 1").ackers(), conf("topology.workers: 3").ackers()), (1, 3));
    assert_eq!(conf("topology.workers: 3\ntopology.acker.executors: 0").ackers(), 0);
    assert_eq!(conf("topology.tick.tuple.freq.secs: 2").tick(), Some(Duration::from_secs(2)));
    assert_eq!(
        conf("topology.tick.tuple.freq.secs: 2\ntopology.tick.tuple.freq.millis: 50").tick(),
        Some(Duration::from_millis(50))
    );
}

#[test]
fn components_see_the_defaults_and_every_key_of_the_file() {
    let seen = conf("topology.workers: 3\nmine: [1, x]").for_components();
    assert_eq!(seen["topology.workers"], 3);
    assert_eq!(seen["topology.message.timeout.secs"], 30);
    assert_eq!(seen["mine"], serde_json::json!([1, "x"]));
    // Of Storm's own, which clients look at: nulls, keys of daemons, what a submission adds.
    assert!(seen.len() > 290, "{}", seen.len());
    assert_eq!(seen["topology.acker.executors"], serde_json::Value::Null);
    assert_eq!(seen["nimbus.seeds"], serde_json::json!(["localhost"]));
    assert_eq!(seen["topology.kryo.register"], serde_json::json!({}));
    assert_eq!(seen["topology.users"], serde_json::json!([null]));
    // What Storm has only if somebody sets it (its local mode, a folder; a user, hooks) is as it was set.
    let of_others = ["blobstore.dir", "topology.auto.task.hooks"];
    assert!(of_others.iter().all(|key| !seen.contains_key(*key)));
    let set = conf("blobstore.dir: blobs\ntopology.auto.task.hooks: [a.Hook]").for_components();
    assert_eq!(of_others.map(|key| &set[key]), [&serde_json::json!("blobs"), &serde_json::json!(["a.Hook"])]);
    let seen = conf("topology.message.timeout.secs: null").for_components();
    assert_eq!(seen["topology.message.timeout.secs"], serde_json::Value::Null, "no value is not the default");
}

#[test]
fn every_default_of_the_table_is_json_and_fits_its_key() {
    let text: String = KEYS
        .iter()
        .filter(|key| !key.default.is_empty())
        .map(|key| format!("{}: {}\n", key.name, key.default))
        .collect();
    assert_eq!(read(&text, Level::Topology).1, [""; 0]);
    let mut names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    let shipped: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("defaults.json")).unwrap();
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        let default: serde_json::Value = serde_json::from_str(key.default).unwrap();
        assert!(shipped.get(key.name).is_none_or(|shipped| *shipped == default), "{} differs", key.name);
    }
}
