//! The units of a table, of its global indexes and of its partitions, and what is counted of them.
//!
//! 1. [`Units`]: one kind of units of one table or index, which all its partitions in this store share;
//! 2. [`Table`]: what is declared of a table and its indexes. Another declaration is another value, around the same units;
//! 3. [`Meter`]: one partition's way to all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use partita_admission::pool::{Pool, Standing};
use partita_admission::share::{HolderId, even_part};
use partita_admission::table::{Ceiling, Declared, Levels, Limits};
use partita_model::capacity::{HalfUnits, ThrottleLimit, Throttled, UnitKind, UnitsId, WriteCost};
use partita_model::partition::{GroupId, PartitionKind};
use partita_model::request::Action;
use partita_model::schema::{IndexId, KeySchema, TableId};
use partita_model::table::record::{IndexPhase, PartitionRecord, Record};
use partita_model::table::{BillingMode, OnDemandThroughput, Throughput};
use serde_json::{Value, json};

use super::Options;
use super::hot::{self, Sample, Sampler};
use super::levels::{SavedTable, SavedUnits};

/// What is counted of one kind of units.
#[derive(Debug, Default)]
pub struct Counts {
    used_half_units: AtomicU64,
    throttled: AtomicU64,
    shadowed: AtomicU64,
}

/// What has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Units that were used, in halves.
    pub used_half_units: u64,
    /// Requests that were refused.
    pub throttled: u64,
    /// Requests that would have been refused.
    pub shadowed: u64,
}

impl Counts {
    fn counted(&self) -> Counted {
        Counted {
            used_half_units: self.used_half_units.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            shadowed: self.shadowed.load(Ordering::Relaxed),
        }
    }

    fn note_used(&self, cost: HalfUnits) {
        self.used_half_units.fetch_add(cost.0, Ordering::Relaxed);
    }
}

/// One kind of units of a table or an index.
#[derive(Debug, Default)]
pub struct Units {
    /// `None` until it is known what is declared.
    pool: Mutex<Option<Pool>>,
    counts: Counts,
}

impl Units {
    fn declare(&self, declared: Declared, limits: Limits, standing: Standing, saved: Option<Levels>, now_ms: u64) {
        match &mut *self.pool.lock() {
            Some(pool) => pool.declare(declared, standing, now_ms),
            unknown => *unknown = Some(Pool::new(declared, limits, standing, saved.unwrap_or_default(), now_ms)),
        }
    }

    fn admit(&self, now_ms: u64) -> Result<(), ThrottleLimit> {
        self.pool.lock().as_mut().map_or(Ok(()), |pool| pool.admit(now_ms))
    }

    fn charge(&self, cost: HalfUnits, now_ms: u64) {
        if let Some(pool) = &mut *self.pool.lock() {
            pool.charge(cost, now_ms);
        }
    }

    fn shown(&self, now_ms: u64) -> ShownUnits {
        let mut pool = self.pool.lock();
        ShownUnits {
            counted: self.counts.counted(),
            allowed: pool.as_ref().and_then(Pool::allowed).map(HalfUnits::units),
            balance: pool.as_mut().and_then(|pool| pool.balance(now_ms)),
        }
    }

    /// Does something to what is declared, if anything is.
    pub fn with<T>(&self, act: impl FnOnce(&mut Pool) -> T) -> Option<T> {
        self.pool.lock().as_mut().map(act)
    }

    fn levels(&self, now_ms: u64) -> Option<Levels> {
        self.with(|pool| pool.levels(now_ms))?
    }
}

/// Both kinds of units of a table or an index.
#[derive(Debug, Default)]
struct Both {
    reads: Units,
    writes: Units,
}

impl Both {
    fn levels(&self, now_ms: u64) -> Option<SavedUnits> {
        let saved = SavedUnits {
            reads: self.reads.levels(now_ms),
            writes: self.writes.levels(now_ms),
        };
        (saved.reads.is_some() || saved.writes.is_some()).then_some(saved)
    }
}

