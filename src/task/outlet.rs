//! Where user code emits: the outlet of a bolt or spout task.

mod spout;

use std::rc::Rc;

use smallbox::SmallBox;
use smallbox::space::S16;
use smallvec::SmallVec;

use crate::error::Failure;
use crate::sys::mutation::{self, Mutation};
use crate::sys::random::Random;
use crate::task::TaskId;
use crate::task::acks::{AckMessage, Acks};
use crate::task::header::{NO_EVENT, Root, Roots};
use crate::task::held::{Anchor, Anchors, common_lineage, counted};
use crate::task::lineage::{Lineage, ReplayId, component_name};
use crate::task::metrics::Counts;
use crate::task::payload::{Outputs, Payload, PortAt, PortSet};

pub use spout::SpoutOutlet;
pub(crate) use spout::{Epoch, GivenUpBy, SelfAcked};

/// The part of an outlet that does not depend on types: anchors, edge ids, counters, blocked lanes.
#[doc(hidden)]
pub struct EmitCore {
    pub(crate) counts: Counts,
    /// Lanes with overflow. While there are any, the task gets no input.
    pub(crate) blocked_lanes: usize,
    /// A local lane was seen above low water: the turn ends, so that its consumer comes next.
    pub(crate) above_low_water: bool,
    /// Time of the current turn.
    pub(crate) now_ns: u64,
    /// Open-loop measurement: the intended time of the event that what is emitted now descends from, or `NO_EVENT`.
    pub(crate) birth_ns: u64,
    /// What is emitted now descends from this input...
    pub(crate) lineage: Lineage,
    /// ...of which so many emits had been made before, and goes to the so-many-th of several tasks.
    lineage_emitted: u64,
    pub(crate) ordinal: u64,
    /// Tuples carry the place in a source that they descend from.
    pub(crate) carries_places: bool,
    component: u64,
    /// What is emitted now becomes a child of these trees...
    anchor: Roots,
    /// ...and of the trees of these held tuples.
    held: SmallVec<[(Roots, crate::task::held::SlotRef); 2]>,
    /// XOR of the edges drawn for `anchor`.
    drawn: u64,
    edges: Random,
    last_edge: u64,
    acks: Rc<Acks>,
    /// Ack of this turn not yet sent, merged while consecutive acks are for the same tree.
    coalesced: Option<(Root, u64)>,
    targets: SmallVec<[TaskId; 4]>,
    records_targets: bool,
}

impl EmitCore {
    pub(crate) fn new(acks: Rc<Acks>, edges: Random, component: &str, carries_places: bool) -> Self {
        EmitCore {
            lineage: Lineage::NONE,
            lineage_emitted: 0,
            ordinal: 0,
            carries_places,
            component: component_name(component),
            counts: Counts::default(),
            blocked_lanes: 0,
            above_low_water: false,
            now_ns: 0,
            birth_ns: NO_EVENT,
            anchor: Roots::None,
            held: SmallVec::new(),
            drawn: 0,
            edges,
            last_edge: 0,
            acks,
            coalesced: None,
            targets: SmallVec::new(),
            records_targets: false,
        }
    }

    /// True while another piece of work may be begun.
    #[inline(always)]
    pub(crate) fn is_free(&self) -> bool {
        self.blocked_lanes == 0 && !self.above_low_water
    }

    /// From here on, what is emitted descends from this input.
    #[inline]
    pub(crate) fn set_lineage(&mut self, lineage: Lineage) {
        self.lineage = lineage;
        self.lineage_emitted = self.counts.emitted;
    }

    /// From here on, what is emitted descends from no input, and from no event.
    pub(crate) fn no_event(&mut self) {
        self.birth_ns = NO_EVENT;
        self.lineage = Lineage::NONE;
    }

    /// That of a tuple emitted now. An emit is counted before it is sent, whatever way it goes, and its index counts
    /// those before it: FROZEN as the lineage itself, and the one that a single subscriber's task on the same executor
    /// has always got.
    #[inline]
    pub(crate) fn child_lineage(&self) -> Lineage {
        self.lineage.child(self.component, self.counts.emitted - self.lineage_emitted - 1, self.ordinal)
    }

    /// From here on, emits are anchored to `roots`.
    #[inline]
    pub(crate) fn set_anchor(&mut self, roots: Roots) {
        self.anchor = roots;
        self.drawn = 0;
    }

    /// Ends the anchoring: the XOR of the edges drawn for it.
    #[inline]
    pub(crate) fn take_drawn(&mut self) -> u64 {
        self.anchor = Roots::None;
        std::mem::take(&mut self.drawn)
    }

    /// The current anchor is done: its edges and the ones drawn for it cancel out in its trees.
    #[inline(always)]
    pub(crate) fn ack_anchor(&mut self) {
        let drawn = std::mem::take(&mut self.drawn);
        match self.anchor {
            Roots::One(root, edge) => {
                self.anchor = Roots::None;
                self.ack(root, edge ^ drawn);
            }
            Roots::None => {}
            Roots::Many(_) => self.ack_many(drawn),
        }
    }

