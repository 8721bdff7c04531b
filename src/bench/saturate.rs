//! `saturate`: the highest rate that a topology keeps up with, and latency at shares of it.
//!
//! A rate is sustained if the backlog does not grow under it: sustainable throughput as Karimov et al. define it
//! ("Benchmarking Distributed Stream Data Processing Systems", ICDE 2018). The backlog is what was due by the schedule
//! and has not been emitted; its growth is the median slope between any two of twenty looks at it, and up to 1 % of the
//! rate counts as none. A rate that fails gets a second try, since the machine may have paused.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::bench::against_null::{Case, Contest, Turns};
use crate::bench::latency::{WORDS_PER_EVENT, manners};
use crate::bench::open_loop::{Backlog, Load, START_STOP};
use crate::bench::row::Row;
use crate::bench::session::{Options, Session, Subject, cpus};
use crate::bench::shapes::guarantee_key;
use crate::bench::target::{Effective, Manner, Target, hold_others};
use crate::bench::text::Text;
use crate::error::{Error, Result};
use crate::topology::settings::{Guarantee, WaitPolicy};

/// Where the search begins unless told, and ends at the latest.
const FIRST_RATE: u64 = 10_000;
const RATE_MAX: u64 = 100_000_000;
/// Doublings or halvings to find one rate that is sustained and one that is not; then bisections: to about 2 %.
const STEPS_MAX: usize = 16;
const BISECTIONS: usize = 5;
/// Times that what was found is lowered by a twentieth if it does not hold for longer.
const CONFIRMATIONS: usize = 4;
const TRIAL: Duration = Duration::from_millis(300);
/// As many as it takes from the first rate to some millions, for the announcement.
const TRIALS_EXPECTED: usize = 18;
/// Shares of the sustainable rate at which latency is measured.
const LOAD_PERCENTS: [u64; 7] = [10, 25, 50, 75, 90, 95, 100];
/// Turns of the null engine and the topology, at least.
const TURNS_MIN: usize = 5;

struct Plan {
    turns: Turns,
    first_rate: u64,
    manners: Vec<Manner>,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let manners = match options.of_topology {
            true => manners(options, &[], &[], &[]).collect(),
            false => manners(options, &[1], &[Guarantee::AtLeastOnce], &[WaitPolicy::BusySpin]).collect(),
        };
        let first_rate = options.rates.first().copied().unwrap_or(FIRST_RATE);
        Plan { turns: Turns::of(options, TURNS_MIN), first_rate, manners }
    }

    fn trial(&self) -> Duration {
        self.turns.warmup + TRIAL + START_STOP
    }

    fn expected(&self) -> Duration {
        let search = self.trial() * TRIALS_EXPECTED as u32;
        let curve = self.turns.expected(1) * (self.turns.count() * LOAD_PERCENTS.len()) as u32;
        (search + curve) * self.manners.len() as u32
    }
}

/// How long a run takes, about: how many rates are tried depends on what they show.
pub(crate) fn expected(options: &Options) -> Duration {
    Plan::of(options).expected()
}

/// Finds the limit of word count, or of the subject, and measures on the way there.
///
/// # Errors
/// When a topology cannot be built or fails, its input ends too soon, or a thread cannot be started or pinned.
pub(crate) fn run(session: &mut Session, subject: Option<&Subject<'_>>) -> Result<()> {
    let plan = Plan::of(&session.options);
    let events = Text::load(session.options.input.as_deref())?.in_lines_of(WORDS_PER_EVENT);
    let target = subject.map_or_else(|| Target::word_count(&events), Target::Subject);
    for &manner in &plan.manners {
        let (effective, _) = Effective::of(&target.build(manner)?)?;
        let series = Series { target: &target, manner, effective, plan: &plan };
        if let Some(sustained) = series.search(session)? {
            series.curve(session, &events, sustained)?;
        }
    }
    Ok(())
}

struct Series<'p> {
    target: &'p Target<'p>,
    manner: Manner,
    effective: Effective,
    plan: &'p Plan,
}

