//! Delivery of changes to global indexes: one worker per partition of a table that has some (or keeps a stream).
//!
//! 1. Sleep until an entry is applied to the source partition.
//! 2. Read the change log behind the cursor.
//! 3. Sort the rows by index partition and deliver a batch to each, all at once; wait for all.
//! 4. Move the cursor, go on at 2 until the log is read to its end.
//! 5. From time to time, and once when it becomes quiet: tell every index partition how far it is, then trim the log
//!    behind what all of them have (and behind what a stream has to keep).
//!
//! An index partition records the position with the rows, and ignores rows at or below it: a batch that is sent again
//! after a failure or a restart changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use parking_lot::Mutex;
use partita_model::request::Refusal;
use partita_model::schema::TableId;
use partita_model::table::record::Record;
use partita_partition::change::ChangeRecord;
use partita_partition::command::{Command, CommandReply, IndexBatch, IndexRow, Session};
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition};
use partita_replication::Group;
use tokio::sync::watch;

use super::tables::Tables;
use crate::routing::TableRoute;

/// Records that one round reads: enough for a group commit of every connection.
const ROUND_RECORDS_MAX: usize = 512;
/// Bytes that one round reads.
const ROUND_BYTES_MAX: usize = 1 << 20;
/// Rounds between two trims while there is work: bounds the log to 32 MiB, at a price of one entry in 32.
const TRIM_ROUNDS: u32 = 32;
/// How long it must be quiet for the last trim.
const TRIM_QUIET: Duration = Duration::from_secs(2);
/// How long a stream's records are kept. Source: "Change data capture for DynamoDB Streams", Developer Guide: 24 hours.
const STREAM_RETENTION_MS: u64 = 24 * 60 * 60 * 1000;
/// How often a stream's records are looked over for old ones.
const STREAM_TRIM: Duration = Duration::from_secs(60 * 60);
/// Waits between attempts when a delivery was refused: first and longest.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// The workers that run, with how far each has delivered.
#[derive(Default)]
pub struct Workers {
    running: Mutex<HashMap<GroupId, watch::Receiver<ItemTime>>>,
}

impl Workers {
    /// How far behind its source a worker is, in milliseconds; `None` if nothing is delivered from there.
    pub fn lag_ms(&self, source: &Group) -> Option<u64> {
        let delivered = *self.running.lock().get(&source.id())?.borrow();
        Some(source.stats().counters.clock.ms().saturating_sub(delivered.ms()))
    }
}

/// Starts the workers that a table needs and that do not run yet.
pub fn ensure(tables: &Arc<Tables>, record: &Record) {
    if !needed(tables, record.id, || record.spec.stream.is_some()) {
        return;
    }
    for partition in &record.partitions {
        let Some(source) = tables.store.group(partition.group) else {
            continue;
        };
        let mut running = tables.workers.running.lock();
        if running.contains_key(&partition.group) {
            continue;
        }
        let (progress, follow) = watch::channel(ItemTime::default());
        running.insert(partition.group, follow);
        let worker = Worker {
            tables: Arc::clone(tables),
            table: record.id,
            applied: source.subscribe(),
            source,
            cursor: ItemTime::default(),
            positions: HashMap::new(),
            untrimmed_rounds: 0,
            progress,
        };
        tokio::spawn(worker.run());
    }
}

/// Whether a table's changes have a reader.
fn needed(tables: &Tables, table: TableId, streams: impl FnOnce() -> bool) -> bool {
    let route = tables.directory.route(table);
    route.is_some_and(|route| !route.indexes.is_empty() || streams())
}

/// Waits until everything up to a time has been delivered from a source.
pub async fn delivered(tables: &Tables, source: GroupId, time: ItemTime) -> Result<(), Refusal> {
    let follow = tables.workers.running.lock().get(&source).cloned();
    let mut follow = follow.ok_or(Refusal::StaleSchema)?;
    match follow.wait_for(|delivered| *delivered >= time).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::StaleSchema),
    }
}

/// Who delivers from a source now.
pub fn session(source: &Group) -> Session {
    Session {
        range_epoch: source.descriptor().range_epoch,
        term: source.stats().term,
    }
}

struct Worker {
    tables: Arc<Tables>,
    table: TableId,
    source: Arc<Group>,
    /// Wakes when the source has applied something.
    applied: watch::Receiver<LogPosition>,
    /// Everything up to here has been delivered.
    cursor: ItemTime,
    /// What each index partition has recorded.
    positions: HashMap<GroupId, ItemTime>,
    /// Rounds that delivered something since the last trim.
    untrimmed_rounds: u32,
    progress: watch::Sender<ItemTime>,
}

