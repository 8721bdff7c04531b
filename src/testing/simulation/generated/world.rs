//! What outlives processes: the world outside, in which transactions are kept, chance strikes, and everything is noted.

use std::collections::BTreeMap;

use super::draw::{Class, Item, NO_ROOT, Op, Spec};
use crate::error::Failure;
use crate::state::store::CheckpointId;
use crate::sys::random::Random;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::task::component::Outcome;
use crate::task::context::TaskInfo;

#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

pub struct State {
    spec: Arc<Spec>,
    random: Random,
    chances_left: u32,
    /// Failures by chance of what descends from an input.
    of_root: BTreeMap<u64, u32>,
    /// The last number seen, by producer and consuming task.
    seen: BTreeMap<((u32, bool), u32), u64>,
    sequences: BTreeMap<(u32, bool), u64>,
    ticks: u64,
    transactions: BTreeMap<u64, Transaction>,
    next_transaction: u64,
    /// Items written at once, by sink and id.
    pub written: BTreeMap<(usize, u64), u64>,
    /// What happened, for the count of what the campaign reaches.
    pub hits: BTreeMap<String, u64>,
    pub fatal: bool,
    /// A source has failed, so that what it had read may come again.
    pub source_failed: bool,
    /// Told by the variable `SQUALL_TRACE`, to look at one seed.
    traces: bool,
    wrong: Vec<String>,
}

struct Transaction {
    sink: usize,
    task: usize,
    after: Option<CheckpointId>,
    items: Vec<u64>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Prepared,
    Durable,
    Committed,
}

/// Where something may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Handling an item.
    Item,
    Tick,
    Callback,
    Last,
    Poll,
}

/// So few that no input is taken for poison: it takes five.
const CHANCES_OF_ROOT_MAX: u32 = 2;

