//! Whole topologies as data: what a seed draws, and what each component makes of an item. Components and oracle read
//! the same data, and share no other code.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::random::{Random, mix};
use crate::topology::settings::Guarantee;

/// How an item hangs together with the input it comes from. What it passes makes it later in this order, never earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// It descends from one input, in calls between the same two barriers.
    Placed,
    /// The same, but it may have been held in a checkpoint.
    Held,
    /// It is anchored to several.
    Joined,
    /// Emitted by a callback: nothing tracks it.
    Late,
    /// A sum that a last call emits.
    Total,
    /// Emitted by a tick: how many there are depends on the time.
    Tick,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The input it descends from.
    pub root: u64,
    /// Its way, as a hash.
    pub id: u64,
    pub hops: u8,
    pub class: Class,
    /// The task that emitted it, whether through its door, and the number of the emit.
    pub producer: (u32, bool),
    pub sequence: u64,
}

pub const NO_ROOT: u64 = u64::MAX;
const KEYS: u64 = 7;
const HOPS_MAX: u8 = 5;

impl Item {
    pub fn of_source(source: usize, n: u64) -> Self {
        let root = (source as u64) << 32 | n;
        Item { root, id: mix(root ^ 0x5eed), hops: 0, class: Class::Placed, producer: (0, false), sequence: 0 }
    }

    /// What belongs to no input.
    pub fn rootless(id: u64, class: Class) -> Self {
        Item { root: NO_ROOT, id, hops: HOPS_MAX - 1, class, producer: (0, false), sequence: 0 }
    }

    pub fn key(&self) -> u16 {
        (self.id % KEYS) as u16
    }
}

/// Of a key, as a last call tells it.
pub fn total(component: usize, key: u16, (count, sum, distinct): (u64, u64, u64)) -> Item {
    let id = [u64::from(key), count, sum, distinct].into_iter().fold(component as u64, |id, part| mix(id ^ mix(part)));
    Item::rootless(id, Class::Total)
}

/// Where something may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Prepare,
    /// Handling an item.
    Item,
    Tick,
    Callback,
    Last,
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Source,
    /// A spout of the user's own, which cannot go back.
    Bare,
    /// A closure.
    Function,
    /// A bolt of the automatic style, with ticks that emit.
    Bolt,
    /// The same, handing over an iterator for each input.
    Iterator,
    /// Keyed: counts in value and map state, tells its totals in its last call.
    Count,
    /// Keyed: keeps items in list state until a timer.
    Timers,
    /// Keyed: keeps items in a value until it expires and is reported; what has not, in its last call.
    Ttl,
    /// Manual: settles at once, at the next tick, or by a job that emits through the door.
    Drain,
    /// Manual: gathers a few and settles them one by one...
    Gather,
    /// ...or all together, with what it emits anchored to all of them.
    Join,
    /// Dynamic records in and out.
    Record,
    /// Windows of dynamic records.
    Window,
    /// A multilang child; under the simulation a stand-in that settles as `Drain` does.
    Child,
    /// Writes into transactions.
    Transactional,
    /// Writes at once.
    Plain,
}

impl Op {
    pub const ALL: [Op; 16] = [
        Op::Source,
        Op::Bare,
        Op::Function,
        Op::Bolt,
        Op::Iterator,
        Op::Count,
        Op::Timers,
        Op::Ttl,
        Op::Drain,
        Op::Gather,
        Op::Join,
        Op::Record,
        Op::Window,
        Op::Child,
        Op::Transactional,
        Op::Plain,
    ];

    pub fn is_keyed(self) -> bool {
        matches!(self, Op::Count | Op::Timers | Op::Ttl)
    }

    pub fn is_source(self) -> bool {
        matches!(self, Op::Source | Op::Bare)
    }

    pub fn is_sink(self) -> bool {
        matches!(self, Op::Transactional | Op::Plain)
    }

    /// It takes and gives records: components of other names stand before and behind it.
    pub fn is_of_records(self, has_children: bool) -> bool {
        matches!(self, Op::Record | Op::Window) || (self == Op::Child && has_children)
    }

