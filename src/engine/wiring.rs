//! Wiring: rings between executors are made by the starting thread, everything else on the executor that will use it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};

use crate::engine::checkpoint::Checkpointing;
use crate::engine::checkpoint::restarts::Limits;
use crate::engine::control::checkpoints::{Checkpoints, Policy};
use crate::engine::control::{Command, Event};
use crate::engine::executor::Executor;
use crate::engine::ids;
use crate::engine::placement::{POLLED_LANES_MAX, Placed, TaskRef};
use crate::engine::seat::{Seat, TurnLimits};
use crate::sys::bits::{Bits, SharedBits};
use crate::sys::clock::Clock;
use crate::sys::offload::Offload;
use crate::sys::random::Random;
use crate::sys::sync::{AtomicBool, Ordering};
use crate::task::acks::{ACK_LANE_CAPACITY, AckMessage, Acks, LedgerPlace, LocalLedger};
use crate::task::chaos::{Chaos, Odds};
use crate::task::context::{TaskInfo, TaskTable};
use crate::task::edge::EdgeEnds;
use crate::task::header::{Layout, Root};
use crate::task::lane::{Bell, Peers, Popped, RingRx, Signal};
use crate::task::ledger::{Deadlines, Ledger};
use crate::task::metrics::TaskMetrics;
use crate::task::pace::{Pacer, Schedule};
use crate::task::replay::Patience;
use crate::task::reporter::Reasons;
use crate::task::shell::{Supervision, Task, TaskParts};
use crate::task::snapshot::{Restored, SnapshotPort};
use crate::task::waker::{Mailbox, Waker};
use crate::topology::Topology;
use crate::topology::plan::{Kind, Pair, Plan};
use crate::topology::settings::{Guarantee, Settings};

/// What all executors of a run share.
pub(crate) struct Shared {
    pub topology: Topology,
    pub plan: Plan,
    /// Those of the plan.
    pairs: Vec<Pair>,
    pub task_table: Arc<TaskTable>,
    pub placed: Placed,
    pub settings: Settings,
    pub clock: Clock,
    pub offload: Offload,
    pub seed: u64,
    pub mailboxes: Vec<Arc<Mailbox>>,
    pub has_cycle: bool,
    /// Slots of each ack lane, and incoming lanes up to which an executor looks at each; a test driver may change both
    /// before anything is wired.
    pub ack_lane_capacity: usize,
    pub polled_lanes_max: usize,
    /// Faults that a simulation injects into bolts.
    pub chaos: Option<Odds>,
    /// Set once a task waits for the topology to be quiet: from then on every executor tells control when it goes idle.
    pub watches_quiet: AtomicBool,
    /// Tuples carry their lineage: somebody has asked for ids, or the topology has stepped back and wants to know which
    /// input it was. Changed only while no executor has a task.
    traces: AtomicBool,
    /// Of a measured run.
    pub schedule: Option<Arc<Schedule>>,
    /// What to add to the engine's time for nanoseconds since the epoch, when there are no checkpoints.
    wall_offset_ns: u64,
    /// With checkpoints.
    pub checkpointing: Option<Checkpointing>,
    /// By component and position.
    pub metrics: Vec<Vec<Arc<TaskMetrics>>>,
}

