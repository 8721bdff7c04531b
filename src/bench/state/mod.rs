//! `state`: what keyed state costs beside a bare hash map, and what stores cost beside a bare write and sync. Closed
//! loop, and without an engine: one thread calls what tasks and the keeper call.

mod access;
mod checkpointed;
mod growth;
mod stores;

use std::time::Duration;

use crate::bench::session::{Options, Session, Subject};
use crate::bench::timing::Timing;
use crate::error::Result;
use crate::state::delta::{Delta, Space};
use crate::state::key::{KEY_GROUPS_DEFAULT, key_hash};
use crate::state::store::kind::StoreKind;
use crate::state::{AnyState, Binding, CurrentKey, StateKey, StateValue, ValueState};

/// As many keys as the targets are about.
const KEYS: u64 = 1_000_000;
/// Enough to see that everything works, for a run that is too short for more.
const KEYS_OF_TRIAL: u64 = 10_000;
/// Slices shorter than this make a run a trial.
const SLICE_MIN: Duration = Duration::from_millis(50);
/// What filling states and maps takes, all rows together, and what reading a store back does.
const FILLING: Duration = Duration::from_secs(12);
const READING: Duration = Duration::from_secs(2);

/// How many keys a run of this timing has.
fn keys(timing: &Timing) -> u64 {
    if timing.slice < SLICE_MIN { KEYS_OF_TRIAL } else { KEYS }
}

/// How long a run takes.
pub(crate) fn expected(options: &Options) -> Duration {
    let timing = Timing::of(options);
    let once = timing.slice * timing.repeat as u32;
    let rest = if keys(&timing) == KEYS { FILLING + READING * StoreKind::built().count() as u32 } else { SLICE_MIN };
    once * (access::CASES + 1) + once * 2 * StoreKind::built().count() as u32 + rest
}

/// Measures every row.
///
/// # Errors
/// A store cannot be opened, written or read; an entry cannot be encoded.
pub(crate) fn run(session: &mut Session, _subject: Option<&Subject<'_>>) -> Result<()> {
    let timing = Timing::of(&session.options);
    let keys = keys(&timing);
    access::run(session, &timing, keys);
    growth::run(session, &timing);
    checkpointed::run(session, &timing, keys)?;
    stores::run(session, &timing, keys)
}

/// A state as a task has it that owns all keys.
fn bound<K: StateKey, V: StateValue>() -> ValueState<K, V> {
    let mut state = ValueState::new("bench");
    let binding = Binding {
        component: "bench".into(),
        space: Some(Space(0)),
        first_group: 0,
        groups: KEY_GROUPS_DEFAULT,
        groups_total: KEY_GROUPS_DEFAULT,
        now_ns: 0,
    };
    state.bind(&binding, None).expect("nothing is recorded");
    state
}

fn current<K: StateKey>(key: K) -> CurrentKey<K> {
    let hash = key_hash(&key);
    CurrentKey::of_hashed(key, hash, KEY_GROUPS_DEFAULT, 0)
}

/// Encodes what is frozen, to the end.
fn encode<K: StateKey, V: StateValue>(state: &mut ValueState<K, V>, delta: &mut Delta) -> Result<()> {
    while !state.encode_slice(delta.bytes().len() + 65_536, delta)? {}
    Ok(())
}

/// A value of 100 bytes, written as bytes.
#[derive(Clone, Copy)]
struct Hundred([u8; 100]);

impl serde::Serialize for Hundred {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Hundred {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let bytes: bytes::Bytes = serde::Deserialize::deserialize(deserializer)?;
        bytes.as_ref().try_into().map(Hundred).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_measures_every_row() {
        let ms = Duration::from_millis;
        let options = Options { duration: Some(ms(2)), warmup: Some(ms(0)), repeat: Some(1), ..Options::default() };
        let mut session = Session::begin("state", options, Duration::ZERO);
        run(&mut session, None).unwrap();
        let rows: Vec<&str> = session.rows().iter().filter_map(|row| row.fields["row"].as_str()).collect();
        for row in ["access", "insert", "memory", "encode", "restore", "append"] {
            assert!(rows.contains(&row), "{row} is not in {rows:?}");
        }
        let of_stores = rows.iter().filter(|row| **row == "append").count();
        assert_eq!(of_stores, StoreKind::built().count());
        assert!(session.rows().iter().filter(|row| row.fields["row"] == "access").all(|row| {
            row.number("ratio_to_map").is_some_and(|ratio| ratio > 0.0) && row.number("ns_per_op").unwrap() > 0.0
        }));
    }
}