    /// What passing it makes of an item.
    fn class(self) -> Class {
        match self {
            Op::Gather => Class::Held,
            Op::Join | Op::Window => Class::Joined,
            Op::Timers | Op::Ttl => Class::Late,
            _ => Class::Placed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grouping {
    Shuffle,
    LocalOrShuffle,
    None,
    Fields,
    PartialKey,
    All,
    Global,
    Direct,
    Custom,
}

impl Grouping {
    pub const ALL: [Grouping; 9] = [
        Grouping::Shuffle,
        Grouping::LocalOrShuffle,
        Grouping::None,
        Grouping::Fields,
        Grouping::PartialKey,
        Grouping::All,
        Grouping::Global,
        Grouping::Direct,
        Grouping::Custom,
    ];
}

/// What goes wrong in a component.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Rejects one item in so many, by its id; 0: none.
    pub reject_one_in: u64,
    /// Panics at whatever descends from these inputs, always.
    pub poison: BTreeSet<u64>,
    /// A service is away, from when until when, since the process has started.
    pub outage_ns: Option<(u64, u64)>,
    pub prepare: f64,
    pub retry: f64,
    pub panic: f64,
    pub drop: f64,
    pub fatal: f64,
}

#[derive(Clone, Debug)]
pub struct Component {
    pub op: Op,
    pub tasks: usize,
    /// The same number of tasks at every start: it decides how often an item comes out.
    pub fixed: bool,
    pub troubles: Troubles,
}

#[derive(Clone, Copy, Debug)]
pub struct Edge {
    pub from: usize,
    /// 2: the dead letters of a source.
    pub port: usize,
    pub to: usize,
    pub grouping: Grouping,
}

pub const DEAD_LETTERS: usize = 2;
/// Said by a start that fails, because an instance does before anything else.
pub const NOT_STARTED: &str = "(not_started)";
/// Said by a topology that cannot go on.
pub const TOO_LATE: &str = "given up after its source had ended";

#[derive(Clone, Debug)]
pub struct Spec {
    pub seed: u64,
    pub guarantee: Guarantee,
    pub checkpoint_every: Option<Duration>,
    pub max_spout_pending: usize,
    pub inputs: u64,
    pub rate: u64,
    pub components: Vec<Component>,
    pub edges: Vec<Edge>,
    /// Failures by chance in the whole run.
    pub chances_max: u32,
    pub ends: Ends,
}

/// How processes end before the last one.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub crashes_max: u32,
    pub suspends: bool,
    pub drains: bool,
    /// The next one begins with a savepoint of what one has left.
    pub savepoints: bool,
}

/// How much a drawn topology has to do.
pub struct Size {
    pub inputs_max: u64,
    /// The same, with so many in flight: what is held waits for a tick of 10 ms.
    pub inputs_of_pending_max: [(usize, u64); 4],
    /// Tuples in an undisturbed run.
    pub deliveries_max: u64,
    pub rates: [u64; 3],
    pub outages_ms: [u64; 5],
}

/// In virtual time, many a second.
pub const SIMULATED: Size = Size {
    inputs_max: 40,
    inputs_of_pending_max: [(1, 40), (2, 40), (5, 40), (1_000, 40)],
    deliveries_max: 700,
    rates: [300, 3_000, 100_000],
    outages_ms: [1, 20, 1_000, 10_000, 30_000],
};

impl Spec {
    pub fn draw(seed: u64, size: &Size) -> Self {
        let mut random = Random::new(seed).fork(0x67656e);
        let guarantee = match random.below(10) {
            0..2 => Guarantee::AtMostOnce,
            2..5 => Guarantee::AtLeastOnce,
            _ => Guarantee::ExactlyOnce,
        };
        let has_checkpoints =
            guarantee == Guarantee::ExactlyOnce || (guarantee == Guarantee::AtLeastOnce && random.chance(0.5));
        let sources = 1 + random.below(2) as usize;
        let bolts = 1 + random.below(5) as usize;
        let op = |random: &mut Random| Op::ALL[2 + random.below(9) as usize];
        let mut components: Vec<Component> = (0..sources + bolts)
            .map(|number| Component {
                op: if number < sources { Op::Source } else { op(&mut random) },
                tasks: 1 + random.below(5).min(random.below(5)) as usize,
                fixed: false,
                troubles: Troubles::default(),
            })
            .collect();
        let mut bare = random.fork(0x62617265);
        for component in components.iter_mut().take(sources).filter(|_| !has_checkpoints && bare.chance(0.3)) {
            component.op = Op::Bare;
        }
        let mut child = random.fork(0x6368696c64);
        let may_be_child = |component: &&mut Component| matches!(component.op, Op::Bolt | Op::Function | Op::Drain);
        for component in components.iter_mut().filter(may_be_child) {
            // Exactly-once refuses them.
            if guarantee != Guarantee::ExactlyOnce && child.chance(0.3) {
                component.op = Op::Child;
            }
        }
        let mut record = random.fork(0x7265636f7264);
        let may_be_record = |component: &&mut Component| matches!(component.op, Op::Bolt | Op::Iterator | Op::Drain);
        for component in components.iter_mut().filter(may_be_record) {
            component.op = match record.below(8) {
                0 => Op::Record,
                // Exactly-once refuses them.
                1..4 if guarantee != Guarantee::ExactlyOnce => Op::Window,
                _ => component.op,
            };
        }
        let mut edges = draw_edges(&mut components, sources, has_checkpoints, &mut random);
        for source in 0..sources {
            if components[source].op == Op::Bare {
                continue;
            }
            let to = components.len();
            components.push(Component {
                op: if has_checkpoints { Op::Transactional } else { Op::Plain },
                tasks: 1,
                fixed: false,
                troubles: Troubles::default(),
            });
            edges.push(Edge { from: source, port: DEAD_LETTERS, to, grouping: Grouping::Global });
        }
        for edge in &edges {
            components[edge.to].fixed |= edge.grouping == Grouping::All;
        }
        let checkpoint_every = has_checkpoints.then(|| Duration::from_millis([10, 30, 100][random.below(3) as usize]));
        let (max_spout_pending, inputs_of_pending_max) = size.inputs_of_pending_max[random.below(4) as usize];
        let mut spec = Spec {
            seed,
            guarantee,
            checkpoint_every,
            max_spout_pending,
            inputs: 2 + random.below(size.inputs_max).min(inputs_of_pending_max),
            rate: size.rates[random.below(3) as usize],
            components,
            edges,
            chances_max: random.below(13) as u32,
            ends: Ends {
                crashes_max: if has_checkpoints && random.chance(0.4) { 1 + random.below(3) as u32 } else { 0 },
                suspends: has_checkpoints && random.chance(0.15),
                drains: guarantee != Guarantee::ExactlyOnce && random.chance(0.1),
                savepoints: has_checkpoints && random.fork(0x73617665).chance(0.3),
            },
        };
        while spec.inputs > 1 && super::oracle::expected(&spec).deliveries > size.deliveries_max {
            spec.inputs /= 2;
        }
        if random.chance(0.85) {
            spec.draw_troubles(sources, size, &mut random);
        }
        spec
    }