impl Shared {
    pub fn new(
        topology: Topology,
        plan: Plan,
        placed: Placed,
        settings: Settings,
        clock: Clock,
        offload: Offload,
        seed: u64,
    ) -> Self {
        let mailboxes = placed.executors.iter().map(|executor| Arc::new(Mailbox::new(executor.tasks.len()))).collect();
        let is_bare = !topology.has_instruments();
        let metrics = (0..plan.components.len()).map(|position| {
            let component = &plan.components[position];
            let reasons = Arc::new(Reasons::new(component.id.clone(), plan.input_names(position)));
            component.tasks.iter().map(|_| Arc::new(TaskMetrics::of(reasons.clone(), is_bare))).collect()
        });
        let metrics = metrics.collect();
        let spouts = plan.components.iter().filter(|component| component.kind == Kind::Spout);
        let spout_tasks = spouts.map(|component| component.tasks.len()).sum();
        Shared {
            schedule: topology.pace().map(|pace| Arc::new(Schedule::new(*pace, spout_tasks))),
            has_cycle: plan.edges.iter().any(|edge| edge.feedback),
            wall_offset_ns: clock.wall_offset_ns(),
            checkpointing: None,
            traces: AtomicBool::new(ids::are_asked_for(&topology, &plan)),
            task_table: Arc::new(topology.task_table(&plan)),
            pairs: plan.pairs(),
            topology,
            plan,
            placed,
            settings,
            clock,
            offload,
            seed,
            mailboxes,
            ack_lane_capacity: ACK_LANE_CAPACITY,
            polled_lanes_max: POLLED_LANES_MAX,
            chaos: None,
            watches_quiet: AtomicBool::new(false),
            metrics,
        }
    }

    /// What to add to the engine's time for the time that timers and times to live go by.
    pub fn wall_offset_ns(&self) -> u64 {
        self.checkpointing.as_ref().map_or(self.wall_offset_ns, |checkpointing| checkpointing.wall_offset_ns)
    }

    /// After a restart at least once: from the next build of all tasks on, tuples carry their lineage. Exactly once
    /// they always carry their place.
    pub fn trace(&self) {
        if !self.is_exactly_once() {
            self.traces.store(true, Ordering::Relaxed);
        }
    }

    fn is_exactly_once(&self) -> bool {
        self.settings.guarantee == Guarantee::ExactlyOnce
    }

    /// When failing inputs are given up.
    fn patience(&self) -> Patience {
        Patience {
            max_replays: None,
            retry_for_ns: self.settings.retry_for().map(|retry_for| retry_for.as_nanos() as u64),
            failures_max: self.settings.failures_max,
            backoff: self.settings.replay_backoff,
        }
    }

    fn traces(&self) -> bool {
        self.traces.load(Ordering::Relaxed)
    }

    /// The header of every lane. Buffers are sized for the plan's: one that has stepped back takes somewhat more.
    pub fn layout(&self) -> Layout {
        if self.traces() { Layout::Full } else { self.placed.layout }
    }

    /// The control side of checkpoints, if there are any.
    pub fn checkpoints(&self) -> Option<Checkpoints> {
        let checkpointing = self.checkpointing.as_ref();
        checkpointing.map(|checkpointing| {
            let policy = Policy {
                patience: self.patience(),
                restarts: Limits {
                    backoff: self.settings.restart_backoff,
                    max: self.settings.restarts_max,
                    window_ns: self.settings.restart_window.as_nanos() as u64,
                    trouble_ns: self.patience().retry_for_ns,
                },
                seed: self.seed,
                spouts: self.spout_metrics(),
                wall_offset_ns: self.wall_offset_ns,
            };
            Checkpoints::new(checkpointing, policy)
        })
    }

    fn executor_of(&self, task: TaskRef) -> usize {
        self.placed.executor_of[task.component][task.index]
    }

    /// Every lane of the topology in one fixed order: pair of components, producer, consumer.
    fn each_lane(&self, mut visit: impl FnMut(&Pair, TaskRef, TaskRef)) {
        for pair in &self.pairs {
            for from in 0..self.plan.components[pair.from].tasks.len() {
                for to in 0..self.plan.components[pair.to].tasks.len() {
                    let from = TaskRef { component: pair.from, index: from };
                    visit(pair, from, TaskRef { component: pair.to, index: to });
                }
            }
        }
    }

