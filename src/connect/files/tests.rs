use std::collections::BTreeMap;

use super::*;
use crate::task::component::Bolt as _;
use crate::task::context::SpoutContext;
use crate::task::snapshot::Checkpointed as _;

fn info(index: usize, count: usize) -> TaskInfo {
    let mut info = SpoutContext::detached().info;
    (info.index, info.count) = (index, count);
    info
}

fn opened(sink: &FileSink<String>, index: usize, count: usize) -> FileSink<String> {
    let mut sink = sink.clone();
    sink.open(&info(index, count)).expect("opens");
    sink
}

/// Names and contents.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    fs::read_dir(directory).unwrap().map(read).collect()
}

/// A transaction with one line, prepared.
fn prepared(sink: &mut FileSink<String>, after: Option<u64>, line: &str) -> FileTransaction {
    let mut transaction = sink.begin(after.map(CheckpointId)).unwrap();
    sink.write(&mut transaction, line.to_owned()).unwrap();
    sink.pre_commit(&mut transaction).unwrap().expect("there is something to sync")().unwrap();
    transaction
}

#[test]
fn a_part_is_hidden_until_it_is_committed_and_may_be_committed_again() {
    let place = tempfile::tempdir().unwrap();
    let mut sink = opened(&FileSink::parts(place.path()), 3, 4);
    let transaction = prepared(&mut sink, Some(8), "a line");
    assert_eq!(files(place.path()), BTreeMap::from([(".part-0000000009-00003.open".into(), "a line\n".into())]));
    for _ in 0..2 {
        sink.commit(&transaction).unwrap();
        assert_eq!(files(place.path()), BTreeMap::from([("part-0000000009-00003".into(), "a line\n".into())]));
    }
    fs::remove_file(place.path().join("part-0000000009-00003")).unwrap();
    sink.recover_and_commit(&transaction).expect("readers may take parts away");
}

#[test]
fn a_transaction_without_values_makes_no_file() {
    let place = tempfile::tempdir().unwrap();
    let mut sink = opened(&FileSink::parts(place.path()), 0, 1);
    let mut transaction = sink.begin(None).unwrap();
    assert!(sink.pre_commit(&mut transaction).unwrap().is_none());
    sink.commit(&transaction).unwrap();
    sink.abort(&transaction).unwrap();
    assert!(files(place.path()).is_empty());
}

#[test]
fn what_was_begun_after_the_resumed_checkpoint_goes_and_what_was_visible_is_set_aside() {
    let place = tempfile::tempdir().unwrap();
    let sinks = FileSink::parts(place.path());
    for task in 0..3 {
        let mut sink = opened(&sinks, task, 3);
        for after in 4..7 {
            let transaction = prepared(&mut sink, Some(after), &format!("{after} of {task}"));
            if after < 6 {
                sink.commit(&transaction).unwrap();
            }
        }
    }
    fs::write(place.path().join("README"), "not ours").unwrap();
    // One task less: the first takes over what the third has left.
    for task in 0..2 {
        opened(&sinks, task, 2).abort_unknown(Some(CheckpointId(5))).unwrap();
    }
    let left: Vec<String> = files(place.path()).into_keys().collect();
    let expected = [
        ".undone-1-part-0000000006-00000",
        ".undone-1-part-0000000006-00001",
        ".undone-1-part-0000000006-00002",
        "README",
        "part-0000000005-00000",
        "part-0000000005-00001",
        "part-0000000005-00002",
    ];
    assert_eq!(left, expected);
}

