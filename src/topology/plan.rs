//! The plan: a topology as plain data, to print, compare and test.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::sys::mutation::{self, Mutation};
use crate::task::TaskId;
use crate::topology::settings::{Guarantee, Placement};

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A source of streams.
    Spout,
    /// A step that anchors and acks automatically.
    Bolt,
    /// A step whose input is partitioned by a key.
    KeyedBolt,
    /// A step that settles its tuples itself.
    ManualBolt,
}

impl Kind {
    /// Storm's word for it.
    pub fn word(self) -> &'static str {
        if self == Kind::Spout { "spout" } else { "bolt" }
    }
}

/// How an edge chooses tasks, under Storm's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Round robin.
    Shuffle,
    /// Round robin among the tasks of the same executor, if there are any.
    LocalOrShuffle,
    /// By a key of this type.
    Fields(String),
    /// By a key of this type, the less used of two tasks.
    PartialKey(String),
    /// Every task.
    All,
    /// The lowest task.
    Global,
    /// A random task.
    None,
    /// Only the task that the producer names.
    Direct,
    /// A function of the user's.
    Custom(String),
}

impl std::fmt::Display for Grouping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Grouping::Shuffle => f.write_str("shuffle"),
            Grouping::LocalOrShuffle => f.write_str("local or shuffle"),
            Grouping::Fields(key) => write!(f, "fields {key}"),
            Grouping::PartialKey(key) => write!(f, "partial key {key}"),
            Grouping::All => f.write_str("all"),
            Grouping::Global => f.write_str("global"),
            Grouping::None => f.write_str("none"),
            Grouping::Direct => f.write_str("direct"),
            Grouping::Custom(name) => write!(f, "custom {name}"),
        }
    }
}

/// A component of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentPlan {
    /// Its id, unique in the topology.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Its tasks, numbered consecutively.
    pub tasks: Vec<TaskId>,
    /// Its output ports.
    pub outputs: Vec<PortPlan>,
    /// Longest path from a spout; feedback edges do not count.
    pub depth: usize,
    /// Where its tasks are to run.
    pub placement: Placement,
    /// Tick period in milliseconds.
    pub tick_ms: Option<u64>,
    /// Every emit depends on its input alone: ids stay the same on replay.
    pub replay_stable: bool,
    /// Where it is declared.
    pub place: String,
}

/// An output port of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortPlan {
    /// The stream's name.
    pub stream: String,
    /// The name of the type it carries.
    pub carries: String,
}

/// An edge of a plan: one stream to one subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EdgePlan {
    /// Position of the producing component.
    pub from: usize,
    /// Port of the producing component.
    pub port: usize,
    /// Position of the subscribing component.
    pub to: usize,
    /// Position among the subscriber's inputs.
    pub input: usize,
    /// How tasks are chosen.
    pub grouping: Grouping,
    /// Closes a declared cycle.
    pub feedback: bool,
    /// Tuples that each of its lanes should hold, before the memory budget. A lane that several edges share holds the
    /// most that any of them asks for.
    pub lane_capacity: usize,
}

/// All edges from one component to another. Each of the one's tasks has one lane to each of the other's, whichever of
/// these edges a tuple takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub from: usize,
    pub to: usize,
    /// Positions in the plan, ascending; at least one.
    pub edges: Vec<usize>,
    /// Their positions among the consumer's inputs.
    pub inputs: Vec<usize>,
    /// All of them close a declared cycle.
    pub feedback: bool,
    /// The most that any of them asks for.
    pub lane_capacity: usize,
}

/// A topology as plain data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Name of the topology.
    pub name: String,
    /// What is promised about every spout emit.
    pub guarantee: Guarantee,
    /// Whether trees are tracked.
    pub tracking: bool,
    /// Components in order of declaration.
    pub components: Vec<ComponentPlan>,
    /// Edges in order of declaration.
    pub edges: Vec<EdgePlan>,
}

impl Plan {
    /// Number of tasks.
    pub fn task_count(&self) -> usize {
        self.components.iter().map(|component| component.tasks.len()).sum()
    }

    /// The streams that a component subscribes to, as `component.stream`, in the order of its inputs.
    pub(crate) fn input_names(&self, component: usize) -> Vec<String> {
        let mut edges: Vec<&EdgePlan> = self.edges.iter().filter(|edge| edge.to == component).collect();
        edges.sort_by_key(|edge| edge.input);
        let name = |edge: &&EdgePlan| {
            let from = &self.components[edge.from];
            format!("{}.{}", from.id, from.outputs[edge.port].stream)
        };
        edges.iter().map(name).collect()
    }

    /// The components that subscribe to this one.
    pub(crate) fn consumers(&self, component: usize) -> Vec<&str> {
        let mut consumers: Vec<&str> = Vec::new();
        for edge in self.edges.iter().filter(|edge| edge.from == component) {
            let id = &*self.components[edge.to].id;
            if !consumers.contains(&id) {
                consumers.push(id);
            }
        }
        consumers
    }

    /// True for a bolt that nobody subscribes to.
    pub fn is_sink(&self, component: usize) -> bool {
        self.components[component].kind != Kind::Spout && self.edges.iter().all(|edge| edge.from != component)
    }

