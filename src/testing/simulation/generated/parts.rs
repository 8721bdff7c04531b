//! The components: they do what the topology as data says, and tell the world.

use std::time::Duration;

use super::draw::{At, Item, Op, Spec, custom_copies, total};
use super::world::World;
use crate::connect::Generator;
use crate::error::Failure;
use crate::state::{AtEnd, CurrentKey, ListState, MapState, StateVisitor, Timers, Ttl, ValueState};
use crate::sys::offload::Offload;
use crate::sys::sync::Arc;
use crate::task::TaskId;
use crate::task::component::{Bolt, Custom, KeyedBolt, ManualBolt, Outcome, Polled, Replayable, Source};
use crate::task::context::{BoltContext, SpoutContext, TaskInfo};
use crate::task::door::Door;
use crate::task::held::{Anchors, Tuple};
use crate::task::held_state::Held;
use crate::task::keyed::Timer;
use crate::task::outlet::Outlet;
use crate::task::payload::{Emission2, Ports};

pub type Out = Ports<(Item, Item)>;

/// What every component needs.
#[derive(Clone)]
pub struct Part {
    pub spec: Arc<Spec>,
    pub world: World,
    pub number: usize,
    /// Port 1 goes to these tasks by name; empty: it has other subscribers, or none.
    pub named: Vec<TaskId>,
}

impl Part {
    /// Emits what an item becomes, stamped.
    fn emit(&self, item: &Item, info: &TaskInfo, out: &mut Outlet<Out>) {
        for (port, child) in self.spec.children(self.number, item) {
            self.emit_one(port, child, info, out);
        }
    }

    pub fn emit_one(&self, port: usize, child: Item, info: &TaskInfo, out: &mut Outlet<Out>) {
        let child = self.world.stamp(child, (info.task.0, false));
        match (port, self.named.is_empty()) {
            (0, _) => out.emit_on::<0>(child),
            (_, true) => out.emit_on::<1>(child),
            (_, false) => {
                let task = self.named[Spec::named_task(&child, self.named.len())];
                out.emit_direct_on::<1>(task, child);
            }
        }
    }

    pub fn strike(&self, item: Option<&Item>, at: At, now_ns: u64) -> Outcome {
        self.world.strike(self.number, item, at, now_ns)
    }
}

/// A shipped source that fails at times.
pub struct Inputs {
    part: Part,
    items: Generator<Item>,
}

impl Inputs {
    pub fn new(part: Part) -> Self {
        let (number, spec) = (part.number, part.spec.clone());
        let items = Generator::new(spec.inputs, move |n| Item::of_source(number, n)).rate(spec.rate);
        Inputs { part, items }
    }
}

impl Source for Inputs {
    type Item = Item;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.items.open(ctx)
    }

    fn poll(&mut self) -> Result<Polled<Item>, Failure> {
        self.part.strike(None, At::Poll, 0)?;
        self.items.poll()
    }

    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        self.items.replayable()
    }
}

/// Automatic style; also the closure's work.
pub struct Automatic {
    part: Part,
    info: Option<TaskInfo>,
}

impl Automatic {
    pub fn new(part: Part) -> Self {
        Automatic { part, info: None }
    }
}

impl Bolt for Automatic {
    type In = Item;
    type Out = Out;

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.info = Some(ctx.info().clone());
        self.part.strike(None, At::Prepare, 0)
    }

    fn execute(&mut self, item: Item, out: &mut Outlet<Out>) -> Outcome {
        let (part, info) = (&self.part, self.info.as_ref().expect("prepared"));
        part.world.came(part.number, info, &item, false);
        part.strike(Some(&item), At::Item, out.now_ns())?;
        if part.spec.components[part.number].op != Op::Iterator || !part.named.is_empty() {
            part.emit(&item, info, out);
            return Ok(());
        }
        let (world, task) = (part.world.clone(), info.task.0);
        let children = part.spec.children(part.number, &item);
        out.hand_over(children.into_iter().map(move |(port, child)| {
            let child = world.stamp(child, (task, false));
            if port == 0 { Emission2::P0(child) } else { Emission2::P1(child) }
        }));
        Ok(())
    }

    fn tick(&mut self, out: &mut Outlet<Out>) -> Outcome {
        self.part.strike(None, At::Tick, 0)?;
        if self.part.world.chance(0.2) {
            let info = self.info.as_ref().expect("prepared");
            self.part.emit_one(0, self.part.world.tick_item(), info, out);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Outlet<Out>) -> Outcome {
        self.part.strike(None, At::Last, 0)
    }
}

