//! The groups that have something for the log writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use partita_partition::storage::Storage;

use crate::group::Group;

/// Groups to be written, and what the log writer is asked besides.
pub(crate) struct Queue<S: Storage> {
    inner: Mutex<Turn<S>>,
    work: Condvar,
    /// Nothing is taken any more.
    ended: AtomicBool,
    /// What was taken is not done yet.
    turning: AtomicBool,
    /// How often something was taken.
    turns: AtomicU64,
    /// Effects in open entries.
    open: AtomicU64,
    /// The log writer waits for so many of them; 0 while it does not.
    wanted: AtomicU64,
}

/// What the log writer takes at once.
pub(crate) struct Turn<S: Storage> {
    /// Each group once.
    pub(crate) groups: Vec<Arc<Group<S>>>,
    /// To be told when everything taken so far is applied.
    pub(crate) fences: Vec<Sender<()>>,
    /// The log writer is to end after this turn.
    pub(crate) stop: bool,
}

impl<S: Storage> Default for Turn<S> {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            fences: Vec::new(),
            stop: false,
        }
    }
}

impl<S: Storage> Default for Queue<S> {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            work: Condvar::new(),
            ended: AtomicBool::new(false),
            turning: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            open: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
        }
    }
}

impl<S: Storage> Queue<S> {
    /// The caller has made sure that the group is not queued already.
    pub(crate) fn push(&self, group: Arc<Group<S>>) {
        let mut inner = self.inner.lock();
        // Nobody would take it, and it holds on to the store.
        if !self.ended.load(Ordering::SeqCst) {
            inner.groups.push(group);
            drop(inner);
            self.work.notify_one();
        }
    }

    /// An effect has been put into an open entry.
    pub(crate) fn note_opened(&self) {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        let wanted = self.wanted.load(Ordering::SeqCst);
        if wanted != 0 && open >= wanted {
            drop(self.inner.lock());
            self.work.notify_one();
        }
    }

    /// Open entries with so many effects have been proposed (or dropped).
    pub(crate) fn note_taken(&self, effects: u64) {
        self.open.fetch_sub(effects, Ordering::SeqCst);
    }

    /// Effects in open entries.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }

    /// Waits until so many effects are open, but not for long.
    pub(crate) fn gather(&self, wanted: u64, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut inner = self.inner.lock();
        self.wanted.store(wanted, Ordering::SeqCst);
        while self.open() < wanted && inner.fences.is_empty() && !inner.stop {
            if self.work.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        self.wanted.store(0, Ordering::SeqCst);
    }

    /// Waits until there is something to do.
    pub(crate) fn wait(&self) {
        let mut inner = self.inner.lock();
        while inner.groups.is_empty() && inner.fences.is_empty() && !inner.stop {
            self.work.wait(&mut inner);
        }
    }

    /// Answers when everything queued before is applied; hangs up when the log writer has ended.
    pub(crate) fn fence(&self) -> Receiver<()> {
        let (sender, receiver) = channel();
        let mut inner = self.inner.lock();
        if !inner.stop {
            inner.fences.push(sender);
            drop(inner);
            self.work.notify_one();
        }
        receiver
    }

    /// The log writer has ended: nobody will be told anything any more.
    pub(crate) fn end(&self) {
        let groups = {
            let mut inner = self.inner.lock();
            self.ended.store(true, Ordering::SeqCst);
            inner.stop = true;
            inner.fences.clear();
            std::mem::take(&mut inner.groups)
        };
        drop(groups);
    }

    pub(crate) fn stop(&self) {
        self.inner.lock().stop = true;
        self.work.notify_one();
    }

    /// Whether there is something to do.
    pub(crate) fn has_work(&self) -> bool {
        let inner = self.inner.lock();
        !inner.groups.is_empty() || !inner.fences.is_empty()
    }

    /// The log writer's turn that goes on or is due; `None` while there is nothing to do.
    pub(crate) fn turn(&self) -> Option<u64> {
        let busy = self.turning.load(Ordering::SeqCst) || self.has_work();
        busy.then(|| self.turns.load(Ordering::SeqCst))
    }

    /// What was taken is done.
    pub(crate) fn done(&self) {
        self.turning.store(false, Ordering::SeqCst);
    }

    /// What there is to do.
    pub(crate) fn take(&self) -> Turn<S> {
        let mut inner = self.inner.lock();
        self.turning.store(true, Ordering::SeqCst);
        self.turns.fetch_add(1, Ordering::SeqCst);
        Turn {
            groups: std::mem::take(&mut inner.groups),
            fences: std::mem::take(&mut inner.fences),
            stop: inner.stop,
        }
    }
}
