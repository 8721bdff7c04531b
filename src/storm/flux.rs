//! Flux: topologies as YAML files, run as they are.
//!
//! What a file says is resolved in three steps: `load` reads it with all its includes, `resolve` finds
//! out what every class name is (a native component, a multilang process, or something that only a JVM can run), and
//! `build` declares it all to a [`TopologyBuilder`](crate::TopologyBuilder). Everything that is wrong is reported at
//! once, with file, line and column.

mod build;
mod context;
mod fields;
mod known;
mod load;
mod model;
mod objects;
mod read;
mod resolve;
mod shell;
mod system;
#[cfg(test)]
mod tests;
mod wiring;

use std::path::{Path, PathBuf};

use hashbrown::{HashMap, HashSet};

use crate::error::{Error, Problem, Result};
use crate::storm::record::Recorder;
use crate::storm::registry::{Registry, registered};
use crate::topology::Topology;

pub(crate) use load::{Loaded, Where, read_file};
pub(crate) use model::{Definition, GroupingDef};
pub(crate) use resolve::{Component, Resolved, What};

/// How a file is read.
#[derive(Clone, Debug, Default)]
pub struct FluxOptions {
    /// A properties file from which `${name}` takes its value.
    pub filter: Option<PathBuf>,
    /// Whether `${ENV-NAME}` takes its value from the environment.
    pub env_filter: bool,
    /// The folder in which multilang components are started; `resources` beside the file unless given.
    pub resources: Option<PathBuf>,
    /// A file in which a run records, as JSON lines, every tuple that a bolt takes and every ack and fail of a spout.
    pub record: Option<PathBuf>,
}

/// The topology of a Flux file.
///
/// ```no_run
/// use squall::storm::flux::{FluxOptions, topology};
///
/// topology("word_count.yaml".as_ref(), &FluxOptions::default())?.run()?;
/// # Ok::<(), squall::Error>(())
/// ```
///
/// # Errors
/// Everything that is wrong with it, and everything that needs a JVM.
pub fn topology(path: &Path, options: &FluxOptions) -> Result<Topology> {
    let flux = Flux::load(path, options);
    for warning in flux.warnings() {
        tracing::warn!("{warning}");
    }
    flux.recorded_topology(options.record.as_deref())
}

/// A file, read and resolved.
pub(crate) struct Flux {
    definition: Definition,
    loaded: Loaded,
    resolved: Resolved,
    is_read: bool,
}

impl Flux {
    pub fn load(path: &Path, options: &FluxOptions) -> Self {
        Self::load_with(path, options, &registered())
    }

    fn load_with(path: &Path, options: &FluxOptions, registry: &Registry) -> Self {
        let beside = || path.parent().unwrap_or(Path::new("")).join("resources");
        let resources = options.resources.clone().unwrap_or_else(beside);
        let wheres = Where {
            filter: options.filter.clone(),
            env_filter: options.env_filter,
            resources: Some(resources.clone()),
        };
        let mut loaded = load::load(path, &wheres);
        if options.resources.is_some() && !resources.is_dir() {
            let message = "there is no such folder of resources";
            loaded.problems.push(Problem::new(resources.display().to_string(), message));
        }
        Self::of(loaded, path, &resources, registry)
    }

    /// A text as if it were a file, without includes.
    #[cfg(any(test, squall_fuzz))]
    pub fn of_text(text: &crate::storm::yaml::Text, path: &Path) -> Self {
        Self::of(load::load_text(text), path, Path::new("resources"), &registered())
    }

    fn of(mut loaded: Loaded, path: &Path, resources: &Path, registry: &Registry) -> Self {
        let file = path.display().to_string();
        let is_read = loaded.definition.is_some();
        let (definition, resolved) = match loaded.definition.take() {
            Some(definition) => {
                let resolved = resolve::resolve(&definition, &file, resources, registry);
                (definition, resolved)
            }
            // Nothing can be said about what could not be read.
            None => Default::default(),
        };
        let mut flux = Flux { definition, loaded, resolved, is_read };
        flux.tidy();
        flux
    }

    /// Tells everything once, and of what has come from elsewhere from where.
    fn tidy(&mut self) {
        let Flux { loaded, resolved, .. } = self;
        let sources: HashMap<String, &str> =
            loaded.replacements.iter().map(|one| (one.place.to_string(), &*one.source)).collect();
        let mut told = HashSet::new();
        let lists = [
            &mut loaded.problems,
            &mut loaded.warnings,
            &mut resolved.problems,
            &mut resolved.warnings,
            &mut resolved.needs_jvm,
        ];
        for list in lists {
            list.retain(|problem| told.insert((problem.place.clone(), problem.message.clone())));
            for problem in list {
                if let Some(source) = sources.get(&problem.place).filter(|source| !problem.message.contains(**source)) {
                    problem.message.push_str(&format!(" ({source})"));
                }
            }
        }
    }

    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// Odd, and no obstacle.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.loaded.warnings.iter().chain(&self.resolved.warnings)
    }

    /// Everything that keeps it from running: what is wrong first, then what needs a JVM.
    pub fn problems(&self) -> Vec<Problem> {
        let wrong = self.loaded.problems.iter().chain(&self.resolved.problems);
        wrong.chain(&self.resolved.needs_jvm).cloned().collect()
    }

    /// What is wrong with the file itself.
    pub fn mistakes(&self) -> Vec<Problem> {
        self.loaded.problems.iter().chain(&self.resolved.problems).cloned().collect()
    }

    /// Whether the file could be read at all.
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// The topology, after everything has been checked that is checked before a run starts.
    ///
    /// # Errors
    /// Everything that is wrong, and everything that needs a JVM: the one verdict on a file.
    pub fn topology(self) -> Result<Topology> {
        let topology = self.recorded_topology(None)?;
        topology.resolve()?;
        Ok(topology)
    }

    /// With a record of what it does in this file.
    fn recorded_topology(self, record: Option<&Path>) -> Result<Topology> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        build::build(self.definition, self.resolved, record.map(Recorder::new))
    }
}
