//! squall as the child of squall: the library for the other direction, under the host for this one.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::storm::child::{Setup, serve_bolt, serve_manual_bolt, serve_spout};
use squall::storm::emitter::{Emitter, StreamDeclaration};
use squall::storm::shell::ShellSpec;
use squall::storm::tuple::StormTuple;
use squall::task::many::Many;
use squall::{
    Bolt, BoltContext, Failure, ManualBolt, Next, Outcome, Outlet, Spout, SpoutContext, SpoutOutlet, TopologyBuilder,
    Tuple, Value,
};

use crate::stage::{Seen, numbered, of, spec, through};
use crate::tools::{fixtures, has};

/// A command that reaches what serves each connection.
fn served(serve: impl Fn(TcpStream, TcpStream) -> squall::Result<()> + Send + 'static) -> ShellSpec {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            serve(stream.try_clone().unwrap(), stream).unwrap();
        }
    });
    spec(&["python3", "relay.py", &port], &fixtures(), &["word"])
}

/// Splits; fails the first attempt at every third sentence; says on a tick how many there were.
struct Split {
    streams: Vec<StreamDeclaration>,
    emitter: Option<Emitter>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Bolt for Split {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emitter = Some(Emitter::new(ctx.info(), &self.streams));
        Ok(())
    }

    fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let sentence = tuple.get("sentence")?.as_str().unwrap_or_default().to_owned();
        let mut failed = self.failed.lock().unwrap();
        if sentence.contains('3') && !failed.contains(&sentence) {
            failed.push(sentence);
            return Err(Failure::retry("not the first time"));
        }
        let emitter = self.emitter.as_ref().expect("prepared");
        sentence.split(' ').for_each(|word| out.emit_at(0, emitter.tuple(0, [Value::from(word)])));
        Ok(())
    }
}

fn sentences(n: u64) -> String {
    format!("the cow {n} jumped")
}

fn words(count: u64) -> Vec<String> {
    let mut words: Vec<String> =
        (0..count).flat_map(|n| sentences(n).split(' ').map(|word| format!("{word:?}")).collect::<Vec<_>>()).collect();
    words.sort();
    words
}

fn with_fields(mut spec: ShellSpec) -> ShellSpec {
    let fields = serde_json::json!({"source": {"default": ["sentence"]}});
    spec.wiring.insert("source->stream->fields".into(), fields);
    spec
}

#[test]
fn a_bolt_splits_fails_and_acks_as_storm_s_child() {
    if !has(&["python3"]) {
        return;
    }
    let failed = Arc::new(Mutex::new(Vec::new()));
    let spec = served(move |input, output| {
        let failed = failed.clone();
        serve_bolt(input, output, move |setup: &Setup| Split {
            streams: setup.streams.clone(),
            emitter: None,
            failed: failed.clone(),
        })
    });
    let (seen, report) = through(with_fields(spec), numbered(20, sentences));
    assert_eq!(seen, words(20));
    let (source, child) = (of(&report, "source"), of(&report, "child"));
    assert_eq!((source.counts.acked, source.counts.failed), (20, 2), "3 and 13 failed once");
    assert_eq!(child.counts.rebuilt, 0, "{:?}", child.last_error);
    assert!(child.last_error.as_deref().is_some_and(|last| last.contains("not the first time")));
}

/// Puts two sentences together, anchored to both.
struct Pairs {
    streams: Vec<StreamDeclaration>,
    emitter: Option<Emitter>,
    first: Option<Tuple<StormTuple>>,
}

impl ManualBolt for Pairs {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emitter = Some(Emitter::new(ctx.info(), &self.streams));
        Ok(())
    }

    fn execute(&mut self, tuple: Tuple<StormTuple>, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let Some(first) = self.first.take() else {
            self.first = Some(tuple);
            return Ok(());
        };
        let emitter = self.emitter.as_ref().expect("prepared");
        let both = Value::list([first.values()[0].clone(), tuple.values()[0].clone()]);
        out.anchored([&first, &tuple]).emit_at(0, emitter.tuple(0, [both]));
        first.ack();
        tuple.ack();
        Ok(())
    }
}

