//! Storm's configuration keys: which of them squall honours, maps to settings of its own, or accepts without effect.
//!
//! A configuration is read in two steps: [`check`] finds out of what type every value is and what becomes of it,
//! [`apply`](apply::apply) lays it over squall's settings. Components get the whole of it, unknown keys included.

mod apply;
mod check;
mod keys;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use apply::Conf;
pub(crate) use check::{Checked, Level, check, check_value};
pub(crate) use keys::Fate;
#[cfg(test)]
pub(crate) use table::KEYS;
