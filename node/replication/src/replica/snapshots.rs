//! Snapshots, at the follower that gets one: it needs entries which the log no longer has, and gets the rows instead. The
//! leader's part is in [`super::sending`].
//!
//! 1. The follower stages each chunk in its log, and answers once it is durable; what was lost is sent again, from the
//!    first chunk that the follower lacks. What another term, or the log itself, has overtaken is dropped.
//! 2. With the last chunk the snapshot takes the log's place: one batch of the log clears the group's entries and marks
//!    that the installation has begun. From then on it is certain to end: a restart does it again.
//! 3. The log writer installs it (`crate::install`), then the mark and the chunks go.

use std::collections::BTreeSet;
use std::sync::Arc;

use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage;

use super::Replica;
use super::life::{Note, Post};
use crate::install::{self, Head, Progress};
use crate::log::{Installing, LogChange, StoredGroup, Truncated};
use crate::members::{Members, ReplicaId};
use crate::message::{Chunk, Letter};
use crate::planted::{self, Bug};

/// The answer to chunks of a snapshot that is not needed any more.
pub(super) const NOT_NEEDED: u64 = u64::MAX;

/// A snapshot being received. Two of the same entry, from two leaders, need not have the same chunks: which children have not
/// come to life is not the same everywhere and always. From one leader in one term they have ([`super::sending`]).
pub(super) struct Receiving {
    from: ReplicaId,
    term: u64,
    at: Truncated,
    head: Arc<[u8]>,
    members: Arc<Members>,
    /// Groups that the partition has absorbed.
    absorbed: Vec<GroupId>,
    /// Children that travel along, and those of which there are rows by now (if only an empty chunk of them).
    children: BTreeSet<GroupId>,
    arrived: BTreeSet<GroupId>,
    /// The chunk to come next.
    next: u64,
}

/// A snapshot to be installed.
pub(crate) struct Install {
    pub(crate) mark: Installing,
    /// The log writer's turn that makes the mark durable.
    pub(super) turn: u64,
    /// How far it has come, once it has begun.
    pub(crate) progress: Option<Progress>,
}

/// A snapshot that was installed.
pub(crate) struct Installed {
    pub(crate) at: Truncated,
    pub(crate) members: Arc<Members>,
    /// Children that have come along: to be opened once the snapshot is the state.
    pub(crate) children: Vec<StoredGroup>,
}

impl<S: Storage> Replica<S> {
    /// Whether a snapshot may come from there now. One that is complete stays as it is until it is put in the log's place.
    fn may_receive(&self, letter: &Letter<'_>) -> bool {
        let leads = letter.term == self.driver.term() && letter.from == self.driver.leader();
        leads && !self.is_leader() && !self.driver.is_restored() && self.install.is_none() && !self.installing
    }

    /// Whether a chunk will be staged.
    pub(crate) fn takes_chunk(&self, letter: &Letter<'_>, chunk: &Chunk<'_>) -> bool {
        self.may_receive(letter) && chunk.at.0 > self.driver.committed()
    }

    /// What is being received comes to nothing where somebody else leads, or the log has come as far.
    pub(super) fn abandon_receiving(&mut self) {
        let (term, committed) = (self.driver.term(), self.driver.committed());
        let over = |receiving: &Receiving| receiving.term != term || receiving.at.index <= committed;
        if !self.driver.is_restored() && self.receiving.take_if(|receiving| over(receiving)).is_some() {
            self.unwritten.push(LogChange::DropChunks(self.group));
        }
    }