#[test]
fn what_an_earlier_run_has_set_aside_is_never_touched_again() {
    let place = tempfile::tempdir().unwrap();
    for run in 1..=3 {
        // Another program, or the same one started over.
        let mut sink = opened(&FileSink::parts(place.path()), 0, 1);
        sink.abort_unknown(None).unwrap();
        let transaction = prepared(&mut sink, None, &format!("of run {run}"));
        sink.commit(&transaction).unwrap();
    }
    let expected = [
        (".undone-1-part-0000000000-00000", "of run 1\n"),
        (".undone-2-part-0000000000-00000", "of run 2\n"),
        ("part-0000000000-00000", "of run 3\n"),
    ];
    assert_eq!(files(place.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
}

#[test]
fn a_whole_file_is_replaced_at_once_and_there_even_if_nothing_was_written() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("counts.tsv");
    fs::write(&path, "old").unwrap();
    let mut sink = opened(&FileSink::whole(&path), 0, 1);
    let mut transaction = sink.begin(None).unwrap();
    sink.finish(&mut transaction).unwrap();
    sink.pre_commit(&mut transaction).unwrap().unwrap()().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    sink.commit(&transaction).unwrap();
    assert_eq!(files(place.path()), BTreeMap::from([("counts.tsv".into(), String::new())]));
    sink.recover_and_commit(&transaction).unwrap();
    fs::write(&path, "of somebody else").unwrap();
    assert!(sink.recover_and_commit(&transaction).unwrap_err().is_fatal());
    fs::remove_file(&path).unwrap();
    let failure = sink.recover_and_commit(&transaction).unwrap_err();
    assert!(failure.message().contains("--fresh"), "{failure}");
}

/// Whoever resumes: commits what is pending, goes back to where the transaction that was under way began.
fn resumed(sinks: &FileSink<String>, pending: &[&FileTransaction], current: &FileTransaction) -> FileSink<String> {
    let mut sink = opened(sinks, 0, 1);
    pending.iter().for_each(|transaction| sink.recover_and_commit(transaction).unwrap());
    sink.recover_and_abort(current).unwrap();
    sink.abort_unknown(Some(CheckpointId(99))).unwrap();
    sink
}

#[test]
fn a_whole_file_is_made_of_all_transactions_of_the_run_whoever_crashes_between() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("counts.tsv");
    fs::write(&path, "of the run before\n").unwrap();
    let sinks = FileSink::whole(&path);
    let mut sink = opened(&sinks, 0, 1);
    sink.abort_unknown(None).unwrap();
    let first = prepared(&mut sink, None, "first");
    sink.commit(&first).unwrap();
    let mut current = sink.begin(Some(CheckpointId(0))).unwrap();
    sink.write(&mut current, "comes again".into()).unwrap();
    sink.pre_commit(&mut current).unwrap().unwrap()().unwrap();
    let begun = sink.begin(Some(CheckpointId(0))).unwrap();
    assert_eq!(begun.start, 18, "after what was prepared and did not become the truth");

    let begun = FileTransaction { start: 6, ..begun };
    let mut sink = resumed(&sinks, &[&first], &begun);
    let second = prepared(&mut sink, Some(0), "second");
    let mut last = sink.begin(Some(CheckpointId(1))).unwrap();
    sink.write(&mut last, "third".into()).unwrap();
    sink.finish(&mut last).unwrap();
    sink.pre_commit(&mut last).unwrap().unwrap()().unwrap();
    let after = sink.begin(Some(CheckpointId(2))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"of the run before\n", "until the end");

    // The end is committed by whoever resumes, and once more, and nothing changes after that.
    let all = BTreeMap::from([("counts.tsv".to_owned(), "first\nsecond\nthird\n".to_owned())]);
    for pending in [&[&second, &last][..], &[&last], &[]] {
        let mut sink = resumed(&sinks, pending, &after);
        assert_eq!(files(place.path()), all);
        let mut later = sink.begin(Some(CheckpointId(3))).unwrap();
        sink.finish(&mut later).unwrap();
        sink.pre_commit(&mut later).unwrap().expect("at least the rename is made durable")().unwrap();
        sink.commit(&later).unwrap();
        sink.abort(&later).unwrap();
        assert_eq!(files(place.path()), all);
    }
}

#[test]
fn a_whole_file_that_has_lost_what_was_committed_is_not_gone_on_with() {
    let place = tempfile::tempdir().unwrap();
    let sinks = FileSink::whole(place.path().join("counts.tsv"));
    let mut sink = opened(&sinks, 0, 1);
    prepared(&mut sink, None, "first");
    let begun = sink.begin(Some(CheckpointId(0))).unwrap();
    let hidden = place.path().join(".counts.tsv.open");
    for (text, what) in [(Some("f"), "has 1 bytes and was left with 6"), (None, "is not there any more")] {
        text.map_or_else(|| fs::remove_file(&hidden), |text| fs::write(&hidden, text)).unwrap();
        let failure = opened(&sinks, 0, 1).recover_and_abort(&begun).unwrap_err();
        assert!(failure.is_fatal() && failure.message().contains(what), "{failure}");
    }
}

