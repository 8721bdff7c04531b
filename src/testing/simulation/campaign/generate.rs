//! Random topologies: chains, fans, diamonds, joins, cycles; every grouping; automatic, keyed and manual bolts.

use std::time::Duration;

use super::parts::{Automatic, ByKey, ByKeyOddly, Faults, Manual, Out, Part, Source, onto_edge};
use super::world::{EdgeOracle, Licence, Parcel, Route, World};
use crate::error::Result;
use crate::sys::random::Random;
use crate::task::TaskId;
use crate::testing::simulation::generated::Grouping;
use crate::topology::Topology;
use crate::topology::builder::{BoltHandle, SpoutHandle, TopologyBuilder};
use crate::topology::component::{ByKey as KeyedBy, Unkeyed};
use crate::topology::settings::{Guarantee, Settings};
use crate::topology::stream::Stream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Spout,
    Automatic,
    Keyed,
    Manual,
}

#[derive(Clone, Debug)]
struct Component {
    role: Role,
    tasks: usize,
    tick: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Edge {
    from: usize,
    port: usize,
    to: usize,
    grouping: Grouping,
    feedback: bool,
}

/// A topology as drawn from a seed.
#[derive(Clone, Debug)]
pub struct Spec {
    components: Vec<Component>,
    edges: Vec<Edge>,
    faults: Faults,
    pub licence: Licence,
    roots: u64,
    burst: u64,
    stalls: f64,
    settings: Settings,
    /// When the topology is drained, if it is not left to end.
    pub drain_after: Option<Duration>,
}

impl Spec {
    pub fn draw(seed: u64) -> Self {
        // Apart from the sequence from which the simulation draws the run.
        let mut random = Random::new(seed).fork(7);
        let mut components = draw_components(&mut random);
        let edges = draw_edges(&components, &mut random);
        for (number, component) in components.iter_mut().enumerate() {
            // A loop closes when nothing is queued or running in it: it does not wait for what is held.
            if in_loop(&edges, number) && component.role == Role::Manual {
                component.role = Role::Automatic;
            }
        }
        let faults = draw_faults(&mut random);
        let tracking = random.chance(0.9);
        let timeouts = faults.never > 0.0 || random.chance(0.15);
        let drained = faults.never == 0.0 && random.chance(0.15);
        let mut settings = Settings {
            message_timeout: Duration::from_secs(3_600),
            storm_timeouts: random.chance(0.2),
            max_spout_pending: [1, 3, 50, 16_384][random.below(4) as usize],
            rebuilds_max: 1_000_000,
            rebuild_progress_tuples: 1,
            ..Settings::default()
        };
        if timeouts {
            settings.message_timeout = Duration::from_millis(5 + random.below(500));
        }
        if faults.never == 0.0 {
            settings.drain_timeout = Duration::from_secs(86_400);
        }
        if !tracking {
            settings.guarantee = Guarantee::AtMostOnce;
        }
        Spec {
            components,
            edges,
            faults,
            licence: Licence {
                tracking,
                timeouts,
                may_be_given_up: faults.never > 0.0,
                // Below half the capacity of a lane: a cycle must never fill up, and where edges share a lane, the
                // number of the input may stand in front of every parcel.
                parcels_max: 500,
            },
            roots: 1 + random.below(60),
            burst: 1 + random.below(3),
            stalls: if random.chance(0.5) { 0.0 } else { 0.2 },
            settings,
            drain_after: drained.then(|| Duration::from_micros(random.below(20_000))),
        }
    }

    pub fn faultless(&self) -> bool {
        let Faults { fail, panic, drop, never } = self.faults;
        fail + panic + drop + never == 0.0 && !self.licence.timeouts
    }

    fn route(&self, edge: &Edge) -> Route {
        match edge.grouping {
            Grouping::Shuffle | Grouping::LocalOrShuffle | Grouping::None => Route::One,
            Grouping::Fields => Route::Key,
            Grouping::PartialKey => Route::TwoTasksPerKey,
            Grouping::All => Route::All,
            Grouping::Global => Route::First,
            Grouping::Direct => Route::Meant,
            Grouping::Custom => Route::Custom,
        }
    }

    fn oracles(&self) -> Vec<EdgeOracle> {
        let oracle = |edge: &Edge| EdgeOracle {
            to: edge.to,
            route: self.route(edge),
            tasks: self.components[edge.to].tasks,
            expected: 0,
            delivered: 0,
        };
        self.edges.iter().map(oracle).collect()
    }

