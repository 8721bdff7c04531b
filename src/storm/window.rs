//! Storm's windows: by number or by time, of arrival or of event time.
//!
//! [`manager`] holds the rules and knows no engine: events and times go in, activations and expiries come out.
//! [`bolt`] puts it into a topology. Windows are open at the start and closed at the end: an event at the very end of a
//! window belongs to it, one at its very start to the one before.

pub mod bolt;
pub mod manager;
mod policy;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod watermark;

pub use bolt::{TupleWindow, WindowOutlet, Windowed, WindowedBolt, windowed};
pub use settings::{Length, Slide, WindowSettings};
