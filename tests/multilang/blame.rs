//! Whose fault it is when a child dies: that of the tuple it had in hand alone; nobody's, if there were several, or if
//! it never came so far as to take one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use squall::error::FailureKind;
use squall::storm::shell::{Serializer, ShellSpec};
use squall::storm::tuple::{Source, StormTuple};
use squall::task::component::{Next, Outcome};
use squall::task::dynamic::Fields;
use squall::{Failure, SpoutOutlet, TaskId, TopologyBuilder};

use crate::stage::{Seen, spec};
use crate::tools::{clients, fixtures, has};

/// Failures that count before a tuple is given up.
const COUNTED_MAX: usize = 2;

/// What has failed, how, and why.
#[derive(Clone, Default)]
struct Failed(Arc<Mutex<BTreeMap<u64, Vec<Failure>>>>);

impl Failed {
    /// The tuples that some failure was held against.
    fn blamed(&self) -> BTreeSet<u64> {
        let failed = self.0.lock().unwrap();
        let counted = |(id, failures): (&u64, &Vec<Failure>)| failures.iter().any(counts).then_some(*id);
        failed.iter().filter_map(counted).collect()
    }

    fn all(&self) -> Vec<Failure> {
        self.0.lock().unwrap().values().flatten().cloned().collect()
    }
}

fn counts(failure: &Failure) -> bool {
    failure.kind() != FailureKind::Collateral
}

/// Emits lines, and those that fail again, until they are acked or have failed so often by their own doing.
struct Lines {
    source: Arc<Source>,
    left: Vec<u64>,
    failed: Failed,
}

impl squall::Spout for Lines {
    type Out = StormTuple;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutOutlet<StormTuple, u64>) -> Result<Next, Failure> {
        let Some(id) = self.left.pop() else { return Ok(Next::Finished) };
        out.emit_tracked(id, StormTuple::new(&self.source, TaskId(1), [format!("line {id}").into()]));
        Ok(Next::Emitted)
    }

    fn fail(&mut self, id: u64, why: &Failure, _: &mut SpoutOutlet<StormTuple, u64>) -> Outcome {
        let mut failed = self.failed.0.lock().unwrap();
        let failures = failed.entry(id).or_default();
        failures.push(why.clone());
        if failures.iter().filter(|failure| counts(failure)).count() < COUNTED_MAX {
            self.left.insert(0, id);
        }
        Ok(())
    }
}

/// Runs forty lines through a child: what has failed, what came out, and how the run ended.
fn forty(spec: ShellSpec) -> (Failed, Vec<String>, squall::Result<()>) {
    let (failed, seen) = (Failed::default(), Seen::default());
    let mut t = TopologyBuilder::new("forty");
    t.settings(|settings| {
        settings.message_timeouts_enabled = false;
        settings.rebuilds_max = 5;
    });
    let source = Arc::new(Source {
        component: "lines".into(),
        stream: "default".into(),
        fields: Fields::new(["line"]).unwrap(),
    });
    let of_spout = failed.clone();
    let lines = move || Lines { source: source.clone(), left: (1..=40).rev().collect(), failed: of_spout.clone() };
    let lines = t.spout("lines", lines);
    let child = t.bolt("child", move || spec.bolt()).streams([("default", "out")]).shuffle(&lines);
    t.bolt("sink", seen.sink()).global(&child.stream(0));
    let ended = t.build().unwrap().run().map(drop);
    let mut lines = seen.sorted();
    lines.dedup();
    (failed, lines, ended)
}

fn client(file: &str) -> ShellSpec {
    let mut spec = spec(&["python3", file], &fixtures(), &["out"]);
    spec.environment = clients();
    spec
}

#[test]
fn a_child_that_dies_of_some_tuples_costs_only_those() {
    if !has(&["python3"]) {
        return;
    }
    let (failed, lines, ended) = forty(client("printing.py"));
    ended.unwrap();
    assert_eq!(failed.blamed(), BTreeSet::from([7, 17, 27, 37]));
    assert_eq!(lines.len(), 36, "all others came through: {lines:?}");
    for failure in failed.all() {
        let is_known = matches!(failure.kind(), FailureKind::Collateral | FailureKind::Panic);
        assert!(is_known && failure.message().contains("debug: got"), "{failure:?}");
    }
}

#[test]
fn an_emit_after_fail_ends_the_child_and_is_held_against_nobody_else() {
    if !has(&["python3"]) {
        return;
    }
    let (failed, lines, ended) = forty(client("afterfail.py"));
    ended.unwrap();
    assert_eq!(failed.blamed(), BTreeSet::from([10, 20, 30, 40]), "what the child failed itself");
    assert_eq!(lines.len(), 36, "{lines:?}");
    assert!(failed.all().iter().all(|failure| failure.kind() != FailureKind::Panic));
}

/// A child that does not get to its first tuple: nothing is given up, and the end says why.
#[track_caller]
fn never_works(spec: ShellSpec, says: &[&str]) {
    let (failed, lines, ended) = forty(spec);
    let error = ended.unwrap_err();
    assert_eq!((error.state(), lines.len()), (Some("rebuild_limit"), 0), "{error}");
    for said in says {
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!(failed.blamed(), BTreeSet::new(), "{:?}", failed.all());
}

#[test]
fn a_child_that_never_gets_to_its_handshake_stops_the_topology_and_says_why() {
    if !has(&["python3"]) {
        return;
    }
    never_works(client("banner.py"), &["no answer to the handshake (sent as JSON)", "WARNING: no configuration file"]);
    never_works(client("there_is_no_such.py"), &["exit code 2, before its handshake", "there_is_no_such.py"]);
    let mut other = client("plain_client.py");
    other.command = ["python3", "-c", "import sys; print('{\"pid\": 1}\\nend', flush=True); sys.stdin.read()"]
        .map(str::to_owned)
        .to_vec();
    other.serializer = Serializer::MsgPack;
    never_works(other, &["no answer to the handshake (sent as MessagePack): it wrote: {\"pid\": 1}"]);
}

#[test]
fn a_child_that_fails_to_prepare_itself_blames_no_tuple() {
    if !has(&["python3"]) {
        return;
    }
    never_works(client("unprepared.py"), &["before it took any input", "no model"]);
}