    #[cold]
    fn ack_many(&mut self, drawn: u64) {
        let roots = std::mem::take(&mut self.anchor);
        self.ack_roots(&roots, drawn);
    }

    /// The trees of the current anchor fail.
    pub(crate) fn fail_anchor(&mut self, failure: &Failure) {
        let roots = std::mem::take(&mut self.anchor);
        self.drawn = 0;
        self.fail_roots(&roots, failure);
    }

    #[inline]
    pub(crate) fn ack_roots(&mut self, roots: &Roots, drawn: u64) {
        match roots {
            Roots::None => {}
            Roots::One(root, edge) => self.ack(*root, edge ^ drawn),
            Roots::Many(pairs) => pairs.iter().for_each(|(root, edge)| self.ack(*root, edge ^ drawn)),
        }
    }

    pub(crate) fn fail_roots(&mut self, roots: &Roots, failure: &Failure) {
        roots.each(|root, _| self.acks.send(root, AckMessage::Fail(failure.clone()), self.now_ns));
    }

    pub(crate) fn reset_roots(&mut self, roots: &Roots) {
        roots.each(|root, _| self.acks.send(root, AckMessage::Reset, self.now_ns));
    }

    #[inline(always)]
    fn ack(&mut self, root: Root, xor: u64) {
        match &mut self.coalesced {
            Some((same, sum)) if *same == root => *sum ^= xor,
            _ => self.ack_another(root, xor),
        }
    }

    #[inline(never)]
    fn ack_another(&mut self, root: Root, xor: u64) {
        self.flush_acks();
        self.coalesced = Some((root, xor));
    }

    /// Sends the coalesced ack; at the latest at the end of the turn.
    #[inline]
    pub(crate) fn flush_acks(&mut self) {
        if let Some((root, xor)) = self.coalesced.take()
            && xor != 0
        {
            self.acks.ack(root, xor);
        }
    }

    /// A fresh edge in every current anchor: the tree membership of a tuple emitted now.
    #[inline(always)]
    pub(crate) fn draw_edge(&mut self) -> Roots {
        match &self.anchor {
            Roots::One(root, _) => {
                let root = *root;
                let edge = self.next_edge();
                self.drawn ^= edge;
                Roots::One(root, edge)
            }
            Roots::None if self.held.is_empty() => Roots::None,
            _ => self.draw_many(),
        }
    }

    #[cold]
    fn draw_many(&mut self) -> Roots {
        let mut roots = Roots::None;
        if !self.anchor.is_none() {
            let edge = self.next_edge();
            self.drawn ^= edge;
            roots = roots.join(&self.anchor, edge);
        }
        for index in 0..self.held.len() {
            let edge = self.next_edge();
            let (anchor, slot) = &self.held[index];
            slot.draw(edge);
            roots = roots.join(anchor, edge);
        }
        roots
    }

