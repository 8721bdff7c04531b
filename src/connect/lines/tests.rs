use std::io::{Read, Write};

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::blocks::{BLOCK_BYTES, Block, Blocks};
use super::*;
use crate::sys::clock::Clock;
use crate::sys::thread;

/// Task `index` of `count`; with the real clock it reads on a thread, under virtual time by itself.
fn task(index: usize, count: usize, clock: Clock) -> SpoutContext {
    let mut ctx = SpoutContext::detached();
    (ctx.info.index, ctx.info.count, ctx.clock) = (index, count, clock);
    ctx
}

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn opened(source: &FileLines, ctx: &mut SpoutContext) -> FileLines {
    let mut source = source.clone();
    source.open(ctx).unwrap();
    let splits: Vec<_> = source.default_splits().into_iter().map(|split| (split, None)).collect();
    if !splits.is_empty() {
        source.assign(&splits).unwrap();
    }
    source
}

/// The next line and its position; `None` at the end.
fn next(source: &mut FileLines) -> Option<(Vec<u8>, u64)> {
    loop {
        match source.poll().unwrap() {
            Polled::Item { value, position, .. } => return Some((value.to_vec(), position.0)),
            Polled::Idle => thread::yield_now(),
            Polled::WakeAfter(_) => panic!("a file does not wait for a time"),
            Polled::Finished => return None,
        }
    }
}

fn lines(source: &mut FileLines) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| next(source)).map(|(line, _)| line).collect()
}

/// All lines, read by one task: by a thread and inline, which must agree.
fn read(content: &[u8], repeat: u64) -> Vec<Vec<u8>> {
    let file = file(content);
    let source = FileLines::new(file.path()).repeat(repeat);
    let progress = source.progress();
    let by_thread = lines(&mut opened(&source, &mut task(0, 1, Clock::real())));
    assert_eq!(progress.done(), content.len() as u64 * repeat);
    let inline = lines(&mut opened(&source, &mut task(0, 1, Clock::virtual_at_zero())));
    assert_eq!(by_thread, inline);
    inline
}

/// What the lines of an input are, said in the simplest way.
fn expected(content: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = content.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

#[test]
fn an_empty_file_has_no_lines() {
    assert!(read(b"", 1).is_empty());
    assert!(read(b"", 3).is_empty());
}

#[test]
fn a_last_line_without_an_end_counts_and_an_end_begins_no_line() {
    assert_eq!(read(b"a\nb", 1), [b"a", b"b"]);
    assert_eq!(read(b"a\nb\n", 1), [b"a", b"b"]);
    assert_eq!(read(b"\n\n", 1), [b"", b""]);
    assert_eq!(read(b"a", 1), [b"a"]);
}

#[test]
fn only_the_line_feed_is_taken_off() {
    assert_eq!(read(b"a\r\nb\r\n\r\nc\r", 1), [&b"a\r"[..], b"b\r", b"\r", b"c\r"]);
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let content: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    assert_eq!(read(&content, 1), expected(&content));
}

#[test]
fn a_line_longer_than_many_blocks_is_one_line() {
    let mut content = b"short\n".to_vec();
    content.extend(std::iter::repeat_n(b'x', 5 * BLOCK_BYTES + 17));
    content.extend_from_slice(b"\nlast");
    assert_eq!(read(&content, 2), [expected(&content), expected(&content)].concat());
}

#[test]
fn lines_across_blocks_are_whole() {
    let content: Vec<u8> = (0..90_000).flat_map(|n| format!("{n} {}\n", "y".repeat(n % 23)).into_bytes()).collect();
    assert!(content.len() > 5 * BLOCK_BYTES);
    assert_eq!(read(&content, 1), expected(&content));
}

#[test]
fn a_repeated_file_begins_anew_each_time_and_positions_go_on() {
    let file = file(b"a\nbb\nc");
    let mut source = opened(&FileLines::new(file.path()).repeat(3), &mut SpoutContext::detached());
    let found: Vec<_> = std::iter::from_fn(|| next(&mut source)).collect();
    let positions: Vec<u64> = found.iter().map(|(_, position)| *position).collect();
    assert_eq!(positions, [0, 2, 5, 6, 8, 11, 12, 14, 17]);
    assert!(found.chunks(3).all(|round| round.iter().map(|(line, _)| &line[..]).eq([&b"a"[..], b"bb", b"c"])));
    assert_eq!(read(b"a\n", 0), Vec::<Vec<u8>>::new());
}

#[test]
fn a_source_goes_on_from_any_position_it_gave() {
    let file = file(b"first\nsecond\n\nfourth\nlast");
    let source = FileLines::new(file.path()).repeat(2);
    let mut ctx = SpoutContext::detached();
    let all: Vec<_> = {
        let mut source = opened(&source, &mut ctx);
        std::iter::from_fn(|| next(&mut source)).collect()
    };
    for (skip, (_, position)) in all.iter().enumerate() {
        let mut source = opened(&source, &mut ctx);
        next(&mut source).unwrap();
        let split = source.default_splits().remove(0);
        source.assign(&[(split, Some(Position(*position)))]).unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| next(&mut source)).collect();
        assert_eq!(rest, all[skip..]);
        let (split, end) = source.positions().remove(0);
        source.assign(&[(split, Some(end))]).unwrap();
        assert_eq!(next(&mut source), None);
    }
}

