//! Recovery: how long until events are handled again, from a start on a state directory, and from a failure.

use std::time::Duration;

use crate::bench::checkpoint::kept::{Kept, VALUE_BYTES};
use crate::bench::row::Row;
use crate::bench::session::{Options, Session};
use crate::bench::timing::Timing;
use crate::bench::working_folder::WorkingFolder;
use crate::engine::Running;
use crate::engine::checkpoint::CheckpointReport;
use crate::error::{Error, Failure, Result};
use crate::state::store::kind::StoreKind;
use crate::sys::clock::Clock;
use crate::sys::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// With their values some ten megabytes.
const KEYS: u64 = 92_000;
const INTERVAL: Duration = Duration::from_millis(100);
/// About what a round takes: filling, some checkpoints, two starts.
const ROUND: Duration = Duration::from_millis(1_200);
/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn expected(options: &Options) -> Duration {
    ROUND * Timing::of(options).repeat as u32
}

/// What happens in the bolt, for whoever waits outside.
#[derive(Default)]
struct Probe {
    /// When the first event was handled; 0 before.
    first_ns: AtomicU64,
    /// The next event is to fail.
    fails: AtomicBool,
}

/// # Errors
/// When a topology fails, makes no checkpoints, or its folder cannot be made or removed.
pub(super) fn run(session: &mut Session) -> Result<()> {
    let repeat = Timing::of(&session.options).repeat;
    let folder = WorkingFolder::make()?;
    let (mut restarts, mut step_backs) = (Vec::new(), Vec::new());
    for round in 1..=repeat {
        session.step(&format!("recovery, round {round} of {repeat}"), ROUND);
        let clock = session.clock.clone();
        leave_behind(&folder, &clock)?;
        let start_ns = clock.now_ns();
        let probe = Arc::new(Probe::default());
        let running = start(&folder, 0, &probe, &clock)?;
        let first_ns = until(&running, || Some(probe.first_ns.load(Ordering::Acquire)).filter(|ns| *ns > 0))?;
        restarts.push((first_ns - start_ns) as f64 / 1e6);
        probe.fails.store(true, Ordering::Release);
        let recovery_ns = until(&running, || {
            let report = running.checkpoints()?;
            (report.step_backs > 0).then_some(report.last_recovery_ns)
        })?;
        step_backs.push(recovery_ns as f64 / 1e6);
        running.kill(Some(Duration::ZERO));
        running.wait()?;
        folder.remove("state")?;
    }
    let row = Row::new("checkpoint", "recovery, log")
        .with("row", "recovery")
        .with("store", StoreKind::Log.name())
        .with("state_bytes", KEYS * (VALUE_BYTES as u64 + size_of::<u64>() as u64))
        .repeated("first_output_ms", &restarts)
        .repeated("step_back_ms", &step_backs);
    session.row(row);
    Ok(())
}

/// A state directory as a killed process leaves it.
fn leave_behind(folder: &WorkingFolder, clock: &Clock) -> Result<()> {
    let probe = Arc::new(Probe::default());
    let running = start(folder, KEYS, &probe, clock)?;
    let completed = |report: Option<CheckpointReport>| report.map_or(0, |report| report.completed);
    until(&running, || (probe.first_ns.load(Ordering::Acquire) > 0).then_some(()))?;
    let filled = completed(running.checkpoints());
    // The next may have been under way already; the one after it has every key.
    until(&running, || (completed(running.checkpoints()) >= filled + 2).then_some(()))?;
    running.kill(Some(Duration::ZERO));
    running.wait()
}

fn start(folder: &WorkingFolder, fill: u64, probe: &Arc<Probe>, clock: &Clock) -> Result<Running> {
    let (probe, clock) = (probe.clone(), clock.clone());
    let mut has_begun = false;
    let kept = Kept { keys: KEYS, fill, store: StoreKind::Log, interval: INTERVAL, folder };
    let topology = kept.topology(move |_| {
        if !std::mem::replace(&mut has_begun, true) {
            probe.first_ns.store(clock.now_ns(), Ordering::Release);
        }
        match probe.fails.load(Ordering::Relaxed) && probe.fails.swap(false, Ordering::AcqRel) {
            true => Err(Failure::retry("on purpose: what follows is measured")),
            false => Ok(()),
        }
    })?;
    topology.start()
}

/// Waits for something to happen in a topology that does not end by itself.
fn until<T>(running: &Running, mut happened: impl FnMut() -> Option<T>) -> Result<T> {
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if let Some(what) = happened() {
            return Ok(what);
        }
        if let Some(end) = running.wait_timeout(LOOK) {
            return end.and(Err(Error::failed("ended", "an endless source has ended")));
        }
    }
    Err(Error::failed("stuck", format!("nothing happened within {PATIENCE:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_measures_both_ways_back() {
        let options = Options { repeat: Some(1), ..Options::default() };
        let mut session = Session::begin("checkpoint", options, Duration::ZERO);
        run(&mut session).unwrap();
        let rows = session.rows();
        for key in ["first_output_ms", "step_back_ms"] {
            assert!(rows[0].fields[key].as_f64().unwrap() > 0.0, "{key}");
        }
    }
}
