//! [`Timers`]: processing-time timers per key.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::state::codec::{self, EncodeError, StateKey};
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta};
use crate::state::entries::{At, Coding, Entries};
use crate::state::keyed::{AnyState, Binding, Counts, Due, KeyedState};
use crate::state::restoring;
use crate::state::schema::{Codec, Kind, Place, Schema};
use crate::state::shape;
use crate::sys::random::mix;

/// Processing-time timers per key, part of every checkpoint.
///
/// A set: a timer is a key, a namespace (a number by which a bolt tells its timers apart) and a time; setting it twice
/// has it fire once. The bolt's `on_timer` is called with its key current, at the time or soon after, in order of time,
/// then of the key's hash, then of namespace: after a restart, too.
///
/// Times are the wall clock's, in nanoseconds since the epoch, as the engine reads it once per turn (see
/// [`CurrentKey::now_ns`]): they are to hold over restarts. What became due while the program was down fires when it is
/// up again. If the clock jumps, timers fire early or late with it, each still once and in order.
///
/// Setting and deleting cost a hash-map operation and one on a balanced tree.
#[derive(Debug)]
pub struct Timers<K> {
    place: Place,
    entries: Entries<Timer<K>, ()>,
    /// Time, hash of the key, namespace, and where the timer is.
    queue: BTreeSet<(u64, u64, u64, At)>,
    groups_total: u32,
}

#[derive(Debug)]
struct Timer<K> {
    key: K,
    hash: u64,
    namespace: u64,
    at_ns: u64,
}

impl<K> Timer<K> {
    fn queued(&self, at: At) -> (u64, u64, u64, At) {
        (self.at_ns, self.hash, self.namespace, at)
    }
}

impl<K: StateKey> Timers<K> {
    /// Timers under this name, which is unique within the component and never changes.
    pub fn new(name: impl Into<String>) -> Self {
        Timers {
            place: Place { component: "".into(), state: name.into() },
            entries: Entries::new(),
            queue: BTreeSet::new(),
            groups_total: 1,
        }
    }

    fn find(&self, group: u32, key: &K, hash: u64, namespace: u64, at_ns: u64) -> Option<At> {
        let is_it = |timer: &Timer<K>| timer.at_ns == at_ns && timer.namespace == namespace && timer.key == *key;
        self.entries.find(group, joint_hash(hash, namespace, at_ns), is_it)
    }

    /// Sets a timer for the current key; false if it was set already. One in the past fires after this turn.
    ///
    /// # Panics
    /// If the bolt does not show the timers in its `states`.
    pub fn set(&mut self, key: &CurrentKey<K>, namespace: u64, at_ns: u64) -> bool {
        let group = self.entries.place(key.group());
        let at = match self.find(group, key, key.hash(), namespace, at_ns) {
            Some(at) if self.entries.entry(at).value.is_some() => return false,
            Some(at) => {
                self.entries.set(at, &Plain, ());
                at
            }
            None => {
                let timer = Timer { key: K::clone(key), hash: key.hash(), namespace, at_ns };
                self.entries.insert(group, joint_hash(key.hash(), namespace, at_ns), timer, ())
            }
        };
        self.queue.insert((at_ns, key.hash(), namespace, at))
    }

    /// Deletes a timer of the current key; false if there is none.
    ///
    /// # Panics
    /// If the bolt does not show the timers in its `states`.
    pub fn delete(&mut self, key: &CurrentKey<K>, namespace: u64, at_ns: u64) -> bool {
        let group = self.entries.place(key.group());
        let at = self.find(group, key, key.hash(), namespace, at_ns);
        let at = at.filter(|&at| self.queue.remove(&(at_ns, key.hash(), namespace, at)));
        at.inspect(|&at| self.entries.remove(at, &mut Plain)).is_some()
    }
}

/// A timer stands in its entry; its record is its key, namespace and time.
struct Plain;

impl<K: StateKey> Coding<Timer<K>, ()> for Plain {
    fn write_key(&self, _at: At, timer: &Timer<K>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write(&timer.key, out)?;
        codec::write(&(timer.namespace, timer.at_ns), out)
    }

    fn write_value(&self, _at: At, value: &(), out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write(value, out)
    }

    fn freed(&mut self, _at: At, _timer: Timer<K>) {}
}

/// Timers of one key differ by namespace and time.
fn joint_hash(hash: u64, namespace: u64, at_ns: u64) -> u64 {
    mix(hash ^ mix(namespace ^ mix(at_ns)))
}

impl<K: StateKey> AnyState for Timers<K> {
    fn name(&self) -> &str {
        &self.place.state
    }

    fn schema(&self) -> Schema {
        Schema {
            kind: Kind::Timers,
            codec: Codec::MessagePack,
            key: shape::of::<K>(),
            element: Some(shape::of::<(u64, u64)>()),
            value: shape::of::<()>(),
            version: 1,
            stamped: false,
        }
    }

    fn bind(&mut self, binding: &Binding, recorded: Option<&Schema>) -> Result<()> {
        self.place.component = binding.component.clone();
        if let Some(recorded) = recorded {
            self.schema().check(recorded, &[], &self.place)?;
        }
        self.groups_total = binding.groups_total;
        self.queue.clear();
        self.entries.bind(binding.space, binding.first_group, binding.groups);
        Ok(())
    }

    fn restore(&mut self, change: &Change) -> Result<()> {
        let mut rest = change.key;
        let (key, (namespace, at_ns)): (K, (u64, u64)) = codec::read_part(&mut rest)
            .and_then(|key| Ok((key, codec::read(rest)?)))
            .map_err(|error| restoring::unreadable(&self.place, "key", change, error))?;
        let hash = restoring::hash_of(&self.place, &key, change, self.groups_total)?;
        let group = self.entries.place(change.group.into());
        let old = self.find(group, &key, hash, namespace, at_ns);
        match (change.value, old) {
            (Some(_), old) => {
                let timer = Timer { key, hash, namespace, at_ns };
                let at = self.entries.restore(old, group, joint_hash(hash, namespace, at_ns), timer, (), false);
                self.queue.insert((at_ns, hash, namespace, at));
            }
            (None, Some(old)) => {
                self.queue.remove(&(at_ns, hash, namespace, old));
                self.entries.unrestore(old, &mut Plain);
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn freeze(&mut self) {
        self.entries.freeze();
    }

    fn encode_slice(&mut self, until_bytes: usize, out: &mut Delta) -> Result<bool> {
        let done = self.entries.encode_slice(until_bytes, &mut Plain, out);
        done.map_err(|error| restoring::unwritable(&self.place, &error))
    }

    fn abort_frozen(&mut self) {
        self.entries.abort_frozen();
    }

    fn counts(&self) -> Counts {
        self.entries.counts()
    }

    fn next_due_ns(&self) -> Option<u64> {
        self.queue.first().map(|&(at_ns, ..)| at_ns)
    }
}

impl<K: StateKey> KeyedState<K> for Timers<K> {
    fn take_due(&mut self, now_ns: u64) -> Option<Due<K>> {
        let at = self.queue.first().filter(|(at_ns, ..)| *at_ns <= now_ns)?.3;
        let timer = &self.entries.entry(at).id;
        self.queue.remove(&timer.queued(at));
        let key = CurrentKey::of_hashed(timer.key.clone(), timer.hash, self.groups_total, now_ns);
        let due = Due { key, namespace: timer.namespace, at_ns: timer.at_ns };
        self.entries.remove(at, &mut Plain);
        Some(due)
    }
}