    /// A chunk from the leader. The first one counts only if the snapshot's keys are reserved.
    pub(super) fn receive_chunk(&mut self, letter: &Letter<'_>, chunk: &Chunk<'_>, reserved: bool) {
        if !self.may_receive(letter) {
            return;
        }
        let at = Truncated {
            index: chunk.at.0,
            term: chunk.at.1,
        };
        if at.index <= self.driver.committed() {
            self.answer_chunk(letter.from, chunk.at, NOT_NEEDED);
            // The leader would offer one again for as long as it does not know.
            let committed = self.driver.acknowledge_committed(letter.from);
            self.hold(vec![Post::Raft(committed)]);
            return;
        }
        let of = (letter.from, letter.term, at);
        let is_part = |receiving: &Receiving| (receiving.from, receiving.term, receiving.at) == of;
        let known = |receiving: &Receiving| is_part(receiving) && *receiving.head == *chunk.bytes;
        if chunk.number == 0 && !self.receiving.as_ref().is_some_and(known) {
            if !reserved {
                return;
            }
            let read = Head::decode(chunk.bytes)
                .and_then(|head| Ok((head.members()?, head.absorbed().to_vec(), head.children()?)));
            let Ok((members, absorbed, children)) = read else {
                tracing::warn!(group = self.group.0, "the head of a snapshot cannot be read");
                return;
            };
            self.unwritten.push(LogChange::DropChunks(self.group));
            self.receiving = Some(Receiving {
                from: letter.from,
                term: letter.term,
                at,
                head: Arc::from(chunk.bytes),
                members: Arc::new(members),
                absorbed: absorbed.into_iter().map(|absorbed| absorbed.0).collect(),
                children,
                arrived: BTreeSet::new(),
                next: 0,
            });
        }
        let next = match self.receiving.as_mut().filter(|receiving| is_part(receiving)) {
            Some(receiving) if receiving.next == chunk.number => {
                receiving.next += 1;
                receiving.arrived.extend(install::child_of(chunk.bytes));
                self.unwritten.push(LogChange::Chunk {
                    group: self.group,
                    number: chunk.number,
                    bytes: Arc::from(chunk.bytes),
                });
                receiving.next
            }
            Some(receiving) => receiving.next,
            None => 0,
        };
        self.answer_chunk(letter.from, chunk.at, next);
        if chunk.last && next == chunk.number + 1 {
            self.finish_receiving(letter);
        }
    }

    fn answer_chunk(&mut self, to: ReplicaId, at: (u64, u64), next: u64) {
        self.hold(vec![Post::Note(to, Note::ChunkReply { at, next })]);
    }

    /// All chunks are staged: raft-rs takes the snapshot, or has no need of it any more.
    fn finish_receiving(&mut self, letter: &Letter<'_>) {
        let Some(receiving) = &self.receiving else { return };
        let (at, members) = (receiving.at, Arc::clone(&receiving.members));
        let whole = receiving.arrived == receiving.children;
        if !whole || !self.driver.restore(letter.from, letter.term, at, &members) {
            self.receiving = None;
            self.unwritten.push(LogChange::DropChunks(self.group));
        }
    }

    /// raft-rs has put a snapshot in the log's place: the same is written, with the mark.
    pub(super) fn put_in_place(&mut self, to: Truncated) {
        let Some(receiving) = self.receiving.take() else { return };
        let group = self.group;
        let mark = Installing {
            at: to,
            chunks: receiving.next,
        };
        let from = Truncated::default();
        self.unwritten.push(LogChange::Clear(group));
        self.unwritten
            .push(LogChange::HardState(group, self.driver.hard_state()));
        self.unwritten.push(LogChange::Truncate { group, from, to });
        if !planted::has(Bug::InstallUnmarked) {
            self.unwritten.push(LogChange::Installing(group, Some(mark)));
        }
        // What was to be applied is in the snapshot.
        self.committed.clear();
        self.stalled = None;
        self.absorbing = receiving.absorbed;
        self.truncate_to = None;
        self.forget_log();
        let turn = self.turn + 1;
        let progress = None;
        self.install = Some(Install { mark, turn, progress });
        self.installing = true;
    }

    /// It takes more than this turn.
    pub(crate) fn go_on_installing(&mut self, install: Install) {
        self.install = Some(install);
    }

    /// Whether a part of a snapshot is the state, and nothing else can be done with that but to go on.
    pub(super) fn has_begun_installing(&self) -> bool {
        let install = self.install.as_ref();
        install.is_some_and(|install| install.progress.is_some())
    }

    /// That, to be done to its end.
    pub(crate) fn take_begun_install(&mut self) -> Option<Install> {
        self.install.take_if(|install| install.progress.is_some())
    }

    /// The snapshot is the state now.
    pub(crate) fn installed(&mut self, installed: Installed) {
        self.take_members(installed.members);
        self.installing = false;
        self.applied = installed.at.index;
        self.driver.applied(installed.at.index);
        self.evaluator.reset();
        self.frozen = self.evaluator.is_frozen();
    }
}
