//! What a table is for the control plane: the specification (CreateTable's parameters, also a manifest's) and the
//! description (what DescribeTable shows).
//!
//! One specification serves the API, manifests and, on Kubernetes, the Table resource:
//!
//! 1. a [`Declaration`] is what a person wrote; [`Declaration::resolve`] makes a [`TableSpec`] of it, or says which
//!    field is wrong, in DynamoDB's words and order;
//! 2. [`TableDescription::updated`] holds the rules of UpdateTable, and gives the specification after it;
//! 3. [`record::Record`] is what is kept of a table, with what is still to be done about it;
//! 4. [`TableSpec::check_unchangeable`] names the field of a changed declaration that cannot change.

mod declaration;
pub mod record;
mod rules;
mod unchangeable;
mod update;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::error::{ApiError, ErrorCode};
use crate::schema::{IndexProjection, KeySchema, ScalarType, StreamView, TableId};

pub use declaration::{
    Declaration, DeclaredGlobalIndex, DeclaredLocalIndex, DeclaredProjection, KeyElement, KeyKind, ProjectionKind,
    resolve_global_index,
};
pub use rules::{check_tags, table_name_fits};

/// What is wrong with a table's specification, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    /// The field's path as manifests write it: `globalSecondaryIndexes[0].keySchema`.
    pub field: String,
    /// The error's type in the API.
    pub code: ErrorCode,
    /// DynamoDB's words.
    pub message: String,
}

impl SpecError {
    /// A `ValidationException` about a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            code: ErrorCode::Validation,
            message: message.into(),
        }
    }
}

impl From<SpecError> for ApiError {
    fn from(error: SpecError) -> Self {
        Self::new(error.code, error.message)
    }
}

/// How capacity is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BillingMode {
    /// Units are declared and enforced.
    #[default]
    Provisioned,
    /// On demand.
    PayPerRequest,
}

/// `TableClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TableClass {
    /// `STANDARD`.
    #[default]
    Standard,
    /// `STANDARD_INFREQUENT_ACCESS`.
    StandardInfrequentAccess,
}

/// Read and write units per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// RCU.
    pub read: u64,
    /// WCU.
    pub write: u64,
}

/// What a new on-demand table takes at once when nothing was asked for: AWS's figures.
const ON_DEMAND_WARM: Throughput = Throughput {
    read: 12_000,
    write: 4_000,
};

impl Throughput {
    /// What a table or an index of these `units` takes at once: what was asked for, and never less than it has anyway.
    #[must_use]
    pub fn warm(asked: Option<Self>, billing: BillingMode, units: Self) -> Self {
        let least = match billing {
            BillingMode::PayPerRequest => ON_DEMAND_WARM,
            BillingMode::Provisioned => units,
        };
        let asked = asked.unwrap_or_default();
        Self {
            read: least.read.max(asked.read),
            write: least.write.max(asked.write),
        }
    }
}

/// `OnDemandThroughput`: ceilings of an on-demand table; `None` is no ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OnDemandThroughput {
    /// `MaxReadRequestUnits`.
    pub read_max: Option<u64>,
    /// `MaxWriteRequestUnits`.
    pub write_max: Option<u64>,
}

impl TableSpec {
    /// The units of the table (`None`) or of a global index; none on demand.
    pub fn units(&self, index: Option<&str>) -> Option<Throughput> {
        let units = match index {
            None => self.throughput,
            Some(name) => self.global.iter().find(|index| index.name == name)?.throughput,
        };
        Some(units).filter(|units| *units != Throughput::default())
    }
}

impl OnDemandThroughput {
    /// In an update: takes the ceiling away (the API's -1). A member that is `None` there stays as it was.
    pub const UNLIMITED: u64 = u64::MAX;

    /// As kept: no ceiling is `None`.
    pub(crate) fn kept(self) -> Self {
        let kept = |ceiling: Option<u64>| ceiling.filter(|ceiling| *ceiling != Self::UNLIMITED);
        Self {
            read_max: kept(self.read_max),
            write_max: kept(self.write_max),
        }
    }
}

/// A local index as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalIndexSpec {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: KeySchema,
    /// What its rows hold.
    pub projection: IndexProjection,
}

/// A global index as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalIndexSpec {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: KeySchema,
    /// What its rows hold.
    pub projection: IndexProjection,
    /// Its units (zero when on demand).
    pub throughput: Throughput,
    /// Its ceilings when on demand.
    pub on_demand: Option<OnDemandThroughput>,
    /// `WarmThroughput` as asked for.
    pub warm: Option<Throughput>,
}

