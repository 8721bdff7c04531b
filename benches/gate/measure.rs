//! Runs one case in a process of its own, under callgrind or plainly, and reads what it cost.

use std::path::Path;
use std::process::{Command, Stdio};

use squall::sys::alloc;
use squall::testing::TestDriver;

use crate::baseline::Cost;
use crate::cases::Case;

/// The argument that makes this program run one case once.
pub const ONE: &str = "--one";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    Measured,
    /// They could not be compared here.
    LeftOut,
}

/// The two sizes of a case.
const SIZES: [u64; 2] = [1, 2];

/// The child's part: runs a case once and prints its tuples and allocations.
pub fn run_one(name: &str, size: &str) -> Result<(), String> {
    let case = Case::named(name).ok_or_else(|| format!("no case {name}"))?;
    let size = size.parse().map_err(|_| format!("{size} is no size"))?;
    let (topology, tuples) = case.build(size);
    alloc::start();
    let mut driver = TestDriver::start(topology.build().map_err(text)?).map_err(text)?;
    driver.run_to_end().map_err(text)?;
    let counted = alloc::stop();
    println!("{tuples} {}", counted.allocations);
    Ok(())
}

/// What a case costs per tuple.
pub fn cost_of(case: Case, instructions: Instructions) -> Result<Cost, String> {
    let [small, large] = SIZES.map(|size| run(case, size, instructions));
    let (small, large) = (small?, large?);
    let tuples = (large.tuples - small.tuples) as f64;
    let per_tuple = |small: u64, large: u64| (large as f64 - small as f64) / tuples;
    let measured = small.instructions.zip(large.instructions);
    Ok(Cost {
        instructions: measured.map(|(small, large)| per_tuple(small, large)),
        allocations: per_tuple(small.allocations, large.allocations),
    })
}

/// One run of a case.
struct Run {
    tuples: u64,
    allocations: u64,
    instructions: Option<u64>,
}

fn run(case: Case, size: u64, instructions: Instructions) -> Result<Run, String> {
    let this = std::env::current_exe().map_err(text)?;
    let name = format!("{} at size {size}", case.name);
    let profile = this.with_file_name(format!("gate-{}-{size}.callgrind", case.name));
    let mut command = match instructions {
        Instructions::LeftOut => Command::new(&this),
        Instructions::Measured => under_callgrind(&this, &profile),
    };
    let output = command
        .args([ONE, case.name, &size.to_string()])
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("{name}: cannot start {}: {error}", command.get_program().display()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = printed.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let (true, [tuples, allocations]) = (output.status.success(), &numbers[..]) else {
        return Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    };
    let instructions = match instructions {
        Instructions::LeftOut => None,
        Instructions::Measured => Some(total_of(&profile)?),
    };
    Ok(Run { tuples: *tuples, allocations: *allocations, instructions })
}

/// The profiles stay beside the program, for `callgrind_annotate`.
fn under_callgrind(program: &Path, profile: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.display())).arg(program);
    command
}

/// The instructions of a whole run, as the profile sums them up.
fn total_of(profile: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(profile).map_err(|error| format!("{}: {error}", profile.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| format!("{}: no line `totals: <instructions>`", profile.display()))
}

pub fn find_valgrind() -> Result<(), String> {
    let found = Command::new("valgrind").arg("--version").output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("valgrind was not found: install it (Debian: apt-get install valgrind)".to_owned()),
    }
}

/// Version and target of the compiler, as in `rustc 1.95.0 x86_64-unknown-linux-gnu`.
pub fn toolchain() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output =
        Command::new(&rustc).arg("-vV").output().map_err(|error| format!("{} -vV: {error}", rustc.display()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (field("release:"), field("host:")) {
        (Some(release), Some(host)) => Ok(format!("rustc {release} {host}")),
        _ => Err(format!("{} -vV says neither release nor host", rustc.display())),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
