//! The way out of the process: what is said on standard error and printed at an end is written by threads of their own
//! out of bounded queues. Whoever has something to say never waits for whoever reads it: a closed pipe, a full disk, a
//! stopped terminal and a reader that sleeps cost what was to be read, which is counted, and nothing else.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::sys::signals::write_from_the_background;
use crate::sys::thread::spawn_helper;

/// Texts that may wait to be written, and their bytes.
const TEXTS_MAX: usize = 4_096;
const BYTES_MAX: usize = 8 << 20;

/// How long a text that is printed elsewhere waits for the picture to be taken away, and how long the picture then
/// waits for it. Both go on without the other.
const ASIDE_WAIT: Duration = Duration::from_millis(100);
const ASIDE_MAX: Duration = Duration::from_secs(if cfg!(test) { 300 } else { 1 });

/// How long an end waits for its own threads on a machine that has no time for them.
const STARVED_WAIT: Duration = Duration::from_secs(30);

static STANDARD_ERROR: OnceLock<Writer> = OnceLock::new();
static STANDARD_OUTPUT: OnceLock<Writer> = OnceLock::new();

thread_local! {
    /// Whether this thread is inside [`Writer::aside`], which must not wait for itself.
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// Standard error. Its thread is started by the first use.
pub fn stderr() -> &'static Writer {
    STANDARD_ERROR.get_or_init(|| Writer::start("squall-stderr", "standard error", true, Box::new(Raw::STDERR)))
}

/// Standard output, for what is printed when nobody may wait; all else prints there itself. Its thread is started by
/// the first use.
pub fn stdout() -> &'static Writer {
    STANDARD_OUTPUT.get_or_init(|| Writer::start("squall-stdout", "standard output", false, Box::new(Raw::STDOUT)))
}

/// Texts that were left out so far, since they could not be written or nobody read them.
pub fn lost() -> u64 {
    let of = |writer: &OnceLock<Writer>| writer.get().map_or(0, |writer| writer.shared.lost.load(Ordering::Relaxed));
    of(&STANDARD_ERROR) + of(&STANDARD_OUTPUT)
}

/// Waits, this long at most, until what has been said so far is written. False if it is not.
pub fn flush(at_most: Duration) -> bool {
    let flush = |at_most| STANDARD_ERROR.get().is_none_or(|writer| writer.flush(at_most));
    flush(at_most) || (takes_more(io::stderr().as_fd()) && flush(STARVED_WAIT))
}

/// True if whoever reads has left room: then it is the machine that has not let this process write.
fn takes_more(stream: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0) && polled[0].revents().contains(PollFlags::OUT)
}

/// Something drawn on the terminal that texts are written above.
pub trait Picture: Send {
    /// Takes the picture away, calls the function, and draws the picture again. Called on the writer's thread.
    fn aside(&self, write: &mut dyn FnMut());
}

/// One way out: a queue and the thread that writes.
pub struct Writer {
    items: Sender<Item>,
    aside_wait: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    has_picture: AtomicBool,
    /// Texts left out, in all, and since that was last said.
    lost: AtomicU64,
    unsaid: AtomicU64,
}

impl Shared {
    fn lose_one(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.unsaid.fetch_add(1, Ordering::Relaxed);
    }
}

enum Item {
    Text(Vec<u8>, Option<Sender<io::Result<()>>>),
    /// The picture from now on.
    Show(Option<Box<dyn Picture>>),
    Draw(Box<dyn FnOnce() + Send>),
    /// Somebody else prints: tells when the picture is away, and waits until the other end is dropped.
    Aside(Sender<()>, Receiver<()>),
    Flush(Sender<()>),
}

impl Writer {
    /// `says_losses`: a line tells how much was left out, once writing works again.
    fn start(thread: &str, name: &'static str, says_losses: bool, to: Box<dyn Write + Send>) -> Self {
        let (items, queue) = bounded(TEXTS_MAX);
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let serve = move || {
            write_from_the_background();
            Serving { shared: of_thread, name, says_losses, to, picture: None, why: String::new() }.serve(&queue);
        };
        // Without the thread the queue is closed, and every text is counted as left out.
        let _ = spawn_helper(thread, serve);
        Writer { items, aside_wait: ASIDE_WAIT, shared }
    }

