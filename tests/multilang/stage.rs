//! Topologies around a child: a source of tuples, a sink that remembers.

use std::sync::{Arc, Mutex};

use squall::connect::Generator;
use squall::engine::report::{ComponentReport, Report};
use squall::storm::shell::ShellSpec;
use squall::storm::tuple::{Source, StormTuple};
use squall::task::dynamic::Fields;
use squall::{Nothing, Outlet, TaskId, TopologyBuilder, Value};

/// What a sink has got.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Vec<Value>>>>);

impl Seen {
    /// A bolt that remembers.
    pub fn sink(&self) -> impl Fn(StormTuple, &mut Outlet<Nothing>) + Clone + Send + Sync + 'static {
        let seen = self.0.clone();
        move |tuple, _| seen.lock().unwrap().push(tuple.values().to_vec())
    }

    /// The values so far, in some order.
    pub fn sorted(&self) -> Vec<String> {
        let mut all: Vec<String> = self.0.lock().unwrap().iter().map(|values| shown(values)).collect();
        all.sort();
        all
    }
}

fn shown(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

/// A stream of tuples that are made from their number.
pub fn numbered<V: Into<Value>>(count: u64, make: fn(u64) -> V) -> Generator<StormTuple> {
    let source = Arc::new(Source {
        component: "source".into(),
        stream: "default".into(),
        fields: Fields::new(["sentence"]).unwrap(),
    });
    Generator::new(count, move |n| StormTuple::new(&source, TaskId(1), [make(n).into()]))
}

pub fn spec(command: &[&str], folder: &std::path::Path, fields: &[&str]) -> ShellSpec {
    let mut spec = ShellSpec::new(command.iter().copied());
    spec.working_dir = folder.to_owned();
    spec.streams = vec![("default".into(), fields.iter().map(|field| (*field).to_owned()).collect())];
    spec
}

/// Runs tuples through a bolt to the end: what came out, and the report.
pub fn through(spec: ShellSpec, source: Generator<StormTuple>) -> (Vec<String>, Report) {
    let seen = Seen::default();
    let mut t = TopologyBuilder::new("multilang");
    // A machine may be as slow as it likes; what is lost shows as a run that does not end.
    t.settings(|settings| settings.message_timeouts_enabled = false);
    let source = t.source("source", move || source.clone()).max_replays(1_000_000);
    let streams: Vec<(String, String)> =
        spec.declared_streams().unwrap().iter().map(|stream| stream.shown()).collect();
    let child = t.bolt("child", move || spec.bolt()).streams(streams).shuffle(&source);
    t.bolt("sink", seen.sink()).global(&child.stream(0));
    let report = t.build().unwrap().run().unwrap();
    (seen.sorted(), report)
}

pub fn of<'a>(report: &'a Report, id: &str) -> &'a ComponentReport {
    report.components.iter().find(|component| component.id == id).unwrap()
}
