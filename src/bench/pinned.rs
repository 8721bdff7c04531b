//! Threads of the lab's own, each on a CPU of its own.

use std::panic::resume_unwind;

use crate::bench::session::Options;
use crate::error::{Error, Result};
use crate::sys::cpu::{CpuId, pin_current_thread, usable_cpus};
use crate::sys::thread::{JoinHandle, spawn_named};

/// The CPUs that measured threads take, in this order: those the options name, or all usable ones, best first.
pub(crate) fn cpus(options: &Options) -> Vec<CpuId> {
    if options.cpus.is_empty() { usable_cpus().preferred() } else { options.cpus.iter().copied().map(CpuId).collect() }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error_that_names_the_option() {
        let error = on_cpu(CpuId(1_000), || ()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("--cpus"), "{error}");
    }

    #[test]
    fn cpus_that_are_named_are_taken_in_that_order() {
        let options = Options { cpus: vec![3, 1], ..Options::default() };
        assert_eq!(cpus(&options), [CpuId(3), CpuId(1)]);
        assert_eq!(cpus(&Options::default()), usable_cpus().preferred());
    }
}
