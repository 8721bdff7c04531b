//! The traits a user implements: [`Spout`], [`Bolt`], [`KeyedBolt`], [`ManualBolt`], and what they are given.

use std::time::Duration;

use crate::error::Failure;
use crate::state::{CurrentKey, StateVisitor};
use crate::task::TaskId;
use crate::task::context::{BoltContext, SpoutContext};
use crate::task::held::Tuple;
use crate::task::held_state::Held;
use crate::task::key::Key;
use crate::task::keyed::Timer;
use crate::task::outlet::{Outlet, SpoutOutlet};
use crate::task::payload::{Outputs, Payload};
use crate::task::snapshot::Checkpointed;

/// What user code returns: nothing, or why it did not succeed.
pub type Outcome = Result<(), Failure>;

/// What a spout's [`next`](Spout::next) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something was emitted (or may have been); call again as soon as the budget allows.
    Emitted,
    /// Nothing to emit now. Not called again before the spout's [`Waker`](crate::Waker) is used, or a
    /// tree of this spout is acked or failed.
    Idle,
    /// Nothing to emit before this much time has passed (or the waker is used earlier).
    WakeAfter(Duration),
    /// Nothing will ever be emitted again, except from `ack` and `fail`.
    Finished,
}

/// A source of streams. All methods run on the executor thread that owns the task and never overlap.
///
/// The order of calls is `open`, `activate`, then `next`, `ack`, `fail` in any order, `deactivate`/`activate` in
/// between, at last `close`. Acks and fails keep arriving while a spout is deactivated.
///
/// A spout must not block: one that reads from something that may block does so on a thread of its own and wakes the
/// task (see [`SpoutContext::waker`]). A bare spout has Storm's behaviour: nothing is replayed unless `fail` emits it
/// again. Implement [`Source`] instead to get replay, back-off and dead letters.
pub trait Spout: Sized + 'static {
    /// The output type, or [`Ports`](crate::Ports) for several.
    type Out: Outputs;
    /// What identifies a tracked emit in `ack` and `fail`.
    type Id: Send + 'static;

    /// Called once per instance before anything else.
    ///
    /// # Errors
    /// At the first start an error stops the start and names the component; at a rebuild it counts as another failure.
    fn open(&mut self, _ctx: &mut SpoutContext) -> Outcome {
        Ok(())
    }

    /// Emits what is available, normally one value, without blocking.
    ///
    /// # Errors
    /// An error or a panic makes the engine build a new instance (with back-off); open trees live on and call it back.
    fn next(&mut self, out: &mut SpoutOutlet<Self::Out, Self::Id>) -> Result<Next, Failure>;

    /// The tree of a tracked emit is complete. May emit.
    fn ack(&mut self, _id: Self::Id, _out: &mut SpoutOutlet<Self::Out, Self::Id>) -> Outcome {
        Ok(())
    }

    /// The tree of a tracked emit failed: an error, a panic, a dropped handle or the deadline. May emit.
    fn fail(&mut self, _id: Self::Id, _why: &Failure, _out: &mut SpoutOutlet<Self::Out, Self::Id>) -> Outcome {
        Ok(())
    }

    /// The topology becomes active; called before the first `next`.
    fn activate(&mut self) -> Outcome {
        Ok(())
    }

    /// The topology becomes inactive: no `next` until the following `activate`.
    fn deactivate(&mut self) -> Outcome {
        Ok(())
    }

    /// The last call. Not made on an instance that panicked.
    fn close(&mut self) {}

    /// The topology is being drained: take in nothing new. True: `next` is still called, for replays, until it finds
    /// itself finished. False: it is not called again.
    fn wind_down(&mut self) -> bool {
        false
    }

    /// A spout that can tell where it is and go there says so here. `None`: it cannot.
    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        None
    }

    /// The file it reads, as [`Source::reads`] has it.
    fn reads(&self) -> Option<String> {
        None
    }

    /// True if items that are not acked are in its hands alone, and gone with it. Checkpoints refuse such a spout,
    /// since a restart would lose them; one whose items something outside gives again says `false`. Asked of an
    /// instance that was made for the purpose and is not open.
    fn loses_items(&mut self) -> bool {
        false
    }

    /// Items that it has handed out and of which it knows nothing any more: 0, or it has a bug. Asked at checkpoints
    /// and at the end.
    fn unaccounted(&self) -> u64 {
        0
    }
}

/// The name of an independently readable part of a source: a Kafka partition, a byte range of a file.
pub type SplitId = String;

/// How far a split has been read, in the source's own unit (bytes, offsets, records), documented by the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// The part of a spout that makes replay from a stored position possible.
pub trait Replayable {
    /// The splits this task reads when nobody assigned any, in a stable order; depends only on the source, the task's
    /// index and the number of tasks.
    fn default_splits(&self) -> Vec<SplitId>;

    /// Takes over splits, each from a position or from its start. Legal while running.
    ///
    /// # Errors
    /// When a split does not exist or the position is not in it.
    fn assign(&mut self, splits: &[(SplitId, Option<Position>)]) -> Outcome;

