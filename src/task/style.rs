//! The three styles a bolt can be written in, as the one thing its shell knows.

use std::time::Duration;

use crate::error::Failure;
use crate::state::{AnyState, Called, CurrentKey, Due, KeyedState, StateVisitor};
use crate::sys::sync::Arc;
use crate::task::component::{Bolt, KeyedBolt, ManualBolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::header::Roots;
use crate::task::held::{HeldTable, Tuple};
use crate::task::held_state::Held;
use crate::task::key::{KEY_GROUPS_DEFAULT, key_hash};
use crate::task::keyed::{Each, Timer};
use crate::task::outlet::Outlet;
use crate::task::payload::{Outputs, Payload};
use crate::task::snapshot::Checkpointed;

/// What the shell needs of a bolt, whichever of the three styles it is written in.
pub(crate) trait Logic: Sized + 'static {
    type In: Payload;
    type Out: Outputs;
    /// The bolt settles its inputs itself, through handles.
    const MANUAL: bool;
    /// What it promises about the tuples it holds when a barrier comes; whoever holds none promises that.
    const HELD: Option<Held<Self::In>> = Some(Held::Drain);

    fn prepare(&mut self, ctx: &mut BoltContext<Self::Out>) -> Outcome;
    fn execute(&mut self, value: Self::In, input: Input<'_>, out: &mut Outlet<Self::Out>) -> Outcome;
    fn tick(&mut self, out: &mut Outlet<Self::Out>) -> Outcome;
    fn finish(&mut self, out: &mut Outlet<Self::Out>) -> Outcome;
    fn cleanup(&mut self);
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed>;
    /// Of a manual bolt: what it holds is being worked on.
    fn works_elsewhere(&self) -> bool {
        false
    }
    /// Of a manual bolt: it takes input now.
    fn ready(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }
    /// Gives each keyed state to a function.
    fn states(&mut self, _each: &mut dyn FnMut(&mut dyn AnyState)) {}
    /// Calls back for one timer that is due, or else one value that has expired; none if there is none. If it fails the
    /// states wait to be told what becomes of it.
    fn call_back(&mut self, _what: Callbacks, _wall_ns: u64, _out: &mut Outlet<Self::Out>) -> Option<Outcome> {
        None
    }
}

/// What may be called back for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callbacks {
    All,
    /// What has expired, also if it is not yet time to try it again.
    Expired,
}

/// What goes with a value on its way into a bolt.
pub(crate) struct Input<'a> {
    /// Position of its subscription among the component's inputs.
    pub number: usize,
    /// Wall-clock time of the turn.
    pub wall_ns: u64,
    /// Manual style: the input's trees and where handles are made.
    pub manual: Option<(Roots, &'a mut HeldTable)>,
    /// It was held in the checkpoint that has been resumed.
    pub redelivered: bool,
}

/// Automatic style.
pub(crate) struct Automatic<B>(pub B);

impl<B: Bolt> Logic for Automatic<B> {
    type In = B::In;
    type Out = B::Out;
    const MANUAL: bool = false;

    fn prepare(&mut self, ctx: &mut BoltContext<B::Out>) -> Outcome {
        self.0.prepare(ctx)
    }
    #[inline]
    fn execute(&mut self, value: B::In, _input: Input<'_>, out: &mut Outlet<B::Out>) -> Outcome {
        self.0.execute(value, out)
    }
    fn tick(&mut self, out: &mut Outlet<B::Out>) -> Outcome {
        self.0.tick(out)
    }
    fn finish(&mut self, out: &mut Outlet<B::Out>) -> Outcome {
        self.0.finish(out)
    }
    fn cleanup(&mut self) {
        self.0.cleanup();
    }
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        self.0.checkpointed()
    }
}

/// How the key is found in an input, for each subscription of a keyed bolt.
pub(crate) type KeyOfInput<T, K> = Arc<dyn Fn(&T) -> K + Send + Sync>;

/// Automatic style with the key at hand.
pub(crate) struct Keyed<B: KeyedBolt> {
    pub bolt: B,
    pub keys: Arc<[KeyOfInput<B::In, B::Key>]>,
}

impl<B: KeyedBolt> Logic for Keyed<B> {
    type In = B::In;
    type Out = B::Out;
    const MANUAL: bool = false;

