//! [`MapState`]: a map per key, checkpointed by element.

use crate::error::Result;
use crate::state::codec::{self, EncodeError, StateKey, StateValue};
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta};
use crate::state::entries::{At, Coding, Entries};
use crate::state::key::key_hash;
use crate::state::keyed::{AnyState, Binding, Counts, KeyedState};
use crate::state::schema::{Codec, Kind, Place, Schema, Versions};
use crate::state::table::{Entry, Mark, Name, Table};
use crate::state::{restoring, shape};

/// A map per key, part of every checkpoint.
///
/// Changes are recorded per element: a checkpoint after one insertion into a map of a million has one element. Access
/// to an element costs two operations on hash maps in memory and the hash of the element's key.
///
/// Every method panics if the bolt does not show the state in its `states`.
#[derive(Debug)]
pub struct MapState<K, U, V> {
    place: Place,
    kind: Kind,
    elements: Entries<Element<U>, V>,
    heads: Heads<K>,
    versions: Versions<V>,
    groups_total: u32,
}

/// One element's identity: whose it is, under which key, and its neighbours among the elements of the same map.
#[derive(Debug)]
struct Element<U> {
    head: Name,
    /// The number in its name, which tells the elements of one map apart.
    nth: u32,
    previous: Name,
    next: Name,
    key: U,
}

/// A key that has a map.
#[derive(Debug)]
struct Head<K> {
    /// The number in its name, which tells the keys of one group apart.
    nth: u32,
    key: K,
}

/// The elements of one map.
#[derive(Debug)]
struct Chain {
    first: Name,
    last: Name,
    /// Elements that have a value; these are linked.
    live: usize,
    /// Elements and tombstones. The key is kept for their sake.
    all: usize,
}

/// The keys that have a map, by group.
#[derive(Debug)]
struct Heads<K> {
    tables: Vec<Table<Head<K>, Chain>>,
}

impl<K> Heads<K> {
    fn place(&self, group: u32, head: Name) -> u32 {
        let place = self.tables[group as usize].find_tagged(head.tag, |entry| entry.id.nth == head.nth);
        place.expect("elements have a head")
    }

    fn chain(&mut self, group: u32, head: Name) -> &mut Chain {
        let place = self.place(group, head);
        self.tables[group as usize].entry_mut(place).value_mut().expect("a head has a chain")
    }
}

impl<K: StateKey, U: StateKey, V: StateValue> Coding<Element<U>, V> for Heads<K> {
    fn write_key(&self, group: u32, element: &Element<U>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let head = self.tables[group as usize].entry(self.place(group, element.head));
        codec::write(&head.id.key, out)?;
        codec::write(&element.key, out)
    }

    fn write_value(&self, _stamp_ns: u64, value: &V, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::write_value(value, out)
    }

    fn freed(&mut self, group: u32, element: Element<U>) {
        let chain = self.chain(group, element.head);
        chain.all -= 1;
        if chain.all == 0 {
            let place = self.place(group, element.head);
            self.tables[group as usize].remove(place);
        }
    }
}