    /// Gives splits up. Unknown ones are ignored.
    fn revoke(&mut self, splits: &[SplitId]);

    /// For each assigned split the lowest position that is not yet acked: everything before it is done.
    fn positions(&self) -> Vec<(SplitId, Position)>;

    /// What tells the input of a split from another one of the same name, as far as it has been read: its size and a
    /// hash of what was read, for instance. In words, since people get to see it; it is stored with the position.
    /// Called on the executor at every checkpoint, so it must not block. `None`: nothing tells.
    fn identity(&self, _split: &str, _position: Position) -> Option<String> {
        None
    }

    /// Compares with the identity stored in the checkpoint that is resumed, before the split is assigned.
    ///
    /// # Errors
    /// If the input is another one; names both identities.
    fn check_identity(&mut self, _split: &str, _position: Position, _identity: &str) -> Outcome {
        Ok(())
    }

    /// A checkpoint with these positions is durable: nothing before them is asked for again.
    fn committed(&mut self, _positions: &[(SplitId, Position)]) {}
}

/// A grouping of the user's own: chooses the tasks that get each value.
pub trait Custom<T>: 'static {
    /// Called once per producing task and subscription, with the consumer's tasks in ascending order.
    fn prepare(&mut self, _source: TaskId, _tasks: &[TaskId]) {}

    /// Appends the chosen tasks: none, several, or the same one twice (which is delivered twice).
    fn choose(&mut self, value: &T, chosen: &mut Vec<TaskId>);
}

/// What a [`Source`] found when polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled<T> {
    /// One item, with its split's index in assignment order and the position just after the item.
    Item {
        /// The value.
        value: T,
        /// Index of the split among those assigned.
        split: usize,
        /// Position of the item's start: reading from here again gives the item again.
        position: Position,
    },
    /// Nothing now; the source will use its waker.
    Idle,
    /// Nothing before this much time has passed.
    WakeAfter(Duration),
    /// The source is exhausted.
    Finished,
}

/// A source of one kind of item that need not know about trees: the adaptor [`Replaying`](crate::Replaying)
/// turns it into a [`Spout`] with replay, back-off and a dead-letter stream.
pub trait Source: Sized + 'static {
    /// What it produces.
    type Item: Payload;

    /// Called once per instance before anything else.
    ///
    /// # Errors
    /// As for [`Spout::open`].
    fn open(&mut self, _ctx: &mut SpoutContext) -> Outcome {
        Ok(())
    }

    /// The next item, without blocking.
    ///
    /// # Errors
    /// As for [`Spout::next`].
    fn poll(&mut self) -> Result<Polled<Self::Item>, Failure>;

    /// The last call.
    fn close(&mut self) {}

    /// A source that can tell where it is and go there says so here. Its `positions` are how far it has *read*; the
    /// adaptor lowers them to what is acked.
    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        None
    }

    /// The file it reads, without links and detours, as [`connect::place_of`](crate::connect::place_of) has it: a
    /// topology that writes there too is refused before the start. Asked of an instance that was made for the purpose
    /// and is not open.
    fn reads(&self) -> Option<String> {
        None
    }
}

/// A step of a topology in automatic style: everything emitted in `execute` is anchored to the input, which is acked
/// when `execute` returns `Ok` and failed when it returns `Err` or panics.
///
/// A plain function or closure `Fn(In, &mut Outlet<Out>)`, returning nothing or an [`Outcome`], is a bolt too.
/// An instance belongs to one task and one thread; it is built by the factory given to the topology, again after a
/// panic.
pub trait Bolt: Sized + 'static {
    /// The input type.
    type In: Payload;
    /// The output type, or [`Ports`](crate::Ports) for several, or [`Nothing`](crate::Nothing).
    type Out: Outputs;

    /// Called once per instance before anything else.
    ///
    /// # Errors
    /// At the first start an error stops the start and names the component; at a rebuild it counts as another failure.
    fn prepare(&mut self, _ctx: &mut BoltContext<Self::Out>) -> Outcome {
        Ok(())
    }

    /// Handles one input.
    ///
    /// # Errors
    /// Fails the input's trees; see [`Failure`] for what each kind asks for.
    fn execute(&mut self, input: Self::In, out: &mut Outlet<Self::Out>) -> Outcome;

    /// The component's tick period has passed. Emits are untracked.
    fn tick(&mut self, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// All inputs have ended; the last chance to emit. Emits are untracked.
    fn finish(&mut self, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// The last call. Not made on an instance that panicked.
    fn cleanup(&mut self) {}

    /// A bolt that takes part in checkpoints itself, as a transactional sink does, says so here.
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        None
    }
}

