//! Signals whose first arrival asks for an end and whose second one is the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::{SigId, flag, low_level};

use super::child::kill_all;

/// Kills all child processes and ends this one with exit code 128 + *signal* at the second arrival of any of these
/// signals; the first does nothing but lose its default effect. Until dropped.
///
/// The second one acts within the signal handler itself, so it works whatever all the threads are stuck in; nothing is
/// flushed or cleaned up.
#[derive(Debug)]
pub struct SecondExits {
    actions: Vec<SigId>,
}

impl SecondExits {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn install(signals: &[i32]) -> io::Result<Self> {
        // Its own type of the standard library, also under a model: it is set and read in a signal handler.
        let is_armed = Arc::new(AtomicBool::new(false));
        let mut second = SecondExits { actions: Vec::new() };
        for &signal in signals {
            let armed = is_armed.clone();
            let kill_children = move || {
                if armed.load(Ordering::Relaxed) {
                    kill_all();
                }
            };
            // SAFETY: it runs in a signal handler. It loads atomics and makes system calls: no lock, no allocation.
            #[allow(unsafe_code)]
            second.actions.push(unsafe { low_level::register(signal, kill_children) }?);
            // In this order: the first arrival finds the flag unset and sets it.
            second.actions.push(flag::register_conditional_shutdown(signal, 128 + signal, is_armed.clone())?);
            second.actions.push(flag::register(signal, is_armed.clone())?);
        }
        Ok(second)
    }
}

/// Lets the calling thread write to a terminal that other processes are in the foreground of: with `stty tostop` the
/// terminal would stop the whole process for it, until somebody types `fg`.
pub fn write_from_the_background() {
    let mut signals = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is made by `sigemptyset` before it is used, and nothing but this thread's mask is changed.
    #[allow(unsafe_code)]
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut());
    }
}

impl Drop for SecondExits {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}
