//! The delivery from one partition to the partitions of its table's global indexes.
//!
//! 1. Sleep until an entry is applied to the source partition.
//! 2. Read the change log behind the cursor.
//! 3. Sort the rows by index partition and deliver a batch to each, all at once; wait for all.
//! 4. Where one of them takes no more at the moment, wait for it a little, and go on at 2; what the others have is not sent again.
//! 5. Move the cursor, go on at 2 until the log is read to its end.
//! 6. From time to time, and once when it becomes quiet: tell every index partition how far it is, then trim the log
//!    behind what all of them have (and behind what a stream has to keep).
//!
//! An index partition records the position with the rows, and ignores rows at or below it: a batch that is sent again
//! after a failure or a restart changes nothing.
//!
//! Which indexes there are is what the source's own schema says. The directory may know less (it lags behind) or more:
//! a row of an index that the schema has waits until the directory knows where it belongs; only rows of indexes that
//! the schema does not have any more are skipped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use partita_model::request::Refusal;
use partita_model::schema::TableSchema;
use partita_partition::change::ChangeRecord;
use partita_partition::command::{Command, CommandReply, IndexBatch, IndexRow, Session};
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition};
use partita_replication::Group;
use tokio::sync::watch;

use super::{Deliveries, IndexTarget, Lag, Progress, Undelivered, session};
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
/// How long a worker waits for an index partition that takes no more: what it owes then is a batch, half a second's units.
const HELD_PAUSE: Duration = Duration::from_millis(50);
/// For how long nothing being delivered is usual (an index is being made or removed, its store restarts) and not worth a
/// warning.
const USUAL: Duration = Duration::from_secs(2);

pub(super) struct Worker<T: IndexTarget> {
    deliveries: Arc<Deliveries<T>>,
    source: Arc<Group>,
    /// Wakes when the source has applied something.
    applied: watch::Receiver<LogPosition>,
    /// Wakes when the directory has changed.
    directory: watch::Receiver<u64>,
    /// Wakes when the store's groups or their schemas have changed.
    groups: watch::Receiver<u64>,
    /// Everything up to here has been delivered.
    cursor: ItemTime,
    /// Partitions that had some of the source's items before, and the index partitions that have been told so; as of this
    /// range epoch of the source: a merge brings others.
    ancestors: Vec<(GroupId, u64)>,
    closed: HashSet<GroupId>,
    range_epoch: u64,
    /// What each index partition has recorded.
    positions: HashMap<GroupId, ItemTime>,
    /// Rounds that delivered something since the last trim.
    untrimmed_rounds: u32,
    /// Since when, and how often, attempts have failed in a row.
    failing: Option<(Instant, u32)>,
    progress: watch::Sender<Progress>,
}

impl<T: IndexTarget> Worker<T> {
    pub(super) fn new(deliveries: Arc<Deliveries<T>>, source: Arc<Group>, progress: watch::Sender<Progress>) -> Self {
        Self {
            applied: source.subscribe(),
            directory: deliveries.directory.changes(),
            groups: deliveries.store.changes(),
            deliveries,
            source,
            cursor: ItemTime::default(),
            ancestors: Vec::new(),
            closed: HashSet::new(),
            range_epoch: 0,
            positions: HashMap::new(),
            untrimmed_rounds: 0,
            failing: None,
            progress,
        }
    }

    pub(super) async fn run(mut self) {
        while let Err(reason) = self.work().await {
            if self.deliveries.ended(&self.source) {
                return;
            }
            self.failed(reason).await;
        }
    }

    /// Says why nothing is delivered, and waits for what may change that.
    async fn failed(&mut self, reason: Undelivered) {
        let (since, failures) = self.failing.unwrap_or((Instant::now(), 0));
        self.failing = Some((since, failures.saturating_add(1)));
        let unusual = since.elapsed() > USUAL;
        if unusual {
            let source = format!("{:016x}", self.source.id().0);
            tracing::warn!(source, %reason, "delivery to global indexes waits");
        }
        self.positions.clear();
        self.lags(None);
        let pause = RETRY_FIRST.saturating_mul(1 << failures.min(16)).min(RETRY_LONGEST);
        // Only the directory or the schema can help an index that is not in the directory: once that has been said,
        // there is nothing to try.
        let timed = !(unusual && matches!(reason, Undelivered::NotInDirectory(_)));
        self.progress.send_modify(|progress| progress.waits = Some(reason));
        tokio::select! {
            _ = self.directory.changed() => {}
            _ = self.groups.changed() => {}
            () = tokio::time::sleep(pause), if timed => {}
        }
    }

