//! A running topology: the handle its starter holds, and the control thread behind it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::engine::checkpoint::keeper::Keeper;
use crate::engine::checkpoint::{self, CheckpointReport, Opened};
use crate::engine::control::{Command, Control, Event, Latencies, Phase, Request};
use crate::engine::executor::Pulse;
use crate::engine::placement::{Placed, place};
use crate::engine::report::{ComponentCounts, Report, report};
use crate::engine::threads;
use crate::engine::watch::{Seen, Watch};
use crate::engine::wiring::{CommandEnds, Shared, command_channels, packages};
use crate::error::{Error, Problem, Result};
use crate::sys::clock::Clock;
use crate::sys::cpu::{Claim, CpuId, CpuRegister, default_executor_count, keep_off_current_thread, usable_cpus};
use crate::sys::disk::Disk;
use crate::sys::offload::Offload;
use crate::sys::random::mix;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::sys::thread::{JoinHandle, spawn_named};
use crate::task::measured::Measured;
use crate::task::snapshot::{Restored, ToKeeper};
use crate::topology::Topology;
use crate::topology::plan::Plan;
use crate::topology::settings::{Resolved, Settings, WaitPolicy};

/// Threads that run what components offload.
const OFFLOAD_THREADS: usize = 4;
/// How long a report waits for the histograms of executors that are in a long turn.
const LATENCIES_WAIT: Duration = Duration::from_millis(500);

impl Topology {
    /// The plan and the placement under the effective settings, as `explain` shows them.
    ///
    /// # Errors
    /// With everything that is wrong with the settings, or with their demands on this machine.
    pub fn explain(&self) -> Result<(Plan, Placed)> {
        let resolved = self.resolve()?;
        let plan = self.plan(&resolved.settings);
        let placed = place(self, &plan, &resolved.settings, executor_count(&resolved.settings));
        check_machine(&resolved, &placed)?;
        Ok((plan, placed))
    }