    /// Task ids as the topology numbers them: over components in order of their ids, from 1.
    fn tasks_of(&self, component: usize) -> Vec<TaskId> {
        let before: usize = self.components[..component].iter().map(|component| component.tasks).sum();
        (0..self.components[component].tasks).map(|index| TaskId((before + index + 1) as u32)).collect()
    }

    fn part(&self, world: &World, component: usize) -> Part {
        let named = self.edges.iter().filter(|edge| edge.from == component && edge.grouping == Grouping::Direct);
        Part {
            world: world.clone(),
            component,
            faults: self.faults,
            direct: named.flat_map(|edge| self.tasks_of(edge.to)).collect(),
            in_loop: in_loop(&self.edges, component),
            roots: self.roots,
            burst: self.burst,
            stalls: self.stalls,
        }
    }

    /// A fresh oracle and the topology that reports to it.
    pub fn build(&self) -> Result<(Topology, World)> {
        let oracles = self.oracles();
        let world = World::new(self.licence, oracles.clone());
        let mut t = TopologyBuilder::new("generated");
        t.settings(|settings| *settings = self.settings.clone());
        let mut handles: Vec<Option<Handle>> = Vec::new();
        for (number, component) in self.components.iter().enumerate() {
            handles.push(Some(declare(&mut t, number, component, self.part(&world, number))));
        }
        let streams: Vec<(Stream<Parcel>, Stream<Parcel>)> =
            handles.iter().map(|handle| handle.as_ref().expect("just made").streams()).collect();
        for (number, edge) in self.edges.iter().enumerate() {
            let (first, second) = &streams[edge.from];
            let stream = if edge.port == 0 { first } else { second };
            let onto = Onto { stream, world: &world, number, oracle: &oracles[number], edge };
            handles[edge.to] = handles[edge.to].take().map(|handle| handle.subscribe(&onto));
        }
        Ok((t.build()?, world))
    }
}

/// True for everything on a way from one end to the other of an edge that closes a cycle.
fn in_loop(edges: &[Edge], component: usize) -> bool {
    let mut feedback = edges.iter().filter(|edge| edge.feedback);
    feedback.any(|edge| leads_to(edges, edge.to, component) && leads_to(edges, component, edge.from))
}

fn draw_components(random: &mut Random) -> Vec<Component> {
    let spouts = 1 + random.below(2) as usize;
    let bolts = 1 + random.below(5) as usize;
    let component = |number: usize| {
        let role = match random.below(10) {
            _ if number < spouts => Role::Spout,
            0..5 => Role::Automatic,
            5..7 => Role::Keyed,
            _ => Role::Manual,
        };
        let period = Duration::from_millis(50);
        // A manual bolt that collects must let go now and then: the spout may be waiting for what it holds.
        let ticks = role == Role::Manual || (role == Role::Automatic && random.chance(0.2));
        Component { role, tasks: 1 + random.below(3) as usize, tick: ticks.then_some(period) }
    };
    (0..spouts + bolts).map(component).collect()
}

/// Every bolt gets one to three inputs from components before it, which makes chains, fans, diamonds and joins.
fn draw_edges(components: &[Component], random: &mut Random) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    let spouts = components.iter().filter(|component| component.role == Role::Spout).count();
    for to in spouts..components.len() {
        for _ in 0..1 + random.below(3) {
            // Rather from its neighbour: otherwise everything hangs on the spouts.
            let from = if random.chance(0.5) { to - 1 } else { random.below(to as u64) as usize };
            add_edge(&mut edges, components, from, to, false, random);
        }
        // The first input must not be lost to a stream that is taken.
        if !edges.iter().any(|edge| edge.to == to) {
            edges.push(Edge {
                from: to - 1,
                port: 0,
                to,
                grouping: any_grouping(components, to, random),
                feedback: false,
            });
        }
    }
    if random.chance(0.2) && components.len() - spouts > 1 {
        let to = spouts + random.below((components.len() - spouts - 1) as u64) as usize;
        let from = to + 1 + random.below((components.len() - to - 1) as u64) as usize;
        if leads_to(&edges, to, from) {
            add_edge(&mut edges, components, from, to, true, random);
        }
    }
    edges
}

/// True if there is a way along edges that close no cycle.
fn leads_to(edges: &[Edge], from: usize, to: usize) -> bool {
    let mut further = edges.iter().filter(|edge| edge.from == from && !edge.feedback);
    from == to || further.any(|edge| leads_to(edges, edge.to, to))
}

