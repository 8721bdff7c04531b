//! Tests that need more than Rust: what is missing skips them, with the reason; with `CI=true` it fails them.

use std::io::Write as _;
use std::process::Command;

/// Says why a test is skipped, past what the test harness captures.
///
/// # Panics
/// With `CI=true`.
pub fn missing(what: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}, which CI has to have");
    writeln!(std::io::stderr(), "skipped: {what}").expect("standard error takes it");
}

/// True if all these programs can be run.
pub fn has(programs: &[&str]) -> bool {
    programs.iter().all(|program| {
        let runs = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
        if !runs {
            missing(&format!("there is no `{program}`"));
        }
        runs
    })
}
