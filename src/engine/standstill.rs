//! Who holds tuples while nothing moves: told from the counters alone.

use crate::engine::report::ComponentCounts;
use crate::words::counted;

/// So long nothing may move before somebody is named.
pub(crate) const STANDSTILL_NS: u64 = 2_000_000_000;

/// Looks whether anything moves, and tells who holds it up when nothing does.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    moved: u64,
    since_ns: u64,
    is_told: bool,
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It moves, nothing waits, or not for long enough.
    Fine,
    /// It has stood still for so long: who waits for whom, in words. For the first time since it last moved, if so.
    Stands { for_s: u64, why: String, is_new: bool },
}

impl Standstill {
    /// `consumers` are the names of those that subscribe to a component, by its position.
    pub fn look(
        &mut self,
        now_ns: u64,
        components: &[ComponentCounts],
        consumers: impl Fn(usize) -> Vec<String>,
    ) -> Look {
        let moved: u64 = components.iter().map(movement).sum();
        let waits = waits(components, consumers);
        if moved != self.moved || waits.is_empty() {
            *self = Standstill { moved, since_ns: now_ns, is_told: false };
            return Look::Fine;
        }
        let for_ns = now_ns.saturating_sub(self.since_ns);
        if for_ns < STANDSTILL_NS {
            return Look::Fine;
        }
        let is_new = !std::mem::replace(&mut self.is_told, true);
        let why = format!("{}; {}", waits.join(", "), holders(components));
        Look::Stands { for_s: for_ns / 1_000_000_000, why, is_new }
    }
}

/// Grows whenever a tuple gets on. Calls of `next` that find nothing are none.
fn movement(component: &ComponentCounts) -> u64 {
    let counts = &component.counts;
    let executed = if component.kind == "spout" { 0 } else { counts.executed };
    executed + counts.emitted + counts.acked + counts.failed
}

/// Who does not go on, and for want of what.
fn waits(components: &[ComponentCounts], consumers: impl Fn(usize) -> Vec<String>) -> Vec<String> {
    let mut waits = Vec::new();
    for (position, component) in components.iter().enumerate() {
        let ComponentCounts { id, pending, waiting, .. } = component;
        let is_spout = component.kind == "spout";
        if waiting.held_back > 0 {
            waits.push(format!("{id} is held back by max_spout_pending ({} open)", counted(*pending, "tree")));
        }
        if waiting.finishing > 0 && *pending > 0 && is_spout {
            waits.push(format!("{id} has ended and waits for its last {}", counted(*pending, "tree")));
        }
        if waiting.finishing > 0 && *pending > 0 && !is_spout {
            waits.push(format!("the end waits for {id}"));
        }
        if waiting.blocked > 0 {
            waits.push(format!("{id} waits for room in the lanes to {}", consumers(position).join(", ")));
        }
        if waiting.unready > 0 {
            waits.push(format!("the input of {id} waits"));
        }
    }
    waits
}

