//! Which executor runs which task, and how much each lane holds: plain data, computed before anything starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::task::acks::ACK_LANE_CAPACITY;
use crate::task::header::Layout;
use crate::task::pace::Pace;
use crate::topology::Topology;
use crate::topology::plan::{Pair, Plan};
use crate::topology::settings::{Guarantee, Placement, Settings};

/// Incoming remote lanes up to which an executor looks at each; beyond, producers mark the ones that have something.
pub(crate) const POLLED_LANES_MAX: usize = 64;
/// The memory budget never shrinks a lane below this.
const CAPACITY_MIN: usize = 8;
/// Bookkeeping of one ring beside its slots.
const RING_BYTES: u64 = 512;

/// A task by component and position within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TaskRef {
    /// Position of the component in the plan.
    pub component: usize,
    /// Position of the task in the component.
    pub index: usize,
}

/// One executor and its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecutorPlan {
    /// The CPU its placement demands; others are handed out at the start.
    pub wanted_cpu: Option<usize>,
    /// Its tasks in the order of their turns: sinks first.
    pub tasks: Vec<TaskRef>,
}

/// Where everything runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The executors.
    pub executors: Vec<ExecutorPlan>,
    /// Capacity of each edge's lanes between executors, after the memory budget; the same for edges that share lanes.
    pub remote_capacity: Vec<usize>,
    /// Lanes between executors, and the bytes they take.
    pub remote_lanes: usize,
    /// Bytes of all lanes between executors, ack lanes included.
    pub remote_bytes: u64,
    /// Header of every tuple.
    pub layout: Layout,
    /// Executor of each task, by component and position.
    #[serde(skip)]
    pub executor_of: Vec<Vec<usize>>,
}

/// Places every task: explicit placement first, then parallel copies apart and neighbours in a pipeline together.
///
/// `executors` is the number that ordinary tasks share; dedicated tasks get theirs on top.
pub fn place(topology: &Topology, plan: &Plan, settings: &Settings, executors: usize) -> Placed {
    let mut executor_plans: Vec<ExecutorPlan> = Vec::new();
    let new_executor = |plans: &mut Vec<ExecutorPlan>, wanted_cpu| {
        plans.push(ExecutorPlan { wanted_cpu, tasks: Vec::new() });
        plans.len() - 1
    };
    let dedicated = |placement: Placement| settings.one_thread_per_task || placement == Placement::Dedicated;
    let mut by_cpu: BTreeMap<usize, usize> = BTreeMap::new();
    for component in &plan.components {
        if let Placement::On(cpu) = component.placement {
            by_cpu.entry(cpu).or_insert_with(|| new_executor(&mut executor_plans, Some(cpu)));
        }
    }
    let has_shared = plan.components.iter().any(|c| c.placement == Placement::Auto && !dedicated(c.placement));
    while has_shared && executor_plans.len() < executors {
        new_executor(&mut executor_plans, None);
    }
    let shared = executor_plans.len().min(executors).max(1);

    let pipelines = pipelines(plan);
    let mut executor_of = Vec::with_capacity(plan.components.len());
    for (component, pipeline) in plan.components.iter().zip(pipelines) {
        let count = component.tasks.len();
        let of_component = (0..count).map(|index| match component.placement {
            placement if dedicated(placement) => new_executor(&mut executor_plans, None),
            Placement::On(cpu) => by_cpu[&cpu],
            // The same share of every component lands on the same executor, so that a pipeline's copies stay together;
            // pipelines that have nothing to do with each other begin at different executors.
            _ => (index * shared / count + pipeline) % shared,
        });
        executor_of.push(of_component.collect::<Vec<_>>());
    }
    for (component, executors) in executor_of.iter().enumerate() {
        for (index, &executor) in executors.iter().enumerate() {
            executor_plans[executor].tasks.push(TaskRef { component, index });
        }
    }
    for executor in &mut executor_plans {
        executor.tasks.sort_by_key(|task| (usize::MAX - plan.components[task.component].depth, *task));
    }
    let used: Vec<bool> = executor_plans.iter().map(|executor| !executor.tasks.is_empty()).collect();
    drop_unused(&mut executor_plans, &mut executor_of, &used);

    let layout = match plan.tracking {
        _ if topology.pace().is_some_and(Pace::is_open_loop) => Layout::Full,
        true => Layout::Tracked,
        false if plan.guarantee == Guarantee::ExactlyOnce => Layout::Placed,
        false => Layout::Bare,
    };
    let mut placed = Placed {
        executors: executor_plans,
        remote_capacity: Vec::new(),
        remote_lanes: 0,
        remote_bytes: 0,
        layout,
        executor_of,
    };
    budget_lanes(topology, plan, settings, &mut placed);
    placed
}

