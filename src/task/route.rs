//! Groupings at run time: which tasks of the consumer get a tuple.

use std::marker::PhantomData;

use crate::sys::random::Random;
use crate::task::key::{Key, key_hash, task_of_key};
use crate::task::{Custom, TaskId};

/// The choice for one tuple: positions within the consumer's tasks in ascending task order.
pub(crate) enum Pick {
    One(usize),
    /// As listed in the scratch vector, which may hold none, several, or the same one twice.
    Listed,
}

/// A grouping of one producing task towards one consumer. State is per task and per edge.
pub(crate) trait Router<T>: 'static {
    /// Only `emit_direct` may be used.
    const IS_DIRECT: bool = false;

    fn pick(&mut self, value: &T, listed: &mut Vec<usize>) -> Pick;

    /// The position that every tuple goes to, if there is no choice.
    fn only_task(&self) -> Option<usize> {
        None
    }
}

/// What a router is made with, per producing task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteInfo<'a> {
    pub tasks: &'a [TaskId],
    /// Positions of the consumer's tasks that share this task's executor.
    pub local: &'a [usize],
    pub source: TaskId,
    /// Position of the producing task in its component, for spreading round robins.
    pub source_index: usize,
    pub seed: u64,
}

/// Makes the router of each producing task of an edge; the static side of a grouping.
pub(crate) trait Grouping<T>: Send + Sync + 'static {
    type Router: Router<T>;
    fn router(&self, info: RouteInfo<'_>) -> Self::Router;
}

/// Round robin, over all tasks or those of the same executor.
pub(crate) struct Shuffle {
    pub prefer_local: bool,
}

pub(crate) struct RoundRobin {
    among: Vec<usize>,
    next: usize,
}

impl<T> Grouping<T> for Shuffle {
    type Router = RoundRobin;
    fn router(&self, info: RouteInfo<'_>) -> RoundRobin {
        let all: Vec<usize> = (0..info.tasks.len()).collect();
        let among = if self.prefer_local && !info.local.is_empty() { info.local.to_vec() } else { all };
        // Several producers start at different tasks, so that their first tuples do not meet.
        RoundRobin { next: info.source_index % among.len(), among }
    }
}

impl<T> Router<T> for RoundRobin {
    #[inline]
    fn pick(&mut self, _value: &T, _listed: &mut Vec<usize>) -> Pick {
        let picked = self.among[self.next];
        self.next += 1;
        if self.next == self.among.len() {
            self.next = 0;
        }
        Pick::One(picked)
    }

    fn only_task(&self) -> Option<usize> {
        if let [only] = self.among[..] { Some(only) } else { None }
    }
}

/// Extracts a key from a tuple and hashes it; the form of the two `fields` methods.
pub(crate) trait KeyOf<T>: Send + Sync + Clone + 'static {
    fn hash(&self, value: &T) -> u64;
}

pub(crate) struct BorrowedKey<K: ?Sized, F>(pub F, pub PhantomData<fn() -> Box<K>>);
pub(crate) struct OwnedKey<K, F>(pub F, pub PhantomData<fn() -> K>);

impl<K: ?Sized, F: Clone> Clone for BorrowedKey<K, F> {
    fn clone(&self) -> Self {
        BorrowedKey(self.0.clone(), PhantomData)
    }
}

impl<K, F: Clone> Clone for OwnedKey<K, F> {
    fn clone(&self) -> Self {
        OwnedKey(self.0.clone(), PhantomData)
    }
}

impl<T, K: Key, F: Fn(&T) -> &K + Clone + Send + Sync + 'static> KeyOf<T> for BorrowedKey<K, F> {
    #[inline]
    fn hash(&self, value: &T) -> u64 {
        key_hash((self.0)(value))
    }
}

impl<T, K: Key, F: Fn(&T) -> K + Clone + Send + Sync + 'static> KeyOf<T> for OwnedKey<K, F> {
    #[inline]
    fn hash(&self, value: &T) -> u64 {
        key_hash(&(self.0)(value))
    }
}

/// By key: the key's specified hash picks its key group, the group its task.
pub(crate) struct Fields<F>(pub F);

pub(crate) struct FieldsRouter<F> {
    key: F,
    tasks: usize,
}

impl<T, F: KeyOf<T>> Grouping<T> for Fields<F> {
    type Router = FieldsRouter<F>;
    fn router(&self, info: RouteInfo<'_>) -> FieldsRouter<F> {
        FieldsRouter { key: self.0.clone(), tasks: info.tasks.len() }
    }
}

impl<T, F: KeyOf<T>> Router<T> for FieldsRouter<F> {
    #[inline]
    fn pick(&mut self, value: &T, _listed: &mut Vec<usize>) -> Pick {
        if self.tasks == 1 {
            return Pick::One(0);
        }
        Pick::One(task_of_key(self.key.hash(value), self.tasks))
    }

