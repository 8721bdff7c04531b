//! The builder: components by id, subscriptions through typed handles.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::task::component::{Custom, Source, Spout};
use crate::task::dead_letter::{self, DeadLetter};
use crate::task::edge::{By, EdgeSpec};
use crate::task::key::Key;
use crate::task::many::Many;
use crate::task::metrics::FaultCounters;
use crate::task::payload::{Payload, Ports};
use crate::task::replay::{Replaying, Typed};
use crate::task::route;
use crate::task::spout::SpoutKit;
use crate::task::user_value::UserValue;
use crate::topology::component::{Bare, ByKey, IntoBolt, Keying, KeysOfInputs, Unkeyed};
use crate::topology::draft::{ComponentDraft, DeadLetterPort, Draft, EdgeDraft, KitMaker};
use crate::topology::plan::{Grouping, Kind};
use crate::topology::settings::{ComponentSettings, Guarantee, Placement, Settings};
use crate::topology::stream::{Stream, Streams, Upstream, short_type_name};
use crate::topology::{Progress, Topology};

/// Builds a [`Topology`]: declare spouts and bolts, join them by groupings, [`build`](Self::build).
///
/// Nothing fails before `build`, which reports everything that is wrong, each with its file and line.
///
/// # Examples
///
/// ```
/// use squall::{Nothing, Outlet, TopologyBuilder};
/// use squall::connect::Generator;
///
/// # fn main() -> squall::Result<()> {
/// let mut t = TopologyBuilder::new("squares");
/// let numbers = t.source("numbers", || Generator::new(1_000, |n| n));
/// let squares = t.bolt("square", |n: u64, out: &mut Outlet<u64>| out.emit(n * n)).parallelism(2).shuffle(&numbers);
/// t.bolt("sum", Sum::default).global(&squares);
/// t.build()?.run()?;
///
/// #[derive(Default)]
/// struct Sum(u64);
/// impl squall::Bolt for Sum {
///     type In = u64;
///     type Out = Nothing;
///     fn execute(&mut self, square: u64, _: &mut Outlet<Nothing>) -> squall::Outcome {
///         self.0 += square;
///         Ok(())
///     }
///     fn cleanup(&mut self) {
///         assert_eq!(self.0, (0..1_000).map(|n| n * n).sum::<u64>());
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct TopologyBuilder {
    draft: Rc<RefCell<Draft>>,
}

impl TopologyBuilder {
    /// A topology without components.
    pub fn new(name: impl Into<String>) -> Self {
        TopologyBuilder { draft: Rc::new(RefCell::new(Draft::new(name.into()))) }
    }

    /// Declares a spout. The factory is called once per task, and again when a task is rebuilt.
    #[track_caller]
    pub fn spout<S, F>(&mut self, id: impl Into<String>, factory: F) -> SpoutHandle<S::Out>
    where
        S: Spout,
        S::Out: Streams,
        F: Fn() -> S + Send + Sync + 'static,
    {
        let kit: KitMaker = Box::new(move || Arc::new(SpoutKit { factory: Arc::new(factory) }));
        SpoutHandle(self.declare(id.into(), Kind::Spout, kit, <S::Out as Streams>::ports()))
    }

    /// Declares a source: a spout with replay, back-off and a dead-letter stream around it.
    #[track_caller]
    pub fn source<S, F>(&mut self, id: impl Into<String>, factory: F) -> SourceHandle<S::Item>
    where
        S: Source,
        F: Fn() -> S + Send + Sync + 'static,
    {
        let replays_max = Rc::new(Cell::new(None));
        let limit = replays_max.clone();
        let kit: KitMaker = Box::new(move || {
            let (replays_max, source): (Option<u32>, Arc<dyn Fn() -> S + Send + Sync>) =
                (limit.get(), Arc::new(factory));
            let factory = move || {
                let replaying = Replaying::with(source.clone(), Typed);
                match replays_max {
                    Some(count) => replaying.max_replays(count),
                    None => replaying,
                }
            };
            Arc::new(SpoutKit { factory: Arc::new(factory) })
        });
        let mut ports = <Ports<(S::Item, DeadLetter<S::Item>)> as Streams>::ports();
        ports[1].0 = dead_letter::STREAM.to_owned();
        let id = id.into();
        let source: Arc<str> = id.as_str().into();
        let handle = self.declare(id, Kind::Spout, kit, ports);
        let describe = DescribeCell::<S::Item>::default();
        let of_edge = describe.clone();
        handle.gives_up_on(1, move |letter: DeadLetter<S::Item>| letter.line(&source, of_edge.get()));
        SourceHandle { spout: SpoutHandle(handle), replays_max, describe }
    }

