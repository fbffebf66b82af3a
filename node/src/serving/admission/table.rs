//! What is declared of a table and of its indexes. Another declaration is another value, around the same units.

use std::sync::Arc;

use partita_admission::pool::Standing;
use partita_admission::share::{HolderId, even_part};
use partita_admission::table::{Declared, Limits};
use partita_model::capacity::{HalfUnits, UnitKind, UnitsId};
use partita_model::partition::{GroupId, PartitionKind};
use partita_model::schema::{IndexId, IndexProjection, TableId};
use partita_model::table::record::{IndexPhase, PartitionRecord, Record};
use partita_model::table::{BillingMode, OnDemandThroughput, Throughput};

use super::Options;
use super::levels::{SavedTable, SavedUnits};
use super::units::{Both, ShownUnits, Units};

/// What is declared of a table or an index.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    pub units: Arc<Both>,
    /// What one partition of it may do by itself; `None`: as much as all.
    pub read_ceiling: Option<HalfUnits>,
    pub write_ceiling: Option<HalfUnits>,
}

/// A global index as far as it concerns units.
#[derive(Debug)]
pub struct Index {
    pub id: IndexId,
    pub name: String,
    /// Without one of these an item has no row in it.
    pub keys: Vec<String>,
    /// What its rows hold beside keys.
    pub projection: IndexProjection,
    /// Whether existing items have been copied into it.
    pub complete: bool,
    pub resource: Resource,
}

/// A table or an index, as metrics show it.
#[derive(Debug)]
pub struct Shown {
    /// Account, table and index.
    pub labels: String,
    /// Whether it is an index.
    pub of_index: bool,
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
    pub id: TableId,
    pub account: String,
    pub name: String,
    pub provisioned: bool,
    own: Resource,
    pub indexes: Vec<Index>,
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
            projection: index.projection.clone(),
            complete: false,
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
        let resource = self.resource(id.index)?;
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
            of_index: !index.is_empty(),
            reads: resource.units.reads.shown(now_ms),
            writes: resource.units.writes.shown(now_ms),
        });
        shown.collect()
    }

    fn labels(&self, index: &str) -> String {
        let (account, table) = (&self.account, &self.name);
        format!("account=\"{account}\",table=\"{table}\",index=\"{index}\"")
    }

    /// One of its indexes.
    pub fn index(&self, id: IndexId) -> Option<&Index> {
        self.indexes.iter().find(|index| index.id == id)
    }

    /// The table's own, or one of its indexes'.
    pub fn resource(&self, index: Option<IndexId>) -> Option<&Resource> {
        match index {
            None => Some(&self.own),
            Some(index) => self.index(index).map(|index| &index.resource),
        }
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
                projection: spec.projection.clone(),
                complete: index.phase == IndexPhase::Ready,
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
