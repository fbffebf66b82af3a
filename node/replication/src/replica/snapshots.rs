//! Snapshots: a follower that needs entries which the log no longer has gets the rows instead.
//!
//! 1. raft-rs asks for a snapshot ([`Replica::start_snapshots`]): the leader pins a view of its state and sends it in
//!    chunks, a few at a time and at a steady pace: a head with descriptor, counters and members, then rows in order of
//!    their keys. Children that were split off and have not come to life travel along: whoever gets past the split in
//!    this way bears them, too. The log behind the snapshot is kept until the follower has it.
//! 2. The follower stages each chunk in its log, and answers once it is durable; what was lost is sent again, from the
//!    first chunk that the follower lacks. What another term, or the log itself, has overtaken is dropped.
//! 3. With the last chunk the snapshot takes the log's place: one batch of the log clears the group's entries and marks
//!    that the installation has begun. From then on it is certain to end: a restart does it again.
//! 4. The log writer installs it (`crate::install`), then the mark and the chunks go.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::storage::Storage;
use partita_partition::transfer::{self, Place};

use super::Replica;
use super::life::{Note, Post};
use crate::install::{self, Head};
use crate::log::{Installing, LogChange, StoredGroup, Truncated};
use crate::members::{Members, ReplicaId};
use crate::message::{Chunk, Letter};
use crate::planted::{self, Bug};
use crate::time::{ELECTION_NS, HEARTBEAT_TICKS, TICK_NS};

/// So many chunks are on their way at once.
const WINDOW_CHUNKS: usize = 8;
/// A group sends so many snapshots at once; further followers wait.
const SENDING_MAX: usize = 2;
/// Chunks that are not answered are sent again after this: a few round trips and a sync.
const RESEND_NS: u64 = 2 * HEARTBEAT_TICKS as u64 * TICK_NS;
/// A follower that has not answered for so long is given up; it asks again when it is back.
const GIVE_UP_NS: u64 = 20 * ELECTION_NS;
/// The answer to chunks of a snapshot that is not needed any more.
const NOT_NEEDED: u64 = u64::MAX;

/// A snapshot on its way to a follower.
pub(super) struct Sending<S: Storage> {
    pub(super) to: ReplicaId,
    at: Truncated,
    view: S::Pinned,
    /// Whose rows are on their way: the partition's, then those of children that travel along.
    parts: VecDeque<PartitionDescriptor>,
    /// Where the next chunk of the first of them begins.
    place: Place,
    next: u64,
    /// Sent, not answered.
    window: VecDeque<Part>,
    /// When the next chunk may leave.
    due: u64,
    /// When something was last sent, and when something was last answered.
    sent: u64,
    answered: u64,
}

/// A chunk.
#[derive(Clone)]
struct Part {
    number: u64,
    last: bool,
    bytes: Arc<[u8]>,
}

/// A snapshot being received. Two of the same entry need not have the same chunks: which children have not come to life is not
/// the same everywhere and always.
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

/// A follower that has its snapshot, and not yet what was written while that was on its way.
pub(super) struct CatchingUp {
    to: ReplicaId,
    /// How far it has come, and when it last came further.
    at: u64,
    moved: u64,
}

/// A snapshot to be installed.
pub(crate) struct Install {
    pub(crate) mark: Installing,
    /// The log writer's turn that makes the mark durable.
    pub(super) turn: u64,
}

/// A snapshot that was installed.
pub(crate) struct Installed {
    pub(crate) at: Truncated,
    pub(crate) members: Arc<Members>,
    /// Children that have come along: to be opened once the snapshot is the state.
    pub(crate) children: Vec<StoredGroup>,
}

impl<S: Storage> Replica<S> {
    /// Begins to send a snapshot to followers that need one.
    pub(super) fn start_snapshots(&mut self, now: u64) {
        for to in self.driver.take_wanted() {
            let known = self.sending.iter().any(|sending| sending.to == to);
            if known || self.sending.len() >= SENDING_MAX || !self.is_leader() {
                continue;
            }
            match self.pin(to) {
                Ok(sending) => {
                    let head = sending.window.front().cloned();
                    self.posts.extend(head.map(|part| part.post(to, sending.at)));
                    self.sending.push(sending);
                }
                Err(error) => tracing::error!(group = self.group.0, error, "a snapshot cannot be made"),
            }
        }
        self.pump_all(now);
    }

    /// Pins the state as it is now.
    fn pin(&self, to: ReplicaId) -> Result<Sending<S>, String> {
        let view = self.storage.pin();
        let descriptor = self.evaluator.descriptor();
        let head = transfer::head(&view, descriptor.table, self.group).map_err(|error| error.to_string())?;
        let head = head.ok_or("the partition is not there")?;
        let members = match &head.members {
            Some(members) => Members::decode(members).map_err(|error| error.to_string())?,
            None => Members::clone(&self.members),
        };
        let at = Truncated {
            index: head.at.index,
            term: head.at.term,
        };
        let children = match planted::has(Bug::ChildLeftBehind) {
            true => Vec::new(),
            false => install::unborn(&view, descriptor.table, &head.children).map_err(|error| error.to_string())?,
        };
        let mut parts = VecDeque::from([head.descriptor().map_err(|error| error.to_string())?]);
        for child in &children {
            parts.push_back(child.descriptor().map_err(|error| error.to_string())?);
        }
        let bytes = Head::encode(&head, &members, children).map_err(|error| error.to_string())?;
        let first = Part {
            number: 0,
            last: false,
            bytes: Arc::from(bytes),
        };
        Ok(Sending {
            to,
            at,
            view,
            parts,
            place: Place::default(),
            next: 1,
            window: VecDeque::from([first]),
            due: 0,
            sent: 0,
            answered: 0,
        })
    }