    /// Dense numbers of the spout tasks, and where each is.
    fn spout_tasks(&self) -> Vec<TaskRef> {
        let spouts = self.plan.components.iter().enumerate().filter(|(_, component)| component.kind == Kind::Spout);
        spouts
            .flat_map(|(component, plan)| (0..plan.tasks.len()).map(move |index| TaskRef { component, index }))
            .collect()
    }

    fn spout_metrics(&self) -> Vec<Arc<TaskMetrics>> {
        self.spout_tasks().into_iter().map(|task| self.metrics[task.component][task.index].clone()).collect()
    }

    fn pacer_of(&self, task: TaskRef) -> Option<Pacer> {
        let number = self.spout_tasks().iter().position(|&spout| spout == task)?;
        self.schedule.clone().map(|schedule| Pacer::new(schedule, number))
    }

    fn deadlines(&self) -> Deadlines {
        let after_ns = self.settings.message_timeout.as_nanos() as u64;
        match (self.settings.message_timeouts_enabled, self.settings.storm_timeouts) {
            (false, _) => Deadlines::Off,
            (true, true) => Deadlines::Rotating { period_ns: after_ns },
            (true, false) => Deadlines::Precise { after_ns },
        }
    }
}

type RingEnd = Box<dyn Any + Send>;
pub(crate) type AckRx = RingRx<(Root, AckMessage)>;

/// What one executor gets from the starting thread.
pub(crate) struct Package {
    pub executor: usize,
    /// In the order of `Shared::each_lane`.
    outgoing: VecDeque<(RingEnd, usize, Option<Bell>)>,
    incoming: VecDeque<(RingEnd, usize)>,
    ack_out: Vec<(rtrb::Producer<(Root, AckMessage)>, usize)>,
    ack_in: Vec<(AckRx, usize)>,
    /// Set when there are too many incoming lanes to look at each.
    bell: Option<Arc<SharedBits>>,
    /// What its tasks resume from.
    restored: Option<Arc<Restored>>,
    pub commands: Receiver<Command>,
    pub events: Sender<Event>,
}

/// The ends of the command channels: what sends to each executor, and what it receives from.
pub(crate) type CommandEnds = Vec<(Sender<Command>, Receiver<Command>)>;

pub(crate) fn command_channels(executors: usize) -> CommandEnds {
    (0..executors).map(|_| crossbeam::channel::unbounded()).collect()
}

/// Makes all rings, prefaulted, and one package per executor.
pub(crate) fn packages(
    shared: &Shared,
    channels: &CommandEnds,
    events: &Sender<Event>,
    restored: Option<Arc<Restored>>,
) -> Vec<Package> {
    let count = shared.placed.executors.len();
    let mut incoming_count = vec![0usize; count];
    shared.each_lane(|_, from, to| {
        if shared.executor_of(from) != shared.executor_of(to) {
            incoming_count[shared.executor_of(to)] += 1;
        }
    });
    let mut packages: Vec<Package> = (0..count)
        .map(|executor| {
            let many = incoming_count[executor] > shared.polled_lanes_max;
            Package {
                executor,
                outgoing: VecDeque::new(),
                incoming: VecDeque::new(),
                ack_out: Vec::new(),
                ack_in: Vec::new(),
                bell: many.then(|| Arc::new(SharedBits::new(incoming_count[executor]))),
                restored: restored.clone(),
                commands: channels[executor].1.clone(),
                events: events.clone(),
            }
        })
        .collect();
    shared.each_lane(|pair, from, to| {
        let (producer, consumer) = (shared.executor_of(from), shared.executor_of(to));
        if producer == consumer {
            return;
        }
        let first = pair.edges[0];
        let capacity = shared.placed.remote_capacity[first];
        let (tx, rx) = shared.topology.edge_kit(first).ring(shared.layout(), capacity);
        let index = packages[consumer].incoming.len();
        let bell = packages[consumer].bell.clone().map(|bits| Bell { bits, index });
        packages[producer].outgoing.push_back((tx, consumer, bell));
        packages[consumer].incoming.push_back((rx, producer));
    });
    if shared.plan.tracking {
        for from in 0..count {
            for to in (0..count).filter(|&to| to != from) {
                let (tx, rx) = RingRx::pair(shared.ack_lane_capacity);
                packages[from].ack_out.push((tx, to));
                packages[to].ack_in.push((rx, from));
            }
        }
    }
    packages
}

