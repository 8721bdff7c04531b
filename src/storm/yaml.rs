//! YAML as Storm's tools read it: version 1.1's plain scalars, `${}` replaced in the text, and every value with the
//! place where it stood.

mod build;
mod node;
mod properties;
mod scalar;
mod source;
mod surrogates;

pub(crate) use build::parse;
pub(crate) use node::{Content, Node, Place};
#[cfg(any(test, squall_fuzz))]
pub(crate) use properties::Property;
pub(crate) use properties::{Substitution, parse_properties};
pub(crate) use source::{Replacement, Text};

#[cfg(test)]
mod tests;
