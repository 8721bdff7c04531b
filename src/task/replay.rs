//! At-least-once for any [`Source`]: replay with back-off, and dead letters for what never succeeds.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Failure, Origin};
use crate::task::component::{Next, Outcome, Polled, Position, Replayable, Source, SplitId, Spout};
use crate::task::context::SpoutContext;
use crate::task::lineage::{Lineage, Poison, SplitName};
use crate::task::outlet::SpoutOutlet;
use crate::task::payload::{Payload, Ports};

mod pending;

use pending::{Pending, Verdict};

/// Replays of an item before it is dead-lettered, unless told otherwise.
pub const REPLAYS_MAX_DEFAULT: u32 = 3;

/// Items of one task that may wait for their replay before it takes in no new ones.
const WAITING_MAX: usize = 16_384;

/// A value that was given up, with everything needed to find out why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<T> {
    /// The value as the source gave it.
    pub value: T,
    /// The value's position in its split, as its source counts: a byte offset, an index.
    pub id: u64,
    /// The component and task that failed it last, where known: a deadline that passed has none.
    pub origin: Option<Origin>,
    /// The last failure's message.
    pub error: String,
    /// How often the value was emitted; under exactly-once, how often it is known to have failed.
    pub attempts: u32,
}

/// The spout around every shipped source: port 0 carries the items, port 1 the dead letters.
///
/// It keeps one clone of each item whose tree is open. When the tree fails, the item is emitted again: the first time
/// after 1 ms, the second after 10 ms, then after twice as long each time, up to 1 s. After
/// [`max_replays`](Self::max_replays) replays (3 unless told otherwise, so at most four emits in all) the next failure
/// sends it to the dead-letter port, untracked, instead of round again for ever; a [reject](Failure::reject) sends it
/// there at once. Either way each item is acked or dead-lettered exactly once.
///
/// **Order.** A replayed item comes after items that were read later: the order per key is *not* kept across a replay.
///
/// **Bounds.** At most `max_spout_pending` items are in open trees, and about 16,384 more wait for their replay; beyond
/// that nothing new is read until some have gone out.
///
/// **Positions.** Around a source that can seek, the spout can too. Its position in a split is that of the lowest item
/// that is neither acked nor dead-lettered, so resuming there loses nothing. Splits that are revoked or assigned anew
/// take their items' replays with them: whoever reads from the position will see them again.
///
/// An item costs one clone, and a constant number of steps whatever the order of acks; nothing allocates in steady
/// state.
pub struct Replaying<S: Source> {
    /// The cell serves `positions`, which has only a shared reference; the event path goes around it by `get_mut`.
    source: RefCell<S>,
    pending: Pending<S::Item>,
    splits: Vec<SplitId>,
    /// The splits' names in lineages, and what is not to be emitted again.
    split_names: Vec<SplitName>,
    poison: Arc<[Poison]>,
    component: Arc<str>,
    is_replayable: bool,
    /// Nothing new comes: the source is exhausted, or the topology is being drained.
    is_exhausted: bool,
    is_winding_down: bool,
}

impl<S: Source> Replaying<S> {
    /// Wraps a source; items are replayed up to three times.
    pub fn new(source: S) -> Self {
        Replaying {
            source: RefCell::new(source),
            pending: Pending::new(REPLAYS_MAX_DEFAULT),
            splits: Vec::new(),
            split_names: Vec::new(),
            poison: Arc::default(),
            component: "".into(),
            is_replayable: false,
            is_exhausted: false,
            is_winding_down: false,
        }
    }

    /// Sets how often an item is emitted again before it is dead-lettered; 0 dead-letters at the first failure.
    pub fn max_replays(mut self, count: u32) -> Self {
        self.pending = Pending::new(count);
        self
    }

    /// Nothing to emit from the source now: what to do until the next replay is due, or `otherwise` if none waits.
    fn rest(&self, now_ns: u64, otherwise: Next) -> Next {
        match (self.pending.next_due_ns(), otherwise) {
            (None, otherwise) => otherwise,
            (Some(due_ns), otherwise) => {
                let until_due = Duration::from_nanos(due_ns.saturating_sub(now_ns));
                Next::WakeAfter(if let Next::WakeAfter(after) = otherwise { after.min(until_due) } else { until_due })
            }
        }
    }

    /// Whether the item at this place has failed too often under exactly-once.
    #[inline]
    fn poison_at(&self, split: Option<SplitName>, position: Position) -> Option<Poison> {
        if self.poison.is_empty() {
            return None;
        }
        let place = Lineage::at(split?, position.0).place;
        let at = self.poison.binary_search_by_key(&place, |poison| poison.place).ok()?;
        Some(self.poison[at].clone())
    }

    /// After an assignment or a revocation: forgets the items of the splits concerned and follows the others.
    fn follow_splits(&mut self, concerned: &HashSet<&SplitId>) {
        let now: Vec<SplitId> = match self.source.get_mut().replayable() {
            Some(source) => source.positions().into_iter().map(|(split, _)| split).collect(),
            None => Vec::new(),
        };
        let moved_to = |split: &SplitId| {
            if concerned.contains(split) { None } else { now.iter().position(|other| other == split) }
        };
        let moved_to: Vec<Option<usize>> = self.splits.iter().map(moved_to).collect();
        self.pending.renumber(&moved_to, now.len());
        self.split_names = now.iter().map(|split| SplitName::new(&self.component, split)).collect();
        self.splits = now;
    }
}

