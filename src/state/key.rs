//! Keys: their canonical bytes, their 64-bit hash, and which task owns them.
//!
//! A key decides which task gets a tuple and where its state lives, today, on another machine, and after a restart. So
//! its hash is specified: XXH3-64 with seed 0 over the key's *canonical bytes*, which depend neither on the machine's
//! word size nor on its byte order. **The format and the hash never change**: snapshots record key groups, and those
//! follow from them.
//!
//! # The byte format
//!
//! All numbers are little-endian. A *part* is what a value contributes to a composite key; it delimits itself, so
//! `("ab", "c")` and `("a", "bc")` differ. A value that is the *whole* key has the same bytes, except that a byte
//! string stands alone, without its length: the hash of a text key is XXH3-64 of its UTF-8 bytes and nothing else.
//!
//! | type | as a part | as the whole key |
//! | --- | --- | --- |
//! | `()` | nothing | nothing |
//! | `bool` | 1 byte, 0 or 1 | same |
//! | `u8` … `u128`, `i8` … `i128` | their width, signed ones as two's complement | same |
//! | `usize`, `isize` | 8 bytes, as `u64` and `i64` | same |
//! | `char` | 4 bytes, the scalar value as `u32` | same |
//! | `[u8; N]` | the N bytes | same |
//! | `str`, `String` | the length in bytes as `u64`, then the UTF-8 bytes | the UTF-8 bytes |
//! | `[u8]`, `Vec<u8>`, `Bytes`, `SmallVec<[u8; N]>` | the length as `u64`, then the bytes | the bytes |
//! | `Option<K>` | byte 0 for `None`; byte 1, then the part of the value | same |
//! | tuples of 1 to 6 | the parts, one after another | same |
//! | `&K`, `Box<K>`, `Arc<K>`, `Cow<K>` | as `K` | as `K` |
//!
//! The bytes do not name the type: `1u32` and `1u64` are different keys, `"a"` and `b"a".as_slice()` have the same
//! hash. All inputs of one keyed bolt have one key type, so that never matters within a topology.
//!
//! `f32` and `f64` are absent on purpose. A key needs an equality that agrees with its bytes: `NaN` is not equal to
//! itself, `0.0 == -0.0` although their bits differ, and a float that was computed differs in its last bit from the one
//! that was parsed. Key by an integer (cents, milliseconds), or by `to_bits()` if the bits are meant.

use std::borrow::Cow;
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::{Array, SmallVec};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The number of key groups a topology has unless told otherwise: the upper bound of a keyed bolt's useful parallelism.
pub const KEY_GROUPS_DEFAULT: u32 = 1024;

/// Composite keys up to this many bytes are gathered on the stack and hashed in one call.
const INLINE_BYTES: usize = 128;

/// Takes the canonical bytes of a key, piece by piece.
pub trait CanonicalSink {
    /// Appends bytes. How the bytes are cut into calls has no meaning.
    fn put(&mut self, bytes: &[u8]);
}

impl CanonicalSink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl<A: Array<Item = u8>> CanonicalSink for SmallVec<A> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A value with canonical bytes, as specified in the [module's table](self). Implement this to make a type of your own
/// usable as a [`Key`].
///
/// Two values of one type have the same bytes exactly if they are equal. That is the implementor's promise, and the
/// engine relies on it: equal keys with different bytes would have their state in two tasks.
///
/// # Examples
///
/// ```
/// use squall::task::key::{Canonical, CanonicalSink};
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Seat {
///     flight: String,
///     row: u16,
/// }
///
/// impl Canonical for Seat {
///     fn write_part<S: CanonicalSink>(&self, out: &mut S) {
///         self.flight.write_part(out);
///         self.row.write_part(out);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no canonical bytes and cannot be (part of) a key",
    note = "integers, `bool`, `char`, texts, byte strings, `Option`s and tuples of these can",
    note = "floats are absent on purpose; for a type of your own implement `squall::task::key::Canonical`"
)]
pub trait Canonical {
    /// Writes this value as part of a key: *self-delimiting*, which means that no value's bytes are the beginning of
    /// another value's bytes. Bytes of fixed width are, and so are sequences of parts; a byte string needs its length
    /// first.
    fn write_part<S: CanonicalSink>(&self, out: &mut S);