    /// Sends what is due of all snapshots.
    fn pump_all(&mut self, now: u64) {
        let receivers: Vec<_> = self.sending.iter().map(|sending| sending.to).collect();
        for to in receivers {
            self.pump(to, now);
        }
    }

    /// Sends what is due of a snapshot, and fits into its window.
    fn pump(&mut self, to: ReplicaId, now: u64) {
        let Some(at) = self.sending.iter().position(|sending| sending.to == to) else {
            return;
        };
        let sending = &mut self.sending[at];
        let mut fresh: Vec<Part> = Vec::new();
        while sending.window.len() < WINDOW_CHUNKS
            && sending.due <= now
            && let Some(descriptor) = sending.parts.front()
        {
            let exported = transfer::export(&sending.view, descriptor, &sending.place, self.limits.chunk_bytes);
            let (bytes, next) = match exported {
                Ok(exported) => exported,
                Err(error) => {
                    tracing::error!(group = self.group.0, %error, "a snapshot cannot be read");
                    self.sending.remove(at);
                    return;
                }
            };
            let bytes = match descriptor.group == self.group {
                true => bytes,
                false => install::of_child(descriptor.group, &bytes),
            };
            match next {
                Some(next) => sending.place = next,
                None => {
                    sending.place = Place::default();
                    sending.parts.pop_front();
                }
            }
            let part = Part {
                number: sending.next,
                last: sending.parts.is_empty(),
                bytes: Arc::from(bytes),
            };
            sending.next += 1;
            sending.due = sending.due.max(now.saturating_sub(TICK_NS)) + self.limits.pace_ns(part.bytes.len());
            sending.window.push_back(part.clone());
            fresh.push(part);
        }
        let snapshot = sending.at;
        self.posts.extend(fresh.into_iter().map(|part| part.post(to, snapshot)));
    }

    /// A follower has everything before this chunk.
    pub(super) fn chunk_received(&mut self, from: ReplicaId, at: (u64, u64), next: u64, now: u64) {
        let of = |sending: &Sending<S>| sending.to == from && (sending.at.index, sending.at.term) == at;
        let Some(place) = self.sending.iter().position(of) else {
            return;
        };
        let sending = &mut self.sending[place];
        while sending.window.front().is_some_and(|part| part.number < next) {
            sending.window.pop_front();
            sending.answered = now;
        }
        // An answer that was overtaken by a later one says nothing. A follower that has lost what it had asks anew.
        let lost = next == 0 && sending.window.front().is_none_or(|part| part.number > 0);
        let done = sending.window.is_empty() && sending.parts.is_empty();
        if lost || done || next == NOT_NEEDED {
            let sent = self.sending.remove(place);
            if !lost {
                self.catching_up.retain(|one| one.to != from);
                let (to, at, moved) = (from, sent.at.index, now);
                self.catching_up.push(CatchingUp { to, at, moved });
            }
        } else {
            self.pump(from, now);
        }
    }

    /// Time has passed: sends what is due, again what was not answered, and gives up who never answers.
    pub(super) fn resend_chunks(&mut self, now: u64) {
        for sending in &mut self.sending {
            if sending.sent == 0 {
                (sending.sent, sending.answered) = (now, now);
            }
            if now.saturating_sub(sending.sent.max(sending.answered)) >= RESEND_NS {
                sending.sent = now;
                let (to, at) = (sending.to, sending.at);
                self.posts
                    .extend(sending.window.iter().map(|part| part.clone().post(to, at)));
            }
        }
        self.sending
            .retain(|sending| now.saturating_sub(sending.answered) < GIVE_UP_NS);
        for one in &mut self.catching_up {
            let matched = self.driver.matched(one.to);
            if matched > one.at {
                (one.at, one.moved) = (matched, now);
            }
        }
        let (last, members) = (self.driver.last(), &self.members);
        self.catching_up.retain(|one| {
            one.at < last && now.saturating_sub(one.moved) < GIVE_UP_NS && members.member(one.to).is_some()
        });
        self.pump_all(now);
    }

    /// The entries behind this one are needed by snapshots on their way, or by those who have just got one.
    pub(super) fn sent_snapshots_at(&self) -> u64 {
        let sending = self.sending.iter().map(|sending| sending.at.index);
        let catching_up = self.catching_up.iter().map(|one| one.at);
        sending.chain(catching_up).min().unwrap_or(u64::MAX)
    }

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
        self.install = Some(Install { mark, turn });
        self.installing = true;
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

impl Part {
    fn post(self, to: ReplicaId, at: Truncated) -> Post {
        Post::Note(
            to,
            Note::Chunk {
                at: (at.index, at.term),
                number: self.number,
                last: self.last,
                bytes: self.bytes,
            },
        )
    }
}
