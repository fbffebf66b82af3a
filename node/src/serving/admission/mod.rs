//! Who may use how much, now: what every request to a partition of this store goes through.
//!
//! 1. Whoever keeps tables says what they declare ([`Admission::declare`]); nothing is refused before.
//! 2. A request finds its partition's meter and asks for every balance that it will be paid from ([`meter`]): the table's
//!    (or the index's) units, which its partitions share; what the partition may do by itself; and, for a write, the write
//!    units of the table's global indexes: an index that cannot keep up, or is too far behind, holds back the writes that would touch it.
//!    It is refused here, before the leader evaluates it, or goes ahead. The further parts of a page that has been begun are not
//!    asked: what was read and paid for it would be lost.
//! 3. Afterwards it pays what it cost; what it cost is counted.
//! 4. Levels are kept in the data folder ([`levels`]), so that a restart hands out no second burst.
//! 5. Where a table's partitions are led by several stores, one of them grants the others shares of its units ([`exchange`]).
//! 6. What was used and refused is shown as metrics ([`exposition`]), the keys that use the most on the admin API ([`hot`]).
//!
//! What the service does for itself (copies of items into new indexes, deletes of expired items) does not come through here: it is
//! free. A delivery to an index has been paid for by its write; it only waits where the index's partition has enough to do.
//!
//! The rules are [`partita_admission`]'s; this is where they meet requests, threads and clocks.

pub mod exchange;
mod exposition;
mod hot;
mod levels;
mod meter;
mod table;
#[cfg(test)]
mod tests;
mod units;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use partita_admission::share::HolderId;
use partita_admission::table::Limits;
use partita_model::capacity::{HalfUnits, UnitKind, WriteCost, read_units, write_units};
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::request::{Action, GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::TableId;
use partita_model::table::Throughput;
use partita_model::table::record::Record;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch, RowChange};
use partita_replication::{Clock, Group, Store};

use self::exchange::Unsaid;
use self::hot::{RowKeys, Sample};
use self::levels::{Kept, LevelsFile, SavedTable};
use self::meter::{Deposit, Met, Meter};
use self::table::{Declaration, Table};
use super::delivery::{IndexTarget, TooFar, Undelivered};
use crate::cli;
use crate::routing::Leader;

/// What is done about requests for which there are no units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// They are refused, as DynamoDB does
    Enforce,
    /// They are counted, and go ahead
    Shadow,
    /// Nothing
    Off,
}

/// Settings.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is done about requests for which there are no units.
    pub mode: Mode,
    /// For reads.
    pub reads: Limits,
    /// For writes.
    pub writes: Limits,
    /// What a new on-demand table is ready for.
    pub on_demand: Throughput,
}

/// Units per second for which a new on-demand table is ready at once. Source: "On-demand capacity mode", Amazon DynamoDB
/// Developer Guide.
const ON_DEMAND_UNITS: Throughput = Throughput {
    read: 12_000,
    write: 4_000,
};

impl From<&cli::Admission> for Options {
    fn from(flags: &cli::Admission) -> Self {
        let limits = |partition: u64| Limits {
            partition: HalfUnits(partition * 2),
            burst_ms: flags.burst_seconds * 1000,
        };
        Self {
            mode: flags.mode,
            reads: limits(flags.partition_read_units),
            writes: limits(flags.partition_write_units),
            on_demand: ON_DEMAND_UNITS,
        }
    }
}

/// The units of every table of this store.
pub struct Admission {
    options: Options,
    /// Milliseconds that never go back: a wall clock that is set back would stop every bucket until it has caught up.
    now_ms: Clock,
    known: Mutex<Known>,
    /// Of the partitions that have been asked for something, by group.
    meters: RwLock<HashMap<GroupId, Arc<Meter>>>,
    kept: Kept,
    file: Option<LevelsFile>,
    /// Its number among the stores that share a table's units.
    holder: HolderId,
    /// What has to be said to other stores.
    unsaid: Unsaid,
    /// Which partitions' indexes are too far behind.
    too_far: OnceLock<TooFarOf>,
}

/// Whether a partition's indexes are too far behind.
pub type TooFarOf = Box<dyn Fn(GroupId) -> Option<TooFar> + Send + Sync>;

