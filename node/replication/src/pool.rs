//! A few threads for reads that need the disk, so that connections' threads never block on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use partita_model::request::Refusal;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// See the module's header. Jobs queue up when all threads are busy: as many as there are requests at most.
pub(crate) struct ReadPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// There are no threads: whoever brings a job does it.
    inline: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopped: bool,
}

impl ReadPool {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let pool = Self {
            shared: Arc::default(),
            threads: Mutex::default(),
            inline: threads == 0,
        };
        for number in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("read-{number}"));
            pool.threads.lock().push(thread.spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    /// Runs a job on the pool.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        if self.inline {
            return Ok(job());
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut queue = self.shared.queue.lock();
            if queue.stopped {
                return Err(Refusal::Stopping);
            }
            queue.jobs.push_back(Box::new(move || {
                // Nobody listens any more when the request was dropped.
                let _ = sender.send(job());
            }));
        }
        self.shared.work.notify_one();
        receiver.await.map_err(|_| Refusal::Stopping)
    }

    /// Drops what waits and joins the threads.
    pub(crate) fn stop(&self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.stopped = true;
            queue.jobs.clear();
        }
        self.shared.work.notify_all();
        for thread in self.threads.lock().drain(..) {
            // The last reference to a store may be dropped by a job of its own pool.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    if queue.stopped {
                        return;
                    }
                    match queue.jobs.pop_front() {
                        Some(job) => break job,
                        None => self.work.wait(&mut queue),
                    }
                }
            };
            job();
        }
    }
}
