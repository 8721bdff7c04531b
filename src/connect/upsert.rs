//! A table on disk that values are put into by the id of the input they came from.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connect::place::place_of;
use crate::connect::transaction::Work;
use crate::error::{Error, Failure, Result};
use crate::state::codec;
use crate::state::store::CheckpointId;
use crate::state::store::fjall::remove_unfinished;
use crate::sys::random::mix;
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::{Bolt, Outcome};
use crate::task::context::BoltContext;
use crate::task::lineage::ReplayId;
use crate::task::outlet::Outlet;
use crate::task::payload::{Nothing, Payload};
use crate::task::snapshot::{Checkpointed, OwnSnapshot, Visibility};

/// A sink that puts each value into an embedded table under the [id of its input](crate::Outlet::input_id): visible at
/// once, and when it comes again after a failure it replaces itself. The *set* of ids is the same whatever is replayed;
/// a value may have changed, and then the last one stays.
///
/// Every bolt on the way has to be [`replay_stable`](crate::topology::builder::BoltHandle::replay_stable), or the start
/// is refused, unless the sink is made [`at_least_once`](Self::at_least_once).
///
/// A value costs some microseconds: it goes into the table's memory and the buffer of its journal, which is synced
/// before a checkpoint becomes the truth. Any number of tasks share one table; one process has it at a time.
///
/// # Examples
///
/// ```
/// use squall::connect::{Generator, UpsertTable};
/// use squall::{Outlet, TopologyBuilder};
///
/// # let place = tempfile::tempdir()?;
/// # let path = place.path().join("squares");
/// let table = UpsertTable::<u64>::new(&path);
/// let mut t = TopologyBuilder::new("squares");
/// let numbers = t.source("numbers", || Generator::new(3, |n| n));
/// let squares = t.bolt("square", |n: u64, out: &mut Outlet<u64>| out.emit(n * n)).replay_stable().shuffle(&numbers);
/// t.bolt("table", move || table.clone()).shuffle(&squares);
/// t.build()?.run()?;
///
/// let mut values: Vec<u64> = UpsertTable::read(&path)?.into_iter().map(|(_id, value)| value).collect();
/// values.sort();
/// assert_eq!(values, [0, 1, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UpsertTable<T> {
    shared: Arc<Shared>,
    is_at_least_once: bool,
    table: Option<Arc<Table>>,
    /// Makes the last snapshot durable.
    work: Option<Work>,
    made_up: MadeUp,
    values: PhantomData<fn(T)>,
}

/// Ids for what has none: the task's own row of them.
#[derive(Default)]
struct MadeUp {
    base: u64,
    /// None: nobody has looked which the table has.
    next: Option<u64>,
}

impl MadeUp {
    fn id(&self, number: u64) -> u128 {
        (u128::from(self.base) << 64) | u128::from(mix(self.base ^ mix(number)))
    }

    /// One that the table has not. An instance before this one may have begun with the same base.
    fn next(&mut self, rows: &Keyspace) -> std::result::Result<u128, fjall::Error> {
        let number = match self.next {
            Some(number) => number,
            None => first_free(|number| rows.contains_key(self.id(number).to_be_bytes()))?,
        };
        self.next = Some(number + 1);
        Ok(self.id(number))
    }
}

/// The first number that is not taken, where all before one that is are.
fn first_free<E>(is_taken: impl Fn(u64) -> std::result::Result<bool, E>) -> std::result::Result<u64, E> {
    let (mut low, mut high) = (0, 1);
    while is_taken(high - 1)? {
        (low, high) = (high, high * 2);
    }
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if is_taken(middle - 1)? { low = middle } else { high = middle }
    }
    Ok(low)
}

/// What all tasks of the sink have in common.
struct Shared {
    path: PathBuf,
    /// Open while some task has it.
    open: Mutex<std::sync::Weak<Table>>,
}

struct Table {
    database: Database,
    rows: Keyspace,
}

fn failed(path: &Path) -> impl Fn(fjall::Error) -> Error {
    let place = path.display().to_string();
    move |error| match error {
        fjall::Error::Locked => {
            let why = "another process or topology has this table open: give this one a folder of its own, or wait \
                       until it has ended";
            Error::usage(place.clone(), why)
        }
        error => Error::failed("table_failed", format!("the table {place}: {error}")),
    }
}

impl Table {
    fn open(path: &Path) -> Result<Self> {
        if path.ancestors().any(Path::is_file) {
            return Err(Error::usage(path.display().to_string(), "there is a file in its way; give a folder"));
        }
        remove_unfinished(path)?;
        let database = Database::builder(path).manual_journal_persist(true).worker_threads(1);
        let database = database.open().map_err(failed(path))?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).map_err(failed(path))?;
        Ok(Table { database, rows })
    }
}

