//! The life cycle of transactions against a model of something outside that is crashed at every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Something outside: what it has been given stays, whatever becomes of the task.
#[derive(Debug, Default)]
struct Outside {
    /// Values of transactions that have been begun or prepared; whether they are durable.
    open: BTreeMap<String, (Vec<u32>, bool)>,
    /// In the order of their commits.
    committed: Vec<(String, Vec<u32>)>,
    recommits: usize,
    fails_to_commit: Option<String>,
}

type Shared = Arc<Mutex<Outside>>;

struct Probe {
    outside: Shared,
    /// Which of the next durable jobs fails.
    breaks: Option<u32>,
}

impl TransactionalSink for Probe {
    type In = u32;
    type Transaction = String;

    fn begin(&mut self, after: Option<CheckpointId>) -> Result<String, Failure> {
        let name = after.map_or("start".to_owned(), |checkpoint| format!("after {:03}", checkpoint.0));
        let old = self.outside.lock().unwrap().open.insert(name.clone(), (Vec::new(), false));
        assert!(old.is_none(), "{name} is begun twice");
        Ok(name)
    }

    fn write(&mut self, transaction: &mut String, value: u32) -> Outcome {
        self.outside.lock().unwrap().open.get_mut(transaction).expect("begun").0.push(value);
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut String) -> Result<Option<DurableJob>, Failure> {
        let (outside, name) = (self.outside.clone(), transaction.clone());
        let breaks = self.breaks.take().is_some();
        Ok(Some(Box::new(move || {
            if breaks {
                return Err(Error::usage("the disk", "told to fail"));
            }
            outside.lock().unwrap().open.get_mut(&name).expect("begun").1 = true;
            Ok(())
        })))
    }

    fn commit(&mut self, transaction: &String) -> Outcome {
        let mut outside = self.outside.lock().unwrap();
        if outside.fails_to_commit.as_ref() == Some(transaction) {
            return Err(Failure::retry(format!("told not to commit {transaction}")));
        }
        match outside.open.remove(transaction) {
            Some((values, is_durable)) => {
                assert!(is_durable, "{transaction} is committed before it is durable");
                outside.committed.push((transaction.clone(), values));
            }
            None => {
                assert!(outside.committed.iter().any(|(name, _)| name == transaction), "{transaction} is lost");
                outside.recommits += 1;
            }
        }
        Ok(())
    }

    fn abort(&mut self, transaction: &String) -> Outcome {
        self.outside.lock().unwrap().open.remove(transaction);
        Ok(())
    }

    fn abort_unknown(&mut self, resumed: Option<CheckpointId>) -> Outcome {
        let first = resumed.map_or(String::new(), |checkpoint| format!("after {:03}", checkpoint.0));
        self.outside.lock().unwrap().open.retain(|name, _| *name < first || (resumed.is_some() && name == "start"));
        Ok(())
    }
}

/// A durable checkpoint: how many values came before it, and the sink's own part.
type Truth = Option<(CheckpointId, u32, Vec<u8>)>;

struct World {
    outside: Shared,
    sink: Transactional<Probe>,
    truth: Truth,
    next_value: u32,
    next_id: u64,
    /// Snapshot taken, not yet durable.
    under_way: Option<(CheckpointId, u32, OwnSnapshot)>,
}

impl World {
    fn new() -> Self {
        let outside = Shared::default();
        let sink = Transactional::new(Probe { outside: outside.clone(), breaks: None });
        let mut world = World { outside, sink, truth: None, next_value: 0, next_id: 0, under_way: None };
        world.resume();
        world
    }

    /// What was in memory is gone; a new instance goes on from the last durable checkpoint.
    fn resume(&mut self) {
        self.under_way = None;
        self.sink = Transactional::new(Probe { outside: self.outside.clone(), breaks: None });
        let resumed = self.truth.as_ref().map(|(id, ..)| *id);
        let parts: Vec<&[u8]> = self.truth.iter().map(|(.., bytes)| bytes.as_slice()).collect();
        self.sink.restore(resumed, &parts).expect("restores");
        self.next_value = self.truth.as_ref().map_or(0, |(_, values, _)| *values);
        self.next_id = resumed.map_or(0, |id| id.0 + 1);
        self.check();
        let open = self.outside.lock().unwrap().open.len();
        assert_eq!(open, 1, "nothing but the new transaction is open after a restore");
    }

