//! States that are another state with a different face: [`ListState`], [`ReducingState`], [`AggregatingState`].

use std::fmt;

use crate::error::Result;
use crate::state::codec::{StateKey, StateValue};
use crate::state::current::CurrentKey;
use crate::state::delta::{Change, Delta};
use crate::state::keyed::{AnyState, Binding, Called, Counts, KeyedState};
use crate::state::map::MapState;
use crate::state::schema::{Kind, Schema};
use crate::state::ttl::Ttl;
use crate::state::value::ValueState;

/// How something is folded into what is there.
type Fold<Acc, In> = Box<dyn Fn(&mut Acc, In) + Send>;

/// A sequence per key, part of every checkpoint.
///
/// Changes are recorded per element: a checkpoint after one append has one element, however long the list is. An
/// element costs about 40 bytes besides its own; for many small elements that are always read together, a
/// [`ValueState`] of a `Vec` is smaller.
#[derive(Debug)]
pub struct ListState<K, V> {
    inner: MapState<K, u32, V>,
}

impl<K: StateKey, V: StateValue> ListState<K, V> {
    /// A state of this name, which is unique within the component and never changes.
    pub fn new(name: impl Into<String>) -> Self {
        ListState { inner: MapState::of_kind(Kind::List, name) }
    }

    /// The version of the elements' type; see [`ValueState::version`].
    pub fn version(mut self, version: u32) -> Self {
        self.inner = self.inner.version(version);
        self
    }

    /// How elements of an older version become elements of this one; used while restoring.
    pub fn migrate<Old: StateValue>(mut self, from: u32, migrate: impl Fn(Old) -> V + Send + 'static) -> Self {
        self.inner = self.inner.migrate(from, migrate);
        self
    }

    /// Appends to the current key's list.
    ///
    /// # Panics
    /// If the list has 2³² elements.
    pub fn push(&mut self, key: &CurrentKey<K>, value: V) {
        let index = u32::try_from(self.len(key)).expect("a list has at most 2^32 elements");
        self.inner.insert(key, index, value);
    }

    /// An element of the current key's list.
    pub fn get(&self, key: &CurrentKey<K>, index: usize) -> Option<&V> {
        self.inner.get(key, &u32::try_from(index).ok()?)
    }

    /// The current key's list, in order. Costs a look-up per element.
    pub fn iter(&self, key: &CurrentKey<K>) -> impl Iterator<Item = &V> {
        (0..self.len(key)).map_while(move |index| self.get(key, index))
    }

    /// The length of the current key's list.
    pub fn len(&self, key: &CurrentKey<K>) -> usize {
        self.inner.len(key)
    }

    /// True if the current key has no elements.
    pub fn is_empty(&self, key: &CurrentKey<K>) -> bool {
        self.inner.is_empty(key)
    }

    /// Empties the current key's list. Costs a visit to each element.
    pub fn clear(&mut self, key: &CurrentKey<K>) {
        self.inner.clear(key);
    }
}

/// One value per key, into which others of its type are folded; part of every checkpoint. Costs as [`ValueState`].
///
/// ```
/// use squall::state::{CurrentKey, ReducingState};
///
/// fn highest() -> ReducingState<String, u64> {
///     ReducingState::new("highest", |highest: &mut u64, bid: u64| *highest = (*highest).max(bid))
/// }
///
/// fn bid(highest: &mut ReducingState<String, u64>, article: &CurrentKey<String>, bid: u64) -> u64 {
///     *highest.add(article, bid)
/// }
/// ```
pub struct ReducingState<K, V> {
    inner: ValueState<K, V>,
    reduce: Fold<V, V>,
}

impl<K: StateKey, V: StateValue> ReducingState<K, V> {
    /// A state of this name, which is unique within the component and never changes.
    pub fn new(name: impl Into<String>, reduce: impl Fn(&mut V, V) + Send + 'static) -> Self {
        ReducingState { inner: ValueState::of_kind(Kind::Reducing, name), reduce: Box::new(reduce) }
    }

    /// Folds a value into that of the current key, or makes it the first; returns the result.
    pub fn add(&mut self, key: &CurrentKey<K>, value: V) -> &V {
        let mut value = Some(value);
        let now = self.inner.get_or_insert_with(key, || value.take().expect("taken once"));
        if let Some(value) = value {
            (self.reduce)(now, value);
        }
        now
    }

    /// The value of the current key; see [`ValueState::get`].
    pub fn get(&mut self, key: &CurrentKey<K>) -> Option<&V> {
        self.inner.get(key)
    }

    /// Removes the value of the current key and returns it.
    pub fn remove(&mut self, key: &CurrentKey<K>) -> Option<V> {
        self.inner.remove(key)
    }

