//! A group that has lost most of its voters for good goes on with one of its replicas: somebody has decided that what only the
//! others had is lost.
//!
//! 1. [`Store::survivor`] says what this store's replica has, and [`Store::go_on_alone`] makes it the group: only while nobody
//!    leads, and fewer voters than a quorum were heard of lately.
//! 2. The replica ends, and what it has applied is flushed. All entries of its log count from now on: each may have been
//!    acknowledged.
//! 3. It comes again under a number that no replica ever had, as the only member. First the members are in the state, then number,
//!    term and commit index are in the log; a crash in between is made good by the same order.
//! 4. To the replicas that were lost it is nobody, and they are nobody to it: numbers, term and membership epoch lie far beyond
//!    what they can have given out meanwhile.
//! 5. A store that comes back with one of them says that it is alive, or asks for a vote, and is told that the group has gone on
//!    ([`Core::tell_superseded`]): its replica ends there and then, well before it votes for anybody. Only where those who come back
//!    together do not reach the survivor can they still take themselves for the group, until they do.

use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, LogPosition};
use partita_partition::row::{self, MetaKind};
use partita_partition::storage::{Batch as _, Family, Storage};
use raft::eraftpb::HardState;
use uuid::Uuid;

use crate::core::Core;
use crate::group::Group;
use crate::log::{GroupRecord, LogChange, StoredGroup};
use crate::members::{Members, ReplicaId};
use crate::message::{Body, Letter, Outbox, Payload};
use crate::recovery::{self, Coming, RecoveryError};
use crate::store::Store;
use crate::time::ELECTION_NS;

pub(crate) use partita_model::admin::UNSEEN;

/// A store that was heard of within this time is there.
const HEARD_NS: u64 = 2 * ELECTION_NS;

/// What a replica has, of a group that may have lost the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its number.
    pub replica: ReplicaId,
    /// The group's membership epoch, as it knows it.
    pub epoch: u64,
    /// The last entry that it has applied.
    pub applied: u64,
    /// The last one that it knows to be committed.
    pub committed: u64,
    /// The last one that it has.
    pub last: LogPosition,
    /// The time of the last write that it has applied, in epoch milliseconds.
    pub written_ms: u64,
    /// Who votes, and whether each was heard of within a second.
    pub voters: Vec<(Uuid, bool)>,
}

/// Why a replica does not become the group. Nothing has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SurvivorError {
    /// No such group, or the store is stopping.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The group is not lost.
    #[error("the group has not lost its quorum: {alive} of {voters} voters are there, and {quorum} are enough")]
    QuorumThere {
        /// Voters that were heard of within a second.
        alive: usize,
        /// All of them.
        voters: usize,
        /// What is enough.
        quorum: usize,
    },
    /// Somebody leads it.
    #[error(
        "replica {0} leads the group as far as is known here: it has not lost its quorum, or only within the last second"
    )]
    Led(ReplicaId),
    /// It was added to the group, or is behind, and a snapshot is on its way: what is here is not the partition.
    #[error("the replica here has not received the partition's data")]
    Incomplete,
    /// The members have changed since the caller looked.
    #[error("the group's membership epoch is {epoch}, and the order is for {expected}")]
    StaleEpoch {
        /// What the caller expected.
        expected: u64,
        /// What it is.
        epoch: u64,
    },
}

impl<S: Storage> Store<S> {
    /// What the replica here has.
    pub fn survivor(&self, id: GroupId) -> Result<Survivor, SurvivorError> {
        let group = self.group(id).ok_or(Refusal::WrongRange)?;
        Ok(survivor(&self.core, &group))
    }