    /// Where a single run of bytes in memory is the whole key, calls `use_bytes` with it: that is hashed without being
    /// copied. Those bytes need not delimit themselves.
    ///
    /// The answer must be `Some` for all values of a type or `None` for all; the default is `None`, and the whole key
    /// is then its [part](Canonical::write_part).
    #[inline]
    fn with_single<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let _ = use_bytes;
        None
    }
}

/// What tuples can be partitioned by: any [`Canonical`] value that can be owned, compared and sent.
///
/// Implemented for every type that qualifies; nobody implements it by hand. Cloning should be cheap. A `Bytes` that is
/// a slice of a large buffer keeps the whole buffer alive for as long as the key is kept.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    note = "a key is `squall::task::key::Canonical + Clone + Eq + Hash + Send + 'static`"
)]
pub trait Key: Canonical + Clone + Eq + Hash + Send + 'static {}

impl<K: Canonical + Clone + Eq + Hash + Send + 'static> Key for K {}

/// The specified 64-bit hash of a key: XXH3-64, seed 0, of its canonical bytes. It never changes.
///
/// Borrowed and owned forms agree: the hash of a `&str` is that of the equal `String`. Costs one call over the bytes
/// where they lie for texts, byte strings and numbers; composite keys are first gathered on the stack. Never allocates.
///
/// ```
/// use squall::task::key::key_hash;
///
/// assert_eq!(key_hash("squall"), key_hash(&String::from("squall")));
/// assert_ne!(key_hash(&("ab", "c")), key_hash(&("a", "bc")));
/// ```
#[inline]
pub fn key_hash<K: Canonical + ?Sized>(key: &K) -> u64 {
    match key.with_single(xxh3_64) {
        Some(hash) => hash,
        None => {
            let mut sink = HashSink { short: SmallVec::new(), long: None };
            key.write_part(&mut sink);
            sink.finish()
        }
    }
}

/// Writes the canonical bytes of a whole key: what [`key_hash`] hashes.
pub fn write_canonical<K: Canonical + ?Sized, S: CanonicalSink>(key: &K, out: &mut S) {
    if key.with_single(|bytes| out.put(bytes)).is_none() {
        key.write_part(out);
    }
}

/// The key group of a hash: 0 to `groups` − 1, from the *high* bits, in proportion.
///
/// The keys of one group therefore share their high bits; a hash table within a group must not tell its entries apart
/// by those.
#[inline]
pub fn key_group(hash: u64, groups: u32) -> u32 {
    debug_assert!(groups > 0, "a topology has at least one key group");
    ((u128::from(hash) * u128::from(groups)) >> 64) as u32
}

/// The task that owns a key group: `group × tasks / groups`, so each task owns a contiguous range of groups, of sizes
/// that differ by at most one. With more tasks than groups some tasks own none.
///
/// # Panics
///
/// If `groups` is 0.
#[inline]
pub fn task_of_group(group: u32, tasks: usize, groups: u32) -> usize {
    debug_assert!(group < groups && tasks > 0 && u32::try_from(tasks).is_ok());
    (u64::from(group) * tasks as u64 / u64::from(groups)) as usize
}

/// The task that owns a key with this hash when there are [`KEY_GROUPS_DEFAULT`] groups.
#[inline]
pub fn task_of_key(hash: u64, tasks: usize) -> usize {
    task_of_group(key_group(hash, KEY_GROUPS_DEFAULT), tasks, KEY_GROUPS_DEFAULT)
}

/// Hashes what is written to it. Short input takes the one-shot function, which is several times cheaper than the
/// streaming state that longer input goes through; both give the same hash, and neither allocates.
struct HashSink {
    short: SmallVec<[u8; INLINE_BYTES]>,
    long: Option<Xxh3>,
}

impl HashSink {
    #[inline]
    fn finish(&self) -> u64 {
        match &self.long {
            None => xxh3_64(&self.short),
            Some(state) => state.digest(),
        }
    }