#[test]
fn what_is_left_hidden_by_a_run_that_was_never_resumed_goes() {
    let place = tempfile::tempdir().unwrap();
    let sinks = FileSink::whole(place.path().join("counts.tsv"));
    prepared(&mut opened(&sinks, 0, 1), None, "given up");
    opened(&sinks, 0, 1).abort_unknown(None).unwrap();
    assert!(files(place.path()).is_empty());
}

#[test]
fn any_number_of_tasks_may_find_out_at_once_whether_they_can_write() {
    let place = tempfile::tempdir().unwrap();
    crate::sys::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| FileSink::<String>::parts(place.path()).check().expect("it can")));
        }
    });
    assert!(files(place.path()).is_empty());
}

#[test]
fn an_output_that_cannot_be_written_is_found_out_before_the_start() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    let cases = [
        (FileSink::<String>::whole(place.path()), "a directory"),
        (FileSink::whole(place.path().join("missing/counts.tsv")), "cannot be written"),
        (FileSink::whole("/dev/null"), "regular file"),
        (FileSink::parts(&file), "this is a file"),
    ];
    for (sink, what) in cases {
        let error = sink.check().unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(what), "{error}");
    }
    assert!(FileSink::<String>::whole(&file).open(&info(0, 2)).unwrap_err().message().contains("parallelism"));
}

#[test]
fn values_are_added_to_a_file_at_once() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("lines");
    fs::write(&path, "old\n").unwrap();
    let mut sink = AppendFile::<String>::new(&path);
    let mut ctx = crate::task::context::BoltContext {
        base: SpoutContext::detached(),
        door: crate::task::door::Door::new(crate::task::waker::Waker::disconnected()).0,
    };
    sink.prepare(&mut ctx).unwrap();
    sink.add("new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
    sink.snapshot(CheckpointId(0)).unwrap().before.expect("it is synced")().unwrap();
}

/// `/dev/full` takes no byte, and is no regular file.
#[test]
fn a_line_that_is_half_there_is_ended_before_the_next() {
    let place = tempfile::tempdir().unwrap();
    let mut sink = AppendFile::<String>::new(place.path().join("lines"));
    let mut ctx = crate::task::context::BoltContext {
        base: SpoutContext::detached(),
        door: crate::task::door::Door::new(crate::task::waker::Waker::disconnected()).0,
    };
    sink.prepare(&mut ctx).unwrap();
    sink.tears_next(3);
    let failure = sink.add("a line").unwrap_err();
    assert!(failure.is_retry() && failure.message().contains("lines"), "{failure}");
    sink.add("a line").unwrap();
    sink.add("another").unwrap();
    assert_eq!(fs::read_to_string(place.path().join("lines")).unwrap(), "a l\na line\nanother\n");
    // As a process leaves it that is killed in the midst of a write.
    fs::write(place.path().join("lines"), "ha").unwrap();
    let mut tasks = [sink.clone(), sink.clone()];
    tasks.iter_mut().for_each(|task| task.prepare(&mut ctx).unwrap());
    tasks.iter_mut().for_each(|task| task.add("a line").unwrap());
    assert_eq!(fs::read_to_string(place.path().join("lines")).unwrap(), "ha\na line\na line\n");
    let mut full = AppendFile::<String>::new("/dev/full");
    full.prepare(&mut ctx).unwrap();
    assert!(full.add("a line").unwrap_err().is_retry());
    assert!(full.place().is_none());
}

mod lines {
    use super::*;
    use crate::task::snapshot::OwnSnapshot;

    struct File(tempfile::TempDir);

    impl File {
        fn holding(text: &str) -> Self {
            let file = File(tempfile::tempdir().unwrap());
            fs::write(file.path(), text).unwrap();
            file
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join("lines")
        }

        #[track_caller]
        fn holds(&self, text: &str) {
            assert_eq!(fs::read_to_string(self.path()).unwrap(), text);
        }
    }

    fn fresh(sink: &AppendLines<String>) -> AppendLines<String> {
        let mut sink = sink.clone();
        sink.open(&info(0, 1)).unwrap();
        sink
    }

