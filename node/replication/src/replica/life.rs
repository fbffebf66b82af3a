//! What comes from outside: other replicas' letters, and the time.
//!
//! 1. [`Replica::receive`] checks who writes to whom, then hands the letter to raft-rs (or to [`super::snapshots`]).
//! 2. [`Replica::tick`] counts time. A group in which nothing goes on rests: its leader says so, and nobody counts time
//!    any more until something happens; whether its stores are alive is asked of the stores (`crate::liveness`). Who answers a
//!    leader that rests is told again.
//! 3. [`Replica::dispatch`] puts what is to be sent into the store's outbox.

use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::storage::Storage;
use raft::eraftpb::{Message, MessageType};
use uuid::Uuid;

use super::Replica;
use crate::driver::DriverError;
use crate::members::ReplicaId;
use crate::message::{self, Body, Chunk, Letter, Outbox, Payload};
use crate::planted::{self, Bug};
use crate::survivor::UNSEEN;
use crate::time::{ELECTION_NS, EVENTUAL_NS};

/// A group rests after so many ticks without anything going on: a second.
const IDLE_TICKS: u32 = 20;

/// Something to be sent to another replica.
pub(super) enum Post {
    Raft(Message),
    Note(ReplicaId, Note),
}

/// What replicas tell each other beside raft.
pub(super) enum Note {
    Rest {
        commit: u64,
    },
    Awake,
    Chunk {
        at: (u64, u64),
        number: u64,
        last: bool,
        bytes: Arc<[u8]>,
    },
    ChunkReply {
        at: (u64, u64),
        next: u64,
    },
}

/// What a follower heard last from a leader of its term.
#[derive(Debug, Default)]
pub(super) struct Heard {
    at: u64,
    committed: u64,
}

impl<S: Storage> Replica<S> {
    /// A letter from another replica, on that store. A snapshot begins with it only if its keys are reserved.
    pub(crate) fn receive(
        &mut self,
        store: Uuid,
        letter: &Letter<'_>,
        reserved: bool,
        now: u64,
    ) -> Result<(), DriverError> {
        if self.ended || letter.term == 0 {
            return Ok(());
        }
        if let Body::Superseded { epoch } = letter.body {
            self.end_if_superseded(store, epoch);
            return Ok(());
        }
        if !self.knows(store, letter) {
            return Ok(());
        }
        // An answer that was on its way when the leader went to rest is nothing new.
        let answers = matches!(letter.body, Body::AppendReply { .. } | Body::HeartbeatReply { .. });
        if self.resting && !answers && !matches!(letter.body, Body::Rest { .. }) {
            self.wake();
        }
        match &letter.body {
            Body::Chunk(chunk) => self.receive_chunk(letter, chunk, reserved),
            Body::ChunkReply { at, next } => self.chunk_received(letter.from, *at, *next, now),
            Body::Rest { commit } => self.rest_with(letter, *commit, now),
            _ => {
                self.driver.commit_travels_along(!self.open.is_empty());
                self.driver.step(letter, now)?;
            }
        }
        self.note_heard(letter, now);
        self.notice();
        self.note_echo(letter, now);
        if answers && self.resting && self.is_leader() {
            // What it answers may have reached it behind the word that we rest, and woken it: it would miss its leader.
            let commit = self.applied;
            self.posts.push(Post::Note(letter.from, Note::Rest { commit }));
        }
        Ok(())
    }

    /// Whether the letter is for this replica, and from one that is (or may be, for all that is known here) a member.
    fn knows(&mut self, store: Uuid, letter: &Letter<'_>) -> bool {
        if letter.to != self.id && !planted::has(Bug::TombstoneIgnored) {
            return false;
        }
        if let Some(member) = self.members.member(letter.from) {
            return member.store == store;
        }
        // Removed as far as this replica has applied; a newer one may be a member already.
        if letter.from < self.members.next_replica {
            return false;
        }
        match self.strangers.iter_mut().find(|stranger| stranger.0 == letter.from) {
            Some(stranger) => stranger.1 = store,
            None => self.strangers.push((letter.from, store)),
        }
        true
    }

    /// The group has gone on without this replica, which was lost, from that of a member's store: it takes part in nothing any
    /// more. What it has stays, for whoever wants to look at it, until it is destroyed.
    fn end_if_superseded(&mut self, store: Uuid, epoch: u64) {
        // So far ahead is nobody who is only ahead, whatever the others have changed before they were lost.
        let far = epoch >= self.members.epoch.saturating_add(UNSEEN / 2);
        if !far || self.members.on_store(store).is_none() {
            return;
        }
        tracing::warn!(
            group = format!("{:016x}", self.group.0),
            %store,
            "the group was recovered there and has gone on without the replica here, which ends: destroy it"
        );
        if self.is_leader() {
            self.driver.step_down();
        }
        self.end(Refusal::NotLeader);
    }

    fn note_heard(&mut self, letter: &Letter<'_>, now: u64) {
        let committed = match letter.body {
            Body::Append { commit, .. } | Body::Heartbeat { committed: commit, .. } => commit,
            _ => return,
        };
        if letter.term == self.driver.term() && letter.from == self.driver.leader() {
            let committed = committed.max(self.heard.committed);
            self.heard = Heard { at: now, committed };
        }
    }

