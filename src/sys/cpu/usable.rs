//! The CPUs this process may use, enumerated once.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::source::{Source, field};
use super::{CpuId, CpuTopology, parse_cpu_list, quota};
use crate::sys::thread;

/// The CPUs this process may use, as they were when it was first asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableCpus {
    /// Ascending, never empty.
    ids: Vec<CpuId>,
    quota: Option<usize>,
    topology: CpuTopology,
}

/// The CPUs this process may use, enumerated at the first call and the same ever after.
///
/// The first call reads the affinity mask of the calling thread, so it must come before that thread is pinned by other
/// means than this module; [`pin_current_thread`](super::pin_current_thread) makes the call itself before it pins.
pub fn usable_cpus() -> &'static UsableCpus {
    static USABLE: OnceLock<UsableCpus> = OnceLock::new();
    USABLE.get_or_init(|| UsableCpus::read(&Source::system(), affinity_mask()))
}

/// How many executors a topology gets unless told: the usable CPUs, after the quota, minus one, at least one.
///
/// The CPU left over carries everything else: the operating system, HTTP, checkpoint writers, client libraries.
pub fn default_executor_count() -> usize {
    usable_cpus().count().saturating_sub(1).max(1)
}

impl UsableCpus {
    fn read(source: &Source, mask: Option<Vec<CpuId>>) -> Self {
        let topology = CpuTopology::read(source);
        let ids = mask
            .or_else(|| allowed_list(source, topology.online()))
            .filter(|ids| !ids.is_empty())
            .unwrap_or_else(|| (0..thread::available_count()).map(CpuId).collect());
        UsableCpus::new(ids, quota::cpu_quota(source), topology)
    }

    pub(super) fn new(ids: Vec<CpuId>, quota: Option<usize>, topology: CpuTopology) -> Self {
        assert!(!ids.is_empty(), "a process runs on at least one CPU");
        assert!(quota != Some(0), "a quota is at least one CPU");
        UsableCpus { ids, quota, topology }
    }

    /// The usable CPUs, ascending; at least one.
    pub fn ids(&self) -> &[CpuId] {
        &self.ids
    }

    /// How many of them may be busy at once: their number, or the quota where that is smaller; at least one.
    pub fn count(&self) -> usize {
        self.quota.map_or(self.ids.len(), |quota| quota.min(self.ids.len()))
    }

    /// The control group's limit in whole CPUs, if there is one.
    pub fn quota(&self) -> Option<usize> {
        self.quota
    }

    /// How the machine's CPUs lie.
    pub fn topology(&self) -> &CpuTopology {
        &self.topology
    }