/// What is declared of a table or an index.
#[derive(Debug, Clone, Default)]
struct Resource {
    units: Arc<Both>,
    /// What one partition of it may do by itself; `None`: as much as all.
    read_ceiling: Option<HalfUnits>,
    write_ceiling: Option<HalfUnits>,
}

/// A global index as far as it concerns units.
#[derive(Debug)]
struct Index {
    id: IndexId,
    name: String,
    /// Without one of these an item has no row in it.
    keys: Vec<String>,
    resource: Resource,
}

/// One kind of units, as metrics show it.
#[derive(Debug, Clone, Copy)]
pub struct ShownUnits {
    /// Counts.
    pub counted: Counted,
    /// Units per second; `None` until it is known what is declared.
    pub allowed: Option<f64>,
    /// Units that may be used at once.
    pub balance: Option<f64>,
}

/// A table or an index, as metrics show it.
#[derive(Debug)]
pub struct Shown {
    /// Account, table and index.
    pub labels: String,
    reads: ShownUnits,
    writes: ShownUnits,
}

impl Shown {
    /// One kind of its units.
    pub fn units(&self, kind: UnitKind) -> &ShownUnits {
        match kind {
            UnitKind::Read => &self.reads,
            UnitKind::Write => &self.writes,
        }
    }
}

/// What is declared of a table.
#[derive(Debug)]
pub struct Table {
    id: TableId,
    account: String,
    name: String,
    provisioned: bool,
    own: Resource,
    indexes: Vec<Index>,
}

impl Table {
    /// One of which it is not known yet what it declares, as a partition of it knows it: nothing is refused.
    pub fn undeclared(partition: &PartitionKind) -> Self {
        let (id, name, indexes) = match partition {
            PartitionKind::Table(schema) => (schema.id, schema.name.clone(), schema.global.as_slice()),
            PartitionKind::Index { base, index, .. } => {
                (*base, format!("{:016x}", base.0), std::slice::from_ref(index))
            }
        };
        let indexes = indexes.iter().map(|index| Index {
            id: index.id,
            name: index.name.clone(),
            keys: index.keys.attributes().map(|key| key.name.clone()).collect(),
            resource: Resource::default(),
        });
        Self {
            id,
            account: String::new(),
            name,
            provisioned: true,
            own: Resource::default(),
            indexes: indexes.collect(),
        }
    }

    /// Its id.
    pub fn id(&self) -> TableId {
        self.id
    }

    /// Where its buckets stand; `None` if all are as a new table's, or others grant its units.
    pub fn levels(&self, now_ms: u64) -> Option<SavedTable> {
        let indexes = self.indexes.iter();
        let saved = SavedTable {
            own: self.own.units.levels(now_ms),
            indexes: indexes
                .filter_map(|index| Some((index.id, index.resource.units.levels(now_ms)?)))
                .collect(),
        };
        (saved.own.is_some() || !saved.indexes.is_empty()).then_some(saved)
    }

    /// All units are as of a new table.
    pub fn fill(&self, now_ms: u64) {
        for (_, units) in self.units() {
            units.with(|pool| pool.fill(now_ms));
        }
    }

    /// All kinds of units.
    pub fn units(&self) -> impl Iterator<Item = (UnitsId, &Units)> {
        let indexes = self.indexes.iter().map(|index| (Some(index.id), &index.resource));
        let resources = [(None, &self.own)].into_iter().chain(indexes);
        resources.flat_map(|(index, resource)| {
            let one = |kind, units| (UnitsId { index, kind }, units);
            [
                one(UnitKind::Read, &resource.units.reads),
                one(UnitKind::Write, &resource.units.writes),
            ]
        })
    }

    /// One kind of units.
    pub fn units_of(&self, id: UnitsId) -> Option<&Units> {
        let resource = match id.index {
            None => &self.own,
            Some(index) => &self.index(index)?.resource,
        };
        Some(match id.kind {
            UnitKind::Read => &resource.units.reads,
            UnitKind::Write => &resource.units.writes,
        })
    }