    #[cold]
    fn put_long(&mut self, bytes: &[u8]) {
        let short = &self.short;
        let state = self.long.get_or_insert_with(|| {
            let mut state = Xxh3::new();
            state.update(short);
            state
        });
        state.update(bytes);
    }
}

impl CanonicalSink for HashSink {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.long.is_none() && bytes.len() <= INLINE_BYTES - self.short.len() {
            self.short.extend_from_slice(bytes);
        } else {
            self.put_long(bytes);
        }
    }
}

/// Values of fixed width: the same bytes as a part and as the whole key.
macro_rules! fixed_width {
    ($($type:ty, $value:ident => $bytes:expr;)*) => {$(
        impl Canonical for $type {
            #[inline]
            fn write_part<S: CanonicalSink>(&self, out: &mut S) {
                let $value = *self;
                out.put(&$bytes);
            }

            #[inline]
            fn with_single<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
                let $value = *self;
                Some(use_bytes(&$bytes))
            }
        }
    )*};
}

fixed_width! {
    bool, v => [u8::from(v)];
    u8, v => v.to_le_bytes();
    u16, v => v.to_le_bytes();
    u32, v => v.to_le_bytes();
    u64, v => v.to_le_bytes();
    u128, v => v.to_le_bytes();
    i8, v => v.to_le_bytes();
    i16, v => v.to_le_bytes();
    i32, v => v.to_le_bytes();
    i64, v => v.to_le_bytes();
    i128, v => v.to_le_bytes();
    usize, v => (v as u64).to_le_bytes();
    isize, v => (v as i64).to_le_bytes();
    char, v => u32::from(v).to_le_bytes();
}

impl<const N: usize> Canonical for [u8; N] {
    #[inline]
    fn write_part<S: CanonicalSink>(&self, out: &mut S) {
        out.put(self);
    }

    #[inline]
    fn with_single<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
        Some(use_bytes(self))
    }
}

impl Canonical for [u8] {
    #[inline]
    fn write_part<S: CanonicalSink>(&self, out: &mut S) {
        out.put(&(self.len() as u64).to_le_bytes());
        out.put(self);
    }

    #[inline]
    fn with_single<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
        Some(use_bytes(self))
    }
}

/// Types that stand for another one, which they lend.
macro_rules! as_inner {
    ($([$($generics:tt)*] $type:ty, $value:ident => $inner:expr;)*) => {$(
        impl<$($generics)*> Canonical for $type {
            #[inline]
            fn write_part<S: CanonicalSink>(&self, out: &mut S) {
                let $value = self;
                Canonical::write_part($inner, out);
            }

            #[inline]
            fn with_single<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
                let $value = self;
                Canonical::with_single($inner, use_bytes)
            }
        }
    )*};
}

as_inner! {
    [] str, v => v.as_bytes();
    [] String, v => v.as_bytes();
    [] Vec<u8>, v => v.as_slice();
    [] Bytes, v => v.as_ref();
    [A: Array<Item = u8>] SmallVec<A>, v => v.as_slice();
    [K: Canonical + ?Sized] &K, v => &**v;
    [K: Canonical + ?Sized] Box<K>, v => &**v;
    [K: Canonical + ?Sized] Arc<K>, v => &**v;
    [K: Canonical + ToOwned + ?Sized] Cow<'_, K>, v => &**v;
}

impl<K: Canonical> Canonical for Option<K> {
    #[inline]
    fn write_part<S: CanonicalSink>(&self, out: &mut S) {
        match self {
            None => out.put(&[0]),
            Some(key) => {
                out.put(&[1]);
                key.write_part(out);
            }
        }
    }
}

impl Canonical for () {
    #[inline]
    fn write_part<S: CanonicalSink>(&self, _out: &mut S) {}
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        impl<$($name: Canonical),+> Canonical for ($($name,)+) {
            #[inline]
            #[allow(non_snake_case, reason = "a field is named after its type parameter")]
            fn write_part<Sink: CanonicalSink>(&self, out: &mut Sink) {
                let ($($name,)+) = self;
                $($name.write_part(out);)+
            }
        }
    )*};
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
}

#[cfg(test)]
mod tests;
