//! One lane per pair of tasks: what one task emits comes to another in the order of the emits, by whatever streams and
//! groupings; and how lanes are filled shows in nothing that an id is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use squall::testing::{TestDriver, feeder};
use squall::topology::builder::BoltHandle;
use squall::topology::component::Unkeyed;
use squall::{
    Bolt, BoltContext, CurrentKey, Failure, Guarantee, KeyedBolt, Next, Nothing, Outcome, Outlet, Ports, Spout,
    SpoutContext, SpoutOutlet, Stream, TaskId, TaskInfo, TopologyBuilder,
};

/// The so-many-th emit of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Emit {
    from: TaskId,
    number: u64,
}

type Out = Ports<(Emit, Emit, Emit)>;

/// An emit and the edge by which it came.
type Arrival = (Emit, usize);

#[derive(Default)]
struct Log {
    /// Emits of each component by port.
    emitted: BTreeMap<(String, usize), u64>,
    arrivals: BTreeMap<TaskId, Vec<Arrival>>,
}

/// Emits on the ports that its list names, one after another.
struct Emitter {
    ports: Vec<usize>,
    log: Arc<Mutex<Log>>,
    task: Option<TaskInfo>,
    emitted: u64,
}

impl Emitter {
    /// What to emit next, and on which port.
    fn next(&mut self) -> (usize, Emit) {
        let task = self.task.as_ref().expect("it has begun");
        let port = self.ports[self.emitted as usize % self.ports.len()];
        self.emitted += 1;
        *self.log.lock().unwrap().emitted.entry((task.component.to_string(), port)).or_default() += 1;
        (port, Emit { from: task.task, number: self.emitted })
    }

    fn emit(&mut self, out: &mut Outlet<Out>) {
        match self.next() {
            (0, emit) => out.emit_on::<0>(emit),
            (1, emit) => out.emit_on::<1>(emit),
            (_, emit) => out.emit_on::<2>(emit),
        }
    }
}

/// The source: its whole list, a few at a time.
struct Begin(Emitter);

impl Spout for Begin {
    type Out = Out;
    type Id = u64;

    fn open(&mut self, ctx: &mut SpoutContext) -> Outcome {
        self.0.task = Some(ctx.info().clone());
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutOutlet<Out, u64>) -> Result<Next, Failure> {
        for _ in 0..3 {
            if self.0.emitted as usize == self.0.ports.len() {
                return Ok(Next::Finished);
            }
            match self.0.next() {
                (0, emit) => out.emit_tracked_on::<0>(emit.number, emit),
                (1, emit) => out.emit_tracked_on::<1>(emit.number, emit),
                (_, emit) => out.emit_on::<2>(emit),
            }
        }
        Ok(Next::Emitted)
    }
}

/// Notes what comes, and emits once or twice for it.
struct Pass(Emitter);

impl Bolt for Pass {
    type In = Arrival;
    type Out = Out;

    fn prepare(&mut self, ctx: &mut BoltContext<Out>) -> Outcome {
        self.0.task = Some(ctx.info().clone());
        Ok(())
    }

