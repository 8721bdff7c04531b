//! Threads of the lab's own, each on a CPU of its own.

use std::panic::resume_unwind;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::error::{Error, Result};
use crate::sys::cpu::{CpuId, pin_current_thread};
use crate::sys::thread::{JoinHandle, spawn_named};

/// A thread that is on its way to its CPU and then runs a measurement.
pub(crate) struct Pinned<T>(JoinHandle<Result<T>>);

/// Runs `body` on a new thread pinned to this CPU.
///
/// # Errors
/// When the system refuses another thread.
pub(crate) fn spawn<T: Send + 'static>(cpu: CpuId, body: impl FnOnce() -> T + Send + 'static) -> Result<Pinned<T>> {
    let thread = spawn_named(format!("bench-cpu{cpu}"), move || match pin_current_thread(cpu) {
        Ok(_) => Ok(body()),
        Err(error) => {
            Err(Error::usage("--cpus", format!("{error}; a floor is only one on a CPU that the thread does not leave")))
        }
    });
    thread.map(Pinned).map_err(|error| Error::io("starting a thread to measure with", &error))
}

impl<T> Pinned<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it could not be pinned; `body` has not run then.
    ///
    /// # Panics
    /// As `body` does.
    pub fn join(self) -> Result<T> {
        self.0.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Runs `body` on a thread pinned to this CPU and waits for it.
///
/// # Errors
/// When the system refuses the thread or the CPU.
pub(crate) fn on_cpu<T: Send + 'static>(cpu: CpuId, body: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn(cpu, body)?.join()
}

/// Runs two bodies at the same time on two threads, each pinned to its CPU, beginning when both are there. They may
/// wait for each other by spinning: if one cannot run, neither does.
///
/// # Errors
/// When the system refuses a thread or a CPU.
pub(crate) fn pair<A: Send + 'static, B: Send + 'static>(
    cpus: [CpuId; 2],
    first: impl FnOnce() -> A + Send + 'static,
    second: impl FnOnce() -> B + Send + 'static,
) -> Result<(A, B)> {
    let (here, there) = meeting();
    let first = spawn(cpus[0], move || here.meet().then(first))?;
    let second = spawn(cpus[1], move || there.meet().then(second))?;
    // Both are waited for before either's error is told; one that found itself alone has none to tell.
    let (first, second) = (first.join(), second.join());
    match (first?, second?) {
        (Some(first), Some(second)) => Ok((first, second)),
        _ => unreachable!("a thread that could be pinned comes to the meeting"),
    }
}

/// One side of two threads that wait for each other.
struct Meeting {
    other: Sender<()>,
    own: Receiver<()>,
}

fn meeting() -> (Meeting, Meeting) {
    let ((to_first, of_first), (to_second, of_second)) = (bounded(1), bounded(1));
    (Meeting { other: to_second, own: of_first }, Meeting { other: to_first, own: of_second })
}

impl Meeting {
    /// Waits for the other side; false if it has gone without coming.
    fn meet(self) -> bool {
        self.other.send(()).is_ok() && self.own.recv().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cpu::usable_cpus;

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error_that_names_the_option() {
        let error = on_cpu(CpuId(1_000), || ()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("--cpus"), "{error}");
    }

    #[test]
    fn if_one_of_two_cannot_run_the_other_does_not_either() {
        let cpu = usable_cpus().ids()[0];
        for cpus in [[cpu, CpuId(1_000)], [CpuId(1_000), cpu]] {
            let body = || panic!("it runs alone");
            let error = pair::<(), ()>(cpus, body, body).unwrap_err();
            assert!(error.is_usage(), "{error}");
        }
        assert_eq!(pair([cpu, cpu], || 1, || 2).unwrap(), (1, 2));
    }
}
