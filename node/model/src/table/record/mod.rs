//! What is kept of a table by whoever makes it: what was asked for, and how far it has come. Standalone keeps records in its
//! data folder, the operator in the Table's status.
//!
//! 1. [`Record::create`] begins a table; everything about it follows from its id, so that making it can be repeated;
//! 2. [`Record::retarget`] sets another target: what a manifest or UpdateTable asks for becomes intents;
//! 3. [`Step::next`] says what is to be done next; whoever keeps the record does it and notes it;
//! 4. [`Record::recover`] makes it again from what the partitions know, when it was lost;
//! 5. [`Record::describe`] is what DescribeTable shows, [`Record::schema`] what reads and writes need to know.

mod ask;
mod create;
mod describe;
mod partitions;
mod recover;
mod step;
mod target;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Status, TableSpec, TimeToLiveStatus};
use crate::hexadecimal;
use crate::key::KeyBytes;
use crate::partition::GroupId;
use crate::schema::{GlobalIndex, IndexId, LocalIndex, SchemaVersion, TableId, TableSchema};

pub use describe::PartitionSizes;
pub use partitions::{Gap, PartitionLimits, Piece, cover};
pub use recover::RecoverError;
pub use step::Step;

/// The format of [`Record`] that this version writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// When and where something is decided about a table.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Now, in epoch milliseconds.
    pub now_ms: u64,
    /// What bounds the partitions that a table or an index is given.
    pub partitions: PartitionLimits,
}

/// What follows from a table's id: everything about a new table that only has to be unlike any other's.
fn derived(id: TableId, what: &str, number: u64) -> u64 {
    let mut bytes = what.as_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    xxh3_64_with_seed(&bytes, id.0)
}

/// A table: what was asked for and how far it has come. It is written before anything is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The record's format.
    pub format: u32,
    /// Whose table.
    pub account: String,
    /// Its id.
    pub id: TableId,
    /// The seed of its partition key's hash.
    #[serde(with = "hexadecimal::id")]
    pub seed: u64,
    /// Who may change it.
    pub owner: Owner,
    /// As declared, with every index that is there, also those being built or removed.
    pub spec: TableSpec,
    /// `Creating`, `Active` or `Deleting`; `Updating` follows from the rest.
    pub status: Status,
    /// An UpdateTable was accepted whose effects are still to be carried to the partitions.
    pub updating: bool,
    /// Counts the changes of the schema.
    pub schema_version: SchemaVersion,
    /// The number of the next index; numbers are never used again.
    pub next_index: u16,
    /// Numbers of the local indexes, in the spec's order.
    pub local: Vec<IndexId>,
    /// The table's partitions, in key order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionRecord>,
    /// The global indexes, in the spec's order.
    pub global: Vec<IndexRecord>,
    /// How far time to live is.
    pub time_to_live: TimeToLiveStatus,
    /// The dates that DescribeTable shows.
    pub dates: Dates,
    /// `LatestStreamLabel`.
    pub stream_label: Option<String>,
}

/// One partition: its group and its first key in hexadecimal. It ends where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// Its group.
    pub group: GroupId,
    /// Its first key; empty for the first partition.
    pub start: KeyBytes,
}

/// How far a global index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexPhase {
    /// Its partitions are made; writes maintain it; existing items are being copied.
    Building,
    /// It can be queried.
    Ready,
    /// Nobody writes to it any more; its partitions are being removed.
    Removing,
}

/// A global index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: IndexId,
    /// The id its rows are stored under.
    pub table: TableId,
    /// The seed of its partition key's hash.
    #[serde(with = "hexadecimal::id")]
    pub seed: u64,
    /// How far it is.
    pub phase: IndexPhase,
    /// Its partitions, in key order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionRecord>,
    /// When its units were last changed.
    pub units: UnitsDates,
}