/// What is known of tables.
#[derive(Default)]
struct Known {
    tables: HashMap<TableId, Arc<Table>>,
    /// Where tables were when the process before this one ended.
    saved: levels::Saved,
}

/// Milliseconds since the process has asked for this clock.
pub fn elapsed_ms() -> Clock {
    let begin = Instant::now();
    Arc::new(move || begin.elapsed().as_millis() as u64)
}

impl Admission {
    /// Of a store; levels are kept in its data folder. Follows the store until the process stops.
    pub fn start(options: Options, data: &Path, store: &Arc<Store>) -> anyhow::Result<Arc<Self>> {
        let (file, saved) = LevelsFile::open(data)?;
        let mut admission = Self::new(options, elapsed_ms(), saved);
        admission.file = Some(file);
        admission.holder = store.uuid().as_u64_pair().1;
        let admission = Arc::new(admission);
        tokio::spawn(levels::keep(Arc::clone(&admission)));
        tokio::spawn(Arc::clone(&admission).follow(Arc::clone(store)));
        Ok(admission)
    }

    fn new(options: Options, now_ms: Clock, saved: levels::Saved) -> Self {
        let known = Known {
            saved,
            ..Known::default()
        };
        Self {
            options,
            now_ms,
            known: Mutex::new(known),
            meters: RwLock::default(),
            kept: Kept::default(),
            file: None,
            holder: 0,
            unsaid: Unsaid::default(),
            too_far: OnceLock::new(),
        }
    }

    /// Holds back writes to partitions whose indexes do not catch up, from now on.
    pub fn hold_back(&self, too_far: TooFarOf) {
        if self.too_far.set(too_far).is_err() {
            tracing::error!("it is asked in two places how far indexes are behind: the first one counts");
        }
    }

    /// Forgets partitions that are gone.
    async fn follow(self: Arc<Self>, store: Arc<Store>) {
        let mut changes = store.changes();
        while changes.changed().await.is_ok() {
            self.meters.write().retain(|group, _| store.group(*group).is_some());
        }
    }

    /// What a table declares, and which of its partitions are led here, in which terms, from now on. What was saved up stays as
    /// far as the units can hold it.
    pub fn declare(&self, record: &Record, leads: &dyn Fn(GroupId) -> Option<u64>) {
        let now_ms = (self.now_ms)();
        let mut known = self.known.lock();
        let saved = known.saved.take(record);
        let before = known.tables.get(&record.id).cloned();
        let declaration = Declaration {
            record,
            leads,
            holder: self.holder,
            options: &self.options,
        };
        let table = Arc::new(declaration.table(before.as_deref(), saved, now_ms));
        known.tables.insert(record.id, Arc::clone(&table));
        let mut meters = self.meters.write();
        let indexes = record.global.iter().flat_map(|index| &index.partitions);
        for partition in record.partitions.iter().chain(indexes) {
            if let Some(meter) = meters.get_mut(&partition.group) {
                *meter = Arc::new(meter.of(&table, now_ms));
            }
        }
    }

    /// A new table's first partition is led here from now on: its units are as of a new table.
    pub fn fill(&self, table: TableId) {
        let known = self.known.lock();
        if let Some(table) = known.tables.get(&table) {
            table.fill((self.now_ms)());
        }
    }

    /// Nothing of a table is led here any more, for a while at least: where its buckets stand is kept.
    pub fn set_aside(&self, table: TableId) {
        let mut known = self.known.lock();
        let levels = known
            .tables
            .remove(&table)
            .and_then(|table| table.levels((self.now_ms)()));
        if let Some(levels) = levels {
            known.saved.put(table, levels);
        }
    }

    /// A table is gone.
    pub fn forget(&self, table: TableId) {
        let mut known = self.known.lock();
        known.tables.remove(&table);
        known.saved.forget(table);
        self.meters.write().retain(|_, meter| meter.table() != table);
    }

    /// One item.
    ///
    /// Here and below: a replica that does not lead refuses what it cannot answer, whether there are units or not. What it can
    /// answer (an eventual read) is paid like at the leader.
    pub async fn get(&self, group: &Group, request: GetRequest) -> Result<GetReply, Refusal> {
        let meter = self.meter(group);
        let answers = group.is_serving() || !request.consistent;
        let pays = match answers {
            true => self.ask(meter.admit_read(request.consistent, (self.now_ms)()))?,
            false => None,
        };
        let sample = meter.sampler(UnitKind::Read).sample(&request.key);
        let answer = group.get(request).await;
        if let Ok(reply) = &answer {
            self.charge_read(&meter, pays.is_some(), sample, reply.cost.0);
        }
        answer
    }

