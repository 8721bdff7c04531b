//! The driver of real runs: one thread per executor, pinned, waiting by policy.

use std::time::Duration;

use crossbeam::channel::Sender;

use crate::engine::control::Event;
use crate::engine::executor::{Executor, Pass};
use crate::engine::wiring::{Package, Shared, build};
use crate::sys::cpu::{CpuId, pin_current_thread};
use crate::sys::park::{Sleep, Sleeper};
use crate::sys::sync::Arc;
use crate::sys::thread::{end_timeouts_on_time, panicking, spin_hint};
use crate::topology::settings::WaitPolicy;

/// What an executor's thread tells the one that started it, once it is pinned and built.
pub(crate) struct Ready {
    pub cpu: Option<CpuId>,
    pub pulse: Arc<crate::engine::executor::Pulse>,
}

/// The body of an executor's thread.
pub(crate) fn run(shared: Arc<Shared>, package: Package, cpu: Option<CpuId>, wait: WaitPolicy, ready: &Sender<Ready>) {
    let number = package.executor;
    let _obituary = Obituary { executor: number, events: package.events.clone() };
    let pinned = cpu.and_then(|cpu| match pin_current_thread(cpu) {
        Ok(pinned) => pinned.actual,
        Err(error) => {
            tracing::warn!(executor = number, %error, "not pinned");
            None
        }
    });
    end_timeouts_on_time();
    shared.mailboxes[number].sleeper.adopt_current_thread();
    let mut executor = build(shared.clone(), package);
    let _ = ready.send(Ready { cpu: pinned, pulse: executor.pulse.clone() });
    executor.start();
    drive(&mut executor, &shared, number, wait);
}

/// Tells control if the thread panics, so that nobody waits for it for ever.
struct Obituary {
    executor: usize,
    events: Sender<Event>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if panicking() {
            // Control outlives its executors unless the process is ending.
            let _ = self.events.send(Event::Died { executor: self.executor });
        }
    }
}

/// Passes until told to stop; waits in between as the policy says.
fn drive(executor: &mut Executor, shared: &Shared, number: usize, wait: WaitPolicy) {
    let sleeper = &shared.mailboxes[number].sleeper;
    let spin_ns = match wait {
        WaitPolicy::BusySpin => u64::MAX,
        WaitPolicy::Adaptive { spin } => spin.as_nanos() as u64,
        _ => 0,
    };
    sleeper.set_sleepless(wait == WaitPolicy::BusySpin);
    let mut idle_since_ns = None;
    let mut pass = executor.pass();
    loop {
        match pass {
            Pass::Busy => idle_since_ns = None,
            Pass::Stopped => return,
            Pass::Idle { blocked, due_ns } => {
                let now_ns = shared.clock.now_ns();
                let since_ns = *idle_since_ns.get_or_insert(now_ns);
                let is_due_soon = due_ns.is_some_and(|due_ns| due_ns.saturating_sub(now_ns) < spin_ns);
                if is_due_soon || now_ns - since_ns < spin_ns {
                    let is_due_next = due_ns.is_some_and(|due_ns| due_ns.saturating_sub(now_ns) < LOOKS_NS);
                    if spin(executor, shared, if blocked || is_due_next { 1 } else { LOOKS }) == Some(Pass::Busy) {
                        idle_since_ns = None;
                    }
                } else {
                    if park(executor, shared, sleeper, blocked, spin_ns) {
                        return;
                    }
                    idle_since_ns = None;
                }
            }
        }
        // Whatever looking has found: a task that is blocked, with input waiting, is found again at every look, and
        // may be waiting for an order that only a whole pass takes.
        pass = executor.pass();
    }
}

/// How often a spinning executor looks for input before it makes a whole pass, and about how long that takes.
const LOOKS: usize = 32;
const LOOKS_NS: u64 = 1_000;

/// Looks for input only, and takes it at once. None if it is time for a whole pass.
///
/// Between two looks the clock is read, which takes about as long as telling the CPU that this is a spin, and saves the
/// turn from doing it.
fn spin(executor: &mut Executor, shared: &Shared, looks: usize) -> Option<Pass> {
    spin_hint();
    for _ in 0..looks {
        let taken = executor.glance(shared.clock.now_ns());
        if taken.is_some() || executor.is_called() {
            return taken;
        }
    }
    None
}

/// Announces sleep, looks once more, and sleeps if there is still nothing to do. True if told to stop.
fn park(executor: &mut Executor, shared: &Shared, sleeper: &Sleeper, was_blocked: bool, spin_ns: u64) -> bool {
    sleeper.announce(if was_blocked { Sleep::Blocked } else { Sleep::Idle });
    match executor.pass() {
        Pass::Stopped => return true,
        Pass::Idle { due_ns, blocked } if blocked == was_blocked => match due_ns {
            None => sleeper.sleep(),
            Some(due_ns) => {
                // The system ends a time-out late; what it may take is spun, as before any other event that is near.
                let wait_ns = due_ns.saturating_sub(shared.clock.now_ns()).saturating_sub(spin_ns);
                sleeper.sleep_at_most(Duration::from_nanos(wait_ns));
            }
        },
        // Busy, or it has to be announced differently.
        _ => sleeper.cancel(),
    }
    false
}
