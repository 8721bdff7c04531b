//! YAML as Storm's tools read it: version 1.1's plain scalars, `${}` replaced in the text, and every value with the
//! place where it stood.

mod build;
mod node;
mod properties;
mod scalar;
mod source;

pub(crate) use build::parse;
pub(crate) use node::{Content, Node, Place};
pub(crate) use properties::{Substitution, parse_properties};
pub(crate) use source::Text;

#[cfg(test)]
mod tests;
