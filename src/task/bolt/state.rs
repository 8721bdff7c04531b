//! A bolt task's keyed state: bound and restored with its instance, timers and expiries called back, frozen at a
//! barrier and encoded between turns.

use crate::error::{Failure, FailureKind};
use crate::state::delta::{Changes, Delta};
use crate::state::{AnyState, Binding, Called};
use crate::task::align::CheckpointId;
use crate::task::bolt::BoltShell;
use crate::task::context::TaskInfo;
use crate::task::header::Header;
use crate::task::key::KEY_GROUPS_DEFAULT;
use crate::task::keyed::as_failure;
use crate::task::outlet::Epoch;
use crate::task::pieces::PIECE_BYTES;
use crate::task::shell::guarded;
use crate::task::snapshot::{PartBody, SnapshotPort, TaskSnapshot};
use crate::task::style::{Callbacks, Logic};

/// Bytes that one slice of encoding adds: some microseconds of work, or some tens where values are lists of numbers.
/// What comes in meanwhile waits that long.
const SLICE_BYTES: usize = 2 << 10;
/// Places that are looked at for expired values after each turn.
const SWEEP_SLOTS: usize = 16;
/// Timers that are dropped as one piece of work.
const DROPPED_AT_ONCE: usize = 16;
/// Failed callbacks of a task that are logged one by one; of the others every thousandth.
const LOGGED_MAX: u64 = 5;

/// What the shell remembers of the states.
#[derive(Default)]
pub(super) struct States {
    /// There are some.
    pub any: bool,
    /// When the first timer is due, by the wall clock.
    pub timer_due_wall_ns: Option<u64>,
    /// The last checkpoint that they were frozen for.
    pub frozen: Option<CheckpointId>,
    /// The checkpoint whose frozen entries are being encoded, and what is said when that is done.
    encoding: Option<(CheckpointId, Box<TaskSnapshot>)>,
    encoded: Delta,
    /// What encoding took of this turn.
    pub slice_ns: u64,
    /// All input has ended and `finish` has not been called: the last callbacks are made, and no snapshot is taken
    /// between them, since whoever resumed there could not tell which timers were set meanwhile.
    pub ending: bool,
    /// Since the end began, or the last callback after it that succeeded.
    got_on_ns: u64,
    /// Being suspended: what is due then is for whoever resumes.
    pub suspended: bool,
    /// After restarts without progress: how many callbacks may be made between two checkpoints, as a source then may
    /// emit so much only. One that fails by chance is got past that way.
    pub epoch: Epoch,
    /// Callbacks so far, and at the last barrier.
    pub called: u64,
    pub called_at_barrier: u64,
}

/// How a callback went.
enum CalledBack {
    Well,
    /// It is given up, or called again later.
    Badly,
    /// There was nothing to call back for.
    Nothing,
    /// The task cannot go on.
    Broken,
}

impl States {
    /// With this bound on callbacks between two checkpoints.
    pub fn new(allowance: Option<u64>) -> Self {
        States { epoch: Epoch { allowance, ..Epoch::default() }, ..States::default() }
    }

    /// They have been frozen for this checkpoint: from now on slices are encoded.
    pub fn encode(&mut self, id: CheckpointId, snapshot: Box<TaskSnapshot>) {
        self.frozen = Some(id);
        self.encoding = Some((id, snapshot));
    }
}

/// The key groups of a task: the first, and how many.
fn groups_of(info: &TaskInfo) -> (u32, u32) {
    let first_of = |index: usize| ((index as u64 * u64::from(KEY_GROUPS_DEFAULT)).div_ceil(info.count as u64)) as u32;
    let (first, next) = (first_of(info.index), first_of(info.index + 1));
    (first, next - first)
}

/// Binds a state and fills it from the checkpoint that is resumed.
fn bind(
    state: &mut dyn AnyState,
    info: &TaskInfo,
    port: Option<&SnapshotPort>,
    now_wall_ns: u64,
) -> Result<(), Failure> {
    let (first_group, groups) = groups_of(info);
    let space = port.and_then(|port| port.space_of(state.name()));
    let recorded = port.and_then(|port| port.recorded_schema(state.name()));
    let binding = Binding {
        component: info.component.clone(),
        space,
        first_group,
        groups,
        groups_total: KEY_GROUPS_DEFAULT,
        now_ns: now_wall_ns,
    };
    state.bind(&binding, recorded).map_err(as_failure)?;
    let (Some(restored), Some(space)) = (port.and_then(|port| port.restored.as_ref()), space) else { return Ok(()) };
    for group in first_group..first_group + groups {
        let Some(delta) = restored.groups.get(&(space, group as u16)) else { continue };
        for change in Changes::of(delta.bytes()) {
            state.restore(&change.map_err(as_failure)?).map_err(as_failure)?;
        }
    }
    Ok(())
}

