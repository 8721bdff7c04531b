//! [`ValueState`]: one value per key.

use std::collections::VecDeque;

use crate::error::Result;
use crate::state::codec::{self, EncodeError, StateKey, StateValue};
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta};
use crate::state::entries::{At, Coding, Entries};
use crate::state::key::key_hash;
use crate::state::keyed::{AnyState, Binding, Called, Counts, KeyedState, again_after_ns};
use crate::state::schema::{Codec, Kind, Place, Schema, Versions};
use crate::state::ttl::{Stamps, Ttl};
use crate::state::{restoring, shape};

/// One value per key, part of every checkpoint.
///
/// A field of the bolt. Reading and writing cost an operation on a hash map in memory, whatever else happens: none
/// reads or writes a store, hashes a key, or allocates if the key is there. The first write to a value that a
/// checkpoint has frozen and not yet encoded encodes it first.
///
/// Every method panics if the bolt does not show the state in its `states`.
///
/// # Examples
///
/// ```
/// use squall::state::{CurrentKey, Refresh, Ttl, ValueState};
/// use std::time::Duration;
///
/// struct Visits {
///     seen: ValueState<String, u64>,
/// }
///
/// impl Visits {
///     fn new() -> Self {
///         let hour = Duration::from_secs(3600);
///         Visits { seen: ValueState::new("seen").ttl(Ttl::new(hour).refresh(Refresh::OnRead)) }
///     }
///
///     fn visit(&mut self, page: &CurrentKey<String>) -> u64 {
///         self.seen.update(page, |count| *count += 1);
///         *self.seen.get(page).unwrap()
///     }
/// }
/// ```
#[derive(Debug)]
pub struct ValueState<K, V> {
    place: Place,
    kind: Kind,
    entries: Entries<K, V>,
    versions: Versions<V>,
    groups_total: u32,
    plain: Plain,
    /// When values were restored that had no stamp.
    bound_ns: u64,
    /// True if what is restored has stamps.
    is_stamped: bool,
    /// Where the next sweep begins.
    sweep_at: At,
    /// Expired, to be reported.
    expired: VecDeque<Expired<K, V>>,
    /// When, at the earliest: the first has failed before.
    again_ns: u64,
    /// Its callback runs, or was the last to run.
    evicted: Option<Expired<K, V>>,
}

#[derive(Debug)]
struct Expired<K, V> {
    key: CurrentKey<K>,
    value: V,
    /// Times its callback has failed.
    failures: u32,
}

/// Failures of a callback after which a value that has expired is given up.
const EVICTION_FAILURES_MAX: u32 = 5;

