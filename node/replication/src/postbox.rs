//! What comes from other stores: [`Store::receive`] takes a batch of frames to the groups they are for.
//!
//! 1. A letter goes to its group's replica, under the group's lock, on the caller's thread; what follows from it (a sync,
//!    an answer) is left to the log writer.
//! 2. A letter for a group that is not born here waits, as long as there is room: the birth may be on its way.
//! 3. A letter for a group that was destroyed here is dropped, unless it is for a replica that is yet to come.
//! 4. [`Store::tick`] lets all groups count time and looks after the other stores.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage;
use uuid::Uuid;

use crate::members::ReplicaId;
use crate::message::{FrameFault, Letter, Outbox, Payload, frames};
use crate::planted::{self, Bug};
use crate::store::Store;

/// Letters that wait for one group's birth. A leader repeats itself, so a few are enough.
const WAITING_LETTERS_MAX: usize = 16;
/// Groups whose births are waited for.
const WAITING_GROUPS_MAX: usize = 256;
/// Longer letters do not wait: they are snapshots and long appends, which are sent again.
const WAITING_BYTES_MAX: usize = 4 << 10;

/// Letters for groups that are not born here.
#[derive(Default)]
pub(crate) struct Waiting {
    groups: Mutex<BTreeMap<GroupId, VecDeque<(Uuid, Bytes)>>>,
}

impl Waiting {
    fn keep(&self, from: Uuid, letter: Letter<'_>) {
        let group = GroupId(letter.group);
        let kept = Outbox::only(&Payload::Replica(letter));
        let Some(kept) = kept.filter(|kept| kept.len() <= WAITING_BYTES_MAX) else {
            return;
        };
        let mut groups = self.groups.lock();
        if groups.len() >= WAITING_GROUPS_MAX && !groups.contains_key(&group) {
            return;
        }
        let letters = groups.entry(group).or_default();
        if letters.len() >= WAITING_LETTERS_MAX {
            letters.pop_front();
        }
        letters.push_back((from, kept));
    }

    fn take(&self, group: GroupId) -> VecDeque<(Uuid, Bytes)> {
        self.groups.lock().remove(&group).unwrap_or_default()
    }
}

impl<S: Storage> Store<S> {
    /// Takes a batch of frames from another store (see [`crate::Peers`]).
    ///
    /// # Errors
    /// A frame that cannot be read: it and what follows it in the batch are dropped, and the connection that brought them
    /// is better closed.
    pub fn receive(&self, from: Uuid, batch: &[u8]) -> Result<(), FrameFault> {
        if self.core.has_failed() || from == self.core.uuid {
            return Ok(());
        }
        for frame in frames(batch) {
            match frame? {
                Payload::Replica(letter) => self.deliver(from, letter),
                Payload::Alive { incarnation } => {
                    let now = (self.core.elapsed)();
                    if self.core.liveness.alive(from, incarnation, now) {
                        self.wake_shared_with(from);
                    }
                }
            }
        }
        Ok(())
    }

    fn deliver(&self, from: Uuid, letter: Letter<'_>) {
        let id = GroupId(letter.group);
        let Some(group) = self.group(id) else {
            if self.may_be_born(id, letter.to) {
                self.waiting.keep(from, letter);
            }
            return;
        };
        let now = (self.core.elapsed)();
        if let Err(error) = group.with_turn(|replica| replica.receive(from, &letter, now)) {
            tracing::warn!(group = id.0, %error, "a letter was dropped");
        }
    }

    fn may_be_born(&self, group: GroupId, replica: ReplicaId) -> bool {
        let tombstone = self.tombstone(group).unwrap_or(0);
        replica > tombstone || planted::has(Bug::TombstoneIgnored)
    }

    /// Takes what waited for a group to it.
    pub(crate) fn deliver_waiting(&self, group: GroupId) {
        for (from, kept) in self.waiting.take(group) {
            // It was read once already.
            let _ = self.receive(from, &kept);
        }
    }

    /// Time has passed: called every [`crate::time::TICK_NS`] or so, how often does not matter.
    pub fn tick(&self) {
        if self.core.has_failed() {
            return;
        }
        let now = (self.core.elapsed)();
        let mut shared = BTreeSet::new();
        for group in self.groups() {
            if group.has_peers() {
                group.with_turn(|replica| {
                    replica.tick(now);
                    shared.extend(replica.members().members.iter().map(|member| member.store));
                });
            }
        }
        shared.remove(&self.core.uuid);
        for lost in self.core.liveness.tick(&shared, now, &*self.core.peers) {
            self.wake_shared_with(lost);
        }
    }

    fn wake_shared_with(&self, store: Uuid) {
        for group in self.groups() {
            group.with_turn(|replica| {
                if replica.members().on_store(store).is_some() {
                    replica.wake();
                }
            });
        }
    }
}
