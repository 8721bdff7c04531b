//! [`Timers`]: processing-time timers per key.

mod waiting;

use std::collections::BTreeSet;

use crate::error::Result;
use crate::state::codec::{self, EncodeError, StateKey};
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta};
use crate::state::entries::{At, Coding, Entries};
use crate::state::key::key_group;
use crate::state::keyed::{AnyState, Binding, Called, Counts, Due, KeyedState};
use crate::state::restoring;
use crate::state::schema::{Codec, Kind, Place, Schema};
use crate::state::shape;
use crate::sys::random::mix;
use waiting::Waiting;

/// What becomes of timers whose time has not come when the input has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// They are dropped, and counted. Right for what repeats itself, such as a heartbeat.
    #[default]
    Drop,
    /// They fire, in order, each with its own time as the time that it is. Right for what is to be flushed.
    Fire,
}

/// Processing-time timers per key, part of every checkpoint.
///
/// A set: a timer is a key, a namespace (a number by which a bolt tells its timers apart) and a time; setting it twice
/// has it fire once. The bolt's `on_timer` is called with its key current, at the time or soon after, in order of time,
/// then of the key's hash, then of namespace: after a restart, too.
///
/// Times are those of [`CurrentKey::now_ns`], in nanoseconds since the epoch: they hold over restarts. What became due
/// while the program was down fires when it is up again.
///
/// **At the end of the input**, or of a drain, what is due fires, in order, and then the timers whose time has not come
/// are dropped, which is counted in the report, unless they are declared [to fire](Timers::at_end). A timer that is set
/// meanwhile is dropped in any case: one that always sets the next does not keep the end open. A suspended topology
/// keeps its timers.
///
/// **If the callback fails**, exactly-once goes back to the last checkpoint. Under the other guarantees the failure is
/// counted and reported, and the timer fires again after 10 ms, then after twice as long each time, up to 10 s, without
/// holding up the others; the end waits for it until nothing has succeeded for `drain_timeout`. One that the bolt rejects
/// is given up at once, under every guarantee.
///
/// Setting and deleting cost a hash-map operation and one on a balanced tree.
#[derive(Debug)]
pub struct Timers<K> {
    place: Place,
    entries: Entries<Timer<K>, ()>,
    queue: BTreeSet<Queued>,
    /// Failed, to fire again; not in the queue.
    waiting: Waiting<Queued>,
    /// Its callback runs, or was the last to run; it is still among the entries, and not in the queue.
    firing: Option<Firing>,
    at_end: AtEnd,
    /// Those that still fire after the end of the input; the queue has those that do not.
    last: Option<BTreeSet<Queued>>,
    groups_total: u32,
}

#[derive(Clone, Copy, Debug)]
struct Firing {
    queued: Queued,
    /// Times it has failed.
    failures: u32,
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
            waiting: Waiting::default(),
            firing: None,
            at_end: AtEnd::default(),
            last: None,
            groups_total: 1,
        }
    }

    /// What becomes of those whose time has not come when the input has ended; [`AtEnd::Drop`] unless told otherwise.
    pub fn at_end(mut self, at_end: AtEnd) -> Self {
        self.at_end = at_end;
        self
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
            Some(at) if self.entries.entry(at).value().is_some() => {
                let queued = self.entries.entry(at).id.queued;
                if self.firing.is_none_or(|firing| firing.queued != queued) {
                    return false;
                }
                // Set again by its own callback.
                self.firing = None;
                at
            }
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
        let at = at.filter(|&at| {
            let queued = self.entries.entry(at).id.queued;
            let mut is_last = || self.last.as_mut().is_some_and(|last| last.remove(&queued));
            self.queue.remove(&queued) || self.waiting.remove(&queued) || is_last()
        });
        at.inspect(|&at| self.entries.remove(at, &mut Plain)).is_some()
    }

    fn at(&self, queued: Queued) -> At {
        let group = self.entries.place(key_group(queued.hash, self.groups_total));
        let at = self.entries.find(group, queued.joint_hash(), |timer| timer.queued == queued);
        at.expect("what is queued is there")
    }

    /// Takes away the entry of one that is not queued any more.
    fn forget(&mut self, queued: Queued) {
        let at = self.at(queued);
        self.entries.remove(at, &mut Plain);
    }

    /// What fires next, and the time that it is then.
    fn next(&mut self, now_ns: u64) -> Option<(Firing, u64)> {
        if let Some(queued) = self.last.as_mut().and_then(BTreeSet::pop_first) {
            return Some((Firing { queued, failures: 0 }, now_ns.max(queued.at_ns)));
        }
        if let Some((queued, failures)) = self.waiting.take(now_ns) {
            return Some((Firing { queued, failures }, now_ns.max(queued.at_ns)));
        }
        if self.last.is_some() {
            return None;
        }
        let queued = *self.queue.first().filter(|queued| queued.at_ns <= now_ns)?;
        self.queue.remove(&queued);
        Some((Firing { queued, failures: 0 }, now_ns))
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
        (self.waiting, self.firing, self.last) = (Waiting::default(), None, None);
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
        self.called(Called::Done);
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
        let queued_ns = self.last.as_ref().unwrap_or(&self.queue).first().map(|queued| queued.at_ns);
        [queued_ns, self.waiting.next_due_ns()].into_iter().flatten().min()
    }

    fn called(&mut self, went: Called) -> bool {
        let Some(Firing { queued, failures }) = self.firing.take() else { return false };
        match went {
            Called::Failed { now_ns } => {
                self.waiting.insert(queued, failures + 1, now_ns);
                true
            }
            Called::Done => {
                self.forget(queued);
                false
            }
        }
    }

    fn begin_end(&mut self, now_ns: u64) {
        self.called(Called::Done);
        let mut last = std::mem::take(&mut self.queue);
        if self.at_end == AtEnd::Drop
            && let Some(after_ns) = now_ns.checked_add(1)
        {
            self.queue = last.split_off(&Queued { at_ns: after_ns, hash: 0, namespace: 0, nth: 0 });
        }
        self.last = Some(last);
    }

    fn drop_timers(&mut self, max: usize) -> usize {
        self.called(Called::Done);
        for dropped in 0..max {
            let Some(queued) = self.queue.pop_first().or_else(|| self.waiting.pop()) else { return dropped };
            self.forget(queued);
        }
        max
    }
}

impl<K: StateKey> KeyedState<K> for Timers<K> {
    fn take_due(&mut self, now_ns: u64) -> Option<Due<K>> {
        self.called(Called::Done);
        let (firing, now_ns) = self.next(now_ns)?;
        let Queued { at_ns, hash, namespace, .. } = firing.queued;
        self.firing = Some(firing);
        let key = self.entries.entry(self.at(firing.queued)).id.key.clone();
        Some(Due { key: CurrentKey::of_hashed(key, hash, self.groups_total, now_ns), namespace, at_ns })
    }
}