    /// Works until nobody needs it any more.
    async fn work(&mut self) -> Result<(), Undelivered> {
        self.directory.mark_unchanged();
        self.groups.mark_unchanged();
        self.start().await?;
        loop {
            let last = loop {
                match self.round().await? {
                    Round::More => {}
                    last @ (Round::End | Round::Held) => break last,
                }
            };
            if self.untrimmed_rounds >= TRIM_ROUNDS {
                self.trim().await?;
            }
            if self.deliveries.ended(&self.source) {
                return Ok(());
            }
            match last {
                Round::Held => tokio::time::sleep(HELD_PAUSE).await,
                Round::More | Round::End => self.sleep().await?,
            }
        }
    }

    /// The source's schema as applied: what its change log can be about.
    fn schema(&self) -> Result<Arc<TableSchema>, Refusal> {
        self.source.descriptor().schema().cloned().ok_or(Refusal::WrongRange)
    }

    /// Where the table's indexes are; an error if the directory lacks one that the schema has.
    fn route(&self, schema: &TableSchema) -> Result<Option<Arc<TableRoute<T>>>, Undelivered> {
        let route = self.deliveries.directory.route(schema.id);
        let known = |index| route.as_ref().is_some_and(|route| route.index(index).is_some());
        match schema.global.iter().find(|index| !known(index.id)) {
            Some(index) => Err(Undelivered::NotInDirectory(index.id)),
            None => Ok(route),
        }
    }

    /// The partitions of every index that the schema has.
    fn targets(&self) -> Result<Vec<T>, Undelivered> {
        let schema = self.schema()?;
        let Some(route) = self.route(&schema)? else {
            return Ok(Vec::new());
        };
        let indexes = schema.global.iter().filter_map(|index| route.index(index.id));
        Ok(indexes.flat_map(|ranges| ranges.leaders().cloned()).collect())
    }

    /// Begins behind what every index partition has.
    async fn start(&mut self) -> Result<(), Undelivered> {
        self.range_epoch = 0;
        self.session().await?;
        let mut slowest = None;
        for target in self.targets()? {
            let position = self.position(&target).await?;
            slowest = Some(slowest.map_or(position, |known: ItemTime| known.min(position)));
        }
        self.cursor = slowest.unwrap_or_default();
        Ok(())
    }

    /// Who delivers. Whose items the source has is looked up anew in each range epoch.
    async fn session(&mut self) -> Result<Session, Undelivered> {
        let session = session(&self.source);
        if session.range_epoch != self.range_epoch {
            self.ancestors = self.source.lineage().await?.ancestors;
            self.closed.clear();
            self.range_epoch = session.range_epoch;
        }
        Ok(session)
    }

    /// What an index partition has recorded of this source.
    async fn position(&mut self, target: &T) -> Result<ItemTime, Undelivered> {
        if let Some(known) = self.positions.get(&target.id()) {
            return Ok(*known);
        }
        let recorded = target.position(self.source.id()).await?;
        let position = recorded.map_or(ItemTime::default(), |delivered| delivered.through);
        self.positions.insert(target.id(), position);
        Ok(position)
    }