/// One task while its executor wires it.
struct Wiring {
    reference: TaskRef,
    signal: Rc<Signal>,
    lanes: Vec<Box<dyn Any>>,
    lane_inputs: Vec<usize>,
    lane_feedback: Vec<bool>,
    /// By outgoing edge: its ends of lanes so far. Edges to one component share their lanes.
    edges: BTreeMap<usize, Vec<Box<dyn Any>>>,
    /// Outgoing lanes so far.
    lanes_out: usize,
    ledger: Option<Rc<RefCell<Ledger>>>,
    woken: Rc<Cell<bool>>,
}

/// Builds an executor and its tasks; called on the thread that will run it.
pub(crate) fn build(shared: Arc<Shared>, mut package: Package) -> Executor {
    let executor = package.executor;
    let refs = &shared.placed.executors[executor].tasks;
    let ready = Rc::new(Bits::new(refs.len()));
    let peers = Rc::new(Peers::new(shared.placed.executors.len()));
    let acks = Rc::new(Acks::new(peers.clone()));
    let spouts = shared.spout_tasks();
    let now_ns = shared.clock.now_ns();

    let mut wirings: Vec<Wiring> = Vec::with_capacity(refs.len());
    for (position, &reference) in refs.iter().enumerate() {
        let inputs = shared.pairs.iter().filter(|pair| pair.to == reference.component);
        let lane_count = inputs.map(|pair| shared.plan.components[pair.from].tasks.len()).sum();
        let signal = Rc::new(Signal { ready: ready.clone(), position, lanes: Bits::new(lane_count) });
        let spout = spouts.iter().position(|&spout| spout == reference);
        let ledger = spout.filter(|_| shared.plan.tracking);
        wirings.push(Wiring {
            reference,
            signal,
            lanes: Vec::with_capacity(lane_count),
            lane_inputs: Vec::with_capacity(lane_count),
            lane_feedback: Vec::with_capacity(lane_count),
            edges: BTreeMap::new(),
            lanes_out: 0,
            ledger: ledger.map(|spout| Rc::new(RefCell::new(Ledger::new(spout, shared.deadlines(), now_ns)))),
            woken: Rc::new(Cell::new(false)),
        });
    }
    let incoming_lanes = join_lanes(&shared, &mut package, &mut wirings, &peers);
    place_ledgers(&shared, &mut package, &wirings, &spouts, &acks);
    let seats = wirings.into_iter().map(|wiring| {
        let (reference, signal, woken) = (wiring.reference, wiring.signal.clone(), wiring.woken.clone());
        let metrics = shared.metrics[wiring.reference.component][wiring.reference.index].clone();
        let limits = TurnLimits::new(&shared.settings, wiring.lanes_out);
        let task = build_task(&shared, executor, wiring, &acks, package.restored.as_ref());
        Seat::new(reference, task, signal, woken, metrics, limits)
    });
    let seats = seats.collect();
    Executor::new(shared, package.into_ends(&peers), seats, ready, peers, acks, incoming_lanes)
}

