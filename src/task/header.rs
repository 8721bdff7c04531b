//! Tree membership of a tuple, and the header layouts that carry it in a lane.

use std::num::NonZeroU64;

use crate::task::edge::ShortWay;
use crate::task::lane::LocalEnd;
use crate::task::lineage::{Lineage, Place};
use crate::task::outlet::EmitCore;

/// Names one live tree: the spout task, a slot of its ledger, and the slot's generation.
///
/// 14 bits of spout task (dense over the topology), 22 bits of slot, 28 bits of generation, which is never 0. A message
/// for an older generation of a slot is recognised and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root(NonZeroU64);

/// Most spout tasks a topology can have.
pub(crate) const SPOUT_TASKS_MAX: usize = (1 << 14) - 1;
/// Most trees one spout task can have open.
pub(crate) const SLOTS_MAX: usize = 1 << 22;
const GENERATION_BITS: u32 = 28;
pub(crate) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

impl Root {
    pub(crate) fn new(spout: usize, slot: u32, generation: u32) -> Self {
        debug_assert!(spout < SPOUT_TASKS_MAX && (slot as usize) < SLOTS_MAX);
        debug_assert!(generation > 0 && generation <= GENERATION_MASK);
        let bits = (spout as u64) << 50 | u64::from(slot) << GENERATION_BITS | u64::from(generation);
        Root(NonZeroU64::new(bits).expect("a generation is never 0"))
    }

    /// The dense index of the spout task that owns the tree.
    #[inline]
    pub fn spout(self) -> usize {
        (self.0.get() >> 50) as usize
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        (self.0.get() >> GENERATION_BITS) as u32 & (SLOTS_MAX as u32 - 1)
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        self.0.get() as u32 & GENERATION_MASK
    }
}

/// Which trees a tuple belongs to, with its edge id in each.
#[derive(Clone, Debug, Default)]
pub(crate) enum Roots {
    /// Untracked.
    #[default]
    None,
    /// The usual case.
    One(Root, u64),
    /// Anchored to tuples of several trees; boxed, so that the usual case stays small.
    Many(Box<[(Root, u64)]>),
}

impl Roots {
    /// Every (root, edge) pair.
    #[inline]
    pub fn each(&self, mut visit: impl FnMut(Root, u64)) {
        match self {
            Roots::None => {}
            Roots::One(root, edge) => visit(*root, *edge),
            Roots::Many(pairs) => pairs.iter().for_each(|(root, edge)| visit(*root, *edge)),
        }
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Roots::None)
    }

    /// XORs `edge` into the membership of every root of `anchor`, adding the roots that are new.
    pub fn join(self, anchor: &Roots, edge: u64) -> Roots {
        match (self, anchor) {
            (roots, Roots::None) => roots,
            (Roots::None, Roots::One(root, _)) => Roots::One(*root, edge),
            (roots, anchor) => {
                let mut pairs: Vec<(Root, u64)> = Vec::new();
                roots.each(|root, edge| pairs.push((root, edge)));
                anchor.each(|root, _| match pairs.iter_mut().find(|(known, _)| *known == root) {
                    Some((_, known_edge)) => *known_edge ^= edge,
                    None => pairs.push((root, edge)),
                });
                if let [(root, edge)] = pairs[..] { Roots::One(root, edge) } else { Roots::Many(pairs.into()) }
            }
        }
    }
}

/// Stands for the intended time of an event where there is none.
pub(crate) const NO_EVENT: u64 = u64::MAX;

/// What precedes a value in a lane. Chosen at plan time by the guarantee, so that what is not needed takes no bytes.
pub(crate) trait Header: Send + Sized + 'static {
    /// False if no tuple ever belongs to a tree.
    const TRACKED: bool;
    /// It tells when the spout's event was due, and the way from there.
    const FULL: bool = false;
    /// It tells the place in a source.
    const PLACED: bool = Self::FULL;

    /// The header of a tuple emitted now, with a fresh edge in the current anchors.
    fn stamp(core: &mut EmitCore) -> Self;
    /// The intended time of the spout's event that the tuple descends from, or [`NO_EVENT`].
    #[inline]
    fn birth_ns(&self) -> u64 {
        NO_EVENT
    }
    /// The place in a source that the tuple descends from, and the way from there.
    #[inline]
    fn lineage(&self) -> Lineage {
        Lineage::NONE
    }
    /// The tree membership it carries.
    fn into_roots(self) -> Roots;
    /// Names the layout of a queue.
    fn short_way<T>(queue: LocalEnd<Self, T>) -> ShortWay<T>;
}

