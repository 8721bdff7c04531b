//! Whether a silent child is busy or dead.
//!
//! Storm calls a child dead that has not answered a heartbeat in time, also if the heartbeat still waits behind work in
//! the pipe. Here a silent child counts as busy, and is left alone, while it uses CPU time or reads its input; but not
//! for ever, since a child that spins uses CPU time too. The CPU time is that of its whole process group: the child may
//! be a shell that has started what does the work.

use std::time::Duration;

use crate::sys::child::Process;
use crate::sys::clock::Clock;
use crate::sys::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How many times its time-out a child may be silent while it is busy.
pub(super) const BUSY_FACTOR: u64 = 4;

/// Signs of life, noted by whoever talks to the child.
#[derive(Debug)]
pub(super) struct Signs {
    clock: Clock,
    last_ns: AtomicU64,
    /// The child has been asked for something: only then does silence count.
    owes: AtomicBool,
    written_bytes: AtomicU64,
    /// A message to it does not fit into its pipe.
    is_writing: AtomicBool,
    /// Replies that it has not read, while nothing more is read from it because of them.
    unread_replies: AtomicUsize,
}

impl Signs {
    pub fn new() -> Self {
        let (last_ns, owes, written_bytes) = (AtomicU64::new(0), AtomicBool::new(true), AtomicU64::new(0));
        let (is_writing, unread_replies) = (AtomicBool::new(false), AtomicUsize::new(0));
        Signs { clock: Clock::real(), last_ns, owes, written_bytes, is_writing, unread_replies }
    }

    /// It has written something.
    pub fn note(&self) {
        self.last_ns.store(self.clock.now_ns(), Ordering::Relaxed);
    }

