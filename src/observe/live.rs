//! The live line of a run: a progress bar with the time left where the input has an end, rates otherwise.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::report::ComponentCounts;
use crate::observe::output::note;
use crate::observe::units::{elapsed, grouped, rough, size};
use crate::sys::clock::Clock;
use crate::sys::output::{Picture, stderr};
use crate::topology::Progress;

/// Rates are taken over at least this long, so that they can be read.
const RATE_NS_MIN: u64 = 1_000_000_000;
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

const BAR: &str = "{bar:24} {percent:>3} % of {total}, {eta} left, {msg}";

/// When to show a live line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// If standard error is a terminal.
    #[default]
    Auto,
    /// In any case; where standard error is no terminal, as a line a second.
    Always,
    /// Never.
    Never,
}

/// Runs something that prints, with the live line out of the way meanwhile.
///
/// For output that is rare: it waits a moment for the live line to be taken away. Calls may be nested. The function
/// itself waits for whoever reads what it prints.
///
/// # Examples
///
/// ```
/// squall::observe::above(|| println!("the 64,023"));
/// ```
pub fn above<R>(print: impl FnOnce() -> R) -> R {
    stderr().aside(print)
}

/// A bar on the terminal. All that touches the terminal happens on the thread that writes to it.
pub(super) struct Drawing(ProgressBar);

struct OnTerminal(ProgressBar);

impl Picture for OnTerminal {
    fn aside(&self, write: &mut dyn FnMut()) {
        self.0.suspend(write);
    }
}

impl Drawing {
    /// Shows a bar; none if the terminal takes nothing.
    pub fn show(bar: ProgressBar) -> Option<Self> {
        let shown = stderr().show(Some(Box::new(OnTerminal(bar.clone()))));
        // Dropping the last handle would draw.
        if shown {
            Some(Drawing(bar))
        } else {
            std::mem::forget(bar);
            None
        }
    }

    /// Changes the bar.
    pub fn update(&self, change: impl FnOnce(&ProgressBar) + Send + 'static) {
        let bar = self.0.clone();
        stderr().draw(move || change(&bar));
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.update(ProgressBar::finish_and_clear);
        // If that has no room the terminal takes nothing, and the picture stays with the thread that writes.
        stderr().show(None);
    }
}

/// A live line on standard error. Dropping it clears the line.
pub struct Live {
    /// `None`: standard error is no terminal, each update is a line of its own.
    bar: Option<Drawing>,
    progress: Option<Progress>,
    clock: Clock,
    rates: Rates,
}

/// Rates between two moments.
#[derive(Default)]
struct Rates {
    since_ns: u64,
    emitted: u64,
    acked: u64,
    emitted_per_s: f64,
    acked_per_s: f64,
}

/// What the live line says about the spouts, all together.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    emitted: u64,
    acked: u64,
    failed: u64,
    pending: u64,
    dead_lettered: u64,
}

impl Live {
    /// Starts a live line, unless none is to be shown.
    pub fn start(show: Show, progress: Option<Progress>) -> Option<Self> {
        let target = ProgressDrawTarget::stderr();
        let is_terminal = !target.is_hidden();
        if show == Show::Never || (show == Show::Auto && !is_terminal) {
            return None;
        }
        let bar = match is_terminal {
            true => Some(Drawing::show(bar(progress.as_ref(), target))?),
            false => None,
        };
        Some(Live { bar, progress, clock: Clock::real(), rates: Rates::default() })
    }

    /// How often [`update`](Self::update) should be called.
    pub fn interval(&self) -> Duration {
        if self.bar.is_some() { TERMINAL_INTERVAL } else { PLAIN_INTERVAL }
    }

    /// Shows these counters, and who holds what up while nothing moves.
    pub fn update(&mut self, components: &[ComponentCounts], held_up: Option<&str>) {
        let now_ns = self.clock.now_ns();
        let totals = Totals::of(components);
        self.rates.update(&totals, now_ns);
        let mut line = self.rates.to_text(&totals);
        if let Some(held_up) = held_up {
            line.push_str(", ");
            line.push_str(held_up);
        }
        match &self.bar {
            Some(bar) => {
                let progress = self.progress.as_ref().filter(|progress| progress.total().is_some());
                let position = progress.map(Progress::done);
                if position.is_none() {
                    line.insert_str(0, &self.prefix(now_ns));
                }
                bar.update(move |bar| {
                    position.into_iter().for_each(|position| bar.set_position(position));
                    bar.set_message(line);
                });
            }
            None => note(format_args!("{}{line}", self.prefix(now_ns))),
        }
    }

