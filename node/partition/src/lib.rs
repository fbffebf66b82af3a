//! The deterministic state machine of one key range, over a storage trait.
//!
//! A partition has three parts, so that reads, evaluation and apply need not wait for each other:
//!
//! 1. [`reader::PartitionReader`] (shared) answers `GetItem` and [`page`]s straight from storage.
//! 2. [`evaluator::Evaluator`] (under the group's lock) turns a request or a [`command`] into an [`effect`]: conditions
//!    and updates run once, against storage plus the [`overlay`] of writes still in flight.
//! 3. The effect's bytes go through the log: nothing is evaluated twice, followers only store rows.
//! 4. [`applier::Applier`] stores an effect's rows, in the order of the log, with counters and log position ([`state`])
//!    in the same batch.
//! 5. What follows a write reads the [`change`] log: global indexes, streams.
//!
//! # Rows
//!
//! | row | family, key behind the table's id | split | merge | snapshot |
//! |---|---|---|---|---|
//! | item, global index row | Items: primary key bytes | cut at the boundary key | joined | the range |
//! | local index row | LocalIndexes: `hash, pk, index, sort, sk` | cut at the boundary key, which never falls inside a collection | joined | the range |
//! | item collection's size | LocalIndexes: `hash, pk` | as its collection | joined | the range |
//! | expiry | Expiry: `seconds, primary key bytes` | stays: each half looks at rows of its keys only | joined | rebuilt from the items by the receiver |
//! | change record | Changes: `group, item time` | those of the child's items move to its group: each half delivers the tail for its keys | one log per inherited group | by group |
//! | descriptor, state | Meta: `group, kind` | one each; what is behind the cut is counted before it, and stands in the entry | the absorber's; counters are added | made by the receiver from the snapshot's own |
//! | members | Meta: `group, kind` | copied, the child's under its own group | the absorber's | as descriptor and state |
//! | delivery position | Meta: `group, kind, source` | copied to both halves | the lower of both for each source | by group |
//! | lineage | Meta: `group, kind` | the child's names the parent, the parent's remembers the split | the absorber's | by group |
//!
//! The formats of all of them are contracts between versions, frozen by tests; each value begins with its version.

pub mod applier;
pub mod change;
pub mod clock;
mod codec;
pub mod command;
pub mod descriptor;
pub mod digest;
pub mod effect;
pub mod error;
pub mod evaluator;
mod index;
pub mod overlay;
pub mod page;
pub mod reader;
pub mod row;
pub mod split;
pub mod state;
pub mod storage;
pub mod transfer;
pub mod verify;

use std::ops::Bound;
use std::sync::Arc;

use partita_model::schema::TableId;

use crate::applier::Applier;
use crate::descriptor::{GroupId, LogPosition, PartitionDescriptor};
use crate::error::PartitionError;
use crate::evaluator::Evaluator;
use crate::reader::PartitionReader;
use crate::row::MetaKind;
use crate::state::{Applied, Counters};
use crate::storage::{Batch, Cursor, Family, Storage, Tier};

/// The three parts of an opened partition.
#[derive(Debug)]
pub struct Partition<S: Storage> {
    /// Reads; shared.
    pub reader: Arc<PartitionReader<S>>,
    /// Evaluation, in the order of the log.
    pub evaluator: Evaluator<S>,
    /// Application of committed effects.
    pub applier: Applier<S>,
}

impl<S: Storage> Partition<S> {
    /// Writes a new, empty partition into a batch. It exists once the batch is written (and survives once flushed).
    pub fn create(batch: &mut S::Batch, descriptor: &PartitionDescriptor) -> Result<(), PartitionError> {
        Self::create_at(batch, descriptor, LogPosition::default())
    }

