//! The byte-range splits of a file: their names, and how far each has been read.

use std::path::Path;

use crate::error::Failure;
use crate::task::component::{Position, SplitId};

/// A range of a file; it owns the lines that start in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub id: SplitId,
    pub start: u64,
    pub end: u64,
    /// Everything before has been given out.
    pub position: u64,
    pub is_done: bool,
}

/// The name of a range: `path:start-end`.
pub(super) fn id_of(path: &Path, start: u64, end: u64) -> SplitId {
    format!("{}:{start}-{end}", path.display())
}

/// The share of the `index`-th of `count` tasks; none if the file is too small for all to get one.
pub(super) fn default_of(path: &Path, size: u64, index: usize, count: usize) -> Option<SplitId> {
    let bound = |index: usize| (u128::from(size) * index as u128 / count as u128) as u64;
    let (start, end) = (bound(index), bound(index + 1));
    (start < end).then(|| id_of(path, start, end))
}

/// A split to be read, from a position or from its start, in a file of this size that is read `rounds` times.
pub(super) fn parse(
    path: &Path,
    size: u64,
    rounds: u64,
    id: &str,
    position: Option<Position>,
) -> Result<Split, Failure> {
    let parsed = id.rsplit_once(':').and_then(|(name, range)| {
        let (start, end) = range.split_once('-')?;
        Some((name, start.parse::<u64>().ok()?, end.parse::<u64>().ok()?))
    });
    let Some((name, start, end)) = parsed else {
        return Err(Failure::fatal(format!("{id} is not a split of a file: expected path:start-end")));
    };
    if path.display().to_string() != name {
        return Err(Failure::fatal(format!("the split {id} is not one of {}", path.display())));
    }
    if start >= end || end > size {
        return Err(Failure::fatal(format!("the split {id} does not lie in the file, which has {size} bytes")));
    }
    match position {
        Some(Position(position)) if position > size.saturating_mul(rounds) => {
            Err(Failure::fatal(format!("position {position} is beyond the end of {id}, read {rounds} times")))
        }
        position => {
            let position = position.map_or(start, |position| position.0);
            Ok(Split { id: id.to_owned(), start, end, position, is_done: false })
        }
    }
}