impl Series<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.target.name(), self.effective.text())
    }

    fn row(&self, name: &str, label: String) -> Row {
        Row::new("saturate", label)
            .with("row", name)
            .with("shape", self.target.name())
            .with("guarantee", guarantee_key(self.effective.guarantee))
            .with("executors", self.effective.executors)
            .with("wait", self.effective.wait.to_string())
    }

    /// The highest sustained rate, if there is one.
    fn search(&self, session: &mut Session) -> Result<Option<NonZeroU64>> {
        let mut trials = 0;
        let found = search(self.plan.first_rate, |rate, lengths| {
            // A second try: one that fails may have met a pause of the machine.
            for _ in 0..2 {
                trials += 1;
                let backlog = self.trial(session, rate, lengths)?;
                let is_sustained = backlog.is_sustained();
                session.row(self.trial_row(&backlog, trials));
                if is_sustained {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        let row = self
            .row("sustainable", format!("sustainable {}", self.name()))
            .with("sustainable_per_s", found.sustained)
            .with("not_sustained", found.not_sustained)
            .with("trials", trials);
        session.row(row);
        Ok(found.sustained.and_then(NonZeroU64::new))
    }

    fn trial(&self, session: &mut Session, rate: NonZeroU64, lengths: u32) -> Result<Backlog> {
        session.step(&format!("{}: can it sustain {rate}/s?", self.name()), self.plan.trial());
        let _others = hold_others(&session.options, self.effective.executors);
        let load = Load { rate, warmup: self.plan.turns.warmup, length: TRIAL * lengths };
        let backlog = load.backlog(self.target.build(self.manner)?, &session.clock)?;
        if backlog.ended_early {
            let message = format!("its input ended before {rate} events/s had been tried; give it more");
            return Err(Error::failed("ended", message));
        }
        Ok(backlog)
    }

    fn trial_row(&self, backlog: &Backlog, number: usize) -> Row {
        self.row("trial", format!("trial {number} {}", self.name()))
            .with("rate", backlog.rate)
            .with("growth_per_s", backlog.growth_per_s())
            .with("backlog", backlog.last())
            .with("sustained", backlog.is_sustained())
    }

    /// Latency at shares of the rate.
    fn curve(&self, session: &mut Session, events: &Text, sustained: NonZeroU64) -> Result<()> {
        let turns = self.plan.turns;
        for percent in LOAD_PERCENTS {
            let rate = NonZeroU64::new(sustained.get() * percent / 100).unwrap_or(NonZeroU64::MIN);
            let case = Case::new(self.target, self.manner)?;
            let cpus = cpus(&session.options);
            let mut contest = Contest::new(rate, turns, self.effective.executors, &cpus, vec![case]);
            for turn in 1..=turns.count() {
                let what = format!("{} at {percent} % of {sustained}/s, {turn} of {}", self.name(), turns.count());
                session.step(&what, contest.expected());
                contest.turn(session, events)?;
            }
            for row in contest.rows("saturate") {
                let is_null = row.bench != "saturate";
                let row = if is_null { row } else { row.with("series", self.name()).with("load_percent", percent) };
                session.row(row);
            }
        }
        Ok(())
    }
}

/// The bounds of what is sustained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    sustained: Option<u64>,
    not_sustained: Option<u64>,
}

/// Doubles or halves from the first rate until one rate is sustained and another is not, bisects between the two, and
/// tries what it has found for three times as long. `is_sustained` is told for how many lengths to try.
fn search(first: u64, mut is_sustained: impl FnMut(NonZeroU64, u32) -> Result<bool>) -> Result<Found> {
    let mut found = Found { sustained: None, not_sustained: None };
    let mut try_out = |rate: u64, lengths| is_sustained(NonZeroU64::new(rate).unwrap_or(NonZeroU64::MIN), lengths);
    let mut rate = first.max(1);
    for _ in 0..STEPS_MAX {
        if try_out(rate, 1)? {
            found.sustained = Some(rate);
            rate = rate.saturating_mul(2);
        } else {
            found.not_sustained = Some(rate);
            rate /= 2;
        }
        if (found.sustained.is_some() && found.not_sustained.is_some()) || rate == 0 || rate > RATE_MAX {
            break;
        }
    }
    for _ in 0..BISECTIONS {
        let (Some(low), Some(high)) = (found.sustained, found.not_sustained) else { break };
        let middle = ((low as f64) * (high as f64)).sqrt() as u64;
        if middle <= low {
            break;
        }
        match try_out(middle, 1)? {
            true => found.sustained = Some(middle),
            false => found.not_sustained = Some(middle),
        }
    }
    for _ in 0..CONFIRMATIONS {
        let Some(rate) = found.sustained else { break };
        if try_out(rate, 3)? {
            break;
        }
        found = Found { sustained: Some(rate - rate.div_ceil(20)).filter(|&rate| rate > 0), not_sustained: Some(rate) };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a limit; also tells how many rates were tried.
    fn searched(first: u64, limit: u64) -> (Found, usize) {
        let mut tried = 0;
        let found = search(first, |rate, _| {
            tried += 1;
            Ok(rate.get() <= limit)
        });
        (found.unwrap(), tried)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above_in_few_steps() {
        for limit in [700, 10_000, 1_234_567, 9_000_000] {
            for first in [1_000, 10_000, 5_000_000] {
                let (found, tried) = searched(first, limit);
                let sustained = found.sustained.unwrap();
                assert!(
                    sustained <= limit && sustained as f64 > limit as f64 * 0.97,
                    "{limit} from {first}: {found:?}"
                );
                assert!(found.not_sustained.unwrap() > limit && tried <= STEPS_MAX + BISECTIONS + 1);
            }
        }
    }

    #[test]
    fn nothing_or_everything_may_be_sustained() {
        assert_eq!(searched(1_000, 0).0, Found { sustained: None, not_sustained: Some(1) });
        let (found, _) = searched(1_000_000, u64::MAX);
        assert!(found.sustained.unwrap() > RATE_MAX / 2 && found.not_sustained.is_none());
    }

    #[test]
    fn a_rate_that_does_not_hold_for_longer_is_lowered() {
        let limit_for = |lengths: u32| if lengths > 1 { 900 } else { 1_000 };
        let found = search(800, |rate, lengths| Ok(rate.get() <= limit_for(lengths))).unwrap();
        assert!((850..=900).contains(&found.sustained.unwrap()), "{found:?}");
    }

    #[test]
    fn every_row_has_its_documented_keys() {
        let ms = Duration::from_millis;
        let options = Options {
            duration: Some(ms(4)),
            warmup: Some(ms(1)),
            repeat: Some(1),
            rates: vec![100_000_000],
            waits: vec![WaitPolicy::Park],
            ..Options::default()
        };
        let mut session = Session::begin("saturate", options.clone(), expected(&options));
        let plan = Plan::of(&options);
        let events = Text::generated().in_lines_of(WORDS_PER_EVENT);
        let target = Target::word_count(&events);
        let manner = plan.manners[0];
        let (effective, _) = Effective::of(&target.build(manner).unwrap()).unwrap();
        let series = Series { target: &target, manner, effective, plan: &plan };
        let backlog = series.trial(&mut session, NonZeroU64::new(50_000_000).unwrap(), 1).unwrap();
        assert!(!backlog.is_sustained(), "nobody counts 500 M words/s: {backlog:?}");
        session.row(series.trial_row(&backlog, 1));
        series.curve(&mut session, &events, NonZeroU64::new(1_000).unwrap()).unwrap();
        let rows = session.rows();
        assert!(["rate", "growth_per_s", "backlog"].iter().all(|key| rows[0].number(key).is_some()));
        let curve: Vec<&Row> = rows.iter().filter(|row| row.fields.contains_key("series")).collect();
        let loads: Vec<f64> = curve.iter().filter_map(|row| row.number("load_percent")).collect();
        assert_eq!(loads, LOAD_PERCENTS.map(|percent| percent as f64));
        assert!(curve.iter().all(|row| row.number("p99_us").is_some() && row.number("rate").is_some()));
        assert_eq!(curve[6].number("rate"), Some(1_000.0));
    }
}
