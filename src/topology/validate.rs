//! What can be wrong with the structure of a topology, found all at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Problem;
use crate::topology::draft::Draft;
use crate::topology::plan::Kind;

/// Everything that is wrong with the structure.
pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = draft.problems.clone();
    names(draft, &mut problems);
    spouts_and_inputs(draft, &mut problems);
    subscriptions(draft, &mut problems);
    if let Some(cycle) = undeclared_cycle(draft) {
        problems.push(cycle);
    } else {
        unreachable(draft, &mut problems);
        straight_feedback(draft, &mut problems);
    }
    problems
}

fn names(draft: &Draft, problems: &mut Vec<Problem>) {
    if draft.name.is_empty() || draft.name.contains(['/', '.', ':', '\\']) {
        let message = format!("the name {:?} must not be empty or contain any of / . : \\", draft.name);
        problems.push(Problem::new("topology", message));
    }
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    for component in &draft.components {
        let id = &component.id;
        if id.is_empty() || id.starts_with("__") {
            let message = format!("the component id {id:?} is empty or starts with __, which is reserved");
            problems.push(Problem::new(&component.place, message));
        }
        if let Some(first) = places.insert(id, &component.place) {
            let message = format!("the component id {id:?} is already used at {first}; give it another");
            problems.push(Problem::new(&component.place, message));
        }
        let mut streams = BTreeSet::new();
        for (stream, _) in &component.ports {
            if !streams.insert(stream) {
                let message = format!("component {id:?} has two outputs named {stream:?}");
                problems.push(Problem::new(&component.place, message));
            }
        }
    }
}

fn spouts_and_inputs(draft: &Draft, problems: &mut Vec<Problem>) {
    if !draft.components.iter().any(|component| component.kind == Kind::Spout) {
        let place = format!("topology {}", draft.name);
        problems.push(Problem::new(place, "it has no spout; declare one with spout() or source()"));
    }
    for component in &draft.components {
        if component.kind != Kind::Spout && component.inputs == 0 {
            let message =
                format!("bolt {:?} subscribes to nothing; give it a grouping such as .shuffle(&stream)", component.id);
            problems.push(Problem::new(&component.place, message));
        }
    }
}

fn subscriptions(draft: &Draft, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<(usize, usize, usize), &str> = BTreeMap::new();
    for edge in &draft.edges {
        if let Some(first) = seen.insert((edge.to, edge.from, edge.port), &edge.place) {
            let (to, from) = (&draft.components[edge.to].id, &draft.components[edge.from]);
            let message = format!(
                "bolt {to:?} already subscribes to {}.{} at {first}; remove one",
                from.id, from.ports[edge.port].0
            );
            problems.push(Problem::new(&edge.place, message));
        }
    }
}

/// A cycle of edges that are not declared to close one, as a path.
fn undeclared_cycle(draft: &Draft) -> Option<Problem> {
    let order = topological_order(draft);
    if order.len() == draft.components.len() {
        return None;
    }
    // Every component left over has an undeclared edge from another one left over: walking back must meet itself.
    let left: BTreeSet<usize> = (0..draft.components.len()).filter(|index| !order.contains(index)).collect();
    let mut path = vec![*left.first().expect("something is left over")];
    loop {
        let at = *path.last().expect("never empty");
        let edge = draft.edges.iter().find(|edge| edge.to == at && !edge.feedback && left.contains(&edge.from))?;
        if let Some(start) = path.iter().position(|&index| index == edge.from) {
            let mut names: Vec<&str> = path[start..].iter().rev().map(|&index| &*draft.components[index].id).collect();
            names.push(names[0]);
            let message = format!(
                "undeclared cycle {}; declare the edge that closes it with .closing_cycle(|bolt| ...)",
                names.join(" -> ")
            );
            return Some(Problem::new(&edge.place, message));
        }
        path.push(edge.from);
    }
}

fn unreachable(draft: &Draft, problems: &mut Vec<Problem>) {
    let mut reached: BTreeSet<usize> =
        (0..draft.components.len()).filter(|&index| draft.components[index].kind == Kind::Spout).collect();
    loop {
        let before = reached.len();
        for edge in &draft.edges {
            if reached.contains(&edge.from) {
                reached.insert(edge.to);
            }
        }
        if reached.len() == before {
            break;
        }
    }
    for (index, component) in draft.components.iter().enumerate() {
        if !reached.contains(&index) && component.inputs > 0 {
            let message = format!("bolt {:?} is reached by no spout", component.id);
            problems.push(Problem::new(&component.place, message));
        }
    }
}

/// Subscriptions declared to close a cycle that close none: their end would not be waited for.
fn straight_feedback(draft: &Draft, problems: &mut Vec<Problem>) {
    for edge in draft.edges.iter().filter(|edge| edge.feedback) {
        let mut reached = BTreeSet::from([edge.to]);
        loop {
            let before = reached.len();
            let further = draft.edges.iter().filter(|next| reached.contains(&next.from)).map(|next| next.to);
            reached.extend(further.collect::<Vec<_>>());
            if reached.len() == before {
                break;
            }
        }
        if !reached.contains(&edge.from) {
            let (from, to) = (&draft.components[edge.from].id, &draft.components[edge.to].id);
            let message = format!("{from} -> {to} closes no cycle; subscribe outside of closing_cycle");
            problems.push(Problem::new(&edge.place, message));
        }
    }
}

/// Components in an order in which every one comes after all it subscribes to, feedback aside; shorter if there is a
/// cycle.
fn topological_order(draft: &Draft) -> Vec<usize> {
    let mut waiting = vec![0usize; draft.components.len()];
    for edge in draft.edges.iter().filter(|edge| !edge.feedback) {
        waiting[edge.to] += 1;
    }
    let mut order: Vec<usize> = (0..waiting.len()).filter(|&index| waiting[index] == 0).collect();
    let mut next = 0;
    while let Some(&index) = order.get(next) {
        next += 1;
        for edge in draft.edges.iter().filter(|edge| !edge.feedback && edge.from == index) {
            waiting[edge.to] -= 1;
            if waiting[edge.to] == 0 {
                order.push(edge.to);
            }
        }
    }
    order
}

/// Longest path from a component without inputs, for each component of a draft without undeclared cycles.
pub(super) fn depths(draft: &Draft) -> Vec<usize> {
    let mut depths = vec![0; draft.components.len()];
    for index in topological_order(draft) {
        for edge in draft.edges.iter().filter(|edge| !edge.feedback && edge.from == index) {
            depths[edge.to] = depths[edge.to].max(depths[index] + 1);
        }
    }
    depths
}
