//! The world's sinks: what is written at once, and what is written in transactions whose calls have to come in order.

use std::collections::BTreeMap;

use super::draw::{At, Class, Item, Op};
use super::parts::Part;
use super::world::World;
use crate::connect::transaction::{Transactional, TransactionalSink};
use crate::error::Failure;
use crate::state::store::CheckpointId;
use crate::sys::sync::{Arc, Mutex, MutexGuard};
use crate::task::component::{Bolt, Outcome};
use crate::task::context::{BoltContext, TaskInfo};
use crate::task::outlet::Outlet;
use crate::task::payload::Nothing;
use crate::task::snapshot::DurableJob;
use crate::topology::builder::{BoltHandle, TopologyBuilder};
use crate::topology::component::Unkeyed;

/// The transactions of all processes.
#[derive(Clone)]
pub struct Books {
    world: World,
    transactions: Arc<Mutex<Transactions>>,
}

#[derive(Default)]
struct Transactions {
    all: BTreeMap<u64, Transaction>,
    next: u64,
}

struct Transaction {
    sink: usize,
    task: usize,
    after: Option<CheckpointId>,
    items: Vec<u64>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Prepared,
    Durable,
    Committed,
}

impl Books {
    pub fn new(world: World) -> Self {
        Books { world, transactions: Arc::default() }
    }

    /// Declares a sink.
    pub fn sink(
        &self,
        t: &mut TopologyBuilder,
        id: String,
        part: Part,
        tasks: usize,
    ) -> BoltHandle<Item, Nothing, Unkeyed> {
        if part.spec.components[part.number].op == Op::Plain {
            return t.bolt(id, move || Plain::new(part.clone())).parallelism(tasks);
        }
        let books = self.clone();
        t.bolt(id, move || Transactional::new(Ledger::new(part.clone(), books.clone()))).parallelism(tasks)
    }

    fn transactions(&self) -> MutexGuard<'_, Transactions> {
        self.transactions.lock().expect("nothing panics under it")
    }

    fn wrong(&self, what: String) {
        self.world.state().wrong(what);
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        self.world.state().trace(what);
    }

    /// What was not yet kept outside is gone with it.
    pub fn process_ended(&self) {
        self.transactions().all.retain(|_, t| matches!(t.stage, Stage::Durable | Stage::Committed));
    }

    pub fn begin(&self, sink: usize, task: usize, after: Option<CheckpointId>) -> u64 {
        let mut transactions = self.transactions();
        transactions.next += 1;
        let id = transactions.next;
        self.trace(|| format!("transaction {id} of c{sink:02}[{task}] begins after {after:?}"));
        transactions.all.insert(id, Transaction { sink, task, after, items: Vec::new(), stage: Stage::Open });
        id
    }

    pub fn add(&self, transaction: u64, item: &Item) {
        let mut transactions = self.transactions();
        match transactions.all.get_mut(&transaction) {
            Some(t) if t.stage == Stage::Open => {
                if item.class != Class::Tick {
                    t.items.push(item.id);
                }
            }
            _ => self.wrong(format!("protocol: {item:?} is written into transaction {transaction}, which is not open")),
        }
    }

    pub fn advance(&self, transaction: u64, prepared: bool) {
        let mut transactions = self.transactions();
        let (from, to) = if prepared { (Stage::Open, Stage::Prepared) } else { (Stage::Prepared, Stage::Durable) };
        match transactions.all.get_mut(&transaction) {
            Some(t) if t.stage == from => t.stage = to,
            // Its instance is gone, and so has it: nobody will commit it.
            None if !prepared => {}
            other => {
                let stage = other.map(|t| t.stage);
                self.wrong(format!("protocol: transaction {transaction} becomes {to:?}, and is {stage:?}"));
            }
        }
    }

    pub fn commit(&self, transaction: u64) {
        let mut transactions = self.transactions();
        let Some(t) = transactions.all.get_mut(&transaction) else {
            return self.wrong(format!("protocol: transaction {transaction} is committed and is not there"));
        };
        let stage = t.stage;
        match stage {
            Stage::Committed => {}
            Stage::Durable => {
                t.stage = Stage::Committed;
                let (sink, items) = (t.sink, std::mem::take(&mut t.items));
                items.into_iter().for_each(|id| self.world.state().wrote(sink, id));
                self.world.hit("commit");
                self.trace(|| format!("transaction {transaction} is committed"));
            }
            stage => self.wrong(format!("protocol: transaction {transaction} is committed and is {stage:?}")),
        }
    }

    pub fn abort(&self, transaction: u64) {
        let mut transactions = self.transactions();
        let stage = transactions.all.remove(&transaction).map(|t| t.stage);
        self.trace(|| format!("transaction {transaction}, {stage:?}, is aborted"));
        if stage == Some(Stage::Committed) {
            self.wrong(format!("protocol: transaction {transaction} is aborted and is committed"));
        }
    }

    pub fn abort_unknown(&self, sink: usize, (task, tasks): (usize, usize), resumed: Option<CheckpointId>) {
        let mut transactions = self.transactions();
        let is_unknown = |t: &Transaction| t.sink == sink && t.task % tasks == task && t.after >= resumed;
        let unknown: Vec<u64> = transactions.all.iter().filter(|(_, t)| is_unknown(t)).map(|(id, _)| *id).collect();
        for id in unknown {
            if transactions.all[&id].stage == Stage::Committed {
                self.wrong(format!("protocol: transaction {id} is committed, before any checkpoint that has it"));
            }
            transactions.all.remove(&id);
            self.trace(|| format!("transaction {id} is aborted, resumed from {resumed:?}"));
        }
    }
}

