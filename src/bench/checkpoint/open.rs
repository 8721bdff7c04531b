//! Open loop: events at a fixed rate into a large keyed state, with checkpoints and without, in turns; and the shortest
//! interval that each store sustains.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::bench::checkpoint::kept::Kept;
use crate::bench::checkpoint::{NEVER, every};
use crate::bench::open_loop::{Load, START_STOP, Slice};
use crate::bench::row::{Row, Unit, pooled};
use crate::bench::session::{Options, Session};
use crate::bench::timing::Timing;
use crate::bench::working_folder::WorkingFolder;
use crate::error::Result;
use crate::state::store::kind::StoreKind;

const RATE: NonZeroU64 = NonZeroU64::new(100_000).expect("not zero");
const KEYS: u64 = 1_000_000;
/// For runs too short to fill a state of a million.
const KEYS_OF_TRIAL: u64 = 1_000;
const SLICE_MIN: Duration = Duration::from_millis(50);
/// What filling the state takes, and the checkpoint that has all of it.
const FILLING: Duration = Duration::from_secs(4);
const INTERVAL: Duration = Duration::from_millis(100);
/// Intervals that are tried, shortest first.
const INTERVALS_MS: [u64; 6] = [10, 20, 50, 100, 250, 1_000];
/// Of as many checkpoints as the interval allows, so many have to be completed.
const COMPLETED_SHARE: f64 = 0.8;

struct Plan {
    timing: Timing,
    keys: u64,
    filling: Duration,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let timing = Timing::of(options);
        if timing.slice < SLICE_MIN {
            return Plan { timing, keys: KEYS_OF_TRIAL, filling: Duration::ZERO };
        }
        Plan { timing, keys: KEYS, filling: FILLING }
    }

    fn slice(&self) -> Duration {
        self.filling + self.timing.warmup + self.timing.slice + START_STOP
    }

    /// One try of an interval.
    fn trial(&self) -> Duration {
        self.timing.warmup + self.timing.slice + START_STOP
    }
}

/// How long both take; how many intervals are tried depends on what they show.
pub(super) fn expected(options: &Options) -> Duration {
    let plan = Plan::of(options);
    plan.slice() * 2 * plan.timing.repeat as u32 + plan.trial() * 2 * StoreKind::built().count() as u32
}

/// # Errors
/// When a topology fails, or its folder cannot be made or removed.
pub(super) fn run(session: &mut Session) -> Result<()> {
    let plan = Plan::of(&session.options);
    let folder = WorkingFolder::make()?;
    latency(session, &plan, &folder)?;
    for store in StoreKind::built() {
        shortest(session, &plan, store, &folder)?;
    }
    Ok(())
}

fn latency(session: &mut Session, plan: &Plan, folder: &WorkingFolder) -> Result<()> {
    let load = Load { rate: RATE, warmup: plan.filling + plan.timing.warmup, length: plan.timing.slice };
    let mut sides = [(NEVER, Vec::new()), (INTERVAL, Vec::new())];
    for round in 1..=plan.timing.repeat {
        session.step(&format!("open loop, round {round} of {}", plan.timing.repeat), plan.slice() * 2);
        for (interval, slices) in &mut sides {
            let kept = Kept { keys: plan.keys, fill: plan.keys, store: StoreKind::Log, interval: *interval, folder };
            let topology = kept.topology(|_| Ok(()))?;
            slices.push(load.run(topology, &session.clock)?);
            folder.remove("state")?;
        }
    }
    let of = |slices: &[Slice]| pooled(&slices.iter().map(|slice| slice.sink.clone()).collect::<Vec<_>>());
    let [(_, without), (_, with)] = &sides;
    let (pooled_without, pooled_with) = (of(without), of(with));
    for (interval, slices) in &sides {
        let sink = of(slices);
        let reports = slices.iter().filter_map(|slice| slice.checkpoints.as_ref());
        let pauses: Vec<f64> = reports.clone().map(|report| report.pause_ns[1] as f64 / 1e3).collect();
        let mut row = Row::new("checkpoint", format!("open loop, {} keys, log, every {}", plan.keys, every(*interval)))
            .with("row", "open_loop")
            .with("loop", "open")
            .with("store", StoreKind::Log.name())
            .with("rate", RATE.get())
            .with("keys", plan.keys)
            .distribution("", Unit::Us, &sink)
            .with("completed", reports.clone().map(|report| report.completed).sum::<u64>())
            .with("given_up", reports.map(|report| report.failed).sum::<u64>())
            .repeated("pause_p99_us", &pauses);
        if *interval != NEVER {
            let ratio =
                |q: f64| pooled_with.value_at_quantile(q) as f64 / pooled_without.value_at_quantile(q).max(1) as f64;
            row = row.with("ratio_p999_to_none", ratio(0.999)).with("ratio_p9999_to_none", ratio(0.9999));
        }
        session.row(row);
    }
    Ok(())
}

/// Tries intervals until one is sustained.
fn shortest(session: &mut Session, plan: &Plan, store: StoreKind, folder: &WorkingFolder) -> Result<()> {
    let load = Load { rate: RATE, warmup: plan.timing.warmup, length: plan.timing.slice };
    let mut row = Row::new("checkpoint", format!("shortest interval, {store}"))
        .with("row", "shortest_interval")
        .with("loop", "open")
        .with("store", store.name())
        .with("rate", RATE.get());
    for interval_ms in INTERVALS_MS {
        session.step(&format!("{store}: is one every {interval_ms} ms sustained?"), plan.trial());
        let interval = Duration::from_millis(interval_ms);
        let kept = Kept { keys: plan.keys, fill: 0, store, interval, folder };
        let slice = load.run(kept.topology(|_| Ok(()))?, &session.clock)?;
        folder.remove("state")?;
        let Some(report) = &slice.checkpoints else { continue };
        let possible = (load.warmup + load.length).as_secs_f64() / interval.as_secs_f64();
        if report.failed == 0 && report.completed as f64 >= COMPLETED_SHARE * possible.floor() {
            row = row
                .with("interval_ms", interval_ms)
                .with("completed", report.completed)
                .with("given_up", report.failed)
                .with("took_p50_us", report.took_ns[0] as f64 / 1e3)
                .with("took_max_us", report.took_ns[2] as f64 / 1e3)
                .with("pause_p99_us", report.pause_ns[1] as f64 / 1e3)
                .distribution("", Unit::Us, &slice.sink);
            break;
        }
    }
    session.row(row);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_measures_both_sides_and_every_store() {
        let ms = Duration::from_millis;
        let options = Options { duration: Some(ms(20)), warmup: Some(ms(10)), repeat: Some(1), ..Options::default() };
        let mut session = Session::begin("checkpoint", options, Duration::ZERO);
        run(&mut session).unwrap();
        let rows = session.rows();
        assert_eq!(rows.len(), 2 + StoreKind::built().count());
        assert!(rows[1].fields.contains_key("ratio_p999_to_none"));
    }
}
