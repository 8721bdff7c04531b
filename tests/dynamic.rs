//! Components whose streams are data: any number of outputs, emitted by port, also from other threads, and Storm's task
//! numbers.

use std::sync::mpsc;

use squall::task::TaskId;
use squall::task::context::TaskTable;
use squall::task::many::{Many, ManyEmission};
use squall::testing::{TestDriver, capture, feeder};
use squall::{Bolt, BoltContext, ManualBolt, Nothing, Outcome, Outlet, TopologyBuilder, Tuple};

/// Tells the task table it was prepared with.
struct Telling(mpsc::Sender<std::sync::Arc<TaskTable>>);

impl Bolt for Telling {
    type In = u32;
    type Out = Nothing;
    fn prepare(&mut self, ctx: &mut BoltContext<Nothing>) -> Outcome {
        self.0.send(ctx.info().tasks.clone()).expect("the test listens");
        Ok(())
    }
    fn execute(&mut self, _: u32, _: &mut Outlet<Nothing>) -> Outcome {
        Ok(())
    }
}

#[test]
fn reserved_components_are_numbered_among_the_others() {
    let (_feeder, spout) = feeder::<u32>();
    let (tell, told) = mpsc::channel();
    let mut t = TopologyBuilder::new("numbered");
    t.reserve_tasks([("__acker".to_owned(), 1)]);
    let spout = t.spout("spout", spout);
    t.bolt("1", |_: u32, _: &mut Outlet<Nothing>| {}).shuffle(&spout);
    t.bolt("bolt", move || Telling(tell.clone())).parallelism(2).shuffle(&spout);
    let _driver = TestDriver::start(t.build().unwrap()).unwrap();
    let table = told.recv().unwrap();
    // Digits come before `_`, which comes before lower case.
    let numbers: Vec<(&str, &[TaskId])> = table.iter().map(|(id, tasks)| (&**id, tasks)).collect();
    let expected: [(&str, &[TaskId]); 4] =
        [("1", &[TaskId(1)]), ("__acker", &[TaskId(2)]), ("bolt", &[TaskId(3), TaskId(4)]), ("spout", &[TaskId(5)])];
    assert_eq!(numbers, expected);
    assert_eq!(table.component_of(TaskId(4)).map(|id| &**id), Some("bolt"));
    assert_eq!(table.of_component("nobody"), []);
}

/// Collects two tuples, has another thread emit under both of them, and acks them there.
#[derive(Default)]
struct Pairing {
    door: Option<squall::Door<Many<u32>>>,
    first: Option<Tuple<u32>>,
    told: Option<mpsc::Sender<Vec<TaskId>>>,
}

impl ManualBolt for Pairing {
    type In = u32;
    type Out = Many<u32>;
    fn prepare(&mut self, ctx: &mut BoltContext<Many<u32>>) -> Outcome {
        self.door = Some(ctx.door());
        Ok(())
    }
    fn execute(&mut self, tuple: Tuple<u32>, _: &mut Outlet<Many<u32>>) -> Outcome {
        let Some(first) = self.first.take() else {
            self.first = Some(tuple);
            return Ok(());
        };
        let (door, told) = (self.door.clone().unwrap(), self.told.clone().unwrap());
        std::thread::spawn(move || {
            let told = Box::new(move |tasks: &[TaskId]| told.send(tasks.to_vec()).unwrap());
            let emission = ManyEmission { port: 1, value: *first + *tuple, to: None, told: Some(told) };
            assert!(door.emit_anchored([&first, &tuple], emission).is_ok());
            first.ack();
            tuple.ack();
        })
        .join()
        .unwrap();
        Ok(())
    }
}

#[test]
fn another_thread_emits_under_several_anchors_and_is_told_who_got_it() {
    let (feeder, spout) = feeder::<u32>();
    let (tell, told) = mpsc::channel();
    let mut t = TopologyBuilder::new("pairs");
    let spout = t.spout("spout", spout);
    let pairing = move || Pairing { told: Some(tell.clone()), ..Pairing::default() };
    let pairs = t.bolt("pair", pairing).streams([("odd", "u32"), ("sum", "u32")]).shuffle(&spout);
    let sums = capture(&mut t, &pairs.stream(1));
    let mut driver = TestDriver::start(t.build().unwrap()).unwrap();
    feeder.feed(1, 1);
    driver.run_until_idle().unwrap();
    assert!(feeder.acked().is_empty());
    feeder.feed(2, 2);
    driver.run_until_idle().unwrap();
    assert_eq!(sums.take(), [3]);
    assert_eq!(told.recv().unwrap().len(), 1);
    assert_eq!(feeder.acked().len(), 2, "both trees are complete");
}
