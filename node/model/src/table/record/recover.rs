//! A record from what the partitions know of themselves: when a table is taken up again whose record is gone.

use super::partitions::{Gap, Piece, cover};
use super::{Circumstances, Dates, FORMAT, IndexPhase, IndexRecord, Owner, Record, UnitsDates};
use crate::partition::{PartitionDescriptor, PartitionKind};
use crate::schema::{GlobalIndex, IndexId, KeySchema, ScalarType, TableId, TableSchema};
use crate::table::{GlobalIndexSpec, LocalIndexSpec, SpecError, Status, TableSpec, TimeToLiveStatus};

/// Why a table cannot be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Nothing of it was found.
    #[error("no partition of it was found")]
    Nothing,
    /// Keys of the table that no partition has.
    #[error("{0}")]
    Table(Gap),
    /// Keys of a global index that no partition has.
    #[error("of the index {0}: {1}")]
    Index(String, Gap),
    /// What is wanted cannot follow from what is there.
    #[error("spec.{0}")]
    Spec(#[from] SpecError),
}

impl Record {
    /// The record of a table whose partitions are known, with `wanted` as its target. What partitions do not know (units,
    /// tags, …) is as wanted; its dates begin now.
    ///
    /// Every partition is told the schema again: a change may have reached some of them only. An index that was not complete
    /// is removed, and built anew if it is wanted. Expiry rows are made again, for they may not be complete either.
    pub fn recover(
        account: &str,
        wanted: TableSpec,
        owner: Owner,
        id: TableId,
        known: &[PartitionDescriptor],
        at: Circumstances,
    ) -> Result<Self, RecoverError> {
        let schemas = known
            .iter()
            .filter(|known| known.table == id)
            .filter_map(|d| d.schema());
        let schema = schemas
            .max_by_key(|schema| schema.version)
            .ok_or(RecoverError::Nothing)?;
        let found = found_spec(schema, &wanted);
        let mut record = Self {
            format: FORMAT,
            account: account.to_owned(),
            id,
            seed: schema.seed,
            owner,
            status: Status::Active,
            updating: true,
            schema_version: schema.version,
            next_index: last_index(schema, known) + 1,
            local: schema.local.iter().map(|index| index.id).collect(),
            partitions: cover(pieces(id, known)).map_err(RecoverError::Table)?,
            global: schema
                .global
                .iter()
                .map(|index| found_index(index, known))
                .collect::<Result<_, _>>()?,
            time_to_live: match found.time_to_live {
                Some(_) => TimeToLiveStatus::Enabling,
                None => TimeToLiveStatus::Disabled,
            },
            dates: Dates {
                created_ms: at.now_ms,
                ..Dates::default()
            },
            stream_label: found.stream.map(|_| super::create::stream_label(at.now_ms)),
            spec: found,
        };
        if record.global.iter().any(|index| index.phase == IndexPhase::Removing) {
            record.schema_version.0 += 1;
        }
        record.retarget(wanted, at)?;
        Ok(record)
    }
}

fn pieces(table: TableId, known: &[PartitionDescriptor]) -> Vec<Piece> {
    let of_table = known.iter().filter(|known| known.table == table);
    of_table
        .map(|known| Piece {
            group: known.group,
            start: known.start.clone(),
            end: known.end.clone(),
        })
        .collect()
}

/// What the table was, as far as its partitions know; the rest as wanted.
fn found_spec(schema: &TableSchema, wanted: &TableSpec) -> TableSpec {
    let local = schema.local.iter().map(|index| LocalIndexSpec {
        name: index.name.clone(),
        keys: index.keys.clone(),
        projection: index.projection.clone(),
    });
    let global = schema.global.iter().map(|index| {
        let same = wanted.global.iter().find(|wanted| wanted.name == index.name);
        GlobalIndexSpec {
            name: index.name.clone(),
            keys: index.keys.clone(),
            projection: index.projection.clone(),
            throughput: same.map(|same| same.throughput).unwrap_or_default(),
            on_demand: same.and_then(|same| same.on_demand),
            warm: same.and_then(|same| same.warm),
        }
    });
    TableSpec {
        name: schema.name.clone(),
        attributes: attributes(schema),
        keys: schema.keys.clone(),
        local: local.collect(),
        global: global.collect(),
        stream: schema.stream,
        time_to_live: schema.time_to_live.clone(),
        ..wanted.clone()
    }
}

/// Every key attribute, once.
fn attributes(schema: &TableSchema) -> Vec<(String, ScalarType)> {
    let mut attributes: Vec<(String, ScalarType)> = Vec::new();
    let local = schema.local.iter().map(|index| &index.keys);
    let global = schema.global.iter().map(|index| &index.keys);
    for attribute in std::iter::once(&schema.keys)
        .chain(local)
        .chain(global)
        .flat_map(KeySchema::attributes)
    {
        if !attributes.iter().any(|(name, _)| *name == attribute.name) {
            attributes.push((attribute.name.clone(), attribute.kind));
        }
    }
    attributes
}

fn found_index(index: &GlobalIndex, known: &[PartitionDescriptor]) -> Result<IndexRecord, RecoverError> {
    let pieces = pieces(index.table, known);
    let (phase, partitions) = if index.readable {
        let whole = cover(pieces).map_err(|gap| RecoverError::Index(index.name.clone(), gap))?;
        (IndexPhase::Ready, whole)
    } else {
        (
            IndexPhase::Removing,
            pieces.into_iter().map(Piece::into_record).collect(),
        )
    };
    Ok(IndexRecord {
        name: index.name.clone(),
        id: index.id,
        table: index.table,
        seed: index.seed,
        phase,
        partitions,
        units: UnitsDates::default(),
    })
}

