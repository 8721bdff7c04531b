//! A topology of a program by name, the type of its options erased.

use clap::{ArgMatches, Args, Command};

use crate::error::{Error, Result};
use crate::topology::Topology;

/// A topology that a program can run by name, with options of its own.
pub struct Shipped {
    name: &'static str,
    add_options: fn(Command) -> Command,
    build: Build,
}

type Build = Box<dyn Fn(&ArgMatches) -> Result<Topology>>;

impl Shipped {
    /// A topology of this name. `build` is as for [`run`](crate::cli::run); the doc comment of `A` describes the
    /// topology.
    pub fn new<A: Args>(name: &'static str, build: impl Fn(&A) -> Result<Topology> + 'static) -> Self {
        let build = move |matches: &ArgMatches| {
            // The command line has been checked against these very options: only a hand-written `Args` still refuses.
            let args = A::from_arg_matches(matches).map_err(|error| Error::usage("options", error.to_string()))?;
            build(&args)
        };
        Shipped { name, add_options: A::augment_args, build: Box::new(build) }
    }

    /// The name it is run by.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is, in a line.
    pub fn about(&self) -> String {
        self.options().get_about().map(ToString::to_string).unwrap_or_else(|| "A topology.".to_owned())
    }

    /// A command with nothing but its own options, description and closing help.
    pub(super) fn options(&self) -> Command {
        (self.add_options)(Command::new(self.name))
    }

    pub(super) fn add_options(&self, command: Command) -> Command {
        (self.add_options)(command)
    }

    /// Builds the topology from a command line that matched.
    pub(super) fn build(&self, matches: &ArgMatches) -> Result<Topology> {
        (self.build)(matches)
    }
}
