//! When a window is over, and what leaves it: the four kinds of each, as Storm has them.

use super::settings::{Length, Slide};

/// What becomes of an event when a window is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It leaves.
    Expire,
    /// It is in the window.
    Process,
    /// It stays for a later one.
    Keep,
    /// It stays, and so do all behind it.
    Stop,
}

/// What an activation is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    pub reference_ms: i64,
    pub current_count: Option<i64>,
    pub sliding_count: Option<i64>,
    pub sliding_ms: Option<i64>,
}

/// Which events leave.
#[derive(Debug)]
pub(super) enum Eviction {
    /// All but the last ones, this many.
    Count { threshold: i64, current: i64, reference_ms: Option<i64> },
    /// Those that are this old.
    Time { length_ms: i64, delta_ms: i64, reference_ms: Option<i64> },
    /// Those that are this old at a watermark.
    EventTime { length_ms: i64, lag_ms: i64, reference_ms: Option<i64> },
    /// All but the last ones, this many, up to a watermark.
    EventCount { threshold: i64, current: i64, processed: i64, reference_ms: Option<i64> },
}

impl Eviction {
    pub fn new(length: Length, lag_ms: Option<i64>) -> Self {
        let reference_ms = None;
        match (length, lag_ms) {
            (Length::Count(count), None) => Eviction::Count { threshold: count as i64, current: 0, reference_ms },
            (Length::Millis(millis), None) => Eviction::Time { length_ms: millis as i64, delta_ms: 0, reference_ms },
            (Length::Count(count), Some(_)) => {
                Eviction::EventCount { threshold: count as i64, current: 0, processed: 0, reference_ms }
            }
            (Length::Millis(millis), Some(lag_ms)) => {
                Eviction::EventTime { length_ms: millis as i64, lag_ms, reference_ms }
            }
        }
    }

    /// An event has come.
    pub fn track(&mut self) {
        if let Eviction::Count { current, .. } = self {
            *current += 1;
        }
    }

    /// So many events of the last window have left, because it failed.
    pub fn untrack(&mut self, count: usize) {
        match self {
            Eviction::Count { current, .. } => *current -= count as i64,
            Eviction::EventCount { processed, .. } => *processed -= count as i64,
            Eviction::Time { .. } | Eviction::EventTime { .. } => {}
        }
    }

    pub fn evict(&mut self, at_ms: i64, now_ms: i64) -> Action {
        match self {
            Eviction::Count { threshold, current, .. } => counted(threshold, current),
            Eviction::Time { length_ms, delta_ms, reference_ms } => {
                aged(reference_ms.unwrap_or(now_ms) - at_ms, length_ms.saturating_add(*delta_ms))
            }
            Eviction::EventTime { length_ms, lag_ms, reference_ms } => {
                // Before the first watermark everything stays.
                let Some(reference_ms) = reference_ms else { return Action::Stop };
                let age_ms = *reference_ms - at_ms;
                if age_ms < -*lag_ms { Action::Stop } else { aged(age_ms, *length_ms) }
            }
            Eviction::EventCount { threshold, current, processed, reference_ms } => {
                let Some(reference_ms) = reference_ms else { return Action::Stop };
                if at_ms > *reference_ms || *processed >= *current {
                    return Action::Keep;
                }
                let action = counted(threshold, current);
                *processed += i64::from(action == Action::Process);
                action
            }
        }
    }

    pub fn set(&mut self, context: Context) {
        match self {
            Eviction::Count { reference_ms, .. } | Eviction::EventTime { reference_ms, .. } => {
                *reference_ms = Some(context.reference_ms);
            }
            Eviction::Time { delta_ms, reference_ms, .. } => {
                // A late timer is made up for, so that windows without overlap lose and repeat nothing.
                if let Some(sliding_ms) = context.sliding_ms {
                    *delta_ms = match *reference_ms {
                        None => i64::from(i32::MAX),
                        Some(previous_ms) => context.reference_ms - previous_ms - sliding_ms,
                    };
                }
                *reference_ms = Some(context.reference_ms);
            }
            Eviction::EventCount { current, processed, reference_ms, .. } => {
                *current = match context.current_count {
                    Some(count) => count,
                    None => *processed + context.sliding_count.unwrap_or(0),
                };
                *processed = 0;
                *reference_ms = Some(context.reference_ms);
            }
        }
    }

    pub fn reference_ms(&self) -> Option<i64> {
        match self {
            Eviction::Count { reference_ms, .. }
            | Eviction::Time { reference_ms, .. }
            | Eviction::EventTime { reference_ms, .. }
            | Eviction::EventCount { reference_ms, .. } => *reference_ms,
        }
    }
}

fn counted(threshold: &i64, current: &mut i64) -> Action {
    if *current <= *threshold {
        return Action::Process;
    }
    *current -= 1;
    Action::Expire
}

fn aged(age_ms: i64, length_ms: i64) -> Action {
    if age_ms >= length_ms {
        Action::Expire
    } else if age_ms < 0 {
        Action::Keep
    } else {
        Action::Process
    }
}

/// When a window is over.
#[derive(Debug)]
pub(super) enum Trigger {
    /// After so many events.
    Count { every: i64, current: i64 },
    /// When the timer says so.
    Time { every_ms: i64 },
    /// At multiples of a time that a watermark has passed.
    EventTime { every_ms: i64, next_end_ms: i64 },
    /// After so many events that a watermark has passed.
    EventCount { every: i64, last_ms: i64 },
}

impl Trigger {
    pub fn new(slide: Slide, is_event_time: bool) -> Self {
        match (slide, is_event_time) {
            (Slide::Count(every), false) => Trigger::Count { every: every as i64, current: 0 },
            (Slide::Millis(every), false) => Trigger::Time { every_ms: every as i64 },
            (Slide::Count(every), true) => Trigger::EventCount { every: every as i64, last_ms: 0 },
            (Slide::Millis(every), true) => Trigger::EventTime { every_ms: every as i64, next_end_ms: 0 },
        }
    }
}
