//! The campaign of crashes: exactly-once topologies on a simulated disk, killed at any move, their disk left as a power
//! cut may leave it, under another parallelism each time. The state that is stored in the end must be that of a run
//! without failures.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use super::run::Run;
use super::{Simulation, noticed, seeds};
use crate::error::{Error, Failure, Result};
use crate::state::delta::Changes;
use crate::state::directory::{DirectoryOptions, StateDirectory};
use crate::state::store::kind::StoreKind;
use crate::state::{CurrentKey, StateVisitor, ValueState, codec};
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;
use crate::sys::disk::simulated::{Faults, Simulated};
use crate::sys::mutation::Mutation;
use crate::sys::random::Random;
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::{KeyedBolt, Outcome, Polled, Position, Replayable, Source, SplitId};
use crate::task::context::{SpoutContext, TaskInfo};
use crate::task::outlet::Outlet;
use crate::task::payload::Ports;
use crate::topology::Topology;
use crate::topology::builder::TopologyBuilder;
use crate::topology::settings::Guarantee;

/// Counts per key, and the sum of the values, so that a loss and a duplicate do not make up for each other.
struct Count {
    seen: ValueState<u64, (u64, u64)>,
    breaks: Arc<Mutex<Breaks>>,
}

impl KeyedBolt for Count {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.seen);
    }

    fn execute(&mut self, key: CurrentKey<u64>, value: u64, out: &mut Outlet<u64>) -> Outcome {
        add(&mut self.seen, &key, value);
        out.emit(value);
        may_break(&self.breaks, value)
    }
}

fn add(seen: &mut ValueState<u64, (u64, u64)>, key: &CurrentKey<u64>, value: u64) {
    let seen = seen.get_or_insert_with(key, || (0, 0));
    *seen = (seen.0 + 1, seen.1 + value);
}

fn may_break(breaks: &Mutex<Breaks>, value: u64) -> Outcome {
    match breaks.lock().expect("one thread").draw(value) {
        true => Err(Failure::retry("breaks by chance")),
        false => Ok(()),
    }
}

/// Counts, and tells what it has counted in its last call, one after another.
struct Tell {
    seen: ValueState<u64, (u64, u64)>,
    breaks: Arc<Mutex<Breaks>>,
}

impl KeyedBolt for Tell {
    type Key = u64;
    type In = u64;
    type Out = (u64, (u64, u64));

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.seen);
    }

    fn execute(&mut self, key: CurrentKey<u64>, value: u64, _: &mut Outlet<Self::Out>) -> Outcome {
        add(&mut self.seen, &key, value);
        may_break(&self.breaks, value)
    }

    fn finish(&mut self, out: &mut Outlet<Self::Out>) -> Outcome {
        let all: Vec<_> = self.seen.iter().map(|(key, seen)| (*key, *seen)).collect();
        out.hand_over(all.into_iter());
        Ok(())
    }
}

/// Gathers what it is told. Whoever tells may have ended long before this does, and is not asked again.
struct Gather(ValueState<u64, (u64, u64)>);

impl KeyedBolt for Gather {
    type Key = u64;
    type In = (u64, (u64, u64));
    type Out = u64;

    fn states(&mut self, visit: &mut dyn StateVisitor<u64>) {
        visit.state(&mut self.0);
    }

    fn execute(&mut self, key: CurrentKey<u64>, (_, seen): Self::In, _: &mut Outlet<u64>) -> Outcome {
        self.0.set(&key, seen);
        Ok(())
    }
}

/// The numbers below a count, at a rate; each task has those that are its index modulo the number of tasks.
struct Values {
    count: u64,
    rate: u64,
    /// Remainder, modulus, and the next number.
    shares: Vec<(u64, u64, u64)>,
    task: Option<(TaskInfo, Clock)>,
}

