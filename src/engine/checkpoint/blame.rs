//! Which input is to blame when the topology steps back again and again.
//!
//! The first step back does not know: tuples carry no lineage then, so that it costs nothing as long as all goes well.
//! From the first one on they do. An input that fails three times more is poison: its source gives it up as a dead
//! letter when it comes to it again, and emits what follows. One that is *rejected* is poison at once.

use std::collections::BTreeMap;

use crate::error::Origin;
use crate::sys::sync::Arc;
use crate::task::lineage::{Place, Poison};
use crate::task::shell::Fatal;

/// Failures of an input with known lineage after which it is given up.
const FAILURES_MAX: u32 = 3;
/// Inputs that are remembered to have failed, and those that are given up, in one process.
const INPUTS_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Blame {
    failures: BTreeMap<Place, u32>,
    /// In order of the place.
    poison: Vec<Poison>,
}

impl Blame {
    /// Takes note of a failure. True if its input has just been found to be poison, so that the next attempt gets past
    /// it.
    pub fn on(&mut self, fatal: &Fatal) -> bool {
        let Some((place, failure)) = &fatal.culprit else { return false };
        if self.poison.len() >= INPUTS_MAX {
            return false;
        }
        if self.failures.len() >= INPUTS_MAX {
            self.failures.clear();
        }
        let failures = self.failures.entry(*place).or_default();
        *failures += 1;
        if *failures < FAILURES_MAX && !failure.is_reject() {
            return false;
        }
        // Those whose lineage was known; the input may have failed once more, before lineages were carried.
        let attempts = *failures;
        self.failures.remove(place);
        let origin = failure.origin().cloned().unwrap_or(Origin { component: "unknown".into(), task_index: 0 });
        tracing::warn!(%origin, %failure, "an input has failed too often and becomes a dead letter");
        let error = failure.message().to_owned();
        let poison = Poison { place: *place, origin, error, attempts };
        let at = self.poison.partition_point(|other| other.place < poison.place);
        self.poison.insert(at, poison);
        true
    }

    /// All inputs to be given up, in order of the place.
    pub fn poison(&self) -> Arc<[Poison]> {
        self.poison.clone().into()
    }
}
