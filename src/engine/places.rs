//! Where components write: two in one place would undo each other's work, and one where another reads would take its
//! input away.

use std::collections::BTreeMap;

use crate::error::{Error, Problem, Result};
use crate::topology::Topology;
use crate::topology::plan::Plan;

/// Refuses two components that write into one place, and one that writes over the input of another.
///
/// # Errors
/// With every such place and all who write there.
pub(crate) fn check(topology: &Topology, plan: &Plan) -> Result<()> {
    let mut writers = BTreeMap::<String, Vec<usize>>::new();
    for (component, place) in topology.places() {
        writers.entry(place).or_default().push(component);
    }
    let mut problems = Vec::new();
    for (place, writers) in writers {
        let [first, others @ ..] = &writers[..] else { continue };
        for other in others.iter().map(|&other| &plan.components[other]) {
            let first = &plan.components[*first];
            let message = format!(
                "{} writes to {place}, where {} ({}) writes too: one would undo what the other writes; give each a \
                 place of its own, or subscribe one component to both streams",
                other.id, first.id, first.place
            );
            problems.push(Problem::new(other.place.clone(), message));
        }
    }
    for (reader, place) in topology.inputs() {
        let reader = &plan.components[reader];
        for (writer, _) in topology.places().iter().filter(|(_, other)| *other == place) {
            let writer = &plan.components[*writer];
            let message = format!(
                "{} writes to {place}, which {} ({}) reads: give the output a place of its own",
                writer.id, reader.id, reader.place
            );
            problems.push(Problem::new(writer.place.clone(), message));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}