impl<K: StateKey, V: StateValue> ValueState<K, V> {
    /// A state of this name, which is unique within the component and never changes.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of_kind(Kind::Value, name)
    }

    pub(super) fn of_kind(kind: Kind, name: impl Into<String>) -> Self {
        ValueState {
            place: Place { component: "".into(), state: name.into() },
            kind,
            entries: Entries::new(),
            versions: Versions::new(),
            groups_total: 1,
            plain: Plain { stamps: None },
            bound_ns: 0,
            is_stamped: false,
            sweep_at: At::START,
            expired: VecDeque::new(),
            again_ns: 0,
            evicted: None,
        }
    }

    /// The version of the value's type, 1 unless told otherwise: count it up when old values cannot be read as they
    /// are, and [register](ValueState::migrate) how they become new ones.
    pub fn version(mut self, version: u32) -> Self {
        self.versions.version = version;
        self
    }

    /// How values of an older version become values of this one; used while restoring.
    pub fn migrate<Old: StateValue>(mut self, from: u32, migrate: impl Fn(Old) -> V + Send + 'static) -> Self {
        self.versions.migrate(from, migrate);
        self
    }

    /// Lets values expire. May be added, changed and taken away between runs; values that had none live from the
    /// restart on.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.plain.stamps = Some(Stamps::new(ttl));
        self
    }

    #[inline]
    fn find(&self, key: &CurrentKey<K>) -> Option<At> {
        let group = self.entries.place(key.group());
        self.entries.find(group, key.hash(), |id| *id == **key)
    }

    /// The entry of the current key, which may be a tombstone, but has not expired.
    #[inline]
    fn find_live(&mut self, key: &CurrentKey<K>) -> Option<At> {
        let at = self.find(key)?;
        if self.plain.stamps.is_some() && self.is_expired(at, key.now_ns()) {
            self.expire(at, key.now_ns());
            return self.find(key);
        }
        Some(at)
    }

    #[inline]
    fn refresh(&mut self, at: At, key: &CurrentKey<K>) {
        if let Some(stamps) = &self.plain.stamps {
            self.entries.entry_mut(at).set_stamp_ns(stamps.at(key.now_ns()));
        }
    }

    /// The value of the current key. Reading may refresh a time to live, which is why it takes the state mutably; see
    /// [`peek`](ValueState::peek).
    #[inline]
    pub fn get(&mut self, key: &CurrentKey<K>) -> Option<&V> {
        if self.plain.stamps.is_none() {
            return self.entries.value(self.entries.place(key.group()), key.hash(), |id| *id == **key);
        }
        let at = self.find_live(key)?;
        self.note_read(at, key);
        self.entries.entry(at).value()
    }

    fn note_read(&mut self, at: At, key: &CurrentKey<K>) {
        let entry = self.entries.entry(at);
        let stamps = self.plain.stamps.as_ref();
        let refreshes = stamps.is_some_and(|stamps| stamps.read_refreshes(entry.stamp_ns(), key.now_ns()));
        if refreshes && entry.value().is_some() {
            self.entries.touch(at, &self.plain);
            self.refresh(at, key);
        }
    }

    /// The value of the current key, without refreshing its time to live.
    #[inline]
    pub fn peek(&self, key: &CurrentKey<K>) -> Option<&V> {
        let at = self.find(key)?;
        match self.is_expired(at, key.now_ns()) {
            true => None,
            false => self.entries.entry(at).value(),
        }
    }

    /// True if the current key has a value.
    #[inline]
    pub fn contains(&self, key: &CurrentKey<K>) -> bool {
        self.peek(key).is_some()
    }

    /// The value of the current key, to change it. Counts as a change.
    #[inline]
    pub fn get_mut(&mut self, key: &CurrentKey<K>) -> Option<&mut V> {
        let at = self.find_live(key)?;
        self.entries.entry(at).value()?;
        self.entries.touch(at, &self.plain);
        self.refresh(at, key);
        self.entries.entry_mut(at).value_mut()
    }

    /// The value of the current key, to change it; made first if there is none. Counts as a change. The key is cloned
    /// only if it is new.
    #[inline]
    pub fn get_or_insert_with(&mut self, key: &CurrentKey<K>, make: impl FnOnce() -> V) -> &mut V {
        if self.plain.stamps.is_none() {
            let (group, clone) = (self.entries.place(key.group()), || K::clone(key));
            let is_it = |id: &K| *id == **key;
            return self.entries.value_or_insert(group, key.hash(), is_it, &self.plain, clone, make);
        }
        let at = match self.find_live(key) {
            Some(at) => {
                self.entries.value_mut(at, &self.plain, make);
                self.refresh(at, key);
                at
            }
            None => self.insert(key, make()),
        };
        self.entries.entry_mut(at).value_mut().expect("just inserted")
    }

    /// Changes the value of the current key, starting from the type's default if there is none.
    #[inline]
    pub fn update(&mut self, key: &CurrentKey<K>, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        change(self.get_or_insert_with(key, V::default));
    }

    /// Sets the value of the current key.
    #[inline]
    pub fn set(&mut self, key: &CurrentKey<K>, value: V) {
        if self.plain.stamps.is_none() {
            let mut value = Some(value);
            let now = self.get_or_insert_with(key, || value.take().expect("taken once"));
            if let Some(value) = value {
                *now = value;
            }
            return;
        }
        match self.find_live(key) {
            Some(at) => {
                self.entries.set(at, &self.plain, value);
                self.refresh(at, key);
            }
            None => {
                self.insert(key, value);
            }
        }
    }

    #[inline(never)]
    fn insert(&mut self, key: &CurrentKey<K>, value: V) -> At {
        let group = self.entries.place(key.group());
        let at = self.entries.insert(group, key.hash(), K::clone(key), value);
        self.refresh(at, key);
        at
    }

    /// Removes the value of the current key and returns it.
    pub fn remove(&mut self, key: &CurrentKey<K>) -> Option<V> {
        let at = self.find_live(key)?;
        self.entries.entry(at).value()?;
        Some(self.entries.remove(at, &mut self.plain))
    }

    /// The values of all keys of this task, in no order; with a time to live, also those whose time is over and that
    /// have not been removed yet.
    ///
    /// For the end of input and for inspection: it visits every entry, and its cost is that of the whole state.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// The value that expired, while the bolt's `on_evict` runs for it.
    pub fn evicted(&self) -> Option<&V> {
        self.evicted.as_ref().map(|expired| &expired.value)
    }

    /// True if there is a value and its time is over.
    #[inline]
    fn is_expired(&self, at: At, now_ns: u64) -> bool {
        self.plain.stamps.as_ref().is_some_and(|stamps| {
            let entry = self.entries.entry(at);
            entry.value().is_some() && stamps.is_expired(entry.stamp_ns(), now_ns)
        })
    }

    #[cold]
    fn expire(&mut self, at: At, now_ns: u64) {
        if !self.plain.stamps.as_ref().is_some_and(Stamps::is_reported) {
            self.entries.remove(at, &mut self.plain);
            return;
        }
        let key = K::clone(&self.entries.entry(at).id);
        let hash = key_hash(&key);
        let value = self.entries.remove(at, &mut self.plain);
        let key = CurrentKey::of_hashed(key, hash, self.groups_total, now_ns);
        self.expired.push_back(Expired { key, value, failures: 0 });
    }
}

