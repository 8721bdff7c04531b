//! The topologies that hops are measured with.

use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use hdrhistogram::Histogram;

use crate::bench::pingpong::RoundTrips;
use crate::bench::shapes::{Numbered, identity, swallow};
use crate::bench::window::ns_per_input;
use crate::engine::Running;
use crate::error::{Error, Failure, Result};
use crate::sys::clock::Clock;
use crate::sys::cpu::CpuId;
use crate::task::component::{Bolt, Next, Outcome, Spout};
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::topology::Topology;
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::{Guarantee, WaitPolicy};

/// What a hop leads over, how it is run, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Trip {
    pub guarantee: Guarantee,
    pub wait: WaitPolicy,
    /// Of the side that begins, and of the other; the same for a hop on one executor.
    pub cpus: [CpuId; 2],
    pub warmup: Duration,
    pub length: Duration,
    pub clock: Clock,
}

/// What was measured, and where the executors really were.
pub(super) struct Measured<T> {
    pub figure: T,
    pub cpus: Vec<Option<usize>>,
}

impl Trip {
    fn builder(&self, name: &str) -> TopologyBuilder {
        let mut t = TopologyBuilder::new(name);
        t.settings(|settings| {
            settings.guarantee = self.guarantee;
            settings.wait = self.wait;
            // One tree lasts as long as the token goes to and fro.
            settings.message_timeouts_enabled = false;
        });
        t
    }

    /// One way from a bolt to another and back, halved: a token goes round a loop of two bolts, one tuple at a time.
    /// With tracking it is one tree all the time, and every hop tells the ledger of an edge gone and a new one.
    pub fn one_way(&self) -> Result<Measured<Histogram<u64>>> {
        let mut t = self.builder("hop");
        let (over_in, over) = bounded(1);
        let [here, there] = self.cpus.map(|cpu| cpu.0);
        let token = t.spout("token", || Token { emitted: false }).on_cpu(here);
        let trips = self.clone();
        let ping = move || Ping {
            trips: RoundTrips::halved(trips.clock.clone(), trips.warmup, trips.length),
            over: over_in.clone(),
        };
        let ping = t.bolt("ping", ping).on_cpu(here).shuffle(&token);
        let pong = t.bolt("pong", identity::<Turn>).on_cpu(there).shuffle(&ping);
        let _ = ping.closing_cycle(|ping| ping.shuffle(&pong));
        self.times(t.build()?, &over)
    }

    /// From a spout's emit to its ack, the tuple having been executed by a bolt: one tuple at a time.
    pub fn tree(&self) -> Result<Measured<Histogram<u64>>> {
        let mut t = self.builder("tree");
        let (over_in, over) = bounded(1);
        let [here, there] = self.cpus.map(|cpu| cpu.0);
        let trips = self.clone();
        let trees = move || Trees {
            trips: RoundTrips::whole(trips.clock.clone(), trips.warmup, trips.length),
            state: State::Ready,
            over: over_in.clone(),
        };
        let trees = t.spout("trees", trees).on_cpu(here);
        t.bolt("leaf", swallow::<u64>).on_cpu(there).shuffle(&trees);
        self.times(t.build()?, &over)
    }

    /// Nanoseconds per tuple from a spout that always has one to a bolt that drops it: what queues in between is taken
    /// by the turn. The spout's call is part of it.
    pub fn queued(&self) -> Result<f64> {
        let mut t = self.builder("queued");
        let [here, there] = self.cpus.map(|cpu| cpu.0);
        let numbers = t.spout("numbers", || Numbered::new(|number| number)).on_cpu(here);
        t.bolt("sink", swallow::<u64>).on_cpu(there).shuffle(&numbers);
        ns_per_input(t.build()?, self.warmup, self.length, &self.clock, |id| id == "sink")
    }

    /// Runs until the component that measures says that it is done.
    fn times(&self, topology: Topology, over: &Receiver<Histogram<u64>>) -> Result<Measured<Histogram<u64>>> {
        const LOOK: Duration = Duration::from_millis(2);
        let running = topology.start()?;
        let mut wait = self.warmup + self.length;
        let figure = loop {
            still_runs(&running, wait)?;
            if let Ok(times) = over.try_recv() {
                break times;
            }
            wait = LOOK;
        };
        let cpus = running.executor_cpus().to_vec();
        running.kill(Some(Duration::ZERO));
        running.wait()?;
        Ok(Measured { figure, cpus })
    }
}

/// Waits, with an eye on a topology that ends although nothing makes it.
fn still_runs(running: &Running, wait: Duration) -> Result<()> {
    match running.wait_timeout(wait) {
        None => Ok(()),
        Some(end) => end.and(Err(Error::failed("ended", "it ended before its hops had been measured"))),
    }
}

/// What goes round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    First,
    Further,
}

/// Emits one token, and is never finished: an ended input would have the engine look for the end of the loop.
struct Token {
    emitted: bool,
}

impl Spout for Token {
    type Out = Turn;
    type Id = ();

    fn next(&mut self, out: &mut SpoutOutlet<Turn, ()>) -> Result<Next, Failure> {
        if std::mem::replace(&mut self.emitted, true) {
            return Ok(Next::Idle);
        }
        out.emit_tracked((), Turn::First);
        Ok(Next::Emitted)
    }
}

struct Ping {
    trips: RoundTrips,
    over: Sender<Histogram<u64>>,
}

impl Bolt for Ping {
    type In = Turn;
    type Out = Turn;

    #[inline]
    fn execute(&mut self, turn: Turn, out: &mut Outlet<Turn>) -> Outcome {
        if turn == Turn::Further && self.trips.is_back() {
            // The one who asked may have given up; then nobody wants it.
            let _ = self.over.try_send(self.trips.times.clone());
            return Ok(());
        }
        self.trips.leave();
        out.emit(Turn::Further);
        Ok(())
    }
}

/// A spout with one tree at a time.
struct Trees {
    trips: RoundTrips,
    state: State,
    over: Sender<Histogram<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Waiting,
    Over,
}

impl Spout for Trees {
    type Out = u64;
    type Id = ();

    #[inline]
    fn next(&mut self, out: &mut SpoutOutlet<u64, ()>) -> Result<Next, Failure> {
        if self.state != State::Ready {
            return Ok(Next::Idle);
        }
        self.state = State::Waiting;
        self.trips.leave();
        out.emit_tracked((), 1);
        Ok(Next::Emitted)
    }

    #[inline]
    fn ack(&mut self, _: (), _: &mut SpoutOutlet<u64, ()>) -> Outcome {
        self.state = State::Ready;
        if self.trips.is_back() {
            self.state = State::Over;
            let _ = self.over.try_send(self.trips.times.clone());
        }
        Ok(())
    }
}
