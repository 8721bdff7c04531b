//! [`Record`]: values under the names of a shared [`Fields`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::fields_key::FieldsKey;
use super::value::{Kind, Map, Shown, Value};
use crate::error::Error;

/// What can be wrong with a record or with a question put to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A name occurs twice among the fields.
    #[error("field `{name}` is declared twice")]
    DuplicateField {
        /// The name.
        name: Arc<str>,
    },
    /// There is no such field.
    #[error("no field `{name}`; the fields are {known}")]
    UnknownField {
        /// The name asked for.
        name: Arc<str>,
        /// The fields there are.
        known: Arc<Fields>,
    },
    /// The values do not match the fields in number.
    #[error("{values} values for {} fields ({fields})", fields.len())]
    Arity {
        /// The fields.
        fields: Arc<Fields>,
        /// The number of values given.
        values: usize,
    },
    /// A field's value has another type.
    #[error("field `{name}` is {actual}, not {wanted}")]
    WrongKind {
        /// The field.
        name: Arc<str>,
        /// The type of its value.
        actual: Kind,
        /// The type asked for.
        wanted: Kind,
    },
    /// A selection of fields met a record with other fields.
    #[error("a selection from the fields {selected} does not fit a record with the fields {actual}")]
    OtherFields {
        /// What the selection was made from.
        selected: Arc<Fields>,
        /// The record's fields.
        actual: Arc<Fields>,
    },
    /// A JSON value has no counterpart.
    #[error("JSON: {message}")]
    Json {
        /// What is wrong.
        message: String,
    },
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        Error::usage("record", error.to_string())
    }
}

/// The ordered, unique names of a record's fields. Made once and shared by all records of a stream.
#[derive(Clone)]
pub struct Fields {
    names: Box<[Arc<str>]>,
    index: HashMap<Arc<str>, usize>,
}

impl Fields {
    /// Fields with these names, in this order.
    ///
    /// # Errors
    ///
    /// If a name occurs twice.
    pub fn new<N: Into<Arc<str>>>(names: impl IntoIterator<Item = N>) -> Result<Arc<Self>, RecordError> {
        let names: Box<[Arc<str>]> = names.into_iter().map(Into::into).collect();
        let mut index = HashMap::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if index.insert(name.clone(), at).is_some() {
                return Err(RecordError::DuplicateField { name: name.clone() });
            }
        }
        Ok(Arc::new(Fields { names, index }))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True if there are no fields.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names in order.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The position of a field, if there is one of this name. Costs one hash look-up.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The positions of some fields, looked up once to be used for many records: see [`Record::key_of`].
    ///
    /// # Errors
    ///
    /// If there is no field of one of the names.
    pub fn select(self: &Arc<Self>, names: &[&str]) -> Result<Selection, RecordError> {
        let positions = names.iter().map(|name| self.find(name)).collect::<Result<_, _>>()?;
        Ok(Selection { fields: self.clone(), positions })
    }

    fn find(self: &Arc<Self>, name: &str) -> Result<usize, RecordError> {
        self.position(name).ok_or_else(|| RecordError::UnknownField { name: name.into(), known: self.clone() })
    }
}

/// Same names in the same order.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for Fields {}

/// The names in backquotes, separated by commas.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.names.iter().enumerate() {
            write!(f, "{}`{name}`", if at > 0 { ", " } else { "" })?;
        }
        if self.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.names).finish()
    }
}

/// Some fields of records that share one [`Fields`]; made by [`Fields::select`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    fields: Arc<Fields>,
    positions: SmallVec<[usize; 4]>,
}

/// A tuple with named fields and values whose types are known at run time.
///
/// Immutable; cloning costs two reference counts, whatever its size.
#[derive(Clone, PartialEq)]
pub struct Record {
    fields: Arc<Fields>,
    values: Arc<[Value]>,
}

impl Record {
    /// A record with one value per field, in the fields' order.
    ///
    /// # Errors
    ///
    /// If there are more or fewer values than fields.
    pub fn new(fields: &Arc<Fields>, values: impl IntoIterator<Item = Value>) -> Result<Self, RecordError> {
        let values: Arc<[Value]> = values.into_iter().collect();
        if values.len() != fields.len() {
            return Err(RecordError::Arity { fields: fields.clone(), values: values.len() });
        }
        Ok(Record { fields: fields.clone(), values })
    }

    /// The fields.
    pub fn fields(&self) -> &Arc<Fields> {
        &self.fields
    }

    /// All values, in the fields' order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of a field.
    ///
    /// # Errors
    ///
    /// If there is no such field; the error names those there are.
    pub fn get(&self, name: &str) -> Result<&Value, RecordError> {
        Ok(&self.values[self.fields.find(name)?])
    }

    /// The value at a position, if the record has so many.
    pub fn get_index(&self, position: usize) -> Option<&Value> {
        self.values.get(position)
    }

