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
        let resource = if self.index.is_some() { "Index" } else { "Table" };
        format!("{resource}{:?}{:?}", self.kind, self.limit)
    }
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
