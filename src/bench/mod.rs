//! The latency lab: measures this machine's own limits and squall against them, in one run.
//!
//! A bench turns [`Options`] into [`Row`]s through a [`Session`], which shows progress, keeps every row and writes the
//! files of a report. Closed loop (throughput) and open loop (latency) never share a row or a table. Every ratio is
//! between rows of one run, whose measurements were taken in turns so that both meet the same noise.

mod against_null;
mod catalogue;
mod checkpoint;
mod compare;
mod figure;
mod floor;
mod hdr;
mod hop;
mod latency;
mod machine;
mod multilang;
mod null;
mod open_loop;
mod page;
mod pingpong;
mod pinned;
mod record;
mod report;
mod row;
mod saturate;
mod scale;
mod schedule;
mod session;
mod shapes;
mod table;
mod target;
mod text;
mod throughput;
mod timing;
mod window;

use crate::error::Result;

pub(crate) use catalogue::{Bench, Flag, duration_text};
pub(crate) use compare::compare;
pub(crate) use report::Outputs;
pub(crate) use session::{Interruption, Options, Session, Subject};

/// Runs a bench: announces it, measures, writes the report. `watch` gets what ends it early; what it returns is kept
/// until the end.
///
/// # Errors
/// It could not be measured, or the report could not be written; what was measured before is written.
pub(crate) fn run<W>(
    bench: &Bench,
    options: Options,
    outputs: Outputs,
    subject: Option<&Subject<'_>>,
    watch: impl FnOnce(Interruption) -> Result<W>,
) -> Result<()> {
    let options = bench.with_defaults(Options { of_topology: subject.is_some(), ..options });
    let expected = bench.expected(&options);
    let mut session = Session::begin(bench.name, options, expected).writing(outputs);
    let _watching = watch(session.interruption())?;
    let outcome = bench.run(&mut session, subject);
    outcome.and(session.finish())
}