    #[inline]
    fn next_edge(&mut self) -> u64 {
        if mutation::is(Mutation::ReuseEdge) && self.last_edge != 0 {
            return self.last_edge;
        }
        loop {
            self.last_edge = self.edges.next_u64();
            // Zero would announce nothing.
            if self.last_edge != 0 {
                return self.last_edge;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn note_target(&mut self, task: impl FnOnce() -> TaskId) {
        if self.records_targets {
            self.targets.push(task());
        }
    }

    /// After a panic in the middle of an emit: nobody asks for its targets any more, and its event is over.
    pub(crate) fn forget_call(&mut self) {
        self.no_event();
        self.ordinal = 0;
        self.targets.clear();
        self.records_targets = false;
    }

    pub(crate) fn record_targets(&mut self) {
        self.targets.clear();
        self.records_targets = true;
    }

    pub(crate) fn recorded(&mut self) -> &[TaskId] {
        self.records_targets = false;
        &self.targets
    }
}

pub(crate) type Handover<E> = SmallBox<dyn Iterator<Item = E>, S16>;

/// Where a bolt emits.
///
/// An emit never blocks and never drops: what a full lane does not take is kept by the task, which then gets no input
/// until there is room. An emit costs a few nanoseconds per subscriber and one clone per subscriber beyond the first.
pub struct Outlet<O: Outputs> {
    pub(crate) set: O::Set,
    pub(crate) core: EmitCore,
    /// Handed over by the call that is running or has last run; nothing else runs before it ends.
    pub(crate) handover: Option<Handover<O::Emission>>,
}

impl<T: Payload> Outlet<T> {
    /// Emits a value on the only output, anchored to the current input in automatic style, untracked otherwise.
    #[inline]
    pub fn emit(&mut self, value: T) {
        self.set.emit(value, &mut self.core);
    }

    /// Like [`emit`](Self::emit), and tells which tasks got it: empty if nobody subscribes.
    pub fn emit_to(&mut self, value: T) -> &[TaskId] {
        self.core.record_targets();
        self.set.emit_to_all(value, &mut self.core);
        self.core.recorded()
    }

    /// Emits to one task of the direct subscribers. False, and nothing sent, if the task subscribes to no stream of
    /// this task.
    ///
    /// # Panics
    /// If the task's component subscribes by another grouping than direct.
    pub fn emit_direct(&mut self, task: TaskId, value: T) -> bool {
        self.set.emit_direct(task, value, &mut self.core)
    }
}

impl<O: Outputs> Outlet<O> {
    pub(crate) fn new(set: O::Set, core: EmitCore) -> Self {
        Outlet { set, core, handover: None }
    }

    /// Emits on port `N`; otherwise like `emit`.
    #[inline]
    pub fn emit_on<const N: usize>(&mut self, value: <O as PortAt<N>>::Item)
    where
        O: PortAt<N>,
    {
        O::port(&mut self.set).emit(value, &mut self.core);
    }

    /// Like `emit_to` on port `N`.
    pub fn emit_to_on<const N: usize>(&mut self, value: <O as PortAt<N>>::Item) -> &[TaskId]
    where
        O: PortAt<N>,
    {
        self.core.record_targets();
        O::port(&mut self.set).emit_to_all(value, &mut self.core);
        self.core.recorded()
    }

    /// Like `emit_direct` on port `N`.
    ///
    /// # Panics
    /// If the task's component subscribes by another grouping than direct.
    pub fn emit_direct_on<const N: usize>(&mut self, task: TaskId, value: <O as PortAt<N>>::Item) -> bool
    where
        O: PortAt<N>,
    {
        O::port(&mut self.set).emit_direct(task, value, &mut self.core)
    }

    /// Emits any port's value, named by the emission.
    pub fn emit_any(&mut self, emission: O::Emission) {
        self.set.send(emission, &mut self.core);
    }

    /// Hands over an iterator instead of emitting in a loop: the engine pulls from it as room appears, so that one
    /// input that becomes a million outputs needs no memory and holds nobody up. What it yields is anchored as emits
    /// are; in automatic style the input is acked when the iterator has ended. No other input is handled before that.
    ///
    /// Iterators up to 128 bytes are stored without allocating. With several ports the items are the component's
    /// emission type.
    ///
    /// # Panics
    /// On a second call within one `execute`, `tick` or `finish`.
    pub fn hand_over(&mut self, iterator: impl Iterator<Item = O::Emission> + 'static) {
        assert!(self.handover.is_none(), "a call can hand over one iterator only");
        self.handover = Some(smallbox::smallbox!(iterator));
    }

    /// What identifies the input at hand: the same when it comes again after a failure, whatever else came meanwhile,
    /// as long as every bolt on its way is [replay stable](crate::topology::builder::BoltHandle::replay_stable).
    /// None for what descends from no position of a source, and where nobody in the topology has asked for ids.
    pub fn input_id(&self) -> Option<ReplayId> {
        self.core.lineage.id()
    }

    /// Manual style: what is emitted through the returned value is anchored to the given tuples, or to none for `[]`.
    pub fn anchored(&mut self, anchors: impl Anchors) -> Anchored<'_, O> {
        debug_assert!(self.core.held.is_empty());
        let before = self.core.lineage;
        if self.core.carries_places
            && let Some(lineage) = common_lineage(&anchors)
            && lineage.place != before.place
        {
            self.core.set_lineage(lineage);
            counted(&anchors);
        }
        anchors.each(|anchor: &Anchor| {
            if let Some(held) = anchor.as_held() {
                self.core.held.push(held);
            }
        });
        Anchored { outlet: self, before }
    }

    /// Time of this turn in nanoseconds since the topology started; virtual under a driver.
    pub fn now_ns(&self) -> u64 {
        self.core.now_ns
    }
}

/// An [`Outlet`] whose emits are anchored to held tuples, for as long as this value lives.
pub struct Anchored<'a, O: Outputs> {
    outlet: &'a mut Outlet<O>,
    /// What was emitted before descends from this, and so does what is emitted after.
    before: Lineage,
}

impl<O: Outputs> std::ops::Deref for Anchored<'_, O> {
    type Target = Outlet<O>;
    fn deref(&self) -> &Outlet<O> {
        self.outlet
    }
}

impl<O: Outputs> std::ops::DerefMut for Anchored<'_, O> {
    fn deref_mut(&mut self) -> &mut Outlet<O> {
        self.outlet
    }
}

impl<O: Outputs> Drop for Anchored<'_, O> {
    fn drop(&mut self) {
        self.outlet.core.held.clear();
        if self.outlet.core.lineage.place != self.before.place {
            self.outlet.core.lineage = self.before;
        }
    }
}
