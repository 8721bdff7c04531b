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
        ".undone-part-0000000006-00000",
        ".undone-part-0000000006-00001",
        ".undone-part-0000000006-00002",
        "README",
        "part-0000000005-00000",
        "part-0000000005-00001",
        "part-0000000005-00002",
    ];
    assert_eq!(left, expected);
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

#[test]
fn what_is_written_last_is_not_replaced_by_an_empty_end() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("counts.tsv");
    let sinks = FileSink::whole(&path);
    let mut sink = opened(&sinks, 0, 1);
    let transaction = prepared(&mut sink, Some(1), "all");
    let mut current = sink.begin(Some(CheckpointId(2))).unwrap();
    // The end, of this process and of one that resumes.
    for mut sink in [sink, opened(&sinks, 0, 1)] {
        sink.recover_and_commit(&transaction).unwrap();
        sink.recover_and_abort(&current).unwrap();
        sink.finish(&mut current).unwrap();
        assert!(sink.pre_commit(&mut current).unwrap().is_some(), "the rename is made durable");
        sink.commit(&current).unwrap();
        assert_eq!(files(place.path()), BTreeMap::from([("counts.tsv".into(), "all\n".into())]));
    }
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
