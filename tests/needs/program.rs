//! A program of its own for a test: the test binary starts itself again, and runs one test only, which is that program.

use std::process::{Command, Stdio};

use squall::Topology;

const ARGUMENTS: &str = "SQUALL_TEST_ARGUMENTS";

/// The test `child_program` of this binary, started with these arguments.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_program", "--exact", "--nocapture"]).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.env(ARGUMENTS, args.join("\n")).stdin(Stdio::null());
    command
}

/// What `child_program` does: nothing unless it is started by [`program`], else what the command line says.
pub fn be_program<A: clap::Args + 'static>(name: &str, build: fn(&A) -> squall::Result<Topology>) {
    let Ok(args) = std::env::var(ARGUMENTS) else { return };
    let args = std::iter::once(name).chain(args.lines()).map(Into::into);
    std::process::exit(squall::cli::run_from(args, build).into());
}
