//! Sinks whose output becomes visible with a checkpoint: transactions in two phases.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Failure, Result};
use crate::state::store::CheckpointId;
use crate::sys::mutation::{self, Mutation};
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::{Bolt, Outcome};
use crate::task::context::{BoltContext, TaskInfo};
use crate::task::outlet::Outlet;
use crate::task::payload::{Nothing, Payload};
use crate::task::snapshot::{Checkpointed, DurableJob, OwnSnapshot, Visibility};

/// Something outside that takes values in transactions: all of a transaction becomes visible, or nothing.
///
/// [`Transactional`] makes a bolt of it and calls these methods in an order that gives exactly-once output together
/// with checkpoints. All run on the task's executor: slow work goes into the job that
/// [`pre_commit`](Self::pre_commit) returns.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use squall::connect::{Transactional, TransactionalSink};
/// use squall::state::store::CheckpointId;
/// use squall::task::snapshot::DurableJob;
/// use squall::{Failure, Outcome};
///
/// /// Batches, visible to others once they are committed.
/// struct Batches(Arc<Mutex<Vec<Vec<u64>>>>);
///
/// impl TransactionalSink for Batches {
///     type In = u64;
///     type Transaction = Vec<u64>;
///
///     fn begin(&mut self, _after: Option<CheckpointId>) -> Result<Vec<u64>, Failure> {
///         Ok(Vec::new())
///     }
///     fn write(&mut self, batch: &mut Vec<u64>, value: u64) -> Outcome {
///         batch.push(value);
///         Ok(())
///     }
///     fn pre_commit(&mut self, _batch: &mut Vec<u64>) -> Result<Option<DurableJob>, Failure> {
///         Ok(None) // the batch is part of the checkpoint itself
///     }
///     fn commit(&mut self, batch: &Vec<u64>) -> Outcome {
///         let mut visible = self.0.lock().unwrap();
///         if !visible.contains(batch) {
///             visible.push(batch.clone());
///         }
///         Ok(())
///     }
///     fn abort(&mut self, _batch: &Vec<u64>) -> Outcome {
///         Ok(())
///     }
///     fn abort_unknown(&mut self, _resumed: Option<CheckpointId>) -> Outcome {
///         Ok(())
///     }
/// }
///
/// let visible = Arc::default();
/// let sink = move || Transactional::new(Batches(Arc::clone(&visible)));
/// # let _ = sink();
/// ```
pub trait TransactionalSink: Sized + 'static {
    /// The values it takes.
    type In: Payload;
    /// What identifies a transaction, also to another process after a crash. Part of checkpoints: fields may be added
    /// (with a serde default), not changed.
    type Transaction: Serialize + DeserializeOwned + 'static;

    /// Called once, before anything else.
    ///
    /// # Errors
    /// Stops the start.
    fn open(&mut self, _task: &TaskInfo) -> Outcome {
        Ok(())
    }

    /// A new transaction, begun right after this checkpoint; after none at a fresh start. Only one begun after a given
    /// checkpoint is ever committed, so that task and checkpoint make a name for it.
    ///
    /// # Errors
    /// Restarts the topology from its last checkpoint.
    fn begin(&mut self, after: Option<CheckpointId>) -> Result<Self::Transaction, Failure>;

    /// Adds a value.
    ///
    /// # Errors
    /// Fails the value, as [`Bolt::execute`] does.
    fn write(&mut self, transaction: &mut Self::Transaction, value: Self::In) -> Outcome;

    /// All input has ended; the last chance to write. Without checkpoints also called when the topology is stopped
    /// before that.
    ///
    /// # Errors
    /// With checkpoints restarts the topology from the last one; without, stops it.
    fn finish(&mut self, _transaction: &mut Self::Transaction) -> Outcome {
        Ok(())
    }

    /// Nothing more will be written. Once the returned job has succeeded, [`commit`](Self::commit) must always be able
    /// to succeed, also after a crash. The job runs on the thread that keeps checkpoints.
    ///
    /// # Errors
    /// Restarts the topology from its last checkpoint; one of the job makes its checkpoint fail, and the next one
    /// restarts.
    fn pre_commit(&mut self, transaction: &mut Self::Transaction) -> Result<Option<DurableJob>, Failure>;

    /// Makes it visible. Must be idempotent.
    ///
    /// # Errors
    /// Restarts the topology from the checkpoint, and the commit is tried again; so does that of the last checkpoint,
    /// before the topology ends. If it is fatal, or there are no checkpoints, it stops the topology; with checkpoints
    /// the next start tries again.
    fn commit(&mut self, transaction: &Self::Transaction) -> Outcome;

    /// Makes it go away. Must be idempotent.
    ///
    /// # Errors
    /// Stops the topology.
    fn abort(&mut self, transaction: &Self::Transaction) -> Outcome;

    /// Finds out whether the transactions of a checkpoint can be gone on from, those prepared and the one that was
    /// being written, and changes nothing. Called for all sinks before anything is recovered, so that a start which one
    /// of them refuses leaves the others' output as it was.
    ///
    /// # Errors
    /// Stops the start.
    fn check_recovery(&mut self, _prepared: &[&Self::Transaction], _current: &Self::Transaction) -> Outcome {
        Ok(())
    }

    /// Commits a transaction of an earlier instance or process, which may have been committed already: that is success.
    /// A transaction that is neither prepared nor committed is lost data, hence an error.
    ///
    /// # Errors
    /// Stops the start.
    fn recover_and_commit(&mut self, transaction: &Self::Transaction) -> Outcome {
        self.commit(transaction)
    }

    /// Aborts a transaction of an earlier instance or process, of which nothing may be there any more.
    ///
    /// # Errors
    /// Stops the start.
    fn recover_and_abort(&mut self, transaction: &Self::Transaction) -> Outcome {
        self.abort(transaction)
    }

    /// Aborts whatever this task's predecessors have begun after the resumed checkpoint, which therefore does not know
    /// of it, by listing what is there. Resumed from none: everything.
    ///
    /// # Errors
    /// Stops the start.
    fn abort_unknown(&mut self, resumed: Option<CheckpointId>) -> Outcome;

    /// Where it writes, if it alone may write there; see [`Checkpointed::place`].
    fn place(&self) -> Option<String> {
        None
    }

    /// The last call. Prepared transactions must stay: the next start commits them.
    fn close(&mut self) {}
}

