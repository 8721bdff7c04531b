//! The components of generated topologies: they do what their random generator says, and tell the oracle.

use std::time::Duration;

use super::world::{EdgeOracle, Parcel, Route, World};
use crate::error::Failure;
use crate::state::CurrentKey;
use crate::sys::random::Random;
use crate::task::TaskId;
use crate::task::component::{Bolt, Custom, KeyedBolt, ManualBolt, Next, Outcome, Spout};
use crate::task::context::{BoltContext, SpoutContext, TaskInfo};
use crate::task::door::Door;
use crate::task::held::{Anchor, Tuple};
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::payload::{Emission2, Ports};

pub type Out = Ports<(Parcel, Parcel)>;

pub const KEYS: u64 = 12;
const HOPS_MAX: u8 = 6;

/// Probabilities per input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub fail: f64,
    pub panic: f64,
    pub drop: f64,
    pub never: f64,
}

/// What all parts of a component share.
#[derive(Clone)]
pub struct Part {
    pub world: World,
    pub component: usize,
    pub faults: Faults,
    /// Port 1 goes to these tasks by name only; empty: it has regular subscribers, or none.
    pub direct: Vec<TaskId>,
    /// Emits for inputs only: what is emitted into a loop that has closed goes nowhere.
    pub in_loop: bool,
    /// Spout: roots per task, and largest number of emits per call of `next`.
    pub roots: u64,
    pub burst: u64,
    pub stalls: f64,
}

/// A part while it runs.
struct Running {
    part: Part,
    info: TaskInfo,
    random: Random,
}

impl Running {
    fn new(part: Part, ctx: &SpoutContext) -> Self {
        Running { part, info: ctx.info().clone(), random: ctx.random() }
    }

    fn parcel(&mut self, roots: &[u32], hops: u8) -> Parcel {
        let key = self.random.below(KEYS) as u16;
        Parcel::new(&self.part.world, (self.info.task, false), roots, key, hops)
    }

    /// How many parcels to make of one that has come this far.
    fn fan(&mut self, hops: u8) -> u64 {
        if hops >= HOPS_MAX || !self.part.world.may_emit() {
            return 0;
        }
        [0, 1, 1, 1, 2, 3][self.random.below(6) as usize]
    }

    /// Emits one parcel on either port.
    fn emit(&mut self, roots: &[u32], hops: u8, out: &mut Outlet<Out>) {
        let mut parcel = self.parcel(roots, hops);
        if self.random.chance(0.7) {
            out.emit_on::<0>(parcel);
        } else if self.part.direct.is_empty() {
            out.emit_on::<1>(parcel);
        } else {
            let task = self.part.direct[self.random.below(self.part.direct.len() as u64) as usize];
            parcel.meant_for = Some(task);
            out.emit_direct_on::<1>(task, parcel);
        }
    }

    fn may_panic(&mut self, hit: &[&Parcel]) {
        if self.random.chance(self.part.faults.panic) {
            hit.iter().for_each(|parcel| self.part.world.fault(parcel));
            // Past the panic hook: nobody needs a message for a panic that is meant.
            std::panic::resume_unwind(Box::new("injected".to_owned()));
        }
    }

    fn tick(&mut self, out: &mut Outlet<Out>) {
        if !self.part.in_loop && self.random.chance(0.3) && self.part.world.may_emit() {
            self.emit(&[], 2, out);
        }
    }
}

/// Emits roots and remembers how they end.
pub struct Source {
    part: Part,
    running: Option<Running>,
    ctx: Option<(crate::task::waker::Waker, crate::sys::offload::Offload)>,
}

impl Source {
    pub fn new(part: Part) -> Self {
        Source { part, running: None, ctx: None }
    }

