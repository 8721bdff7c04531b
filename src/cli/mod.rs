//! The command that every program built on squall gets by one call: `run`, `explain`, `config`, `bench`, `state` and
//! a `--help` that teaches.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use squall::{Failure, Next, Nothing, Outlet, Spout, SpoutOutlet, Topology, TopologyBuilder};
//!
//! /// Counts numbers
//! #[derive(clap::Args)]
//! struct Args {
//!     /// How many
//!     #[arg(long, default_value_t = 1_000)]
//!     count: u64,
//! }
//!
//! fn build(args: &Args) -> squall::Result<Topology> {
//!     let mut t = TopologyBuilder::new("numbers");
//!     let count = args.count;
//!     let numbers = t.spout("numbers", move || Numbers(0..count));
//!     t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
//!     t.build()
//! }
//!
//! struct Numbers(std::ops::Range<u64>);
//!
//! impl Spout for Numbers {
//!     type Out = u64;
//!     type Id = u64;
//!     fn next(&mut self, out: &mut SpoutOutlet<u64, u64>) -> Result<Next, Failure> {
//!         let Some(number) = self.0.next() else { return Ok(Next::Finished) };
//!         out.emit_tracked(number, number);
//!         Ok(Next::Emitted)
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     squall::cli::run(build)
//! }
//! ```
//!
//! The program then takes `numbers --count 10`, which is short for `numbers run --count 10`; also
//! `numbers explain --count 10 --format dot` and `numbers config --keys`; and with each of them its own options and
//! those of the engine. The derive needs `clap` (version 4, feature `derive`) among the program's own dependencies.
//!
//! # Exit codes
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done: all input handled, or drained after a signal |
//! | 1 | failed while it ran, in a state that is named; or what was asked for could not be written |
//! | 2 | bad usage, bad settings, a bad topology or stored state that cannot be used: nothing was started |
//! | 3 | done, but there are dead letters that nobody took: no stream, file or other place keeps them |
//! | 4 | inputs are unaccounted for: what came in and what became of it do not add up, which is a bug of squall |
//! | 130, 143 | ended at once by a second signal: SIGINT, SIGTERM |
//!
//! `--help` has the same list.
//!
//! The first SIGINT or SIGTERM drains: the spouts take in nothing new, what is under way is finished. Standard output
//! carries what the topology prints and the table at the end; all else goes to standard error, every problem as a line
//! `error: PLACE: MESSAGE`.
//!
//! A run outlives its terminal. What it says on standard error is written by a thread of its own out of a bounded
//! queue: when nobody reads it, or the disk behind it is full, messages are left out and counted (in the log once it is
//! read again, and as `messages_lost` in the report), and nothing else happens. At the end a run waits for readers, at
//! most a second each before it makes the report, prints the table and exits, and for at most a minute for the disk of
//! `--report`, whose failure is exit code 1. A standard output that is closed or full costs the table at the end, and
//! is a warning at most: the exit code tells of the data.
//!
//! # What it does to the process
//!
//! Being the command, it may do what the library never does: install a log subscriber (unless there is one), handlers
//! for the two signals, and a panic hook, in place of any other, that sends panics to
//! the log. It sets no allocator: a program
//! that wants another one says so in its `main.rs`.

mod bench;
mod command;
mod config;
mod dead_letters;
mod explain;
mod flux;
mod options;
mod output;
mod report_file;
mod run;
mod shipped;
mod signals;
mod state;
mod stop;
mod storm;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Result;
use crate::topology::Topology;

pub use shipped::Shipped;

/// For a program without options of its own.
///
/// ```no_run
/// # fn build() -> squall::Result<squall::Topology> { squall::TopologyBuilder::new("t").build() }
/// fn main() -> std::process::ExitCode {
///     squall::cli::run(|_: &squall::cli::NoArgs| build())
/// }
/// ```
#[derive(clap::Args, Clone, Debug, Default)]
pub struct NoArgs {}

/// Runs the command line of this process for one topology and returns the exit code. Call it once, from `main`.
///
/// `build` makes the topology out of the program's own options, a [`clap::Args`]; it is called once per run, and may be
/// called again for another, so it must not use anything up. The doc comment of `A` becomes the description in
/// `--help`, and its `#[command(after_help = "...")]`, if there is one, precedes the examples.
///
/// An error of `build` is bad usage: exit code 2. `A` cannot have options that the engine has too (such as
/// `--executors`); that is reported by name.
pub fn run<A: clap::Args>(build: impl Fn(&A) -> Result<Topology> + 'static) -> ExitCode {
    ExitCode::from(run_from(std::env::args_os(), build))
}

/// Like [`run`], with a command line from elsewhere (its first item is the program's name), and the exit code as a
/// number.
///
/// A second signal still ends the process.
pub fn run_from<A: clap::Args>(
    command_line: impl IntoIterator<Item = OsString>,
    build: impl Fn(&A) -> Result<Topology> + 'static,
) -> u8 {
    let command_line: Vec<OsString> = command_line.into_iter().collect();
    let code = command::single(&Shipped::new("run", build), &command_line);
    output::flush();
    code
}

/// Runs the command line of this process for a program that has several topologies: `PROGRAM run NAME`,
/// `PROGRAM explain NAME`, `PROGRAM config NAME`, `PROGRAM topologies`. Returns the exit code. Call it once, from
/// `main`.
///
/// # Examples
///
/// ```no_run
/// # fn squares(_: &squall::cli::NoArgs) -> squall::Result<squall::Topology> { unreachable!() }
/// # fn cubes(_: &squall::cli::NoArgs) -> squall::Result<squall::Topology> { unreachable!() }
/// use squall::cli::Shipped;
///
/// fn main() -> std::process::ExitCode {
///     squall::cli::run_one_of("Powers of numbers.", &[Shipped::new("squares", squares), Shipped::new("cubes", cubes)])
/// }
/// ```
pub fn run_one_of(about: &'static str, shipped: &[Shipped]) -> ExitCode {
    let command_line: Vec<OsString> = std::env::args_os().collect();
    let code = command::several(about, shipped, &command_line);
    output::flush();
    ExitCode::from(code)
}
