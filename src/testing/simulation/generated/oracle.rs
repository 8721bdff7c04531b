//! What must come out of a topology, worked out from the topology as data.

use std::collections::{BTreeMap, BTreeSet};

use super::draw::{Class, DEAD_LETTERS, Grouping, Item, Op, Spec, custom_copies, total};

/// An item in a sink.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    pub copies: u64,
    pub root: u64,
    pub class: Class,
}

/// Items in the sink with this number, by id.
pub type Leaves = BTreeMap<(usize, u64), Leaf>;

pub struct Expected {
    /// Whatever any input leads to, if nothing fails but what is rejected; with the sums of either.
    pub all: Leaves,
    /// Without inputs that are poison.
    pub exact: Leaves,
    /// Inputs that become dead letters.
    pub dead: BTreeSet<u64>,
    /// How often each may be rejected once more, for what was held in a checkpoint when it had its dead letter.
    pub later: BTreeMap<u64, u64>,
    pub deliveries: u64,
}

pub fn expected(spec: &Spec) -> Expected {
    let all = flow(spec, &BTreeSet::new());
    let exact = flow(spec, &all.poisoned);
    let dead = all.poisoned.iter().chain(&exact.rejected).copied().collect();
    let mut every = all.leaves;
    for (at, leaf) in &exact.leaves {
        every.entry(*at).or_insert(*leaf);
    }
    Expected { all: every, exact: exact.leaves, dead, later: exact.rejected_later, deliveries: all.deliveries }
}

#[derive(Default)]
struct Flow {
    leaves: Leaves,
    poisoned: BTreeSet<u64>,
    rejected: BTreeSet<u64>,
    rejected_later: BTreeMap<u64, u64>,
    deliveries: u64,
}

/// Lets every input but these through.
fn flow(spec: &Spec, without: &BTreeSet<u64>) -> Flow {
    let mut flow = Flow::default();
    let mut inputs: Vec<Vec<(Item, u64)>> = vec![Vec::new(); spec.components.len()];
    for component in 0..spec.components.len() {
        let mut emitted = Vec::new();
        let op = spec.components[component].op;
        if op.is_source() {
            let items = (0..spec.inputs).map(|n| Item::of_source(component, n));
            emitted.extend(items.filter(|item| !without.contains(&item.root)).map(|item| (0, item, 1)));
        }
        let mut totals: BTreeMap<u16, (u64, u64, BTreeSet<u64>)> = BTreeMap::new();
        for (item, copies) in std::mem::take(&mut inputs[component]) {
            flow.deliveries += copies;
            if spec.is_poison(component, &item) {
                flow.poisoned.insert(item.root);
                continue;
            }
            if spec.rejects(component, &item) {
                flow.rejected.insert(item.root);
                if item.class == Class::Held {
                    *flow.rejected_later.entry(item.root).or_default() += copies;
                }
                continue;
            }
            if op.is_sink() {
                let new = Leaf { copies: 0, root: item.root, class: item.class };
                flow.leaves.entry((component, item.id)).or_insert(new).copies += copies;
            }
            if op == Op::Count {
                let (count, sum, distinct) = totals.entry(item.key()).or_default();
                (*count, *sum) = (*count + copies, sum.wrapping_add(item.id.wrapping_mul(copies)));
                distinct.insert(item.id);
            }
            emitted.extend(spec.children(component, &item).into_iter().map(|(port, child)| (port, child, copies)));
        }
        let totals = totals.into_iter().map(|(key, (count, sum, distinct))| (key, (count, sum, distinct.len() as u64)));
        emitted.extend(totals.map(|(key, of_key)| (0, total(component, key, of_key), 1)));
        for edge in spec.edges.iter().filter(|edge| edge.from == component && edge.port != DEAD_LETTERS) {
            for (_, item, copies) in emitted.iter().filter(|(port, ..)| *port == edge.port) {
                let each = match edge.grouping {
                    Grouping::All => spec.components[edge.to].tasks as u64,
                    Grouping::Custom => custom_copies(item) as u64,
                    _ => 1,
                };
                if each > 0 {
                    inputs[edge.to].push((item.clone(), copies * each));
                }
            }
        }
    }
    flow
}
