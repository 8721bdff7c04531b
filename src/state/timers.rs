//! [`Timers`]: processing-time timers per key.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::state::codec::{self, EncodeError, StateKey};
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta};
use crate::state::entries::{At, Coding, Entries};
use crate::state::key::key_group;
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
    queue: BTreeSet<Queued>,
    groups_total: u32,
}

#[derive(Debug)]
struct Timer<K> {
    key: K,
    queued: Queued,
}

/// A timer without its key, in the order of firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    at_ns: u64,
    /// That of the key.
    hash: u64,
    namespace: u64,
    /// Tells keys of one hash apart.
    nth: u32,
}

impl Queued {
    /// Timers of one key differ by namespace and time.
    fn joint_hash(&self) -> u64 {
        mix(self.hash ^ mix(self.namespace ^ mix(self.at_ns)))
    }

    /// True if the two can differ in their keys only.
    fn is_like(&self, other: &Queued) -> bool {
        Queued { nth: 0, ..*self } == Queued { nth: 0, ..*other }
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

    fn find(&self, group: u32, key: &K, queued: &Queued) -> Option<At> {
        let is_it = |timer: &Timer<K>| timer.queued.is_like(queued) && timer.key == *key;
        self.entries.find(group, queued.joint_hash(), is_it)
    }

    /// The same with the first number that no timer like it has.
    fn named(&self, group: u32, queued: Queued) -> Queued {
        let nth_of = |timer: &Timer<K>| timer.queued.is_like(&queued).then_some(timer.queued.nth);
        Queued { nth: self.entries.name(group, queued.joint_hash(), nth_of).nth, ..queued }
    }

    /// Sets a timer for the current key; false if it was set already. One in the past fires after this turn.
    ///
    /// # Panics
    /// If the bolt does not show the timers in its `states`.
    pub fn set(&mut self, key: &CurrentKey<K>, namespace: u64, at_ns: u64) -> bool {
        let group = self.entries.place(key.group());
        let queued = Queued { at_ns, hash: key.hash(), namespace, nth: 0 };
        let at = match self.find(group, key, &queued) {
            Some(at) if self.entries.entry(at).value().is_some() => return false,
            Some(at) => {
                self.entries.set(at, &Plain, ());
                at
            }
            None => {
                let timer = Timer { key: K::clone(key), queued: self.named(group, queued) };
                self.entries.insert(group, queued.joint_hash(), timer, ())
            }
        };
        self.queue.insert(self.entries.entry(at).id.queued)
    }

    /// Deletes a timer of the current key; false if there is none.
    ///
    /// # Panics
    /// If the bolt does not show the timers in its `states`.
    pub fn delete(&mut self, key: &CurrentKey<K>, namespace: u64, at_ns: u64) -> bool {
        let group = self.entries.place(key.group());
        let at = self.find(group, key, &Queued { at_ns, hash: key.hash(), namespace, nth: 0 });
        let at = at.filter(|&at| self.queue.remove(&self.entries.entry(at).id.queued));
        at.inspect(|&at| self.entries.remove(at, &mut Plain)).is_some()
    }
}

/// A timer stands in its entry; its record is its key, namespace and time.
struct Plain;

impl<K: StateKey> Coding<Timer<K>, ()> for Plain {
    fn write_key(&self, _group: u32, timer: &Timer<K>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write(&timer.key, out)?;
        codec::write(&(timer.queued.namespace, timer.queued.at_ns), out)
    }

    fn write_value(&self, _stamp_ns: u64, value: &(), out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write(value, out)
    }

    fn freed(&mut self, _group: u32, _timer: Timer<K>) {}
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
        let queued = Queued { at_ns, hash, namespace, nth: 0 };
        let old = self.find(group, &key, &queued);
        match (change.value, old) {
            (Some(_), old) => {
                let timer = Timer { key, queued: self.named(group, queued) };
                let at = self.entries.restore(old, group, queued.joint_hash(), timer, (), false);
                self.queue.insert(self.entries.entry(at).id.queued);
            }
            (None, Some(old)) => {
                self.queue.remove(&self.entries.entry(old).id.queued);
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
        self.entries.abort_frozen(&mut Plain);
    }

    fn counts(&self) -> Counts {
        self.entries.counts()
    }

    fn next_due_ns(&self) -> Option<u64> {
        self.queue.first().map(|queued| queued.at_ns)
    }
}

impl<K: StateKey> KeyedState<K> for Timers<K> {
    fn take_due(&mut self, now_ns: u64) -> Option<Due<K>> {
        let queued = *self.queue.first().filter(|queued| queued.at_ns <= now_ns)?;
        self.queue.remove(&queued);
        let group = self.entries.place(key_group(queued.hash, self.groups_total));
        let at = self.entries.find(group, queued.joint_hash(), |timer| timer.queued == queued);
        let at = at.expect("what is queued is there");
        let key = self.entries.entry(at).id.key.clone();
        let key = CurrentKey::of_hashed(key, queued.hash, self.groups_total, now_ns);
        let due = Due { key, namespace: queued.namespace, at_ns: queued.at_ns };
        self.entries.remove(at, &mut Plain);
        Some(due)
    }
}
