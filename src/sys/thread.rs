//! Threads: the only place of the crate that names the standard library's (or, under `--cfg squall_loom`, loom's).

use std::io;

#[cfg(squall_loom)]
use loom::{hint, thread as imp};
#[cfg(not(squall_loom))]
use std::{hint, thread as imp};

#[cfg(not(squall_loom))]
pub use std::thread::park_timeout;

pub use imp::{JoinHandle, Thread, ThreadId, current, park, yield_now};

/// As much as the main thread has: a value of a process may be 400 lists deep, and some ways of writing it down go down
/// with it. What is not used is no memory.
#[cfg(not(squall_loom))]
const STACK_BYTES: usize = 8 << 20;

/// True while this thread unwinds.
pub use std::thread::panicking;
/// Threads that end before the call does, and may borrow.
pub use std::thread::scope;

/// Starts a thread with a name that operating-system tools show (Linux shows the first 15 bytes).
///
/// The thread inherits the affinity mask of its parent: a thread started from a pinned one is pinned to the same CPU
/// until it pins itself elsewhere.
///
/// # Errors
///
/// The operating system refused another thread, or the name contains a NUL byte.
///
/// # Examples
///
/// ```
/// use squall::sys::thread;
///
/// let answer = thread::spawn_named("squall-example", || 6 * 7)?;
/// assert_eq!(answer.join().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn spawn_named<F, T>(name: impl Into<String>, body: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let name = name.into();
    // The standard library panics on such a name; a name may come from a settings file, so it is an error here.
    if name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a thread name cannot contain a NUL byte"));
    }
    let builder = imp::Builder::new().name(name);
    #[cfg(not(squall_loom))]
    let builder = builder.stack_size(STACK_BYTES);
    builder.spawn(body)
}

/// Like [`spawn_named`], for a thread that serves an executor and may be started by it: it does not inherit the
/// executor's pin, but may run on every usable CPU.
///
/// # Errors
///
/// As [`spawn_named`].
pub fn spawn_helper<F, T>(name: impl Into<String>, body: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_named(name, move || {
        super::cpu::unpin_current_thread();
        body()
    })
}

/// Makes the time-outs of the calling thread's [`park_timeout`] end on time. By default the operating system may let
/// them end 50 µs late, to wake fewer CPUs. Does nothing where there is no such thing.
pub fn end_timeouts_on_time() {
    #[cfg(target_os = "linux")]
    {
        // A thread that may not ask for it is as well off as by default.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}

/// Tells the CPU that this thread is spinning: a few to about a hundred nanoseconds, never a system call.
#[inline]
pub fn spin_hint() {
    hint::spin_loop();
}

/// The identity of the calling thread, unique within the process and never reused.
pub fn current_id() -> ThreadId {
    current().id()
}

/// The operating system's number of the calling thread, as `top -H` and `perf` show it; `None` where there is none.
pub fn current_os_id() -> Option<u32> {
    #[cfg(target_os = "linux")]
    return Some(rustix::thread::gettid().as_raw_pid().unsigned_abs());
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// How many threads the standard library believes can run at once; at least one. For CPUs with their numbers, ask
/// [`usable_cpus`](super::cpu::usable_cpus).
pub fn available_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// In a model no time passes, so a time-out never fires: a wake-up that the protocol loses shows as a deadlock.
#[cfg(squall_loom)]
pub fn park_timeout(_timeout: std::time::Duration) {
    park();
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_spawned_thread_has_its_name_an_identity_of_its_own_and_returns_its_value() {
        let handle = spawn_named("squall-t", || (current().name().map(str::to_owned), current_id(), current_os_id()));
        let (name, id, os_id) = handle.unwrap().join().unwrap();
        assert_eq!(name.as_deref(), Some("squall-t"));
        assert_ne!(id, current_id());
        if cfg!(target_os = "linux") {
            assert_ne!(os_id.unwrap(), current_os_id().unwrap());
        }
    }

    #[test]
    fn a_name_with_a_nul_byte_is_an_error_and_not_a_panic() {
        let error = spawn_named("a\0b", || ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
