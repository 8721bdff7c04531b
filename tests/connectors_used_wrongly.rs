//! Connectors and settings, used wrongly by a program: refused before anything starts, with the place and the remedy,
//! or counted; and nothing is lost in silence.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use squall::connect::{
    AppendFile, AppendLines, ChannelSink, FileLines, FileSink, Generator, SendError, StdinLines, Transactional,
    channel, collector,
};
use squall::engine::report::Report;
use squall::topology::settings::{Backoff, Layers, keys};
use squall::{Bolt, Failure, Guarantee, Nothing, Outcome, Outlet, Stream, Topology, TopologyBuilder};

const GUARANTEES: [Guarantee; 3] = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce];

/// A hundred numbers as text, and what is made of them.
fn of_numbers(guarantee: Guarantee, rest: impl FnOnce(&mut TopologyBuilder, &Stream<String>)) -> Topology {
    let mut t = TopologyBuilder::new("wrong");
    t.guarantee(guarantee);
    let numbers = t.source("numbers", || Generator::new(100, |n| n.to_string())).clone();
    rest(&mut t, &numbers);
    t.build().unwrap()
}

fn into<B, F>(sink: F) -> Topology
where
    B: Bolt<In = String, Out = Nothing>,
    F: Fn() -> B + Send + Sync + 'static,
{
    of_numbers(Guarantee::AtLeastOnce, |t, numbers| drop(t.bolt("sink", sink).global(numbers)))
}

/// It does not start, and says all this.
#[track_caller]
fn refused(started: squall::Result<Report>, parts: &[&str]) {
    let error = started.expect_err("refused");
    assert!(error.is_usage() || error.state() == Some("not_started"), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in\n{error}");
    }
}

mod channels {
    use super::*;

    #[test]
    #[should_panic(expected = "a channel without room would never pass anything")]
    fn a_channel_without_room() {
        channel::<u64>(0);
    }

    #[test]
    #[should_panic(expected = "a channel without room would never pass anything")]
    fn a_collector_without_room() {
        collector::<u64>(0);
    }

