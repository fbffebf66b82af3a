//! The log in memory: what was written is "on disk" for as long as the value lives, so that a test can crash a store
//! and open another one on the same log. Faults are injected by write number.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use partita_partition::descriptor::GroupId;
use raft::eraftpb::{Entry, HardState};

use super::{GroupRecord, Installing, LogBatch, LogChange, LogEngine, LogError, StoredGroup, Truncated, note_term};

/// What happens at an injected fault: the writer sees an error either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of the batch was kept.
    Lost,
    /// The batch is durable, but the writer was not told.
    Kept,
}

/// See the module's header.
#[derive(Default)]
pub struct MemoryLog {
    /// Held while the disk is to hang.
    gate: Mutex<()>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    groups: BTreeMap<u64, Rows>,
    writes: u64,
    fault: Option<(u64, Fault)>,
    failed: bool,
}

#[derive(Default)]
struct Rows {
    record: Option<GroupRecord>,
    hard_state: HardState,
    truncated: Truncated,
    entries: BTreeMap<u64, Entry>,
    installing: Option<Installing>,
    chunks: BTreeMap<u64, Arc<[u8]>>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many batches were written: each one stands for a sync.
    pub fn writes(&self) -> u64 {
        self.inner.lock().writes
    }

    /// The write with this number (counted from 1 for the log's whole life) fails, and so do all after it until
    /// [`MemoryLog::recover`].
    pub fn fail_at(&self, write: u64, fault: Fault) {
        self.inner.lock().fault = Some((write, fault));
    }

    /// The disk hangs until the answer is dropped: whoever writes meanwhile waits.
    pub fn stall(&self) -> impl Sized + '_ {
        self.gate.lock()
    }

    /// Ends an injected fault, as a restart on a healthy disk would.
    pub fn recover(&self) {
        let mut inner = self.inner.lock();
        inner.fault = None;
        inner.failed = false;
    }

    /// The first and last stored entry of a group.
    pub fn bounds(&self, group: GroupId) -> Option<(u64, u64)> {
        let inner = self.inner.lock();
        let entries = &inner.groups.get(&group.0)?.entries;
        Some((*entries.first_key_value()?.0, *entries.last_key_value()?.0))
    }
}

impl Inner {
    fn apply(&mut self, change: &LogChange) -> u64 {
        match change {
            LogChange::Record(group, record) => {
                self.groups.entry(group.0).or_default().record = Some(record.clone());
                record.descriptor.len() as u64
            }
            LogChange::Append { group, entries, .. } => {
                let rows = self.groups.entry(group.0).or_default();
                if let Some(first) = entries.first() {
                    rows.entries.split_off(&first.index);
                }
                // What raft-rs wanted to see of a change of membership is not kept, as on disk.
                rows.entries
                    .extend(entries.iter().map(|entry| (entry.index, super::kept(entry))));
                entries.iter().map(|entry| entry.data.len() as u64).sum()
            }
            LogChange::HardState(group, state) => {
                self.groups.entry(group.0).or_default().hard_state = state.clone();
                0
            }
            LogChange::Truncate { group, to, .. } => {
                let rows = self.groups.entry(group.0).or_default();
                rows.truncated = *to;
                rows.entries = rows.entries.split_off(&(to.index + 1));
                0
            }
            LogChange::Clear(group) => {
                let rows = self.groups.entry(group.0).or_default();
                *rows = Rows {
                    record: rows.record.take(),
                    chunks: std::mem::take(&mut rows.chunks),
                    ..Rows::default()
                };
                0
            }
            LogChange::Installing(group, mark) => {
                self.groups.entry(group.0).or_default().installing = *mark;
                0
            }
            LogChange::Chunk { group, number, bytes } => {
                let rows = self.groups.entry(group.0).or_default();
                rows.chunks.insert(*number, Arc::clone(bytes));
                bytes.len() as u64
            }
            LogChange::DropChunks(group) => {
                self.groups.entry(group.0).or_default().chunks.clear();
                0
            }
        }
    }
}

impl LogEngine for MemoryLog {
    fn write(&self, batch: &LogBatch) -> Result<u64, LogError> {
        drop(self.gate.lock());
        let mut inner = self.inner.lock();
        inner.writes += 1;
        if inner.failed {
            return Err(LogError::Engine("the disk is gone".into()));
        }
        let fault = inner.fault.filter(|fault| inner.writes >= fault.0).map(|fault| fault.1);
        inner.failed = fault.is_some();
        if fault == Some(Fault::Lost) {
            return Err(LogError::Engine("injected: nothing was kept".into()));
        }
        let bytes = batch.iter().map(|change| inner.apply(change)).sum();
        match fault {
            Some(_) => Err(LogError::Engine("injected: the batch was kept".into())),
            None => Ok(bytes),
        }
    }

    fn entries(&self, group: GroupId, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Entry>, LogError> {
        let inner = self.inner.lock();
        let missing = |index| LogError::Missing { group: group.0, index };
        let rows = inner.groups.get(&group.0).ok_or_else(|| missing(from))?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for index in from..to {
            let entry = rows.entries.get(&index).ok_or_else(|| missing(index))?;
            bytes += entry.data.len() as u64;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn chunk(&self, group: GroupId, number: u64) -> Result<Vec<u8>, LogError> {
        let inner = self.inner.lock();
        let chunk = inner.groups.get(&group.0).and_then(|rows| rows.chunks.get(&number));
        let missing = || LogError::Missing {
            group: group.0,
            index: number,
        };
        chunk.map(|chunk| chunk.to_vec()).ok_or_else(missing)
    }

    fn groups(&self) -> Result<Vec<StoredGroup>, LogError> {
        let inner = self.inner.lock();
        let mut groups = Vec::new();
        for (id, rows) in &inner.groups {
            let Some(record) = rows.record.clone() else { continue };
            let mut terms = Vec::new();
            for entry in rows.entries.values() {
                note_term(&mut terms, entry.index, entry.term);
            }
            groups.push(StoredGroup {
                id: GroupId(*id),
                record,
                hard_state: rows.hard_state.clone(),
                truncated: rows.truncated,
                terms,
                last: rows
                    .entries
                    .last_key_value()
                    .map_or(rows.truncated.index, |last| *last.0),
                bytes: rows.entries.values().map(|entry| entry.data.len() as u64).sum(),
                installing: rows.installing,
                staged: !rows.chunks.is_empty(),
            });
        }
        Ok(groups)
    }

    fn close(&self) {}
}