/// All three keyed kinds.
pub struct Keyed {
    part: Part,
    info: Option<TaskInfo>,
    totals: ValueState<u16, (u64, u64, u64)>,
    ids: MapState<u16, u64, u32>,
    waiting: ListState<u16, Item>,
    timers: Timers<u16>,
    living: ValueState<u16, Vec<Item>>,
}

const LIVES: Duration = Duration::from_millis(7);
const TIMER_NS: u64 = 5_000_000;

impl Keyed {
    pub fn new(part: Part) -> Self {
        Keyed {
            part,
            info: None,
            totals: ValueState::new("totals"),
            ids: MapState::new("ids"),
            waiting: ListState::new("waiting"),
            timers: Timers::new("timers").at_end(AtEnd::Fire),
            living: ValueState::new("living").ttl(Ttl::new(LIVES).report_evictions()),
        }
    }
}

impl KeyedBolt for Keyed {
    type Key = u16;
    type In = Item;
    type Out = Out;

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.info = Some(ctx.info().clone());
        self.part.strike(None, At::Prepare, 0)
    }

    fn states(&mut self, visit: &mut dyn StateVisitor<u16>) {
        visit.state(&mut self.totals);
        visit.state(&mut self.ids);
        visit.state(&mut self.waiting);
        visit.state(&mut self.timers);
        visit.state(&mut self.living);
    }

    fn execute(&mut self, key: CurrentKey<u16>, item: Item, out: &mut Outlet<Out>) -> Outcome {
        let part = &self.part;
        let info = self.info.as_ref().expect("prepared");
        part.world.came(part.number, info, &item, false);
        part.strike(Some(&item), At::Item, out.now_ns())?;
        if item.class == super::draw::Class::Tick {
            return Ok(());
        }
        match part.spec.components[part.number].op {
            Op::Count => {
                *self.ids.get_or_insert_with(&key, item.id, || 0) += 1;
                let distinct = self.ids.len(&key) as u64;
                let total = self.totals.get_or_insert_with(&key, || (0, 0, 0));
                *total = (total.0 + 1, total.1.wrapping_add(item.id), distinct);
                part.emit(&item, info, out);
            }
            Op::Timers => {
                self.timers.set(&key, 0, key.now_ns() + TIMER_NS);
                self.waiting.push(&key, item);
            }
            _ => self.living.get_or_insert_with(&key, Vec::new).push(item),
        }
        Ok(())
    }

    fn on_timer(&mut self, key: CurrentKey<u16>, _: Timer, out: &mut Outlet<Out>) -> Outcome {
        let part = &self.part;
        part.world.hit("timer");
        part.strike(None, At::Callback, 0)?;
        let info = self.info.as_ref().expect("prepared");
        for item in self.waiting.iter(&key) {
            part.emit(item, info, out);
        }
        self.waiting.clear(&key);
        Ok(())
    }

    fn on_evict(&mut self, _: CurrentKey<u16>, _: &str, out: &mut Outlet<Out>) -> Outcome {
        let part = &self.part;
        part.world.hit("eviction");
        part.strike(None, At::Callback, 0)?;
        let info = self.info.as_ref().expect("prepared");
        for item in self.living.evicted().into_iter().flatten() {
            part.emit(item, info, out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Out>) -> Outcome {
        let (part, info) = (&self.part, self.info.as_ref().expect("prepared"));
        part.strike(None, At::Last, 0)?;
        for item in self.living.iter().flat_map(|(_, items)| items) {
            part.emit(item, info, out);
        }
        let (world, task, number) = (part.world.clone(), info.task.0, part.number);
        let totals: Vec<Item> = self.totals.iter().map(|(key, of_key)| total(number, *key, *of_key)).collect();
        out.hand_over(totals.into_iter().map(move |total| Emission2::P0(world.stamp(total, (task, false)))));
        Ok(())
    }
}

/// Both manual kinds.
pub struct Manual<const IN_STATE: bool> {
    part: Part,
    info: Option<TaskInfo>,
    held: Vec<Tuple<Item>>,
    outside: Option<(Door<Out>, Offload)>,
}

const GATHERS: usize = 3;

impl<const IN_STATE: bool> Manual<IN_STATE> {
    pub fn new(part: Part) -> Self {
        Manual { part, info: None, held: Vec::new(), outside: None }
    }

    /// Emits for everything it holds, and settles it.
    fn release(&mut self, out: &mut Outlet<Out>) {
        let (part, info) = (&self.part, self.info.as_ref().expect("prepared"));
        let held = std::mem::take(&mut self.held);
        if part.spec.components[part.number].op == Op::Join {
            for tuple in &held {
                emit_anchored(part, info, tuple, &held, out);
            }
            held.into_iter().for_each(Tuple::ack);
            return;
        }
        for tuple in held {
            emit_anchored(part, info, &tuple, &tuple, out);
            tuple.ack();
        }
    }

    /// Leaves a tuple to a job.
    fn offload(&self, tuple: Tuple<Item>) {
        let (part, task) = (self.part.clone(), self.info.as_ref().expect("prepared").task.0);
        let (door, offload) = self.outside.clone().expect("prepared");
        let job = move || {
            let (item, anchor) = tuple.split();
            for (port, child) in part.spec.children(part.number, &item) {
                let child = part.world.stamp(child, (task, true));
                let emission = if port == 0 { Emission2::P0(child) } else { Emission2::P1(child) };
                if door.try_emit_anchored(&anchor, emission).is_err() {
                    anchor.fail(Failure::retry("the door is full or gone"));
                    return;
                }
            }
            part.world.hit("door");
            anchor.ack();
        };
        self.part.world.elsewhere(&offload, Box::new(job));
    }
}

fn emit_anchored(part: &Part, info: &TaskInfo, item: &Item, anchors: impl Anchors, out: &mut Outlet<Out>) {
    part.emit(item, info, &mut out.anchored(anchors));
}

impl<const IN_STATE: bool> ManualBolt for Manual<IN_STATE> {
    type In = Item;
    type Out = Out;
    const HELD: Option<Held<Item>> = Some(if IN_STATE { Held::in_state() } else { Held::Drain });

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.info = Some(ctx.info().clone());
        self.outside = Some((ctx.door(), ctx.offload()));
        self.part.strike(None, At::Prepare, 0)
    }

    fn execute(&mut self, tuple: Tuple<Item>, out: &mut Outlet<Out>) -> Outcome {
        let (part, info) = (&self.part, self.info.as_ref().expect("prepared"));
        if tuple.is_redelivered() {
            part.world.hit("redelivered");
        }
        part.world.came(part.number, info, &tuple, tuple.is_redelivered());
        if let Err(failure) = part.strike(Some(&tuple), At::Item, out.now_ns()) {
            tuple.fail(failure);
            return Ok(());
        }
        if part.world.drops(part.number, &tuple) {
            drop(tuple);
            return Ok(());
        }
        if IN_STATE {
            self.held.push(tuple);
            if self.held.len() >= GATHERS {
                self.release(out);
            }
        } else if part.named.is_empty() && part.world.chance(0.4) {
            self.offload(tuple);
        } else if part.world.chance(0.5) {
            self.held.push(tuple);
        } else {
            emit_anchored(part, info, &tuple, &tuple, out);
            tuple.ack();
        }
        Ok(())
    }

    fn works_elsewhere(&self) -> bool {
        self.part.world.is_real()
    }

    fn tick(&mut self, out: &mut Outlet<Out>) -> Outcome {
        self.part.strike(None, At::Tick, 0)?;
        self.release(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Out>) -> Outcome {
        self.part.strike(None, At::Last, 0)?;
        self.release(out);
        Ok(())
    }
}

/// None, one or two copies to one task.
pub struct Copies(pub Vec<TaskId>);

impl Custom<Item> for Copies {
    fn prepare(&mut self, _: TaskId, tasks: &[TaskId]) {
        self.0 = tasks.to_vec();
    }

    fn choose(&mut self, item: &Item, chosen: &mut Vec<TaskId>) {
        let task = self.0[item.id as usize % self.0.len()];
        chosen.extend(std::iter::repeat_n(task, custom_copies(item)));
    }
}