    /// A restart goes back to the checkpoint, and a channel does not.
    #[test]
    fn a_channel_where_a_restart_would_lose_what_came_from_it() {
        for (guarantee, remedy) in
            [(Guarantee::ExactlyOnce, "at-least-once"), (Guarantee::AtLeastOnce, "leave checkpoint_interval out")]
        {
            let (sender, source) = channel::<u64>(4);
            let mut t = TopologyBuilder::new("wrong");
            t.guarantee(guarantee).settings(|s| s.checkpoint_interval = Some(Duration::from_millis(10)));
            let values = t.source("values", move || source.clone());
            t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).global(&values);
            refused(t.build().unwrap().run(), &["values", "channels", "to a file", remedy]);
            assert_eq!(sender.send(1), Err(SendError::Closed(1)), "whoever sends learns of it");
        }
    }

    #[test]
    fn two_sources_of_one_channel_share_it_and_two_sinks_of_one_fill_it() {
        const COUNT: u64 = 1_000;
        let (sender, source) = channel::<u64>(4);
        let (sink, receiver) = collector::<u64>(4);
        let mut t = TopologyBuilder::new("shared");
        for name in ["one", "other"] {
            let (source, sink) = (source.clone(), sink.clone());
            let values = t.source(name, move || source.clone());
            t.bolt(format!("of_{name}"), move || sink.clone()).global(&values);
        }
        drop((source, sink));
        let running = t.build().unwrap().start().unwrap();
        let sending = std::thread::spawn(move || (0..COUNT).try_for_each(|n| sender.send(n)));
        let mut received: Vec<u64> = receiver.collect();
        sending.join().unwrap().unwrap();
        running.wait().unwrap();
        received.sort_unstable();
        assert_eq!(received, (0..COUNT).collect::<Vec<_>>());
    }

    /// Whoever waits at a collector waits for every topology that it was given to.
    #[test]
    fn one_collector_of_two_topologies() {
        let (sink, receiver) = collector::<String>(1_000);
        let of = |name: &str, sink: ChannelSink<String>| {
            let mut t = TopologyBuilder::new(name);
            let (sender, source) = channel::<String>(200);
            let values = t.source("values", move || source.clone());
            t.bolt("sink", move || sink.clone()).global(&values);
            (sender, t.build().unwrap().start().unwrap())
        };
        let ((first, one), (second, other)) = (of("one", sink.clone()), of("other", sink));
        first.send("of the first".into()).unwrap();
        drop(first);
        one.wait().unwrap();
        drop(one);
        assert_eq!(receiver.recv().as_deref(), Some("of the first"));
        second.send("of the second".into()).unwrap();
        assert_eq!(receiver.recv().as_deref(), Some("of the second"), "the other topology still runs");
        drop(second);
        other.wait().unwrap();
        assert_eq!(receiver.recv(), None);
    }

    #[test]
    fn a_receiver_that_is_dropped_is_named_for_every_input_that_is_lost() {
        for guarantee in GUARANTEES {
            let (sink, receiver) = collector::<String>(1_000);
            drop(receiver);
            let run = of_numbers(guarantee, |t, numbers| drop(t.bolt("sink", move || sink.clone()).global(numbers)));
            let running = run.start().unwrap();
            let ended = running.wait();
            let report = running.report();
            let (source, sink) = (&report.components[0].counts, &report.components[1]);
            let reasons = serde_json::to_string(&sink).unwrap();
            assert!(reasons.contains("the receiver of the channel is gone"), "{reasons}");
            match guarantee {
                Guarantee::AtMostOnce => assert_eq!(sink.counts.failed, 100),
                Guarantee::AtLeastOnce => assert_eq!((source.dead_lettered, source.untaken), (100, 100)),
                _ => {
                    let error = ended.unwrap_err();
                    assert_eq!(error.state(), Some("dead_letter"));
                    assert!(error.to_string().contains("the receiver of the channel is gone"), "{error}");
                }
            }
        }
    }

    /// Nothing holds a spout back there.
    #[test]
    fn a_receiver_that_is_too_slow_without_tracking() {
        let (sink, receiver) = collector::<String>(10);
        let run = of_numbers(Guarantee::AtMostOnce, |t, numbers| {
            t.bolt("sink", move || sink.clone()).global(numbers);
        });
        let report = run.run().unwrap();
        let (counts, received) = (&report.components[1].counts, receiver.count() as u64);
        assert_eq!((received, counts.acked, counts.failed), (10, 10, 90));
    }

    #[test]
    fn a_topology_that_is_dropped_unstarted_closes_both_ends() {
        let ((sender, source), (sink, receiver)) = (channel::<String>(4), collector::<String>(4));
        let mut t = TopologyBuilder::new("unstarted");
        let values = t.source("values", move || source.clone());
        t.bolt("sink", move || sink.clone()).global(&values);
        sender.send("nobody takes it".into()).unwrap();
        drop(t.build().unwrap());
        assert!(matches!(sender.try_send("late".into()), Err(SendError::Closed(_))));
        assert_eq!(receiver.recv(), None);
    }
}

mod generators {
    use super::*;

    #[test]
    #[should_panic(expected = "leave the rate out")]
    fn a_rate_of_nothing() {
        let _ = Generator::new(1, |n| n).rate(0);
    }

