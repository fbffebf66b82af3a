//! One partition's way to the units that its requests are paid from: the table's (or its index's), its own ceiling, and those of the
//! global indexes that a write touches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use partita_admission::table::Ceiling;
use partita_model::capacity::{HalfUnits, ThrottleLimit, Throttled, UnitKind, WriteCost, read_units, write_units};
use partita_model::request::Action;
use partita_model::schema::{IndexId, IndexProjection, TableId};
use serde_json::{Value, json};

use super::hot::{self, RowKeys, Sample, Sampler};
use super::table::{Index, Table};
use super::units::{Both, Counted, Counts, Pending, Units};
use crate::serving::delivery::TooFar;

/// One kind of units of one partition.
#[derive(Debug)]
struct Side {
    ceiling: Mutex<Ceiling>,
    pending: Pending,
    counts: Counts,
    hot: Sampler,
}

impl Side {
    fn new(ceiling: Option<HalfUnits>, now_ms: u64) -> Self {
        Self {
            ceiling: Mutex::new(Ceiling::new(ceiling, now_ms)),
            pending: Pending::default(),
            counts: Counts::default(),
            hot: Sampler::default(),
        }
    }
}

impl Side {
    /// Whether a request may go ahead that costs this much at least. That is pending from then on.
    fn admit(&self, least: HalfUnits, now_ms: u64) -> Result<(), ThrottleLimit> {
        let mut ceiling = self.ceiling.lock();
        ceiling.admit(self.pending.sum(), now_ms)?;
        self.pending.add(least);
        Ok(())
    }
}

/// Both kinds of units of one partition.
#[derive(Debug)]
struct Sides {
    keys: RowKeys,
    reads: Side,
    writes: Side,
    /// What writes have used of global indexes, in half units.
    index_writes: Mutex<BTreeMap<IndexId, u64>>,
    /// Of an index's partition: what rows that were delivered have cost, in half units. It has been paid with the writes.
    delivered: AtomicU64,
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
    pub fn new(table: &Arc<Table>, index: Option<IndexId>, keys: RowKeys, now_ms: u64) -> Self {
        let resource = table.resource(index);
        let sides = Sides {
            keys,
            index_writes: Mutex::default(),
            delivered: AtomicU64::new(0),
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
        let resource = table.resource(self.index);
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
        let resource = self.table.resource(self.index)?;
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
        let (side, keys) = (self.sides.side(kind), &self.sides.keys.schema);
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
    pub fn admit_read(&self, consistent: bool, now_ms: u64) -> Result<Deposit<'_>, Met<'_>> {
        self.admit_own(UnitKind::Read, read_units(1, consistent), now_ms)
    }

    /// Whether a write may go ahead. A global index without write units holds back those that may touch it.
    pub fn admit_write(&self, action: &Action, now_ms: u64) -> Result<Deposit<'_>, Met<'_>> {
        let bytes = match action {
            Action::Put(item) => item.as_ref().size(),
            Action::Update { .. } | Action::Delete { .. } => 1,
        };
        let mut deposit = self.admit_own(UnitKind::Write, write_units(bytes), now_ms)?;
        for index in self.table.indexes.iter().filter(|index| self.may_touch(action, index)) {
            let units = &index.resource.units.writes;
            let whole = index.projection == IndexProjection::All;
            let least = write_units(if whole { bytes } else { 1 });
            units
                .admit(least, now_ms)
                .map_err(|limit| self.met(UnitKind::Write, limit, Some(index), units))?;
            deposit.pending.push((units, least));
        }
        Ok(deposit)
    }

    /// Whether a write may change rows of an index, as far as one can tell without the item that is there. An item that lacks one of
    /// the index's keys has no row (one that it replaces may have, which goes all the same). An update of what a row does not hold
    /// leaves it as it is, and makes none of a new item that lacks a key.
    fn may_touch(&self, action: &Action, index: &Index) -> bool {
        let update = match action {
            Action::Put(item) => return index.keys.iter().all(|key| item.as_ref().get(key).is_some()),
            Action::Delete { .. } => return true,
            Action::Update { update, .. } => update,
        };
        let included: &[String] = match &index.projection {
            IndexProjection::All => return true,
            IndexProjection::KeysOnly => &[],
            IndexProjection::Include(names) => names,
        };
        let holds = |name: &str| index.keys.iter().chain(included).any(|held| held == name);
        let needs_more = index.keys.iter().any(|key| !self.sides.keys.schema.contains(key));
        !needs_more || update.attributes().any(holds)
    }

    /// Holds back a write that may touch an index which is too far behind.
    pub fn admit_behind<'a>(
        &'a self,
        deposit: Deposit<'a>,
        action: &Action,
        behind: &TooFar,
    ) -> Result<Deposit<'a>, Met<'a>> {
        let waited_for = |index: &&Index| behind.index.as_ref().is_none_or(|name| *name == index.name);
        let mut indexes = self.table.indexes.iter().filter(waited_for);
        match indexes.find(|index| self.may_touch(action, index)) {
            Some(index) => {
                let limit = ThrottleLimit::KeyRangeThroughputExceeded;
                Err(self.met(UnitKind::Write, limit, Some(index), &index.resource.units.writes))
            }
            None => Ok(deposit),
        }
    }

    /// Whether writes to this partition's table may have to wait for its indexes.
    pub fn has_indexes(&self) -> bool {
        self.index.is_none() && !self.table.indexes.is_empty()
    }

    /// Whether this is a partition of an index that is complete. Rows of one that is being built are copies of what was paid before.
    pub fn is_complete_index(&self) -> bool {
        let index = self.index.and_then(|index| self.table.index(index));
        index.is_some_and(|index| index.complete)
    }

    /// Whether rows may be delivered to this partition of an index: what one partition can write in a second is there for them.
    pub fn admit_delivery(&self, now_ms: u64) -> Result<(), Met<'_>> {
        let index = self.index.and_then(|index| self.table.index(index));
        let admitted = self.sides.writes.ceiling.lock().admit(HalfUnits(0), now_ms);
        admitted.map_err(|limit| self.met(UnitKind::Write, limit, index, &self.units.writes))
    }