/// A [`Bolt`] whose input is partitioned by a key: every input must be a fields grouping by exactly this key type.
pub trait KeyedBolt: Sized + 'static {
    /// The key; composite keys are tuples.
    type Key: Key;
    /// The input type.
    type In: Payload;
    /// The output type, or [`Ports`](crate::Ports) for several, or [`Nothing`](crate::Nothing).
    type Out: Outputs;

    /// As [`Bolt::prepare`].
    ///
    /// # Errors
    /// As [`Bolt::prepare`].
    fn prepare(&mut self, _ctx: &mut BoltContext<Self::Out>) -> Outcome {
        Ok(())
    }

    /// Shows all keyed state of the bolt, always the same; none unless implemented.
    ///
    /// ```
    /// use squall::state::{StateVisitor, ValueState};
    /// use squall::{CurrentKey, KeyedBolt, Nothing, Outcome, Outlet};
    ///
    /// struct Count {
    ///     seen: ValueState<String, u64>,
    /// }
    ///
    /// impl KeyedBolt for Count {
    ///     type Key = String;
    ///     type In = String;
    ///     type Out = Nothing;
    ///
    ///     fn states(&mut self, visit: &mut dyn StateVisitor<String>) {
    ///         visit.state(&mut self.seen);
    ///     }
    ///
    ///     fn execute(&mut self, word: CurrentKey<String>, _: String, _: &mut Outlet<Nothing>) -> Outcome {
    ///         self.seen.update(&word, |seen| *seen += 1);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    fn states(&mut self, _visit: &mut dyn StateVisitor<Self::Key>) {}

    /// Handles one input of one key.
    ///
    /// # Errors
    /// As [`Bolt::execute`].
    fn execute(&mut self, key: CurrentKey<Self::Key>, input: Self::In, out: &mut Outlet<Self::Out>) -> Outcome;

    /// A timer of one of the bolt's [`Timers`](crate::state::Timers) is due; at the end of input, one that is declared
    /// to fire then. The timers of all states fire in one order. Emits are untracked.
    ///
    /// # Errors
    /// Belongs to no input: under exactly-once the topology goes back to its last checkpoint, otherwise the timer fires
    /// again later; [rejected](crate::Failure::reject), it is given up.
    fn on_timer(&mut self, _key: CurrentKey<Self::Key>, _timer: Timer, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// A value of a state with a time to live has expired; the state's `evicted` lends it. Always before the checkpoint
    /// that does not have it any more. Emits are untracked.
    ///
    /// # Errors
    /// As [`on_timer`](Self::on_timer), but given up after five failures, and before a checkpoint.
    fn on_evict(&mut self, _key: CurrentKey<Self::Key>, _state: &str, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// As [`Bolt::tick`].
    fn tick(&mut self, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// As [`Bolt::finish`].
    fn finish(&mut self, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// As [`Bolt::cleanup`].
    fn cleanup(&mut self) {}

    /// As [`Bolt::checkpointed`].
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        None
    }
}

/// A step in Storm's manual style: the input comes as an owned [`Tuple`] that can be held across calls, anchored to,
/// sent to another thread, and must be acked or failed by its owner. Nothing is acked automatically.
///
/// A handle that is dropped without ack or fail is failed at once and counted.
pub trait ManualBolt: Sized + 'static {
    /// The input type.
    type In: Payload;
    /// The output type, or [`Ports`](crate::Ports) for several, or [`Nothing`](crate::Nothing).
    type Out: Outputs;
    /// What it promises about the tuples it holds when a barrier comes. Exactly-once refuses a bolt that promises
    /// nothing.
    const HELD: Option<Held<Self::In>> = None;

    /// As [`Bolt::prepare`]; the context also gives the door through which other threads emit.
    ///
    /// # Errors
    /// As [`Bolt::prepare`].
    fn prepare(&mut self, _ctx: &mut BoltContext<Self::Out>) -> Outcome {
        Ok(())
    }

    /// Takes one input. `out.emit` is untracked here; `out.anchored(&tuple)` anchors.
    ///
    /// # Errors
    /// The handle decides about the tuple; an error here is reported, and a handle dropped on the way fails its trees.
    fn execute(&mut self, tuple: Tuple<Self::In>, out: &mut Outlet<Self::Out>) -> Outcome;

    /// True if what it holds is being worked on elsewhere, by a process or a service, and will be settled without
    /// anything more coming in. While it holds anything, a topology with nothing else to do is then not at its end.
    fn works_elsewhere(&self) -> bool {
        false
    }

    /// Whether it takes another input now: asked in every turn and before each input, so it should cost next to
    /// nothing. After `false` its inputs wait, and so their producers (counted as `blocked`), until the task gets a
    /// turn: a held tuple of its is settled, something comes through its door, or its [`Waker`](crate::Waker) is used.
    ///
    /// # Errors
    /// The instance cannot go on, say because a process it drives has died: as after a panic, a new one is built after
    /// a back-off. Held tuples stay as they are; whoever has the handles settles them.
    fn ready(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    /// As [`Bolt::tick`].
    fn tick(&mut self, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// As [`Bolt::finish`]; held tuples may be acked or failed here.
    fn finish(&mut self, _out: &mut Outlet<Self::Out>) -> Outcome {
        Ok(())
    }

    /// As [`Bolt::cleanup`].
    fn cleanup(&mut self) {}

    /// As [`Bolt::checkpointed`].
    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        None
    }
}