    #[test]
    fn no_values_at_all() {
        let mut t = TopologyBuilder::new("none");
        let values = t.source("values", || Generator::new(0, |n| n)).parallelism(3);
        t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).global(&values);
        assert_eq!(t.build().unwrap().run().unwrap().components[0].counts.emitted, 0);
    }

    #[test]
    fn a_value_that_cannot_be_made() {
        let pause = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
        for (guarantee, state) in [(Guarantee::AtLeastOnce, "rebuild_limit"), (Guarantee::ExactlyOnce, "restart_limit")]
        {
            let mut t = TopologyBuilder::new("broken");
            t.guarantee(guarantee).settings(|s| {
                (s.rebuild_backoff, s.restart_backoff, s.rebuilds_max, s.restarts_max) = (pause, pause, 2, 2);
            });
            let make = |n| if n == 50 { panic!("no fiftieth value") } else { n };
            let values = t.source("values", move || Generator::new(100, make));
            t.bolt("drop", |_: u64, _: &mut Outlet<Nothing>| {}).global(&values);
            let error = t.build().unwrap().run().unwrap_err();
            assert_eq!(error.state(), Some(state), "{error}");
            assert!(error.to_string().contains("values[0]") && error.to_string().contains("no fiftieth"), "{error}");
        }
    }
}

#[cfg(feature = "fjall")]
mod tables {
    use squall::connect::UpsertTable;

    use super::*;

    fn written(path: &Path) -> squall::Result<Report> {
        let table = UpsertTable::<String>::new(path);
        into(move || table.clone()).run()
    }

    #[test]
    fn a_place_that_is_a_file_or_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("file"), folder.path().join("table"));
        fs::write(&file, "kept").unwrap();
        refused(written(&file), &["sink", "file: there is a file in its way", "give a folder"]);
        refused(written(&file.join("table")), &["sink", "file/table", "give a folder"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");

        let (sender, source) = channel::<String>(4);
        let table = UpsertTable::<String>::new(&path).at_least_once();
        let mut t = TopologyBuilder::new("in-use");
        let values = t.source("values", move || source.clone());
        t.bolt("sink", move || table.clone()).global(&values);
        let running = t.build().unwrap().start().unwrap();
        refused(written(&path), &["sink", "/table", "another process or topology", "a folder of its own"]);
        let error = UpsertTable::<String>::read(&path).unwrap_err().to_string();
        assert!(error.contains("another process or topology"), "{error}");
        sender.send("kept".into()).unwrap();
        drop(sender);
        running.wait().unwrap();
        drop(running);
        assert_eq!(UpsertTable::<String>::read(&path).unwrap()[0].1, "kept");
        let error = UpsertTable::<(u64, String)>::read(&path).unwrap_err().to_string();
        assert!(error.contains("/table") && error.contains("another type"), "{error}");
    }

    #[test]
    fn reading_a_table_that_is_not_there_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mispelt");
        let error = UpsertTable::<String>::read(&path).unwrap_err();
        assert!(
            error.is_usage() && error.to_string().contains("mispelt: there is no table; check the path"),
            "{error}"
        );
        assert!(!path.exists());
    }

    #[test]
    fn a_source_whose_input_has_no_ids() {
        let folder = tempfile::tempdir().unwrap();
        let table = UpsertTable::<String>::new(folder.path().join("table"));
        let (_sender, source) = channel::<String>(4);
        let mut t = TopologyBuilder::new("no-ids");
        let values = t.source("values", move || source.clone());
        t.bolt("sink", move || table.clone()).global(&values);
        refused(t.build().unwrap().run(), &["values", "sink writes by id", "or have sink write `.at_least_once()`"]);
    }

    /// Emits in its last call only: that descends from no input.
    struct Last;

    impl Bolt for Last {
        type In = String;
        type Out = String;

        fn execute(&mut self, _: String, _: &mut Outlet<String>) -> Outcome {
            Ok(())
        }

        fn finish(&mut self, out: &mut Outlet<String>) -> Outcome {
            out.emit("last".into());
            Ok(())
        }
    }

    #[test]
    fn a_value_without_an_id_is_counted_or_stops_with_the_remedy() {
        for guarantee in GUARANTEES {
            let folder = tempfile::tempdir().unwrap();
            let table = UpsertTable::<String>::new(folder.path().join("table"));
            let run = of_numbers(guarantee, |t, numbers| {
                let last = t.bolt("last", || Last).replay_stable().global(numbers);
                t.bolt("sink", move || table.clone()).global(&last);
            });
            let running = run.start().unwrap();
            let ended = running.wait();
            let sink = &running.report().components[2];
            assert_eq!(sink.counts.failed, 1);
            let told = serde_json::to_string(sink).unwrap();
            assert!(told.contains("`.at_least_once()`"), "{told}");
            if guarantee == Guarantee::ExactlyOnce {
                let error = ended.unwrap_err();
                assert_eq!(error.state(), Some("dead_letter"));
                for part in ["sink[0]", "`.at_least_once()`", "Mend the bolt"] {
                    assert!(error.to_string().contains(part), "{part}: {error}");
                }
            }
        }
    }
}