    /// How long it has written nothing.
    pub fn silent(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns().saturating_sub(self.last_ns.load(Ordering::Relaxed)))
    }

    /// From now on it owes an answer, or none.
    pub fn owes(&self, owes: bool) {
        self.note();
        self.owes.store(owes, Ordering::Relaxed);
    }

    /// It is about to be sent something.
    pub fn writes(&self) {
        self.is_writing.store(true, Ordering::Relaxed);
    }

    /// While so many replies have not been read by it, nothing more is read from it; none ends that.
    pub fn waits_for_reading(&self, replies: usize) {
        self.unread_replies.store(replies, Ordering::Relaxed);
    }

    /// The replies that have not been read, while these are too many.
    pub fn unread_replies(&self) -> usize {
        self.unread_replies.load(Ordering::Relaxed)
    }

    /// Who waits for whom, if it is for the child to read.
    fn waits_for(&self) -> String {
        match self.unread_replies() {
            0 if self.is_writing.load(Ordering::Relaxed) => "; it does not read its input".to_owned(),
            0 => String::new(),
            replies => format!(
                "; it has not read the task ids of {replies} emits, and until it has, nothing more is read from it: \
                 each waits for the other. Read the ids as they come, emit with `need_task_ids` false, or raise \
                 topology.multilang.unread.max.bytes"
            ),
        }
    }

    /// It has been sent something.
    pub fn wrote(&self, bytes: usize) {
        self.is_writing.store(false, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Looks at a child every now and then.
#[derive(Debug)]
pub(super) struct Watch {
    timeout_ns: u64,
    /// When it was last seen to read its input or to use CPU time.
    busy_at_ns: u64,
    /// Only while it is silent.
    cpu_ticks: Option<u64>,
    consumed_bytes: u64,
}

impl Watch {
    pub fn new(timeout: Duration) -> Self {
        Watch { timeout_ns: timeout.as_nanos() as u64, busy_at_ns: 0, cpu_ticks: None, consumed_bytes: 0 }
    }

    /// How often to look.
    pub fn period(&self) -> Duration {
        Duration::from_nanos((self.timeout_ns / 4).clamp(10_000_000, 1_000_000_000))
    }

    /// Why the child has to be given up, if it has to.
    pub fn look(&mut self, process: &Process, signs: &Signs) -> Option<String> {
        let written = signs.written_bytes.load(Ordering::Relaxed);
        let consumed = process.unread_bytes().map_or(0, |unread| written.saturating_sub(unread));
        // Looked up only for a child that is silent: it costs a look at every process of the machine.
        let silent_ns = signs.clock.now_ns().saturating_sub(signs.last_ns.load(Ordering::Relaxed));
        let is_silent = signs.owes.load(Ordering::Relaxed) && silent_ns > self.timeout_ns / 4;
        let ticks = if is_silent { process.cpu_ticks() } else { None };
        self.judge(signs, ticks, consumed)
    }

    fn judge(&mut self, signs: &Signs, cpu_ticks: Option<u64>, consumed_bytes: u64) -> Option<String> {
        let now_ns = signs.clock.now_ns();
        // Less than before: one of its processes has ended.
        let has_worked = matches!((self.cpu_ticks, cpu_ticks), (Some(before), Some(now)) if before != now);
        if has_worked || consumed_bytes > self.consumed_bytes {
            self.busy_at_ns = now_ns;
        }
        (self.cpu_ticks, self.consumed_bytes) = (cpu_ticks, consumed_bytes);
        let last_ns = signs.last_ns.load(Ordering::Relaxed);
        let silent_ns = now_ns.saturating_sub(last_ns);
        let idle_ns = now_ns.saturating_sub(last_ns.max(self.busy_at_ns));
        let shown = |ns: u64| humantime::format_duration(Duration::from_millis(ns / 1_000_000)).to_string();
        if !signs.owes.load(Ordering::Relaxed) {
            None
        } else if idle_ns >= self.timeout_ns {
            Some(format!(
                "hangs: for {} it has not written, read or used CPU time{}",
                shown(idle_ns),
                signs.waits_for()
            ))
        } else if silent_ns >= self.timeout_ns.saturating_mul(BUSY_FACTOR) {
            Some(format!("hangs: for {} it has been busy without writing anything", shown(silent_ns)))
        } else {
            None
        }
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn at(signs: &Signs, seconds: u64) {
        signs.clock.advance_to(seconds * SECOND_NS);
    }

    fn signs() -> Signs {
        Signs { clock: Clock::virtual_at_zero(), ..Signs::new() }
    }

    #[test]
    fn an_idle_child_is_dead_after_its_timeout_and_a_busy_one_later() {
        let (signs, mut idle, mut busy) =
            (signs(), Watch::new(Duration::from_secs(30)), Watch::new(Duration::from_secs(30)));
        signs.note();
        for seconds in 1..30 {
            at(&signs, seconds);
            assert_eq!(idle.judge(&signs, Some(0), 0), None);
            assert_eq!(busy.judge(&signs, Some(seconds), 0), None);
        }
        at(&signs, 30);
        assert!(idle.judge(&signs, Some(0), 0).unwrap().contains("for 30s it has not written"));
        for seconds in 30..120 {
            at(&signs, seconds);
            assert_eq!(busy.judge(&signs, Some(seconds), 0), None, "it uses CPU time");
        }
        at(&signs, 120);
        assert!(busy.judge(&signs, Some(120), 0).unwrap().contains("busy"));
    }

    #[test]
    fn reading_its_input_is_a_sign_of_life_and_owing_nothing_is_no_silence() {
        let (signs, mut watch) = (signs(), Watch::new(Duration::from_secs(10)));
        at(&signs, 9);
        assert_eq!(watch.judge(&signs, Some(0), 500), None);
        at(&signs, 18);
        assert_eq!(watch.judge(&signs, Some(0), 500), None);
        signs.owes(false);
        at(&signs, 100);
        assert_eq!(watch.judge(&signs, Some(0), 500), None);
        signs.owes(true);
        assert_eq!(watch.judge(&signs, Some(0), 500), None, "the silence begins with the question");
        at(&signs, 110);
        assert!(watch.judge(&signs, Some(0), 500).is_some());
    }
}