    /// The table and its indexes, as metrics show them.
    pub fn shown(&self, now_ms: u64) -> Vec<Shown> {
        let indexes = self.indexes.iter().map(|index| (index.name.as_str(), &index.resource));
        let all = [("", &self.own)].into_iter().chain(indexes);
        let shown = all.map(|(index, resource)| Shown {
            labels: self.labels(index),
            reads: resource.units.reads.shown(now_ms),
            writes: resource.units.writes.shown(now_ms),
        });
        shown.collect()
    }

    fn labels(&self, index: &str) -> String {
        let (account, table) = (&self.account, &self.name);
        format!("account=\"{account}\",table=\"{table}\",index=\"{index}\"")
    }

    fn index(&self, id: IndexId) -> Option<&Index> {
        self.indexes.iter().find(|index| index.id == id)
    }
}

/// What is declared of a table, and what of it is led here.
pub struct Declaration<'a> {
    /// The table.
    pub record: &'a Record,
    /// The term in which a partition is led here, if it is. A part of the units comes with each, and whoever leads the table's
    /// first one grants the others theirs.
    pub leads: &'a dyn Fn(GroupId) -> Option<u64>,
    /// This store's number among those that share a table's units.
    pub holder: HolderId,
    /// Settings.
    pub options: &'a Options,
}

impl Declaration<'_> {
    /// The table; `before`: as it was declared before. `saved` counts for what was not.
    pub fn table(&self, before: Option<&Table>, mut saved: SavedTable, now_ms: u64) -> Table {
        let (record, spec) = (self.record, &self.record.spec);
        let known = before.map(|before| Arc::clone(&before.own.units));
        let declared = self.declared(spec.throughput, spec.on_demand, spec.warm);
        let own = self.resource(known, &record.partitions, declared, saved.own.take(), now_ms);
        let there = record.global.iter().filter(|index| index.phase != IndexPhase::Removing);
        let indexes = there.filter_map(|index| {
            let spec = spec.global.iter().find(|spec| spec.name == index.name)?;
            let known = before.and_then(|before| before.index(index.id));
            let known = known.map(|known| Arc::clone(&known.resource.units));
            let declared = self.declared(spec.throughput, spec.on_demand, spec.warm);
            let saved = saved.indexes.remove(&index.id);
            Some(Index {
                id: index.id,
                name: index.name.clone(),
                keys: spec.keys.attributes().map(|key| key.name.clone()).collect(),
                resource: self.resource(known, &index.partitions, declared, saved, now_ms),
            })
        });
        Table {
            id: record.id,
            account: record.account.clone(),
            name: spec.name.clone(),
            provisioned: spec.billing == BillingMode::Provisioned,
            own,
            indexes: indexes.collect(),
        }
    }

    /// Units with this declaration from now on. Those of reads are used where a partition is, those of writes where a
    /// partition of the table is: an index's, too, for they are paid with the write that causes them.
    fn resource(
        &self,
        known: Option<Arc<Both>>,
        partitions: &[PartitionRecord],
        [reads, writes]: [Declared; 2],
        saved: Option<SavedUnits>,
        now_ms: u64,
    ) -> Resource {
        let units = known.unwrap_or_default();
        let (options, saved) = (self.options, saved.unwrap_or_default());
        let reads_here = self.standing(reads, options.reads, partitions);
        units
            .reads
            .declare(reads, options.reads, reads_here, saved.reads, now_ms);
        let writes_here = self.standing(writes, options.writes, &self.record.partitions);
        units
            .writes
            .declare(writes, options.writes, writes_here, saved.writes, now_ms);
        Resource {
            units,
            read_ceiling: reads.partition_ceiling(options.reads, partitions.len()),
            write_ceiling: writes.partition_ceiling(options.writes, partitions.len()),
        }
    }

    /// Who this store is among those that share units of these partitions.
    fn standing(&self, declared: Declared, limits: Limits, partitions: &[PartitionRecord]) -> Standing {
        let led = |partition: &PartitionRecord| (self.leads)(partition.group);
        let here = partitions.iter().filter(|partition| led(partition).is_some()).count();
        let first = self.record.partitions.iter().find(|one| one.start.0.is_empty());
        let ceiling = declared.partition_ceiling(limits, partitions.len());
        // Who leads nothing may have followers that answer reads.
        let can = |ceiling: HalfUnits| HalfUnits(ceiling.0.saturating_mul(here.max(1) as u64));
        let part = even_part(declared, here, partitions.len());
        Standing {
            grants: first.and_then(led),
            holder: self.holder,
            part: HalfUnits(part.0.max(u64::from(here > 0))),
            most: ceiling.map_or(declared.ready(), can),
        }
    }

    /// Reads and writes as declared.
    fn declared(&self, units: Throughput, most: Option<OnDemandThroughput>, warm: Option<Throughput>) -> [Declared; 2] {
        let half_units = |units: u64| HalfUnits(units.saturating_mul(2));
        let (most, warm, on_demand) = (
            most.unwrap_or_default(),
            warm.unwrap_or_default(),
            self.options.on_demand,
        );
        let one = |units: u64, most: Option<u64>, ready: u64| match self.record.spec.billing {
            BillingMode::Provisioned => Declared::Provisioned(half_units(units)),
            BillingMode::PayPerRequest => Declared::OnDemand {
                ready: half_units(ready),
                most: most.map(half_units),
            },
        };
        [
            one(units.read, most.read_max, on_demand.read.max(warm.read)),
            one(units.write, most.write_max, on_demand.write.max(warm.write)),
        ]
    }
}

