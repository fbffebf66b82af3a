//! Removal of items whose time to live has run out.
//!
//! 1. Every so often, look at the first expiry rows of each partition of each table with time to live.
//! 2. Delete what is due, as the service: free of write units; the leader checks again that the item is expired.
//! 3. Go on at once where there was more than one look could hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{Action, Origin, Refusal, ReturnValues, WriteRequest};
use partita_model::schema::TableSchema;
use partita_model::table::Status;
use partita_replication::Group;

use super::tables::Tables;

/// Items that one look finds.
const LOOK_ITEMS_MAX: usize = 256;
/// Deletes at once: a few fsyncs' worth, so that clients' writes keep most of each group commit.
const DELETES_AT_ONCE: usize = 32;

/// Sweeps until the process stops.
pub async fn sweep(tables: Arc<Tables>, every: Duration) {
    let mut directory = tables.directory.changes();
    loop {
        let expiring = sweep_once(&tables).await;
        if expiring {
            tokio::time::sleep(every).await;
        } else if directory.changed().await.is_err() {
            // Without a table that expires, nothing happens until tables change.
            return;
        }
    }
}

/// Looks at every partition once; whether any table has time to live.
async fn sweep_once(tables: &Tables) -> bool {
    let mut expiring = false;
    for table in tables.catalog.all() {
        let record = table.record();
        let schema = tables.catalog.served(&record.account, &record.spec.name);
        let Some(schema) = schema.filter(|schema| schema.time_to_live.is_some() && record.status == Status::Active)
        else {
            continue;
        };
        expiring = true;
        for partition in &record.partitions {
            let Some(group) = tables.store.group(partition.group) else {
                continue;
            };
            if let Err(refusal) = sweep_partition(tables, &schema, &group).await {
                tracing::debug!(table = schema.name, %refusal, "expired items wait for the next look");
            }
        }
    }
    expiring
}

async fn sweep_partition(tables: &Tables, schema: &TableSchema, group: &Arc<Group>) -> Result<(), Refusal> {
    loop {
        let due = group.expired((tables.now_ms)() / 1000, LOOK_ITEMS_MAX).await?;
        let more = due.len() == LOOK_ITEMS_MAX;
        let mut deletes = stream::iter(due)
            .map(|(key, item)| group.write(delete(schema, key, item)))
            .buffer_unordered(DELETES_AT_ONCE);
        let mut refused = None;
        while let Some(deleted) = deletes.next().await {
            match deleted {
                Ok(_) => drop(tables.expired_items.fetch_add(1, Ordering::Relaxed)),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            // Among others: the item was changed since it was looked at, and is not expired any more.
            Some(refusal) => return Err(refusal),
            None if more => {}
            None => return Ok(()),
        }
    }
}

fn delete(schema: &TableSchema, key: KeyBytes, item: Item) -> WriteRequest {
    WriteRequest {
        table: schema.id,
        schema_version: schema.version,
        key,
        action: Action::Delete { key: item },
        condition: None,
        return_values: ReturnValues::None,
        return_item_on_failure: false,
        origin: Origin::TimeToLive,
    }
}
