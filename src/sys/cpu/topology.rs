//! How the machine's CPUs lie: cores, NUMA nodes, isolation.

use std::collections::BTreeMap;
use std::io;

use super::source::Source;
use super::{CpuId, parse_cpu_list};

const CPU_DIRECTORY: &str = "/sys/devices/system/cpu";
const NODE_DIRECTORY: &str = "/sys/devices/system/node";

/// Cores, NUMA nodes and isolated CPUs of the machine.
///
/// What is not known is assumed simple: a CPU is a core of its own, on node 0, not isolated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTopology {
    online: Vec<CpuId>,
    isolated: Vec<CpuId>,
    core: BTreeMap<CpuId, CpuId>,
    node: BTreeMap<CpuId, usize>,
    notes: Vec<String>,
}

impl CpuTopology {
    /// Reads sysfs; one small file per CPU and node, so a few milliseconds on the largest machines.
    pub(super) fn read(source: &Source) -> Self {
        let mut topology = CpuTopology::default();
        topology.online = topology.list(source, &format!("{CPU_DIRECTORY}/online"));
        topology.isolated = topology.list(source, &format!("{CPU_DIRECTORY}/isolated"));
        for cpu in topology.online.clone() {
            let siblings = topology.list(source, &format!("{CPU_DIRECTORY}/cpu{cpu}/topology/thread_siblings_list"));
            if let Some(&lowest) = siblings.first() {
                topology.core.insert(cpu, lowest);
            }
        }
        for CpuId(node) in topology.list(source, &format!("{NODE_DIRECTORY}/online")) {
            for cpu in topology.list(source, &format!("{NODE_DIRECTORY}/node{node}/cpulist")) {
                topology.node.insert(cpu, node);
            }
        }
        topology
    }

    /// A list file. Missing is normal (then nothing is known); unreadable or garbled is noted.
    fn list(&mut self, source: &Source, path: &str) -> Vec<CpuId> {
        match source.read(path) {
            Ok(text) => parse_cpu_list(&text).unwrap_or_else(|error| {
                self.notes.push(format!("{path}: {error}"));
                Vec::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.notes.push(format!("{path}: {error}"));
                Vec::new()
            }
        }
    }

    /// The CPUs that are switched on, ascending; empty where that is not known.
    pub fn online(&self) -> &[CpuId] {
        &self.online
    }

    /// The CPUs the kernel keeps free of ordinary work (`isolcpus=`), ascending.
    pub fn isolated(&self) -> &[CpuId] {
        &self.isolated
    }

    /// True if the kernel schedules nothing on this CPU unasked.
    pub fn is_isolated(&self, cpu: CpuId) -> bool {
        self.isolated.binary_search(&cpu).is_ok()
    }

    /// The physical core of a CPU, named by its lowest hardware thread: equal for hyper-threading siblings.
    pub fn core_of(&self, cpu: CpuId) -> CpuId {
        self.core.get(&cpu).copied().unwrap_or(cpu)
    }

    /// The NUMA node of a CPU.
    pub fn node_of(&self, cpu: CpuId) -> usize {
        self.node.get(&cpu).copied().unwrap_or(0)
    }

    /// What could not be read or understood, one line each; empty on a healthy system, also where sysfs is missing.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::source::tests::tree;
    use super::*;

    /// Two nodes of two cores with two hardware threads each: cores (0,4) (1,5) on node 0, (2,6) (3,7) on node 1.
    pub(in crate::sys::cpu) fn two_nodes(isolated: &str) -> CpuTopology {
        let mut files = vec![
            ("/sys/devices/system/cpu/online".to_owned(), "0-7\n".to_owned()),
            ("/sys/devices/system/cpu/isolated".to_owned(), format!("{isolated}\n")),
            ("/sys/devices/system/node/online".to_owned(), "0-1\n".to_owned()),
            ("/sys/devices/system/node/node0/cpulist".to_owned(), "0-1,4-5\n".to_owned()),
            ("/sys/devices/system/node/node1/cpulist".to_owned(), "2-3,6-7\n".to_owned()),
        ];
        for cpu in 0..8 {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            files.push((path, format!("{},{}\n", cpu % 4, cpu % 4 + 4)));
        }
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (_directory, source) = tree(&files);
        CpuTopology::read(&source)
    }

    #[test]
    fn cores_nodes_and_isolation_are_read() {
        let topology = two_nodes("3,7");
        assert_eq!(topology.online().len(), 8);
        assert_eq!(topology.core_of(CpuId(6)), CpuId(2));
        assert_eq!(topology.core_of(CpuId(2)), CpuId(2));
        assert_eq!((topology.node_of(CpuId(5)), topology.node_of(CpuId(6))), (0, 1));
        assert!(topology.is_isolated(CpuId(7)) && !topology.is_isolated(CpuId(0)));
        assert!(topology.notes().is_empty());
    }

    #[test]
    fn without_sysfs_every_cpu_is_its_own_core_on_node_zero() {
        let (_directory, source) = tree(&[]);
        let topology = CpuTopology::read(&source);
        assert_eq!(topology, CpuTopology::default());
        assert_eq!((topology.core_of(CpuId(3)), topology.node_of(CpuId(3))), (CpuId(3), 0));
    }

    #[test]
    fn garbled_files_are_noted_and_otherwise_ignored() {
        let (_directory, source) = tree(&[
            ("/sys/devices/system/cpu/online", "0-1\n"),
            ("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "???"),
            ("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1"),
        ]);
        let topology = CpuTopology::read(&source);
        assert_eq!((topology.core_of(CpuId(0)), topology.core_of(CpuId(1))), (CpuId(0), CpuId(0)));
        assert_eq!(topology.notes().len(), 1);
        assert!(topology.notes()[0].contains("cpu0"));
    }
}