    /// Declares a bolt: a factory of a [`Bolt`](crate::Bolt), [`KeyedBolt`](crate::KeyedBolt) or
    /// [`ManualBolt`](crate::ManualBolt), or a function or closure.
    #[track_caller]
    pub fn bolt<B, M>(&mut self, id: impl Into<String>, bolt: B) -> BoltHandle<B::In, B::Out, B::Keying>
    where
        B: IntoBolt<M> + 'static,
        B::Out: Streams,
    {
        let keys = KeysOfInputs::default();
        let handle_keys = keys.clone();
        let kit: KitMaker = Box::new(move || bolt.kit(keys, Bare));
        let handle = self.declare(id.into(), B::KIND, kit, <B::Out as Streams>::ports());
        BoltHandle { handle, keys: handle_keys, types: PhantomData }
    }

    /// The guarantee, unless a settings file or option says otherwise.
    #[track_caller]
    pub fn guarantee(&mut self, guarantee: Guarantee) -> &mut Self {
        self.settings(|settings| settings.guarantee = guarantee)
    }

    /// Sets any settings in code; a settings file or option overrides them.
    #[track_caller]
    pub fn settings(&mut self, change: impl FnOnce(&mut Settings)) -> &mut Self {
        let mut draft = self.draft.borrow_mut();
        let place = draft.place(here());
        draft.layers.topology(place, change);
        drop(draft);
        self
    }

    /// Whatever is declared from here on counts as declared at this place: for a front end that reads topologies from
    /// files of its own, and wants problems to name those.
    pub fn declared_at(&mut self, place: impl Into<String>) -> &mut Self {
        self.draft.borrow_mut().place = Some(place.into());
        self
    }

    /// Leaves out task numbers as if there were components of these ids with so many tasks: Storm numbers system
    /// components such as `__acker` among the others.
    pub fn reserve_tasks(&mut self, components: impl IntoIterator<Item = (String, usize)>) -> &mut Self {
        self.draft.borrow_mut().reserved_tasks.extend(components);
        self
    }

    /// Counters for faults that the topology injects into itself; they appear in its report.
    pub fn fault_counters(&self) -> Arc<FaultCounters> {
        self.draft.borrow().faults.clone()
    }

    /// Tells how far the input has been read, so that a run can show a progress bar with the time left. The last call
    /// counts; without one, a run shows rates only.
    pub fn progress(&mut self, progress: impl Into<Progress>) -> &mut Self {
        self.draft.borrow_mut().progress = Some(progress.into());
        self
    }

    /// Checks the structure and ends the building.
    ///
    /// # Errors
    /// With every problem found: unknown or duplicate ids, no spout, unreachable bolts, undeclared cycles.
    pub fn build(self) -> Result<Topology> {
        Topology::from_draft(self.draft.replace(Draft::new(String::new())))
    }

    #[track_caller]
    fn declare<O: Streams>(
        &mut self,
        id: String,
        kind: Kind,
        kit: KitMaker,
        ports: Vec<(String, String)>,
    ) -> ComponentHandle<O> {
        let mut draft = self.draft.borrow_mut();
        let index = draft.components.len();
        let place = draft.place(here());
        draft.components.push(ComponentDraft {
            id,
            kind,
            place,
            ports,
            inputs: 0,
            replay_stable: false,
            kit: Some(kit),
        });
        drop(draft);
        ComponentHandle { streams: O::handles(&self.draft, index), draft: self.draft.clone(), index }
    }
}

#[track_caller]
fn here() -> String {
    let location = Location::caller();
    format!("{}:{}", without_detours(location.file()), location.line())
}