    /// Starts the topology on pinned threads and returns when every component is open and prepared.
    ///
    /// Installs no signal handler, allocator or log subscriber, and pins only its own threads; CPUs are handed out by a
    /// process-wide register, so that a second topology gets the remaining ones, or none and then parks.
    ///
    /// # Errors
    /// With everything that is wrong with the settings; or with the component whose `open` or `prepare` failed, after
    /// everything already started has been stopped.
    ///
    /// # Examples
    ///
    /// Embedded in a program with an async runtime: a [`Running`] is a future of its end.
    ///
    /// ```
    /// # fn block_on<F: std::future::Future>(future: F) -> F::Output {
    /// #     let mut future = std::pin::pin!(future);
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     loop {
    /// #         match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
    /// #             std::task::Poll::Ready(output) => return output,
    /// #             std::task::Poll::Pending => std::thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// use squall::{Outlet, TopologyBuilder, connect::Generator};
    ///
    /// async fn run() -> squall::Result<()> {
    ///     let mut t = TopologyBuilder::new("embedded");
    ///     let numbers = t.source("numbers", || Generator::new(100, |n| n));
    ///     t.bolt("drop", |_: u64, _: &mut Outlet<u64>| {}).shuffle(&numbers);
    ///     let mut running = t.build()?.start()?;
    ///     (&mut running).await?;
    ///     assert_eq!(running.report().components[0].counts.acked, 100);
    ///     Ok(())
    /// }
    /// # block_on(run()).unwrap();
    /// ```
    pub fn start(self) -> Result<Running> {
        Running::start(self)
    }

    /// Starts the topology and waits for its end.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`Running::wait`].
    pub fn run(self) -> Result<Report> {
        let running = self.start()?;
        running.wait()?;
        Ok(running.report())
    }
}

fn executor_count(settings: &Settings) -> usize {
    settings.executors.unwrap_or_else(default_executor_count)
}

/// Refuses more spinning threads than CPUs.
fn check_machine(resolved: &Resolved, placed: &Placed) -> Result<()> {
    let settings = &resolved.settings;
    let (threads, cpus) = (placed.executors.len(), usable_cpus().count());
    if settings.wait == WaitPolicy::BusySpin && threads > cpus && !settings.force_oversubscription {
        let place = resolved.provenance("wait").to_string();
        let message = format!(
            "{threads} spinning executors on {cpus} usable CPUs would have to take turns for milliseconds; use fewer \
             executors or wait = \"adaptive\", or set force_oversubscription = true"
        );
        return Err(Error::invalid(vec![Problem::new(place, message)]));
    }
    Ok(())
}

/// A topology that has been started. Dropping it kills the topology and waits for its threads.
pub struct Running {
    shared: Arc<Shared>,
    requests: Sender<Request>,
    /// Where latencies of a running topology are asked for.
    commands: Vec<Sender<Command>>,
    ended: Arc<Ended>,
    executor_cpus: Vec<Option<usize>>,
    control: Option<JoinHandle<()>>,
    started_ns: u64,
}

/// What the control thread leaves behind.
struct Ended {
    state: Mutex<EndedState>,
    /// Closed at the end; waiting threads block on receiving from it.
    signal: Receiver<()>,
    seen: Arc<Seen>,
}

struct EndedState {
    phase: Phase,
    outcome: Option<Result<()>>,
    latencies: Latencies,
    /// Of a measured run: what nobody has taken.
    measured: Option<Box<Measured>>,
    at_ns: u64,
    wakers: Vec<std::task::Waker>,
}

impl Running {
    fn start(topology: Topology) -> Result<Self> {
        let resolved = topology.resolve()?;
        let plan = topology.plan(&resolved.settings);
        let placed = place(&topology, &plan, &resolved.settings, executor_count(&resolved.settings));
        check_machine(&resolved, &placed)?;
        let settings = resolved.settings;
        let claim = claim_cpus(&settings, &placed);
        let clock = Clock::real();
        let seed = settings.seed.unwrap_or_else(|| mix(crate::sys::clock::wall_ns() as u64) >> 1);
        let (events_in, events) = unbounded();
        // While jobs are under way the topology is not quiet; when one is done it may be.
        let job_done = events_in.clone();
        let offload = Offload::pool(OFFLOAD_THREADS, move || {
            // After the end nobody listens.
            let _ = job_done.send(Event::JobDone);
        });
        let disk = Disk::real();
        let Opened { checkpointing, keeper, restored } =
            checkpoint::open(&topology, &plan, &settings, disk, &clock, &events_in)?;
        let mut shared = Shared::new(topology, plan, placed, settings, clock, offload, seed);
        shared.checkpointing = checkpointing;
        let shared = Arc::new(shared);
        let checkpoints = shared.checkpoints();
        let channels = command_channels(shared.placed.executors.len());
        let commands: Vec<_> = channels.iter().map(|(sender, _)| sender.clone()).collect();
        let packages = packages(&shared, &channels, &events_in, restored);
        let mut threads = Vec::new();
        let mut threads_ready = Vec::new();
        for (number, package) in packages.into_iter().enumerate() {
            let cpu = claim.as_ref().and_then(|claim| claim.cpus().get(number).copied());
            let wait = wait_policy(&shared.settings, claim.as_ref(), cpu);
            let of_thread = shared.clone();
            // A channel of its own: it is closed if this thread dies before it has anything to tell.
            let (ready_in, ready) = bounded(1);
            let body = move || threads::run(of_thread, package, cpu, wait, &ready_in);
            let thread = spawn_named(format!("squall-{number}"), body);
            let started =
                thread.map_err(|error| Error::io("starting an executor's thread", &error)).and_then(|thread| {
                    threads.push(thread);
                    ready
                        .recv()
                        .map_err(|_| Error::failed("not_started", format!("executor {number} died while it was built")))
                });
            match started {
                Ok(ready) => threads_ready.push(ready),
                Err(error) => {
                    call_off(&shared, &commands, threads);
                    return Err(error);
                }
            }
        }
        let executor_cpus = threads_ready.iter().map(|ready| ready.cpu.map(|cpu| cpu.0)).collect();
        let pinned: Vec<CpuId> = threads_ready.iter().filter_map(|ready| ready.cpu).collect();
        let pulses = threads_ready.into_iter().map(|ready| ready.pulse).collect();

        let (requests, requests_out) = unbounded();
        let (done, signal) = bounded::<()>(0);
        let ended = Arc::new(Ended {
            state: Mutex::new(EndedState {
                phase: Phase::Starting,
                outcome: None,
                latencies: Vec::new(),
                measured: None,
                at_ns: 0,
                wakers: Vec::new(),
            }),
            signal,
            seen: Arc::default(),
        });
        let keep = |keeper: Keeper| {
            spawn_named("squall-keeper", move || {
                keep_off_current_thread(&pinned);
                keeper.run();
            })
        };
        let keeper = keeper.map(keep);
        let keeper = match keeper.transpose() {
            Ok(keeper) => keeper,
            Err(error) => {
                call_off(&shared, &commands, threads);
                return Err(Error::io("starting the thread that keeps checkpoints", &error));
            }
        };
        let (started_in, started) = bounded(1);
        let loop_ = ControlLoop {
            control: Control::new(
                commands.clone(),
                &shared.mailboxes,
                shared.settings.drain_timeout,
                shared.settings.kill_wait,
                shared.has_cycle,
            )
            .with_checkpoints(checkpoints),
            shared: shared.clone(),
            channels,
            events_in,
            keeper,
            events,
            requests: requests_out,
            pulses,
            watch: Watch::new(ended.seen.clone()),
            ended: ended.clone(),
            threads,
            claim,
        };
        let control = spawn_named("squall-control", move || loop_.run(&started_in, done))
            .map_err(|error| Error::io("starting the control thread", &error))?;
        let started_ns = shared.clock.now_ns();
        let running = Running { shared, requests, commands, ended, executor_cpus, control: Some(control), started_ns };
        match started.recv() {
            Ok(()) => Ok(running),
            // Over before it was active: it did not start, or it had been at its end and only committed what was left.
            Err(_) => running.wait().map(|()| running),
        }
    }

