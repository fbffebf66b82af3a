//! A group's log as raft-rs sees it: where it begins and ends, which terms it has, and its newest entries in memory.
//!
//! Entries stay in memory until they are applied; older ones (at start-up, for a slow follower) are read back from the
//! [`LogEngine`]. For a slow follower that is done while nobody waits for it: raft-rs is told that they are not there yet
//! ([`Tail::take_fetches`]), and asks again when they are ([`Tail::fetched`]).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use partita_partition::descriptor::GroupId;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::log::{LogEngine, StoredGroup, Truncated};
use crate::members::ReplicaId;

/// See the module's header.
pub(crate) struct Tail {
    group: GroupId,
    log: Arc<dyn LogEngine>,
    initial: RaftState,
    truncated: Truncated,
    /// First index and term of each run of entries of one term, in order.
    terms: VecDeque<(u64, u64)>,
    last: u64,
    /// The entries up to `last` that are not applied yet.
    recent: VecDeque<Entry>,
    /// Replicas for which raft-rs asked a snapshot. They are made outside of it and travel in chunks.
    wanted: RefCell<Vec<ReplicaId>>,
    /// Entries to be read for followers.
    fetches: RefCell<Vec<Fetch>>,
    /// Where those begin that are being read.
    fetching: RefCell<Vec<u64>>,
    /// Those that have just been read.
    fetched: Vec<Entry>,
}

/// Entries to be read for a follower.
pub(crate) struct Fetch {
    /// From here.
    pub(crate) low: u64,
    /// To before this.
    pub(crate) high: u64,
    /// About so many bytes of them.
    pub(crate) bytes_max: u64,
    /// What raft-rs is told when they are there.
    pub(crate) context: GetEntriesContext,
}

impl Tail {
    pub(crate) fn new(
        log: Arc<dyn LogEngine>,
        stored: &StoredGroup,
        hard_state: HardState,
        members: ConfState,
    ) -> Self {
        Self {
            group: stored.id,
            log,
            initial: RaftState::new(hard_state, members),
            truncated: stored.truncated,
            terms: stored.terms.iter().copied().collect(),
            last: stored.last,
            recent: VecDeque::new(),
            wanted: RefCell::default(),
            fetches: RefCell::default(),
            fetching: RefCell::default(),
            fetched: Vec::new(),
        }
    }

    /// Entries to be read since the last call.
    pub(crate) fn take_fetches(&mut self) -> Vec<Fetch> {
        std::mem::take(self.fetches.get_mut())
    }

    /// These have been read, from this one on (none: they could not be), and are asked for now or never.
    pub(crate) fn fetched(&mut self, low: u64, entries: Vec<Entry>) {
        self.fetching.get_mut().retain(|fetching| *fetching != low);
        self.fetched = entries;
    }

    /// Replicas for which a snapshot was asked since the last call.
    pub(crate) fn take_wanted(&mut self) -> Vec<ReplicaId> {
        std::mem::take(self.wanted.get_mut())
    }

    pub(crate) fn truncated(&self) -> Truncated {
        self.truncated
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds entries, in place of those from the first one's index on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        debug_assert!(first.index <= self.last + 1 && first.index > self.truncated.index);
        while self.recent.back().is_some_and(|entry| entry.index >= first.index) {
            self.recent.pop_back();
        }
        while self.terms.back().is_some_and(|run| run.0 >= first.index) {
            self.terms.pop_back();
        }
        for entry in entries {
            if self.terms.back().is_none_or(|run| run.1 != entry.term) {
                self.terms.push_back((entry.index, entry.term));
            }
            self.last = entry.index;
            self.recent.push_back(entry.clone());
        }
    }

    /// Lets go of applied entries' memory.
    pub(crate) fn forget_through(&mut self, applied: u64) {
        while self.recent.front().is_some_and(|entry| entry.index <= applied) {
            self.recent.pop_front();
        }
    }

    /// A snapshot takes the place of everything.
    pub(crate) fn restore(&mut self, to: Truncated) {
        self.truncated = to;
        self.last = to.index;
        self.terms.clear();
        self.recent.clear();
    }

    /// Moves the beginning of the log. The entries must have been applied.
    pub(crate) fn truncate(&mut self, to: Truncated) {
        debug_assert!(to.index >= self.truncated.index && to.index <= self.last);
        self.truncated = to;
        while self.terms.get(1).is_some_and(|run| run.0 <= to.index + 1) {
            self.terms.pop_front();
        }
        self.forget_through(to.index);
    }
}

impl Tail {
    /// Entries for a follower, if they have just been read: else they will be.
    fn fetch(&self, low: u64, high: u64, bytes_max: u64, context: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        let is_current = |entry: &Entry| self.term(entry.index).is_ok_and(|term| term == entry.term);
        if self.fetched.first().is_some_and(|first| first.index == low) && self.fetched.iter().all(is_current) {
            let entries = self.fetched.iter().take_while(|entry| entry.index < high);
            return Ok(entries.cloned().collect());
        }
        let mut fetching = self.fetching.borrow_mut();
        if !fetching.contains(&low) {
            fetching.push(low);
            self.fetches.borrow_mut().push(Fetch {
                low,
                high,
                bytes_max,
                context,
            });
        }
        Err(StorageError::LogTemporarilyUnavailable.into())
    }
}

