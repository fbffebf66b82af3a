//! What a table asks of a cluster, and what a change of it would. Pure: files, clusters, prices and the time are arguments.
//!
//! 1. [`requests`]: the CPU and memory that a storage node asks for, from the units that it serves;
//! 2. [`footprint`]: all that a table occupies: partitions, pods, CPU, memory, claims;
//! 3. [`forecast`]: from a table as it is to a table as it is wanted: what changes, why, and how much is copied;
//! 4. [`prices`]: what a footprint costs;
//! 5. [`repartition`]: which partitions are to be split or merged, from units, bytes and heat;
//! 6. [`autoscale`]: units that follow the use;
//! 7. [`quantity`]: Kubernetes' quantities; [`amounts`]: amounts in words.
//!
//! The operator makes storage nodes by it and answers `kubectl apply --dry-run=server` with it; `partita plan` prints it.

#![warn(missing_docs)]

pub mod amounts;
pub mod autoscale;
pub mod footprint;
pub mod forecast;
pub mod prices;
pub mod quantity;
pub mod repartition;
pub mod requests;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use repartition::Limits;
use requests::Formula;

/// Most partitions of a table or an index on Kubernetes where no setting says it: 256,000 writes in each second, or 2.5 TB. One that
/// asks for more is a surprise to whoever pays for the nodes.
pub const PARTITIONS_MAX: u64 = 256;
/// The size of a storage node's volume where nobody names one: three times a partition's size limit of 10 GB.
pub const STORAGE_SIZE: &str = "30Gi";

/// What a plan is made with.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What a storage node asks for.
    pub formula: Formula,
    /// The size of a volume where the Table names none.
    pub storage_size: Quantity,
    /// What one partition can, and how soon their number follows the units and the bytes.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            formula: Formula::default(),
            storage_size: Quantity(STORAGE_SIZE.to_owned()),
            limits: Limits::default(),
        }
    }
}