    fn note_echo(&mut self, letter: &Letter<'_>, now: u64) {
        let (Body::AppendReply { echo, .. } | Body::HeartbeatReply { echo, .. }) = letter.body else {
            return;
        };
        if self.driver.is_leader() && letter.term == self.driver.term() {
            let confirmed = if planted::has(Bug::LeaseFromReceipt) { now } else { echo };
            self.lease.confirm(letter.from, confirmed, now);
            self.lease.renew(&self.members, self.id);
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: u64) -> Result<(), DriverError> {
        if self.ended || self.resting || self.members.members.len() <= 1 && !self.is_joining() {
            return Ok(());
        }
        self.driver.tick(now);
        self.notice();
        self.end_failed_hand_over(now);
        self.leave_joint()?;
        self.expire_hold(now);
        self.resend_chunks(now);
        self.rest_if_idle(now);
        Ok(())
    }

    /// Whether it was added to the group and has not heard yet who is in it.
    fn is_joining(&self) -> bool {
        self.members.members.is_empty()
    }

    /// A leader with nothing to do tells everybody, and rests.
    fn rest_if_idle(&mut self, now: u64) {
        let idle = self.serving
            && self.proposed.is_empty()
            && self.open.is_empty()
            && self.reads.is_idle()
            && self.sending.is_empty()
            && !self.members.is_joint()
            && !self.is_handing_over()
            && self.applied == self.driver.last()
            && self.others().all(|replica| {
                self.driver.matched(replica) == self.applied
                    && now.saturating_sub(self.lease.heard(replica)) < ELECTION_NS
            });
        self.idle_ticks = if idle { self.idle_ticks + 1 } else { 0 };
        // A heartbeat of this tick leaves behind what is told here, and would wake everybody again: then a tick later.
        if self.idle_ticks >= IDLE_TICKS && !self.driver.has_output() {
            let commit = self.applied;
            self.tell_others(|| Note::Rest { commit });
            self.rest();
        }
    }

    /// The leader rests.
    fn rest_with(&mut self, letter: &Letter<'_>, commit: u64, now: u64) {
        let leads = letter.term == self.driver.term() && letter.from == self.driver.leader();
        if leads && !self.is_leader() && self.applied == commit && self.driver.last() == commit {
            self.heard.at = now;
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.idle_ticks = 0;
        self.resting = true;
        self.driver.rest();
    }

    /// Something happens: time counts again.
    pub(crate) fn wake(&mut self) {
        self.idle_ticks = 0;
        if std::mem::take(&mut self.resting) && self.is_leader() {
            self.tell_others(|| Note::Awake);
        }
    }

    pub(super) fn others(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let own = self.id;
        let members = self.members.members.iter().map(|member| member.replica);
        members.filter(move |replica| *replica != own)
    }

    fn tell_others(&mut self, note: impl Fn() -> Note) {
        let posts: Vec<_> = self.others().map(|replica| Post::Note(replica, note())).collect();
        self.posts.extend(posts);
    }

    /// Until when this replica may answer eventual reads: it has applied what a live leader had committed.
    pub(crate) fn fresh_until(&self) -> u64 {
        let current = !self.is_leader() && self.driver.leader() != 0 && self.applied >= self.heard.committed;
        let known = current && self.heard.at > 0 && !self.ended && !self.installing && !self.frozen;
        if known {
            self.heard.at.saturating_add(EVENTUAL_NS)
        } else {
            0
        }
    }

    /// The store of the leader that rests, while this replica rests with it.
    pub(crate) fn rests_with(&self) -> Option<Uuid> {
        let leader = self.resting.then(|| self.members.member(self.driver.leader()))?;
        leader.map(|member| member.store)
    }

    /// raft-rs wants these sent.
    pub(super) fn post(&mut self, messages: Vec<Message>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgTimeoutNow && !planted::has(Bug::LeaseAfterTransfer) {
                // Before it leaves: the votes it brings are granted whatever was promised.
                self.lease.give_up();
            }
            self.posts.push(Post::Raft(message));
        }
    }

    /// Puts what is to be sent into the outbox.
    pub(super) fn dispatch(&mut self, outbox: &mut Outbox, now: u64) {
        if self.posts.is_empty() {
            return;
        }
        let committed = self.driver.committed();
        for post in std::mem::take(&mut self.posts) {
            match &post {
                Post::Raft(message) => {
                    if let Some(body) = message::body(message, now, committed) {
                        self.write(outbox, message.to, message.term, body);
                    }
                }
                Post::Note(to, note) => self.write(outbox, *to, self.driver.term(), note.body()),
            }
        }
    }

    fn write(&self, outbox: &mut Outbox, to: ReplicaId, term: u64, body: Body<'_>) {
        let store = match self.members.member(to) {
            Some(member) => member.store,
            None => match self.strangers.iter().find(|stranger| stranger.0 == to) {
                Some(stranger) => stranger.1,
                None => return,
            },
        };
        let letter = Letter {
            group: self.group.0,
            from: self.id,
            to,
            term,
            body,
        };
        outbox.push(store, &Payload::Replica(letter));
    }
}

impl Note {
    fn body(&self) -> Body<'_> {
        match self {
            Self::Rest { commit } => Body::Rest { commit: *commit },
            Self::Awake => Body::Awake,
            Self::Chunk {
                at,
                number,
                last,
                bytes,
            } => Body::Chunk(Chunk {
                at: *at,
                number: *number,
                last: *last,
                bytes,
            }),
            Self::ChunkReply { at, next } => Body::ChunkReply { at: *at, next: *next },
        }
    }
}