/// Makes local lanes, binds the ends of rings; returns task and lane of each incoming ring.
fn join_lanes(
    shared: &Shared,
    package: &mut Package,
    wirings: &mut [Wiring],
    peers: &Rc<Peers>,
) -> Vec<(usize, usize)> {
    let executor = package.executor;
    let mut positions = vec![Vec::new(); shared.plan.components.len()];
    for (component, of_component) in positions.iter_mut().enumerate() {
        *of_component = vec![None; shared.plan.components[component].tasks.len()];
    }
    for (position, wiring) in wirings.iter().enumerate() {
        positions[wiring.reference.component][wiring.reference.index] = Some(position);
    }
    let layout = shared.layout();
    let mut incoming_lanes = Vec::new();
    shared.each_lane(|pair, from, to| {
        let producer = positions[from.component][from.index];
        let consumer = positions[to.component][to.index];
        let kit = shared.topology.edge_kit(pair.edges[0]);
        let (txs, rx) = match (producer, consumer) {
            (None, None) => return,
            (Some(_), Some(consumer)) => {
                let to = &wirings[consumer];
                let (txs, rx) = kit.local(layout, &pair.inputs, pair.lane_capacity, to.signal.clone(), to.lanes.len());
                (txs, Some(rx))
            }
            (Some(_), None) => {
                let (end, peer, bell) = package.outgoing.pop_front().expect("a ring per remote lane");
                (kit.remote_tx(layout, &pair.inputs, end, peer, peers.clone(), bell), None)
            }
            (None, Some(consumer)) => {
                let (end, peer) = package.incoming.pop_front().expect("a ring per remote lane");
                incoming_lanes.push((consumer, wirings[consumer].lanes.len()));
                (Vec::new(), Some(kit.remote_rx(layout, end, peer, peers.clone())))
            }
        };
        if let (Some(rx), Some(consumer)) = (rx, consumer) {
            let to = &mut wirings[consumer];
            to.lanes.push(rx);
            to.lane_inputs.push(pair.inputs[0]);
            to.lane_feedback.push(pair.feedback);
        }
        if let Some(producer) = producer {
            let from = &mut wirings[producer];
            from.lanes_out += 1;
            for (&number, tx) in pair.edges.iter().zip(txs) {
                from.edges.entry(number).or_default().push(tx);
            }
        }
    });
    debug_assert!(package.outgoing.is_empty() && package.incoming.is_empty(), "executor {executor} uses all rings");
    incoming_lanes
}

/// Tells where each spout task's ledger is.
fn place_ledgers(shared: &Shared, package: &mut Package, wirings: &[Wiring], spouts: &[TaskRef], acks: &Acks) {
    if !shared.plan.tracking {
        return;
    }
    let mut lane_to = vec![usize::MAX; shared.placed.executors.len()];
    for (ring, peer) in package.ack_out.drain(..) {
        lane_to[peer] = acks.add_lane(ring, peer);
    }
    let places = spouts.iter().map(|&spout| {
        let here = wirings.iter().find(|wiring| wiring.reference == spout);
        match here {
            Some(wiring) => LedgerPlace::Here(LocalLedger {
                ledger: wiring.ledger.clone().expect("a tracked spout task has a ledger"),
                signal: wiring.signal.clone(),
            }),
            None => LedgerPlace::There(lane_to[shared.executor_of(spout)]),
        }
    });
    acks.set_places(places.collect());
}