    /// Visible is what came before the last durable checkpoint, or less if it has not been committed yet; never twice,
    /// never out of order.
    fn check(&self) {
        let outside = self.outside.lock().unwrap();
        let visible: Vec<u32> = outside.committed.iter().flat_map(|(_, values)| values.clone()).collect();
        assert_eq!(visible, (0..visible.len() as u32).collect::<Vec<_>>());
        let durable = self.truth.as_ref().map_or(0, |(_, values, _)| *values);
        assert!(visible.len() as u32 <= durable, "{} of {durable} are visible", visible.len());
    }

    fn barrier(&mut self) {
        let id = CheckpointId(self.next_id);
        self.next_id += 1;
        match self.sink.snapshot(id) {
            Ok(snapshot) => self.under_way = Some((id, self.next_value, snapshot)),
            // An earlier job has failed: the topology steps back.
            Err(failure) => {
                assert!(failure.is_retry(), "{failure}");
                self.resume();
            }
        }
    }

    /// The keeper's part. True if the checkpoint is durable now.
    fn keep(&mut self) -> bool {
        let Some((id, values, snapshot)) = self.under_way.take() else { return false };
        if snapshot.before.is_some_and(|job| job().is_err()) {
            return false;
        }
        self.truth = Some((id, values, snapshot.bytes));
        true
    }

    fn commit(&mut self) {
        if let Some((id, ..)) = &self.truth {
            self.sink.committed(*id).expect("commits");
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write => {
                self.sink.write(self.next_value).expect("writes");
                self.next_value += 1;
            }
            Step::Barrier => self.barrier(),
            Step::Keep => {
                self.keep();
            }
            Step::Commit => self.commit(),
            Step::GiveUp => self.under_way = None,
            Step::BreakDisk => self.sink.sink.breaks = Some(0),
            Step::Crash => self.resume(),
        }
        self.check();
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write,
    Barrier,
    /// The checkpoint becomes durable.
    Keep,
    /// The task is told so; may be skipped or come late.
    Commit,
    /// The checkpoint takes too long.
    GiveUp,
    /// The next transaction's job will fail.
    BreakDisk,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Write),
        4 => Just(Step::Barrier),
        4 => Just(Step::Keep),
        3 => Just(Step::Commit),
        1 => Just(Step::GiveUp),
        1 => Just(Step::BreakDisk),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn whatever_crashes_and_whenever_every_value_is_visible_once_and_in_order(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        // A last crash, and an end without any.
        world.resume();
        for _ in 0..3 {
            world.step(Step::Write);
        }
        world.barrier();
        prop_assert!(world.keep());
        world.commit();
        world.check();
        let visible: usize = world.outside.lock().unwrap().committed.iter().map(|(_, values)| values.len()).sum();
        prop_assert_eq!(visible as u32, world.next_value);
    }
}

#[test]
fn a_checkpoint_that_is_given_up_is_committed_with_the_next_one() {
    let mut world = World::new();
    world.step(Step::Write);
    world.barrier();
    world.step(Step::GiveUp);
    world.step(Step::Write);
    world.barrier();
    assert!(world.keep());
    world.commit();
    let committed = world.outside.lock().unwrap().committed.clone();
    assert_eq!(committed, [("start".to_owned(), vec![0]), ("after 000".to_owned(), vec![1])]);
}

#[test]
fn what_a_failed_sync_has_left_is_never_committed() {
    let mut world = World::new();
    world.step(Step::BreakDisk);
    world.step(Step::Write);
    world.barrier();
    assert!(!world.keep(), "the transaction of the failed sync is among the pending ones");
    world.barrier();
    assert_eq!((world.next_value, world.under_way.is_none()), (0, true), "it has stepped back");
    world.step(Step::Write);
    world.barrier();
    assert!(world.keep(), "a new instance writes it again");
}

