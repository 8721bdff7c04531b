//! What outlives processes: the world outside, in which chance strikes and everything is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::bare::Left;
use super::draw::{At, Class, Item, NO_ROOT, Op, Spec};
use crate::error::Failure;
use crate::sys::offload::Offload;
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
    /// Of bare spouts, by component and task.
    pub left: BTreeMap<(usize, usize), Left>,
    /// Items written at once, by sink and id.
    pub written: BTreeMap<(usize, u64), u64>,
    /// What happened, for the count of what the campaign reaches.
    pub hits: BTreeMap<String, u64>,
    pub fatal: bool,
    /// A source has failed, so that what it had read may come again.
    pub source_failed: bool,
    /// Inputs whose trees failed after their source had ended.
    pub ended: BTreeSet<u64>,
    /// Inputs in windows of this process, by component and id: how often they have gone in and not been seen there.
    windows: BTreeMap<(usize, u64), (u64, i64)>,
    real: Option<Real>,
    /// Told by the variable `SQUALL_TRACE`, to look at one seed.
    traces: bool,
    wrong: Vec<String>,
}

/// Of a process with threads and a clock of its own, which may be killed at any time.
pub struct Real {
    /// Keeps what later processes have to know, as lines.
    pub note: Box<dyn FnMut(&str) + Send>,
    /// Does work on a thread of the user's.
    pub threads: Sender<Job>,
    pub started: Instant,
}

pub type Job = Box<dyn FnOnce() + Send>;

