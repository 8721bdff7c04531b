//! What a user writes: components, streams and groupings, settings. Ends in a [`Topology`]: a plan and its typed kits.
//!
//! This room names no thread, clock or file.

pub mod builder;
pub mod component;
mod draft;
pub mod plan;
mod progress;
pub mod settings;
pub mod stream;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::task::TaskId;
use crate::task::bolt::BoltKit;
use crate::task::component::Bolt;
use crate::task::context::TaskTable;
use crate::task::edge::EdgeKit;
use crate::task::metrics::{FaultCounters, Injected};
use crate::task::pace::Pace;
use crate::task::shell::TaskKit;
use crate::task::style::Automatic;
use crate::task::user_value::UserValue;
use draft::{DeadLetterPort, Draft};
use plan::{ComponentPlan, EdgePlan, Grouping, Kind, Plan, PortPlan};
use settings::{ComponentSettings, Layers, Placement, Resolved, Settings};

pub use progress::Progress;

/// A checked topology, ready to be explained or started. `Send`; holds factories, no instances.
pub struct Topology {
    name: String,
    components: Vec<Component>,
    edges: Vec<Edge>,
    layers: Layers,
    faults: Arc<FaultCounters>,
    progress: Option<Progress>,
    pace: Option<Pace>,
    has_instruments: bool,
    reserved_tasks: Vec<(String, usize)>,
    /// Streams of what sources give up that nobody subscribes to.
    untaken: Vec<DeadLetterPort>,
    /// Components and their ports of dead letters.
    letter_ports: Vec<(usize, usize)>,
}

/// The id of the component that takes dead letters which no other takes.
pub const DEAD_LETTERS_ID: &str = "__dead_letters";

struct Component {
    id: Arc<str>,
    kind: Kind,
    place: String,
    ports: Vec<PortPlan>,
    depth: usize,
    replay_stable: bool,
    kit: Arc<dyn TaskKit>,
}

struct Edge {
    from: usize,
    port: usize,
    to: usize,
    input: usize,
    grouping: Grouping,
    feedback: bool,
    kit: Arc<dyn EdgeKit>,
}

impl Topology {
    fn from_draft(draft: Draft) -> Result<Self> {
        let problems = validate::problems(&draft);
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        let depths = validate::depths(&draft);
        let mut layers = draft.layers;
        layers.components(draft.components.iter().map(|component| component.id.clone()));
        let components = draft.components.into_iter().zip(depths).map(|(component, depth)| Component {
            id: component.id.into(),
            kind: component.kind,
            place: component.place,
            ports: component.ports.into_iter().map(|(stream, carries)| PortPlan { stream, carries }).collect(),
            depth,
            replay_stable: component.replay_stable,
            kit: (component.kit.expect("a component is built once"))(),
        });
        let is_taken = |letters: &DeadLetterPort| {
            draft.edges.iter().any(|edge| edge.from == letters.component && edge.port == letters.port)
        };
        let letter_ports = draft.dead_letters.iter().map(|letters| (letters.component, letters.port)).collect();
        let untaken = draft.dead_letters.into_iter().filter(|letters| !is_taken(letters)).collect();
        let edges = draft.edges.into_iter().map(|edge| Edge {
            from: edge.from,
            port: edge.port,
            to: edge.to,
            input: edge.input,
            grouping: edge.grouping,
            feedback: edge.feedback,
            kit: edge.kit,
        });
        Ok(Topology {
            name: draft.name,
            components: components.collect(),
            edges: edges.collect(),
            layers,
            faults: draft.faults,
            progress: draft.progress,
            pace: None,
            has_instruments: true,
            reserved_tasks: draft.reserved_tasks,
            letter_ports,
            untaken,
        })
    }