mod files {
    use super::*;

    #[test]
    fn outputs_that_name_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, directory) = (folder.path().join("missing/file"), folder.path().to_owned());
        let cases = [("".as_ref(), ""), (missing.as_path(), "missing/file"), (directory.as_path(), "")];
        for (path, named) in cases {
            let sink = AppendFile::<String>::new(path);
            refused(into(move || sink.clone()).run(), &["sink", named]);
            let sink = AppendLines::<String>::new(path);
            refused(into(move || sink.clone()).run(), &["sink", named]);
            let sink = FileSink::<String>::whole(path);
            refused(into(move || Transactional::new(sink.clone())).run(), &["sink", named]);
        }
        let sink = FileSink::<String>::whole("");
        assert!(sink.check().unwrap_err().to_string().contains("this names no file; give one"));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing is made");
    }

    /// Both would give their parts the same names.
    #[test]
    fn parts_of_two_topologies_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("parts");
        let in_parts = || {
            let sink = FileSink::<String>::parts(&parts);
            move || Transactional::new(sink.clone())
        };
        let (sender, source) = channel::<String>(4);
        let mut t = TopologyBuilder::new("first");
        let values = t.source("values", move || source.clone());
        t.bolt("sink", in_parts()).parallelism(2).shuffle(&values);
        let running = t.build().unwrap().start().unwrap();
        refused(into(in_parts()).run(), &["sink", "/parts", "another process or topology", "a place of its own"]);
        sender.send("kept".into()).unwrap();
        drop(sender);
        running.wait().unwrap();
        drop(running);
        let lines = |folder: &Path| -> Vec<String> {
            let files = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
            files.collect()
        };
        assert_eq!(lines(&parts), ["kept\n"]);
        // One after the other they are no trouble.
        into(in_parts()).run().unwrap();
        assert!(lines(&parts).contains(&"kept\n".to_owned()), "set aside, not gone");
    }

    #[test]
    fn inputs_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [(folder.path().join("missing"), "check the path"), (folder.path().to_owned(), "give a file")];
        for (path, remedy) in cases {
            let mut t = TopologyBuilder::new("wrong");
            let source = FileLines::new(&path);
            let lines = t.source("lines", move || source.clone());
            t.bolt("drop", |_: bytes::Bytes, _: &mut Outlet<Nothing>| {}).global(&lines);
            refused(t.build().unwrap().run(), &["lines", &path.display().to_string(), remedy]);
        }
    }

    /// Each would take halves of lines.
    #[test]
    fn two_sources_of_standard_input() {
        let mut t = TopologyBuilder::new("wrong");
        for name in ["one", "other"] {
            let lines = t.source(name, StdinLines::new);
            t.bolt(format!("of_{name}"), |_: bytes::Bytes, _: &mut Outlet<Nothing>| {}).global(&lines);
        }
        refused(t.build().unwrap().run(), &["standard input is read by another source", "subscribe to one source"]);
    }

    /// Here parts that are newer than the checkpoint are not set aside by a start that is refused.
    #[test]
    fn a_start_that_one_sink_refuses_touches_no_other() {
        for parts_first in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let [state, parts, lines, whole] =
                ["state", "parts", "lines", "whole"].map(|name| folder.path().join(name));
            let run = || {
                let in_parts = FileSink::<String>::parts(&parts);
                let (in_lines, as_whole) = (AppendLines::<String>::new(&lines), FileSink::<String>::whole(&whole));
                let topology = of_numbers(Guarantee::ExactlyOnce, |t, numbers| {
                    let state = state.display().to_string();
                    t.settings(|s| (s.state_dir, s.executors) = (Some(state), Some(1)));
                    let add_parts = |t: &mut TopologyBuilder| {
                        t.bolt("parts", move || Transactional::new(in_parts.clone())).global(numbers);
                    };
                    let add_others = |t: &mut TopologyBuilder| {
                        t.bolt("lines", move || in_lines.clone()).global(numbers);
                        t.bolt("whole", move || Transactional::new(as_whole.clone())).global(numbers);
                    };
                    if parts_first {
                        add_parts(t);
                        add_others(t);
                    } else {
                        add_others(t);
                        add_parts(t);
                    }
                });
                topology.run()
            };
            run().unwrap();
            let newer = parts.join("part-0000009999-00000");
            fs::write(&newer, "of a checkpoint that is not there any more\n").unwrap();
            for (broken, told) in [(&lines, "put back what is missing"), (&whole, "was left with")] {
                let was = fs::read_to_string(broken).unwrap();
                assert_eq!(was.lines().count(), 100);
                fs::write(broken, &was[..10]).unwrap();
                let error = run().expect_err("refused").to_string();
                assert!(error.contains(told), "{error}");
                assert!(newer.exists(), "set aside by a start that was refused: {error}");
                fs::write(broken, was).unwrap();
            }
            run().unwrap();
            assert!(!newer.exists(), "a start that is none of these sets it aside");
        }
    }
}