impl Worker {
    async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        loop {
            match self.work().await {
                Ok(()) | Err(Refusal::Stopping) => return,
                Err(refusal) => {
                    tracing::warn!(source = self.source.id().0, %refusal, "delivery to global indexes waits");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_LONGEST);
                    self.positions.clear();
                }
            }
        }
    }

    /// Works until nobody needs it any more.
    async fn work(&mut self) -> Result<(), Refusal> {
        let mut directory = self.tables.directory.changes();
        self.start().await?;
        loop {
            while self.round().await? {}
            if self.untrimmed_rounds >= TRIM_ROUNDS {
                self.trim().await?;
            }
            if self.ended() {
                return Ok(());
            }
            self.sleep(&mut directory).await?;
        }
    }

    /// Begins behind what every index partition has.
    async fn start(&mut self) -> Result<(), Refusal> {
        let Some(route) = self.tables.directory.route(self.table) else {
            return Ok(());
        };
        let mut slowest = None;
        for (_, ranges) in &route.indexes {
            for target in ranges.leaders() {
                let position = self.position(target).await?;
                slowest = Some(slowest.map_or(position, |known: ItemTime| known.min(position)));
            }
        }
        self.cursor = slowest.unwrap_or_default();
        Ok(())
    }

    /// What an index partition has recorded of this source.
    async fn position(&mut self, target: &Group) -> Result<ItemTime, Refusal> {
        if let Some(known) = self.positions.get(&target.id()) {
            return Ok(*known);
        }
        let recorded = target.position(self.source.id()).await?;
        let position = recorded.map_or(ItemTime::default(), |delivered| delivered.through);
        self.positions.insert(target.id(), position);
        Ok(position)
    }

    /// Delivers one stretch of the log; `false` at its end.
    async fn round(&mut self) -> Result<bool, Refusal> {
        // Both are taken before the log is read: what is applied by then is in what is read, what is applied later
        // wakes this worker again.
        self.applied.mark_unchanged();
        let clock = self.source.stats().counters.clock;
        let records = self
            .source
            .changes(self.cursor, ROUND_RECORDS_MAX, ROUND_BYTES_MAX)
            .await?;
        let Some(last) = records.last().map(|record| record.time) else {
            self.advance(clock);
            return Ok(false);
        };
        // The directory is read after the log: a record of a new index is never older than the index's entry there.
        if let Some(route) = self.tables.directory.route(self.table) {
            self.deliver(&route, records, last).await?;
        }
        self.untrimmed_rounds += 1;
        self.advance(last);
        Ok(true)
    }

    fn advance(&mut self, to: ItemTime) {
        self.cursor = self.cursor.max(to);
        self.progress.send_if_modified(|delivered| {
            let moved = *delivered < self.cursor;
            *delivered = self.cursor;
            moved
        });
    }

    async fn deliver(
        &mut self,
        route: &TableRoute<Arc<Group>>,
        records: Vec<ChangeRecord>,
        through: ItemTime,
    ) -> Result<(), Refusal> {
        let mut batches: HashMap<GroupId, (Arc<Group>, Vec<IndexRow>)> = HashMap::new();
        for record in records {
            for (index, key, change) in record.rows {
                // An index that is not in the directory is being removed.
                let Some(ranges) = route.index(index) else { continue };
                let target = ranges.leader(&key);
                let row = IndexRow {
                    time: record.time,
                    key,
                    change,
                };
                let batch = batches
                    .entry(target.id())
                    .or_insert_with(|| (Arc::clone(target), Vec::new()));
                batch.1.push(row);
            }
        }
        self.send(batches.into_values(), through).await
    }

    /// Sends batches to index partitions, all at once.
    async fn send(
        &mut self,
        batches: impl Iterator<Item = (Arc<Group>, Vec<IndexRow>)>,
        through: ItemTime,
    ) -> Result<(), Refusal> {
        let session = session(&self.source);
        let source = self.source.id();
        let sent = batches.map(|(target, rows)| async move {
            let batch = IndexBatch {
                source,
                session,
                rows,
                through,
            };
            match target.command(Command::Deliver(batch)).await? {
                CommandReply::OldSession(_) => Err(Refusal::NotLeader),
                _ => Ok(target.id()),
            }
        });
        for target in try_join_all(sent).await? {
            self.positions.insert(target, through);
        }
        Ok(())
    }

    /// Forgets what everybody has.
    async fn trim(&mut self) -> Result<(), Refusal> {
        self.untrimmed_rounds = 0;
        let oldest_kept = match self.streams() {
            true => ItemTime::from_ms((self.tables.now_ms)().saturating_sub(STREAM_RETENTION_MS)),
            false => ItemTime(u64::MAX),
        };
        let through = self.cursor.min(oldest_kept);
        if through <= self.source.stats().counters.trimmed {
            return Ok(());
        }
        if let Some(route) = self.tables.directory.route(self.table) {
            let mut behind = Vec::new();
            for target in route.indexes.iter().flat_map(|(_, ranges)| ranges.leaders()) {
                if self.position(target).await? < through {
                    behind.push((Arc::clone(target), Vec::new()));
                }
            }
            self.send(behind.into_iter(), self.cursor).await?;
        }
        self.source.command(Command::TrimChanges { through }).await?;
        Ok(())
    }

    /// Whether the change log is kept for stream readers.
    fn streams(&self) -> bool {
        self.source
            .descriptor()
            .schema()
            .is_some_and(|schema| schema.stream.is_some())
    }

    /// Takes itself off the list when nobody needs it. The list's lock is held, so that `ensure` either finds the
    /// worker at work or starts another.
    fn ended(&self) -> bool {
        let mut running = self.tables.workers.running.lock();
        let ended = !needed(&self.tables, self.table, || self.streams());
        if ended {
            running.remove(&self.source.id());
        }
        ended
    }

    /// Sleeps until there may be something to do; trims when it has become quiet.
    async fn sleep(&mut self, directory: &mut watch::Receiver<u64>) -> Result<(), Refusal> {
        let indexed = self
            .tables
            .directory
            .route(self.table)
            .is_some_and(|route| !route.indexes.is_empty());
        let quiet = match (indexed && self.untrimmed_rounds > 0, self.streams()) {
            (true, _) => Some(TRIM_QUIET),
            (false, true) => Some(STREAM_TRIM),
            (false, false) => None,
        };
        tokio::select! {
            applied = self.applied.changed(), if indexed => applied.map_err(|_| Refusal::Stopping),
            _ = directory.changed() => Ok(()),
            () = tokio::time::sleep(quiet.unwrap_or_default()), if quiet.is_some() => self.trim().await,
        }
    }
}