/// Key, value and stamp stand in their entry.
#[derive(Debug)]
struct Plain {
    stamps: Option<Stamps>,
}

impl<K: StateKey, V: StateValue> Coding<K, V> for Plain {
    fn write_key(&self, _group: u32, key: &K, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write(key, out)
    }

    fn write_value(&self, stamp_ns: u64, value: &V, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.stamps.is_some() {
            out.extend_from_slice(&stamp_ns.to_le_bytes());
        }
        codec::write_value(value, out)
    }

    fn freed(&mut self, _group: u32, _key: K) {}
}

impl<K: StateKey, V: StateValue> AnyState for ValueState<K, V> {
    fn name(&self) -> &str {
        &self.place.state
    }

    fn schema(&self) -> Schema {
        Schema {
            kind: self.kind,
            codec: Codec::MessagePack,
            key: shape::of::<K>(),
            element: None,
            value: shape::of::<V>(),
            version: self.versions.version,
            stamped: self.plain.stamps.is_some(),
        }
    }

    fn bind(&mut self, binding: &Binding, recorded: Option<&Schema>) -> Result<()> {
        self.place.component = binding.component.clone();
        if let Some(recorded) = recorded {
            self.schema().check(recorded, &self.versions.from(), &self.place)?;
        }
        self.versions.recorded = recorded.map_or(self.versions.version, |schema| schema.version);
        self.is_stamped = recorded.map_or(self.plain.stamps.is_some(), |schema| schema.stamped);
        self.groups_total = binding.groups_total;
        self.bound_ns = binding.now_ns;
        self.sweep_at = At::START;
        self.expired.clear();
        (self.again_ns, self.evicted) = (0, None);
        self.entries.bind(binding.space, binding.first_group, binding.groups);
        Ok(())
    }