/// One kind of units of one partition.
#[derive(Debug)]
struct Side {
    ceiling: Mutex<Ceiling>,
    counts: Counts,
    hot: Sampler,
}

impl Side {
    fn new(ceiling: Option<HalfUnits>, now_ms: u64) -> Self {
        Self {
            ceiling: Mutex::new(Ceiling::new(ceiling, now_ms)),
            counts: Counts::default(),
            hot: Sampler::default(),
        }
    }
}

/// Both kinds of units of one partition.
#[derive(Debug)]
struct Sides {
    /// By which its rows are ordered.
    keys: KeySchema,
    reads: Side,
    writes: Side,
    /// What writes have used of global indexes, in half units.
    index_writes: Mutex<BTreeMap<IndexId, u64>>,
}

impl Sides {
    fn side(&self, kind: UnitKind) -> &Side {
        match kind {
            UnitKind::Read => &self.reads,
            UnitKind::Write => &self.writes,
        }
    }
}

/// A partition's way to the units that its requests are paid from.
#[derive(Debug)]
pub struct Meter {
    table: Arc<Table>,
    /// Of an index's partition: which.
    index: Option<IndexId>,
    /// Of the table, or of that index.
    units: Arc<Both>,
    sides: Arc<Sides>,
}

impl Meter {
    /// Of a partition of a table, or of one of its indexes.
    pub fn new(table: &Arc<Table>, index: Option<IndexId>, keys: &KeySchema, now_ms: u64) -> Self {
        let resource = resource(table, index);
        let sides = Sides {
            keys: keys.clone(),
            index_writes: Mutex::default(),
            reads: Side::new(resource.and_then(|resource| resource.read_ceiling), now_ms),
            writes: Side::new(resource.and_then(|resource| resource.write_ceiling), now_ms),
        };
        Self {
            table: Arc::clone(table),
            index,
            units: resource.map(|resource| Arc::clone(&resource.units)).unwrap_or_default(),
            sides: Arc::new(sides),
        }
    }

    /// The same partition's, once the table is declared like this.
    pub fn of(&self, table: &Arc<Table>, now_ms: u64) -> Self {
        let resource = resource(table, self.index);
        let ceilings = resource.map(|resource| (resource.read_ceiling, resource.write_ceiling));
        let (reads, writes) = ceilings.unwrap_or_default();
        self.sides.reads.ceiling.lock().set(reads, now_ms);
        self.sides.writes.ceiling.lock().set(writes, now_ms);
        Self {
            table: Arc::clone(table),
            index: self.index,
            units: resource.map(|resource| Arc::clone(&resource.units)).unwrap_or_default(),
            sides: Arc::clone(&self.sides),
        }
    }

