//! Removal of items whose time to live has run out.
//!
//! 1. Every so often, look at the first expiry rows of each partition that this store leads and whose table has time to
//!    live.
//! 2. Delete what is due, as the service: free of write units; the leader checks again that the item is expired.
//! 3. Go on at once where there was more than one look could hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{Action, Origin, Refusal, ReturnValues, WriteRequest};
use partita_model::schema::TableSchema;
use partita_replication::{Clock, Group, Store};

/// Items that one look finds.
const LOOK_ITEMS_MAX: usize = 256;
/// Deletes at once: a few fsyncs' worth, so that clients' writes keep most of each group commit.
const DELETES_AT_ONCE: usize = 32;

/// The sweep over a store.
struct Sweep {
    store: Arc<Store>,
    now_ms: Clock,
    expired_items: Arc<AtomicU64>,
}

/// Sweeps until the process stops; the count of items removed.
pub fn start(store: &Arc<Store>, now_ms: Clock, every: Duration) -> Arc<AtomicU64> {
    let expired_items = Arc::new(AtomicU64::new(0));
    let sweep = Sweep {
        store: Arc::clone(store),
        now_ms,
        expired_items: Arc::clone(&expired_items),
    };
    tokio::spawn(sweep.run(every));
    expired_items
}

impl Sweep {
    /// Sweeps until the process stops.
    async fn run(self, every: Duration) {
        let mut changes = self.store.changes();
        loop {
            changes.mark_unchanged();
            let expiring = self.once().await;
            if expiring {
                tokio::time::sleep(every).await;
            } else if changes.changed().await.is_err() {
                // Without a table that expires, nothing happens until tables change.
                return;
            }
        }
    }

    /// Looks at every partition once; whether any table has time to live.
    async fn once(&self) -> bool {
        let mut expiring = false;
        for group in self.store.groups() {
            let descriptor = group.descriptor();
            let schema = descriptor.schema().filter(|schema| schema.time_to_live.is_some());
            let Some(schema) = schema.filter(|_| group.stats().leader) else {
                continue;
            };
            expiring = true;
            if let Err(refusal) = self.partition(schema, &group).await {
                tracing::debug!(table = schema.name, %refusal, "expired items wait for the next look");
            }
        }
        expiring
    }

    async fn partition(&self, schema: &TableSchema, group: &Arc<Group>) -> Result<(), Refusal> {
        loop {
            let due = group.expired((self.now_ms)() / 1000, LOOK_ITEMS_MAX).await?;
            let more = due.len() == LOOK_ITEMS_MAX;
            let mut deletes = stream::iter(due)
                .map(|(key, item)| group.write(delete(schema, key, item)))
                .buffer_unordered(DELETES_AT_ONCE);
            let mut refused = None;
            while let Some(deleted) = deletes.next().await {
                match deleted {
                    Ok(_) => drop(self.expired_items.fetch_add(1, Ordering::Relaxed)),
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