fn build_task(
    shared: &Shared,
    executor: usize,
    wiring: Wiring,
    acks: &Rc<Acks>,
    restored: Option<&Arc<Restored>>,
) -> Box<dyn Task> {
    let TaskRef { component, index } = wiring.reference;
    let plan = &shared.plan.components[component];
    let layout = shared.layout();
    let edges = wiring.edges.into_iter().map(|(number, lanes)| {
        let edge = &shared.plan.edges[number];
        let of_consumer = &shared.placed.executor_of[edge.to];
        let ends = EdgeEnds {
            lanes,
            tasks: shared.plan.components[edge.to].tasks.clone(),
            local: (0..of_consumer.len()).filter(|&task| of_consumer[task] == executor).collect(),
            source: plan.tasks[index],
            source_index: index,
            seed: shared.seed,
        };
        (edge.port, shared.topology.edge_kit(number).edge(layout, ends))
    });
    let settings = &shared.settings;
    let feeders = if wiring.lane_feedback.contains(&true) { shared.plan.loop_feeders(component) } else { Vec::new() };
    let late_port = shared.topology.late_port(component);
    let spouts = late_port.map_or_else(Vec::new, |_| shared.spout_metrics());
    let parts = TaskParts {
        info: TaskInfo {
            topology: shared.plan.name.as_str().into(),
            component: shared.topology.component_id(component).clone(),
            task: plan.tasks[index],
            index,
            count: plan.tasks.len(),
            user: Arc::new(shared.topology.user_settings(settings, component)),
            tasks: shared.task_table.clone(),
        },
        lanes: wiring.lanes,
        lane_inputs: wiring.lane_inputs,
        lane_feedback: wiring.lane_feedback,
        loop_feeders: feeders.into_iter().flat_map(|feeder| shared.metrics[feeder].iter().cloned()).collect(),
        edges: edges.collect(),
        late_port,
        spouts,
        acks: acks.clone(),
        ledger: wiring.ledger,
        max_spout_pending: settings.max_spout_pending_of(&plan.id),
        held_max: if shared.is_exactly_once() { settings.max_spout_pending_of(&plan.id) } else { usize::MAX },
        let_go_after_ns: settings.drain_timeout.as_nanos() as u64,
        tree_life_ns: shared.deadlines().life_ns(),
        tick_ns: plan.tick_ms.map(|ms| ms * 1_000_000),
        supervision: Supervision {
            rebuilds_max: settings.rebuilds_max,
            rebuild_progress_tuples: settings.rebuild_progress_tuples,
            rebuild_backoff: settings.rebuild_backoff,
            failures_max: settings.failures_max,
        },
        patience: shared.patience(),
        carries_places: shared.traces() || shared.is_exactly_once(),
        waker: Waker::new(shared.mailboxes[executor].clone(), wiring.signal.position),
        woken: wiring.woken,
        signal: wiring.signal,
        metrics: shared.metrics[component][index].clone(),
        clock: shared.clock.clone(),
        wall_offset_ns: shared.wall_offset_ns(),
        snapshots: shared.checkpointing.as_ref().map(|checkpointing| SnapshotPort {
            keeper: checkpointing.keeper.clone(),
            component,
            index,
            exactly_once: checkpointing.exactly_once,
            restored: restored.cloned(),
            caution: restored.map(|restored| restored.caution.clone()).unwrap_or_default(),
            catalogue: checkpointing.roster.catalogue.clone(),
            pieces: checkpointing.pieces.clone(),
        }),
        offload: shared.offload.clone(),
        seed: shared.seed,
        pacer: shared.pacer_of(wiring.reference),
        sink_of: shared.schedule.clone().filter(|_| shared.plan.is_sink(component)),
        chaos: shared.chaos.filter(|_| plan.kind != Kind::Spout).map(|odds| {
            let random = Random::new(shared.seed).fork(u64::from(plan.tasks[index].0)).fork(u64::MAX);
            Chaos::new(odds, random, shared.topology.fault_counters())
        }),
    };
    shared.topology.task_kit(component).build(layout, parts)
}

/// What an executor keeps of its package.
pub(crate) struct Ends {
    pub executor: usize,
    pub ack_in: Vec<(AckRx, Popped)>,
    pub bell: Option<Arc<SharedBits>>,
    pub commands: Receiver<Command>,
    pub events: Sender<Event>,
}

impl Package {
    fn into_ends(self, peers: &Rc<Peers>) -> Ends {
        let ack_in = self.ack_in.into_iter().map(|(lane, peer)| (lane, Popped::from(peer, peers.clone())));
        Ends {
            executor: self.executor,
            ack_in: ack_in.collect(),
            bell: self.bell,
            commands: self.commands,
            events: self.events,
        }
    }
}

impl Ends {
    /// Tells control; it outlives its executors unless the process is ending.
    pub fn report(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