    /// Waits for the end: of all input, of a drain, of a kill, or a failure.
    ///
    /// # Errors
    /// When the topology ended in a failed state; the error tells state, component and cause.
    pub fn wait(&self) -> Result<()> {
        // Nothing is ever sent: this returns when the control thread drops the other end.
        let _ = self.ended.signal.recv();
        self.outcome().unwrap_or_else(|| Err(Error::failed("failed", "the control thread died")))
    }

    /// Like [`wait`](Self::wait) but for at most this long; `None` if the topology is still running then.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<()>> {
        match self.ended.signal.recv_timeout(timeout) {
            Err(RecvTimeoutError::Timeout) => None,
            _ => Some(self.wait()),
        }
    }

    /// Takes in nothing new, finishes what is under way (for at most `drain_timeout`), then ends. Returns at once.
    pub fn drain(&self) {
        self.request(Request::Drain);
    }

    /// With checkpoints: stops after a last checkpoint, from which the next start goes on; no input ends and no
    /// `finish` is called. Without: as [`drain`](Self::drain). Returns at once.
    pub fn suspend(&self) {
        self.request(Request::Suspend);
    }

    /// Deactivates the spouts: `next` is not called until [`activate`](Self::activate), acks and fails still arrive.
    pub fn deactivate(&self) {
        self.request(Request::Deactivate);
    }

    /// Activates the spouts again.
    pub fn activate(&self) {
        self.request(Request::Activate);
    }

    /// Deactivates the spouts, waits (`None`: as the setting `kill_wait` says), then stops whatever is still under way.
    /// Returns at once.
    pub fn kill(&self, wait: Option<Duration>) {
        self.request(Request::Kill { wait_ns: wait.map(saturating_ns) });
    }

    /// Where the topology is in its life.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// False while a task has not returned for longer than the setting `stall_limit`; the log names it.
    pub fn is_responsive(&self) -> bool {
        !self.ended.seen.is_stalled()
    }

    /// The CPU of each executor, where it is pinned, as read back from the operating system.
    pub fn executor_cpus(&self) -> &[Option<usize>] {
        &self.executor_cpus
    }

    /// The counters of every component, in order of declaration, at most about a millisecond old. Cheap: some loads per
    /// task, and no executor is asked; for progress lines.
    pub fn counts(&self) -> Vec<ComponentCounts> {
        (0..self.shared.plan.components.len()).map(|position| ComponentCounts::of(&self.shared, position)).collect()
    }