#[test]
fn restoring_twice_from_one_checkpoint_finds_it_committed() {
    let mut world = World::new();
    world.step(Step::Write);
    world.barrier();
    assert!(world.keep());
    world.resume();
    world.resume();
    assert_eq!(world.outside.lock().unwrap().recommits, 1);
}

#[test]
fn all_commits_are_tried_and_the_first_error_is_told() {
    let mut world = World::new();
    for _ in 0..3 {
        world.step(Step::Write);
        world.barrier();
    }
    world.outside.lock().unwrap().fails_to_commit = Some("start".into());
    assert!(world.keep());
    let failure = world.sink.committed(CheckpointId(2)).expect_err("one fails");
    assert!(failure.message().contains("start"), "{failure}");
    assert_eq!(world.outside.lock().unwrap().committed.len(), 2);
}

#[test]
fn one_task_takes_over_the_transactions_of_several() {
    let mut parts = Vec::new();
    let outside = Shared::default();
    for task in 0..2u32 {
        let name = format!("task {task}");
        outside.lock().unwrap().open.insert(name.clone(), (vec![task], true));
        parts.push(
            rmp_serde::to_vec_named(&Saved { pending: vec![(4, name)], current: format!("open {task}") }).unwrap(),
        );
    }
    let mut sink = Transactional::new(Probe { outside: outside.clone(), breaks: None });
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    sink.restore(Some(CheckpointId(4)), &parts).expect("restores");
    let mut committed: Vec<_> = outside.lock().unwrap().committed.iter().map(|(name, _)| name.clone()).collect();
    committed.sort();
    assert_eq!(committed, ["task 0", "task 1"]);
}

/// A failed sync leaves the unknown behind: it is not tried again, and what it was to make durable comes again.
#[test]
fn a_job_that_failed_steps_back_with_the_next_checkpoint() {
    let mut world = World::new();
    world.sink.sink.breaks = Some(0);
    world.sink.write(1).unwrap();
    let job = world.sink.snapshot(CheckpointId(0)).unwrap().before.unwrap();
    assert!(job().unwrap_err().to_string().contains("told to fail"));
    world.sink.write(2).unwrap();
    let failure = world.sink.snapshot(CheckpointId(1)).err().expect("it steps back");
    assert!(failure.is_retry() && failure.message().contains("told to fail"), "{failure}");
}

#[test]
fn a_commit_that_failed_is_tried_again_by_whoever_resumes() {
    let mut world = World::new();
    world.step(Step::Write);
    world.barrier();
    world.outside.lock().unwrap().fails_to_commit = Some("start".into());
    assert!(world.keep());
    let failure = world.sink.committed(CheckpointId(0)).unwrap_err();
    assert!(failure.is_retry(), "{failure}");
    let truth = world.truth.clone().expect("it is the truth all the same");
    let restore = |world: &mut World| world.sink.restore(Some(truth.0), &[&truth.2]);
    let failure = restore(&mut world).unwrap_err();
    assert!(failure.is_retry() && failure.message().contains("prepared for checkpoint 0"), "{failure}");
    world.outside.lock().unwrap().fails_to_commit = None;
    world.outside.lock().unwrap().open.retain(|name, _| name == "start");
    restore(&mut world).unwrap();
    assert_eq!(world.outside.lock().unwrap().committed.len(), 1);
}

#[test]
fn without_checkpoints_everything_is_committed_at_the_end() {
    for finishes in [true, false] {
        let outside = Shared::default();
        let mut sink = Transactional::new(Probe { outside: outside.clone(), breaks: None });
        sink.write(7).unwrap();
        sink.write(8).unwrap();
        assert!(outside.lock().unwrap().committed.is_empty());
        if finishes {
            sink.finish_input().unwrap();
        }
        sink.close();
        assert_eq!(outside.lock().unwrap().committed, [("start".to_owned(), vec![7, 8])], "{finishes}");
    }
}