/// What every process notes first.
pub const STARTED: &str = "started";

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
            left: BTreeMap::new(),
            written: BTreeMap::new(),
            hits: BTreeMap::new(),
            fatal: false,
            source_failed: false,
            ended: BTreeSet::new(),
            windows: BTreeMap::new(),
            real: None,
            traces: std::env::var_os("SQUALL_TRACE").is_some(),
            wrong: Vec::new(),
        })))
    }

    /// Of a real process, the `start`th, with what earlier ones have noted.
    pub fn real(spec: Arc<Spec>, start: u64, real: Real, notes: &str) -> Self {
        let world = World::new(spec);
        {
            let mut state = world.state();
            state.random = state.random.fork(start);
            notes.lines().for_each(|line| state.recall(line));
            state.real = Some(real);
            state.note(STARTED);
        }
        world
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
        state.windows.clear();
    }

    pub fn entered_window(&self, component: usize, item: &Item) {
        self.state().window(component, item, 1);
    }

    /// A window has shown it.
    pub fn left_window(&self, component: usize, item: &Item) {
        self.state().window(component, item, -1);
    }

    /// Marks an item with its producer and the number of the emit.
    pub fn stamp(&self, mut item: Item, producer: (u32, bool)) -> Item {
        let mut state = self.state();
        item.producer = producer;
        // Several threads emit through one door.
        if producer.1 && state.real.is_some() {
            item.sequence = 0;
            return item;
        }
        let sequence = state.sequences.entry(producer).or_default();
        *sequence += 1;
        item.sequence = *sequence;
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
        // Of virtual time, a process begins at 0.
        let real_ns = state.real.as_ref().map(|real| real.started.elapsed().as_nanos() as u64);
        let now_ns = if now_ns == u64::MAX { now_ns } else { real_ns.unwrap_or(now_ns) };
        if let Some(item) = item {
            // A child that is one dies of it by itself.
            let is_child = spec.components[component].op == Op::Child && state.real.is_some();
            if spec.is_poison(component, item) && !is_child {
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
        let (retry, panic, fatal) = match at {
            At::Prepare => (troubles.prepare, troubles.prepare, 0.0),
            _ => (troubles.retry, troubles.panic, troubles.fatal),
        };
        if !state.may_strike(item, retry + panic + fatal) {
            return Ok(());
        }
        if at == At::Poll {
            state.source_failed = true;
            state.note("source failed");
        }
        let kind = state.random.unit() * (retry + panic + fatal);
        if kind < fatal {
            state.fatal = true;
            state.note("fatal");
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

    /// Work that is done on another thread.
    pub fn elsewhere(&self, offload: &Offload, job: Job) {
        let mut state = self.state();
        let threads = match &state.real {
            Some(real) => real.threads.clone(),
            None => {
                drop(state);
                return offload.run(job);
            }
        };
        let own = state.random.chance(0.5);
        state.hit(if own { "a thread of the user's" } else { "offload" });
        drop(state);
        if own { threads.send(job).expect("the thread lives as long as the process") } else { offload.run(job) }
    }

    /// Then some of the work is done on threads of which the engine knows nothing, and by processes.
    pub fn is_real(&self) -> bool {
        self.state().real.is_some()
    }

    pub fn tick_item(&self) -> Item {
        let mut state = self.state();
        state.ticks += 1;
        Item::rootless(state.ticks, Class::Tick)
    }

    pub fn write(&self, sink: usize, item: &Item) {
        if item.class != Class::Tick {
            self.state().wrote(sink, item.id);
        }
    }
}

impl State {
    pub fn hit(&mut self, what: impl Into<String>) {
        let what = what.into();
        let times = self.hits.entry(what.clone()).or_default();
        *times += 1;
        if *times == 1 {
            self.note(&format!("hit {what}"));
        }
    }

    pub fn wrote(&mut self, sink: usize, id: u64) {
        *self.written.entry((sink, id)).or_default() += 1;
    }

    /// A tree of this input has failed after its source had ended.
    pub fn ended(&mut self, root: u64) {
        self.ended.insert(root);
        self.note(&format!("ended {root}"));
    }

    fn window(&mut self, component: usize, item: &Item, change: i64) {
        self.note(&format!("window {component} {} {} {change}", item.id, item.root));
        self.windows.entry((component, item.id)).or_insert((item.root, 0)).1 += change;
    }

    /// Inputs that no window has shown so far.
    pub fn in_windows(&self) -> BTreeSet<u64> {
        self.windows.values().filter(|(_, times)| *times > 0).map(|(root, _)| *root).collect()
    }

    fn note(&mut self, line: &str) {
        if let Some(real) = &mut self.real {
            (real.note)(line);
        }
    }

    /// What an earlier process has noted.
    fn recall(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("struck", root)) => {
                let root = root.parse().expect("as it was noted");
                *self.of_root.entry(root).or_default() += 1;
                self.chances_left = self.chances_left.saturating_sub(1);
            }
            Some(("ended", root)) => drop(self.ended.insert(root.parse().expect("as it was noted"))),
            Some(("source", _)) => self.source_failed = true,
            _ => self.fatal |= line == "fatal",
        }
    }

    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.traces {
            eprintln!("{}", what());
        }
    }

    pub fn wrong(&mut self, what: String) {
        if self.wrong.len() < 5 {
            self.note(&format!("wrong {what}"));
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
        self.note(&format!("struck {root}"));
        true
    }
}

/// What the campaign must have reached.
pub fn kinds() -> Vec<String> {
    let mut kinds = Vec::new();
    for guarantee in ["at-most-once", "at-least-once", "exactly-once"] {
        let ops = Op::ALL.into_iter().filter(|op| !op.is_source());
        let ops = ops.filter(|op| *op != Op::Transactional || guarantee != "at-most-once");
        let ops = ops.filter(|op| *op != Op::Child && (*op != Op::Window || guarantee != "exactly-once"));
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
        "retry at Prepare",
        "panic at Prepare",
        "dead letter",
        "timer",
        "window",
        "eviction",
        "redelivered",
        "given up too late",
        "not started",
        "savepoint",
        "given up by a bare spout",
        "Bare under at-most-once",
        "Bare under at-least-once",
        "door",
    ];
    kinds.extend(failures.map(str::to_owned));
    kinds
}