/// For each component the number of its pipeline: those that edges connect, counted from 0 in order of declaration.
fn pipelines(plan: &Plan) -> Vec<usize> {
    let mut pipeline: Vec<usize> = (0..plan.components.len()).collect();
    for edge in &plan.edges {
        let (from, to) = (pipeline[edge.from], pipeline[edge.to]);
        pipeline.iter_mut().filter(|number| **number == from.max(to)).for_each(|number| *number = from.min(to));
    }
    let mut firsts = pipeline.clone();
    firsts.sort_unstable();
    firsts.dedup();
    pipeline.iter().map(|number| firsts.binary_search(number).expect("it is one of them")).collect()
}

fn drop_unused(executors: &mut Vec<ExecutorPlan>, executor_of: &mut [Vec<usize>], used: &[bool]) {
    let renumbered: Vec<usize> = used
        .iter()
        .scan(0, |next, &used| {
            let number = *next;
            *next += usize::from(used);
            Some(number)
        })
        .collect();
    let mut keep = used.iter();
    executors.retain(|_| *keep.next().expect("one flag per executor"));
    for executor in executor_of.iter_mut().flatten() {
        *executor = renumbered[*executor];
    }
}

/// Shrinks lanes between executors until all of them fit the budget, or are as small as they may be.
fn budget_lanes(topology: &Topology, plan: &Plan, settings: &Settings, placed: &mut Placed) {
    let pairs = plan.pairs();
    let lanes: Vec<u64> = pairs.iter().map(|pair| remote_lanes(placed, pair.from, pair.to) as u64).collect();
    let slot_bytes = |pair: &Pair| topology.edge_kit(pair.edges[0]).slot_bytes(placed.layout) as u64;
    let slot: Vec<u64> = pairs.iter().map(slot_bytes).collect();
    let bytes = |capacity: &[usize]| -> u64 {
        (0..lanes.len()).map(|pair| lanes[pair] * (slot[pair] * capacity[pair] as u64 + RING_BYTES)).sum()
    };
    let executors = placed.executors.len() as u64;
    let ack_bytes = if plan.tracking { executors * (executors - 1) * ACK_LANE_CAPACITY as u64 * 32 } else { 0 };
    let budget = settings.lane_memory_bytes.saturating_sub(ack_bytes);
    let full: Vec<usize> = pairs.iter().map(|pair| pair.lane_capacity).collect();
    let mut capacity = full.clone();
    let mut share = 1.0;
    while bytes(&capacity) > budget && capacity.iter().zip(&full).any(|(&now, &full)| now > CAPACITY_MIN.min(full)) {
        share *= 0.75;
        for (now, &full) in capacity.iter_mut().zip(&full) {
            *now = ((full as f64 * share) as usize).max(CAPACITY_MIN.min(full));
        }
    }
    placed.remote_lanes = lanes.iter().sum::<u64>() as usize;
    placed.remote_bytes = bytes(&capacity) + ack_bytes;
    placed.remote_capacity = vec![0; plan.edges.len()];
    for (pair, &capacity) in pairs.iter().zip(&capacity) {
        pair.edges.iter().for_each(|&edge| placed.remote_capacity[edge] = capacity);
    }
}