/// Whatever a setting takes, there is something that it does not take, and then it is named with what it expects.
#[test]
fn every_setting_refuses_what_is_none_of_its_values() {
    for key in keys() {
        let name = key.key.replace("ID", "count");
        // No list is a value of any, and what has bounds has values beyond them.
        let beyond: &[&str] = match name.as_str() {
            // Takes every number that can be written.
            "seed" => &["-1"],
            _ => &["-1", "99999999999999", "9999999h", "9999999TiB", "cpu:99999"],
        };
        let beyond = if key.expected.contains(" to ") { beyond } else { &[] };
        for value in beyond.iter().chain(&["[1]"]) {
            let mut layers = Layers::new();
            layers.set("--set", &name, value);
            let error = layers.resolve().expect_err(&format!("{name}={value}")).to_string();
            for part in ["--set", &name, "expected", &key.expected] {
                assert!(error.contains(part), "{name}={value}: {part:?} is not in\n{error}");
            }
        }
    }
}

/// Two settings that are fine one by one.
#[test]
fn settings_that_contradict_each_other_are_refused_with_a_remedy() {
    let cases = [
        ("guarantee=at-least-once ackers=0", "ackers"),
        ("guarantee=at-most-once ackers=2", "ackers"),
        ("guarantee=exactly-once ackers=2", "ackers"),
        ("guarantee=at-most-once checkpoint_interval=1s", "checkpoint_interval"),
        ("guarantee=at-least-once state_dir=here", "state_dir"),
        ("guarantee=at-least-once restore_from=here", "restore_from"),
        ("guarantee=exactly-once state_dir=here store=memory", "store"),
        ("guarantee=exactly-once store=sled", "store"),
        ("guarantee=exactly-once fresh_state=true", "fresh_state"),
        ("executors=2 one_thread_per_task=true", "executors"),
        ("storm_timeouts=true message_timeouts_enabled=false", "storm_timeouts"),
        ("pin=false components.count.placement=cpu:0", "components.count.placement"),
    ];
    for (settings, key) in cases {
        let mut layers = Layers::new();
        for setting in settings.split(' ') {
            layers.assign(setting);
        }
        let error = layers.resolve().expect_err(settings).to_string();
        assert!(error.contains(&format!("{key} contradicts")), "{settings}: {error}");
    }
}

