//! What comes from other stores: [`Store::receive`] takes a batch of frames to the groups they are for.
//!
//! 1. A letter goes to its group's replica, under the group's lock, on the caller's thread; what follows from it (a sync,
//!    an answer) is left to the log writer.
//! 2. A letter for a group that is not born here waits, as long as there is room: the birth may be on its way.
//! 3. A letter for a group that was destroyed here is dropped, unless it is for a replica that is yet to come.
//! 4. The first chunk of a snapshot is dropped while another group here has some of its keys ([`crate::ledger`]).
//! 5. [`Store::tick`] lets all groups count time and looks after the other stores.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use partita_partition::descriptor::{GroupId, LogPosition};
use partita_partition::storage::Storage;
use uuid::Uuid;

use crate::core::Core;
use crate::group::Group;
use crate::install::Head;
use crate::ledger::Ledger;
use crate::members::ReplicaId;
use crate::merge;
use crate::message::{Body, FrameFault, Letter, Outbox, Payload, frames};
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
        self.core.receive(from, batch)
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
                    if let Err(error) = replica.tick(now) {
                        tracing::warn!(group = group.id().0, %error, "a change of members is not ended");
                    }
                    shared.extend(replica.members().members.iter().map(|member| member.store));
                });
            }
        }
        shared.remove(&self.core.uuid);
        let turn = self.core.queue.turn();
        for lost in self.core.liveness.tick(&shared, turn, now, &*self.core.peers) {
            self.core.wake_shared_with(lost);
        }
    }
}

impl<S: Storage> Core<S> {
    fn receive(&self, from: Uuid, batch: &[u8]) -> Result<(), FrameFault> {
        if self.has_failed() || from == self.uuid {
            return Ok(());
        }
        for frame in frames(batch) {
            match frame? {
                Payload::Replica(letter) => self.deliver(from, letter),
                Payload::Alive { incarnation } => {
                    let now = (self.elapsed)();
                    if self.liveness.alive(from, incarnation, now) {
                        self.wake_shared_with(from);
                        self.tell_superseded(from);
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
        match &letter.body {
            Body::Chunk(chunk) if chunk.number == 0 => {
                // Held until the replica is known to receive it, so that nobody else takes its keys in between. A snapshot that
                // it would not take reserves nothing: that would be in place of what it has reserved.
                let mut ledger = self.ledger.lock();
                let taken = group.with(|replica| replica.takes_chunk(&letter, chunk));
                if !taken || self.may_install(&mut ledger, id, chunk.bytes) {
                    self.hand_over(&group, from, &letter, taken);
                }
            }
            // It has been on its way for long: who rested with a leader that is lost would not miss it.
            Body::Rest { .. } if self.liveness.is_lost(from) => {}
            _ => {
                let asks = matches!(letter.body, Body::Vote { .. });
                if asks && group.members().member(letter.from).is_none() {
                    self.tell_superseded(from);
                }
                self.hand_over(&group, from, &letter, false);
            }
        }
    }

    /// Hands a letter to its replica; whether a snapshot may begin with it, whose keys are reserved.
    fn hand_over(&self, group: &Arc<Group<S>>, from: Uuid, letter: &Letter<'_>, reserved: bool) {
        let now = (self.elapsed)();
        if let Err(error) = group.with_turn(|replica| replica.receive(from, letter, reserved, now)) {
            tracing::warn!(group = group.id().0, %error, "a letter was dropped");
        }
    }

    /// Whether a snapshot with this head may come: not while another group here has some of its keys. A parent's snapshot
    /// from before a split is too late where the child is; a child's is too early where the parent has not come to its split.
    fn may_install(&self, ledger: &mut Ledger, group: GroupId, head: &[u8]) -> bool {
        let read = Head::decode(head).and_then(|head| Ok((head.descriptor()?, head.absorbed().to_vec())));
        let Ok((descriptor, absorbed)) = read else {
            tracing::warn!(group = group.0, "the head of a snapshot cannot be read");
            return false;
        };
        // What was absorbed elsewhere goes with the installation, once it has come to its freeze: nothing that it has to do
        // before (bear a child, absorb another one) is left undone. The snapshot is offered again.
        let behind = |source: &&(GroupId, LogPosition)| !merge::has_come_to(self, source.0, source.1);
        if let Some((source, _)) = absorbed.iter().find(behind) {
            tracing::debug!(
                group = group.0,
                source = source.0,
                "a snapshot waits for a partition that it has absorbed"
            );
            return false;
        }
        let absorbs: Vec<GroupId> = absorbed.iter().map(|absorbed| absorbed.0).collect();
        let free = self.reserve(ledger, &descriptor, &absorbs).is_ok() || planted::has(Bug::OverlapIgnored);
        descriptor.group == group && free
    }

    fn may_be_born(&self, group: GroupId, replica: ReplicaId) -> bool {
        replica > self.ledger.lock().tombstone(group) || planted::has(Bug::TombstoneIgnored)
    }

    /// Takes what waited for a group to it.
    pub(crate) fn deliver_waiting(&self, group: GroupId) {
        for (from, kept) in self.waiting.take(group) {
            // It was read once already.
            let _ = self.receive(from, &kept);
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