/// A table as declared: valid by construction once [`TableSpec::validate`] has accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// 3 to 255 characters of `a-zA-Z0-9_.-`.
    pub name: String,
    /// Every key attribute of table and indexes, each once.
    pub attributes: Vec<(String, ScalarType)>,
    /// The primary key.
    pub keys: KeySchema,
    /// At most 5.
    pub local: Vec<LocalIndexSpec>,
    /// At most 20.
    pub global: Vec<GlobalIndexSpec>,
    /// How capacity is paid for.
    pub billing: BillingMode,
    /// Units (zero when on demand).
    pub throughput: Throughput,
    /// Ceilings when on demand.
    pub on_demand: Option<OnDemandThroughput>,
    /// `WarmThroughput` as asked for.
    pub warm: Option<Throughput>,
    /// The stream specification, when enabled.
    pub stream: Option<StreamView>,
    /// The table class.
    pub class: TableClass,
    /// DeleteTable is refused while set.
    pub deletion_protection: bool,
    /// Whether encryption with a KMS key was asked for (`SSESpecification.Enabled`): kept and shown.
    pub sse: Option<SseSpec>,
    /// The attribute that holds each item's expiry, when time to live is on.
    pub time_to_live: Option<String>,
    /// Tags, sorted by key.
    pub tags: Vec<(String, String)>,
}

/// `SSESpecification` as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SseSpec {
    /// `Enabled`.
    pub enabled: bool,
    /// `KMSMasterKeyId`.
    pub key: Option<String>,
}

/// `TableStatus` and `IndexStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Being made.
    Creating,
    /// Being changed.
    Updating,
    /// Being removed.
    Deleting,
    /// Ready.
    Active,
}

/// A global index's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalIndexState {
    /// The index's name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// Existing items are being copied into it (`Backfilling`; only while `Creating`).
    pub backfilling: Option<bool>,
    /// Rows.
    pub items: u64,
    /// Their sizes in sum.
    pub bytes: u64,
    /// `LastIncreaseDateTime`, epoch milliseconds.
    pub last_increase_ms: Option<u64>,
    /// `LastDecreaseDateTime`, epoch milliseconds.
    pub last_decrease_ms: Option<u64>,
    /// `NumberOfDecreasesToday`.
    pub decreases_today: u64,
}

/// `TimeToLiveStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeToLiveStatus {
    /// On.
    Enabled,
    /// Off.
    Disabled,
    /// Being switched on.
    Enabling,
    /// Being switched off.
    Disabling,
}

/// A table as it is: everything DescribeTable, DescribeTimeToLive and ListTagsOfResource print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDescription {
    /// As declared.
    pub spec: TableSpec,
    /// Its id; `TableId` in the API is a UUID made from it.
    pub id: TableId,
    /// `TableStatus`.
    pub status: Status,
    /// `CreationDateTime`, epoch milliseconds.
    pub created_ms: u64,
    /// Items.
    pub items: u64,
    /// Their sizes in sum.
    pub bytes: u64,
    /// Items and bytes of each local index, in the spec's order.
    pub local: Vec<(u64, u64)>,
    /// State of each global index, by name; one that is being deleted is here with its spec still in `spec`.
    pub global: Vec<GlobalIndexState>,
    /// `LastUpdateToPayPerRequestDateTime`, epoch milliseconds.
    pub on_demand_since_ms: Option<u64>,
    /// `LastIncreaseDateTime` of the units, epoch milliseconds.
    pub last_increase_ms: Option<u64>,
    /// `LastDecreaseDateTime` of the units, epoch milliseconds.
    pub last_decrease_ms: Option<u64>,
    /// `NumberOfDecreasesToday`.
    pub decreases_today: u64,
    /// `LatestStreamLabel`, an ISO time; the stream's ARN is made from it.
    pub stream_label: Option<String>,
    /// `TableClassSummary.LastUpdateDateTime`, epoch milliseconds.
    pub class_since_ms: Option<u64>,
    /// Status of time to live.
    pub time_to_live: TimeToLiveStatus,
}

/// UpdateTable, typed: only what changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableUpdate {
    /// Attribute definitions that the new index needs.
    pub attributes: Vec<(String, ScalarType)>,
    /// Another billing mode.
    pub billing: Option<BillingMode>,
    /// Other units.
    pub throughput: Option<Throughput>,
    /// Other ceilings.
    pub on_demand: Option<OnDemandThroughput>,
    /// Other warm throughput.
    pub warm: Option<Throughput>,
    /// Changes of global indexes.
    pub global: Vec<GlobalIndexUpdate>,
    /// `Some(None)` switches the stream off.
    pub stream: Option<Option<StreamView>>,
    /// Another class.
    pub class: Option<TableClass>,
    /// Deletion protection on or off.
    pub deletion_protection: Option<bool>,
    /// Another SSE specification.
    pub sse: Option<SseSpec>,
}

/// One change of a global index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GlobalIndexUpdate {
    /// Build a new one.
    Create(GlobalIndexSpec),
    /// Other units.
    Update {
        /// The index.
        name: String,
        /// Its new units.
        throughput: Option<Throughput>,
        /// Its new ceilings.
        on_demand: Option<OnDemandThroughput>,
        /// Its new warm throughput.
        warm: Option<Throughput>,
    },
    /// Remove one.
    Delete(String),
}
