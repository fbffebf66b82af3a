//! Removal of items whose time to live has run out.
//!
//! 1. Every so often, look at the first expiry rows of each partition that this store leads and whose table has time to
//!    live.
//! 2. Delete what is due, as the service: free of write units; the leader checks again that the item is expired.
//! 3. Go on at once where there was more than one look could hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::request::{Action, Origin, Refusal, ReturnValues, WriteRequest};
use partita_model::schema::TableSchema;
use partita_replication::{Clock, Group, Store};

use crate::admin::exposition::family;

/// Items that one look finds.
const LOOK_ITEMS_MAX: usize = 256;
/// Deletes at once: a few fsyncs' worth, so that clients' writes keep most of each group commit.
const DELETES_AT_ONCE: usize = 32;

/// The sweep over a store.
struct Sweep {
    store: Arc<Store>,
    now_ms: Clock,
    expired_items: Arc<ExpiredItems>,
}

/// Items removed because their time to live had run out, by partition: while it is here.
#[derive(Debug, Default)]
pub struct ExpiredItems(Mutex<HashMap<GroupId, u64>>);

impl ExpiredItems {
    fn note(&self, group: GroupId) {
        *self.0.lock().entry(group).or_default() += 1;
    }

    /// As a metric. A partition whose table has time to live shows its count from the beginning on.
    pub fn expose(&self, text: &mut String, store: &Store) {
        let mut counts = self.0.lock();
        counts.retain(|group, _| store.group(*group).is_some());
        let rows = store.groups().into_iter().filter_map(|group| {
            let descriptor = group.descriptor();
            let schema = descriptor.schema()?;
            let count = counts.get(&group.id()).copied();
            let count = count.or(schema.time_to_live.is_some().then_some(0))?;
            let (table, partition) = (&schema.name, group.id().0);
            Some((
                format!("table=\"{table}\",index=\"\",partition=\"{partition:016x}\""),
                count,
            ))
        });
        family(
            text,
            "partita_expired_items_total",
            "counter",
            "Items removed because their time to live had run out, by the storage node that led the partition",
            &rows.collect::<Vec<_>>(),
        );
    }
}

/// Sweeps until the process stops; the counts of items removed.
pub fn start(store: &Arc<Store>, now_ms: Clock, every: Duration) -> Arc<ExpiredItems> {
    let expired_items = Arc::new(ExpiredItems::default());
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
                    Ok(_) => self.expired_items.note(group.id()),
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