    fn draw_troubles(&mut self, sources: usize, size: &Size, random: &mut Random) {
        let inputs = self.inputs;
        let letters = self.edges.iter().filter(|edge| edge.port == DEAD_LETTERS).map(|edge| edge.to).min();
        let mut prepare = random.fork(0x70726570);
        for (number, component) in self.components.iter_mut().enumerate() {
            // Where dead letters end, nothing fails.
            if letters.is_some_and(|letters| number >= letters) {
                break;
            }
            component.troubles.prepare = if prepare.chance(0.1) { 0.2 } else { 0.0 };
            if component.op.is_source() {
                if random.chance(0.1) {
                    component.troubles.retry = 0.02;
                }
                continue;
            }
            let troubles = &mut component.troubles;
            let is_sink = component.op.is_sink();
            if random.chance(0.25) && !is_sink {
                troubles.reject_one_in = 3 + random.below(20);
            }
            if random.chance(0.15) && !is_sink {
                let poisoned = 1 + random.below(2);
                let mut root = || (random.below(sources as u64)) << 32 | random.below(inputs);
                troubles.poison = (0..poisoned).map(|_| root()).collect();
            }
            if random.chance(0.15) {
                let from_ns = random.below(50_000_000);
                let length_ns = size.outages_ms[random.below(5) as usize] * 1_000_000;
                troubles.outage_ns = Some((from_ns, from_ns + length_ns));
            }
            let mut some = |chance: f64| if random.chance(0.25) { chance } else { 0.0 };
            (troubles.retry, troubles.panic) = (some(0.03), some(0.03));
            troubles.drop = some(0.05);
            troubles.fatal = if random.chance(0.01) { 0.01 } else { 0.0 };
        }
    }