fn remote_lanes(placed: &Placed, from: usize, to: usize) -> usize {
    let mut count = vec![0usize; placed.executors.len()];
    placed.executor_of[to].iter().for_each(|&executor| count[executor] += 1);
    let consumers = placed.executor_of[to].len();
    placed.executor_of[from].iter().map(|&executor| consumers - count[executor]).sum()
}

impl Placed {
    /// The placement as text: executors with their tasks, lanes and memory.
    pub fn to_text(&self, plan: &Plan) -> String {
        let mut text = String::new();
        for (number, executor) in self.executors.iter().enumerate() {
            let cpu = executor.wanted_cpu.map_or_else(|| "next free CPU".to_owned(), |cpu| format!("CPU {cpu}"));
            let _ = writeln!(text, "executor {number} ({cpu}): {}", tasks_text(plan, &executor.tasks));
        }
        let header = match self.layout {
            Layout::Bare => "no header",
            Layout::Placed => "header with the place in the source",
            Layout::Tracked => "header with tree membership",
            Layout::Full => "header with tree membership, time and lineage",
        };
        let _ =
            writeln!(text, "lanes between executors: {}, {} KiB; {header}", self.remote_lanes, self.remote_bytes >> 10);
        for pair in plan.pairs() {
            let (capacity, asked) = (self.remote_capacity[pair.edges[0]], pair.lane_capacity);
            if capacity < asked && remote_lanes(self, pair.from, pair.to) > 0 {
                let (from, to) = (&plan.components[pair.from].id, &plan.components[pair.to].id);
                let _ = writeln!(text, "  {from} -> {to}: capacity {capacity} instead of {asked} by lane_memory_bytes");
            }
        }
        text.push_str("direct calls: none (tasks of one executor hand over by local lanes)\n");
        text
    }
}

