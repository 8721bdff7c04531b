//! The `squall` command: the shipped topologies under one roof.
//!
//! Each file under `topologies/` is an example with a `main` of its own, and a module here.

use std::process::ExitCode;

use squall::cli::{self, Shipped};
use squall::sys::alloc::Counting;

#[cfg(feature = "mimalloc")]
use mimalloc::MiMalloc as Allocator;
#[cfg(not(feature = "mimalloc"))]
use std::alloc::System as Allocator;

/// The whole binary allocates through it, counted when a bench asks. It is set here, where there is one place for it: a
/// topology's file is both a module of this binary and a program, and a program has one allocator.
#[global_allocator]
static ALLOCATOR: Counting<Allocator> = Counting::new(Allocator);

#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../topologies/exclamation.rs"]
mod exclamation;
#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../topologies/external_service.rs"]
mod external_service;
#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../topologies/ledger.rs"]
mod ledger;
#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../topologies/rolling_top_words.rs"]
mod rolling_top_words;
#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../topologies/word_count.rs"]
mod word_count;

fn main() -> ExitCode {
    cli::run_one_of(
        "The topologies that come with squall, a low-latency per-event topology engine.",
        &[
            Shipped::new("word_count", word_count::build),
            Shipped::new("ledger", ledger::build),
            Shipped::new("exclamation", exclamation::build),
            Shipped::new("rolling_top_words", rolling_top_words::build),
            Shipped::new("external_service", external_service::build),
        ],
    )
}
