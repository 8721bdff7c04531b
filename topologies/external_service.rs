//! A bolt that asks a slow service on other threads: it holds its tuples, and they are acked where the answers arrive.
//!
//! ```sh
//! cargo run --release --example external_service -- --requests 2000 --latency-ms 5
//! ```

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use squall::connect::Generator;
use squall::state::store::CheckpointId;
use squall::sys::offload::Offload;
use squall::task::snapshot::{Checkpointed, OwnSnapshot};
use squall::{
    BoltContext, Door, Failure, Held, ManualBolt, Nothing, Outcome, Outlet, Topology, TopologyBuilder, Tuple,
};

/// Enriches events by a slow external service, without ever blocking an executor
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Requests to make
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub requests: u64,
    /// How long the service takes to answer
    #[arg(long, value_name = "MS", default_value_t = 2)]
    pub latency_ms: u64,
    /// Requests under way at once, at most
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: u32,
    /// One request in this many fails and is made again
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(2..))]
    pub fail_every: u64,
}

/// A question and the service's answer.
pub type Answer = (u64, u64);

/// The topology: `requests` to `service` to `sum`.
///
/// # Errors
/// Never with options that the command line accepts.
pub fn build(args: &Args) -> squall::Result<Topology> {
    let mut t = TopologyBuilder::new("external-service");
    let Args { requests: count, latency_ms, concurrency, fail_every } = *args;
    // What is held at once is bounded where it enters.
    let requests = t
        .source("requests", move || Generator::new(count, |n| n))
        .max_replays(1_000)
        .max_spout_pending(concurrency as usize);
    let latency = Duration::from_millis(latency_ms);
    let answers = t.bolt("service", move || Service::new(latency, fail_every)).shuffle(&requests);
    t.bolt("sum", Sum::default).global(&answers);
    t.build()
}

/// Makes the requests.
pub struct Service {
    remote: Arc<Remote>,
    /// Set by `prepare`.
    ways_out: Option<(Offload, Door<Answer>)>,
}

impl Service {
    /// A service that takes `latency` to answer and, now and then, does not.
    pub fn new(latency: Duration, fail_every: u64) -> Self {
        Service { remote: Arc::new(Remote { latency, fail_every, calls: AtomicU64::new(0) }), ways_out: None }
    }
}

impl ManualBolt for Service {
    type In = u64;
    type Out = Answer;
    /// Answers come whatever else does.
    const HELD: Option<Held<u64>> = Some(Held::Drain);

    fn prepare(&mut self, ctx: &mut BoltContext<Answer>) -> Outcome {
        self.ways_out = Some((ctx.offload(), ctx.door()));
        Ok(())
    }

    fn execute(&mut self, request: Tuple<u64>, _out: &mut Outlet<Answer>) -> Outcome {
        let (offload, door) = self.ways_out.clone().expect("prepared");
        let remote = self.remote.clone();
        offload.run(move || {
            let (question, anchor) = request.split();
            match remote.ask(question) {
                Err(why) => anchor.fail(why),
                // The answer is part of the request's tree before the request is acked.
                Ok(answer) => match door.emit_anchored(&anchor, (question, answer)) {
                    Ok(()) => anchor.ack(),
                    Err(_) => anchor.fail(Failure::retry("the topology has stopped")),
                },
            }
        });
        Ok(())
    }
}

/// Stands for a service somewhere else: it takes its time, and now and then it does not answer.
struct Remote {
    latency: Duration,
    fail_every: u64,
    calls: AtomicU64,
}

impl Remote {
    /// Blocks its thread, as a call over the network does.
    fn ask(&self, question: u64) -> Result<u64, Failure> {
        std::thread::sleep(self.latency);
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if call.is_multiple_of(self.fail_every) {
            return Err(Failure::retry("the service did not answer"));
        }
        Ok(question * question)
    }
}

/// Adds the answers up.
#[derive(Default)]
struct Sum {
    answers: u64,
    sum: u64,
}

impl squall::Bolt for Sum {
    type In = Answer;
    type Out = Nothing;

    fn execute(&mut self, (_, answer): Answer, _out: &mut Outlet<Nothing>) -> Outcome {
        self.answers += 1;
        self.sum = self.sum.wrapping_add(answer);
        Ok(())
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        Some(self)
    }

    fn finish(&mut self, _out: &mut Outlet<Nothing>) -> Outcome {
        let Sum { answers, sum } = self;
        squall::observe::above(|| writeln!(std::io::stdout(), "{answers} answers, sum {sum}"))?;
        Ok(())
    }
}

/// The sums so far are part of every checkpoint, so that an answer counts once whatever is done again.
impl Checkpointed for Sum {
    fn snapshot(&mut self, _: CheckpointId) -> Result<OwnSnapshot, Failure> {
        let bytes = [self.answers.to_le_bytes(), self.sum.to_le_bytes()].concat();
        Ok(OwnSnapshot { bytes, ..OwnSnapshot::default() })
    }

    fn restore(&mut self, _: Option<CheckpointId>, parts: &[&[u8]]) -> Outcome {
        for part in parts {
            let (answers, sum) = part.split_at_checked(8).ok_or_else(|| Failure::fatal("sums of another form"))?;
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
            self.answers += number(answers)?;
            self.sum = self.sum.wrapping_add(number(sum)?);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    squall::cli::run(build)
}