impl Source for Values {
    type Item = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.task = Some((ctx.info.clone(), ctx.clock.clone()));
        Ok(())
    }

    fn poll(&mut self) -> Result<Polled<u64>, Failure> {
        let next =
            self.shares.iter().enumerate().min_by_key(|(_, share)| share.2).map(|(split, share)| (split, share.2));
        let Some((split, value)) = next.filter(|(_, value)| *value < self.count) else { return Ok(Polled::Finished) };
        let now_ns = self.task.as_ref().expect("opened").1.now_ns();
        // In virtual time every start begins at zero: after one, what was due before comes at once.
        let due_ns = value * 1_000_000_000 / self.rate;
        if due_ns > now_ns {
            return Ok(Polled::WakeAfter(Duration::from_nanos(due_ns - now_ns)));
        }
        self.shares[split].2 += self.shares[split].1;
        Ok(Polled::Item { value, split, position: Position(value) })
    }

    fn replayable(&mut self) -> Option<&mut dyn Replayable> {
        Some(self)
    }
}

impl Replayable for Values {
    fn default_splits(&self) -> Vec<SplitId> {
        let info = &self.task.as_ref().expect("opened").0;
        vec![format!("{}/{}", info.index, info.count)]
    }

    fn assign(&mut self, splits: &[(SplitId, Option<Position>)]) -> Outcome {
        for (split, position) in splits {
            let (remainder, modulus) = split.split_once('/').expect("a split of this source");
            let (remainder, modulus) = (remainder.parse()?, modulus.parse()?);
            self.shares.push((remainder, modulus, position.map_or(remainder, |position| position.0)));
        }
        Ok(())
    }

    fn revoke(&mut self, _splits: &[SplitId]) {}

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.shares
            .iter()
            .map(|(remainder, modulus, next)| (format!("{remainder}/{modulus}"), Position(*next)))
            .collect()
    }
}

/// Now and then something breaks; not at the same place again after a step back, not for ever, and not so often at one
/// value that it would be given up.
struct Breaks {
    chance: f64,
    left: u32,
    random: Random,
    of_value: BTreeMap<u64, u32>,
}

const BREAKS_MAX: u32 = 10;
const BREAKS_OF_VALUE_MAX: u32 = 2;

impl Breaks {
    fn draw(&mut self, value: u64) -> bool {
        let breaks = self.left > 0 && self.random.chance(self.chance);
        if breaks {
            let of_value = self.of_value.entry(value).or_default();
            if *of_value == BREAKS_OF_VALUE_MAX {
                return false;
            }
            *of_value += 1;
        }
        self.left -= u32::from(breaks);
        breaks
    }
}

/// What the seed draws once; what changes from one start to the next is drawn then.
struct Spec {
    seed: u64,
    values: u64,
    keys: u64,
    rate: u64,
    breaks: f64,
    disk_faults: bool,
    crashes_max: u32,
}

const DIRECTORY: &str = "/state";

/// The parallelism of each component.
type Tasks = [usize; 6];