/// A [`TransactionalSink`] as a bolt.
///
/// **With checkpoints** every barrier ends the current transaction (`pre_commit`) and begins the next one; the prepared
/// one is committed when a checkpoint that has it is durable, and again, if need be, by whoever resumes from that
/// checkpoint. Under [`ExactlyOnce`](crate::Guarantee::ExactlyOnce) each value is thus visible exactly once, and
/// becomes so one checkpoint later than it came. Under `AtLeastOnce` with an interval, values replayed after a
/// failure are there twice.
///
/// What a bolt upstream emits in its last call, `finish`, is there once as well: the call is part of a checkpoint and
/// not made again by whoever resumes after it.
///
/// Trouble with the world outside is nobody's input: a failing [`pre_commit`](TransactionalSink::pre_commit) or
/// [`commit`](TransactionalSink::commit) restarts the topology from its last checkpoint, from where both are tried
/// again.
///
/// **Without checkpoints** there is one transaction from the start to the end. It is committed when all input has
/// ended, or when the topology is stopped in an orderly way; after a panic of this task or a `kill -9` nothing of it is
/// visible, although its values were acked; what cannot be written at the end stops the topology. Choose an interval,
/// or a sink that writes at once.
pub struct Transactional<S: TransactionalSink> {
    sink: S,
    current: Option<S::Transaction>,
    has_finished: bool,
    /// In the order in which they were begun.
    pending: Vec<Prepared<S::Transaction>>,
    has_checkpoints: bool,
}