    fn resumed(sink: &AppendLines<String>, from: &OwnSnapshot) -> Result<AppendLines<String>, Failure> {
        let mut sink = fresh(sink);
        sink.restore(Some(CheckpointId(0)), &[&from.bytes])?;
        Ok(sink)
    }

    #[test]
    fn are_cut_back_to_the_checkpoint_that_is_resumed() {
        let file = File::holding("of before\n");
        let sinks = AppendLines::<String>::new(file.path());
        let mut sink = fresh(&sinks);
        sink.restore(None, &[]).unwrap();
        sink.add("a").unwrap();
        file.holds("of before\n");
        let mut snapshot = sink.snapshot(CheckpointId(0)).unwrap();
        sink.add("undone").unwrap();
        snapshot.before.take().unwrap()().unwrap();
        sink.committed(CheckpointId(0)).unwrap();
        file.holds("of before\na\n");
        let mut given_up = sink.snapshot(CheckpointId(1)).unwrap();
        given_up.before.take().unwrap()().unwrap();
        file.holds("of before\na\nundone\n");
        // While the old instance is still there, and after it is gone.
        for old in [Some(sink), None] {
            let mut sink = resumed(&sinks, &snapshot).unwrap();
            file.holds("of before\na\n");
            sink.add("b").unwrap();
            sink.snapshot(CheckpointId(1)).unwrap().before.unwrap()().unwrap();
            file.holds("of before\na\nb\n");
            sink.add("not in any checkpoint").unwrap();
            sink.cleanup();
            file.holds("of before\na\nb\n");
            drop(old);
        }
    }

    #[test]
    fn of_a_checkpoint_that_was_given_up_are_written_with_the_next_one() {
        let file = File::holding("");
        let mut sink = fresh(&AppendLines::new(file.path()));
        sink.restore(None, &[]).unwrap();
        sink.add("a").unwrap();
        drop(sink.snapshot(CheckpointId(0)).unwrap());
        sink.add("b").unwrap();
        sink.snapshot(CheckpointId(1)).unwrap().before.unwrap()().unwrap();
        file.holds("a\nb\n");
    }

    #[test]
    fn without_checkpoints_are_there_at_once_and_half_a_line_is_ended_first() {
        let file = File::holding("half a");
        let mut sink = fresh(&AppendLines::new(file.path()));
        sink.add("line").unwrap();
        file.holds("half a\nline\n");
        sink.cleanup();
        file.holds("half a\nline\n");
    }

    #[test]
    fn may_be_taken_away_as_a_whole_between_two_runs_and_not_in_part() {
        let file = File::holding("");
        let sinks = AppendLines::<String>::new(file.path());
        let mut sink = fresh(&sinks);
        sink.restore(None, &[]).unwrap();
        sink.add("a line").unwrap();
        let mut snapshot = sink.snapshot(CheckpointId(0)).unwrap();
        snapshot.before.take().unwrap()().unwrap();
        sink.cleanup();
        fs::write(file.path(), "a").unwrap();
        let failure = resumed(&sinks, &snapshot).err().unwrap();
        assert!(failure.is_fatal() && failure.message().contains("had 7 at the checkpoint"), "{failure}");
        fs::remove_file(file.path()).unwrap();
        resumed(&sinks, &snapshot).unwrap().cleanup();
        file.holds("");
    }

    #[test]
    fn belong_to_one_task_of_one_topology_and_go_into_a_file() {
        let file = File::holding("");
        let sinks = AppendLines::<String>::new(file.path());
        assert!(sinks.clone().open(&info(0, 2)).unwrap_err().message().contains("parallelism"));
        let sink = fresh(&sinks);
        let failure = AppendLines::<String>::new(file.path()).open(&info(0, 1)).unwrap_err();
        assert!(failure.is_fatal() && failure.message().contains("another process or topology"), "{failure}");
        drop(sink);
        fresh(&AppendLines::new(file.path()));
        for (path, what) in [(file.0.path(), "regular file"), (Path::new("/dev/null"), "regular file")] {
            let error = AppendLines::<String>::new(path).check().unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(what), "{error}");
        }
        let error = AppendLines::<String>::new(file.0.path().join("none/lines")).check().unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("none/lines"), "{error}");
    }
}