    fn emit(&mut self, out: &mut SpoutOutlet<Out, u32>) {
        let running = self.running.as_mut().expect("opened");
        let world = running.part.world.clone();
        let tracked = running.random.chance(0.9);
        let root = tracked.then(|| world.new_root());
        let mut parcel = running.parcel(root.as_slice(), 0);
        let direct = &running.part.direct;
        let named = (!direct.is_empty()).then(|| direct[running.random.below(direct.len() as u64) as usize]);
        match (running.random.chance(0.8), named, root) {
            (true, _, Some(root)) => out.emit_tracked_on::<0>(root, parcel),
            (true, _, None) => out.emit_on::<0>(parcel),
            (false, None, Some(root)) => out.emit_tracked_on::<1>(root, parcel),
            (false, None, None) => out.emit_on::<1>(parcel),
            (false, Some(task), root) => {
                parcel.meant_for = Some(task);
                match root {
                    Some(root) => out.emit_direct_tracked_on::<1>(task, root, parcel),
                    None => out.emit_direct_on::<1>(task, parcel),
                };
            }
        }
    }
}

impl Spout for Source {
    type Out = Out;
    type Id = u32;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.running = Some(Running::new(self.part.clone(), ctx));
        self.ctx = Some((ctx.waker(), ctx.offload()));
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Out, u32>) -> Result<Next, Failure> {
        let running = self.running.as_mut().expect("opened");
        if running.random.chance(running.part.stalls) {
            if running.random.chance(0.5) {
                return Ok(Next::WakeAfter(Duration::from_micros(1 + running.random.below(5_000))));
            }
            let (waker, offload) = self.ctx.clone().expect("opened");
            offload.run(move || waker.wake());
            return Ok(Next::Idle);
        }
        let burst = 1 + running.random.below(running.part.burst);
        for _ in 0..burst {
            let running = self.running.as_mut().expect("opened");
            if running.part.world.roots_of(running.info.task) >= running.part.roots {
                return Ok(Next::Finished);
            }
            running.part.world.begin_root_of(running.info.task);
            running.may_panic(&[]);
            self.emit(out);
        }
        Ok(Next::Emitted)
    }

    fn ack(&mut self, root: u32, _out: &mut SpoutOutlet<Out, u32>) -> Outcome {
        let running = self.running.as_mut().expect("opened");
        running.part.world.ended(root, None);
        running.may_panic(&[]);
        Ok(())
    }

    fn fail(&mut self, root: u32, why: &Failure, out: &mut SpoutOutlet<Out, u32>) -> Outcome {
        let running = self.running.as_mut().expect("opened");
        running.part.world.ended(root, Some(why));
        // A replay, as spouts do: not after the end, when emits go nowhere.
        if running.random.chance(0.3) && running.part.world.may_emit() && !out.ended {
            self.emit(out);
        }
        Ok(())
    }
}

/// Automatic style, also keyed.
pub struct Automatic {
    part: Part,
    running: Option<Running>,
}

impl Automatic {
    pub fn new(part: Part) -> Self {
        Automatic { part, running: None }
    }

    fn open(&mut self, ctx: &BoltContext<Out>) {
        self.running = Some(Running::new(self.part.clone(), ctx));
    }

    fn handle(&mut self, input: Parcel, out: &mut Outlet<Out>) -> Outcome {
        let component = self.part.component;
        let running = self.running.as_mut().expect("prepared");
        running.part.world.delivered(component, &running.info, &input);
        let fan = running.fan(input.hops);
        if running.random.chance(0.1) {
            hand_over(running, input, fan, out);
            return Ok(());
        }
        for _ in 0..fan {
            running.may_panic(&[&input]);
            running.emit(&input.members.roots, input.hops + 1, out);
        }
        running.may_panic(&[&input]);
        if running.random.chance(running.part.faults.fail) {
            running.part.world.fault(&input);
            return Err(if running.random.chance(0.5) {
                Failure::retry("injected")
            } else {
                Failure::reject("injected")
            });
        }
        Ok(())
    }
}

