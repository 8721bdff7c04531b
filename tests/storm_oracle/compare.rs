//! What a topology did, as recorded by real Storm or by squall, and in what two records differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value as Json;

/// One line of a record.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase", deny_unknown_fields)]
enum Event {
    Task { id: u32, component: String },
    Subscription(Subscription),
    Execute(Execute),
    Ack(Callback),
    Fail(Callback),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
struct Subscription {
    component: String,
    source: String,
    stream: String,
    grouping: String,
    #[serde(default)]
    fields: Vec<String>,
}

impl Subscription {
    /// Whether Storm leaves it to chance which task gets a tuple.
    fn is_by_chance(&self) -> bool {
        self.is_dealt_out() || self.grouping == "none"
    }

    /// Whether all tasks get the same number of tuples; the cases turn load-awareness off where that matters.
    fn is_dealt_out(&self) -> bool {
        self.grouping == "shuffle" || self.grouping == "local_or_shuffle"
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute {
    component: String,
    task: u32,
    source: String,
    source_task: i32,
    stream: String,
    values: Vec<Json>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Callback {
    component: String,
    task: u32,
    id: Json,
}

/// What one topology did.
#[derive(Default)]
pub struct Recording {
    tasks: BTreeSet<(u32, String)>,
    subscriptions: BTreeSet<Subscription>,
    /// In order, for every task.
    executes: Vec<Execute>,
    /// Sorted: callbacks come in any order.
    callbacks: Vec<String>,
    fails: bool,
}

/// The tuples that took one way: component, task, source, source's task and stream, without the tasks picked by chance.
type Way = (String, Option<u32>, String, Option<i32>, String);

/// A way but for the stream.
type Pair = (String, Option<u32>, String, Option<i32>);

fn pair_of((component, task, source, source_task, _): &Way) -> Pair {
    (component.clone(), *task, source.clone(), *source_task)
}

impl Recording {
    /// Reads JSON lines; an unfinished last line is left out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut recording = Recording::default();
        let mut ticked = BTreeSet::new();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        for (index, line) in whole.lines().enumerate() {
            match serde_json::from_str(line).map_err(|error| format!("line {}: {error}: {line}", index + 1))? {
                Event::Task { id, component } => _ = recording.tasks.insert((id, component)),
                Event::Subscription(subscription) => _ = recording.subscriptions.insert(subscription),
                Event::Execute(execute) => {
                    // How many ticks come is a matter of how long it runs.
                    if execute.source != "__system" || ticked.insert(execute.task) {
                        recording.executes.push(execute);
                    }
                }
                Event::Ack(callback) => recording.callbacks.push(shown("ack", &callback)),
                Event::Fail(callback) => {
                    recording.fails = true;
                    recording.callbacks.push(shown("fail", &callback));
                }
            }
        }
        recording.callbacks.sort();
        Ok(recording)
    }

    fn is_task_by_chance(&self, component: &str, of: impl Fn(&Subscription) -> bool) -> bool {
        let tasks = self.tasks.iter().filter(|(_, name)| name == component).count();
        tasks > 1 && self.subscriptions.iter().any(|s| s.component == component && of(s))
    }

    fn way(&self, execute: &Execute) -> Way {
        let of = |s: &Subscription| s.source == execute.source && s.stream == execute.stream && s.is_by_chance();
        let task = (!self.is_task_by_chance(&execute.component, of)).then_some(execute.task);
        let source_by_chance = self.is_task_by_chance(&execute.source, Subscription::is_by_chance);
        let source_task = (!source_by_chance).then_some(execute.source_task);
        (execute.component.clone(), task, execute.source.clone(), source_task, execute.stream.clone())
    }

    /// In order, what each task got and by which way.
    fn arrivals(&self) -> Vec<(Way, String)> {
        let shown = |execute: &Execute| {
            let values: Vec<String> = execute.values.iter().map(plain).collect();
            (self.way(execute), format!("[{}]", values.join(", ")))
        };
        self.executes.iter().map(shown).collect()
    }

    /// Whether the tuples of a way are in a definite order: one task emitted them because of tuples that came to it in
    /// a definite order themselves, and nothing failed, after which replays come whenever they come.
    fn is_ordered(&self, way: &Way) -> bool {
        let (_, task, source, source_task, _) = way;
        !self.fails && task.is_some() && source_task.is_some_and(|source_task| self.is_in_order(source, source_task))
    }

    fn is_in_order(&self, component: &str, task: i32) -> bool {
        let of_task = self.executes.iter().filter(|e| e.component == component && i64::from(e.task) == i64::from(task));
        let sources: BTreeSet<(&str, i32)> = of_task.map(|e| (&*e.source, e.source_task)).collect();
        match sources.first() {
            None => true,
            Some(&(source, source_task)) => {
                sources.len() == 1
                    && !self.is_task_by_chance(source, Subscription::is_by_chance)
                    && self.is_in_order(source, source_task)
            }
        }
    }

    /// How many tuples each task got of a subscription that deals them out, without saying which.
    fn shares(&self) -> BTreeMap<(String, String, String), Vec<usize>> {
        let dealt = self.subscriptions.iter().filter(|s| s.is_dealt_out());
        dealt
            .map(|s| {
                let tasks = self.tasks.iter().filter(|(_, component)| *component == s.component);
                let got = |task: u32| {
                    let way = |e: &&Execute| e.task == task && e.source == s.source && e.stream == s.stream;
                    self.executes.iter().filter(way).count()
                };
                let mut shares: Vec<usize> = tasks.map(|&(task, _)| got(task)).collect();
                shares.sort();
                ((s.component.clone(), s.source.clone(), s.stream.clone()), shares)
            })
            .collect()
    }
}

fn shown(event: &str, callback: &Callback) -> String {
    format!("{event} {} task {} id {}", callback.component, callback.task, callback.id)
}

/// One spelling of a typed value: doubles by their bits, maps sorted.
fn plain(value: &Json) -> String {
    let kind = value["t"].as_str().unwrap_or("?");
    match (kind, &value["v"]) {
        ("double", Json::String(text)) => match text.parse::<f64>() {
            Ok(number) => format!("double {number:?}"),
            Err(_) => value.to_string(),
        },
        ("list", Json::Array(items)) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        ("map", Json::Array(pairs)) => {
            let mut pairs: Vec<String> =
                pairs.iter().map(|pair| format!("{}: {}", plain(&pair[0]), plain(&pair[1]))).collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(", "))
        }
        ("bytes", _) => format!("bytes {}", value["hex"]),
        (kind, Json::Null) => kind.to_owned(),
        (kind, v) => format!("{kind} {v}"),
    }
}

fn by_way(arrivals: &[(Way, String)]) -> BTreeMap<Way, Vec<String>> {
    let mut ways: BTreeMap<Way, Vec<String>> = BTreeMap::new();
    for (way, values) in arrivals {
        ways.entry(way.clone()).or_default().push(values.clone());
    }
    ways
}

/// What one task got from another on those of its ways that are in a definite order, in the order across them.
fn by_pair(arrivals: &[(Way, String)], ordered: &BTreeSet<Way>) -> BTreeMap<Pair, Vec<String>> {
    let mut pairs: BTreeMap<Pair, Vec<String>> = BTreeMap::new();
    for (way, values) in arrivals.iter().filter(|(way, _)| ordered.contains(way)) {
        pairs.entry(pair_of(way)).or_default().push(format!("{} {values}", way.4));
    }
    pairs
}

/// Everything in which a run differs from what it should have done; nothing if it is right.
pub fn differences(expected: &Recording, actual: &Recording) -> Vec<String> {
    let mut found = Vec::new();
    compare_sets("task", &expected.tasks, &actual.tasks, &mut found);
    compare_sets("subscription", &expected.subscriptions, &actual.subscriptions, &mut found);
    let (wanted_arrivals, got_arrivals) = (expected.arrivals(), actual.arrivals());
    let (mut wanted, mut got) = (by_way(&wanted_arrivals), by_way(&got_arrivals));
    let ways: BTreeSet<Way> = wanted.keys().chain(got.keys()).cloned().collect();
    let mut differing_pairs = BTreeSet::new();
    let ordered: BTreeSet<Way> = ways.iter().filter(|way| expected.is_ordered(way)).cloned().collect();
    for way in ways {
        let mut wanted = wanted.remove(&way).unwrap_or_default();
        let mut got = got.remove(&way).unwrap_or_default();
        let order = if ordered.contains(&way) { "in this order" } else { "in any order" };
        if order == "in any order" {
            wanted.sort();
            got.sort();
        }
        if wanted != got {
            let (wanted, got) = (wanted.join("\n      "), got.join("\n      "));
            found.push(format!("{way:?}: expected {order}\n      {wanted}\n    but got\n      {got}"));
            differing_pairs.insert(pair_of(&way));
        }
    }
    let (wanted, mut got) = (by_pair(&wanted_arrivals, &ordered), by_pair(&got_arrivals, &ordered));
    for (pair, wanted) in wanted {
        let got = got.remove(&pair).unwrap_or_default();
        if wanted != got && !differing_pairs.contains(&pair) {
            let (wanted, got) = (wanted.join("\n      "), got.join("\n      "));
            found.push(format!("{pair:?}: expected across streams\n      {wanted}\n    but got\n      {got}"));
        }
    }
    if expected.shares() != actual.shares() {
        found.push(format!("shares: expected {:?}, got {:?}", expected.shares(), actual.shares()));
    }
    if expected.callbacks != actual.callbacks {
        let (wanted, got) = (expected.callbacks.join("\n      "), actual.callbacks.join("\n      "));
        found.push(format!("callbacks: expected\n      {wanted}\n    but got\n      {got}"));
    }
    found
}

fn compare_sets<T: Ord + std::fmt::Debug>(
    what: &str,
    wanted: &BTreeSet<T>,
    got: &BTreeSet<T>,
    found: &mut Vec<String>,
) {
    found.extend(wanted.difference(got).map(|one| format!("{what}: {one:?} is missing")));
    found.extend(got.difference(wanted).map(|one| format!("{what}: {one:?} is not Storm's")));
}
