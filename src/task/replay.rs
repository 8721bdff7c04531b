//! At-least-once for any [`Source`]: replay with back-off, and dead letters for what never succeeds.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use crate::error::Failure;
use crate::sys::sync::Arc;
use crate::task::component::{Next, Outcome, Polled, Position, Replayable, Source, SplitId, Spout};
use crate::task::context::SpoutContext;
pub use crate::task::dead_letter::DeadLetter;
use crate::task::lineage::{Caution, GivenUp, Place, SplitName};
use crate::task::outlet::{GivenUpBy, SpoutOutlet};
use crate::task::payload::Payload;

mod again;
mod exits;
mod pending;

use again::ReadAgain;
pub use exits::{Exits, Typed};
pub(crate) use pending::Patience;
use pending::{Dead, Pending, Verdict};

/// Items of one task that may wait for their replay before it takes in no new ones.
const WAITING_MAX: usize = 16_384;

/// The spout around every shipped source: port 0 carries the items, port 1 the dead letters.
///
/// It keeps one clone of each item whose tree is open. When the tree fails, what happens depends on the failure's kind:
///
/// | kind | what happens |
/// | --- | --- |
/// | retry (any error by `?`), time-out | emitted again for `retry_for` (10 minutes), then a dead letter |
/// | panic, a dropped handle | emitted again, until the item has failed of it `failures_max` times (5) |
/// | reject | a dead letter at once |
/// | collateral | emitted again, and not counted |
///
/// Replays wait longer each time (`replay_backoff`: 10 ms doubling up to 10 s, a random part less). With
/// [`max_replays`](Self::max_replays) a number of replays is the limit instead, for every kind that counts. Either way
/// each item is acked or dead-lettered exactly once. A dead letter is emitted in a tree of its own, and again while its
/// subscriber fails it, as an item is; one that is given up itself is counted as one that nobody took.
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
pub struct Replaying<S: Source, E = Typed> {
    exits: E,
    /// The cell serves `positions`, which has only a shared reference; the event path goes around it by `get_mut`.
    source: RefCell<S>,
    pending: Pending<S::Item>,
    /// Why items are given up whose dead letters are in open trees, or wait to be emitted again.
    letters: HashMap<u64, GivenUp>,
    splits: Vec<SplitId>,
    /// The splits' names in lineages.
    split_names: Vec<SplitName>,
    caution: Caution,
    /// Read, and to be emitted once everything before it has a checkpoint.
    set_apart: Option<u64>,
    /// Reads items again that were given up where they failed.
    again: ReadAgain<S>,
    component: Arc<str>,
    wall_offset_ns: u64,
    is_replayable: bool,
    /// Nothing new comes: the source is exhausted, or the topology is being drained.
    is_exhausted: bool,
    is_winding_down: bool,
}

impl<S: Source> Replaying<S> {
    /// Wraps a source; failing items are replayed as the settings say.
    ///
    /// Under exactly-once an item that a bolt rejects is read a second time, by a source that the factory makes.
    pub fn new(factory: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self::with(Arc::new(factory), Typed)
    }
}

impl<S: Source, E: Exits<S::Item>> Replaying<S, E> {
    pub(crate) fn with(factory: Arc<dyn Fn() -> S + Send + Sync>, exits: E) -> Self {
        Replaying {
            exits,
            source: RefCell::new(factory()),
            pending: Pending::new(Patience::default()),
            letters: HashMap::new(),
            splits: Vec::new(),
            split_names: Vec::new(),
            caution: Caution::default(),
            set_apart: None,
            again: ReadAgain::new(factory),
            component: "".into(),
            wall_offset_ns: 0,
            is_replayable: false,
            is_exhausted: false,
            is_winding_down: false,
        }
    }

    /// Sets how often an item is emitted again before it is dead-lettered; 0 dead-letters at the first failure.
    pub fn max_replays(mut self, count: u32) -> Self {
        self.pending = Pending::new(Patience { max_replays: Some(count), ..Patience::default() });
        self
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
        self.letters.retain(|id, _| self.pending.place_of(*id).is_some());
        self.split_names = now.iter().map(|split| SplitName::new(&self.component, split)).collect();
        self.splits = now;
    }

    fn place_of(&self, id: u64) -> Place {
        let Some((split, position)) = self.pending.place_of(id) else { return Place::NONE };
        self.split_names.get(split).map_or(Place::NONE, |name| Place::at(*name, position.0))
    }