/// Binds and fills every state of a new instance. True if there are any.
pub(super) fn bind_all<L: Logic>(
    bolt: &mut L,
    info: &TaskInfo,
    port: Option<&SnapshotPort>,
    now_wall_ns: u64,
) -> Result<bool, Failure> {
    let mut bound = Ok(());
    let mut any = false;
    bolt.states(&mut |state| {
        any = true;
        if bound.is_ok() {
            bound = bind(state, info, port, now_wall_ns);
        }
    });
    bound.map(|()| any)
}

impl<H: Header, L: Logic> BoltShell<H, L> {
    /// Wall-clock time of the turn: it runs as evenly as the engine's clock, whatever is done to the machine's.
    #[inline]
    pub(super) fn wall_ns(&self) -> u64 {
        self.out.core.now_ns.saturating_add(self.parts.wall_offset_ns)
    }

    /// Calls back for timers that are due and values that have expired.
    pub(super) fn call_back(&mut self, left: &mut usize) {
        if self.states.any && !self.finish_called && !self.states.ending && !self.states.suspended {
            while self.may_go_on(*left)
                && !self.owes_checkpoint()
                && matches!(self.call_back_once(Callbacks::All), CalledBack::Well | CalledBack::Badly)
            {
                *left -= 1;
                self.states.called += 1;
            }
        }
    }

    /// No callback is made before the next checkpoint is durable.
    pub(super) fn owes_checkpoint(&self) -> bool {
        self.states.epoch.left(self.states.called) == 0
    }

    /// At the end of input: what is due fires, in order, and what is declared to; the other timers are dropped. True
    /// if there is nothing more to do. Waits for what has failed, as long as something succeeds now and then.
    pub(super) fn call_back_last(&mut self, left: &mut usize) -> bool {
        if !self.states.any || self.finish_called {
            return true;
        }
        self.begin_end();
        while self.may_go_on(*left) {
            match self.call_back_once(Callbacks::All) {
                CalledBack::Well => self.states.got_on_ns = self.out.core.now_ns,
                CalledBack::Badly => {}
                CalledBack::Nothing if self.waits_at_the_end() => return false,
                CalledBack::Nothing => {
                    if self.drop_timers() == 0 {
                        return true;
                    }
                }
                CalledBack::Broken => return false,
            }
            *left -= 1;
        }
        false
    }

    fn begin_end(&mut self) {
        let wall_ns = self.wall_ns();
        let Some(bolt) = self.bolt.as_mut().filter(|_| !self.states.ending) else { return };
        bolt.states(&mut |state| state.begin_end(wall_ns));
        self.states.ending = true;
        self.states.got_on_ns = self.out.core.now_ns;
        self.tick_due_ns = None;
    }

    /// True if something that has failed is to be called again, and that is not hopeless.
    fn waits_at_the_end(&mut self) -> bool {
        let has_waited_ns = self.out.core.now_ns.saturating_sub(self.states.got_on_ns);
        has_waited_ns < self.parts.let_go_after_ns && self.look_for_due().is_some()
    }

    pub(super) fn drop_timers(&mut self) -> usize {
        let Some(bolt) = &mut self.bolt else { return 0 };
        let mut dropped = 0;
        bolt.states(&mut |state| dropped += state.drop_timers(DROPPED_AT_ONCE - dropped));
        self.out.core.counts.timers_dropped += dropped as u64;
        dropped
    }

    /// Before a snapshot: reports what has expired, which would be gone from the state and not reported otherwise.
    /// False if it is not all reported yet.
    pub(super) fn report_expired(&mut self) -> bool {
        while self.has_expired() {
            if !self.may_go_on(1) || matches!(self.call_back_once(Callbacks::Expired), CalledBack::Broken) {
                return false;
            }
        }
        true
    }

    pub(super) fn has_expired(&mut self) -> bool {
        let Some(bolt) = self.bolt.as_mut().filter(|_| self.states.any && !self.finish_called) else { return false };
        let mut any = false;
        bolt.states(&mut |state| any |= state.has_expired());
        any
    }

    fn call_back_once(&mut self, what: Callbacks) -> CalledBack {
        let wall_ns = self.wall_ns();
        let Some(bolt) = &mut self.bolt else { return CalledBack::Broken };
        self.out.core.no_event();
        let out = &mut self.out;
        match guarded(&self.origin, || bolt.call_back(what, wall_ns, out).map_or(Ok(false), |done| done.map(|()| true)))
        {
            Ok(true) => CalledBack::Well,
            Ok(false) => CalledBack::Nothing,
            Err(failure) => self.callback_failed(failure, wall_ns),
        }
    }

