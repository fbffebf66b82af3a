//! The deterministic state machine of one key range, over a storage trait.
//!
//! A partition has three parts, so that reads, evaluation and apply need not wait for each other:
//!
//! 1. [`reader::PartitionReader`] (shared) answers `GetItem` and pages straight from storage.
//! 2. [`evaluator::Evaluator`] (under the group's lock) turns a request into an *effect*: conditions and updates run
//!    once, against storage plus the writes still in flight.
//! 3. [`applier::Applier`] (whoever applies committed entries) stores an effect's rows, in the order of the log.

pub mod applier;
pub mod change;
pub mod command;
pub mod descriptor;
pub mod error;
pub mod evaluator;
pub mod reader;
pub mod storage;

use std::sync::Arc;

use crate::applier::Applier;
use crate::descriptor::{GroupId, PartitionDescriptor};
use crate::error::PartitionError;
use crate::evaluator::Evaluator;
use crate::reader::PartitionReader;
use crate::storage::Storage;

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
    pub fn create(_batch: &mut S::Batch, _descriptor: &PartitionDescriptor) -> Result<(), PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// All partitions of a store.
    pub fn list(_storage: &S) -> Result<Vec<PartitionDescriptor>, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// Opens a partition that exists; `None` if it does not.
    pub fn open(
        _storage: Arc<S>,
        _table: partita_model::schema::TableId,
        _group: GroupId,
    ) -> Result<Option<Self>, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// Removes everything of a partition: its rows in all families and what it knows of itself.
    pub fn destroy(
        _storage: &S,
        _batch: &mut S::Batch,
        _descriptor: &PartitionDescriptor,
    ) -> Result<(), PartitionError> {
        Err(PartitionError::NotCached)
    }
}
