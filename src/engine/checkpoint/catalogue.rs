//! Who takes part in checkpoints, under which names and numbers; and what a stored checkpoint has for whom.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::state::delta::Space;
use crate::state::directory;
use crate::state::manifest::{Generation, OperatorEntry, StateEntry};
use crate::sys::sync::Arc;
use crate::task::lineage::Caution;
use crate::task::snapshot::{Catalogue, CatalogueEntry, Restored, read_given_up};
use crate::topology::plan::{Kind, Plan};
use crate::topology::{DEAD_LETTERS_ID, Topology};

/// Remedies for state that nobody owns.
const OLD_NAMES: &str = "give components and states their old names back";
const GIVE_FILE_AGAIN: &str =
    "the run before had a file for dead letters, so give the same one again (--dead-letters FILE)";

/// The components and their states.
#[derive(Debug)]
pub(crate) struct Roster {
    pub topology: String,
    /// All tasks of the topology.
    pub tasks: usize,
    components: Vec<(String, usize, Kind)>,
    pub catalogue: Arc<Catalogue>,
    /// The names of the components that the states belong to, also of those that are gone.
    owners: Vec<String>,
    /// Which of the recorded states a component of the topology has.
    owned: Vec<bool>,
    /// What components that are gone have kept: it stays for when they come back.
    kept: Vec<OperatorEntry>,
}

impl Roster {
    /// Numbers the states: those that the checkpoint knows keep their numbers.
    ///
    /// # Errors
    /// A bolt has two states of one name; the checkpoint has state that nobody owns, and that is not allowed.
    pub fn new(
        topology: &Topology,
        plan: &Plan,
        resumed: Option<&Generation>,
        allow_ownerless: bool,
    ) -> Result<Roster> {
        let components: Vec<_> = plan.components.iter().map(|c| (c.id.to_string(), c.tasks.len(), c.kind)).collect();
        let recorded = resumed.map(|generation| generation.states.as_slice()).unwrap_or_default();
        let mut states: Vec<CatalogueEntry> = recorded
            .iter()
            .map(|entry| CatalogueEntry {
                space: entry.space(),
                component: components.iter().position(|(name, ..)| *name == entry.component),
                state: entry.state.clone(),
                schema: entry.schema.clone(),
                recorded: Some(entry.schema.clone()),
            })
            .collect();
        let mut owners: Vec<String> = recorded.iter().map(|entry| entry.component.clone()).collect();
        let mut owned = vec![false; states.len()];
        for (component, (id, ..)) in components.iter().enumerate() {
            for (name, schema) in topology.task_kit(component).states() {
                match states.iter().position(|entry| entry.component == Some(component) && entry.state == name) {
                    Some(known) if known < owned.len() && !owned[known] => {
                        owned[known] = true;
                        states[known].schema = schema;
                    }
                    Some(_) => {
                        return Err(Error::usage(id.clone(), format!("two of its states are called {name}")));
                    }
                    None => {
                        let space = Space(states.iter().map(|entry| entry.space.0 + 1).max().unwrap_or(0));
                        owners.push(id.clone());
                        states.push(CatalogueEntry {
                            space,
                            component: Some(component),
                            state: name,
                            schema,
                            recorded: None,
                        });
                    }
                }
            }
        }
        let kept = ownerless_operators(&components, resumed);
        let ownerless: Vec<String> = recorded
            .iter()
            .zip(&owned)
            .filter(|(_, owned)| !**owned)
            .map(|(entry, _)| format!("{}.{}", entry.component, entry.state))
            .chain(kept.iter().map(|operator| format!("{} (positions or transactions)", operator.component)))
            .collect();
        if !ownerless.is_empty() && !allow_ownerless {
            let had_file = kept.iter().any(|operator| operator.component == DEAD_LETTERS_ID);
            let remedy = match (had_file, ownerless.len()) {
                (true, 1) => GIVE_FILE_AGAIN.to_owned(),
                (true, _) => format!("{OLD_NAMES}; {GIVE_FILE_AGAIN}"),
                (false, _) => OLD_NAMES.to_owned(),
            };
            return Err(Error::bad_state(format!(
                "the checkpoint holds state that no component of this topology owns: {}; {remedy}, or set \
                 allow_ownerless_state = true to leave that state where it is",
                ownerless.join(", ")
            )));
        }
        let tasks = components.iter().map(|(_, tasks, _)| tasks).sum();
        let catalogue = Arc::new(Catalogue { states });
        Ok(Roster { topology: plan.name.to_string(), tasks, components, catalogue, owners, owned, kept })
    }