/// The same as an iterator that the engine pulls from.
fn hand_over(running: &mut Running, input: Parcel, fan: u64, out: &mut Outlet<Out>) {
    let (world, producer, faults) = (running.part.world.clone(), running.info.task, running.part.faults);
    let mut random = running.random.fork(fan);
    running.random.next_u64();
    let mut left = 3 * fan;
    let mut input = Some(input);
    out.hand_over(std::iter::from_fn(move || {
        let Some(from) = input.as_ref().filter(|_| left > 0) else {
            input = None;
            return None;
        };
        left -= 1;
        if random.chance(faults.panic) {
            world.fault(from);
            std::panic::resume_unwind(Box::new("injected"));
        }
        let key = random.below(KEYS) as u16;
        Some(Emission2::P0(Parcel::new(&world, (producer, false), &from.members.roots, key, from.hops + 1)))
    }));
}

impl Bolt for Automatic {
    type In = Parcel;
    type Out = Out;

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.open(ctx);
        Ok(())
    }

    fn execute(&mut self, input: Parcel, out: &mut Outlet<Out>) -> Outcome {
        self.handle(input, out)
    }

    fn tick(&mut self, out: &mut Outlet<Out>) -> Outcome {
        self.running.as_mut().expect("prepared").tick(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Out>) -> Outcome {
        let running = self.running.as_mut().expect("prepared");
        running.may_panic(&[]);
        running.tick(out);
        Ok(())
    }
}

/// [`Automatic`], keyed.
pub struct ByKey(pub Automatic);

impl KeyedBolt for ByKey {
    type Key = u16;
    type In = Parcel;
    type Out = Out;

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.0.open(ctx);
        Ok(())
    }

    fn execute(&mut self, key: CurrentKey<u16>, input: Parcel, out: &mut Outlet<Out>) -> Outcome {
        assert_eq!(*key, input.key);
        self.0.handle(input, out)
    }
}

/// Manual style: holds, joins, sends to jobs, drops.
pub struct Manual {
    part: Part,
    running: Option<Running>,
    /// Acked later, some together; and never.
    held: Vec<Tuple<Parcel>>,
    never: Vec<Tuple<Parcel>>,
    outside: Option<(Door<Out>, crate::sys::offload::Offload)>,
}

impl Manual {
    pub fn new(part: Part) -> Self {
        Manual { part, running: None, held: Vec::new(), never: Vec::new(), outside: None }
    }

    /// Emits one parcel anchored to all that are held, and settles them.
    fn join(&mut self, out: &mut Outlet<Out>) {
        let held = std::mem::take(&mut self.held);
        let running = self.running.as_mut().expect("prepared");
        let roots: Vec<u32> = held.iter().flat_map(|tuple| tuple.members.roots.clone()).collect();
        let hops = held.iter().map(|tuple| tuple.hops).max().unwrap_or(0);
        for _ in 0..running.fan(hops).min(held.len() as u64) {
            running.emit(&roots, hops + 1, &mut out.anchored(&held));
        }
        for tuple in held {
            settle(running, tuple);
        }
    }

    /// Leaves a tuple to a job that acks, fails or drops it, and may emit through the door first.
    fn offload(&mut self, tuple: Tuple<Parcel>) {
        let running = self.running.as_mut().expect("prepared");
        let (door, offload) = self.outside.clone().expect("prepared");
        let (world, faults, task) = (running.part.world.clone(), running.part.faults, running.info.task);
        let mut random = running.random.fork(tuple.members.roots.len() as u64);
        running.random.next_u64();
        offload.run(move || {
            let (parcel, anchor) = tuple.split();
            if random.chance(0.5) && world.may_emit() && parcel.hops < HOPS_MAX {
                let key = random.below(KEYS) as u16;
                let made = Parcel::new(&world, (task, true), &parcel.members.roots, key, parcel.hops + 1);
                // A full door gives the parcel back, which then was never sent.
                let _ = door.try_emit_anchored(&anchor, Emission2::P0(made));
            }
            settle_split(&world, faults, &mut random, parcel, anchor);
        });
    }
}

