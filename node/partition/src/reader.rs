//! Reads of one partition, straight from storage, at the same time as evaluation and apply.
//!
//! A caller checks its role and lease *after* the read, in the same term as before it, and drops the answer when they
//! do not hold: what is read here is then known to have been the latest state when the caller asked.

use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use partita_model::capacity::{ReadCost, read_units};
use partita_model::item::{Item, ItemRef};
use partita_model::key::{self, KeyBytes};
use partita_model::request::{GetReply, GetRequest, Refusal, WriteRequest};

use crate::change::ChangeRecord;
use crate::command::Delivered;
use crate::descriptor::{self, GroupId, ItemTime, LogPosition, PartitionDescriptor};
use crate::error::PartitionError;
use crate::evaluator::write::{EXPIRED_FOR_MAX_S, is_expired};
use crate::row::{self, MetaKind};
use crate::split::Lineage;
use crate::state;
pub use crate::state::{Applied, Counters, LocalCount};
use crate::storage::{Cursor, Family, Storage, Tier};

/// The version of a position row's stored form.
pub(crate) const POSITION_VERSION: u8 = 1;

/// Reads of one partition; shared between threads.
#[derive(Debug)]
pub struct PartitionReader<S: Storage> {
    storage: Arc<S>,
    applied: RwLock<Applied>,
}

impl<S: Storage> PartitionReader<S> {
    pub(crate) fn new(storage: Arc<S>, applied: Applied) -> Self {
        let applied = RwLock::new(applied);
        Self { storage, applied }
    }

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

    /// Whether it stands still, to be absorbed by another one.
    pub fn is_frozen(&self) -> bool {
        self.applied.read().frozen.is_some()
    }

    pub(crate) fn publish(&self, applied: &Applied) {
        let mut shown = self.applied.write();
        shown.at = applied.at;
        shown.counters.clone_from(&applied.counters);
        shown.frozen.clone_from(&applied.frozen);
        if !Arc::ptr_eq(&shown.descriptor, &applied.descriptor) {
            shown.descriptor = Arc::clone(&applied.descriptor);
        }
    }

    /// The last log entry whose application would survive a crash: the log may be cut up to here.
    pub fn flushed_at(&self) -> Result<LogPosition, PartitionError> {
        let descriptor = self.descriptor();
        let key = row::meta(descriptor.table, descriptor.group, MetaKind::State);
        match self.storage.get(Family::Meta, &key, Tier::Persisted)? {
            Some(state) => Ok(state::decode(&state)?.0),
            None => Ok(LogPosition::default()),
        }
    }

    /// One item.
    pub fn get(&self, request: &GetRequest, tier: Tier) -> Result<GetReply, PartitionError> {
        {
            let applied = self.applied.read();
            if applied.descriptor.table != request.table || !applied.descriptor.contains(&request.key) {
                return Err(Refusal::WrongRange.into());
            }
        }
        let key = row::keyed(request.table, request.key.as_bytes());
        let Some(stored) = self.storage.get(Family::Items, &key, tier)? else {
            let cost = ReadCost(read_units(0, request.consistent));
            return Ok(GetReply { item: None, cost });
        };
        let item = ItemRef::from_stored(&stored)?;
        let cost = ReadCost(read_units(item.size(), request.consistent));
        let item = match &request.projection {
            None => item.to_item(),
            Some(projection) => projection.apply(item),
        };
        Ok(GetReply { item: Some(item), cost })
    }

    /// Brings into the block cache what evaluating this write will read. May block.
    pub fn warm(&self, request: &WriteRequest) -> Result<(), PartitionError> {
        let item = row::keyed(request.table, request.key.as_bytes());
        drop(self.storage.get(Family::Items, &item, Tier::All)?);
        let descriptor = self.descriptor();
        if let Some(schema) = descriptor.schema()
            && !schema.local.is_empty()
            && let Some(collection) = key::collection_of(&schema.keys, request.key.as_bytes())
        {
            let size = row::keyed(request.table, collection);
            drop(self.storage.get(Family::LocalIndexes, &size, Tier::All)?);
        }
        Ok(())
    }

    /// The change log behind `after`, in order of time: at most so many records, and no further one once so many bytes
    /// have been read.
    pub fn changes(
        &self,
        after: ItemTime,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<ChangeRecord>, PartitionError> {
        let descriptor = self.descriptor();
        let from = row::change(descriptor.table, descriptor.group, after);
        let to = row::change(descriptor.table, descriptor.group, ItemTime(u64::MAX));
        let range = (Bound::Excluded(&from[..]), Bound::Included(&to[..]));
        let mut cursor = self.storage.scan(Family::Changes, range, false, Tier::All)?;
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < records_max
            && bytes < bytes_max
            && let Some((key, value)) = cursor.next()?
        {
            bytes += key.len() + value.len();
            let time = row::change_time(key).ok_or(PartitionError::UnknownFormat("change key".to_owned()))?;
            records.push(ChangeRecord::decode(time, value)?);
        }
        Ok(records)
    }

    /// How far this source has been delivered here (on a global index's partition).
    pub fn position(&self, source: GroupId) -> Result<Option<Delivered>, PartitionError> {
        let descriptor = self.descriptor();
        let key = row::position(descriptor.table, descriptor.group, source);
        match self.storage.get(Family::Meta, &key, Tier::All)? {
            Some(position) => Ok(Some(descriptor::decode(POSITION_VERSION, &position, "position")?)),
            None => Ok(None),
        }
    }

    /// Where the partition comes from, and the last splits and merges.
    pub fn lineage(&self) -> Result<Lineage, PartitionError> {
        let descriptor = self.descriptor();
        let key = row::meta(descriptor.table, descriptor.group, MetaKind::Lineage);
        match self.storage.get(Family::Meta, &key, Tier::All)? {
            Some(lineage) => Lineage::decode(&lineage),
            None => Ok(Lineage::default()),
        }
    }

    /// Items whose time to live has run out, with their key attributes, longest expired first.
    pub fn expired(&self, now_s: u64, max: usize) -> Result<Vec<(KeyBytes, Item)>, PartitionError> {
        let descriptor = self.descriptor();
        let Some(schema) = descriptor.schema() else {
            return Ok(Vec::new());
        };
        let attribute = schema.time_to_live.as_deref();
        let from = row::expiry(schema.id, now_s.saturating_sub(EXPIRED_FOR_MAX_S), &[]);
        let to = row::expiry(schema.id, now_s.saturating_add(1), &[]);
        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let mut cursor = self.storage.scan(Family::Expiry, range, false, Tier::All)?;
        let mut found = Vec::new();
        while found.len() < max
            && attribute.is_some()
            && let Some((key, _)) = cursor.next()?
        {
            let Some((_, primary)) = row::split_expiry(key).filter(|(_, primary)| descriptor.contains(primary)) else {
                continue;
            };
            let item = row::keyed(schema.id, primary.as_bytes());
            let item = self.storage.get(Family::Items, &item, Tier::All)?;
            let item = item.as_deref().map(ItemRef::from_stored).transpose()?;
            if let Some(item) = item.filter(|item| is_expired(attribute, Some(*item), now_s)) {
                found.push((primary, schema.key_item(item)));
            }
        }
        Ok(found)
    }
}
