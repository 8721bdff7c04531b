//! The dynamic payload type: a [`Record`] of named fields whose [`Value`]s know their type only at run time.
//!
//! It is one payload type among others, for topologies whose shape is data. A record can be partitioned by some of its
//! fields: [`Record::key`] copies them into a [`FieldsKey`].
//!
//! ```
//! use squall::task::dynamic::{Fields, Record};
//! use squall::task::key::key_hash;
//!
//! let fields = Fields::new(["word", "count"])?;
//! let record = Record::new(&fields, ["storm".into(), 3.into()])?;
//! assert_eq!(record.as_str("word")?, "storm");
//! assert_eq!(record.as_i64("count")?, 3);
//! assert_eq!(record.as_i64("word").unwrap_err().to_string(), "field `word` is a string, not an int");
//! let hash = key_hash(&record.key(&["word"])?);
//! # let _ = hash;
//! # Ok::<(), squall::task::dynamic::RecordError>(())
//! ```

mod decimal;
mod fields_key;
mod json;
mod record;
mod value;

pub use decimal::{Decimal, NotDecimal};
pub use fields_key::FieldsKey;
pub use record::{Fields, Record, RecordError, Selection};
pub use value::{Kind, Map, Value};
