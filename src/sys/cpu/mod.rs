//! CPUs: which ones this process may use, how they lie, who has them, and pinning a thread to one.
//!
//! Three facts shape this module. A thread inherits its parent's affinity mask, so the usable CPUs are enumerated once,
//! before anything is pinned ([`usable_cpus`]). A control group's quota limits CPU *time*, not CPUs, so it limits how
//! many are handed out, not which ([`UsableCpus::count`]). And two spinners on one CPU ruin each other, so all
//! topologies of a process draw from one register ([`CpuRegister`]).
//!
//! Where `/sys` or `/proc` is missing or hidden (some containers, other systems than Linux) everything still answers:
//! without a mask the CPUs are numbered from 0 up to the standard library's count, each is a core of its own on node 0,
//! there is no quota, and elsewhere than on Linux a pin is not read back.

mod list;
mod load;
mod machine;
mod pin;
mod quota;
mod register;
mod source;
mod topology;
mod usable;
mod usage;

use std::fmt;

pub use list::{CpuListError, parse_cpu_list};
pub use load::{CpuTimes, load_average, usable_cpu_times};
pub use machine::{Machine, machine};
pub use pin::{PinError, Pinned, keep_off_current_thread, pin_current_thread, unpin_current_thread};
pub use register::{Claim, CpuRegister, Denial, Denied};
pub use topology::CpuTopology;
pub use usable::{UsableCpus, default_executor_count, usable_cpus};
pub use usage::{peak_rss_bytes, process_cpu_time, reset_peak_rss, thread_cpu_time};

/// The operating system's number of one logical CPU (a hardware thread).
///
/// Numbers may have gaps: an id is never a position in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct CpuId(pub usize);

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