    /// The usable CPUs in the order in which executors should take them.
    ///
    /// Isolated CPUs come first, then one hardware thread of every core, node by node, then the cores' further threads.
    /// The lowest CPU that is not isolated is last: device interrupts and housekeeping usually run there, so it is the
    /// best one to leave to everything that is not an executor.
    pub fn preferred(&self) -> Vec<CpuId> {
        let is_ordinary = |cpu: &&CpuId| !self.topology.is_isolated(**cpu);
        let leftover = *self.ids.iter().find(is_ordinary).unwrap_or(&self.ids[0]);
        let mut taken_of_core: BTreeMap<CpuId, usize> = BTreeMap::new();
        let mut ranked: Vec<_> = (self.ids.iter().copied().filter(|&cpu| cpu != leftover))
            .map(|cpu| {
                let taken = taken_of_core.entry(self.topology.core_of(cpu)).or_default();
                *taken += 1;
                (!self.topology.is_isolated(cpu), *taken, self.topology.node_of(cpu), cpu)
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(.., cpu)| cpu).chain([leftover]).collect()
    }

    /// Isolated CPUs that are online but outside the affinity mask, as `isolcpus=` leaves them: a thread may still pin
    /// itself there, so they are handed out, but only to who names them.
    pub fn on_request(&self) -> Vec<CpuId> {
        let is_outside = |cpu: &CpuId| self.ids.binary_search(cpu).is_err();
        let is_online = |cpu: &CpuId| self.topology.online().binary_search(cpu).is_ok();
        self.topology.isolated().iter().copied().filter(|cpu| is_outside(cpu) && is_online(cpu)).collect()
    }
}

/// The calling thread's affinity mask, ascending; `None` where the system does not tell.
pub(super) fn affinity_mask() -> Option<Vec<CpuId>> {
    #[cfg(target_os = "linux")]
    {
        // Fails on machines with more CPUs than the set holds; the caller then has the list in /proc.
        let mask = rustix::thread::sched_getaffinity(None).ok()?;
        Some((0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).map(CpuId).collect())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The same mask from `/proc`, in which CPUs that are switched off may still appear.
fn allowed_list(source: &Source, online: &[CpuId]) -> Option<Vec<CpuId>> {
    let status = source.read_optional("/proc/thread-self/status")?;
    let mut allowed = parse_cpu_list(field(&status, "Cpus_allowed_list")?).ok()?;
    if !online.is_empty() {
        allowed.retain(|cpu| online.binary_search(cpu).is_ok());
    }
    Some(allowed)
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::tree;
    use super::super::topology::tests::two_nodes;
    use super::*;

    fn cpus(ids: &[usize]) -> Vec<CpuId> {
        ids.iter().copied().map(CpuId).collect()
    }

    #[test]
    fn cores_come_before_their_siblings_and_the_lowest_cpu_last() {
        let usable = UsableCpus::new(cpus(&[0, 1, 2, 3, 4, 5, 6, 7]), None, two_nodes(""));
        assert_eq!(usable.preferred(), cpus(&[1, 4, 2, 3, 5, 6, 7, 0]));
    }

    #[test]
    fn isolated_cpus_in_the_mask_come_first() {
        let usable = UsableCpus::new(cpus(&[0, 1, 2, 3]), None, two_nodes("0,3"));
        assert_eq!(usable.preferred(), cpus(&[0, 3, 2, 1]));
    }

    #[test]
    fn isolated_cpus_outside_the_mask_are_there_on_request() {
        let usable = UsableCpus::new(cpus(&[0, 1, 2]), None, two_nodes("2-3,9"));
        assert_eq!(usable.on_request(), cpus(&[3]));
    }

    #[test]
    fn a_quota_limits_the_count_and_not_the_list() {
        let usable = UsableCpus::new(cpus(&[0, 1, 2, 3]), Some(2), CpuTopology::default());
        assert_eq!((usable.ids().len(), usable.count()), (4, 2));
        let usable = UsableCpus::new(cpus(&[5]), Some(9), CpuTopology::default());
        assert_eq!(usable.count(), 1);
    }

    #[test]
    fn one_cpu_is_preferred_even_when_it_is_the_leftover() {
        let usable = UsableCpus::new(cpus(&[5]), None, CpuTopology::default());
        assert_eq!(usable.preferred(), cpus(&[5]));
    }

    #[test]
    fn without_a_mask_the_list_in_proc_less_the_cpus_switched_off_is_used() {
        let (_directory, source) = tree(&[
            ("/proc/thread-self/status", "Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t2-5\n"),
            ("/sys/devices/system/cpu/online", "0-3"),
        ]);
        assert_eq!(UsableCpus::read(&source, None).ids(), cpus(&[2, 3]));
        assert_eq!(UsableCpus::read(&source, Some(cpus(&[1]))).ids(), cpus(&[1]));
    }

    #[test]
    fn without_mask_proc_and_sysfs_there_is_still_at_least_one_cpu() {
        let (_directory, source) = tree(&[]);
        let usable = UsableCpus::read(&source, None);
        assert_eq!(usable.ids()[0], CpuId(0));
        assert_eq!((usable.count(), usable.quota()), (usable.ids().len(), None));
    }

    #[test]
    fn executors_by_default_leave_one_usable_cpu_free_unless_there_is_only_one() {
        let count = usable_cpus().count();
        assert_eq!(default_executor_count(), if count > 1 { count - 1 } else { 1 });
    }
}
