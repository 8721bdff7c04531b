//! Java's values as far as Storm's routing depends on them: their hashes, their text, their random numbers.
//!
//! Storm chooses the task of a key by Java's `hashCode`, and an `Integer` −1 hashes otherwise than a `Long` −1: so a
//! value here knows which of Java's types it has.

mod hash;
mod random;
mod text;
mod value;

pub(crate) use hash::value_hash;
pub use hash::{array_hash, bytes_hash, text_hash, units_hash};
pub use random::JavaRandom;
pub use text::{double_text, to_java_string};
pub use value::JavaValue;

#[cfg(test)]
mod tests;