    /// The topology's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far the input has been read, if the topology [says so](crate::TopologyBuilder::progress).
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// Changes the layers of settings, for instance adds a file or an option.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Layers)) -> Self {
        change(&mut self.layers);
        self
    }

    /// Adds a component that takes every dead letter which no other component subscribes to, as lines of JSON:
    /// `source`, `value`, `position`, `error`, `origin`, `kind`, `attempts`, `first_failed`, `last_failed`. Nothing is
    /// added where all are taken. Without such a component, exactly-once stops at the first of them in the state
    /// `dead_letter`, and otherwise they are counted as `untaken`.
    ///
    /// ```
    /// use squall::connect::{AppendLines, Generator};
    /// use squall::{Failure, Nothing, Outlet, TopologyBuilder};
    ///
    /// # let place = tempfile::tempdir()?;
    /// # let path = place.path().join("dead.jsonl");
    /// let mut t = TopologyBuilder::new("strict");
    /// let numbers = t.source("numbers", || Generator::new(3, |n| n));
    /// let odd = |n: u64, _: &mut Outlet<Nothing>| if n == 1 { Err(Failure::reject("odd")) } else { Ok(()) };
    /// t.bolt("even", odd).shuffle(&numbers);
    /// let sink = AppendLines::new(path.clone());
    /// t.build()?.with_dead_letters(move || sink.clone()).run()?;
    /// let line: serde_json::Value = serde_json::from_str(std::fs::read_to_string(path)?.trim())?;
    /// assert_eq!((&line["value"], &line["error"]), (&1.into(), &"odd".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_dead_letters<B: Bolt<In = String>>(mut self, sink: impl Fn() -> B + Send + Sync + 'static) -> Self {
        if self.untaken.is_empty() {
            return self;
        }
        let to = self.components.len();
        let depth = self.components.iter().map(|component| component.depth + 1).max().unwrap_or(0);
        self.components.push(Component {
            id: DEAD_LETTERS_ID.into(),
            kind: Kind::Bolt,
            place: DEAD_LETTERS_ID.to_owned(),
            ports: Vec::new(),
            depth,
            replay_stable: true,
            kit: Arc::new(BoltKit { factory: Arc::new(move || Automatic(sink())) }),
        });
        let edges = self.untaken.drain(..).enumerate().map(|(input, letters)| Edge {
            from: letters.component,
            port: letters.port,
            to,
            input,
            grouping: Grouping::Global,
            feedback: false,
            kit: letters.as_lines,
        });
        self.edges.extend(edges);
        self
    }

    /// Makes the run a measured one: spouts emit at a pace and end by themselves, and [`Running::take_measured`] tells
    /// latencies from an event's intended time to the sinks. Nothing has to be changed in the topology.
    ///
    /// A spout's `next` is called only when an event is due, and what it emits in that call is the event. Intended
    /// times go on whatever happens: an event that has to wait, because `max_spout_pending` is reached, a lane is full
    /// or the spout has nothing, counts from when it was due.
    ///
    /// [`Running::take_measured`]: crate::Running::take_measured
    #[must_use]
    pub fn paced(mut self, pace: Pace) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Has tasks measure nothing and tell their counters now and then only: to find out what that costs.
    #[must_use]
    pub(crate) fn without_instruments(mut self) -> Self {
        self.has_instruments = false;
        self
    }

    pub(crate) fn has_instruments(&self) -> bool {
        self.has_instruments
    }

    /// The pace of a measured run.
    pub fn pace(&self) -> Option<&Pace> {
        self.pace.as_ref()
    }

    /// The port of a source's dead letters, unless one of its subscribers gets something else of the source too, by the
    /// same lane: a lane has one end.
    pub(crate) fn late_port(&self, component: usize) -> Option<usize> {
        let (_, late) = *self.letter_ports.iter().find(|(source, _)| *source == component)?;
        let subscribers = |is_late: bool| {
            let edges = self.edges.iter().filter(move |edge| edge.from == component && (edge.port == late) == is_late);
            edges.map(|edge| edge.to)
        };
        subscribers(true).all(|to| subscribers(false).all(|other| other != to)).then_some(late)
    }

    /// The effective settings, each with where it came from.
    ///
    /// # Errors
    /// With everything that is wrong in any layer.
    pub fn resolve(&self) -> Result<Resolved> {
        self.layers.resolve()
    }

    /// The plan under the given settings.
    pub fn plan(&self, settings: &Settings) -> Plan {
        let own = |id: &str| settings.components.get(id).cloned().unwrap_or_default();
        let tasks = self.number_tasks(|id| own(id).parallelism.unwrap_or(1));
        let tasks_of = |id: &Arc<str>| tasks.of_component(id).to_vec();
        let components = self.components.iter().map(|component| (component, tasks_of(&component.id)));
        let components = components.map(|(component, tasks)| {
            let own: ComponentSettings = own(&component.id);
            ComponentPlan {
                id: component.id.to_string(),
                kind: component.kind,
                tasks,
                outputs: component.ports.clone(),
                depth: component.depth,
                placement: own.placement.unwrap_or(Placement::Auto),
                tick_ms: own.tick.map(|period| period.as_millis() as u64),
                replay_stable: component.replay_stable,
                place: component.place.clone(),
            }
        });
        let edges = self.edges.iter().map(|edge| EdgePlan {
            from: edge.from,
            port: edge.port,
            to: edge.to,
            input: edge.input,
            grouping: edge.grouping.clone(),
            feedback: edge.feedback,
            lane_capacity: settings.lane_capacity_of(&self.components[edge.to].id),
        });
        Plan {
            name: self.name.clone(),
            guarantee: settings.guarantee,
            tracking: settings.tracking(),
            components: components.collect(),
            edges: edges.collect(),
        }
    }

    /// Numbers tasks as Storm does: over components in order of their ids, from 1.
    fn number_tasks(&self, count_of: impl Fn(&str) -> usize) -> TaskTable {
        let own = self.components.iter().map(|component| (component.id.clone(), count_of(&component.id)));
        let reserved = self.reserved_tasks.iter().map(|(id, count)| (id.as_str().into(), *count));
        let counts: BTreeMap<Arc<str>, usize> = own.chain(reserved).collect();
        let mut next = 1;
        let tasks = counts.into_iter().map(|(id, count)| {
            let first = next;
            next += count as u32;
            (id, (first..next).map(TaskId).collect())
        });
        tasks.collect()
    }

    /// The tasks of all components, reserved ones included.
    pub(crate) fn task_table(&self, plan: &Plan) -> TaskTable {
        let count_of = |id: &str| plan.components.iter().find(|c| c.id == id).map_or(0, |c| c.tasks.len());
        self.number_tasks(count_of)
    }

    pub(crate) fn fault_counters(&self) -> Arc<FaultCounters> {
        self.faults.clone()
    }

    pub(crate) fn injected(&self) -> Injected {
        self.faults.get()
    }

    pub(crate) fn component_id(&self, component: usize) -> &Arc<str> {
        &self.components[component].id
    }

    pub(crate) fn task_kit(&self, component: usize) -> &Arc<dyn TaskKit> {
        &self.components[component].kit
    }

    /// Where components write and nobody else may, by their position; see
    /// [`Checkpointed::place`](crate::task::snapshot::Checkpointed::place).
    pub(crate) fn places(&self) -> Vec<(usize, String)> {
        let place = |(position, component): (usize, &Component)| Some((position, component.kit.place()?));
        self.components.iter().enumerate().filter_map(place).collect()
    }

    /// The files that spouts read, by their position; see [`Source::reads`](crate::Source::reads).
    pub(crate) fn inputs(&self) -> Vec<(usize, String)> {
        let input = |(position, component): (usize, &Component)| Some((position, component.kit.reads()?));
        self.components.iter().enumerate().filter_map(input).collect()
    }

    pub(crate) fn edge_kit(&self, edge: usize) -> &Arc<dyn EdgeKit> {
        &self.edges[edge].kit
    }

    /// The user settings that a component sees: its own over the topology's.
    pub(crate) fn user_settings(&self, settings: &Settings, component: usize) -> BTreeMap<String, UserValue> {
        let mut user = settings.user.clone();
        if let Some(own) = settings.components.get(&*self.components[component].id) {
            user.extend(own.user.clone());
        }
        user
    }
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topology").field("name", &self.name).finish_non_exhaustive()
    }
}