    /// The table's id.
    pub fn table(&self) -> TableId {
        self.table.id
    }

    /// What this partition may do by itself, in units per second; `None`: as much as the table.
    pub fn ceiling(&self, kind: UnitKind) -> Option<f64> {
        let resource = resource(&self.table, self.index)?;
        let ceiling = match kind {
            UnitKind::Read => resource.read_ceiling,
            UnitKind::Write => resource.write_ceiling,
        };
        ceiling.map(HalfUnits::units)
    }

    /// What this partition has counted.
    pub fn counted(&self, kind: UnitKind) -> Counted {
        self.sides.side(kind).counts.counted()
    }

    /// Table and index, as labels. `None` for an index that is not declared any more: it has no name.
    pub fn labels(&self) -> Option<String> {
        let index = match self.index {
            Some(index) => self.table.index(index)?.name.as_str(),
            None => "",
        };
        Some(self.labels_of(index))
    }

    /// What writes to this partition have used of global indexes.
    pub fn index_half_units(&self) -> BTreeMap<IndexId, u64> {
        self.sides.index_writes.lock().clone()
    }

    /// What writes to this partition have used of global indexes, with labels. One that is gone has no name.
    pub fn index_writes(&self) -> Vec<(String, f64)> {
        let used = self.sides.index_writes.lock();
        let named = used.iter().filter_map(|(index, half_units)| {
            let index = self.table.index(*index)?;
            Some((self.labels_of(&index.name), HalfUnits(*half_units).units()))
        });
        named.collect()
    }

    fn labels_of(&self, index: &str) -> String {
        format!("table=\"{}\",index=\"{index}\"", self.table.name)
    }

    /// The partition keys that use the most, as the API writes them.
    pub fn hot_keys(&self, kind: UnitKind, most: usize, now_ms: u64) -> Vec<Value> {
        let (side, keys) = (self.sides.side(kind), &self.sides.keys);
        let index = self.index.and_then(|index| self.table.index(index));
        let shown = side.hot.top(most, now_ms).into_iter().filter_map(|hot| {
            Some(json!({
                "table": self.table.name,
                "account": self.table.account,
                "index": index.map(|index| &index.name),
                "units": match kind { UnitKind::Read => "read", UnitKind::Write => "write" },
                "key": hot::shown(keys, &hot.key)?,
                "unitsPerSecond": (hot.units_per_second * 10.0).round() / 10.0,
                "share": (hot.share * 100.0).round() / 100.0,
            }))
        });
        shown.collect()
    }

    /// Where a partition's keys are looked at.
    pub fn sampler(&self, kind: UnitKind) -> &Sampler {
        &self.sides.side(kind).hot
    }

    /// Notes what a key has cost that is looked at.
    pub fn note_sample(&self, kind: UnitKind, sample: Option<Sample>, cost: HalfUnits, now_ms: u64) {
        self.sides.side(kind).hot.note(sample, &self.sides.keys, cost, now_ms);
    }