/// `count[0-3], split[0]`.
fn tasks_text(plan: &Plan, tasks: &[TaskRef]) -> String {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for task in tasks {
        match runs.last_mut() {
            Some((component, _, last)) if *component == task.component && *last + 1 == task.index => *last = task.index,
            _ => runs.push((task.component, task.index, task.index)),
        }
    }
    let text = runs.iter().map(|&(component, first, last)| {
        let id = &plan.components[component].id;
        if first == last { format!("{id}[{first}]") } else { format!("{id}[{first}-{last}]") }
    });
    text.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::component::{Next, Spout};
    use crate::task::outlet::{Outlet, SpoutOutlet};
    use crate::task::payload::{Nothing, Ports};
    use crate::topology::builder::TopologyBuilder;

    struct Silent;

    impl Spout for Silent {
        type Out = u64;
        type Id = ();
        fn next(&mut self, _: &mut SpoutOutlet<u64, ()>) -> Result<Next, crate::error::Failure> {
            Ok(Next::Finished)
        }
    }

    /// Spout, middle and sink with this many tasks of middle and sink.
    fn placed(tasks: usize, executors: usize, change: impl FnOnce(&mut Settings)) -> (Plan, Placed) {
        let mut t = TopologyBuilder::new("placed");
        let numbers = t.spout("spout", || Silent);
        let middle = t.bolt("middle", |n: u64, out: &mut Outlet<u64>| out.emit(n)).parallelism(tasks).shuffle(&numbers);
        t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).parallelism(tasks).fields(&middle, |n: &u64| n);
        t.settings(change);
        let topology = t.build().unwrap();
        let settings = topology.resolve().unwrap().settings;
        let plan = topology.plan(&settings);
        let placed = place(&topology, &plan, &settings, executors);
        (plan, placed)
    }

    #[test]
    fn parallel_copies_are_apart_and_a_pipelines_copies_together() {
        let (_, placed) = placed(4, 2, |_| {});
        assert_eq!(placed.executor_of, [vec![0], vec![0, 0, 1, 1], vec![0, 0, 1, 1]]);
        let first = &placed.executors[0].tasks;
        assert_eq!(first.iter().map(|task| task.component).collect::<Vec<_>>(), [2, 2, 1, 1, 0], "sinks first");
    }

    #[test]
    fn what_cannot_use_two_executors_gets_one() {
        let (_, placed) = placed(1, 2, |_| {});
        assert_eq!(placed.executors.len(), 1);
        assert_eq!(placed.remote_lanes, 0);
    }

    #[test]
    fn independent_pipelines_begin_at_different_executors() {
        let mut t = TopologyBuilder::new("two");
        for number in 0..2 {
            let numbers = t.spout(format!("spout{number}"), || Silent);
            t.bolt(format!("sink{number}"), |_: u64, _: &mut Outlet<Nothing>| {}).shuffle(&numbers);
        }
        let topology = t.build().unwrap();
        let settings = topology.resolve().unwrap().settings;
        let plan = topology.plan(&settings);
        assert_eq!(place(&topology, &plan, &settings, 2).executor_of, [[0], [0], [1], [1]]);
        assert_eq!(place(&topology, &plan, &settings, 1).executor_of, [[0], [0], [0], [0]]);
    }

    #[test]
    fn explicit_placement_comes_first() {
        let (_, placed) = placed(2, 1, |settings| {
            settings.components.entry("sink".to_owned()).or_default().placement = Some(Placement::Dedicated);
            settings.components.entry("spout".to_owned()).or_default().placement = Some(Placement::On(7));
        });
        assert_eq!(placed.executors[0].wanted_cpu, Some(7));
        assert_eq!(placed.executor_of, [vec![0], vec![0, 0], vec![1, 2]]);
    }

    #[test]
    fn one_thread_per_task_is_one_executor_per_task() {
        let (plan, placed) = placed(3, 1, |settings| settings.one_thread_per_task = true);
        assert_eq!(placed.executors.len(), plan.task_count());
        assert!(placed.executors.iter().all(|executor| executor.tasks.len() == 1));
    }

    #[test]
    fn edges_of_one_pair_of_components_share_their_lanes_and_the_memory() {
        let split = |n: u64, out: &mut Outlet<Ports<(u64, u64, u64)>>| out.emit_on::<0>(n);
        let [(_, alone), (text, mut shared)] = [1, 3].map(|edges| {
            let mut t = TopologyBuilder::new("shared");
            let numbers = t.spout("spout", || Silent);
            let split = t.bolt("split", split).parallelism(4).shuffle(&numbers);
            let mut sink = t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).parallelism(4);
            for stream in [&split.0, &split.1, &split.2].into_iter().take(edges) {
                sink = sink.shuffle(stream);
            }
            let topology = t.build().unwrap();
            let settings = topology.resolve().unwrap().settings;
            let plan = topology.plan(&settings);
            let placed = place(&topology, &plan, &settings, 2);
            (plan.to_text(), placed)
        });
        assert!(text.contains("split.default (u64) by shuffle, 16 lanes of 1024\n"), "{text}");
        assert!(text.contains("split.out2 (u64) by shuffle, the same lanes\n"), "{text}");
        assert_eq!(shared.remote_capacity, [1_024; 4]);
        shared.remote_capacity.truncate(2);
        assert_eq!(shared, alone);
    }

    #[test]
    fn lanes_between_executors_shrink_to_the_budget_but_not_below_eight() {
        let (_, roomy) = placed(40, 2, |_| {});
        assert_eq!(roomy.remote_capacity, [1_024, 1_024]);
        // 820 lanes cross, and the two ack lanes alone take 256 KiB.
        let (_, tight) = placed(40, 2, |settings| settings.lane_memory_bytes = 2 << 20);
        assert!(tight.remote_bytes <= 2 << 20, "{}", tight.remote_bytes);
        assert!(tight.remote_capacity.iter().all(|&capacity| (8..1_024).contains(&capacity)));
        let (_, least) = placed(40, 2, |settings| settings.lane_memory_bytes = 64 << 10);
        assert_eq!(least.remote_capacity, [8, 8], "the least that works, even beyond the budget");
    }
}
