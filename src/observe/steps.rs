//! Progress through steps whose lengths are known beforehand.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::observe::live::Drawing;
use crate::observe::output::note;
use crate::observe::units::elapsed;
use crate::sys::clock::Clock;

/// Where standard error is no terminal, lines are at least this far apart.
const LINE_NS_MIN: u64 = 2_000_000_000;

/// A bar over steps, moved when one begins. Nothing is drawn meanwhile: drawing would disturb what is being measured.
/// Dropping it clears the bar.
pub(crate) struct Steps {
    /// `None`: standard error is no terminal, steps are lines of their own.
    bar: Option<Drawing>,
    total: Duration,
    /// What the steps before this one took, by their own account.
    done: Duration,
    step: Duration,
    clock: Clock,
    next_line_ns: u64,
}

impl Steps {
    /// Starts the bar at nothing.
    pub fn start(total: Duration) -> Self {
        let target = ProgressDrawTarget::stderr();
        let bar = (!target.is_hidden()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total.as_millis() as u64), target);
            let style = ProgressStyle::with_template("{bar:24} {percent:>3} % {wide_msg}");
            bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
            bar
        });
        Steps {
            bar: bar.and_then(Drawing::show),
            total,
            done: Duration::ZERO,
            step: Duration::ZERO,
            clock: Clock::real(),
            next_line_ns: 0,
        }
    }

    /// The step before is done, this one begins.
    pub fn step(&mut self, what: &str, expected: Duration) {
        self.done += std::mem::replace(&mut self.step, expected);
        let left = elapsed(self.total.saturating_sub(self.done));
        match &self.bar {
            Some(bar) => {
                let (done_ms, message) = (self.done.min(self.total).as_millis() as u64, format!("{left} left, {what}"));
                bar.update(move |bar| {
                    bar.set_position(done_ms);
                    bar.set_message(message);
                    bar.tick();
                });
            }
            None if self.clock.now_ns() >= self.next_line_ns => {
                self.next_line_ns = self.clock.now_ns() + LINE_NS_MIN;
                note(format_args!("{left} left: {what}"));
            }
            None => {}
        }
    }
}
