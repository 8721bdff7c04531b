//! The control side of a running topology as a state machine without thread or clock of its own: it gets events and
//! requests and answers with commands to executors. A control thread drives it, or a test driver.

pub(crate) mod checkpoints;

use std::time::Duration;

use crossbeam::channel::Sender;

use crate::engine::checkpoint::keeper::Durable;
use crate::engine::control::checkpoints::Checkpoints;
use crate::engine::placement::TaskRef;
use crate::engine::wiring::Package;
use crate::error::{Error, Failure, Result};
use crate::state::store::CheckpointId;
use crate::sys::sync::Arc;
use crate::task::lineage::GivenUp;
use crate::task::measured::Measured;
use crate::task::metrics::Latency;
use crate::task::shell::{Fatal, Order};
use crate::task::snapshot::Restored;
use crate::task::waker::Mailbox;

pub(crate) type Latencies = Vec<(TaskRef, Latency)>;

/// To an executor.
pub(crate) enum Command {
    /// All tasks have started: takes what they have stored.
    Restore,
    Run,
    Order(Order),
    /// Inputs that have been given up, as of a durable checkpoint: their sources make dead letters of them.
    Bury(Arc<[GivenUp]>),
    /// Asks whether it is quiet; see [`Probe`].
    Probe(u64),
    /// Asks to be told when everything before this is done.
    Confirm,
    Latencies(Sender<Latencies>),
    /// Asks for what was measured since the last time, to be added and sent back.
    Measured(Box<Measured>, Sender<Box<Measured>>),
    /// Drops all tasks: they are built anew from the last checkpoint.
    Halt,
    /// The new tasks' rings.
    Rebuild(Box<Package>),
    Stop,
}

/// From an executor, or from the keeper of checkpoints.
pub(crate) enum Event {
    Started {
        executor: usize,
    },
    NotStarted {
        failure: Failure,
    },
    /// Its tasks stand where the checkpoint was.
    Restored {
        executor: usize,
    },
    Fatal(Fatal),
    /// It went idle while one of its tasks waits for quiet, or blocked.
    Idle,
    Probed(Probe),
    /// It has done what it was told before it was asked for this, and has reported what failed.
    Confirmed {
        executor: usize,
    },
    /// Something that was offloaded has been done.
    JobDone,
    /// Every task of it has sent end of input.
    AllDone {
        executor: usize,
    },
    Stopped {
        executor: usize,
        latencies: Latencies,
        /// Of a measured run: what nobody has asked for.
        measured: Option<Box<Measured>>,
    },
    /// It has dropped its tasks.
    Halted {
        executor: usize,
    },
    /// A checkpoint is durable.
    Checkpointed {
        checkpoint: CheckpointId,
        durable: Durable,
    },
    /// A task does nothing before the next checkpoint is durable.
    CheckpointWanted,
    /// A component could not take its part; the checkpoint is given up.
    CheckpointFailed {
        checkpoint: CheckpointId,
        why: String,
    },
    /// The store or the manifest cannot be used any more.
    KeeperFailed(Error),
    /// The checkpoint that is stepped back to.
    SteppedBack(Box<Restored>),
    /// Its thread has panicked outside of what is guarded; nothing more will come from it.
    Died {
        executor: usize,
    },
}

/// An executor's answer: quiet means that nothing is queued or running in it.
///
/// The topology is quiet if two rounds in a row find every executor quiet with the same, equal sums of items sent and
/// received (the four-counter method of Mattern, 1987): nothing can have been under way between the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub executor: usize,
    pub round: u64,
    pub quiet: bool,
    /// It has blocked tasks and nothing else to do.
    pub stuck: bool,
    /// One of its tasks waits for quiet.
    pub wanted: bool,
    pub sent: u64,
    pub received: u64,
}

/// From the user of a running topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Activate,
    Deactivate,
    Drain,
    /// With checkpoints: stop after a last one, without an end of input.
    Suspend,
    Kill {
        wait_ns: Option<u64>,
    },
}

/// Where a topology is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Components are being opened and prepared.
    Starting,
    /// Spouts emit.
    Active,
    /// Spouts are deactivated; what is under way goes on.
    Inactive,
    /// After a failure everything is being rebuilt from the last checkpoint.
    Recovering,
    /// Spouts take in nothing new; what is under way is being finished.
    Draining,
    /// Deactivated, and about to be stopped.
    Killing,
    /// Components are being closed.
    Stopping,
    /// Over.
    Stopped,
}

pub(crate) struct Control {
    executors: Vec<Seat>,
    phase: Phase,
    outcome: Result<()>,
    drain_timeout_ns: u64,
    kill_wait_ns: u64,
    /// When the phase is over at the latest.
    deadline_ns: Option<u64>,
    has_cycle: bool,
    round: u64,
    /// Answers of the current round, and of the one before it if that was quiet.
    probes: Vec<Option<Probe>>,
    last_quiet: Option<(u64, u64)>,
    last_stuck: Option<(u64, u64)>,
    probing: bool,
    probe_again: bool,
    checkpoints: Option<Checkpoints>,
    pub latencies: Latencies,
    pub measured: Option<Box<Measured>>,
}