    /// Who holds tuples while nothing moves, in a sentence: once nothing has got on for two seconds although something
    /// waits, and until it does. The log has it too. Cheap.
    pub fn held_up(&self) -> Option<String> {
        self.ended.seen.held_up()
    }

    /// What became of checkpoints so far; none without them. Cheap: no executor is asked.
    pub fn checkpoints(&self) -> Option<CheckpointReport> {
        self.shared.checkpointing.as_ref().map(|checkpointing| checkpointing.stats.report())
    }

    /// Forgets how long checkpoints have taken so far: for whoever measures what comes after a warm-up.
    pub(crate) fn restart_checkpoint_times(&self) {
        self.shared.checkpointing.iter().for_each(|checkpointing| checkpointing.stats.restart_times());
    }

    /// What the run has done so far. Asks every executor for its histograms; one that is in a long turn is left out.
    pub fn report(&self) -> Report {
        let (phase, finished, at_ns) = {
            let state = self.lock();
            let finished = (state.phase == Phase::Stopped).then(|| state.latencies.clone());
            (state.phase, finished, state.at_ns)
        };
        let (latencies, until_ns) = match finished {
            Some(latencies) => (latencies, at_ns),
            None => (self.ask_latencies(), self.shared.clock.now_ns()),
        };
        let wall = Duration::from_nanos(until_ns.saturating_sub(self.started_ns));
        report(&self.shared, phase, wall, &latencies, self.executor_cpus.clone(), &self.ended.seen)
    }

    /// What a [paced](Topology::paced) topology has measured since the last call, all executors together; empty for any
    /// other. Costs an executor some microseconds. Waits for executors that are in a long turn: what is not taken by
    /// one call is by the next, also after the end, so that no sample is lost.
    pub fn take_measured(&self) -> Measured {
        if let Some(left) = self.lock().measured.take() {
            return *left;
        }
        let mut all = Measured::default();
        let (reply, replies) = bounded(self.commands.len());
        for (number, commands) in self.commands.iter().enumerate() {
            if commands.send(Command::Measured(Box::default(), reply.clone())).is_ok() {
                self.shared.mailboxes[number].sleeper.wake();
            }
        }
        drop(reply);
        // Ends when every executor has answered or is gone.
        replies.iter().for_each(|measured| all.add(&measured));
        all
    }

    fn ask_latencies(&self) -> Latencies {
        let (reply, replies) = bounded(self.commands.len());
        for (number, commands) in self.commands.iter().enumerate() {
            if commands.send(Command::Latencies(reply.clone())).is_ok() {
                self.shared.mailboxes[number].sleeper.wake();
            }
        }
        drop(reply);
        let mut all = Vec::new();
        while let Ok(latencies) = replies.recv_timeout(LATENCIES_WAIT) {
            all.extend(latencies);
        }
        all
    }

    fn request(&self, request: Request) {
        // After the end there is nobody to ask, and nothing to do.
        let _ = self.requests.send(request);
    }

    fn outcome(&self) -> Option<Result<()>> {
        self.lock().outcome.clone()
    }

    fn lock(&self) -> MutexGuard<'_, EndedState> {
        self.ended.state.lock().expect("nothing panics under it")
    }
}

impl Future for Running {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill(Some(Duration::ZERO));
        if let Some(control) = self.control.take()
            && control.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}