    /// The values of some fields as a key to partition by. Looks up every name; [`key_of`](Record::key_of) does not.
    ///
    /// # Errors
    ///
    /// If there is no field of one of the names.
    pub fn key(&self, names: &[&str]) -> Result<FieldsKey, RecordError> {
        let mut key = FieldsKey::default();
        for name in names {
            key.push(self.get(name)?);
        }
        Ok(key)
    }

    /// The values of selected fields as a key to partition by.
    ///
    /// # Errors
    ///
    /// If the selection was made from other fields than this record's.
    pub fn key_of(&self, selection: &Selection) -> Result<FieldsKey, RecordError> {
        if !Arc::ptr_eq(&self.fields, &selection.fields) && self.fields != selection.fields {
            let (selected, actual) = (selection.fields.clone(), self.fields.clone());
            return Err(RecordError::OtherFields { selected, actual });
        }
        let mut key = FieldsKey::default();
        for &position in &selection.positions {
            key.push(&self.values[position]);
        }
        Ok(key)
    }
}

/// Typed access: casts, not conversions.
macro_rules! typed {
    ($($accessor:ident, $type:ty, $kind:ident, $what:literal;)*) => {
        impl Record {$(
            #[doc = concat!("The ", $what, " in a field. A cast, not a conversion; a null is not ", $what, " either.")]
            ///
            /// # Errors
            ///
            /// If there is no such field, or its value has another type.
            pub fn $accessor(&self, name: &str) -> Result<$type, RecordError> {
                let value = self.get(name)?;
                value.$accessor().ok_or_else(|| RecordError::WrongKind {
                    name: name.into(),
                    actual: value.kind(),
                    wanted: Kind::$kind,
                })
            }
        )*}
    };
}

typed! {
    as_bool, bool, Bool, "bool";
    as_i64, i64, Int, "integer";
    as_f64, f64, Float, "float";
    as_str, &str, String, "text";
    as_bytes, &Bytes, Bytes, "byte string";
    as_list, &[Value], List, "list";
    as_map, &Map, Map, "map";
}

/// `{word: "storm", count: 3}`
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.fields.names.iter().zip(&*self.values).enumerate() {
            write!(f, "{}{name}: {value}", if at > 0 { ", " } else { "" })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields.names.iter().zip(self.values.iter().map(Shown))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    fn record() -> Record {
        let fields = Fields::new(["word", "count"]).unwrap();
        Record::new(&fields, ["storm".into(), 3.into()]).unwrap()
    }

    #[test]
    fn fields_are_found_by_name_and_by_position() {
        let record = record();
        assert_eq!(record.get("count"), Ok(&Value::Int(3)));
        assert_eq!(record.get_index(0), Some(&Value::from("storm")));
        assert_eq!(record.get_index(2), None);
        assert_eq!(record.as_i64("count"), Ok(3));
        assert_eq!(record.to_string(), r#"{word: "storm", count: 3}"#);
    }

    #[test]
    fn errors_name_what_was_asked_and_what_there_is() {
        let record = record();
        let say = |error: RecordError| error.to_string();
        assert_eq!(say(record.get("wrod").unwrap_err()), "no field `wrod`; the fields are `word`, `count`");
        assert_eq!(say(record.as_f64("count").unwrap_err()), "field `count` is an int, not a float");
        assert_eq!(say(record.key(&["word", "x"]).unwrap_err()), "no field `x`; the fields are `word`, `count`");
        assert_eq!(say(Fields::new(["a", "b", "a"]).unwrap_err()), "field `a` is declared twice");
        let short = Record::new(record.fields(), [Value::Null]).unwrap_err();
        assert_eq!(say(short), "1 values for 2 fields (`word`, `count`)");
    }

    #[test]
    fn an_error_becomes_a_failure_of_the_tuple_or_a_usage_error() {
        let error = record().get("x").unwrap_err();
        assert!(Failure::from(error.clone()).is_retry());
        assert!(Error::from(error).is_usage());
    }

    #[test]
    fn a_selection_gives_the_key_of_its_names_and_refuses_other_fields() {
        let record = record();
        let selection = record.fields().select(&["count", "word"]).unwrap();
        assert_eq!(record.key_of(&selection), record.key(&["count", "word"]));
        let equal = Record::new(&Fields::new(["word", "count"]).unwrap(), record.values().to_vec()).unwrap();
        assert_eq!(equal.key_of(&selection), record.key_of(&selection));
        let swapped = Record::new(&Fields::new(["count", "word"]).unwrap(), record.values().to_vec()).unwrap();
        assert!(matches!(swapped.key_of(&selection), Err(RecordError::OtherFields { .. })));
    }

    #[test]
    fn a_record_is_a_payload() {
        fn payload<T: Clone + Send + 'static>() {}
        payload::<Record>();
    }
}