#[test]
fn a_manual_bolt_anchors_to_several_tuples_of_storm() {
    if !has(&["python3"]) {
        return;
    }
    let spec = served(|input, output| {
        serve_manual_bolt(input, output, |setup: &Setup| Pairs {
            streams: setup.streams.clone(),
            emitter: None,
            first: None,
        })
    });
    let (seen, report) = through(with_fields(spec), numbered(10, |n| n as i64));
    assert_eq!(seen, ["[0, 1]", "[2, 3]", "[4, 5]", "[6, 7]", "[8, 9]"]);
    assert_eq!((of(&report, "source").counts.acked, of(&report, "child").counts.rebuilt), (10, 0));
}

/// Counts to ten; says what was acked, and emits again what failed.
struct Ten {
    streams: Vec<StreamDeclaration>,
    emitter: Option<Emitter>,
    next: i64,
}

impl Spout for Ten {
    type Out = Many<StormTuple>;
    type Id = i64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.emitter = Some(Emitter::new(ctx.info(), &self.streams));
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, i64>) -> Result<Next, Failure> {
        if self.next == 10 {
            return Ok(Next::Idle);
        }
        self.next += 1;
        self.emit(self.next, out);
        Ok(Next::Emitted)
    }

    fn ack(&mut self, id: i64, out: &mut SpoutOutlet<Many<StormTuple>, i64>) -> Outcome {
        let tuple = self.emitter.as_ref().expect("opened").tuple(0, [Value::from(format!("acked {id}"))]);
        out.emit_at(0, tuple);
        Ok(())
    }

    fn fail(&mut self, id: i64, _: &Failure, out: &mut SpoutOutlet<Many<StormTuple>, i64>) -> Outcome {
        self.emit(id, out);
        Ok(())
    }
}

impl Ten {
    fn emit(&self, id: i64, out: &mut SpoutOutlet<Many<StormTuple>, i64>) {
        let tuple = self.emitter.as_ref().expect("opened").tuple(0, [Value::from(format!("number {id}"))]);
        out.emit_tracked_at(id, 0, tuple);
    }
}

#[test]
fn a_spout_emits_and_is_called_back_as_storm_s_child() {
    if !has(&["python3"]) {
        return;
    }
    let spec = served(|input, output| {
        serve_spout(input, output, |setup: &Setup| Ten { streams: setup.streams.clone(), emitter: None, next: 0 })
    });
    let seen = Seen::default();
    let (sink, failed) = (seen.sink(), Arc::new(Mutex::new(false)));
    let picky = move |tuple: StormTuple, out: &mut Outlet<squall::Nothing>| {
        let is_four = tuple.values()[0].as_str() == Some("number 4");
        if is_four && !std::mem::replace(&mut *failed.lock().unwrap(), true) {
            return Err(Failure::retry("on purpose"));
        }
        sink(tuple, out);
        Ok(())
    };
    let mut t = TopologyBuilder::new("ten");
    let child = t.spout("child", move || spec.spout()).streams([("default", "word")]);
    t.bolt("sink", picky).global(&child.stream(0));
    let running = t.build().unwrap().start().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while seen.sorted().len() < 20 {
        assert!(std::time::Instant::now() < deadline, "got {:?}", seen.sorted());
        std::thread::yield_now();
    }
    running.drain();
    running.wait().unwrap();
    let mut expected: Vec<String> =
        (1..=10).flat_map(|n| [format!("\"number {n}\""), format!("\"acked {n}\"")]).collect();
    expected.sort();
    assert_eq!(seen.sorted(), expected);
}

#[test]
fn what_is_no_storm_worker_is_refused() {
    let input: &[u8] = b"hello\nend\n";
    let error = serve_bolt(input, std::io::sink(), |setup: &Setup| Split {
        streams: setup.streams.clone(),
        emitter: None,
        failed: Arc::default(),
    });
    assert!(error.unwrap_err().to_string().contains("standard input: not the setup of a Storm worker"));
}