    /// Writes a new, empty partition into a batch, whose group's log begins behind this entry.
    pub fn create_at(
        batch: &mut S::Batch,
        descriptor: &PartitionDescriptor,
        at: LogPosition,
    ) -> Result<(), PartitionError> {
        let key = |kind| row::meta(descriptor.table, descriptor.group, kind);
        let state = state::encode(at, &Counters::default());
        batch.put(
            Family::Meta,
            &key(MetaKind::Descriptor),
            &descriptor::stored(descriptor)?,
        );
        batch.put(Family::Meta, &key(MetaKind::State), &state);
        Ok(())
    }

    /// All partitions of a store.
    pub fn list(storage: &S) -> Result<Vec<PartitionDescriptor>, PartitionError> {
        let mut cursor = storage.scan(Family::Meta, (Bound::Unbounded, Bound::Unbounded), false, Tier::All)?;
        let mut found = Vec::new();
        while let Some((key, value)) = cursor.next()? {
            if row::is_descriptor(key) {
                found.push(descriptor::from_stored(value)?);
            }
        }
        Ok(found)
    }

    /// Opens a partition that exists; `None` if it does not.
    pub fn open(storage: Arc<S>, table: TableId, group: GroupId) -> Result<Option<Self>, PartitionError> {
        let get = |kind| storage.get(Family::Meta, &row::meta(table, group, kind), Tier::All);
        let Some(descriptor) = get(MetaKind::Descriptor)? else {
            return Ok(None);
        };
        let descriptor = Arc::new(descriptor::from_stored(&descriptor)?);
        let (at, counters) = match get(MetaKind::State)? {
            Some(state) => state::decode(&state)?,
            None => (LogPosition::default(), Counters::default()),
        };
        let applied = Applied {
            descriptor,
            at,
            counters,
        };
        let reader = Arc::new(PartitionReader::new(Arc::clone(&storage), applied));
        Ok(Some(Self {
            evaluator: Evaluator::new(Arc::clone(&reader)),
            applier: Applier::new(Arc::clone(&reader)),
            reader,
        }))
    }

    /// Removes everything of a partition: its rows in all families and what it knows of itself.
    pub fn destroy(storage: &S, batch: &mut S::Batch, descriptor: &PartitionDescriptor) -> Result<(), PartitionError> {
        // The last table id there is has no key behind it; its rows end before this many bytes of FF.
        let last = || row::StoreKey::from_elem(u8::MAX, LAST_KEY_BYTES);
        let (from, to) = row::range(descriptor);
        let to = to.unwrap_or_else(last);
        batch.delete_range(Family::Items, &from, &to);
        batch.delete_range(Family::LocalIndexes, &from, &to);
        Self::destroy_expiry(storage, batch, descriptor, &last())?;
        let group = row::meta_prefix(descriptor.table, descriptor.group);
        let mut behind = group.clone();
        behind.extend_from_slice(&[u8::MAX; LAST_KEY_BYTES]);
        batch.delete_range(Family::Changes, &group, &behind);
        batch.delete_range(Family::Meta, &group, &behind);
        Ok(())
    }

    /// Expiry rows are ordered by time across the table: all of it at once, or those of the range one by one.
    fn destroy_expiry(
        storage: &S,
        batch: &mut S::Batch,
        descriptor: &PartitionDescriptor,
        last: &[u8],
    ) -> Result<(), PartitionError> {
        let from = row::keyed(descriptor.table, &[]);
        let end = row::table_end(descriptor.table);
        let to = end.as_deref().unwrap_or(last);
        if descriptor.start.as_bytes().is_empty() && descriptor.end.is_none() {
            batch.delete_range(Family::Expiry, &from, to);
            return Ok(());
        }
        let range = (Bound::Included(&from[..]), Bound::Excluded(to));
        let mut cursor = storage.scan(Family::Expiry, range, false, Tier::All)?;
        while let Some((key, _)) = cursor.next()? {
            if row::split_expiry(key).is_some_and(|(_, primary)| descriptor.contains(&primary)) {
                batch.delete(Family::Expiry, key);
            }
        }
        Ok(())
    }
}

/// Longer than any key: a partition key of 2 KB and a sort key of 1 KB, every byte escaped, twice (an index's).
const LAST_KEY_BYTES: usize = 16 << 10;