    /// Makes the replica here the group, with whatever it has; with the same order's id once. `expected`: the membership epoch that the
    /// caller has seen. Durable on return; it serves a moment later. Blocks for two flushes.
    pub fn go_on_alone(&self, id: GroupId, order: Uuid, expected: u64) -> Result<Survivor, SurvivorError> {
        let births = self.births.lock();
        let group = self.group(id).ok_or(Refusal::WrongRange)?;
        let members = group.members();
        let made = members.changed(order).is_some();
        if made && members.member(group.record().replica).is_some() {
            return Ok(survivor(&self.core, &group));
        }
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping.into());
        }
        if !made {
            self.check_alone(&group, expected)?;
        }
        tracing::warn!(
            group = format!("{:016x}", id.0),
            "the replica here becomes the group: what only the others had is lost"
        );
        group.end(Refusal::NotLeader);
        // Behind the fence nothing of the group is on its way to the log or to the state.
        if !self.pass_fence() {
            return Err(Refusal::Stopping.into());
        }
        let alone = if made {
            Members::clone(&members)
        } else {
            members.alone(self.core.uuid, order)
        };
        let back = come_again(&self.core, &group, &alone).map_err(|error| self.fail(&error))?;
        self.core.merging.lock().forget(id);
        self.core.groups.write().insert(id, Arc::clone(&back));
        back.enqueue();
        self.core.changed();
        if !self.pass_fence() {
            return Err(Refusal::Stopping.into());
        }
        Ok(survivor(&self.core, &back))
    }

    fn check_alone(&self, group: &Group<S>, expected: u64) -> Result<(), SurvivorError> {
        let (stats, found) = (group.stats(), survivor(&self.core, group));
        if found.epoch != expected {
            let epoch = found.epoch;
            return Err(SurvivorError::StaleEpoch { expected, epoch });
        }
        let voters = found.voters.len();
        let quorum = voters / 2 + 1;
        let alive = found.voters.iter().filter(|(_, alive)| *alive).count();
        match () {
            () if stats.members.members.is_empty() || group.is_receiving() => Err(SurvivorError::Incomplete),
            () if alive >= quorum => Err(SurvivorError::QuorumThere { alive, voters, quorum }),
            () if stats.leads != 0 => Err(SurvivorError::Led(stats.leads)),
            () => Ok(()),
        }
    }
}

fn survivor<S: Storage>(core: &Core<S>, group: &Group<S>) -> Survivor {
    let (stats, now) = (group.stats(), (core.elapsed)());
    let heard = |store: Uuid| store == core.uuid || now.saturating_sub(core.liveness.heard(store)) < HEARD_NS;
    let voters = stats.members.voting()[0].clone().into_iter();
    let voters = voters.filter_map(|voter| stats.members.member(voter));
    Survivor {
        replica: stats.replica,
        epoch: stats.members.epoch,
        applied: stats.applied.index,
        committed: stats.committed,
        last: group.log_end(),
        written_ms: stats.counters.clock.ms(),
        voters: voters.map(|member| (member.store, heard(member.store))).collect(),
    }
}

/// Steps 2 and 3 of the module's header, of a replica that has ended.
fn come_again<S: Storage>(
    core: &Arc<Core<S>>,
    group: &Group<S>,
    alone: &Members,
) -> Result<Arc<Group<S>>, RecoveryError> {
    let (id, descriptor) = (group.id(), group.descriptor());
    let failed = |error| RecoveryError::Partition { group: id.0, error };
    let members = alone
        .encode()
        .map_err(|error| RecoveryError::Members { group: id.0, error })?;
    core.flush_and_bury()?;
    let mut batch = core.storage.batch();
    batch.put(
        Family::Meta,
        &row::meta(descriptor.table, id, MetaKind::Members),
        &members,
    );
    core.storage.write(batch).map_err(|error| failed(error.into()))?;
    core.storage.flush().map_err(|error| failed(error.into()))?;

    let stored = core.log.groups()?.into_iter().find(|stored| stored.id == id);
    let stored = stored.ok_or(RecoveryError::StateLost(id.0))?;
    let replica = alone.members.first().map_or(0, |member| member.replica);
    let again = StoredGroup {
        record: GroupRecord {
            replica,
            ..stored.record
        },
        hard_state: HardState {
            term: stored.hard_state.term + UNSEEN,
            vote: replica,
            commit: stored.last,
            ..HardState::default()
        },
        ..stored
    };
    core.log.write(&vec![
        LogChange::Record(id, again.record.clone()),
        LogChange::HardState(id, again.hard_state.clone()),
    ])?;
    recovery::open_group(core, &again, Coming::Back)
}

impl<S: Storage> Core<S> {
    /// A store is there that may have replicas of groups which have gone on without them.
    pub(crate) fn tell_superseded(&self, store: Uuid) {
        for group in self.groups() {
            let members = group.members();
            if members.epoch >= UNSEEN && members.on_store(store).is_none() {
                let (own, term) = (group.record().replica, group.stats().term.max(1));
                let letter = Letter {
                    group: group.id().0,
                    from: own,
                    to: 0,
                    term,
                    body: Body::Superseded { epoch: members.epoch },
                };
                let mut outbox = Outbox::default();
                outbox.push(store, &Payload::Replica(letter));
                outbox.send(&*self.peers);
            }
        }
    }
}

impl Members {
    /// Only the replica on this store is left, under a new number.
    fn alone(&self, store: Uuid, order: Uuid) -> Self {
        self.reduced_to(store, order, UNSEEN)
    }
}