/// Who has the tuples that are waited for.
fn holders(components: &[ComponentCounts]) -> String {
    let mut holders = Vec::new();
    for ComponentCounts { id, pending, waiting, waits_for, .. } in components.iter().filter(|c| c.kind != "spout") {
        if *pending > 0 {
            holders.push(format!("{id} holds {}, neither acked nor failed", counted(*pending, "tuple")));
        }
        if let Some(what) = waits_for {
            holders.push(format!("{id} {what}"));
        } else if waiting.unready > 0 {
            holders.push(format!("{id} takes no more input before what it has is done"));
        }
        if waiting.backing_off > 0 {
            holders.push(format!("{id} has broken down and is built again after a back-off"));
        }
    }
    match holders.is_empty() {
        true => "no bolt holds any of their tuples".to_owned(),
        false => holders.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::Waiting;
    use crate::task::metrics::Counts;

    const SECOND_NS: u64 = 1_000_000_000;

    fn component(id: &str, kind: &'static str, pending: u64, waiting: Waiting) -> ComponentCounts {
        let counts = Counts { executed: 10, emitted: 10, ..Counts::default() };
        ComponentCounts { id: id.into(), kind, counts, pending, waiting, waits_for: None }
    }

    fn held_back() -> Waiting {
        Waiting { held_back: 1, ..Waiting::default() }
    }

    fn look(standstill: &mut Standstill, now_s: u64, components: &[ComponentCounts]) -> Look {
        standstill.look(now_s * SECOND_NS, components, |_| vec!["after".into()])
    }

    /// What is said after five seconds without a movement.
    fn said(components: &[ComponentCounts]) -> String {
        let mut standstill = Standstill::default();
        assert_eq!(look(&mut standstill, 1, components), Look::Fine);
        match look(&mut standstill, 6, components) {
            Look::Stands { for_s: 5, why, is_new: true } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bolt_that_waits_for_its_process_says_so() {
        let unready = Waiting { unready: 1, ..Waiting::default() };
        let mut child = component("child", "bolt", 0, unready);
        child.waits_for = Some("waits for process 7 to answer".into());
        assert_eq!(said(&[child]), "the input of child waits; child waits for process 7 to answer");
    }

    #[test]
    fn a_bolt_that_forgot_to_ack_is_named_with_the_spout_it_holds_back() {
        let components =
            [component("words", "spout", 10, held_back()), component("forgets", "bolt", 10, Waiting::default())];
        assert_eq!(
            said(&components),
            "words is held back by max_spout_pending (10 trees open); forgets holds 10 \
             tuples, neither acked nor failed"
        );
    }

    #[test]
    fn a_full_lane_a_bolt_that_takes_nothing_and_one_that_broke_down_are_named() {
        let blocked = Waiting { blocked: 1, ..Waiting::default() };
        let unready = Waiting { unready: 1, ..Waiting::default() };
        let broken = Waiting { backing_off: 1, ..Waiting::default() };
        let components = [
            component("source", "spout", 0, blocked),
            component("after", "bolt", 3, unready),
            component("broken", "bolt", 0, broken),
        ];
        let said = said(&components);
        for part in [
            "source waits for room in the lanes to after",
            "after holds 3 tuples",
            "after takes no more input before what it has is done",
            "broken has broken down",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    #[test]
    fn what_an_end_waits_for_is_named() {
        let finishing = Waiting { finishing: 1, ..Waiting::default() };
        let components =
            [component("source", "spout", 2, finishing), component("forgets", "bolt", 1, Waiting::default())];
        let said = said(&components);
        assert!(said.contains("source has ended and waits for its last 2 trees; forgets holds 1 tuple"), "{said}");
        let lost = [component("source", "spout", 2, finishing), component("sink", "bolt", 0, Waiting::default())];
        assert!(self::said(&lost).ends_with("no bolt holds any of their tuples"));
    }

    #[test]
    fn nothing_is_said_while_it_moves_or_nobody_waits_and_once_while_it_stands() {
        let mut standstill = Standstill::default();
        let mut components =
            [component("words", "spout", 10, held_back()), component("window", "bolt", 10, Waiting::default())];
        for second in 1..10 {
            components[1].counts.executed += 1;
            assert_eq!(look(&mut standstill, second, &components), Look::Fine, "it moves");
        }
        assert_eq!(look(&mut standstill, 10, &components), Look::Fine, "not for long");
        assert!(matches!(look(&mut standstill, 12, &components), Look::Stands { is_new: true, .. }));
        assert!(matches!(look(&mut standstill, 13, &components), Look::Stands { is_new: false, .. }));
        components[0].counts.acked += 1;
        assert_eq!(look(&mut standstill, 14, &components), Look::Fine, "it moves again");
        assert!(matches!(look(&mut standstill, 17, &components), Look::Stands { is_new: true, .. }));
        // An open window behind a source that has nothing to say.
        components[0].waiting = Waiting::default();
        assert_eq!(look(&mut standstill, 60, &components), Look::Fine, "nobody waits");
        // Looking for input is no movement.
        components[0].waiting = held_back();
        assert_eq!(look(&mut standstill, 61, &components), Look::Fine);
        components[0].counts.executed += 1_000;
        assert!(matches!(look(&mut standstill, 70, &components), Look::Stands { is_new: true, .. }));
    }
}