    fn execute(&mut self, arrival: Arrival, out: &mut Outlet<Out>) -> Outcome {
        let task = self.0.task.as_ref().expect("prepared").task;
        self.0.log.lock().unwrap().arrivals.entry(task).or_default().push(arrival);
        for _ in 0..1 + arrival.0.number % 2 {
            self.0.emit(out);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Shuffle,
    LocalOrShuffle,
    Fields,
    PartialKey,
    All,
    Global,
    None,
}

#[derive(Clone, Debug)]
struct Spec {
    executors: usize,
    capacity: usize,
    tracked: bool,
    turn: usize,
    /// Of the source, the first and the second bolt.
    tasks: [usize; 3],
    ports: Vec<usize>,
    /// From the source to the first bolt, and from there to the second: port and grouping of each edge.
    edges: [Vec<(usize, By)>; 2],
}

fn spec() -> impl Strategy<Value = Spec> {
    use By::*;
    let by = prop_oneof![
        Just(Shuffle),
        Just(LocalOrShuffle),
        Just(Fields),
        Just(PartialKey),
        Just(All),
        Just(Global),
        Just(None)
    ];
    // A component subscribes to a stream once.
    let streams = proptest::sample::subsequence(vec![0, 1, 2], 1..=3).prop_shuffle();
    let edges = (streams, [by.clone(), by.clone(), by]).prop_map(|(streams, by)| streams.into_iter().zip(by).collect());
    let ports = proptest::collection::vec(0..3usize, 1..60);
    let tasks = [1..4usize, 1..4, 1..4];
    let turn = prop_oneof![Just(1usize), Just(3), Just(64)];
    (1..3usize, 1..9usize, any::<bool>(), turn, tasks, ports, [edges.clone(), edges]).prop_map(
        |(executors, capacity, tracked, turn, tasks, ports, edges)| Spec {
            executors,
            capacity,
            tracked,
            turn,
            tasks,
            ports,
            edges,
        },
    )
}

type Onto = BoltHandle<Arrival, Out, Unkeyed>;

fn subscribe(mut onto: Onto, streams: &(Stream<Emit>, Stream<Emit>, Stream<Emit>), edges: &[(usize, By)]) -> Onto {
    let streams = [&streams.0, &streams.1, &streams.2];
    for (edge, &(port, by)) in edges.iter().enumerate() {
        let via = streams[port].via(move |emit| (emit, edge));
        onto = match by {
            By::Shuffle => onto.shuffle(via),
            By::LocalOrShuffle => onto.local_or_shuffle(via),
            By::Fields => onto.fields(via, |(emit, _)| &emit.number),
            By::PartialKey => onto.partial_key(via, |(emit, _)| &emit.number),
            By::All => onto.all(via),
            By::Global => onto.global(via),
            By::None => onto.none(via),
        };
    }
    onto
}

impl Spec {
    fn emitter(&self, log: &Arc<Mutex<Log>>) -> impl Fn() -> Emitter + Clone + Send + Sync + 'static {
        let (ports, log) = (self.ports.clone(), log.clone());
        move || Emitter { ports: ports.clone(), log: log.clone(), task: None, emitted: 0 }
    }

    fn run(&self) -> Log {
        let log = Arc::new(Mutex::new(Log::default()));
        let mut t = TopologyBuilder::new("pairs");
        let [begin, first, second] = [0, 1, 2].map(|_| self.emitter(&log));
        let begin = t.spout("begin", move || Begin(begin())).parallelism(self.tasks[0]);
        let first = t.bolt("first", move || Pass(first())).parallelism(self.tasks[1]);
        let first = subscribe(first, &begin, &self.edges[0]);
        let second = t.bolt("second", move || Pass(second())).parallelism(self.tasks[2]);
        subscribe(second, &first, &self.edges[1]);
        t.guarantee(if self.tracked { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce });
        t.settings(|settings| {
            settings.executors = Some(self.executors);
            settings.lane_capacity = self.capacity;
            settings.turn_tuples_max = self.turn;
        });
        let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
        driver.run_to_end().unwrap();
        let counts = driver.report().components.iter().map(|component| component.counts).collect::<Vec<_>>();
        assert!(counts.iter().all(|counts| counts.failed == 0), "{counts:?}");
        drop(driver);
        Arc::into_inner(log).expect("the topology is gone").into_inner().unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_pairs_tuples_come_in_the_order_of_their_emits_and_none_is_lost(spec in spec()) {
        let log = spec.run();
        // As tasks are numbered: by the names of their components.
        let last_of = [spec.tasks[0], spec.tasks[0] + spec.tasks[1], spec.tasks.iter().sum()];
        let component = |task: TaskId| last_of.iter().position(|&last| task.0 as usize <= last).unwrap();
        let mut got = BTreeMap::new();
        for (&to, arrivals) in &log.arrivals {
            let mut before: BTreeMap<TaskId, (u64, usize)> = BTreeMap::new();
            for &(emit, edge) in arrivals {
                prop_assert_eq!(component(emit.from) + 1, component(to));
                *got.entry((component(to), edge)).or_default() += 1;
                let now = (emit.number, edge);
                if let Some(before) = before.insert(emit.from, now) {
                    prop_assert!(before < now, "{now:?} came to {to} from {} after {before:?}", emit.from);
                }
            }
        }
        let mut expected = BTreeMap::new();
        for (to, edges) in [(1, &spec.edges[0]), (2, &spec.edges[1])] {
            for (edge, &(port, by)) in edges.iter().enumerate() {
                let from = ["begin", "first"][to - 1].to_owned();
                let emitted = log.emitted.get(&(from, port)).copied().unwrap_or(0);
                let copies = if by == By::All { spec.tasks[to] as u64 } else { 1 };
                expected.insert((to, edge), emitted * copies);
            }
        }
        expected.retain(|_, count| *count > 0);
        prop_assert_eq!(got, expected);
    }
}

/// Notes values under the keys it is told; breaks down over the values it is given, once each.
struct Keyed {
    seen: Arc<Mutex<Vec<(u64, u64)>>>,
    breaks: Arc<Mutex<BTreeSet<u64>>>,
}

impl KeyedBolt for Keyed {
    type Key = u64;
    type In = u64;
    type Out = Nothing;

    fn execute(&mut self, key: CurrentKey<u64>, value: u64, _: &mut Outlet<Nothing>) -> Outcome {
        assert!(!self.breaks.lock().unwrap().remove(&value), "breaks down");
        self.seen.lock().unwrap().push((*key, value));
        Ok(())
    }
}

/// Which input a tuple belongs to shows in the key that a keyed bolt finds in it.
#[test]
fn every_tuple_of_a_shared_lane_is_keyed_as_its_own_input_says_after_a_break_down_too() {
    for (executors, capacity) in [(1, 1), (1, 1_024), (2, 1), (2, 3), (2, 1_024)] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let breaks = Arc::new(Mutex::new(BTreeSet::from([5, 11, 12, 13])));
        let (feeder, spout) = feeder::<u64>();
        (0..40).for_each(|n| feeder.feed(n, n));
        feeder.finish();
        let mut t = TopologyBuilder::new("keyed");
        let numbers = t.spout("numbers", spout);
        let spread = |n: u64, out: &mut Outlet<Ports<(u64, u64)>>| {
            // Several of one input, then several of the other.
            if (n / 5).is_multiple_of(2) { out.emit_on::<0>(n) } else { out.emit_on::<1>(n) }
        };
        let spread = t.bolt("spread", spread).global(&numbers);
        let (seen_too, breaks) = (seen.clone(), breaks.clone());
        t.bolt("keyed", move || Keyed { seen: seen_too.clone(), breaks: breaks.clone() })
            .fields_by(&spread.0, |n| n + 100)
            .fields_by(&spread.1, |n| n + 200);
        t.settings(|settings| (settings.executors, settings.lane_capacity) = (Some(executors), capacity));
        TestDriver::start(t.build().unwrap()).unwrap().run_to_end().unwrap();
        let expected: Vec<(u64, u64)> = (0..40)
            .filter(|n| ![5, 11, 12, 13].contains(n))
            .map(|n| (if n / 5 % 2 == 0 { n + 100 } else { n + 200 }, n))
            .collect();
        assert_eq!(*seen.lock().unwrap(), expected, "{executors} executors, lanes of {capacity}");
        assert_eq!(feeder.failed().len(), 4);
    }
}

#[cfg(feature = "fjall")]
mod ids {
    use squall::ReplayId;
    use squall::connect::{Generator, UpsertTable};

