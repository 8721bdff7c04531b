//! The ledger: transfers between accounts, booked as debits and credits, with books that are checked at the end.
//!
//! ```sh
//! cargo run --release --example ledger
//! cargo run --release --example ledger -- --guarantee exactly-once --state ledger-state --output balances.tsv
//! ```
//!
//! Kill the second one with `kill -9` while it runs, run it again: it goes on, and the books still balance.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use squall::connect::{FileSink, Generator, place_of};
use squall::state::store::CheckpointId;
use squall::state::{StateVisitor, ValueState};
use squall::sys::random::{Random, mix};
use squall::task::payload::Emission2;
use squall::task::snapshot::{Checkpointed, OwnSnapshot};
use squall::{CurrentKey, Failure, KeyedBolt, Nothing, Outcome, Outlet, Ports, Topology, TopologyBuilder};

/// Books transfers between accounts and checks that no money is lost or made
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many accounts there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(2..=1 << 26))]
    pub accounts: u64,
    /// How many transfers are made
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub transfers: u64,
    /// Transfers per second; 0 for as many as possible
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub rate: u64,
    /// Which transfers are made
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub transfer_seed: u64,
    /// Tasks that make transfers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub sources: u64,
    /// Tasks that keep accounts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub parallelism: u32,
    /// Write the final balances to this file as `account<TAB>balance<TAB>entries`, sorted by account
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What every account holds before its first entry.
const OPENING_BALANCE: i64 = 1_000;
/// Prime, and larger than the number of accounts can be: multiplying by it permutes them.
const STRIDE: u64 = 4_294_967_291;

/// An amount that goes from one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    index: u64,
    source: u64,
    /// In each round, a source debits every account once and credits every account once.
    round: u64,
    from: u64,
    to: u64,
    amount: i64,
}

/// The transfer with this index: a function of the options alone. Source *i* of *n* makes those that are *i* modulo
/// *n*.
fn transfer(args: &Args, index: u64) -> Transfer {
    let (source, of_source) = (index % args.sources, index / args.sources);
    let (round, place) = (of_source / args.accounts, of_source % args.accounts);
    let mut random = Random::new(args.transfer_seed).fork(source).fork(round);
    let first = random.below(args.accounts);
    let from = (STRIDE % args.accounts * place + first) % args.accounts;
    // The same distance for all of a round, so that each account is credited once.
    let to = (from + 1 + random.below(args.accounts - 1)) % args.accounts;
    let amount = 1 + (mix(random.next_u64() ^ index) % 100) as i64;
    Transfer { index, source, round, from, to, amount }
}

/// One side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    transfer: u64,
    account: u64,
    source: u64,
    /// Counts the entries of this side that this source makes for this account.
    number: u64,
    /// Negative for a debit.
    amount: i64,
}

fn book(transfer: Transfer, out: &mut Outlet<Entry>) {
    let Transfer { index, source, round, from, to, amount } = transfer;
    out.emit(Entry { transfer: index, account: from, source, number: round, amount: -amount });
    out.emit(Entry { transfer: index, account: to, source, number: round, amount });
}

/// The topology: `transfers` to `book` to `accounts` by account, on to `audit` by source, and both to `report`.
///
/// # Errors
/// When the output cannot be written.
pub fn build(args: &Args) -> squall::Result<Topology> {
    if let Some(output) = &args.output {
        FileSink::<String>::whole(output).check()?;
    }
    let mut t = TopologyBuilder::new("ledger");
    let (count, rate, tasks) = (args.transfers, args.rate, args.sources as usize);
    let of_index = args.clone();
    let transfers = t
        .source("transfers", move || {
            let args = of_index.clone();
            let transfers = Generator::new(count, move |index| transfer(&args, index));
            if rate > 0 { transfers.rate(rate) } else { transfers }
        })
        .parallelism(tasks)
        .clone();
    // By source, so that the order of a source's transfers is kept.
    let entries = t.bolt("book", book).parallelism(tasks).fields_by(&transfers, |transfer| transfer.source);
    let (booked, balances) = t
        .bolt("accounts", || Accounts { accounts: ValueState::new("accounts") })
        .parallelism(args.parallelism as usize)
        .fields_by(&entries, |entry: &Entry| entry.account)
        .clone();
    let books = t
        .bolt("audit", || Audit { books: ValueState::new("books") })
        .fields_by(&booked, |entry: &Entry| entry.source)
        .clone();
    let (output, sources) = (args.output.clone(), args.sources);
    t.bolt("report", move || Report::new(count, sources, output.clone()))
        .fields_by(balances.via(|(account, state)| Finding::Account(account, state)), Finding::of)
        .fields_by(books.via(|(source, books)| Finding::Books(source, books)), Finding::of);
    t.build()
}

