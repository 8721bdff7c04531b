//! Where a tuple comes from: the place in a source that it descends from, and the way it has come.
//!
//! After a failure the same place is read again, and by the same way the same tuples come: so a lineage is an identity
//! that survives replay, as long as what every bolt emits depends on its input alone.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::error::{Failure, FailureKind, Origin};
use crate::sys::random::mix;
use crate::sys::sync::Arc;

/// What identifies an output, whatever is replayed: see [`Outlet::input_id`](crate::Outlet::input_id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ReplayId(pub u128);

impl std::fmt::Display for ReplayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A place in a source, and a hash of the way from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lineage {
    pub place: Place,
    path: u64,
}

/// Nobody has kept the way: it identifies nothing.
const FORGOTTEN: u64 = u64::MAX;

/// A position in a split of a source. The split is named by a hash; 0 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    split: u64,
    pub position: u64,
}

impl Place {
    /// Of what descends from no input.
    pub const NONE: Place = Place { split: 0, position: 0 };

    pub fn at(split: SplitName, position: u64) -> Self {
        Place { split: split.0, position }
    }

    #[inline]
    pub fn is_none(self) -> bool {
        self.split == 0
    }

    /// A position of a source that cannot be read again.
    pub fn nowhere(position: u64) -> Self {
        Place { split: 0, position }
    }

    /// The split it is in.
    pub fn split(self) -> SplitName {
        SplitName(self.split)
    }
}

impl Lineage {
    /// What descends from no input: ticks, timers, the end.
    pub const NONE: Lineage = Lineage { place: Place::NONE, path: 0 };

    pub fn is_none(&self) -> bool {
        self.place.is_none()
    }

    /// Directly from this place.
    #[inline]
    pub fn from(place: Place) -> Self {
        Lineage { place, path: 0 }
    }

    /// Somehow from this place.
    #[inline]
    pub fn somehow_from(place: Place) -> Self {
        Lineage { place, path: FORGOTTEN }
    }

    /// Of what a component emits: its `index`-th emit, to the `ordinal`-th of several tasks. FROZEN: ids are kept
    /// outside.
    #[inline]
    pub fn child(&self, component: u64, index: u64, ordinal: u64) -> Self {
        if self.is_none() {
            return *self;
        }
        let path = [component, index, ordinal].into_iter().fold(self.path, |path, step| mix(path.wrapping_add(step)));
        Lineage { place: self.place, path }
    }

    /// What is emitted in the row of emits with this number under a handle; the first one is the tuple's own. FROZEN,
    /// as [`child`](Self::child).
    pub fn row(&self, number: u64) -> Self {
        let is_own = number == 0 || self.path == FORGOTTEN;
        Lineage { path: if is_own { self.path } else { mix(self.path ^ mix(number)) }, ..*self }
    }

    /// Of what descends from both: nothing, unless it is one input. FROZEN, as [`child`](Self::child).
    pub fn joined(&self, other: Self) -> Self {
        if self.place != other.place {
            return Lineage::NONE;
        }
        if self.path == FORGOTTEN || other.path == FORGOTTEN {
            return Lineage::somehow_from(self.place);
        }
        Lineage { path: mix(self.path.wrapping_add(mix(other.path))), ..*self }
    }

    /// FROZEN, as [`child`](Self::child).
    pub fn id(&self) -> Option<ReplayId> {
        if self.is_none() || self.path == FORGOTTEN {
            return None;
        }
        let mut bytes = [0; 24];
        let parts = [self.place.split, self.place.position, self.path];
        bytes.chunks_exact_mut(8).zip(parts).for_each(|(bytes, part)| bytes.copy_from_slice(&part.to_le_bytes()));
        Some(ReplayId(xxh3_128(&bytes)))
    }
}

/// The hash that names a split of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SplitName(u64);

impl SplitName {
    pub fn new(component: &str, split: &str) -> Self {
        SplitName(xxh3_64(format!("{component}\0{split}").as_bytes()).max(1))
    }
}

/// The hash that names a component in a path.
pub(crate) fn component_name(component: &str) -> u64 {
    xxh3_64(component.as_bytes())
}

/// An input that is given up: its source makes a dead letter of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct GivenUp {
    pub place: Place,
    /// Where it failed last.
    #[serde(with = "origin_as_parts")]
    pub origin: Option<Origin>,
    pub error: String,
    pub kind: FailureKind,
    /// How often it is known to have been tried.
    pub attempts: u32,
    /// When it failed first and last, in nanoseconds since the epoch.
    pub first_failed_ns: u64,
    pub last_failed_ns: u64,
}

mod origin_as_parts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::error::Origin;

    pub fn serialize<S: Serializer>(origin: &Option<Origin>, serializer: S) -> Result<S::Ok, S::Error> {
        origin.as_ref().map(|origin| (&*origin.component, origin.task_index)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Origin>, D::Error> {
        let parts = Option::<(String, usize)>::deserialize(deserializer)?;
        Ok(parts.map(|(component, task_index)| Origin { component: component.into(), task_index }))
    }
}

/// What sources do differently after a restart from a checkpoint, so that what fails is found and got past.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caution {
    /// Inputs to be given up when they are read again, in order of the place.
    pub poison: Arc<[GivenUp]>,
    /// Inputs that failed: everything before each of them gets a checkpoint of its own, and so does it. In order of the
    /// place; the attempts are those in which it was alone.
    pub suspects: Arc<[GivenUp]>,
    /// Emits of each task between two checkpoints, at most.
    pub allowance: Option<u64>,
}

impl GivenUp {
    /// After one failure, at this time.
    pub fn at_once(place: Place, failure: &Failure, wall_ns: u64) -> Self {
        GivenUp {
            place,
            origin: failure.origin().cloned(),
            error: failure.message().to_owned(),
            kind: failure.kind(),
            attempts: 1,
            first_failed_ns: wall_ns,
            last_failed_ns: wall_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FROZEN. Tables outside are keyed by these.
    #[test]
    fn golden_vectors_hold() {
        let item =
            Lineage::from(Place::at(SplitName::new("lines", "a.txt:0-10"), 7)).child(component_name("lines"), 1, 0);
        let word = item.child(component_name("split"), 3, 0);
        assert_eq!(item.id().unwrap().to_string(), "214644071c9ebda6507a02bf90c48b9b");
        assert_eq!(word.id().unwrap().to_string(), "31d70fa2f465f1189d84e57a045421e8");
    }

    #[test]
    fn every_step_of_a_path_tells_lineages_apart() {
        let root = Lineage::from(Place::at(SplitName::new("a", "b"), 0));
        let ways = [(1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1)].map(|(c, i, o)| root.child(c, i, o).id());
        let longer = ways.len() + 1;
        let mut all: Vec<_> = ways.into_iter().chain([root.child(1, 1, 0).child(1, 1, 0).id()]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), longer);
        assert_eq!(Lineage::NONE.child(1, 1, 1).id(), None);
    }
}