    /// A new item: emitted, given up, or set apart until everything before it is in a checkpoint.
    #[inline]
    fn take(&mut self, value: S::Item, split: usize, position: Position, out: &mut Out<S, E>) -> Outcome {
        let place = self.split_names.get(split).map_or(Place::NONE, |name| Place::at(*name, position.0));
        if let Some(poison) = find(&self.caution.poison, place) {
            return bury(&mut self.exits, out, value, poison, GivenUpBy::ThisProcess);
        }
        let suspect = find(&self.caution.suspects, place);
        if let Some(suspect) = suspect.filter(|suspect| self.pending.is_beyond_replays(suspect.attempts)) {
            return bury(&mut self.exits, out, value, suspect, GivenUpBy::ThisProcess);
        }
        let is_suspected = suspect.is_some();
        let id = self.pending.insert(value.clone(), split, position);
        if is_suspected {
            self.set_apart = Some(id);
            self.release(out);
            return Ok(());
        }
        out.emitting_at(place, |out| self.exits.emit(out, id, value));
        Ok(())
    }

    /// Emits an item, or its dead letter, once more.
    #[cold]
    fn emit_again(&mut self, id: u64, value: S::Item, out: &mut Out<S, E>) {
        out.note_replay();
        if let Some(why) = self.letters.get(&id) {
            return self.exits.bury(out, Some(id), letter(value, why));
        }
        let place = self.place_of(id);
        out.emitting_at(place, |out| self.exits.emit(out, id, value));
    }

    /// Its subscriber has failed a dead letter.
    #[cold]
    fn letter_failed(&mut self, id: u64, why: &Failure, out: &mut Out<S, E>) {
        if let Verdict::Dead(Dead { position, attempts, .. }) = self.pending.fail_letter(id, why, out.now_ns()) {
            self.letters.remove(&id);
            out.note_letter_lost();
            tracing::error!(position = position.0, attempts, %why, "a dead letter is lost: its subscriber fails it");
        }
    }

    /// Emits the item that is set apart, if nothing else has been emitted since the last checkpoint; else, and after
    /// it, nothing is emitted before the next one.
    #[cold]
    fn release(&mut self, out: &mut Out<S, E>) {
        out.wait_for_checkpoint();
        if out.since_checkpoint() > 0 {
            return;
        }
        let Some(id) = self.set_apart.take() else { return };
        let (place, value) = (self.place_of(id), self.pending.value_of(id));
        if let Some(value) = value {
            out.emitting_at(place, |out| self.exits.emit(out, id, value));
        }
    }

    /// Makes a dead letter of an item that was given up where it failed, by reading it again. None once there are no
    /// more.
    #[cold]
    fn bury_given_up(&mut self, out: &mut Out<S, E>) -> Result<Option<Next>, Failure> {
        let Some(given_up) = out.given_up.front() else {
            self.again.rest();
            return Ok(None);
        };
        let split = self.split_names.iter().position(|name| *name == given_up.place.split());
        let Some(split) = split.map(|number| &self.splits[number]) else {
            return Err(Failure::fatal_in("dead_letter", again::gone(&self.component, given_up)));
        };
        match self.again.read(split, Position(given_up.place.position))? {
            Polled::Item { value, .. } => {
                if let Some(given_up) = out.given_up.pop_front() {
                    bury(&mut self.exits, out, value, &given_up, GivenUpBy::LastCheckpoint)?;
                }
                Ok(Some(Next::Emitted))
            }
            Polled::Idle => Ok(Some(Next::Idle)),
            Polled::WakeAfter(after) => Ok(Some(Next::WakeAfter(after))),
            Polled::Finished => Err(Failure::fatal_in("dead_letter", again::gone(&self.component, given_up))),
        }
    }
}

/// That of these inputs, which are in order, that is at this place.
#[inline]
fn find(inputs: &[GivenUp], place: Place) -> Option<&GivenUp> {
    if inputs.is_empty() {
        return None;
    }
    inputs.binary_search_by_key(&place, |input| input.place).ok().map(|at| &inputs[at])
}

type Out<S, E> = SpoutOutlet<<E as Exits<<S as Source>::Item>>::Out, u64>;

/// Makes a dead letter of an item.
///
/// # Errors
/// Fatal, where nobody takes it and it must not be lost.
#[cold]
fn bury<T: Payload, E: Exits<T>>(
    exits: &mut E,
    out: &mut SpoutOutlet<E::Out, u64>,
    value: T,
    why: &GivenUp,
    by: GivenUpBy,
) -> Outcome {
    if !exits.is_taken(out) {
        out.note_letter_untaken(why, by)?;
    }
    out.note_letter(why);
    exits.bury(out, None, letter(value, why));
    Ok(())
}

fn letter<T>(value: T, why: &GivenUp) -> DeadLetter<T> {
    DeadLetter {
        value,
        id: why.place.position,
        origin: why.origin.clone(),
        error: why.error.clone(),
        kind: why.kind,
        attempts: why.attempts,
        first_failed_ns: why.first_failed_ns,
        last_failed_ns: why.last_failed_ns,
    }
}

