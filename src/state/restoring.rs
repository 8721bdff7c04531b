//! What all kinds of state check when they are restored, and what they say if it fails.

use crate::error::{Error, Result};
use crate::state::codec::{DecodeError, EncodeError};
use crate::state::delta::Change;
use crate::state::key::{Key, key_group, key_hash};
use crate::state::schema::Place;

/// The hash of a restored key, whose group must be the one it was recorded under.
pub(super) fn hash_of<K: Key>(place: &Place, key: &K, change: &Change, groups_total: u32) -> Result<u64> {
    let hash = key_hash(key);
    let group = key_group(hash, groups_total);
    if group != u32::from(change.group) {
        return Err(place.error(format_args!(
            "a key recorded under key group {} belongs to group {group} of {groups_total}; the checkpoint is damaged, \
             or the key's canonical bytes have changed, which they must not",
            change.group
        )));
    }
    Ok(hash)
}

/// A key or value that cannot be read.
pub(super) fn unreadable(place: &Place, what: &str, change: &Change, error: DecodeError) -> Error {
    place.error(format_args!(
        "a {what} in the checkpoint cannot be read as the program's type ({error}; key group {}, key bytes {:02x?}); \
         if the type has changed, count up the state's version and register a migration",
        change.group,
        &change.key[..change.key.len().min(32)]
    ))
}

/// A key or value that cannot be written.
pub(super) fn unwritable(place: &Place, error: &EncodeError) -> Error {
    place.error(format_args!(
        "an entry cannot be encoded ({error}); keys and values must be what serde can write as MessagePack"
    ))
}