    /// How long it has run and how far it has come, where there is no bar to show it.
    fn prefix(&self, now_ns: u64) -> String {
        let since = elapsed(Duration::from_nanos(now_ns));
        match &self.progress {
            Some(progress) => match progress.total() {
                Some(total) => {
                    format!("{since}, {} of {}, ", amount(progress, progress.done()), amount(progress, total))
                }
                None => format!("{since}, {}, ", amount(progress, progress.done())),
            },
            None => format!("{since}, "),
        }
    }
}

fn bar(progress: Option<&Progress>, target: ProgressDrawTarget) -> ProgressBar {
    let total = progress.and_then(|progress| Some((progress, progress.total()?)));
    let bar = ProgressBar::with_draw_target(total.map(|(_, total)| total), target);
    let template = match total {
        Some((progress, total)) => BAR.replace("{total}", &amount(progress, total)),
        None => "{msg}".to_owned(),
    };
    let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
    bar.set_style(style.progress_chars("=> "));
    bar
}

fn amount(progress: &Progress, number: u64) -> String {
    match progress.unit() {
        Progress::BYTES => size(number),
        unit => format!("{} {unit}", grouped(number)),
    }
}

impl Totals {
    fn of(components: &[ComponentCounts]) -> Self {
        let mut totals = Totals::default();
        for spout in components.iter().filter(|component| component.kind == "spout") {
            totals.emitted += spout.counts.emitted;
            totals.acked += spout.counts.acked;
            totals.failed += spout.counts.failed;
            totals.pending += spout.pending;
            totals.dead_lettered += spout.counts.dead_lettered;
        }
        totals
    }
}

impl Rates {
    fn update(&mut self, totals: &Totals, now_ns: u64) {
        let span_ns = now_ns.saturating_sub(self.since_ns);
        // The first second shows what there is rather than nothing.
        if span_ns >= RATE_NS_MIN || self.since_ns == 0 {
            let per_s = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1e9 / span_ns.max(1) as f64;
            self.emitted_per_s = per_s(totals.emitted, self.emitted);
            self.acked_per_s = per_s(totals.acked, self.acked);
        }
        if span_ns >= RATE_NS_MIN {
            (self.since_ns, self.emitted, self.acked) = (now_ns, totals.emitted, totals.acked);
        }
    }

    fn to_text(&self, totals: &Totals) -> String {
        let Totals { failed, pending, dead_lettered, .. } = *totals;
        format!(
            "{} emitted/s, {} acked/s, {} failed, {} pending, {} dead letters",
            rough(self.emitted_per_s),
            rough(self.acked_per_s),
            grouped(failed),
            grouped(pending),
            grouped(dead_lettered),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::Waiting;
    use crate::task::metrics::Counts;

    fn spout(emitted: u64, acked: u64) -> ComponentCounts {
        let counts = Counts { emitted, acked, failed: 1, dead_lettered: 2, ..Counts::default() };
        ComponentCounts {
            id: "lines".into(),
            kind: "spout",
            counts,
            pending: 3,
            waiting: Waiting::default(),
            waits_for: None,
        }
    }

    #[test]
    fn rates_are_those_of_the_last_second_and_bolts_do_not_count() {
        let mut rates = Rates::default();
        let bolt = ComponentCounts { kind: "bolt", ..spout(1_000_000, 0) };
        let totals = |emitted| Totals::of(&[spout(emitted, emitted / 2), bolt.clone()]);
        rates.update(&totals(100), 100_000_000);
        assert_eq!(rates.to_text(&totals(100)), "1.00k emitted/s, 500 acked/s, 1 failed, 3 pending, 2 dead letters");
        rates.update(&totals(3_000), 1_000_000_000);
        rates.update(&totals(9_000), 1_500_000_000);
        assert_eq!((rates.emitted_per_s, rates.acked_per_s), (3_000.0, 1_500.0));
        rates.update(&totals(13_000), 3_000_000_000);
        assert_eq!((rates.emitted_per_s, rates.acked_per_s), (5_000.0, 2_500.0));
    }

    #[test]
    fn amounts_are_sizes_or_exact_numbers_with_their_unit() {
        assert_eq!(amount(&Progress::new(Progress::BYTES, None, || 0), 5 << 20), "5.00 MiB");
        assert_eq!(amount(&Progress::new("lines", None, || 0), 31_102), "31,102 lines");
    }
}
