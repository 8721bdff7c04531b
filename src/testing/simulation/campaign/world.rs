//! The oracle: what every part of a generated topology tells it, and what it finds wrong.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::error::Failure;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::task::TaskId;
use crate::task::context::TaskInfo;
use crate::task::key::{key_hash, task_of_key};

type Map<K, V> = HashMap<K, V, FixedState>;

/// What the run is allowed to do to its trees.
#[derive(Clone, Copy, Debug)]
pub struct Licence {
    pub tracking: bool,
    /// Trees may run into their deadline although nobody failed them.
    pub timeouts: bool,
    /// Tuples may be held for ever: a drain then gives them up.
    pub may_be_given_up: bool,
    pub parcels_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    One,
    Key,
    TwoTasksPerKey,
    All,
    First,
    Meant,
    /// Chosen by [`ByKeyOddly`](super::parts::ByKeyOddly).
    Custom,
}

#[derive(Clone, Debug)]
pub struct EdgeOracle {
    pub to: usize,
    pub route: Route,
    pub tasks: usize,
    pub expected: u64,
    pub delivered: u64,
}

#[derive(Default)]
struct RootState {
    /// True: acked.
    outcome: Option<bool>,
    faulted: bool,
    live: i64,
}

/// Shared by everything that belongs to one generated topology.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

struct State {
    licence: Licence,
    roots: Vec<RootState>,
    live: i64,
    parcels: usize,
    edges: Vec<EdgeOracle>,
    /// Emits of each producer: a task, or the door into it.
    sequences: Map<(TaskId, bool), u64>,
    /// The last sequence number seen per producer and consuming task, by whatever edge.
    seen: Map<((TaskId, bool), TaskId), u64>,
    /// The two tasks that a key may go to under partial key, by edge, producer and key.
    homes: Map<(usize, TaskId, u16), SmallVec<[usize; 2]>>,
    /// Roots that each spout task has emitted; outlives its instances.
    emitted: Map<TaskId, u64>,
    wrong: Vec<String>,
}

