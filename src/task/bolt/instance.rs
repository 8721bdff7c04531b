//! The user's object in a bolt task: built, broken, built again.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::error::{Failure, FailureKind};
use crate::sys::mutation::{self, Mutation};
use crate::task::bolt::BoltShell;
use crate::task::bolt::redeliver::read_parts;
use crate::task::bolt::state::bind_all;
use crate::task::component::Outcome;
use crate::task::context::BoltContext;
use crate::task::header::Header;
use crate::task::lineage::Place;
use crate::task::metrics::TaskState;
use crate::task::shell::{Fatal, guarded};
use crate::task::style::Logic;

impl<H: Header, L: Logic> BoltShell<H, L> {
    pub(super) fn instantiate(&mut self) -> Outcome {
        let mut ctx = BoltContext { base: self.parts.context(self.out.core.counts.rebuilt), door: self.door.clone() };
        let (factory, info, snapshots) = (&self.factory, &self.parts.info, self.parts.snapshots.as_ref());
        let wall_ns = self.wall_ns();
        let (mut has_states, mut has_finished) = (false, self.finish_called);
        let (mut stored, mut redelivered) = (Vec::new(), VecDeque::new());
        let bolt = guarded(&self.origin, || {
            let mut bolt = factory();
            has_states = bind_all(&mut bolt, info, snapshots, wall_ns)?;
            bolt.prepare(&mut ctx)?;
            if let Some(port) = snapshots {
                has_finished |= port.has_finished(info)?;
                let parts = read_parts::<L>(port, info.count)?;
                if let Some(checkpointed) = bolt.checkpointed() {
                    checkpointed.check_restore(port.resumed(), &slices(&parts.own))?;
                }
                (stored, redelivered) = (parts.own, parts.held);
            }
            Ok(bolt)
        })?;
        self.bolt = Some(bolt);
        (self.stored, self.redelivered) = (stored, redelivered);
        self.states.any = has_states;
        self.states.ending = false;
        self.finish_called = has_finished;
        self.is_ready = true;
        self.state = if self.finish_called { TaskState::Finishing } else { TaskState::Running };
        Ok(())
    }

    /// Gives a new instance what its component has stored.
    pub(super) fn restore_own(&mut self) -> Outcome {
        let (stored, bolt) = (std::mem::take(&mut self.stored), &mut self.bolt);
        let (Some(port), Some(bolt)) = (&self.parts.snapshots, bolt) else { return Ok(()) };
        guarded(&self.origin, || match bolt.checkpointed() {
            Some(checkpointed) => checkpointed.restore(port.resumed(), &slices(&stored)),
            None => Ok(()),
        })
    }

    /// Rebuilds a backing-off instance when its time has come. True if there is one now.
    pub(super) fn revive(&mut self, now_ns: u64) -> bool {
        if self.state != TaskState::BackingOff || now_ns < self.rebuild_at_ns {
            return false;
        }
        match self.instantiate() {
            Ok(()) => true,
            Err(failure) => {
                self.break_down(failure);
                false
            }
        }
    }

    /// The instance is gone, and had an input in hand. An input that has broken the task again and again is given up by
    /// its source; a task in which no input ever went well is to blame itself.
    pub(super) fn break_down_over_input(&mut self, failure: Failure) {
        let acked = self.out.core.counts.acked;
        if acked == 0 || failure.is_fatal() || self.parts.snapshots.is_some() {
            return self.break_down(failure);
        }
        self.take_down(&failure);
        self.parts.metrics.reported().note(failure.to_string());
        self.rebuild_at_ns = self.rebuilds.next_over_input(self.out.core.now_ns, acked);
    }

    /// The instance is gone: schedule the next one, or give up.
    pub(super) fn break_down(&mut self, failure: Failure) {
        if failure.is_fatal() || self.parts.snapshots.is_some() {
            self.find_culprit(&failure);
            return self.stop_for(&failure);
        }
        self.take_down(&failure);
        let core = &self.out.core;
        let metrics = &self.parts.metrics;
        match self.rebuilds.next(core.now_ns, core.counts.executed, &self.origin, &failure, metrics) {
            Ok(at_ns) => self.rebuild_at_ns = at_ns,
            Err(fatal) => self.fatal = Some(fatal),
        }
    }

    /// An instance that works elsewhere, as a child process does, tells in no input's call that it is gone. If it fell
    /// over a held tuple, that one has failed right before.
    fn find_culprit(&mut self, failure: &Failure) {
        self.settle_held();
        let lineage = &mut self.out.core.lineage;
        if failure.kind() == FailureKind::Panic && lineage.place.is_none() {
            lineage.place = self.held_culprit;
        }
    }

    fn take_down(&mut self, failure: &Failure) {
        // What was let go of so far was in hand when it happened.
        let (core, origin) = (&mut self.out.core, &self.origin);
        self.held.take_events(|event| event.because_of(failure).apply(core, origin));
        let state = if self.states.any { "; without checkpoints its keyed state and its timers are lost" } else { "" };
        tracing::warn!(task = %self.origin, %failure, "rebuilding a bolt{state}");
        self.out.handover = None;
        self.out.core.forget_call();
        self.state = TaskState::BackingOff;
        if let Some(broken) = self.bolt.take() {
            // A panic in its destructor has nothing left to break.
            let _ = guarded(&self.origin, || {
                drop(broken);
                Ok(())
            });
            let (core, origin) = (&mut self.out.core, &self.origin);
            // That they were held by an instance that broke is not their fault.
            let counts = mutation::is_off(Mutation::CollateralCounted);
            let collateral = if counts { failure.clone() } else { failure.as_collateral() };
            self.held.take_events(|event| event.because_of(&collateral).apply(core, origin));
        }
        self.out.core.counts.rebuilt += 1;
    }

    pub(super) fn stop_for(&mut self, failure: &Failure) {
        self.stop_for_input(failure, self.out.core.lineage.place);
    }

    /// Of several failures of one turn the first is what it stops for: the others may follow from it.
    pub(super) fn stop_for_input(&mut self, failure: &Failure, place: Place) {
        if self.fatal.is_some() {
            return;
        }
        self.fatal = Some(Fatal::of(failure, self.parts.snapshots.is_some(), place));
    }
}

fn slices(parts: &[Bytes]) -> Vec<&[u8]> {
    parts.iter().map(|part| &part[..]).collect()
}