impl Spec {
    fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed).fork(7);
        Spec {
            seed,
            values: 20 + random.below(400),
            keys: 1 + random.below(20),
            rate: [2_000, 10_000, 100_000][random.below(3) as usize],
            breaks: [0.0, 0.001, 0.01][random.below(3) as usize],
            disk_faults: random.chance(0.2),
            crashes_max: random.below(6) as u32,
        }
    }

    /// A diamond: both ways carry every value into the first count, one of them by two streams along the same lanes. It
    /// passes them on to a second one, which tells a third bolt what it came to.
    fn topology(&self, tasks: Tasks, random: &mut Random) -> Result<Topology> {
        let mut t = TopologyBuilder::new("crashing");
        let (values, rate, keys, breaks) = (self.values, self.rate, self.keys, self.breaks);
        let [readers, left, right, first, second, gathering] = tasks;
        let numbers = t
            .source("numbers", move || Values { count: values, rate, shares: Vec::new(), task: None })
            .parallelism(readers);
        let pass = |n: u64, out: &mut Outlet<u64>| out.emit(n);
        let left = t.bolt("left", pass).parallelism(left).shuffle(&numbers);
        let pass_apart = |n: u64, out: &mut Outlet<Ports<(u64, u64)>>| match n / 3 % 2 {
            0 => out.emit_on::<0>(n),
            _ => out.emit_on::<1>(n),
        };
        let right = t.bolt("right", pass_apart).parallelism(right).shuffle(&numbers);
        let breaks = Arc::new(Mutex::new(Breaks {
            chance: breaks,
            left: BREAKS_MAX,
            random: random.fork(1),
            of_value: BTreeMap::new(),
        }));
        let breaks_too = breaks.clone();
        let count = move || Count { seen: ValueState::new("seen"), breaks: breaks.clone() };
        let firsts = t.bolt("first", count).parallelism(first);
        let firsts = firsts.fields_by(&left, move |n| n % keys);
        let firsts = firsts.fields_by(&right.0, move |n| n % keys).fields_by(&right.1, move |n| n % keys);
        let tell = move || Tell { seen: ValueState::new("seen"), breaks: breaks_too.clone() };
        let told = t.bolt("second", tell).parallelism(second).fields_by(&firsts, |n| n % 3);
        t.bolt("gathered", || Gather(ValueState::new("told"))).parallelism(gathering).fields_by(&told, |(key, _)| *key);
        t.guarantee(Guarantee::ExactlyOnce);
        t.settings(|settings| {
            settings.checkpoint_interval = Some(Duration::from_millis(10));
            settings.state_dir = Some(DIRECTORY.to_owned());
            settings.rebuilds_max = 1_000;
        });
        t.build()
    }

    /// The state of an undisturbed run, by component and key.
    fn oracle(&self) -> Found {
        let mut all = Found::new();
        for value in 0..self.values {
            for (component, key) in [("first", value % self.keys), ("second", value % 3), ("gathered", value % 3)] {
                let seen = all.entry((component.to_owned(), key)).or_default();
                *seen = (seen.0 + 2, seen.1 + 2 * value);
            }
        }
        all
    }

    /// Starts it again and again until it comes to its end. Returns how often it was killed.
    fn run(&self) -> Result<(u32, Simulated), String> {
        let mut random = Random::new(self.seed).fork(11);
        let mut disk = Simulated::new(self.seed);
        let (mut crashes, mut before) = (0, Vec::new());
        loop {
            let last = crashes >= self.crashes_max;
            let faults = Faults { write: 0.01, sync: 0.01, ..Faults::default() };
            disk.set_faults(if self.disk_faults && !last { faults } else { Faults::default() });
            let simulation = Simulation::new(self.seed ^ u64::from(crashes) << 32).moves_max(1_000_000);
            // Early and late ends alike: the first checkpoint, the middle, the last one.
            let kill_max = 1 << (5 + random.below(10));
            let kill_at = if last { u64::MAX } else { random.below(kill_max) };
            disk.record();
            let mut tasks = Tasks::default().map(|_| 1 + random.below(3) as usize);
            let mut outcome = self.run_until(&simulation, &disk, kill_at, tasks, &mut random);
            // The input had ended for some tasks only: does as it is told, and resumes with as many as there were.
            while let Err(error) = &outcome
                && error.to_string().contains("so that parallelism cannot become")
                && let Some(earlier) = before.pop()
            {
                tasks = earlier;
                outcome = self.run_until(&simulation, &disk, kill_at, tasks, &mut random);
            }
            before.push(tasks);
            match outcome {
                Ok(true) => return Ok((crashes, disk)),
                Ok(false) => {}
                // A disk that fails ends the run; what it holds then is what a crash would leave.
                Err(error) if !last && error.state().is_none_or(|state| state == "state_unusable") => {}
                Err(error) => return Err(format!("start {crashes}: {error}")),
            }
            // The power may have gone between any two of the last changes of the disk, within one checkpoint.
            let changes = disk.recorded() as u64;
            let changes = changes - random.below(4).min(changes);
            disk = disk.image(changes as usize, Some(random.next_u64()));
            crashes += 1;
        }
    }

    /// True if it came to its end before it was killed.
    fn run_until(
        &self,
        simulation: &Simulation,
        disk: &Simulated,
        kill_at: u64,
        tasks: Tasks,
        random: &mut Random,
    ) -> Result<bool> {
        let mut run = Run::on_disk(simulation, self.topology(tasks, random)?, None, disk.clone())?;
        let unusable = run.notes().into_iter().find(|note| note.starts_with("not usable"));
        if let Some(unusable) = unusable.filter(|_| !self.disk_faults) {
            return Err(simulation.failed("damaged", unusable));
        }
        run.open();
        for _ in 0..kill_at {
            if !run.step()? {
                return run.end().map(|_| true);
            }
        }
        Ok(false)
    }
}