impl World {
    pub fn new(licence: Licence, edges: Vec<EdgeOracle>) -> Self {
        World(Arc::new(Mutex::new(State {
            licence,
            roots: Vec::new(),
            live: 0,
            parcels: 0,
            edges,
            sequences: Map::default(),
            seen: Map::default(),
            homes: Map::default(),
            emitted: Map::default(),
            wrong: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics under it")
    }

    pub fn new_root(&self) -> u32 {
        let mut state = self.state();
        state.roots.push(RootState::default());
        (state.roots.len() - 1) as u32
    }

    /// How many roots this spout task has begun, counting the one that begins now.
    pub fn begin_root_of(&self, task: TaskId) -> u64 {
        let mut state = self.state();
        let emitted = state.emitted.entry(task).or_default();
        *emitted += 1;
        *emitted
    }

    pub fn roots_of(&self, task: TaskId) -> u64 {
        self.state().emitted.get(&task).copied().unwrap_or(0)
    }

    /// False once so much has been emitted that it should come to an end.
    pub fn may_emit(&self) -> bool {
        let state = self.state();
        state.parcels < state.licence.parcels_max
    }

    fn next_sequence(&self, producer: (TaskId, bool)) -> u64 {
        let mut state = self.state();
        state.parcels += 1;
        let sequence = state.sequences.entry(producer).or_default();
        *sequence += 1;
        *sequence
    }

    /// A fault is about to hit every tree of the parcel.
    pub fn fault(&self, parcel: &Parcel) {
        let mut state = self.state();
        for root in &parcel.members.roots {
            state.roots[*root as usize].faulted = true;
        }
    }

    /// A value has been given to an edge and will go to this many tasks.
    pub fn expect(&self, edge: usize, copies: usize) {
        self.state().edges[edge].expected += copies as u64;
    }

    /// A bolt task has got a parcel.
    pub fn delivered(&self, component: usize, info: &TaskInfo, parcel: &Parcel) {
        let mut state = self.state();
        let edge = &mut state.edges[parcel.edge];
        edge.delivered += 1;
        let edge = edge.clone();
        if edge.to != component {
            state.wrong(format!("a parcel for component {} came to {}", edge.to, info.component));
        }
        let key_hash = key_hash(&parcel.key);
        let right = match edge.route {
            Route::One | Route::All => true,
            Route::First => info.index == 0,
            Route::Key => info.index == task_of_key(key_hash, edge.tasks),
            Route::Meant => parcel.meant_for == Some(info.task),
            Route::Custom => info.index == usize::from(parcel.key) % edge.tasks,
            Route::TwoTasksPerKey => {
                let homes = state.homes.entry((parcel.edge, parcel.producer.0, parcel.key)).or_default();
                if !homes.contains(&info.index) {
                    homes.push(info.index);
                }
                homes.len() <= 2
            }
        };
        if !right {
            state.wrong(format!("{:?}: {parcel:?} came to {}[{}]", edge.route, info.component, info.index));
        }
        let before = state.seen.insert((parcel.producer, info.task), parcel.sequence).unwrap_or(0);
        let in_order = if edge.route == Route::Custom { before <= parcel.sequence } else { before < parcel.sequence };
        if !in_order {
            state.wrong(format!("{parcel:?} came to {} after number {before}", info.task));
        }
    }

    /// A tree has ended; `failure` tells why it failed.
    pub fn ended(&self, root: u32, failure: Option<&Failure>) {
        let mut state = self.state();
        let licence = state.licence;
        let entry = &mut state.roots[root as usize];
        let (live, faulted) = (entry.live, entry.faulted);
        if let Some(before) = entry.outcome.replace(failure.is_none()) {
            state.wrong(format!("root {root} ended twice, acked at first: {before}"));
        }
        match failure {
            None if !licence.tracking => {}
            None if live != 0 => state.wrong(format!("root {root} was acked with {live} of its tuples alive")),
            None if faulted => state.wrong(format!("root {root} was acked although it was failed")),
            None => {}
            // After the end of its spout a failure is wrapped, whatever its reason.
            Some(failure) if faulted || (licence.timeouts && failure.message().contains("deadline")) => {}
            Some(failure) => state.wrong(format!("root {root} failed although nothing happened to it: {failure}")),
        }
    }

    /// What is wrong at the end of the run.
    pub fn verdict(&self, drained: bool) -> Result<(), String> {
        let mut state = self.state();
        let given_up = drained && state.licence.may_be_given_up;
        let open: Vec<usize> = (0..state.roots.len())
            .filter(|&root| state.roots[root].outcome.is_none() && !(given_up && state.roots[root].faulted))
            .collect();
        if !open.is_empty() {
            state.wrong(format!("roots {open:?} never ended"));
        }
        if state.live != 0 {
            let live = state.live;
            state.wrong(format!("{live} tuples are alive at the end"));
        }
        for number in 0..state.edges.len() {
            let edge = state.edges[number].clone();
            if edge.expected != edge.delivered {
                state.wrong(format!("edge {number} ({edge:?}) delivered something else than was sent"));
            }
        }
        if state.wrong.is_empty() { Ok(()) } else { Err(state.wrong.join("\n")) }
    }

    /// Roots acked and failed, and parcels made: for a test that the campaign does something.
    pub fn sums(&self) -> (usize, usize, usize) {
        let state = self.state();
        let count = |outcome| state.roots.iter().filter(|root| root.outcome == Some(outcome)).count();
        (count(true), count(false), state.parcels)
    }
}

impl State {
    fn wrong(&mut self, message: String) {
        if self.wrong.len() < 5 {
            self.wrong.push(message);
        }
    }
}

/// The trees a parcel belongs to; counts how many parcels of each are alive.
pub struct Members {
    world: World,
    pub roots: SmallVec<[u32; 2]>,
}

impl Members {
    fn count(&self, change: i64) {
        let mut state = self.world.state();
        state.live += change;
        for root in &self.roots {
            state.roots[*root as usize].live += change;
        }
    }
}

impl Clone for Members {
    fn clone(&self) -> Self {
        self.count(1);
        Members { world: self.world.clone(), roots: self.roots.clone() }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.count(-1);
    }
}

/// What travels in a generated topology.
#[derive(Clone)]
pub struct Parcel {
    pub members: Members,
    pub key: u16,
    pub hops: u8,
    producer: (TaskId, bool),
    sequence: u64,
    pub edge: usize,
    pub meant_for: Option<TaskId>,
}

impl Parcel {
    /// A parcel that belongs to these trees, made by a task or for its door.
    pub fn new(world: &World, producer: (TaskId, bool), roots: &[u32], key: u16, hops: u8) -> Self {
        let mut members = Members { world: world.clone(), roots: SmallVec::new() };
        for root in roots {
            if !members.roots.contains(root) {
                members.roots.push(*root);
            }
        }
        members.count(1);
        let sequence = world.next_sequence(producer);
        Parcel { members, key, hops, producer, sequence, edge: usize::MAX, meant_for: None }
    }
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Parcel { members, key, producer, sequence, edge, .. } = self;
        write!(f, "parcel {sequence} of {producer:?} on edge {edge}, key {key}, roots {:?}", members.roots)
    }
}