/// Writes at once.
struct Plain {
    part: Part,
    info: Option<TaskInfo>,
}

impl Plain {
    fn new(part: Part) -> Self {
        Plain { part, info: None }
    }
}

impl Bolt for Plain {
    type In = Item;
    type Out = Nothing;

    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.info = Some(ctx.info().clone());
        Ok(())
    }

    fn execute(&mut self, item: Item, out: &mut Outlet<Nothing>) -> Outcome {
        let part = &self.part;
        part.world.came(part.number, self.info.as_ref().expect("prepared"), &item, false);
        part.strike(Some(&item), At::Item, out.now_ns())?;
        part.world.write(part.number, &item);
        Ok(())
    }
}

/// Transactions in the world.
struct Ledger {
    part: Part,
    books: Books,
    info: Option<TaskInfo>,
}

impl Ledger {
    fn new(part: Part, books: Books) -> Self {
        Ledger { part, books, info: None }
    }

    fn task(&self) -> (usize, usize) {
        let info = self.info.as_ref().expect("opened");
        (info.index, info.count)
    }
}

impl TransactionalSink for Ledger {
    type In = Item;
    type Transaction = u64;

    fn open(&mut self, task: &TaskInfo) -> Outcome {
        self.info = Some(task.clone());
        Ok(())
    }

    fn begin(&mut self, after: Option<CheckpointId>) -> Result<u64, Failure> {
        Ok(self.books.begin(self.part.number, self.task().0, after))
    }

    fn write(&mut self, transaction: &mut u64, item: Item) -> Outcome {
        let part = &self.part;
        part.world.came(part.number, self.info.as_ref().expect("opened"), &item, false);
        part.strike(Some(&item), At::Item, u64::MAX)?;
        self.books.add(*transaction, &item);
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut u64) -> Result<Option<DurableJob>, Failure> {
        self.books.advance(*transaction, true);
        let (books, transaction) = (self.books.clone(), *transaction);
        Ok(Some(Box::new(move || {
            books.advance(transaction, false);
            Ok(())
        })))
    }

    fn commit(&mut self, transaction: &u64) -> Outcome {
        self.books.commit(*transaction);
        Ok(())
    }

    fn abort(&mut self, transaction: &u64) -> Outcome {
        self.books.abort(*transaction);
        Ok(())
    }

    fn abort_unknown(&mut self, resumed: Option<CheckpointId>) -> Outcome {
        self.books.abort_unknown(self.part.number, self.task(), resumed);
        Ok(())
    }
}