    /// Takes what delivered rows have cost.
    pub fn charge_delivery(&self, cost: HalfUnits) {
        self.sides.writes.ceiling.lock().charge(cost);
    }

    /// Counts what delivered rows have cost.
    pub fn note_delivered(&self, cost: HalfUnits) {
        self.sides.delivered.fetch_add(cost.0, Ordering::Relaxed);
    }

    /// What delivered rows have cost, in half units.
    pub fn delivered_half_units(&self) -> u64 {
        self.sides.delivered.load(Ordering::Relaxed)
    }

    fn admit_own<'a>(&'a self, kind: UnitKind, least: HalfUnits, now_ms: u64) -> Result<Deposit<'a>, Met<'a>> {
        let (units, side) = (self.units.of(kind), self.sides.side(kind));
        let index = || self.index.and_then(|index| self.table.index(index));
        let met = |limit| self.met(kind, limit, index(), units);
        units.admit(least, now_ms).map_err(met)?;
        let mut deposit = Deposit {
            units: (units, least),
            side: None,
            pending: Vec::new(),
        };
        side.admit(least, now_ms).map_err(met)?;
        deposit.side = Some(side);
        Ok(deposit)
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
        self.units.of(kind).counts.note_used(cost);
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

/// What a write costs its table: local indexes have no units of their own.
pub fn own(cost: &WriteCost) -> HalfUnits {
    cost.table + cost.local.iter().map(|(_, units)| *units).sum()
}

/// The global indexes that a write costs something.
fn touched(cost: &WriteCost) -> impl Iterator<Item = (IndexId, HalfUnits)> {
    cost.global.iter().copied().filter(|(_, units)| units.0 > 0)
}

/// Of a request that goes ahead: until this is dropped, what it costs at least is pending.
pub struct Deposit<'a> {
    units: (&'a Units, HalfUnits),
    side: Option<&'a Side>,
    /// Of global indexes.
    pending: Vec<(&'a Units, HalfUnits)>,
}

impl Drop for Deposit<'_> {
    fn drop(&mut self) {
        let (units, least) = self.units;
        units.end(least);
        if let Some(side) = self.side {
            side.pending.end(least);
        }
        for (units, least) in &self.pending {
            units.end(*least);
        }
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
            counts.note_throttled(self.limit);
        }
    }

    /// Counts it as one that would have been refused.
    pub fn note_shadowed(&self) {
        for counts in self.counts {
            counts.note_shadowed(self.limit);
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
