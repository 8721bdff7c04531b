//! A bolt task's part in checkpoints: aligning barriers, taking the snapshot, sending the barrier on.

use crate::error::Failure;
use crate::task::align::{Aligned, CheckpointId};
use crate::task::bolt::BoltShell;
use crate::task::header::Header;
use crate::task::held_state::OwnPart;
use crate::task::lane::Control;
use crate::task::lineage::Place;
use crate::task::payload::PortSet;
use crate::task::shell::guarded;
use crate::task::snapshot::{OwnSnapshot, PartBody, SnapshotStats, TaskSnapshot};
use crate::task::style::Logic;

impl<H: Header, L: Logic> BoltShell<H, L> {
    pub(super) fn take_barrier(&mut self, lane: usize, id: CheckpointId) {
        let aligned = self.align.barrier(lane, id, self.open_lanes, self.out.core.now_ns);
        self.aligned(aligned);
    }

    /// The end of a lane counts as every barrier to come.
    pub(super) fn lane_ended(&mut self) {
        let aligned = self.align.ended(self.open_lanes);
        self.aligned(aligned);
    }

    pub(super) fn checkpoint_begun(&mut self, id: CheckpointId) {
        let aligned = self.align.begun(id, self.open_lanes, self.out.core.now_ns);
        self.aligned(aligned);
    }

    pub(super) fn cancel_checkpoint(&mut self, id: CheckpointId) {
        if self.snapshot_due.is_some_and(|due| due <= id) {
            self.snapshot_due = None;
        }
        let lanes = &self.parts.signal.lanes;
        self.align.cancel(id, |lane| lanes.set(lane));
        if self.states.frozen == Some(id) {
            self.unfreeze();
        }
    }

    fn aligned(&mut self, aligned: Aligned) {
        if let Aligned::All(id) = aligned {
            self.snapshot_due = Some(id);
            // Being told of a barrier is no time for callbacks: they are made in the turn.
            if self.has_expired() {
                self.parts.signal.wake();
            } else {
                self.take_snapshot();
            }
        }
    }

    /// Takes the snapshot that is due, once nothing is half done: no running iterator, no foreign emit, no held tuple
    /// but for those whose values go into the snapshot; and once what has expired is reported.
    pub(super) fn take_snapshot(&mut self) {
        let Some(id) = self.snapshot_due else { return };
        let Some(port) = self.parts.snapshots.clone() else { return };
        if !self.report_expired() {
            return;
        }
        self.settle_held();
        // A handle has just failed. The snapshot would not have its input, so none is taken, and the restart brings it
        // back.
        if self.fatal.is_some() {
            return;
        }
        self.balance();
        let half_done =
            self.states.ending || self.out.handover.is_some() || !self.held_is_safe() || !self.door_inside.is_empty();
        let Some(bolt) = self.bolt.as_mut().filter(|_| !half_done) else { return };
        self.snapshot_due = None;
        self.states.called_at_barrier = self.states.called;
        self.out.core.no_event();
        let began_ns = self.parts.clock.now_ns();
        let own = guarded(&self.origin, || match bolt.checkpointed() {
            Some(checkpointed) => checkpointed.snapshot(id),
            None => Ok(OwnSnapshot::default()),
        });
        let own = match own {
            Ok(own) => own,
            Err(failure) => {
                port.send(id, PartBody::Failed(failure.clone()));
                return self.break_down(failure);
            }
        };
        if self.states.any {
            bolt.states(&mut |state| state.freeze());
        }
        if !self.end_sent {
            self.out.set.control(Control::Barrier(id), &mut self.out.core);
        }
        let align_ns = began_ns.saturating_sub(self.align.began_ns());
        let lanes = &self.parts.signal.lanes;
        self.align.release(|lane| lanes.set(lane));
        let freeze_ns = self.parts.clock.now_ns() - began_ns;
        let stats = SnapshotStats { align_ns, freeze_ns, ..SnapshotStats::default() };
        let finished = self.finish_called;
        let (held, places) = self.held.values();
        let part = OwnPart { own: own.bytes.into(), held, places };
        let given_up = self.rejected.snapshot(id);
        let (own, before) = (part.write(), own.before);
        let snapshot = TaskSnapshot { own, before, given_up, finished, stats, ..TaskSnapshot::default() };
        let snapshot = Box::new(snapshot);
        if self.states.any {
            self.states.encode(id, snapshot);
        } else {
            port.send(id, PartBody::Done(snapshot));
        }
    }

    /// The checkpoint is the truth now.
    pub(super) fn committed(&mut self, id: CheckpointId) {
        self.rejected.committed(id);
        self.states.epoch.committed(self.states.called_at_barrier);
        let Some(bolt) = &mut self.bolt else { return };
        let committed = guarded(&self.origin, || match bolt.checkpointed() {
            Some(checkpointed) => checkpointed.committed(id),
            None => Ok(()),
        });
        if let Err(failure) = committed {
            let message = format!("committing checkpoint {id}: {failure}");
            let failure = if failure.is_fatal() { Failure::fatal(message) } else { Failure::retry(message) };
            // Trouble with it is nobody's input. The lineage at hand stays: an iterator of an input may be running.
            self.stop_for_input(&failure, Place::NONE);
        }
    }
}
