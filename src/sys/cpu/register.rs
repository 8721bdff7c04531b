//! Who has which CPU: one register for all topologies of the process.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{CpuId, UsableCpus, usable_cpus};

/// Hands out CPUs to topologies, each to one at a time.
///
/// A topology claims CPUs before it starts threads and keeps the [`Claim`] until they have ended. A second topology
/// gets what is left, possibly nothing; executors without a CPU of their own run unpinned and must park, not spin.
///
/// # Examples
///
/// ```
/// use squall::sys::cpu::{CpuRegister, default_executor_count};
///
/// let claim = CpuRegister::global().claim(default_executor_count(), &[]);
/// for cpu in claim.cpus() {
///     println!("an executor on CPU {cpu}");
/// }
/// // dropping the claim gives the CPUs back
/// ```
#[derive(Clone, Debug)]
pub struct CpuRegister {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// In the order in which they are handed out.
    preferred: Vec<CpuId>,
    /// Handed out only to who names them.
    on_request: Vec<CpuId>,
    /// More than this many are never out at once: the quota, or all.
    out_max: usize,
    out: Mutex<BTreeSet<CpuId>>,
}

/// CPUs that belong to one topology until this is dropped. May be empty.
#[derive(Debug)]
#[must_use = "dropping a claim gives its CPUs back at once"]
pub struct Claim {
    shared: Arc<Shared>,
    cpus: Vec<CpuId>,
    denied: Vec<Denied>,
}

/// A CPU that was asked for by name and not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The CPU that was named.
    pub cpu: CpuId,
    /// Why it was not given.
    pub reason: Denial,
}

/// Why a named CPU was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// This process may not use it, or the machine does not have it.
    NotUsable,
    /// Another claim holds it.
    Taken,
    /// The control group's quota is used up.
    Quota,
    /// More CPUs were named than asked for.
    BeyondCount,
}

impl CpuRegister {
    /// The register of this process, over [`usable_cpus`].
    pub fn global() -> &'static CpuRegister {
        static GLOBAL: OnceLock<CpuRegister> = OnceLock::new();
        GLOBAL.get_or_init(|| CpuRegister::new(usable_cpus()))
    }

    /// A register of its own over these CPUs, for tests and simulations; it knows nothing of other registers.
    pub fn new(usable: &UsableCpus) -> Self {
        let out = Mutex::new(BTreeSet::new());
        let (preferred, on_request) = (usable.preferred(), usable.on_request());
        let out_max = usable.quota().unwrap_or(usize::MAX);
        CpuRegister { shared: Arc::new(Shared { preferred, on_request, out_max, out }) }
    }

    /// Claims up to `n` CPUs: first those `wanted` that can be had, in that order, then free ones in the order of
    /// [`UsableCpus::preferred`].
    ///
    /// Never fails and never waits: the claim may hold fewer than `n`, or none.
    pub fn claim(&self, n: usize, wanted: &[CpuId]) -> Claim {
        let shared = Arc::clone(&self.shared);
        let mut claim = Claim { shared, cpus: Vec::new(), denied: Vec::new() };
        let mut out = self.shared.out();
        for &cpu in wanted {
            if claim.cpus.contains(&cpu) {
                continue; // naming a CPU twice is asking for it once
            }
            match self.shared.refusal(cpu, n - claim.cpus.len(), &out) {
                Some(reason) => claim.denied.push(Denied { cpu, reason }),
                None => {
                    out.insert(cpu);
                    claim.cpus.push(cpu);
                }
            }
        }
        for &cpu in &self.shared.preferred {
            if claim.cpus.len() == n || out.len() >= self.shared.out_max {
                break;
            }
            if out.insert(cpu) {
                claim.cpus.push(cpu);
            }
        }
        claim
    }

    /// How many CPUs a claim without names could get now.
    pub fn free_count(&self) -> usize {
        let out = self.shared.out();
        let free = self.shared.preferred.iter().filter(|cpu| !out.contains(cpu)).count();
        free.min(self.shared.out_max.saturating_sub(out.len()))
    }
}

impl Shared {
    /// A panic elsewhere cannot leave the set half changed, so a poisoned lock is as good as any.
    fn out(&self) -> MutexGuard<'_, BTreeSet<CpuId>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a named CPU cannot be had now; `None` if it can.
    fn refusal(&self, cpu: CpuId, room: usize, out: &BTreeSet<CpuId>) -> Option<Denial> {
        if !self.preferred.contains(&cpu) && !self.on_request.contains(&cpu) {
            Some(Denial::NotUsable)
        } else if out.contains(&cpu) {
            Some(Denial::Taken)
        } else if room == 0 {
            Some(Denial::BeyondCount)
        } else if out.len() >= self.out_max {
            Some(Denial::Quota)
        } else {
            None
        }
    }
}

