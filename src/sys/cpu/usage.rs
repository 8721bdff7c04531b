//! What this process has used so far, for reports and benches.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::source::{Source, kib_field_bytes};

/// CPU time used by all threads of this process, in user code and in the kernel. One system call.
pub fn process_cpu_time() -> Duration {
    read_clock(ClockId::ProcessCPUTime)
}

/// CPU time used by the calling thread, in user code and in the kernel. One system call.
pub fn thread_cpu_time() -> Duration {
    read_clock(ClockId::ThreadCPUTime)
}

/// The most memory this process has had resident at any time; `None` where the system does not say. Reads one file.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = Source::system().read_optional("/proc/self/status")?;
    kib_field_bytes(&status, "VmHWM")
}

/// Forgets the most memory there was, so that [`peak_rss_bytes`] tells what comes from here on. False where that cannot
/// be done.
pub fn reset_peak_rss() -> bool {
    cfg!(target_os = "linux") && std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn read_clock(clock: ClockId) -> Duration {
    // CPU clocks start at zero and never run backwards, so the conversion cannot fail.
    clock_gettime(clock).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses CPU until the clock has moved: bounded by progress, not by a guess about the machine's speed.
    fn work_until_past(start: Duration, clock: fn() -> Duration) -> Duration {
        let mut sum = 0_u64;
        loop {
            for step in 0..10_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(step));
            }
            let now = clock();
            if now > start {
                return now;
            }
        }
    }

    #[test]
    fn work_moves_both_cpu_clocks_and_the_process_used_at_least_what_the_thread_did() {
        let (thread_start, process_start) = (thread_cpu_time(), process_cpu_time());
        work_until_past(thread_start, thread_cpu_time);
        work_until_past(process_start, process_cpu_time);
        let thread = thread_cpu_time();
        assert!(process_cpu_time() >= thread);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_grows_with_memory_that_is_touched_and_can_be_forgotten() {
        const BLOCK_BYTES: usize = 64 << 20;
        let block = std::hint::black_box(vec![1_u8; BLOCK_BYTES]);
        let peak = peak_rss_bytes().unwrap();
        assert!(peak >= BLOCK_BYTES as u64, "{peak}");
        drop(block);
        // Other tests of this process use memory too, and not always equally much.
        let forgets = || reset_peak_rss() && peak_rss_bytes().unwrap() < peak;
        assert!(!reset_peak_rss() || (0..10_000).any(|_| forgets()));
    }
}