/// A module included by a `#[path]` has a place such as `src/../topologies/words.rs`.
fn without_detours(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segments.last() {
            Some(&last) if segment == ".." && !["", ".", ".."].contains(&last) => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    segments.join("/")
}

/// What all component handles share.
struct ComponentHandle<O: Streams> {
    draft: Rc<RefCell<Draft>>,
    index: usize,
    streams: O::Handles,
}

impl<O: Streams> ComponentHandle<O> {
    #[track_caller]
    fn set(&self, change: impl FnOnce(&mut ComponentSettings)) {
        let mut draft = self.draft.borrow_mut();
        let (id, place) = (draft.components[self.index].id.clone(), draft.place(here()));
        draft.layers.topology(place, |settings| change(settings.components.entry(id).or_default()));
    }

    /// What is given up goes out on this port, and where nobody subscribes to it, as lines.
    fn gives_up_on<T: Payload>(&self, port: usize, as_line: impl Fn(T) -> String + Send + Sync + 'static) {
        let as_lines = EdgeSpec { convert: Arc::new(By(as_line)), grouping: route::Global, types: PhantomData };
        let port = DeadLetterPort { component: self.index, port, as_lines: Arc::new(as_lines) };
        self.draft.borrow_mut().dead_letters.push(port);
    }

    fn set_outputs(&self, outputs: Vec<(String, String)>) {
        self.draft.borrow_mut().components[self.index].ports = outputs;
    }

    fn name_outputs<const N: usize>(&self, names: [&str; N]) {
        let mut draft = self.draft.borrow_mut();
        let component = &mut draft.components[self.index];
        if N == component.ports.len() {
            for (port, name) in component.ports.iter_mut().zip(names) {
                port.0 = name.to_owned();
            }
        } else {
            let (id, place, ports) = (component.id.clone(), component.place.clone(), component.ports.len());
            let message = format!("component {id} has {ports} outputs but {N} names were given");
            draft.problems.push(crate::error::Problem::new(place, message));
        }
    }
}

/// Methods every handle has; each overrides nothing that a settings file or option says.
macro_rules! component_methods {
    ($($field:tt)+) => {
        /// Number of tasks; 1 unless told.
        #[track_caller]
        #[must_use = "the handle is what others subscribe to"]
        pub fn parallelism(self, tasks: usize) -> Self {
            self.$($field)+.set(|settings| settings.parallelism = Some(tasks));
            self
        }

        /// Runs its tasks on the executor of this CPU.
        #[track_caller]
        pub fn on_cpu(self, cpu: usize) -> Self {
            self.$($field)+.set(|settings| settings.placement = Some(Placement::On(cpu)));
            self
        }

        /// Gives each of its tasks an executor that runs nothing else.
        #[track_caller]
        pub fn dedicated(self) -> Self {
            self.$($field)+.set(|settings| settings.placement = Some(Placement::Dedicated));
            self
        }

        /// A setting of the user's own, readable in the component's context.
        #[track_caller]
        pub fn user(self, key: impl Into<String>, value: impl Into<UserValue>) -> Self {
            self.$($field)+.set(|settings| {
                settings.user.insert(key.into(), value.into());
            });
            self
        }

        /// Names the output streams, in port order; the first is `default` unless told.
        pub fn output_names<const N: usize>(self, names: [&str; N]) -> Self {
            self.$($field)+.name_outputs(names);
            self
        }
    };
}

mod source;

use source::DescribeCell;
pub use source::SourceHandle;

/// A declared spout. Derefs to its [`Stream`], or to a tuple of them for several outputs.
pub struct SpoutHandle<O: Streams>(ComponentHandle<O>);

impl<O: Streams> SpoutHandle<O> {
    component_methods!(0);

    /// Open trees per task; see the setting of this name.
    #[track_caller]
    pub fn max_spout_pending(self, trees: usize) -> Self {
        self.0.set(|settings| settings.max_spout_pending = Some(trees));
        self
    }
}

/// The outputs of a component that has [`Many`].
macro_rules! many_streams {
    ($($field:tt)+) => {
        /// Declares the output streams, each with its name and what it carries, for people to read.
        pub fn streams<S: Into<String>, C: Into<String>>(self, streams: impl IntoIterator<Item = (S, C)>) -> Self {
            let streams = streams.into_iter().map(|(name, carries)| (name.into(), carries.into()));
            self.$($field)+.set_outputs(streams.collect());
            self
        }
    };
}

impl<T: Payload> SpoutHandle<Many<T>> {
    many_streams!(0);

    /// As a source's: what is given up goes out on this port.
    pub(crate) fn gives_up_on(self, port: usize, as_line: impl Fn(T) -> String + Send + Sync + 'static) -> Self {
        self.0.gives_up_on(port, as_line);
        self
    }
}

impl<I: Payload, T: Payload, K: Keying> BoltHandle<I, Many<T>, K> {
    many_streams!(handle);
}

impl<O: Streams> Deref for SpoutHandle<O> {
    type Target = O::Handles;
    fn deref(&self) -> &O::Handles {
        &self.0.streams
    }
}

/// A declared bolt. Derefs to its [`Stream`], or to a tuple of them for several outputs.
///
/// Subscriptions are made by groupings, each at most once per stream. `K` is the bolt's keying: a
/// [`KeyedBolt`](crate::KeyedBolt) can only subscribe by fields, with its own key type.
pub struct BoltHandle<I, O: Streams, K: Keying> {
    handle: ComponentHandle<O>,
    keys: KeysOfInputs<I, K::Key>,
    types: PhantomData<fn() -> I>,
}

impl<I: Payload, O: Streams, K: Keying> Deref for BoltHandle<I, O, K> {
    type Target = O::Handles;
    fn deref(&self) -> &O::Handles {
        &self.handle.streams
    }
}

impl<I: Payload, O: Streams, K: Keying> BoltHandle<I, O, K> {
    component_methods!(handle);

    /// Calls the bolt's `tick` with this period, on time however much input is waiting.
    #[track_caller]
    pub fn tick(self, period: Duration) -> Self {
        self.handle.set(|settings| settings.tick = Some(period));
        self
    }

    /// Promises that everything this bolt emits depends on the input at hand alone, in number and order: no ticks or
    /// timers, no counting of other inputs. Then [ids](crate::Outlet::input_id) further down are the same on every
    /// replay. What is emitted may differ.
    pub fn replay_stable(self) -> Self {
        self.handle.draft.borrow_mut().components[self.handle.index].replay_stable = true;
        self
    }

    /// Tuples that each lane into this bolt holds.
    #[track_caller]
    pub fn lane_capacity(self, tuples: usize) -> Self {
        self.handle.set(|settings| settings.lane_capacity = Some(tuples));
        self
    }

    /// Declares that the subscriptions made in `subscribe` close a cycle. Their end is not waited for: the loop ends
    /// when its other inputs have ended and nothing is under way in it.
    pub fn closing_cycle(self, subscribe: impl FnOnce(Self) -> Self) -> Self {
        let draft = self.handle.draft.clone();
        draft.borrow_mut().declaring_cycle = true;
        let handle = subscribe(self);
        draft.borrow_mut().declaring_cycle = false;
        handle
    }

    #[track_caller]
    fn subscribe<U, G>(self, upstream: U, grouping: Grouping, spec: G) -> Self
    where
        U: Upstream<I>,
        G: route::Grouping<I>,
    {
        let (stream, convert) = upstream.resolve();
        let mut draft = self.handle.draft.borrow_mut();
        let place = draft.place(here());
        if !Rc::ptr_eq(&self.handle.draft, &stream.draft) {
            let message = "this stream belongs to another topology's builder";
            draft.problems.push(crate::error::Problem::new(place, message));
            drop(draft);
            return self;
        }
        let input = draft.components[self.handle.index].inputs;
        draft.components[self.handle.index].inputs += 1;
        let feedback = draft.declaring_cycle;
        draft.edges.push(EdgeDraft {
            from: stream.component,
            port: stream.port,
            to: self.handle.index,
            input,
            grouping,
            feedback,
            place,
            kit: Arc::new(EdgeSpec { convert: Arc::new(convert), grouping: spec, types: PhantomData }),
        });
        drop(draft);
        self
    }
}

impl<I: Payload, O: Streams> BoltHandle<I, O, Unkeyed> {
    /// Subscribes round robin.
    #[track_caller]
    pub fn shuffle(self, upstream: impl Upstream<I>) -> Self {
        self.subscribe(upstream, Grouping::Shuffle, route::Shuffle { prefer_local: false })
    }

    /// Subscribes round robin among the tasks on the producer's executor, if there are any.
    #[track_caller]
    pub fn local_or_shuffle(self, upstream: impl Upstream<I>) -> Self {
        self.subscribe(upstream, Grouping::LocalOrShuffle, route::Shuffle { prefer_local: true })
    }

    /// Subscribes by a key within the tuple: the same key always goes to the same task, on every machine and after
    /// every restart.
    #[track_caller]
    pub fn fields<K: Key>(
        self,
        upstream: impl Upstream<I>,
        key: impl Fn(&I) -> &K + Clone + Send + Sync + 'static,
    ) -> Self {
        let grouping = Grouping::Fields(short_type_name::<K>());
        self.subscribe(upstream, grouping, route::Fields(route::BorrowedKey(key, PhantomData)))
    }

    /// Subscribes by a key computed from the tuple, such as a tuple of several fields.
    #[track_caller]
    pub fn fields_by<K: Key>(
        self,
        upstream: impl Upstream<I>,
        key: impl Fn(&I) -> K + Clone + Send + Sync + 'static,
    ) -> Self {
        let grouping = Grouping::Fields(short_type_name::<K>());
        self.subscribe(upstream, grouping, route::Fields(route::OwnedKey(key, PhantomData)))
    }

    /// Subscribes by a key, each key to the less used of two tasks.
    #[track_caller]
    pub fn partial_key<K: Key>(
        self,
        upstream: impl Upstream<I>,
        key: impl Fn(&I) -> &K + Clone + Send + Sync + 'static,
    ) -> Self {
        let grouping = Grouping::PartialKey(short_type_name::<K>());
        self.subscribe(upstream, grouping, route::PartialKey(route::BorrowedKey(key, PhantomData)))
    }

    /// Subscribes every task to every tuple.
    #[track_caller]
    pub fn all(self, upstream: impl Upstream<I>) -> Self {
        self.subscribe(upstream, Grouping::All, route::All)
    }

    /// Subscribes the first task alone.
    #[track_caller]
    pub fn global(self, upstream: impl Upstream<I>) -> Self {
        self.subscribe(upstream, Grouping::Global, route::Global)
    }

    /// Subscribes without caring: a random task each time, seeded.
    #[track_caller]
    pub fn none(self, upstream: impl Upstream<I>) -> Self {
        self.subscribe(upstream, Grouping::None, route::NoneGrouping)
    }

    /// Subscribes to what the producer emits with `emit_direct` to tasks of this bolt.
    #[track_caller]
    pub fn direct(self, upstream: impl Upstream<I>) -> Self {
        self.subscribe(upstream, Grouping::Direct, route::Direct)
    }

    /// Subscribes by a grouping of the user's own; the factory is called once per producing task.
    #[track_caller]
    pub fn custom<C: Custom<I>>(
        self,
        upstream: impl Upstream<I>,
        grouping: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        self.custom_as(upstream, Grouping::Custom(short_type_name::<C>()), grouping)
    }

    /// Subscribes like [`custom`](Self::custom) by what plans show as `shown`.
    #[track_caller]
    pub fn custom_as<C: Custom<I>>(
        self,
        upstream: impl Upstream<I>,
        shown: Grouping,
        grouping: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        self.subscribe(upstream, shown, route::CustomGrouping(grouping))
    }
}

impl<I: Payload, O: Streams, K: Key> BoltHandle<I, O, ByKey<K>> {
    /// Subscribes by the bolt's key, found within the tuple.
    #[track_caller]
    pub fn fields(self, upstream: impl Upstream<I>, key: impl Fn(&I) -> &K + Clone + Send + Sync + 'static) -> Self {
        let of_input = key.clone();
        self.keys.push(Arc::new(move |input: &I| of_input(input).clone()));
        let grouping = Grouping::Fields(short_type_name::<K>());
        self.subscribe(upstream, grouping, route::Fields(route::BorrowedKey(key, PhantomData)))
    }

    /// Subscribes by the bolt's key, computed from the tuple.
    #[track_caller]
    pub fn fields_by(self, upstream: impl Upstream<I>, key: impl Fn(&I) -> K + Clone + Send + Sync + 'static) -> Self {
        self.keys.push(Arc::new(key.clone()));
        let grouping = Grouping::Fields(short_type_name::<K>());
        self.subscribe(upstream, grouping, route::Fields(route::OwnedKey(key, PhantomData)))
    }
}

/// Every handle with a single output can itself be subscribed to.
macro_rules! handle_is_upstream {
    ([$($generics:tt)*] $handle:ty) => {
        impl<$($generics)*> Upstream<T> for &$handle {
            type Item = T;
            type Convert = crate::task::edge::Same;
            fn resolve(self) -> (Stream<T>, crate::task::edge::Same) {
                let stream: &Stream<T> = self;
                stream.resolve()
            }
        }
    };
}

handle_is_upstream!([T: Payload] SpoutHandle<T>);
handle_is_upstream!([T: Payload] SourceHandle<T>);
handle_is_upstream!([I: Payload, T: Payload, K: Keying] BoltHandle<I, T, K>);

#[cfg(test)]
mod tests {
    #[test]
    fn places_are_shown_without_detours() {
        let cases =
            [("src/../topologies/a.rs", "topologies/a.rs"), ("../../a.rs", "../../a.rs"), ("/a/b/../c", "/a/c")];
        cases.into_iter().for_each(|(path, short)| assert_eq!(super::without_detours(path), short));
    }
}
