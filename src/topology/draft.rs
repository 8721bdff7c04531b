//! A topology while it is being built: what the handles write into.

use std::sync::Arc;

use crate::error::Problem;
use crate::task::edge::EdgeKit;
use crate::task::metrics::FaultCounters;
use crate::task::shell::TaskKit;
use crate::topology::Progress;
use crate::topology::plan::{Grouping, Kind};
use crate::topology::settings::Layers;

/// Makes a component's kit once all its inputs are known.
pub(crate) type KitMaker = Box<dyn FnOnce() -> Arc<dyn TaskKit>>;

#[doc(hidden)]
pub struct Draft {
    pub(crate) name: String,
    pub(crate) components: Vec<ComponentDraft>,
    pub(crate) edges: Vec<EdgeDraft>,
    pub(crate) layers: Layers,
    pub(crate) problems: Vec<Problem>,
    pub(crate) faults: Arc<FaultCounters>,
    pub(crate) progress: Option<Progress>,
    /// Subscriptions made now close a cycle.
    pub(crate) declaring_cycle: bool,
    /// Where everything is declared from now on, if not where the Rust code is.
    pub(crate) place: Option<String>,
    /// The streams of what sources give up.
    pub(crate) dead_letters: Vec<DeadLetterPort>,
    /// Components that are only counted when tasks are numbered, with their tasks.
    pub(crate) reserved_tasks: Vec<(String, usize)>,
}

impl Draft {
    pub(crate) fn new(name: String) -> Self {
        Draft {
            name,
            components: Vec::new(),
            edges: Vec::new(),
            layers: Layers::new(),
            problems: Vec::new(),
            faults: Arc::default(),
            progress: None,
            declaring_cycle: false,
            place: None,
            dead_letters: Vec::new(),
            reserved_tasks: Vec::new(),
        }
    }

    /// The place of a declaration made in Rust code there.
    pub fn place(&self, in_code: String) -> String {
        self.place.clone().unwrap_or(in_code)
    }
}

pub(crate) struct ComponentDraft {
    pub id: String,
    pub kind: Kind,
    /// File and line of its declaration.
    pub place: String,
    /// Name and type of each output port.
    pub ports: Vec<(String, String)>,
    pub inputs: usize,
    pub replay_stable: bool,
    pub kit: Option<KitMaker>,
}

/// The stream of what one source gives up, and an edge from it that makes each a line of text.
pub(crate) struct DeadLetterPort {
    pub component: usize,
    pub port: usize,
    pub as_lines: Arc<dyn EdgeKit>,
}

pub(crate) struct EdgeDraft {
    pub from: usize,
    pub port: usize,
    pub to: usize,
    /// Position among the consumer's inputs.
    pub input: usize,
    pub grouping: Grouping,
    pub feedback: bool,
    pub place: String,
    pub kit: Arc<dyn EdgeKit>,
}
