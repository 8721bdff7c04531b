//! [`ValueState`]: one value per key.

use crate::error::Result;
use crate::state::codec::{self, EncodeError, StateKey, StateValue};
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta};
use crate::state::entries::{At, Coding, Entries};
use crate::state::keyed::{Binding, Counts, KeyedState};
use crate::state::schema::{Codec, Kind, Place, Schema, Versions};
use crate::state::{restoring, shape};

/// One value per key, part of every checkpoint.
///
/// A field of the bolt. Reading and writing cost an operation on a hash map in memory, whatever else happens: no access
/// reads or writes a store, hashes a key, or allocates if the key is there.
#[derive(Debug)]
pub struct ValueState<K, V> {
    place: Place,
    kind: Kind,
    entries: Entries<K, V>,
    versions: Versions<V>,
    groups_total: u32,
}

impl<K: StateKey, V: StateValue> ValueState<K, V> {
    /// A state of this name, which is unique within the component and never changes.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of_kind(Kind::Value, name)
    }

    pub(super) fn of_kind(kind: Kind, name: impl Into<String>) -> Self {
        let place = Place { component: "".into(), state: name.into() };
        ValueState { place, kind, entries: Entries::new(), versions: Versions::new(), groups_total: 1 }
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

    #[inline]
    fn find(&self, key: &CurrentKey<K>) -> Option<At> {
        let group = self.entries.place(key.group());
        self.entries.find(group, key.hash(), |id| *id == **key)
    }

    /// The value of the current key.
    #[inline]
    pub fn get(&self, key: &CurrentKey<K>) -> Option<&V> {
        self.entries.entry(self.find(key)?).value.as_ref()
    }

    /// True if the current key has a value.
    #[inline]
    pub fn contains(&self, key: &CurrentKey<K>) -> bool {
        self.get(key).is_some()
    }

    /// The value of the current key, to change it. Counts as a change.
    #[inline]
    pub fn get_mut(&mut self, key: &CurrentKey<K>) -> Option<&mut V> {
        let at = self.find(key)?;
        self.entries.entry(at).value.as_ref()?;
        self.entries.touch(at, &Plain).value.as_mut()
    }

    /// The value of the current key, to change it; made first if there is none. Counts as a change. The key is cloned
    /// only if it is new.
    #[inline]
    pub fn get_or_insert_with(&mut self, key: &CurrentKey<K>, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.find(key) {
            Some(at) => return self.entries.value_mut(at, &Plain, make),
            None => self.insert(key, make()),
        };
        self.entries.entry_mut(at).value.as_mut().expect("just inserted")
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
        match self.find(key) {
            Some(at) => {
                let mut value = Some(value);
                let now = self.entries.value_mut(at, &Plain, || value.take().expect("taken once"));
                if let Some(value) = value {
                    *now = value;
                }
            }
            None => {
                self.insert(key, value);
            }
        }
    }

    #[inline(never)]
    fn insert(&mut self, key: &CurrentKey<K>, value: V) -> At {
        let group = self.entries.place(key.group());
        self.entries.insert(group, key.hash(), K::clone(key), value)
    }

    /// Removes the value of the current key and returns it.
    pub fn remove(&mut self, key: &CurrentKey<K>) -> Option<V> {
        let at = self.find(key)?;
        self.entries.entry(at).value.as_ref()?;
        Some(self.entries.remove(at, &mut Plain))
    }
}

/// Key and value stand in their entry.
struct Plain;

impl<K: StateKey, V: StateValue> Coding<K, V> for Plain {
    fn write_key(&self, _at: At, key: &K, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write(key, out)
    }

    fn write_value(&self, _at: At, value: &V, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write(value, out)
    }

    fn freed(&mut self, _at: At, _key: K) {}
}

impl<K: StateKey, V: StateValue> KeyedState<K> for ValueState<K, V> {
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
            stamped: false,
        }
    }

    fn bind(&mut self, binding: &Binding, recorded: Option<&Schema>) -> Result<()> {
        self.place.component = binding.component.clone();
        if let Some(recorded) = recorded {
            self.schema().check(recorded, &self.versions.from(), &self.place)?;
        }
        self.versions.recorded = recorded.map_or(self.versions.version, |schema| schema.version);
        self.groups_total = binding.groups_total;
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
            Some(bytes) => {
                let value = self.versions.read(bytes);
                let value = value.map_err(|error| restoring::unreadable(&self.place, "value", change, error))?;
                let is_dirty = self.versions.is_migrating();
                self.entries.restore(old, group, hash, key, value, is_dirty);
            }
            None => {
                if let Some(old) = old {
                    self.entries.unrestore(old, &mut Plain);
                }
            }
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
}
