//! Sources and sinks in topologies on real threads: replay, dead letters, splits, channels.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use squall::connect::{FileLines, Generator, channel, collector};
use squall::{DeadLetter, Failure, Guarantee, Nothing, Outcome, Outlet, TopologyBuilder};

#[test]
fn what_fails_now_and_then_is_replayed_until_it_succeeds() {
    const COUNT: u64 = 20_000;
    let (sink, mut receiver) = collector::<u64>(2 * COUNT as usize);
    let mut t = TopologyBuilder::new("flaky");
    let numbers = t.source("numbers", || Generator::new(COUNT, |n| n)).max_replays(1_000).parallelism(2);
    let attempts = Arc::new(AtomicU64::new(0));
    let flaky = t
        .bolt("flaky", move |n: u64, out: &mut Outlet<u64>| -> Outcome {
            if attempts.fetch_add(1, Ordering::Relaxed).is_multiple_of(97) {
                return Err(Failure::retry("now and then"));
            }
            out.emit(n);
            Ok(())
        })
        .shuffle(&numbers);
    t.bolt("sink", move || sink.clone()).global(&flaky);
    let report = t.build().unwrap().run().unwrap();
    let mut received: Vec<u64> = receiver.by_ref().collect();
    received.sort_unstable();
    assert_eq!(received, (0..COUNT).collect::<Vec<_>>());
    let spout = &report.components[0].counts;
    assert_eq!(spout.acked, COUNT);
    assert!(spout.failed > 0);
    assert_eq!((spout.replayed, spout.dead_lettered), (spout.failed, 0));
}

#[test]
fn a_poison_item_becomes_a_dead_letter_with_its_origin_and_the_rest_goes_on() {
    let letters = Arc::new(Mutex::new(Vec::new()));
    let found = letters.clone();
    let mut t = TopologyBuilder::new("poison");
    let numbers = t.source("numbers", || Generator::new(1_000, |n| n)).max_replays(3);
    t.bolt("picky", |n: u64, _: &mut Outlet<u64>| match n {
        7 => Err(Failure::retry("seven")),
        8 => Err(Failure::reject("eight")),
        _ => Ok(()),
    })
    .shuffle(&numbers);
    t.bolt("letters", move |letter: DeadLetter<u64>, _: &mut Outlet<u64>| found.lock().unwrap().push(letter))
        .global(numbers.dead_letters());
    let report = t.build().unwrap().run().unwrap();
    let spout = &report.components[0].counts;
    assert_eq!((spout.acked, spout.failed, spout.replayed, spout.dead_lettered), (998, 5, 3, 2));
    let mut letters = letters.lock().unwrap().clone();
    letters.sort_by_key(|letter| letter.value);
    let told: Vec<_> = letters.iter().map(|l| (l.value, l.id, l.error.as_str(), l.attempts)).collect();
    assert_eq!(told, [(7, 7, "seven", 4), (8, 8, "eight", 1)]);
    assert!(letters.iter().all(|letter| &*letter.origin.as_ref().unwrap().component == "picky"));
}

#[test]
fn every_line_of_a_file_arrives_whatever_the_number_of_tasks_and_executors() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    (0..30_000).for_each(|n| writeln!(file, "{n}").unwrap());
    file.flush().unwrap();
    for (tasks, executors, guarantee) in
        [(1, 1, Guarantee::AtLeastOnce), (3, 2, Guarantee::AtLeastOnce), (7, 1, Guarantee::AtMostOnce)]
    {
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let into = counts.clone();
        let source = FileLines::new(file.path()).repeat(2);
        let progress = source.progress();
        let mut t = TopologyBuilder::new("lines");
        t.guarantee(guarantee).settings(|s| s.executors = Some(executors));
        let lines = t.source("lines", move || source.clone()).parallelism(tasks);
        t.bolt("count", move |line: Bytes, _: &mut Outlet<u64>| {
            *into.lock().unwrap().entry(line).or_insert(0) += 1;
        })
        .shuffle(&lines);
        t.build().unwrap().run().unwrap();
        let counts = counts.lock().unwrap();
        assert_eq!(counts.len(), 30_000);
        assert!(counts.values().all(|count| *count == 2));
        assert_eq!(Some(progress.done()), progress.total());
    }
}

#[test]
fn a_channel_carries_more_than_it_holds_in_both_directions() {
    const COUNT: u64 = 5_000;
    let (sender, source) = channel::<u64>(4);
    let (sink, receiver) = collector::<u64>(4);
    let mut t = TopologyBuilder::new("through");
    let numbers = t.source("numbers", move || source.clone()).max_spout_pending(16);
    t.bolt("sink", move || sink.clone()).global(&numbers);
    let running = t.build().unwrap().start().unwrap();
    let sending = std::thread::spawn(move || (0..COUNT).try_for_each(|n| sender.send(n)));
    let received: Vec<u64> = receiver.collect();
    sending.join().unwrap().unwrap();
    running.wait().unwrap();
    assert_eq!(received, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn senders_to_a_killed_topology_get_their_values_back() {
    let (sender, source) = channel::<u64>(1);
    let mut t = TopologyBuilder::new("killed");
    let numbers = t.source("numbers", move || source.clone()).max_spout_pending(1);
    t.bolt("hold", Hoarder::default).global(&numbers);
    let running = t.build().unwrap().start().unwrap();
    let sending = std::thread::spawn(move || (0..100).try_for_each(|n| sender.send(n)));
    drop(running);
    assert!(sending.join().unwrap().is_err());
}

/// Holds every tuple for ever.
#[derive(Default)]
struct Hoarder(Vec<squall::Tuple<u64>>);

impl squall::ManualBolt for Hoarder {
    type In = u64;
    type Out = Nothing;
    fn execute(&mut self, tuple: squall::Tuple<u64>, _: &mut Outlet<Nothing>) -> Outcome {
        self.0.push(tuple);
        Ok(())
    }
}
