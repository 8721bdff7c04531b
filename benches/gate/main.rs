//! The gate: what the engine takes per tuple, in instructions and allocations, may not grow unnoticed.
//!
//! `cargo bench --bench gate` compares with `benches/gate/baseline.toml` and fails beyond the margin stated there;
//! `cargo bench --bench gate -- --update` writes it anew. Why instructions and not seconds, why this way and what the
//! figures leave out: `benches/NOTES.md`.
//!
//! Every case runs in a process of its own, under callgrind, in the test driver: one thread, virtual time, the
//! executors of a real run. It runs at two sizes, and the difference is divided by the difference in tuples, so that
//! starting, ending, and filling queues and tables the first time cancel out.

use std::alloc::System;
use std::path::Path;
use std::process::ExitCode;

use squall::observe::{Align, Table};
use squall::sys::alloc::Counting;

mod baseline;
mod cases;
mod measure;
#[path = "../shapes/mod.rs"]
#[allow(dead_code, reason = "each bench uses some of the shapes")]
mod shapes;

use baseline::{Baseline, Verdict};
use cases::Case;
use measure::Instructions;

/// The system's allocator: its own instructions are few where nothing is allocated, and it needs no C compiler.
#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gate/baseline.toml");

const USAGE: &str = "usage: cargo bench --bench gate [-- --update]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => check(),
        ["--update"] => update(),
        // What the gate starts itself, under callgrind or not.
        [measure::ONE, name, size] => measure::run_one(name, size),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("gate: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Measures all cases and compares.
fn check() -> Result<(), String> {
    let baseline = Baseline::read(Path::new(BASELINE))?;
    let instructions = instructions_or_why_not(&baseline)?;
    let mut table = Table::new(&[
        ("per tuple", Align::Left),
        ("instructions", Align::Right),
        ("baseline", Align::Right),
        ("change", Align::Right),
        ("allocations", Align::Right),
        ("baseline", Align::Right),
    ]);
    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for case in Case::ALL {
        let cost = measure::cost_of(case, instructions)?;
        let (verdict, expected) = baseline.judge(case.name, &cost)?;
        let change = cost.instructions.map(|now| format!("{:+.1} %", (now / expected.instructions - 1.0) * 100.0));
        table.row([
            case.name.to_owned(),
            cost.instructions.map_or("-".to_owned(), |now| format!("{now:.2}")),
            format!("{:.2}", expected.instructions),
            change.unwrap_or("-".to_owned()),
            format!("{:.4}", cost.allocations),
            format!("{:.4}", expected.allocations),
        ]);
        match verdict {
            Verdict::Within => {}
            Verdict::Better => better.push(case.name),
            Verdict::Worse => worse.push(case.name),
        }
    }
    print!("{table}");
    if !better.is_empty() {
        println!("better than the baseline, which should say so (tools/check --update-gate): {}", better.join(", "));
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!(
        "dearer than the baseline by more than {} %, or allocating more: {}\n\
         find out why (valgrind --tool=callgrind, benches/NOTES.md); if it is worth it: tools/check --update-gate",
        baseline.margin_percent,
        worse.join(", ")
    ))
}

/// Whether instructions are measured; if they cannot be compared here, says so. With `CI=true` a missing tool is an
/// error, a toolchain that is not the recorded one is not.
fn instructions_or_why_not(baseline: &Baseline) -> Result<Instructions, String> {
    let toolchain = measure::toolchain()?;
    let why_not = if toolchain != baseline.toolchain {
        format!("the baseline is for {}, this is {toolchain}", baseline.toolchain)
    } else if let Err(message) = measure::find_valgrind() {
        if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
            return Err(message);
        }
        message
    } else {
        return Ok(Instructions::Measured);
    };
    println!("note: instructions are not compared, only allocations: {why_not}");
    Ok(Instructions::LeftOut)
}

/// Measures all cases and makes them the baseline.
fn update() -> Result<(), String> {
    measure::find_valgrind()?;
    let mut baseline = Baseline::renew(Path::new(BASELINE), measure::toolchain()?)?;
    for case in Case::ALL {
        let cost = measure::cost_of(case, Instructions::Measured)?;
        println!("{}: {cost}", case.name);
        baseline.set(case.name, &cost);
    }
    baseline.write(Path::new(BASELINE))
}
