//! The road in: what legacy Storm topologies are made of, on squall's engine.
//!
//! All their streams carry one payload type, the [`StormTuple`](tuple::StormTuple); their components are squall's
//! ordinary spouts and bolts over it, with [`Many`](crate::task::many::Many) outputs.

pub mod child;
mod conf;
pub(crate) mod config_report;
pub mod emitter;
pub mod flux;
#[cfg(any(test, squall_fuzz))]
#[doc(hidden)]
pub mod fuzz;
pub mod grouping;
pub mod java;
pub(crate) mod migrate;
mod native;
mod record;
pub mod registry;
pub mod route;
pub mod shell;
pub mod tuple;
pub mod window;
mod yaml;