impl Storage for Tail {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let in_memory = self.recent.front().map_or(self.last + 1, |entry| entry.index);
        if low < in_memory && context.can_async() {
            return self.fetch(low, high.min(in_memory), bytes_max, context);
        }
        if low < in_memory {
            return self
                .log
                .entries(self.group, low, high.min(in_memory), bytes_max)
                .map_err(|error| StorageError::Other(Box::new(error)).into());
        }
        let mut bytes = 0;
        let mut entries = Vec::with_capacity((high - low) as usize);
        for entry in self
            .recent
            .range((low - in_memory) as usize..(high - in_memory) as usize)
        {
            bytes += entry.data.len() as u64;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.truncated.index {
            return Ok(self.truncated.term);
        }
        if index < self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        if index > self.last {
            return Err(StorageError::Unavailable.into());
        }
        let behind = self.terms.partition_point(|run| run.0 <= index);
        match behind.checked_sub(1).and_then(|run| self.terms.get(run)) {
            Some(run) => Ok(run.1),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, _request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let mut wanted = self.wanted.borrow_mut();
        if !wanted.contains(&to) {
            wanted.push(to);
        }
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::memory::MemoryLog;
    use crate::log::{GroupRecord, Life, LogChange};
    use crate::members::Members;

    const GROUP: GroupId = GroupId(1);

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index,
            term,
            data: vec![index as u8; 10].into(),
            ..Entry::default()
        }
    }

    fn tail(entries: &[Entry]) -> Tail {
        let log = Arc::new(MemoryLog::new());
        let record = GroupRecord {
            born: 1,
            replica: 1,
            members: Members::voters(&[uuid::Uuid::nil()]),
            start: Truncated::default(),
            descriptor: Vec::new(),
            life: Life::Alive,
            parent: None,
        };
        let append = LogChange::Append {
            group: GROUP,
            entries: entries.to_vec(),
            last_before: 0,
        };
        log.write(&vec![LogChange::Record(GROUP, record), append]).unwrap();
        let stored = log.groups().unwrap().remove(0);
        Tail::new(log, &stored, HardState::default(), ConfState::default())
    }

    fn indexes(tail: &Tail, low: u64, high: u64, bytes: u64) -> Vec<u64> {
        let entries = tail.entries(low, high, bytes, GetEntriesContext::empty(false)).unwrap();
        entries.iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn old_entries_come_from_the_log_and_new_ones_from_memory() {
        let mut tail = tail(&[entry(1, 1), entry(2, 1), entry(3, 2)]);
        tail.append(&[entry(4, 2), entry(5, 4)]);
        assert_eq!(indexes(&tail, 1, 6, u64::MAX), [1, 2, 3]);
        assert_eq!(indexes(&tail, 4, 6, u64::MAX), [4, 5]);
        assert_eq!(indexes(&tail, 4, 6, 1), [4]);
        assert_eq!(indexes(&tail, 1, 3, 1), [1]);
        let terms: Vec<_> = (0..=5).map(|index| tail.term(index).unwrap()).collect();
        assert_eq!(terms, [0, 1, 1, 2, 2, 4]);
        assert!(tail.term(6).is_err());
        assert!(tail.entries(4, 7, None, GetEntriesContext::empty(false)).is_err());
    }

    #[test]
    fn what_a_follower_needs_is_read_while_nobody_waits() {
        let mut tail = tail(&[entry(1, 1), entry(2, 1), entry(3, 2)]);
        tail.append(&[entry(4, 2)]);
        let ask = |tail: &Tail, low| tail.entries(low, tail.last() + 1, None, GetEntriesContext::empty(true));
        // What is in memory is there at once.
        assert_eq!(ask(&tail, 4).unwrap().len(), 1);
        for _ in 0..2 {
            let error = ask(&tail, 2).unwrap_err();
            assert_eq!(error, StorageError::LogTemporarilyUnavailable.into());
        }
        let fetches = tail.take_fetches();
        let [fetch] = &fetches[..] else {
            panic!("{}", fetches.len())
        };
        assert_eq!((fetch.low, fetch.high), (2, 4));
        tail.fetched(2, vec![entry(2, 1), entry(3, 2)]);
        assert_eq!(ask(&tail, 2).unwrap().len(), 2);
        // Not any more once they are another leader's.
        tail.append(&[entry(3, 4)]);
        assert!(ask(&tail, 2).is_err());
        assert_eq!(tail.take_fetches().len(), 1);
    }

    #[test]
    fn a_conflict_replaces_the_end() {
        let mut tail = tail(&[entry(1, 1), entry(2, 1)]);
        tail.append(&[entry(3, 1), entry(4, 2), entry(5, 2)]);
        tail.append(&[entry(4, 3)]);
        assert_eq!(tail.last(), 4);
        assert_eq!((tail.term(3).unwrap(), tail.term(4).unwrap()), (1, 3));
        assert!(tail.term(5).is_err());
    }

    #[test]
    fn the_beginning_moves() {
        let mut tail = tail(&[entry(1, 1), entry(2, 2), entry(3, 2)]);
        tail.append(&[entry(4, 3)]);
        tail.truncate(Truncated { index: 2, term: 2 });
        assert!(tail.term(1).is_err());
        let terms: Vec<_> = (2..=4).map(|index| tail.term(index).unwrap()).collect();
        assert_eq!(terms, [2, 2, 3]);
        assert!(tail.entries(2, 3, None, GetEntriesContext::empty(false)).is_err());
        tail.truncate(Truncated { index: 4, term: 3 });
        assert_eq!((tail.first_index().unwrap(), tail.term(4).unwrap()), (5, 3));
    }
}