impl<S: Source, E: Exits<S::Item>> Spout for Replaying<S, E> {
    type Out = E::Out;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        // The generator differs from rebuild to rebuild, and so do the ids: see `Verdict::Unknown`.
        let mut random = ctx.random();
        self.pending.start_ids_at(random.next_u64() as u32);
        self.pending.set_patience(ctx.patience, random);
        (self.component, self.caution) = (ctx.info().component.clone(), ctx.caution.clone());
        self.wall_offset_ns = ctx.wall_offset_ns;
        self.again.set_context(ctx);
        self.exits.open(ctx.info());
        let source = self.source.get_mut();
        source.open(ctx)?;
        self.is_replayable = source.replayable().is_some();
        Ok(())
    }

    #[inline]
    fn next(&mut self, out: &mut Out<S, E>) -> Result<Next, Failure> {
        let now_ns = out.now_ns();
        if let Some((id, value)) = self.pending.take_due(now_ns) {
            self.emit_again(id, value, out);
            return Ok(Next::Emitted);
        }
        if self.set_apart.is_some() {
            self.release(out);
            return Ok(Next::Emitted);
        }
        if !out.given_up.is_empty()
            && let Some(next) = self.bury_given_up(out)?
        {
            return Ok(next);
        }
        if self.is_exhausted || self.is_winding_down {
            return Ok(self.pending.rest(now_ns, Next::Finished));
        }
        if self.pending.waiting() >= WAITING_MAX {
            return Ok(self.pending.rest(now_ns, Next::Idle));
        }
        Ok(match self.source.get_mut().poll()? {
            Polled::Item { value, split, position } => {
                self.take(value, split, position, out)?;
                Next::Emitted
            }
            Polled::Idle => self.pending.rest(now_ns, Next::Idle),
            Polled::WakeAfter(after) => self.pending.rest(now_ns, Next::WakeAfter(after)),
            Polled::Finished => {
                self.is_exhausted = true;
                self.pending.rest(now_ns, Next::Finished)
            }
        })
    }

    fn ack(&mut self, id: u64, out: &mut Out<S, E>) -> Outcome {
        // An unknown id needs nothing: its item belongs to someone else by now.
        self.pending.ack(id);
        if !self.letters.is_empty() && self.letters.remove(&id).is_some() {
            out.note_letter_taken();
        }
        Ok(())
    }

    fn fail(&mut self, id: u64, why: &Failure, out: &mut Out<S, E>) -> Outcome {
        if self.letters.contains_key(&id) {
            self.letter_failed(id, why, out);
            return Ok(());
        }
        let (place, now_ns) = (self.place_of(id), out.now_ns());
        let takes_letters = out.is_tracking() && self.exits.is_taken(out);
        let verdict = match takes_letters {
            true => self.pending.fail_to_letter(id, why, now_ns),
            false => self.pending.fail(id, why, now_ns),
        };
        match verdict {
            Verdict::Waits => {}
            Verdict::Dead(Dead { value, position, attempts, first_failed_ns }) => {
                let place = if place.is_none() { Place::nowhere(position.0) } else { place };
                let last_failed_ns = now_ns.saturating_add(self.wall_offset_ns);
                let first_failed_ns = first_failed_ns.saturating_add(self.wall_offset_ns);
                let why = GivenUp { attempts, first_failed_ns, ..GivenUp::at_once(place, why, last_failed_ns) };
                if !takes_letters {
                    return bury(&mut self.exits, out, value, &why, GivenUpBy::ThisProcess);
                }
                out.note_letter(&why);
                self.exits.bury(out, Some(id), letter(value, &why));
                self.letters.insert(id, why);
            }
            Verdict::Unknown if self.is_replayable => {}
            Verdict::Unknown => {
                tracing::warn!(%why, "an item emitted before the spout was rebuilt failed; it cannot be replayed");
            }
        }
        Ok(())
    }

    fn unaccounted(&self) -> u64 {
        self.pending.missing()
    }

    fn close(&mut self) {
        self.again.close();
        self.source.get_mut().close();
    }

    fn wind_down(&mut self) -> bool {
        self.is_winding_down = true;
        true
    }

    fn reads(&self) -> Option<String> {
        self.source.borrow().reads()
    }

    fn loses_items(&mut self) -> bool {
        self.source.get_mut().replayable().is_none()
    }

    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        if self.source.get_mut().replayable().is_some() { Some(self) } else { None }
    }
}

impl<S: Source, E: Exits<S::Item>> Replayable for Replaying<S, E> {
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
