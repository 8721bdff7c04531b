//! Pinning a thread to one CPU, and reading back whether it worked.

use std::{fmt, io};

use super::CpuId;
use super::usable::{affinity_mask, usable_cpus};

/// CPU sets of the operating system's interface end here; `core_affinity` panics beyond.
const CPU_ID_MAX: usize = 1_023;

/// The outcome of a pin that the system accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pinned {
    /// The CPU that was asked for.
    pub requested: CpuId,
    /// The CPU the thread was found running on afterwards; `None` where the system does not tell.
    pub actual: Option<CpuId>,
}

impl Pinned {
    /// False if the thread was seen on another CPU than the one requested, which a report should show.
    pub fn holds(&self) -> bool {
        self.actual.is_none_or(|actual| actual == self.requested)
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.actual {
            Some(actual) if actual == self.requested => write!(f, "CPU {actual}"),
            Some(actual) => write!(f, "requested CPU {}, runs on {actual}", self.requested),
            None => write!(f, "CPU {} (not verified)", self.requested),
        }
    }
}

/// Why a thread could not be pinned. It keeps running, unpinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinError {
    cpu: CpuId,
    reason: String,
}

impl PinError {
    /// The CPU that was asked for.
    pub fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// The reason, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot pin to CPU {}: {}", self.cpu, self.reason)
    }
}

impl std::error::Error for PinError {}

/// Pins the calling thread to one CPU and reads back where it runs. Threads it starts from now on inherit the pin.
///
/// Enumerates [`usable_cpus`] first if nothing has, so that a pin never narrows what the process believes it may use.
/// Costs a few system calls.
///
/// # Errors
///
/// The system refused (no such CPU, or it is outside the process's cpuset), or accepted and set another mask.
pub fn pin_current_thread(cpu: CpuId) -> Result<Pinned, PinError> {
    usable_cpus();
    let refused = |reason: String| PinError { cpu, reason };
    if cpu.0 > CPU_ID_MAX {
        return Err(refused(format!("only CPUs up to {CPU_ID_MAX} can be pinned to")));
    }
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu.0 }) {
        return Err(refused(io::Error::last_os_error().to_string()));
    }
    if let Some(mask) = affinity_mask()
        && mask != [cpu]
    {
        return Err(refused(format!("the system accepted, but the thread may run on {} CPUs", mask.len())));
    }
    Ok(Pinned { requested: cpu, actual: current_cpu() })
}

/// Lets the calling thread run on every usable CPU again, whatever it inherited from the thread that started it.
///
/// For threads that serve an executor (readers, client libraries): left with the executor's mask they would take turns
/// with it on its CPU. Best effort: where the system refuses, the thread keeps its mask.
pub fn unpin_current_thread() {
    allow_current_thread(usable_cpus().ids().iter().copied());
}

/// Lets the calling thread, and those that it starts, run on every usable CPU but these; on all if there are no others.
///
/// For threads that work in bursts beside executors: the system likes to put a thread that an executor wakes on that
/// executor's CPU, where the two then take turns by milliseconds. Best effort, as
/// [`unpin_current_thread`].
pub fn keep_off_current_thread(cpus: &[CpuId]) {
    let others: Vec<CpuId> = usable_cpus().ids().iter().copied().filter(|cpu| !cpus.contains(cpu)).collect();
    if others.is_empty() { unpin_current_thread() } else { allow_current_thread(others.into_iter()) }
}

fn allow_current_thread(cpus: impl Iterator<Item = CpuId>) {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        cpus.filter(|cpu| cpu.0 < rustix::thread::CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu.0));
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            tracing::debug!(%error, "a helper thread keeps the affinity mask of its parent");
        }
    }
    #[cfg(not(target_os = "linux"))]
    drop(cpus);
}

fn current_cpu() -> Option<CpuId> {
    #[cfg(target_os = "linux")]
    return Some(CpuId(rustix::thread::sched_getcpu()));
    #[cfg(not(target_os = "linux"))]
    return None;
}

#[cfg(all(test, target_os = "linux", not(squall_loom)))]
mod tests {
    use super::*;
    use crate::sys::thread;

    /// On a thread of its own: a pin stays with its thread.
    fn on_a_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        thread::spawn_named("pin-test", body).unwrap().join().unwrap()
    }

    #[test]
    fn a_thread_that_keeps_off_some_cpus_may_run_on_the_others_or_on_all_if_there_are_none() {
        let all: Vec<CpuId> = usable_cpus().ids().to_vec();
        let first = all[0];
        let keep_off = |cpus: Vec<CpuId>| on_a_thread(move || (keep_off_current_thread(&cpus), affinity_mask()).1);
        assert_eq!(keep_off(all.clone()), Some(all.clone()));
        let others: Vec<CpuId> = all.iter().copied().filter(|cpu| *cpu != first).collect();
        assert_eq!(keep_off(vec![first]), Some(if others.is_empty() { all } else { others }));
    }

    #[test]
    fn a_pinned_thread_is_found_on_its_cpu_and_its_children_with_it() {
        let cpu = *usable_cpus().ids().last().unwrap();
        let (pinned, child_mask) = on_a_thread(move || (pin_current_thread(cpu), on_a_thread(affinity_mask)));
        let pinned = pinned.unwrap();
        assert_eq!(pinned, Pinned { requested: cpu, actual: Some(cpu) });
        assert!(pinned.holds());
        assert_eq!(child_mask, Some(vec![cpu]));
    }

    #[test]
    fn an_unpinned_child_of_a_pinned_thread_may_run_everywhere() {
        let mask = on_a_thread(|| {
            pin_current_thread(usable_cpus().ids()[0]).unwrap();
            thread::spawn_helper("unpin-test", affinity_mask).unwrap().join().unwrap()
        });
        assert_eq!(mask.as_deref(), Some(usable_cpus().ids()));
    }

    #[test]
    fn pinning_does_not_change_what_the_process_may_use() {
        let before = usable_cpus().ids().to_vec();
        let after = on_a_thread(move || {
            pin_current_thread(usable_cpus().ids()[0]).unwrap();
            usable_cpus().ids().to_vec()
        });
        assert_eq!(before, after);
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error_with_the_reason_and_changes_nothing() {
        for id in [1_023, 1_024, usize::MAX] {
            let (error, mask) = on_a_thread(move || (pin_current_thread(CpuId(id)).unwrap_err(), affinity_mask()));
            assert_eq!(error.cpu(), CpuId(id));
            assert!(!error.reason().is_empty());
            assert_eq!(mask.as_deref(), Some(usable_cpus().ids()));
        }
    }

    #[test]
    fn a_pin_that_does_not_hold_says_so() {
        let pinned = Pinned { requested: CpuId(3), actual: Some(CpuId(1)) };
        assert!(!pinned.holds());
        assert_eq!(pinned.to_string(), "requested CPU 3, runs on 1");
    }
}