type Found = BTreeMap<(String, u64), (u64, u64)>;

/// What is stored.
fn found(disk: &Simulated) -> Result<Found> {
    let disk = Disk::simulated(disk.crash(0));
    let clock = Clock::virtual_at_zero();
    let options = DirectoryOptions::default();
    let mut directory = StateDirectory::open(disk, Path::new(DIRECTORY), StoreKind::Log, options, clock)?;
    let restored = directory.take_restored().ok_or_else(|| Error::bad_state("nothing is stored"))?;
    let mut found = Found::new();
    for delta in restored.groups.values() {
        for change in Changes::of(delta.bytes()) {
            let change = change?;
            let state = restored.generation.states.iter().find(|state| state.space() == change.space);
            let state = state.ok_or_else(|| Error::bad_state("an entry of an unknown state"))?;
            let key = codec::read(change.key).expect("a key");
            let value = codec::read(change.value.expect("a value")).expect("two numbers");
            found.insert((state.component.clone(), key), value);
        }
    }
    Ok(found)
}

fn judge(seed: u64) -> Result<u32, String> {
    let spec = Spec::draw(seed);
    let run = || {
        let (crashes, disk) = spec.run()?;
        let found = found(&disk).map_err(|error| error.to_string())?;
        let oracle = spec.oracle();
        let wrong: Vec<_> = oracle.iter().filter(|(key, value)| found.get(*key) != Some(*value)).take(3).collect();
        if !wrong.is_empty() || found.len() != oracle.len() {
            return Err(format!("the stored state is wrong, such as {wrong:?}, of {} entries", found.len()));
        }
        Ok(crashes)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

fn rerun(seed: u64) -> String {
    format!("SQUALL_SEED={seed} cargo test --lib testing::simulation::recovery::every_crash_is_recovered_from_exactly")
}

#[test]
fn every_crash_is_recovered_from_exactly() {
    let mut crashes = 0;
    let seeds = seeds(1_000);
    for seed in seeds.clone() {
        match judge(seed) {
            Ok(count) => crashes += u64::from(count),
            Err(wrong) => panic!("seed {seed}: {wrong}\nrun it alone: {}", rerun(seed)),
        }
    }
    assert!(crashes > seeds.end - seeds.start || seeds.end - seeds.start < 100, "only {crashes} crashes");
}

fn must_be_noticed(mutation: Mutation, symptoms: &[&str]) {
    noticed::must_be_noticed(mutation, 0..300, symptoms, judge);
}

#[test]
fn a_barrier_that_does_not_align_is_noticed() {
    must_be_noticed(Mutation::AlignmentOff, &["the stored state is wrong"]);
}

#[test]
fn positions_that_are_not_in_the_checkpoint_are_noticed() {
    must_be_noticed(Mutation::PositionsNotSaved, &["the stored state is wrong"]);
}

#[test]
fn a_manifest_before_its_data_is_noticed() {
    must_be_noticed(Mutation::ManifestBeforeData, &["not usable"]);
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    must_be_noticed(Mutation::FsyncSkipped, &["not usable", "the stored state is wrong", "cannot be used"]);
}
