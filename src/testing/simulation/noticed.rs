//! Campaigns that have to notice when a safety is off.

use std::ops::Range;

use crate::sys::mutation::{self, Mutation};

/// Takes out a safety and runs seeds until one that passes with it fails without it, in one of these ways.
pub fn must_be_noticed<T>(
    mutation: Mutation,
    seeds: Range<u64>,
    symptoms: &[&str],
    judge: impl Fn(u64) -> Result<T, String>,
) {
    let mut others = Vec::new();
    for seed in seeds {
        let Err(wrong) = mutation::with(mutation, || judge(seed)) else { continue };
        assert!(judge(seed).is_ok(), "seed {seed} fails without the mutation too");
        if symptoms.iter().any(|symptom| wrong.contains(symptom)) {
            return;
        }
        others.push(wrong);
    }
    panic!("{mutation:?} was not noticed as {symptoms:?}, but as {others:#?}");
}