    /// Whether a read may go ahead.
    pub fn admit_read(&self, now_ms: u64) -> Result<(), Met<'_>> {
        self.admit_own(UnitKind::Read, &self.units.reads, now_ms)
    }

    /// Whether a write may go ahead. A global index without write units holds back those that may touch it.
    pub fn admit_write(&self, action: &Action, now_ms: u64) -> Result<(), Met<'_>> {
        self.admit_own(UnitKind::Write, &self.units.writes, now_ms)?;
        for index in &self.table.indexes {
            let units = &index.resource.units.writes;
            if let Err(limit) = units.admit(now_ms)
                && may_touch(action, index)
            {
                return Err(self.met(UnitKind::Write, limit, Some(index), units));
            }
        }
        Ok(())
    }

    fn admit_own<'a>(&'a self, kind: UnitKind, units: &'a Units, now_ms: u64) -> Result<(), Met<'a>> {
        let admitted = units
            .admit(now_ms)
            .and_then(|()| self.sides.side(kind).ceiling.lock().admit(now_ms));
        let index = || self.index.and_then(|index| self.table.index(index));
        admitted.map_err(|limit| self.met(kind, limit, index(), units))
    }

    fn met<'a>(&'a self, kind: UnitKind, limit: ThrottleLimit, index: Option<&'a Index>, units: &'a Units) -> Met<'a> {
        Met {
            kind,
            limit,
            table: &self.table,
            index,
            counts: [&units.counts, &self.sides.side(kind).counts],
        }
    }

    /// Takes what a read cost.
    pub fn charge_read(&self, cost: HalfUnits, now_ms: u64) {
        self.units.reads.charge(cost, now_ms);
        self.sides.reads.ceiling.lock().charge(cost);
    }

    /// Takes what a write cost.
    pub fn charge_write(&self, cost: &WriteCost, now_ms: u64) {
        let own = own(cost);
        self.units.writes.charge(own, now_ms);
        self.sides.writes.ceiling.lock().charge(own);
        for (index, cost) in touched(cost) {
            if let Some(index) = self.table.index(index) {
                index.resource.units.writes.charge(cost, now_ms);
            }
        }
    }

    /// Counts what was used of a partition's own units.
    pub fn note_used(&self, kind: UnitKind, cost: HalfUnits) {
        let units = match kind {
            UnitKind::Read => &self.units.reads,
            UnitKind::Write => &self.units.writes,
        };
        units.counts.note_used(cost);
        self.sides.side(kind).counts.note_used(cost);
    }

    /// Counts what a write used.
    pub fn note_written(&self, cost: &WriteCost) {
        self.note_used(UnitKind::Write, own(cost));
        for (id, cost) in touched(cost) {
            if let Some(index) = self.table.index(id) {
                index.resource.units.writes.counts.note_used(cost);
            }
            *self.sides.index_writes.lock().entry(id).or_default() += cost.0;
        }
    }
}

fn resource(table: &Table, index: Option<IndexId>) -> Option<&Resource> {
    match index {
        None => Some(&table.own),
        Some(index) => table.index(index).map(|index| &index.resource),
    }
}

/// What a write costs its table: local indexes have no units of their own.
pub fn own(cost: &WriteCost) -> HalfUnits {
    cost.table + cost.local.iter().map(|(_, units)| *units).sum()
}

/// The global indexes that a write costs something.
fn touched(cost: &WriteCost) -> impl Iterator<Item = (IndexId, HalfUnits)> {
    cost.global.iter().copied().filter(|(_, units)| units.0 > 0)
}

/// Whether a write may change rows of an index, as far as one can tell without the item that is there: an item that lacks
/// one of the index's keys has no row.
fn may_touch(action: &Action, index: &Index) -> bool {
    match action {
        Action::Put(item) => index.keys.iter().all(|key| item.as_ref().get(key).is_some()),
        Action::Update { .. } | Action::Delete { .. } => true,
    }
}

/// The limit that a request has met.
pub struct Met<'a> {
    kind: UnitKind,
    limit: ThrottleLimit,
    table: &'a Table,
    index: Option<&'a Index>,
    /// Where it counts: with the units that are used up, and with the partition that was asked.
    counts: [&'a Counts; 2],
}

impl Met<'_> {
    /// Counts it as refused.
    pub fn note_throttled(&self) {
        for counts in self.counts {
            counts.throttled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts it as one that would have been refused.
    pub fn note_shadowed(&self) {
        for counts in self.counts {
            counts.shadowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For the caller.
    pub fn into_throttled(self) -> Throttled {
        Throttled {
            table: self.table.name.clone(),
            index: self.index.map(|index| index.name.clone()),
            kind: self.kind,
            limit: self.limit,
            provisioned: self.table.provisioned,
            resource: String::new(),
        }
    }
}