    /// One page within a partition, or a further part of one behind what was `read` of it in others: it pays for the rows that
    /// were evaluated, as one page.
    pub async fn page(&self, group: &Group, request: PageRequest, read: Option<u64>) -> Result<PageReply, Refusal> {
        let meter = self.meter(group);
        let answers = group.is_serving() || !request.consistent;
        let pays = match read {
            None if answers => self.ask(meter.admit_read(request.consistent, (self.now_ms)()))?,
            None | Some(_) => None,
        };
        let pays = pays.is_some() || read.is_some() && self.options.mode != Mode::Off;
        let sample = meter.sampler(UnitKind::Read).sample_page(&request);
        let consistent = request.consistent;
        let answer = group.page(request).await;
        if let Ok(reply) = &answer {
            let before = read.map_or(HalfUnits(0), |bytes| read_units(bytes, consistent));
            let whole = read_units(read.unwrap_or(0) + reply.bytes, consistent);
            let cost = HalfUnits(whole.0 - before.0 + reply.fetch_half_units);
            self.charge_read(&meter, pays, sample, cost);
        }
        answer
    }

    /// One write: it pays for what it changes, and a condition that does not hold has its price all the same.
    pub async fn write(&self, group: &Arc<Group>, request: WriteRequest) -> Result<WriteReply, Refusal> {
        let meter = self.meter(group);
        let pays = match group.is_serving() {
            true => self.ask(self.admit_write(&meter, group.id(), &request.action))?,
            false => None,
        };
        let sample = meter.sampler(UnitKind::Write).sample(&request.key);
        let answer = group.write(request).await;
        match &answer {
            Ok(reply) => self.charge_write(&meter, pays.is_some(), sample, &reply.cost),
            Err(Refusal::Evaluated { cost, .. }) => self.charge_write(&meter, pays.is_some(), sample, cost),
            Err(_) => {}
        }
        answer
    }