    /// A failed callback belongs to no input. Exactly-once goes back; otherwise it is called again later, and a panic
    /// costs the instance. One that is rejected is given up.
    #[cold]
    fn callback_failed(&mut self, failure: Failure, wall_ns: u64) -> CalledBack {
        self.out.core.counts.errors += 1;
        self.parts.metrics.reported().failed(None, &failure);
        let exactly_once = self.parts.snapshots.as_ref().is_some_and(|port| port.exactly_once);
        match failure.kind() {
            FailureKind::Panic | FailureKind::Fatal => {
                self.break_down(failure);
                return CalledBack::Broken;
            }
            FailureKind::Reject => {}
            _ if exactly_once => {
                self.stop_for(&failure);
                return CalledBack::Broken;
            }
            _ => {}
        }
        self.out.handover = None;
        let went = match failure.kind() {
            FailureKind::Reject => Called::Done,
            _ => Called::Failed { now_ns: wall_ns },
        };
        let mut again = false;
        if let Some(bolt) = &mut self.bolt {
            bolt.states(&mut |state| again |= state.called(went));
        }
        let next = if again { "it will be called again" } else { "it is given up" };
        let errors = self.out.core.counts.errors;
        if errors <= LOGGED_MAX || errors.is_multiple_of(1_000) {
            tracing::warn!(task = %self.origin, %failure, errors, "a timer's or an eviction's callback failed; {next}");
        }
        self.parts.metrics.reported().note(failure.to_string());
        CalledBack::Badly
    }

    /// Encodes a slice of what is frozen; a step of bounded length. True if more is left.
    pub(super) fn encode_slice(&mut self) -> bool {
        let Some((id, mut snapshot)) = self.states.encoding.take() else { return false };
        let (Some(bolt), Some(port)) = (&mut self.bolt, &self.parts.snapshots) else { return false };
        let began_ns = self.parts.clock.now_ns();
        let encoded = &mut self.states.encoded;
        if encoded.capacity() == 0 {
            *encoded = port.pieces.take();
        }
        let until_bytes = encoded.bytes().len() + SLICE_BYTES;
        let mut done = Ok(true);
        bolt.states(&mut |state| {
            if matches!(done, Ok(true)) {
                done = state.encode_slice(until_bytes, encoded);
            }
        });
        let slice_ns = self.parts.clock.now_ns() - began_ns;
        self.states.slice_ns = slice_ns;
        snapshot.stats.longest_slice_ns = snapshot.stats.longest_slice_ns.max(slice_ns);
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                let failure = as_failure(error);
                port.send(id, PartBody::Failed(failure.clone()));
                self.stop_for(&failure);
                return false;
            }
        };
        if done || encoded.bytes().len() >= PIECE_BYTES {
            snapshot.stats.entries += encoded.records() as u64;
            if !encoded.is_empty() {
                port.send(id, PartBody::Changes(std::mem::take(encoded)));
            }
        }
        if done {
            port.send(id, PartBody::Done(snapshot));
        } else {
            self.states.encoding = Some((id, snapshot));
        }
        !done
    }

    /// What was frozen for a checkpoint that is given up belongs to the next one.
    pub(super) fn unfreeze(&mut self) {
        self.states.frozen = None;
        self.states.encoding = None;
        self.states.encoded.clear();
        if let Some(bolt) = self.bolt.as_mut().filter(|_| self.states.any) {
            bolt.states(&mut |state| state.abort_frozen());
        }
    }

    /// After a turn: looks for expired values, and for when the next callback is due. After the last call nobody would
    /// be told of what expires: it stays, unseen.
    pub(super) fn tend_states(&mut self) {
        if !self.states.any || self.finish_called {
            return;
        }
        let wall_ns = self.wall_ns();
        if let Some(bolt) = self.bolt.as_mut().filter(|_| !self.states.ending) {
            bolt.states(&mut |state| _ = state.sweep(wall_ns, SWEEP_SLOTS));
        }
        self.states.timer_due_wall_ns = self.look_for_due();
    }

    fn look_for_due(&mut self) -> Option<u64> {
        let bolt = self.bolt.as_mut()?;
        let mut due_ns = None;
        bolt.states(&mut |state| due_ns = [due_ns, state.next_due_ns()].into_iter().flatten().min());
        due_ns
    }

    /// When the next callback is due, by the engine's clock.
    pub(super) fn timer_due_ns(&self) -> Option<u64> {
        let waits = self.states.suspended || self.owes_checkpoint();
        let due_wall_ns = self.states.timer_due_wall_ns.filter(|_| !waits)?;
        Some(due_wall_ns.saturating_sub(self.parts.wall_offset_ns))
    }
}