fn add_edge(
    edges: &mut Vec<Edge>,
    components: &[Component],
    from: usize,
    to: usize,
    feedback: bool,
    random: &mut Random,
) {
    let port = usize::from(random.chance(0.35));
    let of_stream: Vec<&Edge> = edges.iter().filter(|edge| edge.from == from && edge.port == port).collect();
    let named = of_stream.iter().any(|edge| edge.grouping == Grouping::Direct);
    let taken = of_stream.iter().any(|edge| edge.to == to);
    let keyed = components[to].role == Role::Keyed;
    let grouping = if port == 1 && !keyed && (named || (of_stream.is_empty() && random.chance(0.4))) {
        Grouping::Direct
    } else {
        any_grouping(components, to, random)
    };
    if !taken && named == (grouping == Grouping::Direct && !of_stream.is_empty()) {
        edges.push(Edge { from, port, to, grouping, feedback });
    }
}

fn any_grouping(components: &[Component], to: usize, random: &mut Random) -> Grouping {
    use Grouping::*;
    if components[to].role == Role::Keyed {
        return Fields;
    }
    [Shuffle, Shuffle, LocalOrShuffle, None, Fields, PartialKey, All, Global, Custom][random.below(9) as usize]
}

fn draw_faults(random: &mut Random) -> Faults {
    if random.chance(0.4) {
        return Faults::default();
    }
    let mut some = |probability: f64| if random.chance(0.5) { probability } else { 0.0 };
    Faults {
        fail: some(0.05),
        panic: some(0.02),
        drop: some(0.03),
        never: if some(1.0) > 0.0 { some(0.02) } else { 0.0 },
    }
}

enum Handle {
    Spout(SpoutHandle<Out>),
    Unkeyed(BoltHandle<Parcel, Out, Unkeyed>),
    Keyed(BoltHandle<Parcel, Out, KeyedBy<u16>>),
}

fn declare(t: &mut TopologyBuilder, number: usize, component: &Component, part: Part) -> Handle {
    let (id, tasks) = (format!("c{number}"), component.tasks);
    macro_rules! bolt {
        ($variant:ident, $factory:expr) => {{
            let handle = t.bolt(id, $factory).parallelism(tasks);
            Handle::$variant(match component.tick {
                Some(period) => handle.tick(period),
                None => handle,
            })
        }};
    }
    match component.role {
        Role::Spout => Handle::Spout(t.spout(id, move || Source::new(part.clone())).parallelism(tasks)),
        Role::Automatic => bolt!(Unkeyed, move || Automatic::new(part.clone())),
        Role::Manual => bolt!(Unkeyed, move || Manual::new(part.clone())),
        Role::Keyed => bolt!(Keyed, move || ByKey(Automatic::new(part.clone()))),
    }
}

/// A stream on its way into a subscriber.
struct Onto<'a> {
    stream: &'a Stream<Parcel>,
    world: &'a World,
    number: usize,
    oracle: &'a EdgeOracle,
    edge: &'a Edge,
}

impl Handle {
    fn streams(&self) -> (Stream<Parcel>, Stream<Parcel>) {
        match self {
            Handle::Spout(handle) => (*handle).clone(),
            Handle::Unkeyed(handle) => (*handle).clone(),
            Handle::Keyed(handle) => (*handle).clone(),
        }
    }

    fn subscribe(self, onto: &Onto<'_>) -> Handle {
        let via = onto.stream.via(onto_edge(onto.world, onto.number, onto.oracle));
        let (world, edge) = (onto.world.clone(), onto.number);
        match self {
            Handle::Spout(_) => unreachable!("no edge leads to a spout"),
            Handle::Keyed(handle) if onto.edge.feedback => {
                Handle::Keyed(handle.closing_cycle(|handle| handle.fields(via, |parcel| &parcel.key)))
            }
            Handle::Keyed(handle) => Handle::Keyed(handle.fields(via, |parcel| &parcel.key)),
            Handle::Unkeyed(handle) => {
                let subscribe = |handle: BoltHandle<Parcel, Out, Unkeyed>| match onto.edge.grouping {
                    Grouping::Shuffle => handle.shuffle(via),
                    Grouping::LocalOrShuffle => handle.local_or_shuffle(via),
                    Grouping::None => handle.none(via),
                    Grouping::Fields => handle.fields(via, |parcel| &parcel.key),
                    Grouping::PartialKey => handle.partial_key(via, |parcel| &parcel.key),
                    Grouping::All => handle.all(via),
                    Grouping::Global => handle.global(via),
                    Grouping::Direct => handle.direct(via),
                    Grouping::Custom => {
                        handle.custom(via, move || ByKeyOddly { world: world.clone(), edge, tasks: Vec::new() })
                    }
                };
                Handle::Unkeyed(if onto.edge.feedback { handle.closing_cycle(subscribe) } else { subscribe(handle) })
            }
        }
    }
}
