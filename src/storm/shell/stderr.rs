//! What a child writes to its standard error: into the log, always drained, never flooding.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};

use crate::sys::clock::Clock;
use crate::sys::sync::{Arc, Mutex};
use crate::task::reporter::Reporter;

/// Lines logged in one second; the others are counted.
const LINES_PER_SECOND: u64 = 50;

/// Longest line that is looked at whole.
const LINE_MAX_BYTES: u64 = 8 << 10;

/// Last lines kept for the message about the child's end.
const TAIL_LINES: usize = 5;

const SECOND_NS: u64 = 1_000_000_000;

/// What the line of a stack trace has that says what is wrong. With some it comes first, with others last.
const TELLING: [&str; 4] = ["Error:", "Exception:", "panicked at", "fatal:"];

/// The last lines of a child's standard error, and before them the last one that tells what is wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    /// A telling line that has been pushed out of the last ones.
    telling: Option<String>,
}

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.last.len() == TAIL_LINES
            && let Some(out) = lines.last.pop_front()
            && TELLING.iter().any(|sign| out.contains(sign))
        {
            lines.telling = Some(out);
        }
        lines.last.push_back(line);
    }

    /// The lines so far, or none.
    pub fn text(&self) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = lines.telling.iter().chain(&lines.last).map(String::as_str).filter(|line| !line.is_empty());
        Some(all.collect::<Vec<_>>().join(" | ")).filter(|text| !text.is_empty())
    }
}

/// Reads to the end. A flood is reported once and logged as a number of lines.
pub(super) fn drain(input: impl Read, pid: u32, tail: &Tail, reporter: &Reporter) {
    let (clock, mut input, mut line) = (Clock::real(), BufReader::new(input), Vec::new());
    let (mut second, mut logged, mut left_out, mut floods) = (0, 0, 0_u64, false);
    let task = reporter.origin();
    loop {
        line.clear();
        match input.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line) {
            // An error ends it as the end does: there is nobody to ask again.
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let now = clock.now_ns() / SECOND_NS;
        if now != second {
            if left_out > 0 {
                tracing::warn!(%task, pid, left_out, "standard error: lines left out of the log");
            }
            (second, logged, left_out) = (now, 0, 0);
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        logged += 1;
        if logged <= LINES_PER_SECOND {
            tracing::info!(%task, pid, "standard error: {text}");
        } else {
            left_out += 1;
            if !std::mem::replace(&mut floods, true) {
                let bound = format!("beyond {LINES_PER_SECOND} lines a second they are only counted");
                reporter.error(format!("process {pid} floods its standard error: {bound}"));
            }
        }
        tail.push(text);
    }
    if left_out > 0 {
        tracing::warn!(%task, pid, left_out, "standard error: lines left out of the log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_what_is_wrong_is_kept_however_long_the_trace() {
        let tail = Tail::default();
        let node = ["/child.js:3", "    throw new TypeError('no');", "    ^", "", "TypeError: no"];
        node.iter().for_each(|line| tail.push((*line).to_owned()));
        (0..10).for_each(|n| tail.push(format!("    at f{n}")));
        let expected = "TypeError: no |     at f5 |     at f6 |     at f7 |     at f8 |     at f9";
        assert_eq!(tail.text().unwrap(), expected);
        assert_eq!(Tail::default().text(), None);
    }
}
