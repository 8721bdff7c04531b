//! `multilang`: what squall adds to a child process that echoes. Closed loop.
//!
//! The same child is driven by a bare loop that writes to its pipe and reads from it, and by a topology of one spout,
//! the child as a bolt, and a sink; in turns. One tuple at a time for the round trip, from the emit to the ack; a
//! window of tuples for the throughput.

mod bare;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::open_loop::START_STOP;
use crate::bench::row::{Row, Unit, histogram};
use crate::bench::session::{Options, Session, Subject};
use crate::bench::timing::Timing;
use crate::bench::working_folder::WorkingFolder;
use crate::error::{Error, Failure, Result};
use crate::storm::shell::ShellSpec;
use crate::storm::tuple::{Source, StormTuple};
use crate::sys::clock::Clock;
use crate::sys::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::task::TaskId;
use crate::task::component::{Next, Outcome, Spout};
use crate::task::dynamic::{Fields, Value};
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::payload::Nothing;
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::WaitPolicy;

/// Tuples under way when throughput is measured.
const WINDOW: usize = 100;

/// Name, program and script of each child.
const CHILDREN: [(&str, &str, &str, &str); 2] =
    [("python", "python3", "echo.py", include_str!("echo.py")), ("node", "node", "echo.js", include_str!("echo.js"))];

/// What one way of driving a child has shown.
struct Loop {
    trips: Histogram<u64>,
    per_s: f64,
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    let timing = Timing::of(options);
    (timing.round(4) + START_STOP * 4) * (timing.repeat * CHILDREN.len() * waits(options).len()) as u32
}

/// How the executor waits for the child: for round trips, and for throughput.
#[derive(Clone, Copy)]
struct Waits {
    trip: WaitPolicy,
    stream: WaitPolicy,
}

/// Unless told, as `hop` and `throughput`: a child's answer takes longer than an executor that adapts will spin, and
/// one that spins takes a CPU that a stream of tuples needs for the child.
fn waits(options: &Options) -> Vec<Waits> {
    match &options.waits[..] {
        [] => vec![Waits { trip: WaitPolicy::BusySpin, stream: WaitPolicy::default() }],
        told => told.iter().map(|&wait| Waits { trip: wait, stream: wait }).collect(),
    }
}