    /// Lets values expire; see [`ValueState::ttl`].
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.inner = self.inner.ttl(ttl);
        self
    }

    /// The value that expired, while the bolt's `on_evict` runs for it.
    pub fn evicted(&self) -> Option<&V> {
        self.inner.evicted()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for ReducingState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReducingState").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// One accumulator per key, to which inputs are added and from which a result is taken; part of every checkpoint.
/// Costs as [`ValueState`].
///
/// ```
/// use squall::state::{AggregatingState, CurrentKey};
///
/// fn mean() -> AggregatingState<String, f64, (f64, u64), f64> {
///     let add = |(sum, count): &mut (f64, u64), x: f64| (*sum, *count) = (*sum + x, *count + 1);
///     AggregatingState::new("mean", || (0.0, 0), add, |(sum, count)| sum / *count as f64)
/// }
///
/// fn measure(mean: &mut AggregatingState<String, f64, (f64, u64), f64>, sensor: &CurrentKey<String>, x: f64) -> f64 {
///     mean.add(sensor, x);
///     mean.get(sensor).unwrap()
/// }
/// ```
pub struct AggregatingState<K, In, Acc, Out> {
    inner: ValueState<K, Acc>,
    make: Box<dyn Fn() -> Acc + Send>,
    add: Fold<Acc, In>,
    result: Box<dyn Fn(&Acc) -> Out + Send>,
}

impl<K: StateKey, In, Acc: StateValue, Out> AggregatingState<K, In, Acc, Out> {
    /// A state of this name, which is unique within the component and never changes: how an accumulator is made, how an
    /// input is added, and how it becomes a result.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn() -> Acc + Send + 'static,
        add: impl Fn(&mut Acc, In) + Send + 'static,
        result: impl Fn(&Acc) -> Out + Send + 'static,
    ) -> Self {
        let inner = ValueState::of_kind(Kind::Aggregating, name);
        AggregatingState { inner, make: Box::new(make), add: Box::new(add), result: Box::new(result) }
    }

    /// Adds an input to the current key's accumulator.
    pub fn add(&mut self, key: &CurrentKey<K>, input: In) {
        (self.add)(self.inner.get_or_insert_with(key, &self.make), input);
    }

    /// The result for the current key, if anything was added; see [`ValueState::get`].
    pub fn get(&mut self, key: &CurrentKey<K>) -> Option<Out> {
        self.inner.get(key).map(&self.result)
    }

    /// Removes the accumulator of the current key and returns its result.
    pub fn remove(&mut self, key: &CurrentKey<K>) -> Option<Out> {
        self.inner.remove(key).as_ref().map(&self.result)
    }

    /// The version of the accumulator's type; see [`ValueState::version`].
    pub fn version(mut self, version: u32) -> Self {
        self.inner = self.inner.version(version);
        self
    }

    /// How accumulators of an older version become ones of this version; used while restoring.
    pub fn migrate<Old: StateValue>(mut self, from: u32, migrate: impl Fn(Old) -> Acc + Send + 'static) -> Self {
        self.inner = self.inner.migrate(from, migrate);
        self
    }

    /// Lets accumulators expire; see [`ValueState::ttl`].
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.inner = self.inner.ttl(ttl);
        self
    }

    /// The result of what expired, while the bolt's `on_evict` runs for it.
    pub fn evicted(&self) -> Option<Out> {
        self.inner.evicted().map(&self.result)
    }
}

impl<K: fmt::Debug, In, Acc: fmt::Debug, Out> fmt::Debug for AggregatingState<K, In, Acc, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingState").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Hands everything to the state inside.
macro_rules! as_inner {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        impl<K: StateKey, $($generics)*> AnyState for $type {
            fn name(&self) -> &str {
                self.inner.name()
            }

            fn schema(&self) -> Schema {
                self.inner.schema()
            }

            fn bind(&mut self, binding: &Binding, recorded: Option<&Schema>) -> Result<()> {
                self.inner.bind(binding, recorded)
            }

            fn restore(&mut self, change: &Change) -> Result<()> {
                self.inner.restore(change)
            }

            fn freeze(&mut self) {
                self.inner.freeze();
            }

            fn encode_slice(&mut self, until_bytes: usize, out: &mut Delta) -> Result<bool> {
                self.inner.encode_slice(until_bytes, out)
            }

            fn abort_frozen(&mut self) {
                self.inner.abort_frozen();
            }

            fn counts(&self) -> Counts {
                self.inner.counts()
            }

            fn next_due_ns(&self) -> Option<u64> {
                self.inner.next_due_ns()
            }

            fn has_expired(&self) -> bool {
                self.inner.has_expired()
            }

            fn called(&mut self, went: Called) -> bool {
                self.inner.called(went)
            }

            fn begin_end(&mut self, now_ns: u64) {
                self.inner.begin_end(now_ns);
            }

            fn drop_timers(&mut self, max: usize) -> usize {
                self.inner.drop_timers(max)
            }

            fn sweep(&mut self, now_ns: u64, slots: usize) -> usize {
                self.inner.sweep(now_ns, slots)
            }
        }

        impl<K: StateKey, $($generics)*> KeyedState<K> for $type {
            fn next_expired(&mut self, now_ns: u64) -> Option<CurrentKey<K>> {
                self.inner.next_expired(now_ns)
            }
        }
    )*};
}

as_inner! {
    [V: StateValue] ListState<K, V>;
    [V: StateValue] ReducingState<K, V>;
    [In, Acc: StateValue, Out] AggregatingState<K, In, Acc, Out>;
}