    /// Hands over a text. Never waits; one that does not fit is counted.
    pub fn say(&self, text: impl Into<Vec<u8>>) {
        let text = text.into();
        let bytes = text.len();
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if queued + bytes > BYTES_MAX || self.items.try_send(Item::Text(text, None)).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.lose_one();
        }
    }

    /// Writes a text and waits for it, this long at most: what came of it, or none if it is not written by then.
    pub fn say_within(&self, text: impl Into<Vec<u8>>, at_most: Duration) -> Option<io::Result<()>> {
        let text = text.into();
        let until = Instant::now() + at_most;
        let (reply, written) = bounded(1);
        let bytes = text.len();
        self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.items.send_timeout(Item::Text(text, Some(reply)), at_most).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.lose_one();
            return None;
        }
        written.recv_deadline(until).ok()
    }

    /// Shows a picture below the texts, or none. Waits a moment if the queue is full; false if it stays so.
    pub fn show(&self, picture: Option<Box<dyn Picture>>) -> bool {
        let has_picture = picture.is_some();
        let shown = self.items.send_timeout(Item::Show(picture), ASIDE_MAX).is_ok();
        if shown {
            self.shared.has_picture.store(has_picture, Ordering::Relaxed);
        }
        shown
    }

    /// Changes the picture, on the writer's thread. Never waits; what does not fit is left out, for the next change
    /// shows more.
    pub fn draw(&self, draw: impl FnOnce() + Send + 'static) {
        let _ = self.items.try_send(Item::Draw(Box::new(draw)));
    }

    /// Calls a function that prints elsewhere, with the picture out of the way. Calls may be nested. It waits for the
    /// picture for a moment only.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        if !self.shared.has_picture.load(Ordering::Relaxed) || IS_ASIDE.get() {
            return print();
        }
        let ((ready_in, ready), (_done, done)) = (bounded(1), bounded(0));
        if self.items.try_send(Item::Aside(ready_in, done)).is_ok() {
            // A terminal that takes nothing shows no picture either.
            let _ = ready.recv_timeout(self.aside_wait);
        }
        IS_ASIDE.set(true);
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                IS_ASIDE.set(false);
            }
        }
        let _leave = Leave;
        print()
    }

    /// See [`flush`].
    pub fn flush(&self, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        let (reply, flushed) = bounded(1);
        self.items.send_timeout(Item::Flush(reply), at_most).is_ok() && flushed.recv_deadline(until).is_ok()
    }
}

/// The thread's side.
struct Serving {
    shared: Arc<Shared>,
    name: &'static str,
    says_losses: bool,
    to: Box<dyn Write + Send>,
    picture: Option<Box<dyn Picture>>,
    /// Why the last text could not be written; empty if it was.
    why: String,
}

impl Serving {
    fn serve(mut self, queue: &Receiver<Item>) {
        for item in queue {
            match item {
                Item::Text(text, reply) => {
                    self.shared.queued_bytes.fetch_sub(text.len(), Ordering::Relaxed);
                    let written = self.text(&text);
                    if let Some(reply) = reply {
                        // Whoever asked may have gone on.
                        let _ = reply.send(written);
                    }
                }
                Item::Show(picture) => self.picture = picture,
                Item::Draw(draw) => draw(),
                Item::Aside(ready, done) => {
                    let mut stand_aside = || {
                        let _ = ready.send(());
                        let _ = done.recv_timeout(ASIDE_MAX);
                    };
                    match &self.picture {
                        Some(picture) => picture.aside(&mut stand_aside),
                        None => stand_aside(),
                    }
                }
                Item::Flush(reply) => {
                    // Nothing is left to be said where this does not work either.
                    let _ = self.say_what_was_lost();
                    let _ = reply.send(());
                }
            }
        }
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        let written = self.say_what_was_lost().and_then(|()| self.write(text));
        match &written {
            Ok(()) => self.why.clear(),
            Err(error) => {
                self.why = error.to_string();
                self.shared.lose_one();
            }
        }
        written
    }

    /// # Errors
    /// It does not work yet.
    fn say_what_was_lost(&mut self) -> io::Result<()> {
        let unsaid = self.shared.unsaid.load(Ordering::Relaxed);
        if unsaid == 0 || !self.says_losses {
            return Ok(());
        }
        let why = if self.why.is_empty() { "nobody read it in time" } else { &self.why };
        // What could not be written may have ended in the middle of a line.
        let line_end = if self.why.is_empty() { "" } else { "\n" };
        let line = format!("{line_end}warning: {}: {unsaid} messages were left out here: {why}\n", self.name);
        self.write(line.as_bytes())?;
        self.shared.unsaid.fetch_sub(unsaid, Ordering::Relaxed);
        self.why.clear();
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let to = &mut self.to;
        let mut written = Ok(());
        let mut write = || written = to.write_all(text);
        match &self.picture {
            Some(picture) => picture.aside(&mut write),
            None => write(),
        }
        written
    }
}

/// A standard stream without the locks and buffers of the standard library, but for what is in them.
struct Raw {
    is_stdout: bool,
}

