//! Ids that are the same on every replay: who asks for them, and whether they can be had.

use crate::error::{Error, Problem, Result};
use crate::task::snapshot::Visibility;
use crate::topology::Topology;
use crate::topology::plan::{Kind, Plan};

fn asking<'a>(topology: &'a Topology, plan: &'a Plan) -> impl Iterator<Item = usize> + 'a {
    (0..plan.components.len())
        .filter(|&component| plan.components[component].kind != Kind::Spout)
        .filter(|&component| topology.task_kit(component).visibility() == Visibility::ImmediateById)
}

/// True if some component writes by id, so that tuples have to carry what ids are made of.
pub(crate) fn are_asked_for(topology: &Topology, plan: &Plan) -> bool {
    asking(topology, plan).next().is_some()
}

/// Finds every bolt on the way to a component that asks for ids whose emits may be others when they come again.
///
/// # Errors
/// With all of them.
pub(crate) fn check(topology: &Topology, plan: &Plan) -> Result<()> {
    let mut problems = Vec::new();
    for sink in asking(topology, plan) {
        let sink_id = &plan.components[sink].id;
        let upstream = plan.upstream(sink);
        for (component, of) in plan.components.iter().enumerate() {
            if !upstream[component] || component == sink {
                continue;
            }
            let problem = if of.kind == Kind::Spout {
                let lost = !topology.task_kit(component).can_replay();
                lost.then(|| {
                    format!(
                        "{sink_id} writes by id, and this spout cannot give its input again: read from something that \
                         can, such as a file, or have {sink_id} write `.at_least_once()`"
                    )
                })
            } else {
                (!of.replay_stable).then(|| {
                    format!(
                        "{sink_id} writes by id, and what this bolt emits may differ when it is replayed: declare it \
                         `.replay_stable()` if each emit depends on its input alone, or have {sink_id} write \
                         `.at_least_once()`"
                    )
                })
            };
            problems.extend(problem.map(|message| Problem::new(of.place.clone(), format!("{}: {message}", of.id))));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}