fn give_up<T: Payload>(
    out: &mut SpoutOutlet<Ports<(T, DeadLetter<T>)>, u64>,
    value: T,
    position: Position,
    poison: Poison,
) {
    let Poison { origin, error, attempts, .. } = poison;
    out.note_dead_letter();
    out.emit_on::<1>(DeadLetter { value, id: position.0, origin: Some(origin), error, attempts });
}

impl<S: Source> Spout for Replaying<S> {
    type Out = Ports<(S::Item, DeadLetter<S::Item>)>;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        // The generator differs from rebuild to rebuild, and so do the ids: see `Verdict::Unknown`.
        self.pending.start_ids_at(ctx.random().next_u64() as u32);
        (self.component, self.poison) = (ctx.info().component.clone(), ctx.poison.clone());
        let source = self.source.get_mut();
        source.open(ctx)?;
        self.is_replayable = source.replayable().is_some();
        Ok(())
    }

    #[inline]
    fn next(&mut self, out: &mut SpoutOutlet<Self::Out, u64>) -> Result<Next, Failure> {
        let now_ns = out.now_ns();
        if let Some((id, value)) = self.pending.take_due(now_ns) {
            out.note_replay();
            let place = self.pending.place_of(id);
            let split = place.and_then(|(split, _)| self.split_names.get(split)).copied();
            let position = place.map_or(0, |(_, position)| position.0);
            out.emitting_at(split, position, |out| out.emit_tracked_on::<0>(id, value));
            return Ok(Next::Emitted);
        }
        if self.is_exhausted || self.is_winding_down {
            return Ok(self.rest(now_ns, Next::Finished));
        }
        if self.pending.waiting() >= WAITING_MAX {
            return Ok(self.rest(now_ns, Next::Idle));
        }
        Ok(match self.source.get_mut().poll()? {
            Polled::Item { value, split, position } => {
                let name = self.split_names.get(split).copied();
                if let Some(poison) = self.poison_at(name, position) {
                    give_up(out, value, position, poison);
                    return Ok(Next::Emitted);
                }
                let id = self.pending.insert(value.clone(), split, position);
                out.emitting_at(name, position.0, |out| out.emit_tracked_on::<0>(id, value));
                Next::Emitted
            }
            Polled::Idle => self.rest(now_ns, Next::Idle),
            Polled::WakeAfter(after) => self.rest(now_ns, Next::WakeAfter(after)),
            Polled::Finished => {
                self.is_exhausted = true;
                self.rest(now_ns, Next::Finished)
            }
        })
    }

    fn ack(&mut self, id: u64, _out: &mut SpoutOutlet<Self::Out, u64>) -> Outcome {
        // An unknown id needs nothing: its item belongs to someone else by now.
        self.pending.ack(id);
        Ok(())
    }

    fn fail(&mut self, id: u64, why: &Failure, out: &mut SpoutOutlet<Self::Out, u64>) -> Outcome {
        match self.pending.fail(id, why, out.now_ns()) {
            Verdict::Waits => {}
            Verdict::Dead { value, position, attempts } => {
                out.note_dead_letter();
                out.emit_on::<1>(DeadLetter {
                    value,
                    id: position.0,
                    origin: why.origin().cloned(),
                    error: why.message().to_owned(),
                    attempts,
                });
            }
            Verdict::Unknown if self.is_replayable => {}
            Verdict::Unknown => {
                tracing::warn!(%why, "an item emitted before the spout was rebuilt failed; it cannot be replayed");
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.source.get_mut().close();
    }

    fn wind_down(&mut self) -> bool {
        self.is_winding_down = true;
        true
    }

    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        if self.source.get_mut().replayable().is_some() { Some(self) } else { None }
    }
}

impl<S: Source> Replayable for Replaying<S> {
    fn default_splits(&self) -> Vec<SplitId> {
        self.source.borrow_mut().replayable().map_or_else(Vec::new, |source| source.default_splits())
    }

    fn assign(&mut self, splits: &[(SplitId, Option<Position>)]) -> Outcome {
        if let Some(source) = self.source.get_mut().replayable() {
            source.assign(splits)?;
        }
        self.is_exhausted = false;
        self.follow_splits(&splits.iter().map(|(split, _)| split).collect());
        Ok(())
    }

    fn revoke(&mut self, splits: &[SplitId]) {
        if let Some(source) = self.source.get_mut().replayable() {
            source.revoke(splits);
        }
        self.follow_splits(&splits.iter().collect());
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        let read = self.source.borrow_mut().replayable().map_or_else(Vec::new, |source| source.positions());
        let lowered = |(number, (split, read))| (split, self.pending.lowest(number).unwrap_or(read));
        read.into_iter().enumerate().map(lowered).collect()
    }

    fn identity(&self, split: &str, position: Position) -> Option<String> {
        self.source.borrow_mut().replayable().and_then(|source| source.identity(split, position))
    }

    fn check_identity(&mut self, split: &str, position: Position, identity: &str) -> Outcome {
        let source = self.source.get_mut().replayable();
        source.map_or(Ok(()), |source| source.check_identity(split, position, identity))
    }

    fn committed(&mut self, positions: &[(SplitId, Position)]) {
        if let Some(source) = self.source.get_mut().replayable() {
            source.committed(positions);
        }
    }
}

#[cfg(test)]
mod tests;