/// Written first, then renamed: whoever finds the output finds all of it.
fn temporary(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    output.with_file_name(name)
}

/// What is known about an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    balance: i64,
    entries: u64,
    /// By source: the numbers of the next debit and of the next credit.
    next: BTreeMap<u64, [u64; 2]>,
    /// Entries that came again, or too late.
    repeated: u64,
    /// Numbers that did not come when it was their turn.
    skipped: u64,
}

impl Account {
    fn new() -> Self {
        Account { balance: OPENING_BALANCE, entries: 0, next: BTreeMap::new(), repeated: 0, skipped: 0 }
    }

    fn book(&mut self, entry: &Entry) {
        self.balance += entry.amount;
        self.entries += 1;
        let next = &mut self.next.entry(entry.source).or_default()[usize::from(entry.amount > 0)];
        if entry.number < *next {
            self.repeated += 1;
        } else {
            self.skipped += entry.number - *next;
            *next = entry.number + 1;
        }
    }
}

/// Keeps the accounts; passes on what was booked, and the accounts at the end.
struct Accounts {
    accounts: ValueState<u64, Account>,
}

impl KeyedBolt for Accounts {
    type Key = u64;
    type In = Entry;
    type Out = Ports<(Entry, (u64, Account))>;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.accounts);
    }

    fn execute(&mut self, account: CurrentKey<u64>, entry: Entry, out: &mut Outlet<Self::Out>) -> Outcome {
        self.accounts.get_or_insert_with(&account, Account::new).book(&entry);
        out.emit_on::<0>(entry);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<Self::Out>) -> Outcome {
        // The state stays: should this be the end of the process too, the next one finishes again.
        let all: Vec<_> = self.accounts.iter().map(|(account, state)| (*account, state.clone())).collect();
        out.hand_over(all.into_iter().map(Emission2::P1));
        Ok(())
    }
}

/// One source's transfers, as they were booked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// How many debits, and how many credits.
    entries: [u64; 2],
    /// A sum of their transfers' hashes: equal if the same transfers were debited as were credited.
    transfers: [u64; 2],
    /// What was debited, and what was credited.
    amounts: [i64; 2],
}

/// Listens to everything that is booked.
struct Audit {
    books: ValueState<u64, Books>,
}

impl KeyedBolt for Audit {
    type Key = u64;
    type In = Entry;
    type Out = (u64, Books);

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.books);
    }

    fn execute(&mut self, source: CurrentKey<u64>, entry: Entry, _out: &mut Outlet<(u64, Books)>) -> Outcome {
        self.books.update(&source, |books| {
            let side = usize::from(entry.amount > 0);
            books.entries[side] += 1;
            books.transfers[side] = books.transfers[side].wrapping_add(mix(entry.transfer));
            books.amounts[side] += entry.amount.abs();
        });
        Ok(())
    }

    fn finish(&mut self, out: &mut Outlet<(u64, Books)>) -> Outcome {
        let all: Vec<_> = self.books.iter().map(|(source, books)| (*source, *books)).collect();
        out.hand_over(all.into_iter());
        Ok(())
    }
}

/// What the report is made of.
#[derive(Clone, Debug)]
pub enum Finding {
    /// An account at the end.
    Account(u64, Account),
    /// The books of a source at the end.
    Books(u64, Books),
}

impl Finding {
    /// The number of the account, or of the source.
    fn of(&self) -> u64 {
        match self {
            Finding::Account(number, _) | Finding::Books(number, _) => *number,
        }
    }
}

