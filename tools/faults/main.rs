//! Puts topologies through faults until there have been so many, and compares what they come to with an oracle.
//!
//! ```sh
//! cargo build --release && cargo run --release --example faults -- --kills 60 --store log
//! cargo run --release --example faults -- --topology generated --runs 2000 --store log
//! ```

mod below;
mod campaign;
mod fault;
mod generated;
mod oracle;
mod process;
mod subject;
mod way;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use campaign::{Campaign, Outcome};
use clap::Parser as _;
use generated::runs::{Runs, Table};
use subject::Subject;

/// Under the names that the simulation's files have for them, which are used here too.
use squall::{connect, error, state, storm, sys, task, topology};

/// Injects faults into running topologies and compares their output with an oracle
#[derive(clap::Parser, Debug)]
struct Args {
    /// The squall binary
    #[arg(long, value_name = "FILE", default_value = "target/release/squall")]
    squall: PathBuf,
    /// How many faults, at least
    #[arg(long, value_name = "N", default_value_t = 60)]
    kills: u64,
    /// The store: log, sled or fjall
    #[arg(long, value_name = "STORE", default_value = "log")]
    store: String,
    /// Which topologies: ledger, word_count, both in turns, or generated, drawn from a seed each
    #[arg(long, value_name = "NAME", default_value = "both")]
    topology: String,
    /// How many generated topologies
    #[arg(long, value_name = "N", default_value_t = 60)]
    runs: u64,
    /// Seed of inputs and faults, or of the first generated topology; each further one has the next
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Transfers of each ledger
    #[arg(long, value_name = "N", default_value_t = 40_000)]
    transfers: u64,
    /// Accounts of each ledger
    #[arg(long, value_name = "N", default_value_t = 500)]
    accounts: u64,
    /// Lines of each text whose words are counted
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    lines: u64,
    /// How often each text is read
    #[arg(long, value_name = "N", default_value_t = 60)]
    repeat: u64,
    /// No fault but `kill -9` at random moments
    #[arg(long)]
    only_kills: bool,
    /// How long after its first checkpoint a process is killed at random, at most
    #[arg(long, value_name = "MS", default_value_t = 200)]
    kill_within_ms: u64,
    /// Where the state goes; kept where something was wrong
    #[arg(long, value_name = "DIR", default_value = "target/faults")]
    dir: PathBuf,
    /// Write the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    generated::run_if_asked();
    let args = Args::parse();
    let outcome = if args.topology == "generated" { run_generated(&args) } else { run(&args) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

/// An empty folder of this campaign's own.
fn folder(args: &Args) -> Result<PathBuf, String> {
    let dir = args.dir.join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))
}

fn run_generated(args: &Args) -> Result<bool, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program's file: {error}"))?;
    let runs = Runs {
        program: (program, Vec::new()),
        dir: folder(args)?,
        store: args.store.clone(),
        seed: args.seed,
        runs: args.runs,
        environment: Vec::new(),
    };
    let table = runs.run()?;
    print_generated(args, &table);
    if let Some(path) = &args.json {
        write(path, &generated_to_json(args, &table))?;
    }
    Ok(table.holds())
}

fn write(path: &std::path::Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(args: &Args) -> Result<bool, String> {
    let ledger = Subject::Ledger { accounts: args.accounts, transfers: args.transfers };
    let word_count = Subject::WordCount { lines: args.lines, repeat: args.repeat };
    let subjects = match args.topology.as_str() {
        "ledger" => vec![ledger],
        "word_count" => vec![word_count],
        "both" => vec![ledger, word_count],
        other => {
            return Err(format!("--topology: there is no {other}; choose ledger, word_count, both or generated"));
        }
    };
    let campaign = Campaign {
        squall: args.squall.clone(),
        dir: folder(args)?,
        store: args.store.clone(),
        seed: args.seed,
        kills: args.kills,
        subjects,
        only_kills: args.only_kills,
        kill_within: Duration::from_millis(args.kill_within_ms),
    };
    let outcome = campaign.run()?;
    print(args, &outcome);
    if let Some(path) = &args.json {
        write(path, &to_json(args, &outcome))?;
    }
    Ok(outcome.holds())
}

/// p50, p99 and the longest, in milliseconds.
fn recovery_ms(outcome: &Outcome) -> [f64; 3] {
    let mut sorted = outcome.recoveries.clone();
    sorted.sort_unstable();
    let at = |share: f64| sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)));
    [0.5, 0.99, 1.0].map(|share| at(share).map_or(0.0, Duration::as_secs_f64) * 1e3)
}

