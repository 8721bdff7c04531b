//! A bolt and a spout for a topology that still runs on a real Storm cluster: one process for each task, started by
//! Storm's worker. In a Flux file of that cluster:
//!
//! ```yaml
//! - id: split
//!   className: org.apache.storm.flux.wrappers.bolts.FluxShellBolt
//!   constructorArgs: [[./storm_child, split], [word]]
//! ```
//!
//! with the program in the jar's `resources/`, where Storm starts it. `numbers N` is a spout that counts to N and emits
//! again what failed.

use std::process::ExitCode;

use squall::storm::child::{self, Setup};
use squall::storm::emitter::{Emitter, StreamDeclaration};
use squall::storm::tuple::StormTuple;
use squall::task::many::Many;
use squall::{Bolt, BoltContext, Failure, Next, Outcome, Outlet, Spout, SpoutContext, SpoutOutlet};

/// Splits the first value of a tuple into words.
struct Split {
    streams: Vec<StreamDeclaration>,
    emitter: Option<Emitter>,
}

impl Bolt for Split {
    type In = StormTuple;
    type Out = Many<StormTuple>;

    fn prepare(&mut self, ctx: &mut BoltContext<Many<StormTuple>>) -> Outcome {
        self.emitter = Some(Emitter::new(ctx.info(), &self.streams));
        Ok(())
    }

    fn execute(&mut self, tuple: StormTuple, out: &mut Outlet<Many<StormTuple>>) -> Outcome {
        let emitter = self.emitter.as_ref().expect("prepared");
        let sentence = tuple.values().first().and_then(|value| value.as_str()).unwrap_or_default();
        sentence.split_whitespace().for_each(|word| out.emit_at(0, emitter.tuple(0, [word.into()])));
        Ok(())
    }
}

/// Counts from 1.
struct Numbers {
    streams: Vec<StreamDeclaration>,
    emitter: Option<Emitter>,
    last: i64,
    count: i64,
}

impl Numbers {
    fn emit(&self, n: i64, out: &mut SpoutOutlet<Many<StormTuple>, i64>) {
        let emitter = self.emitter.as_ref().expect("opened");
        out.emit_tracked_at(n, 0, emitter.tuple(0, [n.into()]));
    }
}

impl Spout for Numbers {
    type Out = Many<StormTuple>;
    type Id = i64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.emitter = Some(Emitter::new(ctx.info(), &self.streams));
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Many<StormTuple>, i64>) -> Result<Next, Failure> {
        if self.last == self.count {
            // Storm goes on asking, and some of it may fail yet.
            return Ok(Next::Idle);
        }
        self.last += 1;
        self.emit(self.last, out);
        Ok(Next::Emitted)
    }

    fn fail(&mut self, n: i64, _: &Failure, out: &mut SpoutOutlet<Many<StormTuple>, i64>) -> Outcome {
        self.emit(n, out);
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["split"] => child::run_bolt(|setup: &Setup| Split { streams: setup.streams.clone(), emitter: None }),
        ["numbers", count] if count.parse::<i64>().is_ok() => {
            let count = count.parse().expect("a number");
            child::run_spout(move |setup| Numbers { streams: setup.streams.clone(), emitter: None, last: 0, count })
        }
        _ => {
            eprintln!("usage: storm_child split | storm_child numbers N; a worker of Storm starts it");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