    /// Whether a write may go ahead: there are units for it, and the indexes that it may touch keep up.
    fn admit_write<'a>(&self, meter: &'a Meter, group: GroupId, action: &Action) -> Result<Deposit<'a>, Met<'a>> {
        let deposit = meter.admit_write(action, (self.now_ms)())?;
        let asks = self.too_far.get().filter(|_| meter.has_indexes());
        match asks.and_then(|too_far| too_far(group)) {
            Some(behind) => meter.admit_behind(deposit, action, &behind),
            None => Ok(deposit),
        }
    }

    /// Rows for a partition of a global index. They have been paid with the writes that caused them; but one partition takes no more
    /// of them in a second than it can do, and whoever delivers has to wait.
    pub async fn deliver(&self, group: &Arc<Group>, batch: IndexBatch) -> Result<CommandReply, Refusal> {
        let meter = self.meter(group);
        if batch.rows.is_empty() || !meter.is_complete_index() || !group.is_serving() {
            return group.command(Command::Deliver(batch)).await;
        }
        if self.options.mode == Mode::Enforce {
            let admitted = meter.admit_delivery((self.now_ms)());
            admitted.map_err(|met| Refusal::Throttled(Box::new(met.into_throttled())))?;
        }
        let costs: Vec<_> = batch.rows.iter().map(|row| row_cost(&row.change)).collect();
        let sampler = meter.sampler(UnitKind::Write);
        let samples = batch.rows.iter().zip(&costs);
        let samples: Vec<_> = samples
            .filter_map(|(row, cost)| Some((sampler.sample(&row.key)?, *cost)))
            .collect();
        let reply = group.command(Command::Deliver(batch)).await?;
        self.delivered(&meter, costs.into_iter().sum(), samples);
        Ok(reply)
    }

    fn delivered(&self, meter: &Meter, cost: HalfUnits, samples: Vec<(Sample, HalfUnits)>) {
        let now_ms = (self.now_ms)();
        meter.charge_delivery(cost);
        meter.note_delivered(cost);
        for (sample, cost) in samples {
            meter.note_sample(UnitKind::Write, Some(sample), cost, now_ms);
        }
    }

    /// What becomes of a request that was (or was not) admitted: whether it pays, or why it is refused. One that goes ahead
    /// although there is nothing for it does not pay: it would not have been done, and takes nothing from those behind it.
    fn ask<'a>(&self, admitted: Result<Deposit<'a>, Met<'_>>) -> Result<Option<Deposit<'a>>, Refusal> {
        match (admitted, self.options.mode) {
            (Ok(_) | Err(_), Mode::Off) => Ok(None),
            (Ok(deposit), _) => Ok(Some(deposit)),
            (Err(met), Mode::Shadow) => {
                met.note_shadowed();
                Ok(None)
            }
            (Err(met), Mode::Enforce) => {
                met.note_throttled();
                // Others may have units to spare.
                self.unsaid.note();
                Err(Refusal::Throttled(Box::new(met.into_throttled())))
            }
        }
    }

    fn charge_read(&self, meter: &Meter, pays: bool, sample: Option<Sample>, cost: HalfUnits) {
        let now_ms = (self.now_ms)();
        meter.note_used(UnitKind::Read, cost);
        meter.note_sample(UnitKind::Read, sample, cost, now_ms);
        if pays {
            meter.charge_read(cost, now_ms);
            self.kept.note_change();
            self.unsaid.note();
        }
    }

    fn charge_write(&self, meter: &Meter, pays: bool, sample: Option<Sample>, cost: &WriteCost) {
        let now_ms = (self.now_ms)();
        meter.note_written(cost);
        meter.note_sample(UnitKind::Write, sample, meter::own(cost), now_ms);
        if pays {
            meter.charge_write(cost, now_ms);
            self.kept.note_change();
            self.unsaid.note();
        }
    }

    fn meter(&self, group: &Group) -> Arc<Meter> {
        if let Some(meter) = self.meters.read().get(&group.id()) {
            return Arc::clone(meter);
        }
        self.new_meter(&group.descriptor())
    }

    fn new_meter(&self, partition: &PartitionDescriptor) -> Arc<Meter> {
        let known = self.known.lock();
        let (id, index) = match &partition.kind {
            PartitionKind::Table(schema) => (schema.id, None),
            PartitionKind::Index { base, index, .. } => (*base, Some(index.id)),
        };
        let declared = known.tables.get(&id).cloned();
        let table = declared.unwrap_or_else(|| Arc::new(Table::undeclared(&partition.kind)));
        let meter = Arc::new(Meter::new(&table, index, RowKeys::of(&partition.kind), (self.now_ms)()));
        self.meters.write().insert(partition.group, Arc::clone(&meter));
        meter
    }

    /// Where every table is that is not as a new one.
    fn levels(&self) -> HashMap<TableId, SavedTable> {
        let now_ms = (self.now_ms)();
        let known = self.known.lock();
        let mut levels = known.saved.rest().clone();
        for (id, table) in &known.tables {
            levels.extend(table.levels(now_ms).map(|table| (*id, table)));
        }
        levels
    }
}

/// A group whose requests go through admission.
#[derive(Clone)]
pub struct Admitted {
    /// The group.
    pub group: Arc<Group>,
    /// Its store's admission.
    pub admission: Arc<Admission>,
}

impl Leader for Admitted {
    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        self.admission.get(&self.group, request).await
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        self.admission.write(&self.group, request).await
    }

    async fn page(&self, request: PageRequest, read: Option<u64>) -> Result<PageReply, Refusal> {
        self.admission.page(&self.group, request, read).await
    }
}

/// What a row costs a partition of an index. What was there before is not known.
fn row_cost(change: &RowChange) -> HalfUnits {
    write_units(match change {
        RowChange::Put(row) => row.as_ref().size(),
        RowChange::Delete => 1,
    })
}

impl IndexTarget for Admitted {
    fn id(&self) -> GroupId {
        self.group.id()
    }

    async fn deliver(&self, batch: IndexBatch) -> Result<CommandReply, Undelivered> {
        Ok(self.admission.deliver(&self.group, batch).await?)
    }

    async fn close(&self, sources: Vec<(GroupId, u64)>) -> Result<(), Undelivered> {
        IndexTarget::close(&self.group, sources).await
    }

    async fn position(&self, source: GroupId) -> Result<Option<Delivered>, Undelivered> {
        IndexTarget::position(&self.group, source).await
    }
}