impl<T> Clone for UpsertTable<T> {
    fn clone(&self) -> Self {
        UpsertTable { is_at_least_once: self.is_at_least_once, ..Self::of(self.shared.clone()) }
    }
}

impl<T> UpsertTable<T> {
    /// The table in this folder, made if it is not there. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(Arc::new(Shared { path: path.into(), open: Mutex::new(std::sync::Weak::new()) }))
    }

    fn of(shared: Arc<Shared>) -> Self {
        let made_up = MadeUp::default();
        UpsertTable { shared, is_at_least_once: false, table: None, work: None, made_up, values: PhantomData }
    }

    /// Takes values whatever way they have come: then one that comes again under another id is there twice.
    pub fn at_least_once(mut self) -> Self {
        self.is_at_least_once = true;
        self
    }

    fn open(&self) -> Result<Arc<Table>> {
        let mut open = self.shared.open.lock().expect("nothing panics under it");
        if let Some(table) = open.upgrade() {
            return Ok(table);
        }
        let table = Arc::new(Table::open(&self.shared.path)?);
        *open = Arc::downgrade(&table);
        Ok(table)
    }
}

impl<T: DeserializeOwned> UpsertTable<T> {
    /// All rows of a table that no process has open, by id.
    ///
    /// # Errors
    /// It will not open, or holds values of another type.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<(ReplayId, T)>> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Err(Error::usage(path.display().to_string(), "there is no table; check the path"));
        }
        let table = Table::open(path)?;
        let row = |row: fjall::Guard| {
            let (id, value) = row.into_inner().map_err(failed(path))?;
            let id: [u8; 16] = id.as_ref().try_into().map_err(|_| Error::bad_state("a row's id has not 16 bytes"))?;
            let value = codec::read(&value).map_err(|error| {
                let why = format!("a value of this table cannot be read, is it of another type? {error}");
                Error::usage(path.display().to_string(), why)
            })?;
            Ok((ReplayId(u128::from_be_bytes(id)), value))
        };
        table.rows.iter().map(row).collect()
    }
}

const NO_ID: &str = "the input has no id to put it under: it descends from no position of a source (it comes from a \
                     tick, a timer or a last call, or from a spout that cannot go back); have the table write \
                     `.at_least_once()`";

impl<T: Payload + Serialize> Bolt for UpsertTable<T> {
    type In = T;
    type Out = Nothing;

    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.made_up = MadeUp { base: ctx.random().next_u64(), next: None };
        self.table = Some(self.open().map_err(|error| Failure::retry(error.to_string()))?);
        Ok(())
    }

    fn execute(&mut self, value: T, out: &mut Outlet<Nothing>) -> Outcome {
        let table = self.table.as_ref().expect("a bolt is prepared before anything else");
        let retry = |error| Failure::retry(failed(&self.shared.path)(error).to_string());
        let id = match out.input_id() {
            Some(id) => id.0,
            None if self.is_at_least_once => self.made_up.next(&table.rows).map_err(retry)?,
            None => return Err(Failure::reject(NO_ID)),
        };
        let mut bytes = Vec::new();
        codec::write_value(&value, &mut bytes).map_err(|error| Failure::reject(error.to_string()))?;
        table.rows.insert(id.to_be_bytes(), bytes).map_err(retry)
    }

    fn cleanup(&mut self) {
        self.table = None;
    }

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        Some(self)
    }
}

impl<T> Checkpointed for UpsertTable<T> {
    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OwnSnapshot, Failure> {
        // A table whose journal has failed takes no more: it is opened again after a step back.
        if let Some(work) = &self.work {
            work.check()?;
        }
        let (table, path) = (self.table.clone(), self.shared.path.clone());
        let sync = move || match table {
            Some(table) => table.database.persist(PersistMode::SyncData).map_err(failed(&path)),
            None => Ok(()),
        };
        let work = Work::new(Some(Box::new(sync)));
        self.work = Some(work.clone());
        Ok(OwnSnapshot { bytes: Vec::new(), before: Some(Box::new(move || work.run())) })
    }

    fn visibility(&self) -> Visibility {
        if self.is_at_least_once { Visibility::Immediate } else { Visibility::ImmediateById }
    }

    fn place(&self) -> Option<String> {
        place_of(&self.shared.path)
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_number_is_found_whatever_is_taken() {
        for taken in (0..70).chain([1_000, 1_023, 1_024, 1_025, 1 << 40]) {
            assert_eq!(first_free(|number| Ok::<_, ()>(number < taken)), Ok(taken));
        }
    }
}