impl<K: StateKey, U: StateKey, V: StateValue> MapState<K, U, V> {
    /// A state of this name, which is unique within the component and never changes.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of_kind(Kind::Map, name)
    }

    pub(super) fn of_kind(kind: Kind, name: impl Into<String>) -> Self {
        MapState {
            place: Place { component: "".into(), state: name.into() },
            kind,
            elements: Entries::new(),
            heads: Heads { tables: Vec::new() },
            versions: Versions::new(),
            groups_total: 1,
        }
    }

    /// The version of the values' type; see [`ValueState::version`](super::ValueState::version).
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
    fn find_head(&self, key: &CurrentKey<K>) -> Option<(u32, Name)> {
        let group = self.elements.place(key.group());
        self.head_of(group, key.hash(), key).map(|head| (group, head))
    }

    #[inline]
    fn head_of(&self, group: u32, hash: u64, key: &K) -> Option<Name> {
        let table = &self.heads.tables[group as usize];
        let place = table.find(hash, |head| head.key == *key)?;
        Some(Name { tag: hash as u32, nth: table.entry(place).id.nth })
    }

    /// The current key's group, head and elements.
    fn chain(&self, key: &CurrentKey<K>) -> Option<(u32, Name, &Chain)> {
        let group = self.elements.place(key.group());
        let table = &self.heads.tables[group as usize];
        let head = table.entry(table.find(key.hash(), |head| head.key == **key)?);
        Some((group, Name { tag: head.tag(), nth: head.id.nth }, head.value()?))
    }

    fn find_in(&self, group: u32, head: Name, hash: u64, element: &U) -> Option<At> {
        self.elements.find(group, hash, |id| id.head == head && id.key == *element)
    }

    /// Where the element of this name is.
    fn named(&self, group: u32, head: Name, name: Name) -> At {
        let at = self.elements.find_tagged(group, name.tag, |id| id.head == head && id.nth == name.nth);
        at.expect("links lead to elements")
    }

    /// A new element, not linked.
    fn unlinked(&self, group: u32, head: Name, hash: u64, key: U) -> Element<U> {
        let name = self.elements.name(group, hash, |id| (id.head == head).then_some(id.nth));
        Element { head, nth: name.nth, previous: Name::NONE, next: Name::NONE, key }
    }

    /// The place of an element, which may be a tombstone.
    #[inline]
    fn find(&self, key: &CurrentKey<K>, element: &U) -> Option<At> {
        let (group, head) = self.find_head(key)?;
        self.find_in(group, head, joint_hash(key.hash(), element), element)
    }

    /// An element of the current key's map.
    #[inline]
    pub fn get(&self, key: &CurrentKey<K>, element: &U) -> Option<&V> {
        self.elements.entry(self.find(key, element)?).value()
    }

    /// True if the current key's map has the element.
    pub fn contains(&self, key: &CurrentKey<K>, element: &U) -> bool {
        self.get(key, element).is_some()
    }

    /// An element, to change it. Counts as a change.
    pub fn get_mut(&mut self, key: &CurrentKey<K>, element: &U) -> Option<&mut V> {
        let at = self.find(key, element)?;
        self.elements.entry(at).value()?;
        self.elements.touch(at, &self.heads).value_mut()
    }

    /// An element, to change it; made first if it is not there. Counts as a change.
    pub fn get_or_insert_with(&mut self, key: &CurrentKey<K>, element: U, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.find(key, &element) {
            Some(at) if self.elements.entry(at).value().is_some() => {
                self.elements.touch(at, &self.heads);
                at
            }
            _ => self.insert_at(key, element, make()).0,
        };
        self.elements.entry_mut(at).value_mut().expect("just inserted")
    }

    /// Sets an element; returns what was there.
    pub fn insert(&mut self, key: &CurrentKey<K>, element: U, value: V) -> Option<V> {
        self.insert_at(key, element, value).1
    }

    fn insert_at(&mut self, key: &CurrentKey<K>, element: U, value: V) -> (At, Option<V>) {
        let group = self.elements.place(key.group());
        let hash = joint_hash(key.hash(), &element);
        let head = match self.find_head(key) {
            Some((_, head)) => head,
            None => self.insert_head(group, key.hash(), K::clone(key)),
        };
        if let Some(at) = self.find_in(group, head, hash, &element) {
            let old = self.elements.set(at, &self.heads, value);
            if old.is_none() {
                self.link(at, head);
            }
            return (at, old);
        }
        let id = self.unlinked(group, head, hash, element);
        let at = self.elements.insert(group, hash, id, value);
        self.heads.chain(group, head).all += 1;
        self.link(at, head);
        (at, None)
    }

    /// Removes an element and returns it.
    pub fn remove(&mut self, key: &CurrentKey<K>, element: &U) -> Option<V> {
        let at = self.find(key, element)?;
        self.elements.entry(at).value()?;
        self.unlink(at);
        Some(self.elements.remove(at, &mut self.heads))
    }

    /// Removes all elements of the current key. Costs a visit to each.
    pub fn clear(&mut self, key: &CurrentKey<K>) {
        while let Some((group, head, chain)) = self.chain(key) {
            if chain.first == Name::NONE {
                break;
            }
            let at = self.named(group, head, chain.first);
            self.unlink(at);
            self.elements.remove(at, &mut self.heads);
        }
    }

    /// How many elements the current key's map has.
    pub fn len(&self, key: &CurrentKey<K>) -> usize {
        self.chain(key).map_or(0, |(_, _, chain)| chain.live)
    }

    /// True if the current key has no elements.
    pub fn is_empty(&self, key: &CurrentKey<K>) -> bool {
        self.len(key) == 0
    }

    /// The elements of the current key's map, in no particular order: it may differ after a restart.
    pub fn iter(&self, key: &CurrentKey<K>) -> impl Iterator<Item = (&U, &V)> {
        let chain = self.chain(key).map(|(group, head, chain)| (group, head, chain.first));
        let (group, head, mut next) = chain.unwrap_or((0, Name::NONE, Name::NONE));
        std::iter::from_fn(move || {
            if next == Name::NONE {
                return None;
            }
            let entry = self.elements.entry(self.named(group, head, next));
            next = entry.id.next;
            Some((&entry.id.key, entry.value().expect("linked elements have values")))
        })
    }

    fn insert_head(&mut self, group: u32, hash: u64, key: K) -> Name {
        let table = &mut self.heads.tables[group as usize];
        let name = table.name(hash, |head| Some(head.nth));
        let chain = Chain { first: Name::NONE, last: Name::NONE, live: 0, all: 0 };
        table.insert(Entry::new(hash, Head { nth: name.nth, key }, chain, Mark::Clean, false));
        name
    }

    fn link(&mut self, at: At, head: Name) {
        let entry = self.elements.entry(at);
        let name = Name { tag: entry.tag(), nth: entry.id.nth };
        let chain = self.heads.chain(at.group, head);
        chain.live += 1;
        let last = std::mem::replace(&mut chain.last, name);
        if last == Name::NONE {
            chain.first = name;
        } else {
            let last = self.named(at.group, head, last);
            self.elements.entry_mut(last).id.next = name;
        }
        let id = &mut self.elements.entry_mut(at).id;
        (id.previous, id.next) = (last, Name::NONE);
    }

    fn unlink(&mut self, at: At) {
        let Element { head, previous, next, .. } = self.elements.entry(at).id;
        let chain = self.heads.chain(at.group, head);
        chain.live -= 1;
        if previous == Name::NONE {
            chain.first = next;
        }
        if next == Name::NONE {
            chain.last = previous;
        }
        if previous != Name::NONE {
            let previous = self.named(at.group, head, previous);
            self.elements.entry_mut(previous).id.next = next;
        }
        if next != Name::NONE {
            let next = self.named(at.group, head, next);
            self.elements.entry_mut(next).id.previous = previous;
        }
    }

    fn restore_element(&mut self, group: u32, hash: u64, key: K, element: U, value: Option<V>) {
        let head = self.head_of(group, hash, &key);
        let joint = joint_hash(hash, &element);
        let old = head.and_then(|head| self.find_in(group, head, joint, &element));
        match (value, old) {
            (Some(value), old) => {
                let head = head.unwrap_or_else(|| self.insert_head(group, hash, key));
                let id = self.unlinked(group, head, joint, element);
                let at = self.elements.restore(old, group, joint, id, value, self.versions.is_migrating());
                if old.is_none() {
                    self.heads.chain(group, head).all += 1;
                    self.link(at, head);
                }
            }
            (None, Some(old)) => {
                self.unlink(old);
                self.elements.unrestore(old, &mut self.heads);
            }
            (None, None) => {}
        }
    }
}

