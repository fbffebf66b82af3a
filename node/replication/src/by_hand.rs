//! A store without threads, whose every step is taken by its caller: what a simulation runs, in one thread, in whatever
//! order it likes. The steps are those of the log writer ([`crate::writer`]) and of the maintenance.

use partita_partition::storage::Storage;

use crate::store::Store;
use crate::writer::{self, Committed, Fatal, Round};

/// What has been gathered and is on its way to the disk.
pub struct Gathered<S: Storage>(Round<S>);

/// What is committed and is to be applied.
pub struct Synced<S: Storage>(Vec<Committed<S>>);

impl<S: Storage> Store<S> {
    /// Whether the log writer would have something to do.
    pub fn has_work(&self) -> bool {
        self.core.queue.has_work()
    }

    /// The first step of a turn: what need not wait for the disk is sent. `None` when there is nothing to do, or the
    /// store has failed.
    pub fn gather(&self) -> Option<Gathered<S>> {
        if !self.has_work() || self.core.has_failed() {
            return None;
        }
        let turn = self.core.queue.take();
        let gathered = writer::gather(&self.core, &turn.groups);
        for fence in turn.fences {
            // Nobody waits for a fence by hand.
            let _ = fence.send(());
        }
        self.or_fail(gathered).map(Gathered)
    }

    /// The second one: the write and the sync, and what had to wait for them is sent. `None` when the store has failed.
    pub fn sync(&self, gathered: Gathered<S>) -> Option<Synced<S>> {
        if self.core.has_failed() {
            return None;
        }
        self.or_fail(writer::sync(&self.core, &gathered.0))?;
        Some(Synced(writer::finish(&self.core, gathered.0)))
    }

    /// The last one: what is committed is applied, and answered. False when the store has failed.
    pub fn apply(&self, synced: Synced<S>) -> bool {
        let applied = !self.core.has_failed() && self.or_fail(writer::apply(&self.core, synced.0, false)).is_some();
        self.core.queue.done();
        applied
    }

    fn or_fail<T>(&self, done: Result<T, Fatal>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(fatal) => {
                self.core.fail(&fatal.to_string());
                self.core.queue.end();
                None
            }
        }
    }

    /// Turns until there is nothing to do; false when the store has failed.
    pub(crate) fn turn_until_idle(&self) -> bool {
        while let Some(gathered) = self.gather() {
            let applied = self.sync(gathered).is_some_and(|synced| self.apply(synced));
            if !applied {
                return false;
            }
        }
        !self.core.has_failed()
    }
}
