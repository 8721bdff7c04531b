//! Tuples that were held in the checkpoint which is resumed: read back with the instance, delivered before any input.

use std::collections::VecDeque;

use crate::error::Failure;
use crate::task::bolt::BoltShell;
use crate::task::header::{Header, Roots};
use crate::task::held_state::{Held, OwnPart};
use crate::task::lineage::{GivenUp, Lineage, Place};
use crate::task::shell::{TaskParts, guarded};
use crate::task::snapshot::SnapshotPort;
use crate::task::style::{Input, Logic};

/// True if the values of held tuples go into snapshots. Under at-least-once they need not: nobody has acked them.
pub(super) fn keeps_values<L: Logic>(parts: &TaskParts) -> bool {
    matches!(L::HELD, Some(Held::InState(_))) && parts.snapshots.as_ref().is_some_and(|port| port.exactly_once)
}

/// Why the input at this place was given up, if it was.
fn given_up(parts: &TaskParts, place: Place) -> Option<GivenUp> {
    let poison = &parts.snapshots.as_ref()?.caution.poison;
    poison.binary_search_by_key(&place, |given_up| given_up.place).ok().map(|at| poison[at].clone())
}

/// What falls to a task of the parts that its component stored: bytes of its own, and values of tuples that were held.
pub(super) struct Resumed<L: Logic> {
    pub own: Vec<bytes::Bytes>,
    pub held: VecDeque<(L::In, Place)>,
}

/// # Errors
/// Fatal: a part cannot be read, or tuples were held by a component that holds none now or has another number of tasks.
pub(super) fn read_parts<L: Logic>(port: &SnapshotPort, tasks: usize) -> Result<Resumed<L>, Failure> {
    let mut resumed = Resumed { own: Vec::new(), held: VecDeque::new() };
    for bytes in port.restored_own(tasks) {
        let part = OwnPart::read(bytes)?;
        if !part.held.is_empty() {
            let Some(Held::InState(codec)) = L::HELD else {
                return Err(Failure::fatal(
                    "the checkpoint has tuples that this bolt held in its state, and now it does not declare \
                     `Held::in_state()`: resume with the program that wrote it and drain it",
                ));
            };
            let stored = port.tasks_stored();
            if stored != tasks {
                return Err(Failure::fatal(format!(
                    "the checkpoint has tuples that its {stored} tasks held, so that their number cannot become \
                     {tasks} now: resume with {stored} tasks, and change it when none are held",
                )));
            }
            let places = part.places.iter().copied().chain(std::iter::repeat(Place::NONE));
            resumed.held.extend(codec.read_all(&part)?.into_iter().zip(places));
        }
        resumed.own.push(part.own);
    }
    Ok(resumed)
}

impl<H: Header, L: Logic> BoltShell<H, L> {
    /// Delivers what was held in the checkpoint that has been resumed.
    pub(super) fn redeliver(&mut self, left: &mut usize) {
        while !self.redelivered.is_empty() && self.is_ready && self.may_go_on(*left) {
            let wall_ns = self.wall_ns();
            let (Some(bolt), Some((value, place))) = (&mut self.bolt, self.redelivered.pop_front()) else { return };
            *left -= 1;
            // Its source has it behind itself, and meets it again only as a dead letter.
            if let Some(given_up) = given_up(&self.parts, place) {
                self.rejected.add(given_up);
                continue;
            }
            let (out, origin) = (&mut self.out, &self.origin);
            out.core.no_event();
            out.core.set_lineage(Lineage::from(place));
            out.core.counts.executed += 1;
            let manual = Some((Roots::None, &mut self.held));
            let input = Input { number: 0, wall_ns, manual, redelivered: true };
            if let Err(failure) = guarded(origin, || bolt.execute(value, input, out))
                // What the call has let go of is settled with the other held tuples.
                && !(failure.is_reject() && self.held.failed_with_call(&failure))
            {
                self.parts.metrics.reported().failed(None, &failure);
                self.break_down(failure);
            }
            self.out.core.no_event();
            self.ask_whether_ready();
        }
    }

    /// All that was held has been delivered again, and a barrier need not wait for what is held now.
    pub(super) fn held_is_safe(&self) -> bool {
        let waits = !matches!(L::HELD, Some(Held::InState(_))) && self.held.open() > 0;
        !waits && self.redelivered.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sys::sync::Arc;
    use crate::task::component::{ManualBolt, Outcome};
    use crate::task::held::Tuple;
    use crate::task::lineage::Caution;
    use crate::task::outlet::Outlet;
    use crate::task::payload::Nothing;
    use crate::task::pieces::Pieces;
    use crate::task::snapshot::{Catalogue, Restored};
    use crate::task::style::Manual;

    struct Holds<const IN_STATE: bool>;

    impl<const IN_STATE: bool> ManualBolt for Holds<IN_STATE> {
        type In = u64;
        type Out = Nothing;
        const HELD: Option<Held<u64>> = Some(if IN_STATE { Held::in_state() } else { Held::Drain });

        fn execute(&mut self, tuple: Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
            tuple.ack();
            Ok(())
        }
    }

    /// A port whose component stored one task's part with the number 7 in it.
    fn port() -> SnapshotPort {
        let mut seven = Vec::new();
        crate::state::codec::write(&7u64, &mut seven).expect("writes");
        let part = OwnPart { own: "own".into(), held: vec![seven.into()], places: Vec::new() }.write();
        let restored = Restored { own: BTreeMap::from([(0, vec![part])]), ..Restored::default() };
        SnapshotPort {
            keeper: crossbeam::channel::unbounded().0,
            component: 0,
            index: 0,
            exactly_once: true,
            restored: Some(Arc::new(restored)),
            catalogue: Arc::new(Catalogue::default()),
            pieces: Pieces::new(),
            caution: Caution::default(),
        }
    }

    #[test]
    fn what_was_held_comes_back_to_the_same_number_of_tasks_only() {
        let resumed = read_parts::<Manual<Holds<true>>>(&port(), 1).expect("reads");
        assert_eq!((resumed.own, resumed.held), (vec!["own".into()], VecDeque::from([(7, Place::NONE)])));
        let failure = read_parts::<Manual<Holds<true>>>(&port(), 2).err().expect("refused");
        assert!(failure.is_fatal() && failure.to_string().contains("resume with 1 tasks"), "{failure}");
    }

    #[test]
    fn a_bolt_that_holds_nothing_in_its_state_any_more_does_not_lose_what_was_held() {
        let failure = read_parts::<Manual<Holds<false>>>(&port(), 1).err().expect("refused");
        assert!(failure.is_fatal() && failure.to_string().contains("in_state"), "{failure}");
    }
}
