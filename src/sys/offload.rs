//! Work that may block, on threads that are not executors; under a driver, at a time the driver chooses.

use std::collections::VecDeque;

use crossbeam::channel::{Sender, unbounded};

use std::sync::Weak;

use crate::sys::sync::{Arc, AtomicUsize, Mutex, Ordering};

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs elsewhere. Clones share the same threads.
///
/// The threads start with the first job and end when the last clone is gone. The queue of waiting jobs is not bounded
/// by itself: bound it by the tuples a bolt holds.
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
    /// Jobs that wait or run.
    unfinished: AtomicUsize,
    /// Called after every job.
    on_done: Box<dyn Fn() + Send + Sync>,
}

impl Offload {
    /// A pool of threads that calls `on_done` after every job.
    pub fn pool(threads: usize, on_done: impl Fn() + Send + Sync + 'static) -> Self {
        Offload(Kind::Pool(Arc::new(Pool {
            threads: threads.max(1),
            jobs: Mutex::new(None),
            unfinished: AtomicUsize::new(0),
            on_done: Box::new(on_done),
        })))
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
            Kind::Pool(pool) => Pool::send(pool, Box::new(job)),
            Kind::Deferred(jobs) => jobs.lock().expect("jobs run outside the lock").push_back(Box::new(job)),
        }
    }

    /// Jobs that wait or run.
    pub fn unfinished(&self) -> usize {
        match &self.0 {
            Kind::Pool(pool) => pool.unfinished.load(Ordering::Acquire),
            Kind::Deferred(_) => self.deferred_len(),
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
    fn send(pool: &Arc<Pool>, job: Job) {
        pool.unfinished.fetch_add(1, Ordering::Relaxed);
        let mut sender = pool.jobs.lock().expect("nothing panics under it");
        let sender = sender.get_or_insert_with(|| {
            let (sender, receiver) = unbounded::<Job>();
            for number in 0..pool.threads {
                let (receiver, pool) = (receiver.clone(), Arc::downgrade(pool));
                let work = move || receiver.into_iter().for_each(|job| Pool::work(&pool, job));
                crate::sys::thread::spawn_helper(format!("squall-offload-{number}"), work)
                    .expect("the operating system starts a thread");
            }
            sender
        });
        // The receivers live as long as this sender, so a send cannot fail.
        let _ = sender.send(job);
    }

    fn work(pool: &Weak<Pool>, job: Job) {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("an offloaded job panicked");
        }
        if let Some(pool) = pool.upgrade() {
            pool.unfinished.fetch_sub(1, Ordering::Release);
            (pool.on_done)();
        }
    }
}