    /// Delivers one stretch of the log.
    async fn round(&mut self) -> Result<Round, Undelivered> {
        // Both are taken before the log is read: what is applied by then is in what is read, what is applied later
        // wakes this worker again.
        self.applied.mark_unchanged();
        // Before the log is read: whatever splits the source (or merges it) later does so in another session.
        let session = self.session().await?;
        let clock = self.source.stats().counters.clock;
        let records = self
            .source
            .changes(self.cursor, ROUND_RECORDS_MAX, ROUND_BYTES_MAX)
            .await?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            self.advance(clock);
            self.lags(None);
            return Ok(Round::End);
        };
        let last = last.time;
        self.lags(Some(first.time));
        match self.deliver(records, session, last).await {
            Ok(()) => {
                self.untrimmed_rounds += 1;
                self.advance(last);
                Ok(Round::More)
            }
            Err(Undelivered::Refused(Refusal::Throttled(throttled))) => {
                self.failing = None;
                self.note(|progress| (progress.held_by, progress.waits) = (throttled.index, None));
                Ok(Round::Held)
            }
            Err(error) => Err(error),
        }
    }

    /// The oldest change that is not delivered. While existing items are copied into an index, lag is no sign of load.
    fn lags(&self, oldest: Option<ItemTime>) {
        let builds = self
            .schema()
            .is_ok_and(|schema| schema.global.iter().any(|index| !index.readable));
        let now_ms = (self.deliveries.now_ms)();
        self.note(|progress| {
            progress.lag = oldest.filter(|_| !builds).map(|oldest| Lag {
                since_ms: progress.lag.map_or(now_ms, |lag| lag.since_ms),
                oldest_ms: oldest.ms(),
            });
            if oldest.is_none() {
                progress.held_by = None;
            }
        });
    }

    /// Changes what is known of it. Nobody waits for that.
    fn note(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_if_modified(|progress| {
            change(progress);
            false
        });
    }

    fn advance(&mut self, to: ItemTime) {
        self.failing = None;
        self.cursor = self.cursor.max(to);
        self.progress.send_if_modified(|progress| {
            let moved = progress.delivered < self.cursor || progress.waits.is_some();
            // After a failure the cursor may begin further back: what was delivered stays delivered.
            progress.delivered = progress.delivered.max(self.cursor);
            progress.waits = None;
            moved
        });
    }

    async fn deliver(
        &mut self,
        records: Vec<ChangeRecord>,
        session: Session,
        through: ItemTime,
    ) -> Result<(), Undelivered> {
        // The schema is read after the log: an index that a record is about is in it, unless it has been removed since.
        let schema = self.schema()?;
        let route = self.deliveries.directory.route(schema.id);
        let mut batches: HashMap<GroupId, (T, Vec<IndexRow>)> = HashMap::new();
        for record in records {
            for (index, key, change) in record.rows {
                if schema.global_index(index).is_none() {
                    continue;
                }
                let ranges = route.as_ref().and_then(|route| route.index(index));
                let target = ranges.ok_or(Undelivered::NotInDirectory(index))?.leader(&key);
                let row = IndexRow {
                    time: record.time,
                    key,
                    change,
                };
                let batch = batches
                    .entry(target.id())
                    .or_insert_with(|| (target.clone(), Vec::new()));
                batch.1.push(row);
            }
        }
        self.send(batches.into_values(), session, through).await
    }

    /// Sends batches to index partitions, all at once. One that refuses takes nothing from the others: what they have is not sent again.
    async fn send(
        &mut self,
        batches: impl Iterator<Item = (T, Vec<IndexRow>)>,
        session: Session,
        through: ItemTime,
    ) -> Result<(), Undelivered> {
        let source = self.source.id();
        let (ancestors, closed, positions) = (&self.ancestors, &self.closed, &self.positions);
        let lacks = |target: &T| positions.get(&target.id()).is_none_or(|position| *position < through);
        let batches = batches.filter(|(target, _)| lacks(target));
        let sent = batches.map(|(target, rows)| async move {
            // Other partitions had some of these items before, and the tail of their log is here now: nothing that they
            // sent by then may come behind what is delivered from here.
            if !ancestors.is_empty() && !closed.contains(&target.id()) {
                target.close(ancestors.clone()).await?;
            }
            let batch = IndexBatch {
                source,
                session,
                rows,
                through,
            };
            match target.deliver(batch).await? {
                CommandReply::OldSession(_) => Err(Undelivered::Deposed),
                _ => Ok(target.id()),
            }
        });
        let mut outcome = Ok(());
        for sent in join_all(sent).await {
            match sent {
                Ok(target) => {
                    self.closed.insert(target);
                    self.positions.insert(target, through);
                }
                // Whatever is worse than having to wait a moment has to be seen to.
                Err(error) if outcome.is_ok() || is_held(&outcome) => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome
    }

    /// Forgets what everybody has.
    async fn trim(&mut self) -> Result<(), Undelivered> {
        self.untrimmed_rounds = 0;
        let session = self.session().await?;
        let oldest_kept = match self.schema()?.stream {
            Some(_) => ItemTime::from_ms((self.deliveries.now_ms)().saturating_sub(STREAM_RETENTION_MS)),
            None => ItemTime(u64::MAX),
        };
        let through = self.cursor.min(oldest_kept);
        if through <= self.source.stats().counters.trimmed {
            return Ok(());
        }
        let mut behind = Vec::new();
        for target in self.targets()? {
            if self.position(&target).await? < through {
                behind.push((target, Vec::new()));
            }
        }
        self.send(behind.into_iter(), session, self.cursor).await?;
        self.source.command(Command::TrimChanges { through }).await?;
        Ok(())
    }

    /// Sleeps until there may be something to do; trims when it has become quiet.
    async fn sleep(&mut self) -> Result<(), Undelivered> {
        let schema = self.schema()?;
        let indexed = !schema.global.is_empty();
        let quiet = match (indexed && self.untrimmed_rounds > 0, schema.stream.is_some()) {
            (true, _) => Some(TRIM_QUIET),
            (false, true) => Some(STREAM_TRIM),
            (false, false) => None,
        };
        tokio::select! {
            applied = self.applied.changed(), if indexed => applied.map_err(|_| Refusal::Stopping.into()),
            _ = self.groups.changed() => Ok(()),
            () = tokio::time::sleep(quiet.unwrap_or_default()), if quiet.is_some() => self.trim().await,
        }
    }
}

/// How a stretch of the log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There may be more.
    More,
    /// There is no more.
    End,
    /// An index partition takes no more for the moment: the same again, soon.
    Held,
}

fn is_held(outcome: &Result<(), Undelivered>) -> bool {
    matches!(outcome, Err(Undelivered::Refused(Refusal::Throttled(_))))
}