impl Claim {
    /// The claimed CPUs, no two equal: the wanted ones first, in the order they were named.
    pub fn cpus(&self) -> &[CpuId] {
        &self.cpus
    }

    /// The CPUs that were named and not given, with the reason.
    pub fn denied(&self) -> &[Denied] {
        &self.denied
    }

    /// True if nothing was to be had: run unpinned, and park instead of spinning.
    pub fn is_empty(&self) -> bool {
        self.cpus.is_empty()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut out = self.shared.out();
        for cpu in &self.cpus {
            let was_out = out.remove(cpu);
            debug_assert!(was_out, "CPU {cpu} was given back twice");
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Denial::NotUsable => "is not usable by this process",
            Denial::Taken => "is taken by another topology",
            Denial::Quota => "is beyond the control group's CPU quota",
            Denial::BeyondCount => "is beyond the number of executors",
        };
        write!(f, "CPU {} {reason}", self.cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::super::CpuTopology;
    use super::super::topology::tests::two_nodes;
    use super::*;

    fn cpus<const N: usize>(ids: [usize; N]) -> [CpuId; N] {
        ids.map(CpuId)
    }

    fn register(count: usize, quota: Option<usize>) -> CpuRegister {
        CpuRegister::new(&UsableCpus::new((0..count).map(CpuId).collect(), quota, CpuTopology::default()))
    }

    #[test]
    fn a_second_claim_gets_what_is_left_and_a_third_nothing() {
        let register = register(4, None);
        let first = register.claim(3, &[]);
        assert_eq!(first.cpus(), cpus([1, 2, 3]));
        let second = register.claim(3, &[]);
        assert_eq!(second.cpus(), cpus([0]));
        assert!(register.claim(3, &[]).is_empty());
        assert_eq!(register.free_count(), 0);
    }

    #[test]
    fn a_dropped_claim_gives_its_cpus_back() {
        let register = register(2, None);
        let first = register.claim(2, &[]);
        assert!(register.claim(1, &[]).is_empty());
        drop(first);
        assert_eq!(register.free_count(), 2);
        assert_eq!(register.claim(2, &[]).cpus().len(), 2);
    }

    #[test]
    fn wanted_cpus_come_first_in_their_order_and_the_rest_fills_up() {
        let claim = register(4, None).claim(3, &cpus([3, 0, 3]));
        assert_eq!(claim.cpus(), cpus([3, 0, 1]));
        assert!(claim.denied().is_empty());
    }

    #[test]
    fn a_wanted_cpu_that_cannot_be_had_is_named_with_the_reason() {
        let register = register(3, None);
        let _other = register.claim(1, &cpus([2]));
        let claim = register.claim(1, &cpus([2, 9, 0, 1]));
        assert_eq!(claim.cpus(), cpus([0]));
        let reasons: Vec<_> = claim.denied().iter().map(|denied| (denied.cpu.0, denied.reason)).collect();
        assert_eq!(reasons, [(2, Denial::Taken), (9, Denial::NotUsable), (1, Denial::BeyondCount)]);
        assert_eq!(claim.denied()[0].to_string(), "CPU 2 is taken by another topology");
    }

    #[test]
    fn the_quota_bounds_all_claims_together() {
        let register = register(4, Some(2));
        assert_eq!(register.free_count(), 2);
        let first = register.claim(1, &[]);
        let second = register.claim(3, &cpus([3, 2]));
        assert_eq!(second.cpus(), cpus([3]));
        assert_eq!(second.denied(), [Denied { cpu: CpuId(2), reason: Denial::Quota }]);
        drop(first);
        assert_eq!(register.free_count(), 1);
    }

    #[test]
    fn an_isolated_cpu_outside_the_mask_is_given_only_by_name() {
        let register = CpuRegister::new(&UsableCpus::new(cpus([0, 1]).to_vec(), None, two_nodes("2-3")));
        assert_eq!(register.claim(8, &[]).cpus(), cpus([1, 0]));
        assert_eq!(register.claim(1, &cpus([3])).cpus(), cpus([3]));
    }

    #[test]
    fn nothing_asked_for_is_nothing_claimed() {
        let register = register(2, None);
        let claim = register.claim(0, &cpus([1]));
        assert!(claim.is_empty());
        assert_eq!(claim.denied(), [Denied { cpu: CpuId(1), reason: Denial::BeyondCount }]);
    }

    #[cfg(not(squall_loom))]
    #[test]
    fn threads_that_claim_at_once_never_share_a_cpu() {
        let register = register(8, None);
        let claim_two = |_| {
            let register = register.clone();
            crate::sys::thread::spawn_named("claim-test", move || register.claim(2, &[])).unwrap()
        };
        let threads: Vec<_> = (0..8).map(claim_two).collect();
        let claims: Vec<Claim> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let given: Vec<CpuId> = claims.iter().flat_map(|claim| claim.cpus()).copied().collect();
        assert_eq!(given.len(), 8);
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 8);
    }
}