/// Ends the executors that were started before one of them failed to.
fn call_off(shared: &Shared, commands: &[Sender<Command>], threads: Vec<JoinHandle<()>>) {
    for (commands, mailbox) in commands.iter().zip(&shared.mailboxes) {
        // The one that failed does not listen.
        let _ = commands.send(Command::Stop);
        mailbox.sleeper.wake();
    }
    // A panic has been reported already.
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// CPUs for the executors; none when pinning is off.
fn claim_cpus(settings: &Settings, placed: &Placed) -> Option<Claim> {
    if !settings.pin {
        return None;
    }
    let wanted: Vec<CpuId> = placed.executors.iter().filter_map(|executor| executor.wanted_cpu).map(CpuId).collect();
    let claim = CpuRegister::global().claim(placed.executors.len(), &wanted);
    for denied in claim.denied() {
        tracing::warn!("{denied}");
    }
    Some(claim)
}

/// An executor without a CPU of its own must not spin, unless it was asked to.
fn wait_policy(settings: &Settings, claim: Option<&Claim>, cpu: Option<CpuId>) -> WaitPolicy {
    let has_cpu = claim.is_none() || cpu.is_some();
    if has_cpu || settings.force_oversubscription { settings.wait } else { WaitPolicy::Park }
}

struct ControlLoop {
    control: Control,
    shared: Arc<Shared>,
    events: Receiver<Event>,
    requests: Receiver<Request>,
    pulses: Vec<Arc<Pulse>>,
    watch: Watch,
    ended: Arc<Ended>,
    threads: Vec<JoinHandle<()>>,
    channels: CommandEnds,
    /// For the packages of a rebuild.
    events_in: Sender<Event>,
    keeper: Option<JoinHandle<()>>,
    /// Given back when the threads are gone.
    claim: Option<Claim>,
}

impl ControlLoop {
    /// Runs until every executor has stopped. Dropping `started` without a message means that the start failed;
    /// dropping `done` tells everyone who waits.
    fn run(mut self, started: &Sender<()>, done: Sender<()>) {
        let mut last_phase = Phase::Starting;
        while self.control.phase() != Phase::Stopped {
            self.wait_for_something();
            let now_ns = self.shared.clock.now_ns();
            self.control.time(now_ns);
            if let Some(restored) = self.control.take_rebuild() {
                self.shared.trace();
                self.rebuild(restored);
            }
            self.watch.look(now_ns, &self.shared, &self.pulses);
            let phase = self.control.phase();
            // The end is told below, together with how it came about.
            if phase != last_phase && phase != Phase::Stopped {
                self.ended.state.lock().expect("nothing panics under it").phase = phase;
                if phase == Phase::Active {
                    // Only the first activation has a listener.
                    let _ = started.try_send(());
                }
                last_phase = phase;
            }
        }
        for _ in self.threads.drain(..).filter_map(|thread| thread.join().err()) {
            tracing::error!("an executor's thread panicked");
        }
        crate::sys::child::wait_for_ends();
        self.end_keeper();
        self.watch.end(self.shared.clock.now_ns(), &self.shared);
        let mut state = self.ended.state.lock().expect("nothing panics under it");
        state.phase = Phase::Stopped;
        state.at_ns = self.shared.clock.now_ns();
        state.outcome = Some(self.control.outcome());
        state.latencies = std::mem::take(&mut self.control.latencies);
        state.measured = self.control.measured.take();
        state.wakers.drain(..).for_each(std::task::Waker::wake);
        drop(state);
        // Whoever waited may start the next topology at once, on the same CPUs.
        drop(self.claim.take());
        drop(done);
    }

    /// Sends every executor the rings of its new tasks.
    fn rebuild(&self, restored: Arc<Restored>) {
        let packages = packages(&self.shared, &self.channels, &self.events_in, Some(restored));
        for (number, package) in packages.into_iter().enumerate() {
            // An executor that is gone has said so.
            let _ = self.channels[number].0.send(Command::Rebuild(Box::new(package)));
            self.shared.mailboxes[number].sleeper.wake();
        }
    }

    /// The state directory is free again when this returns.
    fn end_keeper(&mut self) {
        let (Some(keeper), Some(checkpointing)) = (self.keeper.take(), &self.shared.checkpointing) else { return };
        // A keeper that is gone has panicked, and is reported below.
        let _ = checkpointing.keeper.send(ToKeeper::Stop);
        if keeper.join().is_err() {
            tracing::error!("the thread that keeps checkpoints panicked");
        }
    }

    fn wait_for_something(&mut self) {
        let watch = Watch::interval(self.shared.settings.stall_limit);
        let due = self
            .control
            .next_due_ns()
            .map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(self.shared.clock.now_ns())));
        let timeout = due.map_or(watch, |due| due.min(watch));
        crossbeam::select! {
            recv(self.events) -> event => if let Ok(event) = event {
                self.control.event(event, self.shared.clock.now_ns());
            },
            recv(self.requests) -> request => if let Ok(request) = request {
                self.control.request(request, self.shared.clock.now_ns());
            },
            default(timeout) => {}
        }
    }
}
