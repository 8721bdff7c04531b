//! What a component is told when it is opened or prepared.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Origin;
use crate::sys::clock::Clock;
use crate::sys::offload::Offload;
use crate::sys::random::Random;
use crate::task::TaskId;
use crate::task::door::Door;
use crate::task::lineage::Caution;
use crate::task::payload::Outputs;
use crate::task::replay::Patience;
use crate::task::reporter::Reporter;
use crate::task::user_value::UserValue;
use crate::task::waker::Waker;

/// Free-form settings of a component: whatever the user put under its `user` table.
pub type UserSettings = BTreeMap<String, UserValue>;

/// Who and where a task is.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Name of the topology.
    pub topology: Arc<str>,
    /// Id of the component.
    pub component: Arc<str>,
    /// The task's id, unique in the topology; a component's tasks are numbered consecutively.
    pub task: TaskId,
    /// Position within the component's tasks, from 0.
    pub index: usize,
    /// Number of tasks of the component.
    pub count: usize,
    /// The component's own settings over the topology's.
    pub user: Arc<UserSettings>,
    /// All tasks of the topology.
    pub tasks: Arc<TaskTable>,
}

/// The tasks of all components of a topology, by component id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTable(BTreeMap<Arc<str>, Vec<TaskId>>);

impl TaskTable {
    /// A component's tasks, ascending; none for an unknown one.
    pub fn of_component(&self, component: &str) -> &[TaskId] {
        self.0.get(component).map_or(&[], Vec::as_slice)
    }

    /// The component of a task, if there is such a task. Walks over the components.
    pub fn component_of(&self, task: TaskId) -> Option<&Arc<str>> {
        self.iter().find(|(_, tasks)| tasks.binary_search(&task).is_ok()).map(|(component, _)| component)
    }

    /// All components in order of their ids, with their tasks.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &[TaskId])> {
        self.0.iter().map(|(component, tasks)| (component, tasks.as_slice()))
    }
}

impl FromIterator<(Arc<str>, Vec<TaskId>)> for TaskTable {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Vec<TaskId>)>>(tasks: I) -> Self {
        TaskTable(tasks.into_iter().collect())
    }
}

impl TaskInfo {
    pub(crate) fn origin(&self) -> Origin {
        Origin { component: self.component.clone(), task_index: self.index }
    }
}

/// What a spout gets in [`open`](crate::Spout::open).
#[derive(Clone)]
pub struct SpoutContext {
    pub(crate) info: TaskInfo,
    pub(crate) waker: Waker,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) offload: Offload,
    pub(crate) reporter: Reporter,
    /// What a source does after a restart.
    pub(crate) caution: Caution,
    /// When a source gives failing items up.
    pub(crate) patience: Patience,
    /// What to add to the engine's time for nanoseconds since the epoch.
    pub(crate) wall_offset_ns: u64,
}

/// What a bolt gets in [`prepare`](crate::Bolt::prepare).
pub struct BoltContext<O: Outputs> {
    pub(crate) base: SpoutContext,
    pub(crate) door: Door<O>,
}

impl SpoutContext {
    /// A context that belongs to no topology, for testing a component on its own: task 0 of 1, a fixed seed.
    pub fn detached() -> Self {
        let info = TaskInfo {
            topology: "detached".into(),
            component: "detached".into(),
            task: TaskId(1),
            index: 0,
            count: 1,
            user: Arc::default(),
            tasks: Arc::new(TaskTable::from_iter([("detached".into(), vec![TaskId(1)])])),
        };
        let reporter = Reporter::new(Arc::default(), info.origin());
        SpoutContext {
            info,
            waker: Waker::disconnected(),
            clock: Clock::virtual_at_zero(),
            random: Random::new(0),
            offload: Offload::deferred(),
            reporter,
            caution: Caution::default(),
            patience: Patience::default(),
            wall_offset_ns: 0,
        }
    }

    /// Who and where this task is.
    pub fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// Gets this task a turn from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The engine's clock: virtual under a driver.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A generator seeded by the run's seed, the task and how often it was rebuilt.
    pub fn random(&self) -> Random {
        self.random.clone()
    }

    /// Where to report errors that belong to no tuple.
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// Runs work that may block on other threads; under simulation, at a time the seed chooses.
    pub fn offload(&self) -> Offload {
        self.offload.clone()
    }
}

impl<O: Outputs> std::ops::Deref for BoltContext<O> {
    type Target = SpoutContext;
    fn deref(&self) -> &SpoutContext {
        &self.base
    }
}

impl<O: Outputs> BoltContext<O> {
    /// The entrance through which other threads emit on behalf of this task.
    pub fn door(&self) -> Door<O> {
        self.door.clone()
    }
}
