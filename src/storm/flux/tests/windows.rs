//! Windows in files, in virtual time; what is right is what Storm does with the same tuples.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::error::Failure;
use crate::storm::native::emits::Emits;
use crate::storm::registry::NativeSpout;
use crate::storm::tuple::StormTuple;
use crate::task::component::{Next, Outcome, Spout};
use crate::task::context::SpoutContext;
use crate::task::dynamic::Value;
use crate::task::many::Many;
use crate::task::outlet::SpoutOutlet;
use crate::testing::TestDriver;

/// What became of the tuples of a [`Times`].
#[derive(Default)]
struct Told {
    acked: Vec<u64>,
    failed: Vec<(u64, String)>,
}

/// Emits tuples of one field, `at`, each once; what fails is not emitted again.
struct Times {
    emits: Emits,
    left: VecDeque<Value>,
    next: u64,
    told: Arc<Mutex<Told>>,
}

impl Spout for Times {
    type Out = Many<StormTuple>;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.emits.prepare(ctx.info());
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Result<Next, Failure> {
        let Some(value) = self.left.pop_front() else { return Ok(Next::Idle) };
        out.emit_tracked_at(self.next, 0, self.emits.tuple(0, [value]));
        self.next += 1;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, id: u64, _: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        self.told.lock().unwrap().acked.push(id);
        Ok(())
    }

    fn fail(&mut self, id: u64, why: &Failure, _: &mut SpoutOutlet<Many<StormTuple>, u64>) -> Outcome {
        self.told.lock().unwrap().failed.push((id, why.to_string()));
        Ok(())
    }
}

/// Runs these times through a window with these methods for so long, then drains.
fn run(values: Vec<Value>, methods: &str, seconds: u64) -> (TestDriver, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(Told::default()));
    let of_spout = told.clone();
    let mut registry = registered();
    registry.spout("test.Times", move |args| {
        let streams = [args.stream("default", &["at"])?];
        let (emits, values, told) = (Emits::new(&streams), values.clone(), of_spout.clone());
        Ok(NativeSpout::new(streams, move || Times {
            emits: emits.clone(),
            left: values.iter().cloned().collect(),
            next: 0,
            told: told.clone(),
        }))
    });
    let text = format!(
        "
name: windows
config: {{topology.bolts.watermark.event.interval.ms: 200}}
components:
  - {{id: ten_s, className: BaseWindowedBolt$Duration, constructorArgs: [10, SECONDS]}}
  - {{id: five_s, className: BaseWindowedBolt$Duration, constructorArgs: [5, SECONDS]}}
  - {{id: two_s, className: BaseWindowedBolt$Duration, constructorArgs: [2, SECONDS]}}
  - {{id: four, className: BaseWindowedBolt$Count, constructorArgs: [4]}}
spouts:
  - {{id: times, className: test.Times}}
bolts:
  - id: window
    className: squall.Window
    constructorArgs: [values, at]
    configMethods: [{methods}]
  - {{id: sink, className: squall.oracle.RecordBolt}}
streams:
  - {{from: times, to: window, grouping: {{type: GLOBAL}}}}
  - {{from: window, to: sink, grouping: {{type: GLOBAL}}}}
"
    )
    .replace("BaseWindowedBolt$", "org.apache.storm.topology.base.BaseWindowedBolt$");
    let topology = with_file(&text, |path| Flux::load_with(path, &FluxOptions::default(), &registry).topology());
    let mut driver = TestDriver::start(topology.unwrap_or_else(|error| panic!("{error}"))).unwrap();
    driver.advance(Duration::from_secs(seconds)).unwrap();
    driver.drain().unwrap();
    // Callbacks come in any order.
    {
        let mut told = told.lock().unwrap();
        told.acked.sort_unstable();
        told.failed.sort_unstable();
    }
    (driver, told)
}

const SLIDING: &str = "{name: withWindow, args: [{ref: ten_s}, {ref: five_s}]}, {name: withTimestampField, args: [at]}";

#[test]
fn a_time_that_is_no_number_is_the_failure_of_its_tuple() {
    let values = [
        Value::Int(1_000),
        Value::Int(2_000),
        Value::Null,
        "soon".into(),
        Value::Float(3_000.0),
        "4000".into(),
        Value::Int(12_000),
        Value::Int(30_000),
    ];
    let (driver, told) = run(values.into(), SLIDING, 2);
    let told = told.lock().unwrap();
    assert_eq!(told.failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert!(
        told.failed.iter().all(|(_, why)| why.contains("expected a time in milliseconds in at")),
        "{:?}",
        told.failed
    );
    assert_eq!(told.acked, [0, 1, 6]);
    let counts = driver.counts("window");
    assert_eq!((counts.failed, counts.errors, counts.left_open), (4, 0, 1));
}

/// The case `window_drain` of the oracle: a source that commits on ack would lose what is acked without a window.
#[test]
fn a_drain_neither_acks_nor_fails_what_is_in_open_windows() {
    let times = [1_000, 3_000, 2_000, 2_500, 4_000, 6_000, 6_001, 5_999, 11_000, 20_000];
    let methods = "{name: withWindow, args: [{ref: four}, {ref: two_s}]}, {name: withTimestampField, args: [at]}, \
                   {name: withLag, args: [{ref: two_s}]}";
    let (driver, told) = run(times.map(Value::Int).into(), methods, 4);
    let told = told.lock().unwrap();
    assert_eq!((&told.acked[..], &told.failed[..]), (&[0, 1, 2, 3, 4][..], &[][..]));
    assert_eq!(driver.counts("times").left_open, 5);
    assert!(driver.elapsed() < Duration::from_secs(5), "nobody waits for them");
}

#[test]
fn a_window_that_max_spout_pending_may_hold_back_is_warned_of() {
    let text = |length: &str, slide: &str, pending: &str, more: &str| {
        format!(
            "
name: windows
config: {{{pending}}}
spouts: [{{id: n, className: squall.Numbers}}]
bolts:
  - id: window
    className: squall.Window
    config: {{topology.bolts.window.length.{length}, topology.bolts.window.sliding.interval.{slide}{more}}}
streams: [{{from: n, to: window, grouping: {{type: SHUFFLE}}}}]
"
        )
    };
    let warnings = |text: &str| {
        assert_eq!(problems_of(text), [""; 0]);
        with_file(text, |path| {
            let flux = Flux::load(path, &FluxOptions::default());
            flux.warnings().map(|warning| warning.to_string()).collect::<Vec<_>>()
        })
    };
    let pending = "topology.max.spout.pending: 30";
    let told = warnings(&text("duration.ms: 4000", "duration.ms: 4000", pending, ""));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("t.yaml:7:16") && told[0].contains("4000 ms") && told[0].contains("30 tuples"),
        "{told:?}"
    );
    let by_event = ", topology.bolts.tuple.timestamp.field.name: number";
    let told = warnings(&text("duration.ms: 4000", "duration.ms: 4000", pending, by_event));
    assert!(told[0].contains("stands still"), "{told:?}");
    assert_eq!(warnings(&text("duration.ms: 4000", "duration.ms: 4000", "", "")), [""; 0]);
    assert_eq!(warnings(&text("count: 20", "count: 10", pending, "")), [""; 0]);
    let told = warnings(&text("count: 20000", "count: 1", "", ""));
    assert!(told.len() == 1 && told[0].contains("16384"), "{told:?}");
    let no_trees = "topology.max.spout.pending: 30, topology.acker.executors: 0";
    assert_eq!(warnings(&text("duration.ms: 4000", "duration.ms: 4000", no_trees, "")), [""; 0]);
}
