//! Which input is to blame when the topology restarts again and again.
//!
//! Suspicion is not blame. An input that was being handled when something failed is *set apart* from then on:
//! everything its source has before it gets a checkpoint of its own, and so does it. What does not fail is thus kept, a
//! failure that has nothing to do with the input is got past, and an input that does fail is alone when it does. Only
//! then is it blamed, and only for what it can have caused itself.

use std::collections::BTreeMap;

use crate::error::{Failure, FailureKind};
use crate::sys::mutation::{self, Mutation};
use crate::sys::sync::Arc;
use crate::task::lineage::{GivenUp, Place};
use crate::task::replay::Patience;
use crate::task::shell::Fatal;

/// Inputs that are suspected at a time, and those that are given up, in one process.
const SUSPECTS_MAX: usize = 256;
const POISON_MAX: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Blame {
    patience: Patience,
    suspects: BTreeMap<Place, Suspect>,
    /// Those that sources set apart in this attempt, in order.
    apart: Arc<[Place]>,
    /// In order of the place.
    poison: Vec<GivenUp>,
}

#[derive(Clone, Debug)]
struct Suspect {
    /// As it would be given up; the attempts are those in which it was set apart.
    as_given_up: GivenUp,
    /// Failures while it was set apart that it can have caused itself.
    caused: u32,
}

/// What a failure means for its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to no single input.
    NoInput,
    /// It is set apart in the next attempt.
    Suspected,
    /// It is given up: its source makes a dead letter of it in the next attempt.
    GivenUp,
}

impl Blame {
    pub fn new(patience: Patience) -> Self {
        Blame { patience, suspects: BTreeMap::new(), apart: Arc::from([]), poison: Vec::new() }
    }

    /// Takes note of a failure at this time, in nanoseconds since the epoch.
    pub fn on(&mut self, fatal: &Fatal, wall_ns: u64) -> Verdict {
        let (place, failure) = (fatal.place, &fatal.failure);
        if place.is_none() || failure.is_collateral() {
            return Verdict::NoInput;
        }
        if self.suspects.len() >= SUSPECTS_MAX && !self.suspects.contains_key(&place) {
            // The oldest in no particular order: it is suspected again if it fails again.
            self.suspects.pop_first();
        }
        let was_alone = self.apart.binary_search(&place).is_ok();
        let now = GivenUp { attempts: 0, ..GivenUp::at_once(place, failure, wall_ns) };
        let suspect = self.suspects.entry(place).or_insert_with(|| Suspect { as_given_up: now.clone(), caused: 0 });
        suspect.as_given_up = GivenUp {
            attempts: suspect.as_given_up.attempts + u32::from(was_alone),
            first_failed_ns: suspect.as_given_up.first_failed_ns,
            ..now
        };
        suspect.caused += u32::from(was_alone && is_of_input(failure));
        if !suspect.is_beyond(&self.patience, failure, was_alone) || self.poison.len() >= POISON_MAX {
            return Verdict::Suspected;
        }
        let Some(suspect) = self.suspects.remove(&place) else { return Verdict::Suspected };
        let at = self.poison.partition_point(|other| other.place < place);
        self.poison.insert(at, suspect.as_given_up);
        Verdict::GivenUp
    }

    /// A checkpoint is behind these suspects: they are none any more.
    pub fn passed(&mut self, places: &[Place]) {
        self.suspects.retain(|place, _| !places.contains(place));
    }

    /// All suspects, in order of the place, for the next attempt.
    pub fn set_apart(&mut self) -> Arc<[GivenUp]> {
        if mutation::is_off(Mutation::NotSetApart) {
            return Arc::from([]);
        }
        self.apart = self.suspects.keys().copied().collect();
        self.suspects.values().map(|suspect| suspect.as_given_up.clone()).collect()
    }

    /// Those that are set apart now.
    pub fn apart(&self) -> Arc<[Place]> {
        self.apart.clone()
    }

    pub fn is_given_up(&self, place: Place) -> bool {
        self.poison.binary_search_by_key(&place, |given_up| given_up.place).is_ok()
    }

    /// All inputs to be given up, in order of the place.
    pub fn poison(&self) -> Arc<[GivenUp]> {
        self.poison.clone().into()
    }
}

/// A bug until shown otherwise, as against a failure that asks to be tried again.
fn is_of_input(failure: &Failure) -> bool {
    matches!(failure.kind(), FailureKind::Panic | FailureKind::Dropped)
}

impl Suspect {
    /// Whether the failure just counted is the last that is borne.
    fn is_beyond(&self, patience: &Patience, failure: &Failure, was_alone: bool) -> bool {
        if failure.is_reject() {
            return true;
        }
        if is_of_input(failure) {
            return self.caused >= patience.failures_max;
        }
        let tried_ns = self.as_given_up.last_failed_ns.saturating_sub(self.as_given_up.first_failed_ns);
        was_alone && patience.retry_for_ns.is_some_and(|retry_for_ns| tried_ns >= retry_for_ns)
    }
}