struct Prepared<T> {
    checkpoint: CheckpointId,
    transaction: T,
    work: Work,
}

/// As it stands in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Saved<T> {
    /// Each with the checkpoint at whose barrier it was prepared.
    pending: Vec<(u64, T)>,
    current: T,
}

fn saved<T: DeserializeOwned>(parts: &[&[u8]]) -> impl Iterator<Item = Result<Saved<T>, Failure>> {
    // Empty: of a component that was something else then.
    parts.iter().filter(|part| !part.is_empty()).map(|part| {
        let read = rmp_serde::from_slice(part);
        read.map_err(|error| Failure::fatal(format!("the stored transactions of a sink cannot be read: {error}")))
    })
}

/// What makes a prepared transaction durable, done by the first checkpoint that gets so far: the one it was prepared
/// for may be given up.
#[derive(Clone)]
pub(super) struct Work(Arc<Mutex<WorkState>>);

enum WorkState {
    Todo(DurableJob),
    Done,
    /// What a failed sync has left on the disk is unknown, so it is never tried again.
    Failed(Error),
}

impl Work {
    pub fn new(job: Option<DurableJob>) -> Self {
        Work(Arc::new(Mutex::new(job.map_or(WorkState::Done, WorkState::Todo))))
    }

    /// Only ever called off the executor: it may take long.
    pub fn run(&self) -> Result<()> {
        let mut state = self.0.lock().expect("a job that panics ends its thread");
        *state = match std::mem::replace(&mut *state, WorkState::Done) {
            WorkState::Todo(job) => job().map_or_else(WorkState::Failed, |()| WorkState::Done),
            other => other,
        };
        match &*state {
            WorkState::Failed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// For the executor: what has failed is made again from the last checkpoint on, since no later one could hold it.
    pub fn check(&self) -> Result<(), Failure> {
        // Locked: it is being done.
        match self.0.try_lock().as_deref() {
            Ok(WorkState::Failed(error)) => Err(Failure::retry(error.to_string())),
            _ => Ok(()),
        }
    }
}

impl<S: TransactionalSink> Transactional<S> {
    /// A bolt that writes into this sink.
    pub fn new(sink: S) -> Self {
        Transactional { sink, current: None, has_finished: false, pending: Vec::new(), has_checkpoints: false }
    }

    fn begin_without_checkpoints(&mut self) -> Result<(), Failure> {
        if self.current.is_none() {
            self.sink.abort_unknown(None)?;
            self.current = Some(self.sink.begin(None)?);
        }
        Ok(())
    }

    fn write(&mut self, value: S::In) -> Outcome {
        if self.current.is_none() {
            self.begin_without_checkpoints()?;
        }
        let transaction = self.current.as_mut().expect("begun");
        self.sink.write(transaction, value)
    }

    fn finish_input(&mut self) -> Outcome {
        if !self.has_checkpoints {
            self.begin_without_checkpoints()?;
        }
        self.finish_current()?;
        if self.has_checkpoints { Ok(()) } else { self.commit_without_checkpoints() }
    }

    fn finish_current(&mut self) -> Outcome {
        if let Some(transaction) = self.current.as_mut().filter(|_| !self.has_finished) {
            self.sink.finish(transaction)?;
            self.has_finished = true;
        }
        Ok(())
    }

    fn commit_without_checkpoints(&mut self) -> Outcome {
        self.finish_current()?;
        let Some(mut transaction) = self.current.take() else { return Ok(()) };
        // Nobody keeps checkpoints, and this is the end: the job runs here.
        if let Some(job) = self.sink.pre_commit(&mut transaction)? {
            job().map_err(|error| Failure::fatal(error.to_string()))?;
        }
        self.sink.commit(&transaction)
    }

    fn close(&mut self) {
        let ended = match self.current.take() {
            Some(transaction) if self.has_checkpoints => self.sink.abort(&transaction),
            current => {
                self.current = current;
                self.commit_without_checkpoints()
            }
        };
        if let Err(failure) = ended {
            tracing::error!(%failure, "ending the last transaction");
        }
        self.sink.close();
    }
}

impl<S: TransactionalSink> Bolt for Transactional<S> {
    type In = S::In;
    type Out = Nothing;

    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.sink.open(ctx.info())
    }

    fn execute(&mut self, value: S::In, _out: &mut Outlet<Nothing>) -> Outcome {
        self.write(value)
    }

    fn finish(&mut self, _out: &mut Outlet<Nothing>) -> Outcome {
        // Without checkpoints it cannot be tried again: what it could not write would be missing for good.
        match self.finish_input() {
            Err(failure) if !self.has_checkpoints => Err(Failure::fatal(failure.to_string())),
            outcome => outcome,
        }
    }

    fn cleanup(&mut self) {
        self.close();
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        Some(self)
    }
}

impl<S: TransactionalSink> Checkpointed for Transactional<S> {
    fn visibility(&self) -> Visibility {
        Visibility::Transactional
    }

