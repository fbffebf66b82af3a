//! What runs beside a store, whoever answers in front of it: standalone and replica share it.
//!
//! 1. [`open_store`] opens the data folder;
//! 2. [`admission`] decides which requests there are units for;
//! 3. [`delivery`] brings the changes of its tables' partitions to global indexes, wherever their partitions are;
//! 4. [`expiry`] removes items whose time to live has run out;
//! 5. [`walk`] copies existing items into a new index and makes or drops expiry rows, for whoever orders it;
//! 6. [`sizes`] and [`exposition`] say what the store holds and counts.
//!
//! All of it follows the store: groups that come to life or end, schemas that change.

pub mod admission;
pub mod delivery;
pub mod expiry;
pub mod exposition;
pub mod walk;

use std::path::PathBuf;
use std::sync::Arc;

use partita_model::table::record::PartitionSizes;
use partita_partition::storage::rocks::RocksSettings;
use partita_replication::{Group, Peers, Store, StoreOptions};

use crate::cli::Storage;

/// The way to other stores.
pub struct Others {
    /// Who brings letters there.
    pub peers: Arc<dyn Peers>,
    /// How fast a copy of a partition leaves for one of them.
    pub copy_mib_per_second: u64,
}

/// Opens the data folder: nobody else can, and what was written is recovered. With a way to other stores, groups can have
/// replicas there.
pub async fn open_store(options: &Storage, others: Option<Others>) -> anyhow::Result<Arc<Store>> {
    let path: PathBuf = options.data.clone();
    let mut settings = StoreOptions {
        state: RocksSettings {
            block_cache_bytes: options.block_cache_mib << 20,
            ..RocksSettings::default()
        },
        reserve_bytes: options.free_space_reserve_mib << 20,
        ..StoreOptions::default()
    };
    if let Some(others) = others {
        settings.peers = Some(others.peers);
        settings.copy_bytes_per_second = others.copy_mib_per_second << 20;
    }
    Ok(tokio::task::spawn_blocking(move || Store::open(&path, settings)).await??)
}

/// What a group's partition holds.
pub fn sizes(group: &Group) -> PartitionSizes {
    let counters = group.stats().counters;
    let local = counters
        .local
        .iter()
        .map(|count| (count.index, count.rows, count.bytes));
    PartitionSizes {
        items: counters.items,
        bytes: counters.bytes,
        local: local.collect(),
    }
}