    fn prepare(&mut self, ctx: &mut BoltContext<B::Out>) -> Outcome {
        self.bolt.prepare(ctx)
    }
    #[inline]
    fn execute(&mut self, value: B::In, input: Input<'_>, out: &mut Outlet<B::Out>) -> Outcome {
        let key = (self.keys[input.number])(&value);
        let hash = key_hash(&key);
        self.bolt.execute(CurrentKey::of_hashed(key, hash, KEY_GROUPS_DEFAULT, input.wall_ns), value, out)
    }
    fn tick(&mut self, out: &mut Outlet<B::Out>) -> Outcome {
        self.bolt.tick(out)
    }
    fn finish(&mut self, out: &mut Outlet<B::Out>) -> Outcome {
        self.bolt.finish(out)
    }
    fn cleanup(&mut self) {
        self.bolt.cleanup();
    }
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        self.bolt.checkpointed()
    }
    fn states(&mut self, each: &mut dyn FnMut(&mut dyn AnyState)) {
        self.bolt.states(&mut Each(each));
    }
    fn call_back(&mut self, what: Callbacks, wall_ns: u64, out: &mut Outlet<B::Out>) -> Option<Outcome> {
        let bolt = &mut self.bolt;
        let mut found = Found::None;
        if what == Callbacks::All {
            // The states' timers fire in one order.
            let mut first_ns = None;
            bolt.states(&mut Each(|state: &mut dyn AnyState| {
                if !state.has_expired() {
                    first_ns = [first_ns, state.next_due_ns()].into_iter().flatten().min();
                }
            }));
            if let Some(first_ns) = first_ns {
                bolt.states(&mut Find(&mut found, |state: &mut dyn KeyedState<B::Key>| {
                    let is_first = !state.has_expired() && state.next_due_ns() == Some(first_ns);
                    if is_first { state.take_due(wall_ns).map_or(Found::None, Found::Due) } else { Found::None }
                }));
            }
        }
        let again_ns = if what == Callbacks::All { wall_ns } else { u64::MAX };
        bolt.states(&mut Find(&mut found, |state: &mut dyn KeyedState<B::Key>| match state.next_expired(again_ns) {
            Some(key) => Found::Expired(key, state.name().to_owned()),
            None => Found::None,
        }));
        let outcome = match found {
            Found::None => return None,
            Found::Due(due) => {
                let timer = Timer { namespace: due.namespace, at: Duration::from_nanos(due.at_ns) };
                bolt.on_timer(due.key, timer, out)
            }
            Found::Expired(key, state) => bolt.on_evict(key, &state, out),
        };
        if outcome.is_ok() {
            bolt.states(&mut Each(|state: &mut dyn AnyState| _ = state.called(Called::Done)));
        }
        Some(outcome)
    }
}

/// What is to be called back for.
enum Found<K> {
    None,
    Due(Due<K>),
    /// With the name of the state.
    Expired(CurrentKey<K>, String),
}

/// Asks the states, one after another, until something is found.
struct Find<'a, K, F>(&'a mut Found<K>, F);

impl<K, F: FnMut(&mut dyn KeyedState<K>) -> Found<K>> StateVisitor<K> for Find<'_, K, F> {
    fn state(&mut self, state: &mut dyn KeyedState<K>) {
        if matches!(self.0, Found::None) {
            *self.0 = (self.1)(state);
        }
    }
}

/// Manual style.
pub(crate) struct Manual<B>(pub B);

impl<B: ManualBolt> Logic for Manual<B> {
    type In = B::In;
    type Out = B::Out;
    const MANUAL: bool = true;
    const HELD: Option<Held<B::In>> = B::HELD;

    fn prepare(&mut self, ctx: &mut BoltContext<B::Out>) -> Outcome {
        self.0.prepare(ctx)
    }
    fn execute(&mut self, value: B::In, input: Input<'_>, out: &mut Outlet<B::Out>) -> Outcome {
        let (roots, table) = input.manual.expect("the shell gives a manual bolt its handles");
        let kept = match B::HELD {
            Some(Held::InState(codec)) if table.keeps_values() => Some(codec.write(&value)?),
            _ => None,
        };
        let anchor = table.hold(roots, out.core.lineage, kept);
        self.0.execute(Tuple::new(value, anchor, input.redelivered), out)
    }
    fn works_elsewhere(&self) -> bool {
        self.0.works_elsewhere()
    }
    #[inline]
    fn ready(&mut self) -> Result<bool, Failure> {
        self.0.ready()
    }
    fn tick(&mut self, out: &mut Outlet<B::Out>) -> Outcome {
        self.0.tick(out)
    }
    fn finish(&mut self, out: &mut Outlet<B::Out>) -> Outcome {
        self.0.finish(out)
    }
    fn cleanup(&mut self) {
        self.0.cleanup();
    }
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        self.0.checkpointed()
    }
}