struct Seat {
    commands: Sender<Command>,
    mailbox: Arc<Mailbox>,
    stage: Stage,
    /// What the last checkpoint commits is committed; under a suspend its tasks have not ended then.
    has_confirmed: bool,
}

/// How far an executor has come, as it has last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It builds its tasks, for the first time or after a restart.
    Starting,
    /// Its tasks are built.
    Started,
    /// They have taken what they had stored.
    Restored,
    /// All its tasks have ended.
    Done,
    /// Its tasks are dropped, for a restart.
    Halted,
    /// Its thread has ended.
    Stopped,
}

impl Control {
    pub fn new(
        commands: Vec<Sender<Command>>,
        mailboxes: &[Arc<Mailbox>],
        drain_timeout: Duration,
        kill_wait: Duration,
        has_cycle: bool,
    ) -> Self {
        let seats = commands.into_iter().zip(mailboxes).map(|(commands, mailbox)| Seat {
            commands,
            mailbox: mailbox.clone(),
            stage: Stage::Starting,
            has_confirmed: false,
        });
        let executors: Vec<Seat> = seats.collect();
        Control {
            probes: vec![None; executors.len()],
            executors,
            phase: Phase::Starting,
            outcome: Ok(()),
            drain_timeout_ns: drain_timeout.as_nanos() as u64,
            kill_wait_ns: kill_wait.as_nanos() as u64,
            deadline_ns: None,
            has_cycle,
            round: 0,
            last_quiet: None,
            last_stuck: None,
            probing: false,
            probe_again: false,
            checkpoints: None,
            latencies: Vec::new(),
            measured: None,
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn outcome(&self) -> Result<()> {
        self.outcome.clone()
    }

    /// When [`time`](Self::time) has to be called at the latest.
    pub fn next_due_ns(&self) -> Option<u64> {
        [self.deadline_ns, self.checkpoint_due_ns()].into_iter().flatten().min()
    }

    pub fn event(&mut self, event: Event, now_ns: u64) {
        match event {
            Event::Started { executor } => self.started(executor),
            Event::Restored { executor } => self.restored(executor, now_ns),
            Event::NotStarted { failure } => self.not_started(&failure, now_ns),
            Event::Fatal(fatal) if fatal.steps_back => self.step_back(&fatal, now_ns),
            Event::Fatal(fatal) => self.fail(Error::failed(fatal.state, fatal.message)),
            Event::Halted { executor } => self.halted(executor, now_ns),
            Event::Checkpointed { checkpoint, durable } => self.checkpointed(checkpoint, &durable, now_ns),
            Event::CheckpointWanted => self.checkpoint_wanted(now_ns),
            Event::CheckpointFailed { checkpoint, why } => self.checkpoint_failed(checkpoint, why, now_ns),
            Event::KeeperFailed(error) => self.fail(Error::failed("state_unusable", error.to_string())),
            Event::SteppedBack(restored) => self.stepped_back(restored),
            Event::Idle => self.probe(),
            // Only of interest if someone has asked for quiet before.
            Event::JobDone if self.round > 0 => self.probe(),
            Event::JobDone => {}
            Event::Probed(probe) => self.probed(probe),
            Event::Confirmed { executor } => self.confirmed(executor),
            Event::AllDone { executor } => {
                if self.all_have_come_to(Stage::Done, executor) {
                    self.all_done();
                }
            }
            Event::Stopped { executor, latencies, measured } => {
                self.latencies.extend(latencies);
                if let Some(measured) = measured {
                    self.measured.get_or_insert_default().add(&measured);
                }
                self.stopped(executor);
            }
            Event::Died { executor } => {
                self.fail(Error::failed("executor_died", format!("executor {executor} panicked; the log says where")));
                self.stopped(executor);
            }
        }
    }

    pub fn request(&mut self, request: Request, now_ns: u64) {
        match (request, self.phase) {
            (Request::Activate, Phase::Inactive) => {
                self.phase = Phase::Active;
                self.order(Order::Activate);
            }
            (Request::Deactivate, Phase::Active) => {
                self.phase = Phase::Inactive;
                self.order(Order::Deactivate);
            }
            (Request::Suspend, Phase::Active | Phase::Inactive) if self.checkpoints.is_some() => self.suspend(now_ns),
            (Request::Drain | Request::Suspend, Phase::Active | Phase::Inactive) => {
                self.phase = Phase::Draining;
                // One that was asked for while everything restarted has been waited for since.
                self.deadline_ns.get_or_insert(now_ns.saturating_add(self.drain_timeout_ns));
                self.order(Order::WindDown);
            }
            (Request::Kill { wait_ns }, Phase::Active | Phase::Inactive | Phase::Draining | Phase::Killing) => {
                self.phase = Phase::Killing;
                self.order(Order::Deactivate);
                self.deadline_ns = Some(now_ns.saturating_add(wait_ns.unwrap_or(self.kill_wait_ns)));
                self.time(now_ns);
            }
            (Request::Kill { .. }, Phase::Starting | Phase::Recovering) => self.stop(),
            // Nothing is under way, and the last checkpoint is what the next start goes on from.
            (Request::Suspend, Phase::Recovering) => self.stop(),
            (request, Phase::Recovering) => self.ask_again_after_recovery(request, now_ns),
            // The rest asks for what is already so, or comes too late.
            _ => {}
        }
    }

    /// Time has passed.
    pub fn time(&mut self, now_ns: u64) {
        if self.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            match self.phase {
                Phase::Draining | Phase::Recovering => self.drain_timed_out(),
                _ => self.stop(),
            }
        }
        self.time_for_checkpoints(now_ns);
    }

    /// What is still under way is not finished: with checkpoints the next start goes on from the last one, without them
    /// it is lost.
    fn drain_timed_out(&mut self) {
        let kept = if self.checkpoints.is_some() { "; the last checkpoint is kept" } else { "" };
        self.fail(Error::failed(
            "drain_timeout",
            format!("something was still under way after drain_timeout{kept}: the report tells who holds it"),
        ));
    }

    fn started(&mut self, executor: usize) {
        if self.all_have_come_to(Stage::Started, executor) && matches!(self.phase, Phase::Starting | Phase::Recovering)
        {
            self.send(|| Command::Restore);
        }
    }

    fn restored(&mut self, executor: usize, now_ns: u64) {
        if !self.all_have_come_to(Stage::Restored, executor) {
            return;
        }
        match self.phase {
            Phase::Starting if self.was_finished() => self.stop_after_last(),
            Phase::Starting => {
                self.phase = Phase::Active;
                self.send(|| Command::Run);
                self.run_checkpoints(now_ns);
            }
            Phase::Recovering => self.recovered(now_ns),
            _ => {}
        }
    }

    /// This executor has. True if it was the last one.
    fn all_have_come_to(&mut self, stage: Stage, executor: usize) -> bool {
        self.executors[executor].stage = stage;
        self.executors.iter().all(|seat| seat.stage == stage)
    }

    fn fail(&mut self, error: Error) {
        if self.outcome.is_ok() {
            self.outcome = Err(error);
        }
        self.stop();
    }

    fn stop(&mut self) {
        if !matches!(self.phase, Phase::Stopping | Phase::Stopped) {
            self.phase = Phase::Stopping;
            self.deadline_ns = None;
            self.send(|| Command::Stop);
        }
    }

    fn stopped(&mut self, executor: usize) {
        if self.all_have_come_to(Stage::Stopped, executor) {
            self.phase = Phase::Stopped;
        }
    }

    fn order(&self, order: Order) {
        self.send(|| Command::Order(order));
    }

    fn send(&self, command: impl Fn() -> Command) {
        for seat in self.executors.iter().filter(|seat| seat.stage != Stage::Stopped) {
            // An executor that is gone has said so, or its thread is being reported as lost.
            let _ = seat.commands.send(command());
            seat.mailbox.sleeper.wake();
        }
    }

    fn probe(&mut self) {
        if !matches!(self.phase, Phase::Active | Phase::Inactive | Phase::Draining | Phase::Killing) {
            return;
        }
        if self.probing {
            self.probe_again = true;
            return;
        }
        self.probing = true;
        self.probe_again = false;
        self.round += 1;
        self.probes.fill(None);
        let round = self.round;
        self.send(|| Command::Probe(round));
    }

    fn probed(&mut self, probe: Probe) {
        if probe.round != self.round {
            return;
        }
        self.probes[probe.executor] = Some(probe);
        let Some(probes) = self.probes.iter().copied().collect::<Option<Vec<Probe>>>() else { return };
        self.probing = false;
        let sums = (probes.iter().map(|probe| probe.sent).sum(), probes.iter().map(|probe| probe.received).sum());
        let settled = |settled: bool, last: &mut Option<(u64, u64)>| {
            let twice = settled && *last == Some(sums);
            *last = settled.then_some(sums);
            (settled && !twice, twice)
        };
        let all_quiet = sums.0 == sums.1 && probes.iter().all(|probe| probe.quiet) && probes.iter().any(|p| p.wanted);
        let (quiet_once, quiet) = settled(all_quiet, &mut self.last_quiet);
        let all_stuck = self.has_cycle
            && probes.iter().any(|probe| probe.stuck)
            && probes.iter().all(|probe| probe.stuck || probe.quiet);
        let (stuck_once, stuck) = settled(all_stuck, &mut self.last_stuck);
        if stuck {
            self.fail(Error::failed(
                "cycle_full",
                "every lane of a cycle is full and nothing can move; give the cycle's components a larger \
                 lane_capacity or emit less inside it",
            ));
        } else if quiet {
            self.last_quiet = None;
            self.order(Order::EndInput);
        } else if quiet_once || stuck_once || self.probe_again {
            self.probe();
        }
    }
}
