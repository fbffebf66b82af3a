//! The Partition resource of a partition.

use partita_crds::{Partition, PartitionSpec, Table, names};

use super::{Piece, metadata};
use partita_model::key::KeyBytes;
use partita_model::table::record::Record;

/// As it should be, with so many replicas.
pub fn partition(table: &Table, record: &Record, piece: &Piece, replicas: usize) -> Partition {
    let hex = |key: &KeyBytes| hex::encode(&key.0);
    Partition {
        metadata: metadata(table, record.id, &piece.name, &piece.label),
        spec: PartitionSpec {
            table: table.metadata.name.clone().unwrap_or_default(),
            table_name: record.spec.name.clone(),
            table_id: names::id_label(record.id),
            index_name: piece.index.as_ref().map(|(name, _)| name.clone()),
            index_id: piece.index.as_ref().map(|(_, id)| i32::from(id.0)),
            group: format!("{:016x}", piece.descriptor.group.0),
            start: Some(hex(&piece.descriptor.start)).filter(|start| !start.is_empty()),
            end: piece.descriptor.end.as_ref().map(hex),
            host: piece.host.clone(),
            replicas: i32::try_from(replicas).unwrap_or(1),
            parent: piece.parent.clone(),
            moving_to: piece.moving_to.clone(),
            merging_into: piece.merging_into.clone(),
        },
        status: None,
    }
}