    fn place(&self) -> Option<String> {
        self.sink.place()
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OwnSnapshot, Failure> {
        self.pending.iter().try_for_each(|prepared| prepared.work.check())?;
        let mut ended = self.current.take().ok_or_else(|| Failure::fatal("a snapshot before restore"))?;
        let work = Work::new(self.sink.pre_commit(&mut ended)?);
        self.pending.push(Prepared { checkpoint, transaction: ended, work });
        let current = self.sink.begin(Some(checkpoint))?;
        let pending = self.pending.iter().map(|prepared| (prepared.checkpoint.0, &prepared.transaction)).collect();
        let bytes = rmp_serde::to_vec_named(&Saved { pending, current: &current })
            .map_err(|error| Failure::fatal(format!("a transaction cannot be written: {error}")))?;
        self.current = Some(current);
        let works: Vec<Work> = self.pending.iter().map(|prepared| prepared.work.clone()).collect();
        let before: DurableJob = Box::new(move || works.iter().try_for_each(Work::run));
        Ok(OwnSnapshot { bytes, before: Some(before) })
    }

    fn check_restore(&mut self, _resumed: Option<CheckpointId>, parts: &[&[u8]]) -> Outcome {
        for saved in saved::<S::Transaction>(parts) {
            let saved = saved?;
            let prepared: Vec<_> = saved.pending.iter().map(|(_, transaction)| transaction).collect();
            self.sink.check_recovery(&prepared, &saved.current)?;
        }
        Ok(())
    }

    fn restore(&mut self, resumed: Option<CheckpointId>, parts: &[&[u8]]) -> Outcome {
        self.has_checkpoints = true;
        for saved in saved::<S::Transaction>(parts) {
            let saved = saved?;
            for (checkpoint, transaction) in &saved.pending {
                self.sink.recover_and_commit(transaction).map_err(|failure| {
                    let told =
                        format!("the output prepared for checkpoint {checkpoint} cannot be committed: {failure}");
                    if failure.is_fatal() { Failure::fatal(told) } else { Failure::retry(told) }
                })?;
            }
            self.sink.recover_and_abort(&saved.current)?;
        }
        self.sink.abort_unknown(resumed)?;
        self.current = Some(self.sink.begin(resumed)?);
        Ok(())
    }

    fn committed(&mut self, checkpoint: CheckpointId) -> Outcome {
        let mut first_error = None;
        // All are tried; what is not committed now is committed after a restart, or by the next start.
        for prepared in self.pending.extract_if(.., |prepared| prepared.checkpoint <= checkpoint) {
            if mutation::is(Mutation::CommitSkipped) {
                continue;
            }
            if let Err(failure) = self.sink.commit(&prepared.transaction) {
                tracing::error!(checkpoint = %prepared.checkpoint, %failure, "a commit failed");
                first_error.get_or_insert(failure);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
