//! What everybody on the machine does: the CPU time of all processes and what the hypervisor took away.

use std::time::Duration;

use super::source::Source;
use super::{UsableCpus, usable_cpus};

/// What the CPUs this process may use have done since the machine started, whoever made them do it. The kernel counts
/// in ticks, usually of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Time spent running anything: programs, the kernel, interrupts.
    pub busy: Duration,
    /// Time in which a CPU had work and the hypervisor ran something else.
    pub stolen: Duration,
}

/// The times of the usable CPUs, all together; `None` where the system does not say. Reads one file.
pub fn usable_cpu_times() -> Option<CpuTimes> {
    CpuTimes::read(&Source::system(), usable_cpus(), rustix::param::clock_ticks_per_second())
}

/// The number of tasks that ran or wanted to, over the last minute; `None` where the system does not say.
pub fn load_average() -> Option<f64> {
    Source::system().read_optional("/proc/loadavg")?.split(' ').next()?.parse().ok()
}

impl CpuTimes {
    fn read(source: &Source, usable: &UsableCpus, ticks_per_s: u64) -> Option<Self> {
        let stat = source.read_optional("/proc/stat")?;
        let mut times = None;
        for line in stat.lines() {
            let mut words = line.split_ascii_whitespace();
            let cpu = words.next().and_then(|name| name.strip_prefix("cpu")?.parse::<usize>().ok());
            if !cpu.is_some_and(|cpu| usable.ids().iter().any(|id| id.0 == cpu)) {
                continue;
            }
            // user nice system idle iowait irq softirq steal; guests' time, which follows, is within user's.
            let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
            let at = |place: usize| ticks.get(place).copied().unwrap_or(0);
            let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_s.max(1) as f64);
            let sum = times.get_or_insert_with(CpuTimes::default);
            sum.busy += time(at(0) + at(1) + at(2) + at(5) + at(6));
            sum.stolen += time(at(7));
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::tree;
    use super::super::{CpuId, CpuTopology};
    use super::*;

    #[test]
    fn busy_and_stolen_time_are_summed_over_the_usable_cpus_only() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 1 20 5000 70 3 6 40 50 0\ncpu1 0 0 0 1 0 0 0 5 0 0\n\
                    cpu10 7 7 7 7 7 7 7 7 7 7\nintr 1\n";
        let (_directory, source) = tree(&[("/proc/stat", stat)]);
        let usable = UsableCpus::new(vec![CpuId(0), CpuId(1)], None, CpuTopology::default());
        let times = CpuTimes::read(&source, &usable, 100).unwrap();
        assert_eq!((times.busy, times.stolen), (Duration::from_millis(1_300), Duration::from_millis(450)));
    }

    #[test]
    fn what_is_hidden_is_unknown() {
        let usable = UsableCpus::new(vec![CpuId(3)], None, CpuTopology::default());
        let (_directory, source) = tree(&[]);
        assert_eq!(CpuTimes::read(&source, &usable, 100), None);
        let (_directory, source) = tree(&[("/proc/stat", "cpu  1 2 3\n")]);
        assert_eq!(CpuTimes::read(&source, &usable, 100), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_a_load() {
        assert!(load_average().is_some_and(|load| load >= 0.0));
    }
}