/// What the processes met.
fn print_met(args: &Args, outcome: &Outcome) {
    println!("store {}, seed {}", args.store, args.seed);
    for (fault, count) in &outcome.faults {
        println!("  {fault:<32} {count:>8}");
    }
    println!("  {:<32} {:>8}", "processes started", outcome.runs);
    for (fault, count) in &outcome.refused {
        println!("  {:<32} {:>8}", format!("refused after: {fault}"), count);
    }
    println!("  {:<32} {:>8}", "stopped by an injected error", outcome.stopped);
}

fn print_generated(args: &Args, table: &Table) {
    print_met(args, &table.met);
    for (guarantee, count) in &table.guarantees {
        println!("  {guarantee:<38} {count:>8}");
    }
    println!("in so many topologies");
    for (hit, count) in &table.hits {
        println!("  {hit:<38} {count:>8}");
    }
    let missing = table.missing();
    if !missing.is_empty() {
        println!("never: {}", missing.join(", "));
    }
    let sums = [
        ("topologies", table.runs),
        ("told to stop, and stopped", table.told_to_stop),
        ("stopped: given up after the source's end", table.too_late),
        ("lines in sinks", table.lines),
        ("lost", table.lost),
        ("duplicated", table.duplicated),
        ("out of order", table.out_of_order),
        ("hung", table.hung),
        ("unaccounted", table.unaccounted),
        ("topologies with anything wrong", table.wrong.len() as u64),
    ];
    sums.iter().for_each(|(what, count)| println!("  {what:<38} {count:>8}"));
    let [p50, p99, max] = recovery_ms(&table.met);
    println!("  {:<38} {p50:.0} / {p99:.0} / {max:.0} ms", "recovery p50 / p99 / max");
}

fn generated_to_json(args: &Args, table: &Table) -> String {
    let json = serde_json::json!({
        "store": args.store, "seed": args.seed, "topologies": table.runs, "guarantees": table.guarantees,
        "faults": table.met.faults, "processes": table.met.runs, "refused": table.met.refused,
        "told_to_stop": table.told_to_stop, "too_late": table.too_late,
        "lines": table.lines, "lost": table.lost, "duplicated": table.duplicated,
        "out_of_order": table.out_of_order, "hung": table.hung, "unaccounted": table.unaccounted, "hits": table.hits,
        "never": table.missing(), "wrong": table.wrong, "holds": table.holds(),
    });
    format!("{json:#}\n")
}

fn print(args: &Args, outcome: &Outcome) {
    print_met(args, outcome);
    let [p50, p99, max] = recovery_ms(outcome);
    for (name, count) in &outcome.ended {
        println!("  {:<32} {:>8}", format!("{name}s brought to their end"), count);
    }
    println!("  {:<32} {:>8}", "effects", outcome.events);
    println!("  {:<32} {:>8}", "lost", outcome.lost);
    println!("  {:<32} {:>8}", "duplicated", outcome.duplicated);
    println!("  {:<32} {:>8}", "wrong balances or bytes", outcome.wrong);
    println!("  {:<32} {:>8}", "ledgers with wrong books or order", outcome.books_wrong);
    println!("  {:<32} {p50:.0} / {p99:.0} / {max:.0} ms", "recovery p50 / p99 / max");
}

fn to_json(args: &Args, outcome: &Outcome) -> String {
    let [p50, p99, max] = recovery_ms(outcome);
    let json = serde_json::json!({
        "store": args.store, "seed": args.seed, "faults": outcome.faults, "processes": outcome.runs,
        "refused": outcome.refused, "stopped": outcome.stopped, "ended": outcome.ended,
        "effects": outcome.events, "lost": outcome.lost,
        "duplicated": outcome.duplicated, "wrong": outcome.wrong, "books_wrong": outcome.books_wrong,
        "recoveries": outcome.recoveries.len(), "recovery_ms": { "p50": p50, "p99": p99, "max": max },
        "holds": outcome.holds(),
    });
    format!("{json:#}\n")
}
