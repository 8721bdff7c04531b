//! From the topology as data to the topology.

use super::bare::Bare;
use super::draw::{At, Component, DEAD_LETTERS, Edge, Grouping, Item, Op, Spec};
use super::parts::{Automatic, Copies, Inputs, Keyed, Manual, Out, Part};
use super::records;
use super::world::World;
use crate::error::Result;
use crate::sys::sync::Arc;
use crate::task::TaskId;
use crate::task::dead_letter::DeadLetter;
use crate::task::outlet::Outlet;
use crate::task::payload::Nothing;
use crate::topology::Topology;
use crate::topology::builder::{BoltHandle, SourceHandle, SpoutHandle, TopologyBuilder};
use crate::topology::component::{ByKey, Unkeyed};
use crate::topology::settings::Settings;
use crate::topology::stream::{Stream, Streams};

enum Handle {
    Source(SourceHandle<Item>),
    Bare(SpoutHandle<Item>),
    Unkeyed(BoltHandle<Item, Out, Unkeyed>),
    Keyed(BoltHandle<Item, Out, ByKey<u16>>),
    Sink(BoltHandle<Item, Nothing, Unkeyed>),
    /// What comes in, and what goes out.
    OfRecords(BoltHandle<Item, Item, Unkeyed>, Vec<Stream<Item>>),
}

/// Declares a sink with so many tasks.
pub type Sinks<'a> = &'a dyn Fn(&mut TopologyBuilder, String, Part, usize) -> BoltHandle<Item, Nothing, Unkeyed>;

/// Declares what stands behind a child's input: its two streams.
pub type Children<'a> = &'a dyn Fn(&mut TopologyBuilder, &str, Part, usize, &Stream<Item>) -> Vec<Stream<Item>>;

/// What is not the same for everyone.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    pub sinks: Sinks<'a>,
    /// None: a stand-in.
    pub children: Option<Children<'a>>,
}

/// Builds it with these numbers of tasks.
pub fn build(
    spec: &Arc<Spec>,
    world: &World,
    tasks: &[usize],
    outside: Outside<'_>,
    set: impl FnOnce(&mut Settings),
) -> Result<Topology> {
    let mut t = TopologyBuilder::new("generated");
    t.settings(|settings| {
        settings.guarantee = spec.guarantee;
        settings.checkpoint_interval = spec.checkpoint_every;
        settings.max_spout_pending = spec.max_spout_pending;
        (settings.restarts_max, settings.rebuilds_max) = (120, 1_000);
        // Restarts without progress come to their limit, however long the pauses are.
        settings.restart_window = std::time::Duration::from_secs(365 * 86_400);
        set(settings);
    });
    let mut handles: Vec<Option<Handle>> = Vec::new();
    for (number, component) in spec.components.iter().enumerate() {
        let part = Part {
            spec: spec.clone(),
            world: world.clone(),
            number,
            named: named(spec, tasks, outside.children.is_some(), number),
        };
        handles.push(Some(declare(&mut t, component, part, tasks[number], outside)));
    }
    let streams: Vec<Vec<Stream<Item>>> =
        handles.iter().map(|handle| handle.as_ref().expect("just made").streams()).collect();
    let letters: Vec<_> = handles.iter().map(|handle| handle.as_ref().expect("just made").dead_letters()).collect();
    for edge in &spec.edges {
        world.hit(format!("{:?}", edge.grouping));
        let handle = handles[edge.to].take().expect("put back");
        handles[edge.to] = Some(if edge.port == DEAD_LETTERS {
            let Handle::Sink(sink) = handle else { unreachable!("dead letters end in a sink") };
            let letters = letters[edge.from].clone().expect("a source");
            let world = world.clone();
            Handle::Sink(sink.global(letters.via(move |letter| {
                world.hit("dead letter");
                if letter.error.starts_with("ended: ") {
                    world.hit("ended");
                    world.state().ended(letter.value.root);
                }
                // Of the input itself, however its value has come.
                Item { id: letter.value.root, ..letter.value }
            })))
        } else {
            handle.subscribe(&streams[edge.from][edge.port], edge)
        });
    }
    t.build()
}

/// Task ids as the topology numbers them: over components in the order of their ids, from 1.
fn named(spec: &Spec, tasks: &[usize], has_children: bool, component: usize) -> Vec<TaskId> {
    let components = |number: usize| match spec.components[number].op.is_of_records(has_children) {
        true => records::NAMES,
        false => 1,
    };
    let of = |edge: &Edge| {
        let before: usize = (0..edge.to).map(|number| tasks[number] * components(number)).sum();
        (0..tasks[edge.to]).map(move |index| TaskId((before + index + 1) as u32))
    };
    let edges = spec.edges.iter().filter(|edge| edge.from == component && edge.grouping == Grouping::Direct);
    edges.flat_map(of).collect()
}