    pub fn name(&self, component: usize) -> &str {
        &self.components[component].0
    }

    pub fn task_name(&self, component: usize, index: usize) -> String {
        format!("{}[{index}]", self.name(component))
    }

    /// By position of the component and of the task.
    pub fn all_tasks(&self) -> impl Iterator<Item = (usize, usize)> {
        let components = self.components.iter().enumerate();
        components.flat_map(|(component, (_, tasks, _))| (0..*tasks).map(move |index| (component, index)))
    }

    pub fn is_spout(&self, component: usize) -> bool {
        self.components[component].2 == Kind::Spout
    }

    /// As the manifest has them.
    pub fn state_entries(&self) -> Vec<StateEntry> {
        let entry = |(entry, owner): (&CatalogueEntry, &String)| StateEntry {
            space: entry.space.0,
            component: owner.clone(),
            state: entry.state.clone(),
            schema: entry.schema.clone(),
        };
        self.catalogue.states.iter().zip(&self.owners).map(entry).collect()
    }

    /// What components that are gone have kept, for the next manifest.
    pub fn kept_operators(&self) -> &[OperatorEntry] {
        &self.kept
    }

    /// Which state was found again, which is new, and which nobody owns; nothing at a beginning.
    pub fn notes(&self, resumed: Option<&Generation>) -> Vec<String> {
        let Some(generation) = resumed else { return Vec::new() };
        let recorded = generation.states.len();
        let (mut matched, mut new, mut ownerless) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (entry, owner)) in self.catalogue.states.iter().zip(&self.owners).enumerate() {
            let name = format!("{owner}.{}", entry.state);
            match (index < recorded, self.owned.get(index)) {
                (false, _) => new.push(name),
                (true, Some(true)) => matched.push(name),
                (true, _) => ownerless.push(name),
            }
        }
        for operator in generation.operators.iter().filter(|operator| operator.bytes() > 0) {
            let is_kept = self.kept.iter().any(|kept| kept.component == operator.component);
            let of = if is_kept { &mut ownerless } else { &mut matched };
            of.push(format!("{} (positions or transactions)", operator.component));
        }
        let lists =
            [("restored", matched), ("new, hence empty", new), ("left where it is, owned by nobody", ownerless)];
        let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        lists.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect()
    }

    /// A stored checkpoint, by the positions of this topology's components.
    ///
    /// # Errors
    /// The inputs that were given up cannot be read.
    pub fn restored(&self, restored: directory::Restored) -> Result<Restored> {
        let (mut own, mut finished_tasks, mut dead_lettered) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for operator in restored.generation.operators {
            if let Some(component) = self.components.iter().position(|(name, ..)| *name == operator.component) {
                own.insert(component, operator.tasks.into_iter().map(|blob| blob.0).collect());
                finished_tasks.insert(component, operator.finished);
                dead_lettered.insert(component, operator.dead_lettered);
            }
        }
        Ok(Restored {
            checkpoint: Some(restored.generation.checkpoint),
            finished: restored.generation.finished,
            now_ns: restored.generation.now_ns,
            own,
            finished_tasks,
            groups: restored.groups,
            caution: Caution::default(),
            given_up: read_given_up(&restored.generation.given_up.0)?,
            dead_lettered,
        })
    }
}

/// Components that have stored something of their own and are not in the topology any more.
fn ownerless_operators(components: &[(String, usize, Kind)], resumed: Option<&Generation>) -> Vec<OperatorEntry> {
    let operators = resumed.map(|generation| generation.operators.as_slice()).unwrap_or_default();
    let is_gone = |name: &str| !components.iter().any(|(component, ..)| component == name);
    let has_stored = |tasks: &[crate::state::manifest::Blob]| tasks.iter().any(|blob| !blob.0.is_empty());
    let gone = operators.iter().filter(|operator| is_gone(&operator.component) && has_stored(&operator.tasks));
    gone.cloned().collect()
}