#[test]
fn seeking_while_the_thread_reads_ahead_gives_up_what_it_has_read() {
    let content: Vec<u8> = (0..300_000).flat_map(|n| format!("{n:07}\n").into_bytes()).collect();
    let file = file(&content);
    let mut source = opened(&FileLines::new(file.path()), &mut task(0, 1, Clock::real()));
    for target in [250_000u64, 7, 120_000] {
        assert!((0..1_000).all(|_| next(&mut source).is_some()));
        let split = source.default_splits().remove(0);
        source.assign(&[(split, Some(Position(target * 8)))]).unwrap();
        assert_eq!(next(&mut source), Some((format!("{target:07}").into_bytes(), target * 8)));
    }
}

#[test]
fn splits_taken_over_and_given_up_while_running() {
    let content: Vec<u8> = (0..100).flat_map(|n| format!("{n:03}\n").into_bytes()).collect();
    let file = file(&content);
    let source = FileLines::new(file.path());
    let other = opened(&source, &mut task(1, 2, Clock::virtual_at_zero())).default_splits().remove(0);
    let mut source = opened(&source, &mut task(0, 2, Clock::virtual_at_zero()));
    assert_eq!(next(&mut source).unwrap().0, b"000");
    source.assign(&[(other, None)]).unwrap();
    assert_eq!(next(&mut source).unwrap().0, b"001", "what is being read goes on");
    let mine = source.default_splits();
    source.revoke(&mine);
    assert_eq!(next(&mut source).unwrap().0, b"050");
    assert_eq!(lines(&mut source).len(), 49);
}

#[test]
fn splits_that_are_none_are_refused() {
    let file = file(b"0123456789\n");
    let mut source = opened(&FileLines::new(file.path()), &mut SpoutContext::detached());
    let path = file.path().display();
    let cases = ["", "x", "/other:0-5", &format!("{path}:5-5"), &format!("{path}:0-12"), &format!("{path}:a-5")];
    for id in cases {
        assert!(source.assign(&[(id.to_owned(), None)]).unwrap_err().is_fatal(), "{id}");
    }
    let beyond = source.assign(&[(format!("{path}:0-11"), Some(Position(12)))]);
    assert!(beyond.unwrap_err().message().contains("beyond"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_usage_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.txt");
    for (path, what) in [(missing.as_path(), "no such file"), (directory.path(), "is a directory")] {
        let error = FileLines::new(path).check().unwrap_err();
        assert!(error.is_usage());
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains(what), "{text}");
        assert!(FileLines::new(path).open(&mut SpoutContext::detached()).unwrap_err().is_fatal());
    }
    FileLines::new(file(b"").path()).check().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn an_input_of_unknown_size_is_read_by_the_first_task_alone() {
    let source = FileLines::new("/proc/self/limits");
    assert_eq!(source.progress().total(), None);
    let mut first = opened(&source, &mut task(0, 2, Clock::real()));
    assert!(first.replayable().is_none());
    assert!(lines(&mut first).len() > 5);
    assert!(lines(&mut opened(&source, &mut task(1, 2, Clock::real()))).is_empty());
    assert!(FileLines::new("/dev/null").repeat(2).check().unwrap_err().is_usage());
}

/// An input that gives little at a time.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.1.min(buffer.len());
        self.0.read(&mut buffer[..len])
    }
}

#[test]
fn lines_of_a_slow_input_come_as_soon_as_they_are_whole() {
    let mut cutter = Cutter::all(Dribble(b"ab\nc\nd", 4));
    let mut cut = || cutter.cut().unwrap().map(|block| (block.lines.to_vec(), block.start));
    assert_eq!(cut(), Some((b"ab\n".to_vec(), 0)));
    assert_eq!(cut(), Some((b"c\n".to_vec(), 3)));
    assert_eq!(cut(), Some((b"d".to_vec(), 5)));
    assert_eq!((cut(), cut()), (None, None));
}

