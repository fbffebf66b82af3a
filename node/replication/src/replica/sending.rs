//! Snapshots, at the leader: a follower that needs entries which the log no longer has gets the rows instead.
//!
//! 1. raft-rs asks for a snapshot ([`Replica::start_snapshots`]): the leader pins a view of its state and sends it in
//!    chunks, a few at a time and at a steady pace: a head with descriptor, counters and members, then rows in order of
//!    their keys. Children that were split off and have not come to life travel along: whoever gets past the split in
//!    this way bears them, too. The log behind the snapshot is kept until the follower has it.
//! 2. Chunks are read by the store's courier, each when it is due, and come back ([`Replica::chunk_read`]).
//! 3. All snapshots of one entry that a leader sends in one term have the same chunks: those of two are not told apart. They
//!    differ only where a child has come to life between two; then the second one waits for another entry.
//! 4. What the follower does with it is in [`super::snapshots`]. Entries of the log that are not in memory any more are read in
//!    the same way, at the same pace ([`Replica::entries_read`]).

use std::collections::VecDeque;
use std::sync::Arc;

use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::storage::Storage;
use partita_partition::transfer::{self, Place};
use raft::eraftpb::Entry;

use super::Replica;
use super::life::{Note, Post};
use super::snapshots::NOT_NEEDED;
use crate::install::{self, Head};
use crate::log::Truncated;
use crate::members::{Members, ReplicaId};
use crate::planted::{self, Bug};
use crate::tail::Fetch;
use crate::time::{ELECTION_NS, TICK_NS};

/// So many chunks are on their way at once.
const WINDOW_CHUNKS: usize = 8;
/// A group sends so many snapshots at once; further followers wait.
const SENDING_MAX: usize = 2;
/// Chunks that are not answered are sent again after this: some round trips, and a write and a sync of them on a disk that is busy.
const RESEND_NS: u64 = ELECTION_NS;
/// A follower that has not answered for so long is given up; it asks again when it is back.
const GIVE_UP_NS: u64 = 20 * ELECTION_NS;

/// A snapshot on its way to a follower.
pub(super) struct Sending<S: Storage> {
    pub(super) to: ReplicaId,
    at: Truncated,
    /// What comes next; `None` while it is being read, and at the end.
    rows: Option<Rows<S>>,
    /// Nothing comes next.
    complete: bool,
    /// Tells it from an earlier one to the same follower.
    serial: u64,
    next: u64,
    /// Sent, not answered.
    window: VecDeque<Part>,
    /// When the next chunk may leave.
    due: u64,
    /// When something was last sent, and when something was last answered.
    sent: u64,
    answered: u64,
}

/// A snapshot's rows, from some place on.
struct Rows<S: Storage> {
    group: GroupId,
    view: S::Pinned,
    /// Whose rows are on their way: the partition's, then those of children that travel along.
    parts: VecDeque<PartitionDescriptor>,
    /// Where the next chunk of the first of them begins.
    place: Place,
}

/// A chunk.
#[derive(Clone)]
struct Part {
    number: u64,
    last: bool,
    bytes: Arc<[u8]>,
}

/// A follower that has its snapshot, and not yet what was written while that was on its way.
pub(super) struct CatchingUp {
    to: ReplicaId,
    /// How far it has come, and when it last came further.
    at: u64,
    moved: u64,
}

/// Something to be read while nobody holds the group's lock, and not before its time.
pub(crate) enum Errand<S: Storage> {
    Chunk(Reading<S>),
    Entries(Fetch, u64),
}

/// A chunk to be read.
pub(crate) struct Reading<S: Storage> {
    serial: u64,
    rows: Rows<S>,
    bytes_max: usize,
    due: u64,
}

/// A chunk that was read, and whether it is the last one.
pub(crate) struct Read<S: Storage> {
    serial: u64,
    rows: Rows<S>,
    chunk: Result<(Vec<u8>, bool), PartitionError>,
}

impl<S: Storage> Errand<S> {
    /// When it is to be run.
    pub(crate) fn due(&self) -> u64 {
        match self {
            Self::Chunk(reading) => reading.due,
            Self::Entries(_, due) => *due,
        }
    }
}

impl<S: Storage> Reading<S> {
    /// Reads it.
    pub(crate) fn read(mut self) -> Read<S> {
        Read {
            chunk: self.rows.next(self.bytes_max),
            serial: self.serial,
            rows: self.rows,
        }
    }
}