/// No tracking: no bytes.
#[derive(Debug)]
pub struct Bare;

impl Header for Bare {
    const TRACKED: bool = false;

    #[inline]
    fn stamp(_core: &mut EmitCore) -> Self {
        Bare
    }

    #[inline]
    fn into_roots(self) -> Roots {
        Roots::None
    }

    fn short_way<T>(queue: LocalEnd<Self, T>) -> ShortWay<T> {
        ShortWay::Bare(queue)
    }
}

/// The place in a source that the tuple descends from: under exactly-once, so that what fails is known by its input.
#[derive(Debug)]
pub struct Placed(Place);

impl Header for Placed {
    const TRACKED: bool = false;
    const PLACED: bool = true;

    #[inline]
    fn stamp(core: &mut EmitCore) -> Self {
        Placed(core.lineage.place)
    }

    #[inline]
    fn lineage(&self) -> Lineage {
        Lineage::somehow_from(self.0)
    }

    #[inline]
    fn into_roots(self) -> Roots {
        Roots::None
    }

    fn short_way<T>(queue: LocalEnd<Self, T>) -> ShortWay<T> {
        ShortWay::Placed(queue)
    }
}

/// Tree membership.
#[derive(Debug)]
pub struct Tracked(Roots);

impl Header for Tracked {
    const TRACKED: bool = true;

    #[inline]
    fn stamp(core: &mut EmitCore) -> Self {
        Tracked(core.draw_edge())
    }

    #[inline]
    fn into_roots(self) -> Roots {
        self.0
    }

    fn short_way<T>(queue: LocalEnd<Self, T>) -> ShortWay<T> {
        ShortWay::Tracked(queue)
    }
}

/// All there is: tree membership, if any; the event's intended time, in open-loop measurement; the lineage, where it is
/// asked for. One layout for what is seldom needed, since every layout is another copy of the task shells' code.
#[derive(Debug)]
pub struct Full {
    roots: Roots,
    birth_ns: u64,
    lineage: Lineage,
}

impl Header for Full {
    const TRACKED: bool = true;
    const FULL: bool = true;

    #[inline]
    fn stamp(core: &mut EmitCore) -> Self {
        Full { roots: core.draw_edge(), birth_ns: core.birth_ns, lineage: core.child_lineage() }
    }

    #[inline]
    fn birth_ns(&self) -> u64 {
        self.birth_ns
    }

    #[inline]
    fn lineage(&self) -> Lineage {
        self.lineage
    }

    #[inline]
    fn into_roots(self) -> Roots {
        self.roots
    }

    fn short_way<T>(queue: LocalEnd<Self, T>) -> ShortWay<T> {
        ShortWay::Full(queue)
    }
}

/// The header layouts a plan can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// No header.
    Bare,
    /// The place in a source: 16 bytes, under exactly-once.
    Placed,
    /// Tree membership: 24 bytes.
    Tracked,
    /// With the intended time of the spout's event and its lineage as well: 56 bytes, in open-loop measurement, with
    /// ids that survive replay, and at least once after a restart from a checkpoint.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_keeps_its_parts() {
        let root = Root::new(SPOUT_TASKS_MAX - 1, SLOTS_MAX as u32 - 1, GENERATION_MASK);
        assert_eq!((root.spout(), root.slot()), (SPOUT_TASKS_MAX - 1, SLOTS_MAX as u32 - 1));
        assert_eq!(root.generation(), GENERATION_MASK);
    }

    #[test]
    fn joining_the_same_root_twice_xors_its_edges() {
        let root = Root::new(1, 2, 3);
        let other = Root::new(1, 4, 3);
        let anchor = Roots::One(root, 99);
        let twice = Roots::None.join(&anchor, 5).join(&anchor, 6);
        assert!(matches!(twice, Roots::One(r, 3) if r == root));
        let both = Roots::None.join(&anchor, 5).join(&Roots::One(other, 1), 7);
        assert!(matches!(both, Roots::Many(pairs) if *pairs == [(root, 5), (other, 7)]));
    }

    #[test]
    fn the_usual_header_is_small() {
        assert!(size_of::<Tracked>() <= 24);
        assert_eq!(size_of::<Bare>(), 0);
    }
}
