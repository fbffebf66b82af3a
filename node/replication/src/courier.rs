//! Reads what followers need that are far behind, chunks of snapshots and old entries, in a thread of its own: it may take the
//! disk's time, which whoever holds a group's lock must not. Each errand has a time before which it is not due, so that what
//! leaves leaves evenly.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::time::Elapsed;

type Errand = Box<dyn FnOnce() + Send>;

/// See the module's header. There are as many errands as followers that are behind, at most.
pub(crate) struct Courier {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// There is no thread: whoever brings an errand runs it, due or not.
    inline: bool,
}

struct Shared {
    elapsed: Elapsed,
    queue: Mutex<Queue>,
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    errands: Vec<(u64, Errand)>,
    stopped: bool,
}

impl Courier {
    pub(crate) fn start(elapsed: Elapsed, inline: bool) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            elapsed,
            queue: Mutex::default(),
            news: Condvar::new(),
        });
        let runs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("courier".into());
        let thread = (!inline).then(|| thread.spawn(move || runs.work())).transpose()?;
        let thread = Mutex::new(thread);
        Ok(Self { shared, thread, inline })
    }

    /// Runs an errand when it is due.
    pub(crate) fn send(&self, due: u64, errand: impl FnOnce() + Send + 'static) {
        if self.inline {
            return errand();
        }
        let mut queue = self.shared.queue.lock();
        if !queue.stopped {
            queue.errands.push((due, Box::new(errand)));
            self.shared.news.notify_one();
        }
    }

    /// Drops what waits and joins the thread.
    pub(crate) fn stop(&self) {
        let dropped = {
            let mut queue = self.shared.queue.lock();
            queue.stopped = true;
            std::mem::take(&mut queue.errands)
        };
        drop(dropped);
        self.shared.news.notify_one();
        // The last reference to a store may be dropped by an errand.
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some(errand) = self.next() {
            errand();
        }
    }

    /// Waits for the first errand that is due; `None` at the end.
    fn next(&self) -> Option<Errand> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                return None;
            }
            let first = queue.errands.iter().enumerate().min_by_key(|(_, errand)| errand.0);
            match first.map(|(at, errand)| (at, errand.0.saturating_sub((self.elapsed)()))) {
                None => self.news.wait(&mut queue),
                Some((at, 0)) => return Some(queue.errands.swap_remove(at).1),
                Some((_, early)) => drop(self.news.wait_for(&mut queue, Duration::from_nanos(early))),
            }
        }
    }
}
