//! The key that is current while a keyed bolt handles a tuple: what every access to keyed state asks for.

use std::ops::Deref;

use crate::state::key::{Key, key_group, key_hash};

/// The key of the tuple (or timer, or expired entry) at hand, with its specified hash.
///
/// Keyed state is read and written through this token alone, and only the engine makes one: so a bolt can reach the
/// state of the key it was called for and of no other, and no access hashes anything. It derefs to the key.
#[derive(Clone, Debug)]
pub struct CurrentKey<K> {
    key: K,
    hash: u64,
    group: u32,
    now_ns: u64,
}

impl<K: Key> CurrentKey<K> {
    /// For the engine, which knows the hash from the tuple's header; `now_ns` is the wall clock it read for this turn,
    /// in nanoseconds since the epoch.
    #[doc(hidden)]
    #[inline]
    pub fn of_hashed(key: K, hash: u64, groups_total: u32, now_ns: u64) -> Self {
        debug_assert_eq!(hash, key_hash(&key), "state is found by the specified hash of its key");
        CurrentKey { key, hash, group: key_group(hash, groups_total), now_ns }
    }
}

impl<K> CurrentKey<K> {
    /// The key itself.
    pub fn into_inner(self) -> K {
        self.key
    }

    /// The specified 64-bit hash, see [`key_hash`].
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The key group.
    #[inline]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// The time of this turn, in nanoseconds since the epoch: what times to live and timers go by.
    ///
    /// It is the wall clock's as it was when the process started, and goes on evenly from there, so that setting the
    /// machine's clock meanwhile does nothing. It never goes back over a restart either: if the clock was set back, time
    /// goes on from that of the checkpoint that is resumed. For a timer that fires at the end of input before its time
    /// it is the time of the timer.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

impl<K> Deref for CurrentKey<K> {
    type Target = K;

    #[inline]
    fn deref(&self) -> &K {
        &self.key
    }
}