impl Raw {
    const STDERR: Raw = Raw { is_stdout: false };
    const STDOUT: Raw = Raw { is_stdout: true };
}

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_stdout {
            return write_to(io::stderr().as_fd(), bytes);
        }
        // What others have printed comes first.
        let mut out = io::stdout().lock();
        while let Err(error) = out.flush() {
            match error.kind() {
                io::ErrorKind::WouldBlock => wait_for_room(out.as_fd())?,
                _ => return Err(error),
            }
        }
        write_to(out.as_fd(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_to(stream: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(stream, bytes) {
            Ok(written) => return Ok(written),
            Err(Errno::INTR) => {}
            // Another process has made the terminal or pipe, which it shares with this one, non-blocking.
            Err(Errno::AGAIN) => wait_for_room(stream)?,
            // Closed, as by a daemon: nobody is to see it.
            Err(Errno::BADF) => return Ok(bytes.len()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for_room(stream: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const LONG: Duration = Duration::from_secs(300);

    /// Takes a text when it is let, and says so.
    #[derive(Clone)]
    struct Reader {
        seen: Arc<Mutex<String>>,
        /// Each write takes one of these: fail with it, or go on.
        next: Receiver<Result<(), io::ErrorKind>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.next.recv().unwrap_or(Ok(()))?;
            self.seen.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer() -> (Writer, Sender<Result<(), io::ErrorKind>>, Arc<Mutex<String>>) {
        let (let_go, next) = bounded(TEXTS_MAX);
        let seen = Arc::<Mutex<String>>::default();
        let to = Reader { seen: seen.clone(), next };
        (Writer::start("squall-test", "test", true, Box::new(to)), let_go, seen)
    }

    #[test]
    fn nobody_waits_for_a_reader_that_sleeps_and_what_is_left_out_is_counted_and_said() {
        let (writer, let_go, seen) = writer();
        // One is in the hands of the thread, or is still queued.
        for number in 0..2 * TEXTS_MAX {
            writer.say(format!("{number}\n"));
        }
        let lost = writer.shared.lost.load(Ordering::Relaxed);
        assert!([TEXTS_MAX as u64, TEXTS_MAX as u64 - 1].contains(&lost), "{lost}");
        assert!(!writer.flush(Duration::from_millis(1)), "nothing is written");
        drop(let_go);
        assert!(writer.flush(LONG));
        let seen = seen.lock().unwrap();
        // In one line, or in two if the thread began in the midst of it.
        let said =
            seen.lines().filter_map(|line| line.strip_prefix("warning: test: ")?.split_once(" messages were left"));
        assert_eq!(said.map(|(number, _)| number.parse::<u64>().unwrap()).sum::<u64>(), lost, "{seen}");
        assert_eq!(seen.lines().filter(|line| !line.starts_with("warning")).count() as u64 + lost, 8_192);
    }

    #[test]
    fn a_queue_is_bounded_in_bytes_too() {
        let (writer, let_go, _) = writer();
        writer.say(vec![b'x'; BYTES_MAX + 1]);
        assert_eq!(writer.shared.lost.load(Ordering::Relaxed), 1);
        drop(let_go);
        assert!(writer.flush(LONG));
    }

    #[test]
    fn a_full_disk_costs_what_was_said_meanwhile_and_is_named_when_there_is_room() {
        let (writer, let_go, seen) = writer();
        for step in [Ok(()), Err(io::ErrorKind::StorageFull), Err(io::ErrorKind::StorageFull)] {
            let_go.send(step).unwrap();
        }
        for text in ["one\n", "two\n", "three\n"] {
            writer.say(text);
        }
        drop(let_go);
        let failed = writer.say_within("four\n", LONG).expect("it is read");
        assert!(failed.is_ok());
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, "one\n\nwarning: test: 2 messages were left out here: no storage space\nfour\n");
        assert_eq!(writer.shared.unsaid.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn whoever_waits_for_a_text_learns_what_came_of_it() {
        let (writer, let_go, _) = writer();
        assert!(writer.say_within("unread", Duration::from_millis(1)).is_none());
        let_go.send(Ok(())).unwrap();
        let_go.send(Err(io::ErrorKind::BrokenPipe)).unwrap();
        let error = writer.say_within("broken", LONG).expect("it was tried").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    struct Drawn(Arc<Mutex<String>>);

    impl Picture for Drawn {
        fn aside(&self, write: &mut dyn FnMut()) {
            self.0.lock().unwrap().push_str("<away>");
            write();
            self.0.lock().unwrap().push_str("<back>");
        }
    }

    #[test]
    fn texts_are_written_above_the_picture_and_printing_aside_may_be_nested_and_may_panic() {
        let (mut writer, let_go, seen) = writer();
        writer.aside_wait = LONG;
        drop(let_go);
        assert!(writer.show(Some(Box::new(Drawn(seen.clone())))));
        writer.say("text");
        let printed = writer.aside(|| {
            writer.aside(|| seen.lock().unwrap().push_str("printed"));
            7
        });
        assert_eq!(printed, 7);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.aside(|| panic!("closed")))).is_err());
        assert!(!IS_ASIDE.get());
        assert!(writer.show(None) && writer.flush(LONG));
        assert!(seen.lock().unwrap().starts_with("<away>text<back><away>printed<back>"), "{}", seen.lock().unwrap());
    }

    #[test]
    fn a_terminal_that_takes_nothing_holds_nobody_up_who_prints_elsewhere() {
        let (writer, let_go, seen) = writer();
        assert!(writer.show(Some(Box::new(Drawn(seen)))));
        writer.say("stuck");
        assert_eq!(writer.aside(|| 7), 7);
        drop(let_go);
    }
}
