//! What a table is made of on Kubernetes: a storage node (StatefulSet and Service) and a Partition for each of its
//! partitions, and a Partition for each of its global indexes' partitions. All of it is pure.
//!
//! 1. [`Piece`]: every partition that a record names, and its [`places`]: the resources' names and the nodes that hold it;
//! 2. [`node`], [`partition`]: the resources as they should be;
//! 3. [`growth`]: the size that volumes should have;
//! 4. [`difference`]: whether a resource is as it should be.

pub mod difference;
pub mod growth;
pub mod node;
pub mod partition;
pub mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use partita_crds::{Table, names};
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::schema::{IndexId, TableId};
use partita_model::table::Status;
use partita_model::table::record::{IndexPhase, Record};

use places::{Place, Places};

/// A partition and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What belongs to it.
    pub place: Place,
    /// The global index whose rows it holds.
    pub index: Option<(String, IndexId)>,
    /// What its group is told of itself.
    pub descriptor: PartitionDescriptor,
    /// It is still being made: only then its group may be made.
    pub new: bool,
}

impl Deref for Piece {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Piece {
    /// Its group.
    pub fn group(&self) -> GroupId {
        self.descriptor.group
    }
}

/// Every partition of a table and its global indexes, but for indexes that are being removed. Those that have no place yet get
/// one that follows from their order.
pub fn pieces(record: &Record, places: &Places) -> Vec<Piece> {
    let prefix = prefix(record);
    let creating = record.status == Status::Creating;
    let table = record.table_descriptors().into_iter().enumerate();
    let mut pieces: Vec<Piece> = table
        .map(|(number, descriptor)| Piece {
            place: match places.get(descriptor.group) {
                Some(place) => place.clone(),
                None => Place::of_table(&prefix, number),
            },
            index: None,
            descriptor,
            new: creating,
        })
        .collect();
    let mut hosts: Vec<String> = Vec::new();
    for piece in &pieces {
        if !hosts.contains(&piece.host) {
            hosts.push(piece.host.clone());
        }
    }
    let host = |number: usize| match hosts.len() {
        0 => names::partition(&prefix, 0),
        all => hosts[number % all].clone(),
    };
    for index in &record.global {
        let descriptors = record.index_descriptors(index).into_iter().enumerate();
        pieces.extend(descriptors.map(|(number, descriptor)| Piece {
            place: match places.get(descriptor.group) {
                Some(place) => place.clone(),
                None => Place::of_index(&prefix, index.id, number, host(number)),
            },
            index: Some((index.name.clone(), index.id)),
            descriptor,
            new: creating || index.phase == IndexPhase::Building,
        }));
    }
    pieces
}

/// The StatefulSets that partitions are on, or move to.
pub fn hosts(pieces: &[Piece]) -> BTreeSet<String> {
    let hosts = pieces
        .iter()
        .flat_map(|piece| [Some(piece.host.clone()), piece.moving_to.clone()]);
    hosts.flatten().collect()
}

/// What the names of a table's children begin with.
pub fn prefix(record: &Record) -> String {
    names::prefix(&record.spec.name, record.id)
}

/// The label selector of everything that belongs to a table.
pub fn selector(id: TableId) -> String {
    format!("{}={}", names::TABLE_ID, names::id_label(id))
}

fn labels(table: &Table, id: TableId, place: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("app.kubernetes.io/component".to_owned(), "storage".to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), names::OPERATOR.to_owned()),
        (names::TABLE.to_owned(), table.metadata.name.clone().unwrap_or_default()),
    ]);
    labels.extend(selected(id, place));
    labels
}

/// The labels by which a StatefulSet and a Service find their pod.
fn selected(id: TableId, place: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "partita".to_owned()),
        (names::TABLE_ID.to_owned(), names::id_label(id)),
        (names::PARTITION.to_owned(), place.to_owned()),
    ])
}

/// The metadata of a child: it goes with its Table.
fn metadata(table: &Table, id: TableId, name: &str, place: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: table.metadata.namespace.clone(),
        labels: Some(labels(table, id, place)),
        owner_references: owner(table).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Nothing waits for the children's end: while it did, a deletion in the foreground of a Table that is held (see `plan::deletion`) would take them
/// away again and again.
fn owner(table: &Table) -> Option<OwnerReference> {
    Some(OwnerReference {
        block_owner_deletion: Some(false),
        ..table.controller_owner_ref(&())?
    })
}

/// Whether a resource belongs to this Table, and not to one that was deleted and is about to take it along.
pub fn is_ours(table: &Table, metadata: &ObjectMeta) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    metadata.deletion_timestamp.is_none()
        && owners
            .filter(|owner| owner.kind == Table::kind(&()))
            .all(|owner| Some(&owner.uid) == table.metadata.uid.as_ref())
}