/// Checks the books, writes the balances, says what it found.
///
/// What it gathers is state: the tasks that it comes from have made their last call then, and are not asked again.
struct Report {
    transfers: u64,
    sources: u64,
    output: Option<PathBuf>,
    accounts: ValueState<u64, Account>,
    books: ValueState<u64, Books>,
}

impl Report {
    fn new(transfers: u64, sources: u64, output: Option<PathBuf>) -> Self {
        let (accounts, books) = (ValueState::new("accounts"), ValueState::new("books"));
        Report { transfers, sources, output, accounts, books }
    }

    /// Each invariant, and what speaks against it: empty if it holds.
    fn checks(&self) -> [(&'static str, String); 3] {
        let total: i64 = self.accounts.iter().map(|(_, account)| account.balance - OPENING_BALANCE).sum();
        let conserved = if total == 0 { String::new() } else { format!("{total} too much") };

        let made = |source: u64| (self.transfers + self.sources - 1 - source) / self.sources;
        let mut once = String::new();
        let all: BTreeMap<u64, Books> = self.books.iter().map(|(source, books)| (*source, *books)).collect();
        for source in 0..self.sources {
            let (made, books) = (made(source), all.get(&source).copied().unwrap_or_default());
            let of_these: u64 = (0..made).fold(0, |sum, n| sum.wrapping_add(mix(n * self.sources + source)));
            if books.entries != [made; 2] || books.transfers != [of_these; 2] || books.amounts[0] != books.amounts[1] {
                let [debits, credits] = books.entries;
                once += &format!("source {source}: {made} transfers, {debits} debits, {credits} credits; ");
            }
        }

        let (mut repeated, mut skipped) = (0, 0);
        for (_, account) in self.accounts.iter() {
            repeated += account.repeated;
            skipped += account.skipped;
        }
        let order = match (repeated, skipped) {
            (0, 0) => String::new(),
            _ => format!("{repeated} repeated or late, {skipped} skipped"),
        };
        [("money conserved", conserved), ("every transfer applied once", once), ("order of each account kept", order)]
    }

    fn write_balances(&self, output: &Path) -> std::io::Result<()> {
        let partial = temporary(output);
        let mut file = std::io::BufWriter::new(std::fs::File::create(&partial)?);
        for (account, state) in self.accounts.iter().collect::<BTreeMap<_, _>>() {
            writeln!(file, "{account}\t{}\t{}", state.balance, state.entries)?;
        }
        file.into_inner()?.sync_all()?;
        std::fs::rename(&partial, output)
    }
}

/// It keeps nothing of its own, but its output is nobody else's.
impl Checkpointed for Report {
    fn snapshot(&mut self, _: CheckpointId) -> Result<OwnSnapshot, Failure> {
        Ok(OwnSnapshot::default())
    }

    fn place(&self) -> Option<String> {
        self.output.as_deref().and_then(place_of)
    }
}

impl KeyedBolt for Report {
    type Key = u64;
    type In = Finding;
    type Out = Nothing;

    fn checkpointed(&mut self) -> Option<&mut dyn Checkpointed> {
        if self.output.is_some() { Some(self) } else { None }
    }

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.accounts);
        visit.state(&mut self.books);
    }

    fn execute(&mut self, of: CurrentKey<u64>, finding: Finding, _out: &mut Outlet<Nothing>) -> Outcome {
        match finding {
            Finding::Account(_, state) => self.accounts.set(&of, state),
            Finding::Books(_, books) => self.books.set(&of, books),
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Outlet<Nothing>) -> Outcome {
        if let Some(output) = &self.output {
            self.write_balances(output)
                .map_err(|error| Failure::fatal(format!("writing {}: {error}", output.display())))?;
        }
        let (mut text, mut broken) = (String::new(), Vec::new());
        for (invariant, against) in self.checks() {
            let verdict = if against.is_empty() { "yes" } else { "NO" };
            text += &format!("{invariant:<28} {verdict}\n");
            if !against.is_empty() {
                broken.push(format!("{invariant}: {against}"));
            }
        }
        squall::observe::above(|| std::io::stdout().write_all(text.as_bytes()))?;
        if broken.is_empty() {
            Ok(())
        } else {
            Err(Failure::fatal(format!("the books are wrong: {}", broken.join("; "))))
        }
    }
}

fn main() -> ExitCode {
    squall::cli::run(build)
}