#[test]
fn a_reader_that_fails_makes_the_task_fail() {
    struct Broken;
    impl Blocks for Broken {
        fn next(&mut self) -> std::io::Result<Option<Block>> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    for clock in [Clock::real(), Clock::virtual_at_zero()] {
        let feed = FeedStart::new(&task(0, 1, clock)).start(Broken).unwrap();
        let mut lines = Lines::new(feed);
        let failure = loop {
            match lines.poll(|_| ()) {
                Ok(_) => thread::yield_now(),
                Err(failure) => break failure,
            }
        };
        assert!(failure.is_retry() && failure.message().contains("on fire"));
    }
}

#[test]
fn long_lines_wait_in_numbers_bounded_by_their_bytes() {
    use crate::sys::sync::{Arc, AtomicUsize, Ordering};
    /// Lines of sixteen blocks, and how many have been asked for.
    struct Long(Arc<AtomicUsize>);
    impl Blocks for Long {
        fn next(&mut self) -> std::io::Result<Option<Block>> {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            let lines = vec![b'x'; 16 * BLOCK_BYTES].into();
            Ok((number < 20).then_some(Block { lines, start: 0 }))
        }
    }
    let made = Arc::new(AtomicUsize::new(0));
    let feed = FeedStart::new(&task(0, 1, Clock::real())).start(Long(made.clone())).unwrap();
    let mut lines = Lines::new(feed);
    let mut taken = 0;
    loop {
        match lines.poll(|_| ()).unwrap() {
            // One that waits, one that is just being taken and one in the reader's hands.
            Line::Is { .. } => {
                taken += 1;
                assert!(made.load(Ordering::SeqCst) <= taken + 2);
            }
            Line::Nothing => thread::yield_now(),
            Line::End => break,
        }
    }
    assert_eq!(taken, 20);
}

/// Inputs with many line ends, long stretches without, and none at the end now and then.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![3 => "[a-z\r]{0,6}", 1 => "[a-z]{0,60}"];
    (prop::collection::vec(line, 0..40), any::<bool>()).prop_map(|(lines, ends)| {
        let mut content = lines.join("\n").into_bytes();
        if ends {
            content.push(b'\n');
        }
        content
    })
}

proptest! {
    #[test]
    fn splits_cover_every_line_exactly_once(content in contents(), tasks in 1..8usize, repeat in 1..3u64) {
        let file = file(&content);
        let source = FileLines::new(file.path()).repeat(repeat);
        let mut found = Vec::new();
        for index in 0..tasks {
            let mut ctx = task(index, tasks, Clock::virtual_at_zero());
            let mut source = opened(&source, &mut ctx);
            found.extend(std::iter::from_fn(|| next(&mut source)));
        }
        found.sort_by_key(|(_, position)| *position);
        let lines: Vec<Vec<u8>> = found.into_iter().map(|(line, _)| line).collect();
        let once = expected(&content);
        prop_assert_eq!(lines, std::iter::repeat_n(once, repeat as usize).flatten().collect::<Vec<_>>());
        prop_assert_eq!(source.progress().done(), content.len() as u64 * repeat);
    }

    #[test]
    fn how_the_input_is_cut_up_does_not_matter(content in contents(), piece in 1..50usize) {
        let mut cutter = Cutter::all(Dribble(&content, piece));
        let mut found = Vec::new();
        while let Some(block) = cutter.cut().unwrap() {
            prop_assert_eq!(block.start, found.len() as u64);
            found.extend_from_slice(&block.lines);
        }
        prop_assert_eq!(found, content);
    }

    #[test]
    fn a_split_read_in_two_parts_gives_what_it_gives_in_one(
        content in contents(),
        tasks in 1..4usize,
        stop in 0..30usize,
    ) {
        let file = file(&content);
        let source = FileLines::new(file.path()).repeat(2);
        for index in 0..tasks {
            let mut ctx = task(index, tasks, Clock::virtual_at_zero());
            let whole = lines(&mut opened(&source, &mut ctx));
            let mut first = opened(&source, &mut ctx);
            let before = std::iter::from_fn(|| next(&mut first)).take(stop);
            let mut parts: Vec<Vec<u8>> = before.map(|(line, _)| line).collect();
            let resume: Vec<_> = first.positions().into_iter().map(|(split, at)| (split, Some(at))).collect();
            let mut second = source.clone();
            second.open(&mut ctx).unwrap();
            if !resume.is_empty() {
                second.assign(&resume).unwrap();
            }
            parts.extend(lines(&mut second));
            prop_assert_eq!(parts, whole);
        }
    }
}