    fn restore(&mut self, change: &Change) -> Result<()> {
        let key: K =
            codec::read(change.key).map_err(|error| restoring::unreadable(&self.place, "key", change, error))?;
        let hash = restoring::hash_of(&self.place, &key, change, self.groups_total)?;
        let group = self.entries.place(change.group.into());
        let old = self.entries.find(group, hash, |id| *id == key);
        match change.value {
            Some(mut bytes) => {
                let stamp_ns = match bytes.split_first_chunk().filter(|_| self.is_stamped) {
                    Some((stamp, rest)) => {
                        bytes = rest;
                        u64::from_le_bytes(*stamp)
                    }
                    None => self.bound_ns,
                };
                let value = self.versions.read(bytes);
                let value = value.map_err(|error| restoring::unreadable(&self.place, "value", change, error))?;
                let is_dirty = self.versions.is_migrating() || self.is_stamped != self.plain.stamps.is_some();
                let at = self.entries.restore(old, group, hash, key, value, is_dirty);
                self.entries.entry_mut(at).set_stamp_ns(stamp_ns);
            }
            None => {
                if let Some(old) = old {
                    self.entries.unrestore(old, &mut self.plain);
                }
            }
        }
        Ok(())
    }

    fn freeze(&mut self) {
        assert!(self.expired.is_empty(), "what expired is reported before the next checkpoint");
        self.entries.freeze();
    }

    fn encode_slice(&mut self, until_bytes: usize, out: &mut Delta) -> Result<bool> {
        let done = self.entries.encode_slice(until_bytes, &mut self.plain, out);
        done.map_err(|error| restoring::unwritable(&self.place, &error))
    }

    fn abort_frozen(&mut self) {
        self.entries.abort_frozen(&mut self.plain);
    }

    fn counts(&self) -> Counts {
        self.entries.counts()
    }

    fn next_due_ns(&self) -> Option<u64> {
        self.has_expired().then_some(self.again_ns)
    }

    fn has_expired(&self) -> bool {
        !self.expired.is_empty()
    }

    fn called(&mut self, went: Called) -> bool {
        let Some(mut expired) = self.evicted.take() else { return false };
        expired.failures += 1;
        match went {
            Called::Failed { now_ns } if expired.failures < EVICTION_FAILURES_MAX => {
                self.again_ns = now_ns.saturating_add(again_after_ns(expired.failures));
                self.expired.push_front(expired);
                true
            }
            _ => {
                self.again_ns = 0;
                false
            }
        }
    }

    fn begin_end(&mut self, now_ns: u64) {
        if !self.plain.stamps.as_ref().is_some_and(Stamps::is_reported) {
            return;
        }
        let mut cursor = At::START;
        loop {
            if let Some(at) = self.entries.advance(&mut cursor)
                && self.is_expired(at, now_ns)
            {
                self.expire(at, now_ns);
            }
            if cursor == At::START {
                return;
            }
        }
    }

    fn drop_timers(&mut self, max: usize) -> usize {
        let dropped = max.min(self.expired.len());
        self.expired.drain(..dropped);
        dropped
    }

    fn sweep(&mut self, now_ns: u64, slots: usize) -> usize {
        if self.plain.stamps.is_none() {
            return 0;
        }
        let before = self.entries.live();
        for _ in 0..slots {
            let Some(at) = self.entries.advance(&mut self.sweep_at) else { continue };
            if self.is_expired(at, now_ns) {
                self.expire(at, now_ns);
            }
        }
        before - self.entries.live()
    }
}

impl<K: StateKey, V: StateValue> KeyedState<K> for ValueState<K, V> {
    fn next_expired(&mut self, now_ns: u64) -> Option<CurrentKey<K>> {
        self.called(Called::Done);
        if now_ns < self.again_ns {
            return None;
        }
        let expired = self.expired.pop_front()?;
        let key = expired.key.clone();
        self.evicted = Some(expired);
        Some(key)
    }
}
