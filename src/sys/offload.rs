//! Work that may block, on threads that are not executors; under a driver, at a time the driver chooses.

use std::collections::VecDeque;

use crossbeam::channel::{Sender, unbounded};

use crate::sys::sync::{Arc, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs elsewhere. Clones share the same threads.
///
/// The threads start with the first job and end when the last clone is gone. The queue of waiting jobs is not bounded by
/// itself: bound it by the tuples a bolt holds.
#[derive(Clone)]
pub struct Offload(Kind);

#[derive(Clone)]
enum Kind {
    Pool(Arc<Pool>),
    Deferred(Arc<Mutex<VecDeque<Job>>>),
}

struct Pool {
    threads: usize,
    jobs: Mutex<Option<Sender<Job>>>,
}

impl Offload {
    /// A pool of threads.
    pub fn pool(threads: usize) -> Self {
        Offload(Kind::Pool(Arc::new(Pool { threads: threads.max(1), jobs: Mutex::new(None) })))
    }

    /// No threads: jobs wait until [`run_deferred`](Self::run_deferred).
    pub fn deferred() -> Self {
        Offload(Kind::Deferred(Arc::default()))
    }

    /// Runs a job on another thread. A panic in it is reported and ends only the job.
    ///
    /// # Panics
    /// If the operating system refuses the first threads.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        match &self.0 {
            Kind::Pool(pool) => pool.send(Box::new(job)),
            Kind::Deferred(jobs) => jobs.lock().expect("jobs run outside the lock").push_back(Box::new(job)),
        }
    }

    /// Jobs waiting for [`run_deferred`](Self::run_deferred).
    pub fn deferred_len(&self) -> usize {
        match &self.0 {
            Kind::Pool(_) => 0,
            Kind::Deferred(jobs) => jobs.lock().expect("jobs run outside the lock").len(),
        }
    }

    /// Runs one waiting job on this thread, chosen by its place in the queue.
    pub fn run_deferred(&self, index: usize) {
        if let Kind::Deferred(jobs) = &self.0 {
            let job = jobs.lock().expect("jobs run outside the lock").remove(index);
            if let Some(job) = job {
                job();
            }
        }
    }
}

impl Pool {
    fn send(&self, job: Job) {
        let mut sender = self.jobs.lock().expect("nothing panics under it");
        let sender = sender.get_or_insert_with(|| {
            let (sender, receiver) = unbounded::<Job>();
            for number in 0..self.threads {
                let receiver = receiver.clone();
                let work = move || {
                    for job in receiver {
                        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                            tracing::error!("an offloaded job panicked");
                        }
                    }
                };
                crate::sys::thread::spawn_helper(format!("squall-offload-{number}"), work)
                    .expect("the operating system starts a thread");
            }
            sender
        });
        // The receivers live as long as this sender, so a send cannot fail.
        let _ = sender.send(job);
    }
}
