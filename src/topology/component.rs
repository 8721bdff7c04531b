//! What can be given as a component: factories, functions and closures, told apart by their types.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::Failure;
use crate::task::bolt::BoltKit;
use crate::task::component::{Bolt, KeyedBolt, ManualBolt, Outcome};
use crate::task::key::Key;
use crate::task::outlet::Outlet;
use crate::task::payload::{Outputs, Payload};
use crate::task::shell::TaskKit;
use crate::task::style::{Automatic, KeyOfInput, Keyed, Logic, Manual};
use crate::topology::plan::Kind;

/// A bolt whose inputs may be grouped in any way.
pub enum Unkeyed {}

/// A bolt whose inputs are all grouped by a key of type `K`.
pub struct ByKey<K>(PhantomData<fn() -> K>);

/// Whether and by what a bolt is keyed; decides which groupings its handle offers.
pub trait Keying: 'static {
    /// The key type; `()` for an unkeyed bolt.
    type Key: 'static;
}

impl Keying for Unkeyed {
    type Key = ();
}

impl<K: Key> Keying for ByKey<K> {
    type Key = K;
}

/// The key functions of a keyed bolt's inputs, filled as it subscribes.
pub(crate) struct KeysOfInputs<I, K>(Rc<RefCell<Vec<KeyOfInput<I, K>>>>);

impl<I, K> Default for KeysOfInputs<I, K> {
    fn default() -> Self {
        KeysOfInputs(Rc::default())
    }
}

impl<I, K> Clone for KeysOfInputs<I, K> {
    fn clone(&self) -> Self {
        KeysOfInputs(self.0.clone())
    }
}

impl<I, K> KeysOfInputs<I, K> {
    /// One more input, and how its key is found.
    pub fn push(&self, key: KeyOfInput<I, K>) {
        self.0.borrow_mut().push(key);
    }

    pub fn take(&self) -> Vec<KeyOfInput<I, K>> {
        self.0.take()
    }
}

/// What can be given to [`TopologyBuilder::bolt`](crate::TopologyBuilder::bolt): a factory `Fn() -> B` of a [`Bolt`],
/// [`KeyedBolt`] or [`ManualBolt`], or a function or closure `Fn(In, &mut Outlet<Out>)` that returns nothing or an
/// [`Outcome`].
///
/// `Marker` only tells these apart and is inferred.
#[diagnostic::on_unimplemented(
    message = "this is neither a factory of a bolt nor a function that can be one",
    note = "give a factory `|| MyBolt::new()`, or a function or closure with its types written out",
    note = "such as `|input: In, out: &mut Outlet<Out>| ...`"
)]
pub trait IntoBolt<Marker> {
    /// The input type.
    type In: Payload;
    /// The outputs.
    type Out: Outputs;
    /// Whether it is keyed.
    type Keying: Keying;
    #[doc(hidden)]
    const KIND: Kind;
    #[doc(hidden)]
    #[allow(private_interfaces, private_bounds)]
    fn kit(
        self,
        keys: KeysOfInputs<Self::In, <Self::Keying as Keying>::Key>,
        around: impl Around<Self::In, Self::Out>,
    ) -> Arc<dyn TaskKit>;
}

/// Puts something around every instance of a bolt.
pub(crate) trait Around<I, O>: Clone + Send + Sync + 'static {
    fn around(self, logic: impl Logic<In = I, Out = O>) -> impl Logic<In = I, Out = O>;
}

/// Leaves it as it is.
#[derive(Clone)]
pub(crate) struct Bare;

impl<I: Payload, O: Outputs> Around<I, O> for Bare {
    fn around(self, logic: impl Logic<In = I, Out = O>) -> impl Logic<In = I, Out = O> {
        logic
    }
}

#[doc(hidden)]
pub struct BoltFactory<B>(PhantomData<B>);
#[doc(hidden)]
pub struct KeyedFactory<B>(PhantomData<B>);
#[doc(hidden)]
pub struct ManualFactory<B>(PhantomData<B>);
#[doc(hidden)]
pub struct Function<S>(PhantomData<S>);

#[allow(private_interfaces, private_bounds)]
impl<F: Fn() -> B + Send + Sync + 'static, B: Bolt> IntoBolt<BoltFactory<B>> for F {
    type In = B::In;
    type Out = B::Out;
    type Keying = Unkeyed;
    const KIND: Kind = Kind::Bolt;
    fn kit(self, _keys: KeysOfInputs<B::In, ()>, around: impl Around<B::In, B::Out>) -> Arc<dyn TaskKit> {
        Arc::new(BoltKit { factory: Arc::new(move || around.clone().around(Automatic(self()))) })
    }
}

#[allow(private_interfaces, private_bounds)]
impl<F: Fn() -> B + Send + Sync + 'static, B: KeyedBolt> IntoBolt<KeyedFactory<B>> for F {
    type In = B::In;
    type Out = B::Out;
    type Keying = ByKey<B::Key>;
    const KIND: Kind = Kind::KeyedBolt;
    fn kit(self, keys: KeysOfInputs<B::In, B::Key>, around: impl Around<B::In, B::Out>) -> Arc<dyn TaskKit> {
        let keys: Arc<[_]> = keys.take().into();
        let factory = move || around.clone().around(Keyed { bolt: self(), keys: keys.clone() });
        Arc::new(BoltKit { factory: Arc::new(factory) })
    }
}

#[allow(private_interfaces, private_bounds)]
impl<F: Fn() -> B + Send + Sync + 'static, B: ManualBolt> IntoBolt<ManualFactory<B>> for F {
    type In = B::In;
    type Out = B::Out;
    type Keying = Unkeyed;
    const KIND: Kind = Kind::ManualBolt;
    fn kit(self, _keys: KeysOfInputs<B::In, ()>, around: impl Around<B::In, B::Out>) -> Arc<dyn TaskKit> {
        Arc::new(BoltKit { factory: Arc::new(move || around.clone().around(Manual(self()))) })
    }
}

/// What a function that is a bolt may return.
pub trait IntoOutcome {
    #[doc(hidden)]
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Ok(())
    }
}

impl IntoOutcome for Result<(), Failure> {
    fn into_outcome(self) -> Outcome {
        self
    }
}

/// A function as a bolt.
struct FunctionBolt<F, S> {
    function: F,
    signature: PhantomData<fn() -> S>,
}

impl<F, I, O, R> Bolt for FunctionBolt<F, fn(I, O) -> R>
where
    F: Fn(I, &mut Outlet<O>) -> R + 'static,
    I: Payload,
    O: Outputs,
    R: IntoOutcome + 'static,
{
    type In = I;
    type Out = O;
    #[inline]
    fn execute(&mut self, input: I, out: &mut Outlet<O>) -> Outcome {
        (self.function)(input, out).into_outcome()
    }
}

#[allow(private_interfaces, private_bounds)]
impl<F, I, O, R> IntoBolt<Function<fn(I, O) -> R>> for F
where
    F: Fn(I, &mut Outlet<O>) -> R + Clone + Send + Sync + 'static,
    I: Payload,
    O: Outputs,
    R: IntoOutcome + 'static,
{
    type In = I;
    type Out = O;
    type Keying = Unkeyed;
    const KIND: Kind = Kind::Bolt;
    fn kit(self, _keys: KeysOfInputs<I, ()>, around: impl Around<I, O>) -> Arc<dyn TaskKit> {
        let bolt = move || FunctionBolt { function: self.clone(), signature: PhantomData };
        let factory = move || around.clone().around(Automatic(bolt()));
        Arc::new(BoltKit { factory: Arc::new(factory) })
    }
}