    /// The pairs of components with edges from the one to the other, in order of their first edges.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = Vec::new();
        let mut known = BTreeMap::new();
        for (number, edge) in self.edges.iter().enumerate() {
            let alone = if mutation::is_off(Mutation::LanesNotShared) { number } else { 0 };
            let at = *known.entry((edge.from, edge.to, alone)).or_insert(pairs.len());
            if at == pairs.len() {
                let (edges, inputs) = (Vec::new(), Vec::new());
                pairs.push(Pair { from: edge.from, to: edge.to, edges, inputs, feedback: true, lane_capacity: 0 });
            }
            let pair = &mut pairs[at];
            pair.edges.push(number);
            pair.inputs.push(edge.input);
            pair.feedback &= edge.feedback;
            pair.lane_capacity = pair.lane_capacity.max(edge.lane_capacity);
        }
        pairs
    }

    /// Which components a component gets something from, however indirectly; itself only in a cycle.
    pub(crate) fn upstream(&self, component: usize) -> Vec<bool> {
        self.reach(component, |edge| (edge.to, edge.from))
    }

    fn reach(&self, from: usize, step: fn(&EdgePlan) -> (usize, usize)) -> Vec<bool> {
        let mut reached = vec![false; self.components.len()];
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            for (from, to) in self.edges.iter().map(step) {
                if from == at && !std::mem::replace(&mut reached[to], true) {
                    next.push(to);
                }
            }
        }
        reached
    }

    /// The components outside the cycles through a component that have an edge into one of them: as long as one of
    /// these has not ended, something may still come round.
    pub(crate) fn loop_feeders(&self, head: usize) -> Vec<usize> {
        let (after, before) = (self.reach(head, |edge| (edge.from, edge.to)), self.upstream(head));
        let inside = |component: usize| after[component] && before[component];
        let entries = self.edges.iter().filter(|edge| inside(edge.to) && !inside(edge.from));
        let mut feeders: Vec<usize> = entries.map(|edge| edge.from).collect();
        feeders.sort_unstable();
        feeders.dedup();
        feeders
    }

    /// The plan as text: components with tasks and inputs.
    pub fn to_text(&self) -> String {
        let pairs = self.pairs();
        let mut text = format!("topology {}, {}\n", self.name, self.guarantee);
        for (index, component) in self.components.iter().enumerate() {
            let tasks = match &component.tasks[..] {
                [one] => format!("{one}"),
                [first, .., last] => format!("tasks {}-{}", first.0, last.0),
                [] => "no tasks".to_owned(),
            };
            let _ = write!(text, "  {} {} ({tasks})", component.kind.word(), component.id);
            if let Some(tick_ms) = component.tick_ms {
                let _ = write!(text, ", tick every {tick_ms} ms");
            }
            text.push('\n');
            for (number, edge) in self.edges.iter().enumerate().filter(|(_, edge)| edge.to == index) {
                let from = &self.components[edge.from];
                let port = &from.outputs[edge.port];
                let pair = pairs.iter().find(|pair| pair.edges.contains(&number)).expect("every edge is of a pair");
                let count = from.tasks.len() * component.tasks.len();
                let plural = if count == 1 { "" } else { "s" };
                let lanes = match pair.edges[0] == number {
                    true => format!("{count} lane{plural} of {}", pair.lane_capacity),
                    false => format!("the same lane{plural}"),
                };
                let (stream, carries) = (&port.stream, &port.carries);
                let cycle = if edge.feedback { ", closes a cycle" } else { "" };
                let _ = writeln!(text, "    <- {}.{stream} ({carries}) by {}, {lanes}{cycle}", from.id, edge.grouping);
            }
        }
        text
    }

    /// The plan in Graphviz's language.
    pub fn to_dot(&self) -> String {
        let mut dot = format!("digraph {:?} {{\n  rankdir=LR;\n", self.name);
        for component in &self.components {
            let shape = if component.kind == Kind::Spout { "house" } else { "box" };
            let label = format!("{} ×{}", component.id, component.tasks.len());
            let _ = writeln!(dot, "  {:?} [shape={shape}, label={label:?}];", component.id);
        }
        for edge in &self.edges {
            let (from, to) = (&self.components[edge.from], &self.components[edge.to]);
            let style = if edge.feedback { ", style=dashed" } else { "" };
            let label = self.edge_label(edge);
            let _ = writeln!(dot, "  {:?} -> {:?} [label={label:?}{style}];", from.id, to.id);
        }
        dot.push_str("}\n");
        dot
    }

    /// The plan in Mermaid's language.
    pub fn to_mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (index, component) in self.components.iter().enumerate() {
            let label = format!("\"{} ×{}\"", mermaid_text(&component.id), component.tasks.len());
            let node = if component.kind == Kind::Spout { format!("([{label}])") } else { format!("[{label}]") };
            let _ = writeln!(text, "  c{index}{node}");
        }
        for edge in &self.edges {
            let arrow = if edge.feedback { "-.->" } else { "-->" };
            let label = mermaid_text(&self.edge_label(edge));
            let _ = writeln!(text, "  c{} {arrow}|\"{label}\"| c{}", edge.from, edge.to);
        }
        text
    }

    fn edge_label(&self, edge: &EdgePlan) -> String {
        let stream = &self.components[edge.from].outputs[edge.port].stream;
        if stream == "default" { edge.grouping.to_string() } else { format!("{stream}: {}", edge.grouping) }
    }
}

fn mermaid_text(text: &str) -> String {
    text.replace('"', "#quot;")
}
