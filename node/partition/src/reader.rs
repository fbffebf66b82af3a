//! Reads.

use std::sync::Arc;

use parking_lot::RwLock;
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, WriteRequest};

use crate::change::ChangeRecord;
use crate::command::Delivered;
use crate::descriptor::{GroupId, ItemTime, LogPosition, PartitionDescriptor};
use crate::error::PartitionError;
use crate::storage::{Storage, Tier};

/// What is applied and visible.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The partition.
    pub descriptor: Arc<PartitionDescriptor>,
    /// The last log entry.
    pub at: LogPosition,
    /// Rows, bytes, clock.
    pub counters: Counters,
}

/// What a partition counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Items (or rows of a global index).
    pub items: u64,
    /// The sum of their sizes by DynamoDB's rules.
    pub bytes: u64,
    /// Rows and bytes of each local index, by id.
    pub local: Vec<(partita_model::schema::IndexId, u64, u64)>,
    /// The highest item time issued.
    pub clock: ItemTime,
    /// The change log has been trimmed up to here.
    pub trimmed: ItemTime,
}

/// Reads of one partition, straight from storage. A caller checks its role and lease *after* the read, in the same
/// term as before it, and drops the answer when they do not hold.
#[derive(Debug)]
pub struct PartitionReader<S: Storage> {
    storage: Arc<S>,
    applied: RwLock<Applied>,
}

impl<S: Storage> PartitionReader<S> {
    /// The store.
    pub fn storage(&self) -> &Arc<S> {
        &self.storage
    }

    /// What is applied and visible.
    pub fn applied(&self) -> Applied {
        self.applied.read().clone()
    }

    /// The partition as applied.
    pub fn descriptor(&self) -> Arc<PartitionDescriptor> {
        Arc::clone(&self.applied.read().descriptor)
    }

    /// The last log entry whose application would survive a crash.
    pub fn flushed_at(&self) -> Result<LogPosition, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// One item.
    pub fn get(&self, _request: &GetRequest, _tier: Tier) -> Result<GetReply, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// One page of items or index rows.
    pub fn page(&self, _request: &PageRequest, _tier: Tier) -> Result<PageReply, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// Brings into the block cache what evaluating this write will read. May block.
    pub fn warm(&self, _request: &WriteRequest) -> Result<(), PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// The change log behind `after`, in order of time: at most so many records, and no further one once so many bytes
    /// have been read.
    pub fn changes(
        &self,
        _after: ItemTime,
        _records_max: usize,
        _bytes_max: usize,
    ) -> Result<Vec<ChangeRecord>, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// How far this source has been delivered here (on a global index's partition).
    pub fn position(&self, _source: GroupId) -> Result<Option<Delivered>, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// Items whose time to live has run out, with their key attributes.
    pub fn expired(&self, _now_s: u64, _max: usize) -> Result<Vec<(KeyBytes, Item)>, PartitionError> {
        Err(PartitionError::NotCached)
    }
}