    /// What a component makes of an item: a pure function.
    pub fn children(&self, component: usize, item: &Item) -> Vec<(usize, Item)> {
        if item.hops >= HOPS_MAX || self.components[component].op.is_sink() {
            return Vec::new();
        }
        let dice = mix(item.id ^ mix(component as u64 + 1));
        let fan = [1, 1, 1, 2, 0, 3][(dice % 6) as usize];
        let child = |n: u64| {
            let id = mix(dice.wrapping_add(n));
            let class = item.class.max(self.components[component].op.class());
            let port = usize::from(id >> 40 & 3 == 0);
            (port, Item { id, class, hops: item.hops + 1, ..item.clone() })
        };
        (0..fan).map(child).collect()
    }

    pub fn rejects(&self, component: usize, item: &Item) -> bool {
        let one_in = self.components[component].troubles.reject_one_in;
        let dice = mix(item.id ^ mix(component as u64 + 0x7e1ec7));
        item.class <= Class::Held && one_in > 0 && dice.is_multiple_of(one_in)
    }

    /// Where what a collector has held is rejected, its source may have ended: then there is nobody to give it up, and
    /// the topology stops.
    pub fn may_be_given_up_too_late(&self) -> bool {
        let is_collector = |component: &Component| matches!(component.op, Op::Gather | Op::Join);
        self.guarantee == Guarantee::ExactlyOnce && self.components.iter().any(is_collector)
    }

    pub fn is_poison(&self, component: usize, item: &Item) -> bool {
        item.class == Class::Placed && self.components[component].troubles.poison.contains(&item.root)
    }

    /// The task, by index, that an item is emitted to by name.
    pub fn named_task(item: &Item, tasks: usize) -> usize {
        (item.id >> 17) as usize % tasks
    }
}

/// Of a custom grouping: how many copies one task gets.
pub fn custom_copies(item: &Item) -> usize {
    (item.id >> 23) as usize % 3
}

fn draw_edges(
    components: &mut Vec<Component>,
    sources: usize,
    has_checkpoints: bool,
    random: &mut Random,
) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for to in sources..components.len() {
        for n in 0..1 + random.below(3) {
            let from = if n == 0 || random.chance(0.5) { to - 1 } else { random.below(to as u64) as usize };
            add_edge(&mut edges, components, from, to, random);
        }
        // Its stream may be taken by name.
        if !edges.iter().any(|edge| edge.to == to) {
            edges.push(Edge { from: to - 1, port: 0, to, grouping: any_grouping(components, to, random) });
        }
    }
    let bolts = components.len();
    for from in 0..bolts {
        let is_read = edges.iter().any(|edge| edge.from == from);
        if is_read && random.chance(0.7) {
            continue;
        }
        let transactional = has_checkpoints && random.chance(0.8);
        let to = components.len();
        components.push(Component {
            op: if transactional { Op::Transactional } else { Op::Plain },
            tasks: 1 + random.below(3) as usize,
            fixed: false,
            troubles: Troubles::default(),
        });
        edges.push(Edge { from, port: 0, to, grouping: any_grouping(components, to, random) });
        if random.chance(0.5) {
            add_edge(&mut edges, components, from, to, random);
        }
    }
    edges
}

/// One more edge; both streams between two components share lanes.
fn add_edge(edges: &mut Vec<Edge>, components: &[Component], from: usize, to: usize, random: &mut Random) {
    let is_source = components[from].op.is_source();
    let is_taken = |port: usize| edges.iter().any(|edge| (edge.from, edge.port, edge.to) == (from, port, to));
    let port = match (is_source, is_taken(0)) {
        (true, true) => return,
        (true, false) => 0,
        (false, true) => 1,
        (false, false) => usize::from(random.chance(0.3)),
    };
    if is_taken(port) {
        return;
    }
    let of_port: Vec<&Edge> = edges.iter().filter(|edge| (edge.from, edge.port) == (from, port)).collect();
    let is_named = of_port.first().is_some_and(|edge| edge.grouping == Grouping::Direct);
    if is_named {
        return;
    }
    let may_be_named = port == 1 && of_port.is_empty() && !components[to].op.is_keyed();
    let grouping = match may_be_named && random.chance(0.4) {
        true => Grouping::Direct,
        false => any_grouping(components, to, random),
    };
    edges.push(Edge { from, port, to, grouping });
}

/// Any but direct.
fn any_grouping(components: &[Component], to: usize, random: &mut Random) -> Grouping {
    let others: Vec<Grouping> = Grouping::ALL.into_iter().filter(|g| *g != Grouping::Direct).collect();
    let other = others[random.below(others.len() as u64) as usize];
    if components[to].op.is_keyed() { Grouping::Fields } else { other }
}
