//! Subscriptions to streams that Storm adds to every topology.

use std::time::Duration;

use super::*;
use crate::testing::TestDriver;

/// A bolt with a period subscribes to this and to nothing else.
fn with_source(stream: &str, bolt: &str) -> String {
    format!(
        "name: t\nspouts: [{{id: w, className: squall.Words, constructorArgs: [[x], 30, 10]}}]\nbolts:\n  \
         - {{id: count, className: squall.Count}}\n  - {{id: ticks, {bolt}}}\n  \
         - {{id: out, className: squall.WriteLines, constructorArgs: [OUT]}}\nstreams:\n  \
         - {{from: w, to: count, grouping: {{type: SHUFFLE}}}}\n  - {stream}\n  \
         - {{from: ticks, to: out, grouping: {{type: SHUFFLE}}}}\n"
    )
}

const TICKS: &str = "className: squall.Ticks, config: {topology.tick.tuple.freq.secs: 1}";
const ON_TICK: &str = "{from: __system, to: ticks, grouping: {type: SHUFFLE, streamId: __tick}}";

/// Words come for three seconds; the bolt that only ticks reach lives as long.
#[test]
fn a_bolt_that_subscribes_to_ticks_gets_its_own_once_a_period() {
    for stream in [ON_TICK, "{from: w, to: ticks, grouping: {type: ALL, streamId: __system}}"] {
        let folder = tempfile::tempdir().unwrap();
        let (path, out) = (folder.path().join("t.yaml"), folder.path().join("out.tsv"));
        fs::write(&path, with_source(stream, TICKS).replace("OUT", &out.display().to_string())).unwrap();
        let topology = topology(&path, &FluxOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let mut driver = TestDriver::start(topology).unwrap();
        driver.advance(Duration::from_millis(2_500)).unwrap();
        driver.drain().unwrap();
        assert_eq!(fs::read_to_string(&out).unwrap(), "1\n1\n", "{stream}");
    }
}

#[test]
fn a_stream_on_which_nothing_will_come_is_told() {
    let warnings = warnings_of(&with_source(ON_TICK, "className: squall.Count"));
    assert_eq!(
        warnings,
        ["t.yaml:9:5: no tick will come to \"ticks\": topology.tick.tuple.freq.secs is not set for it"]
    );
    let flush = "{from: __system, to: ticks, grouping: {type: SHUFFLE, streamId: __flush}}";
    assert_eq!(
        warnings_of(&with_source(flush, TICKS)),
        ["t.yaml:9:5: nothing ever comes on the stream \"__flush\" of \"__system\", as under Storm"]
    );
}

#[test]
fn streams_that_storm_does_not_have_and_its_own_traffic_are_refused() {
    let problems = |stream: &str| problems_of(&with_source(stream, TICKS));
    assert_eq!(
        problems("{from: __system, to: ticks, grouping: {type: SHUFFLE}}"),
        ["t.yaml:9:43: \"__system\" has no stream \"default\"; its streams: __tick, __metrics_tick, __flush and \
             __system"]
    );
    assert_eq!(
        problems("{from: __system, to: ticks, grouping: {type: FIELDS, args: [secs], streamId: __tick}}"),
        ["t.yaml:9:65: the stream \"__tick\" of \"__system\" has no field \"secs\"; it has rate_secs"]
    );
    for (from, stream) in [("w", "__ack_init"), ("__acker", "__ack_ack"), ("w", "__metrics")] {
        let text = format!("{{from: {from}, to: ticks, grouping: {{type: SHUFFLE, streamId: {stream}}}}}");
        let told = problems(&text);
        assert!(told[0].contains("here nothing would ever come on it: remove this stream"), "{told:?}");
    }
    let told = problems("{from: __systm, to: ticks, grouping: {type: SHUFFLE, streamId: __tick}}");
    assert!(told[0].starts_with("t.yaml:9:12: there is no spout or bolt \"__systm\""), "{told:?}");
}

#[test]
fn a_process_is_told_of_its_system_streams() {
    let bolt = "className: org.apache.storm.flux.wrappers.bolts.FluxShellBolt, constructorArgs: [[x], [y]], \
                config: {topology.tick.tuple.freq.secs: 1}";
    with_file(&with_source(ON_TICK, bolt), |path| {
        let flux = Flux::load(path, &FluxOptions::default());
        assert_eq!(flux.problems(), []);
        let ticks = flux.resolved().components.iter().position(|one| &*one.id.text == "ticks").unwrap();
        let context = context::wiring(flux.resolved(), ticks);
        assert_eq!(
            context["source->stream->grouping"],
            serde_json::json!({"__system": {"__tick": {"type": "SHUFFLE"}}})
        );
        assert_eq!(context["stream->target->grouping"], serde_json::json!({"default": {"out": {"type": "SHUFFLE"}}}));
        // Nobody subscribes to what this one emits.
        let count = flux.resolved().components.iter().position(|one| &*one.id.text == "count").unwrap();
        assert_eq!(context::wiring(flux.resolved(), count)["stream->target->grouping"], serde_json::json!({}));
        assert_eq!(context["source->stream->fields"], serde_json::json!({"__system": {"__tick": ["rate_secs"]}}));
    });
}