/// When a table's or an index's units were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitsDates {
    /// Last increase, epoch milliseconds.
    pub increased_ms: Option<u64>,
    /// Last decrease, epoch milliseconds.
    pub decreased_ms: Option<u64>,
    /// Decreases on the (UTC) day of the last one.
    pub decreases: u64,
}

/// Milliseconds of a day: the period in which decreases are counted.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl UnitsDates {
    /// Notes a change of units.
    pub fn changed(&mut self, increased: bool, decreased: bool, now_ms: u64) {
        if increased {
            self.increased_ms = Some(now_ms);
        }
        if decreased {
            self.decreases = self.decreases_today(now_ms) + 1;
            self.decreased_ms = Some(now_ms);
        }
    }

    /// `NumberOfDecreasesToday`.
    pub fn decreases_today(&self, now_ms: u64) -> u64 {
        match self.decreased_ms {
            Some(last) if last / DAY_MS == now_ms / DAY_MS => self.decreases,
            _ => 0,
        }
    }
}

/// Dates of a table, epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dates {
    /// When it was created.
    pub created_ms: u64,
    /// When it was last switched to on-demand billing.
    pub on_demand_since_ms: Option<u64>,
    /// When its class was last changed.
    pub class_since_ms: Option<u64>,
    /// When its units were last changed.
    pub units: UnitsDates,
}

/// Who may change a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// Callers of the API.
    Api,
    /// A manifest.
    Manifest(Declared),
    /// Nobody but callers of the API: the manifest is gone, its data was retained. The same resource may take it up
    /// again.
    Retained(Declared),
}

/// A manifest that declares a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The file, relative to the manifests' folder.
    pub file: String,
    /// The resource: `namespace/name`.
    pub resource: String,
    /// Remove the table with the manifest.
    pub delete_with_manifest: bool,
}

impl Record {
    /// What reads and writes need to know: everything in the record that the partitions are told.
    pub fn schema(&self) -> TableSchema {
        let local = self.spec.local.iter().zip(&self.local);
        let global = self.spec.global.iter().filter_map(|spec| {
            let index = self.index(&spec.name)?;
            (index.phase != IndexPhase::Removing).then(|| GlobalIndex {
                id: index.id,
                table: index.table,
                seed: index.seed,
                name: spec.name.clone(),
                keys: spec.keys.clone(),
                projection: spec.projection.clone(),
                readable: index.phase == IndexPhase::Ready,
            })
        });
        let expiring = matches!(
            self.time_to_live,
            TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling
        );
        TableSchema {
            id: self.id,
            seed: self.seed,
            version: self.schema_version,
            name: self.spec.name.clone(),
            keys: self.spec.keys.clone(),
            local: local
                .map(|(spec, id)| LocalIndex {
                    id: *id,
                    name: spec.name.clone(),
                    keys: spec.keys.clone(),
                    projection: spec.projection.clone(),
                })
                .collect(),
            global: global.collect(),
            time_to_live: self.spec.time_to_live.clone().filter(|_| expiring),
            stream: self.spec.stream,
        }
    }

    /// A global index by name.
    pub fn index(&self, name: &str) -> Option<&IndexRecord> {
        self.global.iter().find(|index| index.name == name)
    }

    /// A global index by name, to be changed.
    pub fn index_mut(&mut self, name: &str) -> Option<&mut IndexRecord> {
        self.global.iter_mut().find(|index| index.name == name)
    }

    /// Whether every change that was accepted has been carried out.
    pub fn settled(&self) -> bool {
        self.status == Status::Active
            && !self.updating
            && self.global.iter().all(|index| index.phase == IndexPhase::Ready)
            && matches!(
                self.time_to_live,
                TimeToLiveStatus::Enabled | TimeToLiveStatus::Disabled
            )
    }

    /// `TableStatus`: indexes under way show as `Updating`, a change of time to live does not.
    pub fn table_status(&self) -> Status {
        let busy = self.updating || self.global.iter().any(|index| index.phase != IndexPhase::Ready);
        match self.status {
            Status::Active if busy => Status::Updating,
            status => status,
        }
    }
}
