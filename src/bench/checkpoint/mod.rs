//! `checkpoint`: what checkpoints cost the work they run beside, in closed loop, and in open loop in [`open`]; and what
//! they are for, in [`recovery`].
//!
//! A word count whose counts are keyed state, under exactly-once, in rounds: without checkpoints (but for the first),
//! and with one every so often, in each store that writes no database.

mod kept;
mod open;
mod recovery;

use std::time::Duration;

use bytes::Bytes;

use crate::bench::open_loop::START_STOP;
use crate::bench::row::Row;
use crate::bench::session::{Options, Session, Subject};
use crate::bench::shapes::{Word, split};
use crate::bench::text::Text;
use crate::bench::timing::Timing;
use crate::bench::working_folder::WorkingFolder;
use crate::connect::Generator;
use crate::engine::checkpoint::CheckpointReport;
use crate::error::{Error, Result};
use crate::state::store::kind::StoreKind;
use crate::state::{CurrentKey, StateVisitor, ValueState};
use crate::sys::sync::Arc;
use crate::task::component::{KeyedBolt, Outcome};
use crate::task::outlet::Outlet;
use crate::task::payload::Nothing;
use crate::topology::Topology;
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::Guarantee;

/// Longer than any round: only the checkpoint before the first tuple is taken.
const NEVER: Duration = Duration::from_secs(3_600);
/// The first is what the others are compared with.
const CASES: [(StoreKind, Duration); 6] = [
    (StoreKind::Memory, NEVER),
    (StoreKind::Memory, Duration::from_millis(100)),
    (StoreKind::Memory, Duration::from_millis(10)),
    (StoreKind::Log, Duration::from_millis(1_000)),
    (StoreKind::Log, Duration::from_millis(100)),
    (StoreKind::Log, Duration::from_millis(10)),
];

/// Counts words as keyed state.
struct Count(ValueState<Word, u64>);

impl KeyedBolt for Count {
    type Key = Word;
    type In = Word;
    type Out = Nothing;

    fn states(&mut self, visit: &mut dyn StateVisitor<Word>) {
        visit.state(&mut self.0);
    }

    #[inline]
    fn execute(&mut self, key: CurrentKey<Word>, _: Word, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.update(&key, |count| *count += 1);
        Ok(())
    }
}

/// One run of one case.
struct Sample {
    words_per_s: f64,
    checkpoints: CheckpointReport,
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    let timing = Timing::of(options);
    round_time(&timing) * timing.repeat as u32 + open::expected(options) + recovery::expected(options)
}

fn round_time(timing: &Timing) -> Duration {
    timing.round(CASES.len()) + START_STOP * CASES.len() as u32
}

/// Measures every case in rounds.
///
/// # Errors
/// When a topology fails, or its folder cannot be made or removed.
pub(crate) fn run(session: &mut Session, _subject: Option<&Subject<'_>>) -> Result<()> {
    let timing = Timing::of(&session.options);
    let lines = lines(&Text::load(session.options.input.as_deref())?);
    let folder = WorkingFolder::make()?;
    let mut samples: Vec<Vec<Sample>> = CASES.iter().map(|_| Vec::new()).collect();
    for round in 1..=timing.repeat {
        session.step(&format!("checkpoint, round {round} of {}", timing.repeat), round_time(&timing));
        for (case, samples) in CASES.iter().zip(&mut samples) {
            samples.push(measure(topology(&lines, *case, &folder)?, &timing, session)?);
            folder.remove("state")?;
        }
    }
    for (case, of_case) in CASES.iter().zip(&samples) {
        session.row(row(*case, of_case, &samples[0]));
    }
    open::run(session)?;
    recovery::run(session)
}

/// Each line of a text once, in order.
fn lines(text: &Text) -> Arc<[Bytes]> {
    let mut cycle = text.cycle();
    let mut lines = vec![cycle.next_line()];
    while !cycle.is_at_start() {
        lines.push(cycle.next_line());
    }
    lines.into()
}

