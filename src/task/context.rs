//! What a component is told when it is opened or prepared.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Origin;
use crate::sys::clock::Clock;
use crate::sys::offload::Offload;
use crate::sys::random::Random;
use crate::task::TaskId;
use crate::task::door::Door;
use crate::task::payload::Outputs;
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
}

impl TaskInfo {
    pub(crate) fn origin(&self) -> Origin {
        Origin { component: self.component.clone(), task_index: self.index }
    }
}

/// What a spout gets in [`open`](crate::Spout::open).
pub struct SpoutContext {
    pub(crate) info: TaskInfo,
    pub(crate) waker: Waker,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) offload: Offload,
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
        };
        SpoutContext {
            info,
            waker: Waker::disconnected(),
            clock: Clock::virtual_at_zero(),
            random: Random::new(0),
            offload: Offload::deferred(),
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