fn declare(t: &mut TopologyBuilder, component: &Component, part: Part, tasks: usize, outside: Outside<'_>) -> Handle {
    // Two digits: in order.
    let id = format!("c{:02}", part.number);
    let tick = std::time::Duration::from_millis(10);
    match component.op {
        Op::Source => Handle::Source(t.source(id, move || Inputs::new(part.clone())).parallelism(tasks)),
        Op::Bare => {
            part.world.hit(format!("Bare under {}", part.spec.guarantee));
            Handle::Bare(t.spout(id, move || Bare::new(part.clone())).parallelism(tasks))
        }
        Op::Function => {
            let function = move |item: Item, out: &mut Outlet<Out>| {
                part.world.hit(format!("Function under {}", part.spec.guarantee));
                part.world.strike(part.number, Some(&item), At::Item, out.now_ns())?;
                for (port, mut child) in part.spec.children(part.number, &item) {
                    child.sequence = 0;
                    match (port, part.named.is_empty()) {
                        (0, _) => out.emit_on::<0>(child),
                        (_, true) => out.emit_on::<1>(child),
                        (_, false) => {
                            let task = part.named[Spec::named_task(&child, part.named.len())];
                            out.emit_direct_on::<1>(task, child);
                        }
                    }
                }
                Ok(())
            };
            Handle::Unkeyed(t.bolt(id, function).parallelism(tasks))
        }
        Op::Bolt => Handle::Unkeyed(t.bolt(id, move || Automatic::new(part.clone())).parallelism(tasks).tick(tick)),
        Op::Iterator => Handle::Unkeyed(t.bolt(id, move || Automatic::new(part.clone())).parallelism(tasks)),
        Op::Count | Op::Timers | Op::Ttl => {
            Handle::Keyed(t.bolt(id, move || Keyed::new(part.clone())).parallelism(tasks))
        }
        Op::Record | Op::Window => {
            let input = before(t, &id, part.clone(), tasks);
            let streams = records::declare(t, &id, part, tasks, &input);
            Handle::OfRecords(input, streams)
        }
        Op::Child if outside.children.is_some() => {
            let input = before(t, &id, part.clone(), tasks);
            let children = outside.children.expect("just seen");
            let streams = children(t, &id, part, tasks, &input);
            Handle::OfRecords(input, streams)
        }
        Op::Drain | Op::Child => {
            Handle::Unkeyed(t.bolt(id, move || Manual::<false>::new(part.clone())).parallelism(tasks).tick(tick))
        }
        Op::Gather | Op::Join => {
            Handle::Unkeyed(t.bolt(id, move || Manual::<true>::new(part.clone())).parallelism(tasks).tick(tick))
        }
        Op::Transactional | Op::Plain => Handle::Sink((outside.sinks)(t, id, part, tasks)),
    }
}

/// What stands before a component of records. It meets the failures that are neither a child's nor a record's own.
fn before(t: &mut TopologyBuilder, id: &str, part: Part, tasks: usize) -> BoltHandle<Item, Item, Unkeyed> {
    let op = part.spec.components[part.number].op;
    let pass = move |item: Item, out: &mut Outlet<Item>| {
        part.world.hit(format!("{op:?} under {}", part.spec.guarantee));
        if op != Op::Record {
            part.strike(Some(&item), At::Item, out.now_ns())?;
        }
        if op == Op::Window {
            part.world.entered_window(part.number, &item);
        }
        out.emit(item);
        Ok(())
    };
    t.bolt(id, pass).parallelism(tasks)
}

impl Handle {
    fn streams(&self) -> Vec<Stream<Item>> {
        match self {
            Handle::Source(source) => vec![(**source).clone()],
            Handle::Bare(spout) => vec![(**spout).clone()],
            Handle::Unkeyed(bolt) => vec![bolt.0.clone(), bolt.1.clone()],
            Handle::Keyed(bolt) => vec![bolt.0.clone(), bolt.1.clone()],
            Handle::OfRecords(_, streams) => streams.clone(),
            Handle::Sink(_) => Vec::new(),
        }
    }

    fn dead_letters(&self) -> Option<Stream<DeadLetter<Item>>> {
        match self {
            Handle::Source(source) => Some(source.dead_letters().clone()),
            _ => None,
        }
    }

    fn subscribe(self, stream: &Stream<Item>, edge: &Edge) -> Handle {
        match self {
            Handle::Source(_) | Handle::Bare(_) => unreachable!("nothing leads to a source"),
            Handle::Keyed(bolt) => Handle::Keyed(bolt.fields_by(stream, Item::key)),
            Handle::Unkeyed(bolt) => Handle::Unkeyed(subscribe(bolt, stream, edge.grouping)),
            Handle::OfRecords(input, streams) => Handle::OfRecords(subscribe(input, stream, edge.grouping), streams),
            Handle::Sink(sink) => Handle::Sink(subscribe(sink, stream, edge.grouping)),
        }
    }
}

fn subscribe<O: Streams>(
    bolt: BoltHandle<Item, O, Unkeyed>,
    stream: &Stream<Item>,
    grouping: Grouping,
) -> BoltHandle<Item, O, Unkeyed> {
    match grouping {
        Grouping::Shuffle => bolt.shuffle(stream),
        Grouping::LocalOrShuffle => bolt.local_or_shuffle(stream),
        Grouping::None => bolt.none(stream),
        Grouping::Fields => bolt.fields_by(stream, Item::key),
        Grouping::PartialKey => bolt.partial_key(stream, |item| &item.id),
        Grouping::All => bolt.all(stream),
        Grouping::Global => bolt.global(stream),
        Grouping::Direct => bolt.direct(stream),
        Grouping::Custom => bolt.custom(stream, || Copies(Vec::new())),
    }
}