    fn only_task(&self) -> Option<usize> {
        (self.tasks == 1).then_some(0)
    }
}

/// Two candidate tasks per key, the one this producer has sent less to wins (Nasir et al., ICDE 2015).
pub(crate) struct PartialKey<F>(pub F);

pub(crate) struct PartialKeyRouter<F> {
    key: F,
    sent: Vec<u64>,
}

impl<T, F: KeyOf<T>> Grouping<T> for PartialKey<F> {
    type Router = PartialKeyRouter<F>;
    fn router(&self, info: RouteInfo<'_>) -> PartialKeyRouter<F> {
        PartialKeyRouter { key: self.0.clone(), sent: vec![0; info.tasks.len()] }
    }
}

impl<T, F: KeyOf<T>> Router<T> for PartialKeyRouter<F> {
    #[inline]
    fn pick(&mut self, value: &T, _listed: &mut Vec<usize>) -> Pick {
        let tasks = self.sent.len();
        let hash = self.key.hash(value);
        let first = task_of_key(hash, tasks);
        let mut second = task_of_key(crate::sys::random::mix(hash), tasks);
        if second == first {
            second = (second + 1) % tasks;
        }
        let picked = if self.sent[second] < self.sent[first] { second } else { first };
        self.sent[picked] += 1;
        Pick::One(picked)
    }
}

/// Every task, ascending.
pub(crate) struct All;

pub(crate) struct AllRouter(usize);

impl<T> Grouping<T> for All {
    type Router = AllRouter;
    fn router(&self, info: RouteInfo<'_>) -> AllRouter {
        AllRouter(info.tasks.len())
    }
}

impl<T> Router<T> for AllRouter {
    #[inline]
    fn pick(&mut self, _value: &T, listed: &mut Vec<usize>) -> Pick {
        listed.extend(0..self.0);
        Pick::Listed
    }
}

/// The lowest task.
pub(crate) struct Global;

pub(crate) struct First;

impl<T> Grouping<T> for Global {
    type Router = First;
    fn router(&self, _info: RouteInfo<'_>) -> First {
        First
    }
}

impl<T> Router<T> for First {
    #[inline]
    fn pick(&mut self, _value: &T, _listed: &mut Vec<usize>) -> Pick {
        Pick::One(0)
    }

    fn only_task(&self) -> Option<usize> {
        Some(0)
    }
}

/// A uniformly random task per tuple, seeded.
pub(crate) struct NoneGrouping;

pub(crate) struct RandomRouter {
    tasks: usize,
    random: Random,
}

impl<T> Grouping<T> for NoneGrouping {
    type Router = RandomRouter;
    fn router(&self, info: RouteInfo<'_>) -> RandomRouter {
        RandomRouter { tasks: info.tasks.len(), random: Random::new(info.seed).fork(info.source.0.into()) }
    }
}

impl<T> Router<T> for RandomRouter {
    #[inline]
    fn pick(&mut self, _value: &T, _listed: &mut Vec<usize>) -> Pick {
        Pick::One(self.random.below(self.tasks as u64) as usize)
    }
}

/// Only the task named in `emit_direct`.
pub(crate) struct Direct;

pub(crate) struct DirectRouter;

impl<T> Grouping<T> for Direct {
    type Router = DirectRouter;
    fn router(&self, _info: RouteInfo<'_>) -> DirectRouter {
        DirectRouter
    }
}

impl<T> Router<T> for DirectRouter {
    const IS_DIRECT: bool = true;

    fn pick(&mut self, _value: &T, _listed: &mut Vec<usize>) -> Pick {
        unreachable!("a regular emit to a direct stream is refused before routing")
    }
}

/// A user's grouping: a factory of [`Custom`] routers.
pub(crate) struct CustomGrouping<F>(pub F);

pub(crate) struct CustomRouter<C> {
    custom: C,
    tasks: Vec<TaskId>,
    chosen: Vec<TaskId>,
}

impl<T: 'static, C: Custom<T>, F: Fn() -> C + Send + Sync + 'static> Grouping<T> for CustomGrouping<F> {
    type Router = CustomRouter<C>;
    fn router(&self, info: RouteInfo<'_>) -> CustomRouter<C> {
        let mut custom = (self.0)();
        custom.prepare(info.source, info.tasks);
        CustomRouter { custom, tasks: info.tasks.to_vec(), chosen: Vec::new() }
    }
}

impl<T: 'static, C: Custom<T>> Router<T> for CustomRouter<C> {
    fn pick(&mut self, value: &T, listed: &mut Vec<usize>) -> Pick {
        self.chosen.clear();
        self.custom.choose(value, &mut self.chosen);
        for task in &self.chosen {
            let position = self.tasks.binary_search(task);
            listed.push(
                position.unwrap_or_else(|_| panic!("the custom grouping chose {task}, not a task of the consumer")),
            );
        }
        Pick::Listed
    }
}
