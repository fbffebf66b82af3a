//! What all groups of a store share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use partita_model::request::Refusal;
use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage;
use tokio::sync::watch;
use uuid::Uuid;

use crate::courier::Courier;
use crate::folder::Folder;
use crate::group::Group;
use crate::ledger::Ledger;
use crate::liveness::Liveness;
use crate::log::LogEngine;
use crate::merge;
use crate::message::Peers;
use crate::pool::ReadPool;
use crate::postbox::Waiting;
use crate::queue::Queue;
use crate::replica::Limits;
use crate::space::Space;
use crate::stats::Recorder;
use crate::time::Elapsed;

/// Ends the process: called with the reason when an append, a sync or an apply failed or an entry cannot be read. It
/// returns in tests only.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// The wall clock in epoch milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What all groups of a store share.
pub(crate) struct Core<S: Storage> {
    pub(crate) storage: Arc<S>,
    pub(crate) log: Arc<dyn LogEngine>,
    /// The groups that serve. They point back here: emptied when the store closes.
    pub(crate) groups: RwLock<HashMap<GroupId, Arc<Group<S>>>>,
    /// Groups that were ever here, and whose keys are whose.
    pub(crate) ledger: Mutex<Ledger>,
    /// Merges that wait for their sources.
    pub(crate) merging: Mutex<merge::Waiting>,
    /// Letters for groups that are not born here.
    pub(crate) waiting: Waiting,
    pub(crate) queue: Queue<S>,
    pub(crate) pool: ReadPool,
    pub(crate) courier: Courier,
    pub(crate) space: Space,
    pub(crate) recorder: Recorder,
    pub(crate) now_ms: Clock,
    pub(crate) elapsed: Elapsed,
    /// The store's identity.
    pub(crate) uuid: Uuid,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) liveness: Liveness,
    pub(crate) limits: Limits,
    /// For the groups' election timeouts.
    pub(crate) seed: u64,
    /// Counts births, ends and changed descriptors of groups, for those who follow them.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) on_fatal: OnFatal,
    pub(crate) failed: AtomicBool,
    /// Locked for as long as anything of the store is in use.
    pub(crate) _folder: Option<Folder>,
}

impl<S: Storage> Core<S> {
    /// Something that must not fail has failed. Nothing is known about the disk any more: no further write may be
    /// answered, and a restart finds out what is there.
    pub(crate) fn fail(&self, reason: &str) {
        self.failed.store(true, Ordering::SeqCst);
        (self.on_fatal)(reason);
        for group in self.groups() {
            group.end(Refusal::Stopping);
        }
    }

    /// The groups, or what they know of themselves, have changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The time, for groups that live by it; sole replicas do not.
    pub(crate) fn now<'a>(&self, groups: impl IntoIterator<Item = &'a Arc<Group<S>>>) -> u64 {
        if groups.into_iter().any(|group| group.has_peers()) {
            (self.elapsed)()
        } else {
            0
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Ends all groups and the pool and lets go of what points back here.
    pub(crate) fn close(&self) {
        for group in self.groups() {
            group.end(Refusal::Stopping);
        }
        self.queue.end();
        self.groups.write().clear();
        self.changed();
        self.pool.stop();
        self.courier.stop();
        self.log.close();
    }

    pub(crate) fn group(&self, group: GroupId) -> Option<Arc<Group<S>>> {
        self.groups.read().get(&group).cloned()
    }

    pub(crate) fn groups(&self) -> Vec<Arc<Group<S>>> {
        let mut groups: Vec<_> = self.groups.read().values().cloned().collect();
        groups.sort_by_key(|group| group.id());
        groups
    }
}