/// What is wrong with a component is told when the topology is built or started, with the line that says it.
#[test]
fn calls_of_the_builder_with_values_that_cannot_be() {
    type Change = fn(&mut TopologyBuilder, &Stream<String>);
    fn drops(_: String, _: &mut Outlet<Nothing>) {}
    let cases: &[(Change, &[&str])] = &[
        (|t, n| drop(t.bolt("b", drops).parallelism(0).global(n)), &["components.b.parallelism", "1 to 65536"]),
        (|t, n| drop(t.bolt("b", drops).tick(Duration::ZERO).global(n)), &["components.b.tick", "1ms"]),
        (|t, n| drop(t.bolt("b", drops).lane_capacity(0).global(n)), &["components.b.lane_capacity", "1 to"]),
        (|t, n| drop(t.bolt("b", drops).on_cpu(100_000).global(n)), &["components.b.placement", "cpu:NUMBER"]),
        (|t, n| drop(t.bolt("b", drops).global(n).shuffle(n)), &["already subscribes to numbers", "remove one"]),
        (|t, n| drop(t.bolt("numbers", drops).global(n)), &["already used", "give it another"]),
        (|t, n| drop(t.bolt("", drops).global(n)), &["is empty"]),
        (|t, _| drop(t.bolt("b", drops)), &["subscribes to nothing", "give it a grouping"]),
        (|t, n| drop(t.bolt("b", drops).output_names(["x", "y"]).global(n)), &["component b has", "2 names"]),
        (
            |t, _| {
                let other = TopologyBuilder::new("other").source("o", || Generator::new(1, |n| n.to_string())).clone();
                drop(t.bolt("b", drops).global(&other));
            },
            &["another topology's builder"],
        ),
        (
            |t, n| {
                let source = t.source("s", || Generator::new(1, |n| n.to_string())).max_spout_pending(0);
                drop(t.bolt("b", drops).global(n).shuffle(&source));
            },
            &["components.s.max_spout_pending", "1 to"],
        ),
    ];
    for (change, parts) in cases {
        let mut t = TopologyBuilder::new("wrong");
        let numbers = t.source("numbers", || Generator::new(1, |n| n.to_string())).clone();
        change(&mut t, &numbers);
        let started = t.build().and_then(Topology::run);
        refused(started, &[parts, &["tests/connectors_used_wrongly.rs"][..]].concat());
    }
}

/// A failure that is none of the input's, at a source whose values are nowhere else.
#[test]
fn a_panic_behind_a_channel_loses_nothing() {
    const COUNT: u64 = 1_000;
    let ((sender, source), (sink, receiver)) = (channel::<u64>(COUNT as usize), collector::<u64>(2 * COUNT as usize));
    let mut t = TopologyBuilder::new("panics");
    let values = t.source("values", move || source.clone());
    let has_panicked = Arc::new(AtomicBool::new(false));
    let panics = move |n: u64, out: &mut Outlet<u64>| -> Outcome {
        if n == 500 && !has_panicked.swap(true, Ordering::Relaxed) {
            panic!("told to");
        }
        if n == 600 {
            return Err(Failure::reject("told to"));
        }
        out.emit(n);
        Ok(())
    };
    let passed = t.bolt("panics", panics).global(&values);
    t.bolt("sink", move || sink.clone()).global(&passed);
    (0..COUNT).for_each(|n| sender.send(n).unwrap());
    drop(sender);
    let report = t.build().unwrap().run().unwrap();
    let received: BTreeSet<u64> = receiver.collect();
    assert_eq!(received.len() as u64, COUNT - 1);
    assert_eq!((report.components[0].counts.dead_lettered, report.components[0].counts.untaken), (1, 1));
}
