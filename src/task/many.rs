//! [`Many`]: outputs whose number is known when a component is declared, not when it is compiled.

use std::any::Any;
use std::marker::PhantomData;

use crate::task::TaskId;
use crate::task::lane::Control;
use crate::task::outlet::{EmitCore, Outlet, SpoutOutlet};
use crate::task::payload::{Outputs, Payload, PortOut, PortSet};

/// Any number of outputs that all carry a `T`: for components whose streams are data, as in a Flux file.
///
/// Name them with `streams` on the component's handle, subscribe to `handle.stream(port)`, emit with
/// [`emit_at`](Outlet::emit_at). An emit on a port that does not exist goes nowhere, like one without subscribers.
///
/// ```
/// use squall::connect::collector;
/// use squall::task::many::Many;
/// use squall::{Failure, Next, Spout, SpoutOutlet, TopologyBuilder};
///
/// struct Numbers(u64);
///
/// impl Spout for Numbers {
///     type Out = Many<u64>;
///     type Id = u64;
///     fn next(&mut self, out: &mut SpoutOutlet<Many<u64>, u64>) -> Result<Next, Failure> {
///         if self.0 == 10 {
///             return Ok(Next::Finished);
///         }
///         out.emit_tracked_at(self.0, (self.0 % 2) as usize, self.0);
///         self.0 += 1;
///         Ok(Next::Emitted)
///     }
/// }
///
/// let (sink, odd) = collector::<u64>(16);
/// let mut t = TopologyBuilder::new("parity");
/// let numbers = t.spout("numbers", || Numbers(0)).streams([("even", "u64"), ("odd", "u64")]);
/// t.bolt("odd", move || sink.clone()).global(&numbers.stream(1));
/// t.build()?.run()?;
/// let got: Vec<u64> = std::iter::from_fn(|| odd.try_recv().ok()).collect();
/// assert_eq!(got, [1, 3, 5, 7, 9]);
/// # Ok::<(), squall::Error>(())
/// ```
pub struct Many<T>(PhantomData<fn() -> T>);

impl<T: Payload> Outputs for Many<T> {
    type Set = ManyOut<T>;
    type Emission = ManyEmission<T>;
}

/// Gets the tasks that a value was routed to.
pub type Told = Box<dyn FnOnce(&[TaskId]) + Send>;

/// One value for one port of a [`Many`], as it goes through a [`Door`](crate::Door).
pub struct ManyEmission<T> {
    /// Position of the output.
    pub port: usize,
    /// What is emitted.
    pub value: T,
    /// The one task it is for, among the direct subscribers.
    pub to: Option<TaskId>,
    /// Called on the executor, once the value is routed, with the tasks that get it. Must not block.
    pub told: Option<Told>,
}

/// The edges of all ports.
#[doc(hidden)]
pub struct ManyOut<T>(Vec<PortOut<T>>);

impl<T> Default for ManyOut<T> {
    fn default() -> Self {
        ManyOut(Vec::new())
    }
}

impl<T: Payload> ManyOut<T> {
    /// Only ports with subscribers have been attached.
    fn emit(&mut self, port: usize, value: T, core: &mut EmitCore) {
        match self.0.get_mut(port) {
            Some(port) => port.emit_to_all(value, core),
            None => core.counts.emitted += 1,
        }
    }

    fn emit_direct(&mut self, port: usize, task: TaskId, value: T, core: &mut EmitCore) -> bool {
        match self.0.get_mut(port) {
            Some(port) => port.emit_direct(task, value, core),
            None => {
                core.counts.emitted += 1;
                false
            }
        }
    }
}

impl<T: Payload> PortSet for ManyOut<T> {
    type Emission = ManyEmission<T>;

    fn send(&mut self, emission: ManyEmission<T>, core: &mut EmitCore) {
        if emission.told.is_some() {
            core.record_targets();
        }
        match emission.to {
            None => self.emit(emission.port, emission.value, core),
            Some(task) => {
                self.emit_direct(emission.port, task, emission.value, core);
            }
        }
        if let Some(told) = emission.told {
            told(core.recorded());
        }
    }

    fn control_on(&mut self, on: &dyn Fn(usize) -> bool, control: Control, core: &mut EmitCore) {
        let ports = self.0.iter_mut().enumerate().filter(|(port, _)| on(*port));
        ports.for_each(|(_, port)| port.control(control, core));
    }

    fn drain(&mut self, core: &mut EmitCore) {
        self.0.iter_mut().for_each(|port| port.drain(core));
    }

    fn attach(&mut self, port: usize, edge: Box<dyn Any>) {
        if self.0.len() <= port {
            self.0.resize_with(port + 1, PortOut::default);
        }
        self.0[port].attach(0, edge);
    }
}

impl<T: Payload> Outlet<Many<T>> {
    /// Emits on a port; otherwise like [`emit`](Outlet::emit).
    pub fn emit_at(&mut self, port: usize, value: T) {
        self.set.emit(port, value, &mut self.core);
    }

    /// Like `emit_at`, and tells which tasks got it.
    pub fn emit_to_at(&mut self, port: usize, value: T) -> &[TaskId] {
        self.core.record_targets();
        self.set.emit(port, value, &mut self.core);
        self.core.recorded()
    }

    /// Emits to one task of the direct subscribers of a port. False, and nothing sent, if the task subscribes to no
    /// such stream.
    ///
    /// # Panics
    /// If the task's component subscribes by another grouping than direct.
    pub fn emit_direct_at(&mut self, port: usize, task: TaskId, value: T) -> bool {
        self.set.emit_direct(port, task, value, &mut self.core)
    }
}

impl<T: Payload, Id> SpoutOutlet<Many<T>, Id> {
    /// True if anything that is emitted on this port goes anywhere.
    pub(crate) fn has_subscribers_at(&self, port: usize) -> bool {
        self.is_open(port) && self.out.set.0.get(port).is_some_and(PortOut::has_subscribers)
    }

    /// Emits untracked on a port, and tells which tasks got it.
    pub fn emit_at(&mut self, port: usize, value: T) -> &[TaskId] {
        if !self.is_open(port) {
            return &[];
        }
        self.out.emit_to_at(port, value)
    }

    /// Emits as the root of a tree on a port, and tells which tasks got it.
    ///
    /// # Panics
    /// If this task has 4,194,304 open trees, the most a root id can name.
    pub fn emit_tracked_at(&mut self, id: Id, port: usize, value: T) -> &[TaskId] {
        if !self.is_open(port) {
            return &[];
        }
        self.tracked(id, |out| {
            out.emit_to_at(port, value);
        });
        self.out.core.recorded()
    }

    /// Emits untracked to one task of the direct subscribers of a port; see [`Outlet::emit_direct_at`].
    ///
    /// # Panics
    /// As [`Outlet::emit_direct_at`].
    pub fn emit_direct_at(&mut self, port: usize, task: TaskId, value: T) -> bool {
        self.is_open(port) && self.out.emit_direct_at(port, task, value)
    }

    /// Emits as the root of a tree to one task of the direct subscribers of a port. A task that does not subscribe gets
    /// nothing and the tree, having no tuples, is acked.
    ///
    /// # Panics
    /// As [`Outlet::emit_direct_at`].
    pub fn emit_direct_tracked_at(&mut self, id: Id, port: usize, task: TaskId, value: T) -> bool {
        let mut sent = false;
        if self.is_open(port) {
            self.tracked(id, |out| sent = out.emit_direct_at(port, task, value));
        }
        sent
    }
}
