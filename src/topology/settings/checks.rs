//! Settings that are fine one by one and contradict each other.

use std::collections::BTreeSet;

use super::layers::Resolved;
use super::{Guarantee, Placement, StoreKind};
use crate::error::Problem;

/// All contradictions, each at the place of the setting that a change would most likely mend. Keys that
/// were misread contradict nothing.
pub(super) fn contradictions(resolved: &Resolved, misread: &BTreeSet<String>) -> Vec<Problem> {
    let settings = &resolved.settings;
    let mut problems = Vec::new();
    let mut contradiction = |key: &str, other: &str, why: &str| {
        if misread.contains(key) || misread.contains(other) {
            return;
        }
        problems.push(Problem::new(
            resolved.provenance(key).to_string(),
            format!("{key} contradicts {other} ({}): {why}", resolved.provenance(other)),
        ));
    };

    match (settings.guarantee, settings.ackers) {
        (Guarantee::AtLeastOnce, Some(0)) => contradiction(
            "ackers",
            "guarantee",
            "0 turns tracking off, and at-least-once needs it; set guarantee = \"at-most-once\" as well",
        ),
        (Guarantee::AtMostOnce, Some(1..)) => {
            contradiction("ackers", "guarantee", "at-most-once tracks nothing; leave ackers out or set it to 0");
        }
        (Guarantee::ExactlyOnce, Some(1..)) => {
            contradiction("ackers", "guarantee", "exactly-once goes by barriers; leave ackers out or set it to 0");
        }
        _ => {}
    }
    if settings.checkpoint_interval.is_some() && settings.guarantee == Guarantee::AtMostOnce {
        contradiction("checkpoint_interval", "guarantee", "at-most-once never goes back to a checkpoint");
    }
    if settings.state_dir.is_some() && settings.checkpoint_interval().is_none() {
        contradiction("state_dir", "guarantee", "nothing is kept there without a checkpoint_interval");
    }
    if settings.restore_from.is_some() && settings.checkpoint_interval().is_none() {
        contradiction("restore_from", "guarantee", "state is restored only where there is a checkpoint_interval");
    }
    if settings.state_dir.is_some() && settings.store == StoreKind::Memory {
        contradiction("store", "state_dir", "the store `memory` keeps nothing on disk");
    }
    if settings.state_dir.is_none() && !matches!(settings.store, StoreKind::Log | StoreKind::Memory) {
        contradiction("store", "state_dir", "without a folder checkpoints are kept in memory only; name one");
    }
    if settings.state_dir.is_none() && settings.fresh_state {
        contradiction("fresh_state", "state_dir", "there is no folder whose state could be moved aside; name it");
    }
    if settings.one_thread_per_task && settings.executors.is_some() {
        contradiction("executors", "one_thread_per_task", "the tasks already say how many executors there are");
    }
    if settings.storm_timeouts && !settings.message_timeouts_enabled {
        contradiction("storm_timeouts", "message_timeouts_enabled", "without timeouts there is nothing to choose");
    }
    for (id, own) in settings.components.iter().filter(|_| !settings.pin) {
        if let Some(Placement::On(cpu)) = own.placement {
            let key = resolved.placement_key(id);
            contradiction(&key, "pin", &format!("without pinning nothing is bound to CPU {cpu}"));
        }
    }
    problems
}
