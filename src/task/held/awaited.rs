//! Which held tuples are still waited for when nothing else is to do.

use super::{HeldTable, SEGMENT_SLOTS};
use crate::task::header::Roots;

impl HeldTable {
    /// True if an open handle still matters to anybody: the trees of all others ran into their deadlines long ago, and
    /// were replayed or given up. Looks at every slot.
    pub fn is_awaited(&self) -> bool {
        self.open > 0 && self.tree_life_ns.is_none_or(|life_ns| self.lives_until_ns(life_ns) > self.now_ns)
    }

    /// When that will change by itself.
    pub fn over_at_ns(&self) -> Option<u64> {
        let life_ns = self.tree_life_ns.filter(|_| self.open > 0)?;
        Some(self.lives_until_ns(life_ns)).filter(|at_ns| *at_ns != u64::MAX)
    }

    fn lives_until_ns(&self, life_ns: u64) -> u64 {
        let free: std::collections::HashSet<(u32, u32)> = self.free.iter().copied().collect();
        let slots = (0..self.segments.len()).flat_map(|segment| (0..SEGMENT_SLOTS).map(move |slot| (segment, slot)));
        let held = slots.filter(|(segment, slot)| !free.contains(&(*segment as u32, *slot as u32)));
        let until = held.map(|(segment, slot)| match self.inputs[segment][slot].0 {
            // Without a tree there is no deadline.
            Roots::None => u64::MAX,
            _ => self.since_ns[segment][slot].saturating_add(life_ns),
        });
        until.max().unwrap_or(0)
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;
    use crate::task::header::Root;
    use crate::task::held::Anchor;
    use crate::task::lineage::Lineage;
    use crate::task::waker::Waker;

    fn roots(n: u32) -> Roots {
        Roots::One(Root::new(0, n, 1), 77)
    }

    #[test]
    fn a_handle_is_awaited_while_its_trees_can_live() {
        let mut table = HeldTable::new(Waker::disconnected(), 1, false);
        table.now_ns = 5;
        let (first, second) = (table.hold(roots(1), Lineage::NONE, None), table.hold(roots(2), Lineage::NONE, None));
        assert!(table.is_awaited() && table.over_at_ns().is_none(), "without deadlines for ever");
        table.tree_life_ns = Some(100);
        assert_eq!(table.over_at_ns(), Some(105));
        table.now_ns = 50;
        second.reset_deadline();
        table.take_events(drop);
        table.now_ns = 105;
        assert!(table.is_awaited());
        assert_eq!(table.over_at_ns(), Some(150), "its deadline was reset");
        table.now_ns = 150;
        assert!(!table.is_awaited());
        let untracked = table.hold(Roots::None, Lineage::NONE, None);
        assert!(table.is_awaited() && table.over_at_ns().is_none(), "no tree, no deadline");
        [first, second, untracked].into_iter().for_each(Anchor::ack);
        table.take_events(drop);
        assert!(!table.is_awaited());
    }
}
