//! The machine, as a report names it.

use super::source::{Source, field, kib_field_bytes};
use super::{UsableCpus, usable_cpus};

/// What a number was measured on: every report that prints a latency also prints this.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Machine {
    /// The processor's name for itself, or `unknown`.
    pub cpu_model: String,
    /// Logical CPUs switched on.
    pub cpus_online: usize,
    /// CPUs this process may keep busy: affinity mask and quota counted in.
    pub cpus_usable: usize,
    /// Name and release of the operating system's kernel.
    pub kernel: String,
    /// How the first usable CPU chooses its frequency (`performance`, `powersave`, …); `None` if the system, as most
    /// virtual machines, does not say.
    pub governor: Option<String>,
    /// The machine's memory, not the control group's share of it; `None` if the system does not say.
    pub memory_bytes: Option<u64>,
}

/// Describes this machine. Reads a few small files at every call.
pub fn machine() -> Machine {
    let name = rustix::system::uname();
    let kernel = format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy());
    Machine::read(&Source::system(), usable_cpus(), kernel)
}

impl Machine {
    fn read(source: &Source, usable: &UsableCpus, kernel: String) -> Self {
        // "model name" on x86, "Model" or "Hardware" on some ARM boards, "cpu" on POWER.
        let cpu_info = source.read_optional("/proc/cpuinfo").unwrap_or_default();
        let cpu_model = ["model name", "Model", "Hardware", "cpu"].iter().find_map(|name| field(&cpu_info, name));
        let governor = format!("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", usable.ids()[0]);
        let memory = source.read_optional("/proc/meminfo").unwrap_or_default();
        Machine {
            cpu_model: cpu_model.unwrap_or("unknown").to_owned(),
            cpus_online: usable.topology().online().len().max(usable.ids().len()),
            cpus_usable: usable.count(),
            kernel,
            governor: source.read_optional(governor).map(|text| text.trim().to_owned()),
            memory_bytes: kib_field_bytes(&memory, "MemTotal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::tree;
    use super::super::topology::tests::two_nodes;
    use super::super::{CpuId, CpuTopology};
    use super::*;

    #[test]
    fn a_machine_is_read_from_proc_and_sysfs() {
        let (_directory, source) = tree(&[
            ("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Frog 9000\n\nprocessor\t: 1\nmodel name\t: Other\n"),
            ("/proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n"),
            ("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n"),
        ]);
        let usable = UsableCpus::new(vec![CpuId(2), CpuId(3)], Some(1), two_nodes(""));
        let expected = Machine {
            cpu_model: "Frog 9000".into(),
            cpus_online: 8,
            cpus_usable: 1,
            kernel: "Linux 6".into(),
            governor: Some("powersave".into()),
            memory_bytes: Some(2_097_152),
        };
        assert_eq!(Machine::read(&source, &usable, "Linux 6".into()), expected);
    }

    #[test]
    fn what_the_system_does_not_say_is_unknown() {
        let (_directory, source) = tree(&[]);
        let usable = UsableCpus::new(vec![CpuId(0)], None, CpuTopology::default());
        let machine = Machine::read(&source, &usable, "K".into());
        assert_eq!((machine.cpu_model.as_str(), machine.cpus_online), ("unknown", 1));
        assert_eq!((machine.governor, machine.memory_bytes), (None, None));
    }

    #[test]
    fn this_machine_serialises_with_its_field_names() {
        let json = serde_json::to_value(machine()).unwrap();
        assert!(json["cpus_usable"].as_u64().unwrap() >= 1);
        assert!(json["cpus_online"].as_u64() >= json["cpus_usable"].as_u64());
        assert!(!json["kernel"].as_str().unwrap().trim().is_empty());
    }
}
