//! The road in: what legacy Storm topologies are made of, on squall's engine.
//!
//! All their streams carry one payload type, the [`StormTuple`](tuple::StormTuple); their components are squall's
//! ordinary spouts and bolts over it, with [`Many`](crate::task::many::Many) outputs.

pub mod child;
pub mod emitter;
pub mod shell;
pub mod tuple;
