//! Read and write capacity units: what an operation costs.
//!
//! Source: "DynamoDB read and write operations", Amazon DynamoDB Developer Guide: a strong read takes one unit per
//! 4 KB, an eventual one half of that; a write takes one unit per 1 KB; transactions double both.
//! Units are counted in halves, so that every figure is an integer.

use serde::{Deserialize, Serialize};

use crate::schema::IndexId;

/// Units in halves: 1 is half a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HalfUnits(pub u64);

impl HalfUnits {
    /// As DynamoDB prints it.
    pub fn units(self) -> f64 {
        self.0 as f64 / 2.0
    }
}

impl std::ops::Add for HalfUnits {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::ops::AddAssign for HalfUnits {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl std::iter::Sum for HalfUnits {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        Self(iter.map(|u| u.0).sum())
    }
}

/// What a write used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WriteCost {
    /// The table itself.
    pub table: HalfUnits,
    /// Each local index that was touched.
    pub local: Vec<(IndexId, HalfUnits)>,
    /// Each global index that will be touched.
    pub global: Vec<(IndexId, HalfUnits)>,
}

/// Reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnitKind {
    /// RCU.
    Read,
    /// WCU.
    Write,
}

/// The limits that a request can meet. The names end the reasons in `ThrottlingReasons`.
///
/// Source: "ThrottlingReason", Amazon DynamoDB API Reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ThrottleLimit {
    /// The units that are declared.
    ProvisionedThroughputExceeded,
    /// What one partition can do.
    KeyRangeThroughputExceeded,
    /// `OnDemandThroughput`'s ceiling.
    MaxOnDemandThroughputExceeded,
    /// How fast an on-demand table grows.
    AccountLimitExceeded,
}

/// Which limit of which resource a request has met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    /// The table.
    pub table: String,
    /// The global index, if the limit is one of its.
    pub index: Option<String>,
    /// Reads or writes.
    pub kind: UnitKind,
    /// The limit.
    pub limit: ThrottleLimit,
    /// Whether the table pays for declared units.
    pub provisioned: bool,
    /// The ARN of what is throttled: empty until the gateway, which knows region and account, fills it in.
    #[serde(skip)]
    pub resource: String,
}

impl Throttled {
    /// As `ThrottlingReasons` names it: resource, operation and limit.
    pub fn reason(&self) -> String {
        self.limit.reason(self.kind, self.index.is_some())
    }
}

impl ThrottleLimit {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ProvisionedThroughputExceeded,
        Self::KeyRangeThroughputExceeded,
        Self::MaxOnDemandThroughputExceeded,
        Self::AccountLimitExceeded,
    ];

    /// Those that a request can meet here: an account has none.
    pub const REACHED: [Self; 3] = [
        Self::ProvisionedThroughputExceeded,
        Self::KeyRangeThroughputExceeded,
        Self::MaxOnDemandThroughputExceeded,
    ];

    /// As `ThrottlingReasons` names it, of a table or an index.
    pub fn reason(self, kind: UnitKind, of_index: bool) -> String {
        let resource = if of_index { "Index" } else { "Table" };
        format!("{resource}{kind:?}{self:?}")
    }
}

/// One kind of units of a table, or of one of its global indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnitsId {
    /// The global index; `None` for the table's own.
    pub index: Option<IndexId>,
    /// Reads or writes.
    pub kind: UnitKind,
}

/// What a process that leads partitions of a table says to the one that leads its first partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsReport {
    /// Of which units.
    pub units: UnitsId,
    /// Used since the last report that was answered.
    pub used: HalfUnits,
    /// Wanted per second.
    pub wanted: HalfUnits,
    /// The same as long as a report is not answered, so that it can be repeated.
    pub number: u64,
}

/// The answer: what may be used until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsGrant {
    /// Of which units.
    pub units: UnitsId,
    /// So many.
    pub granted: HalfUnits,
}

/// Where the bucket of units stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsLevel {
    /// Of which units.
    pub units: UnitsId,
    /// The term of the table's first partition in which it stood so.
    pub term: u64,
    /// What is left, in thousandths of half units; negative while a debt is paid back.
    pub level: i64,
    /// On demand: the highest load of before.
    pub peak: Option<UnitsPeak>,
}

/// The loads of an on-demand table: half units per second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsPeak {
    /// The highest one from before.
    pub settled: u64,
    /// Averages of the last half hour, oldest first.
    pub recent: Vec<u64>,
}

/// What is said about a table's units between the processes that have its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitsCall {
    /// To the leader of the table's first partition.
    Report {
        /// Who reports.
        holder: u64,
        /// What.
        reports: Vec<UnitsReport>,
    },
    /// From that leader to its followers: they may have to go on there.
    Levels(Vec<UnitsLevel>),
    /// From a new leader to the others: where did the buckets stand?
    Ask,
}

/// The answer to a [`UnitsCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitsAnswer {
    /// To a report.
    Grants(Vec<UnitsGrant>),
    /// It is known now.
    Heard,
    /// What is known.
    Levels(Vec<UnitsLevel>),
}

/// What a read used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadCost(pub HalfUnits);

/// Bytes per read unit.
const READ_UNIT_BYTES: u64 = 4096;
/// Bytes per write unit.
const WRITE_UNIT_BYTES: u64 = 1024;

/// The price of reading `bytes` at once: at least one step, also for an item that is not there.
pub fn read_units(bytes: u64, consistent: bool) -> HalfUnits {
    let steps = bytes.div_ceil(READ_UNIT_BYTES).max(1);
    HalfUnits(if consistent { steps * 2 } else { steps })
}

/// The price of writing one row of `bytes` (the larger of its old and new size).
pub fn write_units(bytes: u64) -> HalfUnits {
    HalfUnits(bytes.div_ceil(WRITE_UNIT_BYTES).max(1) * 2)
}