/// Measures each child in rounds.
///
/// # Errors
/// When a child or a topology fails, or the scripts cannot be written.
pub(crate) fn run(session: &mut Session, _subject: Option<&Subject<'_>>) -> Result<()> {
    let timing = Timing::of(&session.options);
    let folder = WorkingFolder::make()?;
    for (_, _, script, text) in CHILDREN {
        let path = folder.path().join(script);
        std::fs::write(&path, text).map_err(|error| Error::io(format!("writing {}", path.display()), &error))?;
    }
    for (name, program, script, _) in CHILDREN {
        let command = [program.to_owned(), script.to_owned()];
        if !is_there(program) {
            let why = format!("there is no `{program}`");
            session.row(Row::new("multilang", format!("{name} echo")).with("child", name).with("skipped", why));
            continue;
        }
        for waits in waits(&session.options) {
            let (mut bares, mut engines) = (Vec::new(), Vec::new());
            for round in 1..=timing.repeat {
                let step = format!("{name}, {}, round {round} of {}", waits.trip, timing.repeat);
                session.step(&step, timing.round(4) + START_STOP * 4);
                bares.push(bare::measure(&command, folder.path(), &timing, &session.clock)?);
                engines.push(measure(&command, folder.path(), waits, &timing, &session.clock)?);
            }
            session.row(row(name, waits, &bares, &engines));
        }
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn row(name: &str, waits: Waits, bares: &[Loop], engines: &[Loop]) -> Row {
    let histograms = |loops: &[Loop]| loops.iter().map(|one| one.trips.clone()).collect::<Vec<_>>();
    let ratios = |of: &dyn Fn(&Loop) -> f64| {
        engines.iter().zip(bares).map(|(engine, bare)| of(engine) / of(bare)).collect::<Vec<_>>()
    };
    let at = |quantile: f64| move |one: &Loop| one.trips.value_at_quantile(quantile) as f64;
    let rates = |loops: &[Loop]| loops.iter().map(|one| one.per_s).collect::<Vec<_>>();
    Row::new("multilang", format!("{name} echo"))
        .with("row", "echo")
        .with("child", name)
        .with("wait", waits.trip.to_string())
        .with("wait_per_s", waits.stream.to_string())
        .with("window", WINDOW)
        .distributions("", Unit::Us, &histograms(engines))
        .distributions("bare_", Unit::Us, &histograms(bares))
        .repeated("ratio_to_bare_p50", &ratios(&at(0.5)))
        .repeated("ratio_to_bare_p99", &ratios(&at(0.99)))
        .repeated("tuples_per_s", &rates(engines))
        .repeated("bare_tuples_per_s", &rates(bares))
        .repeated("ratio_to_bare_per_s", &ratios(&|one| one.per_s))
}

/// What the spout measures, read from outside.
struct Meter {
    clock: Clock,
    /// Trips that began before it do not count.
    from_ns: AtomicU64,
    acked: AtomicU64,
    trips: Mutex<Histogram<u64>>,
}

/// Emits whenever it may; its ids are the times of the emits.
struct Numbers {
    source: Arc<Source>,
    meter: Arc<Meter>,
    next: i64,
}

impl Spout for Numbers {
    type Out = StormTuple;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutOutlet<StormTuple, u64>) -> std::result::Result<Next, Failure> {
        self.next += 1;
        let tuple = StormTuple::new(&self.source, TaskId(3), [Value::Int(self.next)]);
        out.emit_tracked(self.meter.clock.now_ns(), tuple);
        Ok(Next::Emitted)
    }

    fn ack(&mut self, sent_ns: u64, _: &mut SpoutOutlet<StormTuple, u64>) -> Outcome {
        let meter = &self.meter;
        if sent_ns >= meter.from_ns.load(Ordering::Relaxed) {
            let mut trips = meter.trips.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            trips.saturating_record(meter.clock.now_ns() - sent_ns);
        }
        meter.acked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Both loops through a topology.
fn measure(command: &[String], folder: &Path, waits: Waits, timing: &Timing, clock: &Clock) -> Result<Loop> {
    let (trips, _) = through(command, folder, waits.trip, timing, clock, 1)?;
    let (_, per_s) = through(command, folder, waits.stream, timing, clock, WINDOW)?;
    Ok(Loop { trips, per_s })
}

fn through(
    command: &[String],
    folder: &Path,
    wait: WaitPolicy,
    timing: &Timing,
    clock: &Clock,
    window: usize,
) -> Result<(Histogram<u64>, f64)> {
    let meter = Arc::new(Meter {
        clock: clock.clone(),
        from_ns: AtomicU64::new(u64::MAX),
        acked: AtomicU64::new(0),
        trips: Mutex::new(histogram()),
    });
    let fields = Fields::new(["n"]).expect("one name");
    let source = Arc::new(Source { component: "source".into(), stream: "default".into(), fields });
    let mut spec = ShellSpec::new(command.iter().map(String::as_str));
    spec.working_dir = folder.to_owned();
    spec.pid_dir = folder.to_owned();
    spec.streams = vec![("default".into(), vec!["n".into()])];

    let mut t = TopologyBuilder::new("multilang");
    t.settings(|settings| settings.wait = wait);
    let metered = meter.clone();
    let spout = move || Numbers { source: source.clone(), meter: metered.clone(), next: 0 };
    let source = t.spout("source", spout).max_spout_pending(window);
    let child = t.bolt("child", move || spec.bolt()).streams([("default", "n")]).shuffle(&source);
    t.bolt("sink", |_: StormTuple, _: &mut Outlet<Nothing>| {}).shuffle(&child.stream(0));
    let running = t.build()?.start()?;
    let ended = |outcome: Option<Result<()>>| match outcome {
        None => Ok(()),
        Some(outcome) => outcome.and(Err(Error::failed("ended", "an endless spout has ended"))),
    };
    // The child has to be there before anything can be warmed up.
    while meter.acked.load(Ordering::Relaxed) == 0 {
        ended(running.wait_timeout(Duration::from_millis(1)))?;
    }
    ended(running.wait_timeout(timing.warmup))?;
    let (acked, from_ns) = (meter.acked.load(Ordering::Relaxed), clock.now_ns());
    meter.from_ns.store(from_ns, Ordering::Relaxed);
    ended(running.wait_timeout(timing.slice))?;
    let (acked, ns) = (meter.acked.load(Ordering::Relaxed) - acked, clock.now_ns() - from_ns);
    running.kill(Some(Duration::ZERO));
    running.wait()?;
    let trips = meter.trips.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    Ok((trips, acked as f64 * 1e9 / ns.max(1) as f64))
}