    use super::*;

    /// Rows of a table filled by way of two bolts, the second one's emits by one edge or by two that share a lane.
    fn rows(executors: usize, capacity: usize, shared: bool) -> BTreeSet<(ReplayId, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let table = UpsertTable::<u64>::new(folder.path().join("table"));
        let read = folder.path().join("table");
        let mut t = TopologyBuilder::new("ids");
        let numbers = t.source("numbers", || Generator::new(500, |n| n));
        let twice = |n: u64, out: &mut Outlet<u64>| {
            out.emit(2 * n);
            out.emit(2 * n + 1);
        };
        let twice = t.bolt("twice", twice).replay_stable().shuffle(&numbers);
        let apart = |n: u64, out: &mut Outlet<Ports<(u64, u64)>>| match n % 3 {
            0 => out.emit_on::<0>(n),
            _ => out.emit_on::<1>(n),
        };
        let apart = t.bolt("apart", apart).replay_stable().shuffle(&twice);
        let sink = t.bolt("table", move || table.clone()).shuffle(&apart.0);
        if shared {
            sink.shuffle(&apart.1);
        } else {
            let pass = t.bolt("pass", |n: u64, out: &mut Outlet<u64>| out.emit(n)).replay_stable().shuffle(&apart.1);
            sink.shuffle(&pass);
        }
        t.settings(|settings| (settings.executors, settings.lane_capacity) = (Some(executors), capacity));
        TestDriver::start(t.build().unwrap()).unwrap().run_to_end().unwrap();
        let rows = UpsertTable::<u64>::read(read).unwrap();
        assert_eq!(rows.len(), 1_000, "{executors} executors, lanes of {capacity}, shared: {shared}");
        rows.into_iter().collect()
    }

    #[test]
    fn ids_are_the_same_whatever_room_a_lane_has_and_wherever_it_leads() {
        for shared in [false, true] {
            let expected = rows(1, 1_024, shared);
            for (executors, capacity) in [(1, 1), (1, 5), (2, 1), (2, 1_024)] {
                let rows = rows(executors, capacity, shared);
                assert!(rows == expected, "{executors} executors, lanes of {capacity}, shared: {shared}");
            }
        }
        // Some values come by the same way in both.
        let of_both = |shared| rows(1, 1, shared).into_iter().filter(|(_, n)| n % 3 == 0).collect::<BTreeSet<_>>();
        assert_eq!(of_both(false), of_both(true));
    }

    /// FROZEN: tables outside are keyed by these.
    #[test]
    fn ids_that_are_stored_stay() {
        let rows = rows(1, 1_024, false);
        let id = |value: u64| rows.iter().find(|(_, n)| *n == value).expect("there").0.to_string();
        assert_eq!([id(300), id(301)], ["8f824fd7eb75479f18ef72ac56d62b6d", "5451f499d379dfde187729d450944c6b"]);
    }
}
