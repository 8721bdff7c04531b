//! [`Watermarks`]: how far event time has come, over all input streams.

use std::collections::BTreeMap;

/// The watermark of one task: the smallest of the highest times of all input streams, less the lag.
///
/// It stands still until every stream has spoken, and as long as one is silent: there is no idleness. At first it is 0,
/// so negative times are late.
#[derive(Debug)]
pub struct Watermarks<S> {
    highest_ms: BTreeMap<S, i64>,
    streams: usize,
    lag_ms: i64,
    last_ms: i64,
}

impl<S: Ord + Clone> Watermarks<S> {
    /// For so many input streams.
    pub fn new(streams: usize, lag_ms: i64) -> Self {
        Watermarks { highest_ms: BTreeMap::new(), streams, lag_ms, last_ms: 0 }
    }

    /// An event has come. False if it is late: before the last watermark.
    pub fn track(&mut self, stream: &S, at_ms: i64) -> bool {
        match self.highest_ms.get_mut(stream) {
            Some(highest_ms) => *highest_ms = at_ms.max(*highest_ms),
            None => {
                self.highest_ms.insert(stream.clone(), at_ms);
            }
        }
        at_ms >= self.last_ms
    }

    /// The next watermark, if it is further than the last.
    pub fn advance(&mut self) -> Option<i64> {
        if self.highest_ms.len() < self.streams {
            return None;
        }
        let lowest_ms = *self.highest_ms.values().min()?;
        let watermark_ms = lowest_ms.saturating_sub(self.lag_ms);
        if watermark_ms <= self.last_ms {
            return None;
        }
        self.last_ms = watermark_ms;
        Some(watermark_ms)
    }
}
