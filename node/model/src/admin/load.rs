//! What was asked of a replica, and where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::KeyBytes;
use crate::schema::IndexId;

/// What was asked of a replica. What is counted is counted since its process started, and never goes back while that lives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Requests, refused ones included.
    pub requests: u64,
    /// Half read units.
    pub read_half_units: u64,
    /// Half write units, with those of local indexes.
    pub write_half_units: u64,
    /// Half write units of global indexes: counted where the write was taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub index_half_units: BTreeMap<IndexId, u64>,
    /// Of a global index's partition: half write units of the rows that were delivered to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delivered_half_units: u64,
    /// Where requests that used read units have been in the last minute or two, as far as they were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<LoadSpread>,
    /// Likewise those that used write units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<LoadSpread>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where the load of a replica is in its partition's range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadSpread {
    /// The share of what is busiest and cannot be cut apart, in percent: an item, or (with local indexes) an item collection.
    pub busiest_percent: u8,
    /// The place that has about half of the load on either side: between partition keys, or (without local indexes) between the sort
    /// keys of one. Absent if all of the load is at one place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle: Option<KeyBytes>,
}