/// The highest number of an index that was ever seen: also of one whose removal left partitions behind.
fn last_index(schema: &TableSchema, known: &[PartitionDescriptor]) -> u16 {
    let local = schema.local.iter().map(|index| index.id);
    let global = schema.global.iter().map(|index| index.id);
    let left = known.iter().filter_map(|known| match &known.kind {
        PartitionKind::Index { base, index, .. } if *base == schema.id => Some(index.id),
        PartitionKind::Index { .. } | PartitionKind::Table(_) => None,
    });
    local
        .chain(global)
        .chain(left)
        .max()
        .map_or(0, |IndexId(number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{IndexProjection, KeyAttribute};
    use crate::table::record::{PartitionLimits, PartitionRecord};
    use crate::table::{BillingMode, Declaration, DeclaredGlobalIndex, DeclaredProjection, KeyElement, KeyKind};
    use crate::table::{ProjectionKind, Throughput};

    const AT: Circumstances = Circumstances {
        now_ms: 1_000,
        partitions: PartitionLimits::at_most(64),
    };

    fn hash(name: &str) -> Vec<KeyElement> {
        vec![KeyElement {
            name: name.to_owned(),
            kind: KeyKind::Hash,
        }]
    }

    fn wanted() -> TableSpec {
        let units = Throughput { read: 10, write: 3000 };
        Declaration {
            name: "orders".into(),
            attributes: vec![("id".into(), ScalarType::S), ("status".into(), ScalarType::N)],
            keys: hash("id"),
            global: Some(vec![DeclaredGlobalIndex {
                name: "byStatus".into(),
                keys: hash("status"),
                projection: DeclaredProjection {
                    kind: Some(ProjectionKind::All),
                    attributes: None,
                },
                throughput: Some(units),
                on_demand: None,
                warm: None,
            }]),
            billing: Some(BillingMode::Provisioned),
            throughput: Some(units),
            ..Declaration::default()
        }
        .resolve()
        .unwrap()
    }

    fn made() -> (Record, Vec<PartitionDescriptor>) {
        let mut record = Record::create("000000000000", wanted(), Owner::Api, TableId(7), AT);
        record.created();
        let mut known = record.table_descriptors();
        known.extend(record.index_descriptors(&record.global[0]));
        known.reverse();
        (record, known)
    }

    fn recover(wanted: TableSpec, known: &[PartitionDescriptor]) -> Result<Record, RecoverError> {
        Record::recover("000000000000", wanted, Owner::Api, TableId(7), known, AT)
    }

    #[test]
    fn a_table_is_what_it_was() {
        let (record, known) = made();
        let found = recover(wanted(), &known).unwrap();
        assert_eq!(found.schema(), record.schema());
        assert_eq!(found.partitions, record.partitions);
        assert_eq!(found.global, record.global);
        assert_eq!(found.next_index, record.next_index);
        assert_eq!(found.spec, record.spec);
        assert!(found.updating, "some partitions may know an older schema");
    }

    #[test]
    fn whose_keys_are_missing_is_said() {
        let (_, known) = made();
        let without = |group| known.iter().filter(|d| d.group != group).cloned().collect::<Vec<_>>();
        let (record, _) = made();
        let of = |partition: &PartitionRecord| format!("{:016x}", partition.group.0);
        let error = recover(wanted(), &without(record.partitions[1].group)).unwrap_err();
        let (first, last) = (of(&record.partitions[0]), of(&record.partitions[2]));
        assert_eq!(
            error.to_string(),
            format!("no partition has the keys between those of the groups {first} and {last}")
        );
        let error = recover(wanted(), &without(record.partitions[2].group)).unwrap_err();
        let second = of(&record.partitions[1]);
        assert_eq!(
            error.to_string(),
            format!("no partition has the keys behind those of the group {second}")
        );
        let error = recover(wanted(), &without(record.global[0].partitions[0].group)).unwrap_err();
        let second = of(&record.global[0].partitions[1]);
        assert_eq!(
            error.to_string(),
            format!("of the index byStatus: no partition has the keys in front of those of the group {second}")
        );
        assert_eq!(recover(wanted(), &[]), Err(RecoverError::Nothing));
    }

    #[test]
    fn the_newest_schema_counts_and_an_unfinished_index_is_made_anew() {
        let (mut record, _) = made();
        record.global[0].phase = IndexPhase::Building;
        record.schema_version.0 = 5;
        let mut known = record.table_descriptors();
        record.schema_version.0 = 4;
        known[0] = record.table_descriptors().remove(0);
        let found = recover(wanted(), &known).unwrap();
        assert_eq!(found.schema_version.0, 6);
        assert_eq!(found.global[0].phase, IndexPhase::Removing);
        assert_eq!(found.schema().global, Vec::new());
        assert_eq!(found.next_index, 2);
    }

    #[test]
    fn another_key_is_refused() {
        let (_, known) = made();
        let mut other = wanted();
        other.keys.hash = vec![KeyAttribute {
            name: "status".into(),
            kind: ScalarType::N,
        }];
        let error = recover(other, &known).unwrap_err();
        assert_eq!(error.to_string(), "spec.keySchema: a table's key schema cannot change");
        let mut projected = wanted();
        projected.global[0].projection = IndexProjection::KeysOnly;
        let error = recover(projected, &known).unwrap_err();
        assert_eq!(
            error.to_string(),
            "spec.globalSecondaryIndexes[0].projection: an index's projection cannot change: use another name"
        );
    }
}