fn settle(running: &mut Running, tuple: Tuple<Parcel>) {
    let (parcel, anchor) = tuple.split();
    settle_split(&running.part.world, running.part.faults, &mut running.random, parcel, anchor);
}

/// Acks, or injects a fault. The value goes first: nothing of a tree may be alive when it is acked.
fn settle_split(world: &World, faults: Faults, random: &mut Random, parcel: Parcel, anchor: Anchor) {
    let (fails, drops) = (random.chance(faults.fail), random.chance(faults.drop));
    if fails || drops {
        world.fault(&parcel);
    }
    drop(parcel);
    if fails {
        anchor.fail(Failure::retry("injected"));
    } else if drops {
        drop(anchor);
    } else {
        anchor.ack();
    }
}

impl ManualBolt for Manual {
    type In = Parcel;
    type Out = Out;

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.running = Some(Running::new(self.part.clone(), ctx));
        self.outside = Some((ctx.door(), ctx.offload()));
        Ok(())
    }

    fn execute(&mut self, tuple: Tuple<Parcel>, out: &mut Outlet<Out>) -> Outcome {
        let component = self.part.component;
        let running = self.running.as_mut().expect("prepared");
        running.part.world.delivered(component, &running.info, &tuple);
        let mut hit: Vec<&Parcel> = self.held.iter().map(Tuple::value).collect();
        hit.push(&tuple);
        running.may_panic(&hit);
        if running.random.chance(running.part.faults.never) {
            running.part.world.fault(&tuple);
            self.never.push(tuple);
            return Ok(());
        }
        match running.random.below(10) {
            0..4 => {
                for _ in 0..running.fan(tuple.hops) {
                    let twice = running.random.chance(0.2);
                    let roots = tuple.members.roots.clone();
                    if twice {
                        running.emit(&roots, tuple.hops + 1, &mut out.anchored([&tuple, &tuple]));
                    } else {
                        running.emit(&roots, tuple.hops + 1, &mut out.anchored(&tuple));
                    }
                }
                settle(running, tuple);
            }
            4 => {
                if running.fan(tuple.hops) > 0 {
                    running.emit(&[], tuple.hops + 1, out);
                }
                settle(running, tuple);
            }
            5..8 => {
                if running.random.chance(0.3) {
                    tuple.reset_deadline();
                }
                self.held.push(tuple);
                if self.held.len() > 3 {
                    self.join(out);
                }
            }
            _ => self.offload(tuple),
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut Outlet<Out>) -> Outcome {
        self.join(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Out>) -> Outcome {
        self.join(out);
        Ok(())
    }
}

/// A grouping of the project's own: none, one or twice the same task, by the key.
pub struct ByKeyOddly {
    pub world: World,
    pub edge: usize,
    pub tasks: Vec<TaskId>,
}

impl Custom<Parcel> for ByKeyOddly {
    fn prepare(&mut self, _source: TaskId, tasks: &[TaskId]) {
        self.tasks = tasks.to_vec();
    }

    fn choose(&mut self, parcel: &Parcel, chosen: &mut Vec<TaskId>) {
        let copies = usize::from(parcel.key) % 3;
        let task = self.tasks[usize::from(parcel.key) % self.tasks.len()];
        chosen.extend(std::iter::repeat_n(task, copies));
        self.world.expect(self.edge, copies);
    }
}

/// What happens to a parcel on its way into an edge.
pub fn onto_edge(world: &World, number: usize, edge: &EdgeOracle) -> impl Fn(Parcel) -> Parcel + Send + Sync + 'static {
    let world = world.clone();
    let copies = match edge.route {
        // Counted when they are chosen.
        Route::Custom => 0,
        Route::All => edge.tasks,
        _ => 1,
    };
    move |mut parcel| {
        world.expect(number, copies);
        parcel.edge = number;
        parcel
    }
}