impl World {
    pub fn new(spec: Arc<Spec>) -> Self {
        World(Arc::new(Mutex::new(State {
            random: Random::new(spec.seed).fork(0x776f726c64),
            chances_left: spec.chances_max,
            spec,
            of_root: BTreeMap::new(),
            seen: BTreeMap::new(),
            sequences: BTreeMap::new(),
            ticks: 0,
            transactions: BTreeMap::new(),
            next_transaction: 0,
            written: BTreeMap::new(),
            hits: BTreeMap::new(),
            fatal: false,
            source_failed: false,
            traces: std::env::var_os("SQUALL_TRACE").is_some(),
            wrong: Vec::new(),
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics under it")
    }

    pub fn wrong(&self) -> Option<String> {
        let state = self.state();
        (!state.wrong.is_empty()).then(|| state.wrong.join("\n"))
    }

    pub fn hit(&self, what: impl Into<String>) {
        self.state().hit(what);
    }

    pub fn chance(&self, probability: f64) -> bool {
        self.state().random.chance(probability)
    }

    /// The process is gone: what was not yet kept outside is gone with it, and tasks are numbered anew.
    pub fn process_ended(&self) {
        let mut state = self.state();
        state.trace(|| "-- the process ends".to_owned());
        state.seen.clear();
        state.sequences.clear();
        state.transactions.retain(|_, t| matches!(t.stage, Stage::Durable | Stage::Committed));
    }

    /// Marks an item with its producer and the number of the emit.
    pub fn stamp(&self, mut item: Item, producer: (u32, bool)) -> Item {
        let mut state = self.state();
        let sequence = state.sequences.entry(producer).or_default();
        *sequence += 1;
        (item.producer, item.sequence) = (producer, *sequence);
        item
    }

    /// An item has come in: in the order in which its producer has emitted.
    pub fn came(&self, component: usize, info: &TaskInfo, item: &Item, is_redelivered: bool) {
        let mut state = self.state();
        let (op, guarantee) = (state.spec.components[component].op, state.spec.guarantee);
        state.hit(format!("{op:?} under {guarantee}"));
        let task = info.index;
        state.trace(|| format!("c{component:02}[{task}] <- {} {:x} {:?}", item.root, item.id, item.class));
        if item.sequence == 0 || is_redelivered {
            return;
        }
        let before = state.seen.insert((item.producer, info.task.0), item.sequence).unwrap_or(0);
        // Equal: a custom grouping sends two copies.
        if before > item.sequence {
            state.wrong(format!("out of order: {item:?} came to {}[{}] after {before}", info.component, info.index));
        }
    }

    /// Something may go wrong now: an error, or a panic.
    pub fn strike(&self, component: usize, item: Option<&Item>, at: At, now_ns: u64) -> Outcome {
        let mut state = self.state();
        let spec = state.spec.clone();
        let troubles = &spec.components[component].troubles;
        if let Some(item) = item {
            if spec.is_poison(component, item) {
                state.hit("poison");
                state.trace(|| format!("c{component:02} is poisoned by {}", item.root));
                drop(state);
                std::panic::resume_unwind(Box::new("poison".to_owned()));
            }
            if spec.rejects(component, item) {
                state.hit("reject");
                return Err(Failure::reject("not to my taste"));
            }
            if troubles.outage_ns.is_some_and(|(from_ns, until_ns)| (from_ns..until_ns).contains(&now_ns)) {
                state.hit("outage");
                return Err(Failure::retry("the service is away"));
            }
        }
        let (retry, panic, fatal) = (troubles.retry, troubles.panic, troubles.fatal);
        if !state.may_strike(item, retry + panic + fatal) {
            return Ok(());
        }
        state.source_failed |= at == At::Poll;
        let kind = state.random.unit() * (retry + panic + fatal);
        if kind < fatal {
            state.fatal = true;
            state.hit("fatal");
            return Err(Failure::fatal("told to stop"));
        }
        state.trace(|| format!("c{component:02} fails by chance at {at:?}"));
        state.hit(format!("{} at {at:?}", if kind < fatal + retry { "retry" } else { "panic" }));
        drop(state);
        if kind < fatal + retry {
            return Err(Failure::retry("by chance"));
        }
        std::panic::resume_unwind(Box::new("by chance".to_owned()));
    }

    /// A handle is to be dropped.
    pub fn drops(&self, component: usize, item: &Item) -> bool {
        let mut state = self.state();
        let chance = state.spec.components[component].troubles.drop;
        let drops = state.may_strike(Some(item), chance);
        if drops {
            state.hit("drop");
        }
        drops
    }

    pub fn tick_item(&self) -> Item {
        let mut state = self.state();
        state.ticks += 1;
        Item::rootless(state.ticks, Class::Tick)
    }

    pub fn write(&self, sink: usize, item: &Item) {
        if item.class != Class::Tick {
            *self.state().written.entry((sink, item.id)).or_default() += 1;
        }
    }

    pub fn begin(&self, sink: usize, task: usize, after: Option<CheckpointId>) -> u64 {
        let mut state = self.state();
        state.next_transaction += 1;
        let id = state.next_transaction;
        state.trace(|| format!("transaction {id} of c{sink:02}[{task}] begins after {after:?}"));
        state.transactions.insert(id, Transaction { sink, task, after, items: Vec::new(), stage: Stage::Open });
        id
    }

    pub fn add(&self, transaction: u64, item: &Item) {
        let mut state = self.state();
        match state.transactions.get_mut(&transaction) {
            Some(t) if t.stage == Stage::Open => {
                if item.class != Class::Tick {
                    t.items.push(item.id);
                }
            }
            _ => {
                state.wrong(format!("protocol: {item:?} is written into transaction {transaction}, which is not open"))
            }
        }
    }

    pub fn advance(&self, transaction: u64, prepared: bool) {
        let mut state = self.state();
        let (from, to) = if prepared { (Stage::Open, Stage::Prepared) } else { (Stage::Prepared, Stage::Durable) };
        match state.transactions.get_mut(&transaction) {
            Some(t) if t.stage == from => t.stage = to,
            // Its instance is gone, and so has it: nobody will commit it.
            None if !prepared => {}
            other => {
                let stage = other.map(|t| t.stage);
                state.wrong(format!("protocol: transaction {transaction} becomes {to:?}, and is {stage:?}"));
            }
        }
    }

    pub fn commit(&self, transaction: u64) {
        let mut state = self.state();
        let Some(t) = state.transactions.get_mut(&transaction) else {
            return state.wrong(format!("protocol: transaction {transaction} is committed and is not there"));
        };
        let stage = t.stage;
        match stage {
            Stage::Committed => {}
            Stage::Durable => {
                t.stage = Stage::Committed;
                let (sink, items) = (t.sink, std::mem::take(&mut t.items));
                for id in items {
                    *state.written.entry((sink, id)).or_default() += 1;
                }
                state.hit("commit");
                state.trace(|| format!("transaction {transaction} is committed"));
            }
            stage => state.wrong(format!("protocol: transaction {transaction} is committed and is {stage:?}")),
        }
    }

    pub fn abort(&self, transaction: u64) {
        let mut state = self.state();
        let stage = state.transactions.remove(&transaction).map(|t| t.stage);
        state.trace(|| format!("transaction {transaction}, {stage:?}, is aborted"));
        if stage == Some(Stage::Committed) {
            state.wrong(format!("protocol: transaction {transaction} is aborted and is committed"));
        }
    }

    pub fn abort_unknown(&self, sink: usize, (task, tasks): (usize, usize), resumed: Option<CheckpointId>) {
        let mut state = self.state();
        let is_unknown = |t: &Transaction| t.sink == sink && t.task % tasks == task && t.after >= resumed;
        let unknown: Vec<u64> = state.transactions.iter().filter(|(_, t)| is_unknown(t)).map(|(id, _)| *id).collect();
        for id in unknown {
            if state.transactions[&id].stage == Stage::Committed {
                state.wrong(format!("protocol: transaction {id} is committed, before any checkpoint that has it"));
            }
            state.transactions.remove(&id);
            state.trace(|| format!("transaction {id} is aborted, resumed from {resumed:?}"));
        }
    }
}

impl State {
    pub fn hit(&mut self, what: impl Into<String>) {
        *self.hits.entry(what.into()).or_default() += 1;
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        if self.traces {
            eprintln!("{}", what());
        }
    }

    fn wrong(&mut self, what: String) {
        if self.wrong.len() < 5 {
            self.wrong.push(what);
        }
    }

    fn may_strike(&mut self, item: Option<&Item>, chance: f64) -> bool {
        if self.chances_left == 0 || !self.random.chance(chance) {
            return false;
        }
        let root = item.map_or(NO_ROOT, |item| item.root);
        let of_root = self.of_root.entry(root).or_default();
        if root != NO_ROOT && *of_root >= CHANCES_OF_ROOT_MAX {
            return false;
        }
        *of_root += 1;
        self.chances_left -= 1;
        true
    }
}

/// What the campaign must have reached.
pub fn kinds() -> Vec<String> {
    let mut kinds = Vec::new();
    for guarantee in ["at-most-once", "at-least-once", "exactly-once"] {
        let ops = Op::ALL.into_iter().filter(|op| *op != Op::Source);
        let ops = ops.filter(|op| *op != Op::Transactional || guarantee != "at-most-once");
        kinds.extend(ops.map(|op| format!("{op:?} under {guarantee}")));
    }
    let failures = [
        "poison",
        "reject",
        "outage",
        "drop",
        "fatal",
        "commit",
        "crash",
        "suspend",
        "drain",
        "restart",
        "another parallelism",
        "retry at Item",
        "panic at Item",
        "retry at Tick",
        "panic at Tick",
        "retry at Callback",
        "panic at Callback",
        "retry at Last",
        "panic at Last",
        "retry at Poll",
        "dead letter",
        "timer",
        "eviction",
        "redelivered",
        "door",
    ];
    kinds.extend(failures.map(str::to_owned));
    kinds
}