fn topology(
    lines: &Arc<[Bytes]>,
    (store, interval): (StoreKind, Duration),
    folder: &WorkingFolder,
) -> Result<Topology> {
    let mut t = TopologyBuilder::new("checkpointed");
    let lines = lines.clone();
    let lines = t.source("lines", move || {
        let lines = lines.clone();
        Generator::endless(move |n| lines[n as usize % lines.len()].clone())
    });
    let words = t.bolt("split", split).shuffle(&lines);
    t.bolt("count", || Count(ValueState::new("counts"))).fields(&words, |word: &Word| word);
    t.settings(|settings| {
        settings.executors = Some(1);
        settings.guarantee = Guarantee::ExactlyOnce;
        settings.checkpoint_interval = Some(interval);
        // Without a folder, checkpoints are kept in memory.
        if store != StoreKind::Memory {
            settings.store = store;
            settings.state_dir = Some(folder.path().join("state").display().to_string());
        }
    });
    t.build()
}

fn measure(topology: Topology, timing: &Timing, session: &Session) -> Result<Sample> {
    let running = topology.start()?;
    let words = || running.counts().last().map_or(0, |count| count.counts.executed);
    let ended = |outcome: Option<Result<()>>| match outcome {
        None => Ok(()),
        Some(outcome) => outcome.and(Err(Error::failed("ended", "an endless source has ended"))),
    };
    ended(running.wait_timeout(timing.warmup))?;
    running.restart_checkpoint_times();
    let (from, from_ns) = (words(), session.clock.now_ns());
    ended(running.wait_timeout(timing.slice))?;
    let (to, to_ns) = (words(), session.clock.now_ns());
    let checkpoints = running.checkpoints().unwrap_or_default();
    running.kill(Some(Duration::ZERO));
    running.wait()?;
    Ok(Sample { words_per_s: (to - from) as f64 * 1e9 / (to_ns - from_ns).max(1) as f64, checkpoints })
}

/// An interval for people.
fn every(interval: Duration) -> String {
    if interval == NEVER { "never".to_owned() } else { humantime::format_duration(interval).to_string() }
}

fn row((store, interval): (StoreKind, Duration), of_case: &[Sample], without: &[Sample]) -> Row {
    let figures = |figure: &dyn Fn(&Sample) -> f64| of_case.iter().map(figure).collect::<Vec<_>>();
    let ratios = of_case.iter().zip(without).map(|(with, without)| with.words_per_s / without.words_per_s);
    let us = |ns: u64| ns as f64 / 1_000.0;
    Row::new("checkpoint", format!("word count, {store}, every {}", every(interval)))
        .with("row", "word_count")
        .with("store", store.name())
        .with(
            "interval_ms",
            if interval == NEVER { serde_json::Value::Null } else { (interval.as_millis() as u64).into() },
        )
        .repeated("words_per_s", &figures(&|sample| sample.words_per_s))
        .repeated("ratio_to_none", &ratios.collect::<Vec<_>>())
        .repeated("completed", &figures(&|sample| sample.checkpoints.completed as f64))
        .repeated("given_up", &figures(&|sample| sample.checkpoints.failed as f64))
        .repeated("took_p50_us", &figures(&|sample| us(sample.checkpoints.took_ns[0])))
        .repeated("took_max_us", &figures(&|sample| us(sample.checkpoints.took_ns[2])))
        .repeated("pause_p99_us", &figures(&|sample| us(sample.checkpoints.pause_ns[1])))
        .repeated("pause_max_us", &figures(&|sample| us(sample.checkpoints.pause_ns[2])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_counts_and_takes_checkpoints() {
        let lines = lines(&Text::generated());
        let folder = WorkingFolder::make().unwrap();
        let timing = Timing { warmup: Duration::ZERO, slice: Duration::from_millis(60), repeat: 1 };
        let session = Session::begin("checkpoint", Options::default(), Duration::ZERO);
        for case in CASES {
            let sample = measure(topology(&lines, case, &folder).unwrap(), &timing, &session).unwrap();
            folder.remove("state").unwrap();
            // Nothing flows before the first checkpoint is durable, however slow the machine.
            assert!(sample.checkpoints.completed > 0 || sample.words_per_s == 0.0, "{case:?}");
            assert_eq!(sample.checkpoints.notes[0].contains("in memory"), case.0 == StoreKind::Memory);
        }
    }
}