/// The hash of an element: of its key's and the map's.
#[inline]
fn joint_hash<U: StateKey>(hash: u64, element: &U) -> u64 {
    hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(key_hash(element))
}

impl<K: StateKey, U: StateKey, V: StateValue> KeyedState<K> for MapState<K, U, V> {}

impl<K: StateKey, U: StateKey, V: StateValue> AnyState for MapState<K, U, V> {
    fn name(&self) -> &str {
        &self.place.state
    }

    fn schema(&self) -> Schema {
        Schema {
            kind: self.kind,
            codec: Codec::MessagePack,
            key: shape::of::<K>(),
            element: Some(shape::of::<U>()),
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
        self.elements.bind(binding.space, binding.first_group, binding.groups);
        self.heads.tables = (0..binding.groups).map(|_| Table::new()).collect();
        Ok(())
    }

    fn restore(&mut self, change: &Change) -> Result<()> {
        let mut rest = change.key;
        let (key, element): (K, U) = codec::read_part(&mut rest)
            .and_then(|key| Ok((key, codec::read(rest)?)))
            .map_err(|error| restoring::unreadable(&self.place, "key", change, error))?;
        let hash = restoring::hash_of(&self.place, &key, change, self.groups_total)?;
        let group = self.elements.place(change.group.into());
        let value = change.value.map(|bytes| self.versions.read(bytes)).transpose();
        let value = value.map_err(|error| restoring::unreadable(&self.place, "value", change, error))?;
        self.restore_element(group, hash, key, element, value);
        Ok(())
    }

    fn freeze(&mut self) {
        self.elements.freeze();
    }

    fn encode_slice(&mut self, until_bytes: usize, out: &mut Delta) -> Result<bool> {
        let done = self.elements.encode_slice(until_bytes, &mut self.heads, out);
        done.map_err(|error| restoring::unwritable(&self.place, &error))
    }

    fn abort_frozen(&mut self) {
        self.elements.abort_frozen(&mut self.heads);
    }

    fn counts(&self) -> Counts {
        let counts = self.elements.counts();
        let heads_bytes: usize = self.heads.tables.iter().map(Table::allocated_bytes).sum();
        Counts { allocated_bytes: counts.allocated_bytes + heads_bytes, ..counts }
    }
}
