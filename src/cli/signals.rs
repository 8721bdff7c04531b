//! SIGINT and SIGTERM: the first asks for an end, the second ends the process at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Arriving};

use crate::cli::output::note;
use crate::engine::Running;
use crate::error::{Error, Result};
use crate::sys::signals::SecondExits;
use crate::sys::sync::{Arc, Mutex};
use crate::sys::thread::{JoinHandle, spawn_named};

/// Handles the two signals until it is dropped.
pub(super) struct Signals {
    _second: SecondExits,
    arriving: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Installs the handlers and starts the thread that acts on the first signal, once, with its number.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn install(act: impl FnOnce(i32) + Send + 'static) -> Result<Self> {
        Self::try_install(act).map_err(|error| Error::io("handling SIGINT and SIGTERM", &error))
    }

    fn try_install(act: impl FnOnce(i32) + Send + 'static) -> std::io::Result<Self> {
        // Handlers run in this order: whoever sees the message about the first signal may rely on the second.
        let second = SecondExits::install(&[SIGINT, SIGTERM])?;
        let mut arriving = Arriving::new([SIGINT, SIGTERM])?;
        let handle = arriving.handle();
        let thread = spawn_named("squall-signals", move || {
            if let Some(signal) = arriving.forever().next() {
                act(signal);
            }
        })?;
        Ok(Signals { _second: second, arriving: handle, thread: Some(thread) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.arriving.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for signals panicked");
        }
    }
}

/// What the first signal ends: it drains, or suspends where the state survives. One that comes while the topology is
/// still starting is kept until it has.
#[derive(Clone, Default)]
pub(super) struct Drain(Arc<Mutex<Target>>);

#[derive(Default)]
struct Target {
    running: Option<Arc<Running>>,
    was_asked: bool,
    /// The state survives the process: stop after a last checkpoint instead of ending the input.
    suspends: bool,
}

impl Target {
    fn end(&self) {
        match &self.running {
            Some(running) if self.suspends => running.suspend(),
            Some(running) => running.drain(),
            None => {}
        }
    }
}

impl Drain {
    /// One that suspends, if `suspends`.
    pub fn new(suspends: bool) -> Self {
        Drain(Arc::new(Mutex::new(Target { suspends, ..Target::default() })))
    }

    /// Tells what to drain.
    pub fn attach(&self, running: &Arc<Running>) {
        let mut target = self.0.lock().expect("nothing panics under it");
        target.running = Some(running.clone());
        if target.was_asked {
            target.end();
        }
    }

    /// Drains it, now or when it is there.
    pub fn ask(&self) {
        let suspends = {
            let mut target = self.0.lock().expect("nothing panics under it");
            target.was_asked = true;
            target.end();
            target.suspends
        };
        note(match suspends {
            true => "suspending: one last checkpoint, from which the next start goes on; a second signal ends at once",
            false => "draining: finishing what is under way; a second signal ends at once",
        });
    }
}