impl<S: Storage> Rows<S> {
    fn next(&mut self, bytes_max: usize) -> Result<(Vec<u8>, bool), PartitionError> {
        let Some(descriptor) = self.parts.front() else {
            return Ok((Vec::new(), true));
        };
        let (bytes, next) = transfer::export(&self.view, descriptor, &self.place, bytes_max)?;
        let bytes = match descriptor.group == self.group {
            true => bytes,
            false => install::of_child(descriptor.group, &bytes),
        };
        match next {
            Some(next) => self.place = next,
            None => {
                self.place = Place::default();
                self.parts.pop_front();
            }
        }
        Ok((bytes, self.parts.is_empty()))
    }
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
                // It is asked for again.
                Ok(sending) if self.is_mistakable(&sending) => self.driver.propose_nothing(),
                Ok(mut sending) => {
                    self.sendings += 1;
                    sending.serial = self.sendings;
                    let head = sending.window.front().cloned();
                    self.posts.extend(head.map(|part| part.post(to, sending.at)));
                    self.sending.push(sending);
                }
                Err(error) => tracing::error!(group = self.group.0, error, "a snapshot cannot be made"),
            }
        }
        self.pump_all(now);
    }

    /// Whether it is of the same entry as an earlier one of this term, and has other children. If not, it is the one that later
    /// ones are compared with.
    fn is_mistakable(&mut self, sending: &Sending<S>) -> bool {
        let Some(head) = sending.window.front().map(|part| &part.bytes) else {
            return false;
        };
        match &self.offered {
            Some((at, offered)) if *at == sending.at => offered != head,
            _ => {
                self.offered = Some((sending.at, Arc::clone(head)));
                false
            }
        }
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
            rows: Some(Rows {
                group: self.group,
                view,
                parts,
                place: Place::default(),
            }),
            complete: false,
            serial: 0,
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

    /// Has the next chunk of a snapshot read, if it is due before the next tick and fits into the window.
    fn pump(&mut self, to: ReplicaId, now: u64) {
        let Some(sending) = self.sending.iter_mut().find(|sending| sending.to == to) else {
            return;
        };
        if sending.window.len() < WINDOW_CHUNKS
            && sending.due <= now + TICK_NS
            && let Some(rows) = sending.rows.take()
        {
            self.errands.push(Errand::Chunk(Reading {
                serial: sending.serial,
                rows,
                bytes_max: self.limits.chunk_bytes,
                due: sending.due,
            }));
        }
    }

    /// A chunk was read: it leaves, and the next one is read.
    pub(crate) fn chunk_read(&mut self, read: Read<S>, now: u64) {
        let Some(at) = self.sending.iter().position(|sending| sending.serial == read.serial) else {
            return;
        };
        let sending = &mut self.sending[at];
        let (bytes, last) = match read.chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::error!(group = self.group.0, %error, "a snapshot cannot be read");
                self.sending.remove(at);
                return;
            }
        };
        sending.complete = last;
        sending.rows = (!last).then_some(read.rows);
        let part = Part {
            number: sending.next,
            last,
            bytes: Arc::from(bytes),
        };
        sending.next += 1;
        sending.due = sending.due.max(now.saturating_sub(TICK_NS)) + self.limits.pace_ns(part.bytes.len());
        sending.window.push_back(part.clone());
        let (to, snapshot) = (sending.to, sending.at);
        self.posts.push(part.post(to, snapshot));
        self.pump(to, now);
    }

    /// What is to be read since the last call.
    pub(crate) fn take_errands(&mut self) -> Vec<Errand<S>> {
        let mut errands = std::mem::take(&mut self.errands);
        let fetches = self.driver.take_fetches().into_iter();
        errands.extend(fetches.map(|fetch| Errand::Entries(fetch, self.entries_due)));
        errands
    }

    /// Entries were read for a follower (none: they could not be): they leave.
    pub(crate) fn entries_read(&mut self, fetch: Fetch, entries: Vec<Entry>, now: u64) {
        if self.ended {
            return;
        }
        let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
        self.entries_due = self.entries_due.max(now.saturating_sub(TICK_NS)) + self.limits.pace_ns(bytes);
        self.driver.fetched(fetch, entries);
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
        let done = sending.window.is_empty() && sending.complete;
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
