//! What stands around a state in these tests: an engine that checkpoints it, and a store.

use std::collections::BTreeMap;

use crate::state::delta::{Change, Changes, Delta, Space};
use crate::state::{Binding, CurrentKey, KeyedState, StateKey};

pub const GROUPS: u32 = 8;
const SPACE: Space = Space(3);

/// All that a store knows: the last value of each key.
pub type Stored = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

pub fn key<K: StateKey>(key: K, now_ns: u64) -> CurrentKey<K> {
    let hash = crate::state::key::key_hash(&key);
    CurrentKey::of_hashed(key, hash, GROUPS, now_ns)
}

pub fn binding() -> Binding {
    Binding {
        component: "count".into(),
        space: Some(SPACE),
        first_group: 0,
        groups: GROUPS,
        groups_total: GROUPS,
        now_ns: 0,
    }
}

pub fn bound<K, S: KeyedState<K>>(mut state: S) -> S {
    state.bind(&binding(), None).expect("nothing is recorded");
    state
}

pub fn apply(stored: &mut Stored, delta: &Delta) {
    for change in Changes::of(delta.bytes()) {
        let change = change.expect("well formed");
        assert_eq!(change.space, SPACE);
        let key = (change.group, change.key.to_vec());
        match change.value {
            Some(value) => drop(stored.insert(key, value.to_vec())),
            None => drop(stored.remove(&key)),
        }
    }
}

/// Puts everything stored into a state, as a restart does.
pub fn restore<K, S: KeyedState<K>>(mut state: S, stored: &Stored) -> S {
    let schema = state.schema();
    state.bind(&binding(), Some(&schema)).expect("the same schema");
    restore_all(&mut state, stored);
    state
}

pub fn restore_all<K>(state: &mut impl KeyedState<K>, stored: &Stored) {
    for ((group, key), value) in stored {
        state.restore(&Change { space: SPACE, group: *group, key, value: Some(value) }).expect("readable");
    }
}

/// One step of the engine around the operations of a bolt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Freeze,
    Slice(usize),
    Abort,
    /// The process dies, and is started again from the last complete checkpoint.
    Crash,
}

/// A checkpointing engine with a store, for one state and its model.
pub struct Engine<M> {
    pub stored: Stored,
    /// The model as of the last complete checkpoint.
    pub complete: M,
    /// The checkpoint under way: the model as it was frozen, and what has been encoded.
    under_way: Option<(M, Delta)>,
}

impl<M: Clone + Default> Engine<M> {
    pub fn new() -> Self {
        Engine { stored: Stored::new(), complete: M::default(), under_way: None }
    }

    /// Takes a step; true if it was a crash, after which state and model are as of the last complete checkpoint.
    pub fn step<K, S: KeyedState<K>>(
        &mut self,
        step: Step,
        state: &mut S,
        model: &mut M,
        make: impl Fn() -> S,
    ) -> bool {
        match (step, &mut self.under_way) {
            (Step::Freeze, None) => {
                state.freeze();
                self.under_way = Some((model.clone(), Delta::default()));
            }
            (Step::Slice(bytes), Some((_, delta))) => {
                let until_bytes = delta.bytes().len() + bytes;
                if state.encode_slice(until_bytes, delta).expect("everything can be encoded") {
                    let (frozen, delta) = self.under_way.take().expect("under way");
                    apply(&mut self.stored, &delta);
                    self.complete = frozen;
                }
            }
            (Step::Abort, Some(_)) => {
                self.under_way = None;
                state.abort_frozen();
            }
            (Step::Crash, _) => {
                self.under_way = None;
                *state = restore(make(), &self.stored);
                *model = self.complete.clone();
                return true;
            }
            _ => {}
        }
        false
    }

    /// Finishes the checkpoint under way and makes one more, so that everything is stored.
    pub fn settle<K, S: KeyedState<K>>(&mut self, state: &mut S, model: &mut M, make: impl Fn() -> S) {
        for step in [Step::Slice(usize::MAX / 2), Step::Freeze, Step::Slice(usize::MAX / 2)] {
            self.step(step, state, model, &make);
        }
        assert!(self.under_way.is_none());
    }
}
